use super::*;

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
        command: command.to_owned(),
        node: "node2".parse().unwrap(),
        runs,
    });
    let extra = Extra {
        constraints,
        ..Extra::default()
    };
    let verdict = judge(&Observation {
        cluster: &cluster(&[PRIMARY, STANDBY], &extra),
        nodes: &["node1".parse().unwrap(), "node2".parse().unwrap()],
        here: None,
        writer_ip: None,
        mode: Mode::Sync,
        register: RegisterSeen::NotConfigured,
        replication: None,
        commits: None,
        connections: None,
        kept: None,
        slots,
        memory: None,
        primary_hangs: false,
        unseen: None,
        operation: operation.as_ref(),
    });
    let findings = verdict.findings.into_iter();
    findings
        .map(|finding| {
            assert_eq!(finding.id, "left-over");
            (finding.text, finding.remedy.unwrap())
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
}

const MOVE: &str = r#"<rsc_location id="cli-prefer-msPostgresql" rsc="msPostgresql" role="Promoted"><rule id="r" score="INFINITY"/></rsc_location>"#;

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
            .map(|f| (f.text, f.remedy.unwrap()))
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
    const OURS: &str = r#"<rsc_location id="cli-ban-msPostgresql-on-node2" rsc="msPostgresql" node="node2" role="Promoted" score="-INFINITY"/>"#;
    assert_eq!(barred(OURS, &[PRIMARY, STANDBY]), []);
    assert_eq!(barred(NEVER, &[PRIMARY]), []);
}
