//! The addresses.

use super::*;

const ADDRESSES: &str = r#"<primitive id="vip-master" class="ocf" provider="heartbeat" type="IPaddr2"><instance_attributes id="w"><nvpair id="w1" name="ip" value="192.0.2.1"/></instance_attributes></primitive><primitive id="vip-slave" class="ocf" provider="heartbeat" type="IPaddr2"><instance_attributes id="r"><nvpair id="r1" name="ip" value="192.0.2.2"/></instance_attributes></primitive>"#;
const STOPPED: &str = r#"<primitive id="vip-master" class="ocf" provider="heartbeat" type="IPaddr2"><meta_attributes id="v"><nvpair id="v1" name="target-role" value="Stopped"/></meta_attributes></primitive>"#;

fn said(
    nodes: &[Node],
    resources: &'static str,
    meta: &'static str,
) -> Vec<(Level, String, String)> {
    placed(nodes, resources, meta, "")
}

/// What the rule says, with its level and what to type.
fn placed(
    nodes: &[Node],
    resources: &'static str,
    meta: &'static str,
    constraints: &'static str,
) -> Vec<(Level, String, String)> {
    let extra = Extra {
        resources,
        meta,
        constraints,
        ..Extra::default()
    };
    let verdict = judge(&Observation {
        writer_ip: Some("192.0.2.1"),
        ..seen(
            &cluster(nodes, &extra),
            &two_nodes(),
            RegisterSeen::NotConfigured,
        )
    });
    let ours = verdict
        .findings
        .into_iter()
        .filter(|f| ["address", "unmanaged"].contains(&f.id));
    ours.map(|f| (f.level, f.said(), f.next().unwrap_or_default()))
        .collect()
}

#[test]
fn an_address_on_no_node_is_found() {
    let both = Node {
        others: &["vip-master", "vip-slave"],
        ..PRIMARY
    };
    assert_eq!(said(&[both, STANDBY], ADDRESSES, ""), []);
    // One that is configured for something else is not ours to judge.
    assert_eq!(
        said(
            &[PRIMARY, STANDBY],
            r#"<primitive id="web" class="ocf" provider="heartbeat" type="Dummy"/>"#,
            ""
        ),
        []
    );

    let reader = Node {
        others: &["vip-slave"],
        ..STANDBY
    };
    let found = said(&[PRIMARY, reader], ADDRESSES, "");
    let [(Level::Critical, text, _)] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(text.contains("192.0.2.1 (vip-master)"), "{text}");

    // What ran on a node that is away does not run.
    let gone = Node {
        state: DOWN,
        others: &["vip-slave"],
        ..STANDBY
    };
    let writer = Node {
        others: &["vip-master"],
        ..PRIMARY
    };
    let found = said(&[writer, gone], ADDRESSES, "");
    let [(Level::Warning, text, _)] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(text.contains("192.0.2.2 (vip-slave)"), "{text}");
}

#[test]
fn an_address_that_a_command_has_left_stopped_is_started() {
    let found = said(&[PRIMARY, STANDBY], STOPPED, "");
    let [(_, _, remedy)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(remedy, "cls_start");
}

#[test]
fn an_address_that_failed_points_to_its_failure() {
    let failed = Node {
        transient: &[("fail-count-vip-master#start_0", "INFINITY")],
        others: &["vip-slave"],
        ..PRIMARY
    };
    let found = said(&[failed, STANDBY], ADDRESSES, "");
    let [(Level::Critical, _, remedy)] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(remedy.contains("why it has failed"), "{remedy}");
}

#[test]
fn without_a_primary_no_address_is_missed() {
    assert_eq!(said(&[STANDBY], ADDRESSES, ""), []);
    let stopped = r#"<nvpair id="x" name="target-role" value="Stopped"/>"#;
    assert_eq!(said(&[PRIMARY, STANDBY], ADDRESSES, stopped), []);
}

#[test]
fn an_address_that_alone_is_unmanaged_is_found() {
    const UNMANAGED: &str = r#"<primitive id="vip-master" class="ocf" provider="heartbeat" type="IPaddr2"><meta_attributes id="v"><nvpair id="v1" name="is-managed" value="false"/></meta_attributes></primitive>"#;
    const DATABASE: &str = r#"<nvpair id="x" name="is-managed" value="false"/>"#;
    let writer = || Node {
        others: &["vip-master"],
        ..PRIMARY
    };
    let found = said(&[writer(), STANDBY], UNMANAGED, "");
    let [(Level::Warning, text, next)] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(text.contains("does not manage vip-master"), "{text}");
    assert_eq!(next, "cls_manage");
    // With the database unmanaged too, that says it all.
    let found = said(&[writer(), STANDBY], UNMANAGED, DATABASE);
    let [(Level::Warning, text, _)] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(text.contains("does not manage the database"), "{text}");
}

/// The commonest screen of all: the standby is lost, and with it the readers' address.
#[test]
fn the_readers_address_waits_for_a_standby() {
    const BESIDE: &str = r#"<rsc_colocation id="c3" rsc="vip-slave" with-rsc="msPostgresql" with-rsc-role="Slave" score="INFINITY"/>"#;
    const AWAY: &str = r#"<rsc_colocation id="c3" rsc="vip-slave" with-rsc="msPostgresql" with-rsc-role="Promoted" score="-INFINITY"/>"#;
    const RATHER: &str = r#"<rsc_colocation id="c3" rsc="vip-slave" with-rsc="msPostgresql" with-rsc-role="Promoted" score="-100"/>"#;
    let writer = || Node {
        others: &["vip-master"],
        ..PRIMARY
    };
    let gone = || Node {
        state: DOWN,
        ..STANDBY
    };
    let alone = [writer(), gone()];
    for constraints in [BESIDE, AWAY] {
        let found = placed(&alone, ADDRESSES, "", constraints);
        let [(Level::Warning, text, next)] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(text.contains("no standby runs"), "{text}");
        assert!(next.starts_with("bring a standby back"), "{next}");
        assert!(next.contains("192.0.2.1"), "{next}");
    }
    // Where the primary's node will do, or a standby runs, Pacemaker ought to place it.
    let found = placed(&alone, ADDRESSES, "", RATHER);
    assert!(found[0].2.contains("Pacemaker moves it"), "{found:?}");
    let found = placed(&[writer(), STANDBY], ADDRESSES, "", BESIDE);
    assert!(found[0].2.contains("Pacemaker moves it"), "{found:?}");
    // What somebody has stopped waits for nothing else.
    const OFF: &str = r#"<primitive id="vip-slave" class="ocf" provider="heartbeat" type="IPaddr2"><meta_attributes id="v"><nvpair id="v1" name="target-role" value="Stopped"/></meta_attributes></primitive>"#;
    let found = placed(&alone, OFF, "", BESIDE);
    assert_eq!(found[0].2, "cls_start");
}
