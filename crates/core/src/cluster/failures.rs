//! Fail counts, which Pacemaker keeps as transient node attributes:
//! `fail-count-pgsql#monitor_3000`.

use std::collections::HashMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::names::{NodeName, ResourceName};
use crate::parse::cib::{Cib, CibResource};

/// How often something has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// So many times.
    Times(u32),
    /// For good: Pacemaker does not try again before a cleanup.
    Infinity,
}

impl Count {
    /// Whether it is at least `threshold`.
    #[must_use]
    pub fn reaches(self, threshold: u32) -> bool {
        match self {
            Self::Times(times) => times >= threshold,
            Self::Infinity => true,
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}"),
            Self::Infinity => f.write_str("INFINITY"),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How often one operation of a resource has failed on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailCount {
    /// The node.
    pub node: NodeName,
    /// The resource.
    pub resource: String,
    /// The operation, `monitor_3000` with its interval in milliseconds.
    pub operation: String,
    /// How often.
    pub count: Count,
    /// After how many Pacemaker does not use the resource there any more (`migration-threshold`),
    /// where the resource or its clone says so.
    #[serde(skip)]
    pub threshold: Option<u32>,
}

impl FailCount {
    /// Whether Pacemaker does not use the resource there any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        let reached = |threshold| self.count.reaches(threshold);
        self.count == Count::Infinity || self.threshold.is_some_and(reached)
    }
}

/// Every fail count that is not zero, in the order of the nodes.
#[must_use]
pub fn fail_counts(cib: &Cib) -> Vec<FailCount> {
    let mut counts = Vec::new();
    let mut resources: HashMap<&str, &CibResource> = HashMap::new();
    for known in &cib.resources {
        resources.entry(&known.id).or_insert(known);
    }
    for node in &cib.nodes {
        for (name, value) in &node.transient {
            let Some((resource, operation)) = name
                .strip_prefix("fail-count-")
                .and_then(|rest| rest.split_once('#'))
            else {
                continue;
            };
            let count = match value.as_str() {
                "INFINITY" | "+INFINITY" | "1000000" => Count::Infinity,
                number => match number.parse() {
                    Ok(0) | Err(_) => continue,
                    Ok(times) => Count::Times(times),
                },
            };
            let resource = ResourceName::from_instance(resource)
                .map_or_else(|_| resource.to_owned(), String::from);
            counts.push(FailCount {
                node: node.name.clone(),
                threshold: resources
                    .get(resource.as_str())
                    .and_then(|known| threshold(known)),
                resource,
                operation: operation.to_owned(),
                count,
            });
        }
    }
    counts
}

fn threshold(known: &CibResource) -> Option<u32> {
    known.meta_attribute("migration-threshold")?.parse().ok()
}
