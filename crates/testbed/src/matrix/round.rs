//! One round on a suite: from nodes that have the distribution's packages and nothing of this project to a
//! cluster that replicates, through what can happen to it, and back.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::ground::Roots;
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
pub(super) const PATIENCE: Duration = Duration::from_secs(240);
/// How long clients go on after a fault.
pub(super) const AFTER: Duration = Duration::from_secs(2);
/// What the README has a newcomer type on a node that has the distribution's packages. `cls_init` is not among
/// it: these nodes have a database, and a test of whole clusters types it.
mod lines {
    pub(super) const PACKAGE: &str = "apt-get install ./pha4pgsql_*.deb";
    pub(super) const COPY: &str =
        "install -m 600 /etc/pha4pgsql/config.ini.example /etc/pha4pgsql/config.ini";
    pub(super) const DISTRIBUTE: &str = "sh /usr/share/pha4pgsql/install.sh";
    pub(super) const DRY_RUN: &str = "cls_setup --dry-run";
    pub(super) const SET_UP: &str = "cls_setup";
    pub(super) const START: &str = "cls_start";
    pub(super) const STATUS: &str = "cls_status";
}
/// Where the package is put on a node.
const PACKAGE: &str = "/root/pha4pgsql_0_amd64.deb";
/// Where the package that it is upgraded to is put, and the same as a later version.
const NEXT: &str = "/root/next.deb";
/// See [`NEXT`].
const LATER: &str = "/root/later.deb";
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

/// What a step does; what it answers is shown.
pub(super) type Part = fn(&Round<'_>) -> Result<String>;

/// A step, as it is called, and what it does.
pub(super) type Step = (&'static str, Part);

/// What a round goes through.
pub(super) struct Program {
    /// The step that makes the cluster.
    pub(super) machines: &'static str,
    /// Whether systemd boots the database nodes.
    pub(super) systemd: bool,
    /// The steps on the cluster, in order.
    pub(super) steps: &'static [Step],
}

impl Program {
    /// The names of all steps.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.machines).chain(self.steps.iter().map(|(name, _)| *name))
    }
}

/// What every suite goes through.
pub(super) const ON_A_SUITE: Program = Program {
    machines: "machines with corosync and Pacemaker",
    systemd: false,
    steps: &STEPS,
};

pub(super) const INSTALLED: Step = (
    "package installed by apt-get, config.ini on every node",
    install,
);
pub(super) const SET_UP: Step = ("cls_setup, which changes nothing the second time", set_up);
pub(super) const STARTED: Step = ("cls_start", start);
pub(super) const EXAMINED: Step = ("cls_doctor without an error", doctor);
pub(super) const STANDBY_UPGRADED: Step = (
    "package upgraded by dpkg on the standby under a client that writes; nothing restarts but the guard",
    |round| upgrade(round, |pair| &pair.standby),
);
pub(super) const PRIMARY_UPGRADED: Step =
    ("package upgraded on the primary in the same way", |round| {
        upgrade(round, |pair| &pair.primary)
    });
pub(super) const CHECKED: Step = ("every acknowledged commit is on both nodes", check);

const STEPS: [Step; 16] = [
    INSTALLED,
    SET_UP,
    STARTED,
    EXAMINED,
    STANDBY_UPGRADED,
    (
        "cls_online_switch from the old program to the new one, and back",
        there_and_back,
    ),
    PRIMARY_UPGRADED,
    ("power cut of the primary, and its return", power_cut),
    ("SIGKILL to the primary's postmaster", kill),
    ("cls_online_switch", switch),
    ("cls_standby_node and cls_unstandby_node", standby),
    ("diverged primary, cls_repair_slave", repair),
    ("cls_rebuild_slave of a node without data", rebuild),
    ("cls_stop and cls_start", stop_and_start),
    CHECKED,
    ("cls_setup --remove, package removed", remove),
];

/// Goes through the steps on a new cluster and has `tell` hear of each with its seconds. Returns the step that
/// failed, which is the last one then.
pub(super) fn go(
    program: &Program,
    (name, roots): (&str, &Roots),
    packages: &Packages,
    progress: &Progress,
    mut tell: impl FnMut(&str, f64, &Result<String>),
) -> Option<&'static str> {
    let begin = Instant::now();
    let made = ClusterBuilder::new(name)
        .root(&roots.first)
        .second_root(&roots.second)
        .bare(true)
        .systemd(program.systemd)
        .progress(progress.clone())
        .up();
    let (cluster, outcome) = match made {
        Ok(cluster) => (Some(cluster), Ok("up".to_owned())),
        Err(error) => (None, Err(error)),
    };
    tell(program.machines, begin.elapsed().as_secs_f64(), &outcome);
    let Some(cluster) = cluster else {
        return Some(program.machines);
    };
    let round = Round {
        cluster,
        packages,
        progress,
        mixed: roots.first != roots.second,
        writers: Cell::new(0),
    };
    for (name, work) in program.steps {
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

/// The packages of a round.
#[derive(Debug)]
pub(super) struct Packages {
    /// What is there first.
    pub(super) before: Vec<u8>,
    /// What it is upgraded to.
    pub(super) package: Vec<u8>,
}

pub(super) struct Round<'r> {
    pub(super) cluster: Cluster,
    packages: &'r Packages,
    pub(super) progress: &'r Progress,
    /// Whether the nodes have different versions of everything.
    mixed: bool,
    /// How many clients there have been.
    writers: Cell<u32>,
}

impl Round<'_> {
    /// Runs an operator's command on the first node.
    pub(super) fn type_in(&self, words: &[&str]) -> Result<Output> {
        self.cluster.find("node1")?.run(words, PATIENCE)
    }

    pub(super) fn pair(&self) -> Result<Pair> {
        wait_for_pair(&self.cluster, self.progress, PATIENCE)
    }

    /// The same before the primary loses its power. Where the nodes have different versions that has to be the
    /// second, with the newer Pacemaker: a newer coordinator does not let an older node join, so that the first
    /// could not come back.
    fn pair_to_part(&self) -> Result<Pair> {
        let pair = self.pair()?;
        if !self.mixed || pair.primary == "node2" {
            return Ok(pair);
        }
        switch(self)?;
        self.pair()
    }

    /// A new client that writes.
    pub(super) fn writer(&self) -> Result<Writer> {
        self.writers.set(self.writers.get() + 1);
        let writer = self
            .cluster
            .start_writer(&WriterPlan::new(self.writers.get()))?;
        writer.wait_for(100, PATIENCE)?;
        Ok(writer)
    }
}

/// Types a line of the README on a node, in root's home.
fn type_line(node: &Node, line: &str) -> Result<Output> {
    node.run(&["sh", "-c", &format!("cd /root && {line}")], PATIENCE)
}

/// How long clients stood still, where nothing is lost.
pub(super) fn gap(course: &Course) -> Result<String> {
    if !course.verdict.clean() {
        return Err(Error::Asked(course.verdict.to_string()));
    }
    let gap = course.gap.as_secs_f64();
    Ok(format!("clients stood still {gap:.1} s"))
}

fn install(round: &Round<'_>) -> Result<String> {
    for node in round.cluster.databases() {
        node.write(PACKAGE, &round.packages.before, 0o644)?;
        type_line(&node, lines::PACKAGE)?;
    }
    let node = round.cluster.find("node1")?;
    type_line(&node, lines::COPY)?;
    node.write(CONFIG, config(&node)?, 0o600)?;
    type_line(&node, lines::DISTRIBUTE)?;
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
    let node = round.cluster.find("node1")?;
    let shown = type_line(&node, lines::DRY_RUN)?;
    if shown.stdout.contains("nothing to change") {
        return Err(Error::Asked(format!(
            "{} said {}",
            lines::DRY_RUN,
            shown.stdout
        )));
    }
    type_line(&node, lines::SET_UP)?;
    let again = type_line(&node, lines::SET_UP)?;
    match again.stdout.contains("nothing to change") {
        true => Ok("nothing to change".to_owned()),
        false => Err(Error::Asked(format!(
            "the second cls_setup said {}",
            again.stdout
        ))),
    }
}

fn start(round: &Round<'_>) -> Result<String> {
    let node = round.cluster.find("node1")?;
    type_line(&node, lines::START)?;
    let pair = round.pair()?;
    type_line(&node, lines::STATUS)?;
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

/// Whether a node has the package that it is upgraded to.
fn is_later(node: &Node) -> Result<bool> {
    const VERSION: [&str; 4] = [
        "dpkg-query",
        "--show",
        "--showformat=${Version}",
        "pha4pgsql",
    ];
    Ok(node.run(&VERSION, PATIENCE)?.text().ends_with("+later"))
}

fn upgrade(round: &Round<'_>, which: fn(&Pair) -> &String) -> Result<String> {
    let (cluster, progress) = (&round.cluster, round.progress);
    let before = round.pair()?;
    let node = cluster.find(which(&before))?;
    if is_later(&node)? {
        return Err(Error::Asked(format!("{} is upgraded already", node.name())));
    }
    node.write(NEXT, &round.packages.package, 0o644)?;
    node.run(&["sh", "-c", MAKE_LATER, "sh", NEXT, LATER], PATIENCE)?;
    let databases = cluster.databases();
    let stacks: Vec<_> = databases.iter().map(untouched).collect();
    let writer = round.writer()?;
    let blow = || {
        let old = guards(&node);
        node.run(&["dpkg", "--install", LATER], PATIENCE)?;
        let what = format!("a guard of the new program on {}", node.name());
        wait(&what, PATIENCE, || {
            let new = guards(&node);
            let replaced = new.iter().all(|pid| !old.contains(pid));
            match replaced && new.is_empty() == old.is_empty() {
                true => Ok(()),
                false => Err(format!("before {old:?}, now {new:?}")),
            }
        })
    };
    let what = format!(
        "a later version of the package is installed on {}",
        node.name()
    );
    let course = strike(cluster, writer, progress, PATIENCE, AFTER, (&what, blow))?;
    gap(&course)?;
    for (node, before) in databases.iter().zip(stacks) {
        let after = untouched(node);
        if after != before {
            return Err(Error::Asked(format!(
                "{}: {before:?} before the upgrade, {after:?} after it",
                node.name()
            )));
        }
    }
    if !is_later(&node)? {
        return Err(Error::Asked(format!("{} has the old package", node.name())));
    }
    let after = round.pair()?;
    if after.primary != before.primary {
        return Err(Error::Asked(format!("the primary is {}", after.primary)));
    }
    let gap = course.gap.as_secs_f64();
    Ok(format!(
        "{}; longest time without a commit {gap:.2} s",
        node.name()
    ))
}

/// While one node has the old program and the other the new one, each is the primary of the other.
fn there_and_back(round: &Round<'_>) -> Result<String> {
    let mut seen = Vec::new();
    for later in [true, false] {
        let stood = switch(round)?;
        let primary = round.cluster.find(&round.pair()?.primary)?;
        if is_later(&primary)? != later {
            let what = format!("the primary is {}, of the other program", primary.name());
            return Err(Error::Asked(what));
        }
        seen.push(format!("{} primary: {stood}", primary.name()));
    }
    Ok(seen.join("; "))
}

fn power_cut(round: &Round<'_>) -> Result<String> {
    let (cluster, progress) = (&round.cluster, round.progress);
    let pair = round.pair_to_part()?;
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
    let pair = round.pair_to_part()?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::lines;
    use crate::packages;

    /// The lines in blocks of code below a heading, without their comments.
    fn blocks<'t>(text: &'t str, heading: &str) -> Vec<&'t str> {
        let (_, part) = text.split_once(heading).expect("the heading");
        let part = part.split("\n#").next().unwrap_or_default();
        let inside = part.split("```").skip(1).step_by(2);
        let lines = inside.flat_map(str::lines).map(|line| {
            let line = line.split(" #").next().unwrap_or_default();
            line.trim()
        });
        lines.filter(|line| !line.is_empty()).collect()
    }

    #[test]
    fn every_line_that_the_readme_has_a_newcomer_type_is_typed_by_a_test() {
        let readme = include_str!("../../../../README.md");
        let manual = include_str!("../../../../docs/manual.md");
        let lines = blocks(readme, "\n## A real cluster in ten minutes\n");
        let [first, systemd, rest @ ..] = lines.as_slice() else {
            panic!("{lines:?}");
        };
        // Every tree of a suite gets these, and where systemd boots the nodes the second is done for them.
        let wanted = first.strip_prefix("apt-get install ").expect("packages");
        let in_trees = packages::all();
        for package in wanted.split(' ') {
            assert!(in_trees.contains(&package), "{package}");
        }
        assert!(systemd.starts_with("systemctl enable corosync ") && manual.contains(systemd));
        // The test of cls_init types the manual's.
        let by_cls_init = blocks(manual, "\n### With one command: cls_init\n");
        let mut by_round = vec![
            lines::PACKAGE,
            lines::COPY,
            lines::DISTRIBUTE,
            lines::DRY_RUN,
            lines::SET_UP,
            lines::START,
            lines::STATUS,
        ];
        for line in rest {
            let known = by_round.iter().position(|typed| typed == line);
            match known {
                Some(at) => drop(by_round.remove(at)),
                None => assert!(by_cls_init.contains(line), "nothing types {line:?}"),
            }
        }
        assert!(by_round.is_empty(), "not in the README: {by_round:?}");
    }
}
