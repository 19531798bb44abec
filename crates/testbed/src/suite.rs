//! `cargo testbed test`: every test of the workspace, tier by tier.
//!
//! The tier of a test is the beginning of its name or of its program's: `pg_` needs a real
//! PostgreSQL, `cluster_` a real Pacemaker in nodes, everything else needs nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::cargo::{build_product, cargo, own_directory, stream, workspace};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::layout::base;
use crate::packages;
use crate::progress::{Progress, say};
use crate::run::Run;

/// What to test.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these tiers (may be given more than once)
    #[arg(long, value_enum)]
    tier: Vec<Tier>,
    /// Cluster tests at the same time; each has nodes of its own
    #[arg(long, default_value_t = 2)]
    clusters: u8,
    /// Only tests whose names contain one of these
    filter: Vec<String>,
}

/// What a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Tier {
    /// Nothing
    Plain,
    /// A real PostgreSQL
    Pg,
    /// A real cluster
    Cluster,
}

impl Tier {
    /// The tier of a test, by its program and the last part of its path.
    fn of(program: &str, test: &str) -> Tier {
        let name = test.rsplit("::").next().unwrap_or(test);
        let begins = |prefix| program.starts_with(prefix) || name.starts_with(prefix);
        if begins("cluster_") {
            Tier::Cluster
        } else if begins("pg_") {
            Tier::Pg
        } else {
            Tier::Plain
        }
    }

    fn name(self) -> &'static str {
        match self {
            Tier::Plain => "plain",
            Tier::Pg => "pg",
            Tier::Cluster => "cluster",
        }
    }
}

/// How long a program of tests may go without a line. A test says what it is about to do, and libtest names one
/// that takes more than a minute.
const SILENCE: Duration = Duration::from_secs(900);

/// A program of tests that cargo built.
#[derive(Debug)]
struct Program {
    /// The target's name: `pg_sql`.
    name: String,
    /// With the package's directory: `crates/host pg_sql`.
    title: String,
    executable: PathBuf,
    /// Where cargo would start it.
    directory: PathBuf,
    tests: Vec<String>,
}

/// Everything that is built, and what is to be run of it.
struct Suite<'a> {
    options: &'a Options,
    programs: Vec<Program>,
    /// Where expgsql, cls and distlock are.
    product: PathBuf,
    progress: Progress,
}

/// What became of a tier.
#[derive(Debug, Default)]
struct Outcome {
    passed: u32,
    failed: Vec<String>,
    ignored: u32,
    elapsed: Duration,
}

/// Builds and runs the tests; the exit code.
///
/// # Errors
/// Something that keeps the tests from running at all.
pub(crate) fn run(options: &Options) -> Result<u8> {
    interrupt::watch()?;
    let progress = Progress::on_stderr();
    let mut tiers: BTreeSet<Tier> = options.tier.iter().copied().collect();
    if tiers.is_empty() {
        tiers = [Tier::Plain, Tier::Pg, Tier::Cluster].into();
    }
    packages::ensure_to_build(&progress)?;
    if tiers.iter().any(|tier| *tier != Tier::Plain) {
        packages::ensure(&progress)?;
    }
    // Tests that start the product take it from here; they build it themselves without this.
    let product = if tiers.contains(&Tier::Cluster) {
        build_product(&progress)?;
        own_directory()?
    } else {
        progress.say("cargo build: the programs that tests start");
        build_for_tests()?
    };
    progress.say("cargo test --no-run: every test of the workspace");
    let suite = Suite {
        options,
        programs: build_tests()?,
        product,
        progress,
    };
    let before = wrecks();
    let mut outcomes = Vec::new();
    for tier in tiers {
        outcomes.push((tier, suite.run_tier(tier)?));
    }
    Ok(summary(&outcomes, &before))
}

/// Runs a build of cargo's and hands its messages about artifacts to `each`.
fn build(words: &[&str], each: impl FnMut(&str)) -> Result<()> {
    let mut full = words.to_vec();
    full.push("--message-format=json-render-diagnostics");
    match stream(cargo(&full), Duration::from_secs(3000), each)? {
        0 => Ok(()),
        code => Err(Error::Asked(format!(
            "cargo {} ended with status {code}; its messages are above",
            words.join(" ")
        ))),
    }
}

/// Builds the product in the profile of the tests, which share most of it; where it is then.
fn build_for_tests() -> Result<PathBuf> {
    let mut place = None;
    build(&["build", "--workspace", "--bins"], |line| {
        let message: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let executable = message
            .as_ref()
            .and_then(|message| message["executable"].as_str());
        if let Some(directory) = executable.and_then(|path| Path::new(path).parent()) {
            place = Some(directory.to_path_buf());
        }
    })?;
    place.ok_or_else(|| Error::Asked("cargo build made no program".to_owned()))
}

/// Builds the tests of the workspace, and asks every program for the names of its tests.
fn build_tests() -> Result<Vec<Program>> {
    let mut found = Vec::new();
    build(&["test", "--workspace", "--no-run"], |line| {
        found.extend(artifact(line));
    })?;
    for program in &mut found {
        program.tests = list(&program.executable)?;
    }
    found.sort_by(|a, b| a.title.cmp(&b.title));
    Ok(found)
}

/// A line of cargo's about a program of tests that it built.
fn artifact(line: &str) -> Option<Program> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if !message["profile"]["test"].as_bool()? {
        return None;
    }
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
    let name = message["target"]["name"].as_str()?;
    let package = directory.strip_prefix(workspace()).unwrap_or(directory);
    Some(Program {
        name: name.to_owned(),
        title: format!("{} {name}", package.display()),
        executable: PathBuf::from(message["executable"].as_str()?),
        directory: directory.to_path_buf(),
        tests: Vec::new(),
    })
}

fn list(executable: &Path) -> Result<Vec<String>> {
    let words = [&*executable.to_string_lossy(), "--list", "--format=terse"].map(str::to_owned);
    let output = Run::host(&words).ok()?;
    Ok(output
        .stdout
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect())
}

impl Suite<'_> {
    fn run_tier(&self, tier: Tier) -> Result<Outcome> {
        let begin = Instant::now();
        let mut outcome = Outcome::default();
        for program in &self.programs {
            let wanted = self.wanted(tier, program);
            if !wanted.is_empty() {
                let (name, title, count) = (tier.name(), &program.title, wanted.len());
                self.progress
                    .say(&format!("{name}: {title} ({count} tests)"));
                self.run_program(tier, program, &wanted, &mut outcome)?;
            }
        }
        if tier == Tier::Plain && self.options.filter.is_empty() {
            self.progress.say("plain: examples in the documentation");
            let words = ["test", "--workspace", "--doc"];
            follow(cargo(&words), "cargo test --doc", &mut outcome)?;
        }
        outcome.elapsed = begin.elapsed();
        Ok(outcome)
    }

    fn wanted<'a>(&self, tier: Tier, program: &'a Program) -> Vec<&'a String> {
        let filter = &self.options.filter;
        let asked_for =
            |test: &str| filter.is_empty() || filter.iter().any(|word| test.contains(word));
        program
            .tests
            .iter()
            .filter(|test| Tier::of(&program.name, test) == tier && asked_for(test))
            .collect()
    }

    fn run_program(
        &self,
        tier: Tier,
        program: &Program,
        wanted: &[&String],
        outcome: &mut Outcome,
    ) -> Result<()> {
        let mut command = Command::new(&program.executable);
        command
            .current_dir(&program.directory)
            .env("CARGO_MANIFEST_DIR", &program.directory)
            .stdin(Stdio::null());
        if std::env::var_os("PHA_BIN_DIR").is_none() {
            command.env("PHA_BIN_DIR", &self.product);
        }
        if wanted.len() < program.tests.len() {
            command.arg("--exact").args(wanted);
        }
        if tier == Tier::Cluster {
            command.arg(format!("--test-threads={}", self.options.clusters));
        }
        follow(command, &program.title, outcome)
    }
}

/// Lets a program of tests run, shows what it says and counts what it says in its last line.
fn follow(command: Command, title: &str, outcome: &mut Outcome) -> Result<()> {
    let known = outcome.failed.len();
    let ended = stream(command, SILENCE, |line| {
        say(line);
        if let Some(test) = line
            .strip_prefix("test ")
            .and_then(|l| l.strip_suffix(" ... FAILED"))
        {
            outcome.failed.push(test.to_owned());
        } else if let Some((passed, ignored)) = counts(line) {
            outcome.passed += passed;
            outcome.ignored += ignored;
        }
    });
    let wrong = match ended {
        Ok(0) => return Ok(()),
        Ok(code) => format!("{title} (status {code})"),
        Err(Error::Hung { seconds, .. }) => {
            format!("{title} (killed after {seconds:.0} s without a word)")
        }
        Err(error) => return Err(error),
    };
    // It died, or hung, without a word about a test.
    if outcome.failed.len() == known {
        outcome.failed.push(wrong);
    }
    Ok(())
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; …`: passed and ignored.
fn counts(line: &str) -> Option<(u32, u32)> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        rest.split("; ")
            .find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
    };
    Some((number("passed")?, number("ignored")?))
}

fn wrecks() -> BTreeSet<PathBuf> {
    std::fs::read_dir(base().join("wrecks"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

fn summary(outcomes: &[(Tier, Outcome)], before: &BTreeSet<PathBuf>) -> u8 {
    say("");
    for (tier, outcome) in outcomes {
        say(&format!(
            "{:<8} {:>4} passed  {:>2} failed  {:>2} ignored  {:>6.1} s",
            tier.name(),
            outcome.passed,
            outcome.failed.len(),
            outcome.ignored,
            outcome.elapsed.as_secs_f64()
        ));
        for test in &outcome.failed {
            say(&format!("         failed: {test}"));
        }
    }
    for wreck in wrecks().difference(before) {
        say(&format!(
            "logs, CIB and register of a failed test: {}",
            wreck.display()
        ));
    }
    let passed: u32 = outcomes.iter().map(|(_, outcome)| outcome.passed).sum();
    if passed == 0 {
        say("no test of that name in these tiers");
    }
    u8::from(
        passed == 0
            || outcomes
                .iter()
                .any(|(_, outcome)| !outcome.failed.is_empty()),
    )
}

#[cfg(test)]
mod tests {
    use super::{Tier, counts};

    #[test]
    fn the_tier_is_the_beginning_of_the_name() {
        assert_eq!(Tier::of("testbed", "answers::pg_errors"), Tier::Pg);
        assert_eq!(Tier::of("ha", "cluster_power_cut"), Tier::Cluster);
        assert_eq!(Tier::of("pg_input", "defaults_are_fine"), Tier::Pg);
        assert_eq!(
            Tier::of("host", "pg_ctl::without_a_cluster_it_says_so"),
            Tier::Plain
        );
    }

    #[test]
    fn closing_lines_are_counted() {
        let line = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 40 filtered out; finished in 0.39s";
        assert_eq!(counts(line), Some((12, 2)));
        assert_eq!(counts("test result nonsense"), None);
    }
}
