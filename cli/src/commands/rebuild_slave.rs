//! `cls_rebuild_slave`: make a standby anew, from a base backup of the primary.

use std::path::PathBuf;

use clap::Args;
use pha_core::decide::operator::{CopyKind, CopyRequest};

use crate::app::Session;
use crate::commands::Outcome;
use crate::error::ClsError;
use crate::operate::copy::{self, Order};

/// Rebuild a standby from a base backup of the primary
///
/// The data directory must be empty, or --keep-old given, which moves it aside (with its tablespaces
/// and a separate WAL directory) and puts it back if the copy fails. Waits until the node streams.
#[derive(Debug, Args)]
pub(crate) struct RebuildSlave {
    /// The node to rebuild [default: this one]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Move a data directory that is there aside, and put it back if the copy fails
    #[arg(long)]
    keep_old: bool,
    /// Copy at most so much per second: kB, or with k or M
    #[arg(long, value_name = "RATE", value_parser = rate)]
    max_rate: Option<String>,
    /// A directory for the WAL outside of the data directory
    #[arg(long, value_name = "DIRECTORY", value_parser = absolute)]
    waldir: Option<PathBuf>,
    /// Put a tablespace elsewhere than the primary has it
    #[arg(long, value_name = "OLD=NEW")]
    tablespace_mapping: Vec<String>,
    /// Go on where the database seems to be larger than what is free, for a file system that compresses
    #[arg(long)]
    ignore_space: bool,
    /// Go on from the mark that an earlier version has left beside the data directory; the command
    /// shows what it says, and the word to give here, when it finds one
    #[arg(long, value_name = "WORD")]
    accept_mark: Option<String>,
    /// Only say what would be done, after looking whether it could be
    #[arg(long)]
    dry_run: bool,
}

/// What `pg_basebackup` takes: 32 kB to 1024 MB a second.
fn rate(text: &str) -> Result<String, String> {
    let (number, unit) = match text.strip_suffix(['k', 'M']) {
        Some(number) if text.ends_with('M') => (number, 1024),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|kilobytes| (32..=1_048_576).contains(kilobytes))
        .map(|_| text.to_owned())
        .ok_or_else(|| "32k to 1024M is expected".to_owned())
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("a path that begins with / is expected".to_owned())
    }
}

impl RebuildSlave {
    pub(crate) fn run(&self, session: &Session) -> Result<Outcome, ClsError> {
        let request = CopyRequest {
            kind: CopyKind::Rebuild,
            or_rebuild: false,
            keep_old: self.keep_old,
        };
        let order = Order {
            node: self.node.clone(),
            dry_run: self.dry_run,
            max_rate: self.max_rate.clone(),
            wal_dir: self.waldir.clone(),
            tablespaces: self.tablespace_mapping.clone(),
            ignore_space: self.ignore_space,
            accepted_mark: self.accept_mark.clone(),
        };
        copy::run(session, request, &order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_as_pg_basebackup_takes_them() {
        for good in ["32", "32k", "1M", "1024M"] {
            assert!(rate(good).is_ok(), "{good}");
        }
        for bad in ["31", "1025M", "1G", "", "M", "-1M", "1.5M"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
