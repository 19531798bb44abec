//! Enumerations whose variants have one fixed text each.

use std::fmt;
use std::str::FromStr;

use crate::quoted::quoted;

/// A text that is none of the words that are possible in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {} is not known: {} is expected", quoted(.text), .allowed.join(" or "))]
pub struct UnknownText {
    what: &'static str,
    text: String,
    allowed: Vec<&'static str>,
}

impl UnknownText {
    pub(crate) fn new(what: &'static str, text: &str, allowed: &[&'static str]) -> Self {
        Self {
            what,
            text: text.to_owned(),
            allowed: allowed.to_vec(),
        }
    }
}

/// A word that another version or another program has written: one that is known, or the text as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word<T> {
    /// One that is known.
    Known(T),
    /// Another one.
    Other(String),
}

impl<T: FromStr> Word<T> {
    /// Reads a word.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let known = text.parse().map(Self::Known);
        known.unwrap_or_else(|_| Self::Other(text.to_owned()))
    }
}

impl<T: fmt::Display> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(known) => known.fmt(f),
            Self::Other(text) => f.pad(text),
        }
    }
}

/// Declares an enumeration together with the texts of its variants: `ALL`, `as_str`, `Display`, a
/// strict `FromStr` and serde as that text. One declaration, so that reading and writing agree.
macro_rules! text_enum {
    (
        $(#[$meta:meta])*
        $name:ident, $what:literal {
            $( $(#[$variant_meta:meta])* $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The text of the variant, exactly as it is stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text_enum::UnknownText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $( $text => Ok(Self::$variant), )+
                    _ => Err($crate::text_enum::UnknownText::new($what, text, &[ $( $text, )+ ])),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use text_enum;
