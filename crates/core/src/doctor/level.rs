//! How bad something is.

use serde::Serialize;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works today; a failure, a repair or an operator will stumble over it.
    Warning,
    /// Something does not work, or the promise is not kept.
    Error,
}
