//! Names of nodes and resources.
//!
//! Both end up inside attribute names, file names, XPath expressions, lock owners and SQL
//! parameters, so their characters are limited once, here, instead of being escaped differently
//! in every one of those places.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::quoted::quoted;
use crate::text_enum::text_enum;

/// The most bytes that a name may have; a host name has at most 255 (RFC 1035).
const LONGEST: usize = 255;

/// A text that is no name of a node or of a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {} is not usable: 1 to 255 of the characters A-Z a-z 0-9 . _ - are allowed, the first not being -",
    quoted(.text)
)]
pub struct NameError {
    what: &'static str,
    text: String,
}

fn check(what: &'static str, text: &str) -> Result<(), NameError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if text.is_empty()
        || text.len() > LONGEST
        || text.starts_with('-')
        || !text.bytes().all(allowed)
    {
        return Err(NameError {
            what,
            text: text.to_owned(),
        });
    }
    Ok(())
}

/// The name of a cluster node as Pacemaker knows it (`crm_node -n`), not necessarily its host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

text_enum! {
    /// What an agent keeps in the cluster for its node, by the end of the attribute's name. The score has a
    /// name of Pacemaker's ([`ResourceName::promotion_attribute`]).
    NodeAttribute, "node attribute" {
        /// What PostgreSQL is and does there, until the node restarts.
        Status = "status",
        /// How its data stand to the primary's, for ever.
        DataStatus = "data-status",
        /// The timeline of its WAL, until the node restarts.
        Timeline = "timeline",
        /// The end of its WAL, until the node restarts.
        XlogLoc = "xlog-loc",
        /// Where the primary's timeline began, until the node restarts.
        MasterBaseline = "master-baseline",
        /// What its WAL receiver does, until the node restarts.
        ReceiverStatus = "receiver-status",
        /// What is wrong with its guard, until the node restarts.
        Guard = "guard",
        /// Why it could not open for writing (R14), until the node restarts.
        Unfit = "unfit",
        /// How far it says that it has flushed (R11), until the node restarts.
        Flushed = "flushed",
        /// Under which name its PostgreSQL runs or is about to (R11), for ever.
        Incarnation = "incarnation",
    }
}

/// The name of the database resource, without the `:N` of a clone's instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName(String);

macro_rules! name {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Checks a text and makes it a name.
            ///
            /// # Errors
            /// [`NameError`] for an empty or too long text, another character than
            /// `A-Z a-z 0-9 . _ -`, or `-` at the beginning.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check($what, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(NodeName, "node name");
name!(ResourceName, "resource name");

impl ResourceName {
    /// Reads `OCF_RESOURCE_INSTANCE`, whose `:N` (the number of a clone's instance, Pacemaker 1.1
    /// and globally unique clones) is not part of the resource's name.
    ///
    /// # Errors
    /// [`NameError`] when what remains is no resource name.
    pub fn from_instance(instance: &str) -> Result<Self, NameError> {
        let name = match instance.rsplit_once(':') {
            Some((name, number))
                if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                name
            }
            _ => instance,
        };
        Self::new(name)
    }

    /// The name in calls that are about no resource, such as `meta-data`.
    #[must_use]
    pub fn undefined() -> Self {
        Self("undef".to_owned())
    }

    /// The name of a node attribute that belongs to this resource, such as `pgsql-status`.
    #[must_use]
    pub fn attribute(&self, of: NodeAttribute) -> String {
        format!("{}-{of}", self.0)
    }

    /// The transient attribute that holds the promotion score, `master-pgsql`: Pacemaker kept the
    /// old spelling in every version up to 3.0.
    #[must_use]
    pub fn promotion_attribute(&self) -> String {
        format!("master-{}", self.0)
    }

    /// The cluster property that records the last switch, `pgsql_REPL_INFO`.
    #[must_use]
    pub fn repl_info_property(&self) -> String {
        format!("{}_REPL_INFO", self.0)
    }

    /// The cluster property that says how far the register has come: `pgsql_REGISTER`. It lies in a set
    /// of its own, [`Self::register_set`].
    #[must_use]
    pub fn register_property(&self) -> String {
        format!("{}_REGISTER", self.0)
    }

    /// The set of cluster properties that holds [`Self::register_property`]: `pgsql_register`.
    #[must_use]
    pub fn register_set(&self) -> String {
        format!("{}_register", self.0)
    }

    /// The set of cluster properties that holds [`Self::repl_info_property`]: `pgsql_replication`.
    #[must_use]
    pub fn property_set(&self) -> String {
        format!("{}_replication", self.0)
    }

    /// What `@owner` stands for in the external lock commands, and the owner's name in the lock
    /// service's row: `pgsql_node1`.
    #[must_use]
    pub fn lock_owner(&self, node: &NodeName) -> String {
        format!("{}_{node}", self.0)
    }
}

/// What the name of a replication slot begins with that is made on the primary for the copy of its data to
/// another node, where that node has no slot of its own (`replication_slot_name`).
const COPY_SLOT: &str = "pha4pgsql_copy_";

/// The longest name of a replication slot (`NAMEDATALEN` less one).
const LONGEST_SLOT: usize = 63;

/// A node's name in that of a replication slot, which allows small letters, digits and `_` alone
/// (PostgreSQL manual, "Replication Slots").
pub(crate) fn in_slot(node: &NodeName) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '_',
    };
    node.as_str().chars().map(plain).collect()
}

/// `node1, node2 and node3`.
#[must_use]
pub fn and<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The slot for a copy to this node. Two nodes whose names differ in what a slot's name cannot show share
/// one.
#[must_use]
pub fn copy_slot(node: &NodeName) -> String {
    let name = format!("{COPY_SLOT}{}", in_slot(node));
    name.chars().take(LONGEST_SLOT).collect()
}

/// Whether a slot is one for a copy; what a server may answer and no slot can be called is none.
#[must_use]
pub fn is_copy_slot(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(COPY_SLOT) && name.len() <= LONGEST_SLOT && name.chars().all(allowed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn instance_numbers_are_not_part_of_the_name() {
        let name = ResourceName::from_instance("pgsql:0").unwrap();
        assert_eq!(name.as_str(), "pgsql");
        assert_eq!(name.attribute(NodeAttribute::Status), "pgsql-status");
        assert_eq!(name.promotion_attribute(), "master-pgsql");
        assert_eq!(name.repl_info_property(), "pgsql_REPL_INFO");
        assert_eq!(name.property_set(), "pgsql_replication");
        assert!(ResourceName::from_instance("pgsql:").is_err());
        assert!(ResourceName::from_instance("pgsql:x").is_err());
    }

    #[test]
    fn hostile_names_are_refused() {
        for text in [
            "", "-x", "a b", "a\nb", "a'b", "$(x)", "a/b", "ä", "a:0", "a\0",
        ] {
            let error = NodeName::new(text).unwrap_err().to_string();
            assert!(error.starts_with("node name \""), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(NodeName::new("x".repeat(256)).is_err());
        assert!(NodeName::new("x".repeat(255)).is_ok());
        assert!(serde_json::from_str::<NodeName>("\"a b\"").is_err());
    }

    #[test]
    fn a_slot_for_a_copy_is_known_again_and_nothing_that_a_server_may_answer_beside() {
        for name in ["node1", "DB-1.example", &"x".repeat(255)] {
            assert!(is_copy_slot(&copy_slot(&NodeName::new(name).unwrap())));
        }
        for name in ["node1", "pha4pgsql_copy_'); drop", "pha4pgsql_copy_\u{1b}"] {
            assert!(!is_copy_slot(name), "{name:?}");
        }
    }

    #[test]
    fn the_owner_names_resource_and_node() {
        let resource = ResourceName::new("pgsql").unwrap();
        let node = NodeName::new("node1").unwrap();
        assert_eq!(resource.lock_owner(&node), "pgsql_node1");
    }
}
