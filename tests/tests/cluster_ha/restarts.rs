//! PostgreSQL restarted for its own settings, below a writer: what waits is named, it goes round, a lowered
//! limit goes first to the primary, and what was killed half way can be typed again.

use std::thread;

use pha_testbed::Signal;
use pha_tests::cluster::{Bed, PATIENCE, must, say, scenario};

use crate::commands::{cls, ends};

const NODES: [&str; 2] = ["node1", "node2"];

/// A setting changed on a node and read there again, which makes it wait for a restart.
fn change(bed: &Bed, node: &str, name: &str, value: &str) {
    must(bed.sql(node, &format!("ALTER SYSTEM SET {name} = {value}")));
    must(bed.sql(node, "SELECT pg_reload_conf()"));
    let waits = format!("SELECT pending_restart FROM pg_settings WHERE name = '{name}'");
    bed.until(&format!("{name} to wait on {node}"), || {
        match must(bed.sql(node, &waits)).as_str() {
            "t" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
}

fn show(bed: &Bed, name: &str) -> [String; 2] {
    NODES.map(|node| must(bed.sql(node, &format!("SHOW {name}"))))
}

/// How many settings wait, on every node.
fn waiting(bed: &Bed) -> [String; 2] {
    NODES.map(|node| {
        let count = "SELECT count(*) FROM pg_settings WHERE pending_restart";
        must(bed.sql(node, count))
    })
}

fn postmasters(bed: &Bed) -> [Option<i32>; 2] {
    NODES.map(|node| bed.node(node).postmaster_pid())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// From a healthy cluster with this primary to one with the same.
pub(crate) fn for_settings_that_wait(bed: &Bed, primary: &str, standby: &str) {
    let before = bed.settle(primary, &[standby]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));

    scenario("settings that wait for a restart are a note, and the restart goes round");
    for node in NODES {
        change(bed, node, "wal_buffers", "'3MB'");
    }
    let shown = one_line(&ends(bed, primary, &["status"], 0));
    assert!(shown.contains("Health: healthy"), "{shown}");
    for node in NODES {
        let note = format!("{node}: a setting waits for a restart of PostgreSQL: wal_buffers");
        assert!(shown.contains(&note), "{shown}");
    }
    let line = ends(bed, standby, &["status", "--check"], 0);
    assert!(line.starts_with("OK"), "{line}");
    let pids = postmasters(bed);
    let dry = ends(bed, standby, &["restart", "--pending", "--dry-run"], 0);
    let how = format!(
        "PostgreSQL restarts on {standby}; then another node becomes primary in place of {primary}"
    );
    assert!(dry.contains(&how), "{dry}");
    assert_eq!(postmasters(bed), pids);
    let done = ends(bed, primary, &["restart", "--pending"], 0);
    say(&done);
    assert!(done.contains(&format!("{standby} is primary")), "{done}");
    assert_eq!(show(bed, "wal_buffers"), ["3MB", "3MB"]);
    assert_eq!(waiting(bed), ["0", "0"]);
    let after = bed.settle(standby, &[primary]);
    assert_eq!(after.timeline, before.timeline + 1);
    nothing_left(bed);
    let (primary, standby) = (standby, primary);
    let pids = postmasters(bed);
    let done = ends(bed, primary, &["restart", "--pending"], 0);
    assert!(done.contains("nothing was done"), "{done}");
    assert_eq!(postmasters(bed), pids);

    killed_half_way(bed, primary, standby);
    let (primary, standby) = (standby, primary);
    must(writer.wait_for(50, PATIENCE));

    lowered(bed, primary, standby);
    must(writer.wait_for(50, PATIENCE));

    a_broken_configuration(bed, primary, standby);
    does_not_come_back(bed, primary, standby);
    must(writer.wait_for(50, PATIENCE));

    an_archive_that_hangs(bed, primary);
    must(writer.wait_for(50, PATIENCE));

    scenario("one node alone, whether anything waits or not");
    let pids = postmasters(bed);
    ends(bed, primary, &["restart", "--node", standby], 0);
    for (node, (before, after)) in NODES.iter().zip(pids.iter().zip(postmasters(bed))) {
        assert_eq!(*before == after, *node == primary, "{node}");
    }
    let _ = bed.conclude(writer, primary, &[standby]);
}

fn nothing_left(bed: &Bed) {
    let xml = bed.run("node1", &["cibadmin", "--query", "--scope=configuration"]);
    for trace in ["cli-prefer", "cli-ban", "pha4pgsql_operation"] {
        assert!(!xml.contains(trace), "{trace} is left in the configuration");
    }
}

/// A raised limit, first on the standby; the command is killed while that is kept off.
fn killed_half_way(bed: &Bed, primary: &str, standby: &str) {
    scenario("a raised limit; killed while the standby restarts, and typed again");
    for node in NODES {
        change(bed, node, "max_connections", "300");
        must(bed.sql(node, "ALTER SYSTEM SET archive_command = '/bin/true'"));
        change(bed, node, "archive_mode", "on");
    }
    thread::scope(|scope| {
        let words = ["restart", "--pending"];
        let command = scope.spawn(move || cls(bed, standby, &words));
        bed.until("the standby kept off", || {
            assert!(!command.is_finished(), "it has ended before");
            let cib = bed.cib_of(primary).map_err(|error| error.to_string())?;
            let banned = cib.xml.contains("cli-ban");
            banned.then_some(()).ok_or_else(|| "not yet".to_owned())
        });
        assert_eq!(bed.node(standby).kill_program("cls", Signal::KILL), 1);
    });
    let shown = one_line(&cls(bed, primary, &["status"]).stdout);
    let ended = format!("cls_restart on {standby} was ended before it was done");
    assert!(shown.contains(&ended), "{shown}");
    assert!(shown.contains("next: cls_restart --pending,"), "{shown}");
    let done = ends(bed, primary, &["restart", "--pending"], 0);
    say(&done);
    assert_eq!(show(bed, "max_connections"), ["300", "300"]);
    assert_eq!(waiting(bed), ["0", "0"]);
    bed.settle(standby, &[primary]);
    nothing_left(bed);
}

/// PostgreSQL itself would start on no node: each begins as a standby, whose WAL asks for more.
fn lowered(bed: &Bed, primary: &str, standby: &str) {
    scenario("a lowered limit: not on the standby alone, and first on the primary, in place");
    let before = bed.settle(primary, &[standby]);
    change(bed, standby, "max_connections", "80");
    let said = ends(bed, primary, &["restart", "--pending"], 10);
    let why = format!("max_connections = 80 on {standby} and 300 on the primary {primary}");
    assert!(said.contains(&why), "{said}");
    // As it says: the same on every node.
    change(bed, primary, "max_connections", "80");
    let dry = ends(bed, primary, &["restart", "--pending", "--dry-run"], 0);
    assert!(
        dry.contains("max_connections goes down from 300 to 80"),
        "{dry}"
    );
    // Not without being asked for, and then as it says.
    let runs = bed.node(primary).postmaster_pid();
    let said = ends(bed, primary, &["restart", "--pending"], 10);
    assert!(
        said.contains("next: cls_restart --pending --together"),
        "{said}"
    );
    assert_eq!(bed.node(primary).postmaster_pid(), runs);
    let done = ends(bed, primary, &["restart", "--pending", "--together"], 0);
    say(&done);
    assert_eq!(show(bed, "max_connections"), ["80", "80"]);
    assert_eq!(waiting(bed), ["0", "0"]);
    let after = bed.settle(primary, &[standby]);
    assert_eq!(after.timeline, before.timeline, "it is no other primary");
    nothing_left(bed);
    assert_eq!(bed.fail_count(primary, primary), "0");
    assert_eq!(bed.fail_count(primary, standby), "0");
}

/// A typing error in postgresql.conf, which PostgreSQL has not read yet: nothing is stopped for it.
fn a_broken_configuration(bed: &Bed, primary: &str, standby: &str) {
    scenario("a configuration that PostgreSQL would not start with: nothing is restarted");
    let before = postmasters(bed);
    let auto = format!("{}/postgresql.auto.conf", pha_testbed::PGDATA);
    for node in [standby, primary] {
        bed.run(
            node,
            &["sh", "-c", "echo 'work_mem = much' >>\"$0\"", &auto],
        );
        let said = ends(bed, primary, &["restart"], 10);
        let why =
            format!("{node} does not say what its settings are: PostgreSQL would not start again");
        assert!(said.contains(&why), "{said}");
        assert_eq!(postmasters(bed), before);
        bed.run(node, &["sed", "-i", "/^work_mem = much/d", &auto]);
    }
}

/// A primary that waits for its archive: the status says so, and nothing begins that would have to stop it.
fn an_archive_that_hangs(bed: &Bed, primary: &str) {
    scenario("an archive_command that hangs is named before the stop that would wait for it");
    let archive = |command: &str| {
        let set = format!("ALTER SYSTEM SET archive_command = '{command}'");
        must(bed.sql(primary, &set));
        must(bed.sql(primary, "SELECT pg_reload_conf()"));
    };
    let ready = format!("{}/pg_wal/archive_status", pha_testbed::PGDATA);
    let files = || bed.run(primary, &["find", &ready, "-name", "*.ready"]);
    archive("sleep 3000");
    must(bed.sql(primary, "SELECT pg_switch_wal()"));
    bed.until("a file that waits", || match files().lines().next() {
        Some(file) => {
            bed.run(primary, &["touch", "-d", "2 minutes ago", file]);
            Ok(())
        }
        None => Err("none".to_owned()),
    });
    let shown = one_line(&cls(bed, "node2", &["status"]).stdout);
    let late = format!("on {primary}: WAL fills its disk, and a stop of PostgreSQL waits");
    assert!(shown.contains(&late), "{shown}");
    for command in ["online_switch", "restart"] {
        let said = ends(bed, "node1", &[command], 10);
        let why = "the primary's stop would wait for its archive: ";
        assert!(said.contains(why), "{said}");
    }
    archive("/bin/true");
    assert!(bed.node(primary).kill_program("sleep", Signal::KILL) > 0);
    bed.until("everything to be archived", || match files().as_str() {
        "" => Ok(()),
        left => Err(left.to_owned()),
    });
    ends(bed, "node1", &["status", "--check"], 0);
}

/// A setting with which the standby does not start: the primary goes on, and what is said mends it.
fn does_not_come_back(bed: &Bed, primary: &str, standby: &str) {
    scenario("a standby that does not come back: the primary is not touched");
    change(
        bed,
        standby,
        "shared_preload_libraries",
        "'no_such_library'",
    );
    let before = bed.node(primary).postmaster_pid();
    let said = ends(bed, primary, &["restart", "--pending"], 1);
    say(&said);
    let what =
        format!("{standby} did not come back from its restart; the primary was not restarted");
    assert!(said.contains(&what), "{said}");
    assert!(
        said.contains("then cls_cleanup; then cls_restart --pending"),
        "{said}"
    );
    assert_eq!(bed.node(primary).postmaster_pid(), before);
    let auto = format!("{}/postgresql.auto.conf", pha_testbed::PGDATA);
    bed.run(standby, &["sed", "-i", "/no_such_library/d", &auto]);
    ends(bed, primary, &["cleanup"], 0);
    bed.settle(primary, &[standby]);
    let done = ends(bed, primary, &["restart", "--pending"], 0);
    assert!(done.contains("nothing was done"), "{done}");
    nothing_left(bed);
}

#[test]
fn cluster_restarts_for_settings_that_wait() {
    let bed = Bed::replicating("restarts");
    for_settings_that_wait(&bed, "node1", "node2");
}
