//! Names of tables that come from a configuration.

use std::fmt;
use std::str::FromStr;

/// A table's name that can be written into SQL: lower-case letters, digits and `_` only, and quoted on
/// top of that. One without a schema is in `public`, whatever a session's search path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier {
    schema: Option<String>,
    name: String,
}

/// A text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "table name {} is not usable; a-z 0-9 and _ are allowed (at most 50 of them, not beginning with a digit), after a schema and a dot if need be",
    pha_core::quoted::quoted(.0)
)]
pub struct IdentifierError(String);

/// PostgreSQL cuts names at 63 bytes; names are made of this one by adding to it (`_history`).
const LONGEST: usize = 50;

/// Where a table without a schema is looked for and made.
const PUBLIC: &str = "public";

fn plain(part: &str) -> bool {
    let first = part.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && part.len() <= LONGEST
        && part
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

impl Identifier {
    /// The same name with a suffix, in the same schema: `distlock` → `distlock_history`.
    #[must_use]
    pub fn suffixed(&self, suffix: &'static str) -> Self {
        Self {
            schema: self.schema.clone(),
            name: format!("{}{suffix}", self.name),
        }
    }

    /// The schema, where one is given.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The name without its schema.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema that the table is in.
    #[must_use]
    pub fn home(&self) -> &str {
        self.schema.as_deref().unwrap_or(PUBLIC)
    }

    /// The name as SQL takes it, with its schema, every part quoted.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("\"{}\".\"{}\"", self.home(), self.name)
    }
}

impl FromStr for Identifier {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if !plain(name) || schema.is_some_and(|schema| !plain(schema)) {
            return Err(IdentifierError(text.to_owned()));
        }
        Ok(Self {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_sql() {
        let name: Identifier = "ha.distlock".parse().unwrap();
        assert_eq!(name.quoted(), "\"ha\".\"distlock\"");
        assert_eq!(name.suffixed("_history").to_string(), "ha.distlock_history");
        let name: Identifier = "distlock".parse().unwrap();
        assert_eq!(name.quoted(), "\"public\".\"distlock\"");
        assert_eq!(name.to_string(), "distlock");
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a.b.c",
            "1a",
            "A",
            "a-b",
            "a b",
            "a\"b",
            "a;drop table x",
            "ä",
        ] {
            assert!(text.parse::<Identifier>().is_err(), "{text}");
        }
        assert!("x".repeat(51).parse::<Identifier>().is_err());
    }
}
