//! What was begun in a data directory, as its mark says.
//!
//! The mark outlives the command that made it, and is read by other versions: one enum writes the words
//! and reads them.

use crate::decide::operator::Method;
use crate::text_enum::text_enum;

text_enum! {
    /// What makes data, and leaves a directory that is neither old nor new where it is interrupted.
    Begun, "what was begun" {
        /// A new database.
        Initdb = "initdb",
        /// The data of an old primary are rewound.
        Rewind = "pg_rewind",
        /// Everything is copied.
        Backup = "pg_basebackup",
    }
}

impl From<Method> for Begun {
    fn from(method: Method) -> Self {
        match method {
            Method::Rewind => Self::Rewind,
            Method::Backup => Self::Backup,
        }
    }
}

impl Begun {
    /// What a mark says. A word that is not understood counts as a rewind, after which nothing but a rebuild
    /// helps.
    #[must_use]
    pub fn of_mark(word: &str) -> Self {
        word.parse().unwrap_or(Self::Rewind)
    }
}
