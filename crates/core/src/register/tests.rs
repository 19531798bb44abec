//! Tables of the register's rules, and properties of every change.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::lineage::{Lineage, TimelineName, Timelines};
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::snapshot::{SeenRole, StandbySignal};

const TTL: Duration = Duration::from_secs(30);

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn nodes(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| node(name)).collect()
}

fn lsn(bytes: u64) -> Lsn {
    Lsn::new(bytes)
}

/// Node `a` is owner at term 3, epoch 7, with `b` as second holder; its lease runs.
fn running() -> Register {
    Register {
        owner: Some(node("a")),
        term: 3,
        epoch: 7,
        holders: nodes(&["a", "b"]),
        positions: BTreeMap::from([(node("a"), lsn(100)), (node("b"), lsn(90))]),
        lease_left: Duration::from_secs(12),
        ttl: TTL,
        timelines: Timelines::default(),
        renewed: "t1".to_owned(),
    }
}

fn expired() -> Register {
    Register {
        lease_left: Duration::ZERO,
        ..running()
    }
}

fn promote(name: &str) -> Update {
    Update::promote(&running(), node(name), TTL)
}

fn set_holders(names: &[&str]) -> Update {
    Update::set_holders(&running(), node("a"), nodes(names), TTL)
}

#[test]
fn a_promotion_takes_everything() {
    let row = promote("b").apply(&expired()).unwrap();
    assert!(row.is_owned_at(&node("b"), 4));
    assert_eq!((row.epoch, row.ttl, row.lease_left), (8, TTL, TTL));
    assert_eq!(row.holders, nodes(&["b"]));
    assert_eq!(row.positions, BTreeMap::from([(node("b"), lsn(90))]));
}

#[test]
fn a_renewal_records_positions_of_holders_that_never_go_back() {
    let positions = BTreeMap::from([
        (node("a"), lsn(200)),
        (node("b"), lsn(10)),
        (node("c"), lsn(200)),
    ]);
    let renew = Update::Renew {
        node: node("a"),
        term: 3,
        positions,
        ttl: TTL,
    };
    let row = renew.apply(&expired()).unwrap();
    assert_eq!(
        row.positions,
        BTreeMap::from([(node("a"), lsn(200)), (node("b"), lsn(90))])
    );
    assert_eq!((row.term, row.epoch, row.lease_left), (3, 7, TTL));
}

#[test]
fn holders_change_with_the_epoch_and_leaving_does_not_move_it() {
    let degraded = set_holders(&["a"]).apply(&running()).unwrap();
    assert_eq!((degraded.epoch, degraded.holders), (8, nodes(&["a"])));
    assert!(!degraded.positions.contains_key(&node("b")));
    let left = Update::Leave { node: node("b") }.apply(&running()).unwrap();
    assert_eq!((left.epoch, left.holders), (7, nodes(&["a"])));
}

#[test]
fn release_and_hand_over_end_the_lease_and_keep_the_owner() {
    let release = Update::Release {
        node: node("a"),
        term: 3,
    };
    let row = release.apply(&running()).unwrap();
    assert!(row.is_owned_at(&node("a"), 3) && row.ttl.is_zero());
    assert_eq!(row.holders, nodes(&["a", "b"]));
    let hand_over = Update::HandOver {
        node: node("a"),
        term: 3,
        from_epoch: 7,
        successor: node("c"),
        position: lsn(300),
    };
    let row = hand_over.apply(&running()).unwrap();
    assert_eq!((row.epoch, row.lease_left), (8, Duration::ZERO));
    // "b" may have promised, and lack what was acknowledged since.
    assert_eq!(row.holders, nodes(&["a", "c"]));
    let at = |name: &str| (node(name), lsn(300));
    assert_eq!(row.positions, BTreeMap::from([at("a"), at("c")]));
}

#[test]
fn an_override_starts_anew_from_the_named_holders() {
    let update = Update::Override {
        by: "root@a".to_owned(),
        from_term: 3,
        from_epoch: 7,
        above_term: 0,
        above_epoch: 0,
        lineage: None,
        above_number: 0,
        owner: None,
        holders: nodes(&["b"]),
    };
    let row = update.apply(&running()).unwrap();
    assert_eq!((row.owner, row.term, row.epoch), (None, 4, 8));
    assert_eq!(
        (row.holders, row.positions),
        (nodes(&["b"]), BTreeMap::new())
    );
}

/// Each condition with a case that only it refuses.
fn refusals() -> Vec<(Condition, Update, Register)> {
    use Condition as C;
    let first = |name: &str| Update::FirstPrimary {
        node: node(name),
        ttl: TTL,
    };
    let renew = |name: &str, term| Update::Renew {
        node: node(name),
        term,
        positions: BTreeMap::new(),
        ttl: TTL,
    };
    let over = |holders: &[&str]| Update::Override {
        by: "x".to_owned(),
        from_term: 3,
        from_epoch: 7,
        above_term: 0,
        above_epoch: 0,
        lineage: None,
        above_number: 0,
        owner: None,
        holders: nodes(holders),
    };
    let alone = Register {
        holders: nodes(&["b"]),
        ..running()
    };
    let leased = Register {
        lease_left: TTL,
        owner: Some(node("old")),
        ..Register::fresh()
    };
    let hand_over = Update::HandOver {
        node: node("a"),
        term: 3,
        from_epoch: 6,
        successor: node("b"),
        position: lsn(1),
    };
    let of = |row: Register, change: fn(&mut Register)| {
        let mut row = row;
        change(&mut row);
        row
    };
    vec![
        (C::TermZero, first("a"), running()),
        (C::LeaseFree, first("a"), leased),
        (
            C::Elected,
            Update::promote(&Register::fresh(), node("b"), TTL).with_bounded_loss(),
            Register::fresh(),
        ),
        (C::LeaseFree, promote("b"), running()),
        (C::IsHolder, promote("c"), expired()),
        (
            C::OwnerAsRead,
            promote("b"),
            of(expired(), |row| row.owner = None),
        ),
        (
            C::TermAsRead,
            promote("b"),
            of(expired(), |row| row.term = 4),
        ),
        (
            C::EpochAsRead,
            promote("b"),
            of(expired(), |row| row.epoch = 8),
        ),
        (C::OwnerAtTerm, renew("b", 3), running()),
        (C::OwnerAtTerm, renew("a", 2), running()),
        (
            C::OwnerAtTerm,
            renew("old", 0),
            of(Register::fresh(), |row| row.owner = Some(node("old"))),
        ),
        (
            C::OwnerAtTerm,
            Update::Release {
                node: node("a"),
                term: 2,
            },
            running(),
        ),
        (
            C::OwnerAtTerm,
            set_holders(&["a"]),
            of(running(), |row| row.owner = Some(node("b"))),
        ),
        (
            C::EpochAsRead,
            set_holders(&["a"]),
            of(running(), |row| row.epoch = 8),
        ),
        (
            C::HoldersAsRead,
            set_holders(&["a", "b", "c"]),
            of(running(), |row| row.holders = nodes(&["a"])),
        ),
        (C::KeepsOwner, set_holders(&["b"]), running()),
        (C::NotOwner, Update::Leave { node: node("a") }, running()),
        (C::AnotherHolder, Update::Leave { node: node("b") }, alone),
        (
            C::TermAsRead,
            over(&["a"]),
            of(running(), |row| row.term = 4),
        ),
        (
            C::EpochAsRead,
            over(&["a"]),
            of(running(), |row| row.epoch = 8),
        ),
        (C::KeepsSome, over(&[]), running()),
        (C::EpochAsRead, hand_over, running()),
    ]
}

#[test]
fn each_condition_refuses_what_no_other_does() {
    let mut conditions: BTreeMap<Condition, u32> = BTreeMap::new();
    for (condition, update, row) in refusals() {
        assert_eq!(update.apply(&row), None, "{condition:?} {update:?}");
        assert!(
            update.apply_without(&row, &[condition]).is_some(),
            "{condition:?} is not what refuses {update:?}"
        );
        *conditions.entry(condition).or_default() += 1;
    }
    assert_eq!(
        conditions.len(),
        13,
        "a condition has no case: {conditions:?}"
    );
}

#[test]
fn ownership_is_judged() {
    use Ownership as O;
    let row = |change: fn(&mut Register)| {
        let mut row = running();
        change(&mut row);
        Reading::Row(row)
    };
    let seen = Memory {
        term: 3,
        epoch: 7,
        ..Memory::default()
    };
    let cases: Vec<(&str, Reading, Memory, fn(&O) -> bool)> = vec![
        ("mine", row(|_| ()), seen, |o| matches!(o, O::Mine(_))),
        (
            "mine though the lease expired",
            row(|r| r.lease_left = Duration::ZERO),
            seen,
            |o| matches!(o, O::Mine(_)),
        ),
        (
            "another owner",
            row(|r| r.owner = Some(node("b"))),
            seen,
            |o| matches!(o, O::Superseded(row) if row.is_owned_at(&node("b"), 3)),
        ),
        (
            "no owner",
            row(|r| r.owner = None),
            seen,
            |o| matches!(o, O::Superseded(row) if row.owner.is_none()),
        ),
        (
            "a higher term of my own",
            row(|r| r.term = 4),
            seen,
            |o| matches!(o, O::Adopt(row) if row.term == 4),
        ),
        (
            "term went back",
            row(|r| r.term = 2),
            seen,
            |o| matches!(o, O::Damage { damage, row: Some(_) } if damage.to_string().contains("term 2")),
        ),
        (
            "epoch went back",
            row(|r| r.epoch = 6),
            seen,
            |o| matches!(o, O::Damage { damage, row: Some(_) } if damage.to_string().contains("epoch 6")),
        ),
        ("missing", Reading::Missing, seen, |o| {
            matches!(
                o,
                O::Damage {
                    damage: Damage::Missing,
                    row: None
                }
            )
        }),
        (
            "nonsense",
            Reading::Damaged("x".to_owned().into()),
            seen,
            |o| matches!(o, O::Damage { damage: Damage::Senseless(text), .. } if text == "x"),
        ),
        (
            "unreachable",
            Reading::Unknown(Trouble::Unreachable("refused".to_owned())),
            seen,
            |o| matches!(o, O::Unknown(Trouble::Unreachable(text)) if text == "refused"),
        ),
        (
            "error answered",
            Reading::Unknown(Trouble::Answered("disk full".to_owned())),
            seen,
            |o| matches!(o, O::Unknown(Trouble::Answered(text)) if text == "disk full"),
        ),
        (
            "fresh register, never seen another",
            Reading::Row(Register::fresh()),
            Memory::default(),
            |o| matches!(o, O::NeverElected(_)),
        ),
        (
            "fresh register, but seen another",
            Reading::Row(Register::fresh()),
            seen,
            |o| matches!(o, O::Damage { row: Some(_), .. }),
        ),
    ];
    for (what, reading, memory, expected) in cases {
        let verdict = judge_owner(&reading, &node("a"), 3, &memory);
        assert!(expected(&verdict), "{what}: {verdict:?}");
    }
}

type PromotionRow = (
    &'static str,
    Option<&'static str>,
    Reading,
    Memory,
    Option<Lsn>,
    fn(&Eligibility) -> bool,
);

fn promotion_rows() -> Vec<PromotionRow> {
    use Eligibility as E;
    let row = Reading::Row;
    let seen = Memory {
        term: 3,
        epoch: 7,
        ..Memory::default()
    };
    let own = Some(lsn(90));
    let legacy = Register {
        owner: Some(node("old")),
        lease_left: TTL,
        ..Register::fresh()
    };
    let promised = |epoch| Memory {
        promised: Some(epoch),
        ..seen
    };
    let not_holder = Register {
        holders: nodes(&["a"]),
        positions: BTreeMap::new(),
        ..expired()
    };
    let released = Register {
        ttl: Duration::ZERO,
        ..expired()
    };
    vec![
        ("free and a holder", None, row(expired()), seen, own, |e| {
            matches!(e, E::Yes(_))
        }),
        ("released", None, row(released), seen, own, |e| {
            matches!(e, E::Yes(_))
        }),
        (
            "lease runs",
            Some("R1-lease"),
            row(running()),
            seen,
            own,
            |e| matches!(e, E::LeaseRunning { left, .. } if left.as_secs() == 12),
        ),
        (
            "not a holder",
            Some("R1-holder"),
            row(not_holder),
            seen,
            own,
            |e| matches!(e, E::NotHolder { .. }),
        ),
        (
            "promised",
            Some("R7-promise"),
            row(expired()),
            promised(7),
            own,
            |e| matches!(e, E::Promised { epoch: 7 }),
        ),
        (
            "an older promise is void",
            None,
            row(expired()),
            promised(6),
            own,
            |e| matches!(e, E::Yes(_)),
        ),
        (
            "rolled back",
            Some("R10-rolled-back"),
            row(expired()),
            seen,
            Some(lsn(89)),
            |e| matches!(e, E::BehindRecorded { .. }),
        ),
        (
            "own WAL unknown",
            Some("R10-rolled-back"),
            row(expired()),
            seen,
            None,
            |e| matches!(e, E::Unknown(_)),
        ),
        (
            "term went back",
            Some("term-not-below-memory"),
            row(expired()),
            Memory { term: 4, ..seen },
            own,
            |e| matches!(e, E::Damage(_)),
        ),
        (
            "epoch went back",
            Some("epoch-not-below-memory"),
            row(expired()),
            Memory { epoch: 8, ..seen },
            own,
            |e| matches!(e, E::Damage(_)),
        ),
        (
            "first election",
            Some("R0-first-election"),
            row(Register::fresh()),
            Memory::default(),
            None,
            |e| matches!(e, E::FirstElection(_)),
        ),
        (
            "first election under a foreign lease",
            Some("R1-lease"),
            row(legacy),
            Memory::default(),
            None,
            |e| matches!(e, E::LeaseRunning { .. }),
        ),
        ("missing", None, Reading::Missing, seen, own, |e| {
            matches!(e, E::Damage(_))
        }),
        (
            "nonsense",
            None,
            Reading::Damaged("x".to_owned().into()),
            seen,
            own,
            |e| matches!(e, E::Damage(_)),
        ),
        (
            "unreachable",
            None,
            Reading::Unknown(Trouble::Unreachable("x".to_owned())),
            seen,
            own,
            |e| matches!(e, E::Unknown(_)),
        ),
    ]
}

#[test]
fn promotion_is_judged_and_each_rule_is_needed() {
    let mut covered = BTreeSet::new();
    for (what, rule, reading, memory, own, expected) in promotion_rows() {
        let me = node("b");
        let verdict = may_promote(&reading, &me, &memory, own, None);
        assert!(expected(&verdict), "{what}: {verdict:?}");
        if let Some(id) = rule {
            let others = PROMOTION_RULES.iter().filter(|rule| rule.id != id);
            let without = may_promote_by(others, &reading, &me, &memory, own, None);
            assert!(!expected(&without), "{what} does not depend on {id}");
            covered.insert(id);
        }
    }
    // The bound of asynchronous mode and what a timeline is (R13) have tests of their own below.
    assert_eq!(covered.len() + 2, PROMOTION_RULES.len());
}

#[test]
fn as_much_wal_of_another_timeline_is_none() {
    let own = Own {
        flushed: Some(lsn(1000)),
        foreign: Some("run cls_repair_slave"),
    };
    let (reading, memory) = (Reading::Row(expired()), Memory::default());
    let ask = |id| {
        let rules = PROMOTION_RULES.iter().filter(|rule| rule.id != id);
        may_promote_by(rules, &reading, &node("b"), &memory, own, None)
    };
    assert!(matches!(ask(""), Eligibility::ForeignTimeline(_)));
    assert!(matches!(ask("R13-timeline"), Eligibility::Yes(_)));
}

#[test]
fn a_record_that_ends_with_its_page_counts_as_whole() {
    let mut row = expired();
    row.positions = BTreeMap::from([(node("b"), lsn(0x4002018))]);
    let reading = Reading::Row(row);
    let ask = |own| may_promote(&reading, &node("b"), &Memory::default(), Some(own), None);
    assert!(matches!(ask(lsn(0x4002000)), Eligibility::Yes(_)));
    assert!(matches!(
        ask(lsn(0x4001ff8)),
        Eligibility::BehindRecorded { .. }
    ));
}

#[test]
fn the_owner_comes_back_under_its_own_lease() {
    let verdict = may_promote(
        &Reading::Row(running()),
        &node("a"),
        &Memory::default(),
        Some(lsn(100)),
        None,
    );
    assert!(matches!(verdict, Eligibility::Yes(_)), "{verdict:?}");
    assert!(promote("a").apply(&running()).is_some());
}

#[test]
fn a_lost_reply_is_decided_by_what_the_row_shows() {
    use Aftermath as A;
    let after = |update: &Update| update.apply(&expired()).unwrap();
    let other = promote("a").apply(&expired()).unwrap();
    let release = Update::Release {
        node: node("a"),
        term: 3,
    };
    let leave = Update::Leave { node: node("b") };
    let hand_over = Update::HandOver {
        node: node("a"),
        term: 3,
        from_epoch: 7,
        successor: node("b"),
        position: lsn(300),
    };
    let over = Update::Override {
        by: "x".to_owned(),
        from_term: 3,
        from_epoch: 7,
        above_term: 0,
        above_epoch: 0,
        lineage: None,
        above_number: 0,
        owner: None,
        holders: nodes(&["b"]),
    };
    let renew = Update::Renew {
        node: node("a"),
        term: 3,
        positions: BTreeMap::new(),
        ttl: TTL,
    };
    let handed = promote("b");
    let successor_promoted = Update::promote(&after(&hand_over), node("b"), TTL)
        .apply(&after(&hand_over))
        .unwrap();
    let left_since = Update::Leave { node: node("b") }
        .apply(&after(&set_holders(&["a", "b"])))
        .unwrap();
    let cases = [
        (promote("b"), after(&promote("b")), A::TookEffect),
        (promote("b"), other.clone(), A::DidNot),
        (promote("b"), running(), A::Undecided),
        (promote("b"), expired(), A::Undecided),
        (
            set_holders(&["a"]),
            after(&set_holders(&["a"])),
            A::TookEffect,
        ),
        (set_holders(&["a", "b"]), left_since, A::TookEffect),
        (set_holders(&["a"]), other.clone(), A::DidNot),
        (release.clone(), after(&release), A::TookEffect),
        (release.clone(), running(), A::Undecided),
        (release, other.clone(), A::DidNot),
        (leave.clone(), after(&leave), A::TookEffect),
        (leave, running(), A::Undecided),
        (over.clone(), after(&over), A::TookEffect),
        (over, other.clone(), A::DidNot),
        (renew.clone(), running(), A::Undecided),
        (renew, other, A::DidNot),
        (hand_over.clone(), after(&hand_over), A::TookEffect),
        (hand_over, successor_promoted, A::TookEffect),
        (
            Update::FirstPrimary {
                node: node("a"),
                ttl: TTL,
            },
            running(),
            A::DidNot,
        ),
        (
            Update::FirstPrimary {
                node: node("a"),
                ttl: TTL,
            },
            Register::fresh(),
            A::Undecided,
        ),
    ];
    for (update, row, expected) in cases {
        let reading = Reading::Row(row);
        assert_eq!(
            after_lost_reply(&update, &reading),
            expected,
            "{update:?} {reading:?}"
        );
    }
    assert_eq!(after_lost_reply(&handed, &Reading::Missing), A::Undecided);
}

#[test]
fn a_change_without_a_reply_gets_it_from_the_row() {
    let (update, before) = (promote("b"), expired());
    let after = update.apply(&before).unwrap();
    let other = promote("a").apply(&before).unwrap();
    let by = |sent, row: &Register| reply_by(&update, sent, Reading::Row(row.clone()));
    let refused = |again| Sent::Refused { again };
    for (sent, row, reply) in [
        (
            Sent::Unanswered,
            &after,
            Some(Reply::Applied(after.clone())),
        ),
        (
            Sent::Unanswered,
            &other,
            Some(Reply::NotApplied(other.clone())),
        ),
        // It may still come, and is sent again.
        (Sent::Unanswered, &before, None),
        // It was the first sending that changed the row.
        (refused(true), &after, Some(Reply::Applied(after.clone()))),
        (
            refused(true),
            &before,
            Some(Reply::NotApplied(before.clone())),
        ),
        // Somebody else has made the same change.
        (
            refused(false),
            &after,
            Some(Reply::NotApplied(after.clone())),
        ),
    ] {
        assert_eq!(by(sent, row), reply, "{sent:?} {row:?}");
    }
    for sent in [Sent::Unanswered, refused(true), refused(false)] {
        let missing = reply_by(&update, sent, Reading::Missing);
        assert_eq!(missing, Some(Reply::Missing), "{sent:?}");
    }
}

#[test]
fn memory_never_goes_back_and_promises_end_with_their_epoch() {
    let memory = Memory::default().seeing(&running());
    assert_eq!((memory.term, memory.epoch), (3, 7));
    assert_eq!(memory.seeing(&Register::fresh()), memory);
    let promised = memory.promising(3, 7, true).unwrap();
    assert!(promised.has_promised(7) && !promised.has_promised(8));
    assert!(promised.seeing(&running()).has_promised(7));
    let moved = Register {
        epoch: 8,
        ..running()
    };
    assert_eq!(promised.seeing(&moved).promised, None);
    assert_eq!(
        memory.promising(3, 6, true),
        Err(PromiseRefused::EpochMoved { asked: 6, seen: 7 })
    );
    assert_eq!(
        memory.promising(2, 7, true),
        Err(PromiseRefused::TermMoved { asked: 2, seen: 3 })
    );
    assert_eq!(promised.promising(3, 9, true).unwrap().epoch, 9);
}

/// R15: an operator is about to move the register past this node's epoch.
#[test]
fn who_gives_way_uses_and_gives_no_promise_at_its_epoch() {
    let role = |runs, standby: bool| SeenRole {
        runs,
        signal: standby.into(),
    };
    let timeline = crate::timeline::TimelineId::FIRST;
    let reign = Some(Reign { term: 3, timeline });
    let seen = Memory::default().seeing(&running());
    let primary = Memory { reign, ..seen };
    let GivingWay { answer, kept, .. } = give_way(&primary, role(true, true), 7);
    let gave = |serves, used, promised| GaveWay {
        serves,
        used,
        promised,
    };
    assert_eq!(answer, gave(false, false, false));
    assert_eq!(
        kept.using(3, 7, None),
        Err(NotRelied::Withdrawn { epoch: 7 })
    );
    let late = kept.promising(3, 7, true);
    assert_eq!(late, Err(PromiseRefused::Withdrawn { epoch: 7 }));
    // It goes on at the next epoch, and a process that has read the memory before takes nothing back.
    assert!(kept.promising(3, 8, true).unwrap().has_promised(8));
    assert_eq!(kept.merged(&primary), kept);
    // Who has not seen the register's epoch yet gives way up to it, whichever epoch the question is of.
    let GivingWay { answer, kept, .. } = give_way(&seen, role(true, true), 9);
    assert_eq!(answer, gave(false, false, false));
    for epoch in 7..=9 {
        let late = kept.promising(3, epoch, true);
        assert_eq!(late, Err(PromiseRefused::Withdrawn { epoch }));
    }
    assert!(kept.promising(3, 10, true).unwrap().has_promised(10));
    let kept = give_way(&primary, role(false, true), 9).kept;
    let kept = kept.seeing(&Register {
        epoch: 9,
        ..running()
    });
    assert_eq!(
        kept.using(3, 9, None),
        Err(NotRelied::Withdrawn { epoch: 9 })
    );
    // What it has promised stays, and whoever has relied on it is asked; what it has used stays used.
    let promised = seen.promising(3, 7, true).unwrap();
    let GivingWay { answer, kept, .. } = give_way(&promised, role(false, true), 9);
    assert_eq!(answer, gave(false, false, true));
    assert!(kept.merged(&promised).has_promised(7));
    let used = primary.using(3, 7, None).unwrap();
    let GivingWay { answer, kept, .. } = give_way(&used, role(false, false), 7);
    assert_eq!((answer, kept.used), (gave(false, true, false), Some(7)));
    assert_eq!(
        give_way(&kept, role(false, false), 7).answer,
        gave(false, true, false)
    );
    // Who has lost its memory may have promised. A primary that serves keeps nothing of it.
    assert!(
        give_way(&Memory::none(), role(false, true), 7)
            .answer
            .promised
    );
    let GivingWay { answer, kept, .. } = give_way(&primary, role(true, false), 7);
    assert_eq!((answer, kept), (gave(true, false, false), primary));
    // Nor does one that runs and cannot be seen to be a standby; and names end where nothing runs that has them.
    let unseen = |runs| SeenRole {
        runs,
        signal: StandbySignal::Unknown,
    };
    let plan = give_way(&primary, unseen(true), 7);
    assert_eq!((plan.answer.serves, plan.kept), (true, primary));
    assert!(!plan.ends_names && !give_way(&primary, role(true, true), 7).ends_names);
    for down in [unseen(false), role(false, true), role(false, false)] {
        let plan = give_way(&primary, down, 7);
        assert!(plan.ends_names && !plan.answer.serves, "{down:?}");
        assert_ne!(plan.kept, primary, "{down:?}");
    }
}

#[test]
fn a_withdrawal_ends_the_promise_of_its_epoch_and_no_other() {
    let seen = Memory::default().seeing(&running());
    let promised = seen.promising(3, 7, true).unwrap();
    let freed = promised.freed(3, 7).unwrap();
    assert_eq!((freed.promised, freed.freed), (None, Some(7)));
    // Again, before the question, and by a process that has read the memory before.
    assert_eq!(freed.freed(3, 7), Ok(freed));
    assert_eq!(seen.freed(3, 7), Ok(freed));
    assert_eq!(freed.merged(&promised), freed);
    assert_eq!(promised.merged(&freed), freed);
    let late = freed.promising(3, 7, true);
    assert_eq!(late, Err(PromiseRefused::Withdrawn { epoch: 7 }));
    // It says nothing about the next epoch, nor about another term.
    let next = freed.promising(3, 8, true).unwrap();
    assert!(next.has_promised(8));
    for (term, epoch) in [(3, 7), (2, 8), (4, 8), (3, 9)] {
        let refused = next.freed(term, epoch);
        let nothing = matches!(refused, Err(PromiseRefused::NothingToWithdraw { .. }));
        assert!(nothing, "{term} {epoch}: {refused:?}");
    }
    assert!(Memory::none().freed(3, 7).is_err());
    // Whoever asked before may have used it without a trace.
    let before = seen.promising(3, 7, false).unwrap();
    for promised in [before, before.promising(3, 7, true).unwrap()] {
        let refused = promised.freed(3, 7);
        assert_eq!(refused, Err(PromiseRefused::Irrevocable { epoch: 7 }));
    }
}

/// S7: what is impossibly far beyond what was seen is damage, is never kept, and no promise is made
/// of it.
#[test]
fn a_leap_is_damage_and_not_news() {
    let memory = Memory::default().seeing(&running());
    let row = |term: u64, epoch: u64| Register {
        term,
        epoch,
        ..running()
    };
    let far = row(3 + LEAP, 7 + LEAP);
    assert_eq!(
        memory.seeing(&far).epoch,
        7 + LEAP,
        "the last believed step"
    );
    assert_eq!(out_of_step(&far, &memory), None);
    for row in [row(4 + LEAP, 8), row(4, 8 + LEAP), row(HIGHEST, HIGHEST)] {
        assert_eq!(memory.seeing(&row), memory, "{row:?}");
        let damage = out_of_step(&row, &memory).unwrap();
        let text = NoRow::Damage(damage).to_string();
        assert!(
            text.contains("2^20") && text.contains("cls_recovery_master"),
            "{text}"
        );
        let reading = Reading::Row(row.clone());
        let owner = judge_owner(&reading, &node("a"), 3, &memory);
        assert!(matches!(owner, Ownership::Damage { .. }), "{owner:?}");
        let may = may_promote(&reading, &node("b"), &memory, None, None);
        assert!(matches!(may, Eligibility::Damage(_)), "{may:?}");
        let refused = memory.promising(row.term, row.epoch, true).unwrap_err();
        assert!(matches!(refused, PromiseRefused::Leap { .. }), "{refused}");
    }
    // A node that has seen nothing believes no more.
    assert!(out_of_step(&row(1, 2 + LEAP), &Memory::default()).is_some());
}

/// An earlier version kept such numbers; they bar nobody for good.
#[test]
fn a_memory_of_numbers_that_cannot_be_raised_is_not_believed() {
    let timeline = crate::timeline::TimelineId::FIRST;
    let reign = |term| Some(Reign { term, timeline });
    let memory = Memory {
        term: i64::MAX as u64 - 1,
        epoch: i64::MAX as u64 - 1,
        promised: Some(i64::MAX as u64 - 1),
        asked: Some(8),
        reign: reign(3),
        ..Memory::default()
    };
    let believed = Memory {
        term: 3,
        epoch: 0,
        promised: None,
        ..memory
    };
    assert_eq!(memory.believed(), believed);
    let honest = Memory {
        term: 3,
        epoch: 7,
        promised: Some(7),
        ..memory
    };
    assert_eq!(honest.believed(), honest);
    let poisoned = Memory {
        reign: reign(u64::MAX),
        ..memory
    };
    assert_eq!(
        (poisoned.believed().term, poisoned.believed().reign),
        (0, None)
    );
}

/// A change whose reply was lost may be made after the promise: it then makes the promise void and
/// this node the owner, or another node a holder.
#[test]
fn who_has_asked_for_a_change_gives_no_promise_until_the_epoch_has_moved() {
    let memory = Memory::default().seeing(&running());
    let promote = Update::promote(&running(), node("b"), TTL);
    let asked = memory.asking(&promote);
    assert!(asked.unsettled_at(7) && !asked.unsettled_at(8));
    assert_eq!(
        asked.promising(3, 7, true),
        Err(PromiseRefused::Unsettled { epoch: 7 })
    );
    assert_eq!(asked.merged(&memory), asked);
    assert_eq!(asked.seeing(&running()), asked, "seen again at that epoch");
    let moved = Register {
        epoch: 8,
        ..running()
    };
    assert_eq!(asked.seeing(&moved).asked, None);
    assert_eq!(asked.promising(3, 8, true).unwrap().asked, None);

    let holders = |names: &[&str]| Update::set_holders(&running(), node("a"), nodes(names), TTL);
    assert!(memory.asking(&holders(&["a", "b"])).unsettled_at(7));
    let renew = Update::Renew {
        node: node("a"),
        term: 3,
        positions: BTreeMap::new(),
        ttl: TTL,
    };
    for harmless in [holders(&["a"]), renew, Update::Leave { node: node("b") }] {
        assert_eq!(memory.asking(&harmless), memory, "{harmless:?}");
    }
}

#[test]
fn merging_memories_loses_no_promise() {
    let seen = Memory::default().seeing(&running());
    let promised = seen.promising(3, 7, true).unwrap();
    assert_eq!(promised.merged(&seen), promised);
    assert_eq!(seen.merged(&promised), promised);
    let moved = seen.seeing(&Register {
        epoch: 8,
        ..running()
    });
    assert_eq!(promised.merged(&moved).promised, None);
    assert_eq!(promised.merged(&moved).epoch, 8);
    let reign = |term| {
        let timeline = crate::timeline::TimelineId::new(1).unwrap();
        let reign = Some(Reign { term, timeline });
        Memory { reign, ..seen }
    };
    assert_eq!(reign(3).merged(&reign(2)), reign(3));
    assert_eq!(reign(2).merged(&reign(3)), reign(3));
    assert_eq!(reign(2).merged(&seen), reign(2));
}

#[test]
fn rows_that_make_no_sense_are_refused_with_their_text() {
    let good = RawRow {
        owner: Some("a".to_owned()),
        term: Some(1),
        epoch: Some(1),
        holders: Some(vec![Some("a".to_owned())]),
        positions: Some(r#"{"a": "0/70000D0"}"#.to_owned()),
        lease_left: Some(-3.5),
        ttl: Some(30.0),
        timelines: None,
        renewed: Some("t".to_owned()),
        ..RawRow::default()
    };
    let row = Register::try_from(good.clone()).unwrap();
    assert_eq!((row.lease_left, row.ttl), (Duration::ZERO, TTL));
    assert_eq!(row.positions[&node("a")], lsn(0x70000D0));
    let released = RawRow {
        ttl: Some(-86_400_000.0),
        ..good.clone()
    };
    assert_eq!(Register::try_from(released).unwrap().ttl, Duration::ZERO);
    let cases: [(fn(&mut RawRow), &str); 17] = [
        (|r| r.owner = None, "owner is NULL"),
        (|r| r.owner = Some("a b".to_owned()), "owner is \"a b\""),
        (|r| r.term = Some(-1), "term is -1"),
        (|r| r.term = None, "term is NULL"),
        (|r| r.epoch = Some(-7), "epoch is -7"),
        (|r| r.holders = None, "holders is NULL"),
        (
            |r| r.holders = Some(vec![Some("x\ny".to_owned())]),
            "holders is \"x\\ny\"",
        ),
        (
            |r| r.holders = Some(vec![None]),
            "holders is a list with NULL",
        ),
        (|r| r.holders = Some(vec![]), "holders is empty at term 1"),
        (
            |r| r.positions = Some("[1]".to_owned()),
            "positions is \"[1]\"",
        ),
        (
            |r| r.positions = Some(r#"{"a": 7}"#.to_owned()),
            "positions is",
        ),
        (
            |r| r.timelines = Some(r#"{"term":1}"#.to_owned()),
            "timelines is",
        ),
        (|r| r.ttl = Some(86_401.0), "expired_time is 86401 s"),
        (|r| r.term = Some(i64::MAX), "term is 9223372036854775807"),
        (
            |r| r.epoch = Some(i64::MAX - 1),
            "epoch is 9223372036854775806",
        ),
        (|r| r.ttl = Some(f64::NAN), "expired_time is NaN s"),
        (
            |r| r.lease_left = Some(f64::INFINITY),
            "ts + expired_time is inf s",
        ),
    ];
    for (change, expected) in cases {
        let mut raw = good.clone();
        change(&mut raw);
        let error = Register::try_from(raw).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_row_of_another_database_or_of_a_standby_is_none() {
    let row = |system: Option<&str>, read_only| RawRow {
        owner: Some(String::new()),
        term: Some(0),
        epoch: Some(0),
        holders: Some(Vec::new()),
        positions: Some("{}".to_owned()),
        lease_left: Some(0.0),
        ttl: Some(0.0),
        timelines: None,
        renewed: Some("t".to_owned()),
        system: system.map(str::to_owned),
        read_only,
    };
    for (theirs, mine) in [
        (None, None),
        (None, Some("7")),
        (Some("7"), None),
        (Some("7"), Some("7")),
    ] {
        let read = row(theirs, false).believed(mine);
        assert_eq!(read.map(|row| row.term), Ok(0), "{theirs:?} {mine:?}");
        let read = row(theirs, true).believed(mine);
        assert_eq!(read, Err(NotBelieved::ReadOnly));
    }
    let foreign = row(Some("8"), false).believed(Some("7"));
    assert_eq!(foreign, Err(NotBelieved::Foreign("8".to_owned())));
    let senseless = RawRow {
        term: None,
        ..row(Some("7"), false)
    };
    let read = senseless.believed(Some("7"));
    assert!(matches!(read, Err(NotBelieved::Senseless(_))), "{read:?}");
}

/// While nodes are upgraded one after the other, a later version writes what an earlier one reads.
#[test]
fn a_field_of_a_later_version_is_no_damage() {
    let text = r#"{"term":1,"highest":2,"later":[],"lineage":[{"term":1,"number":2,"fork":"0000000000000064","later":1}]}"#;
    let row = Register::try_from(RawRow {
        owner: Some("a".to_owned()),
        term: Some(1),
        epoch: Some(1),
        holders: Some(vec![Some("a".to_owned())]),
        positions: Some("{}".to_owned()),
        lease_left: Some(1.0),
        ttl: Some(30.0),
        timelines: Some(text.to_owned()),
        renewed: Some("t".to_owned()),
        ..RawRow::default()
    })
    .unwrap();
    assert_eq!(row.timelines.highest, 2);
    let name = row.timelines.lineage.last().unwrap();
    assert_eq!((name.term, name.fork), (1, lsn(100)));
    let record = format!(r#"{{"system":7,"lineage":[],"held":"following","later":{text}}}"#);
    let record: crate::lineage::Record = serde_json::from_str(&record).unwrap();
    assert_eq!(record.held, crate::lineage::Held::Following);
}

#[test]
fn asynchronous_mode_asks_for_the_distance_and_not_for_the_holders() {
    let mut row = running();
    row.holders = BTreeSet::from([node("a")]);
    row.lease_left = Duration::ZERO;
    row.positions = BTreeMap::from([(node("a"), lsn(1000))]);
    let reading = Reading::Row(row.clone());
    let ask = |own, bound| may_promote(&reading, &node("b"), &Memory::default(), own, bound);
    assert!(matches!(
        ask(Some(lsn(1000)), None),
        Eligibility::NotHolder { .. }
    ));
    assert!(matches!(
        ask(Some(lsn(900)), Some(100)),
        Eligibility::Yes(_)
    ));
    assert!(matches!(
        ask(Some(lsn(899)), Some(100)),
        Eligibility::TooFarBehind { .. }
    ));
    assert!(matches!(
        ask(None, Some(100)),
        Eligibility::TooFarBehind { own: None, .. }
    ));
    let update = Update::promote(&row, node("b"), Duration::from_secs(6));
    assert!(update.apply(&row).is_none());
    assert!(update.with_bounded_loss().apply(&row).is_some());
}

/// R7: what a node had promised may have been lost with its memory.
#[test]
fn a_node_without_a_memory_is_bound_until_the_epoch_moves_where_it_is_a_holder() {
    let (me, other): (NodeName, NodeName) = ("node2".parse().unwrap(), "node1".parse().unwrap());
    let row = Register {
        owner: Some(other.clone()),
        term: 3,
        epoch: 7,
        holders: BTreeSet::from([me.clone(), other.clone()]),
        ..Register::fresh()
    };
    let seen = Memory::none().seeing_as(&me, &row);
    assert!(seen.has_promised(7) && seen.unsettled_at(7) && !seen.forgotten);
    assert!(
        !seen
            .seeing_as(
                &me,
                &Register {
                    epoch: 8,
                    ..row.clone()
                }
            )
            .has_promised(8)
    );
    assert_eq!(
        Memory::none().promising(3, 7, true),
        Err(PromiseRefused::Forgotten),
        "nor does it promise"
    );
    // A new node is no holder yet, the owner has promised nobody, and at term 0 nobody could ask.
    let free = [
        Register {
            holders: BTreeSet::from([other.clone()]),
            ..row.clone()
        },
        Register {
            owner: Some(me.clone()),
            ..row.clone()
        },
        Register {
            owner: None,
            term: 0,
            ..row.clone()
        },
    ];
    for row in free {
        let seen = Memory::none().seeing_as(&me, &row);
        assert!(!seen.has_promised(7) && !seen.forgotten, "{row:?}");
    }
    // Another process of the node that looked before the memory was there takes nothing back.
    assert!(Memory::none().merged(&seen).has_promised(7));
}

/// A first look goes by the disk alone: what was lost is known to be lost.
#[test]
fn a_memory_is_read_once_and_again_where_another_may_have_changed_it() {
    let promised = Memory {
        term: 3,
        epoch: 7,
        promised: Some(7),
        ..Memory::default()
    };
    let (lost, known) = (|| Ok::<_, ()>(Memory::none()), promised);
    for again in [false, true] {
        assert_eq!(Memory::at_look(None, again, lost), Ok(Memory::none()));
    }
    let look = |before, again| Memory::at_look(Some(before), again, || Ok(known));
    let before = Memory::default();
    assert_eq!(look(Ok(before), false), Ok(before));
    assert_eq!(look(Ok(before), true), Ok(known));
    assert_eq!(look(Err(()), false), Err(()));
    assert_eq!(look(Err(()), true), Ok(known));
    // What this operation knows is not taken back.
    let later = Memory { epoch: 8, ..before };
    assert_eq!(look(Ok(later), true).map(|memory| memory.epoch), Ok(8));
}

#[test]
fn what_the_guard_has_noted_counts_at_its_epoch() {
    let memory = Memory {
        epoch: 7,
        ..Memory::default()
    };
    for (noted, relied) in [(None, None), (Some(6), None), (Some(7), Some(7))] {
        assert_eq!(memory.with_guard(noted).relied, relied);
    }
}

/// R14: what a node may give back is what it was given, however often it is given it again.
#[test]
fn a_right_that_is_given_again_is_given_back_to_those_who_held_everything_before() {
    let (owner, other) = (node("a"), node("b"));
    let named = Lineage::new(vec![TimelineName {
        term: 1,
        number: crate::timeline::TimelineId::FIRST,
        fork: lsn(0),
    }]);
    let given = |row: &Register, to: &NodeName, bounded_loss| {
        let free = Register {
            lease_left: Duration::ZERO,
            ..row.clone()
        };
        let update = Update::Promote {
            node: to.clone(),
            from_owner: row.owner.clone(),
            from_term: row.term,
            from_epoch: row.epoch,
            bounded_loss,
            ttl: TTL,
        };
        update.apply(&free).unwrap()
    };
    let back = |row: &Register, by: &NodeName| {
        let update = Update::GiveBack {
            node: by.clone(),
            term: row.term,
            from_epoch: row.epoch,
        };
        update.apply(row)
    };
    let mut row = running();
    row.timelines.lineage = named;
    let first = given(&row, &other, false);
    for taken in [&first, &given(&first, &other, false)] {
        let returned = back(taken, &other).unwrap();
        assert_eq!(
            (returned.holders, returned.owner),
            (row.holders.clone(), None)
        );
        assert_eq!(returned.positions, row.positions);
    }
    // The owner's own holders may lack what promises have let pass.
    assert_eq!(back(&given(&row, &owner, false), &owner), None);
    // Who need not hold everything was not given what the holders have.
    assert_eq!(back(&given(&row, &other, true), &other), None);
    // What was recorded since is written by a server that has opened.
    let mut opened = first;
    opened.positions.insert(other.clone(), lsn(200));
    assert_eq!(back(&opened, &other), None);
}
