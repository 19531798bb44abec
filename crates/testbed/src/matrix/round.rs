//! One round on a suite: from nodes that have the distribution's packages and nothing of this project to a
//! cluster that replicates, through what can happen to it, and back.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::builder::ClusterBuilder;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::{LOCK_PORT, PGPORT, READER_VIP, WRITER_VIP};
use crate::node::{Node, PGDATA};
use crate::progress::Progress;
use crate::run::Output;
use crate::scene::{
    Course, Pair, Return, bring_back, cut_power, strike, switch_back, wait_for_pair,
};
use crate::wait::wait;
use crate::writer::{Writer, WriterPlan};
use rustix::process::Signal;

/// How long one step of a cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long clients go on after a fault.
const AFTER: Duration = Duration::from_secs(2);
/// Where the package is put on a node.
const PACKAGE: &str = "/root/pha4pgsql.deb";
/// Where the same is put as a later version.
const LATER: &str = "/root/pha4pgsql-later.deb";
/// Makes it of a package: bytes after the last section of an ELF file are of no meaning to it, so that the
/// programs are those of another build.
const MAKE_LATER: &str = r#"set -e
place=$(mktemp -d)
dpkg-deb --raw-extract "$1" "$place"
sed -i 's/^Version: .*/&+later/' "$place/DEBIAN/control"
for program in usr/sbin/cls usr/sbin/distlock usr/lib/ocf/resource.d/heartbeat/expgsql; do
    printf 'another build' >>"$place/$program"
done
dpkg-deb -Zgzip --build "$place" "$2"
rm -rf -- "$place""#;
/// Where the package's commands read the configuration.
const CONFIG: &str = "/etc/pha4pgsql/config.ini";

/// The step that makes the round's cluster.
const MACHINES: &str = "machines with corosync and Pacemaker";

/// What a step does; what it answers is shown.
type Work = fn(&Round<'_>) -> Result<String>;

/// The steps on the cluster, in order.
const STEPS: [(&str, Work); 14] = [
    (
        "package installed by dpkg, config.ini on every node",
        install,
    ),
    ("cls_setup, which changes nothing the second time", set_up),
    ("cls_start", start),
    ("cls_doctor without an error", doctor),
    (
        "package upgraded by dpkg under a client that writes; nothing restarts but the guard",
        upgrade,
    ),
    ("power cut of the primary, and its return", power_cut),
    ("SIGKILL to the primary's postmaster", kill),
    ("cls_online_switch", switch),
    ("cls_standby_node and cls_unstandby_node", standby),
    ("diverged primary, cls_repair_slave", repair),
    ("cls_rebuild_slave of a node without data", rebuild),
    ("cls_stop and cls_start", stop_and_start),
    ("every acknowledged commit is on both nodes", check),
    ("cls_setup --remove, package removed", remove),
];

/// The names of all steps.
pub(super) fn steps() -> impl Iterator<Item = &'static str> {
    std::iter::once(MACHINES).chain(STEPS.iter().map(|(name, _)| *name))
}

/// Goes through the steps on a new cluster and has `tell` hear of each with its seconds. Returns the step that
/// failed, which is the last one then.
pub(super) fn go(
    root: &Path,
    suite: &str,
    package: &[u8],
    progress: &Progress,
    mut tell: impl FnMut(&str, f64, &Result<String>),
) -> Option<&'static str> {
    let begin = Instant::now();
    let made = ClusterBuilder::new(suite)
        .root(root)
        .bare(true)
        .progress(progress.clone())
        .up();
    let (cluster, outcome) = match made {
        Ok(cluster) => (Some(cluster), Ok("up".to_owned())),
        Err(error) => (None, Err(error)),
    };
    tell(MACHINES, begin.elapsed().as_secs_f64(), &outcome);
    let Some(cluster) = cluster else {
        return Some(MACHINES);
    };
    let round = Round {
        cluster,
        package,
        progress,
        writers: Cell::new(0),
    };
    for (name, work) in STEPS {
        progress.say(name);
        let begin = Instant::now();
        let outcome = work(&round);
        tell(name, begin.elapsed().as_secs_f64(), &outcome);
        if let Err(error) = outcome {
            round.cluster.wreck(&format!("{name}: {error}"));
            return Some(name);
        }
    }
    None
}

struct Round<'r> {
    cluster: Cluster,
    package: &'r [u8],
    progress: &'r Progress,
    /// How many clients there have been.
    writers: Cell<u32>,
}

impl Round<'_> {
    /// Runs an operator's command on the first node.
    fn type_in(&self, words: &[&str]) -> Result<Output> {
        self.cluster.find("node1")?.run(words, PATIENCE)
    }

    fn pair(&self) -> Result<Pair> {
        wait_for_pair(&self.cluster, self.progress, PATIENCE)
    }

    /// A new client that writes.
    fn writer(&self) -> Result<Writer> {
        self.writers.set(self.writers.get() + 1);
        let writer = self
            .cluster
            .start_writer(&WriterPlan::new(self.writers.get()))?;
        writer.wait_for(100, PATIENCE)?;
        Ok(writer)
    }
}

/// How long clients stood still, where nothing is lost.
fn gap(course: &Course) -> Result<String> {
    if !course.verdict.clean() {
        return Err(Error::Asked(course.verdict.to_string()));
    }
    let gap = course.gap.as_secs_f64();
    Ok(format!("clients stood still {gap:.1} s"))
}

fn install(round: &Round<'_>) -> Result<String> {
    for node in round.cluster.databases() {
        node.write(PACKAGE, round.package, 0o644)?;
        node.run(&["dpkg", "--install", PACKAGE], PATIENCE)?;
    }
    let node = round.cluster.find("node1")?;
    node.write(CONFIG, config(&node)?, 0o600)?;
    round.type_in(&["sh", "/usr/share/pha4pgsql/install.sh"])?;
    let version = round.type_in(&["cls", "--version"])?;
    Ok(version.text().to_owned())
}

fn config(node: &Node) -> Result<String> {
    let bin = node.server_programs()?;
    Ok(format!(
        "cluster_type = \"dual\"\nnode1 = \"node1\"\nnode2 = \"node2\"\n\
         RESOURCE_LIST = \"msPostgresql vip-master vip-slave\"\n\
         writer_vip = \"{WRITER_VIP}\"\nreader_vip = \"{READER_VIP}\"\nvip_nic = \"eth0\"\nvip_cidr_netmask = 24\n\
         pgsql_pgctl = \"{bin}/pg_ctl\"\npgsql_psql = \"/usr/bin/psql\"\npgsql_pgdata = \"{PGDATA}\"\n\
         pgsql_pgport = {PGPORT}\npgsql_rep_mode = \"sync\"\n\
         pgsql_repuser = \"replication\"\npgsql_reppassword = \"replication\"\npgsql_enable_distlock = true\n\
         pgsql_distlock_conninfo = \"host=node3 port={LOCK_PORT} dbname=postgres user=postgres connect_timeout=5\"\n\
         pgsql_distlock_lockname = \"pgsql_cls1\"\n"
    ))
}

fn set_up(round: &Round<'_>) -> Result<String> {
    round.type_in(&["cls_setup"])?;
    let again = round.type_in(&["cls_setup"])?;
    match again.stdout.contains("nothing to change") {
        true => Ok("nothing to change".to_owned()),
        false => Err(Error::Asked(format!(
            "the second cls_setup said {}",
            again.stdout
        ))),
    }
}

fn start(round: &Round<'_>) -> Result<String> {
    round.type_in(&["cls_start"])?;
    let pair = round.pair()?;
    // What it finds has an exit code.
    round.type_in(&["cls_status", "--check"])?;
    Ok(format!("{} replicates to {}", pair.primary, pair.standby))
}

fn doctor(round: &Round<'_>) -> Result<String> {
    let output = round.type_in(&["cls_doctor", "--json", "--timeout", "120"])?;
    let answer: serde_json::Value = serde_json::from_str(&output.stdout)
        .map_err(|error| Error::Asked(format!("cls_doctor --json: {error}: {}", output.stdout)))?;
    let checks = answer["checks"].as_array().map_or(&[][..], Vec::as_slice);
    let warnings = checks.iter().filter(|check| check["level"] == "warning");
    let named: Vec<String> = warnings
        .map(|check| check["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    Ok(format!(
        "{} checks, {} warnings {}",
        checks.len(),
        named.len(),
        named.join(" ")
    ))
}

/// What an upgrade must leave alone on a node: its postmaster, and every process of the cluster's stack.
fn untouched(node: &Node) -> Vec<(String, i32)> {
    let stack = |comm: &str| comm == "corosync" || comm.starts_with("pacemaker");
    let processes = node.processes().into_iter();
    let mut found: Vec<(String, i32)> = processes
        .filter(|process| stack(&process.comm))
        .map(|process| (process.comm, process.pid))
        .collect();
    let postmaster = node.postmaster_pid();
    found.extend(postmaster.map(|pid| ("the postmaster".to_owned(), pid)));
    found.sort();
    found
}

fn guards(node: &Node) -> Vec<i32> {
    let guards = node.operations("guard");
    guards.iter().map(|guard| guard.pid).collect()
}

fn upgrade(round: &Round<'_>) -> Result<String> {
    let (cluster, progress) = (&round.cluster, round.progress);
    let before = round.pair()?;
    let databases = cluster.databases();
    for node in &databases {
        node.run(&["sh", "-c", MAKE_LATER, "sh", PACKAGE, LATER], PATIENCE)?;
    }
    let stacks: Vec<_> = databases.iter().map(untouched).collect();
    let writer = round.writer()?;
    let blow = || {
        for node in &databases {
            let old = guards(node);
            node.run(&["dpkg", "--install", LATER], PATIENCE)?;
            let what = format!("a guard of the new program on {}", node.name());
            wait(&what, PATIENCE, || {
                let new = guards(node);
                let replaced = new.iter().all(|pid| !old.contains(pid));
                match replaced && new.is_empty() == old.is_empty() {
                    true => Ok(()),
                    false => Err(format!("before {old:?}, now {new:?}")),
                }
            })?;
        }
        Ok(())
    };
    let what = "a later version of the package is installed on every node";
    let course = strike(cluster, writer, progress, PATIENCE, AFTER, (what, blow))?;
    gap(&course)?;
    for (node, before) in databases.iter().zip(stacks) {
        let after = untouched(node);
        if after != before {
            return Err(Error::Asked(format!(
                "{}: {before:?} before the upgrade, {after:?} after it",
                node.name()
            )));
        }
        let version = "dpkg-query --show --showformat='${Version}' pha4pgsql | grep -q '+later$'";
        node.run(&["sh", "-c", version], PATIENCE)?;
    }
    let after = round.pair()?;
    if after.primary != before.primary {
        return Err(Error::Asked(format!("the primary is {}", after.primary)));
    }
    let gap = course.gap.as_secs_f64();
    Ok(format!("longest time without a commit {gap:.2} s"))
}

fn power_cut(round: &Round<'_>) -> Result<String> {
    let (cluster, progress) = (&round.cluster, round.progress);
    let pair = round.pair()?;
    let writer = round.writer()?;
    let course = cut_power(cluster, &pair, writer, progress, PATIENCE, AFTER)?;
    let stood = gap(&course)?;
    let back = bring_back(cluster, &pair, progress, PATIENCE)?;
    round.pair()?;
    Ok(match back {
        Return::ByItself => format!("{stood}; {} followed by itself", pair.primary),
        Return::Repaired { .. } => format!("{stood}; {} was repaired", pair.primary),
    })
}

fn kill(round: &Round<'_>) -> Result<String> {
    let pair = round.pair()?;
    let primary = round.cluster.find(&pair.primary)?;
    let writer = round.writer()?;
    let blow = || match primary.kill_postmaster(Signal::KILL) {
        true => Ok(()),
        false => Err(Error::Asked(format!(
            "{}: PostgreSQL does not run",
            pair.primary
        ))),
    };
    let what = format!("SIGKILL to the postmaster of {}", pair.primary);
    let (cluster, progress) = (&round.cluster, round.progress);
    let course = strike(cluster, writer, progress, PATIENCE, AFTER, (&what, blow))?;
    let stood = gap(&course)?;
    let after = round.pair()?;
    // A planned switch is refused while a failure is on record.
    round.type_in(&["cls_cleanup"])?;
    Ok(format!("{stood}; then the primary is {}", after.primary))
}

fn switch(round: &Round<'_>) -> Result<String> {
    let pair = round.pair()?;
    let writer = round.writer()?;
    let (cluster, progress) = (&round.cluster, round.progress);
    let course = switch_back(cluster, &pair, writer, progress, PATIENCE, AFTER)?;
    let stood = gap(&course)?;
    let after = round.pair()?;
    if after.primary != pair.standby {
        return Err(Error::Asked(format!("the primary is {}", after.primary)));
    }
    Ok(stood)
}

fn standby(round: &Round<'_>) -> Result<String> {
    let pair = round.pair()?;
    let writer = round.writer()?;
    round.type_in(&["cls_standby_node", &pair.standby])?;
    writer.wait_for(20, PATIENCE)?;
    round.type_in(&["cls_unstandby_node", &pair.standby])?;
    let after = round.pair()?;
    writer.wait_for(20, PATIENCE)?;
    writer.stop()?;
    Ok(format!("{} streams again", after.standby))
}

fn repair(round: &Round<'_>) -> Result<String> {
    let (cluster, progress) = (&round.cluster, round.progress);
    let pair = round.pair()?;
    let writer = round.writer()?;
    let blow = || {
        cluster.cut_port(&pair.primary, &pair.standby, PGPORT)?;
        // WAL that nobody else has, and that no client was told of.
        let only_there = "SET synchronous_commit = local; CREATE TABLE only_there ()";
        cluster.sql(&pair.primary, only_there)?;
        cluster.power_cut(&pair.primary)
    };
    let what = format!("the power of {} is cut after WAL of its own", pair.primary);
    let course = strike(cluster, writer, progress, PATIENCE, AFTER, (&what, blow))?;
    let stood = gap(&course)?;
    cluster.heal()?;
    let back = bring_back(cluster, &pair, progress, PATIENCE)?;
    let Return::Repaired { took } = back else {
        return Err(Error::Asked(format!(
            "{} came back by itself, with WAL of its own",
            pair.primary
        )));
    };
    let after = round.pair()?;
    let took = took.as_secs_f64();
    Ok(format!(
        "{stood}; {} repaired in {took:.1} s",
        after.standby
    ))
}

fn rebuild(round: &Round<'_>) -> Result<String> {
    let pair = round.pair()?;
    let standby = round.cluster.find(&pair.standby)?;
    round.type_in(&["cls_standby_node", &pair.standby])?;
    let empty = format!("rm -rf {PGDATA}/*");
    standby.run(&["sh", "-c", &empty], PATIENCE)?;
    let output = standby.run(&["cls_rebuild_slave"], PATIENCE)?;
    round.type_in(&["cls_unstandby_node", &pair.standby])?;
    round.pair()?;
    let took = output.elapsed.as_secs_f64();
    Ok(format!("{} rebuilt in {took:.1} s", pair.standby))
}

fn stop_and_start(round: &Round<'_>) -> Result<String> {
    let before = round.pair()?;
    round.type_in(&["cls_stop"])?;
    let databases = round.cluster.databases();
    let running = databases
        .iter()
        .find(|node| node.postmaster_pid().is_some());
    if let Some(node) = running {
        let what = format!("{}: PostgreSQL runs after cls_stop", node.name());
        return Err(Error::Asked(what));
    }
    round.type_in(&["cls_start"])?;
    let after = round.pair()?;
    Ok(format!(
        "primary before {}, after {}",
        before.primary, after.primary
    ))
}

fn check(round: &Round<'_>) -> Result<String> {
    let databases = round.cluster.databases();
    let names: Vec<&str> = databases.iter().map(Node::name).collect();
    let verdict = round.cluster.check(&names, Duration::from_secs(15))?;
    if !verdict.clean() {
        return Err(Error::Asked(verdict.to_string()));
    }
    let count = verdict.ledger.acknowledgements.len();
    Ok(format!("{count} acknowledged, 0 lost"))
}

fn remove(round: &Round<'_>) -> Result<String> {
    const REMOVE: [&str; 3] = ["dpkg", "--remove", "pha4pgsql"];
    let databases = round.cluster.databases();
    for node in &databases {
        if node.exec(&REMOVE, PATIENCE)?.ok() {
            let what = format!("{}: removed although it is configured", node.name());
            return Err(Error::Asked(what));
        }
    }
    round.type_in(&["cls_stop"])?;
    round.type_in(&["cls_setup", "--remove"])?;
    for node in &databases {
        node.run(&REMOVE, PATIENCE)?;
        let gone = "! test -e /usr/sbin/cls && ! test -e /usr/lib/ocf/resource.d/heartbeat/expgsql";
        node.run(&["sh", "-c", gone], PATIENCE)?;
        node.run(&["test", "-f", &format!("{PGDATA}/PG_VERSION")], PATIENCE)?;
    }
    Ok("refused while configured, then done; the data are there".to_owned())
}
