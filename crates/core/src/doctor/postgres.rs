//! Rules about PostgreSQL's settings and the way from one server to the next.

use super::{Examination, Found, Level, Rule, ServerFacts};
use crate::cluster::WithoutQuorum;
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::params::Mode;
use crate::postgres;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "server",
        well: || message!("PostgreSQL's settings can be read on every node"),
        look: server,
    },
    Rule {
        id: "replication-settings",
        well: || message!("PostgreSQL is set to replicate"),
        look: replication_settings,
    },
    Rule {
        id: "durability",
        well: || message!("a commit is on disk when PostgreSQL says so"),
        look: durability,
    },
    Rule {
        id: "waiting",
        well: || message!("no session gives up to wait for the standby by a setting"),
        look: waiting,
    },
    Rule {
        id: "timeouts",
        well: || message!("a dead peer is noticed in time"),
        look: timeouts,
    },
    Rule {
        id: "membership",
        well: || message!("the cluster notices a lost node before PostgreSQL does"),
        look: membership,
    },
    Rule {
        id: "rewind",
        well: || message!("pg_rewind can repair an old primary"),
        look: rewind,
    },
    Rule {
        id: "retention",
        well: || message!("WAL is kept for a standby that is away"),
        look: retention,
    },
    Rule {
        id: "standby-limits",
        well: || message!("every node can be standby of every other"),
        look: standby_limits,
    },
    Rule {
        id: "log",
        well: || message!("PostgreSQL's log is kept"),
        look: log,
    },
    Rule {
        id: "file-errors",
        well: || message!("PostgreSQL can read the files of its settings"),
        look: file_errors,
    },
    Rule {
        id: "pending-restart",
        well: || message!("no setting waits for a restart of PostgreSQL"),
        look: pending_restart,
    },
    Rule {
        id: "replication-access",
        well: || message!("every node may replicate from every other that runs"),
        look: replication_access,
    },
];

/// A line for postgresql.conf; every node has its own.
fn set(name: &str, value: &str) -> Message {
    message!(
        "{name} = {value} in postgresql.conf of every node",
        name,
        value
    )
}

fn settings<F>(
    seen: &Examination,
    look: impl Fn(&NodeName, &dyn Fn(&str) -> Option<String>) -> F,
) -> Vec<Found>
where
    F: IntoIterator<Item = Found>,
{
    seen.each(|node, facts| {
        let Some(Ok(ServerFacts { settings, .. })) = &facts.server else {
            return Vec::new();
        };
        look(node, &|name| settings.get(name).cloned())
            .into_iter()
            .collect::<Vec<Found>>()
    })
}

fn number(text: Option<String>) -> Option<i64> {
    text?.parse().ok()
}

fn server(seen: &Examination) -> Vec<Found> {
    seen.each(|_, facts| {
        let why = facts.server.as_ref().and_then(|server| server.as_ref().err());
        why.map(|why| {
            Found::error(
                why.into(),
                message!("see that pgsql_pgdata and pgsql_pgctl are right, and that root can connect as pgdba"),
            )
        })
    })
}

fn replication_settings(seen: &Examination) -> Vec<Found> {
    let peers = i64::try_from(seen.nodes.len()).unwrap_or(2) - 1;
    settings(seen, |_, get| {
        let mut found = Vec::new();
        if matches!(get("wal_level").as_deref(), Some("minimal" | "archive")) {
            found.push(Found::error(
                message!("wal_level does not allow standbys"),
                set("wal_level", "replica"),
            ));
        }
        // One for each standby, one for pg_basebackup's data and one for its WAL.
        match number(get("max_wal_senders")) {
            Some(many) if many < peers => found.push(Found::error(
                message!(
                    "max_wal_senders is {many}, fewer than standbys",
                    many = many.to_string()
                ),
                set("max_wal_senders", &(peers + 3).to_string()),
            )),
            Some(many) if many < peers + 2 => found.push(Found::warning(
                message!(
                    "max_wal_senders is {many}: none is left for cls_rebuild_slave",
                    many = many.to_string()
                ),
                set("max_wal_senders", &(peers + 3).to_string()),
            )),
            _ => {}
        }
        if get("hot_standby").as_deref() == Some("off") {
            found.push(Found::error(
                message!("hot_standby is off: standbys answer nobody, the agent included"),
                set("hot_standby", "on"),
            ));
        }
        let local = |name: &str| matches!(name.trim(), "localhost" | "127.0.0.1" | "::1" | "");
        if let Some(listen) = get("listen_addresses")
            && listen.split(',').all(local)
        {
            found.push(Found::error(
                message!(
                    "PostgreSQL listens on {listen} only: no standby and no client gets in",
                    listen = format!("{listen:?}")
                ),
                set("listen_addresses", "'*'"),
            ));
        }
        found
    })
}

/// Whether anything tells later why PostgreSQL ended: its own log, the system's, or the file that its output
/// goes to otherwise.
fn log(seen: &Examination) -> Vec<Found> {
    let is_nothing = seen.params.logfile == "/dev/null";
    settings(seen, |_, get| {
        let system = get("log_destination").is_some_and(|places| places.contains("syslog"));
        let own = get("logging_collector").as_deref() != Some("off");
        (is_nothing && !own && !system).then(|| {
            Found::warning(
                message!("PostgreSQL's log goes to /dev/null: nothing tells later why it ended or did not start"),
                message!(
                    "{setting}, and cls_restart: it is in log_directory then; or pgsql_logfile in config.ini, which begins with the next start",
                    setting = set("logging_collector", "on")
                ),
            )
        })
    })
}

/// What a value of `synchronous_commit` leaves of the promise, where that is less than all.
fn weaker(value: &str) -> Option<Message> {
    match value {
        "off" | "local" => Some(message!(
            "synchronous_commit is {value}: commits do not wait for the standby",
            value
        )),
        "remote_write" => Some(message!(
            "synchronous_commit is {value}: commits do not wait for the standby's disk, so that a power cut of both can lose them",
            value
        )),
        _ => None,
    }
}

/// Settings by which a session stops waiting. PostgreSQL then ends the wait with a warning and success,
/// where a procedure commits within a statement that has a time limit.
fn waiting(seen: &Examination) -> Vec<Found> {
    if seen.params.rep_mode != Mode::Sync {
        return Vec::new();
    }
    // Every node of a cluster has the same roles; what one says is enough.
    let own = seen.answered().find_map(|(_, facts)| match &facts.server {
        Some(Ok(server)) if !server.own.is_empty() => Some(&server.own),
        _ => None,
    });
    let of_roles = own.into_iter().flatten().filter_map(|setting| {
        let why = match setting.name.as_str() {
            "synchronous_commit" => weaker(&setting.value)?,
            name => limited(name, &setting.value)?,
        };
        Some(Found::warning(
            message!("{name}: {why}", name = setting.of, why),
            message!(
                "look whether {of} needs it; ALTER ROLE or ALTER DATABASE … RESET {name} takes it away",
                of = setting.of,
                name = setting.name
            ),
        ))
    });
    let of_servers = settings(seen, |_, get| {
        ["statement_timeout", "transaction_timeout"]
            .into_iter()
            .filter_map(|name| limited(name, &get(name)?))
            .map(|why| Found::warning(why, message!("set it for roles that call no procedures with COMMIT inside, not for the server")))
            .collect::<Vec<Found>>()
    });
    of_roles.chain(of_servers).collect()
}

fn limited(name: &str, value: &str) -> Option<Message> {
    let none = value
        .trim_start_matches('0')
        .chars()
        .all(|c| !c.is_ascii_digit());
    (!none).then(|| {
        message!(
            "{name} is {value}: a procedure that commits while the standby is away is told success when that time is over",
            name,
            value
        )
    })
}

fn durability(seen: &Examination) -> Vec<Found> {
    let sync = seen.params.rep_mode == Mode::Sync;
    settings(seen, |_, get| {
        let mut found = Vec::new();
        for name in ["fsync", "full_page_writes"] {
            if get(name).as_deref() == Some("off") {
                found.push(Found::error(
                    message!("{name} is off: a crash can destroy the database", name),
                    set(name, "on"),
                ));
            }
        }
        if let Some(why) = get("synchronous_commit")
            .filter(|_| sync)
            .and_then(|value| weaker(&value))
        {
            found.push(Found::error(why, set("synchronous_commit", "on")));
        }
        // PostgreSQL would restart by itself beside Pacemaker, which then counts no failure.
        if get("restart_after_crash").as_deref() == Some("on") {
            found.push(Found::warning(
                message!("restart_after_crash is on: PostgreSQL restarts behind Pacemaker's back"),
                set("restart_after_crash", "off"),
            ));
        }
        found
    })
}

fn timeouts(seen: &Examination) -> Vec<Found> {
    let sync = seen.params.rep_mode == Mode::Sync;
    settings(seen, |_, get| {
        let mut found = Vec::new();
        for name in ["wal_sender_timeout", "wal_receiver_timeout"] {
            match number(get(name)) {
                Some(0) => found.push(Found::warning(
                    message!("{name} is 0: a standby that hangs is never noticed", name),
                    set(name, "5s"),
                )),
                Some(after) if sync && after > 20_000 => found.push(Found::warning(
                    message!(
                        "{name} is {seconds} s: so long can commits wait for a standby that hangs",
                        name,
                        seconds = (after / 1000).to_string()
                    ),
                    set(name, "5s"),
                )),
                _ => {}
            }
        }
        found
    })
}

/// A primary lets a holder go only once the cluster knows who has quorum, unless `no-quorum-policy` leaves it
/// to the lock service, as of two nodes.
fn membership(seen: &Examination) -> Vec<Found> {
    if seen.params.rep_mode != Mode::Sync || seen.without_quorum == WithoutQuorum::GoesOn {
        return Vec::new();
    }
    seen.each(|_, facts| {
        let settings = &facts.server.as_ref()?.as_ref().ok()?.settings;
        let after: u64 = settings.get("wal_sender_timeout")?.parse().ok()?;
        let totem = facts.totem.filter(|_| after > 0)?;
        let settled = totem.settled();
        (settled > after).then(|| {
            let (token, consensus) = (totem.token, totem.consensus);
            let parts = match totem.device {
                None => message!("token {token}, consensus {consensus}", token, consensus),
                Some(device) => message!(
                    "token {token}, consensus {consensus}, sync_timeout of the quorum device {device}",
                    token,
                    consensus,
                    device
                ),
            };
            let setting = set("wal_sender_timeout", &format!("{}s", settled.div_ceil(1000)));
            let remedy = match totem.device {
                Some(_) => message!(
                    "{setting}, or a shorter token in the section totem, or a shorter sync_timeout of the quorum device, of /etc/corosync/corosync.conf of every node, then corosync-cfgtool -R",
                    setting
                ),
                None => message!(
                    "{setting}, or a shorter token in the section totem of /etc/corosync/corosync.conf of every node, then corosync-cfgtool -R",
                    setting
                ),
            };
            Found::warning(
                message!(
                    "wal_sender_timeout is {after} ms, and corosync needs up to {settled} ms to know that a node is gone ({parts}): where a standby is lost with its node, commits wait so long",
                    after,
                    settled,
                    parts
                ),
                remedy,
            )
        })
    })
}

fn rewind(seen: &Examination) -> Vec<Found> {
    settings(seen, |_, get| {
        let off = |name: &str| get(name).as_deref() == Some("off");
        (off("wal_log_hints") && off("data_checksums")).then(|| {
            Found::warning(
                message!(
                    "neither wal_log_hints nor data checksums are on: cls_repair_slave cannot work"
                ),
                set("wal_log_hints", "on"),
            )
        })
    })
}

fn retention(seen: &Examination) -> Vec<Found> {
    if seen.params.replication_slot_name.is_some() {
        return Vec::new();
    }
    settings(seen, |_, get| {
        let kept = number(get("wal_keep_size").or_else(|| get("wal_keep_segments")));
        (kept == Some(0)).then(|| {
            Found::warning(
                message!("no WAL is kept for a standby that is away: it has to be rebuilt"),
                message!(
                    "{setting}, or pgsql_replication_slot_name in config.ini",
                    setting = set("wal_keep_size", "1GB")
                ),
            )
        })
    })
}

/// PostgreSQL manual, "Hot Standby", "Administrator's Overview": a standby whose value is lower
/// than its primary's does not start.
fn standby_limits(seen: &Examination) -> Vec<Found> {
    const NAMES: [&str; 5] = [
        "max_connections",
        "max_prepared_transactions",
        "max_locks_per_transaction",
        "max_wal_senders",
        "max_worker_processes",
    ];
    NAMES
        .iter()
        .filter_map(|name| {
            let values: Vec<(String, i64)> = seen
                .answered()
                .filter_map(|(node, facts)| {
                    let server = facts.server.as_ref()?.as_ref().ok()?;
                    let value = server.settings.get(*name)?.parse().ok()?;
                    Some((node.to_string(), value))
                })
                .collect();
            let most = values.iter().map(|(_, value)| *value).max()?;
            if values.iter().all(|(_, value)| *value == most) {
                return None;
            }
            let list: Vec<String> = values
                .iter()
                .map(|(node, value)| format!("{value} on {node}"))
                .collect();
            Some(Found::error(
                message!(
                    "{name} is {list}: the lower one cannot be the standby of the higher one",
                    name,
                    list = list.join(", ")
                ),
                set(name, &most.to_string()),
            ))
        })
        .collect()
}

/// One line keeps every setting from being taken up, of every file: commits would wait for a standby that is lost.
fn file_errors(seen: &Examination) -> Vec<Found> {
    seen.each(|node, facts| {
        let Some(Ok(server)) = &facts.server else {
            return None;
        };
        match server.file_errors.as_ref()? {
            Ok(errors) if errors.is_empty() => None,
            Ok(errors) => {
                let (text, remedy) = postgres::unread(node, errors);
                Some(Found::error(text, remedy))
            }
            Err(why) => Some(Found::warning(
                message!("whether PostgreSQL can read the files of its settings cannot be seen: {why}", why),
                message!(
                    "let the account {pgdba} in as itself over the local socket (pg_hba.conf: local all {pgdba} peer), or look in PostgreSQL's log after a reload",
                    pgdba = seen.params.pgdba
                ),
            )),
        }
    })
}

/// Nothing is wrong with it, and the next failure would make it count at a moment that nobody has chosen.
fn pending_restart(seen: &Examination) -> Vec<Found> {
    seen.each(|_, facts| {
        let Some(Ok(server)) = &facts.server else {
            return None;
        };
        (!server.pending.is_empty()).then(|| {
            Found::new(
                Level::Ok,
                message!(
                    "waits for a restart of PostgreSQL: {settings}",
                    settings = server.pending.join(", ")
                ),
                message!(
                    "cls_restart --pending --dry-run says how it goes; without --dry-run it restarts node by node"
                ),
            )
        })
    })
}

fn replication_access(seen: &Examination) -> Vec<Found> {
    let user = &seen.params.repuser;
    seen.each(|me, facts| {
        facts
            .replication
            .iter()
            .filter_map(|(peer, result)| {
                let why = result.as_ref()?.as_ref().err()?;
                Some(Found::error(
                    message!("{peer} does not let {user} replicate from here: {why}", peer, user, why),
                    message!(
                        "a line for the user {user} and the database replication from {me} in pg_hba.conf on {peer}; the password in the passfiles (cls_setup)",
                        user,
                        me,
                        peer
                    ),
                ))
            })
            .collect::<Vec<Found>>()
    })
}
