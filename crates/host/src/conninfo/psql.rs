//! The psql command of the specification's config.ini, of which the connection string is taken:
//! `/usr/bin/psql \\"host=node3 port=5439 dbname=postgres user=postgres connect_timeout=5\\"`.
//! The command itself is not run.

use super::parse::{self, ConninfoError, Settings};

/// psql's options that say how it behaves, not where it connects to: nothing is lost without them.
const WITHOUT_VALUE: &str = "aAbeEHLnqsStwxXz01";

fn syntax(text: &str) -> ConninfoError {
    ConninfoError::Syntax(text.to_owned())
}

/// The settings of a psql command; none when the text is no psql command.
pub(super) fn settings(text: &str) -> Result<Option<Settings>, ConninfoError> {
    // The specification's file escapes the quotes once or twice, for the shells that read it.
    let plain = unescaped_quotes(text);
    let program = plain.split_whitespace().next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    if program.contains('=') || name.trim_matches('"') != "psql" {
        return Ok(None);
    }
    let words = shlex::split(&plain)
        .ok_or_else(|| syntax("the psql command has a quotation that does not end"))?;
    let mut settings = Settings::new();
    let mut positional = 0;
    let mut words = words.into_iter().skip(1);
    while let Some(word) = words.next() {
        if let Some((keyword, value)) = option(&word, &mut words)? {
            add(&mut settings, keyword, value)?;
        } else if !word.starts_with('-') {
            let keyword = if positional == 0 { "dbname" } else { "user" };
            positional += 1;
            add(&mut settings, keyword, word)?;
        }
    }
    Ok(Some(settings))
}

/// The text without the backslashes before its double quotes, however many there are.
fn unescaped_quotes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for (index, part) in text.split('"').enumerate() {
        if index > 0 {
            plain.truncate(plain.trim_end_matches('\\').len());
            plain.push('"');
        }
        plain.push_str(part);
    }
    plain
}

fn add(settings: &mut Settings, keyword: &str, value: String) -> Result<(), ConninfoError> {
    if keyword == "dbname" && parse::is_uri(&value) {
        settings.extend(parse::uri(&value)?);
    } else if keyword == "dbname" && value.contains('=') {
        settings.extend(parse::keywords(&value)?);
    } else {
        settings.push((keyword.to_owned(), value));
    }
    Ok(())
}

/// The keyword and value of an option that says where to connect to; none for any other word.
fn option(
    word: &str,
    words: &mut impl Iterator<Item = String>,
) -> Result<Option<(&'static str, String)>, ConninfoError> {
    let keyword = |name: &str| match name {
        "h" | "host" => Some("host"),
        "p" | "port" => Some("port"),
        "U" | "username" => Some("user"),
        "d" | "dbname" => Some("dbname"),
        _ => None,
    };
    let mut next = || {
        words
            .next()
            .ok_or_else(|| syntax("the last option of the psql command has no value"))
    };
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        return match (keyword(name), value) {
            (Some(keyword), Some(value)) => Ok(Some((keyword, value))),
            (Some(keyword), None) => Ok(Some((keyword, next()?))),
            (None, _) => Ok(None),
        };
    }
    let Some(short) = word.strip_prefix('-').filter(|short| !short.is_empty()) else {
        return Ok(None);
    };
    let name = &short[..short.chars().next().map_or(0, char::len_utf8)];
    let attached = &short[name.len()..];
    match keyword(name) {
        Some(keyword) if attached.is_empty() => Ok(Some((keyword, next()?))),
        Some(keyword) => Ok(Some((keyword, attached.to_owned()))),
        None if short.chars().all(|c| WITHOUT_VALUE.contains(c)) => Ok(None),
        None => Err(syntax(
            "the psql command has an option other than -h -p -U -d; give the connection string alone",
        )),
    }
}
