//! The guard: rounds of it on a primary, with the clock, the lock service and the standbys as values.

use std::collections::BTreeSet;
use std::time::Duration;

use pha_core::cluster::WithoutQuorum;
use pha_core::decide::{guard, running, stood_still};
use pha_core::drive::{self, Edge, Guarding, Note, Round};
use pha_core::names::NodeName;
use pha_core::ocf::{self, OcfCode, When};
use pha_core::plan::{Action, ActionKind, Effect, StopMode};
use pha_core::proofs::Proofs;
use pha_core::register::{Memory, PromiseAnswer, PromisedAt, Reading, Register, Reply, Trouble};
use pha_core::snapshot::{
    Answer, Death, Guard, KeptLinks, Look, Mode, Operation, PidFile, Process, Shown, Snapshot,
    Watch,
};

use crate::world::{MONITOR, World, link, node, nodes, notification, owned};

const TTL: Duration = Duration::from_secs(3);
/// The longest that one question may take.
const LONGEST: Duration = Duration::from_secs(3);
const RENEW: &str = "renew by node1";

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A guard beside the primary of `world`, and what it remembers between its rounds.
struct Resident {
    world: World,
    now: Duration,
    proofs: Proofs,
    /// The standbys that acknowledge WAL.
    following: BTreeSet<NodeName>,
    promised_at: Option<PromisedAt>,
    death: Death,
    absent_since: Option<Duration>,
    pacemaker_gone: Duration,
    pacemaker_timeout: Duration,
    /// How long the lock service takes for an answer, or for none.
    lock_takes: Duration,
    /// The same of the other nodes that are asked to promise.
    peers_take: Duration,
    /// The machine stands still once the standbys were asked, and this is the register when it goes on.
    stands_still: Option<Register>,
    /// Whether the watchdog was fed at the end of the last round.
    fed: bool,
    actions: Vec<String>,
}

/// How a round ended.
#[derive(Debug, PartialEq)]
enum End {
    Round(&'static str),
    Guard(&'static str),
}

/// A round, as the edge of the loop that the guard runs.
struct Rounding<'r> {
    resident: &'r mut Resident,
    /// When the action that is under way was begun.
    asked: Duration,
}

impl Edge for Rounding<'_> {
    fn perform(&mut self, action: &Action, snapshot: &Snapshot) -> Result<Effect, String> {
        self.asked = self.resident.now;
        self.resident.perform(action, snapshot)
    }

    fn keep(&mut self, _memory: &Memory) -> Result<(), String> {
        Ok(())
    }

    fn note(&mut self, _note: Note<'_>) {}
}

impl Guarding for Rounding<'_> {
    fn refresh(&mut self, snapshot: Snapshot) -> Snapshot {
        let late = stood_still(self.resident.now, self.asked + LONGEST);
        self.asked = self.resident.now;
        self.resident.refreshed(snapshot, late)
    }

    fn learn(&mut self, action: &Action, snapshot: &Snapshot) {
        self.resident.learn(action, snapshot, self.asked);
    }

    fn is_to_end(&mut self) -> bool {
        false
    }
}

impl Resident {
    fn beside(world: World) -> Self {
        let mut world = world;
        world.settings.ttl = TTL;
        let mut proofs = Proofs::new(seconds(1000.0));
        if let Ok(row) = &world.register {
            proofs.owned(row.clone());
        }
        Self {
            world,
            now: seconds(1000.0),
            proofs,
            following: nodes(&[2]),
            promised_at: None,
            death: Death::None,
            absent_since: None,
            pacemaker_gone: Duration::ZERO,
            pacemaker_timeout: Duration::ZERO,
            lock_takes: seconds(0.01),
            peers_take: seconds(0.02),
            stands_still: None,
            fed: false,
            actions: vec![],
        }
    }

    fn primary() -> Self {
        Self::beside(World::primary())
    }

    /// The lock service does not answer from now on.
    fn without_lock_service(mut self) -> Self {
        self.world.register = Err(silence());
        self.lock_takes = seconds(60.0);
        self
    }

    /// What is seen beside the proofs.
    fn seen(&self) -> Watch {
        Watch {
            death: self.death,
            absent: self.absent_since.map_or(Duration::ZERO, |at| self.now - at),
            pacemaker_gone: self.pacemaker_gone,
            pacemaker_timeout: self.pacemaker_timeout,
            ..Watch::default()
        }
    }

    /// Carries one round through and sleeps until the next.
    fn round(&mut self, overslept: bool) -> End {
        self.proofs.remember(&self.world.memory, self.now);
        let begun = Watch {
            overslept,
            ..Watch::default()
        };
        let s = self.world.look(&Operation::Guard(begun));
        let s = self.refreshed(s, false);
        let mut round = Rounding {
            asked: self.now,
            resident: self,
        };
        let (s, end) = drive::round(&mut round, s);
        match end {
            Round::Finished(rule, _) => End::Guard(rule),
            Round::Over(rule) => {
                self.fed = guard::feeds(&s);
                self.proofs.looked(&self.world.answer, self.now);
                let s = self.refreshed(s, false);
                self.now += guard::pause(&s, false);
                End::Round(rule)
            }
            Round::Endless | Round::ToEnd => panic!("a round without an end: {:?}", self.actions),
        }
    }

    fn refreshed(&mut self, mut s: Snapshot, late: bool) -> Snapshot {
        if late {
            s.woke_late();
        }
        s.process = self.world.process;
        let seen = self.seen();
        self.proofs
            .refresh(&mut s, seen, self.promised_at, self.now);
        s
    }

    fn perform(&mut self, action: &Action, s: &Snapshot) -> Result<Effect, String> {
        let asked = self.now;
        match action {
            Action::Warn(_) => {}
            Action::UpdateRegister(update) => self.actions.push(update.reason()),
            other => self.actions.push(other.kind().to_string()),
        }
        match action {
            Action::AskStandbys(standbys) => {
                let asked_for = standbys.keys().cloned().collect();
                let following = self.following.intersection(&asked_for).cloned();
                self.proofs.linked(&following.collect(), asked);
                self.now += seconds(0.02);
                if let Some(meanwhile) = self.stands_still.take() {
                    self.now += seconds(600.0);
                    self.world.register = Ok(meanwhile);
                }
                Ok(Effect::Done)
            }
            Action::ReportDeath => {
                self.death = Death::Told;
                Ok(Effect::Done)
            }
            Action::UpdateRegister(_) | Action::ReadRegister => {
                self.now += self.lock_takes.min(guard::time_for(action, s).unwrap());
                self.world.perform(action)
            }
            Action::AskPromises(ask) => {
                self.now += self.peers_take.min(guard::time_for(action, s).unwrap());
                // The guard's note beside the memory.
                self.world.memory = self.world.memory.relying(ask.epoch);
                self.world.perform(action)
            }
            other => self.world.perform(other),
        }
    }

    fn learn(&mut self, action: &Action, s: &Snapshot, asked: Duration) {
        if let (Action::AskPromises(ask), Some(promises)) = (action, &s.progress.promises) {
            self.promised_at = promises.complete(ask).then_some(PromisedAt {
                term: ask.term,
                epoch: ask.epoch,
            });
        }
        self.proofs.learn(action, s, asked);
    }

    /// Rounds until the guard ends or `time` has passed; the last round and how long it took.
    fn rounds(&mut self, time: Duration) -> (End, Duration) {
        let began = self.now;
        loop {
            let end = self.round(false);
            if matches!(end, End::Guard(_)) || self.now - began > time {
                return (end, self.now - began);
            }
        }
    }

    #[track_caller]
    fn expect_fence(mut self) {
        let (end, _) = self.rounds(seconds(60.0));
        assert_eq!(end, End::Guard("guard-stopped"), "{:?}", self.actions);
        assert_eq!(self.world.process, Process::Absent);
        // What a standby acknowledged counts where every other holder did.
        let watch = self.proofs.watch(self.now);
        let others = watch.last.as_ref().unwrap().holders.iter().skip(1);
        let linked = others.map(|node| watch.links.get(node).copied());
        let linked = linked.collect::<Option<Vec<_>>>().unwrap_or_default();
        let linked = linked.into_iter().max();
        let took = linked.map_or(watch.unrenewed, |age| age.min(watch.unrenewed));
        assert!(took <= guard::limit(TTL) + seconds(0.1), "after {took:?}");
        assert!(took >= guard::limit(TTL), "too soon: {took:?}");
        let stopped = self.actions.iter().position(|done| done == "stop-postgres");
        assert!(stopped.is_some(), "{:?}", self.actions);
        assert_eq!(self.actions.last().unwrap(), "report-death");
    }

    #[track_caller]
    fn goes_on(mut self, rule: &'static str) {
        let (end, _) = self.rounds(seconds(60.0));
        assert_eq!(end, End::Round(rule), "{:?}", self.actions);
        assert_eq!(self.world.process, Process::Alive { frozen: false });
    }
}

fn silence() -> Reading {
    Reading::Unknown(Trouble::Unreachable("no route to host".to_owned()))
}

#[test]
fn the_lease_is_renewed_four_times_in_its_length() {
    let mut resident = Resident::primary();
    let (end, _) = resident.rounds(seconds(30.0));
    assert_eq!(end, End::Round("guard-renewed"));
    assert_eq!(resident.world.row().positions.len(), 2, "R10");
    let renewals = resident.actions.len();
    assert!((38..=41).contains(&renewals), "{renewals} in 30 s");
    assert!(resident.actions.iter().all(|done| done == RENEW));
    // A longer lease is still renewed every second or so.
    assert_eq!(guard::interval(seconds(60.0)), seconds(1.0));
    assert!(guard::limit(seconds(1.0)) > 2 * guard::interval(seconds(1.0)));
}

#[test]
fn an_isolated_primary_is_stopped_before_its_lease_runs_out() {
    let mut resident = Resident::primary().without_lock_service();
    resident.following.clear();
    resident.expect_fence();
    // Whatever the lock service answers instead of renewing.
    let mut resident = Resident::primary();
    resident.world.register = Err(Reading::Unknown(Trouble::Answered("no table".to_owned())));
    resident.following.clear();
    resident.expect_fence();
}

#[test]
fn without_the_lock_service_a_primary_goes_on_as_long_as_its_standby_follows() {
    Resident::primary()
        .without_lock_service()
        .goes_on("guard-linked");
    let mut resident = Resident::primary().without_lock_service();
    resident.rounds(seconds(30.0));
    resident.following.clear();
    resident.expect_fence();
}

#[test]
fn every_node_that_could_be_promoted_has_to_follow() {
    // node3 is no holder and not named: it cannot be promoted, whether or not it follows.
    let mut world = World::primary();
    world.settings.nodes.push(node(3));
    Resident::beside(world.clone())
        .without_lock_service()
        .goes_on("guard-linked");
    world.register = Ok(owned(1, 1, &[1, 2, 3]));
    Resident::beside(world)
        .without_lock_service()
        .expect_fence();
    // Named and not yet a holder: the monitor may have made it one meanwhile.
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    let mut resident = Resident::beside(world).without_lock_service();
    resident.following.clear();
    resident.expect_fence();
}

#[test]
fn the_only_holder_needs_no_lease() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.name(&[""; 0]);
    world.standbys.clear();
    let alone = || {
        let mut resident = Resident::beside(world.clone()).without_lock_service();
        resident.following.clear();
        resident
    };
    alone().goes_on("guard-only-holder");
    // A monitor has changed the holders since the guard last saw the row.
    let mut resident = alone();
    resident.world.memory.epoch += 1;
    resident.expect_fence();
    // PostgreSQL does not say whom it waits for.
    let mut resident = alone();
    resident.world.answer = Answer::NoAnswer;
    resident.expect_fence();
    // In asynchronous mode anybody may be promoted (R1).
    let mut resident = alone();
    resident.world.settings.mode = Mode::Async;
    resident.expect_fence();
}

#[test]
fn the_promise_of_every_peer_is_as_good_as_a_lease() {
    let isolated = |answer: Option<PromiseAnswer>| {
        let mut resident = Resident::primary().without_lock_service();
        resident.following.clear();
        let epoch = resident.world.memory.epoch;
        let answers = answer.map(|answer| (node(2), answer));
        resident.world.answers = answers.into_iter().collect();
        (resident, epoch)
    };
    let (mut resident, epoch) = isolated(None);
    resident.world.answers = vec![(node(2), PromiseAnswer::Promised { epoch })];
    resident.goes_on("guard-promised");
    // A promise for another epoch, a refusal, and silence are none.
    let (resident, _) = isolated(Some(PromiseAnswer::Promised { epoch: epoch + 1 }));
    resident.expect_fence();
    let (resident, _) = isolated(Some(PromiseAnswer::Refused("promoting".to_owned())));
    resident.expect_fence();
    let (resident, _) = isolated(None);
    resident.expect_fence();
    // One that was given ends with the epoch at which it was given.
    let (mut resident, _) = isolated(None);
    resident.promised_at = Some(PromisedAt {
        term: resident.world.memory.term,
        epoch: epoch - 1,
    });
    resident.expect_fence();
}

/// The lock service has been away for a while when the standby goes too.
#[test]
fn promises_are_asked_for_in_time_after_the_standby_has_gone_as_well() {
    let mut resident = Resident::primary().without_lock_service();
    resident.rounds(seconds(30.0));
    assert!(!resident.actions.iter().any(|done| done == "ask-promises"));
    resident.following.clear();
    let epoch = resident.world.memory.epoch;
    resident.world.answers = vec![(node(2), PromiseAnswer::Promised { epoch })];
    resident.goes_on("guard-promised");
}

#[test]
fn the_lease_is_asked_for_once_more_after_a_question_that_nobody_answers() {
    let mut resident = Resident::primary().without_lock_service();
    resident.following.clear();
    resident.peers_take = seconds(60.0);
    while resident
        .actions
        .last()
        .is_none_or(|done| done != "ask-promises")
    {
        assert_eq!(resident.round(false), End::Round("guard-in-doubt"));
    }
    resident.world.register = Resident::primary().world.register;
    resident.lock_takes = seconds(0.05);
    resident.goes_on("guard-renewed");
}

/// Lock service and standby have been gone for a minute, and node2 has promised at this epoch.
fn living_by_promises() -> (Resident, u64) {
    let mut resident = Resident::primary().without_lock_service();
    resident.following.clear();
    let epoch = resident.world.memory.epoch;
    resident.world.answers = vec![(node(2), PromiseAnswer::Promised { epoch })];
    let (end, _) = resident.rounds(seconds(60.0));
    assert_eq!(end, End::Round("guard-promised"));
    (resident, epoch)
}

/// Nothing that is left needs the promise that node2 may have given, and it is told so before the guard
/// ends.
#[test]
fn a_guard_that_has_stopped_postgresql_withdraws_the_question() {
    let mut resident = Resident::primary().without_lock_service();
    resident.following.clear();
    let (end, _) = resident.rounds(seconds(60.0));
    assert_eq!(end, End::Guard("guard-stopped"), "{:?}", resident.actions);
    let last: Vec<&str> = resident
        .actions
        .iter()
        .rev()
        .take(3)
        .map(|a| &**a)
        .collect();
    assert_eq!(last, ["report-death", "withdraw-promises", "stop-postgres"]);
    let freed = &resident.world.freed;
    assert_eq!(freed.len(), 1);
    assert_eq!((freed[0].epoch, &*freed[0].peers), (10, &[node(2)][..]));

    // A monitor has let node2 go by its promise.
    let mut resident = Resident::primary().without_lock_service();
    resident.following.clear();
    resident.world.memory = resident.world.memory.using(1, 10, None).unwrap();
    let (end, _) = resident.rounds(seconds(60.0));
    assert_eq!(end, End::Guard("guard-stopped"));
    assert_eq!(resident.world.freed, []);

    // What was withdrawn is no proof for the server that somebody has started again.
    let (mut resident, epoch) = living_by_promises();
    resident.world.memory = resident.world.memory.withdrawing(1, epoch, None).unwrap();
    let (end, _) = resident.rounds(seconds(60.0));
    assert_eq!(end, End::Guard("guard-stopped"), "{:?}", resident.actions);
}

/// PostgreSQL does not say for whom commits wait; the row that was last seen says who is a holder.
#[test]
fn a_guard_spares_the_holder_while_another_node_has_not_promised() {
    let mut resident = Resident::primary().without_lock_service();
    resident.world.settings.nodes.push(node(3));
    resident.world.answer = Answer::Refused("too many clients".to_owned());
    resident.following.clear();
    resident.world.answers = vec![(node(2), PromiseAnswer::Promised { epoch: 10 })];
    let (end, _) = resident.rounds(seconds(60.0));
    assert_eq!(end, End::Guard("guard-stopped"), "{:?}", resident.actions);
    let asked: BTreeSet<_> = resident.world.asked.iter().flatten().cloned().collect();
    assert_eq!(asked, nodes(&[3]));
}

/// One that is asked for its promise may pass on that the holder goes, and that one is in the part of the
/// cluster that has quorum (R3).
#[test]
fn a_guard_asks_for_promises_only_with_quorum_where_that_decides() {
    // A cluster that does not say may be stopped, or may still look for a node that has no power.
    for (quorum, silent, ends) in [
        (true, false, End::Round("guard-promised")),
        (false, false, End::Guard("guard-stopped")),
        (false, true, End::Round("guard-promised")),
    ] {
        let mut world = World::primary();
        world.quorum = quorum;
        if silent {
            world.broken.insert(ActionKind::AskQuorum.into());
        }
        world.kept = Some(KeptLinks {
            without_quorum: Some(WithoutQuorum::Ends),
            ..world.would_keep()
        });
        world.cluster = Err("the guard does not ask".to_owned());
        let mut resident = Resident::beside(world).without_lock_service();
        resident.following.clear();
        resident.world.answers = vec![(node(2), PromiseAnswer::Promised { epoch: 10 })];
        let (end, _) = resident.rounds(seconds(60.0));
        assert_eq!(end, ends, "{:?}", resident.actions);
        assert_eq!(resident.world.asked.is_empty(), !quorum && !silent);
    }
}

/// The lock service is back, and a monitor was there first: what it has changed ends the promises, and
/// the guard has not renewed yet.
#[test]
fn the_end_of_the_promises_is_the_beginning_of_the_time_for_another_proof() {
    let (mut resident, epoch) = living_by_promises();
    let mut row = owned(1, 1, &[1, 2]);
    row.epoch = epoch + 1;
    resident.world.register = Ok(row);
    resident.world.memory.epoch += 1;
    resident.lock_takes = seconds(0.01);
    assert_eq!(resident.round(false), End::Round("guard-renewed"));

    // The same for the only holder, to which a monitor has added another one.
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.name(&[""; 0]);
    let mut resident = Resident::beside(world).without_lock_service();
    resident.following.clear();
    let (end, _) = resident.rounds(seconds(60.0));
    assert_eq!(end, End::Round("guard-only-holder"));
    let mut row = owned(1, 1, &[1, 2]);
    row.epoch = resident.world.memory.epoch + 1;
    resident.world.memory.epoch = row.epoch;
    resident.world.register = Ok(row);
    resident.lock_takes = seconds(0.01);
    assert_eq!(resident.round(false), End::Round("guard-renewed"));
    // Where it is not, the time is over as ever.
    let mut resident = resident.without_lock_service();
    resident.world.memory.epoch += 1;
    resident.expect_fence();
}

/// The register may have moved unheard, and the promises with it.
#[test]
fn promises_are_no_proof_while_an_own_change_is_unsettled() {
    let (mut resident, epoch) = living_by_promises();
    resident.world.memory.asked = Some(epoch);
    let began = resident.now;
    let (end, _) = resident.rounds(seconds(60.0));
    assert_eq!(end, End::Guard("guard-stopped"), "{:?}", resident.actions);
    let took = resident.now - began;
    assert!(took <= guard::limit(TTL) + seconds(0.1), "after {took:?}");
}

#[test]
fn a_renewal_that_another_node_has_passed_on_is_as_good_as_a_direct_one() {
    let mut resident = Resident::primary().without_lock_service();
    resident.following.clear();
    let epoch = resident.world.memory.epoch;
    let mut row = owned(1, 1, &[1]);
    row.epoch = epoch + 1;
    let relayed = PromiseAnswer::Relayed(Reply::Applied(row));
    resident.world.answers = vec![(node(2), relayed)];
    resident.goes_on("guard-renewed");
}

#[test]
fn a_damaged_register_promotes_nobody() {
    let mut older = owned(1, 1, &[1, 2]);
    older.epoch = 3;
    for register in [
        Err(Reading::Missing),
        Err(Reading::Damaged("holders is NULL".to_owned().into())),
        Ok(older),
    ] {
        let mut resident = Resident::primary();
        resident.world.register = register;
        resident.following.clear();
        let renewed = resident.world.register.is_ok();
        let (end, _) = resident.rounds(seconds(20.0));
        // An older row in this node's own hands is renewed by the same update.
        let rule = if renewed {
            "guard-renewed"
        } else {
            "guard-damaged"
        };
        assert_eq!(end, End::Round(rule));
        assert_eq!(resident.world.process, Process::Alive { frozen: false });
    }
}

#[test]
fn a_superseded_primary_is_stopped_at_once() {
    let mut resident = Resident::primary();
    resident.world.register = Ok(owned(2, 2, &[2]));
    assert_eq!(resident.round(false), End::Guard("guard-stopped"));
    assert_eq!(resident.actions, [RENEW, "stop-postgres"]);
    // Nobody, at a later term: an operator has decided.
    let mut resident = Resident::primary();
    let mut row = owned(2, 2, &[2]);
    row.owner = None;
    resident.world.register = Ok(row);
    assert_eq!(resident.round(false), End::Guard("guard-stopped"));
}

#[test]
fn a_promotion_that_was_not_remembered_is_renewed_at_its_own_term() {
    let mut resident = Resident::primary();
    resident.world.register = Ok(owned(1, 2, &[1]));
    assert_eq!(resident.round(false), End::Round("guard-linked"));
    assert_eq!(resident.round(false), End::Round("guard-renewed"));
}

/// The process was stopped by a signal, or the machine was suspended: what it knows is old.
#[test]
fn a_guard_that_wakes_up_late_asks_the_register_before_anything_else() {
    // Nobody has taken over: the lease is renewed, and all goes on.
    let mut resident = Resident::primary();
    resident.now += seconds(600.0);
    assert_eq!(resident.round(true), End::Round("guard-renewed"));
    assert_eq!(resident.actions, [RENEW]);
    // Another node has: R5.
    let mut resident = Resident::primary();
    resident.now += seconds(600.0);
    resident.world.register = Ok(owned(2, 2, &[2]));
    assert_eq!(resident.round(true), End::Guard("guard-stopped"));
    assert_eq!(resident.actions, [RENEW, "stop-postgres"]);
    // It cannot be told: one look each, and then the end.
    let mut resident = Resident::primary().without_lock_service();
    resident.following.clear();
    resident.now += seconds(600.0);
    assert_eq!(resident.round(true), End::Guard("guard-stopped"));
    assert_eq!(
        resident.actions,
        [
            RENEW,
            "ask-standbys",
            "take-change-lock",
            "ask-promises",
            "stop-postgres",
            "withdraw-promises",
            "report-death"
        ]
    );
    // One that was awake had its chances already.
    let mut resident = Resident::primary().without_lock_service();
    resident.now += seconds(600.0);
    assert_eq!(resident.round(false), End::Guard("guard-stopped"));
    assert_eq!(resident.actions, ["stop-postgres", "report-death"]);
}

/// What was asked before the machine stood still says nothing about what follows.
#[test]
fn a_guard_that_stood_still_in_a_round_asks_everything_again() {
    let asleep = |meanwhile| {
        let mut resident = Resident::primary().without_lock_service();
        resident.following.clear();
        resident.stands_still = Some(meanwhile);
        resident.lock_takes = seconds(0.01);
        resident
    };
    let mut resident = asleep(owned(1, 1, &[1, 2]));
    assert_eq!(resident.round(false), End::Round("guard-renewed"));
    assert_eq!(resident.actions, [RENEW, "ask-standbys", RENEW]);
    let mut resident = asleep(owned(2, 2, &[2]));
    assert_eq!(resident.round(false), End::Guard("guard-stopped"));
    assert_eq!(
        resident.actions,
        [RENEW, "ask-standbys", RENEW, "stop-postgres"]
    );
}

#[test]
fn what_survives_immediate_mode_is_killed_and_what_survives_that_is_not_given_up() {
    let mut resident = Resident::primary();
    assert_eq!(resident.round(false), End::Round("guard-renewed"));
    assert!(resident.fed);
    resident.actions.clear();
    resident.world.register = Ok(owned(2, 2, &[2]));
    resident.world.immortal = true;
    for _ in 0..3 {
        assert_eq!(resident.round(false), End::Round("guard-superseded"));
        assert!(!resident.fed, "the machine is to be rebooted");
    }
    // Immediate mode once: afterwards there is no postmaster that could be told.
    let (first, again) = (
        [RENEW, "stop-postgres", "stop-postgres"],
        [RENEW, "stop-postgres"],
    );
    assert_eq!(resident.actions, [&first[..], &again, &again].concat());
    resident.world.immortal = false;
    assert_eq!(resident.round(false), End::Guard("guard-stopped"));
}

#[test]
fn a_dead_postmaster_is_told_once_and_its_return_awaited() {
    let mut resident = Resident::primary();
    resident.world.process = Process::Absent;
    resident.world.answer = Answer::NotAsked;
    resident.death = Death::Untold;
    resident.absent_since = Some(resident.now);
    assert_eq!(resident.round(false), End::Round("guard-absent"));
    assert_eq!(resident.actions, ["report-death"]);
    assert_eq!(resident.round(false), End::Round("guard-absent"));
    assert_eq!(resident.actions, ["report-death"], "told twice, or renewed");
    let (end, took) = resident.rounds(seconds(90.0));
    assert_eq!(end, End::Guard("guard-ended"));
    assert!(took >= seconds(58.0), "{took:?}");
}

#[test]
fn an_orderly_end_is_not_told() {
    let mut resident = Resident::primary();
    resident.world.process = Process::Absent;
    resident.absent_since = Some(resident.now);
    assert_eq!(resident.round(false), End::Round("guard-absent"));
    assert!(resident.actions.is_empty());
}

#[test]
fn orphans_of_a_dead_postmaster_are_fenced_too() {
    let mut resident = Resident::primary().without_lock_service();
    resident.following.clear();
    resident.world.process = Process::Orphans;
    resident.death = Death::Told;
    let (end, _) = resident.rounds(seconds(60.0));
    assert_eq!(end, End::Guard("guard-stopped"));
}

/// Neither the file of the postmaster nor whose the processes are could be looked at: that is no server
/// that is gone.
#[test]
fn a_server_that_cannot_be_looked_at_is_guarded_on_and_fenced_in_time() {
    let unseen = running(PidFile::Unreadable, Shown::Unclear);
    let mut resident = Resident::primary();
    resident.world.process = unseen;
    assert_eq!(resident.round(false), End::Round("guard-renewed"));
    assert_eq!(resident.actions, [RENEW]);
    let mut resident = Resident::primary().without_lock_service();
    resident.following.clear();
    resident.world.process = unseen;
    let (end, took) = resident.rounds(seconds(60.0));
    assert_eq!(end, End::Guard("guard-stopped"));
    assert!(took < TTL, "{took:?}");
}

#[test]
fn pacemaker_may_be_gone_for_as_long_as_is_configured() {
    for (timeout, gone, end) in [
        (0.0, 86_400.0, End::Round("guard-renewed")),
        (60.0, 59.0, End::Round("guard-renewed")),
        (60.0, 60.0, End::Guard("guard-stopped")),
    ] {
        let mut resident = Resident::primary();
        resident.pacemaker_timeout = seconds(timeout);
        resident.pacemaker_gone = seconds(gone);
        assert_eq!(resident.round(false), end, "{timeout} {gone}");
    }
}

#[test]
fn there_is_nothing_to_guard_beside_a_standby() {
    let mut resident = Resident::beside(World::standby());
    assert_eq!(resident.round(false), End::Guard("guard-standby"));
}

#[test]
fn monitors_and_notifications_of_a_primary_keep_the_guard() {
    let after = notification(When::Post, ocf::Operation::Promote, 1);
    for operation in [&MONITOR, &after] {
        for found in [Guard::Absent, Guard::Stale("it hangs".to_owned())] {
            let mut world = World::primary();
            world.guard = found;
            let run = world.carry(operation);
            assert_eq!(run.actions[..2], ["start-guard", RENEW], "{operation:?}");
            // Clients wait for the notification of a promotion; the monitor shows it then.
            let at_once = operation == &MONITOR;
            assert_eq!(shown(&world).is_some(), at_once, "{operation:?}");
            world.carry(&MONITOR);
            assert_eq!(shown(&world).as_deref(), Some("running"));
        }
    }
    let mut world = World::primary();
    world.guard = Guard::Running;
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW]);
    // One that does not come up is no reason to fail, and is shown.
    let mut world = World::primary();
    world.guard = Guard::Absent;
    world.broken.insert(ActionKind::StartGuard.into());
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &["start-guard!", RENEW]);
    assert_eq!(shown(&world).as_deref(), Some("not running"));
}

fn shown(world: &World) -> Option<String> {
    let known = world.cluster.as_ref().unwrap().nodes.get(&node(1)).unwrap();
    known.guard.as_ref().map(ToString::to_string)
}

#[test]
fn a_monitor_says_why_the_guard_stopped_postgresql() {
    let mut world = World::primary();
    world.process = Process::Absent;
    world.answer = Answer::NotAsked;
    for (why, said) in [
        (Some("no proof for 3 s"), "the guard: no proof for 3 s"),
        (None, "its log says why it ended"),
    ] {
        world.stopped_by_guard = why.map(str::to_owned);
        let run = world.carry(&MONITOR);
        assert_eq!(run.code, Some(OcfCode::NotRunning));
        assert!(run.reason.ends_with(said), "{}", run.reason);
    }
}

#[test]
fn the_guard_ends_before_the_agent_stops_postgresql() {
    let demote = Operation::Demote { then_stop: true };
    for operation in [Operation::Stop, demote] {
        let mut world = World::primary();
        world.guard = Guard::Running;
        let run = world.carry(&operation);
        assert_eq!(
            run.actions[..2],
            ["end-guard", &format!("stop-postgres {:?}", StopMode::Fast)],
            "{operation:?}"
        );
        // It does not hear: PostgreSQL is stopped all the same.
        let mut world = World::primary();
        world.guard = Guard::Running;
        world.broken.insert(ActionKind::EndGuard.into());
        let run = world.carry(&operation);
        assert_eq!(run.code, Some(OcfCode::Success), "{:?}", run.actions);
    }
}

#[test]
fn a_guard_is_ended_also_when_postgresql_is_gone_already() {
    for operation in [Operation::Stop, Operation::Demote { then_stop: true }] {
        let mut world = World::primary();
        world.guard = Guard::Running;
        world.process = Process::Absent;
        world.answer = Answer::NotAsked;
        let run = world.carry(&operation);
        assert_eq!(run.actions[0], "end-guard", "{operation:?}");
        assert_eq!(run.code, Some(OcfCode::Success));
    }
}

#[test]
fn what_the_guard_saw_stands_in_for_a_monitor_alone_while_it_is_new() {
    let monitor = Operation::Monitor { probe: false };
    let ms = Duration::from_millis;
    let look = |age| Look {
        age: ms(age),
        ..Look::default()
    };
    assert!(guard::stands_in(&monitor, look(900), None));
    assert!(!guard::stands_in(&monitor, look(2100), None), "too old");
    // PostgreSQL has been at work since, and the guard has not seen it.
    let outlived = Look {
        outlived: ms(1),
        ..look(900)
    };
    assert!(!guard::stands_in(&monitor, outlived, None));
    // What was seen before the operation's own change would have it do the same again.
    assert!(!guard::stands_in(&monitor, look(900), Some(ms(900))));
    assert!(guard::stands_in(&monitor, look(100), Some(ms(900))));
    for other in [
        Operation::Monitor { probe: true },
        Operation::Start,
        Operation::Promote,
        Operation::Demote { then_stop: false },
        Operation::Stop,
    ] {
        assert!(!guard::stands_in(&other, look(100), None), "{other:?}");
    }
}

/// Commits are held for node3 to take the place of node2, and the operation that holds them is gone.
fn left_over(change: impl FnOnce(&mut World)) -> Resident {
    let mut world = World::primary();
    world.settings.nodes.push(node(3));
    world.standbys.push(link(3, 1000));
    world.hold(&["node2".to_owned(), "node3".to_owned()]);
    change(&mut world);
    let mut resident = Resident::beside(world);
    resident.following = nodes(&[2, 3]);
    resident
}

#[test]
fn a_hold_that_no_operation_is_at_is_ended_by_the_guard() {
    let cases: [(Result<Register, Reading>, &str); 4] = [
        (Ok(owned(1, 1, &[1, 2])), "node2"),
        // It has left, which moves no epoch.
        (Ok(owned(1, 1, &[1])), "node2"),
        (Err(silence()), "node2"),
        (Err(Reading::Missing), "node2"),
    ];
    for (register, name) in cases {
        let mut resident = left_over(|world| world.register = register.clone());
        resident.rounds(seconds(13.0));
        assert!(
            resident.world.held,
            "{register:?}: an operation may hold them"
        );
        let (end, _) = resident.rounds(seconds(4.0));
        assert!(matches!(end, End::Round(_)), "{end:?}: {register:?}");
        let world = &resident.world;
        assert_eq!(
            (&world.names[..], world.held),
            (&[name.to_owned()][..], false),
            "{register:?}: {:?}",
            resident.actions
        );
        // It changes nothing of the register.
        assert_eq!(world.register, register.map(|row| world_row(world, row)));
        assert_eq!(world.kept.as_ref().unwrap().barrier, None);
    }
}

/// The row as it is after renewals.
fn world_row(world: &World, row: Register) -> Register {
    let now = world.row();
    Register {
        renewed: now.renewed.clone(),
        positions: now.positions.clone(),
        lease_left: now.lease_left,
        ttl: now.ttl,
        ..row
    }
}

#[test]
fn the_guard_leaves_a_hold_alone_that_somebody_is_at_or_that_may_be_over() {
    type Change = fn(&mut World);
    let moved = |world: &mut World| {
        let mut row = owned(1, 1, &[1, 3]);
        row.epoch = 11;
        world.register = Ok(row);
    };
    let changes: [(&str, Change); 6] = [
        (
            "the register has moved, and the cluster was not told",
            moved,
        ),
        (
            "by promises commits may have passed without node2",
            |world| {
                world.memory.used = Some(10);
                world.register = Err(silence());
            },
        ),
        ("an operation is at it", |world| {
            world.lock_holder = Some("expgsql monitor".to_owned());
        }),
        ("node3 may be the holder at any moment", |world| {
            world.memory.asked = Some(10);
        }),
        ("nobody has begun it", |world| world.kept = None),
        ("the same without the lock service", |world| {
            world.memory.asked = Some(10);
            world.register = Err(silence());
        }),
    ];
    for (what, change) in changes {
        let mut resident = left_over(change);
        let (end, _) = resident.rounds(seconds(60.0));
        assert!(matches!(end, End::Round(_)), "{what}: {end:?}");
        assert!(resident.world.held, "{what}: {:?}", resident.actions);
    }
}
