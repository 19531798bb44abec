#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

pub(super) fn design() -> Design {
    let parameters = [
        ("pgdata", "/data/postgresql/data"),
        ("rep_mode", "sync"),
        ("node_list", "node1 node2"),
        ("master_ip", "192.168.0.236"),
        ("distlock_conninfo", "host=node3 port=5439"),
        ("distlock_lockname", "a\"b<c>&d"),
    ];
    Design {
        clone: "msPostgresql".to_owned(),
        writer: "vip-master".to_owned(),
        reader: "vip-slave".to_owned(),
        writer_ip: "192.168.0.236".to_owned(),
        reader_ip: Some("192.168.0.237".to_owned()),
        reader_on_primary: false,
        nic: Some("eth0".to_owned()),
        netmask: Some(24),
        parameters: parameters
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        quorum: false,
    }
}

const NEW: &str = r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="4" num_updates="7" admin_epoch="0"><configuration><crm_config><cluster_property_set id="cib-bootstrap-options"><nvpair id="o-dc" name="dc-version" value="2.1.5"/></cluster_property_set><cluster_property_set id="pgsql_replication"><nvpair id="pgsql_replication-pgsql_REPL_INFO" name="pgsql_REPL_INFO" value="node1|1|00000000070000D0"/></cluster_property_set></crm_config><nodes><node id="1" uname="node1"/></nodes><resources/><constraints/></configuration><status><node_state id="1" uname="node1"/></status></cib>"#;

fn make(cib: &str, design: &Design) -> SetupPlan {
    SetupPlan::make(cib, design).unwrap()
}

/// The CIB after the plan was carried out.
fn done(cib: &str, plan: &SetupPlan) -> String {
    let mut root = Element::parse(cib).unwrap();
    root.children = plan.after.children.clone();
    root.to_xml()
}

fn lines(plan: &SetupPlan) -> Vec<String> {
    plan.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_new_cluster_gets_everything_and_a_second_run_nothing() {
    let plan = make(NEW, &design());
    assert_eq!(plan.database, "pgsql");
    assert!(plan.kept.is_empty());
    insta::assert_snapshot!(plan.after.to_xml());
    let again = make(&done(NEW, &plan), &design());
    assert_eq!(lines(&again), Vec::<String>::new());
    assert_eq!(again.before, again.after);
    assert_eq!(plan.parameters(), design().parameters);
}

#[test]
fn the_plan_is_readable() {
    let plan = make(NEW, &design());
    insta::assert_snapshot!(lines(&plan).join("\n"));
}

#[test]
fn the_old_words_are_used_where_the_new_ones_are_not_known() {
    for (features, schema, words, fencing) in [
        ("3.6.1", "pacemaker-3.5", "Master", "stonith-enabled"),
        ("3.16.1", "pacemaker-3.5", "Master", "stonith-enabled"),
        ("3.20.5", "pacemaker-4.0", "Promoted", "fencing-enabled"),
    ] {
        let cib = NEW
            .replace("3.16.1", features)
            .replace("pacemaker-3.9", schema);
        let plan = make(&cib, &design());
        let xml = plan.after.to_xml();
        assert!(xml.contains(&format!("with-rsc-role=\"{words}\"")), "{xml}");
        assert!(xml.contains(&format!("role=\"{words}\"")));
        assert!(xml.contains(&format!("name=\"{fencing}\" value=\"false\"")));
    }
    let old = NEW.replace("pacemaker-3.9", "pacemaker-2.10");
    assert!(matches!(
        SetupPlan::make(&old, &design()),
        Err(SetupError::Schema(_))
    ));
}

#[test]
fn among_three_nodes_the_readers_address_prefers_a_synchronous_standby() {
    let mut three = design();
    three.quorum = true;
    for on_primary in [false, true] {
        three.reader_on_primary = on_primary;
        for before in [NEW, ADOPTED] {
            let plan = make(before, &three);
            let xml = plan.after.to_xml();
            let rule = format!("attribute=\"{}-status\"", plan.database);
            assert!(
                xml.contains(&rule) && xml.contains("-prefers-sync"),
                "{xml}"
            );
            // Without this attribute the rule lifts a standby above the primary.
            let tags = xml.split("<rsc_colocation").skip(1);
            let tags = tags.filter_map(|rest| rest.split('>').next());
            for tag in tags.filter(|tag| tag.contains("rsc=\"vip-slave\"")) {
                assert!(tag.contains("influence=\"false\""), "{tag}");
            }
            assert!(make(&done(before, &plan), &three).is_done());
            // A node less, and nothing is left of it but what does no harm.
            let two = make(&done(before, &plan), &design()).after.to_xml();
            assert!(!two.contains("-prefers-sync"), "{two}");
        }
    }
    let old = NEW.replace("pacemaker-3.9", "pacemaker-3.5");
    assert!(!make(&old, &three).after.to_xml().contains("influence"));
}

/// Identifiers as pcs makes them, the words of Pacemaker 1.1, the external lock command, a rule
/// that does harm, an operator's timeout.
const ADOPTED: &str = r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9"><configuration><crm_config><cluster_property_set id="x"><nvpair id="x-1" name="no-quorum-policy" value="ignore"/><nvpair id="x-2" name="stonith-enabled" value="true"/></cluster_property_set></crm_config><nodes/><resources>
<master id="msPostgresql"><primitive class="ocf" id="pg" provider="heartbeat" type="expgsql"><instance_attributes id="pg-instance_attributes"><nvpair id="a1" name="pgdata" value="/old"/><nvpair id="a2" name="distlock_lock_cmd" value="/opt/distlock secret"/><nvpair id="a3" name="pgport" value="5433"/></instance_attributes><operations><op id="s" name="start" interval="0s" timeout="300s"/><op id="m" name="monitor" interval="4s"/><op id="m2" name="monitor" interval="3s" role="Master"/></operations></primitive><meta_attributes id="mm"><nvpair id="mm1" name="master-max" value="1"/><nvpair id="mm2" name="target-role" value="Master"/></meta_attributes></master>
</resources><constraints><rsc_colocation id="c1" rsc="vip-master" with-rsc="msPostgresql" with-rsc-role="Master" score="INFINITY"/><rsc_location id="l1" rsc="vip-slave"><rule id="r" score="1000"><expression id="e" attribute="pgsql-status" operation="eq" value="HS:sync"/></rule></rsc_location><rsc_location id="l2" rsc="vip-slave" node="node1" score="5"/></constraints></configuration></cib>"#;

#[test]
fn a_cluster_of_the_predecessor_is_adopted() {
    let plan = make(ADOPTED, &design());
    assert_eq!(plan.database, "pg");
    let text = lines(&plan).join("\n");
    for part in [
        "~ pg pgdata: \"/old\" -> \"/data/postgresql/data\"",
        "- pg distlock_lock_cmd (was ***)",
        "- l1 (",
        "+ msPostgresql notify",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    for part in [
        "c1",
        "secret",
        "stonith",
        "l2",
        "target-role",
        "promotable",
        "monitor",
    ] {
        let about_pg = text.lines().filter(|line| !line.contains("vip-"));
        assert!(
            !about_pg.clone().any(|line| line.contains(part)),
            "{part} in\n{text}"
        );
    }
    assert_eq!(plan.kept.len(), 1, "{:?}", plan.kept);
    assert!(plan.kept[0].to_string().contains("pgport"));
    assert!(plan.after.to_xml().contains("timeout=\"300s\""));
    assert!(make(&done(ADOPTED, &plan), &design()).is_done());
}

#[test]
fn what_is_not_in_config_ini_any_more_goes_away_again() {
    let mut more = design();
    more.parameters
        .insert("start_opt".to_owned(), "-p 5433".to_owned());
    let cib = done(NEW, &make(NEW, &more));
    assert_eq!(
        lines(&make(&cib, &design())),
        ["- pgsql start_opt (was \"-p 5433\")  (not in config.ini any more)"]
    );
    let mut fewer = design();
    fewer.reader_ip = None;
    let cib = done(NEW, &make(NEW, &design()));
    let plan = make(&cib, &fewer);
    assert!(
        plan.changes
            .iter()
            .all(|change| change.kind == Kind::Remove)
    );
    assert!(!plan.after.to_xml().contains("vip-slave"));
    let cib = done(&cib, &plan);
    assert!(make(&cib, &fewer).is_done());
}

#[test]
fn the_reader_may_be_told_to_move_to_the_primary_and_back() {
    let there = done(NEW, &make(NEW, &design()));
    let mut moving = design();
    moving.reader_on_primary = true;
    let plan = make(&there, &moving);
    assert_eq!(plan.changes.len(), 3, "{:?}", lines(&plan));
    let moved = done(&there, &plan);
    assert!(make(&moved, &moving).is_done());
    let back = make(&moved, &design());
    assert_eq!(back.changes.len(), 3, "{:?}", lines(&back));
    assert!(make(&done(&moved, &back), &design()).is_done());
}

#[test]
fn three_nodes_stop_without_quorum() {
    let mut three = design();
    three.quorum = true;
    let plan = make(ADOPTED, &three);
    assert!(lines(&plan)[0].contains("\"ignore\" -> \"stop\""));
    let frozen = ADOPTED.replace("value=\"ignore\"", "value=\"freeze\"");
    assert!(
        !lines(&make(&frozen, &three))
            .join("\n")
            .contains("no-quorum")
    );
}

#[test]
fn names_that_are_taken_are_errors() {
    for (from, to) in [
        ("msPostgresql", "vip-master"),
        ("type=\"expgsql\"", "type=\"mysql\""),
    ] {
        let cib = ADOPTED.replace(from, to);
        let error = SetupPlan::make(&cib, &design()).unwrap_err();
        assert!(matches!(error, SetupError::Taken { .. }), "{error}");
    }
    let cib = ADOPTED
        .replace("id=\"msPostgresql\"", "id=\"other\"")
        .replace("/old", "/data/postgresql/data");
    let error = SetupPlan::make(&cib, &design()).unwrap_err().to_string();
    assert!(error.contains("other already"), "{error}");
    assert!(SetupPlan::make("<x/>", &design()).is_err());
    assert!(SetupPlan::make("x", &design()).is_err());
}

#[test]
fn removing_leaves_the_options_and_what_is_not_ours() {
    let other = r#"<resources><primitive id="web" class="ocf" provider="heartbeat" type="apache"/></resources>"#;
    let with_other = NEW.replace("<resources/>", other);
    let there = done(&with_other, &make(&with_other, &design()));
    let plan = SetupPlan::remove(&there, &design()).unwrap();
    assert_eq!(plan.changes.len(), 9, "{:?}", lines(&plan));
    let gone = done(&there, &plan);
    for part in ["msPostgresql", "vip-"] {
        assert!(!gone.contains(part), "{gone}");
    }
    for part in ["web", "pgsql_REPL_INFO", "no-quorum-policy"] {
        assert!(gone.contains(part), "{gone}");
    }
    let again = SetupPlan::remove(&gone, &design()).unwrap();
    assert!(again.is_done());
    assert!(make(&gone, &design()).makes_database());
    assert!(!make(&there, &design()).makes_database());
}
