//! The settings of which a standby needs at least as much as its primary has (PostgreSQL manual,
//! "Hot Standby", "Administrator's Overview").

/// Their values, on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

    /// What is less here than `needed`, in words; none where nothing is.
    #[must_use]
    pub fn short_of(self, needed: Self) -> Option<String> {
        let short: Vec<String> = Self::SETTINGS
            .iter()
            .zip(self.values().into_iter().zip(needed.values()))
            .filter(|(_, (here, needed))| here < needed)
            .map(|(name, (here, needed))| format!("{name} is {here} and the primary had {needed}"))
            .collect();
        (!short.is_empty()).then(|| short.join(", "))
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
    }
}
