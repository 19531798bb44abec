//! From which faults a round is put together, and in which proportions.

use super::dice::Dice;
use super::fault::{
    Command, Fault, Operation, Party, Process, ROUND_MS, Refusal, Setting, Step, Who,
};
use crate::layout::{COROSYNC_PORT, LOCK_PORT, PGPORT, SSH_PORT};

/// Quiet at the beginning of a round: writers have acknowledgements by then.
const FIRST_MS: u64 = 1_500;
/// No fault begins later.
const LAST_MS: u64 = 45_000;

/// The share of draws that go to favoured kinds, where there are any, in percent.
const FAVOURED: u64 = 60;
/// Among so many draws the rarest kind is found.
const ENOUGH: u32 = 100_000;

/// What the faults are drawn for.
pub(super) struct Menu<'a> {
    /// Database nodes.
    pub(super) nodes: u8,
    /// Whether data disks can be filled.
    pub(super) disk: bool,
    /// The beginnings of the names of kinds that are drawn more often.
    pub(super) favoured: &'a [String],
}

impl Menu<'_> {
    /// The faults of one round.
    pub(super) fn steps(&self, dice: &mut Dice, number: &mut u32) -> Vec<Step> {
        let count = dice.between(4, 8);
        let mut drawn: Vec<(u64, u64, Fault)> = Vec::new();
        for _ in 0..count {
            let at = dice.between(FIRST_MS, LAST_MS);
            drawn.push(self.step(dice, at));
            // Two at once is what single faults do not prepare for.
            if dice.percent(35) {
                let soon = at + dice.below(1500);
                drawn.push(self.step(dice, soon));
            }
        }
        if dice.percent(12) {
            drawn.push((ROUND_MS, 0, Fault::LockRestore));
        }
        drawn.sort_by_key(|(at, ..)| *at);
        drawn
            .into_iter()
            .map(|(at_ms, for_ms, fault)| {
                *number += 1;
                Step {
                    number: *number,
                    at_ms,
                    for_ms,
                    fault,
                }
            })
            .collect()
    }

    fn step(&self, dice: &mut Dice, at: u64) -> (u64, u64, Fault) {
        let fault = self.draw(dice);
        let (low, high) = length(&fault);
        let time = dice.between(low, high);
        (at, time.min(ROUND_MS - at), fault)
    }

    fn draw(&self, dice: &mut Dice) -> Fault {
        let word = match self.favoured {
            [] => None,
            words => dice.percent(FAVOURED).then(|| {
                let which = usize::try_from(dice.below(words.len() as u64)).unwrap_or(0);
                words[which].as_str()
            }),
        };
        word.and_then(|word| self.one_of(dice, word))
            .unwrap_or_else(|| fault(dice, self.nodes, self.disk))
    }

    /// A fault of a kind whose name begins so; none where the menu has none.
    pub(super) fn one_of(&self, dice: &mut Dice, word: &str) -> Option<Fault> {
        (0..ENOUGH)
            .map(|_| fault(dice, self.nodes, self.disk))
            .find(|fault| fault.kind().starts_with(word))
    }
}

/// Shortest and longest time in milliseconds.
fn length(fault: &Fault) -> (u64, u64) {
    match fault {
        Fault::Switch(_) | Fault::Cleanup(_) | Fault::Repair(_) => (0, 0),
        Fault::Rebuild(_) | Fault::KillCommand { .. } => (0, 10_000),
        Fault::Promote(_) | Fault::Recovery { off: None, .. } => (0, 0),
        Fault::Kill(..) | Fault::Setting(_, Setting::MaxConnections) => (500, 8_000),
        // As long as it takes until something else happens.
        Fault::Receiver { .. } | Fault::Copy(_) | Fault::ForeignHistory => (10_000, 50_000),
        Fault::PowerCut(_) | Fault::PowerCutAll | Fault::Reboot(_) => (2_000, 25_000),
        _ => (2_000, 28_000),
    }
}

fn fault(dice: &mut Dice, nodes: u8, disk: bool) -> Fault {
    match dice.below(152) {
        0..12 => Fault::PowerCut(who(dice, nodes)),
        12..14 => Fault::PowerCutAll,
        14..17 => Fault::PowerCutWithLock(who(dice, nodes)),
        17..20 => Fault::Reboot(who(dice, nodes)),
        20..28 => Fault::Freeze(who(dice, nodes)),
        28..39 => {
            let (who, process) = victim(dice, nodes);
            Fault::Kill(who, process)
        }
        39..47 => {
            let (who, process) = victim(dice, nodes);
            Fault::Stop(who, process)
        }
        47..49 => Fault::Clock(who(dice, nodes), dice.pick(3600, &[30, -30, -3600])),
        49..61 => {
            let (a, b) = ends(dice, nodes);
            let one_way = dice.percent(40);
            Fault::Cut { a, b, one_way }
        }
        61..65 => Fault::Isolate(who(dice, nodes)),
        65..69 => {
            let (a, b) = ends(dice, nodes);
            let percent = dice.pick(5, &[15, 30, 60]);
            Fault::Lose { a, b, percent }
        }
        69 => Fault::Delay(who(dice, nodes), dice.pick(20, &[100, 400])),
        70..72 => Fault::LinkDown(who(dice, nodes)),
        72..75 if disk => Fault::FillDisk(who(dice, nodes)),
        72..75 => Fault::PowerCut(who(dice, nodes)),
        75..77 => Fault::LockStop,
        77 => Fault::LockClock(dice.pick(3600, &[5, -5, -3600])),
        78..82 => Fault::LockFreeze,
        82..84 => Fault::LockPowerCut,
        84..88 => {
            let refusal = dice.pick(Refusal::Login, &[Refusal::Table, Refusal::ReadOnly]);
            Fault::LockBreak(refusal)
        }
        88..92 => Fault::Switch(who(dice, nodes)),
        92..95 => Fault::Cleanup(who(dice, nodes)),
        95 => Fault::StopAll(who(dice, nodes)),
        96..98 => Fault::Standby(who(dice, nodes)),
        98..100 => Fault::Repair(who(dice, nodes)),
        100..105 => {
            let (who, operation) = at_work(dice, nodes);
            Fault::KillAgent(who, operation)
        }
        105..107 => {
            let (who, operation) = at_work(dice, nodes);
            Fault::StopAgent(who, operation)
        }
        107..111 => {
            let (a, b) = ends(dice, nodes);
            let port = port(dice, a, b);
            Fault::CutPort { a, b, port }
        }
        111..113 => Fault::Rebuild(who(dice, nodes)),
        113..115 => Fault::Unmanage(who(dice, nodes)),
        115..120 => {
            let command = command(dice);
            let (low, high) = at_work_for(command);
            Fault::KillCommand {
                who: who(dice, nodes),
                command,
                after_ms: dice.between(low, high),
            }
        }
        120..122 if disk => Fault::LockFillDisk,
        120..122 => Fault::LockStop,
        122..126 => Fault::Receiver {
            on: match dice.percent(25) {
                true => Party::Lock,
                false => Party::Node(who(dice, nodes)),
            },
            called: standby(dice, nodes),
        },
        126..129 => Fault::Copy(standby(dice, nodes)),
        129..134 => {
            // Monitors run all the time, the others only where something happens.
            let (who, operation) = match dice.percent(50) {
                true => (who(dice, nodes), Operation::Monitor),
                false => at_work(dice, nodes),
            };
            Fault::HangAgent(who, operation)
        }
        134..138 => Fault::Promote(standby(dice, nodes)),
        138..140 => Fault::Recovery {
            who: who(dice, nodes),
            off: None,
        },
        140..143 => {
            // One is left that can type.
            let victim = who(dice, nodes);
            let typing = match victim {
                Who::Primary => standby(dice, nodes),
                Who::Standby(_) => Who::Primary,
            };
            Fault::Recovery {
                who: typing,
                off: Some(victim),
            }
        }
        143..146 => Fault::Setting(Who::Primary, Setting::MaxConnections),
        146..148 => Fault::Setting(who(dice, nodes), Setting::Isolation),
        148..150 => Fault::Session(dice.pick(400, &[250, 700])),
        _ => Fault::ForeignHistory,
    }
}

/// An operation, on a node on which it is to be expected.
fn at_work(dice: &mut Dice, nodes: u8) -> (Who, Operation) {
    let operation = dice.pick(
        Operation::Monitor,
        &[
            Operation::Monitor,
            Operation::Start,
            Operation::Stop,
            Operation::Promote,
            Operation::Promote,
            Operation::Demote,
            Operation::Notify,
        ],
    );
    let who = match operation {
        Operation::Promote => standby(dice, nodes),
        Operation::Demote => Who::Primary,
        _ => who(dice, nodes),
    };
    (who, operation)
}

/// What the two have to say to each other: PostgreSQL's more often than ssh's and corosync's.
fn port(dice: &mut Dice, a: Party, b: Party) -> u16 {
    match (a, b) {
        (Party::Lock, _) | (_, Party::Lock) => LOCK_PORT,
        (Party::Client, _) | (_, Party::Client) => PGPORT,
        _ => dice.pick(PGPORT, &[PGPORT, SSH_PORT, COROSYNC_PORT]),
    }
}

/// The milliseconds of a command in which it has begun with its work and has not ended.
fn at_work_for(command: Command) -> (u64, u64) {
    match command {
        Command::Unmanage | Command::Manage | Command::Stop => (150, 700),
        _ => (150, 4_000),
    }
}

fn command(dice: &mut Dice) -> Command {
    dice.pick(
        Command::Switch,
        &[
            Command::Switch,
            Command::Rebuild,
            Command::Rebuild,
            Command::Repair,
            Command::Standby,
            Command::Stop,
            Command::Start,
            Command::Unmanage,
            Command::Manage,
        ],
    )
}

/// The primary more often than any other: it has more to lose.
fn who(dice: &mut Dice, nodes: u8) -> Who {
    if dice.percent(60) {
        Who::Primary
    } else {
        standby(dice, nodes)
    }
}

fn standby(dice: &mut Dice, nodes: u8) -> Who {
    let others = u64::from(nodes.saturating_sub(1));
    Who::Standby(u8::try_from(dice.below(others)).unwrap_or(0))
}

fn victim(dice: &mut Dice, nodes: u8) -> (Who, Process) {
    let process = dice.pick(
        Process::Postmaster,
        &[
            Process::Postmaster,
            Process::Walreceiver,
            Process::Walsender,
            Process::Checkpointer,
            Process::Startup,
            Process::Corosync,
            Process::Pacemakerd,
            Process::Based,
            Process::Controld,
            Process::Attrd,
            Process::Execd,
            Process::Schedulerd,
            Process::Fenced,
            Process::Guard,
            Process::Guard,
        ],
    );
    let who = match process {
        Process::Walreceiver | Process::Startup => standby(dice, nodes),
        Process::Walsender | Process::Guard => Who::Primary,
        _ => who(dice, nodes),
    };
    (who, process)
}

/// Two different parties, at least one of them a database node.
fn ends(dice: &mut Dice, nodes: u8) -> (Party, Party) {
    let first = who(dice, nodes);
    let other = match (first, standby(dice, nodes)) {
        (Who::Primary, other) => other,
        (Who::Standby(mine), Who::Standby(theirs)) if mine != theirs => Who::Standby(theirs),
        _ => Who::Primary,
    };
    let second = match dice.below(10) {
        0..6 => Party::Node(other),
        6..9 => Party::Lock,
        _ => Party::Client,
    };
    // A cut of one direction must be able to hit either.
    if dice.percent(50) {
        (Party::Node(first), second)
    } else {
        (second, Party::Node(first))
    }
}
