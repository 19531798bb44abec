//! Values that must never be shown.

use std::fmt;

/// A text that no log, error or debug output shows: a password, or a connection string that may
/// contain one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Marks a text as secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that hands it to PostgreSQL.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_format_shows_it() {
        let secret = Secret::new("geheim");
        let shown = format!("{secret} {secret:?} {secret:>10} {:#?}", Some(&secret));
        assert!(!shown.contains("geheim"), "{shown}");
        assert_eq!(secret.expose(), "geheim");
    }
}
