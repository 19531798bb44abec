//! The name of a cluster's row.

use std::fmt;
use std::str::FromStr;

use crate::sql::{Identifier, IdentifierError};

/// Which row of which table: `distlock:pgsql_cls1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockName {
    /// The table.
    pub table: Identifier,
    /// The value of its column `lockname`.
    pub name: String,
}

/// A text that names no row of a lock table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockNameError {
    /// The table's name.
    #[error("lock name: {0}")]
    Table(#[from] IdentifierError),
    /// The name after the colon.
    #[error("lock name {} is not usable: <table>:<name> or <name> is expected", pha_core::quoted::quoted(.0))]
    Name(String),
}

impl FromStr for LockName {
    type Err = LockNameError;

    /// Reads `table:name`; a name alone is one in the table `distlock`.
    fn from_str(text: &str) -> Result<Self, LockNameError> {
        let (table, name) = text.split_once(':').unwrap_or(("distlock", text));
        if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
            return Err(LockNameError::Name(text.to_owned()));
        }
        Ok(Self {
            table: table.parse()?,
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.table, self.name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lock_names() {
        let lock: LockName = "ha.locks:pgsql cls:1".parse().unwrap();
        assert_eq!(lock.table.to_string(), "ha.locks");
        assert_eq!(lock.name, "pgsql cls:1");
        assert_eq!("c1".parse::<LockName>().unwrap().to_string(), "distlock:c1");
        for text in ["", "t:", "T:x", "a b:x", "t;drop:x", "t:x\ny"] {
            assert!(text.parse::<LockName>().is_err(), "{text}");
        }
    }
}
