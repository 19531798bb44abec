//! Readers of single values. Each returns what is wrong as the rest of the sentence that begins
//! with the parameter's name and value.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::names::NodeName;
use crate::ocf::parse_boolean;

/// What is wrong with a value, and what is allowed.
pub(super) type Problem = String;

/// One line: no NUL, which no argument and no file of settings can carry, and no line break or
/// other control character, which would end the line that the value is written to.
pub(super) fn one_line(value: &str) -> Result<String, Problem> {
    match value.chars().find(|character| character.is_control()) {
        None => Ok(value.to_owned()),
        Some(character) => Err(format!(
            "contains the control character {}: one line of text is allowed",
            character.escape_debug()
        )),
    }
}

/// An absolute path of one line.
pub(super) fn path(value: &str) -> Result<String, Problem> {
    let path = one_line(value)?;
    if !path.starts_with('/') {
        return Err("is no absolute path: it must begin with /".to_owned());
    }
    if path.split('/').any(|part| part == "..") {
        return Err("contains ..: write the path without it".to_owned());
    }
    // A trailing slash would make two names for one directory.
    let trimmed = path.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}

/// A boolean in any spelling that Pacemaker accepts.
pub(super) fn boolean(value: &str) -> Result<bool, Problem> {
    parse_boolean(value.trim()).ok_or_else(|| {
        "is no boolean: true or false is allowed (also yes, no, on, off, 1, 0)".into()
    })
}

/// A whole number of digits only, within the limits.
pub(super) fn integer(value: &str, least: u32, most: u32) -> Result<u32, Problem> {
    let text = value.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("is not allowed: a whole number from {least} to {most} is"))
}

/// A time with the units of Pacemaker's own options (`s`, `ms`, `us`, `m`, `h` and their longer
/// spellings); without a unit, seconds.
pub(super) fn seconds(value: &str, least: u32, most: u32) -> Result<Duration, Problem> {
    let text = value.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let microseconds = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "s" | "sec" => Some(1_000_000),
        "ms" | "msec" => Some(1_000),
        "us" | "usec" => Some(1),
        "m" | "min" => Some(60_000_000),
        "h" | "hr" => Some(3_600_000_000),
        _ => None,
    };
    let limits = Duration::from_secs(least.into())..=Duration::from_secs(most.into());
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(microseconds?))
        .map(Duration::from_micros)
        .filter(|time| limits.contains(time))
        .ok_or_else(|| {
            format!(
                "is not allowed: a time from {least} to {most} seconds is (90, 90s, 1500ms, 2min)"
            )
        })
}

/// Node names separated by white space, none twice.
pub(super) fn node_list(value: &str) -> Result<Vec<NodeName>, Problem> {
    let mut nodes: Vec<NodeName> = Vec::new();
    let mut known = BTreeSet::new();
    for word in value.split_whitespace() {
        let node: NodeName = word
            .parse()
            .map_err(|error| format!("is not usable: {error}"))?;
        if !known.insert(node.clone()) {
            return Err(format!("names {node} twice"));
        }
        nodes.push(node);
    }
    Ok(nodes)
}

/// Words as a shell would split them, without expanding anything.
pub(super) fn words(value: &str) -> Result<Vec<String>, Problem> {
    let line = one_line(value)?;
    shlex::split(&line)
        .ok_or_else(|| "has an unclosed quote or ends in a backslash: close it".to_owned())
}

/// A host name, an address, or where allowed a directory; it becomes part of a connection string.
pub(super) fn host(value: &str) -> Result<String, Problem> {
    let text = value.trim();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if text.starts_with('-') || !text.chars().all(allowed) {
        return Err("is no host name and no address".to_owned());
    }
    Ok(text.to_owned())
}

/// A host as [`host`], or an absolute directory of a socket.
pub(super) fn host_or_directory(value: &str) -> Result<String, Problem> {
    if value.starts_with('/') {
        path(value)
    } else {
        host(value).map_err(|problem| format!("{problem}, nor an absolute directory"))
    }
}

/// Hosts for ssh, separated by white space or commas, optionally `user@host`.
pub(super) fn ssh_hosts(value: &str) -> Result<Vec<String>, Problem> {
    value
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .map(|word| {
            let (user, name) = word.split_once('@').unwrap_or(("root", word));
            let user_is_plain = user
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
            if user.is_empty() || user.starts_with('-') || !user_is_plain || name.is_empty() {
                return Err("is not usable: host names separated by spaces are allowed".to_owned());
            }
            host(name).map(|_| word.to_owned())
        })
        .collect()
}

/// An operating system user's name, which goes into an argument list.
pub(super) fn user(value: &str) -> Result<String, Problem> {
    let text = value.trim();
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '$' | '@');
    if text.starts_with('-') || !text.chars().all(allowed) {
        return Err("is no user name".to_owned());
    }
    Ok(text.to_owned())
}

/// PostgreSQL's limit for the length of an identifier in bytes (`NAMEDATALEN` - 1).
pub(super) const IDENTIFIER: usize = 63;

/// What a replication slot's name may begin with (`ReplicationSlotValidateName`).
pub(super) fn slot_prefix(value: &str) -> Result<String, Problem> {
    let text = value.trim();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if text.len() > IDENTIFIER || !text.bytes().all(allowed) {
        return Err("is not allowed: lower-case letters, digits and _ are".to_owned());
    }
    Ok(text.to_owned())
}

/// The longest name of a lock's table: names of the history and the trigger are made of it by
/// adding to it, and must stay below [`IDENTIFIER`].
const LOCK_TABLE: usize = 50;

/// The lock's table and name. The table becomes part of SQL texts, so only plain identifiers,
/// optionally with a schema, are allowed.
pub(super) fn lock_name(value: &str) -> Result<(String, String), Problem> {
    let text = value.trim();
    let (table, name) = text.split_once(':').unwrap_or(("distlock", text));
    let identifier = |part: &str| {
        part.len() <= LOCK_TABLE
            && part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    if table.split('.').count() > 2 || !table.split('.').all(identifier) {
        return Err("names no usable table: TABLE:NAME is expected, the table of lower-case letters, digits and _, optionally after a schema and a dot".to_owned());
    }
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err("names no lock: TABLE:NAME or NAME is expected".to_owned());
    }
    Ok((table.to_owned(), name.to_owned()))
}
