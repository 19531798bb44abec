//! A holder that cannot open for writing does not take the register, and whoever can comes back; one that was given
//! it and does not open gives it back (R14).

use pha_testbed::{ClusterBuilder, PGDATA};
use pha_tests::cluster::{Bed, PATIENCE, must, register, say, scenario};

use crate::commands::{cls, ends};
use crate::three::{Roles, judged, never_alone, settle, whole};

fn raise(bed: &Bed, node: &str) {
    must(bed.sql(node, "ALTER SYSTEM SET max_connections = 200"));
}

/// The primary is restarted as an administrator does it, in order that it reads a setting.
fn restarted_by_hand(bed: &Bed, primary: &str) {
    ends(bed, primary, &["unmanage"], 0);
    let ctl = format!("{}/pg_ctl", must(pha_testbed::packages::bin_dir()));
    let log = "/var/log/postgresql/pgsql.log";
    let stop = [&ctl, "-D", PGDATA, "-m", "fast", "-w", "stop"];
    must(bed.node(primary).as_postgres(&stop, PATIENCE));
    bed.until("a monitor to find it stopped", || {
        let count = bed.fail_count(primary, primary);
        (count != "0").then_some(()).ok_or(count)
    });
    let start = [&ctl, "-D", PGDATA, "-l", log, "-w", "start"];
    // One that is started when its lease is over the guard may end, and then itself.
    bed.until("the primary to serve under its lease", || {
        let node1 = bed.node(primary);
        if node1.postmaster_pid().is_none() {
            let started = node1.as_postgres(&start, PATIENCE);
            started.map_err(|error| error.to_string())?;
        }
        let row = register(bed)?;
        row.leased.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    let postmaster = bed.node(primary).postmaster_pid();
    ends(bed, primary, &["manage"], 0);
    assert_eq!(bed.node(primary).postmaster_pid(), postmaster);
}

/// The only standby must not be promoted, as an administrator has said: the status names the constraint, a
/// planned switch is refused, and what the status says to type ends it.
fn forbidden(bed: &Bed) {
    scenario("a constraint of an administrator keeps the only standby from being promoted");
    let constraint = r#"<rsc_location id="never-node2" rsc="msPostgresql" role="Promoted" node="node2" score="-INFINITY"/>"#;
    let create = [
        "cibadmin",
        "--create",
        "--scope",
        "constraints",
        "--xml-text",
    ];
    bed.run("node1", &[&create[..], &[constraint]].concat());
    let shown = cls(bed, "node1", &["status"]).stdout;
    let text = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let said =
        "nothing would take over: the constraint never-node2 keeps node2 from being promoted";
    assert!(text.contains(said), "{text}");
    let refused = ends(bed, "node1", &["online_switch"], 10);
    assert!(refused.contains("never-node2"), "{refused}");
    let remedy = r#"cibadmin --delete --xml-text='<rsc_location id="never-node2"/>'"#;
    assert!(text.contains(remedy), "{text}");
    bed.run("node1", &["sh", "-c", remedy]);
    let healthy = ends(bed, "node1", &["status"], 0);
    assert!(healthy.contains("Health: healthy"), "{healthy}");
}

#[test]
fn cluster_a_standby_with_lower_limits_is_not_promoted() {
    let bed = Bed::replicating("fit");
    let before = bed.settle("node1", &["node2"]);

    forbidden(&bed);

    scenario("max_connections raised on the primary alone: its standby pauses its replay");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    raise(&bed, "node1");
    restarted_by_hand(&bed, "node1");
    assert_eq!(bed.fail_count("node1", "node1"), "0");
    bed.until("the standby to say that it cannot open", || {
        let cib = bed.cib_of("node1").map_err(|error| error.to_string())?;
        let score = cib.transient("node2", "master-pgsql");
        let unfit = cib.transient("node2", "pgsql-unfit").unwrap_or_default();
        let told = unfit.contains("max_connections is 100 and the primary had 200");
        (told && score.as_deref() == Some("-INFINITY"))
            .then_some(())
            .ok_or_else(|| format!("score {score:?}, {unfit:?}"))
    });
    // Commits go on: it receives WAL and acknowledges it, so it holds everything.
    must(writer.wait_for(50, PATIENCE));
    // A monitor that looks before the standby has its link again after the restart lets it go for a moment.
    bed.until("the standby among the holders", || {
        let holders = must(register(&bed)).holders;
        match holders.contains("node2") {
            true => Ok(()),
            false => Err(format!("{holders:?}")),
        }
    });

    scenario("the status names it, and no planned switch begins");
    let shown = cls(&bed, "node1", &["status"]);
    let text = shown
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        text.contains("node2 cannot take over: replay is paused"),
        "{text}"
    );
    let said = ends(&bed, "node1", &["online_switch"], 10);
    assert!(said.contains("max_connections is 100"), "{said}");
    must(writer.wait_for(50, PATIENCE));

    scenario(
        "power cut of the primary: the standby leaves the register alone, and the primary comes back",
    );
    must(bed.power_cut("node1"));
    crate::partition::lease_long_over(&bed, "node1");
    assert_eq!(must(bed.sql("node2", "SELECT pg_is_in_recovery()")), "t");
    let row = must(register(&bed));
    assert_eq!(
        (row.owner.as_str(), row.term),
        ("node1", before.register.term)
    );
    assert_eq!(bed.fail_count("node2", "node2"), "0");
    must(bed.boot("node1"));
    must(writer.wait_for(50, PATIENCE));

    scenario("raised on the standby as the status says: it takes over again");
    raise(&bed, "node2");
    ends(&bed, "node1", &["standby_node", "node2"], 0);
    ends(&bed, "node1", &["unstandby_node", "node2"], 0);
    bed.settle("node1", &["node2"]);
    ends(&bed, "node1", &["online_switch"], 0);
    let _ = bed.conclude(writer, "node2", &["node1"]);

    a_word_that_postgresql_does_not_know(&bed);
}

/// One word in any of its files keeps PostgreSQL from taking up any change. node2 is the primary.
fn a_word_that_postgresql_does_not_know(bed: &Bed) {
    let config = format!("{PGDATA}/postgresql.conf");
    let write = |node: &str| bed.run(node, &["sed", "-i", "$ashared_bufers = 1GB", &config]);
    let mend = |node: &str| bed.run(node, &["sed", "-i", "/shared_bufers/d", &config]);
    let before = bed.settle("node2", &["node1"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));

    scenario(
        "PostgreSQL does not know a word in the primary's file: no planned switch begins, and no restart",
    );
    write("node2");
    for command in [&["online_switch"][..], &["restart", "--dry-run"]] {
        let refused = ends(bed, "node1", command, 10);
        assert!(refused.contains("shared_bufers"), "{refused}");
    }
    mend("node2");

    scenario("nor in the standby's: it says so, and commits go on to wait for it");
    write("node1");
    let refused = ends(bed, "node2", &["online_switch"], 10);
    assert!(refused.contains("shared_bufers"), "{refused}");
    bed.until("the standby to say that it takes up nothing", || {
        let cib = bed.cib_of("node2").map_err(|error| error.to_string())?;
        let score = cib.transient("node1", "master-pgsql");
        let unfit = cib.transient("node1", "pgsql-unfit").unwrap_or_default();
        let told = unfit.starts_with("files: ") && unfit.contains("shared_bufers");
        (told && score.as_deref() == Some("-INFINITY"))
            .then_some(())
            .ok_or_else(|| format!("score {score:?}, {unfit:?}"))
    });
    must(writer.wait_for(50, PATIENCE));
    assert_eq!(must(register(bed)).holders, before.register.holders);

    scenario("power cut of the primary: the standby leaves the register alone");
    must(bed.power_cut("node2"));
    crate::partition::lease_long_over(bed, "node2");
    assert_eq!(must(bed.sql("node1", "SELECT pg_is_in_recovery()")), "t");
    let row = must(register(bed));
    assert_eq!(
        (&row.owner, row.term),
        (&before.register.owner, before.register.term)
    );
    assert_eq!(bed.fail_count("node1", "node1"), "0");

    scenario(
        "the word is taken out, and nothing else is typed: the standby takes over, with everything",
    );
    mend("node1");
    must(writer.wait_for(50, PATIENCE));
    let row = must(register(bed));
    assert_eq!(
        (row.owner.as_str(), row.term),
        ("node1", before.register.term + 1)
    );
    must(bed.boot("node2"));
    let _ = bed.conclude(writer, "node1", &["node2"]);
}

#[test]
fn cluster_a_node_that_does_not_open_gives_the_right_back() {
    let bed = Bed::replicating("unopened");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));

    scenario("power cut of the primary, and pg_ctl promote fails on its standby");
    let ctl = format!("{}/pg_ctl", must(pha_testbed::packages::bin_dir()));
    let broken = format!(
        "mv {ctl} {ctl}.real\ncat > {ctl} <<'END'\n#!/bin/sh\ncase \" $* \" in *\" promote \"*) echo broken >&2; exit 1 ;; esac\nexec {ctl}.real \"$@\"\nEND\nchmod 755 {ctl}"
    );
    bed.run("node2", &["sh", "-c", &broken]);
    must(bed.power_cut("node1"));
    bed.until("the right to be given back", || {
        let row = register(&bed)?;
        let given = row.owner.is_empty() && row.term > before.register.term;
        let both = ["node1", "node2"]
            .iter()
            .all(|node| row.holders.contains(*node));
        (given && both)
            .then_some(())
            .ok_or_else(|| format!("{row:?}"))
    });

    scenario("the old primary has power again: it serves, with everything");
    must(bed.boot("node1"));
    bed.until("the old primary to be primary again", || {
        let row = register(&bed)?;
        (row.owner == "node1")
            .then_some(())
            .ok_or_else(|| format!("{row:?}"))
    });
    must(writer.wait_for(50, PATIENCE));

    scenario("pg_ctl is whole again: the other one follows, and takes over when it is asked to");
    let mended = format!("mv {ctl}.real {ctl}");
    bed.run("node2", &["sh", "-c", &mended]);
    ends(&bed, "node1", &["cleanup"], 0);
    bed.settle("node1", &["node2"]);
    ends(&bed, "node1", &["online_switch"], 0);
    let _ = bed.conclude(writer, "node2", &["node1"]);
}

/// Three nodes: the standby for which commits wait could not open, and the other one could.
#[test]
fn cluster_a_standby_that_could_not_open_is_exchanged() {
    let builder = ClusterBuilder::new("unfit").databases(3).configured(true);
    let bed = Bed::up(builder.data_disk_mib(300));
    let first = settle(&bed, "one synchronous standby of two", |roles| {
        roles.other.is_some()
    });
    let second = taken_over(&bed, &first);
    let before = without_room(&bed, &second);
    let (unfit, fit) = (before.sync.clone(), before.other.clone().expect("a third"));

    scenario(
        "max_connections raised on the primary and on the standby that commits do not wait for",
    );
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    raise(&bed, &fit);
    for words in [["standby_node", &fit], ["unstandby_node", &fit]] {
        ends(&bed, &before.primary, &words, 0);
    }
    assert_eq!(whole(&bed, &before.primary).sync, unfit);
    raise(&bed, &before.primary);
    restarted_by_hand(&bed, &before.primary);
    bed.until(
        "the standby that can open in the place of the other",
        || {
            let cib = bed.cib_of(&fit).map_err(|error| error.to_string())?;
            let told = cib.transient(&unfit, "pgsql-unfit").unwrap_or_default();
            let row = register(&bed)?;
            let both = [&before.primary, &fit].map(String::clone);
            (told.contains("max_connections") && row.holders == both.into())
                .then_some(())
                .ok_or_else(|| format!("{row:?}, {told:?}"))
        },
    );
    must(writer.wait_for(50, PATIENCE));

    scenario("power cut of the primary: the other one takes over, with everything");
    let term = must(register(&bed)).term;
    must(bed.power_cut(&before.primary));
    must(writer.wait_for(50, PATIENCE));
    let row = must(register(&bed));
    assert_eq!((&row.owner, row.term), (&fit, term + 1));

    scenario("raised on the one that was left as the status says: all three have their part again");
    must(bed.boot(&before.primary));
    raise(&bed, &unfit);
    for words in [["standby_node", &unfit], ["unstandby_node", &unfit]] {
        ends(&bed, &fit, &words, 0);
    }
    must(writer.stop());
    whole(&bed, &fit);
    judged(&bed);
}

/// The disk of the standby that commits wait for is full, and it still has segments in stock: the other one takes
/// its place before it fails.
fn without_room(bed: &Bed, before: &Roles) -> Roles {
    scenario(
        "the synchronous standby has no room for a new timeline: the other one takes its place",
    );
    let third = before.other.clone().expect("a third node");
    let exchanges = || bed.logged(&before.primary, "primary-exchange-hold");
    let earlier = exchanges();
    must(bed.node(&before.sync).fill_data_disk());
    bed.until("the other standby in its place", || {
        let row = register(bed)?;
        let both = [&before.primary, &third].map(String::clone);
        (row.holders == both.into())
            .then_some(())
            .ok_or_else(|| format!("{row:?}"))
    });
    never_alone(bed, before);
    must(bed.node(&before.sync).free_data_disk());
    // It has done so before the log of that operation is written.
    bed.until("the exchange in the log", || {
        (exchanges() > earlier)
            .then_some(())
            .ok_or_else(|| "not yet".to_owned())
    });
    whole(bed, &before.primary)
}

/// The primary loses its power, and the one that takes over is the only holder until the third node is one. How
/// long that takes is shown.
fn taken_over(bed: &Bed, before: &Roles) -> Roles {
    scenario("power cut of the primary: how long the new one is the only holder");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut(&before.primary));
    bed.until("two holders after the takeover", || {
        let row = register(bed)?;
        let two = row.owner == before.sync && row.holders.len() == 2;
        two.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    let term = before.term + 1;
    say(&must(bed.lock_sql(&format!(
        "SELECT round(extract(epoch FROM changed_at - first_value(changed_at) OVER (ORDER BY id))::numeric, 2), \
         epoch, holders, reason FROM distlock_history WHERE term = {term} ORDER BY id"
    ))));
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    must(bed.boot(&before.primary));
    whole(bed, &before.sync)
}
