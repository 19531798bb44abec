//! The commands that change something, against shims that change the recorded information base as
//! Pacemaker's tools would.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{Node, PRIMARY, STANDBY, Shims, TWO, cib};

const SYNC: &[(&str, &str)] = &[
    ("node_list", "node1 node2"),
    ("pgdata", "/nowhere"),
    ("rep_mode", "sync"),
];

fn stopped(node: Node<'static>) -> Node<'static> {
    Node {
        last: ("stop", 0),
        ..node
    }
}

/// A cluster whose tools do nothing at all.
fn idle(nodes: &[Node<'_>], parameters: &[(&str, &str)], meta: &[(&str, &str)]) -> Shims {
    let shims = Shims::cluster(&cib(nodes, parameters, meta));
    shims.tool("crm_resource", "exit 0");
    shims.tool("crm_attribute", "exit 0");
    shims
}

/// One whose information base becomes another when that tool is called.
fn changing(tool: &str, before: &str, after: &str) -> Shims {
    let shims = Shims::cluster(before);
    shims.tool("crm_resource", "exit 0");
    shims.tool("crm_attribute", "exit 0");
    shims.write("after.xml", after);
    shims.tool(tool, "cp \"$here/after.xml\" \"$here/cib.xml\"");
    shims
}

/// A cluster that runs, and is stopped by the first change.
fn stopping() -> Shims {
    let up = cib(&[PRIMARY, STANDBY], TWO, &[]);
    let down = cib(
        &[stopped(PRIMARY), stopped(STANDBY)],
        TWO,
        &[("target-role", "Stopped")],
    );
    changing("crm_resource", &up, &down)
}

#[test]
fn stop_and_start_name_every_resource_and_wait() {
    let shims = stopping();
    let run = shims.cls(&["stop"]);
    assert_eq!(run.code, 0, "{run:?}");
    let calls = shims.calls();
    for resource in ["msPostgresql", "vip-master"] {
        let call = format!(
            "crm_resource --resource={resource} --meta --set-parameter=target-role --parameter-value=Stopped"
        );
        assert!(calls.contains(&call), "{calls:?}");
    }

    let shims = idle(&[PRIMARY, STANDBY], TWO, &[]);
    let run = shims.cls(&["stop", "--timeout", "3"]);
    assert_eq!(run.code, 11, "{run:?}");
    assert!(run.err.contains("pgsql on node1"), "{run:?}");
}

/// A node that is cut off takes changes for seconds before its information base says that there is
/// no quorum, and the other part's configuration holds when they meet again.
#[test]
fn a_change_without_quorum_is_no_success() {
    let shims = stopping();
    shims.quorum(false);
    let run = shims.cls(&["stop"]);
    assert_eq!(run.code, 102, "{run:?}");
    assert!(run.err.contains("may undo it"), "{run:?}");
    assert!(run.err.contains("type the command again"), "{run:?}");

    // What is seen is a node that runs, since it has never been stopped in this part.
    let shims = idle(&[PRIMARY, STANDBY], TWO, &[]);
    shims.quorum(false);
    let run = shims.cls(&["unstandby_node", "node2"]);
    assert_eq!(run.code, 102, "{run:?}");
}

#[test]
fn start_says_what_is_missing() {
    // Nothing starts.
    let nodes = [stopped(PRIMARY), stopped(STANDBY)];
    let run = idle(&nodes, TWO, &[]).cls(&["start", "--timeout", "3"]);
    assert_eq!(run.code, 11, "{run:?}");
    // The primary does, and Pacemaker has given the standby up: no need to wait.
    let failed = Node {
        last: ("start", 1),
        transient: &[("fail-count-pgsql#start_0", "INFINITY")],
        ..STANDBY
    };
    let run = idle(&[PRIMARY, failed], TWO, &[]).cls(&["start"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("it is broken"), "{run:?}");
}

/// What Pacemaker has given up, and has nothing more to do about, is not waited for.
#[test]
fn start_does_not_wait_for_what_can_no_more_come_about() {
    let broken = |node| Node {
        last: ("start", 1),
        transient: &[("fail-count-pgsql#start_0", "INFINITY")],
        ..node
    };
    let nodes = [broken(PRIMARY), broken(STANDBY)];
    let run = idle(&nodes, TWO, &[]).cls(&["start"]);
    assert_eq!(run.code, 1, "{run:?}");
    let said = "no node can start the database: node1: start failed with 1: it is broken, node2: ";
    assert!(run.err.contains(said), "{run:?}");
    assert!(run.err.contains("then cls_cleanup"), "{run:?}");
    // As long as Pacemaker is at work something may still come.
    let shims = idle(&nodes, TWO, &[]);
    shims.tool("crm_resource", "case $1 in --wait) exit 124 ;; esac");
    let run = shims.cls(&["start", "--timeout", "3"]);
    assert_eq!(run.code, 11, "{run:?}");

    // The primary runs, and its address does not: the standby cannot stream, and nobody can write.
    let behind = Node {
        data_status: "DISCONNECT",
        ..STANDBY
    };
    let there = r#"id="v" operation="start" call-id="6" rc-code="0""#;
    let dead = r#"id="v" operation="start" call-id="6" rc-code="6" exit-reason="no such nic""#;
    let xml = cib(&[PRIMARY, behind], TWO, &[]).replace(there, dead);
    let shims = Shims::cluster(&xml);
    shims.tool("crm_resource", "exit 0");
    let run = shims.cls(&["start"]);
    assert_eq!(run.code, 1, "{run:?}");
    let said = "on no node: on node1 start failed with 6: no such nic";
    assert!(run.err.contains(said), "{run:?}");
}

#[test]
fn a_primary_without_a_successor_is_not_taken_out_of_service() {
    let alone = Node {
        transient: &[("master-pgsql", "-INFINITY")],
        ..STANDBY
    };
    let shims = idle(&[PRIMARY, alone], TWO, &[]);
    let run = shims.cls(&["standby_node", "node1"]);
    assert_eq!(run.code, 10, "{run:?}");
    let changed = shims
        .calls()
        .iter()
        .any(|call| call.starts_with("crm_attribute"));
    assert!(!changed, "refused, and changed something all the same");
    let run = shims.cls(&["standby_node", "node7"]);
    assert_eq!(run.code, 100, "{run:?}");
    assert!(run.err.contains("node1, node2"), "{run:?}");
}

#[test]
fn without_quorum_nothing_is_changed() {
    let xml = cib(&[PRIMARY, STANDBY], SYNC, &[]).replace("have-quorum=\"1\"", "have-quorum=\"0\"");
    let shims = Shims::cluster(&xml);
    for words in [
        &["start"][..],
        &["stop"],
        &["cleanup"],
        &["unmanage"],
        &["manage"],
        &["standby_node", "node2"],
        &["unstandby_node", "node2"],
        &["online_switch"],
        &["repair_slave"],
        &["rebuild_slave"],
        &["recovery_master"],
    ] {
        let run = shims.cls(words);
        assert_eq!(run.code, 102, "{words:?} {run:?}");
    }
    let read_only = |call: &String| call.starts_with("cibadmin") || call.starts_with("crm_node");
    assert!(shims.calls().iter().all(read_only), "{:?}", shims.calls());
}

#[test]
fn a_switch_is_refused_with_the_reason() {
    for (name, nodes, meta, reason) in [
        (
            "no synchronous standby",
            [
                PRIMARY,
                Node {
                    data_status: "STREAMING|ASYNC",
                    ..STANDBY
                },
            ],
            &[][..],
            "node2 is no synchronous standby",
        ),
        (
            "standby away",
            [
                PRIMARY,
                Node {
                    online: false,
                    ..STANDBY
                },
            ],
            &[],
            "node2 is not in service",
        ),
        (
            "at work",
            [
                PRIMARY,
                Node {
                    last: ("monitor", 193),
                    ..STANDBY
                },
            ],
            &[],
            "under way",
        ),
        (
            "unmanaged",
            [PRIMARY, STANDBY],
            &[("is-managed", "false")],
            "cls_manage",
        ),
    ] {
        let shims = idle(&nodes, SYNC, meta);
        let run = shims.cls(&["online_switch", "--force"]);
        assert_eq!(run.code, 10, "{name}: {run:?}");
        assert!(run.err.contains(reason), "{name}: {run:?}");
        let moved = shims.calls().iter().any(|call| call.contains("--move"));
        assert!(!moved, "{name}");
    }
    let run = idle(&[PRIMARY, STANDBY], SYNC, &[]).cls(&["online_switch", "--to", "node1"]);
    assert_eq!(run.code, 0, "{run:?}");
}

/// How the constraint of a switch is taken away, and no other.
const TAKEN_AWAY: &str = "cibadmin --delete --xpath=//rsc_location[@id='cli-prefer-msPostgresql']";

/// Whatever becomes of a switch, no constraint stays.
#[test]
fn a_switch_that_does_not_come_about_leaves_nothing_behind() {
    let shims = idle(&[PRIMARY, STANDBY], SYNC, &[]);
    let run = shims.cls(&["online_switch", "--force", "--timeout", "1"]);
    assert_eq!(run.code, 11, "{run:?}");
    let calls = shims.calls();
    let moved = calls.iter().position(|call| {
        call.contains("--move") && call.contains("--node=node2") && call.contains("--lifetime=PT1S")
    });
    let cleared = calls.iter().position(|call| call == TAKEN_AWAY);
    assert!(moved.is_some() && moved < cleared, "{calls:?}");
    let back = calls
        .iter()
        .position(|call| call.contains("--move") && call.contains("--node=node1"));
    assert!(moved < back && back < cleared, "{calls:?}");
    assert!(run.err.contains("node1 is the primary"), "{run:?}");
}

#[test]
fn cleanup_waits_until_the_counts_are_gone() {
    let failed = Node {
        transient: &[
            ("fail-count-pgsql#monitor_4000", "2"),
            ("master-pgsql", "100"),
        ],
        ..STANDBY
    };
    let before = cib(&[PRIMARY, failed], TWO, &[]);
    let after = cib(&[PRIMARY, STANDBY], TWO, &[]);
    let shims = changing("crm_resource", &before, &after);
    let run = shims.cls(&["cleanup", "--node", "node2", "--json"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.json()["result"], "done");
    pha_tests::schema::follows_the_schema(&run.json(), "done");
    let call = "crm_resource --resource=msPostgresql --cleanup --node=node2".to_owned();
    assert!(shims.calls().contains(&call), "{:?}", shims.calls());

    let shims = Shims::cluster(&before);
    shims.tool("crm_resource", "exit 0");
    let run = shims.cls(&["cleanup", "--timeout", "3"]);
    assert_eq!(run.code, 11, "{run:?}");
    assert!(run.err.contains("fail count 2"), "{run:?}");
}

/// With a failure Pacemaker forgets the role as well, until it looks again.
#[test]
fn cleanup_waits_until_pacemaker_has_looked_at_the_database_again() {
    let failed = Node {
        transient: &[
            ("fail-count-pgsql#monitor_4000", "2"),
            ("master-pgsql", "1000"),
        ],
        ..PRIMARY
    };
    let before = cib(&[failed, STANDBY], TWO, &[]);
    let after = cib(&[PRIMARY, STANDBY], TWO, &[]);
    let begin = after.find("<lrm_resource id=\"pgsql\"").unwrap();
    let end = begin + after[begin..].find("</lrm_resource>").unwrap();
    let (history, unprobed) = after.split_at(end);
    let unprobed = history[..begin].to_owned() + &unprobed["</lrm_resource>".len()..];
    let run = changing("crm_resource", &before, &unprobed).cls(&["cleanup", "--timeout", "1"]);
    assert_eq!(run.code, 11, "{run:?}");
    assert!(run.err.contains("has not looked at node1 again"), "{run:?}");
    // Another node's is not waited for.
    let shims = changing("crm_resource", &before, &unprobed);
    let run = shims.cls(&["cleanup", "--node", "node2", "--timeout", "5"]);
    assert_eq!(run.code, 0, "{run:?}");
    let run = changing("crm_resource", &before, &after).cls(&["cleanup"]);
    assert_eq!(run.code, 0, "{run:?}");
}

/// A probe that fails says no role, and Pacemaker does not probe again by itself.
#[test]
fn cleanup_ends_where_the_probe_has_failed() {
    let broken = || Node {
        last: ("monitor", 1),
        ..PRIMARY
    };
    let before = cib(&[PRIMARY, STANDBY], TWO, &[]);
    let after = cib(&[broken(), STANDBY], TWO, &[]);
    let run = changing("crm_resource", &before, &after).cls(&["cleanup"]);
    assert_eq!(run.code, 1, "{run:?}");
    let said = "monitor of pgsql on node1 has failed again: it is broken";
    assert!(run.err.contains(said), "{run:?}");
    assert!(run.err.contains("then cls_cleanup again"), "{run:?}");
    // Also where it had failed before; and another node's is no matter of this one.
    let shims = idle(&[broken(), STANDBY], TWO, &[]);
    assert_eq!(shims.cls(&["cleanup"]).code, 1);
    let run = changing("crm_resource", &before, &after).cls(&["cleanup", "--node", "node2"]);
    assert_eq!(run.code, 0, "{run:?}");
}

/// Given back before the primary has a score again, it would be demoted.
#[test]
fn manage_waits_for_the_primarys_score() {
    let unscored = Node {
        transient: &[],
        ..PRIMARY
    };
    let shims = idle(&[unscored, STANDBY], TWO, &[("is-managed", "false")]);
    let run = shims.cls(&["manage", "--timeout", "3"]);
    assert_eq!(run.code, 11, "{run:?}");
    let calls = shims.calls();
    assert!(
        !calls.iter().any(|call| call.contains("is-managed")),
        "{calls:?}"
    );
    // The monitor that will set it is not cancelled by another look.
    assert!(
        !calls.iter().any(|call| call.contains("--refresh")),
        "{calls:?}"
    );

    // Pacemaker has just been restarted on the primary's node: it has not joined, or has not been
    // probed.
    let away = Node {
        online: false,
        ..PRIMARY
    };
    let unprobed = Node {
        last: ("notify", 0),
        ..PRIMARY
    };
    for node in [away, unprobed] {
        let shims = idle(&[node, STANDBY], TWO, &[("is-managed", "false")]);
        let run = shims.cls(&["manage", "--timeout", "3"]);
        assert_eq!(run.code, 11, "{run:?}");
        let calls = shims.calls();
        assert!(
            !calls.iter().any(|call| call.contains("is-managed")),
            "{calls:?}"
        );
    }

    // A score that no attribute manager holds is removed by the next one that starts.
    let answers = [
        r#"echo 'name="master-pgsql" host="node1" value=""'"#,
        "echo 'Could not connect to attrd' >&2; exit 102",
        "echo 'Timer expired' >&2; exit 124",
        "exec sleep 60",
    ];
    for answer in answers {
        let shims = idle(&[PRIMARY, STANDBY], TWO, &[("is-managed", "false")]);
        shims.tool("attrd_updater", answer);
        let run = shims.cls(&["manage", "--timeout", "3"]);
        assert_eq!(run.code, 11, "{run:?}");
        assert!(run.err.contains("no monitor has run on node1"), "{run:?}");
        let calls = shims.calls();
        assert!(
            !calls.iter().any(|call| call.contains("is-managed")),
            "{calls:?}"
        );
    }

    let shims = idle(&[PRIMARY, STANDBY], TWO, &[]);
    assert_eq!(shims.cls(&["manage"]).code, 0);
    let changes = shims.calls().into_iter();
    let changed: Vec<String> = changes.filter(|call| call.contains("is-managed")).collect();
    // The addresses first: one that is not managed would move the primary by its colocation.
    assert!(
        changed[0].contains("vip-master") && changed[1].contains("msPostgresql"),
        "{changed:?}"
    );
    assert_eq!(shims.cls(&["unmanage"]).code, 0);
}

/// What a killed switch leaves in the information base.
fn left_over(text: &str) -> String {
    text.replace(
        "</crm_config>",
        r#"<cluster_property_set id="pha4pgsql_operation"><nvpair id="o" name="pha4pgsql_operation" value="cls_online_switch node1 1 0"/></cluster_property_set></crm_config>"#,
    )
    .replace(
        "<constraints>",
        r#"<constraints><rsc_location id="cli-prefer-msPostgresql" rsc="msPostgresql"><rule id="cli-prefer-rule-msPostgresql" role="Promoted" score="INFINITY" boolean-op="and"><date_expression id="cli-prefer-lifetime-end-msPostgresql" operation="lt" end="2026-11-30 12:00:00Z"/></rule></rsc_location>"#,
    )
}

#[test]
fn cleanup_takes_away_what_a_killed_command_has_left() {
    let healthy = cib(&[PRIMARY, STANDBY], TWO, &[]);
    // The process of that number began at another time.
    let shims = Shims::cluster(&left_over(&healthy));
    shims.tool("crm_resource", "exit 0");
    let status = shims.cls(&["status"]);
    assert!(
        status.out.contains("was ended before it was done"),
        "{status:?}"
    );
    assert!(status.out.contains("cli-prefer-msPostgresql"), "{status:?}");
    let run = shims.cls(&["cleanup"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        shims.calls().iter().any(|call| call == TAKEN_AWAY),
        "{:?}",
        shims.calls()
    );

    // The note of one that runs, and its constraint, are its own.
    let own = std::process::id();
    let stat = std::fs::read_to_string(format!("/proc/{own}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let began = fields.split_whitespace().nth(19).unwrap();
    let runs = left_over(&healthy).replace("node1 1 0", &format!("node1 {own} {began}"));
    let shims = Shims::cluster(&runs);
    shims.tool("crm_resource", "exit 0");
    let status = shims.cls(&["status"]);
    assert!(!status.out.contains("cli-prefer"), "{status:?}");
    assert_eq!(shims.cls(&["cleanup"]).code, 0);
    assert!(
        !shims.calls().iter().any(|call| call == TAKEN_AWAY),
        "{:?}",
        shims.calls()
    );
}

/// Under the cluster property no monitor runs: it becomes what cls_unmanage makes first, and Pacemaker looks again
/// only where something has failed.
#[test]
fn manage_ends_a_maintenance_of_the_whole_cluster() {
    let nodes = [PRIMARY, STANDBY];
    let managed = cib(&nodes, TWO, &[]);
    let unmanaged = cib(&nodes, TWO, &[("is-managed", "false")]);
    let end = "</cluster_property_set>";
    let mode = r#"<nvpair id="mm" name="maintenance-mode" value="true"/>"#;
    let maintained = managed.replace(end, &format!("{mode}{end}"));
    let shims = Shims::cluster(&maintained);
    shims.write("unmanaged.xml", &unmanaged);
    shims.write("managed.xml", &managed);
    let becomes = |words: &str, file: &str| {
        format!("case \"$*\" in {words}) cp \"$here/{file}\" \"$here/cib.xml\" ;; esac")
    };
    shims.tool(
        "crm_attribute",
        &becomes("*--name=maintenance-mode*--delete*", "unmanaged.xml"),
    );
    shims.tool(
        "crm_resource",
        &becomes(
            "*msPostgresql*--delete-parameter=is-managed*",
            "managed.xml",
        ),
    );
    let run = shims.cls(&["manage"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.err.contains("the whole cluster"), "{run:?}");
    let calls = shims.calls();
    let at = |words: &str| {
        let mut calls = calls.iter();
        calls
            .position(|call| call.contains(words))
            .unwrap_or_else(|| panic!("{words}: {calls:?}"))
    };
    let ends = at("--name=maintenance-mode --delete");
    for resource in ["msPostgresql", "vip-master"] {
        let of = |words: &str| at(&format!("--resource={resource} --meta {words}"));
        assert!(of("--set-parameter=is-managed --parameter-value=false") < ends);
        assert!(of("--delete-parameter=maintenance") > ends);
        assert!(of("--delete-parameter=is-managed") > ends);
    }
    let refreshed = |resource: &str, calls: &[String]| {
        calls.contains(&format!("crm_resource --resource={resource} --refresh"))
    };
    assert!(!refreshed("msPostgresql", &calls), "{calls:?}");

    // It does not say that it is done where it is not.
    let shims = Shims::cluster(&maintained);
    shims.tool("crm_resource", "exit 0");
    shims.tool("crm_attribute", "exit 0");
    let run = shims.cls(&["manage", "--timeout", "5"]);
    assert_eq!(run.code, 11, "{run:?}");
    assert!(run.err.contains("the database is not managed"), "{run:?}");

    // A monitor has failed meanwhile: what runs is looked at again.
    let failed = Node {
        transient: &[
            ("master-pgsql", "100"),
            ("fail-count-pgsql#monitor_4000", "1"),
        ],
        ..STANDBY
    };
    let meta = [("is-managed", "false")];
    let shims = changing(
        "crm_resource",
        &cib(&[PRIMARY, failed], TWO, &meta),
        &managed,
    );
    let run = shims.cls(&["manage"]);
    assert_eq!(run.code, 0, "{run:?}");
    let calls = shims.calls();
    for resource in ["msPostgresql", "vip-master"] {
        assert!(refreshed(resource, &calls), "{calls:?}");
    }
}

/// What programs read of it is the same for every operator.
#[test]
fn a_refusal_is_in_the_operators_language() {
    let behind = Node {
        transient: &[("master-pgsql", "-INFINITY")],
        ..STANDBY
    };
    let shims = idle(&[PRIMARY, behind], TWO, &[]);
    let chinese = "zh_CN.UTF-8";
    for (words, said, next) in [
        (
            &["standby_node", "node1"][..],
            "node1 是主库，目前没有其他节点可以提升为主库",
            "先恢复一个备库",
        ),
        (
            &["standby_node", "node9"],
            "集群中没有节点 node9；现有节点：node1, node2",
            "--help",
        ),
        (&["history"], "没有配置保存历史的内置锁服务", "cls_setup"),
    ] {
        let run = shims.cls_in(chinese, words);
        assert!(run.err.contains(said) && run.err.contains(next), "{run:?}");
        let english = shims.cls(words);
        assert_eq!(run.code, english.code);
        assert!(english.err.is_ascii(), "{english:?}");
        let json = |locale| shims.cls_in(locale, &[words, &["--json"]].concat()).json();
        assert_eq!(json(chinese), json("C"));
    }
}
