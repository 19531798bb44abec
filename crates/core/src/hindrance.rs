//! What is in the way of an answer, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why somebody gave no answer. It is shown as one sentence, or each part where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hindrance {
    /// What happened.
    pub why: String,
    /// What to type next; none where nobody knows better than whoever shows it.
    pub remedy: Option<String>,
}

impl Hindrance {
    /// One that has a remedy of its own.
    #[must_use]
    pub fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// One of which nothing more is known.
    #[must_use]
    pub fn of(why: &dyn fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            remedy: None,
        }
    }

    /// What to type next, or else this.
    #[must_use]
    pub fn remedy_or<'h>(&'h self, other: &'h str) -> &'h str {
        self.remedy.as_deref().unwrap_or(other)
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}
