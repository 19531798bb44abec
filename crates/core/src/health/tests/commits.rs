//! Commits that wait.

use super::*;
use crate::parse::standby_names::StandbyNames;
use crate::register::Seen;

/// Commits wait for node2.
fn commits(waiting: usize) -> CommitWaits {
    CommitWaits {
        names: StandbyNames::first(1, ["node2@0123456789abcdef"]),
        waiting,
        since: (waiting > 0).then(|| "2026-01-01 03:00:00+00".to_owned()),
        longest_seconds: (waiting > 0).then_some(41.6),
    }
}

fn streaming() -> Vec<ReplicationRow> {
    vec![ReplicationRow {
        address: None,
        node: None,
        standby: "node2@0123456789abcdef".to_owned(),
        state: Some(WalSenderState::Streaming),
        sync_state: Some(SyncState::Sync),
        flush_lag_bytes: Some(0),
        replay_lag_bytes: Some(0),
        replay_lag_seconds: None,
    }]
}

fn memory(term: u64, epoch: u64) -> Memory {
    Memory {
        term,
        epoch,
        ..Memory::default()
    }
}

/// What the rule says of a healthy cluster with these commits, standbys and register.
fn said(
    commits: &CommitWaits,
    standbys: &[ReplicationRow],
    reading: &Reading,
    memory: &Memory,
) -> Option<(Level, String, String)> {
    let cluster = cluster(&[PRIMARY, STANDBY], &Extra::default());
    said_of(&cluster, commits, standbys, reading, memory)
}

fn said_of(
    cluster: &Cluster,
    commits: &CommitWaits,
    standbys: &[ReplicationRow],
    reading: &Reading,
    memory: &Memory,
) -> Option<(Level, String, String)> {
    let verdict = judge(&Observation {
        replication: Some(standbys),
        commits: Some(commits),
        memory: Some(memory),
        ..seen(cluster, &two_nodes(), RegisterSeen::Read(reading))
    });
    let mut found = verdict.findings.into_iter().filter(|f| f.id == "commits");
    let finding = found.next()?;
    Some((finding.level, finding.said(), finding.next().unwrap()))
}

#[test]
fn commits_that_wait_are_said_with_the_reason_and_what_to_type() {
    let (row, known) = (row("node1", 4), memory(3, 5));
    let unknown = Reading::Unknown(Trouble::Unreachable("refused".to_owned()));
    let gone: [ReplicationRow; 0] = [];
    let cases = [
        (
            said(&commits(3), &gone, &row, &known),
            "3 commits wait for node2, since 2026-01-01 03:00:00+00 (42 s): it does not stream",
            "the primary goes on without it by itself",
        ),
        (
            said(&commits(1), &streaming(), &row, &known),
            "1 commit waits for node2, since 2026-01-01 03:00:00+00 (42 s): it streams, and does not confirm them",
            "cls_standby_node node2",
        ),
        (
            said(&commits(1), &streaming(), &unknown, &known),
            "1 commit waits for node2, since 2026-01-01 03:00:00+00 (42 s): it streams, and does not confirm them",
            "cls_standby_node node2",
        ),
        (
            said(&commits(0), &gone, &unknown, &known),
            "every commit has to wait for node2: it does not stream, and the lock service cannot be asked",
            "bring back one of the two",
        ),
        (
            said(&commits(2), &gone, &Reading::Missing, &known),
            "2 commits wait for node2, since 2026-01-01 03:00:00+00 (42 s): it does not stream, and the register is damaged",
            "cls_recovery_master",
        ),
        (
            said(&commits(0), &gone, &foreign(), &known),
            "every commit has to wait for node2: it does not stream, and the register's row is another database's",
            "if another cluster uses the same lock name, give",
        ),
        (
            said(&commits(0), &gone, &row, &memory(4, 5)),
            "every commit has to wait for node2: it does not stream, and the register is damaged",
            "cls_recovery_master",
        ),
    ];
    for (said, text, remedy) in cases {
        let (level, found, next) = said.unwrap_or_else(|| panic!("not found: {text}"));
        assert_eq!((level, found.as_str()), (Level::Critical, text));
        assert!(next.contains(remedy), "{next}");
    }
}

/// Pacemaker runs no monitors then, and takes nothing out of service where it does not act.
#[test]
fn what_a_primary_does_by_itself_it_does_not_in_a_maintenance() {
    let (row, known) = (row("node1", 4), memory(3, 5));
    let of = |cluster: &Cluster, standbys: &[ReplicationRow]| {
        let (_, text, next) = said_of(cluster, &commits(2), standbys, &row, &known).unwrap();
        let (_, why) = text.split_once("(42 s): ").unwrap();
        (why.to_owned(), next)
    };
    let with = |meta, properties| {
        let extra = Extra {
            meta,
            properties,
            ..Extra::default()
        };
        cluster(&[PRIMARY, STANDBY], &extra)
    };
    let unmanaged = with(r#"<nvpair id="x" name="is-managed" value="false"/>"#, "");
    let mut node = with("", "");
    for there in node.nodes.values_mut() {
        there.maintenance = true;
    }
    let database = with(r#"<nvpair id="x" name="maintenance" value="true"/>"#, "");
    let maintenances = [
        (with("", MAINTENANCE_MODE), "cls_manage"),
        (database, "cls_manage"),
        (node, "crm_attribute -N node1 -n maintenance -D"),
    ];
    for (cluster, command) in &maintenances {
        let (why, next) = of(cluster, &[]);
        assert!(why.contains("runs no monitors of the primary"), "{why}");
        let expected = format!("{command}; the primary's next monitor then goes on without it");
        assert_eq!(next, expected);
    }
    // Its monitors run.
    assert_eq!(of(&unmanaged, &[]).0, "it does not stream");
    let slow = maintenances
        .iter()
        .map(|(cluster, command)| (cluster, *command));
    for (cluster, command) in slow.chain([(&unmanaged, "cls_manage")]) {
        let (_, next) = of(cluster, &streaming());
        let expected = format!("{command}, then cls_standby_node node2 lets commits go on");
        assert!(next.contains(&expected), "{next}");
    }
}

/// cls_standby_node takes one name.
#[test]
fn each_of_several_standbys_has_a_command_of_its_own() {
    let several = CommitWaits {
        names: StandbyNames::first(2, ["node2@0123456789abcdef", "node3"]),
        ..commits(1)
    };
    let (_, _, next) = said(&several, &streaming(), &row("node1", 4), &memory(3, 5)).unwrap();
    assert!(
        next.ends_with(
            "log; cls_standby_node node2 and cls_standby_node node3 lets commits go on without it"
        ),
        "{next}"
    );
}

#[test]
fn nothing_is_said_while_commits_are_confirmed_or_wait_for_nobody() {
    let (row, known) = (row("node1", 4), memory(3, 5));
    let unknown = Reading::Unknown(Trouble::Unreachable("refused".to_owned()));
    let off = CommitWaits {
        names: StandbyNames::Off,
        ..commits(0)
    };
    assert_eq!(said(&commits(0), &streaming(), &row, &known), None);
    assert_eq!(said(&commits(0), &streaming(), &unknown, &known), None);
    assert_eq!(said(&commits(0), &[], &row, &known), None, "it is let go");
    assert_eq!(said(&off, &[], &unknown, &known), None);
}

/// An empty row for a cluster that has run is one that was moved: nothing in it is damaged.
#[test]
fn a_register_that_was_moved_is_new() {
    let cluster = cluster(&[PRIMARY, STANDBY], &Extra::default());
    let Reading::Row(row) = row("node2", 0) else {
        unreachable!()
    };
    let empty = Reading::Row(Register {
        owner: None,
        term: 0,
        epoch: 0,
        holders: BTreeSet::new(),
        ..row
    });
    let found = |memory: &Memory| {
        judge(&Observation {
            memory: Some(memory),
            ..seen(&cluster, &two_nodes(), RegisterSeen::Read(&empty))
        })
        .findings
    };
    let [moved] = &found(&memory(4, 5))[..] else {
        panic!("{:?}", found(&memory(4, 5)))
    };
    assert_eq!((moved.id, moved.level), ("register", Level::Critical));
    assert_eq!(
        moved.said(),
        "the lock service's row is new (term 0), but this cluster has seen term 4: the lock service was moved to another server or name, or the row was made anew"
    );
    let next = moved.next().unwrap();
    assert!(
        next.starts_with("if it was moved on purpose: cls_recovery_master, once"),
        "{next}"
    );
}

/// A row that was put back looks like a good one, but for what this node has seen.
#[test]
fn a_register_that_was_put_back_is_damaged() {
    let found_beside = |memory: Option<&Memory>, told: Option<Seen>| {
        let mut cluster = cluster(&[PRIMARY, STANDBY], &Extra::default());
        cluster.seen = told;
        let verdict = judge(&Observation {
            memory,
            ..seen(&cluster, &two_nodes(), RegisterSeen::Read(&row("node2", 0)))
        });
        let ids: Vec<&str> = verdict.findings.iter().map(|f| f.id).collect();
        (verdict.level, ids)
    };
    let found = |memory: &Memory| found_beside(Some(memory), None);
    // What it says of the owner and the lease is not believed either.
    assert_eq!(found(&memory(4, 5)), (Level::Critical, vec!["register"]));
    assert_eq!(found(&memory(3, 6)), (Level::Critical, vec!["register"]));
    assert_eq!(found(&memory(3, 5)), (Level::Critical, vec!["owner"]));
    // Nor where this node was away, or remembers nothing, and the cluster has seen more.
    let told = |epoch| Some(Seen { term: 3, epoch });
    for memory in [Some(&memory(3, 5)), None] {
        assert_eq!(found_beside(memory, told(6)).1, ["register"]);
        assert_eq!(found_beside(memory, told(5)).1, ["owner"]);
    }
}
