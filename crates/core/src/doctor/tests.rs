#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::cluster::WithoutQuorum;
use crate::hindrance::Hindrance;
use crate::message::Language;
use crate::params::Params;
use crate::register::Seen;

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn lets(e: &mut Examination, given: (&str, &str, &str, Option<&str>, &str)) {
    if let Some(Ok(server)) = &mut facts(e).server
        && let Some(Ok(lines)) = &mut server.replication
    {
        lines.push(line(given));
    }
}

fn line(
    (kind, user, address, mask, method): (&str, &str, &str, Option<&str>, &str),
) -> ReplicationLine {
    ReplicationLine {
        number: "7".to_owned(),
        kind: kind.to_owned(),
        users: vec![user.to_owned()],
        address: address.to_owned(),
        mask: mask.map(str::to_owned),
        method: method.to_owned(),
    }
}

fn healthy(me: &str) -> NodeFacts {
    let peer = name(if me == "node1" { "node2" } else { "node1" });
    let addresses = [("node1", "10.0.0.1"), ("node2", "10.0.0.2")];
    let settings = [
        ("wal_level", "replica"),
        ("max_wal_senders", "10"),
        ("hot_standby", "on"),
        ("listen_addresses", "*"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("restart_after_crash", "off"),
        ("wal_sender_timeout", "5000"),
        ("wal_receiver_timeout", "5000"),
        ("wal_log_hints", "on"),
        ("data_checksums", "off"),
        ("wal_keep_size", "512"),
        ("max_connections", "100"),
    ];
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    };
    NodeFacts {
        programs: ["cls", "expgsql", "pg_rewind", "pacemakerd"]
            .map(|program| (program.to_owned(), Some("1".to_owned())))
            .into(),
        names: addresses
            .map(|(node, address)| (name(node), Ok(vec![address.to_owned()])))
            .into(),
        ssh: [(peer.clone(), Ok(()))].into(),
        promise: [(peer.clone(), Some(Ok(())))].into(),
        replication: [(peer, Some(Ok(())))].into(),
        in_clear: Vec::new(),
        lock: Some(Ok(LockFacts {
            settings: text(&[("fsync", "on")]),
            standby: false,
            named: Some(vec!["node1".to_owned(), String::new()]),
            come: Some(Seen { term: 4, epoch: 7 }),
            refused: None,
            superuser: false,
            table_owner: None,
            own_row_only: true,
        })),
        server: Some(Ok(ServerFacts {
            settings: text(&settings),
            own: vec![],
            role: Some(well(me)),
            pending: vec![],
            file_errors: Some(Ok(vec![])),
            replication: Some(Ok([
                ("local", "all", "", None, "trust"),
                ("host", "all", "samehost", None, "trust"),
                (
                    "host",
                    "replication",
                    "10.0.0.2",
                    Some("255.255.255.255"),
                    "trust",
                ),
                ("host", "replication", "node2", None, "trust"),
                (
                    "hostssl",
                    "replication",
                    "10.0.0.0",
                    Some("255.255.255.0"),
                    "scram-sha-256",
                ),
                ("hostssl", "all", "0.0.0.0", Some("0.0.0.0"), "cert"),
            ]
            .map(line)
            .into())),
        })),
        files: [(
            "/opt/pha4pgsql/config.ini".to_owned(),
            Some(FileFacts {
                mode: 0o600,
                owner: "root".to_owned(),
            }),
        )]
        .into(),
        passfiles: BTreeMap::new(),
        totem: Some(TotemFacts {
            token: 1650,
            consensus: 1980,
            device: None,
        }),
        disks: [(
            "/data".to_owned(),
            DiskFacts {
                free: 50 << 30,
                size: 100 << 30,
                ..DiskFacts::default()
            },
        )]
        .into(),
        site: None,
    }
}

/// The role for replication as it should be; node1 is the primary.
fn well(me: &str) -> RoleFacts {
    RoleFacts {
        major: 15,
        standby: me != "node1",
        database: "postgres".to_owned(),
        rights: Some(RoleRights {
            login: true,
            replication: true,
            temporary: true,
            ..RoleRights::default()
        }),
    }
}

fn examination() -> Examination {
    let given = [
        ("rep_mode", "sync"),
        ("node_list", "node1 node2"),
        ("master_ip", "10.0.0.9"),
        ("repuser", "replication"),
        ("enable_distlock", "true"),
        ("distlock_conninfo", "host=l"),
        ("distlock_lockname", "x"),
    ];
    let node = |me: &str| (name(me), Ok(healthy(me)));
    Examination {
        layout: crate::layout::Layout::Directory,
        params: Params::parse(given).unwrap().0,
        nodes: [node("node1"), node("node2")].into(),
        clocks: [(name("node2"), (0.3, 0.1))].into(),
        setup: Ok(Vec::new()),
        site: Vec::new(),
        set_up: true,
        monitor: Some(3),
        register: Some(Seen { term: 4, epoch: 6 }),
        fencing: false,
        without_quorum: WithoutQuorum::GoesOn,
    }
}

fn bad(examination: &Examination) -> Vec<Check> {
    let mut checks = examination.judge();
    checks.retain(|check| check.level != Level::Ok);
    checks
}

#[test]
fn all_is_well_in_one_line_for_each_rule() {
    let checks = examination().judge();
    assert!(
        checks.iter().all(|check| check.level == Level::Ok),
        "{checks:?}"
    );
    let lines: Vec<String> = checks
        .iter()
        .map(|check| format!("{}: {}", check.id, check.text))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// Every line of the doctor that needs no fact of a site is Chinese where the operator reads Chinese.
#[test]
fn all_is_well_in_chinese_too() {
    for check in examination().judge() {
        let text = check.text.in_language(Language::Chinese);
        assert!(!text.is_ascii(), "{}: {text}", check.id);
    }
    let mut seen = examination();
    role(&mut seen).rights = None;
    let found = bad(&seen).remove(0);
    assert_eq!(
        found.text.in_language(Language::Chinese),
        "没有用户 replication（pgsql_repuser）：备库无法连接"
    );
    let remedy = found.remedy.unwrap().in_language(Language::Chinese);
    assert!(
        remedy.starts_with("之后用 \\password 设密码；在主库上用 psql"),
        "{remedy}"
    );
}

/// The lines that are what another program has said, as a whole.
const QUOTED: [&str; 7] = [
    "nodes",
    "passwords",
    "lock-service",
    "lock-rights",
    "server",
    "site",
    "pacemaker",
];

/// No sentence is left in English: what can be typed is the same in both languages, and what others have said.
fn said_in_chinese(check: &Check) {
    let text = check.text.in_language(Language::Chinese);
    let plain = QUOTED.contains(&check.id) || !text.is_ascii();
    assert!(plain, "{}: {text}", check.id);
    let remedy = check
        .remedy
        .as_ref()
        .unwrap()
        .in_language(Language::Chinese);
    let typed = ["cls_setup", "chmod ", "sh install.sh"];
    let quoted = ["nodes", "ssh", "promise", "passwords", "site"];
    let plain = quoted.contains(&check.id) || typed.iter().any(|word| remedy.starts_with(word));
    assert!(plain || !remedy.is_ascii(), "{}: {remedy}", check.id);
}

type Spoil = fn(&mut Examination);

fn facts(examination: &mut Examination) -> &mut NodeFacts {
    let node = examination.nodes.get_mut(&name("node2")).unwrap();
    node.as_mut().unwrap()
}

fn server(examination: &mut Examination) -> &mut BTreeMap<String, String> {
    let server = facts(examination).server.as_mut().unwrap();
    &mut server.as_mut().unwrap().settings
}

/// A node that is as node2 is.
fn set(examination: &mut Examination, name: &str, value: &str) {
    server(examination).insert(name.to_owned(), value.to_owned());
}

fn own(examination: &mut Examination, name: &str, value: &str) {
    let server = facts(examination).server.as_mut().unwrap();
    server.as_mut().unwrap().own.push(OwnSetting {
        of: "role app".to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
    });
}

/// The primary's word on the role for replication; node2 is behind.
fn role(examination: &mut Examination) -> &mut RoleFacts {
    let node = examination.nodes.get_mut(&name("node1")).unwrap();
    let server = node.as_mut().unwrap().server.as_mut().unwrap();
    server.as_mut().unwrap().role.as_mut().unwrap()
}

fn rights(examination: &mut Examination) -> &mut RoleRights {
    role(examination).rights.as_mut().unwrap()
}

fn lock(examination: &mut Examination) -> &mut LockFacts {
    facts(examination).lock.as_mut().unwrap().as_mut().unwrap()
}

/// The row is one for all: what the first node says of it is taken.
fn first_lock(examination: &mut Examination) -> &mut LockFacts {
    let node = examination.nodes.get_mut(&name("node1")).unwrap();
    let facts = node.as_mut().unwrap();
    facts.lock.as_mut().unwrap().as_mut().unwrap()
}

/// What a lock service that was moved says, and what an emptied one.
#[test]
fn a_lock_service_that_was_moved_is_no_damaged_one() {
    let said = |come: Option<Seen>, told: Option<Seen>, row: bool| {
        let mut seen = examination();
        seen.register = told;
        let lock = first_lock(&mut seen);
        lock.come = come;
        lock.named = row.then(Vec::new);
        let found = bad(&seen).into_iter().next();
        found.map(|found| (found.text.to_string(), found.remedy.unwrap().to_string()))
    };
    let (old, new) = (Some(Seen { term: 4, epoch: 7 }), Some(Seen::default()));
    let (text, remedy) = said(new, old, true).unwrap();
    assert!(text.contains("the lock service was moved"), "{text}");
    assert!(remedy.contains("cls_recovery_master, once"), "{remedy}");
    // The cluster has never had a primary.
    assert_eq!(said(new, None, true), None);
    assert_eq!(said(new, new, true), None);
    // It knows more than the cluster was told, and an older agent says nothing of it.
    assert_eq!(said(Some(Seen { term: 5, epoch: 9 }), old, true), None);
    assert_eq!(said(None, old, true), None);
    let (text, remedy) = said(Some(Seen { term: 3, epoch: 7 }), old, true).unwrap();
    assert!(text.contains("restored from a backup"), "{text}");
    assert!(remedy.contains("writes it anew"), "{remedy}");
    let (_, remedy) = said(None, old, false).unwrap();
    assert!(remedy.contains("and then cls_recovery_master"), "{remedy}");
    assert_eq!(said(None, None, false).unwrap().1, "cls_setup makes it");
}

/// Each spoils one thing; exactly the rule that looks at it finds it, on the node where it is.
#[test]
fn a_setting_that_waits_for_a_restart_is_a_note() {
    let mut seen = examination();
    if let Some(Ok(server)) = &mut facts(&mut seen).server {
        server.pending = vec!["max_connections".to_owned(), "shared_buffers".to_owned()];
    }
    assert_eq!(bad(&seen), []);
    let checks = seen.judge();
    let mut notes = checks.iter().filter(|check| check.id == "pending-restart");
    let note = notes.next().unwrap();
    assert!(
        note.text
            .to_string()
            .ends_with("PostgreSQL: max_connections, shared_buffers")
    );
    assert!(
        note.remedy
            .as_ref()
            .unwrap()
            .to_string()
            .starts_with("cls_restart --pending")
    );
    assert!(note.node.is_some() && notes.next().is_none());
}

#[test]
fn every_rule_finds_what_it_looks_for() {
    use Level::{Error, Warning};
    let cases: &[(&str, Level, Spoil)] = &[
        ("nodes", Error, |e| {
            e.nodes
                .insert(name("node2"), Err(Hindrance::of(&"no route")));
        }),
        ("names", Error, |e| {
            facts(e)
                .names
                .insert(name("node1"), Err("unknown".to_owned()));
        }),
        ("names", Warning, |e| {
            let own = vec!["127.0.1.1".to_owned()];
            facts(e).names.insert(name("node2"), Ok(own));
        }),
        ("ssh", Error, |e| {
            facts(e)
                .ssh
                .insert(name("node1"), Err(Hindrance::of(&"denied")));
        }),
        ("promise", Error, |e| {
            let why = Hindrance::new("ssh to node1: nobody listens there", "start sshd on node1");
            facts(e).promise.insert(name("node1"), Some(Err(why)));
        }),
        ("passwords", Warning, |e| {
            let (what, remedy) = ("the password could travel", "sslmode=verify-full");
            facts(e).in_clear.push((what.to_owned(), remedy.to_owned()));
        }),
        ("clocks", Warning, |e| {
            e.clocks.insert(name("node2"), (-2.0, 0.1));
        }),
        ("clocks", Error, |e| {
            e.clocks.insert(name("node2"), (90.0, 0.1));
        }),
        ("programs", Warning, |e| {
            facts(e).programs.insert("pg_rewind".to_owned(), None);
        }),
        ("programs", Error, |e| {
            facts(e).programs.insert("expgsql".to_owned(), None);
        }),
        ("programs", Error, |e| {
            facts(e).programs.insert("pg_waldump".to_owned(), None);
        }),
        ("programs", Error, |e| {
            facts(e).programs.insert("crm_resource".to_owned(), None);
        }),
        ("versions", Warning, |e| {
            let other = Some("2".to_owned());
            facts(e).programs.insert("pacemakerd".to_owned(), other);
        }),
        ("versions", Warning, |e| {
            let other = Some("2".to_owned());
            facts(e).programs.insert("pg_rewind".to_owned(), other);
        }),
        ("files", Error, |e| {
            let file = facts(e).files.values_mut().next().unwrap();
            file.as_mut().unwrap().mode = 0o644;
        }),
        ("files", Error, |e| {
            facts(e)
                .passfiles
                .insert("/root/lock.pass".to_owned(), None);
        }),
        ("files", Error, |e| {
            let file = FileFacts {
                mode: 0o644,
                owner: "0".to_owned(),
            };
            // Once, also where it is one of those that are looked at anyway.
            facts(e)
                .files
                .insert("/root/.pgpass".to_owned(), Some(file.clone()));
            facts(e)
                .passfiles
                .insert("/root/.pgpass".to_owned(), Some(file));
        }),
        ("disks", Warning, |e| {
            facts(e).disks.values_mut().next().unwrap().free = 5 << 30;
        }),
        ("disks", Error, |e| {
            facts(e).disks.values_mut().next().unwrap().free = 1 << 20;
        }),
        ("disks", Error, |e| {
            facts(e).disks.values_mut().next().unwrap().read_only = true;
        }),
        ("lock-service", Error, |e| {
            facts(e).lock = Some(Err("refused".to_owned()));
        }),
        ("lock-service", Error, |e| lock(e).standby = true),
        ("lock-service", Error, |e| {
            lock(e)
                .settings
                .insert("fsync".to_owned(), "off".to_owned());
        }),
        ("lock-rights", Error, |e| {
            lock(e).refused = Some("promoting a node: permission denied".to_owned());
        }),
        ("lock-rights", Error, |e| {
            lock(e).superuser = true;
            lock(e).table_owner = Some("mallory".to_owned());
        }),
        ("lock-rights", Warning, |e| lock(e).superuser = true),
        ("lock-rights", Warning, |e| lock(e).own_row_only = false),
        ("lock-name", Error, |e| {
            first_lock(e).named = Some(vec!["othernode".to_owned()]);
        }),
        ("lock-name", Error, |e| {
            first_lock(e).come = Some(Seen { term: 0, epoch: 0 });
        }),
        ("lock-name", Error, |e| {
            first_lock(e).come = Some(Seen { term: 4, epoch: 5 });
        }),
        ("lease", Warning, |e| {
            e.params.distlock_ttl = Duration::from_secs(1);
        }),
        ("arbiter", Error, |e| {
            e.params.lock_service = crate::params::LockService::Off;
        }),
        ("site", Error, |e| {
            e.site = vec![crate::setup::SiteFinding {
                what: "there is no interface vip_nic=eth9".into(),
                nodes: vec![name("node2")],
                remedy: "vip_nic=eth0 in config.ini, or none".into(),
                refused: true,
            }];
        }),
        // cls_setup would write it all the same.
        ("site", Warning, |e| {
            e.site = vec![crate::setup::SiteFinding {
                what: "config.ini is another one on node2".into(),
                nodes: vec![name("node2")],
                remedy: "sh install.sh".into(),
                refused: false,
            }];
        }),
        ("pacemaker", Warning, |e| e.setup = Ok(vec!["+ x".into()])),
        ("pacemaker", Error, |e| e.setup = Err("none".to_owned())),
        // Before the first set-up each of its many changes would be a line.
        ("pacemaker", Warning, |e| {
            e.set_up = false;
            e.setup = Ok(["+ x", "+ y", "+ z"].map(Message::from).into());
        }),
        // What is not known of a stopped server is no finding.
        ("rewind", Warning, |e| {
            server(e).remove("listen_addresses");
            set(e, "wal_log_hints", "off");
        }),
        ("server", Error, |e| {
            facts(e).server = Some(Err("no such file".to_owned()));
        }),
        ("replication-settings", Error, |e| {
            set(e, "wal_level", "minimal")
        }),
        ("replication-settings", Error, |e| {
            set(e, "hot_standby", "off")
        }),
        ("replication-settings", Error, |e| {
            set(e, "listen_addresses", "localhost, ::1");
        }),
        ("durability", Error, |e| set(e, "fsync", "off")),
        ("durability", Error, |e| {
            set(e, "synchronous_commit", "remote_write");
        }),
        ("waiting", Warning, |e| set(e, "statement_timeout", "400")),
        ("waiting", Warning, |e| {
            own(e, "synchronous_commit", "local")
        }),
        ("waiting", Warning, |e| own(e, "statement_timeout", "30s")),
        ("durability", Error, |e| {
            set(e, "synchronous_commit", "local")
        }),
        ("durability", Warning, |e| {
            set(e, "restart_after_crash", "on")
        }),
        ("timeouts", Warning, |e| set(e, "wal_sender_timeout", "0")),
        ("timeouts", Warning, |e| {
            set(e, "wal_receiver_timeout", "60000")
        }),
        // What corosync prints where its token is longer than PostgreSQL's patience.
        ("membership", Warning, |e| {
            e.without_quorum = WithoutQuorum::Ends;
            facts(e).totem = TotemFacts::parse(
                "runtime.config.totem.consensus (u32) = 4380\n\
                 runtime.config.totem.token (u32) = 3650\n\
                 runtime.config.totem.token_retransmit (u32) = 869\n",
            );
        }),
        ("membership", Warning, |e| {
            e.without_quorum = WithoutQuorum::Fenced;
            facts(e).totem = TotemFacts::parse(
                "quorum.device.model (str) = net\n\
                 runtime.config.totem.consensus (u32) = 1200\n\
                 runtime.config.totem.token (u32) = 1000\n",
            );
        }),
        ("rewind", Warning, |e| set(e, "wal_log_hints", "off")),
        ("retention", Warning, |e| set(e, "wal_keep_size", "0")),
        ("standby-limits", Error, |e| set(e, "max_connections", "50")),
        ("replication-access", Error, |e| {
            let rejected = Some(Err("no pg_hba.conf entry".to_owned()));
            facts(e).replication.insert(name("node1"), rejected);
        }),
        ("replication-strangers", Warning, |e| {
            if let Some(Ok(server)) = &mut facts(e).server {
                server.replication = Some(Err("permission denied".to_owned()));
            }
        }),
        ("replication-strangers", Warning, |e| {
            lets(
                e,
                ("host", "all", "0.0.0.0", Some("0.0.0.0"), "scram-sha-256"),
            )
        }),
        ("replication-strangers", Warning, |e| {
            lets(e, ("hostssl", "replication", "::", Some("::"), "md5"))
        }),
        ("replication-strangers", Warning, |e| {
            lets(e, ("host", "replication", "all", None, "trust"))
        }),
        ("replication-strangers", Warning, |e| {
            lets(
                e,
                (
                    "host",
                    "replication",
                    "10.0.0.0",
                    Some("255.255.255.0"),
                    "trust",
                ),
            )
        }),
        ("replication-strangers", Warning, |e| {
            lets(e, ("host", "replication", "samenet", None, "trust"))
        }),
        ("replication-strangers", Warning, |e| {
            lets(e, ("host", "replication", ".example.com", None, "trust"))
        }),
        ("replication-role", Error, |e| role(e).rights = None),
        ("replication-role", Error, |e| rights(e).login = false),
        ("replication-role", Error, |e| rights(e).replication = false),
        ("replication-role", Warning, |e| rights(e).superuser = true),
        ("replication-role", Warning, |e| {
            e.params.repuser = "postgres".to_owned();
            rights(e).superuser = true;
        }),
        ("replication-role", Warning, |e| {
            rights(e).member_of.push("dba".to_owned());
        }),
        ("replication-role", Warning, |e| {
            rights(e).refused.push(REWIND_FUNCTIONS[2].to_owned());
        }),
        ("replication-role", Warning, |e| {
            role(e).major = 13;
            rights(e).temporary = false;
        }),
        ("log", Warning, |e| set(e, "logging_collector", "off")),
        ("file-errors", Error, |e| {
            let line = "postgresql.conf line 9: x: unrecognized configuration parameter";
            if let Some(Ok(server)) = &mut facts(e).server {
                server.file_errors = Some(Ok(vec![line.to_owned()]));
            }
        }),
        ("replication-role", Warning, |e| role(e).major = 10),
    ];
    for (id, level, spoil) in cases {
        let mut examination = examination();
        spoil(&mut examination);
        let found = bad(&examination);
        let [check] = &found[..] else {
            panic!("{id}: {found:?}");
        };
        assert_eq!((check.id, check.level), (*id, *level), "{check:?}");
        assert!(
            check
                .remedy
                .as_ref()
                .is_some_and(|remedy| !remedy.to_string().is_empty())
        );
        said_in_chinese(check);
    }
    let all: std::collections::BTreeSet<&str> =
        examination().judge().iter().map(|check| check.id).collect();
    let mut tested: std::collections::BTreeSet<&str> = cases.iter().map(|case| case.0).collect();
    // It spoils nothing: a note, with a test of its own.
    tested.insert("pending-restart");
    assert_eq!(all, tested, "a rule that no case spoils");
}

#[test]
fn errors_in_files_that_cannot_be_seen_are_not_taken_for_none() {
    let judged = |errors| {
        let mut examination = examination();
        if let Some(Ok(server)) = &mut facts(&mut examination).server {
            server.file_errors = errors;
        }
        let found = bad(&examination);
        found.first().map(|check| (check.id, check.level))
    };
    let refused = Some(Err("permission denied".to_owned()));
    assert_eq!(judged(refused), Some(("file-errors", Level::Warning)));
    // A server that is stopped is asked by `postgres -C`, whose answer is the rule `server`'s.
    assert_eq!(judged(None), None);
}

#[test]
fn too_few_senders_count_standbys_and_rebuilds() {
    for (many, level) in [("0", Level::Error), ("2", Level::Warning)] {
        let mut examination = examination();
        for facts in examination.nodes.values_mut() {
            let server = facts.as_mut().unwrap().server.as_mut().unwrap();
            let settings = &mut server.as_mut().unwrap().settings;
            settings.insert("max_wal_senders".to_owned(), many.to_owned());
        }
        let found = bad(&examination);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|check| check.level == level));
    }
}

#[test]
fn of_two_pacemakers_the_older_one_is_said_not_to_come_back() {
    for (program, said) in [("pacemakerd", true), ("pg_rewind", false)] {
        let mut examination = examination();
        let other = Some("2".to_owned());
        facts(&mut examination)
            .programs
            .insert(program.to_owned(), other);
        let found = bad(&examination);
        assert_eq!(found.len(), 1, "{found:?}");
        let text = "a node with the older one that leaves the cluster";
        assert_eq!(found[0].text.to_string().contains(text), said, "{found:?}");
    }
}

/// What the rule about the role advises.
fn advised(spoil: impl Fn(&mut Examination)) -> String {
    let mut examination = examination();
    spoil(&mut examination);
    let mut found = bad(&examination);
    assert_eq!(found.len(), 1, "{found:?}");
    let remedy = found.remove(0).remedy.unwrap().to_string();
    let place = "in psql on the primary, in the database postgres: ";
    let (_, sql) = remedy
        .split_once(place)
        .unwrap_or_else(|| panic!("{remedy}"));
    sql.to_owned()
}

const GRANT: &str = "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean), \
    pg_catalog.pg_stat_file(text, boolean), pg_catalog.pg_read_binary_file(text), \
    pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO";

#[test]
fn a_superuser_is_granted_what_it_needs_before_it_is_none() {
    let sql = advised(|e| {
        rights(e).superuser = true;
        rights(e).member_of.push("dba \"x\"".to_owned());
    });
    assert_eq!(
        sql,
        format!(
            "{GRANT} \"replication\"; GRANT pg_monitor TO \"replication\"; \
             REVOKE \"dba \"\"x\"\"\" FROM \"replication\"; \
             ALTER ROLE \"replication\" REPLICATION NOSUPERUSER;"
        )
    );
    // With a role for monitoring nobody asks as this one.
    let sql = advised(|e| {
        rights(e).superuser = true;
        role(e).major = 13;
        e.params.monitor_user = Some("watch".to_owned());
    });
    assert!(!sql.contains("pg_monitor"), "{sql}");
    let temporary = "GRANT TEMPORARY ON DATABASE \"postgres\" TO \"replication\";";
    assert!(sql.contains(temporary), "{sql}");
}

#[test]
fn the_agents_own_role_keeps_its_rights() {
    for (pgdba, monitor_user) in [("postgres", None), ("dba", Some("postgres"))] {
        let sql = advised(|e| {
            e.params.repuser = "postgres".to_owned();
            e.params.pgdba = pgdba.to_owned();
            e.params.monitor_user = monitor_user.map(str::to_owned);
            rights(e).superuser = true;
        });
        assert!(
            sql.starts_with("CREATE ROLE \"replication\" LOGIN REPLICATION; "),
            "{sql}"
        );
        assert!(!sql.contains("\"postgres\""), "{sql}");
    }
}

#[test]
fn exactly_what_is_missing_is_granted() {
    let sql = advised(|e| {
        e.params.repuser = "o'neill \"x\"".to_owned();
        rights(e).replication = false;
        rights(e).refused.push(REWIND_FUNCTIONS[1].to_owned());
    });
    assert_eq!(
        sql,
        "ALTER ROLE \"o'neill \"\"x\"\"\" LOGIN REPLICATION; \
         GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO \"o'neill \"\"x\"\"\";"
    );
}

#[test]
fn the_primary_is_believed_and_nobody_where_none_runs() {
    let mut seen = examination();
    let node2 = facts(&mut seen).server.as_mut().unwrap();
    let role = node2.as_mut().unwrap().role.as_mut().unwrap();
    role.rights.as_mut().unwrap().superuser = true;
    assert!(bad(&seen).is_empty(), "a standby that is behind");
    let node1 = seen.nodes.get_mut(&name("node1")).unwrap();
    *node1 = Ok(NodeFacts {
        server: Some(Ok(ServerFacts {
            role: None,
            ..node1.as_ref().unwrap().server.clone().unwrap().unwrap()
        })),
        ..node1.clone().unwrap()
    });
    let found = bad(&seen);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].id, "replication-role");
}

/// The manual has the statements that the doctor advises, so that nobody grants other ones.
#[test]
fn the_manual_grants_what_the_doctor_asks_for() {
    for manual in [
        include_str!("../../../../docs/manual.md"),
        include_str!("../../../../docs/manual.zh.md"),
    ] {
        assert!(manual.contains(&format!("{GRANT} replication")));
        assert!(manual.contains("GRANT pg_monitor TO replication"));
    }
}
