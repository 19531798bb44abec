#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::status::Role;

const SAMPLE: &str = include_str!("../samples/cib.xml");

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn pgsql() -> ResourceName {
    ResourceName::new("pgsql").unwrap()
}

/// One node with these operations of the resource.
fn with_operations(operations: &str) -> ResourceState {
    let text = format!(
        r#"<cib><configuration><nodes><node id="1" uname="node1"/></nodes></configuration><status>
        <node_state id="1" uname="node1" in_ccm="true" crmd="online" join="member"><lrm id="1"><lrm_resources>
        <lrm_resource id="pgsql" type="expgsql" class="ocf" provider="heartbeat">{operations}</lrm_resource>
        </lrm_resources></lrm></node_state></status></cib>"#
    );
    let cib = Cib::parse(&text).unwrap();
    cib.node(&node("node1"))
        .unwrap()
        .resource(&pgsql())
        .unwrap()
        .clone()
}

fn op(name: &str, call: i32, code: i32, interval: u32) -> String {
    let status = if code == 193 { -1 } else { 0 };
    format!(
        r#"<lrm_rsc_op id="x" operation="{name}" call-id="{call}" rc-code="{code}" op-status="{status}" interval="{interval}" exit-reason="because"/>"#
    )
}

/// Name, call, code and interval of an operation.
type Recorded = (&'static str, i32, i32, u32);

fn role(operations: &[Recorded]) -> Option<Role> {
    let text: String = operations
        .iter()
        .map(|(name, call, code, interval)| op(name, *call, *code, *interval))
        .collect();
    with_operations(&text).role
}

#[test]
fn a_cluster_is_read() {
    let cib = Cib::parse(SAMPLE).unwrap();
    assert!(cib.have_quorum);
    assert_eq!(cib.dc, Some(node("node1")));
    assert_eq!(cib.version, (0, 42, 17));
    let names: Vec<_> = cib.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node1", "node2", "node3"]);
    let online: Vec<_> = cib.nodes.iter().map(|node| node.online).collect();
    assert_eq!(online, [true, true, false]);
    let standby: Vec<_> = cib.nodes.iter().map(|node| node.standby).collect();
    assert_eq!(standby, [false, true, false]);
    assert_eq!(cib.repl_info(&pgsql()), Some("node1|1|00000000070000D0"));
    assert_eq!(cib.property("stonith-enabled"), Some("false"));
    assert_eq!(cib.property("no-such"), None);
    assert_eq!(cib.promoted(&pgsql()).collect::<Vec<_>>(), [&node("node1")]);
}

#[test]
fn lifetimes_of_attributes_are_told_apart() {
    let cib = Cib::parse(SAMPLE).unwrap();
    let second = cib.node(&node("node2")).unwrap();
    assert_eq!(
        second.permanent.get("pgsql-data-status").unwrap(),
        "STREAMING|SYNC"
    );
    assert_eq!(second.transient.get("pgsql-status").unwrap(), "HS:sync");
    assert_eq!(second.transient.get("master-pgsql").unwrap(), "100");
    assert!(!second.transient.contains_key("pgsql-data-status"));
    assert_eq!(
        second.attribute("pgsql-data-status"),
        Some("STREAMING|SYNC")
    );
}

#[test]
fn the_resources_configuration_is_read() {
    let cib = Cib::parse(SAMPLE).unwrap();
    let resource = cib.resource(&pgsql()).unwrap();
    assert_eq!(resource.agent, "ocf:heartbeat:expgsql");
    assert_eq!(resource.parameters.get("rep_mode").unwrap(), "sync");
    let container = resource.container.as_ref().unwrap();
    assert_eq!(container.id, "msPostgresql");
    assert!(container.is_promotable());
    let vip = cib
        .resource(&ResourceName::new("vip-master").unwrap())
        .unwrap();
    assert_eq!(vip.container, None);
    assert_eq!(vip.parameters.get("ip").unwrap(), "192.168.0.236");
}

#[test]
fn membership_is_a_word_or_a_time() {
    let online = |ccm: &str, crmd: &str, join: &str| {
        let text = format!(
            r#"<cib><status><node_state id="1" uname="node1" in_ccm="{ccm}" crmd="{crmd}" join="{join}"/></status></cib>"#
        );
        Cib::parse(&text).map(|cib| cib.nodes[0].online)
    };
    assert_eq!(online("true", "online", "member"), Ok(true));
    assert_eq!(online("1689000000", "1689000001", "member"), Ok(true));
    assert_eq!(online("0", "0", "down"), Ok(false));
    assert_eq!(online("1689000000", "0", "member"), Ok(false));
    assert_eq!(online("true", "online", "down"), Ok(false));
    assert!(online("perhaps", "online", "member").is_err());
}

#[test]
fn roles_follow_the_order_of_calls() {
    let promoted = [
        ("start", 10, 0, 0),
        ("monitor", 21, 8, 3000),
        ("promote", 20, 0, 0),
        ("monitor", 11, 0, 4000),
    ];
    assert_eq!(role(&promoted), Some(Role::Promoted));
    assert_eq!(role(&[("monitor", 5, 7, 0)]), Some(Role::Stopped));
    assert_eq!(
        role(&[("start", 6, 0, 0), ("stop", 9, 0, 0)]),
        Some(Role::Stopped)
    );
    assert_eq!(
        role(&[("promote", 6, 0, 0), ("demote", 7, 0, 0)]),
        Some(Role::Unpromoted)
    );
    assert_eq!(role(&[("monitor", 6, 191, 3000)]), Some(Role::Promoted));
    assert_eq!(role(&[("monitor", 6, 190, 4000)]), Some(Role::Unpromoted));
    assert_eq!(role(&[("monitor", 6, 9, 3000)]), Some(Role::Promoted));
    assert_eq!(
        role(&[("promote", 6, 0, 0), ("notify", 7, 0, 0)]),
        Some(Role::Promoted)
    );
    assert_eq!(role(&[]), None);
}

/// What Pacemaker 2.1.5's own `crm_mon` shows for the same histories, where nothing failed.
#[test]
fn roles_are_those_that_pacemaker_shows() {
    let shown: [(&[Recorded], Role); 12] = [
        (&[("monitor", 1, 7, 0)], Role::Stopped),
        (&[("monitor", 1, 0, 0)], Role::Unpromoted),
        (&[("monitor", 1, 8, 0)], Role::Promoted),
        (&[("monitor", 1, 5, 0)], Role::Stopped),
        (&[("start", 2, 0, 0)], Role::Unpromoted),
        (
            &[("start", 2, 0, 0), ("monitor", 3, 190, 4000)],
            Role::Unpromoted,
        ),
        (&[("promote", 4, 0, 0)], Role::Promoted),
        (
            &[("promote", 4, 0, 0), ("monitor", 5, 8, 3000)],
            Role::Promoted,
        ),
        (
            &[("promote", 4, 0, 0), ("monitor", 5, 191, 3000)],
            Role::Promoted,
        ),
        (&[("demote", 6, 0, 0)], Role::Unpromoted),
        (&[("stop", 7, 0, 0)], Role::Stopped),
        (&[("monitor", 5, 1, 3000), ("stop", 7, 0, 0)], Role::Stopped),
    ];
    for (operations, expected) in shown {
        assert_eq!(role(operations), Some(expected), "{operations:?}");
        let text: String = operations
            .iter()
            .map(|(name, call, code, interval)| op(name, *call, *code, *interval))
            .collect();
        assert_eq!(with_operations(&text).failure, None, "{operations:?}");
    }
}

#[test]
fn an_unexpected_result_is_a_failure() {
    let with_key = |code: i32, expected: &str| {
        let text = op("monitor", 5, code, 3000).replace(
            "call-id",
            &format!("transition-key=\"1:2:{expected}:u\" call-id"),
        );
        with_operations(&text).failure.is_some()
    };
    assert!(!with_key(8, "8") && !with_key(191, "8") && !with_key(190, "0"));
    assert!(with_key(0, "8") && with_key(8, "0") && with_key(7, "8") && with_key(9, "8"));
}

#[test]
fn failures_and_running_operations_are_said() {
    let failed = with_operations(&(op("promote", 4, 0, 0) + &op("monitor", 5, 1, 3000)));
    assert_eq!(failed.role, Some(Role::Promoted));
    let failure = failed.failure.unwrap();
    assert_eq!((failure.operation.as_str(), failure.code), ("monitor", 1));
    assert_eq!(failure.reason.as_deref(), Some("because"));
    assert!(with_operations(&op("monitor", 5, 7, 0)).failure.is_none());
    assert!(
        with_operations(&op("monitor", 5, 7, 3000))
            .failure
            .is_some()
    );
    assert!(
        with_operations(&op("monitor", 5, 9, 3000))
            .failure
            .is_some()
    );
    let pending = with_operations(&(op("start", 4, 0, 0) + &op("promote", -1, 193, 0)));
    assert_eq!(pending.role, Some(Role::Unpromoted));
    assert_eq!(pending.pending.unwrap().operation, "promote");
    assert_eq!(pending.last_operation.as_deref(), Some("start"));
    assert!(pending.failure.is_none());
    let monitored = with_operations(&(op("stop", 4, 0, 0) + &op("monitor", -1, 193, 3000)));
    assert!(monitored.pending.is_none());
    assert_eq!(monitored.role, Some(Role::Stopped));
}

#[test]
fn instances_with_a_number_are_the_same_resource() {
    let text = SAMPLE.replace("<lrm_resource id=\"pgsql\"", "<lrm_resource id=\"pgsql:1\"");
    let cib = Cib::parse(&text).unwrap();
    assert_eq!(cib.promoted(&pgsql()).count(), 1);
}

#[test]
fn unexpected_texts_are_refused() {
    for (text, said) in [
        ("", "no XML"),
        (
            "Could not connect to the CIB: Transport endpoint is not connected",
            "no XML",
        ),
        ("<crm_mon/>", "\"crm_mon\""),
        ("<!DOCTYPE cib [<!ENTITY a \"b\">]><cib>&a;</cib>", "no XML"),
        (r#"<cib have-quorum="perhaps"/>"#, "\"perhaps\""),
        (r#"<cib epoch="x"/>"#, "\"x\""),
        (r#"<cib dc-uuid="7"/>"#, "\"7\""),
        (
            r#"<cib><configuration><nodes><node id="1"/></nodes></configuration></cib>"#,
            "without uname",
        ),
        (
            r#"<cib><configuration><nodes><node id="1" uname="a b"/></nodes></configuration></cib>"#,
            "\"a b\"",
        ),
    ] {
        let error = Cib::parse(text).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    for attribute in ["call-id", "rc-code", "op-status"] {
        let text = SAMPLE.replacen(&format!("{attribute}=\""), &format!("{attribute}=\"x"), 1);
        assert!(Cib::parse(&text).is_err(), "{attribute}");
        let text = SAMPLE.replacen(&format!("{attribute}=\""), "other=\"", 1);
        assert!(Cib::parse(&text).is_err(), "{attribute}");
    }
}

#[test]
fn sets_with_rules_are_pacemakers_business_and_references_are_followed() {
    let text = r#"<cib><configuration><crm_config>
        <cluster_property_set id="a"><nvpair id="p" name="x" value="1"/></cluster_property_set>
        <cluster_property_set id="b"><rule id="r" score="1"/><nvpair id="q" name="y" value="2"/></cluster_property_set>
        <cluster_property_set id="c"><nvpair id-ref="p"/><nvpair id="z" name="gone"/></cluster_property_set>
        </crm_config></configuration></cib>"#;
    let cib = Cib::parse(text).unwrap();
    assert_eq!(cib.property("y"), None);
    assert_eq!(cib.property_in("c", "x"), Some("1"));
    assert_eq!(cib.property("gone"), None);
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Cib::parse(&text);
    }

    #[test]
    fn no_damaged_text_panics(at in 0..SAMPLE.len(), length in 0usize..40, with in "[ -~]{0,20}") {
        let end = (at + length).min(SAMPLE.len());
        if let (Some(before), Some(after)) = (SAMPLE.get(..at), SAMPLE.get(end..)) {
            let _ = Cib::parse(&format!("{before}{with}{after}"));
        }
    }
}

/// Seen on Pacemaker 2.1.5: the stop's entry is overwritten by the start that failed, the entry of
/// the monitor from before stays.
#[test]
fn a_failed_start_leaves_it_stopped_and_its_reason_stays_known() {
    let state = with_operations(&[op("monitor", 149, 0, 4000), op("start", 158, 5, 0)].concat());
    assert_eq!(state.role, Some(Role::Stopped));
    assert_eq!(state.failure, state.last_failure);
    let state = with_operations(
        &[
            op("monitor", 149, 0, 4000),
            op("start", 158, 5, 0),
            op("stop", 161, 0, 0),
        ]
        .concat(),
    );
    assert_eq!((state.role, &state.failure), (Some(Role::Stopped), &None));
    assert_eq!(
        state.last_failure.unwrap().reason.as_deref(),
        Some("because")
    );
}
