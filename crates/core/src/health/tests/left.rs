use super::*;
use crate::parse::standby_names::Waits;
use crate::postgres::{LinkId, LinkRow, Links, PrimaryView, Slot};
use crate::status::{SyncState, WalSenderState};

/// What is found of a noted operation, and of constraints.
fn found(operation: Option<(&str, bool)>, constraints: &'static str) -> Vec<(String, String)> {
    found_beside(operation, constraints, &[])
}

fn found_beside(
    operation: Option<(&str, bool)>,
    constraints: &'static str,
    slots: &[LeftSlot],
) -> Vec<(String, String)> {
    let operation = operation.map(|(command, runs)| Operation {
        command: Word::of(command),
        node: "node2".parse().unwrap(),
        runs,
    });
    let extra = Extra {
        constraints,
        ..Extra::default()
    };
    let verdict = judge(&Observation {
        slots,
        operation: operation.as_ref(),
        ..seen(
            &cluster(&[PRIMARY, STANDBY], &extra),
            &two_nodes(),
            RegisterSeen::NotConfigured,
        )
    });
    let findings = verdict.findings.into_iter();
    findings
        .map(|finding| {
            assert_eq!(finding.id, "left-over");
            (finding.said(), finding.next().unwrap())
        })
        .collect()
}

#[test]
fn the_slot_of_an_interrupted_copy_is_named_with_what_it_keeps() {
    let slot = |name: &str| LeftSlot {
        name: name.to_owned(),
        bytes: Some(16_777_216),
    };
    let left = [slot("pha4pgsql_copy_node2"), slot("pha4pgsql_copy_gone")];
    let said = found_beside(None, "", &left);
    assert!(said[0].0.contains("pha4pgsql_copy_node2"), "{said:?}");
    assert!(
        said[0].0.contains("keeps 16777216 bytes of WAL on node1"),
        "{said:?}"
    );
    assert!(
        said[0]
            .1
            .starts_with("on node2: cls_rebuild_slave --keep-old"),
        "{said:?}"
    );
    assert!(
        said[1]
            .1
            .starts_with("on node1, as the database account: psql -c"),
        "{said:?}"
    );
    // The command that runs takes it away itself.
    assert_eq!(
        found_beside(Some(("cls_rebuild_slave", true)), "", &left),
        []
    );
}

#[test]
fn a_restart_that_was_ended_is_gone_on_with() {
    let said = found(Some(("cls_setup", false)), "");
    assert_eq!(
        said[0].1,
        "cls_cleanup, then cls_setup --restart, which goes on with what is left of it"
    );
    assert_eq!(found(Some(("cls_setup", true)), ""), []);
    let said = found(Some(("cls_restart", false)), "");
    assert!(said[0].1.starts_with("cls_restart --pending,"), "{said:?}");
}

const MOVE: &str = r##"<rsc_location id="cli-prefer-msPostgresql" rsc="msPostgresql" role="Promoted"><rule id="r" score="INFINITY" boolean-op="and"><expression id="r1" attribute="#uname" operation="eq" value="node2"/><date_expression id="r2" operation="lt" end="2026-11-30 12:00:00Z"/></rule></rsc_location>"##;

#[test]
fn what_a_killed_command_has_left_is_named_with_what_mends_it() {
    assert_eq!(found(None, ""), []);
    let left = found(Some(("cls_online_switch", false)), MOVE);
    assert!(left[0].0.contains("cls_online_switch on node2 was ended"));
    assert!(left[1].0.contains("cli-prefer-msPostgresql"));
    assert_eq!((&*left[0].1, &*left[1].1), ("cls_cleanup", "cls_cleanup"));
    for (command, remedy) in [
        (
            "cls_rebuild_slave",
            "on node2: cls_rebuild_slave --keep-old",
        ),
        (
            "cls_repair_slave",
            "on node2: cls_repair_slave --or-rebuild",
        ),
    ] {
        assert_eq!(found(Some((command, false)), "")[0].1, remedy);
    }
}

#[test]
fn a_running_operation_is_none_of_it_and_other_constraints_are_the_administrators() {
    assert_eq!(found(Some(("cls_online_switch", true)), MOVE), []);
    let others = r#"<rsc_location id="cli-prefer-mail" rsc="mail" node="node1" score="INFINITY"/>
        <rsc_location id="cli-ban-msPostgresql-on-node3" rsc="msPostgresql" node="node3" score="-INFINITY"/>
        <rsc_location id="never-here" rsc="msPostgresql" node="node3" score="-INFINITY"/>
        <rsc_location id="cli-many" rsc-pattern="ms.*" node="node3" score="-INFINITY"/>"#;
    assert_eq!(found(None, others), []);
    assert_eq!(found(None, MOVE).len(), 1);
}

#[test]
fn a_constraint_that_leaves_no_successor_is_said_unless_a_command_has_left_it() {
    let barred = |constraints: &'static str, nodes: &[Node]| {
        let extra = Extra {
            constraints,
            ..Extra::default()
        };
        let verdict = verdict(nodes, &extra, &row("node1", 5));
        let findings = verdict.findings.into_iter();
        let found = findings.filter(|finding| finding.id == "barred");
        found
            .map(|f| (f.said(), f.next().unwrap()))
            .collect::<Vec<_>>()
    };
    const NEVER: &str = r#"<rsc_location id="never-here" rsc="msPostgresql" node="node2" role="Promoted" score="-INFINITY"/>"#;
    let said = barred(NEVER, &[PRIMARY, STANDBY]);
    let [(text, remedy)] = &said[..] else {
        panic!("{said:?}");
    };
    assert!(text.contains("never-here keeps node2"), "{text}");
    assert_eq!(
        remedy,
        r#"cibadmin --delete --xml-text='<rsc_location id="never-here"/>'"#
    );
    assert_eq!(barred(MOVE, &[PRIMARY, STANDBY]), []);
    const OURS: &str = r##"<rsc_location id="cli-ban-msPostgresql-on-node2" rsc="msPostgresql" role="Promoted"><rule id="r" score="-INFINITY" boolean-op="and"><expression id="r1" attribute="#uname" operation="eq" value="node2"/><date_expression id="r2" operation="lt" end="2026-11-30 12:00:00Z"/></rule></rsc_location>"##;
    assert_eq!(barred(OURS, &[PRIMARY, STANDBY]), []);
    assert_eq!(barred(NEVER, &[PRIMARY]), []);
}

/// A link in the report has the node whose it is, and how far it is behind.
#[test]
fn a_link_is_reported_with_its_node_and_how_far_it_is_behind() {
    let link = |name: &str, flushed: u64, replayed: Option<u64>| LinkRow {
        id: LinkId { pid: 1, began: 1 },
        name: name.to_owned(),
        address: Some("10.0.0.2".to_owned()),
        state: Some(WalSenderState::Streaming),
        sync: Some(SyncState::Sync),
        sent: None,
        flushed: Some(Lsn::new(flushed)),
        replayed: replayed.map(Lsn::new),
        lag: Some(Duration::from_millis(250)),
    };
    let view = cluster(&[PRIMARY, STANDBY], &Extra::default());
    let nodes = ["node1", "node2"].map(|name| name.parse().unwrap());
    let shown = |link: &LinkRow| ReplicationRow::of(link, Lsn::new(1000), &view, &nodes);
    let row = shown(&link("node2", 1000, Some(872)));
    assert_eq!(row.node, Some(nodes[1].clone()));
    assert_eq!(
        (row.flush_lag_bytes, row.replay_lag_bytes),
        (Some(0), Some(128))
    );
    assert_eq!(row.replay_lag_seconds, Some(0.25));
    assert_eq!(row.state, Some(WalSenderState::Streaming));
    // It has WAL that the primary does not have.
    assert_eq!(
        shown(&link("node2", 1016, Some(872))).flush_lag_bytes,
        Some(-16)
    );
    // A receiver that only stores WAL is nobody's standby, and neither is a stranger.
    assert_eq!(shown(&link("node2", 1000, None)).node, None);
    assert_eq!(shown(&link("node9", 1000, Some(872))).node, None);
}

#[test]
fn only_the_idle_slots_of_copies_are_left_over() {
    let slot = |name: &str, active| Slot {
        name: name.to_owned(),
        active,
        restart: Some(Lsn::new(600)),
    };
    let timeline = crate::timeline::TimelineId::FIRST;
    let primary = PrimaryView {
        timeline,
        history: crate::timeline::History::without_ancestors(timeline),
        complete: None,
        waits: Waits::ForNobody,
        links: Links {
            rows: vec![],
            flushed: Lsn::new(1000),
        },
        slots: vec![
            slot("mine", false),
            slot("pha4pgsql_copy_node2", false),
            slot("pha4pgsql_copy_node3", true),
        ],
    };
    let left = LeftSlot {
        name: "pha4pgsql_copy_node2".to_owned(),
        bytes: Some(400),
    };
    assert_eq!(LeftSlot::of(&primary), [left]);
}
