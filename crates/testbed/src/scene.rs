//! What the demo and the benchmarks have in common: a cluster that replicates, and the course of a
//! power cut as a client sees it.

use std::time::Duration;

use crate::checker::Verdict;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::pacemaker::RESOURCE;
use crate::progress::Progress;
use crate::run::Output;
use crate::wait::wait;
use crate::writer::{Writer, now_us};

/// Who is what in a replicating cluster.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) primary: String,
    pub(crate) standby: String,
}

/// Waits until one node is the primary and another one a synchronous standby; says whenever the picture
/// changes. With the register that one is a holder, too: what is shown of it comes a monitor earlier, and a
/// planned switch is refused until then.
///
/// # Errors
/// [`Error::NotInTime`].
pub(crate) fn wait_for_pair(
    cluster: &Cluster,
    progress: &Progress,
    timeout: Duration,
) -> Result<Pair> {
    let mut picture = Picture::new(progress);
    wait("a primary with a synchronous standby", timeout, || {
        let (roles, text) = picture.look(cluster)?;
        let holders = holders(cluster)?;
        let with = |status: &str| {
            let mut found = roles.iter().filter(|(_, is)| is == status);
            found.next().map(|(node, _)| node.clone())
        };
        match (with("PRI"), with("HS:sync")) {
            (Some(primary), Some(standby))
                if roles.iter().filter(|(_, is)| is == "PRI").count() == 1 =>
            {
                match holders {
                    Some(holders) if !holders.contains(&standby) => {
                        Err(format!("{text}; holders {}", holders.join(", ")))
                    }
                    _ => Ok(Pair { primary, standby }),
                }
            }
            _ => Err(text),
        }
    })
}

/// Who holds every acknowledged commit, by the register; `None` where there is none.
fn holders(cluster: &Cluster) -> std::result::Result<Option<Vec<String>>, String> {
    let config = &cluster.spec().pacemaker;
    if config.agent == crate::peer::AGENT || !config.parameters.contains_key("distlock_conninfo") {
        return Ok(None);
    }
    let row = cluster.lock_sql("SELECT array_to_string(holders, ' ') FROM distlock");
    let row = row.map_err(|error| error.to_string())?;
    Ok(Some(row.split_whitespace().map(str::to_owned).collect()))
}

/// The roles as they were shown last, so that they are shown again only when they change.
struct Picture<'p> {
    progress: &'p Progress,
    shown: String,
}

impl<'p> Picture<'p> {
    fn new(progress: &'p Progress) -> Picture<'p> {
        Picture {
            progress,
            shown: String::new(),
        }
    }

    /// The roles, and the same in words.
    fn look(
        &mut self,
        cluster: &Cluster,
    ) -> std::result::Result<(Vec<(String, String)>, String), String> {
        let roles = roles(cluster)?;
        let words: Vec<String> = roles
            .iter()
            .map(|(node, status)| format!("{node} {status}"))
            .collect();
        let text = words.join(", ");
        if self.shown != text {
            self.progress.say(&text);
            self.shown.clone_from(&text);
        }
        Ok((roles, text))
    }
}

/// Every database node with its `pgsql-status`; `off` without power.
fn roles(cluster: &Cluster) -> std::result::Result<Vec<(String, String)>, String> {
    let cib = cluster.cib().map_err(|error| error.to_string())?;
    let name = format!("{RESOURCE}-status");
    Ok(cluster
        .databases()
        .iter()
        .map(|node| {
            let status = if node.is_on() {
                cib.transient(node.name(), &name)
                    .unwrap_or_else(|| "-".to_owned())
            } else {
                "off".to_owned()
            };
            (node.name().to_owned(), status)
        })
        .collect())
}

/// What a fault did to the clients.
#[derive(Debug)]
pub(crate) struct Course {
    /// How long no commit was acknowledged.
    pub(crate) gap: Duration,
    pub(crate) verdict: Verdict,
}

/// Does something to the primary below a writer (`blow`, which `what` names), waits until commits
/// are acknowledged again, lets them go on for `after`, and judges.
///
/// # Errors
/// Writes did not go on within `timeout`, or something of the testbed failed. What was lost is not
/// an error but part of the verdict.
pub(crate) fn strike(
    cluster: &Cluster,
    writer: Writer,
    progress: &Progress,
    timeout: Duration,
    after: Duration,
    (what, blow): (&str, impl FnOnce() -> Result<()>),
) -> Result<Course> {
    let fault = now_us();
    blow()?;
    progress.say(what);
    let mut picture = Picture::new(progress);
    let before = writer.acknowledged();
    wait("an acknowledgement after the fault", timeout, || {
        let text = picture
            .look(cluster)
            .map_or_else(|error| error, |(_, text)| text);
        // A commit that was acknowledged just before the fault may be counted a moment later.
        if writer.acknowledged() > before + 5 {
            Ok(())
        } else {
            Err(text)
        }
    })?;
    progress.say("commits are acknowledged again");
    writer.wait_time(after);
    writer.stop()?;
    judge(cluster, fault)
}

/// [`strike`] with a power cut of the primary.
///
/// # Errors
/// As [`strike`].
pub(crate) fn cut_power(
    cluster: &Cluster,
    pair: &Pair,
    writer: Writer,
    progress: &Progress,
    timeout: Duration,
    after: Duration,
) -> Result<Course> {
    let what = format!("the power of {} is cut", pair.primary);
    let blow = || cluster.power_cut(&pair.primary);
    strike(cluster, writer, progress, timeout, after, (&what, blow))
}

/// How a node that was primary and lost its power came back.
#[derive(Debug)]
pub(crate) enum Return {
    /// It had nothing that the new primary lacks, and follows.
    ByItself,
    /// It had WAL that nobody was told of, was refused, and an operator repaired it.
    Repaired {
        /// How long it took.
        took: Duration,
    },
}

/// Gives the old primary its power back and waits until it follows the new one; where it is refused
/// because its data have diverged, with the operator's command.
///
/// # Errors
/// It did not come back in time, or the repair failed.
pub(crate) fn bring_back(
    cluster: &Cluster,
    pair: &Pair,
    progress: &Progress,
    timeout: Duration,
) -> Result<Return> {
    progress.say(&format!("{} gets its power back", pair.primary));
    cluster.boot(&pair.primary)?;
    let new = cluster.find(&pair.standby)?;
    let mut picture = Picture::new(progress);
    let refused = wait("the old primary back or refused", timeout, || {
        let (roles, text) = picture.look(cluster)?;
        if roles.contains(&(pair.primary.clone(), "HS:sync".to_owned())) {
            return Ok(None);
        }
        let view = new
            .exec(&["crm_mon", "-1", "-r"], timeout)
            .map_err(|error| error.to_string())?;
        let place = format!("on {} ", pair.primary);
        let reason = view
            .stdout
            .lines()
            .find(|line| line.contains(&place) && line.contains("cls_repair_slave"));
        reason.map(|line| Some(line.trim().to_owned())).ok_or(text)
    })?;
    let Some(reason) = refused else {
        progress.say(&format!("{} follows by itself", pair.primary));
        return Ok(Return::ByItself);
    };
    progress.say(&format!("{} is refused: {reason}", pair.primary));
    let old = cluster.find(&pair.primary)?;
    let output = old.run(&["cls", "repair_slave"], timeout)?;
    progress.say(&format!("{}# cls_repair_slave", pair.primary));
    tell(progress, &output);
    Ok(Return::Repaired {
        took: output.elapsed,
    })
}

/// What an operator's command has said.
fn tell(progress: &Progress, output: &Output) {
    for line in output.stderr.lines().chain(output.stdout.lines()) {
        progress.say(&format!("  {line}"));
    }
}

/// A planned switch back to the old primary below a writer: what became of it, and the gap.
///
/// # Errors
/// It failed, or writes did not go on within `timeout`.
pub(crate) fn switch_back(
    cluster: &Cluster,
    pair: &Pair,
    writer: Writer,
    progress: &Progress,
    timeout: Duration,
    after: Duration,
) -> Result<Course> {
    let begin = now_us();
    progress.say(&format!("{}# cls_online_switch", pair.standby));
    let command = ["cls", "online_switch"];
    let output = cluster.find(&pair.standby)?.run(&command, timeout)?;
    tell(progress, &output);
    writer.wait_for(20, timeout)?;
    writer.wait_time(after);
    writer.stop()?;
    judge(cluster, begin)
}

/// The verdict on every node whose PostgreSQL runs, and the outage that a fault at `fault` caused.
pub(crate) fn judge(cluster: &Cluster, fault: u64) -> Result<Course> {
    let mut running = cluster.databases();
    running.retain(|node| node.is_on() && node.postmaster_pid().is_some());
    let names: Vec<&str> = running.iter().map(Node::name).collect();
    if names.is_empty() {
        return Err(Error::Asked("PostgreSQL runs on no node".to_owned()));
    }
    let verdict = cluster.check(&names, Duration::from_secs(15))?;
    Ok(Course {
        gap: verdict.ledger.gap_after(fault),
        verdict,
    })
}
