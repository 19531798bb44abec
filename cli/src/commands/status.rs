//! `cls_status`: Pacemaker's own view, a verdict, and what to type next.

use std::time::{Duration, Instant};

use clap::Args;
use pha_core::health::{LeftSlot, Level, Observation, RegisterSeen, judge};
use pha_host::clock::Deadline;

use crate::app::Session;
use crate::error::ClsError;

use super::Outcome;
use report::Report;
use sources::Sources;

mod commits;
mod report;
mod sources;
mod text;

/// Everything together takes no longer than this, also when something hangs.
const LIMIT: Duration = Duration::from_millis(4_500);

/// Show the cluster's state, a verdict on its health, and what to type next
///
/// First what Pacemaker says (crm_mon), then whether the three conditions of a healthy cluster hold,
/// how far the standbys are behind, what the lock service knows, and for everything that is not as
/// it should be what to type next. No source is waited for longer than 4.5 s.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// One line and the exit code of a monitoring plugin: 0 ok, 1 warning, 2 critical, 3 unknown
    #[arg(long)]
    check: bool,
    /// Show it again and again, every so many seconds (2 unless given), until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600), conflicts_with = "check")]
    watch: Option<u64>,
}

impl Status {
    pub(crate) fn run(&self, session: &Session) -> Result<Outcome, ClsError> {
        if self.check {
            return Ok(check(session));
        }
        let Some(seconds) = self.watch else {
            let report = look(session, true)?;
            show(session, &report);
            return Ok(Outcome::Done);
        };
        while !(session.interrupt.is_set() || session.ui.is_unread()) {
            let next = Deadline::after(Duration::from_secs(seconds));
            let report = look(session, true);
            session.ui.clear();
            match report {
                Ok(report) => show(session, &report),
                // A cluster that is down now may be up at the next look.
                Err(error) => session.ui.error(&error),
            }
            session.interrupt.pause(next);
        }
        Ok(Outcome::Done)
    }
}

/// Asks every source side by side, and judges; `notes`: also for what is worth a note and no alarm.
fn look(session: &Session, notes: bool) -> Result<Report, ClsError> {
    let began = Instant::now();
    let limit = session
        .common
        .timeout
        .map_or(LIMIT, |limit| limit.min(LIMIT));
    let deadline = Deadline::after(limit);
    let seen = Sources::ask(session, notes, deadline)?;
    let here = seen.cluster.local_node(deadline).ok();
    let nodes = seen.cluster.nodes();
    let replication = report::replication(&seen);
    let view = seen.view.as_ref().and_then(|answer| answer.as_ref().ok());
    let slots = view.map(LeftSlot::of).unwrap_or_default();
    let verdict = judge(&Observation {
        cluster: &seen.cluster.view,
        nodes: &nodes,
        here: here.as_ref(),
        writer_ip: seen.cluster.params.master_ip.as_deref(),
        mode: seen.cluster.params.rep_mode,
        register: seen
            .register
            .as_ref()
            .map_or(RegisterSeen::NotConfigured, RegisterSeen::Read),
        replication: replication.as_deref(),
        commits: seen
            .commits
            .as_ref()
            .and_then(|answer| answer.as_ref().ok()),
        kept: seen.kept,
        slots: &slots,
        memory: seen.remembered(),
        memory_unread: seen
            .memory
            .as_ref()
            .and_then(|memory| memory.as_ref().err())
            .map(String::as_str),
        connections: seen.connections,
        archiving: seen.archiving,
        primary_hangs: seen.primary_hangs,
        unseen: seen.unseen(),
        operation: seen.operation.as_ref(),
        waiting: &seen.waiting,
        file_errors: &seen.file_errors,
        disks: &seen.disks,
        daemons: seen.daemons.as_ref(),
    });
    Ok(Report::new(&seen, replication, verdict, began.elapsed()))
}

fn show(session: &Session, report: &Report) {
    if session.ui.is_json() {
        session.ui.print_json(report);
    } else {
        session.ui.print(&text::text(&session.ui, report));
    }
}

/// The monitoring plugin: one line, and a code that never is an error of ours.
fn check(session: &Session) -> Outcome {
    let (word, code, line) = match look(session, false) {
        Ok(report) => {
            let (word, code) = match report.verdict.level {
                Level::Ok => ("OK", 0),
                Level::Warning => ("WARNING", 1),
                Level::Critical => ("CRITICAL", 2),
            };
            if session.ui.is_json() {
                session.ui.print_json(&report);
                return Outcome::Check(code);
            }
            (word, code, session.ui.say(&text::line(&report)))
        }
        Err(error) => ("UNKNOWN", 3, session.ui.say(&error.what())),
    };
    session.ui.print(&format!("{word} - {line}"));
    Outcome::Check(code)
}
