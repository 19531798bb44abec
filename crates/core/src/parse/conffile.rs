//! PostgreSQL's configuration files: what they set and include, and the agent's own line in them.
//!
//! The lexical rules are those of PostgreSQL's `guc-file.l`. Files are bytes: a comment may be in
//! any encoding, and what is not ours is written back as it was.

use std::fmt;

use crate::quoted::quoted;

/// One directive and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The line, counted from 1.
    pub line: usize,
    /// What it says.
    pub directive: Directive,
}

/// What a line of a configuration file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    /// A setting.
    Set {
        /// Its name in lower case; names are compared without regard to case.
        name: String,
        /// Its value with quotes and escapes resolved.
        value: String,
    },
    /// `include`: another file, relative to the directory of this one.
    Include(String),
    /// `include_if_exists`: the same, and no error if there is none.
    IncludeIfExists(String),
    /// `include_dir`: every file of a directory whose name ends in `.conf` and does not begin with
    /// a dot, in the order of the C locale.
    IncludeDir(String),
}

/// A line that PostgreSQL would not accept either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {} is no setting: {problem}", quoted(.text))]
pub struct ConfError {
    /// The line, counted from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// What is wrong.
    pub problem: &'static str,
}

/// Reads a configuration file. The caller follows the includes, each at its place: of two settings
/// of one name the later one holds.
///
/// # Errors
/// [`ConfError`] for the first line that PostgreSQL would not accept.
pub fn scan(text: &[u8]) -> Result<Vec<Item>, ConfError> {
    items(text).collect()
}

/// The same, one directive after the other: a file of millions of lines is never held as millions of
/// directives. It goes on after a line that PostgreSQL would not accept.
pub fn items(text: &[u8]) -> impl Iterator<Item = Result<Item, ConfError>> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    lines.filter_map(|(index, line)| {
        let line_text = String::from_utf8_lossy(line);
        let line = index + 1;
        match scan_line(&line_text) {
            Ok(directive) => directive.map(|directive| Ok(Item { line, directive })),
            Err(problem) => Some(Err(ConfError {
                line,
                text: line_text.trim_end().to_owned(),
                problem,
            })),
        }
    })
}

/// The numbers of the lines that hold such a directive, in their order.
fn lines_of(text: &[u8], is_one: impl Fn(&Directive) -> bool) -> Result<Vec<usize>, ConfError> {
    let mut lines = Vec::new();
    for item in items(text) {
        let item = item?;
        if is_one(&item.directive) {
            lines.push(item.line);
        }
    }
    Ok(lines)
}

fn scan_line(line: &str) -> Result<Option<Directive>, &'static str> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\r');
    let rest = line.trim_start_matches(blank);
    if rest.is_empty() || rest.starts_with('#') {
        return Ok(None);
    }
    let (name, rest) = setting_name(rest).ok_or("it does not begin with a setting's name")?;
    let rest = rest.trim_start_matches(blank);
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    let rest = rest.trim_start_matches(blank);
    let (value, rest) = value(rest)?;
    let rest = rest.trim_start_matches(blank);
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err("there is something after the value");
    }
    let name = name.to_ascii_lowercase();
    Ok(Some(match name.as_str() {
        "include" => Directive::Include(value),
        "include_if_exists" => Directive::IncludeIfExists(value),
        "include_dir" => Directive::IncludeDir(value),
        _ => Directive::Set { name, value },
    }))
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

/// An identifier, or two with a dot between them.
fn setting_name(text: &str) -> Option<(&str, &str)> {
    let identifier = |text: &str| -> Option<usize> {
        let inside = |c: char| is_letter(c) || c.is_ascii_digit() || c == '$';
        text.starts_with(is_letter)
            .then(|| text.find(|c| !inside(c)).unwrap_or(text.len()))
    };
    let first = identifier(text)?;
    let end = match text[first..].strip_prefix('.').and_then(identifier) {
        Some(second) => first + 1 + second,
        None => first,
    };
    Some(text.split_at(end))
}

fn value(text: &str) -> Result<(String, &str), &'static str> {
    if let Some(inside) = text.strip_prefix('\'') {
        return quoted_value(inside).ok_or("its quoted value has no closing quote");
    }
    let unquoted = |c: char| {
        is_letter(c) || c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | '_' | ':' | '/' | '$')
    };
    let end = text.find(|c| !unquoted(c)).unwrap_or(text.len());
    if end == 0 {
        return Err("it has no value");
    }
    let (value, rest) = text.split_at(end);
    // Only numbers begin with a sign, a digit or a dot; `a:b` and paths begin with a letter, and
    // everything else has to be quoted.
    let is_number = value.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if is_number && value.contains([':', '/', '$', '_']) || value.starts_with([':', '/', '$']) {
        return Err("its value has to be quoted");
    }
    Ok((value.to_owned(), rest))
}

/// The rest of a quoted value: `''` is a quote, a backslash begins an escape as in C.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' => {
                if characters.next_if(|(_, next)| *next == '\'').is_none() {
                    return Some((value, &text[at + 1..]));
                }
                value.push('\'');
            }
            '\\' => {
                let (_, escaped) = characters.next()?;
                value.push(match escaped {
                    'b' => '\x08',
                    'f' => '\x0C',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    digit @ '0'..='7' => {
                        let mut code = u32::from(digit) - u32::from('0');
                        for _ in 0..2 {
                            match characters.next_if(|(_, next)| matches!(next, '0'..='7')) {
                                Some((_, next)) => {
                                    code = code * 8 + u32::from(next) - u32::from('0');
                                }
                                None => break,
                            }
                        }
                        // A byte; PostgreSQL cuts what does not fit, too.
                        char::from_u32(code & 0xFF).unwrap_or('?')
                    }
                    other => other,
                });
            }
            other => value.push(other),
        }
    }
    None
}

/// A value that no configuration file can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a value with a line break or another control character cannot be written to a PostgreSQL configuration file"
)]
pub struct ControlCharacter;

/// Writes a value for a configuration file: quoted, `'` doubled and `\` escaped.
///
/// # Errors
/// [`ControlCharacter`]: a line break would begin another setting.
pub fn quote_value(value: &str) -> Result<String, ControlCharacter> {
    if value.chars().any(char::is_control) {
        return Err(ControlCharacter);
    }
    Ok(format!(
        "'{}'",
        value.replace('\\', "\\\\").replace('\'', "''")
    ))
}

/// Writes one line that sets `name`, which is a literal of the program, to a value.
///
/// # Errors
/// [`ControlCharacter`], see [`quote_value`].
pub fn setting(name: &str, value: &str) -> Result<String, ControlCharacter> {
    Ok(format!("{name} = {}\n", quote_value(value)?))
}

/// Whether a file already is as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Ensured {
    /// Nothing to do.
    Unchanged,
    /// The new contents.
    Changed(Vec<u8>),
}

/// What the agent's line ends with.
const MARK: &str = "# written by the resource agent expgsql";

/// Makes the last directive of a configuration file the inclusion of the agent's own file, so that
/// what the agent sets holds. Earlier inclusions of the same file, and those of files in `replaced`
/// (what an agent that was here before has left), are removed; every other line stays as it is.
///
/// # Errors
/// [`ConfError`] for a file that PostgreSQL would not accept, or where a path cannot be written.
pub fn ensure_include(text: &[u8], path: &str, replaced: &[&str]) -> Result<Ensured, ConfError> {
    let (mut removed, mut last_is_ours) = (Vec::new(), false);
    for item in items(text) {
        let Item { line, directive } = item?;
        last_is_ours = matches!(&directive, Directive::IncludeIfExists(file) if file == path);
        match directive {
            Directive::Include(file) | Directive::IncludeIfExists(file)
                if file == path || replaced.contains(&file.as_str()) =>
            {
                removed.push(line);
            }
            _ => {}
        }
    }
    if last_is_ours && removed.len() == 1 {
        return Ok(Ensured::Unchanged);
    }
    let quoted_path = quote_value(path).map_err(|_| ConfError {
        line: 0,
        text: path.to_owned(),
        problem: "the path of the file to include has a control character",
    })?;
    let mut changed = without_lines(text, &removed);
    if !changed.is_empty() && !changed.ends_with(b"\n") {
        changed.push(b'\n');
    }
    changed.extend_from_slice(format!("include_if_exists {quoted_path} {MARK}\n").as_bytes());
    Ok(Ensured::Changed(changed))
}

/// Removes every line that sets one of these names.
///
/// # Errors
/// [`ConfError`] for a file that PostgreSQL would not accept.
pub fn without_settings(text: &[u8], names: &[&str]) -> Result<Ensured, ConfError> {
    let removed = lines_of(text, |directive| match directive {
        Directive::Set { name, .. } => names.contains(&name.as_str()),
        _ => false,
    })?;
    Ok(if removed.is_empty() {
        Ensured::Unchanged
    } else {
        Ensured::Changed(without_lines(text, &removed))
    })
}

/// The text without these lines, which are given in their order.
fn without_lines(text: &[u8], removed: &[usize]) -> Vec<u8> {
    let mut removed = removed.iter().copied().peekable();
    let mut rest = Vec::with_capacity(text.len());
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if removed.next_if_eq(&(index + 1)).is_none() {
            rest.extend_from_slice(line);
        }
    }
    rest
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { name, value } => write!(f, "{name} = {}", quoted(value)),
            Self::Include(path) => write!(f, "include {}", quoted(path)),
            Self::IncludeIfExists(path) => write!(f, "include_if_exists {}", quoted(path)),
            Self::IncludeDir(path) => write!(f, "include_dir {}", quoted(path)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(name: &str, value: &str) -> Directive {
        Directive::Set {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    fn directives(text: &str) -> Vec<Directive> {
        scan(text.as_bytes())
            .unwrap()
            .into_iter()
            .map(|item| item.directive)
            .collect()
    }

    #[test]
    fn settings_are_read_as_postgresql_does() {
        let text = "# comment\n\
            port = 5432\t# with a comment\r\n\
            Listen_Addresses '*'\n\
            shared_buffers=128MB\n\
            \n\
            ext.name = on\n\
            log_line_prefix = '%m [%p] ''it''s'' \\n\\101#'\n\
            random_page_cost = 1.5e-1\n\
            shared_preload_libraries = $libdir\n";
        let error = scan(text.as_bytes()).unwrap_err();
        assert_eq!(error.line, 9);
        let text = text.replace("$libdir", "'$libdir/x'");
        assert_eq!(
            directives(&text),
            [
                set("port", "5432"),
                set("listen_addresses", "*"),
                set("shared_buffers", "128MB"),
                set("ext.name", "on"),
                set("log_line_prefix", "%m [%p] 'it's' \nA#"),
                set("random_page_cost", "1.5e-1"),
                set("shared_preload_libraries", "$libdir/x"),
            ]
        );
    }

    #[test]
    fn includes_are_told_apart() {
        assert_eq!(
            directives("include 'a.conf'\nINCLUDE_IF_EXISTS = 'b'\ninclude_dir 'conf.d' # x\n"),
            [
                Directive::Include("a.conf".to_owned()),
                Directive::IncludeIfExists("b".to_owned()),
                Directive::IncludeDir("conf.d".to_owned()),
            ]
        );
    }

    #[test]
    fn broken_lines_are_quoted_with_their_number() {
        for line in [
            "port =",
            "= 5",
            "5 = x",
            "port = 5 6",
            "port = 'x",
            "port = 'x\\",
            "port : 5",
            "a=/tmp",
        ] {
            let error = scan(format!("x = 1\n{line}\n").as_bytes()).unwrap_err();
            assert_eq!(error.line, 2, "{error}");
            assert!(error.to_string().contains(&quoted(line)), "{error}");
        }
    }

    #[test]
    fn the_agents_line_is_last_and_there_once() {
        let path = "/var/lib/pgsql/tmp/it's.conf";
        let ensure = |text: &[u8]| ensure_include(text, path, &["/old/rep_mode.conf"]).unwrap();
        let Ensured::Changed(first) = ensure(b"port = 1 # \xE9t\xE9") else {
            panic!("a file without the line is not unchanged");
        };
        assert!(first.starts_with(b"port = 1 # \xE9t\xE9\ninclude_if_exists '/var"));
        assert_eq!(ensure(&first), Ensured::Unchanged);
        let mut with_more = first.clone();
        with_more.extend_from_slice(b"include '/old/rep_mode.conf' # x\n# end\nport = 2\n");
        let Ensured::Changed(second) = ensure(&with_more) else {
            panic!("a setting after the line would hold");
        };
        let text = String::from_utf8_lossy(&second).into_owned();
        assert!(!text.contains("rep_mode"), "{text}");
        assert_eq!(text.matches("include").count(), 1, "{text}");
        assert!(
            text.contains("# end\nport = 2\ninclude_if_exists"),
            "{text}"
        );
    }

    #[test]
    fn settings_are_removed_by_name() {
        let text = b"# ALTER SYSTEM\nport = '1'\nPrimary_Conninfo = 'x'\n";
        assert_eq!(
            without_settings(text, &["primary_conninfo"]).unwrap(),
            Ensured::Changed(b"# ALTER SYSTEM\nport = '1'\n".to_vec())
        );
        assert_eq!(
            without_settings(text, &["restore_command"]).unwrap(),
            Ensured::Unchanged
        );
    }

    #[test]
    fn values_cannot_end_their_line() {
        assert_eq!(quote_value("it's \\ x").unwrap(), "'it''s \\\\ x'");
        for value in ["a\nb", "a\rb", "a\0b"] {
            assert_eq!(quote_value(value), Err(ControlCharacter));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in "\\PC*") {
            let line = setting("restore_command", &value).unwrap();
            prop_assert_eq!(directives(&line), [set("restore_command", &value)]);
        }

        #[test]
        fn no_file_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = scan(&text);
            if let Ok(Ensured::Changed(changed)) = ensure_include(&text, "/x", &[]) {
                prop_assert_eq!(ensure_include(&changed, "/x", &[]).unwrap(), Ensured::Unchanged);
            }
        }
    }
}
