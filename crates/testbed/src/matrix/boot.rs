//! `cargo testbed boot`: a round on machines that systemd boots. What only they have is tried: an orderly poweroff
//! and a reboot, the kernel's kill for want of memory, and the scripts of packages that restart services.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::ground::Ground;
use super::round::{
    self, AFTER, CHECKED, EXAMINED, INSTALLED, PATIENCE, PRIMARY_UPGRADED, Packages, Program,
    Round, SET_UP, STANDBY_UPGRADED, STARTED, gap,
};
use super::tried::{described, read};
use crate::error::{Error, Result};
use crate::layout::base;
use crate::node::Node;
use crate::pacemaker::RESOURCE;
use crate::progress::{Progress, say};
use crate::run::{Run, remove_directory};
use crate::scene::{Pair, strike};
use crate::systemd::Narrow;
use crate::units::{ENABLED, Journal, NETWORK};
use crate::wait::wait;
use crate::{package, packages, tree};

/// What to try.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The suite (bookworm, trixie, sid), as `cargo testbed matrix` has it
    #[arg(value_name = "SUITE", default_value = "trixie")]
    ground: Ground,
    /// The package [default: the one that `cargo testbed package` has left]
    #[arg(long, value_name = "FILE")]
    package: Option<PathBuf>,
    /// Write what came of it into this file, in place of what an earlier run has written there
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// The part of the file that this command writes begins with it, and is the last one.
const HEADING: &str = "\n## Booted by systemd\n";
/// What a session may take before the kernel ends it.
const LITTLE: u64 = 64 << 20;
/// The name of that session, and what it asks for: more than a gigabyte.
const HUNGRY: &str = "PGAPPNAME=hungry";
const FEAST: &str =
    "select count(*) from (select array_agg(md5(g::text)) from generate_series(1, 20000000) g) s";

/// What booted machines go through.
const BOOTED: Program = Program {
    machines: "machines booted by systemd, with corosync and Pacemaker enabled",
    systemd: true,
    steps: &[
        ("process 1 and the units", units),
        INSTALLED,
        SET_UP,
        STARTED,
        EXAMINED,
        STANDBY_UPGRADED,
        PRIMARY_UPGRADED,
        (
            "systemctl poweroff of the primary, and its return; the order of the journal",
            |round| go_down(round, "poweroff"),
        ),
        (
            "systemctl reboot of the primary; the order of the journal",
            |round| go_down(round, "reboot"),
        ),
        (
            "the kernel kills a session of the primary for want of memory",
            want_of_memory,
        ),
        (
            "dpkg --install of pacemaker between cls_unmanage and cls_manage; the postmaster stays",
            pacemaker_unmanaged,
        ),
        (
            "dpkg --install of pacemaker on the primary, which restarts it",
            pacemaker,
        ),
        CHECKED,
    ],
};

/// Tries it; the exit code says whether every step passed.
///
/// # Errors
/// There is no package, or no tree of the suite.
pub(crate) fn run(options: &Options) -> Result<u8> {
    let progress = Progress::on_stderr();
    packages::ensure(&progress)?;
    packages::ensure_to_grow(&progress)?;
    let file = options.package.clone().unwrap_or_else(package::of_debian);
    let content = read(&file)?;
    let packages = Packages {
        before: content.clone(),
        package: content,
    };
    let ground = options.ground;
    let (roots, versions) = ground.ready(&progress)?;
    let systemd = tree::version(&roots.first, "systemd")?;
    let head = format!(
        "{ground}: systemd {systemd}, Pacemaker {}, corosync {}, PostgreSQL {}",
        versions.pacemaker, versions.corosync, versions.postgres
    );
    say(&head);
    let begin = Instant::now();
    let mut steps = String::from("| step | seconds | |\n| --- | --- | --- |\n");
    let name = format!("{}-booted", ground.plain());
    let on = (name.as_str(), &roots);
    let failed = round::go(
        &BOOTED,
        on,
        &packages,
        &progress,
        |step, seconds, outcome| {
            let (shown, row) = match outcome {
                Ok(text) => (text.clone(), text.clone()),
                Err(error) => (format!("FAILED: {error}"), "**did not pass**".to_owned()),
            };
            say(&format!("{ground}: {seconds:6.1} s  {step}: {shown}"));
            let _ = writeln!(steps, "| {step} | {seconds:.1} | {row} |");
        },
    );
    let seconds = begin.elapsed().as_secs_f64();
    say(&format!(
        "{ground}: {} in {seconds:.0} s",
        failed.map_or_else(
            || format!("all {} steps passed", BOOTED.names().count()),
            |step| format!("{step} did not pass")
        )
    ));
    if let Some(path) = &options.write {
        let date = Run::host(&["date", "--utc", "+%Y-%m-%d"]).ok()?;
        let part = part(&head, &described(&file)?, date.text(), &steps);
        let before = std::fs::read_to_string(path).unwrap_or_default();
        let kept = before.strip_suffix(part_of(&before)).unwrap_or_default();
        std::fs::write(path, format!("{kept}{part}")).map_err(Error::io("write", path))?;
    }
    Ok(u8::from(failed.is_some()))
}

/// The part of a file's text that this command has written; none where it has not.
pub(super) fn part_of(text: &str) -> &str {
    text.find(HEADING).map_or("", |at| &text[at..])
}

fn part(head: &str, package: &str, date: &str, steps: &str) -> String {
    format!(
        "{HEADING}\n\
         Made by `cargo testbed boot … --write docs/versions.md` on {date}, on two database nodes with systemd as\n\
         process 1 and their services as units, and a lock service. {head}.\n\n\
         {package}\n\n{steps}"
    )
}

fn units(round: &Round<'_>) -> Result<String> {
    for node in round.cluster.databases() {
        let first = node.read("/proc/1/comm")?;
        if first != b"systemd\n" {
            let what = String::from_utf8_lossy(&first).into_owned();
            return Err(Error::Asked(format!("process 1 is {what}")));
        }
        node.run(
            &[&["systemctl", "is-enabled"], &ENABLED[..]].concat(),
            PATIENCE,
        )?;
        node.run(
            &[&["systemctl", "is-active"], &ENABLED[..]].concat(),
            PATIENCE,
        )?;
    }
    Ok(format!(
        "systemd; {} are enabled and active",
        ENABLED.join(", ")
    ))
}

/// Has the primary go down in an orderly way below a client that writes. The other node takes over, and nothing is
/// lost; it comes back as its standby by itself; and what stopped on it did so in the order of its dependencies.
fn go_down(round: &Round<'_>, verb: &str) -> Result<String> {
    let (cluster, progress) = (&round.cluster, round.progress);
    let pair = round.pair()?;
    let node = cluster.find(&pair.primary)?;
    let writer = round.writer()?;
    let mut down = Duration::ZERO;
    // Clients are served until its units stop, so that what they see counts from its end on.
    let blow = || {
        let began = Instant::now();
        node.run(&["systemctl", "--no-block", verb], PATIENCE)?;
        let off = || match node.is_on() {
            true => Err("its process 1 runs".to_owned()),
            false => Ok(()),
        };
        wait(&format!("{} off", pair.primary), PATIENCE, off)?;
        down = began.elapsed();
        Ok(())
    };
    let what = format!("systemctl {verb} has ended {}", pair.primary);
    let course = strike(cluster, writer, progress, PATIENCE, AFTER, (&what, blow))?;
    let stood = gap(&course)?;
    cluster.boot(&pair.primary)?;
    expect(round, &pair.standby)?;
    let demoted = format!(
        "Result of demote operation for {RESOURCE} on {}",
        pair.primary
    );
    let stopped = format!(
        "Result of stop operation for {RESOURCE} on {}",
        pair.primary
    );
    let network = format!("Stopped {NETWORK}");
    Journal::of_the_boot_before(&node)?.in_order(&[
        &demoted,
        &stopped,
        "Stopped pacemaker.service",
        "Stopped corosync.service",
        &network,
    ])?;
    Ok(format!(
        "{stood}; {} was off after {down:.1} s, and follows; PostgreSQL, Pacemaker, corosync, the network \
         stopped in this order",
        pair.primary,
        down = down.as_secs_f64(),
    ))
}

/// Waits until everything is as it should be, with this primary.
fn expect(round: &Round<'_>, primary: &str) -> Result<()> {
    let pair = round.pair()?;
    match pair.primary == primary {
        true => Ok(()),
        false => Err(Error::Asked(format!(
            "the primary is {}, not {primary}",
            pair.primary
        ))),
    }
}

fn want_of_memory(round: &Round<'_>) -> Result<String> {
    let (cluster, progress) = (&round.cluster, round.progress);
    let pair = round.pair()?;
    let node = cluster.find(&pair.primary)?;
    let postmaster = node.postmaster_pid();
    let writer = round.writer()?;
    let blow = || {
        let session = {
            let node = node.clone();
            let words = [
                "env",
                HUNGRY,
                "psql",
                "-X",
                "-d",
                "postgres",
                "-c",
                "set work_mem = '4GB'",
                "-c",
                FEAST,
            ];
            std::thread::spawn(move || node.as_postgres(&words, PATIENCE))
        };
        let backend = wait("a session that takes memory", PATIENCE, || {
            let sql = "select pid from pg_stat_activity where application_name = 'hungry' and query like 'select%'";
            let pid = cluster.sql(&pair.primary, sql).map_err(|e| e.to_string())?;
            let found = node
                .processes()
                .into_iter()
                .find(|process| process.inner_pid.to_string() == pid.trim());
            found.ok_or_else(|| format!("pid {pid:?}"))
        })?;
        Narrow::around(&backend, LITTLE)?.wait_for_the_kill(PATIENCE)?;
        if !matches!(session.join(), Ok(Err(_))) {
            let what = "the session that was to be killed has its answer";
            return Err(Error::Asked(what.to_owned()));
        }
        wait("the end of its postmaster", PATIENCE, || {
            match node.postmaster_pid() == postmaster {
                true => Err(format!("{postmaster:?} runs")),
                false => Ok(()),
            }
        })
    };
    let what = format!("the kernel has killed a session on {}", pair.primary);
    let course = strike(cluster, writer, progress, PATIENCE, AFTER, (&what, blow))?;
    let stood = gap(&course)?;
    let after = round.pair()?;
    // A planned switch is refused while a failure is on record.
    round.type_in(&["cls_cleanup"])?;
    Ok(format!(
        "{stood}; {} was the primary, {} is",
        pair.primary, after.primary
    ))
}

/// Where a node finds the distribution's own package of Pacemaker.
const PACEMAKER: &str = "/root/pacemaker.deb";
/// Fetches it into a directory.
const FETCH: &str =
    "cd \"$1\" && apt-get download -q \"pacemaker=$2\" && mv -- pacemaker_*.deb pacemaker.deb";

/// Puts the package of Pacemaker that is installed on a node there, to be installed again: that runs the scripts of
/// an upgrade.
fn bring_pacemaker(node: &Node) -> Result<()> {
    let root: &Path = &node.spec().root;
    let version = tree::version(root, "pacemaker")?;
    let place = base().join("cache/pacemaker");
    remove_directory(&place)?;
    std::fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
    let directory = place.display().to_string();
    tree::within(root, &["sh", "-c", FETCH, "sh", &directory, &version])?
        .timeout(Duration::from_secs(300))
        .ok()?;
    let file = place.join("pacemaker.deb");
    let content = std::fs::read(&file).map_err(Error::io("read", &file))?;
    node.write(PACEMAKER, content, 0o644)
}

fn pacemakerd(node: &Node) -> Vec<i32> {
    let mut found = node.processes();
    found.retain(|process| process.comm == "pacemakerd");
    found.iter().map(|process| process.pid).collect()
}

/// Installs it; Pacemaker must be another one afterwards, or nothing was tried.
fn install_pacemaker(node: &Node) -> Result<()> {
    let before = pacemakerd(node);
    node.run(&["dpkg", "--install", PACEMAKER], PATIENCE)?;
    wait("another pacemakerd", PATIENCE, || {
        let now = pacemakerd(node);
        match now.is_empty() || now == before {
            true => Err(format!("before {before:?}, now {now:?}")),
            false => Ok(()),
        }
    })
}

fn pacemaker_unmanaged(round: &Round<'_>) -> Result<String> {
    let (cluster, progress) = (&round.cluster, round.progress);
    let Pair { primary, .. } = round.pair()?;
    let node = cluster.find(&primary)?;
    bring_pacemaker(&node)?;
    let postmaster = node.postmaster_pid();
    let writer = round.writer()?;
    let blow = || {
        round.type_in(&["cls_unmanage"])?;
        install_pacemaker(&node)?;
        cluster.wait_for_members(PATIENCE)?;
        round.type_in(&["cls_manage"]).map(drop)
    };
    let what = format!("pacemaker is installed again on {primary}");
    let course = strike(cluster, writer, progress, PATIENCE, AFTER, (&what, blow))?;
    let stood = gap(&course)?;
    expect(round, &primary)?;
    if node.postmaster_pid() != postmaster {
        return Err(Error::Asked(format!("{primary} has another postmaster")));
    }
    Ok(format!("{stood}; {primary} is the primary as before"))
}

fn pacemaker(round: &Round<'_>) -> Result<String> {
    let (cluster, progress) = (&round.cluster, round.progress);
    let pair = round.pair()?;
    let node = cluster.find(&pair.primary)?;
    bring_pacemaker(&node)?;
    let writer = round.writer()?;
    let blow = || install_pacemaker(&node);
    let what = format!("pacemaker is installed again on {}", pair.primary);
    let course = strike(cluster, writer, progress, PATIENCE, AFTER, (&what, blow))?;
    let stood = gap(&course)?;
    expect(round, &pair.standby)?;
    Ok(format!(
        "{stood}; {} took over, {} follows",
        pair.standby, pair.primary
    ))
}

#[cfg(test)]
mod tests {
    use super::{part, part_of};

    #[test]
    fn what_others_have_written_stays_before_it() {
        let part = part(
            "trixie: systemd 257",
            "Needs glibc 2.17.",
            "2026-01-02",
            "| step |\n",
        );
        let text = format!("# Versions\n\n| a |\n{part}");
        assert_eq!(part_of(&text), part);
        assert_eq!(
            text.strip_suffix(part_of(&text)),
            Some("# Versions\n\n| a |\n")
        );
        assert_eq!(part_of("# Versions\n"), "");
        assert!(
            part.contains(" on 2026-01-02, ") && part.ends_with("\n\n| step |\n"),
            "{part}"
        );
    }
}
