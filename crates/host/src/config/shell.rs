//! The specification's form of the file: assignments as a shell reads them.
//!
//! It was read by `.` of a shell once. Here nothing is executed or expanded, and what a shell would
//! expand is an error rather than something silently different.

use super::entry::{Entry, Fault};

/// Reads the assignments in their order.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let assignment = trimmed.strip_prefix("export ").unwrap_or(trimmed);
        let fault = |problem: String| Fault::at(number, None, problem);
        let Some((key, rest)) = assignment.split_once('=') else {
            return Err(fault(
                "is no assignment: key=value is expected, or # before a comment".to_owned(),
            ));
        };
        if !is_name(key) {
            return Err(fault(format!(
                "{key:?} is no key: letters, digits and _ are allowed, and no space before ="
            )));
        }
        let value =
            value(rest).map_err(|problem| Fault::at(number, Some(key), problem.to_owned()))?;
        entries.push(Entry {
            key: key.to_owned(),
            value,
            line: number,
        });
    }
    Ok(entries)
}

/// Whether a text can be a key.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !text.starts_with(|first: char| first.is_ascii_digit())
}

/// One value: bare words, `'…'` and `"…"` in any succession, up to a blank.
fn value(text: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\'' => loop {
                match rest.next() {
                    Some('\'') => break,
                    Some(inner) => value.push(inner),
                    None => return Err("has an opening ' and no closing one in its line"),
                }
            },
            '"' => double_quoted(&mut rest, &mut value)?,
            '\\' => value.extend(rest.next()),
            '$' | '`' => return Err(EXPANSION),
            ';' | '|' | '&' | '<' | '>' | '(' | ')' => {
                return Err(
                    "has a character that a shell would act on; put the value into single quotes",
                );
            }
            blank if blank.is_whitespace() => {
                let after: String = rest.collect();
                let after = after.trim_start();
                if after.is_empty() || after.starts_with('#') {
                    return Ok(value);
                }
                return Err("has a space in it; put the value into quotes");
            }
            plain => value.push(plain),
        }
    }
    Ok(value)
}

const EXPANSION: &str = "has a $ or ` that a shell would expand; nothing is expanded here: write the value itself, or put it into single quotes";

fn double_quoted(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    value: &mut String,
) -> Result<(), &'static str> {
    loop {
        match rest.next() {
            Some('"') => return Ok(()),
            // POSIX: within double quotes a backslash is special before these only.
            Some('\\') => match rest.next_if(|next| matches!(next, '"' | '\\' | '$' | '`')) {
                Some(escaped) => value.push(escaped),
                None => value.push('\\'),
            },
            Some('$' | '`') => return Err(EXPANSION),
            Some(inner) => value.push(inner),
            None => return Err("has an opening \" and no closing one in its line"),
        }
    }
}
