//! The lock service is put back to an older state, as by a backup, and the primary dies before
//! anybody has mended that. Nobody may take over from such a register, until an operator decides.

use std::time::Duration;

use super::stage::{Event, Stage};
use super::watch::Seen;
use crate::error::{Error, Result};
use crate::writer::now_us;

/// How long the nodes are left with it, by the lock service's clock, once the primary is dead and
/// the old lease has ended.
const TEMPTATION: &str = "interval '12 seconds'";
/// How long one look at the clock, or one command, is tried again.
const PATIENCE: Duration = Duration::from_secs(150);
const COMMAND: Duration = Duration::from_secs(60);

/// Takes the backup.
pub(super) fn save(stage: &Stage<'_>) -> Result<()> {
    let sql = "DROP TABLE IF EXISTS campaign_backup; \
               CREATE TABLE campaign_backup AS SELECT * FROM distlock";
    stage.cluster.lock_sql(sql).map(drop)
}

/// Puts it back where the register has moved on since; cuts the primary's power, sees that nobody
/// is tempted, and does what the manual says.
///
/// # Errors
/// Somebody took over, or the operator's decision did not help.
pub(super) fn play(stage: &Stage<'_>, step: u32, primary: &str) -> Result<()> {
    let begin = now_us();
    let record = |what: String, done| {
        stage.record(Event {
            step,
            kind: "lock service restored".to_owned(),
            what,
            begin,
            end: now_us(),
            done,
        });
    };
    let moved = "SELECT (d.term, d.epoch) > (s.term, s.epoch) FROM distlock d, campaign_backup s";
    if stage.cluster.lock_sql(moved)? != "t" {
        record("the register has not moved on".to_owned(), false);
        return Ok(());
    }
    stage.cluster.lock_sql(
        "BEGIN; DELETE FROM distlock; INSERT INTO distlock SELECT * FROM campaign_backup; COMMIT",
    )?;
    stage.cluster.power_cut(primary)?;
    let outcome = tempted(stage, primary);
    stage.boot(primary)?;
    outcome?;
    record(format!("{primary} without power, nobody took over"), true);
    let node = stage.cluster.find(primary)?;
    let words = ["recovery_master", "--node", primary, "--confirm", primary];
    crate::wait::wait("cls_recovery_master", PATIENCE, || {
        let begin = now_us();
        let (code, said) = stage
            .cls(&node, &words, COMMAND)
            .map_err(|error| error.to_string())?;
        stage.record(Event {
            step: 0,
            kind: "cls_recovery_master".to_owned(),
            what: said.clone(),
            begin,
            end: now_us(),
            done: true,
        });
        if code == 0 {
            return Ok(());
        }
        // It comes up at its own pace; asking again at once would only be refused again.
        std::thread::sleep(Duration::from_secs(2));
        Err(said)
    })
}

/// Waits until every lease has long ended, and sees whether somebody became primary meanwhile.
fn tempted(stage: &Stage<'_>, primary: &str) -> Result<()> {
    let now = stage.cluster.lock_sql("SELECT clock_timestamp()")?;
    let ended = format!(
        "SELECT clock_timestamp() - greatest(ts + expired_time, '{now}') > {TEMPTATION}, \
         owner, term FROM distlock"
    );
    let others: Vec<String> = stage
        .cluster
        .databases()
        .iter()
        .map(|node| node.name().to_owned())
        .filter(|name| name != primary)
        .collect();
    let taken = |name: &&String| stage.watch.seen(name) == Some(Seen::Primary);
    let mut thief = None;
    crate::wait::wait("the end of the lease that was put back", PATIENCE, || {
        thief = others.iter().find(taken).cloned();
        let row = stage
            .cluster
            .lock_sql(&ended)
            .map_err(|error| error.to_string())?;
        if thief.is_some() || row.starts_with("t|") {
            Ok(())
        } else {
            Err(row)
        }
    })?;
    match thief {
        Some(name) => Err(Error::Asked(format!(
            "{name} took over with a register that had been put back to an older state"
        ))),
        None => Ok(()),
    }
}
