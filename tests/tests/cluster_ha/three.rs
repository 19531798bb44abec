//! Three nodes with quorum and a lock service: commits wait for one standby among several, another
//! one replaces it when it fails, and only who holds every acknowledged commit takes over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pha_testbed::ClusterBuilder;
use pha_tests::cluster::{Bed, PATIENCE, must, register, say, scenario};

use crate::commands::{cls, ends, found, killed, nothing_left};

const NODES: [&str; 3] = ["node1", "node2", "node3"];

/// Who is what while everything agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles {
    pub(crate) primary: String,
    /// The standby that commits wait for.
    pub(crate) sync: String,
    /// The one that they do not wait for, where it runs.
    pub(crate) other: Option<String>,
    pub(crate) term: u64,
    epoch: u64,
}

/// The roles, where the register, PostgreSQL, the attributes and Pacemaker's placement agree.
fn look(bed: &Bed) -> Result<Roles, String> {
    let row = register(bed)?;
    let primary = row.owner.clone();
    if primary.is_empty() || !bed.node(&primary).is_on() {
        return Err(format!("no living owner: {row:?}"));
    }
    let others: Vec<&String> = row
        .holders
        .iter()
        .filter(|node| **node != primary)
        .collect();
    let [sync] = others[..] else {
        return Err(format!("the register's holders are {:?}", row.holders));
    };
    let sql = |question: &str| bed.sql(&primary, question).map_err(|e| e.to_string());
    let names = sql("SHOW synchronous_standby_names")?;
    let named: Vec<&str> = NODES
        .into_iter()
        .filter(|node| names.contains(node))
        .collect();
    if named != [sync.as_str()] {
        return Err(format!("commits wait for {names:?}, a holder is {sync}"));
    }
    let links = sql(
        "SELECT split_part(application_name, '@', 1), state, sync_state FROM pg_stat_replication",
    )?;
    let links: BTreeSet<&str> = links.lines().collect();
    let cib = bed.cib_of(&primary).map_err(|error| error.to_string())?;
    let mut other = None;
    for node in bed.databases().iter().filter(|node| node.is_on()) {
        let name = node.name();
        let (status, data, link) = match name {
            _ if name == primary => ("PRI", "LATEST", None),
            _ if name == sync => ("HS:sync", "STREAMING|SYNC", Some("sync")),
            _ => ("HS:async", "STREAMING|ASYNC", Some("async")),
        };
        let seen = (
            cib.transient(name, "pgsql-status").unwrap_or_default(),
            cib.permanent(name, "pgsql-data-status").unwrap_or_default(),
        );
        let linked =
            link.is_none_or(|state| links.contains(format!("{name}|streaming|{state}").as_str()));
        if seen != (status.to_owned(), data.to_owned()) || !linked {
            return Err(format!(
                "{name}: {seen:?}, links {links:?}, register {row:?}"
            ));
        }
        if name != primary && name != sync {
            other = Some(name.to_owned());
        }
    }
    let placements = bed.placements_of(&primary).map_err(|e| e.to_string())?;
    let at = |resource: &str| {
        let mut found = placements
            .iter()
            .filter(|p| p.resource == resource && p.role == "Started");
        found.next().map(|place| place.node.clone())
    };
    let (writers, readers) = (at("vip-master"), at("vip-slave"));
    if writers.as_ref() != Some(&primary) || readers.as_ref() != Some(sync) {
        return Err(format!(
            "the addresses are on {writers:?} and {readers:?}, {sync} is in sync"
        ));
    }
    Ok(Roles {
        sync: sync.clone(),
        primary,
        other,
        term: row.term,
        epoch: row.epoch,
    })
}

/// Waits for agreement on roles that fit.
#[track_caller]
pub(crate) fn settle(bed: &Bed, what: &str, fits: impl Fn(&Roles) -> bool) -> Roles {
    let roles = bed.until(what, || match look(bed) {
        Ok(roles) if fits(&roles) => Ok(roles),
        other => Err(format!("{other:?}")),
    });
    say(&format!("{roles:?}"));
    roles
}

/// Waits until all three nodes have their part; who was primary and has WAL of its own is repaired.
#[track_caller]
pub(crate) fn whole(bed: &Bed, primary: &str) -> Roles {
    let mut repaired = BTreeSet::new();
    bed.until("three nodes in agreement", || {
        for node in NODES {
            let stopped = bed.server_processes(node) == 0;
            if stopped && bed.refusal(primary, node).is_some() && repaired.insert(node) {
                say(&format!("{node} was refused, and is repaired"));
                let said = ends(bed, primary, &["repair_slave", "--node", node], 0);
                assert!(said.contains("successed"), "{said}");
            }
        }
        match look(bed) {
            Ok(roles) if roles.other.is_some() && roles.primary == primary => Ok(roles),
            other => Err(format!("{other:?}")),
        }
    })
}

/// Every acknowledged commit is on every node, and nobody acknowledged what another had.
#[track_caller]
pub(crate) fn judged(bed: &Bed) {
    let verdict = must(bed.check(&NODES, Duration::from_secs(20)));
    say(&verdict.to_string());
    assert!(verdict.clean(), "{verdict}");
}

#[test]
fn cluster_three_nodes_hand_over() {
    let bed = Bed::up(ClusterBuilder::new("handed").databases(3).configured(true));
    let first = settle(&bed, "one synchronous standby of two", |roles| {
        roles.other.is_some()
    });
    let roles = handed_over(&bed, &first);
    killed_hand_overs(&bed, roles);
}

/// The register is handed over to a standby that need not have had every commit before.
fn handed_over(bed: &Bed, first: &Roles) -> Roles {
    scenario("a planned switch to a standby that commits do not wait for, and back, loses nothing");
    let to = first.other.clone().expect("a third node");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    say(&ends(bed, &first.sync, &["online_switch", "--to", &to], 0));
    let second = whole(bed, &to);
    assert_eq!(second.term, first.term + 1);
    must(writer.wait_for(50, PATIENCE));
    let back = match second.sync == first.primary {
        true => second.other.clone().expect("a third node"),
        false => first.primary.clone(),
    };
    say(&ends(bed, &to, &["online_switch", "--to", &back], 0));
    let third = whole(bed, &back);
    assert_eq!(third.term, second.term + 1);
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    judged(bed);
    nothing_left(bed);
    let told = ends(bed, "node1", &["history"], 0);
    say(&told);
    third
}

/// A hand-over whose command is killed: who is the primary when its constraint has come to its end, or has been
/// taken away, has everything.
fn killed_hand_overs(bed: &Bed, mut before: Roles) {
    let configured = |text: &str| bed.cib().is_ok_and(|cib| cib.xml.contains(text));
    let nobody = |_: &Roles| configured(r#"operation="defined""#);
    let demoted = |roles: &Roles| !bed.node(&roles.primary).operations("demote").is_empty();
    let handed = |roles: &Roles| {
        let is_holder = |to| register(bed).is_ok_and(|row| row.holders.contains(to));
        roles.other.as_ref().is_some_and(is_holder)
    };
    let only = |_: &Roles| configured(r#"operation="ne""#);
    // Whether the switch is still made after that, where that is certain.
    type Moment<'m> = &'m dyn Fn(&Roles) -> bool;
    let moments: [(&str, Moment<'_>, Option<bool>); 4] = [
        ("nobody may be promoted", &nobody, Some(false)),
        ("the old primary is being stopped", &demoted, Some(false)),
        ("the register has been handed over", &handed, None),
        ("the successor may be promoted", &only, Some(true)),
    ];
    for (what, moment, switched) in moments {
        scenario(&format!(
            "kill -9 of cls_online_switch when {what}: nothing is lost"
        ));
        let (old, to) = (before.primary.clone(), before.other.clone());
        let to = to.expect("a third node");
        let writer = bed.writer();
        must(writer.wait_for(50, PATIENCE));
        let words = ["online_switch", "--to", &to];
        killed(bed, &old, &words, &|| moment(&before));
        let text = format!("cls_online_switch on {old} was ended");
        found(bed, "node1", &text, "cls_cleanup");
        let constraint = format!("cli-ban-msPostgresql-on-{old}");
        found(bed, "node1", &constraint, "cls_cleanup");
        must(writer.wait_for(50, PATIENCE));
        let primary = must(register(bed)).owner;
        match switched {
            Some(true) => assert_eq!(primary, to),
            Some(false) => assert_eq!(primary, old),
            None => assert!(primary == old || primary == to, "{primary}"),
        }
        before = whole(bed, &primary);
        must(writer.stop());
        judged(bed);
        ends(bed, "node1", &["cleanup"], 0);
        nothing_left(bed);
    }
}

#[test]
fn cluster_three_nodes_lose_one_after_the_other() {
    let bed = Bed::up(ClusterBuilder::new("three").databases(3).configured(true));

    scenario("commits wait for one standby of two; the other one follows");
    let first = settle(&bed, "one synchronous standby of two", |roles| {
        roles.other.is_some()
    });
    let said = ends(&bed, &first.primary, &["status"], 0);
    assert!(said.contains("Health: healthy"), "{said}");

    scenario("the synchronous standby loses its power: the other one takes its part");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let other = first.other.clone().expect("a third node");
    must(bed.power_cut(&first.sync));
    let second = settle(&bed, "the other standby in its place", |roles| {
        roles.sync == other
    });
    assert_eq!((&second.primary, second.term), (&first.primary, first.term));
    assert!(second.epoch > first.epoch, "{second:?}");
    never_alone(&bed, &first);
    must(writer.wait_for(50, PATIENCE));
    must(bed.boot(&first.sync));
    let second = whole(&bed, &first.primary);
    assert_eq!(second.sync, other, "who holds everything stays: {second:?}");
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    judged(&bed);

    cut_off(&bed, &second);
    let primary = must(register(&bed)).owner;
    let third = whole(&bed, &primary);
    out_of_reach(&bed, &third);
    let primary = must(register(&bed)).owner;
    let fourth = whole(&bed, &primary);
    judged(&bed);
    exchanged_and_taken_over(&bed, &fourth);
    let primary = must(register(&bed)).owner;
    let fourth = whole(&bed, &primary);
    not_kept(&bed, &fourth);
    two_switches_ago(&bed, &whole(&bed, &primary));
    let primary = must(register(&bed)).owner;

    scenario("a planned switch to the synchronous standby while the third node is out of service");
    let before = whole(&bed, &primary);
    let away = before.other.clone().expect("a third node");
    ends(&bed, "node1", &["standby_node", &away], 0);
    let said = ends(&bed, "node1", &["online_switch", "--to", &away], 10);
    assert!(
        said.contains(&format!("{away} is not in service")),
        "{said}"
    );
    ends(&bed, "node1", &["online_switch"], 0);
    ends(&bed, "node1", &["unstandby_node", &away], 0);

    scenario("the standbys exchange their parts by command");
    let after = whole(&bed, &before.sync);
    assert_eq!(after.term, before.term + 1);
    let to = after.other.clone().expect("a third node");
    let (sync, primary) = (after.sync.clone(), after.primary.clone());
    for words in [["standby_node", &sync], ["unstandby_node", &sync]] {
        ends(&bed, "node1", &words, 0);
        bed.until("the other standby in its place", || {
            let row = register(&bed)?;
            let changed = row.holders.contains(&to) && !row.holders.contains(&sync);
            changed.then_some(()).ok_or_else(|| format!("{row:?}"))
        });
    }
    assert_eq!(whole(&bed, &primary).sync, to);
    ends(&bed, "node1", &["online_switch", "--to", &to], 0);
    assert_eq!(whole(&bed, &to).term, after.term + 1);
    judged(&bed);
}

#[test]
fn cluster_three_nodes_fall_together() {
    let builder = ClusterBuilder::new("fall").databases(3).configured(true);
    let bed = Bed::up(builder.data_disk_mib(300));
    let first = settle(&bed, "one synchronous standby of two", |roles| {
        roles.other.is_some()
    });
    third_ahead(&bed, &first);
    let primary = must(register(&bed)).owner;
    without_quorum(&bed, &whole(&bed, &primary));
    let primary = must(register(&bed)).owner;
    stale_standby_and_then_all(&bed, &whole(&bed, &primary));
    let primary = must(register(&bed)).owner;
    full_disks(&bed, &whole(&bed, &primary));
}

/// The third node has received a commit that the synchronous standby has not, when the primary dies. The
/// standby takes over, receives it from there, and both are in service without anything being typed.
fn third_ahead(bed: &Bed, before: &Roles) {
    scenario("replication to the synchronous standby is cut, a commit waits, the primary dies");
    let (sync, third) = (&before.sync, before.other.clone().expect("a third node"));
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.cut_port(&before.primary, sync, 5432));
    bed.until("the third node ahead of the synchronous standby", || {
        let sql = |node: &str, text: &str| bed.sql(node, text).map_err(|error| error.to_string());
        let reached = sql(sync, "SELECT pg_last_wal_receive_lsn()")?;
        let ahead = format!("SELECT pg_last_wal_receive_lsn() > '{reached}'");
        let is_ahead = sql(&third, &ahead)? == "t";
        is_ahead.then_some(()).ok_or(reached)
    });
    must(bed.power_cut(&before.primary));
    must(writer.wait_for(50, PATIENCE));
    let after = settle(bed, "both of the others in service", |roles| {
        (&roles.primary, &roles.sync) == (sync, &third)
    });
    assert_eq!(after.term, before.term + 1, "one promotion");
    assert!(bed.logged(sync, "promote-catch-up") > 0, "nothing was lent");
    no_failure(bed, sync);
    must(writer.stop());
    must(bed.heal());
    must(bed.boot(&before.primary));
    whole(bed, sync);
    judged(bed);
}

/// The lock service is in reach of all, so that the register alone would let the primary go on: but it has
/// no quorum, and Pacemaker stops it. Whether its standbys or the quorum is lost first, differs.
fn without_quorum(bed: &Bed, before: &Roles) {
    scenario(
        "the primary is cut off from both others and not from the lock service: one takes over",
    );
    let other = before.other.clone().expect("a third node");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    for standby in [&before.sync, &other] {
        must(bed.cut(&before.primary, standby));
    }
    let began = Instant::now();
    bed.until("the synchronous standby primary", || {
        let row = register(bed)?;
        let taken = row.owner == before.sync && row.term == before.term + 1;
        taken.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    let taken = began.elapsed();
    must(writer.wait_for(50, PATIENCE));
    let served = began.elapsed();
    say(&format!(
        "taken after {taken:.1?}, acknowledged 50 more after {served:.1?}"
    ));
    assert!(served < Duration::from_secs(60), "{served:?}");
    must(writer.stop());
    must(bed.heal());
    whole(bed, &before.sync);
    judged(bed);
}

/// After a restart PostgreSQL shows as received what begins the segment, on every node alike: who has
/// been away is told by the register alone.
fn stale_standby_and_then_all(bed: &Bed, before: &Roles) {
    scenario(
        "a standby loses its power, commits go on, and the others lose theirs: the first comes back before them, and is not promoted",
    );
    let (stale, other) = (&before.sync, before.other.clone().expect("a third node"));
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut(stale));
    settle(bed, "the other standby in its place", |roles| {
        roles.sync == other
    });
    must(writer.wait_for(100, PATIENCE));
    must(bed.power_cut_all(&[&before.primary, &other]));
    must(bed.boot(stale));
    must(bed.boot(&other));
    must(writer.wait_for(50, PATIENCE));
    let after = settle(bed, "the one that has everything as primary", |roles| {
        roles.primary == other
    });
    assert_eq!(after.term, before.term + 1, "one promotion");
    must(bed.boot(&before.primary));
    whole(bed, &other);

    scenario("all of them lose their power at once, and come back by themselves");
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut_all(&NODES));
    for node in NODES.iter().rev() {
        must(bed.boot(node));
    }
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    whole(bed, &other);
    judged(bed);
}

fn full_disks(bed: &Bed, before: &Roles) {
    let other = before.other.clone().expect("a third node");
    let writer = bed.writer();
    // Uses up the segments that PostgreSQL has in stock; what it answers is no matter.
    let uses_room = || drop(bed.sql(&before.primary, "SELECT pg_switch_wal()"));

    scenario("the disk of the standby that commits do not wait for is full: they go on");
    must(writer.wait_for(50, PATIENCE));
    must(bed.node(&other).fill_data_disk());
    bed.until("the standby without room not streaming any more", || {
        uses_room();
        let question = "SELECT application_name FROM pg_stat_replication";
        let links = bed.sql(&before.primary, question);
        let links = links.map_err(|error| error.to_string())?;
        (!links.contains(&other)).then_some(()).ok_or(links)
    });
    must(writer.wait_for(100, PATIENCE));
    let row = must(register(bed));
    assert_eq!((&row.owner, row.term), (&before.primary, before.term));
    must(bed.node(&other).free_data_disk());
    cleaned_up(bed, &before.primary);
    let now = whole(bed, &before.primary);
    assert_eq!((&now.sync, now.term), (&before.sync, before.term));

    scenario(
        "the primary's disk is full: the standby that has everything is promoted, not the other",
    );
    must(writer.wait_for(50, PATIENCE));
    must(bed.node(&before.primary).fill_data_disk());
    bed.until("another owner", || {
        uses_room();
        let row = register(bed)?;
        let other = row.owner != before.primary;
        other.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    must(bed.node(&before.primary).free_data_disk());
    cleaned_up(bed, &before.sync);
    let after = whole(bed, &before.sync);
    assert_eq!(after.term, before.term + 1, "one promotion");
    judged(bed);
}

/// Types cls_cleanup as long as the status says so: a start that was on its way may be refused, and counted, only
/// after the first one.
#[track_caller]
fn cleaned_up(bed: &Bed, on: &str) {
    bed.until("a status without cls_cleanup", || {
        let said = ends(bed, on, &["status"], 0);
        if !said.contains("cls_cleanup") {
            return Ok(());
        }
        cls(bed, on, &["cleanup"]);
        Err(said)
    });
}

/// The synchronous standby loses its network, the other one acknowledges in its place, the primary
/// dies, and the one that was synchronous comes back: the one that acknowledged last is promoted.
fn cut_off(bed: &Bed, before: &Roles) {
    scenario("the synchronous standby loses its network, the other acknowledges, the primary dies");
    let third = before.other.clone().expect("a third node");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.isolate(&before.sync));
    bed.until("the third node among the holders", || {
        let row = register(bed)?;
        let moved = row.holders.contains(&third) && !row.holders.contains(&before.sync);
        moved.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    must(writer.wait_for(50, PATIENCE));
    // The node that was cut off sees that it is alone.
    bed.until("no quorum on the node that was cut off", || {
        let output = cls(bed, &before.sync, &["cleanup"]);
        (output.code == 102).then_some(()).ok_or(output.stderr)
    });
    for words in [
        ["start"].as_slice(),
        &["stop"],
        &["online_switch"],
        &["standby_node", "node1"],
        &["unstandby_node", "node1"],
        &["unmanage"],
        &["manage"],
    ] {
        ends(bed, &before.sync, words, 102);
    }
    let check = cls(bed, &before.sync, &["status", "--check"]);
    assert_eq!(check.code, 2, "{}", check.stdout);
    assert!(check.stdout.contains("quorum"), "{}", check.stdout);
    must(bed.power_cut(&before.primary));
    must(bed.heal());
    must(writer.wait_for(50, PATIENCE));
    let after = settle(bed, "the third node primary", |roles| {
        roles.primary == third
    });
    assert_eq!(after.term, before.term + 1);
    must(writer.stop());
    no_failure(bed, &third);
    must(bed.boot(&before.primary));
}

/// A node that was just cut off still takes an operator's change, in its own part of the cluster.
/// It must not call that done: when the parts meet, the configuration of the other one may hold.
fn not_kept(bed: &Bed, before: &Roles) {
    scenario("a command on a node that was just cut off does not promise what cannot last");
    let third = before.other.clone().expect("a third node");
    ends(bed, &before.primary, &["standby_node", &third], 0);
    must(bed.isolate(&third));
    ends(bed, &third, &["unstandby_node", &third], 102);
    must(bed.heal());
    ends(bed, &before.primary, &["unstandby_node", &third], 0);
    assert_eq!(whole(bed, &before.primary).term, before.term);
}

/// pgsql_REPL_INFO tells of the last switch only; who left in an earlier one is told by the register's
/// timelines, before it receives anything.
fn two_switches_ago(bed: &Bed, before: &Roles) {
    scenario("an old primary with WAL of its own comes back after two switches, and is refused");
    let old = before.primary.clone();
    let third = before.other.clone().expect("a third node");
    for standby in [&before.sync, &third] {
        must(bed.cut_port(&old, standby, 5432));
    }
    let own = "SET synchronous_commit = local; CREATE TABLE never_sent AS SELECT generate_series(1, 10000)";
    must(bed.sql(&old, own));
    must(bed.power_cut(&old));
    must(bed.heal());
    settle(bed, "the synchronous standby primary", |roles| {
        roles.primary == before.sync
    });
    for word in ["standby_node", "unstandby_node"] {
        ends(bed, &third, &[word, &before.sync], 0);
    }
    settle(bed, "a second switch", |roles| roles.primary == third);
    must(bed.boot(&old));
    let reason = bed.until("the refusal of the old primary", || {
        bed.refusal(&third, &old)
            .ok_or_else(|| bed.monitor_text(&third))
    });
    assert!(reason.contains("it has WAL of its own"), "{reason}");
    whole(bed, &third);
    let there = must(bed.sql(&old, "SELECT to_regclass('never_sent') IS NOT NULL"));
    assert_eq!(there, "f", "{old} still has what was never acknowledged");
    judged(bed);
}

/// Since then the primary has not been the only holder at any moment of its term.
#[track_caller]
pub(crate) fn never_alone(bed: &Bed, since: &Roles) {
    let (term, epoch) = (since.term, since.epoch);
    let question = format!(
        "SELECT epoch, holders, reason FROM distlock_history WHERE term = {term} AND epoch > {epoch} ORDER BY id"
    );
    let changes = must(bed.lock_sql(&question));
    say(&changes);
    let alone = format!("{{{}}}", since.primary);
    let mut changes = changes.lines().map(|change| change.split('|').nth(1));
    assert!(!changes.any(|holders| holders == Some(&alone)), "alone");
}

/// While another standby streams, the operator takes the synchronous one away, and the primary loses its
/// power as soon as the register knows the other one: that one has every acknowledged commit.
fn exchanged_and_taken_over(bed: &Bed, before: &Roles) {
    scenario(
        "the synchronous standby is taken out of service, and the primary dies in that moment",
    );
    let third = before.other.clone().expect("a third node");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    ends(bed, &third, &["standby_node", &before.sync], 0);
    bed.until("the third node among the holders", || {
        let row = register(bed)?;
        let moved = row.holders.contains(&third) && !row.holders.contains(&before.sync);
        moved.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    must(bed.power_cut(&before.primary));
    never_alone(bed, before);
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    let row = must(register(bed));
    assert_eq!((&row.owner, row.term), (&third, before.term + 1));
    ends(bed, &third, &["unstandby_node", &before.sync], 0);
    must(bed.boot(&before.primary));
    whole(bed, &third);
    judged(bed);
}

/// Nothing that happened made the database fail on a node that lived on.
#[track_caller]
fn no_failure(bed: &Bed, ask: &str) {
    let alive = NODES.into_iter().filter(|node| bed.node(node).is_on());
    for node in alive {
        let text = bed.monitor_text(ask);
        assert_eq!(bed.fail_count(ask, node), "0", "on {node}: {text}");
    }
}

/// The same where the synchronous standby stays a member of the cluster and only replication to it
/// is broken: there is quorum when the primary dies, and the attributes may be old.
fn out_of_reach(bed: &Bed, before: &Roles) {
    scenario(
        "replication to the synchronous standby is cut, the other acknowledges, the primary dies",
    );
    let third = before.other.clone().expect("a third node");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.cut_port(&before.primary, &before.sync, 5432));
    bed.until("the third node among the holders", || {
        let row = register(bed)?;
        let moved = row.holders.contains(&third) && !row.holders.contains(&before.sync);
        moved.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    never_alone(bed, before);
    must(writer.wait_for(20, PATIENCE));
    must(bed.power_cut(&before.primary));
    must(writer.wait_for(50, PATIENCE));
    must(bed.heal());
    let after = settle(bed, "the third node primary", |roles| {
        roles.primary == third
    });
    assert_eq!(after.term, before.term + 1);
    must(writer.stop());
    no_failure(bed, &third);
    must(bed.boot(&before.primary));
}
