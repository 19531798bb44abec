//! What the README shows at its beginning.

use std::process::{Command, Stdio};

use pha_testbed::binaries;
use pha_tests::cluster::{say, scenario, where_there_is_room};

/// The names of the rows in the README's last screen.
fn rows(readme: &str) -> Vec<&str> {
    let line = "-".repeat(76);
    let screen = readme.split(line.as_str()).nth(1).expect("the last screen");
    let rows = screen.lines().filter_map(|row| row.strip_prefix("  "));
    rows.filter_map(|row| row.split("  ").next()).collect()
}

#[test]
fn cluster_demo() {
    scenario("cargo testbed demo, as the README has it");
    let program = binaries::find("testbed").expect("the testbed's program");
    let name = format!("demo-{}", std::process::id());
    let output = where_there_is_room(|| {
        let mut command = Command::new(program);
        command.args(["--name", &name, "demo"]).stdin(Stdio::null());
        command.output().expect("a demo that starts")
    });
    let shown = String::from_utf8_lossy(&output.stdout);
    say(&shown);
    say(&String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    let rows = rows(include_str!("../../../README.md"));
    assert_eq!(rows.len(), 9, "{rows:?}");
    let mut left = shown.lines();
    for row in rows {
        let found = left.any(|line| line.starts_with(&format!("  {row}  ")));
        assert!(found, "no row {row:?} in its place");
    }
    assert!(shown.contains("  0: every one of them is on node1 and on node2\n"));
}
