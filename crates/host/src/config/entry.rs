//! One assignment of the file, and what can be wrong with it.

use std::fmt;

/// What is wrong in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub(super) line: Option<usize>,
    pub(super) key: Option<String>,
    pub(super) problem: String,
}

impl Fault {
    pub(super) fn at(line: usize, key: Option<&str>, problem: String) -> Self {
        Self {
            line: Some(line),
            key: key.map(str::to_owned),
            problem,
        }
    }

    pub(super) fn missing(key: &str, problem: String) -> Self {
        Self {
            line: None,
            key: Some(key.to_owned()),
            problem,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key} {}", self.problem),
            None => write!(f, "the line {}", self.problem),
        }
    }
}

/// One assignment of the file.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}
