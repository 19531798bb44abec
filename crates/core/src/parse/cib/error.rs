//! What of the information base is not understood.

use crate::quoted::quoted;

/// A text that is no cluster information base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CibError {
    /// Not XML.
    #[error("cibadmin -Q printed no XML: {0}")]
    Xml(String),
    /// More of something than any cluster has.
    #[error(
        "cibadmin -Q printed {0}; no cluster needs as many: see which of them belong there (cibadmin --query), and delete the others"
    )]
    TooMany(&'static str),
    /// XML of something else.
    #[error("cibadmin -Q printed {}, not <cib>", quoted(.0))]
    Root(String),
    /// An attribute is missing.
    #[error("the cluster information base has <{element}> without {attribute}")]
    Missing {
        /// The element.
        element: String,
        /// The attribute.
        attribute: &'static str,
    },
    /// An attribute has an unexpected value.
    #[error("the cluster information base has <{element}> with {attribute}={}: {expected} is expected", quoted(.value))]
    Value {
        /// The element.
        element: String,
        /// The attribute.
        attribute: &'static str,
        /// Its value.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The partition's designated controller is a node that is not there.
    #[error("the cluster information base names {} as designated controller, which is no node", quoted(.0))]
    UnknownDc(String),
}
