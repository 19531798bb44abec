//! The variables that Pacemaker passes to an agent.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use crate::names::{NameError, NodeName};
use crate::quoted::quoted;
use crate::status::UnknownText;

/// The variables of one call, empty ones left out: Pacemaker writes an empty list as one space.
pub(super) struct Environment(HashMap<String, String>);

/// What every variable of Pacemaker's own begins with.
const META: &str = "OCF_RESKEY_CRM_meta_";

impl Environment {
    pub(super) fn collect<K: AsRef<str>, V: AsRef<str>>(
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self(
            environment
                .into_iter()
                .filter(|(key, _)| key.as_ref().starts_with("OCF_"))
                .map(|(key, value)| (key.as_ref().to_owned(), value.as_ref().trim().to_owned()))
                .filter(|(_, value)| !value.is_empty())
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn meta(&self, name: &str) -> Option<&str> {
        self.get(&format!("{META}{name}"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u32>, OcfError> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| OcfError::Value {
                    variable: name.to_owned(),
                    value: text.to_owned(),
                    expected: "a whole number",
                })
            })
            .transpose()
    }

    pub(super) fn meta_number(&self, name: &str) -> Result<Option<u32>, OcfError> {
        // -1 is what older versions write for "no limit".
        match self.meta(name) {
            Some("-1") => Ok(None),
            _ => self.number(&format!("{META}{name}")),
        }
    }

    pub(super) fn milliseconds(&self, name: &str) -> Result<Option<Duration>, OcfError> {
        self.meta(name)
            .map(|text| {
                text.parse()
                    .map(Duration::from_millis)
                    .map_err(|_| OcfError::Value {
                        variable: format!("{META}{name}"),
                        value: text.to_owned(),
                        expected: "a number of milliseconds",
                    })
            })
            .transpose()
    }

    pub(super) fn word<T: FromStr>(
        &self,
        name: &str,
        expected: &'static str,
    ) -> Result<T, OcfError> {
        let text = self.meta(name).unwrap_or_default();
        text.parse().map_err(|_| OcfError::Value {
            variable: format!("{META}{name}"),
            value: text.to_owned(),
            expected,
        })
    }

    fn parse_node(name: &str, text: &str) -> Result<NodeName, OcfError> {
        text.parse().map_err(|source| OcfError::Name {
            variable: format!("{META}{name}"),
            source,
        })
    }

    pub(super) fn node(&self, name: &str) -> Result<Option<NodeName>, OcfError> {
        self.meta(name)
            .map(|text| Self::parse_node(name, text))
            .transpose()
    }

    /// A list of nodes, under the first of the names that is set.
    fn nodes(&self, names: &[&str]) -> Result<Vec<NodeName>, OcfError> {
        names
            .iter()
            .map(|name| format!("notify_{name}_uname"))
            .find_map(|name| self.meta(&name).map(|text| (name, text)))
            .map_or(Ok(Vec::new()), |(name, text)| {
                text.split_whitespace()
                    .map(|node| Self::parse_node(&name, node))
                    .collect()
            })
    }

    pub(super) fn lists(&self) -> Result<NodeLists, OcfError> {
        Ok(NodeLists {
            start: self.nodes(&["start"])?,
            stop: self.nodes(&["stop"])?,
            promote: self.nodes(&["promote"])?,
            demote: self.nodes(&["demote"])?,
            active: self.nodes(&["active"])?,
            inactive: self.nodes(&["inactive"])?,
            promoted: self.nodes(&["promoted", "master"])?,
            unpromoted: self.nodes(&["unpromoted", "slave"])?,
        })
    }
}

/// The nodes of the clone, as they were *before* the transition; `start`, `stop`, `promote` and
/// `demote` name what the transition is about to change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeLists {
    /// Nodes on which an instance is to be started.
    pub start: Vec<NodeName>,
    /// Nodes on which an instance is to be stopped.
    pub stop: Vec<NodeName>,
    /// Nodes on which an instance is to be promoted.
    pub promote: Vec<NodeName>,
    /// Nodes on which an instance is to be demoted.
    pub demote: Vec<NodeName>,
    /// Nodes on which an instance is started; what it contains differs between versions of
    /// Pacemaker, so that `promoted` and `unpromoted` are the ones to use.
    pub active: Vec<NodeName>,
    /// Nodes on which an instance is stopped.
    pub inactive: Vec<NodeName>,
    /// Nodes on which an instance is promoted.
    pub promoted: Vec<NodeName>,
    /// Nodes on which an instance is started and not promoted.
    pub unpromoted: Vec<NodeName>,
}

/// An environment in which the agent cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OcfError {
    /// The action is not known: exit with [`super::OcfCode::Unimplemented`].
    #[error("{0}; call the agent with one of them as its only argument")]
    Action(UnknownText),
    /// `OCF_RESOURCE_INSTANCE` is missing.
    #[error(
        "OCF_RESOURCE_INSTANCE is not set: start the agent through Pacemaker (crm_resource --force-check) or set it to the resource's name"
    )]
    NoResource,
    /// A name is not usable.
    #[error("{variable}: {source}")]
    Name {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// Another value is not usable.
    #[error("{variable}={} is not usable: {expected} is expected", quoted(.value))]
    Value {
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
}
