#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use super::*;
use crate::lineage::Kinship;
use crate::register::{Register, Reply, Seen, Trouble};

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn register(owner: &str, holders: &[&str]) -> Reading {
    Reading::Row(Register {
        owner: Some(name(owner)),
        term: 3,
        epoch: 5,
        holders: holders
            .iter()
            .map(|node| name(node))
            .collect::<BTreeSet<_>>(),
        ..Register::fresh()
    })
}

/// An old primary, down, with WAL of its own, while node2 has taken over.
fn diverged() -> CopyFacts {
    CopyFacts {
        node: name("node1"),
        replicated: true,
        promoted: vec![name("node2")],
        repl_info: Some(name("node2")),
        register: Some(register("node2", &["node2"])),
        seen: None,
        instance: Instance::Stopped,
        data: Data::Cluster {
            major: 15,
            clean: false,
            rewindable: true,
            system: 7,
        },
        primary_system: Some((7, 15)),
        managed: true,
        in_standby: false,
        kinship: None,
        unfinished: None,
        lacking: Vec::new(),
    }
}

const REPAIR: CopyRequest = CopyRequest {
    kind: CopyKind::Repair,
    or_rebuild: false,
    keep_old: false,
};
const REBUILD: CopyRequest = CopyRequest {
    kind: CopyKind::Rebuild,
    ..REPAIR
};

fn refused(request: &CopyRequest, facts: &CopyFacts) -> &'static str {
    match plan_copy(request, facts) {
        CopyVerdict::Refused(refusal) => {
            assert!(!refusal.hint.to_string().is_empty(), "{refusal:?}");
            refusal.id
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn go(request: &CopyRequest, facts: &CopyFacts) -> CopyPlan {
    match plan_copy(request, facts) {
        CopyVerdict::Go(plan) => plan,
        other => panic!("not begun: {other:?}"),
    }
}

#[test]
fn an_old_primary_is_rewound() {
    use CopyStep as S;
    let plan = go(&REPAIR, &diverged());
    // Should that not work, a copy takes their place.
    assert!(plan.moves_old_data());
    let empty = CopyPlan {
        method: Method::Backup,
        ..plan.clone()
    };
    assert!(!empty.moves_old_data());
    assert_eq!((plan.source, plan.term), (name("node2"), Some(3)));
    assert_eq!(
        plan.steps,
        [
            S::KeepConfiguration,
            S::Rewind,
            S::CheckSource,
            S::RestoreConfiguration,
            S::Cleanup,
            S::Await
        ]
    );
}

#[test]
fn a_holder_leaves_before_anything_else_touches_its_data() {
    let facts = CopyFacts {
        register: Some(register("node2", &["node1", "node2"])),
        instance: Instance::Standby { streaming: false },
        ..diverged()
    };
    let steps = go(&REPAIR, &facts).steps;
    assert_eq!(steps[..2], [CopyStep::TakeDown, CopyStep::Leave]);
    let rewind = steps.iter().position(|step| *step == CopyStep::Rewind);
    assert!(rewind > Some(1));
}

#[test]
fn each_refusal() {
    let d = diverged;
    let with = |change: &dyn Fn(&mut CopyFacts)| {
        let mut facts = d();
        change(&mut facts);
        facts
    };
    let cases: Vec<(&str, CopyRequest, CopyFacts)> = vec![
        ("copy-replicated", REPAIR, with(&|f| f.replicated = false)),
        ("copy-one-primary", REPAIR, with(&|f| f.promoted.clear())),
        (
            "copy-one-primary",
            REPAIR,
            with(&|f| f.promoted.push(name("node3"))),
        ),
        (
            "copy-not-the-primary",
            REPAIR,
            with(&|f| f.promoted = vec![name("node1")]),
        ),
        (
            "copy-register",
            REPAIR,
            with(&|f| f.register = Some(register("node1", &["node1", "node2"]))),
        ),
        (
            "copy-register",
            REPAIR,
            with(&|f| f.register = Some(Reading::Missing)),
        ),
        (
            "copy-register",
            REPAIR,
            with(&|f| f.register = Some(Reading::Damaged("x".to_owned().into()))),
        ),
        (
            "copy-register",
            REPAIR,
            with(&|f| {
                f.register = Some(Reading::Unknown(Trouble::Unreachable("x".into())));
            }),
        ),
        (
            "copy-register",
            REPAIR,
            with(&|f| f.register = Some(Reading::Row(Register::fresh()))),
        ),
        // It was put back to before what the cluster has seen.
        (
            "copy-register",
            REPAIR,
            with(&|f| f.seen = Some(Seen { term: 9, epoch: 9 })),
        ),
        (
            "copy-repl-info",
            REPAIR,
            with(&|f| {
                f.register = None;
                f.repl_info = Some(name("node1"));
            }),
        ),
        (
            "copy-last-holder",
            REPAIR,
            with(&|f| f.register = Some(register("node2", &["node1"]))),
        ),
        ("copy-managed", REPAIR, with(&|f| f.managed = false)),
        (
            "copy-nothing-changing",
            REPAIR,
            with(&|f| f.instance = Instance::Changing("start".into())),
        ),
        (
            "copy-foreign-server",
            REPAIR,
            with(&|f| f.instance = Instance::Foreign),
        ),
        (
            "copy-running-standby",
            REBUILD,
            with(&|f| f.instance = Instance::Standby { streaming: true }),
        ),
        (
            "copy-programs",
            REPAIR,
            with(&|f| f.lacking = vec![ServerProgram::Rewind]),
        ),
        (
            "copy-same-cluster",
            REPAIR,
            with(&|f| f.primary_system = Some((8, 15))),
        ),
        (
            "copy-same-cluster",
            REPAIR,
            with(&|f| f.primary_system = Some((7, 16))),
        ),
        ("rebuild-empty", REBUILD, d()),
        ("repair-possible", REPAIR, with(&|f| f.data = Data::Nothing)),
        (
            "repair-possible",
            REPAIR,
            with(&|f| f.data = Data::Unreadable("x".into())),
        ),
        (
            "repair-possible",
            REPAIR,
            with(&|f| f.unfinished = Some(Begun::Rewind)),
        ),
        (
            "repair-possible",
            REPAIR,
            with(&|f| {
                f.data = Data::Cluster {
                    major: 15,
                    clean: true,
                    rewindable: false,
                    system: 7,
                };
            }),
        ),
        (
            "repair-possible",
            REPAIR,
            with(&|f| {
                f.data = Data::Cluster {
                    major: 12,
                    clean: false,
                    rewindable: true,
                    system: 7,
                };
                f.primary_system = Some((7, 12));
            }),
        ),
    ];
    for (id, request, facts) in &cases {
        assert_eq!(refused(request, facts), *id, "{facts:?}");
    }
    for rule in COPY_RULES {
        assert!(
            cases.iter().any(|(id, _, _)| *id == rule.id),
            "{} is not tried",
            rule.id
        );
    }
}

#[test]
fn what_cannot_be_rewound_is_rebuilt_where_that_was_allowed() {
    let request = CopyRequest {
        or_rebuild: true,
        ..REPAIR
    };
    let facts = CopyFacts {
        unfinished: Some(Begun::Rewind),
        ..diverged()
    };
    let plan = go(&request, &facts);
    assert_eq!(plan.method, Method::Backup);
    assert!(plan.because.unwrap().to_string().contains("interrupted"));
    assert!(plan.steps.contains(&CopyStep::SetAside));
}

#[test]
fn a_rebuild_goes_on_after_an_interrupted_one() {
    let facts = CopyFacts {
        unfinished: Some(Begun::Backup),
        ..diverged()
    };
    assert_eq!(go(&REBUILD, &facts).method, Method::Backup);
    let empty = CopyFacts {
        data: Data::Nothing,
        ..diverged()
    };
    let plan = go(&REBUILD, &empty);
    assert!(!plan.steps.contains(&CopyStep::SetAside));
    // It had not written anything yet: its mark alone leads to what it has moved.
    let begun = CopyFacts {
        unfinished: Some(Begun::Backup),
        ..empty
    };
    assert!(go(&REBUILD, &begun).steps.contains(&CopyStep::SetAside));
}

#[test]
fn a_standby_that_streams_needs_no_repair() {
    let facts = CopyFacts {
        instance: Instance::Standby { streaming: true },
        ..diverged()
    };
    assert!(matches!(
        plan_copy(&REPAIR, &facts),
        CopyVerdict::Nothing(_)
    ));
}

#[test]
fn a_node_in_standby_is_repaired_and_not_started() {
    let facts = CopyFacts {
        in_standby: true,
        ..diverged()
    };
    let steps = go(&REPAIR, &facts).steps;
    assert!(!steps.contains(&CopyStep::Await) && steps.contains(&CopyStep::Rewind));
}

/// `pg_rewind` compares numbers, so that equal ones of different terms are the same to it (R13).
#[test]
fn what_is_alike_by_number_is_rebuilt() {
    let facts = CopyFacts {
        kinship: Some(Kinship::Unknown("timeline 2 is another".to_owned())),
        ..diverged()
    };
    let request = |or_rebuild| CopyRequest {
        kind: CopyKind::Repair,
        or_rebuild,
        keep_old: false,
    };
    let CopyVerdict::Refused(refusal) = plan_copy(&request(false), &facts) else {
        panic!("rewound as the same");
    };
    assert_eq!(refusal.id, "repair-possible");
    assert!(
        refusal.hint.to_string().contains("cls_rebuild_slave"),
        "{}",
        refusal.hint
    );
    let CopyVerdict::Go(plan) = plan_copy(&request(true), &facts) else {
        panic!("not rebuilt");
    };
    assert_eq!(plan.method, Method::Backup);
}

#[test]
fn programs_that_are_missing_are_named_before_the_first_step() {
    use ServerProgram::{BaseBackup, Rewind, WalDump};
    let or_rebuild = CopyRequest {
        or_rebuild: true,
        ..REPAIR
    };
    let aside = CopyRequest {
        keep_old: true,
        ..REBUILD
    };
    let lacking = |program| CopyFacts {
        lacking: vec![program],
        ..diverged()
    };
    for (program, request) in [
        (Rewind, &REPAIR),
        (BaseBackup, &aside),
        (BaseBackup, &or_rebuild),
        (WalDump, &REPAIR),
        (WalDump, &aside),
    ] {
        let CopyVerdict::Refused(refusal) = plan_copy(request, &lacking(program)) else {
            panic!("begun without {program}");
        };
        assert_eq!(refusal.id, "copy-programs");
        assert!(
            refusal.what.to_string().contains(program.as_str()),
            "{refusal:?}"
        );
        let install = format!("install {program}: ");
        assert!(
            refusal.hint.to_string().starts_with(&install),
            "{refusal:?}"
        );
    }
    assert_eq!(go(&REPAIR, &lacking(BaseBackup)).method, Method::Rewind);
    assert_eq!(go(&aside, &lacking(Rewind)).method, Method::Backup);
    assert_eq!(go(&or_rebuild, &lacking(Rewind)).method, Method::Backup);
}

#[test]
fn a_node_has_left_only_where_the_register_says_so() {
    let me = name("node1");
    let row = |holders: &[&str]| match register("node2", holders) {
        Reading::Row(row) => row,
        _ => unreachable!(),
    };
    let unreachable = Trouble::Unreachable("no route".to_owned());
    for (reply, gone) in [
        (Reply::Applied(row(&["node2"])), true),
        (Reply::NotApplied(row(&["node2"])), true),
        (Reply::NotApplied(row(&["node1", "node2"])), false),
        (Reply::Missing, false),
        (Reply::Unknown(unreachable), false),
    ] {
        assert_eq!(has_left(&reply, &me).is_ok(), gone, "{reply:?}");
    }
}

#[test]
fn a_source_is_the_owner_at_the_term_of_the_plan() {
    let (source, reading) = (name("node2"), register("node2", &["node2"]));
    let nobody = || Ok::<_, ()>(None);
    let holds = |source: &NodeName, term, reading: &Reading, told| {
        let row = may_be_used(source, term, Some(reading), told, nobody, || Ok(true));
        row.unwrap().is_ok()
    };
    assert!(holds(&source, Some(3), &reading, None));
    for (source, term, reading) in [
        (&source, Some(2), &reading),
        (&source, None, &reading),
        (&name("node3"), Some(3), &reading),
        (&source, Some(3), &Reading::Missing),
    ] {
        assert!(!holds(source, term, reading, None));
    }
    // It was put back to before what the cluster has seen.
    let told = Some(Seen { term: 9, epoch: 9 });
    assert!(!holds(&source, Some(3), &reading, told));
    // It owns the register, and is a standby by now.
    let stopped = may_be_used(&source, Some(3), Some(&reading), None, nobody, || Ok(false));
    assert!(stopped.unwrap().is_err());
    let unknown = may_be_used(&source, Some(3), Some(&reading), None, nobody, || Err(()));
    assert!(unknown.is_err());
}

#[test]
fn a_source_without_a_register_is_the_one_that_is_promoted() {
    let source = name("node2");
    for (promoted, serves, used) in [
        (Some("node2"), true, true),
        (Some("node2"), false, false),
        (Some("node3"), true, false),
        (None, true, false),
    ] {
        let promoted = promoted.map(name);
        let row = may_be_used::<()>(&source, None, None, None, || Ok(promoted), || Ok(serves));
        assert_eq!(row.unwrap().is_ok(), used);
    }
}
