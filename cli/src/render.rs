//! The one place that prints.
//!
//! What was asked for goes to standard output; progress and errors go to standard error, so that a
//! script can read the one without the other. Colour only on a terminal, and not where `NO_COLOR`
//! says so.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use pha_core::health::Level;
use pha_core::message;
use pha_core::message::{Language, Message};
use serde::Serialize;
use serde_json::{Value, json};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::error::ClsError;

/// Where a command prints to, and how.
#[derive(Debug)]
pub(crate) struct Ui {
    json: bool,
    /// An operator or his script reads, and not this program on another node.
    operator: bool,
    quiet: bool,
    colour: bool,
    /// What the operator reads.
    language: Language,
    /// How wide the terminal is; none where the reader is no terminal, and lines stay whole for programs.
    columns: Option<usize>,
    /// The last progress text, so that nothing is said twice.
    said: RefCell<String>,
    /// Whoever read what was asked for does so no more.
    unread: Cell<bool>,
}

/// The form of the documents; it grows when a name in one of them changes its meaning or goes.
const VERSION: u32 = 1;

/// A document for those who asked for one.
#[derive(Serialize)]
struct Document<'v, T> {
    version: u32,
    #[serde(flatten)]
    value: &'v T,
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
    /// Prints text, or JSON only; says nothing on the way when `quiet`. Where no operator but this program on
    /// another node reads, in English.
    pub(crate) fn new(json: bool, quiet: bool, operator: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            json,
            operator,
            quiet,
            colour: wanted && !json && std::io::stdout().is_terminal(),
            language: match operator && !json {
                true => language(|name| std::env::var(name).ok()),
                false => Language::English,
            },
            columns: columns(&std::io::stdout()),
            said: RefCell::new(String::new()),
            unread: Cell::new(false),
        }
    }

    /// A message as the operator reads it.
    pub(crate) fn say(&self, message: &Message) -> String {
        message.in_language(self.language)
    }

    /// What the operator reads.
    pub(crate) fn language(&self) -> Language {
        self.language
    }

    /// What to type next, as a line behind so many blanks.
    pub(crate) fn next(&self, indent: usize, next: &Message) {
        let label = self.say(&message!("next:"));
        let text = self.wrapped(indent + width(&label) + 1, &self.say(next));
        self.print(&format!("{:indent$}{label} {text}", ""));
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

    /// What was asked for, as JSON: `docs/cls.schema.json` has what is in it.
    pub(crate) fn print_json(&self, value: &impl Serialize) {
        let text = match self.operator {
            true => serde_json::to_string_pretty(&Document {
                version: VERSION,
                value,
            }),
            false => serde_json::to_string_pretty(value),
        };
        let text = text.unwrap_or_else(|error| json!({ "error": error.to_string() }).to_string());
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
        let what = wrapped(columns, 5, &self.say(&error.what()));
        let label = self.say(&message!("next:"));
        let next = wrapped(columns, 3 + width(&label), &self.say(&error.hint()));
        let _ = writeln!(std::io::stderr(), "cls: {what}\n  {label} {next}");
    }

    /// Empties the screen, where there is one.
    pub(crate) fn clear(&self) {
        if std::io::stdout().is_terminal() {
            let _ = write!(std::io::stdout(), "\x1b[H\x1b[2J");
        }
    }
}

/// The language that the environment asks for, as POSIX says: the first of these that is set and not empty. The
/// console of Linux has no Chinese characters, whatever the locale is.
fn language(variable: impl Fn(&str) -> Option<String>) -> Language {
    if variable("TERM").as_deref() == Some("linux") {
        return Language::English;
    }
    let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(set);
    Language::of_locale(&locale.unwrap_or_default())
}

/// How many columns a text takes on a terminal: a Chinese character takes two.
pub(crate) fn width(text: &str) -> usize {
    text.width()
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

/// Breaks a text at blanks, and beside Chinese characters, which have none. A word that is longer than a
/// line, such as a path, stays whole: it may be copied.
fn wrapped(columns: Option<usize>, indent: usize, text: &str) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    let lines = text.split('\n').enumerate().map(|(number, line)| {
        if number == 0 {
            return wrapped_line(columns, indent, line);
        }
        // A line of its own begins where it says.
        let rest = line.trim_start_matches(' ');
        let blanks = line.len() - rest.len();
        format!("{:blanks$}{}", "", wrapped_line(columns, blanks, rest))
    });
    lines.collect::<Vec<String>>().join("\n")
}

fn wrapped_line(columns: usize, indent: usize, text: &str) -> String {
    let mut lines = String::with_capacity(text.len());
    let mut used = indent;
    for word in text.split(' ') {
        let mut blank = usize::from(used > indent);
        for piece in pieces(word) {
            let length = width(piece);
            if used > indent && used + blank + length > columns {
                lines.push('\n');
                lines.extend(std::iter::repeat_n(' ', indent));
                used = indent;
            } else if blank > 0 {
                lines.push(' ');
                used += 1;
            }
            lines.push_str(piece);
            used += length;
            blank = 0;
        }
    }
    lines
}

/// The parts of a word between which a line may end: at either side of a wide character, but not before
/// what closes and not behind what opens. An empty word is one empty part.
fn pieces(word: &str) -> Vec<&str> {
    const CLOSES: &str = "，。；：、！？）》”’…,.;:!?)]";
    const OPENS: &str = "（《“‘([";
    let is_wide = |character: char| character.width() == Some(2);
    let mut pieces = Vec::new();
    let mut begin = 0;
    let mut before: Option<char> = None;
    for (at, character) in word.char_indices() {
        if let Some(before) = before
            && (is_wide(before) || is_wide(character))
            && !CLOSES.contains(character)
            && !OPENS.contains(before)
        {
            pieces.push(&word[begin..at]);
            begin = at;
        }
        before = Some(character);
    }
    pieces.push(&word[begin..]);
    pieces
}

#[cfg(test)]
mod tests {
    use pha_core::message::Language;

    use super::{language, pieces, width, wrapped};

    #[test]
    fn the_first_variable_that_is_set_says_the_language() {
        let of = |set: &[(&str, &str)]| {
            language(|name| {
                let mut set = set.iter();
                let found = set.find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let (zh, en) = ("zh_CN.UTF-8", "en_US.UTF-8");
        assert_eq!(of(&[]), Language::English);
        assert_eq!(of(&[("LANG", zh)]), Language::Chinese);
        assert_eq!(of(&[("LANG", zh), ("LC_MESSAGES", en)]), Language::English);
        assert_eq!(of(&[("LANG", en), ("LC_MESSAGES", zh)]), Language::Chinese);
        assert_eq!(
            of(&[("LC_MESSAGES", zh), ("LC_ALL", "C")]),
            Language::English
        );
        assert_eq!(of(&[("LANG", zh), ("LC_ALL", "")]), Language::Chinese);
        assert_eq!(of(&[("LANG", zh), ("TERM", "xterm")]), Language::Chinese);
        assert_eq!(of(&[("LANG", zh), ("TERM", "linux")]), Language::English);
    }

    /// Where a line may end within a word, shown by a bar.
    #[test]
    fn a_line_ends_beside_chinese_characters_but_not_before_what_closes() {
        for (word, expected) in [
            ("cls_status", "cls_status"),
            ("主库，备库。", "主|库，|备|库。"),
            ("执行cls_start；", "执|行|cls_start；"),
            ("（将停止）", "（将|停|止）"),
            ("“备库”）", "“备|库”）"),
            ("", ""),
        ] {
            assert_eq!(pieces(word).join("|"), expected);
        }
    }

    #[test]
    fn no_message_is_wider_than_a_terminal() {
        for text in pha_core::message::every_text() {
            for columns in [40, 80] {
                let lines = wrapped(Some(columns), 13, text);
                for line in lines.lines() {
                    let line = line.trim_start();
                    // A word stays whole.
                    let fits = 13 + width(line) <= columns || !line.contains(' ');
                    assert!(fits, "{columns}: {line}");
                    assert!(
                        !line.starts_with(['，', '。', '；', '：', '）', '”']),
                        "{line}"
                    );
                }
                let bare = |text: &str| text.split_whitespace().collect::<String>();
                assert_eq!(bare(&lines), bare(text));
            }
        }
    }

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
