//! Whether the primary's commits wait for a standby, and since when.

use std::thread;
use std::time::Duration;

use pha_core::health::CommitWaits;
use pha_core::hindrance::Hindrance;
use pha_core::parse::standby_names::{StandbyNames, StandbyNamesError};
use pha_host::clock::Deadline;
use pha_host::sql::TextRows;

use crate::primary::Primary;

/// Until the second look, which tells commits that wait from a long statement that commits just now.
const AGAIN: Duration = Duration::from_millis(400);

/// The setting, and with it every backend that waits and whose statement is a few seconds old. One
/// row without a backend where there is none. The process together with the beginning of its
/// transaction is one commit's own.
const WAITING: &str = "\
    select current_setting('synchronous_standby_names'), \
    pid::text || ' ' || coalesce(xact_start, query_start)::text, \
    date_trunc('second', query_start)::text, \
    extract(epoch from clock_timestamp() - query_start)::float8 \
    from (select 1) as one left join pg_stat_activity \
    on wait_event = 'SyncRep' and query_start < clock_timestamp() - interval '3 seconds' \
    order by query_start";

/// One look.
#[derive(Debug, PartialEq)]
struct Seen {
    names: StandbyNames,
    /// The longest first.
    waiting: Vec<Waiting>,
}

#[derive(Debug, PartialEq)]
struct Waiting {
    commit: String,
    since: String,
    seconds: f64,
}

/// Asks the primary; twice where somebody seems to wait.
pub(super) fn waits(primary: &Primary, deadline: Deadline) -> Result<CommitWaits, Hindrance> {
    let mut seen = look(primary, deadline)?;
    if !seen.waiting.is_empty() {
        thread::sleep(AGAIN.min(deadline.left()));
        // Without a second answer the first one stands.
        if let Ok(again) = look(primary, deadline) {
            seen = both(&seen, again);
        }
    }
    let first = seen.waiting.first();
    Ok(CommitWaits {
        waiting: seen.waiting.len(),
        since: first.map(|waiting| waiting.since.clone()),
        longest_seconds: first.map(|waiting| waiting.seconds),
        names: seen.names,
    })
}

fn look(primary: &Primary, deadline: Deadline) -> Result<Seen, Hindrance> {
    let rows = primary.rows(WAITING, deadline);
    parse(rows.map_err(|refusal| refusal.hindrance)?).map_err(|why| Hindrance::of(&why))
}

/// What waits in both looks.
fn both(before: &Seen, mut now: Seen) -> Seen {
    now.waiting
        .retain(|one| before.waiting.iter().any(|old| old.commit == one.commit));
    now
}

fn parse(rows: TextRows) -> Result<Seen, String> {
    let strange = || "pg_stat_activity: its columns are not as expected".to_owned();
    let mut names = String::new();
    let mut waiting = Vec::new();
    for row in rows {
        let columns: [Option<String>; 4] = row.try_into().map_err(|_| strange())?;
        let [setting, commit, since, seconds] = columns;
        names = setting.unwrap_or_default();
        if let (Some(commit), Some(since), Some(seconds)) = (commit, since, seconds) {
            waiting.push(Waiting {
                commit,
                since,
                seconds: seconds.parse().map_err(|_| strange())?,
            });
        }
    }
    let names = names
        .parse()
        .map_err(|error: StandbyNamesError| error.to_string())?;
    Ok(Seen { names, waiting })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::sources::tests::row;
    use super::*;

    #[test]
    fn rows_of_the_view_are_read() {
        let none = parse(vec![row(&["\"node2\"", "", "", ""])]).unwrap();
        assert!(none.names.contains("node2"));
        assert_eq!(none.waiting, []);
        // Over ssh an empty value and none are the same.
        let off = parse(vec![row(&["", "", "", ""])]).unwrap();
        assert_eq!(off.names, StandbyNames::Off);
        let seen = parse(vec![
            row(&["\"node2\"", "17 a", "2026-01-01 03:00:00+00", "42.5"]),
            row(&["\"node2\"", "18 b", "2026-01-01 03:00:30+00", "12"]),
        ])
        .unwrap();
        assert_eq!(seen.waiting.len(), 2);
        assert_eq!(seen.waiting[0].seconds, 42.5);
        assert!(parse(vec![row(&["\"node2\"", "17 a", "x", "long"])]).is_err());
        assert!(parse(vec![row(&["node2,,", "", "", ""])]).is_err());
        assert!(parse(vec![vec![None]]).is_err());
    }

    #[test]
    fn a_commit_that_is_over_at_the_second_look_does_not_wait() {
        let look = |commits: &[&str]| Seen {
            names: StandbyNames::first(1, ["node2"]),
            waiting: commits
                .iter()
                .map(|commit| Waiting {
                    commit: (*commit).to_owned(),
                    since: "then".to_owned(),
                    seconds: 60.0,
                })
                .collect(),
        };
        assert_eq!(
            both(&look(&["17 a", "18 b"]), look(&["18 b", "17 c"])),
            look(&["18 b"])
        );
    }
}
