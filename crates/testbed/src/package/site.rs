//! What every step of packaging needs to know.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::run::Run;

/// How long one step that packs or looks at something may take.
pub(super) const STEP: Duration = Duration::from_secs(300);
/// The oldest C library that the programs run with: RHEL 7, and everything newer.
pub(super) const GLIBC: &str = "2.17";
/// What is built.
pub(super) const PROGRAMS: [&str; 3] = ["cls", "distlock", "expgsql"];

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Arch {
    /// Intel and AMD
    #[value(name = "x86-64", alias = "x86_64")]
    X86,
    /// 64-bit ARM
    #[value(name = "aarch64")]
    Arm,
}

impl Arch {
    /// As rpm, uname and Rust call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Arch::X86 => "x86_64",
            Arch::Arm => "aarch64",
        }
    }

    pub(super) fn debian(self) -> &'static str {
        match self {
            Arch::X86 => "amd64",
            Arch::Arm => "arm64",
        }
    }

    pub(super) fn triple(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }
}

/// What is the same for every package of one run.
pub(super) struct Site {
    /// The sources.
    pub(super) source: PathBuf,
    /// Where the finished packages go.
    pub(super) output: PathBuf,
    /// What belongs in them and is made on the way.
    pub(super) made: PathBuf,
    pub(super) version: String,
    /// The time of the last commit, in seconds: every file bears it, so that the same sources give the same
    /// packages.
    pub(super) epoch: String,
    pub(super) maintainer: String,
    /// Where the tools are.
    pub(super) tools: PathBuf,
}

impl Site {
    /// A tool that was installed for this, or one of the system.
    pub(super) fn tool(&self, words: &[&str]) -> Run {
        let mut argv = vec![
            "env".to_owned(),
            format!("SOURCE_DATE_EPOCH={}", self.epoch),
            format!("PATH={}", self.path()),
        ];
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        Run::host(&argv).timeout(STEP)
    }

    pub(super) fn path(&self) -> String {
        let system = std::env::var("PATH").unwrap_or_default();
        format!("{}:{system}", self.tools.display())
    }
}
