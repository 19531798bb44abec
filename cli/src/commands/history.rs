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

/// The form of the JSON document; it grows when a name in it changes or goes.
const VERSION: u32 = 1;

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
    version: u32,
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
            version: VERSION,
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
        let headline = format!("{}  {}", event.at, event.headline());
        ui.print(&ui.paint(tone, &ui.wrapped(4, &headline)));
        for line in event.details() {
            ui.print(&format!("    {}", ui.wrapped(4, &line)));
        }
    }
    if session.common.quiet {
        return;
    }
    let [counts, cost] = report.summary.lines();
    ui.print(&format!(
        "\n{}\n{}",
        ui.wrapped(0, &counts),
        ui.wrapped(0, &cost)
    ));
    if report.hidden > 0 {
        let shown = report.events.len();
        ui.print(&format!(
            "{} earlier events are not shown: --limit {}",
            report.hidden,
            shown + report.hidden
        ));
    }
    if report.cut {
        ui.print(&format!(
            "only the latest {MOST} entries of the history were read"
        ));
    }
    if !report.up_to_date {
        let lock = &report.lock;
        let words = "the lock service's table is of an older version, which records neither causes nor the times without a primary";
        let next = format!("as the table's owner: distlock '{info}' init {lock}");
        ui.print(&format!("! {}", ui.wrapped(2, words)));
        ui.print(&format!("     next: {}", ui.wrapped(11, &next)));
    }
}
