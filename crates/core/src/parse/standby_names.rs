//! `synchronous_standby_names`: PostgreSQL's grammar (`syncrep_gram.y`, `syncrep_scanner.l` of
//! PostgreSQL 10 to 18), and texts for it.

use std::fmt;

use crate::quoted::quoted;

/// More standbys than any server can have: `max_wal_senders` is at most 262143 (`MAX_BACKENDS`).
const HELD: u32 = 1_000_000;

/// Which standbys a commit waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StandbyNames {
    /// None: the setting is empty.
    Off,
    /// The first `count` connected ones in the order of the list (`FIRST count (…)`, and a plain
    /// list with count 1).
    First {
        /// How many, at least 1.
        count: u32,
        /// The names in order of priority.
        names: Vec<StandbyName>,
    },
    /// Any `count` of the list (`ANY count (…)`).
    Any {
        /// How many, at least 1.
        count: u32,
        /// The names.
        names: Vec<StandbyName>,
    },
}

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StandbyName {
    /// `*`, also when it is quoted: every standby.
    Every,
    /// A standby's `application_name`, compared without regard to case.
    Name(String),
}

impl StandbyName {
    /// Whether a standby that calls itself `application_name` is meant (PostgreSQL compares with
    /// `pg_strcasecmp`).
    #[must_use]
    pub fn matches(&self, application_name: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Name(name) => name.eq_ignore_ascii_case(application_name),
        }
    }
}

/// A value that PostgreSQL would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("synchronous_standby_names {} is malformed: {problem}", quoted(.text))]
pub struct StandbyNamesError {
    text: String,
    problem: &'static str,
}

impl StandbyNames {
    /// The setting for standbys in the order of priority, of which a commit waits for the first
    /// `count`; [`Self::Off`] for none.
    #[must_use]
    pub fn first<N: Into<String>>(count: u32, names: impl IntoIterator<Item = N>) -> Self {
        let names: Vec<StandbyName> = names
            .into_iter()
            .map(|name| StandbyName::Name(name.into()))
            .collect();
        if names.is_empty() || count == 0 {
            Self::Off
        } else {
            Self::First { count, names }
        }
    }

    /// The setting under which no commit is acknowledged while one of these standbys takes the place of
    /// another (R3): it asks for more standbys than a server can have. To wait for each of them would not
    /// do: PostgreSQL counts connections and not names, so that two links of one standby, of which the
    /// older is dead, count for both.
    #[must_use]
    pub fn held<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::first(HELD, names)
    }

    /// Whether it is one of [`Self::held`].
    #[must_use]
    pub fn holds_commits(&self) -> bool {
        matches!(self, Self::First { count: HELD, .. })
    }

    /// Whether every commit waits for as many connections as the list has entries.
    #[must_use]
    pub fn waits_for_each(&self) -> bool {
        match self {
            Self::Off => true,
            Self::First { count, names } | Self::Any { count, names } => {
                usize::try_from(*count).is_ok_and(|count| count >= names.len())
            }
        }
    }

    /// The entries of the list.
    #[must_use]
    pub fn names(&self) -> &[StandbyName] {
        match self {
            Self::Off => &[],
            Self::First { names, .. } | Self::Any { names, .. } => names,
        }
    }

    /// Whether the list has an entry for this standby.
    #[must_use]
    pub fn contains(&self, application_name: &str) -> bool {
        self.names()
            .iter()
            .any(|name| name.matches(application_name))
    }
}

impl fmt::Display for StandbyNames {
    /// Writes the value so that PostgreSQL reads exactly it: names always quoted, since an unquoted
    /// one may contain no `-` or `.`, and `first` and `any` are words of the grammar. The form
    /// without a count is understood by every version.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[StandbyName]| -> String {
            names
                .iter()
                .map(|name| match name {
                    StandbyName::Every => "*".to_owned(),
                    StandbyName::Name(name) => format!("\"{}\"", name.replace('"', "\"\"")),
                })
                .collect::<Vec<_>>()
                .join(",")
        };
        match self {
            Self::Off => Ok(()),
            Self::First { count: 1, names } => f.write_str(&list(names)),
            Self::First { count, names } => write!(f, "FIRST {count} ({})", list(names)),
            Self::Any { count, names } => write!(f, "ANY {count} ({})", list(names)),
        }
    }
}

/// What the setting of a primary is to the agent, which itself writes every form but the last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Waits {
    /// Commits wait for nobody.
    ForNobody,
    /// Every commit waits for this standby.
    For(String),
    /// No commit passes, because one of these standbys takes the place of another ([`StandbyNames::held`]).
    Held(Vec<String>),
    /// The text of a setting that somebody else has made. It is said of no standby that commits wait for
    /// it, also where the setting asks for each of several: PostgreSQL counts connections and not names.
    Foreign(String),
}

impl Waits {
    /// The names of the standbys; of a foreign setting its text, which is no standby's name.
    #[must_use]
    pub fn names(&self) -> &[String] {
        match self {
            Self::ForNobody => &[],
            Self::For(name) | Self::Foreign(name) => std::slice::from_ref(name),
            Self::Held(names) => names,
        }
    }

    /// Whether no commit passes.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held(_))
    }
}

impl From<&StandbyNames> for Waits {
    fn from(setting: &StandbyNames) -> Self {
        let texts = |names: &[StandbyName]| -> Option<Vec<String>> {
            let text = |name: &StandbyName| match name {
                StandbyName::Every => None,
                StandbyName::Name(name) => Some(name.clone()),
            };
            names.iter().map(text).collect()
        };
        let own = match setting {
            StandbyNames::Off => Some(Self::ForNobody),
            StandbyNames::First { count: HELD, names } => texts(names).map(Self::Held),
            StandbyNames::First { count: 1, names } => match &names[..] {
                [StandbyName::Name(name)] => Some(Self::For(name.clone())),
                _ => None,
            },
            StandbyNames::First { .. } | StandbyNames::Any { .. } => None,
        };
        own.unwrap_or_else(|| Self::Foreign(setting.to_string()))
    }
}

impl fmt::Display for Waits {
    /// The value of the setting.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForNobody => Ok(()),
            Self::For(name) => StandbyNames::first(1, [name]).fmt(f),
            Self::Held(names) => StandbyNames::held(names).fmt(f),
            Self::Foreign(text) => f.write_str(text),
        }
    }
}

/// The synchronous standby of a server that the cluster has not promoted: none can have this name, since
/// PostgreSQL cuts an `application_name` after 63 bytes. A standby that is opened by somebody else lets
/// its commits wait for it, and acknowledges none.
pub const NOBODY: &str =
    "nobody: this server was not promoted by the cluster, so that it acknowledges no commit";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    Number(String),
    Any,
    First,
    Comma,
    Open,
    Close,
}

impl std::str::FromStr for StandbyNames {
    type Err = StandbyNamesError;

    fn from_str(text: &str) -> Result<Self, StandbyNamesError> {
        let error = |problem| StandbyNamesError {
            text: text.to_owned(),
            problem,
        };
        // PostgreSQL looks at the grammar only if there is any text; blanks alone are an error.
        if text.is_empty() {
            return Ok(Self::Off);
        }
        let tokens = tokens(text).map_err(error)?;
        config(&tokens).map_err(error)
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' | '\x0B' | '\x0C' => {}
            ',' => tokens.push(Token::Comma),
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            '*' => tokens.push(Token::Name("*".to_owned())),
            '"' => {
                let mut name = String::new();
                loop {
                    match characters.next() {
                        None => return Err("a quoted name has no closing quote"),
                        Some('"') if characters.next_if_eq(&'"').is_some() => name.push('"'),
                        Some('"') => break,
                        Some(other) => name.push(other),
                    }
                }
                tokens.push(Token::Name(name));
            }
            '0'..='9' => {
                let mut number = String::from(character);
                while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                    number.push(digit);
                }
                tokens.push(Token::Number(number));
            }
            first if is_letter(first) => {
                let mut name = String::from(first);
                let inside = |c: &char| is_letter(*c) || c.is_ascii_digit() || *c == '$';
                while let Some(next) = characters.next_if(inside) {
                    name.push(next);
                }
                tokens.push(match name.to_ascii_lowercase().as_str() {
                    "any" => Token::Any,
                    "first" => Token::First,
                    _ => Token::Name(name),
                });
            }
            _ => {
                return Err("an unquoted name has letters, digits, _ and $ only: quote it with \"");
            }
        }
    }
    Ok(tokens)
}

/// The scanner takes every byte above 127 as a letter.
fn is_letter(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_' || !character.is_ascii()
}

fn config(tokens: &[Token]) -> Result<StandbyNames, &'static str> {
    match tokens {
        [] => Err("there are only blanks"),
        [
            Token::Any,
            Token::Number(number),
            Token::Open,
            list @ ..,
            Token::Close,
        ] => {
            let (count, names) = (positive(number)?, names(list)?);
            Ok(StandbyNames::Any { count, names })
        }
        [
            Token::First,
            Token::Number(number),
            Token::Open,
            list @ ..,
            Token::Close,
        ]
        | [Token::Number(number), Token::Open, list @ .., Token::Close] => {
            let (count, names) = (positive(number)?, names(list)?);
            Ok(StandbyNames::First { count, names })
        }
        list => Ok(StandbyNames::First {
            count: 1,
            names: names(list)?,
        }),
    }
}

fn positive(number: &str) -> Result<u32, &'static str> {
    // The hook that checks the setting refuses 0, and what is no int.
    match number
        .parse::<i32>()
        .ok()
        .and_then(|n| u32::try_from(n).ok())
    {
        Some(count) if count > 0 => Ok(count),
        _ => Err("the number of standbys is at least 1 and at most 2147483647"),
    }
}

fn names(tokens: &[Token]) -> Result<Vec<StandbyName>, &'static str> {
    tokens
        .split(|token| *token == Token::Comma)
        .map(|part| match part {
            [Token::Name(name)] if name == "*" => Ok(StandbyName::Every),
            [Token::Name(name) | Token::Number(name)] => Ok(StandbyName::Name(name.clone())),
            _ => Err("names separated by commas are expected"),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> StandbyNames {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(parse(""), StandbyNames::Off);
        assert_eq!(parse("node2"), StandbyNames::first(1, ["node2"]));
        assert_eq!(
            parse("\"node-2\" , n3"),
            StandbyNames::first(1, ["node-2", "n3"])
        );
        assert_eq!(parse("2 (a, b,c)"), StandbyNames::first(2, ["a", "b", "c"]));
        assert_eq!(parse("first 2(a,b)"), StandbyNames::first(2, ["a", "b"]));
        assert_eq!(parse("1"), StandbyNames::first(1, ["1"]));
        assert_eq!(parse("\"a\"\"b\""), StandbyNames::first(1, ["a\"b"]));
        assert_eq!(
            parse("ANY 1 (*)"),
            StandbyNames::Any {
                count: 1,
                names: vec![StandbyName::Every]
            }
        );
        assert!(parse("*").contains("whatever"));
        assert!(parse("Node2").contains("node2"));
        assert!(!parse("node2").contains("node3"));
    }

    #[test]
    fn what_postgresql_refuses_is_refused_and_quoted() {
        for text in [
            "node-2",
            "a b",
            "a,",
            ",a",
            "a,,b",
            "0 (a)",
            "FIRST (a)",
            "ANY 1 a",
            "2 (a",
            "\"a",
            "2 ()",
            "()",
            "any",
            "FIRST 99999999999 (a)",
            "-1 (a)",
            "a;b",
            "'a'",
            " ",
        ] {
            let error = text.parse::<StandbyNames>().unwrap_err().to_string();
            assert!(error.contains(&quoted(text)), "{error}");
        }
    }

    #[test]
    fn the_text_is_understood_by_every_version_where_it_can_be() {
        assert_eq!(
            StandbyNames::first(1, ["node-1", "any"]).to_string(),
            "\"node-1\",\"any\""
        );
        assert_eq!(
            StandbyNames::first(2, ["a", "b"]).to_string(),
            "FIRST 2 (\"a\",\"b\")"
        );
        assert_eq!(StandbyNames::Off.to_string(), "");
        assert_eq!(
            StandbyNames::first(1, Vec::<String>::new()),
            StandbyNames::Off
        );
    }

    #[test]
    fn what_the_agent_writes_is_known_from_what_others_do() {
        let held = StandbyNames::held(["a", "b"]);
        assert_eq!(held.to_string(), "FIRST 1000000 (\"a\",\"b\")");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for (text, own) in [
            ("", Waits::ForNobody),
            ("\"a\"", Waits::For("a".to_owned())),
            (
                "FIRST 1000000 (\"a\",\"b\")",
                Waits::Held(names(&["a", "b"])),
            ),
        ] {
            assert_eq!(Waits::from(&parse(text)), own);
            assert_eq!(own.to_string(), text);
        }
        for (text, each) in [
            // Two connections of one of them let a commit pass.
            ("FIRST 2 (\"a\",\"b\")", true),
            ("ANY 2 (\"a\",\"b\")", true),
            ("*", true),
            ("FIRST 1000000 (*)", true),
            // Whichever is there lets a commit pass.
            ("\"a\",\"b\"", false),
            ("ANY 1 (\"a\",\"b\")", false),
        ] {
            let setting = parse(text);
            assert_eq!(setting.waits_for_each(), each, "{text}");
            assert_eq!(Waits::from(&setting), Waits::Foreign(text.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            count in 1u32..5,
            any: bool,
            names in prop::collection::vec("[^\\x00*]{1,10}", 1..4),
        ) {
            let first = StandbyNames::first(count, names);
            let config = match first {
                StandbyNames::First { count, names } if any => StandbyNames::Any { count, names },
                other => other,
            };
            prop_assert_eq!(config.to_string().parse::<StandbyNames>().unwrap(), config);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<StandbyNames>();
        }
    }
}
