//! What an operator is told, in the language of whoever reads it.
//!
//! A message is written where it is known, in English, by [`message!`](crate::message!). Its Chinese is in the one
//! table of `message/zh.rs`: a message that is not there, or has other names there, does not compile.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::names::NodeName;

#[cfg(test)]
mod tests;
mod zh;

/// A language that messages are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// What programs are given too, and what every message is written in.
    English,
    /// Simplified Chinese.
    Chinese,
}

impl Language {
    /// What a locale such as `zh_CN.UTF-8` asks for. Its characters are written in UTF-8 or not at all: in another
    /// character set, or in one that is not said, English can be read.
    #[must_use]
    pub fn of_locale(locale: &str) -> Self {
        let plain = locale.split('@').next().unwrap_or_default();
        let (place, characters) = plain.split_once('.').unwrap_or_default();
        let utf8 = ["utf-8", "utf8"].map(|name| characters.eq_ignore_ascii_case(name));
        match place.split('_').next() {
            Some("zh") if utf8.contains(&true) => Self::Chinese,
            _ => Self::English,
        }
    }
}

/// A sentence, or a part of one. [`fmt::Display`] and serde give it in English.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    english: &'static str,
    chinese: &'static str,
    arguments: Vec<(&'static str, Argument)>,
}

/// What stands in the place of a name in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// The same in every language: a name, a number, what another program has said.
    Text(String),
    /// A part that has a translation of its own.
    Message(Message),
}

/// What can stand in the place of a name in braces.
pub trait Say {
    /// As it is said there.
    fn say(&self) -> Argument;
}

macro_rules! the_same_in_every_language {
    ($($type:ty),+) => {
        $(impl Say for $type {
            fn say(&self) -> Argument {
                Argument::Text(self.to_string())
            }
        })+
    };
}

the_same_in_every_language!(str, NodeName, i32, u32, u64, usize);

impl Say for Message {
    fn say(&self) -> Argument {
        Argument::Message(self.clone())
    }
}

/// A [`Message`]: an English text with names in braces, and after it each name, with `= value` where the value is
/// not a variable of that name. How a number is written is decided before.
#[macro_export]
macro_rules! message {
    ($english:literal $(, $name:ident $(= $value:expr)?)* $(,)?) => {{
        #[allow(unused_imports, reason = "a message without a name needs none")]
        use $crate::message::Say as _;
        const CHINESE: &str = $crate::message::chinese($english, &[$(stringify!($name)),*]);
        $crate::message::Message::new(
            $english,
            CHINESE,
            vec![$((stringify!($name), $crate::message!(@value $name $(= $value)?).say())),*],
        )
    }};
    (@value $name:ident) => { $name };
    (@value $name:ident = $value:expr) => { $value };
}

impl Message {
    /// For [`message!`](crate::message!) alone.
    #[doc(hidden)]
    #[must_use]
    pub fn new(
        english: &'static str,
        chinese: &'static str,
        arguments: Vec<(&'static str, Argument)>,
    ) -> Self {
        Self {
            english,
            chinese,
            arguments,
        }
    }

    /// All of them: `node1 and node2`.
    #[must_use]
    pub fn all(names: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(names, |before, name| {
            message!("{before} and {name}", before, name)
        })
    }

    /// Any of them: `node1 or node2`.
    #[must_use]
    pub fn any(names: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(names, |before, name| {
            message!("{before} or {name}", before, name)
        })
    }

    /// Several that stand for themselves: `one; two`.
    #[must_use]
    pub fn several(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(parts, |before, name| {
            message!("{before}; {name}", before, name)
        })
    }

    fn joined(names: impl IntoIterator<Item = Self>, by: fn(Self, Self) -> Self) -> Self {
        let joined = names.into_iter().reduce(by);
        joined.unwrap_or_else(|| Self::from(""))
    }

    /// The message in a language.
    #[must_use]
    pub fn in_language(&self, language: Language) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(language, &mut text);
        text
    }

    fn write(&self, language: Language, text: &mut dyn fmt::Write) -> fmt::Result {
        let mut rest = match language {
            Language::English => self.english,
            Language::Chinese => self.chinese,
        };
        while let Some((before, behind)) = rest.split_once('{') {
            text.write_str(before)?;
            let (name, behind) = behind.split_once('}').unwrap_or((behind, ""));
            let argument = self.arguments.iter().find(|(known, _)| *known == name);
            match argument {
                Some((_, Argument::Text(value))) => text.write_str(value)?,
                Some((_, Argument::Message(part))) => part.write(language, text)?,
                None => {}
            }
            rest = behind;
        }
        text.write_str(rest)
    }
}

/// What has no translation: a name, or what another program has said.
impl<T: AsRef<str>> From<T> for Message {
    fn from(text: T) -> Self {
        message!("{text}", text = text.as_ref())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(Language::English, f)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Every text that there is, in both languages, with names in braces.
pub fn every_text() -> impl Iterator<Item = &'static str> {
    zh::TEXTS
        .iter()
        .flat_map(|(english, chinese)| [*english, *chinese])
}

/// The Chinese of a message, found while the program is compiled. For [`message!`](crate::message!) alone.
///
/// # Panics
/// Where the table has none, or one of the two texts does not have exactly these names in braces.
#[doc(hidden)]
#[must_use]
pub const fn chinese(english: &str, names: &[&str]) -> &'static str {
    let mut at = 0;
    while at < zh::TEXTS.len() {
        let (known, chinese) = zh::TEXTS[at];
        if known.len() == english.len() && begins(known.as_bytes(), english.as_bytes()) {
            if !has_names(english.as_bytes(), names) || !has_names(chinese.as_bytes(), names) {
                panic!("{}", english);
            }
            return chinese;
        }
        at += 1;
    }
    // No entry of message/zh.rs is of this text.
    panic!("{}", english)
}

const fn begins(text: &[u8], with: &[u8]) -> bool {
    let mut at = 0;
    while at < with.len() {
        if at == text.len() || text[at] != with[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether each of these names stands in braces in the text, and no other one.
const fn has_names(text: &[u8], names: &[&str]) -> bool {
    let mut seen = [false; 8];
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'{' {
            let (_, behind) = text.split_at(at + 1);
            let mut which = 0;
            while which < names.len() && !is_name(behind, names[which]) {
                which += 1;
            }
            if which == names.len() {
                return false;
            }
            seen[which] = true;
        }
        at += 1;
    }
    let mut which = 0;
    while which < names.len() {
        if !seen[which] {
            return false;
        }
        which += 1;
    }
    true
}

const fn is_name(text: &[u8], name: &str) -> bool {
    let length = name.len();
    begins(text, name.as_bytes()) && text.len() > length && text[length] == b'}'
}
