//! Quoting of untrusted text in messages.

use std::borrow::Cow;
use std::fmt;

/// The number of characters of a foreign text that a message shows.
const SHOWN: usize = 120;

/// Shows a foreign text in a message: in double quotes, control characters escaped, and cut after
/// 120 characters. An `ocf-exit-reason` is one line, so what comes from outside must not be able
/// to end that line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        f.write_str("\"")?;
        for character in characters.by_ref().take(SHOWN) {
            // A single quote needs no escape inside double quotes; everything else follows the
            // rules of a Rust string literal, which users of most languages read at sight.
            if character == '\'' {
                f.write_str("'")?;
            } else {
                write!(f, "{}", character.escape_debug())?;
            }
        }
        f.write_str("\"")?;
        match characters.count() {
            0 => Ok(()),
            more => write!(f, " (and {more} more characters)"),
        }
    }
}

/// Owned form of [`Quoted`], for error variants that keep the text.
#[must_use]
pub fn quoted(text: &str) -> String {
    Quoted(text).to_string()
}

/// The beginning of a foreign text that is shown without quotes, at most so many characters; what was
/// cut off is shown as `…`.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The same of words that somebody else has made of a foreign text, with control characters escaped:
/// they are shown on a terminal, in one line.
#[must_use]
pub fn printable(text: &str, most: usize) -> String {
    let mut printed = String::new();
    for character in shortened(text, most).chars() {
        match character.is_control() {
            true => printed.extend(character.escape_debug()),
            false => printed.push(character),
        }
    }
    printed
}

/// A text as one word of a shell's line, for an operator to type. One with control characters, which no shell's line
/// has, is shown as [`quoted`] does.
#[must_use]
pub fn shell_word(text: &str) -> String {
    shlex::try_quote(text)
        .ok()
        .filter(|_| !text.contains(char::is_control))
        .map_or_else(|| quoted(text), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_stays_on_one_line_and_is_cut() {
        assert_eq!(quoted("it's\n\"x\""), r#""it's\n\"x\"""#);
        let long = quoted(&"ü".repeat(200));
        assert!(long.ends_with("\" (and 80 more characters)"), "{long}");
        assert_eq!(
            (shortened("üüü", 2), shortened("üü", 2)),
            ("üü…".to_owned(), "üü".to_owned())
        );
        assert_eq!(printable("a\u{1b}[2J\n'", 9), "a\\u{1b}[2J\\n'");
    }

    #[test]
    fn a_word_of_a_shell_is_one_word() {
        for (text, word) in [
            ("/data/pg-15/data", "/data/pg-15/data"),
            ("/my data", "'/my data'"),
            ("", "''"),
            ("it's", "\"it's\""),
            ("$(reboot)", "'$(reboot)'"),
            ("~x", "'~x'"),
            ("a\nb", "\"a\\nb\""),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}
