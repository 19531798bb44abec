//! The one place that prints.
//!
//! What was asked for goes to standard output; progress and errors go to standard error, so that a
//! script can read the one without the other. Colour only on a terminal, and not where `NO_COLOR`
//! says so.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use pha_core::health::Level;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ClsError;

/// Where a command prints to, and how.
#[derive(Debug)]
pub(crate) struct Ui {
    json: bool,
    quiet: bool,
    colour: bool,
    /// How wide the terminal is; none where the reader is no terminal, and lines stay whole for programs.
    columns: Option<usize>,
    /// The last progress text, so that nothing is said twice.
    said: RefCell<String>,
    /// Whoever read what was asked for does so no more.
    unread: Cell<bool>,
}

/// A colour with a meaning.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// To be looked at.
    Attention,
    /// To be mended.
    Bad,
    /// A heading.
    Heading,
}

impl From<Level> for Tone {
    fn from(level: Level) -> Self {
        match level {
            Level::Ok => Self::Good,
            Level::Warning => Self::Attention,
            Level::Critical => Self::Bad,
        }
    }
}

impl Ui {
    /// Prints text, or JSON only; says nothing on the way when `quiet`.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            json,
            quiet,
            colour: wanted && !json && std::io::stdout().is_terminal(),
            columns: columns(&std::io::stdout()),
            said: RefCell::new(String::new()),
            unread: Cell::new(false),
        }
    }

    /// A text that begins behind so many columns, broken at the end of the terminal's lines; the next ones
    /// begin below it.
    pub(crate) fn wrapped(&self, indent: usize, text: &str) -> String {
        wrapped(self.columns, indent, text)
    }

    /// Whether a terminal reads.
    pub(crate) fn is_terminal(&self) -> bool {
        self.columns.is_some()
    }

    /// Whether one JSON document is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A text in a colour, where there are colours.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Attention => "33",
            Tone::Bad => "31",
            Tone::Heading => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// What was asked for, as text.
    pub(crate) fn print(&self, text: &str) {
        // A reader that has gone away (`cls status | head -1`) is no failure.
        let written = writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n'));
        self.unread.set(written.is_err());
    }

    /// Whether the last text was printed for nobody: the reader has gone away.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    /// What was asked for, as JSON.
    pub(crate) fn print_json(&self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value)
            .unwrap_or_else(|error| json!({ "error": error.to_string() }).to_string());
        self.print(&text);
    }

    /// The end of a command that changed something: one sentence, or one JSON document.
    pub(crate) fn done(&self, sentence: &str, details: Value) {
        if self.json {
            let mut document = json!({ "result": "done", "message": sentence });
            if let (Some(document), Value::Object(details)) = (document.as_object_mut(), details) {
                document.extend(details);
            }
            self.print_json(&document);
        } else if !self.quiet {
            self.print(&self.paint(Tone::Good, sentence));
        }
    }

    /// What a command has said on another node, on the way and in the end.
    pub(crate) fn relay(&self, text: &str) {
        let _ = write!(std::io::stderr(), "{text}");
    }

    /// What is happening or being waited for; said once.
    pub(crate) fn progress(&self, text: &str) {
        if self.quiet || *self.said.borrow() == text {
            return;
        }
        text.clone_into(&mut self.said.borrow_mut());
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Asks the operator for one line.
    pub(crate) fn ask(&self, question: &str) -> String {
        let mut line = String::new();
        let _ = write!(std::io::stderr(), "{question}");
        // What cannot be read is no answer.
        let _ = std::io::stdin().read_line(&mut line);
        line.trim().to_owned()
    }

    /// Why the command ends, and what to type next.
    pub(crate) fn error(&self, error: &ClsError) {
        if self.json {
            self.print_json(&json!({
                "result": "failed",
                "error": error.to_string(),
                "next": error.hint(),
            }));
        }
        let columns = columns(&std::io::stderr());
        let what = wrapped(columns, 5, &error.to_string());
        let next = wrapped(columns, 8, error.hint());
        let _ = writeln!(std::io::stderr(), "cls: {what}\n  next: {next}");
    }

    /// Empties the screen, where there is one.
    pub(crate) fn clear(&self) {
        if std::io::stdout().is_terminal() {
            let _ = write!(std::io::stdout(), "\x1b[H\x1b[2J");
        }
    }
}

/// The width of a terminal; one that does not say it, or says nonsense, is as wide as most.
fn columns(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    const MOST: usize = 80;
    const LEAST: usize = 40;
    let size = || rustix::termios::tcgetwinsize(stream).ok();
    stream.is_terminal().then(|| {
        let said = size().map_or(MOST, |size| usize::from(size.ws_col));
        if said < LEAST { MOST } else { said }
    })
}

/// Breaks a text at blanks. A word that is longer than a line, such as a path, stays whole: it may be
/// copied.
fn wrapped(columns: Option<usize>, indent: usize, text: &str) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    let mut lines = String::with_capacity(text.len());
    let mut used = indent;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > indent && used + 1 + length > columns {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        } else if used > indent {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn a_text_is_broken_where_the_terminal_ends() {
        for (columns, indent, text, expected) in [
            (None, 5, "a text of any length", "a text of any length"),
            (
                Some(14),
                5,
                "a text of any length",
                "a text of\n     any\n     length",
            ),
            (
                Some(12),
                2,
                "/a/path/that/is/long and more",
                "/a/path/that/is/long\n  and more",
            ),
            (Some(80), 5, "", ""),
        ] {
            assert_eq!(wrapped(columns, indent, text), expected);
        }
    }
}
