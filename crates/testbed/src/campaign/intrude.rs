//! What somebody does beside the cluster, who does not know it or knows better: receivers, copies, a standby
//! opened by hand, settings, sessions that do not wait, and a history in the archive.

use std::time::Duration;

use super::begun::{Begun, COMMAND, type_later};
use super::fault::{Party, Setting, Who};
use super::settings;
use super::stage::{OPERATOR, Stage};
use crate::error::{Error, Result};
use crate::fabric::Loss;
use crate::layout::{PGPORT, WRITER_VIP};
use crate::node::{Node, PGDATA};
use crate::writer::WriterPlan;

/// Writers with this number and above have a `statement_timeout`; the step's number is added, as each begins
/// its own count.
const SESSIONS: u32 = 1_000;
/// How long such a session may take for its first commit, before anything is cut.
const FIRST: Duration = Duration::from_secs(4);
/// How long a restart by hand may take.
const RESTART: Duration = Duration::from_secs(20);

pub(super) fn receiver<'s>(stage: &'s Stage<'_>, on: Party, called: Who) -> Result<Begun<'s>> {
    let node = stage.cluster.find(&stage.port(on)?)?;
    let claim = stage.claim(&format!("receiver on {}", node.name()))?;
    let called = stage.name(called)?;
    node.start_receiver(WRITER_VIP, &called)?;
    let what = format!("on {} as {called}", node.name());
    let end = move || {
        node.end_receivers();
        Ok(())
    };
    Ok(Begun::silent(&what, end).having([claim]))
}

pub(super) fn copy<'s>(stage: &'s Stage<'_>, who: Who) -> Result<Begun<'s>> {
    let of = stage.terminal(who)?;
    let claim = stage.claim("copy")?;
    let on = stage.cluster.lock_service()?.node().clone();
    if let Err(error) = stage.cluster.start_copy(of.name(), on.name()) {
        // What there is of it is removed now or, where that cannot be done, after the round.
        let _ = on.end_copy();
        return Err(error);
    }
    let what = format!("{} on {}", of.name(), on.name());
    let end = move || match on.is_on() {
        true => on.end_copy(),
        false => Ok(()),
    };
    Ok(Begun::silent(&what, end).having([claim]))
}

/// What comes of it is for the cluster to see, and for an operator to mend where the status says so.
pub(super) fn promote<'s>(stage: &'s Stage<'_>, who: Who) -> Result<Begun<'s>> {
    let node = stage.terminal(who)?;
    stage.cluster.sql(node.name(), "SELECT pg_promote(false)")?;
    Ok(Begun::silent(node.name(), || Ok(())))
}

pub(super) fn setting<'s>(stage: &'s Stage<'_>, who: Who, setting: Setting) -> Result<Begun<'s>> {
    let node = stage.terminal(who)?;
    match setting {
        Setting::MaxConnections => raise_limit(stage, node),
        Setting::Isolation => {
            let claim = stage.claim(&format!("isolation of {}", node.name()))?;
            settings::set(&node, settings::ISOLATION, "serializable")?;
            let name = node.name().to_owned();
            // Without power it is reset after the round.
            let reset = move || match node.is_on() {
                true => settings::set(&node, settings::ISOLATION, ""),
                false => Ok(()),
            };
            Ok(Begun::silent(&name, reset).having([claim]))
        }
    }
}

/// Higher than on any other node, and in force.
fn raise_limit<'s>(stage: &'s Stage<'_>, node: Node) -> Result<Begun<'s>> {
    let claim = stage.claim(OPERATOR)?;
    if node.postmaster_of(PGDATA).is_none() {
        return Err(Error::Asked(format!("{} has no PostgreSQL", node.name())));
    }
    let (code, mut said) = stage.cls(&node, &["unmanage"], COMMAND)?;
    if code == 0 {
        let limit = stage.raised_limit();
        let restarted = settings::set(&node, settings::MAX_CONNECTIONS, &limit.to_string())
            .and_then(|()| settings::restart(&node, RESTART));
        said += &restarted.map_or_else(
            |error| format!("; the restart: {error}"),
            |()| format!("; PostgreSQL restarted with {limit}"),
        );
    }
    let manage = move || type_later(stage, &node, &["manage"]);
    Ok(Begun::new(&said, manage).having([claim]))
}

pub(super) fn session<'s>(stage: &'s Stage<'_>, step: u32, timeout: Duration) -> Result<Begun<'s>> {
    let primary = stage.name(Who::Primary)?;
    let plan = WriterPlan::new(SESSIONS + step)
        .procedure(timeout)
        .pace(Duration::from_millis(50));
    let writer = stage.cluster.start_writer(&plan)?;
    writer.wait_for(1, FIRST)?;
    let standbys = stage.cluster.databases().into_iter();
    let standbys = standbys.filter(|node| node.name() != primary);
    let losses = standbys.flat_map(|node| {
        let ways = [(&primary, node.name()), (&node.name().to_owned(), &primary)];
        ways.map(|(from, to)| Loss {
            from: from.to_owned(),
            to: to.to_owned(),
            percent: 100,
            service: Some(PGPORT),
        })
    });
    stage.lose(step, losses.collect())?;
    let what = format!(
        "statement_timeout {} ms, {primary} without its standbys",
        timeout.as_millis()
    );
    let end = move || {
        stage.find_again(step)?;
        let (waits, acknowledged) = (writer.given_up(), writer.stop()?);
        Ok(format!(
            "; {acknowledged} acknowledged, {waits} successes with a warning"
        ))
    };
    Ok(Begun::new(&what, end))
}

/// Timeline and end of WAL of a server.
const WHERE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint()) \
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8))::bit(32)::integer END, \
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END";

/// The history that a copy of the primary would archive, which was promoted now; or one of a standby, where
/// the primary does not answer.
pub(super) fn foreign_history<'s>(stage: &'s Stage<'_>) -> Result<Begun<'s>> {
    let asked = |text: &str| Error::Asked(text.to_owned());
    let parameters = &stage.cluster.spec().pacemaker.parameters;
    if !parameters.contains_key("restore_command") {
        return Err(asked("nothing is restored from an archive"));
    }
    let sources = [Who::Primary, Who::Standby(0), Who::Standby(1)];
    let mut answers = sources.iter().filter_map(|who| {
        let node = stage.terminal(*who).ok()?;
        let said = stage.cluster.sql(node.name(), WHERE).ok()?;
        let (number, lsn) = said.split_once('|')?;
        Some((node, number.parse::<u32>().ok()?, lsn.to_owned()))
    });
    let (node, number, lsn) = answers
        .next()
        .ok_or_else(|| asked("no node says which timeline it is on"))?;
    let before = match number {
        1 => Vec::new(),
        number => node.read(&format!("{PGDATA}/pg_wal/{number:08X}.history"))?,
    };
    let before = String::from_utf8_lossy(&before);
    let text = format!("{before}{number}\t{lsn}\tno recovery target specified\n");
    let name = format!("{:08X}.history", number + 1);
    let on = || stage.cluster.databases().into_iter().filter(Node::is_on);
    for node in on() {
        node.archive_history(&name, &text)?;
    }
    let what = format!("{name}, of {}", node.name());
    // Two of one name are the last one's, and gone with the first.
    let take_away = move || on().try_for_each(|node| node.forget_history(&name));
    Ok(Begun::silent(&what, take_away))
}
