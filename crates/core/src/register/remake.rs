//! Making the row again, also one that makes no sense: what an operator's decision is written on afterwards. The
//! history keeps what it was.

use super::RawRow;

/// With what the change begins in the history table.
pub const MADE_AGAIN: &str = "made again";

/// The change, asked for by a node whose data have this system identifier. It is none of the [`super::Update`]s,
/// which are of rows that make sense: this one is of the columns as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remake {
    /// The system identifier here; none where the data have none, or it cannot be read.
    pub system: Option<String>,
}

impl Remake {
    /// Whether the row may be made again. Another cluster's, that is renewed at this moment, is left alone: it would lose
    /// its primary. A row that is of a database may be another's wherever this node does not know its own.
    #[must_use]
    pub fn may(&self, row: &RawRow) -> bool {
        let ours = row.system.is_none() || row.system == self.system;
        // A lease that cannot be told is none that runs.
        let runs = row.lease_left.is_some_and(|left| left > 0.0);
        ours || !runs
    }

    /// The row afterwards; none where it is left alone. The server's clock is not known here, so `renewed` is kept.
    #[must_use]
    pub fn apply(&self, row: &RawRow) -> Option<RawRow> {
        self.may(row).then(|| RawRow {
            owner: Some(String::new()),
            term: Some(0),
            epoch: Some(0),
            holders: Some(Vec::new()),
            positions: Some("{}".to_owned()),
            lease_left: Some(0.0),
            ttl: Some(0.0),
            timelines: None,
            renewed: row.renewed.clone(),
            system: None,
            read_only: row.read_only,
        })
    }

    /// Why the row was left alone, and what helps, for the operator of `lock`.
    #[must_use]
    pub fn left_alone(&self, lock: &str) -> String {
        match &self.system {
            Some(_) => format!(
                "another cluster renews the row {lock} at this moment; give this one another distlock_lockname"
            ),
            None => format!(
                "the row {lock} is renewed at this moment by a cluster that may be another one, since the system identifier of the data here cannot be read; give the command on a node that has data"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_another_cluster_is_left_alone_while_its_lease_runs() {
        let known = |system: &str| Some(system.to_owned());
        for (own, system, lease_left, may) in [
            (known("7"), known("7"), Some(9.0), true),
            (known("7"), None, Some(9.0), true),
            (known("7"), known("8"), Some(9.0), false),
            (known("7"), known("8"), Some(f64::INFINITY), false),
            (known("7"), known("8"), Some(0.0), true),
            (known("7"), known("8"), Some(-3.0), true),
            (known("7"), known("8"), None, true),
            // Whose data are not known may be anybody's.
            (None, known("8"), Some(9.0), false),
            (None, known("8"), Some(-3.0), true),
            (None, None, Some(9.0), true),
        ] {
            let row = RawRow {
                owner: known("node 1"),
                term: Some(-1),
                system: system.clone(),
                lease_left,
                ..RawRow::default()
            };
            let remake = Remake { system: own };
            let told = format!("{remake:?} {system:?} {lease_left:?}");
            let after = remake.apply(&row);
            assert_eq!(after.is_some(), may, "{told}");
            assert!(after.is_none_or(|row| (row.term, row.system) == (Some(0), None)));
        }
        let says = |system| Remake { system }.left_alone("distlock:a");
        assert!(says(known("7")).contains("another distlock_lockname"));
        assert!(says(None).contains("a node that has data"));
    }
}
