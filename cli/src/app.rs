//! What every command is given, and how it ends.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::interrupt::Interrupt;
use crate::render::Ui;

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but errors and what was asked for
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// How long to wait for the end state (each command has a default of its own)
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// The database resource, where the cluster has several
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) resource: Option<String>,
}

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Session {
    /// The common options.
    pub(crate) common: Common,
    /// Where it prints to.
    pub(crate) ui: Ui,
    /// Whether Ctrl-C was pressed.
    pub(crate) interrupt: Interrupt,
    /// The definition of the command line, that manual pages and completions are made from.
    pub(crate) definition: fn() -> clap::Command,
}

/// A number of seconds, possibly with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| *seconds > 0.0 && *seconds <= 86_400.0)
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds above 0 and up to 86400 is expected".to_owned())
}

/// How a command that did not fail has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done.
    Done,
    /// A monitoring plugin's exit code, or that of a command that ran on another node.
    Check(u8),
}
