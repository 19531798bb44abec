//! What is said while nobody is primary, by what the register says.

use super::*;
use crate::lsn::Lsn;

const WAS_PRIMARY: Node = Node {
    operations: &[("start", 0)],
    ..PRIMARY
};
const OFF: Node = Node {
    state: DOWN,
    ..WAS_PRIMARY
};

fn held_by(holders: &[&str], lease: u64) -> Reading {
    let Reading::Row(row) = row("node1", lease) else {
        unreachable!()
    };
    Reading::Row(Register {
        holders: holders.iter().map(|name| name.parse().unwrap()).collect(),
        ..row
    })
}

/// The text and the remedy of the rule.
fn said(nodes: &[Node], reading: &Reading) -> (String, String) {
    said_in(true, nodes, reading)
}

fn said_in(sync: bool, nodes: &[Node], reading: &Reading) -> (String, String) {
    let verdict = verdict_in(sync, None, nodes, &Extra::default(), reading);
    assert_eq!(verdict.level, Level::Critical);
    let mut found = verdict.findings.into_iter().filter(|f| f.id == "primary");
    let finding = found.next().unwrap();
    (finding.said(), finding.next().unwrap())
}

#[test]
fn without_a_primary_the_register_says_what_to_type() {
    let stopped = || Node {
        operations: &[("start", 0), ("stop", 0)],
        ..STANDBY
    };
    let spared = || Node {
        standby: true,
        ..stopped()
    };
    let unknown = Reading::Unknown(Trouble::Unreachable("refused".to_owned()));
    let both = held_by(&["node1", "node2"], 0);
    let cases = [
        (
            "taken over",
            vec![OFF, STANDBY],
            &both,
            "wait: node2 has every acknowledged commit",
        ),
        (
            "its node in standby",
            vec![OFF, spared()],
            &both,
            "cls_unstandby_node node2",
        ),
        (
            "its database stopped",
            vec![OFF, stopped()],
            &both,
            "cls_cleanup --node node2",
        ),
        (
            "the only holder is off",
            vec![OFF, STANDBY],
            &held_by(&["node1"], 0),
            "start node1: no other node has",
        ),
        (
            "the lock service is gone",
            vec![WAS_PRIMARY, STANDBY],
            &unknown,
            "bring the lock service back",
        ),
        (
            "no row",
            vec![WAS_PRIMARY, STANDBY],
            &Reading::Missing,
            "cls_recovery_master",
        ),
        (
            "a row of another database",
            vec![WAS_PRIMARY, STANDBY],
            &foreign(),
            "if another cluster uses the same lock name, give",
        ),
    ];
    let behind = || Node {
        transient: &[
            ("master-pgsql", "-INFINITY"),
            ("pgsql-timeline", "1"),
            ("pgsql-xlog-loc", "0000000000000FFF"),
        ],
        ..STANDBY
    };
    let recorded = |reading: &Reading| match reading {
        Reading::Row(row) => Reading::Row(Register {
            positions: [("node2".parse().unwrap(), Lsn::new(0x1000))].into(),
            ..row.clone()
        }),
        other => other.clone(),
    };
    let (both_recorded, one_recorded) = (recorded(&both), recorded(&held_by(&["node2"], 0)));
    let put_back = [
        (
            "a holder with less WAL than recorded",
            vec![OFF, behind()],
            &both_recorded,
            "start node1: no other node has",
        ),
        (
            "the only holder with less WAL than recorded",
            vec![OFF, behind()],
            &one_recorded,
            "bring the newer data of node2 back",
        ),
    ];
    for (name, nodes, reading, remedy) in cases.into_iter().chain(put_back) {
        let (text, next) = said(&nodes, reading);
        // One that is only out of sight may serve on (R15).
        let unseen = matches!(reading, Reading::Row(_)) && nodes[0].state == DOWN;
        let expected = if unseen {
            "no node that this one sees is primary; node1, which it does not see, may be alive and serving"
        } else {
            "no node is primary: nobody can write"
        };
        assert_eq!(text, expected, "{name}");
        assert!(next.contains(remedy), "{name}: {next}");
    }
}

/// What the row lists are the nodes that are asked for in synchronous mode only.
#[test]
fn in_asynchronous_mode_the_standbys_score_says_who_may_be_next() {
    const MAY: &[(&str, &str)] = &[("master-pgsql", "100")];
    const MAY_NOT: &[(&str, &str)] = &[("master-pgsql", "-INFINITY")];
    let alone = held_by(&["node1"], 0);
    for (sync, transient, remedy) in [
        (false, MAY, "wait: node2 may become primary"),
        (false, MAY_NOT, "start node1: no other node has"),
        (true, MAY, "start node1: no other node has"),
    ] {
        let standby = Node {
            transient,
            ..STANDBY
        };
        let (_, next) = said_in(sync, &[OFF, standby], &alone);
        assert!(next.contains(remedy), "{sync} {transient:?}: {next}");
    }
}

/// R8: a lease that was given back says that PostgreSQL had been stopped before.
#[test]
fn an_owner_out_of_sight_that_gave_the_lock_back_does_not_serve() {
    let Reading::Row(row) = held_by(&["node1"], 0) else {
        unreachable!()
    };
    let released = Reading::Row(Register {
        ttl: std::time::Duration::ZERO,
        ..row
    });
    let (text, next) = said(&[OFF, STANDBY], &released);
    assert_eq!(text, "no node is primary: nobody can write");
    assert!(next.starts_with("start node1: "), "{next}");
}

/// A partition, or the moment after a power cut: nobody can tell which before the lease is over.
#[test]
fn an_owner_out_of_sight_that_holds_the_lock_is_named() {
    let (text, next) = said(&[OFF, STANDBY], &held_by(&["node1", "node2"], 2));
    assert!(
        text.contains("node1, which it does not see, has the lease for 2.0 s more"),
        "{text}"
    );
    assert!(next.contains("mend the network"), "{next}");
    // On the owner itself it is not the network.
    let held = held_by(&["node1", "node2"], 2);
    let there = verdict_on(Some("node1"), &[OFF, STANDBY], &Extra::default(), &held);
    let found = there.findings.into_iter().find(|f| f.id == "primary");
    let next = found.unwrap().next().unwrap();
    assert!(
        next.ends_with("on node1: pkill -KILL -x pacemakerd; systemctl start pacemaker"),
        "{next}"
    );
    let (text, _) = said(&[WAS_PRIMARY, STANDBY], &held_by(&["node1"], 2));
    assert_eq!(text, "no node is primary: nobody can write");
}

#[test]
fn without_quorum_the_other_part_may_have_a_primary() {
    let extra = Extra {
        no_quorum: true,
        ..Extra::default()
    };
    let unknown = Reading::Unknown(Trouble::Unreachable("refused".to_owned()));
    let verdict = verdict(&[WAS_PRIMARY, STANDBY], &extra, &unknown);
    let found = verdict.findings.iter().find(|f| f.id == "primary").unwrap();
    assert_eq!(
        found.said(),
        "no node of this part of the cluster is primary"
    );
    assert!(found.next().unwrap().contains("other nodes"));
}

#[test]
fn a_failure_that_names_a_command_needs_no_other() {
    let refused = Node {
        operations: &[("start", 5)],
        reason: "run cls_repair_slave on node2: it has WAL up to 0/30C4F08",
        data: "DISCONNECT",
        transient: &[("fail-count-pgsql#start_0", "INFINITY")],
        ..STANDBY
    };
    let verdict = verdict(&[PRIMARY, refused], &Extra::default(), &row("node1", 4));
    let remedies: Vec<String> = verdict
        .findings
        .iter()
        .filter(|finding| ["started", "failures"].contains(&finding.id))
        .filter_map(|finding| finding.next())
        .collect();
    assert_eq!(remedies.len(), 2);
    assert!(
        remedies[0].starts_with("on node2: cls_repair_slave;"),
        "{remedies:?}"
    );
    assert!(!remedies[1].contains("cls_cleanup"), "{remedies:?}");
}

/// R7: who alone has everything may be barred by its own word, and only the primary ends that.
#[test]
fn a_promise_that_bars_the_only_holder_is_named_with_its_end() {
    let barred = || Node {
        transient: &[("master-pgsql", "-INFINITY")],
        ..STANDBY
    };
    let both = held_by(&["node1", "node2"], 0);
    let Reading::Row(held) = &both else {
        unreachable!()
    };
    let said_on = |here: &str, promised: Option<u64>| {
        let here: NodeName = here.parse().unwrap();
        let memory = crate::register::Memory {
            term: held.term,
            epoch: held.epoch,
            promised,
            ..crate::register::Memory::default()
        };
        let cluster = cluster(&[OFF, barred()], &Extra::default());
        let verdict = judge(&Observation {
            here: Some(&here),
            memory: Some(&memory),
            ..seen(&cluster, &two_nodes(), RegisterSeen::Read(&both))
        });
        let found = verdict.findings.into_iter().find(|f| f.id == "primary");
        let finding = found.unwrap();
        (finding.said(), finding.next().unwrap())
    };
    let (text, next) = said_on("node2", Some(held.epoch));
    assert!(
        text.contains("node2 has every acknowledged commit, and has promised node1"),
        "{text}"
    );
    assert!(
        next.starts_with("start node1: it ends the promise by itself"),
        "{next}"
    );
    assert!(next.contains("cls_recovery_master"), "{next}");
    // One of an epoch that has passed is void, and what another node has promised it says itself.
    for (here, promised) in [
        ("node2", None),
        ("node2", Some(held.epoch - 1)),
        ("node3", Some(held.epoch)),
    ] {
        let (text, next) = said_on(here, promised);
        assert!(!text.contains("promised"), "{text}");
        assert!(next.starts_with("cls_status on node2: "), "{next}");
    }
}

/// A single one of several that comes back has everything.
#[test]
fn all_of_several_have_to_be_lost_before_a_recovery() {
    let off = || Node {
        state: DOWN,
        ..STANDBY
    };
    let both = held_by(&["node1", "node2"], 0);
    let (_, next) = said(&[OFF, off()], &both);
    assert!(
        next.contains("start node1 or node2:") && next.contains("Only if all of these are lost"),
        "{next}"
    );
    let Reading::Row(row) = both else {
        unreachable!()
    };
    let released = |holders| {
        Reading::Row(Register {
            ttl: Duration::ZERO,
            holders,
            ..row.clone()
        })
    };
    let (_, next) = said(&[OFF, off()], &released(row.holders.clone()));
    assert!(next.contains("Only if all of them are lost"), "{next}");
    let one = BTreeSet::from(["node2".parse().unwrap()]);
    let (_, next) = said(&[OFF, off()], &released(one));
    assert!(next.contains("Only if it is lost for good"), "{next}");
}
