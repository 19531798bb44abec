//! Every operation ends, whatever fails: each kind of action in turn fails whenever it is tried,
//! in every starting state, in every operation. [`World::carry`] panics at an operation without end.

use std::collections::{BTreeMap, BTreeSet};

use pha_core::ocf::{self, When};
use pha_core::plan::ActionKind;
use pha_core::register::{Reading, Register, Trouble};
use pha_core::snapshot::{Answer, Arbiter, Mode, Operation, Process, Slot};

use crate::world::{MONITOR, Part, World, expired, node, notification, owned, reign};

fn parts() -> impl Iterator<Item = Part> {
    // A line in the log cannot fail.
    let actions = ActionKind::ALL
        .iter()
        .filter(|kind| **kind != ActionKind::Warn);
    actions.map(|kind| Part::from(*kind)).chain([Part::Keep])
}

fn operations() -> Vec<Operation> {
    use ocf::Operation as O;
    let mut all = vec![
        Operation::Start,
        Operation::Stop,
        MONITOR,
        Operation::Monitor { probe: true },
        Operation::Promote,
        Operation::Demote { then_stop: false },
        Operation::Demote { then_stop: true },
    ];
    for when in [When::Pre, When::Post] {
        for operation in [O::Start, O::Stop, O::Promote, O::Demote] {
            for about in [1, 2] {
                all.push(notification(when, operation, about));
            }
        }
    }
    all
}

/// Starting states: what runs, with what memory, beside every register.
fn worlds() -> Vec<(String, World)> {
    let mut worlds = vec![];
    for (postgres, world) in nodes() {
        for (register, reading) in registers() {
            for (mode, arbiter) in [
                (Mode::Sync, Arbiter::Builtin),
                (Mode::Async, Arbiter::Builtin),
                (Mode::Sync, Arbiter::External),
                (Mode::Sync, Arbiter::Off),
                (Mode::Standalone, Arbiter::Off),
                (Mode::Slave, Arbiter::Off),
            ] {
                let mut world = world.clone();
                world.register = reading.clone();
                (world.settings.mode, world.settings.arbiter) = (mode, arbiter);
                worlds.push((
                    format!("{postgres}, register {register}, {mode:?} {arbiter:?}"),
                    world,
                ));
            }
        }
    }
    worlds
}

fn nodes() -> Vec<(&'static str, World)> {
    let mut returning = World::standby();
    returning.memory.reign = reign(1, 1);
    let mut unlinked = World::primary();
    unlinked.standbys.clear();
    let mut unnamed = World::primary();
    unnamed.names.clear();
    let mut interrupted = World::primary();
    interrupted.memory.reign = None;
    let mut frozen = World::primary();
    frozen.process = Process::Alive { frozen: true };
    frozen.answer = Answer::NoAnswer;
    let mut orphans = World::primary();
    orphans.process = Process::Orphans;
    orphans.answer = Answer::NotAsked;
    let mut immortal = World::primary();
    immortal.immortal = true;
    let mut silent = World::standby();
    silent.cluster = Err("cibadmin timed out".to_owned());
    let mut malformed = World::new();
    malformed.cluster().repl_info = Some(Err("\"x\" is no REPL_INFO".to_owned()));
    let mut starting = World::primary();
    starting.answer = Answer::StartingUp;
    let slots = [1, 2].map(|number| (node(number), format!("slot_{number}")));
    let mut slotless = World::primary();
    slotless.settings.slots = slots.clone().into();
    let mut slotted = World::standby();
    slotted.settings.slots = slots.into();
    if let Answer::Standby(view) = &mut slotted.answer {
        view.slots = vec![Slot::idle("slot_2")];
    }
    vec![
        ("primary whose standby has no slot", slotless),
        ("standby with a primary's slots", slotted),
        ("stopped", World::new()),
        ("standby", World::standby()),
        ("standby that was primary", returning),
        ("primary with its standby", World::primary()),
        ("primary without its standby", unlinked),
        ("primary with an unnamed standby", unnamed),
        ("primary whose promotion was interrupted", interrupted),
        ("frozen", frozen),
        ("orphans", orphans),
        ("immortal", immortal),
        ("Pacemaker silent", silent),
        ("malformed pgsql_REPL_INFO", malformed),
        ("starting up", starting),
    ]
}

fn registers() -> Vec<(&'static str, Result<Register, Reading>)> {
    let trouble = Trouble::Unreachable("connection refused".to_owned());
    vec![
        ("fresh", Ok(Register::fresh())),
        ("mine", Ok(owned(1, 1, &[1, 2]))),
        ("mine alone", Ok(owned(1, 1, &[1]))),
        ("mine, expired", Ok(expired(1, 1, &[1, 2]))),
        ("mine at a later term", Ok(owned(1, 3, &[1]))),
        ("another's", Ok(owned(2, 2, &[2]))),
        ("another's, I am a holder", Ok(owned(2, 2, &[1, 2]))),
        (
            "another's, expired, I am a holder",
            Ok(expired(2, 2, &[1, 2])),
        ),
        ("missing", Err(Reading::Missing)),
        (
            "damaged",
            Err(Reading::Damaged("holders is NULL".to_owned().into())),
        ),
        ("unknown", Err(Reading::Unknown(trouble))),
    ]
}

#[test]
fn every_operation_ends_in_every_state_whatever_fails() {
    let mut endless = BTreeMap::new();
    let mut runs = 0;
    for (name, start) in worlds() {
        for operation in operations() {
            for broken in std::iter::once(None).chain(parts().map(Some)) {
                let mut world = start.clone();
                world.broken.extend(broken);
                runs += 1;
                if let Err(rules) = world.try_carry(&operation) {
                    let example = format!("{name}: {operation:?}");
                    endless
                        .entry((broken, rules.into_iter().collect::<BTreeSet<_>>()))
                        .or_insert(example);
                }
            }
        }
    }
    let list: Vec<String> = endless.iter().map(|entry| format!("{entry:?}")).collect();
    assert!(
        list.is_empty(),
        "of {runs} runs these have no end:\n{}",
        list.join("\n")
    );
}
