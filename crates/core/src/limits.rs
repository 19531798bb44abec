//! The settings of which a standby needs at least as much as its primary has (PostgreSQL manual,
//! "Hot Standby", "Administrator's Overview").

use serde::{Deserialize, Serialize};

/// Their values, on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// `max_connections`.
    pub connections: u32,
    /// `max_worker_processes`.
    pub worker_processes: u32,
    /// `max_wal_senders`.
    pub wal_senders: u32,
    /// `max_prepared_transactions`.
    pub prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub locks_per_transaction: u32,
}

impl Limits {
    /// The names of the settings, in the order of [`Limits::from_values`].
    pub const SETTINGS: [&'static str; 5] = [
        "max_connections",
        "max_worker_processes",
        "max_wal_senders",
        "max_prepared_transactions",
        "max_locks_per_transaction",
    ];

    /// From values in the order of [`Limits::SETTINGS`].
    #[must_use]
    pub const fn from_values(values: [u32; 5]) -> Self {
        let [
            connections,
            worker_processes,
            wal_senders,
            prepared_transactions,
            locks_per_transaction,
        ] = values;
        Self {
            connections,
            worker_processes,
            wal_senders,
            prepared_transactions,
            locks_per_transaction,
        }
    }

    const fn values(self) -> [u32; 5] {
        [
            self.connections,
            self.worker_processes,
            self.wal_senders,
            self.prepared_transactions,
            self.locks_per_transaction,
        ]
    }

    /// The settings that are less here than `needed`: the name, the value here, and the one that is
    /// needed.
    pub fn less_than(self, needed: Self) -> impl Iterator<Item = (&'static str, u32, u32)> {
        let pairs = self.values().into_iter().zip(needed.values());
        let all = Self::SETTINGS.into_iter().zip(pairs);
        all.filter(|(_, (here, needed))| here < needed)
            .map(|(name, (here, needed))| (name, here, needed))
    }

    /// What is less here than `needed`, in words; none where nothing is.
    #[must_use]
    pub fn short_of(self, needed: Self) -> Option<String> {
        let short: Vec<String> = self
            .less_than(needed)
            .map(|(name, here, needed)| format!("{name} is {here} and the primary had {needed}"))
            .collect();
        (!short.is_empty()).then(|| short.join(", "))
    }

    /// The words by which `postgres` is told to take what is needed where these settings have less.
    #[must_use]
    pub fn raised_to(self, needed: Self) -> Vec<String> {
        self.less_than(needed)
            .flat_map(|(name, _, needed)| ["-c".to_owned(), format!("{name}={needed}")])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_the_primary_is_named() {
        let needed = Limits::from_values([100, 8, 10, 0, 64]);
        assert_eq!(needed.short_of(needed), None);
        let more = Limits::from_values([101, 9, 11, 1, 65]);
        assert_eq!(more.short_of(needed), None);
        let here = Limits::from_values([50, 8, 10, 0, 63]);
        assert_eq!(
            here.short_of(needed).as_deref(),
            Some(
                "max_connections is 50 and the primary had 100, max_locks_per_transaction is 63 and the primary had 64"
            )
        );
        assert_eq!(
            here.raised_to(needed),
            [
                "-c",
                "max_connections=100",
                "-c",
                "max_locks_per_transaction=64"
            ]
        );
        assert!(more.raised_to(needed).is_empty());
    }
}
