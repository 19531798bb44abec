//! Trees of Debian suites, which nodes can lie over instead of the machine's own root: made by debootstrap
//! once, kept beside the other things that the testbed keeps, and used again. A tree whose directory is removed
//! is made anew.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::layout::{base, machine};
use crate::progress::Progress;
use crate::run::{Run, remove_directory};
use crate::{binaries, packages, roles};

/// How long debootstrap or apt-get may take over a slow line.
const DOWNLOAD: Duration = Duration::from_secs(3600);
/// Debian's way to say that packages must not start their services.
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

/// A suite of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Debian 11
    Bullseye,
    /// Debian 12
    Bookworm,
    /// Debian 13
    Trixie,
    /// Unstable
    Sid,
}

impl Suite {
    /// As the archive calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Suite::Bullseye => "bullseye",
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
            Suite::Sid => "sid",
        }
    }
}

/// The root of the suite's tree with everything that a node needs, made as far as it is not there.
///
/// # Errors
/// apt knows no archive of Debian, or the archive has no such suite.
pub(crate) fn ready(suite: Suite, progress: &Progress) -> Result<PathBuf> {
    exclusively(suite.name(), |root| {
        if !root.exists() {
            grow(suite, root, progress)?;
        }
        complete(root, progress)
    })
}

/// Where all trees are.
pub(crate) fn directory() -> PathBuf {
    base().join("cache/suites")
}

/// Lets `make` see to a tree. Several rounds may start at once; one makes the tree and the others wait.
///
/// # Errors
/// Those of `make`.
pub(crate) fn exclusively(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let trees = directory();
    fs::create_dir_all(&trees).map_err(Error::io("create", &trees))?;
    let lock = trees.join(format!("{name}.lock"));
    let held = File::create(&lock).map_err(Error::io("create", &lock))?;
    rustix::fs::flock(&held, FlockOperation::LockExclusive).map_err(Error::sys("lock", &lock))?;
    let root = trees.join(name);
    make(&root)?;
    Ok(root)
}

fn grow(suite: Suite, root: &Path, progress: &Progress) -> Result<()> {
    let (name, mirror) = (suite.name(), mirror()?);
    let _step = progress.step(&format!("debootstrap {name} from {mirror}"));
    let fresh = root.with_extension("new");
    remove_directory(&fresh)?;
    let place = fresh.to_string_lossy();
    // It mounts /proc in the tree: in a namespace of its own nothing of that stays.
    let words = ["unshare", "--mount", "--", "debootstrap"];
    let more = ["--variant=minbase", name, &place, &mirror];
    Run::host(&[&words[..], &more[..]].concat())
        .timeout(DOWNLOAD)
        .ok()?;
    fs::rename(&fresh, root).map_err(Error::io("rename", &fresh))
}

/// Installs what the nodes need and the tree lacks.
fn complete(root: &Path, progress: &Progress) -> Result<()> {
    let missing = packages::missing_in(root);
    if missing.is_empty() {
        return Ok(());
    }
    let _step = progress.step(&format!("{}: {}", root.display(), missing.join(" ")));
    let policy = root.join("usr/sbin/policy-rc.d");
    fs::write(&policy, NO_SERVICES).map_err(Error::io("write", &policy))?;
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))
        .map_err(Error::io("chmod", &policy))?;
    let valid_until = valid_until()?;
    let steps = [
        vec!["apt-get", "update", "-q", "-o", &valid_until],
        // What a power cut of this machine takes is made again.
        packages::installation(&["-o", "Dpkg::Options::=--force-unsafe-io"], &missing),
        vec!["apt-get", "clean"],
    ];
    for words in steps {
        within(root, &words)?.timeout(DOWNLOAD).ok()?;
    }
    Ok(())
}

/// Where apt on this machine has Debian from.
fn mirror() -> Result<String> {
    let words = ["apt-get", "indextargets", "--format", "$(REPO_URI)"];
    let only = ["Created-By: Packages", "Origin: Debian", "Label: Debian"];
    let found = Run::host(&[&words[..], &only[..]].concat()).ok()?;
    let first = found.text().lines().next();
    first.map(str::to_owned).ok_or_else(|| {
        Error::Asked(
            "apt on this machine knows no archive of Debian; type apt-get update".to_owned(),
        )
    })
}

/// Whether lists that are too old by their own word serve, as apt on this machine has it: its mirror may be a
/// copy of some day, which is signed all the same.
fn valid_until() -> Result<String> {
    const NAME: &str = "Acquire::Check-Valid-Until";
    let dump = Run::host(&["apt-config", "dump", "--format", "%v", NAME]).ok()?;
    let value = match dump.text() {
        "" => "true",
        value => value,
    };
    Ok(format!("{NAME}={value}"))
}

/// The version of a package that is installed in a tree.
///
/// # Errors
/// It is not installed.
pub(crate) fn version(root: &Path, package: &str) -> Result<String> {
    let database = root.join("var/lib/dpkg").to_string_lossy().into_owned();
    let words = ["dpkg-query", "--admindir", &database];
    let more = ["--show", "--showformat=${Version}", package];
    Ok(Run::host(&[words, more].concat()).ok()?.text().to_owned())
}

/// A program with a tree as its root directory, in which the testbed's own directory is as well.
///
/// # Errors
/// The testbed's program is not built.
pub(crate) fn within(root: &Path, argv: &[&str]) -> Result<Run> {
    if root == machine() {
        return Ok(Run::host(argv));
    }
    let (program, place) = (binaries::testbed()?, root.display().to_string());
    let program = program.to_string_lossy();
    let entrance = ["unshare", "--mount", "--", &program, roles::INSIDE, &place];
    let words = |argv: &[&str]| {
        argv.iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let full = [&entrance[..], argv].concat();
    Ok(Run::wrapped(&place, &words(argv), words(&full)))
}
