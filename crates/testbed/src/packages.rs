//! Debian packages that the testbed stands on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::layout::machine;
use crate::progress::Progress;
use crate::run::Run;

/// A file that proves the package, and the package: what building the product takes.
const TO_BUILD: [(&str, &str); 3] = [
    ("/usr/bin/cc", "gcc"),
    ("/usr/bin/pkg-config", "pkg-config"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
];

/// The same for what runs in the nodes.
const TO_RUN: [(&str, &str); 12] = [
    ("/usr/sbin/pacemakerd", "pacemaker"),
    ("/usr/sbin/crm_mon", "pacemaker-cli-utils"),
    ("/usr/sbin/corosync", "corosync"),
    (
        "/usr/lib/ocf/resource.d/heartbeat/IPaddr2",
        "resource-agents",
    ),
    ("/usr/lib/postgresql/*/bin/postgres", "postgresql"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("/usr/bin/ssh-keygen", "openssh-client"),
    ("/usr/sbin/nft", "nftables"),
    ("/usr/bin/fuser", "psmisc"),
    ("/usr/bin/ip", "iproute2"),
    ("/usr/bin/faketime", "faketime"),
    // The package for Debian recommends it, and apt-get would look for it.
    ("/usr/sbin/update-ca-certificates", "ca-certificates"),
];

/// The same for measuring.
const TO_MEASURE: [(&str, &str); 2] = [("/usr/bin/strace", "strace"), ("/usr/bin/time", "time")];

/// The same for making packages: OpenSSL's own build is in Perl and make.
const TO_PACKAGE: [(&str, &str); 5] = [
    ("/usr/bin/python3", "python3-venv"),
    ("/usr/bin/perl", "perl"),
    ("/usr/bin/make", "make"),
    ("/usr/bin/readelf", "binutils"),
    ("/usr/bin/cc", "gcc"),
];

/// The same for making trees of other suites.
const TO_GROW: [(&str, &str); 2] = [
    ("/usr/sbin/debootstrap", "debootstrap"),
    ("/usr/bin/python3", "python3-venv"),
];

/// The same for looking at packages of both kinds.
const TO_LOOK: [(&str, &str); 4] = [
    ("/usr/bin/dpkg-deb", "dpkg"),
    ("/usr/bin/lintian", "lintian"),
    ("/usr/bin/rpm", "rpm"),
    ("/usr/bin/rpmlint", "rpmlint"),
];

/// The library that gives a program another time, from the package faketime.
pub(crate) fn clock_library() -> String {
    let machine = std::env::consts::ARCH;
    format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1")
}

/// The newest major version of PostgreSQL installed the Debian way.
///
/// # Errors
/// There is none.
pub fn major() -> Result<u32> {
    major_in(&machine())
}

/// The same of another tree.
pub(crate) fn major_in(root: &Path) -> Result<u32> {
    let directory = root.join("usr/lib/postgresql");
    let newest = std::fs::read_dir(&directory).ok().and_then(|entries| {
        entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.path().join("bin/postgres").exists())
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .max()
    });
    newest.ok_or_else(|| {
        Error::Asked(format!(
            "there is no PostgreSQL under {}; `apt-get install postgresql` brings it",
            directory.display()
        ))
    })
}

/// The directory of PostgreSQL's server programs.
///
/// # Errors
/// As [`major`].
pub fn bin_dir() -> Result<String> {
    bin_dir_in(&machine())
}

/// The same of another tree, as a program in it sees it.
pub(crate) fn bin_dir_in(root: &Path) -> Result<String> {
    Ok(format!("/usr/lib/postgresql/{}/bin", major_in(root)?))
}

/// The packages that the nodes need and that are not installed.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    missing_of(&TO_RUN)
}

/// The same of another tree.
pub(crate) fn missing_in(root: &Path) -> Vec<&'static str> {
    missing_below(root, &TO_RUN)
}

/// All that the nodes need.
#[cfg(test)]
pub(crate) fn all() -> Vec<&'static str> {
    TO_RUN.iter().map(|(_, package)| *package).collect()
}

fn missing_of(needed: &[(&str, &'static str)]) -> Vec<&'static str> {
    missing_below(&machine(), needed)
}

fn missing_below(root: &Path, needed: &[(&str, &'static str)]) -> Vec<&'static str> {
    let there = |file: &str| {
        if file.contains('*') {
            major_in(root).is_ok()
        } else {
            root.join(file.trim_start_matches('/')).exists()
        }
    };
    needed
        .iter()
        .filter(|(file, _)| !there(file))
        .map(|(_, package)| *package)
        .collect()
}

/// Installs what building the product takes; see [`ensure`].
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_to_build(progress: &Progress) -> Result<Vec<&'static str>> {
    install(progress, missing_of(&TO_BUILD))
}

/// Installs what measuring takes; see [`ensure`].
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_to_measure(progress: &Progress) -> Result<Vec<&'static str>> {
    install(progress, missing_of(&TO_MEASURE))
}

/// Installs what making packages takes, and `look`ing at them; see [`ensure`].
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_to_package(progress: &Progress, look: bool) -> Result<()> {
    install(progress, missing_of(&TO_PACKAGE))?;
    if look {
        install(progress, missing_of(&TO_LOOK))?;
    }
    Ok(())
}

/// Installs what making trees of other suites takes; see [`ensure`].
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_to_grow(progress: &Progress) -> Result<()> {
    install(progress, missing_of(&TO_GROW)).map(drop)
}

/// Installs what the nodes need and is missing, with apt-get, on Debian and as root, without any service being
/// started; says what it does. Returns the packages that it installed.
///
/// # Errors
/// Not root, not Debian, or apt-get failed.
pub fn ensure(progress: &Progress) -> Result<Vec<&'static str>> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Asked(
            "the testbed makes namespaces and mounts: run it as root".to_owned(),
        ));
    }
    install(progress, missing())
}

fn install(progress: &Progress, missing: Vec<&'static str>) -> Result<Vec<&'static str>> {
    if missing.is_empty() {
        return Ok(missing);
    }
    if !Path::new("/etc/debian_version").exists() || !rustix::process::geteuid().is_root() {
        return Err(Error::Asked(format!(
            "install these first: {}",
            missing.join(" ")
        )));
    }
    let _step = progress.step(&format!("apt-get install {}", missing.join(" ")));
    let _policy = NoServices::declare()?;
    let long = Duration::from_secs(900);
    // The lists of a fresh image are empty; a failure shows in the installation.
    Run::host(&["apt-get", "update", "-q"])
        .timeout(long)
        .output()?;
    Run::host(&installation(&[], &missing)).timeout(long).ok()?;
    Ok(missing)
}

/// The command that installs these packages, with more options.
pub(crate) fn installation(
    options: &[&'static str],
    packages: &[&'static str],
) -> Vec<&'static str> {
    let mut words = vec![
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=300",
    ];
    words.extend(options);
    words.extend(packages);
    words
}

/// Debian's way to say that packages must not start their services (/usr/sbin/policy-rc.d, exit
/// status 101), for as long as this value lives. One that is there already stays as it is.
struct NoServices {
    ours: Option<PathBuf>,
}

impl NoServices {
    fn declare() -> Result<NoServices> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        match std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(&path)
        {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(NoServices { ours: None })
            }
            Err(error) => Err(Error::io("create", &path)(error)),
            Ok(mut file) => {
                file.write_all(b"#!/bin/sh\nexit 101\n")
                    .map_err(Error::io("write", &path))?;
                Ok(NoServices { ours: Some(path) })
            }
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.ours {
            let _ = std::fs::remove_file(path);
        }
    }
}
