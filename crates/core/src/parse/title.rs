//! The titles that PostgreSQL gives its processes (`ps_status.c`): `postgres: `, the server's `cluster_name` and a
//! colon where one is set, then what the process is and what it is at.
//!
//! What is a name there was chosen by somebody: a backend begins with the role and the database of its client. So
//! a word proves nothing; the whole text has to be one that no backend shows.

use crate::lsn::Lsn;

/// Whether a process's command line is the title of a WAL receiver, in any of the states that it shows
/// (`walreceiver.c`, PostgreSQL 11 to 18).
#[must_use]
pub fn is_wal_receiver(line: &str) -> bool {
    let Some(title) = line.trim_end_matches('\0').strip_prefix("postgres: ") else {
        return false;
    };
    let own = title.rsplit(": ").next().unwrap_or(title);
    let words: Vec<&str> = own
        .split([' ', '\0'])
        .filter(|word| !word.is_empty())
        .collect();
    let position = |text: &str| text.parse::<Lsn>().is_ok();
    match words[..] {
        ["walreceiver"] | ["walreceiver", "idle"] => true,
        ["walreceiver", "streaming", at] | ["walreceiver", "restarting", "at", at] => position(at),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wal_receiver_is_told_from_a_client_that_is_called_so() {
        for title in [
            "postgres: walreceiver",
            "postgres: walreceiver\0\0",
            "postgres: walreceiver   streaming 0/3000148",
            "postgres: walreceiver streaming 12/03000148 ",
            "postgres: main: walreceiver idle",
            "postgres: a: b: walreceiver restarting at 0/3000000",
        ] {
            assert!(is_wal_receiver(title), "{title:?}");
        }
        for title in [
            "",
            "postgres",
            "walreceiver",
            "postgres: startup recovering 000000010000000000000003",
            "postgres: walsender repl 10.0.0.2(4711) streaming 0/3000148",
            // Of a role of that name; the last one's database is called streaming.
            "postgres: walreceiver shop [local] idle",
            "postgres: walreceiver idle 10.0.0.2(4711) SELECT",
            "postgres: walreceiver streaming [local]",
            "postgres: main: walreceiver streaming [local] idle",
        ] {
            assert!(!is_wal_receiver(title), "{title:?}");
        }
    }
}
