//! The one place that prints.
//!
//! What was asked for goes to standard output; progress and errors go to standard error, so that a
//! script can read the one without the other. Colour only on a terminal, and not where `NO_COLOR`
//! says so.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};

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
    /// The last progress text, so that nothing is said twice.
    said: RefCell<String>,
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
            said: RefCell::new(String::new()),
        }
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
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n'));
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
        let _ = writeln!(std::io::stderr(), "cls: {error}\n  next: {}", error.hint());
    }

    /// Empties the screen, where there is one.
    pub(crate) fn clear(&self) {
        if std::io::stdout().is_terminal() {
            let _ = write!(std::io::stdout(), "\x1b[H\x1b[2J");
        }
    }
}
