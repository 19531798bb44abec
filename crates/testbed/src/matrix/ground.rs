//! What a round stands on: a suite, or one for each of the two nodes, with its own PostgreSQL or another one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::servers::Server;
use crate::tree::{self, Suite};
use crate::{packages, postgres};

/// `SUITE[:MAJOR][+SUITE[:MAJOR]]` of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ground {
    first: Half,
    /// What the second database node has, where that is something else.
    second: Option<Half>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Half {
    suite: Suite,
    /// `None`: the suite's own.
    server: Option<Server>,
}

/// Versions of what is in the trees.
#[derive(Debug)]
pub(super) struct Versions {
    pub(super) pacemaker: String,
    pub(super) corosync: String,
    pub(super) postgres: String,
}

/// The trees that a ground is made of.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) first: PathBuf,
    pub(super) second: PathBuf,
}

impl FromStr for Ground {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Ground, String> {
        let half = |text: &str| {
            let (suite, major) = match text.split_once(':') {
                Some((suite, major)) => (suite, Some(major)),
                None => (text, None),
            };
            let known = Suite::from_str(suite, false).map_err(|_| {
                let names: Vec<&str> = Suite::value_variants().iter().map(|s| s.name()).collect();
                format!("{suite:?} is none of {}", names.join(", "))
            })?;
            let server = major.map(Server::of).transpose()?;
            Ok::<Half, String>(Half {
                suite: known,
                server,
            })
        };
        Ok(match text.split_once('+') {
            Some((first, second)) => Ground {
                first: half(first)?,
                second: Some(half(second)?),
            },
            None => Ground {
                first: half(text)?,
                second: None,
            },
        })
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suite.name())?;
        self.server
            .map_or(Ok(()), |server| write!(f, ":{}", server.major))
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.second.map_or(Ok(()), |second| write!(f, "+{second}"))
    }
}

impl Half {
    fn ready(self, progress: &Progress) -> Result<PathBuf> {
        match self.server {
            Some(server) => server.ready(self.suite, progress),
            None => tree::ready(self.suite, progress),
        }
    }

    fn versions(self, root: &Path) -> Result<Versions> {
        let postgres = match self.server {
            // A package's version says more than its program.
            None => tree::version(root, &format!("postgresql-{}", packages::major_in(root)?))?,
            Some(_) => format!("{} (not Debian's)", postgres::version_in(root)?),
        };
        Ok(Versions {
            pacemaker: tree::version(root, "pacemaker")?,
            corosync: tree::version(root, "corosync")?,
            postgres,
        })
    }
}

impl Ground {
    /// The trees, made as far as they are not there, and what is in them.
    ///
    /// # Errors
    /// One cannot be made, or the two have servers that cannot replicate from each other.
    pub(super) fn ready(self, progress: &Progress) -> Result<(Roots, Versions)> {
        let first = self.first.ready(progress)?;
        let mut versions = self.first.versions(&first)?;
        let Some(half) = self.second else {
            let second = first.clone();
            return Ok((Roots { first, second }, versions));
        };
        let second = half.ready(progress)?;
        let majors = (packages::major_in(&first)?, packages::major_in(&second)?);
        if majors.0 != majors.1 {
            return Err(Error::Asked(format!(
                "{self}: node1 would have PostgreSQL {}, node2 {}, and they cannot replicate; name one for both, such as {}:16+{}:16",
                majors.0,
                majors.1,
                self.first.suite.name(),
                half.suite.name()
            )));
        }
        let other = half.versions(&second)?;
        for (one, two) in [
            (&mut versions.pacemaker, other.pacemaker),
            (&mut versions.corosync, other.corosync),
            (&mut versions.postgres, other.postgres),
        ] {
            if *one != two {
                *one = format!("{one} and {two}");
            }
        }
        Ok((Roots { first, second }, versions))
    }

    /// The same as a cluster's name.
    pub(super) fn plain(self) -> String {
        self.to_string().replace([':', '+'], "-")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::Ground;

    #[test]
    fn a_ground_is_written_as_it_is_read() {
        for text in [
            "sid",
            "bookworm:14",
            "trixie:18+sid",
            "bookworm:16+trixie:16",
        ] {
            let ground: Ground = text.parse().unwrap();
            assert_eq!(ground.to_string(), text);
        }
        let ground: Ground = "bookworm:16+trixie:16".parse().unwrap();
        assert_eq!(ground.plain(), "bookworm-16-trixie-16");
        for (text, why) in [
            (
                "buster",
                "\"buster\" is none of bullseye, bookworm, trixie, sid",
            ),
            (
                "sid:9",
                "PostgreSQL 9: beside the suites' own there are 14, 16, 18",
            ),
            ("sid+", "\"\" is none of bullseye, bookworm, trixie, sid"),
        ] {
            assert_eq!(text.parse::<Ground>().unwrap_err(), why);
        }
    }
}
