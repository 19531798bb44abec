//! libpq's connection strings of the form `keyword = value …`.
//!
//! Source: PostgreSQL manual, "Keyword/Value Connection Strings": values are quoted with single
//! quotes, and inside and outside of quotes a backslash takes the next character as it is.

use std::collections::BTreeSet;

use crate::quoted::quoted;
use crate::secret::Secret;

/// The most bytes of a connection string; with many hosts and long paths it has a few thousand.
pub const LONGEST: usize = 64 << 10;

/// A connection string, or a value for one, that is not usable. The text itself is not part of
/// the message: it may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConninfoError {
    /// A keyword without `=`.
    #[error("after keyword {} an = and a value are expected", quoted(.0))]
    NoValue(String),
    /// Something else than a keyword where one is expected.
    #[error(
        "a keyword of lower-case letters and _ is expected before =, for instance sslmode=require"
    )]
    NoKeyword,
    /// A quoted value without its end.
    #[error("the quoted value of keyword {} has no closing quote", quoted(.0))]
    Unterminated(String),
    /// A keyword appears twice; libpq would silently take the last one.
    #[error("keyword {} appears twice", quoted(.0))]
    Twice(String),
    /// Longer than any connection string.
    #[error("the text has more than {} KiB: give a connection string alone", LONGEST >> 10)]
    TooLong,
    /// A control character.
    #[error("the value of keyword {} contains a control character", quoted(.0))]
    Control(String),
}

/// Splits a connection string into its keywords and values.
///
/// # Errors
/// [`ConninfoError`], which never shows a value.
pub fn parse(text: &str) -> Result<Vec<(String, Secret)>, ConninfoError> {
    if text.len() > LONGEST {
        return Err(ConninfoError::TooLong);
    }
    let mut pairs: Vec<(String, Secret)> = Vec::new();
    let mut given = BTreeSet::new();
    let mut characters = text.chars().peekable();
    let blank = |character: &char| character.is_ascii_whitespace();
    loop {
        while characters.next_if(blank).is_some() {}
        if characters.peek().is_none() {
            return Ok(pairs);
        }
        let mut keyword = String::new();
        while let Some(character) = characters.next_if(|c| *c != '=' && !blank(c)) {
            keyword.push(character);
        }
        let is_keyword = |c: char| c.is_ascii_lowercase() || c == '_';
        if keyword.is_empty() || !keyword.chars().all(is_keyword) {
            return Err(ConninfoError::NoKeyword);
        }
        while characters.next_if(blank).is_some() {}
        if characters.next_if_eq(&'=').is_none() {
            return Err(ConninfoError::NoValue(keyword));
        }
        while characters.next_if(blank).is_some() {}
        let value = read_value(&mut characters, &keyword)?;
        if value.chars().any(char::is_control) {
            return Err(ConninfoError::Control(keyword));
        }
        if !given.insert(keyword.clone()) {
            return Err(ConninfoError::Twice(keyword));
        }
        pairs.push((keyword, Secret::new(value)));
    }
}

fn read_value(
    characters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    keyword: &str,
) -> Result<String, ConninfoError> {
    let quoted = characters.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match characters.peek() {
            None if quoted => return Err(ConninfoError::Unterminated(keyword.to_owned())),
            None => return Ok(value),
            Some('\'') if quoted => {
                characters.next();
                return Ok(value);
            }
            Some(character) if !quoted && character.is_ascii_whitespace() => return Ok(value),
            Some('\\') => {
                characters.next();
                value.extend(characters.next());
            }
            Some(_) => value.extend(characters.next()),
        }
    }
}

/// Writes one value so that libpq reads exactly it: always quoted, `'` and `\` escaped.
///
/// # Errors
/// [`ConninfoError::Control`] for control characters: a newline would end a line of the
/// configuration file or of the passfile that the string is written to.
pub fn quote_value(keyword: &str, value: &str) -> Result<String, ConninfoError> {
    if value.chars().any(char::is_control) {
        return Err(ConninfoError::Control(keyword.to_owned()));
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('\'');
    for character in value.chars() {
        if matches!(character, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('\'');
    Ok(quoted)
}

/// Writes a connection string of keywords and values.
///
/// # Errors
/// [`ConninfoError::Control`], see [`quote_value`].
pub fn render<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<String, ConninfoError> {
    let words: Result<Vec<String>, ConninfoError> = pairs
        .into_iter()
        .map(|(keyword, value)| Ok(format!("{keyword}={}", quote_value(keyword, value)?)))
        .collect();
    Ok(words?.join(" "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text)
            .unwrap()
            .into_iter()
            .map(|(keyword, value)| (keyword, value.expose().to_owned()))
            .collect()
    }

    #[test]
    fn libpqs_quoting_is_understood() {
        let expected = [
            ("host", "node3"),
            ("password", "it's \\ here"),
            ("dbname", ""),
        ]
        .map(|(keyword, value)| (keyword.to_owned(), value.to_owned()));
        assert_eq!(
            pairs(r"host = node3  password='it\'s \\ here' dbname=''"),
            expected
        );
        assert_eq!(pairs(r"user=a\ b"), [("user".to_owned(), "a b".to_owned())]);
        assert!(pairs("  ").is_empty());
    }

    #[test]
    fn errors_name_the_keyword_and_never_the_value() {
        for text in [
            "host",
            "=x",
            "password='geheim",
            "password=geheim password=geheim",
            "password='geh\neim'",
            "postgresql://u:geheim@host/db",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in "\\PC*") {
            let text = render([("password", value.as_str()), ("user", "a")]).unwrap();
            let read = parse(&text).unwrap();
            prop_assert_eq!(read[0].1.expose(), &value);
            prop_assert_eq!(read.len(), 2);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
