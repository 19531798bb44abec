#![allow(clippy::unwrap_used)]

use super::*;
use crate::dialect::FENCING;
use crate::parse::cib::Cib;
use crate::register::{Register, Trouble};

/// What a test varies: the clone's meta attributes, the clone's own properties, and of `node1` its
/// attributes in the configuration, its transient ones, and the operations of the database.
#[derive(Default, Clone, Copy)]
struct Given {
    meta: &'static str,
    properties: &'static str,
    node: &'static str,
    transient: &'static str,
    operations: &'static str,
    away: bool,
}

fn view(given: Given) -> Cluster {
    let state = match given.away {
        true => r#"in_ccm="false" crmd="offline" join="down""#,
        false => r#"in_ccm="true" crmd="online" join="member""#,
    };
    let Given {
        meta,
        properties,
        node,
        transient,
        operations,
        ..
    } = given;
    let cib = Cib::parse(&format!(
        r#"<cib have-quorum="1"><configuration><crm_config><cluster_property_set id="cib-bootstrap-options">{properties}</cluster_property_set></crm_config><nodes><node id="1" uname="node1"><instance_attributes id="n">{node}</instance_attributes></node></nodes><resources><clone id="ms"><meta_attributes id="m">{meta}</meta_attributes><primitive id="pgsql" class="ocf" provider="heartbeat" type="expgsql"/></clone><primitive id="web" class="ocf" provider="heartbeat" type="Dummy"/><group id="both"><primitive id="vip" class="ocf" provider="heartbeat" type="IPaddr2"><instance_attributes id="a"><nvpair id="a1" name="ip" value="192.0.2.1"/></instance_attributes></primitive></group></resources><constraints><rsc_colocation id="c1" rsc="both" with-rsc="ms"/><rsc_colocation id="c2" rsc="web" with-rsc="both"/><rsc_location id="cli-ban-ms" rsc="ms"><rule id="r" score="-INFINITY"><date_expression id="d" operation="lt" end="2026-11-30 12:00:00Z"/></rule></rsc_location><rsc_location id="cli-ban-ms-on-node1" rsc="ms"/><rsc_location id="cli-ban-web" rsc="web"/><rsc_location id="mine" rsc="ms"/></constraints></configuration><status><node_state id="1" uname="node1" {state}><lrm id="1"><lrm_resources><lrm_resource id="pgsql" type="expgsql" class="ocf" provider="heartbeat">{operations}</lrm_resource><lrm_resource id="vip" type="IPaddr2" class="ocf" provider="heartbeat"><lrm_rsc_op id="v" operation="start" call-id="1" rc-code="0" op-status="0" interval="0"/></lrm_resource></lrm_resources></lrm><transient_attributes id="1"><instance_attributes id="t">{transient}</instance_attributes></transient_attributes></node_state></status></cib>"#
    ));
    Cluster::of_cib(&cib.unwrap(), &"pgsql".parse().unwrap())
}

fn node1() -> NodeName {
    "node1".parse().unwrap()
}

const STARTED: &str =
    r#"<lrm_rsc_op id="o1" operation="start" call-id="1" rc-code="0" op-status="0" interval="0"/>"#;
const FAILED: &str = r#"<lrm_rsc_op id="o1" operation="start" call-id="1" rc-code="1" op-status="0" interval="0" exit-reason="because"/>"#;
const REFUSED: &str =
    r#"<lrm_rsc_op id="o1" operation="start" call-id="1" rc-code="5" op-status="0" interval="0"/>"#;
const STOPPING: &str = r#"<lrm_rsc_op id="o1" operation="start" call-id="1" rc-code="0" op-status="0" interval="0"/><lrm_rsc_op id="o2" operation="stop" call-id="2" rc-code="193" op-status="-1" interval="0"/>"#;

#[test]
fn what_is_placed_with_the_database_is_part_of_the_view() {
    let cluster = view(Given::default());
    assert_eq!(cluster.outer, "ms");
    assert_eq!(cluster.ours, ["ms", "both"]);
    let names: Vec<&str> = cluster.resources().map(ResourceName::as_str).collect();
    assert_eq!(names, ["pgsql", "vip"], "web is tied to another resource");
    assert_eq!(cluster.placed[0].address.as_deref(), Some("192.0.2.1"));
    assert_eq!(cluster.left, ["cli-ban-ms"]);
    let running = |cluster: &Cluster| {
        let running = cluster.running(&node1());
        running.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(running(&cluster), ["vip"]);
    assert!(cluster.runs(&"vip".parse().unwrap()));
    // What is recorded of a node that is away does not run.
    let away = view(Given {
        away: true,
        operations: STARTED,
        ..Given::default()
    });
    assert_eq!(running(&away), Vec::<String>::new());
    assert_eq!(away.node(&node1()).role(), Role::Stopped);
}

#[test]
fn why_the_database_does_not_run_has_one_answer() {
    let why = |given: Given| view(given).node(&node1()).why_stopped().to_string();
    let of = |operations| Given {
        operations,
        ..Given::default()
    };
    assert_eq!(why(Given::default()), "stopped");
    assert_eq!(why(of(FAILED)), "start failed with 1: because");
    assert_eq!(why(of(REFUSED)), "start failed with 5: no reason given");
    assert_eq!(why(of(STOPPING)), "stop is under way");
    let standby = Given {
        node: r#"<nvpair id="s" name="standby" value="on"/>"#,
        ..of(FAILED)
    };
    assert_eq!(why(standby), "out of service");
    let away = Given {
        away: true,
        ..standby
    };
    assert_eq!(why(away), "not in the cluster");
    let pending = view(of(STOPPING)).pending(&node1());
    assert_eq!(pending.as_deref(), Some("stop of pgsql"));
}

#[test]
fn a_node_is_given_up_at_the_threshold_or_by_a_hard_error() {
    const THREE: &str = r#"<nvpair id="m1" name="migration-threshold" value="3"/>"#;
    let given_up = |given: Given| view(given).is_given_up(&node1());
    let counted = |count, meta| Given {
        transient: count,
        meta,
        ..Given::default()
    };
    let two = r#"<nvpair id="f" name="fail-count-pgsql#monitor_3000" value="2"/>"#;
    let three = r#"<nvpair id="f" name="fail-count-pgsql#monitor_3000" value="3"/>"#;
    let many = r#"<nvpair id="f" name="fail-count-pgsql#start_0" value="INFINITY"/>"#;
    let other = r#"<nvpair id="f" name="fail-count-vip#start_0" value="INFINITY"/>"#;
    assert!(!given_up(counted(two, THREE)));
    assert!(given_up(counted(three, THREE)));
    assert!(!given_up(counted(three, "")), "no threshold, no end");
    assert!(given_up(counted(many, "")));
    assert!(!given_up(counted(other, "")));
    let of = |operations| Given {
        operations,
        ..Given::default()
    };
    assert!(!given_up(of(FAILED)));
    assert!(given_up(of(REFUSED)));
    assert!(!given_up(of(STARTED)));
    assert!(given_up(Given {
        away: true,
        ..of(STARTED)
    }));
}

#[test]
fn every_way_of_taking_the_database_out_of_control_is_seen() {
    let managed = |meta, properties| {
        let given = Given {
            meta,
            properties,
            ..Given::default()
        };
        let seen = view(given);
        (seen.managed, seen.maintenance)
    };
    assert_eq!(managed("", ""), (true, None));
    let off = r#"<nvpair id="m1" name="is-managed" value="no"/>"#;
    assert_eq!(managed(off, ""), (false, None));
    let maintenance = r#"<nvpair id="m1" name="maintenance" value="true"/>"#;
    let whole = r#"<nvpair id="p1" name="maintenance-mode" value="true"/>"#;
    for (meta, properties, why) in [
        (maintenance, "", Maintenance::Database),
        ("", whole, Maintenance::Cluster),
        (maintenance, whole, Maintenance::Cluster),
        (off, whole, Maintenance::Cluster),
    ] {
        assert_eq!(managed(meta, properties), (false, Some(why)));
    }
}

#[test]
fn a_text_that_no_agent_writes_counts_as_none() {
    let cluster = view(Given {
        transient: r#"<nvpair id="x" name="master-pgsql" value="much"/><nvpair id="y" name="pgsql-status" value="HS:sync"/>"#,
        node: r#"<nvpair id="d" name="pgsql-data-status" value="STREAMING|SYNC"/>"#,
        ..Given::default()
    });
    let node = cluster.node(&node1());
    assert!(!node.is_promotable() && node.score.is_none());
    assert_eq!(node.status, Some(PgsqlStatus::HsSync));
    assert!(node.streams() && node.is_synchronous());
    let [malformed] = &cluster.malformed[..] else {
        panic!("{:?}", cluster.malformed);
    };
    assert!(malformed.contains("node1") && malformed.contains("\"much\""));
}

#[test]
fn what_the_cluster_was_told_of_the_register_is_read_strictly() {
    let told = |set: &str, value: &str| {
        let cib = Cib::parse(&format!(
            r#"<cib have-quorum="1"><configuration><crm_config><cluster_property_set id="{set}"><nvpair id="x" name="pgsql_REGISTER" value="{value}"/></cluster_property_set></crm_config><nodes/><resources/><constraints/></configuration><status/></cib>"#
        ));
        let view = Cluster::of_cib(&cib.unwrap(), &"pgsql".parse().unwrap());
        (view.seen, view.malformed.len())
    };
    let seen = Some(Seen { term: 3, epoch: 7 });
    assert_eq!(told("pgsql_register", "3|7"), (seen, 0));
    assert_eq!(told("pgsql_register", ""), (None, 0));
    assert_eq!(told("pgsql_register", "never|mind"), (None, 1));
    assert_eq!(told("cib-bootstrap-options", "3|7"), (None, 0));
}

#[test]
fn what_an_administrator_forbids_is_read_from_the_constraint_or_from_its_rule() {
    let barred = |constraint: &str| {
        let cib = Cib::parse(&format!(
            r#"<cib have-quorum="1"><configuration><crm_config/><nodes><node id="1" uname="node1"/></nodes><resources><clone id="ms"><primitive id="pgsql" class="ocf" provider="heartbeat" type="expgsql"/></clone></resources><constraints>{constraint}</constraints></configuration><status/></cib>"#
        ));
        let cluster = Cluster::of_cib(&cib.unwrap(), &"pgsql".parse().unwrap());
        cluster.node(&node1()).barred
    };
    let rule = |of: &str, op: &str, asked: &str| {
        barred(&format!(
            r#"<rsc_location id="l" rsc="ms" {of}><rule id="r" score="-INFINITY" {op}>{asked}</rule></rsc_location>"#
        ))
    };
    const NODE1: &str = r##"<expression id="e" attribute="#uname" operation="eq" value="node1"/>"##;
    const NODE2: &str = r##"<expression id="f" attribute="#uname" operation="eq" value="node2"/>"##;
    const DATE: &str = r#"<date_expression id="d" operation="lt" end="2030-01-01"/>"#;
    let yes = Some("l".to_owned());
    for (role, expected) in [
        ("", &yes),
        (r#"role="Promoted""#, &yes),
        (r#"role="Master""#, &yes),
        (r#"role="Started""#, &yes),
        (r#"role="Slave""#, &None),
    ] {
        for resource in ["ms", "pgsql"] {
            let constraint = format!(
                r#"<rsc_location id="l" rsc="{resource}" node="node1" score="-INFINITY" {role}/>"#
            );
            assert_eq!(barred(&constraint), *expected, "{constraint}");
        }
        assert_eq!(rule(role, "", NODE1), *expected, "{role}");
        assert_eq!(rule("", role, NODE1), *expected, "{role}");
    }
    assert_eq!(
        rule("", r#"boolean-op="or""#, &(NODE2.to_owned() + NODE1)),
        yes
    );
    for nothing in [
        rule("", "", NODE2),
        rule("", "", &(NODE1.to_owned() + DATE)),
        rule("", r#"boolean-op="or""#, &(NODE1.to_owned() + DATE)),
        rule("", "", ""),
        barred(r#"<rsc_location id="l" rsc="ms" node="node2" score="-INFINITY"/>"#),
        barred(r#"<rsc_location id="l" rsc="ms" node="node1" score="-100"/>"#),
        barred(r#"<rsc_location id="l" rsc="web" node="node1" score="-INFINITY"/>"#),
    ] {
        assert_eq!(nothing, None);
    }
}

#[test]
fn a_primary_without_quorum_ends_unless_pacemaker_leaves_it_alone() {
    let property =
        |name: &str, value: &str| format!(r#"<nvpair id="{name}" name="{name}" value="{value}"/>"#);
    let what = |properties: String| {
        let properties = Box::leak(properties.into_boxed_str());
        view(Given {
            properties,
            ..Given::default()
        })
        .without_quorum
    };
    let policy = |value: &str| property("no-quorum-policy", value);
    assert_eq!(what(String::new()), WithoutQuorum::Ends, "the default");
    for value in ["stop", "demote", "suicide", "fence"] {
        assert_eq!(what(policy(value)), WithoutQuorum::Ends, "{value}");
    }
    // Pacemaker reads it in any case.
    for value in ["ignore", "Ignore"] {
        assert_eq!(what(policy(value)), WithoutQuorum::GoesOn, "{value}");
    }
    for fencing in FENCING {
        for (value, becomes) in [
            ("false", WithoutQuorum::GoesOn),
            ("true", WithoutQuorum::Fenced),
        ] {
            let set = policy("freeze") + &property(fencing, value);
            assert_eq!(what(set), becomes, "{fencing}={value}");
        }
    }
    assert_eq!(what(policy("freeze")), WithoutQuorum::Fenced, "the default");
}

/// Whether the primary could be lost, as every command asks that waits for it.
#[test]
fn a_standby_covers_the_primary_when_it_holds_every_commit_and_may_be_promoted() {
    type Change = fn(&mut ClusterNode);
    let row = |term: u64, holders: &[&str]| {
        Reading::Row(Register {
            owner: Some("node2".parse().unwrap()),
            term,
            epoch: term,
            holders: holders.iter().map(|node| node.parse().unwrap()).collect(),
            ..Register::fresh()
        })
    };
    let held = row(3, &["node1", "node2"]);
    let unknown = Reading::Unknown(Trouble::Unreachable("refused".to_owned()));
    let cases: Vec<(Change, Option<Reading>, Cover)> = vec![
        (|_| {}, Some(held.clone()), Cover::Ready),
        (|_| {}, None, Cover::Ready),
        (|_| {}, Some(row(3, &["node2"])), Cover::NotYet),
        (|n| n.score = Some(Score::MayNot), None, Cover::NotYet),
        (|n| n.online = false, None, Cover::NotYet),
        (
            |n| n.data_status = "STREAMING|ASYNC".parse().ok(),
            None,
            Cover::NotYet,
        ),
        (
            |n| {
                n.score = Some(Score::MayNot);
                n.unfit = "max_connections is 10".parse().ok();
            },
            Some(held),
            Cover::Unfit,
        ),
        (
            |_| {},
            Some(unknown.clone()),
            Cover::Unknown(unknown.row().unwrap_err()),
        ),
    ];
    for (change, register, expected) in cases {
        let mut cluster = view(Given {
            operations: STARTED,
            ..Given::default()
        });
        let node = cluster.nodes.get_mut(&node1()).unwrap();
        node.data_status = "STREAMING|SYNC".parse().ok();
        node.score = Some(Score::MayPromote);
        change(node);
        let found = cluster.cover(Mode::Sync, register.as_ref());
        assert_eq!(found, expected, "{register:?}");
        assert_eq!(cluster.cover(Mode::Async, register.as_ref()), Cover::Ready);
        assert_eq!(
            cluster.can_be_taken_over(),
            cluster.node(&node1()).may_take_over()
        );
        // One that was put back says nothing of holders.
        cluster.seen = Some(Seen { term: 9, epoch: 9 });
        let older = cluster.cover(Mode::Sync, Some(&row(3, &["node1", "node2"])));
        assert!(matches!(older, Cover::Unknown(_)), "{older:?}");
    }
}
