//! Which lock service is configured.

use crate::secret::Secret;

/// Who arbitrates between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arbiter {
    /// Nobody: Pacemaker's quorum and fencing alone.
    Off,
    /// `distlock_lock_cmd` and `distlock_unlock_cmd`: a mutex in time.
    External,
    /// The register of the built-in lock service (`distlock_conninfo`), rules R0 to R10. It knows who
    /// holds the data and not only the lock.
    Builtin,
}

/// The lock service as it is configured.
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

    /// Which kind it is.
    #[must_use]
    pub const fn arbiter(&self) -> Arbiter {
        match self {
            Self::Off => Arbiter::Off,
            Self::External { .. } => Arbiter::External,
            Self::Builtin { .. } => Arbiter::Builtin,
        }
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
