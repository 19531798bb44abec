//! The text of `cls_status`.

use std::fmt::Write as _;

use pha_core::health::{Level, ReplicationRow};
use pha_core::message;
use pha_core::message::Message;
use pha_core::names::NodeName;
use pha_core::status::{Role, SyncState, WalSenderState};

use super::report::{MemoryRow, RegisterRow, Report};
use crate::render::{Tone, Ui, width};

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
        let heading = ui.say(&message!("Without an answer:"));
        let _ = writeln!(text, "\n{}", ui.paint(Tone::Heading, &heading));
        for (source, why) in &report.silent {
            let why = message!("{source}: {why}", source, why);
            let _ = writeln!(text, "  {}", ui.wrapped(2, &ui.say(&why)));
        }
    }
    text
}

fn health(text: &mut String, ui: &Ui, report: &Report) {
    let word = ui.say(&match report.verdict.level {
        Level::Ok => message!("healthy"),
        Level::Warning => message!("warning"),
        Level::Critical => message!("critical"),
    });
    let word = ui.paint(report.verdict.level.into(), &word);
    let heading = ui.say(&message!("Health:"));
    let _ = writeln!(text, "{} {word}", ui.paint(Tone::Heading, &heading));
    let (yes, no) = (ui.say(&message!("yes")), ui.say(&message!("NO")));
    for condition in &report.verdict.conditions {
        let (tone, mark, other) = match condition.met {
            true => (Tone::Good, &yes, &no),
            false => (Tone::Bad, &no, &yes),
        };
        let blank = " ".repeat(width(other).saturating_sub(width(mark)) + 1);
        let indent = 5 + width(mark) + blank.len();
        let says = ui.wrapped(indent, &ui.say(&condition.text));
        let mark = ui.paint(tone, mark);
        let _ = writeln!(text, "  {mark}{blank}{}. {says}", condition.number);
    }
    let next = ui.say(&message!("next:"));
    for finding in &report.verdict.findings {
        let mark = mark(finding.level);
        // By its id the manual is looked up, in either language.
        let says = format!("{} [{}]", ui.say(&finding.text), finding.id);
        let says = ui.wrapped(4 + width(mark), &says);
        let _ = writeln!(text, "  {}  {says}", ui.paint(finding.level.into(), mark));
        if let Some(remedy) = &finding.remedy {
            let remedy = ui.wrapped(6 + width(&next), &ui.say(remedy));
            let _ = writeln!(text, "     {next} {remedy}");
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
    let heading = ui.say(&message!("Replication from {primary}:", primary));
    let _ = writeln!(text, "\n{}", ui.paint(Tone::Heading, &heading));
    if rows.is_empty() {
        let _ = writeln!(text, "  {}", ui.say(&message!("no standby is connected")));
    }
    for row in rows {
        let _ = writeln!(text, "  {}", ui.wrapped(2, &ui.say(&standby(row))));
    }
}

fn standby(row: &ReplicationRow) -> Message {
    let hidden = || message!("hidden");
    let state = row.state.map(WalSenderState::as_str);
    let state = state.map_or_else(hidden, Message::from);
    let sync = row.sync_state.map(SyncState::as_str);
    let sync = sync.map_or_else(hidden, Message::from);
    let bytes = |lag: Option<i64>| lag.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
    let (flush, replay) = (bytes(row.flush_lag_bytes), bytes(row.replay_lag_bytes));
    let who = match &row.node {
        Some(node) => Message::from(node),
        None => message!(
            "{standby} at {from}, which is no standby of this cluster (nothing that it acknowledges counts)",
            standby = row.standby,
            from = row.from()
        ),
    };
    match row.replay_lag_seconds {
        Some(seconds) => message!(
            "{who}: {state}, {sync}; behind by {flush} bytes on disk, {replay} bytes replayed ({seconds} s)",
            who,
            state,
            sync,
            flush,
            replay,
            seconds = format!("{seconds:.3}")
        ),
        None => message!(
            "{who}: {state}, {sync}; behind by {flush} bytes on disk, {replay} bytes replayed",
            who,
            state,
            sync,
            flush,
            replay
        ),
    }
}

fn register(text: &mut String, ui: &Ui, report: &Report) {
    let Some(lock) = &report.lock_service else {
        return;
    };
    let heading = ui.say(&message!("Lock service {lock}:", lock));
    let _ = writeln!(text, "\n{}", ui.paint(Tone::Heading, &heading));
    let row = report.register.as_ref();
    let mut says = match row {
        Some(row) => vec![owner(row), durable(row, report.async_max_lag)],
        None => vec![message!("its row is not known")],
    };
    says.extend(report.memory.as_ref().map(seen));
    for line in &says {
        let _ = writeln!(text, "  {}", ui.wrapped(2, &ui.say(line)));
    }
}

fn seen(memory: &MemoryRow) -> Message {
    let (term, epoch) = (memory.term, memory.epoch);
    match memory.promised_epoch {
        Some(promised) => message!(
            "this node has seen term {term}, epoch {epoch}; has promised not to promote at epoch {promised}",
            term,
            epoch,
            promised
        ),
        None => message!(
            "this node has seen term {term}, epoch {epoch}; has promised nothing",
            term,
            epoch
        ),
    }
}

fn owner(row: &RegisterRow) -> Message {
    let owner = row.owner.as_ref();
    let owner = owner.map_or_else(|| message!("nobody"), Message::from);
    let lease = match row.lease_age {
        Some(age) => message!(
            "lease renewed {age} s ago, for {lease} s",
            age = format!("{age:.1}"),
            lease = format!("{:.0}", row.lease)
        ),
        None if row.lease == 0.0 => message!("lease released"),
        None => message!("lease expired"),
    };
    message!(
        "owner {owner}, term {term}, epoch {epoch}, {lease}",
        owner,
        term = row.term,
        epoch = row.epoch,
        lease
    )
}

/// Which nodes may take over, and what that costs. In asynchronous mode the row names no node that
/// is asked for at a promotion: every commit may be on the primary alone (R1).
fn durable(row: &RegisterRow, async_max_lag: Option<u64>) -> Message {
    let says = match async_max_lag {
        Some(bytes) => message!(
            "a standby that lacks at most {mebibytes} MiB may take over; what it lacks is lost then",
            mebibytes = bytes >> 20
        ),
        None => {
            let holders: Vec<&str> = row.holders.iter().map(NodeName::as_str).collect();
            let holders = holders.join(" ");
            message!("every acknowledged commit is on: {holders}", holders)
        }
    };
    match row.went_back {
        true => message!(
            "not believed, by what this node has seen of it; it says that {says}",
            says
        ),
        false => says,
    }
}

/// The line of the monitoring plugin.
pub(super) fn line(report: &Report) -> Message {
    if let Some(worst) = report.verdict.findings.first() {
        let text = &worst.text;
        return match report.verdict.findings.len() - 1 {
            0 => text.clone(),
            more => message!(
                "{worst} (and {more} more, see cls_status)",
                worst = text,
                more
            ),
        };
    }
    let standbys = report
        .nodes
        .iter()
        .filter(|node| node.role == Role::Unpromoted)
        .count();
    let primary = report.primary.as_ref();
    let primary = primary.map_or_else(|| message!("none"), Message::from);
    message!(
        "primary {primary}, {standbys} standby streaming",
        primary,
        standbys
    )
}
