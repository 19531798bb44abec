//! Which lock service is configured.

use crate::secret::Secret;

/// The lock service.
#[derive(Clone, PartialEq, Eq)]
pub enum LockService {
    /// None.
    Off,
    /// Commands of the user's own.
    External {
        /// The words of the command that takes the lock; may hold a password.
        lock: Vec<String>,
        /// The words of the command that releases it.
        unlock: Vec<String>,
    },
    /// A row in a PostgreSQL outside the cluster, changed without a child process.
    Builtin {
        /// How to reach it.
        conninfo: Secret,
        /// The table, optionally with a schema; a plain lower-case identifier.
        table: String,
        /// The lock's name in it.
        lockname: String,
    },
}

impl LockService {
    /// The same with `@owner` replaced in every word of the external commands. It is done after
    /// splitting, so that a name cannot become several words.
    #[must_use]
    pub fn with_owner(&self, owner: &str) -> Self {
        let replace = |words: &Vec<String>| -> Vec<String> {
            words
                .iter()
                .map(|word| word.replace("@owner", owner))
                .collect()
        };
        match self {
            Self::External { lock, unlock } => Self::External {
                lock: replace(lock),
                unlock: replace(unlock),
            },
            other => other.clone(),
        }
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Whether it is the built-in one, which knows who holds the data and not only the lock.
    #[must_use]
    pub const fn is_builtin(&self) -> bool {
        matches!(self, Self::Builtin { .. })
    }
}

impl std::fmt::Debug for LockService {
    /// Shows the program of an external command and none of its arguments: old configurations
    /// have connection strings with passwords in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::External { lock, unlock } => f
                .debug_struct("External")
                .field("lock", &lock.first())
                .field("unlock", &unlock.first())
                .finish(),
            Self::Builtin {
                table, lockname, ..
            } => f
                .debug_struct("Builtin")
                .field("conninfo", &"***")
                .field("table", table)
                .field("lockname", lockname)
                .finish(),
        }
    }
}
