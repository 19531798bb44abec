#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::cluster::{Cluster, fail_counts};
use crate::doctor::DiskFacts;
use crate::hindrance::Hindrance;
use crate::lineage::Timelines;
use crate::lsn::Lsn;
use crate::params::Mode;
use crate::parse::cib::Cib;
use crate::parse::cpg::Groups;
use crate::postgres::Archiving;
use crate::register::{Memory, Reading, Register, Trouble};
use crate::status::{SyncState, WalSenderState};

mod address;
mod archive;
mod chinese;
mod commits;
mod connections;
mod left;
mod primary;

impl Finding {
    fn said(&self) -> String {
        self.text.to_string()
    }

    fn next(&self) -> Option<String> {
        self.remedy.as_ref().map(ToString::to_string)
    }
}

/// A node in the cluster: its name, its last operations, its data status, and further transient
/// attributes.
struct Node {
    name: &'static str,
    state: &'static str,
    operations: &'static [(&'static str, i32)],
    data: &'static str,
    transient: &'static [(&'static str, &'static str)],
    standby: bool,
    /// Why an operation failed.
    reason: &'static str,
    /// Other resources that were started here.
    others: &'static [&'static str],
}

const UP: &str = r#"in_ccm="true" crmd="online" join="member""#;
const MAINTENANCE_MODE: &str = r#"<nvpair id="m" name="maintenance-mode" value="true"/>"#;
const DOWN: &str = r#"in_ccm="false" crmd="offline" join="down""#;

const PRIMARY: Node = Node {
    name: "node1",
    state: UP,
    operations: &[("start", 0), ("promote", 0)],
    data: "LATEST",
    transient: &[("pgsql-guard", "running")],
    standby: false,
    reason: "because of this",
    others: &[],
};

const STANDBY: Node = Node {
    name: "node2",
    state: UP,
    operations: &[("start", 0)],
    data: "STREAMING|SYNC",
    transient: &[],
    standby: false,
    reason: "because of this",
    others: &[],
};

#[derive(Default)]
struct Extra {
    meta: &'static str,
    properties: &'static str,
    no_quorum: bool,
    resources: &'static str,
    constraints: &'static str,
}

fn cib(nodes: &[Node], extra: &Extra) -> Cib {
    let mut configured = String::new();
    let mut states = String::new();
    for (id, node) in (1..).zip(nodes) {
        let standby = if node.standby {
            format!(r#"<nvpair id="s{id}" name="standby" value="on"/>"#)
        } else {
            String::new()
        };
        configured += &format!(
            r#"<node id="{id}" uname="{}"><instance_attributes id="n{id}"><nvpair id="d{id}" name="pgsql-data-status" value="{}"/>{standby}</instance_attributes></node>"#,
            node.name, node.data
        );
        let operations: String = (1..)
            .zip(node.operations)
            .map(|(call, (name, code))| {
                let status = if *code == 193 { -1 } else { 0 };
                format!(
                    r#"<lrm_rsc_op id="o{id}{call}" operation="{name}" call-id="{call}" rc-code="{code}" op-status="{status}" interval="0" exit-reason="{}"/>"#,
                    node.reason
                )
            })
            .collect();
        let others: String = node
            .others
            .iter()
            .map(|name| {
                format!(
                    r#"<lrm_resource id="{name}" type="IPaddr2" class="ocf" provider="heartbeat"><lrm_rsc_op id="{name}{id}" operation="start" call-id="1" rc-code="0" op-status="0" interval="0"/></lrm_resource>"#
                )
            })
            .collect();
        let transient: String = node
            .transient
            .iter()
            .map(|(name, value)| {
                format!(r#"<nvpair id="t{id}{name}" name="{name}" value="{value}"/>"#)
            })
            .collect();
        states += &format!(
            r#"<node_state id="{id}" uname="{}" {}><lrm id="{id}"><lrm_resources><lrm_resource id="pgsql" type="expgsql" class="ocf" provider="heartbeat">{operations}</lrm_resource>{others}</lrm_resources></lrm><transient_attributes id="{id}"><instance_attributes id="i{id}">{transient}</instance_attributes></transient_attributes></node_state>"#,
            node.name, node.state
        );
    }
    let quorum = u8::from(!extra.no_quorum);
    Cib::parse(&format!(
        r#"<cib have-quorum="{quorum}"><configuration><crm_config><cluster_property_set id="pgsql_replication">{}</cluster_property_set></crm_config><nodes>{configured}</nodes><resources><clone id="msPostgresql"><meta_attributes id="m"><nvpair id="m1" name="promotable" value="true"/><nvpair id="m2" name="migration-threshold" value="3"/>{}</meta_attributes><primitive id="pgsql" class="ocf" provider="heartbeat" type="expgsql"/></clone>{}</resources><constraints><rsc_colocation id="c1" rsc="vip-master" with-rsc="msPostgresql"/><rsc_colocation id="c2" rsc="vip-slave" with-rsc="msPostgresql"/>{}</constraints></configuration><status>{states}</status></cib>"#,
        extra.properties, extra.meta, extra.resources, extra.constraints
    ))
    .unwrap()
}

fn cluster(nodes: &[Node], extra: &Extra) -> Cluster {
    Cluster::of_cib(&cib(nodes, extra), &"pgsql".parse().unwrap())
}

fn row(owner: &str, lease: u64) -> Reading {
    Reading::Row(Register {
        owner: Some(owner.parse().unwrap()),
        term: 3,
        epoch: 5,
        holders: BTreeSet::from([owner.parse().unwrap()]),
        positions: BTreeMap::new(),
        lease_left: Duration::from_secs(lease),
        ttl: Duration::from_secs(6),
        timelines: Timelines::default(),
        renewed: "now".to_owned(),
    })
}

fn foreign() -> Reading {
    let text = "the row belongs to another database".to_owned();
    Reading::Damaged(Damage::Foreign(text))
}

const NO_DISKS: &BTreeMap<String, DiskFacts> = &BTreeMap::new();

/// One that is full stops the writes of a primary; a standby's is the next failure's affair.
#[test]
fn a_full_disk_of_this_node_is_named() {
    let disk = |free: u64| DiskFacts {
        free,
        size: 100 << 30,
        ..DiskFacts::default()
    };
    let reading = row("node1", 4);
    let seen_at = |here: &str, disk: DiskFacts| {
        let disks = [("/wal".to_owned(), disk)].into();
        let here = here.parse().unwrap();
        let verdict = judge(&Observation {
            here: Some(&here),
            disks: &disks,
            ..seen(
                &cluster(&[PRIMARY, STANDBY], &Extra::default()),
                &two_nodes(),
                RegisterSeen::Read(&reading),
            )
        });
        let found = verdict.findings.into_iter().next();
        found.map(|found| (found.id, found.level, found.said()))
    };
    let look = |here: &str, free: u64| seen_at(here, disk(free));
    let text = |node: &str| format!("disk of {node}: /wal: 0% free, 100 MiB");
    assert_eq!(
        look("node1", 100 << 20),
        Some(("disk", Level::Critical, text("node1")))
    );
    assert_eq!(
        look("node2", 100 << 20),
        Some(("disk", Level::Warning, text("node2")))
    );
    // What is on the agent's alone stops nothing that runs.
    let agents = DiskFacts {
        agents: true,
        ..disk(100 << 20)
    };
    assert_eq!(
        seen_at("node1", agents),
        Some(("disk", Level::Warning, text("node1")))
    );
    // What is getting short is the doctor's affair, and who only votes has no data.
    assert_eq!(look("node1", 9 << 30), None);
    assert_eq!(look("arbiter", 100 << 20), None);
}

/// A memory that is not there says nothing, and one that cannot be read is not taken for it.
#[test]
fn a_memory_that_cannot_be_read_is_said() {
    let (nodes, cluster) = (two_nodes(), Cluster::default());
    let found = |memory_unread| {
        let verdict = judge(&Observation {
            here: nodes.first(),
            memory_unread,
            ..seen(&cluster, &nodes, RegisterSeen::NotConfigured)
        });
        let mut findings = verdict.findings.into_iter();
        findings.find(|finding| finding.id == "memory")
    };
    assert_eq!(found(None), None);
    let said = found(Some("denied")).unwrap();
    assert_eq!(
        (said.level, said.node.as_ref()),
        (Level::Warning, nodes.first())
    );
    assert!(said.text.to_string().ends_with("denied"));
}

fn two_nodes() -> [NodeName; 2] {
    ["node1", "node2"].map(|name| name.parse().unwrap())
}

/// A cluster of two in synchronous mode and its register, and nothing else that would be seen.
fn seen<'a>(
    cluster: &'a Cluster,
    nodes: &'a [NodeName],
    register: RegisterSeen<'a>,
) -> Observation<'a> {
    Observation {
        cluster,
        nodes,
        here: None,
        writer_ip: None,
        mode: Mode::Sync,
        register,
        replication: None,
        commits: None,
        connections: None,
        archiving: None,
        kept: None,
        slots: &[],
        memory: None,
        memory_unread: None,
        primary_hangs: false,
        unseen: None,
        operation: None,
        waiting: &[],
        file_errors: &[],
        disks: NO_DISKS,
        daemons: None,
    }
}

fn verdict(nodes: &[Node], extra: &Extra, reading: &Reading) -> Verdict {
    verdict_on(None, nodes, extra, reading)
}

/// As one of the nodes sees it.
fn verdict_on(here: Option<&str>, nodes: &[Node], extra: &Extra, reading: &Reading) -> Verdict {
    verdict_in(true, here, nodes, extra, reading)
}

/// In synchronous mode or in asynchronous.
fn verdict_in(
    sync: bool,
    here: Option<&str>,
    nodes: &[Node],
    extra: &Extra,
    reading: &Reading,
) -> Verdict {
    let here = here.map(|name| name.parse().unwrap());
    judge(&Observation {
        here: here.as_ref(),
        mode: if sync { Mode::Sync } else { Mode::Async },
        kept: KeptWal::of("0000000000000005", 16 << 20),
        ..seen(
            &cluster(nodes, extra),
            &two_nodes(),
            RegisterSeen::Read(reading),
        )
    })
}

/// Two nodes that are well, and what their primary says besides.
fn of_the_primary(connections: Option<Connections>, archiving: Option<Archiving>) -> Verdict {
    judge(&Observation {
        connections,
        archiving,
        ..seen(
            &cluster(&[PRIMARY, STANDBY], &Extra::default()),
            &two_nodes(),
            RegisterSeen::NotConfigured,
        )
    })
}

#[test]
fn a_setting_that_waits_for_a_restart_is_a_note_and_no_alarm() {
    let reading = row("node1", 4);
    let waiting = |names: &[&[&str]]| {
        let nodes = ["node1", "node2"].iter().zip(names);
        let waiting: Vec<(NodeName, Vec<String>)> = nodes
            .map(|(node, names)| {
                let names = names.iter().map(|name| (*name).to_owned());
                (node.parse().unwrap(), names.collect())
            })
            .collect();
        judge(&Observation {
            waiting: &waiting,
            ..seen(
                &cluster(&[PRIMARY, STANDBY], &Extra::default()),
                &two_nodes(),
                RegisterSeen::Read(&reading),
            )
        })
    };
    assert_eq!(waiting(&[&[], &[]]).findings, []);
    let verdict = waiting(&[&[], &["max_connections", "shared_buffers"]]);
    assert_eq!(verdict.level, Level::Ok);
    let [note] = &verdict.findings[..] else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        note.said(),
        "node2: settings wait for a restart of PostgreSQL: max_connections, shared_buffers"
    );
    let remedy = note.next().unwrap();
    assert!(
        remedy.starts_with("cls_restart --pending --dry-run"),
        "{remedy}"
    );
}

#[test]
fn a_file_that_keeps_settings_from_being_taken_up_is_named_with_its_line() {
    let reading = row("node1", 4);
    let errors = ["/pg/postgresql.conf line 9: x: unrecognized configuration parameter".to_owned()];
    let seen_with = |errors: &[String]| {
        judge(&Observation {
            file_errors: &[(two_nodes()[1].clone(), errors.to_vec())],
            ..seen(
                &cluster(&[PRIMARY, STANDBY], &Extra::default()),
                &two_nodes(),
                RegisterSeen::Read(&reading),
            )
        })
    };
    assert_eq!(seen_with(&[]).findings, []);
    let verdict = seen_with(&errors);
    assert_eq!(verdict.level, Level::Critical);
    let [found] = &verdict.findings[..] else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        (found.id, found.node.as_ref()),
        ("file-errors", two_nodes().get(1))
    );
    assert!(found.said().ends_with(&errors[0]), "{}", found.said());
    let remedy = found.next().unwrap();
    assert!(
        remedy.starts_with("on node2: correct that line"),
        "{remedy}"
    );
}

#[test]
fn a_primary_that_hangs_is_named() {
    let reading = row("node1", 4);
    let look = |nodes: &[Node], primary_hangs, unseen, connections| {
        judge(&Observation {
            connections,
            primary_hangs,
            unseen,
            ..seen(
                &cluster(nodes, &Extra::default()),
                &two_nodes(),
                RegisterSeen::Read(&reading),
            )
        })
        .findings
        .into_iter()
        .filter(|finding| finding.id == "answer")
        .collect::<Vec<_>>()
    };
    let found = |nodes: &[Node]| look(nodes, true, None, None);
    let hangs = found(&[PRIMARY, STANDBY]);
    assert_eq!(hangs.len(), 1);
    assert!(
        hangs[0]
            .said()
            .contains("PostgreSQL on node1 does not answer")
    );
    assert_eq!(hangs[0].level, Level::Critical, "nobody can write");
    assert_eq!(found(&[STANDBY]), [], "there is no primary to answer");

    // One that could not be asked, whatever the reason, is none of which all is well.
    let both = [PRIMARY, STANDBY];
    let why = Hindrance::new("ssh to node1: nobody listens there", "start sshd on node1");
    let why = Some(&why);
    let unseen = look(&both, false, why, None);
    assert_eq!(unseen.len(), 1);
    assert_eq!(unseen[0].level, Level::Warning);
    assert_eq!(
        unseen[0].said(),
        "PostgreSQL on node1 cannot be asked about its standbys: ssh to node1: nobody listens there"
    );
    assert_eq!(unseen[0].next().as_deref(), Some("start sshd on node1"));
    let unknown = Hindrance::of(&"nothing more");
    let unseen = look(&both, false, Some(&unknown), None);
    assert_eq!(
        unseen[0].next().as_deref(),
        Some("cls_doctor says what is in the way")
    );
    let full = look(&both, false, why, Some(Connections::NoneLeft));
    assert_eq!(full, [], "the connections say it");
    assert_eq!(look(&both, false, None, None), []);
}

#[test]
fn a_healthy_cluster_meets_the_three_conditions() {
    let verdict = verdict(&[PRIMARY, STANDBY], &Extra::default(), &row("node1", 4));
    assert_eq!(verdict.findings, []);
    assert_eq!(verdict.level, Level::Ok);
    assert!(verdict.conditions.iter().all(|condition| condition.met));
    assert_eq!(verdict.conditions.len(), 3);
}

/// Condition 3 is met then, and that is no good news.
#[test]
fn that_no_standby_runs_is_said_beside_the_condition() {
    let third = |nodes: &[Node]| {
        let verdict = verdict(nodes, &Extra::default(), &row("node1", 4));
        (
            verdict.conditions[2].met,
            verdict.conditions[2].text.to_string(),
        )
    };
    let text = "every standby streams from the primary";
    assert_eq!(third(&[PRIMARY, STANDBY]), (true, text.to_owned()));
    let off = Node {
        state: DOWN,
        ..STANDBY
    };
    let none = format!("{text} (no standby runs)");
    assert_eq!(third(&[PRIMARY, off]), (true, none));
}

/// One deviation each: the rules that find it, the conditions that are not met, how bad it is, and
/// a piece of what to type.
#[test]
fn every_deviation_is_found_and_has_a_remedy() {
    let none = Extra::default;
    let foreign = foreign();
    let info = |text| Extra {
        properties: text,
        ..none()
    };
    let meta = |text| Extra {
        meta: text,
        ..none()
    };
    let (on, other, expired) = (row("node1", 4), row("node2", 4), row("node1", 0));
    let stranger = row("node3", 4);
    #[expect(clippy::type_complexity, reason = "a row of the table, and only here")]
    let cases: Vec<(
        &str,
        Vec<Node>,
        Extra,
        &Reading,
        Level,
        &[&str],
        &[u8],
        &str,
    )> = vec![
        (
            "no guard beside the primary",
            vec![
                Node {
                    transient: &[("pgsql-guard", "not running")],
                    ..PRIMARY
                },
                STANDBY,
            ],
            none(),
            &on,
            Level::Warning,
            &["guard"],
            &[],
            "pgsql.guard.log",
        ),
        (
            "a standby that could not open for writing",
            vec![
                PRIMARY,
                Node {
                    transient: &[
                        ("master-pgsql", "-INFINITY"),
                        (
                            "pgsql-unfit",
                            "limits: replay is paused, since max_connections is 50 and the primary had 100",
                        ),
                    ],
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["unfit"],
            &[],
            "cls_unstandby_node node2",
        ),
        (
            "a standby that takes up no change of its settings",
            vec![
                PRIMARY,
                Node {
                    transient: &[
                        ("master-pgsql", "-INFINITY"),
                        ("pgsql-unfit", "files: a file has an error"),
                    ],
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["unfit"],
            &[],
            "correct that line",
        ),
        (
            "a standby without room for a new timeline",
            vec![
                PRIMARY,
                Node {
                    transient: &[
                        ("master-pgsql", "10"),
                        ("pgsql-unfit", "room: its disk is full"),
                    ],
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["unfit"],
            &[],
            "make room there",
        ),
        (
            "standby switched off",
            vec![
                PRIMARY,
                Node {
                    state: DOWN,
                    data: "DISCONNECT",
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["started", "synchronous"],
            &[1],
            "systemctl start",
        ),
        (
            "standby in standby",
            vec![
                PRIMARY,
                Node {
                    operations: &[("start", 0), ("stop", 0)],
                    standby: true,
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["started", "synchronous"],
            &[1],
            "cls_unstandby_node node2",
        ),
        (
            "standby failed",
            vec![
                PRIMARY,
                Node {
                    operations: &[("start", 1)],
                    data: "DISCONNECT",
                    transient: &[("fail-count-pgsql#start_0", "INFINITY")],
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["started", "synchronous", "failures"],
            &[1],
            "mend the cause, then cls_cleanup --node node2",
        ),
        (
            "standby starting",
            vec![
                PRIMARY,
                Node {
                    operations: &[("start", 193)],
                    data: "DISCONNECT",
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["started", "synchronous"],
            &[1],
            "bring a standby back",
        ),
        (
            "standby whose WAL is gone",
            vec![
                PRIMARY,
                Node {
                    data: "DISCONNECT",
                    transient: &[
                        ("pgsql-timeline", "1"),
                        ("pgsql-xlog-loc", "0000000004FFFFFF"),
                    ],
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["streaming", "synchronous"],
            &[3],
            "on node2: cls_rebuild_slave --keep-old",
        ),
        (
            "standby not streaming whose WAL is there",
            vec![
                PRIMARY,
                Node {
                    data: "DISCONNECT",
                    transient: &[
                        ("pgsql-timeline", "1"),
                        ("pgsql-xlog-loc", "0000000005000000"),
                    ],
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["streaming", "synchronous"],
            &[3],
            "look at PostgreSQL's log on node2",
        ),
        (
            "standby not streaming",
            vec![
                PRIMARY,
                Node {
                    data: "DISCONNECT",
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["streaming", "synchronous"],
            &[3],
            "cls_rebuild_slave",
        ),
        (
            "standby catching up",
            vec![
                PRIMARY,
                Node {
                    data: "CATCHUP|ASYNC",
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["streaming", "synchronous"],
            &[3],
            "caught up",
        ),
        (
            "standby asynchronous",
            vec![
                PRIMARY,
                Node {
                    data: "STREAMING|ASYNC",
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Warning,
            &["synchronous"],
            &[],
            "by itself",
        ),
        (
            "no primary",
            vec![
                Node {
                    operations: &[("start", 0)],
                    ..PRIMARY
                },
                STANDBY,
            ],
            none(),
            &on,
            Level::Critical,
            &["primary", "streaming"],
            &[2, 3],
            "wait: node1 has every acknowledged commit",
        ),
        (
            "two primaries",
            vec![
                PRIMARY,
                Node {
                    operations: &[("promote", 0)],
                    ..STANDBY
                },
            ],
            none(),
            &on,
            Level::Critical,
            &["primary"],
            &[2],
            "the register's owner is node1: cls_standby_node node2 --force, which stops",
        ),
        (
            "two primaries, and the register names neither",
            vec![
                PRIMARY,
                Node {
                    operations: &[("promote", 0)],
                    ..STANDBY
                },
            ],
            none(),
            &stranger,
            Level::Critical,
            &["primary"],
            &[2],
            "cls_standby_node <node> --force for the one that clients do not write to",
        ),
        (
            "no quorum",
            vec![PRIMARY, STANDBY],
            Extra {
                no_quorum: true,
                ..none()
            },
            &on,
            Level::Critical,
            &["quorum"],
            &[],
            "corosync-cfgtool",
        ),
        (
            "no quorum, and nobody ends the primary",
            vec![PRIMARY, STANDBY],
            Extra {
                no_quorum: true,
                properties: r#"<nvpair id="q" name="no-quorum-policy" value="freeze"/>"#,
                ..none()
            },
            &on,
            Level::Critical,
            &["quorum"],
            &[],
            "corosync-quorumtool -e",
        ),
        (
            "stopped without quorum",
            vec![
                Node {
                    operations: &[("stop", 0)],
                    ..PRIMARY
                },
                Node {
                    state: DOWN,
                    ..STANDBY
                },
            ],
            Extra {
                no_quorum: true,
                ..none()
            },
            &on,
            Level::Critical,
            &["primary", "quorum", "started"],
            &[1, 2],
            "bring the quorum back first",
        ),
        (
            "stopped",
            vec![
                Node {
                    operations: &[("stop", 0)],
                    ..PRIMARY
                },
                Node {
                    operations: &[("stop", 0)],
                    ..STANDBY
                },
            ],
            meta(r#"<nvpair id="x" name="target-role" value="Stopped"/>"#),
            &on,
            Level::Critical,
            &["primary"],
            &[1, 2],
            "cls_start",
        ),
        (
            "about to be stopped",
            vec![PRIMARY, STANDBY],
            meta(r#"<nvpair id="x" name="target-role" value="Stopped"/>"#),
            &on,
            Level::Critical,
            &["started"],
            &[1],
            "cls_start",
        ),
        (
            "unmanaged",
            vec![PRIMARY, STANDBY],
            meta(r#"<nvpair id="x" name="is-managed" value="false"/>"#),
            &on,
            Level::Warning,
            &["unmanaged"],
            &[],
            "cls_manage",
        ),
        (
            "maintenance of the whole cluster",
            vec![PRIMARY, STANDBY],
            Extra {
                properties: MAINTENANCE_MODE,
                ..none()
            },
            &on,
            Level::Warning,
            &["unmanaged"],
            &[],
            "cls_manage, which ends it for every resource",
        ),
        (
            "maintenance of the database",
            vec![PRIMARY, STANDBY],
            meta(r#"<nvpair id="x" name="maintenance" value="true"/>"#),
            &on,
            Level::Warning,
            &["unmanaged"],
            &[],
            "cls_manage",
        ),
        (
            "one failure",
            vec![
                Node {
                    transient: &[("fail-count-pgsql#monitor_3000", "1")],
                    ..PRIMARY
                },
                STANDBY,
            ],
            none(),
            &on,
            Level::Warning,
            &["failures"],
            &[],
            "cls_cleanup --node node1",
        ),
        (
            "other owner",
            vec![PRIMARY, STANDBY],
            none(),
            &other,
            Level::Critical,
            &["owner"],
            &[],
            "stops by itself",
        ),
        (
            "lease over",
            vec![PRIMARY, STANDBY],
            none(),
            &expired,
            Level::Warning,
            &["lease"],
            &[],
            "distlock",
        ),
        (
            "no row",
            vec![PRIMARY, STANDBY],
            none(),
            &Reading::Missing,
            Level::Critical,
            &["register"],
            &[],
            "cls_recovery_master",
        ),
        (
            "a row of another database",
            vec![PRIMARY, STANDBY],
            none(),
            &foreign,
            Level::Critical,
            &["register"],
            &[],
            "if another cluster uses the same lock name, give",
        ),
        (
            "repl info of another",
            vec![PRIMARY, STANDBY],
            info(r#"<nvpair id="x" name="pgsql_REPL_INFO" value="node2|1|00000000070000D0"/>"#),
            &on,
            Level::Warning,
            &["repl-info"],
            &[],
            "next monitor",
        ),
        (
            "repl info malformed",
            vec![PRIMARY, STANDBY],
            info(r#"<nvpair id="x" name="pgsql_REPL_INFO" value="node1|one|x"/>"#),
            &on,
            Level::Critical,
            &["repl-info"],
            &[],
            "cls_recovery_master",
        ),
    ];
    for (name, nodes, extra, reading, level, rules, unmet, remedy) in cases {
        let verdict = verdict(&nodes, &extra, reading);
        let mut found: Vec<&str> = verdict.findings.iter().map(|finding| finding.id).collect();
        found.dedup();
        let mut sorted = found.clone();
        let mut expected = rules.to_vec();
        sorted.sort_unstable();
        expected.sort_unstable();
        assert_eq!(sorted, expected, "{name}");
        assert_eq!(verdict.level, level, "{name}");
        let failed: Vec<u8> = verdict
            .conditions
            .iter()
            .filter(|condition| !condition.met)
            .map(|condition| condition.number)
            .collect();
        assert_eq!(failed, unmet, "{name}");
        let remedies: Vec<String> = verdict
            .findings
            .iter()
            .filter_map(|finding| finding.next())
            .collect();
        assert!(
            remedies.iter().any(|text| text.contains(remedy)),
            "{name}: {remedies:?}"
        );
    }
}

#[test]
fn an_unreachable_lock_service_is_said_and_not_fatal() {
    let trouble = Reading::Unknown(Trouble::Unreachable("node3:5439: refused".to_owned()));
    let verdict = verdict(&[PRIMARY, STANDBY], &Extra::default(), &trouble);
    assert_eq!(verdict.level, Level::Warning);
    assert!(verdict.findings[0].said().contains("node3:5439"));
}

#[test]
fn fail_counts_are_read_from_the_attributes() {
    let nodes = [
        Node {
            transient: &[
                ("fail-count-pgsql#monitor_3000", "2"),
                ("fail-count-vip-master#start_0", "INFINITY"),
                ("fail-count-pgsql#start_0", "0"),
                ("last-failure-pgsql#monitor_3000", "1461261762"),
            ],
            ..PRIMARY
        },
        STANDBY,
    ];
    let counts = fail_counts(&cib(&nodes, &Extra::default()));
    let shown: Vec<String> = counts
        .iter()
        .map(|count| format!("{} {} {}", count.resource, count.operation, count.count))
        .collect();
    assert_eq!(
        shown,
        ["pgsql monitor_3000 2", "vip-master start_0 INFINITY"]
    );
    assert!(counts[0].count.reaches(2) && !counts[0].count.reaches(3));
}

#[test]
fn rules_have_names_of_their_own() {
    let mut names: Vec<&str> = HEALTH_RULES.iter().map(|rule| rule.id).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), HEALTH_RULES.len());
    assert!(HEALTH_RULES.iter().all(|rule| !rule.says.is_empty()));
}

#[test]
fn a_node_whose_controller_has_ended_finds_itself_outside() {
    let gone = || Node {
        state: DOWN,
        ..STANDBY
    };
    let said = |here| {
        let nodes = [PRIMARY, gone()];
        let verdict = verdict_on(Some(here), &nodes, &Extra::default(), &row("node1", 3));
        let found = verdict.findings.into_iter().find(|f| f.id == "started");
        found.unwrap().next().unwrap()
    };
    let elsewhere = "on node2: systemctl start corosync pacemaker, then cls_status";
    assert_eq!(said("node1"), elsewhere);
    assert!(
        said("node2").ends_with("on node2: pkill -KILL -x pacemakerd; systemctl start pacemaker")
    );
}

/// Corosync knows what the information base does not: the node is a member, and its scores are those of before.
#[test]
fn a_daemon_that_is_not_started_again_is_found_from_every_node() {
    const DAEMONS: &str = "Group Name\tPID\tNode ID\n\
        crmd\\x00\n\t\t72\t1 (a)\n\t\t74\t2 (b)\n\
        cib\\x00\n\t\t67\t1 (a)\n\t\t69\t2 (b)\n\
        stonith-ng\\x00\n\t\t68\t1 (a)\n\t\t70\t2 (b)\n\
        attrd\\x00\n\t\t71\t1 (a)\n\t\t73\t2 (b)\n";
    let judged = |nodes: &[Node], daemons: &str| {
        let verdict = judge(&Observation {
            daemons: Some(&Groups::parse(daemons)),
            ..seen(
                &cluster(nodes, &Extra::default()),
                &two_nodes(),
                RegisterSeen::NotConfigured,
            )
        });
        let findings = verdict.findings.into_iter();
        let about = findings.filter(|found| matches!(found.id, "daemons" | "started"));
        about
            .map(|found| (found.id, found.said(), found.next().unwrap()))
            .collect::<Vec<_>>()
    };
    assert!(judged(&[PRIMARY, STANDBY], DAEMONS).is_empty());
    let [(id, said, next)] =
        &judged(&[PRIMARY, STANDBY], &DAEMONS.replace("\t\t73\t2 (b)\n", ""))[..]
    else {
        panic!("one finding was expected")
    };
    assert_eq!(*id, "daemons");
    assert!(
        said.contains("runs on node2 without pacemaker-attrd"),
        "{said}"
    );
    assert!(
        next.ends_with("on node2: pkill -KILL -x pacemakerd; systemctl start pacemaker"),
        "{next}"
    );
    // A primary is kept from being demoted meanwhile.
    let [(_, _, next)] = &judged(&[PRIMARY, STANDBY], &DAEMONS.replace("\t\t71\t1 (a)\n", ""))[..]
    else {
        panic!("one finding was expected")
    };
    assert!(
        next.ends_with("cls_unmanage, on node1: pkill -KILL -x pacemakerd; systemctl start pacemaker, and then cls_manage"),
        "{next}"
    );
    // Without its controller a node is no member, and starting what runs there already does nothing.
    let gone = || Node {
        state: DOWN,
        ..STANDBY
    };
    let [(id, _, next)] = &judged(&[PRIMARY, gone()], &DAEMONS.replace("\t\t74\t2 (b)\n", ""))[..]
    else {
        panic!("one finding was expected")
    };
    assert_eq!(*id, "daemons");
    assert!(
        next.ends_with("on node2: pkill -KILL -x pacemakerd; systemctl start pacemaker"),
        "{next}"
    );
    // Where it does not run at all it is started.
    let off = DAEMONS.lines().filter(|line| !line.ends_with("2 (b)"));
    let off: String = off.map(|line| format!("{line}\n")).collect();
    let [(id, _, next)] = &judged(&[PRIMARY, gone()], &off)[..] else {
        panic!("one finding was expected")
    };
    assert_eq!(*id, "started");
    assert!(
        next.starts_with("on node2: systemctl start corosync pacemaker"),
        "{next}"
    );
}

/// A rebuild copies from a primary: before there ever was one it is no advice.
#[test]
fn a_node_without_data_is_rebuilt_where_there_was_a_primary() {
    const EMPTY: &str =
        "it has no PG_VERSION; run cls_rebuild_slave where another node has the database";
    let empty = || Node {
        operations: &[("start", 5)],
        reason: EMPTY,
        ..STANDBY
    };
    let next = |nodes: &[Node], properties: &'static str| {
        let extra = Extra {
            properties,
            ..Extra::default()
        };
        let found = verdict(nodes, &extra, &row("node1", 3)).findings;
        let about = |found: &Finding| {
            found.id == "started" && found.node.as_ref().is_some_and(|n| n.as_str() == "node2")
        };
        let found = found.into_iter().find(about);
        found.unwrap().next().unwrap()
    };
    assert_eq!(
        next(&[PRIMARY, empty()], ""),
        "on node2: cls_rebuild_slave --keep-old"
    );
    assert_eq!(
        next(&[empty()], ""),
        "mend the cause, then cls_cleanup --node node2"
    );
    const EVER: &str =
        r#"<nvpair id="r" name="pgsql_REPL_INFO" value="node1|1|00000000070000D0"/>"#;
    assert_eq!(
        next(&[empty()], EVER),
        "on node2: cls_rebuild_slave --keep-old"
    );
}
