//! The promise, explored: every interleaving of crashes, interruptions, lost replies and operations
//! of a small cluster, with the decisions made by the code that the agent runs.
//!
//! `PHA_EXPLORE=long cargo test -p pha-tests --test protocol -- --nocapture` goes further.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// How many states were explored is shown with --nocapture.
#![allow(clippy::print_stderr)]

mod agent;
mod ahead;
mod deadend;
mod decision;
mod diverged;
mod exchange;
mod files;
mod given_back;
mod guard;
mod model;
mod mutation;
mod names;
mod operator;
mod quorum;
mod restart;
mod restored;
mod rollback;
mod several;
mod state;
mod strangers;
mod unfit;
mod withdrawal;

use std::fmt::Write as _;

use ahead::{AHEAD, LENT, MIXED, STRAYED};
use diverged::UNWRITTEN;
use exchange::{ALONE, HELD};
use files::SHUT;
use guard::{FENCED, UNGUARDED};
use model::{ACKNOWLEDGED, Explored, SAME_TIMELINE, SINGLE_WRITER, SUPERSEDED, Start};
use mutation::Mutation;
use operator::{REMADE, REPLACED};
use quorum::{INHERITED, STRANDED};
use restart::REOPENED;
use rollback::RECORDED;
use state::State;
use stateright::{Checker, HasDiscoveries, Model, Path};
use strangers::FORMER_NAME;
use unfit::{TAKEN, UNCOVERED};

/// Two nodes and one commit, the register's replies lost or late.
const DELAYED: Explored = bounds(2, 1, 2, true);
/// Two nodes and two commits: enough for two histories of one timeline.
const TWO_COMMITS: Explored = bounds(2, 2, 2, false);
/// Two nodes, one commit.
const SMALL: Explored = bounds(2, 1, 2, false);

/// The same, and the lock service is out of the primary's reach at times (R7).
const OUTAGES: Explored = Explored {
    outages: true,
    ..SMALL
};

/// Two nodes with an operator who copies data and hands over (R6, R9).
const OPERATED: Explored = Explored {
    operator: true,
    start: Start::Replicating,
    ..SMALL
};

/// The same, and the lock service is out of reach at times, also of a primary that has crashed (R7).
const HANDED: Explored = Explored {
    operator: true,
    delays: true,
    withdraws: false,
    ..RESTARTING
};

/// The second node is about to be made a holder, and its data may be replaced before it is.
const REPLACED_MEANWHILE: Explored = Explored {
    delays: true,
    start: Start::Naming,
    ..OPERATED
};

/// The first node has let the second one go by its promise, and a third one streams.
const HANDED_TO_A_THIRD: Explored = Explored {
    nodes: 3,
    delays: false,
    start: Start::LetGo,
    ..HANDED
};

/// Three nodes, of which one does not know that it was replaced.
const OF_THREE: Explored = Explored {
    nodes: 3,
    timelines: 3,
    operator: true,
    start: Start::Superseded,
    ..SMALL
};

const fn bounds(nodes: usize, commits: u8, timelines: u8, delays: bool) -> Explored {
    Explored {
        nodes,
        commits,
        timelines,
        delays,
        outages: false,
        operator: false,
        rollbacks: false,
        diverged: false,
        guards: 0,
        several: false,
        restarts: false,
        forgets: false,
        unfits: false,
        files: false,
        withdraws: false,
        notify: false,
        hurries: false,
        strangers: false,
        restores: false,
        by_hand: false,
        named: false,
        overrides: false,
        quorum: false,
        votes: false,
        ahead: false,
        register: true,
        start: Start::Election,
        mutation: Mutation::None,
    }
}

/// Two nodes whose data are put back while they are down (R10).
const ROLLED_BACK: Explored = Explored {
    rollbacks: true,
    start: Start::Replicating,
    ..SMALL
};

/// Two nodes, of which the old primary streams from the new one for moments with what it has written
/// itself (R4), until an operator copies the new one's data.
const DIVERGED: Explored = Explored {
    diverged: true,
    operator: true,
    commits: 4,
    start: Start::Forked,
    ..SMALL
};

/// Three nodes, of which the third one may follow the old primary and the new one in turn (R4).
const THREE_DIVERGED: Explored = Explored {
    nodes: 3,
    operator: false,
    ..DIVERGED
};

/// The same as `SMALL`, and the stop of the other node may be announced before it comes.
const ANNOUNCED: Explored = Explored {
    notify: true,
    start: Start::Replicating,
    ..SMALL
};

/// Three nodes, of which one takes the place of the other as a synchronous standby (R3).
const EXCHANGING: Explored = Explored {
    nodes: 3,
    notify: true,
    hurries: true,
    start: Start::Replicating,
    ..SMALL
};

/// The same, and the lock service is out of the primary's reach at times.
const EXCHANGING_AWAY: Explored = Explored {
    outages: true,
    ..EXCHANGING
};

/// The same, begun where the operation was killed that had made the exchange.
const BROKEN_OFF: Explored = Explored {
    start: Start::Holding,
    ..EXCHANGING_AWAY
};

/// The same with a guard beside the primary.
const EXCHANGING_GUARDED: Explored = Explored {
    guards: 1,
    notify: false,
    ..EXCHANGING_AWAY
};

/// Three nodes, of which a standby may be one that could not open for writing (R14).
const UNFIT: Explored = Explored {
    unfits: true,
    notify: false,
    ..EXCHANGING
};

/// Two nodes, of which a file of the settings may have an error, and somebody has it read again later (R4, R14).
const FILES: Explored = Explored {
    files: true,
    start: Start::Replicating,
    ..SMALL
};

/// The same, and the lock service is out of the primary's reach at times (R7).
const FILES_AWAY: Explored = Explored {
    files: true,
    ..WITHDRAWING
};

/// Three nodes with that, of which one takes the place of another (R3).
const FILES_EXCHANGING: Explored = Explored {
    files: true,
    notify: false,
    ..EXCHANGING
};

/// Three nodes that decide by quorum (R3); what is committed decides nothing about it.
const BY_QUORUM: Explored = Explored {
    quorum: true,
    notify: false,
    commits: 0,
    ..EXCHANGING
};

/// The same where more than the database nodes vote: the primary may be cut off together with a standby.
const BY_VOTES: Explored = Explored {
    votes: true,
    ..BY_QUORUM
};

/// The same without a register: Pacemaker promotes who was synchronous.
const BY_QUORUM_ALONE: Explored = Explored {
    register: false,
    commits: 1,
    ..BY_VOTES
};

/// The same, and a file of the settings may have an error.
const FILES_ALONE: Explored = Explored {
    files: true,
    ..BY_QUORUM_ALONE
};

/// Three nodes that decide by quorum, and the lock service is out of the primary's reach at times.
const BY_QUORUM_AWAY: Explored = Explored {
    outages: true,
    hurries: false,
    ..BY_QUORUM
};

/// The same with a guard beside the primary.
const BY_QUORUM_GUARDED: Explored = Explored {
    guards: 1,
    ..BY_QUORUM_AWAY
};

/// Two nodes whose operations may be left behind and go on later, beside others of their node (R12).
const LEFT_BEHIND: Explored = Explored {
    several: true,
    start: Start::Replicating,
    ..SMALL
};

/// Two nodes that lose their memory of the register while the lock service is out of reach at times (R7).
const FORGETFUL: Explored = Explored {
    forgets: true,
    start: Start::Replicating,
    ..OUTAGES
};

/// Two nodes, and the lock service out of reach at times; a primary that has been stopped withdraws its
/// question for promises (R7).
const WITHDRAWING: Explored = Explored {
    withdraws: true,
    start: Start::Replicating,
    ..OUTAGES
};

/// The same, and a primary that has crashed may be restarted in place meanwhile (R7).
const RESTARTING: Explored = Explored {
    restarts: true,
    start: Start::Crashed,
    ..WITHDRAWING
};

/// The same beside an operator who goes on with the data of one node (R15).
const OVERRIDDEN: Explored = Explored {
    overrides: true,
    ..RESTARTING
};

/// The same where the first node is the only holder: commits wait for nobody.
const ALONE_AND_OVERRIDDEN: Explored = Explored {
    start: Start::Alone,
    ..OVERRIDDEN
};

/// The same as `RESTARTING`, and its data may be put back before that (R10).
const RESTARTED_PUT_BACK: Explored = Explored {
    rollbacks: true,
    withdraws: false,
    ..RESTARTING
};

/// Two nodes, a guard on one, and the lock service out of reach at times; what is committed decides
/// nothing about a guard.
const GUARDED: Explored = Explored {
    outages: true,
    guards: 1,
    commits: 0,
    start: Start::Replicating,
    ..SMALL
};

/// Two nodes that have incarnations, and receivers that call themselves what a node is called (R11).
const STRANGERS: Explored = Explored {
    strangers: true,
    start: Start::Replicating,
    ..SMALL
};

/// Two nodes whose lock database is put back to what it was before.
const RESTORED: Explored = Explored {
    restores: true,
    start: Start::Replicating,
    ..SMALL
};

/// Two nodes whose timelines have names, an operator who passes an owner over once, and standbys that are
/// opened by hand (R13).
const NAMED: Explored = Explored {
    named: true,
    overrides: true,
    by_hand: true,
    timelines: 3,
    start: Start::Replicating,
    ..SMALL
};

/// The same without an operator: a number counts only between two nodes that are holders both.
const NUMBERED: Explored = Explored {
    overrides: false,
    timelines: 2,
    ..NAMED
};

/// Three nodes, of which the third one has received more from the primary than the standby that takes over.
const OUTRUN: Explored = Explored {
    nodes: 3,
    commits: 2,
    timelines: 2,
    named: true,
    ahead: true,
    start: Start::Ahead,
    ..SMALL
};

/// The same, and what the third one has is of another timeline with the same number, which PostgreSQL would let
/// stream: its monitor is still to notice that.
const FOREIGN: Explored = Explored {
    timelines: 3,
    start: Start::Foreign,
    ..OUTRUN
};

/// The same without a further commit, and the one that lends what it has is opened by hand.
const OUTRUN_BY_HAND: Explored = Explored {
    by_hand: true,
    commits: 1,
    timelines: 3,
    ..OUTRUN
};

/// Strangers beside a node with a guard.
const STRANGERS_GUARDED: Explored = Explored {
    strangers: true,
    ..GUARDED
};

/// Two nodes, of which one may be given the register and end before it opens (R14).
const GIVEN: Explored = Explored {
    named: true,
    timelines: 3,
    start: Start::Crashed,
    ..SMALL
};

/// The same beside an operator who copies data (R6) and hands over (R9).
const GIVEN_AND_COPIED: Explored = Explored {
    operator: true,
    start: Start::Replicating,
    ..GIVEN
};

/// The same where data are put back (R10).
const GIVEN_AND_PUT_BACK: Explored = Explored {
    rollbacks: true,
    start: Start::Replicating,
    ..GIVEN
};

/// The same, what is asked of the register may come late, and standbys are opened by hand.
const GIVEN_BY_HAND: Explored = Explored {
    by_hand: true,
    delays: true,
    ..GIVEN
};

/// The same where the lock service is out of reach at times, and nodes lose their memory of the register (R7).
const GIVEN_AND_FORGOTTEN: Explored = Explored {
    outages: true,
    forgets: true,
    start: Start::Replicating,
    ..GIVEN
};

/// Three nodes, two of which held everything.
const GIVEN_OF_THREE: Explored = Explored { nodes: 3, ..GIVEN };

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn long() -> bool {
    std::env::var_os("PHA_EXPLORE").is_some_and(|value| value == "long")
}

/// A counterexample, step by step.
fn story(path: Path<State, model::Move>) -> String {
    let mut text = String::new();
    for (state, step) in path.into_vec() {
        let nodes: Vec<String> = state.nodes.iter().map(|node| format!("{node}")).collect();
        let _ = writeln!(
            text,
            "  {}\n    {:?}, acknowledged {:b}; then {step:?}",
            nodes.join("\n  "),
            (state.row, &state.counted),
            state.acknowledged
        );
    }
    text
}

/// Explores until a property breaks or all is seen; what broke, with the story.
fn explore(
    model: Explored,
    finish: HasDiscoveries,
    most: Option<usize>,
) -> Vec<(&'static str, String)> {
    let began = std::time::Instant::now();
    let label = format!("{model:?}");
    let mut builder = model.checker().threads(2).finish_when(finish);
    if let Some(most) = most {
        builder = builder.target_state_count(most);
    }
    let checker = builder.spawn_bfs().join();
    eprintln!(
        "{label}: {} states, {} transitions, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f32()
    );
    let discoveries = checker.discoveries().into_iter();
    discoveries
        .map(|(name, path)| (name, story(path)))
        .collect()
}

fn holds(model: Explored, most: Option<usize>) {
    let broken = explore(model, HasDiscoveries::AnyFailures, most);
    assert!(broken.is_empty(), "{}:\n{}", broken[0].0, broken[0].1);
}

/// Explores all of it in the long form, and as many transitions of it as given in the short one.
fn holds_within(model: Explored, short: usize) {
    holds(model, (!long()).then_some(short));
}

fn is_noticed(mutation: Mutation, model: Explored, breaks: &[&str]) {
    let model = Explored { mutation, ..model };
    let broken = explore(model, HasDiscoveries::AnyFailures, None);
    assert!(
        broken.iter().any(|(name, _)| breaks.contains(name)),
        "{mutation:?} is not noticed by {breaks:?}: {broken:?}"
    );
}

#[test]
fn two_nodes_keep_the_promise_whatever_is_lost_or_late() {
    holds_within(DELAYED, 1_200_000);
}

#[test]
fn two_nodes_keep_the_promise_with_two_commits() {
    holds(TWO_COMMITS, None);
    if long() {
        holds(bounds(2, 2, 3, true), None);
    }
}

#[test]
fn three_nodes_keep_the_promise() {
    // All of it has tens of millions of states; the first ones are those of the shortest stories.
    let most = if long() { 30_000_000 } else { 800_000 };
    holds(bounds(3, 1, 2, false), Some(most));
}

#[test]
fn two_nodes_keep_the_promise_through_outages_of_the_lock_service() {
    holds_within(OUTAGES, 1_200_000);
    if long() {
        let stuck = deadend::search(&Explored {
            start: Start::Replicating,
            ..OUTAGES
        });
        assert!(stuck.is_none(), "{}", stuck.unwrap_or_default());
        let three = Explored {
            outages: true,
            start: Start::Replicating,
            ..bounds(3, 1, 2, false)
        };
        holds(three, Some(2_000_000));
        let late = Explored {
            outages: true,
            ..DELAYED
        };
        holds(late, None);
    }
}

#[test]
fn every_part_of_the_promise_during_an_outage_is_needed() {
    use Mutation as M;
    for mutation in [
        M::PromiseIgnored,
        M::PromiseNotKept,
        M::UnreachablePromises,
        M::PromiseOfAnOldEpoch,
        M::PromiseWhileAsked,
        M::DegradeWhileAsked,
        M::PromotionLockIgnored,
    ] {
        let model = Explored {
            start: Start::Replicating,
            ..OUTAGES
        };
        is_noticed(mutation, model, &[ACKNOWLEDGED]);
    }
    let stuck = deadend::search(&Explored {
        mutation: M::VoidPromiseKept,
        start: Start::Replicating,
        ..OUTAGES
    });
    assert!(
        stuck.is_some(),
        "a void promise that is kept is not noticed"
    );
}

/// A node that serves, or served last, knows of its own promotion, and refuses by that already.
#[test]
fn without_the_look_at_the_own_role_no_promise_breaks_anything() {
    let model = Explored {
        mutation: Mutation::PrimariesPromise,
        start: Start::Replicating,
        ..OUTAGES
    };
    holds(model, Some(if long() { 5_000_000 } else { 100_000 }));
}

/// The incarnation (R11) of a node is in no condition of a change of the holders. Where its data are replaced between
/// the look and the change, it has left (R6), or it was no holder, and then it has more than what was seen.
#[test]
fn a_holder_whose_data_are_replaced_meanwhile_has_everything() {
    holds(
        REPLACED_MEANWHILE,
        Some(if long() { 10_000_000 } else { 300_000 }),
    );
    is_noticed(Mutation::AdditionOfTheRemade, REPLACED_MEANWHILE, &[REMADE]);
    is_noticed(Mutation::OldLookAdds, REPLACED_MEANWHILE, &[REPLACED]);
    let asking = Explored {
        outages: true,
        ..OPERATED
    };
    is_noticed(Mutation::LeaverIsPutBack, asking, &[REPLACED]);
}

#[test]
fn copies_and_hand_overs_keep_the_promise() {
    holds_within(OPERATED, 400_000);
    // The source of a copy matters with three nodes only.
    holds(OF_THREE, Some(if long() { 3_000_000 } else { 200_000 }));
    holds(HANDED, Some(if long() { 10_000_000 } else { 200_000 }));
    holds(
        HANDED_TO_A_THIRD,
        Some(if long() { 3_000_000 } else { 100_000 }),
    );
}

#[test]
fn every_part_of_copies_and_hand_overs_is_needed() {
    use Mutation as M;
    let late = Explored {
        delays: true,
        ..OPERATED
    };
    let released = Explored {
        start: Start::Released,
        ..HANDED
    };
    for (mutation, model, breaks) in [
        (M::CopyWhileHolder, OPERATED, REPLACED),
        (M::LeaveUnheard, OPERATED, REPLACED),
        (M::CopyMarkIgnored, late.clone(), ACKNOWLEDGED),
        (M::CopyFromAnyone, OF_THREE, ACKNOWLEDGED),
        (M::HandOverUnseen, OPERATED, ACKNOWLEDGED),
        (M::HandOverWhileServing, OPERATED, ACKNOWLEDGED),
        (M::HandOverForeign, OPERATED, SAME_TIMELINE),
        (M::HandOverKeepsOthers, HANDED_TO_A_THIRD, ACKNOWLEDGED),
        (M::HandOverNotKept, released, ACKNOWLEDGED),
        (M::HandOverOfAnotherTime, late, ACKNOWLEDGED),
    ] {
        is_noticed(mutation, model, &[breaks]);
    }
}

#[test]
fn every_rule_is_needed() {
    use Mutation as M;
    let all: [(Mutation, Explored, &[&str]); 18] = [
        (M::ElectionOfThePresent, SMALL, &[ACKNOWLEDGED]),
        (M::ElectionByOrder, SMALL, &[ACKNOWLEDGED]),
        (M::FirstPrimaryTwice, DELAYED, &[ACKNOWLEDGED]),
        (M::AnyoneMayPromote, SMALL, &[ACKNOWLEDGED, SAME_TIMELINE]),
        (
            M::PromotionFromAnOldReading,
            TWO_COMMITS,
            &[ACKNOWLEDGED, SAME_TIMELINE],
        ),
        (M::SameTimeline, TWO_COMMITS, &[SAME_TIMELINE]),
        (M::InPlaceWithoutReign, TWO_COMMITS, &[SAME_TIMELINE]),
        (M::DegradeWithoutRegister, SMALL, &[ACKNOWLEDGED]),
        (M::DegradeBeforeRegister, SMALL, &[ACKNOWLEDGED]),
        (M::NoReplyIsYes, SMALL, &[ACKNOWLEDGED]),
        (M::EpochStays, DELAYED, &[ACKNOWLEDGED]),
        (M::HoldersFromAnOldReading, DELAYED, &[ACKNOWLEDGED]),
        (M::BarrierBeforeInForce, SMALL, &[ACKNOWLEDGED]),
        (M::NoBarrier, SMALL, &[ACKNOWLEDGED]),
        (M::NoFlushCheck, SMALL, &[ACKNOWLEDGED]),
        (M::RegisterBeforeNames, SMALL, &[ACKNOWLEDGED]),
        (M::SupersededGoesOn, SMALL, &[SUPERSEDED]),
        (M::ReleaseBeforeStop, SMALL, &[SINGLE_WRITER]),
    ];
    for (mutation, model, breaks) in all {
        is_noticed(mutation, model, breaks);
    }
}

/// The lease is for availability and for a single writer; durability does not rest on it.
#[test]
fn without_the_lease_nothing_breaks_but_the_single_writer() {
    let model = Explored {
        mutation: Mutation::LeaseIgnored,
        ..SMALL
    };
    let broken = explore(model, HasDiscoveries::AllFailures, None);
    let names: Vec<&str> = broken.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [SINGLE_WRITER]);
}

#[test]
fn a_holder_that_is_left_alone_can_always_serve_again() {
    let stuck = deadend::search(&SMALL);
    assert!(stuck.is_none(), "{}", stuck.unwrap_or_default());
    for mutation in [Mutation::NeverDegrades, Mutation::NeverANewTimeline] {
        let stuck = deadend::search(&Explored { mutation, ..SMALL });
        assert!(stuck.is_some(), "{mutation:?} is not noticed");
    }
}

#[test]
fn data_that_were_put_back_are_never_promoted() {
    holds(ROLLED_BACK, None);
    if long() {
        let more = Explored {
            commits: 2,
            ..ROLLED_BACK
        };
        holds(more, None);
    }
}

#[test]
fn every_look_at_positions_is_needed() {
    for mutation in [Mutation::PositionsIgnored, Mutation::PutBackStarts] {
        is_noticed(mutation, ROLLED_BACK, &[RECORDED, ACKNOWLEDGED]);
    }
}

#[test]
fn standbys_that_have_diverged_acknowledge_nothing() {
    holds(DIVERGED, None);
    holds_within(THREE_DIVERGED, 1_200_000);
    if long() {
        let more = Explored {
            commits: 5,
            ..DIVERGED
        };
        holds(more.clone(), None);
        let late = Explored {
            delays: true,
            outages: true,
            operator: false,
            ..more
        };
        holds(late, None);
        let from_the_beginning = Explored {
            commits: 3,
            operator: false,
            start: Start::Replicating,
            ..DIVERGED
        };
        holds(from_the_beginning, None);
    }
}

#[test]
fn every_look_at_what_a_standby_reports_is_needed() {
    use Mutation as M;
    for mutation in [M::SentIgnored, M::NamedBeforeTheFork] {
        is_noticed(mutation, THREE_DIVERGED, &[UNWRITTEN]);
    }
    for (mutation, breaks) in [
        (M::ReportsBelieved, UNWRITTEN),
        (M::SilentIsNamed, UNWRITTEN),
        (M::BarrierOfTheMoment, ACKNOWLEDGED),
    ] {
        is_noticed(mutation, DIVERGED, &[breaks]);
    }
}

#[test]
fn a_guard_lets_nobody_serve_beside_another() {
    // All of it has a million states and twenty million transitions.
    holds_within(GUARDED, 1_200_000);
}

#[test]
fn every_part_of_the_guard_is_needed() {
    use Mutation as M;
    let naming = Explored {
        start: Start::Naming,
        ..GUARDED
    };
    for mutation in [
        M::GuardForgetsNamed,
        M::GuardTrustsOldPromises,
        M::GuardIgnoresUnsettled,
    ] {
        is_noticed(mutation, naming.clone(), &[FENCED]);
    }
    for (mutation, breaks) in [
        (M::GuardNeverFences, FENCED),
        (M::GuardLetsSuperseded, SUPERSEDED),
        (M::GuardRenewsForAnother, FENCED),
        (M::GuardTrustsOldLinks, FENCED),
        (M::UnreachablePromises, FENCED),
        (M::GuardNotStarted, UNGUARDED),
        (M::GuardNotReplaced, UNGUARDED),
    ] {
        is_noticed(mutation, GUARDED, &[breaks]);
    }
}

#[test]
fn a_lost_memory_promises_nothing_and_frees_nobody() {
    holds(FORGETFUL, Some(if long() { 10_000_000 } else { 400_000 }));
    is_noticed(Mutation::ForgottenIsNothing, FORGETFUL, &[ACKNOWLEDGED]);
}

#[test]
fn a_withdrawn_promise_costs_nothing_that_was_acknowledged() {
    holds(
        WITHDRAWING,
        Some(if long() { 20_000_000 } else { 1_200_000 }),
    );
    if long() {
        let several = Explored {
            several: true,
            ..WITHDRAWING
        };
        holds(several, Some(10_000_000));
        let guarded = Explored {
            withdraws: true,
            commits: 1,
            ..GUARDED
        };
        holds(guarded, Some(10_000_000));
        let stuck = deadend::search(&WITHDRAWING);
        assert!(stuck.is_none(), "{}", stuck.unwrap_or_default());
        let three = Explored {
            nodes: 3,
            ..WITHDRAWING
        };
        holds(three, Some(5_000_000));
    }
}

#[test]
fn every_part_of_a_withdrawal_is_needed() {
    use Mutation as M;
    for mutation in [
        M::WithdrawnAlthoughUsed,
        M::UseNotKept,
        M::WithdrawalOfAnotherEpoch,
    ] {
        is_noticed(mutation, WITHDRAWING, &[ACKNOWLEDGED]);
    }
    // A server that somebody starts after it was stopped acknowledges nothing; one that is restarted in place does.
    is_noticed(M::WithdrawalNotKept, RESTARTING, &[ACKNOWLEDGED]);
    let stuck = deadend::search(&Explored {
        mutation: M::WithdrawalUnheard,
        ..WITHDRAWING
    });
    assert!(
        stuck.is_some(),
        "a withdrawal that frees nobody is not noticed"
    );
}

#[test]
fn a_primary_that_restarts_by_promises_costs_nothing_that_was_acknowledged() {
    holds(RESTARTING, Some(if long() { 20_000_000 } else { 500_000 }));
    holds(
        RESTARTED_PUT_BACK,
        Some(if long() { 20_000_000 } else { 200_000 }),
    );
    if long() {
        let three = Explored {
            nodes: 3,
            withdraws: false,
            ..RESTARTING
        };
        holds(three, Some(5_000_000));
        let late = Explored {
            delays: true,
            commits: 2,
            ..RESTARTING
        };
        holds(late, Some(10_000_000));
    }
}

#[test]
fn every_part_of_a_restart_by_promises_is_needed() {
    use Mutation as M;
    let released = |model| Explored {
        start: Start::Released,
        ..model
    };
    // Some of these break more, and sooner, where a standby is let go.
    for (mutation, model, breaks) in [
        (M::RestartUnasked, released(RESTARTING), REOPENED),
        (M::UnreachablePromises, released(RESTARTING), REOPENED),
        (M::PromiseNotKept, released(RESTARTING), REOPENED),
        (M::PromiseWhileAsked, released(RESTARTING), REOPENED),
        (M::RestartUseNotKept, released(RESTARTING), ACKNOWLEDGED),
        // Somebody has to start the server by hand, which nobody does whose lease was given back; and a server that
        // was restarted keeps that it has opened before it renews the lease.
        (M::WithdrawnWhileOpen, RESTARTING, ACKNOWLEDGED),
        (M::OpenedUnlooked, released(RESTARTING), ACKNOWLEDGED),
        (M::ServedIgnored, released(RESTARTED_PUT_BACK), REOPENED),
        (M::OldLookCounts, released(RESTARTED_PUT_BACK), REOPENED),
    ] {
        let model = Explored { mutation, ..model };
        let found = explore(model, HasDiscoveries::AnyOf([breaks].into()), None);
        assert!(
            found.iter().any(|(name, _)| *name == breaks),
            "{mutation:?} does not break {breaks:?}: {found:?}"
        );
    }
}

#[test]
fn an_operator_decides_beside_promises_and_loses_nothing_that_is_not_given_up() {
    holds_within(OVERRIDDEN, 400_000);
    let passed = Explored {
        start: Start::Passed,
        ..OVERRIDDEN
    };
    holds_within(passed, 200_000);
    holds_within(ALONE_AND_OVERRIDDEN, 200_000);
    if long() {
        let three = Explored {
            nodes: 3,
            ..OVERRIDDEN
        };
        holds(three, Some(5_000_000));
    }
}

#[test]
fn every_part_of_giving_way_is_needed() {
    use Mutation as M;
    let all = [
        (M::NobodyGivesWay, Start::Crashed),
        (M::UsedGivesWay, Start::Passed),
        (M::PromisedUnheard, Start::Released),
        (M::NamesOutliveTheMachine, Start::Alone),
        (M::NamesOutliveGivingWay, Start::Alone),
        (M::NamesOutliveAStop, Start::Alone),
        // The whole way of a question that is asked after all: two million transitions and more each.
        (M::ServingGivesWay, Start::Crashed),
        (M::GiveWayNotKept, Start::Crashed),
    ];
    for (mutation, start) in all.into_iter().take(if long() { all.len() } else { 6 }) {
        let model = Explored {
            mutation,
            start,
            ..OVERRIDDEN
        };
        let lost = explore(model, HasDiscoveries::AnyOf([ACKNOWLEDGED].into()), None);
        let noticed = lost.iter().any(|(name, _)| *name == ACKNOWLEDGED);
        assert!(noticed, "{mutation:?} is not noticed: {lost:?}");
    }
}

#[test]
fn several_operations_of_a_node_at_once_keep_the_promise() {
    holds_within(LEFT_BEHIND, 300_000);
    if long() {
        let outages = Explored {
            outages: true,
            ..LEFT_BEHIND
        };
        holds(outages, Some(5_000_000));
    }
}

#[test]
fn one_operation_of_a_node_at_a_time_is_needed() {
    is_noticed(Mutation::ChangeLockIgnored, LEFT_BEHIND, &[ACKNOWLEDGED]);
}

#[test]
fn an_announced_stop_keeps_the_promise() {
    holds(ANNOUNCED, None);
}

#[test]
fn a_synchronous_standby_is_exchanged_without_a_primary_that_holds_alone() {
    holds(EXCHANGING, Some(if long() { 5_000_000 } else { 800_000 }));
    holds(
        EXCHANGING_AWAY,
        Some(if long() { 3_000_000 } else { 200_000 }),
    );
    holds(BROKEN_OFF, Some(if long() { 3_000_000 } else { 100_000 }));
    holds(
        EXCHANGING_GUARDED,
        Some(if long() { 3_000_000 } else { 200_000 }),
    );
    if long() {
        let late = Explored {
            delays: true,
            commits: 2,
            ..EXCHANGING
        };
        holds(late, Some(3_000_000));
    }
}

#[test]
fn every_part_of_an_exchange_is_needed() {
    use Mutation as M;
    for (mutation, breaks) in [
        (M::ExchangeNotTried, ALONE),
        (M::NeverDegrades, HELD),
        (M::ExchangePasses, ACKNOWLEDGED),
        (M::NoBarrier, ACKNOWLEDGED),
        (M::BarrierBeforeInForce, ACKNOWLEDGED),
    ] {
        is_noticed(mutation, EXCHANGING, &[breaks]);
    }
    is_noticed(M::HoldNotTakenBack, EXCHANGING_AWAY, &[HELD]);
    is_noticed(M::HoldOfAnotherEpoch, BROKEN_OFF, &[ACKNOWLEDGED]);
    is_noticed(M::GuardLeavesHold, EXCHANGING_GUARDED, &[HELD]);
}

#[test]
fn somebody_can_take_over_who_could_open() {
    holds(UNFIT, Some(if long() { 5_000_000 } else { 300_000 }));
    let away = Explored {
        outages: true,
        ..UNFIT
    };
    holds(away, Some(if long() { 3_000_000 } else { 100_000 }));
    let by_votes = Explored {
        unfits: true,
        ..BY_VOTES
    };
    holds(by_votes, Some(if long() { 3_000_000 } else { 100_000 }));
}

#[test]
fn every_look_at_who_could_open_is_needed() {
    is_noticed(Mutation::UnfitStays, UNFIT, &[UNCOVERED]);
    is_noticed(Mutation::UnfitIsPromoted, UNFIT, &[TAKEN]);
}

#[test]
fn what_the_files_say_and_the_server_has_not_costs_nothing() {
    holds(FILES, Some(if long() { 10_000_000 } else { 400_000 }));
    holds(
        FILES_EXCHANGING,
        Some(if long() { 5_000_000 } else { 100_000 }),
    );
    // Further on somebody else has the files read twice while one monitor writes them (docs/promise.md).
    holds(FILES_ALONE, Some(100_000));
}

#[test]
fn a_change_that_is_not_taken_up_is_as_good_as_made_for_promises() {
    holds(FILES_AWAY, Some(if long() { 10_000_000 } else { 100_000 }));
    if long() {
        let stuck = deadend::search(&FILES);
        assert!(stuck.is_none(), "{}", stuck.unwrap_or_default());
    }
}

#[test]
fn every_look_at_the_files_is_needed() {
    use Mutation as M;
    for (mutation, model, breaks) in [
        (M::FileForgotten, FILES, ACKNOWLEDGED),
        (M::FileForgotten, FILES_ALONE, INHERITED),
        (M::UnreadIsPromoted, FILES, TAKEN),
        (M::OpeningUnseen, FILES, SHUT),
    ] {
        is_noticed(mutation, model, &[breaks]);
    }
}

#[test]
fn a_primary_that_is_cut_off_leaves_somebody_who_may_take_over() {
    holds(BY_QUORUM, Some(if long() { 5_000_000 } else { 300_000 }));
    holds(BY_VOTES, Some(if long() { 5_000_000 } else { 300_000 }));
    holds(
        BY_QUORUM_AWAY,
        Some(if long() { 3_000_000 } else { 100_000 }),
    );
    holds(
        BY_QUORUM_GUARDED,
        Some(if long() { 3_000_000 } else { 150_000 }),
    );
}

#[test]
fn without_a_register_who_is_promoted_by_quorum_has_everything() {
    holds_within(BY_QUORUM_ALONE, 400_000);
}

#[test]
fn every_question_for_quorum_is_needed() {
    use Mutation as M;
    for mutation in [
        M::QuorumNotAsked,
        M::WithoutQuorumGoesOn,
        M::PolicyForgotten,
    ] {
        is_noticed(mutation, BY_QUORUM, &[STRANDED]);
        is_noticed(mutation, BY_QUORUM_ALONE, &[INHERITED]);
    }
    for mutation in [M::ExchangeNotAsked, M::OnlyTheLastAsked] {
        is_noticed(mutation, BY_VOTES, &[STRANDED]);
    }
    is_noticed(M::OnlyTheLastAsked, BY_QUORUM_ALONE, &[INHERITED]);
    for mutation in [M::GuardAsksNoQuorum, M::GuardWithoutQuorumGoesOn] {
        is_noticed(mutation, BY_QUORUM_GUARDED, &[STRANDED]);
    }
}

#[test]
fn strangers_prove_nothing() {
    holds(STRANGERS, Some(if long() { 20_000_000 } else { 150_000 }));
    if long() {
        let late = Explored {
            delays: true,
            commits: 2,
            ..STRANGERS
        };
        holds(late, Some(30_000_000));
        holds(STRANGERS_GUARDED, Some(30_000_000));
    }
}

#[test]
fn every_look_at_strangers_is_needed() {
    use Mutation as M;
    for (mutation, model, breaks) in [
        (M::PlainNamesBelieved, STRANGERS, ACKNOWLEDGED),
        (M::StatementIgnored, STRANGERS, ACKNOWLEDGED),
        (M::AnnouncementIgnored, STRANGERS, FORMER_NAME),
        (M::BarrierOfAnotherEpoch, STRANGERS, ACKNOWLEDGED),
    ] {
        is_noticed(mutation, model, &[breaks]);
    }
    if long() {
        is_noticed(M::GuardBelievesStrangers, STRANGERS_GUARDED, &[FENCED]);
    }
}

#[test]
fn a_lock_database_that_is_put_back_promotes_nobody_without_the_commits() {
    holds_within(RESTORED, 1_200_000);
}

#[test]
fn every_word_to_the_cluster_about_the_register_is_needed() {
    use Mutation as M;
    for mutation in [
        M::ToldNothing,
        M::ToldAfterwards,
        M::ToldByTheMonitor,
        M::ToldIgnored,
    ] {
        is_noticed(mutation, RESTORED, &[ACKNOWLEDGED]);
    }
}

#[test]
fn equal_numbers_are_never_taken_for_the_same_timeline() {
    // Two openings by hand and an operator in between come after five million states.
    holds(NAMED, Some(if long() { 60_000_000 } else { 2_200_000 }));
}

#[test]
fn every_part_of_names_is_needed() {
    use Mutation as M;
    for (mutation, model, breaks) in [
        (M::RecordNotKept, NAMED, SAME_TIMELINE),
        (M::ForeignStarts, NAMED, SAME_TIMELINE),
        (M::NumberNotReserved, NUMBERED, SAME_TIMELINE),
        (M::StandbyIsOpen, NAMED, ACKNOWLEDGED),
    ] {
        is_noticed(mutation, model, &[breaks]);
    }
    // Each takes a story of more than twenty steps.
    if long() {
        for mutation in [M::NumberOfAnotherGoesOn, M::OpeningNotBounded] {
            is_noticed(mutation, NAMED, &[SAME_TIMELINE]);
        }
    }
}

#[test]
fn a_standby_that_is_ahead_lends_what_it_has_to_the_one_that_takes_over() {
    holds(OUTRUN, Some(if long() { 10_000_000 } else { 300_000 }));
    holds(
        OUTRUN_BY_HAND,
        Some(if long() { 10_000_000 } else { 300_000 }),
    );
    let most = if long() { 5_000_000 } else { 100_000 };
    let mixed = HasDiscoveries::AnyOf([MIXED].into());
    let broken = explore(FOREIGN, mixed, Some(most));
    let broken = broken.iter().find(|(name, _)| *name == MIXED);
    assert!(broken.is_none(), "{broken:?}");
}

#[test]
fn every_part_of_lending_is_needed() {
    use Mutation as M;
    for (mutation, model, breaks) in [
        (M::NothingIsLent, OUTRUN, AHEAD),
        (M::LentInVain, OUTRUN, AHEAD),
        (M::ChangeNotMarked, OUTRUN, LENT),
        (M::StrayedIsOpened, OUTRUN_BY_HAND, STRAYED),
        (M::LenderIsKept, OUTRUN_BY_HAND, STRAYED),
    ] {
        is_noticed(mutation, model, &[breaks]);
    }
    let model = Explored {
        mutation: M::AnyTermIsLent,
        ..FOREIGN
    };
    let broken = explore(model, HasDiscoveries::AnyOf([MIXED].into()), None);
    let noticed = broken.iter().any(|(name, _)| *name == MIXED);
    assert!(noticed, "a timeline of another name is not noticed");
}

#[test]
fn a_right_of_which_no_use_was_made_goes_back_to_those_who_held_everything() {
    holds_within(GIVEN, 400_000);
    holds_within(GIVEN_AND_COPIED, 300_000);
    holds_within(GIVEN_AND_PUT_BACK, 300_000);
    holds_within(GIVEN_BY_HAND, 300_000);
    holds(
        GIVEN_OF_THREE,
        Some(if long() { 5_000_000 } else { 200_000 }),
    );
    let looked_at = given_back::search(&GIVEN, if long() { 1_000_000 } else { 20_000 });
    assert!(
        looked_at.as_ref().is_ok_and(|count| *count > 0),
        "{looked_at:?}"
    );
}

#[test]
fn a_right_goes_back_to_nobody_whom_promises_have_passed_by() {
    let most = if long() { 20_000_000 } else { 300_000 };
    holds(GIVEN_AND_FORGOTTEN, Some(most));
}

/// Data are copied only from an owner that has served, which gives no right back of the term after that. And what has
/// opened is on another timeline, whether `standby.signal` is there or not.
#[test]
fn without_the_looks_at_who_has_left_and_at_the_signal_giving_back_breaks_nothing() {
    for mutation in [Mutation::LeaverIsGivenBack, Mutation::SignalIgnored] {
        let model = Explored {
            mutation,
            ..GIVEN_AND_COPIED
        };
        holds_within(model, 300_000);
    }
}

#[test]
fn every_part_of_giving_back_is_needed() {
    use Mutation as M;
    let late = Explored {
        delays: true,
        ..GIVEN
    };
    let kept = Explored {
        mutation: M::RightIsKept,
        ..GIVEN
    };
    assert!(
        given_back::search(&kept, 20_000).is_err(),
        "a right that is kept is not noticed"
    );
    for (mutation, model, breaks) in [
        (M::GivenBackAfterOpening, GIVEN, ACKNOWLEDGED),
        (
            M::OwnerGivesBackItsHolders,
            GIVEN_AND_FORGOTTEN,
            ACKNOWLEDGED,
        ),
        (M::GivenBackOfAnotherTime, late, SINGLE_WRITER),
        (M::PositionsNotGivenBack, GIVEN_AND_PUT_BACK, ACKNOWLEDGED),
    ] {
        is_noticed(mutation, model, &[breaks]);
    }
}
