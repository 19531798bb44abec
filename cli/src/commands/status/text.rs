//! The text of `cls_status`.

use std::fmt::Write as _;

use pha_core::health::{Level, ReplicationRow};
use pha_core::names::NodeName;
use pha_core::status::{Role, SyncState, WalSenderState};

use super::report::{RegisterRow, Report};
use crate::render::{Tone, Ui};

/// The whole text: what the specification prints, then what this product adds.
pub(super) fn text(ui: &Ui, report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let Some(crm_mon) = &report.crm_mon {
        let _ = writeln!(text, "{}\n", crm_mon.trim_end());
    }
    let info = report.repl_info.as_deref().unwrap_or_default();
    let _ = writeln!(text, "{}_REPL_INFO:{info}\n", report.resource);
    health(&mut text, ui, report);
    replication(&mut text, ui, report);
    register(&mut text, ui, report);
    if !report.silent.is_empty() {
        let _ = writeln!(text, "\n{}", ui.paint(Tone::Heading, "Without an answer:"));
        for (source, why) in &report.silent {
            let why = format!("{source}: {why}");
            let _ = writeln!(text, "  {}", ui.wrapped(2, &why));
        }
    }
    text
}

fn health(text: &mut String, ui: &Ui, report: &Report) {
    let word = match report.verdict.level {
        Level::Ok => "healthy",
        Level::Warning => "to be looked at",
        Level::Critical => "critical",
    };
    let word = ui.paint(report.verdict.level.into(), word);
    let _ = writeln!(text, "{} {word}", ui.paint(Tone::Heading, "Health:"));
    for condition in &report.verdict.conditions {
        let mark = if condition.met {
            ui.paint(Tone::Good, "yes")
        } else {
            ui.paint(Tone::Bad, "NO ")
        };
        let _ = writeln!(text, "  {mark} {}. {}", condition.number, condition.text);
    }
    for finding in &report.verdict.findings {
        let tone = Tone::from(finding.level);
        let _ = writeln!(
            text,
            "  {}  {}",
            ui.paint(tone, mark(finding.level)),
            ui.wrapped(3 + mark(finding.level).len() + 1, &finding.text)
        );
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(text, "     next: {}", ui.wrapped(11, remedy));
        }
    }
}

fn mark(level: Level) -> &'static str {
    match level {
        Level::Ok => " ",
        Level::Warning => "!",
        Level::Critical => "!!",
    }
}

fn replication(text: &mut String, ui: &Ui, report: &Report) {
    let (Some(primary), Some(rows)) = (&report.primary, &report.replication) else {
        return;
    };
    let heading = format!("Replication from {primary}:");
    let _ = writeln!(text, "\n{}", ui.paint(Tone::Heading, &heading));
    if rows.is_empty() {
        let _ = writeln!(text, "  no standby is connected");
    }
    for row in rows {
        let _ = writeln!(text, "  {}", ui.wrapped(2, &standby(row)));
    }
}

fn standby(row: &ReplicationRow) -> String {
    let state = row.state.map_or("hidden", WalSenderState::as_str);
    let sync_state = row.sync_state.map_or("hidden", SyncState::as_str);
    let bytes = |lag: Option<i64>| lag.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
    let seconds = row
        .replay_lag_seconds
        .map(|seconds| format!(" ({seconds:.3} s)"));
    let who = match &row.node {
        Some(node) => node.to_string(),
        None => format!(
            "{} at {}, which is no standby of this cluster (nothing that it acknowledges counts)",
            row.standby,
            row.from()
        ),
    };
    format!(
        "{who}: {state}, {sync_state}; behind by {} bytes on disk, {} bytes replayed{}",
        bytes(row.flush_lag_bytes),
        bytes(row.replay_lag_bytes),
        seconds.unwrap_or_default(),
    )
}

fn register(text: &mut String, ui: &Ui, report: &Report) {
    let Some(lock) = &report.lock_service else {
        return;
    };
    let heading = format!("Lock service {lock}:");
    let _ = writeln!(text, "\n{}", ui.paint(Tone::Heading, &heading));
    match &report.register {
        Some(row) => {
            let _ = writeln!(text, "  {}", owner(row));
            let _ = writeln!(text, "  {}", durable(row, report.async_max_lag));
        }
        None => {
            let _ = writeln!(text, "  its row is not known");
        }
    }
    if let Some(memory) = &report.memory {
        let promise = memory.promised_epoch.map_or_else(
            || "no promise given".to_owned(),
            |epoch| format!("has promised not to promote at epoch {epoch}"),
        );
        let _ = writeln!(
            text,
            "  this node has seen term {}, epoch {}; {promise}",
            memory.term, memory.epoch
        );
    }
}

fn owner(row: &RegisterRow) -> String {
    let owner = row.owner.as_ref().map_or("nobody", |node| node.as_str());
    let lease = match row.lease_age {
        Some(age) => format!("lease renewed {age:.1} s ago, for {:.0} s", row.lease),
        None if row.lease == 0.0 => "lease released".to_owned(),
        None => "lease expired".to_owned(),
    };
    format!(
        "owner {owner}, term {}, epoch {}, {lease}",
        row.term, row.epoch
    )
}

/// Which nodes may take over, and what that costs. In asynchronous mode the row names no node that
/// is asked for at a promotion: every commit may be on the primary alone (R1).
fn durable(row: &RegisterRow, async_max_lag: Option<u64>) -> String {
    let says = match async_max_lag {
        Some(bytes) => format!(
            "a standby that lacks at most {} MiB may take over; what it lacks is lost then",
            bytes >> 20
        ),
        None => {
            let holders: Vec<&str> = row.holders.iter().map(NodeName::as_str).collect();
            format!("every acknowledged commit is on: {}", holders.join(" "))
        }
    };
    if row.went_back {
        format!("not believed, by what this node has seen of it; it says that {says}")
    } else {
        says
    }
}

/// The line of the monitoring plugin.
pub(super) fn line(report: &Report) -> String {
    if let Some(worst) = report.verdict.findings.first() {
        let more = report.verdict.findings.len() - 1;
        let rest = if more > 0 {
            format!(" (and {more} more, see cls_status)")
        } else {
            String::new()
        };
        return format!("{}{rest}", worst.text);
    }
    let standbys = report
        .nodes
        .iter()
        .filter(|node| node.role == Role::Unpromoted)
        .count();
    let primary = report.primary.as_ref().map_or("none", |node| node.as_str());
    format!("primary {primary}, {standbys} standby streaming")
}
