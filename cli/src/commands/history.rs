//! `cls_history`: what happened to the primary, and what it cost.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use pha_core::history::{Entry, Event, Moment, Page, Summary, events, html};
use pha_core::message;
use pha_core::register::Trouble;
use pha_host::clock::Deadline;
use pha_host::conninfo::Conninfo;
use pha_host::lock::{self, LockName};
use serde::Serialize;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::usable;
use crate::render::Tone;

/// The most entries that are read: more do not fit into what one answer of a server may be.
const MOST: u32 = 5_000;

/// How many events are printed as text unless `--limit` says otherwise.
const SHOWN: usize = 50;

/// Show takeovers, switches, restarts and lost standbys: when, why, for how long, and what was lost
///
/// From the history that the lock service keeps of the register, the latest last. Times are of the lock
/// service's clock, in UTC. Causes are what was seen from there; the logs of that time say more.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Only what happened in the last so many days
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    /// Only the latest so many events [default: 50 as text, all otherwise]
    #[arg(long, value_name = "EVENTS")]
    limit: Option<usize>,
    /// Print a page of HTML with a picture, which needs no other file: cls_history --html >report.html
    #[arg(long)]
    html: bool,
}

/// Everything that is shown.
#[derive(Debug, Serialize)]
struct Report {
    resource: String,
    lock: String,
    /// Whether there are older entries than were read.
    cut: bool,
    /// Whether the trigger that writes the entries is of this version.
    up_to_date: bool,
    summary: Summary,
    /// How many events of the summary are not shown.
    hidden: usize,
    events: Vec<Event>,
}

impl History {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        if self.html && session.ui.is_json() {
            return Err(ClsError::Argument(message!(
                "--html and --json are two forms of one answer"
            )));
        }
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(20));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        let configured = cluster
            .lock()
            .ok_or_else(|| {
                ClsError::refused(
                    message!("no built-in lock service is configured, which keeps the history"),
                    message!(
                        "Pacemaker's log tells what it did; a lock service is given by pgsql_distlock_conninfo in config.ini and cls_setup"
                    ),
                )
            })?;
        let (info, name) = usable(configured)?;
        let lines = lock::history(&info, &name, MOST, deadline)
            .map_err(|trouble| unread(&trouble, &info, &name))?;
        let entries: Vec<Entry> = lines.iter().filter_map(Entry::read).collect();
        let now = now(&entries);
        let all = events(&entries);
        let report = self.report(session, &cluster, &name, &entries, &all, now);
        if session.ui.is_json() {
            session.ui.print_json(&report);
        } else if self.html {
            let first = report.events.first().map_or(now, |event| event.at);
            let from = self.days.map_or(first, |days| now.days_before(days));
            let title = format!("{} ({})", report.resource, report.lock);
            session.ui.print(&html(&Page {
                title: &title,
                from,
                to: now,
                events: &report.events,
                all: &all,
                summary: &report.summary,
                language: session.ui.language(),
            }));
        } else {
            show(session, &report, &info);
        }
        Ok(())
    }

    fn report(
        &self,
        session: &Session,
        cluster: &Cluster,
        name: &LockName,
        entries: &[Entry],
        all: &[Event],
        now: Moment,
    ) -> Report {
        let mut events = all.to_vec();
        if let Some(days) = self.days {
            let since = now.days_before(days);
            events.retain(|event| event.at >= since);
        }
        let summary = Summary::of(&events);
        let most = match self.html || session.ui.is_json() {
            true => events.len(),
            false => SHOWN,
        };
        let hidden = events.len().saturating_sub(self.limit.unwrap_or(most));
        events.drain(..hidden);
        Report {
            resource: cluster.resource.to_string(),
            lock: name.to_string(),
            cut: entries.len() >= MOST as usize,
            up_to_date: entries.last().is_none_or(|entry| entry.full),
            summary,
            hidden,
            events,
        }
    }
}

/// This node's time, or that of the last entry, where the lock service's clock is ahead.
fn now(entries: &[Entry]) -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since
        .ok()
        .and_then(|since| Moment::of_seconds(since.as_secs_f64()));
    let last = entries.iter().map(|entry| entry.at).max();
    now.max(last).unwrap_or(Moment::BEGIN)
}

fn unread(trouble: &Trouble, info: &Conninfo, name: &LockName) -> ClsError {
    let hint = match trouble {
        Trouble::Unreachable(_) => message!("start the lock service; cls_doctor says more"),
        Trouble::Answered(_) => message!(
            "distlock '{info}' history {name} asks the same; cls_doctor says more",
            info = info.to_string(),
            name = name.to_string()
        ),
    };
    let why = trouble.to_string();
    ClsError::failed(message!("the history cannot be read: {why}", why), hint)
}

fn show(session: &Session, report: &Report, info: &Conninfo) {
    let ui = &session.ui;
    for event in &report.events {
        let tone = match event.may_have_lost() {
            true => Tone::Bad,
            false => Tone::Heading,
        };
        let headline = format!("{}  {}", event.at, ui.say(&event.headline()));
        ui.print(&ui.paint(tone, &ui.wrapped(4, &headline)));
        for line in event.details() {
            ui.print(&format!("    {}", ui.wrapped(4, &ui.say(&line))));
        }
    }
    if session.common.quiet {
        return;
    }
    let [counts, cost] = report.summary.lines();
    ui.print(&format!(
        "\n{}\n{}",
        ui.wrapped(0, &ui.say(&counts)),
        ui.wrapped(0, &ui.say(&cost))
    ));
    if report.hidden > 0 {
        let hidden = message!(
            "{hidden} earlier events are not shown: --limit {all}",
            hidden = report.hidden,
            all = report.events.len() + report.hidden
        );
        ui.print(&ui.wrapped(0, &ui.say(&hidden)));
    }
    if report.cut {
        let cut = message!(
            "only the latest {most} entries of the history were read",
            most = MOST
        );
        ui.print(&ui.wrapped(0, &ui.say(&cut)));
    }
    if !report.up_to_date {
        let lock = &report.lock;
        let words = message!(
            "the lock service's table is of an older version, which records neither causes nor the times without a primary"
        );
        let next = message!(
            "as the table's owner: distlock '{info}' init {lock}",
            info = info.to_string(),
            lock
        );
        ui.print(&format!("! {}", ui.wrapped(2, &ui.say(&words))));
        ui.next(5, &next);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pha_tests::schema::follows_the_schema;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_document_is_that_of_the_schema() {
        let row = |at: f64, owner: &str, term: u64, holders: &[&str], reason: &str| {
            json!({
                "owner": owner, "term": term, "epoch": term, "holders": holders, "reason": reason,
                "changed_at": "set", "at_seconds": 1_795_968_000.0 + at, "lease_seconds": 3.0,
                "renewed_seconds": 1_795_968_000.0 + at - 1.0, "last_lease_seconds": 3.0,
                "last_positions": { "node1": "0/5000000", "node2": "0/4000000" },
                "timeline": { "term": term, "number": term, "fork": "0000000004800000" },
            })
        };
        let both: &[&str] = &["node1", "node2"];
        let rows = [
            row(0.0, "", 0, &[], "init"),
            row(1.0, "node1", 1, &["node1"], "first primary node1"),
            row(2.0, "node1", 1, both, "set holders by node1"),
            row(3.0, "node1", 1, both, "operator root on node1: cls_restart"),
            row(9.0, "node2", 2, &["node2"], "promote by node2"),
            row(10.0, "node2", 2, &["node2"], "timelines named by node2"),
            row(20.0, "node1", 3, &["node1"], "promote by node1"),
            row(30.0, "", 4, &["node2"], "override by operator root: node2"),
            row(40.0, "node9", 9, &["node9"], "somebody else"),
        ];
        let entries = rows.iter().map(|row| Entry::read(row.as_object().unwrap()));
        let entries: Vec<Entry> = entries.collect::<Option<_>>().unwrap();
        let events = events(&entries);
        for kind in ["takeover", "added", "operator", "recovery"] {
            assert!(
                events.iter().any(|event| event.kind.as_str() == kind),
                "{kind}"
            );
        }
        let report = Report {
            resource: "pgsql".to_owned(),
            lock: "distlock:x".to_owned(),
            cut: false,
            up_to_date: true,
            summary: Summary::of(&events),
            hidden: 0,
            events,
        };
        let mut document = serde_json::to_value(&report).unwrap();
        document["version"] = json!(1);
        follows_the_schema(&document, "cls_history");
    }
}
