//! What is printed, and nothing else prints.

use std::fmt::Write as _;
use std::io::Write as _;

use pha_host::lock::{Change, Details, Granted, History, LockName, RoleName};
use serde_json::{Map, Value, json};

use crate::exit::Exit;

/// A reader that has gone away (a closed pipe) is no failure of the lock.
fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// One line on standard error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "distlock: {text}");
}

/// Help, the version, or what is wrong with the arguments.
pub(crate) fn usage(error: &clap::Error) {
    let _ = error.print();
}

/// The old tool's answer.
pub(crate) fn answer(yes: bool) -> Exit {
    out(if yes { "1\n" } else { "0\n" });
    if yes { Exit::Yes } else { Exit::No }
}

pub(crate) fn initialised(lock: &LockName, change: Change) -> Exit {
    out(&match change {
        Change::RowMade => format!("{lock}: made\n"),
        Change::RowKept => {
            format!("{lock}: there already, left as it is; the tables are up to date\n")
        }
        Change::RowMended => format!(
            "{lock}: there already; its expired_time was negative and is 0 now (given back); the tables are up to date\n"
        ),
    });
    Exit::Yes
}

pub(crate) fn script(text: &str) -> Exit {
    out(text);
    Exit::Yes
}

pub(crate) fn granted(lock: &LockName, role: &RoleName, granted: &Granted) -> Exit {
    out(&match &granted.missing[..] {
        [] => format!("{lock}: {role} may keep this row, and sees no other one\n"),
        missing => format!(
            "{lock}: {role} may keep this row. It still sees the others: row security stays off while {} \
             can use the table and would find no row any more; for each: distlock <conninfo> init --role <role> \
             <its lock>, or REVOKE its rights, then this again\n",
            missing.join(", ")
        ),
    });
    Exit::Yes
}

pub(crate) fn details(lock: &LockName, details: &Details) -> Exit {
    out(&details_text(lock, details));
    Exit::Yes
}

pub(crate) fn json(lock: &LockName, details: &Details) -> Exit {
    out(&format!("{:#}\n", details_json(lock, details)));
    Exit::Yes
}

pub(crate) fn history(lines: &[History]) -> Exit {
    out(&history_text(lines));
    Exit::Yes
}

pub(crate) fn pruned(lock: &LockName, count: u64) -> Exit {
    let entries = match count {
        1 => "1 entry of its history was".to_owned(),
        count => format!("{count} entries of its history were"),
    };
    out(&format!("{lock}: {entries} taken away\n"));
    Exit::Yes
}

/// A value as a person reads it: lists and objects without their JSON.
fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| plain(Some(item)))
            .collect::<Vec<_>>()
            .join(" "),
        Some(Value::Object(entries)) if entries.is_empty() => "-".to_owned(),
        Some(Value::Object(entries)) => entries
            .iter()
            .map(|(name, value)| format!("{name} {}", plain(Some(value))))
            .collect::<Vec<_>>()
            .join(", "),
        Some(other) => other.to_string(),
    }
}

/// `running`, `expired`, `released` or `none`: what the lease is like now.
fn lease_state(details: &Details) -> &'static str {
    let owned = details
        .columns
        .get("owner")
        .and_then(Value::as_str)
        .is_some_and(|owner| !owner.is_empty());
    match (details.ttl, details.left) {
        _ if !owned => "none",
        (Some(ttl), _) if ttl <= 0.0 => "released",
        (_, Some(left)) if left > 0.0 => "running",
        _ => "expired",
    }
}

fn lease_text(details: &Details) -> String {
    let seconds = |value: Option<f64>| format!("{:.1} s", value.unwrap_or_default().abs());
    let (ttl, age, left) = (
        seconds(details.ttl),
        seconds(details.age),
        seconds(details.left),
    );
    match lease_state(details) {
        "none" => "-".to_owned(),
        "released" => format!("released {age} ago"),
        "running" => format!("{left} left of {ttl}, renewed {age} ago"),
        _ => format!("expired {left} ago, renewed {age} ago for {ttl}"),
    }
}

fn details_text(lock: &LockName, details: &Details) -> String {
    let column = |name: &str| plain(details.columns.get(name));
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("lock", lock.to_string());
    line("owner", column("owner"));
    line("lease", lease_text(details));
    if details.columns.contains_key("term") {
        line("term", column("term"));
        line("epoch", column("epoch"));
        line("holders", column("holders"));
        line("positions", column("positions"));
        line("last change", column("reason"));
    } else {
        line(
            "register",
            format!(
                "none: the table is the bare one of the specification; distlock <conninfo> init {lock} migrates it"
            ),
        );
    }
    text
}

fn details_json(lock: &LockName, details: &Details) -> Value {
    let column = |name: &str| details.columns.get(name).cloned().unwrap_or(Value::Null);
    let owner = match column("owner") {
        Value::String(text) if text.is_empty() => Value::Null,
        other => other,
    };
    let mut object = Map::new();
    let mut add = |name: &str, value: Value| object.insert(name.to_owned(), value);
    add("lock", json!(lock.to_string()));
    add("owner", owner);
    for name in ["term", "epoch", "holders", "positions"] {
        add(name, column(name));
    }
    add(
        "lease",
        json!({
            "state": lease_state(details),
            "seconds": details.ttl,
            "age_seconds": details.age,
            "left_seconds": details.left.map(|left| left.max(0.0)),
        }),
    );
    add("renewed", column("ts"));
    add("last_change", column("reason"));
    Value::Object(object)
}

/// `2026-11-22T22:28:20.420648+00:00` as `2026-11-22 22:28:20Z`; anything else as it is.
fn to_the_second(text: &str) -> String {
    match text
        .strip_suffix("+00:00")
        .map(|utc| utc.get(..19).unwrap_or(utc))
    {
        Some(second) => format!("{}Z", second.replace('T', " ")),
        None => text.to_owned(),
    }
}

fn history_text(lines: &[History]) -> String {
    let mut rows = vec![["TIME", "OWNER", "TERM", "EPOCH", "HOLDERS", "WHY"].map(str::to_owned)];
    rows.extend(lines.iter().map(|line| {
        let column = |name: &str| plain(line.get(name));
        // A change that renews no lease leaves `ts` as it was.
        let changed = line.get("changed_at").filter(|time| !time.is_null());
        let time = changed.or_else(|| line.get("ts"));
        [
            to_the_second(&plain(time)),
            column("owner"),
            column("term"),
            column("epoch"),
            column("holders"),
            column("reason"),
        ]
    }));
    let width = |index: usize| {
        rows.iter()
            .map(|row| row[index].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lock() -> LockName {
        "distlock:c1".parse().unwrap()
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn running() -> Details {
        Details {
            columns: object(json!({
                "lockname": "c1", "owner": "node1", "ts": "2026-11-22T22:28:20.420648+00:00",
                "expired_time": "00:00:30", "term": 3, "epoch": 7, "holders": ["node1", "node2"],
                "positions": {"node1": "0/70000D0", "node2": "0/7000060"}, "reason": "promote by node1",
            })),
            age: Some(2.08),
            left: Some(27.92),
            ttl: Some(30.0),
        }
    }

    #[test]
    fn a_row_for_a_person() {
        assert_eq!(
            details_text(&lock(), &running()),
            "\
lock        distlock:c1
owner       node1
lease       27.9 s left of 30.0 s, renewed 2.1 s ago
term        3
epoch       7
holders     node1 node2
positions   node1 0/70000D0, node2 0/7000060
last change promote by node1
"
        );
    }

    #[test]
    fn every_state_of_the_lease() {
        let with = |owner: &str, ttl, left| {
            let mut details = running();
            details.columns.insert("owner".to_owned(), json!(owner));
            (details.ttl, details.left, details.age) = (Some(ttl), Some(left), Some(ttl - left));
            (lease_state(&details), lease_text(&details))
        };
        assert_eq!(with("", 0.0, -5.0), ("none", "-".to_owned()));
        assert_eq!(
            with("a", 0.0, -5.0),
            ("released", "released 5.0 s ago".to_owned())
        );
        assert_eq!(
            with("a", 30.0, -5.0),
            (
                "expired",
                "expired 5.0 s ago, renewed 35.0 s ago for 30.0 s".to_owned()
            )
        );
        assert_eq!(with("a", 30.0, 5.0).0, "running");
    }

    #[test]
    fn a_row_for_a_script() {
        let value = details_json(&lock(), &running());
        assert_eq!(value["owner"], "node1");
        assert_eq!(value["term"], 3);
        assert_eq!(value["holders"], json!(["node1", "node2"]));
        assert_eq!(value["lease"]["state"], "running");
        assert_eq!(value["lease"]["age_seconds"], 2.08);
        let mut fresh = running();
        fresh.columns.insert("owner".to_owned(), json!(""));
        assert_eq!(details_json(&lock(), &fresh)["owner"], Value::Null);
    }

    #[test]
    fn the_bare_table_says_how_to_migrate_it() {
        let mut bare = running();
        bare.columns = object(json!({"lockname": "c1", "owner": "pgsql_node1"}));
        let text = details_text(&lock(), &bare);
        assert!(
            text.contains("distlock <conninfo> init distlock:c1 migrates it"),
            "{text}"
        );
        assert_eq!(details_json(&lock(), &bare)["term"], Value::Null);
    }

    #[test]
    fn the_history_is_aligned() {
        let lines = [
            object(json!({"ts": "2026-11-22T22:28:20.420648+00:00", "owner": "pgsql_node1"})),
            object(json!({
                "ts": "2026-11-22T22:28:20+00:00", "changed_at": "2026-11-22T22:28:21+00:00",
                "owner": "node1", "term": 1, "epoch": 1,
                "holders": ["node1"], "reason": "first primary node1",
            })),
        ];
        assert_eq!(
            history_text(&lines),
            "\
TIME                  OWNER        TERM  EPOCH  HOLDERS  WHY
2026-11-22 22:28:20Z  pgsql_node1  -     -      -        -
2026-11-22 22:28:21Z  node1        1     1      node1    first primary node1
"
        );
    }
}
