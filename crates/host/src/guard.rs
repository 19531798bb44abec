//! The guard: a resident process beside a primary, which outlives the agent and Pacemaker. What it
//! does is decided in `pha_core::decide::guard`; here are its rounds, its clock and its connections.
//!
//! A round reads files of `/proc` and asks the lock service over one kept connection, then
//! PostgreSQL over another. It starts no program, except to tell Pacemaker of a dead postmaster.
//! The order matters to a guard that wakes up late: first the clock, then the register, then PostgreSQL.

mod keep;
mod place;
mod rights;
mod sources;
mod wake;
mod watchdog;

use std::os::fd::OwnedFd;
use std::time::Duration;

use pha_core::decide::{died, guard, stood_still};
use pha_core::drive::{self, Edge, Guarding, Note, Round};
use pha_core::ocf::OcfCode;
use pha_core::plan::{Action, Effect, Exit, Plan, Verdict};
use pha_core::proofs::Proofs;
use pha_core::register::Memory;
use pha_core::snapshot::{
    Answer, Death, InMemory, LinkNames, Operation, Process, Progress, RunningName, Snapshot,
    StandbySignal, WalRoom, Watch,
};
use tracing::{error, info, warn};

use crate::clock::{Deadline, since_boot};
use crate::node::Node;
use crate::process::Postmaster;
use crate::{account, apply};

pub use keep::{ATTEND, WORD};
pub(crate) use place::Place;
use place::{Held, parameters};
use sources::Sources;
use wake::{Signals, Woken};
use watchdog::Watchdog;

/// How long a new guard waits for the lock of one that is ending.
const TAKE_OVER: Duration = Duration::from_secs(1);

/// The priority of a process that others leave the processor to (setpriority(2)).
const HIGHEST_PRIORITY: i32 = -20;

/// How long a look at a file of the account's may take.
const FILES: Duration = Duration::from_millis(500);

/// How long a look at PostgreSQL may take.
const POSTGRES: Duration = Duration::from_millis(500);

/// That this process leads a group of its own. The agent's gets SIGTERM and SIGKILL when an operation takes too
/// long, and so does what was started in it: a process that looks at the account's files for the guard, too.
#[derive(Debug, Clone, Copy)]
pub struct OwnGroup(());

impl OwnGroup {
    /// The first thing that a process beside the agent does.
    #[must_use]
    pub fn lead() -> Self {
        // Whoever leads a group already, started by hand, is not in the agent's.
        let _ = rustix::process::setsid();
        Self(())
    }
}

/// Runs until PostgreSQL has been stopped, or the agent says so.
pub fn run(_group: OwnGroup, mut node: Node) -> Exit {
    let failed = |reason: String| {
        error!("{reason}");
        Exit {
            code: OcfCode::Generic,
            reason: Some(reason),
        }
    };
    let signals = match Signals::take() {
        Ok(signals) => signals,
        Err(errno) => return failed(format!("signalfd: {errno}")),
    };
    let held = match node.place.hold(Deadline::after(TAKE_OVER)) {
        Ok(Some(held)) => held,
        Ok(None) => return failed("another guard runs already".to_owned()),
        Err(error) => return failed(error.to_string()),
    };
    node.place.forget_stop();
    node.place.outlive_view(since_boot());
    // Whoever frees memory takes it from somebody else; without the rights this stays as it is.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    node.lock_budget = Some(Duration::MAX);
    // An account that hinders its own process, or a disk that hangs, keeps nobody from the lease.
    account::at_most(FILES);
    let watchdog = Watchdog::open(node.params.guard_watchdog.as_deref());
    let watchdog = watchdog.unwrap_or_else(|error| {
        error!("{error}; the guard goes on without it");
        Watchdog::none()
    });
    // On a busy machine it is the guard, and what it asks by, that has a limit of time to keep.
    if let Err(errno) = rustix::process::setpriority_process(None, HIGHEST_PRIORITY) {
        info!("the guard runs at the usual priority: {errno}");
    }
    rights::drop_others();
    let mut resident = Resident {
        proofs: Proofs::new(since_boot()),
        sources: Sources::new(since_boot()),
        node,
        held,
        signals,
        watchdog,
        last_rule: "",
        last_warning: String::new(),
        told: false,
        absent_since: None,
        stood_still: false,
        postmaster: None,
    };
    info!("the guard is at work");
    let exit = resident.guard();
    info!("the guard ends");
    if let Err(error) = resident.watchdog.disarm() {
        error!("the watchdog could not be stopped: {error}");
    }
    exit
}

/// How long a standby's agent speaks for it after the operation that began with it. What is not said by
/// then the monitors say.
const ATTENDING: Duration = Duration::from_secs(40);

/// Says for a standby how far it has flushed until it is a holder ([`Operation::Attend`]).
pub fn attend(_group: OwnGroup, mut node: Node) -> Exit {
    match node.place.attend() {
        Ok(Some(held)) => {
            let deadline = Deadline::after(ATTENDING);
            let exit = crate::drive::drive(&mut node, &Operation::Attend, deadline).exit;
            drop(held);
            exit
        }
        // Another one does it.
        Ok(None) => Exit {
            code: OcfCode::Success,
            reason: None,
        },
        Err(error) => ended(OcfCode::Generic, &error.to_string()),
    }
}

/// Whether the guard [stood still](stood_still) in a step that was to be over when it was `due`.
fn is_late(now: Duration, due: Duration) -> bool {
    let late = stood_still(now, due);
    if late {
        info!("stood still for {} ms", (now - due).as_millis());
    }
    late
}

struct Resident {
    node: Node,
    held: Held,
    signals: Signals,
    watchdog: Watchdog,
    proofs: Proofs,
    sources: Sources,
    last_rule: &'static str,
    last_warning: String,
    /// Pacemaker knows of the death of the postmaster that was last seen.
    told: bool,
    absent_since: Option<Duration>,
    /// The last round ended much later than it was to.
    stood_still: bool,
    /// The postmaster that was last seen, and a descriptor that shows its end.
    postmaster: Option<(crate::process::Process, Option<OwnedFd>)>,
}

/// A round, as the edge of [`drive::round`].
struct AtWork<'r> {
    resident: &'r mut Resident,
    /// When the step that is under way is to be over.
    due: &'r mut Duration,
    /// When the action that is under way was begun.
    asked: Duration,
}

impl Edge for AtWork<'_> {
    fn perform(&mut self, action: &Action, snapshot: &Snapshot) -> Result<Effect, String> {
        self.asked = since_boot();
        self.resident.perform(action, snapshot, self.due)
    }

    /// The guard changes nothing that a memory is needed for, and must not wait for a disk. At which
    /// epoch it asks for promises it notes itself ([`Place::rely`]).
    fn keep(&mut self, _memory: &Memory) -> Result<(), String> {
        Ok(())
    }

    fn note(&mut self, note: Note<'_>) {
        if let Note::Decided(plan, _) = note {
            self.resident.trace(plan);
        }
    }
}

impl Guarding for AtWork<'_> {
    fn refresh(&mut self, mut snapshot: Snapshot) -> Snapshot {
        self.resident.refresh(&mut snapshot, self.due);
        snapshot
    }

    fn learn(&mut self, action: &Action, snapshot: &Snapshot) {
        self.resident.proofs.learn(action, snapshot, self.asked);
    }

    fn is_to_end(&mut self) -> bool {
        self.resident.signals.pending() == Woken::ToEnd
    }
}

impl Resident {
    fn guard(&mut self) -> Exit {
        // When the step that is under way is to be over.
        let mut due = since_boot();
        loop {
            if !self.held.is_current() {
                let reason = "the guard's file was removed; the agent starts another guard";
                return ended(OcfCode::Generic, reason);
            }
            if let Err(error) = self.held.beat(parameters()) {
                warn!("{error}");
            }
            let snapshot = self.look(&mut due);
            let mut round = AtWork {
                asked: since_boot(),
                due: &mut due,
                resident: self,
            };
            let (mut snapshot, end) = drive::round(&mut round, snapshot);
            // What is done in a round is done with it, and the agent may be waiting.
            self.node.changing = None;
            match end {
                Round::Over(_) | Round::Endless => {}
                Round::Finished(_, exit) => return exit,
                Round::ToEnd => return Exit::of(OcfCode::Success),
            }
            self.look_at_postgres(&snapshot);
            if guard::feeds(&snapshot)
                && let Err(error) = self.watchdog.feed()
            {
                self.complain(format!("the watchdog could not be fed: {error}"));
            }
            // Nothing is asked in this round any more; the next one begins with that. What is seen here is
            // of the moment when the clock was read.
            let looked = since_boot() + FILES;
            let late = self.refresh(&mut snapshot, &mut due);
            let now = since_boot();
            let late_since = is_late(now, looked);
            self.stood_still = late || late_since;
            let pause = guard::pause(&snapshot, late_since);
            due = now + pause;
            let end = self.postmaster.as_ref().and_then(|(_, end)| end.as_ref());
            if self.signals.sleep(pause, end) == Woken::ToEnd {
                return Exit::of(OcfCode::Success);
            }
        }
    }

    /// The picture at the beginning of a round, of what costs nothing to look at.
    fn look(&mut self, due: &mut Duration) -> Snapshot {
        self.node.change_seen = self.node.change_lock.look();
        let now = since_boot();
        if let Some(memory) = self.sources.memory(&self.node.memory) {
            self.proofs.remember(&memory, now);
        }
        let mut snapshot = Snapshot {
            settings: self.node.settings.clone(),
            operation: Operation::Guard(Watch {
                overslept: std::mem::take(&mut self.stood_still),
                ..Watch::default()
            }),
            elapsed: Duration::ZERO,
            left: Duration::from_secs(60),
            process: Process::Absent,
            answer: self.sources.answer.clone(),
            silent_before: 0,
            // It does not look at the files.
            standby_signal: StandbySignal::Unknown,
            in_memory: InMemory::Unknown,
            unfinished: None,
            disk: None,
            wal_room: WalRoom::NotAsked,
            stopped_by_guard: None,
            served: None,
            cluster: Err("the guard does not ask".to_owned()),
            register: None,
            memory: Ok(self.proofs.memory().with_guard(self.node.place.relied())),
            names: LinkNames {
                fresh: self.node.fresh.clone(),
                running: RunningName::Unknown,
                kept: self.node.place.kept_links(),
            },
            guard: Default::default(),
            record: Ok(None),
            system: None,
            progress: Progress::default(),
        };
        self.refresh(&mut snapshot, due);
        snapshot
    }

    /// Brings the clock and the processes up to date. What the register said before the guard stood
    /// still is of the past, and is asked again. Whether it has.
    fn refresh(&mut self, snapshot: &mut Snapshot, due: &mut Duration) -> bool {
        let now = since_boot();
        let late = is_late(now, *due);
        if late {
            snapshot.woke_late();
            *due = now;
        }
        snapshot.process = self.look_at_processes(now);
        let seen = Watch {
            death: self.death(snapshot.process),
            absent: self
                .absent_since
                .map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            pacemaker_gone: self
                .sources
                .pacemaker_gone(now, self.node.params.guard_pacemaker_timeout),
            pacemaker_timeout: self.node.params.guard_pacemaker_timeout,
            ..Watch::default()
        };
        let noted = self.node.place.promises();
        self.proofs.refresh(snapshot, seen, noted, now);
        late
    }

    fn look_at_processes(&mut self, now: Duration) -> Process {
        let process = self.node.pg.running().0;
        match process {
            Process::Alive { .. } => self.absent_since = None,
            Process::Absent | Process::Orphans => {
                self.absent_since.get_or_insert(now);
            }
        }
        if let Ok(Postmaster::Alive { process, .. }) = self.node.pg.postmaster() {
            if self.postmaster.as_ref().map(|(known, _)| *known) != Some(process) {
                self.postmaster = Some((process, process.end()));
                self.told = false;
            }
        } else if let Some((known, end)) = &mut self.postmaster
            && !known.is_alive()
        {
            // Its descriptor would wake the guard at once, again and again.
            *end = None;
        }
        process
    }

    fn death(&self, process: Process) -> Death {
        let seen = self.postmaster.is_some();
        // Nobody asks the file while the postmaster lives.
        let left = seen
            && !matches!(process, Process::Alive { .. })
            && matches!(self.node.pg.postmaster(), Ok(Postmaster::Stale { .. }));
        died(process, seen, left, self.told)
    }

    fn perform(
        &mut self,
        action: &Action,
        snapshot: &Snapshot,
        due: &mut Duration,
    ) -> Result<Effect, String> {
        let budget = guard::time_for(action, snapshot).unwrap_or(self.node.params.crm_attr_timeout);
        *due = since_boot() + budget;
        let deadline = Deadline::after(budget);
        match action {
            Action::Warn(text) => {
                self.complain(text.clone());
                Ok(Effect::Done)
            }
            Action::AskStandbys(standbys) => {
                let asked = since_boot();
                let found = self.sources.ask(&self.node.postgres, standbys, deadline);
                self.proofs.linked(&found?, asked);
                Ok(Effect::Done)
            }
            Action::AskPromises(ask) => {
                self.node.place.rely(ask.epoch)?;
                apply::perform(&mut self.node, action, snapshot, deadline)
            }
            Action::WithdrawPromises(_) => {
                // PostgreSQL is gone, so that nothing is left to reboot for if a disk hangs now.
                if let Err(error) = self.watchdog.disarm() {
                    warn!("the watchdog could not be stopped: {error}");
                }
                apply::perform(&mut self.node, action, snapshot, deadline)
            }
            Action::ReportDeath => {
                self.told = true;
                let told = apply::perform(&mut self.node, action, snapshot, deadline);
                if let Err(error) = &told {
                    warn!("Pacemaker could not be told of the dead postmaster: {error}");
                }
                told
            }
            Action::StopPostgres(_) => {
                // The monitor that finds PostgreSQL gone tells the operator.
                if let Err(error) = self.node.place.stopping(&self.last_warning) {
                    warn!("the agent does not learn of the reason: {error}");
                }
                apply::perform(&mut self.node, action, snapshot, deadline)
            }
            other => apply::perform(&mut self.node, other, snapshot, deadline),
        }
    }

    /// Looks at PostgreSQL for the positions and names of the next round. It comes last: a server
    /// that hangs keeps nobody from its lease.
    fn look_at_postgres(&mut self, snapshot: &Snapshot) {
        if !matches!(snapshot.process, Process::Alive { frozen: false }) {
            self.sources.answer = Answer::NotAsked;
            return;
        }
        let deadline = Deadline::after(guard::patience(snapshot).min(POSTGRES));
        self.node.locate_socket();
        let term = self.proofs.memory().reign.map_or(0, |reign| reign.term);
        self.sources
            .look(&self.node.postgres, &self.node.place, term, deadline);
        if guard::outlives(&self.sources.answer, || self.node.pg.running().0) {
            self.node.place.outlive_view(since_boot());
        }
        self.proofs.looked(&self.sources.answer, since_boot());
    }

    fn trace(&mut self, plan: &Plan) {
        if !plan.is_routine() && plan.rule != self.last_rule {
            let verdict = match &plan.verdict {
                Verdict::Wait(what) => format!("waiting for {what}"),
                Verdict::Finish(exit) => exit.reason.clone().unwrap_or_else(|| "end".to_owned()),
                Verdict::Continue | Verdict::Reobserve => "acting".to_owned(),
            };
            info!(rule = plan.rule, "{verdict}");
            self.last_rule = plan.rule;
        }
    }

    /// Says what is wrong, once as long as it stays the same.
    fn complain(&mut self, text: String) {
        if text != self.last_warning {
            warn!("{text}");
            self.last_warning = text;
        }
    }
}

fn ended(code: OcfCode, reason: &str) -> Exit {
    warn!("{reason}");
    Exit {
        code,
        reason: Some(reason.to_owned()),
    }
}
