#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use super::block::{Place, with_lines};
use super::*;
use crate::params::Params;
use crate::server_program::ServerProgram;
use crate::setup::own_addresses;

const LOCALE: &str = "C.UTF-8";

fn nodes() -> Vec<NodeName> {
    ["node1", "node2"].map(|name| name.parse().unwrap()).into()
}

fn params(more: &[(&str, &str)]) -> Params {
    let given = [("pgdata", "/data/pg"), ("pgctl", "/pg/15/pg_ctl")];
    let given = given.iter().chain(more).copied();
    Params::parse(given).unwrap().0
}

/// Nodes without anything but the packages.
fn bare() -> BTreeMap<NodeName, InitFacts> {
    let node = |last: u8| InitFacts {
        account: true,
        lacking: Vec::new(),
        major: Some(15),
        data: InitData::None,
        runs: false,
        config: Some(false),
        settings: BTreeMap::new(),
        hba: Vec::new(),
        addresses: own_addresses(&format!(
            "1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 192.0.2.{last}/24 scope global\n3: eth1    inet 10.0.0.{last}/16 scope global\n"
        )),
        passwords: BTreeSet::new(),
        mounted: Some("/data".to_owned()),
    };
    let names = nodes().into_iter();
    names.zip([node(11), node(12)]).collect()
}

/// A database as initdb makes it, on that node; every passfile has the password of its role.
fn there(facts: &mut BTreeMap<NodeName, InitFacts>, name: &str, copy: bool) {
    for one in facts.values_mut() {
        one.passwords = ["replicator".to_owned()].into();
    }
    let one = facts.get_mut(&name.parse::<NodeName>().unwrap()).unwrap();
    one.data = InitData::There {
        major: Some(15),
        identifier: Some(7),
        copy: Some(copy),
    };
    one.config = Some(true);
    let settings = [
        ("listen_addresses", "localhost"),
        ("wal_level", "replica"),
        ("max_wal_senders", "10"),
        ("hot_standby", "on"),
        ("data_checksums", "on"),
        ("wal_log_hints", "off"),
        ("wal_sender_timeout", "60000"),
        ("wal_receiver_timeout", "30000"),
        ("wal_keep_size", "0"),
        ("logging_collector", "off"),
    ];
    one.settings = settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    one.hba = [
        "local all all peer",
        "host all all 127.0.0.1/32 scram-sha-256",
        "host replication \"replicator\",postgres 192.0.2.0 255.255.255.0 md5",
    ]
    .map(str::to_owned)
    .into();
}

struct Case {
    facts: BTreeMap<NodeName, InitFacts>,
    lock: InitLock,
    params: Params,
    given: Vec<String>,
    configured: bool,
    administrator: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            facts: bare(),
            lock: InitLock::Lacking,
            params: params(&[("repuser", "replicator")]),
            given: Vec::new(),
            configured: false,
            administrator: false,
        }
    }
}

impl Case {
    fn plan(&self) -> InitPlan {
        let nodes = nodes();
        let site = InitSite {
            nodes: &nodes,
            params: &self.params,
            writer: "192.0.2.100".parse().unwrap(),
            reader: Some("192.0.2.101".parse().unwrap()),
            given: &self.given,
            locale: LOCALE,
            configured: self.configured,
            administrator: self.administrator,
        };
        InitPlan::make(&site, &self.facts, &self.lock)
    }

    fn text(&self) -> String {
        let plan = self.plan();
        let steps = plan
            .steps
            .iter()
            .map(|step| format!("{}: {step}", step.action.id()));
        let found = |kind: &'static str, all: &[InitFinding]| -> Vec<String> {
            all.iter()
                .map(|one| format!("{kind} {}: {one}", one.id))
                .collect()
        };
        let refused = found("refused", &plan.refused);
        steps
            .chain(refused)
            .chain(found("remains", &plan.remains))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[test]
fn from_nothing() {
    let case = Case {
        params: params(&[
            ("repuser", "replicator"),
            ("pgport", "5433"),
            ("monitor_user", "watcher"),
        ]),
        ..Case::default()
    };
    insta::assert_snapshot!(case.text());
}

#[test]
fn an_existing_database_gets_what_it_lacks_and_is_copied() {
    let mut case = Case::default();
    there(&mut case.facts, "node2", false);
    case.given = vec!["replicator".to_owned()];
    insta::assert_snapshot!(case.text());
}

#[test]
fn nothing_is_left_once_it_is_done() {
    let mut case = Case {
        lock: InitLock::Used,
        configured: true,
        ..Case::default()
    };
    for name in ["node1", "node2"] {
        there(&mut case.facts, name, name == "node2");
    }
    for one in case.facts.values_mut() {
        one.runs = true;
        for (name, value) in [
            ("listen_addresses", "*"),
            ("wal_sender_timeout", "5s"),
            ("wal_keep_size", "1024"),
            ("logging_collector", "on"),
        ] {
            one.settings.insert(name.to_owned(), value.to_owned());
        }
        one.hba
            .push("host all all 192.0.2.0/24 scram-sha-256".to_owned());
    }
    // Where they are now is no address that a node comes from.
    for (one, address) in case.facts.values_mut().zip(["192.0.2.100", "192.0.2.101"]) {
        let line = format!("2: eth0    inet {address}/24 scope global secondary eth0\n");
        one.addresses.extend(own_addresses(&line));
        one.hba.pop();
        let replicator =
            |last: u8| format!("host replication,postgres replicator 192.0.2.{last}/32 md5");
        one.hba.drain(2..);
        one.hba.extend([replicator(11), replicator(12)]);
    }
    assert_eq!(case.plan(), InitPlan::default());
    // What came to differ since is the doctor's.
    case.facts.values_mut().for_each(|one| one.hba.clear());
    let plan = case.plan();
    assert_eq!(plan.refused[0].id, "configured");
}

#[test]
fn an_interrupted_run_is_gone_on_with() {
    let mut case = Case::default();
    there(&mut case.facts, "node1", false);
    let ids = |case: &Case| -> Vec<String> {
        let steps = case.plan().steps.into_iter();
        steps.map(|step| step.action.id().to_owned()).collect()
    };
    let rest = [
        "settings",
        "hba",
        "passfiles",
        "start",
        "roles",
        "copy",
        "stop",
        "lock-service",
    ];
    assert_eq!(ids(&case), rest);
    // The copies of three nodes: the one that was copied is no original.
    there(&mut case.facts, "node2", true);
    let node3: NodeName = "node3".parse().unwrap();
    let mut fresh = bare().into_values().next().unwrap();
    fresh.passwords = ["replicator".to_owned()].into();
    case.facts.insert(node3, fresh);
    assert!(ids(&case).contains(&"copy".to_owned()), "{}", case.text());
    assert_eq!(case.plan().refused, []);
}

type Spoil = fn(&mut Case);

#[test]
fn what_is_in_the_way_is_named_and_nothing_is_done() {
    let cases: [(Spoil, &str, &str); 22] = [
        // A copy would have none at all.
        (
            |case| {
                let outside = ("config", "/etc/pg/postgresql.conf");
                case.params = params(&[("repuser", "replicator"), outside]);
                there(&mut case.facts, "node1", false);
            },
            "config",
            "pgsql_config",
        ),
        // Its role may be there too, and have a password that is the only one in somebody's hands.
        (
            |case| {
                there(&mut case.facts, "node1", false);
                case.facts.values_mut().last().unwrap().passwords.clear();
            },
            "passwords",
            "pgsql_reppassword",
        ),
        (
            |case| case.params = params(&[("repuser", "postgres")]),
            "roles",
            "another one",
        ),
        (
            |case| case.params = params(&[("repuser", "replicator"), ("monitor_user", "postgres")]),
            "roles",
            "another one",
        ),
        (
            |case| {
                case.facts.values_mut().next().unwrap().data = InitData::Unfinished(Begun::Backup)
            },
            "data",
            "cls_rebuild_slave",
        ),
        (
            |case| {
                there(&mut case.facts, "node1", true);
                there(&mut case.facts, "node2", true);
                case.administrator = true;
                case.lock = InitLock::Silent {
                    why: "no such role".to_owned(),
                    used: true,
                };
            },
            "used",
            "lockname",
        ),
        (
            |case| case.facts.values_mut().for_each(|one| one.account = false),
            "account",
            "install",
        ),
        (
            |case| case.facts.values_mut().for_each(|one| one.major = None),
            "programs",
            "pgsql_pgctl",
        ),
        (
            |case| case.facts.values_mut().for_each(|one| one.major = Some(10)),
            "version",
            "by hand",
        ),
        (
            |case| case.facts.values_mut().next().unwrap().major = Some(14),
            "versions",
            "the same",
        ),
        (
            |case| {
                case.facts
                    .values_mut()
                    .for_each(|one| one.lacking = vec![ServerProgram::BaseBackup])
            },
            "programs",
            "postgresql-client",
        ),
        (
            |case| case.facts.values_mut().next().unwrap().data = InitData::Foreign("x".to_owned()),
            "data",
            "move that away",
        ),
        (
            |case| {
                case.facts.values_mut().next().unwrap().data = InitData::Unfinished(Begun::Initdb)
            },
            "data",
            "cls_init again",
        ),
        (
            |case| {
                case.facts.values_mut().next().unwrap().data =
                    InitData::Unknown("denied".to_owned())
            },
            "data",
            "rights",
        ),
        (
            |case| {
                there(&mut case.facts, "node1", false);
                case.facts.values_mut().next().unwrap().config = Some(false);
            },
            "config",
            "pgsql_config",
        ),
        (
            |case| case.facts.values_mut().next().unwrap().config = None,
            "config",
            "its disk answers",
        ),
        // Whether the data are a copy cannot be told: nothing is copied from them.
        (
            |case| {
                there(&mut case.facts, "node1", false);
                let data = &mut case.facts.values_mut().next().unwrap().data;
                *data = InitData::There {
                    major: Some(15),
                    identifier: Some(7),
                    copy: None,
                };
            },
            "original",
            "cls_rebuild_slave",
        ),
        (
            |case| {
                there(&mut case.facts, "node1", false);
                case.facts.values_mut().next().unwrap().runs = true;
            },
            "runs",
            "systemctl disable",
        ),
        (|case| case.configured = true, "configured", "cls_doctor"),
        (|case| case.lock = InitLock::Used, "used", "lockname"),
        // A standby's data alone are no database to copy from.
        (
            |case| there(&mut case.facts, "node1", true),
            "original",
            "cls_rebuild_slave",
        ),
        (
            |case| {
                there(&mut case.facts, "node1", false);
                let one = case.facts.values_mut().next().unwrap();
                one.hba
                    .insert(0, "host all all 192.0.2.12/32 reject".to_owned());
            },
            "hba",
            "take it away",
        ),
    ];
    for (spoil, id, remedy) in cases {
        let mut case = Case::default();
        spoil(&mut case);
        let refused = case.plan().refused;
        assert!(!refused.is_empty(), "{id}");
        assert_eq!(refused[0].id, id, "{refused:?}");
        assert!(refused[0].remedy.contains(remedy), "{refused:?}");
    }
}

#[test]
fn what_may_be_a_second_database_is_not_taken_for_a_copy() {
    let mut case = Case::default();
    let three: NodeName = "node3".parse().unwrap();
    case.facts
        .insert(three, bare().into_values().next().unwrap());
    there(&mut case.facts, "node1", false);
    there(&mut case.facts, "node2", false);
    let second = case.facts.values_mut().nth(1).unwrap();
    second.data = InitData::There {
        major: Some(15),
        identifier: Some(7),
        copy: None,
    };
    let refused = case.plan().refused;
    assert_eq!(refused[0].id, "original", "{refused:?}");
}

#[test]
fn two_databases_are_refused() {
    let mut case = Case::default();
    there(&mut case.facts, "node1", false);
    there(&mut case.facts, "node2", false);
    case.facts.values_mut().next().unwrap().data = InitData::There {
        major: Some(15),
        identifier: Some(8),
        copy: Some(false),
    };
    let refused = case.plan().refused;
    assert_eq!(refused[0].id, "databases", "{refused:?}");
    assert!(
        refused[0].what.ends_with("7 on node2, 8 on node1"),
        "{refused:?}"
    );
}

#[test]
fn a_lock_service_that_is_silent_is_left_to_its_administrator() {
    let case = Case {
        lock: InitLock::Silent {
            why: "no pg_hba.conf entry".to_owned(),
            used: false,
        },
        ..Case::default()
    };
    let plan = case.plan();
    assert!(plan.refused.is_empty());
    assert!(
        plan.steps
            .iter()
            .all(|step| step.action != InitAction::LockService)
    );
    assert_eq!(plan.remains.len(), 1);
    let said = plan.remains[0].to_string();
    assert!(
        said.contains("192.0.2.11") && said.contains("--lock-admin"),
        "{said}"
    );
}

#[test]
fn lines_are_added_once_and_nothing_else_is_changed() {
    let old = b"# mine \xff\nlocal all all peer";
    let lines = ["host a b c d\n".to_owned()];
    let once = with_lines(old, Place::Top, &lines);
    let expected = b"# pha4pgsql: what cls_init has added\nhost a b c d\n# pha4pgsql: end\n# mine \xff\nlocal all all peer\n";
    assert_eq!(once, expected);
    let more = with_lines(&once, Place::Top, &["host e f g h".to_owned()]);
    let text = String::from_utf8_lossy(&more).into_owned();
    assert!(
        text.contains("host a b c d\nhost e f g h\n# pha4pgsql: end\n"),
        "{text}"
    );
    assert!(with_lines(b"a\n", Place::End, &lines).starts_with(b"a\n# pha4pgsql"));
    assert_eq!(
        with_lines(b"", Place::End, &lines)
            .iter()
            .filter(|b| **b == b'\n')
            .count(),
        3
    );
}

#[test]
fn a_row_that_was_owned_is_used() {
    for (term, owner, whole, wanted) in [
        (Some(0), None, true, InitLock::Fresh),
        (Some(0), Some(""), true, InitLock::Fresh),
        (None, None, false, InitLock::Lacking),
        (Some(1), None, true, InitLock::Used),
        (None, Some("node1"), false, InitLock::Used),
    ] {
        assert_eq!(
            InitLock::of_row(term, owner, whole),
            wanted,
            "{term:?} {owner:?}"
        );
    }
}
