//! What a decision answers with: typed actions and a verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use crate::action::{ActionKind, Failure, StopMode};
use crate::cluster::{Announced, ClusterNode};
use crate::lineage::{Held, Lineage, Record};
use crate::link_name::{Flushed, LinkName};
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::ocf::OcfCode;
use crate::parse::standby_names::Waits;
use crate::register::{
    DataEnd, Decided, Memory, PromiseAnswer, PromiseAsk, PromiseVerdict, Promises, Reading,
    Register, Reign, Reply, Seen, Trouble, Update, Withdrawal, tally,
};
use crate::repl_info::ReplInfo;
use crate::snapshot::{
    Acquired, Answer, CatchUp, ChangeLock, Closed, Death, ExternalLock, Guard, InMemory,
    KeptBarrier, KeptLinks, Leaving, LinkId, Operation, Process, RunningName, Said, Settings,
    Settled, Snapshot, StandbySignal,
};
use crate::status::{DataStatus, GuardStatus, PgsqlStatus, Score, Word};
use crate::timeline::{TimelineId, WalPosition};
use crate::unfit::Unfit;

/// How long a promotion waits for the WAL of another standby, while clients wait for it. Never longer than half
/// of the lease, whose other half is for PostgreSQL to open, and for the guard to renew it.
const CATCH_UP: Duration = Duration::from_secs(2);

/// How long it waits until it no longer receives from that one: the startup process ends the WAL receiver as soon as
/// it has read the settings, but not while an operator has paused the replay.
const LEAVE: Duration = Duration::from_millis(500);

/// One attribute of a node, with its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// `pgsql-status`, until the node restarts.
    Status(PgsqlStatus),
    /// `pgsql-data-status`, for ever.
    DataStatus(DataStatus),
    /// `master-pgsql`, until the node restarts.
    Score(Score),
    /// `pgsql-timeline` and `pgsql-xlog-loc`, until the node restarts.
    Position(WalPosition),
    /// `pgsql-master-baseline`, until the node restarts: where the primary's timeline began, as in
    /// `pgsql_REPL_INFO`.
    Baseline(Lsn),
    /// `pgsql-receiver-status`, until the node restarts.
    Receiver(String),
    /// `pgsql-guard`, until the node restarts.
    Guard(GuardStatus),
    /// `pgsql-unfit`, until the node restarts: why it could not open for writing, or only as the last of all
    /// (R14); empty where nothing is known against it.
    Unfit(Option<Unfit>),
    /// `pgsql-flushed`, until the node restarts: what the node's own agent says that its standby has (R11).
    Flushed(Flushed),
}

/// One effect. The edge performs it and reports an [`Effect`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Tell the cluster, for ever, under which name this node's PostgreSQL runs or is about to (R11).
    Announce(LinkName),
    /// Write the settings of a standby: closed (`NOBODY`), the primary's address, `standby.signal`.
    /// A plain name is written with them; an incarnation is in no file.
    WriteStandbySettings(LinkName),
    /// Take [`NOBODY`] out of a standby's settings and reload: it is to be promoted, and may acknowledge
    /// commits then.
    ///
    /// [`NOBODY`]: crate::parse::standby_names::NOBODY
    OpenStandby(LinkName),
    /// Receive from another standby of this timeline what that one has flushed and this one has not, until the
    /// settings are written again. [`NOBODY`] stays in them: who opens this one by hand meanwhile acknowledges
    /// nothing.
    ///
    /// [`NOBODY`]: crate::parse::standby_names::NOBODY
    CatchUp {
        /// The name of this standby in its settings.
        name: LinkName,
        /// The other standby's node.
        from: NodeName,
        /// Up to where it has flushed.
        up_to: Lsn,
    },
    /// Put back what these two have changed, and reload.
    CloseStandby(LinkName),
    /// Write the settings of a primary: no synchronous names, no `standby.signal`.
    WritePrimarySettings,
    /// Write for whom commits wait into `synchronous_standby_names`, and reload.
    SetNames(Waits),
    /// Write for whom commits wait into the file, as the server has it: a change that it has not taken up does not
    /// stay there, where anybody's reload takes it up later.
    WriteNames(Waits),
    /// See that this setting is in force, in which a standby is newly named, then write WAL and read its end (R4).
    TakeBarrier {
        /// The standby.
        name: String,
        /// The setting.
        waits: Waits,
    },
    /// Keep until the node restarts what is known of the links.
    KeepLinks(KeptLinks),
    /// End these replication links, of several under one name (R11).
    EndLinks(Vec<LinkId>),
    /// Start PostgreSQL; a standby under this name.
    StartPostgres(Option<LinkName>),
    /// Stop PostgreSQL, and do what [`Action::EndNames`] does once it has ended.
    StopPostgres(StopMode),
    /// Take away the file in memory that says for whom commits wait: PostgreSQL does not run, and whoever but
    /// the agent starts it is to find it acknowledging nothing ([`Snapshot::in_memory`]).
    EndNames,
    /// `pg_ctl promote`.
    PromotePostgres,
    /// Create physical replication slots where they are missing.
    EnsureSlots(Vec<String>),
    /// Drop replication slots that nobody uses.
    DropSlots(Vec<String>),
    /// End the WAL receiver so that it connects to the new primary now.
    RestartReceiver(u32),
    /// Look at the data directory: control file, real end of WAL, history.
    ReadDisk,
    /// Keep durably which timelines the data are on and how they came to be so (R13).
    KeepRecord {
        /// The timelines.
        lineage: Lineage,
        /// How.
        held: Held,
    },
    /// Move the history files of these timelines aside in `pg_wal`.
    SetHistoriesAside(Vec<TimelineId>),
    /// See that PostgreSQL gives no number up to this one to a timeline.
    ReserveTimelines(TimelineId),
    /// Read the register.
    ReadRegister,
    /// Change the register.
    UpdateRegister(Update),
    /// Ask every other node for its promise not to promote, or to pass on the change of the holders
    /// where it reaches the register (R7).
    AskPromises(PromiseAsk),
    /// Keep durably that by the promises of this term and epoch a standby is let go, or PostgreSQL is
    /// restarted in place, unless the question for them was withdrawn (R7).
    UsePromises {
        /// The term at which this node owns the register.
        term: u64,
        /// The epoch of the promises.
        epoch: u64,
        /// For a restart: what the data are like.
        restart: Option<DataEnd>,
    },
    /// Keep durably that this node relies on no promise of this epoch, unless it has let a standby go or
    /// opened PostgreSQL by one, and tell those who may have promised (R7). Only for a node whose PostgreSQL
    /// has been stopped.
    WithdrawPromises(Withdrawal),
    /// Keep durably what was seen.
    Remember(Memory),
    /// Run `distlock_lock_cmd`, and the dead-check where it applies.
    LockExternal,
    /// Run `distlock_unlock_cmd`.
    UnlockExternal,
    /// Set an attribute of a node.
    SetAttribute(NodeName, Attribute),
    /// Write `pgsql_REPL_INFO`.
    WriteReplInfo(ReplInfo),
    /// Write `pgsql_REGISTER`: how far the register has come.
    WriteSeen(Seen),
    /// Ask the cluster, once its membership has settled, whether this part of it has quorum. It is asked by a
    /// change that changes nothing, which every member receives before it is answered: one that is just
    /// losing a member answers when it has a new membership. With the standbys that are lost by now.
    AskQuorum(BTreeSet<NodeName>),
    /// Start the process that says for this standby what it has flushed ([`Operation::Attend`]), unless
    /// one runs.
    StartAttendant,
    /// Start the guard, in place of one that is there.
    StartGuard,
    /// Tell the guard to end and see that it has.
    EndGuard,
    /// Have Pacemaker's monitor look at the dead postmaster now (the guard).
    ReportDeath,
    /// Write WAL and see which of these standbys acknowledge it (the guard).
    AskStandbys(BTreeMap<NodeName, LinkName>),
    /// Take the node's change lock (R12), and wait for it no longer than this.
    TakeChangeLock(Duration),
    /// Leave the change lock to others.
    ReleaseChangeLock,
    /// See once more, right before the effect that follows, that the register is still what it was
    /// decided from (R12).
    Confirm(Decided),
    /// Say something to the operator in the log.
    Warn(String),
}

impl Action {
    /// The kind under which a failure is kept and logged.
    #[must_use]
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Announce(_) => ActionKind::Announce,
            Self::WriteStandbySettings(_) => ActionKind::WriteStandbySettings,
            Self::OpenStandby(_) => ActionKind::OpenStandby,
            Self::CatchUp { .. } => ActionKind::CatchUp,
            Self::CloseStandby(_) => ActionKind::CloseStandby,
            Self::WritePrimarySettings => ActionKind::WritePrimarySettings,
            Self::SetNames(Waits::Held(_)) => ActionKind::HoldCommits,
            Self::SetNames(_) => ActionKind::SetNames,
            Self::WriteNames(_) => ActionKind::WriteNames,
            Self::TakeBarrier { .. } => ActionKind::TakeBarrier,
            Self::KeepLinks(_) => ActionKind::KeepLinks,
            Self::EndLinks(_) => ActionKind::EndLinks,
            Self::StartPostgres(_) => ActionKind::StartPostgres,
            Self::StopPostgres(_) => ActionKind::StopPostgres,
            Self::EndNames => ActionKind::EndNames,
            Self::PromotePostgres => ActionKind::PromotePostgres,
            Self::EnsureSlots(_) => ActionKind::EnsureSlots,
            Self::DropSlots(_) => ActionKind::DropSlots,
            Self::RestartReceiver(_) => ActionKind::RestartReceiver,
            Self::ReadDisk => ActionKind::ReadDisk,
            Self::KeepRecord { .. } => ActionKind::KeepRecord,
            Self::SetHistoriesAside(_) => ActionKind::SetHistoriesAside,
            Self::ReserveTimelines(_) => ActionKind::ReserveTimelines,
            Self::ReadRegister => ActionKind::ReadRegister,
            Self::UpdateRegister(_) => ActionKind::UpdateRegister,
            Self::AskPromises(_) => ActionKind::AskPromises,
            Self::UsePromises { .. } => ActionKind::UsePromises,
            Self::WithdrawPromises(_) => ActionKind::WithdrawPromises,
            Self::Remember(_) => ActionKind::Remember,
            Self::LockExternal => ActionKind::LockExternal,
            Self::UnlockExternal => ActionKind::UnlockExternal,
            Self::SetAttribute(..) => ActionKind::SetAttribute,
            Self::WriteReplInfo(_) => ActionKind::WriteReplInfo,
            Self::WriteSeen(_) => ActionKind::WriteSeen,
            Self::AskQuorum(_) => ActionKind::AskQuorum,
            Self::StartAttendant => ActionKind::StartAttendant,
            Self::StartGuard => ActionKind::StartGuard,
            Self::EndGuard => ActionKind::EndGuard,
            Self::ReportDeath => ActionKind::ReportDeath,
            Self::AskStandbys(_) => ActionKind::AskStandbys,
            Self::TakeChangeLock(_) => ActionKind::TakeChangeLock,
            Self::ReleaseChangeLock => ActionKind::ReleaseChangeLock,
            Self::Confirm(_) => ActionKind::Confirm,
            Self::Warn(_) => ActionKind::Warn,
        }
    }
}

/// What the settings of a standby are to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandbySettings<'a> {
    /// The name of its link.
    pub name: &'a LinkName,
    /// `synchronous_standby_names`.
    pub names: Waits,
    /// The other standby to receive from; none for the primary.
    pub upstream: Option<&'a NodeName>,
}

impl StandbySettings<'_> {
    /// Whether it is what every standby has that is not about to be promoted.
    #[must_use]
    pub fn is_closed(&self, settings: &Settings) -> bool {
        self.upstream.is_none() && self.names == settings.names_of_a_standby()
    }
}

impl Action {
    /// What the settings of a standby say after an action that writes them; none of any other action.
    #[must_use]
    pub fn standby_settings(&self, settings: &Settings) -> Option<StandbySettings<'_>> {
        let closed = settings.names_of_a_standby();
        let (name, names, upstream) = match self {
            Self::WriteStandbySettings(name) | Self::CloseStandby(name) => (name, closed, None),
            Self::OpenStandby(name) => (name, Waits::ForNobody, None),
            Self::CatchUp { name, from, .. } => (name, closed, Some(from)),
            _ => return None,
        };
        Some(StandbySettings {
            name,
            names,
            upstream,
        })
    }
}

impl Action {
    /// Whether it goes by what was seen of the register, which has to be on the disk before: it changes
    /// the register or what commits wait for, or makes a primary.
    #[must_use]
    pub fn needs_memory(&self) -> bool {
        matches!(
            self,
            Self::UpdateRegister(_)
                | Self::AskPromises(_)
                | Self::Remember(_)
                | Self::SetNames(_)
                | Self::WriteNames(_)
                | Self::WritePrimarySettings
                | Self::PromotePostgres
        )
    }

    /// Whether it belongs to every day: a look, an attribute, the renewal of the lease. What changes
    /// PostgreSQL or the register is news.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        matches!(
            self,
            Self::ReadDisk
                | Self::ReadRegister
                | Self::SetAttribute(..)
                | Self::AskStandbys(_)
                | Self::TakeChangeLock(_)
                | Self::ReleaseChangeLock
                | Self::Warn(_)
                | Self::UpdateRegister(Update::Renew { .. })
        )
    }

    /// Whether it changes, or is part of changing, PostgreSQL's synchronous standbys, the register's
    /// holders or the timelines of the data: only who holds the node's change lock does that (R12). The
    /// renewal of the lease, its end, and all that stops PostgreSQL do not wait for a lock.
    #[must_use]
    pub fn needs_change_lock(&self) -> bool {
        match self {
            Self::WriteStandbySettings(_)
            | Self::OpenStandby(_)
            | Self::CatchUp { .. }
            | Self::CloseStandby(_)
            | Self::WritePrimarySettings
            | Self::SetNames(_)
            | Self::WriteNames(_)
            | Self::TakeBarrier { .. }
            | Self::KeepLinks(_)
            | Self::KeepRecord { .. }
            | Self::SetHistoriesAside(_)
            | Self::ReserveTimelines(_)
            | Self::PromotePostgres
            | Self::AskPromises(_)
            | Self::UsePromises { .. }
            | Self::Confirm(_) => true,
            Self::UpdateRegister(update) => {
                !matches!(update, Update::Renew { .. } | Update::Release { .. })
            }
            // As long as it is open whether PostgreSQL was opened by the promises, another operation may open it.
            Self::WithdrawPromises(withdrawal) => withdrawal.unopened.is_some(),
            Self::StartPostgres(_)
            | Self::Announce(_)
            | Self::EndLinks(_)
            | Self::AskQuorum(_)
            | Self::StartAttendant
            | Self::StopPostgres(_)
            | Self::EndNames
            | Self::EnsureSlots(_)
            | Self::DropSlots(_)
            | Self::RestartReceiver(_)
            | Self::ReadDisk
            | Self::ReadRegister
            | Self::Remember(_)
            | Self::LockExternal
            | Self::UnlockExternal
            | Self::SetAttribute(..)
            | Self::WriteReplInfo(_)
            | Self::WriteSeen(_)
            | Self::StartGuard
            | Self::EndGuard
            | Self::ReportDeath
            | Self::AskStandbys(_)
            | Self::TakeChangeLock(_)
            | Self::ReleaseChangeLock
            | Self::Warn(_) => false,
        }
    }
}

/// What an action brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It was done.
    Done,
    /// The register's row.
    Register(Reading),
    /// The register's answer to an update.
    Reply(Reply),
    /// What each node that was asked has answered (R7).
    Promises(Vec<(NodeName, PromiseAnswer)>),
    /// The external lock's answer.
    External(ExternalLock),
    /// The position read for R4.
    Barrier(Lsn),
    /// The data directory.
    Disk(crate::snapshot::Disk),
    /// The node's change lock.
    ChangeLock(ChangeLock),
    /// Whether this part of the cluster has quorum.
    Quorum(bool),
}

/// The answer to Pacemaker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exit {
    /// The exit code.
    pub code: OcfCode,
    /// The `ocf-exit-reason`, for a failure.
    pub reason: Option<String>,
}

impl Exit {
    /// An answer that is no failure.
    #[must_use]
    pub fn of(code: OcfCode) -> Self {
        Self { code, reason: None }
    }

    /// A failure, with its reason for the operator.
    #[must_use]
    pub fn fail(code: OcfCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: Some(reason.into()),
        }
    }
}

/// What happens after the actions of a plan.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The operation is over.
    Finish(Exit),
    /// Decide again with the results folded in; nothing else has changed.
    Continue,
    /// Observe everything again, then decide.
    Reobserve,
    /// The same, after a short pause: the text says what is awaited.
    Wait(String),
}

/// The answer of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The stable id of the rule that decided.
    pub rule: &'static str,
    /// What is done, in order; a failure ends the plan and is folded into the progress.
    pub actions: Vec<Action>,
    /// What happens then.
    pub verdict: Verdict,
}

impl Plan {
    /// Whether a log of what is out of the ordinary has a line for it.
    #[must_use]
    pub fn is_news(&self) -> bool {
        !self.actions.iter().all(Action::is_routine)
    }

    /// Whether it only does what every round does, before the next decision.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        let goes_on = matches!(self.verdict, Verdict::Continue | Verdict::Reobserve);
        goes_on && !self.is_news()
    }
}

/// The outcome of a rule, before it has its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// See [`Plan::actions`].
    pub actions: Vec<Action>,
    /// See [`Plan::verdict`].
    pub verdict: Verdict,
}

impl Step {
    /// Actions, then a new decision on the folded results.
    #[must_use]
    pub fn then_continue(actions: Vec<Action>) -> Self {
        Self {
            actions,
            verdict: Verdict::Continue,
        }
    }

    /// Actions, then a new observation.
    #[must_use]
    pub fn then_reobserve(actions: Vec<Action>) -> Self {
        Self {
            actions,
            verdict: Verdict::Reobserve,
        }
    }

    /// Nothing to do but to wait for something.
    #[must_use]
    pub fn wait(awaited: impl Into<String>) -> Self {
        Self {
            actions: vec![],
            verdict: Verdict::Wait(awaited.into()),
        }
    }

    /// The end, with success or a state.
    #[must_use]
    pub fn finish(code: OcfCode) -> Self {
        Self {
            actions: vec![],
            verdict: Verdict::Finish(Exit::of(code)),
        }
    }

    /// The end, with a reason for the operator.
    #[must_use]
    pub fn fail(code: OcfCode, reason: impl Into<String>) -> Self {
        Self {
            actions: vec![],
            verdict: Verdict::Finish(Exit::fail(code, reason)),
        }
    }

    /// The same end, after these actions.
    #[must_use]
    pub fn after(mut self, actions: Vec<Action>) -> Self {
        self.actions.splice(0..0, actions);
        self
    }
}

/// A row of a decision table: the first row whose condition holds decides.
pub struct Rule {
    /// Stable id, logged with every decision.
    pub id: &'static str,
    /// One sentence for a reader of the table.
    pub says: &'static str,
    /// `None` where the row does not apply.
    pub decide: fn(&Snapshot) -> Option<Step>,
}

/// Runs a decision table, with some of its rules left out.
#[must_use]
pub fn first_match(tables: &[&'static [Rule]], snapshot: &Snapshot, dropped: &[&str]) -> Plan {
    let rules = tables.iter().flat_map(|table| table.iter());
    for rule in rules.filter(|rule| !dropped.contains(&rule.id)) {
        if let Some(step) = (rule.decide)(snapshot) {
            return Plan {
                rule: rule.id,
                actions: step.actions,
                verdict: step.verdict,
            };
        }
    }
    // Every table ends with a row that always applies; should one not, the operator is told.
    let step = Step::fail(
        OcfCode::Generic,
        "no rule applies to this state; please report the log of this operation",
    );
    Plan {
        rule: "no-rule",
        actions: step.actions,
        verdict: step.verdict,
    }
}

impl Snapshot {
    /// Folds the result of one action into the picture, so that [`Verdict::Continue`] needs no new
    /// observation.
    #[must_use]
    pub fn fold(mut self, action: &Action, result: Result<Effect, String>) -> Self {
        match result {
            Ok(effect) => self.fold_success(action, effect),
            Err(text) => {
                self.fold_failure(action, &text);
                self.progress.failures.push(Failure {
                    action: action.kind(),
                    text,
                });
            }
        }
        self
    }

    /// What has to be on the disk before the action is performed: that this node asks for a change
    /// of the register, which may be made although no reply comes ([`Memory::asking`]), or for the
    /// promises of the others.
    ///
    /// # Errors
    /// Why this node does not know what it has seen: then it asks for neither.
    pub fn memory_before(&self, action: &Action) -> Result<Memory, String> {
        let memory = self.memory.clone()?;
        Ok(match action {
            Action::UpdateRegister(update) => memory.asking(update),
            Action::AskPromises(ask) => memory.relying(ask.epoch),
            _ => memory,
        })
    }

    /// The action was not performed, because what has to be on the disk before it could not be kept.
    #[must_use]
    pub fn fold_unkept(mut self, action: &Action, text: &str) -> Self {
        self.progress.failures.push(Failure {
            action: ActionKind::Remember,
            text: text.to_owned(),
        });
        match action {
            // From here on this node does not know any more what it may have asked for.
            Action::UpdateRegister(_) => self.memory = Err(text.to_owned()),
            Action::AskPromises(_) => self.fold_failure(action, text),
            _ => self.progress.failures.push(Failure {
                action: action.kind(),
                text: text.to_owned(),
            }),
        }
        self
    }

    /// Takes in what a row of the register shows.
    fn see(&mut self, row: &Register) {
        if let Ok(memory) = &mut self.memory {
            self.progress.forgot |= memory.may_have_promised(&self.settings.me, row);
            *memory = memory.seeing_as(&self.settings.me, row);
        }
    }

    /// A failure is an answer too: without one, the rule that asked would ask again for ever.
    fn fold_failure(&mut self, action: &Action, text: &str) {
        match action {
            Action::StopPostgres(mode) => self.progress.stops.push(*mode),
            // The change may have been made all the same, so nothing is known.
            Action::ReadRegister | Action::UpdateRegister(_) => {
                let trouble = Trouble::Unreachable(text.to_owned());
                self.register = Some(Reading::Unknown(trouble));
            }
            Action::LockExternal => {
                self.progress.external = Some(ExternalLock::NotLocked(text.to_owned()));
            }
            Action::AskPromises(ask) => {
                self.progress.promises = Some(Promises {
                    epoch: ask.epoch,
                    asked: ask.peers.iter().cloned().collect(),
                    missing: vec![text.to_owned()],
                });
            }
            Action::WithdrawPromises(_) => self.progress.withdrawn = true,
            Action::CatchUp { .. } => self.begin_to_catch_up(action, Duration::ZERO),
            Action::TakeChangeLock(_) => {
                self.progress.change_lock = ChangeLock::Busy(text.to_owned());
            }
            // It was told and then killed: what is left of it can do no harm that waiting would mend.
            Action::EndGuard => self.guard = Guard::Absent,
            Action::ReportDeath | Action::AskStandbys(_) => self.fold_watch(action),
            _ => {}
        }
    }

    fn fold_success(&mut self, action: &Action, effect: Effect) {
        match effect {
            Effect::Register(reading) => self.fold_reading(reading),
            Effect::Reply(reply) => self.fold_reply(action, reply),
            Effect::Promises(answers) => {
                if let Action::AskPromises(ask) = action {
                    self.fold_promises(ask, &answers);
                }
            }
            Effect::External(answer) => self.progress.external = Some(answer),
            Effect::Disk(disk) => self.disk = Some(disk),
            Effect::ChangeLock(lock) => self.progress.change_lock = lock,
            Effect::Quorum(quorum) => {
                if let Action::AskQuorum(lost) = action {
                    let lost = lost.clone();
                    self.progress.quorum = Some(Settled { quorum, lost });
                }
            }
            Effect::Barrier(lsn) => {
                if let (Action::TakeBarrier { name, .. }, Some(row)) = (action, self.row()) {
                    self.progress.barrier = Some(KeptBarrier {
                        name: name.clone(),
                        lsn,
                        term: row.term,
                        epoch: row.epoch,
                    });
                }
            }
            Effect::Done => {}
        }
        match action {
            Action::StartPostgres(name) => {
                self.progress.started = true;
                self.names.running = match name {
                    Some(name) if name.is_incarnation() => RunningName::Name(name.clone()),
                    _ => RunningName::Unnamed,
                };
                self.process = Process::Alive { frozen: false };
                self.answer = Answer::NotAsked;
            }
            Action::StopPostgres(mode) => self.progress.stops.push(*mode),
            // The edge has kept it already.
            Action::UsePromises {
                term,
                epoch,
                restart,
            } => {
                if let Ok(memory) = &mut self.memory {
                    *memory = memory.using(*term, *epoch, *restart).unwrap_or(*memory);
                }
                self.fold_right_by_others();
            }
            Action::WithdrawPromises(_) => self.progress.withdrawn = true,
            Action::DropSlots(left) => match &mut self.answer {
                Answer::Primary(view) => view.slots.retain(|slot| !left.contains(&slot.name)),
                Answer::Standby(view) => view.slots.retain(|slot| !left.contains(&slot.name)),
                _ => {}
            },
            Action::PromotePostgres => self.progress.promoting = true,
            Action::WritePrimarySettings => {
                self.progress.restarting_in_place = true;
                self.progress.closed = Closed::No;
                self.standby_signal = StandbySignal::Missing;
            }
            Action::WriteStandbySettings(_) => {
                self.standby_signal = StandbySignal::There;
                self.progress.closed = Closed::Written;
            }
            Action::ReadDisk if self.progress.closed == Closed::Written => {
                self.progress.closed = Closed::Read;
            }
            Action::Announce(name) => self.fold_announced(name),
            Action::KeepLinks(kept) => self.names.kept = Some(kept.clone()),
            // What others do meanwhile, only what was kept of the barrier notices.
            Action::ReleaseChangeLock => {
                (self.progress.change_lock, self.progress.barrier) = (ChangeLock::NotTaken, None);
            }
            Action::OpenStandby(_) => self.fold_closed(false),
            Action::CatchUp { .. } => {
                self.fold_closed(false);
                self.begin_to_catch_up(action, self.catch_up_until());
            }
            Action::CloseStandby(_) => {
                self.fold_closed(true);
                self.end_to_catch_up();
            }
            Action::EndNames => self.in_memory = InMemory::Nothing,
            Action::WriteNames(waits) => self.in_memory = InMemory::of(waits),
            Action::SetNames(waits) => {
                self.in_memory = InMemory::of(waits);
                let until = self.hold_until();
                self.progress.barrier = None;
                if waits.is_held() {
                    self.progress.hold_until.get_or_insert(until);
                    self.progress.quorum = None;
                }
                if let Answer::Primary(view) = &mut self.answer {
                    view.waits.clone_from(waits);
                }
            }
            Action::KeepRecord { lineage, held } => {
                self.record = Ok(Some(Record {
                    system: self.system.unwrap_or_default(),
                    lineage: lineage.clone(),
                    held: *held,
                }));
            }
            Action::SetHistoriesAside(strays) => {
                if let Some(disk) = &mut self.disk {
                    disk.newer.retain(|history| !strays.contains(&history.own));
                }
            }
            Action::RestartReceiver(_) => self.progress.receiver_restarted = true,
            Action::UnlockExternal => self.progress.released = true,
            Action::StartAttendant => self.progress.attended = true,
            Action::StartGuard => self.guard = Guard::Running,
            Action::EndGuard => self.guard = Guard::Absent,
            Action::ReportDeath | Action::AskStandbys(_) => self.fold_watch(action),
            Action::Remember(memory) => self.memory = Ok(*memory),
            Action::SetAttribute(node, attribute) => self.fold_attribute(node, attribute),
            Action::WriteReplInfo(info) => {
                if let Ok(cluster) = &mut self.cluster {
                    cluster.repl_info = Some(Ok(info.clone()));
                }
            }
            Action::WriteSeen(seen) => {
                if let Ok(cluster) = &mut self.cluster {
                    cluster.seen = Some(*seen);
                }
            }
            _ => {}
        }
    }

    fn fold_reading(&mut self, reading: Reading) {
        if let Reading::Row(row) = &reading
            && row.owner.as_ref() != Some(&self.settings.me)
            && self.progress.other_owner_seen.is_none()
        {
            self.progress.other_owner_seen = Some(row.renewed.clone());
        }
        if let Reading::Row(row) = &reading {
            self.see(row);
        }
        self.register = Some(reading);
    }

    fn fold_promises(&mut self, ask: &PromiseAsk, answers: &[(NodeName, PromiseAnswer)]) {
        let before = self.progress.promises.take();
        self.progress.promises = Some(match tally(ask, answers) {
            PromiseVerdict::Promises(mut promises) => {
                promises
                    .asked
                    .extend(before.into_iter().flat_map(|p| p.asked));
                promises
            }
            PromiseVerdict::Relayed(reply) => {
                if let Reply::Applied(row) | Reply::NotApplied(row) = &reply {
                    let made = matches!(reply, Reply::Applied(_));
                    self.progress.epoch_moved |= made;
                    self.progress.renewed |= made;
                    self.see(row);
                    if made {
                        self.fold_right_by_others();
                    }
                }
                self.register = Some(reply.reading());
                Promises {
                    epoch: ask.epoch,
                    asked: ask.peers.iter().cloned().collect(),
                    missing: vec!["another node reaches the register".to_owned()],
                }
            }
        });
    }

    /// R7: the other nodes have promised, or one of them has registered this owner as the only holder. The
    /// term stays, and with it the timeline.
    fn fold_right_by_others(&mut self) {
        if self.operation == Operation::Promote {
            self.progress.acquired = Some(Acquired::InPlace);
        }
    }

    fn fold_reply(&mut self, action: &Action, reply: Reply) {
        if let Action::UpdateRegister(Update::NameTimelines { .. }) = action {
            self.progress.named = true;
        }
        if let (Action::UpdateRegister(update), Reply::Applied(row)) = (action, &reply) {
            match update {
                Update::FirstPrimary { .. } => self.progress.acquired = Some(Acquired::InPlace),
                Update::Promote {
                    from_owner,
                    from_term,
                    ..
                } => {
                    // R2. Only the very node that served the last term on the timeline that it has
                    // on its disk may go on with it. The durable reign record is written after a
                    // promotion is complete, so that a promotion that was interrupted between the
                    // register and PostgreSQL gets a new timeline.
                    let in_place = from_owner.as_ref() == Some(&self.settings.me)
                        && self.reign().is_some_and(|reign| reign.term == *from_term);
                    self.progress.acquired = Some(if in_place {
                        Acquired::InPlace
                    } else {
                        Acquired::NewTimeline
                    });
                    self.progress.right_asked = self.elapsed;
                }
                Update::Renew { .. } => self.progress.renewed = true,
                Update::Release { .. } => self.progress.released = true,
                Update::SetHolders { .. } => self.progress.epoch_moved = true,
                _ => {}
            }
            self.see(row);
        }
        if matches!(reply, Reply::Unknown(_)) {
            self.progress.epoch_moved = false;
        }
        self.register = Some(reply.reading());
    }

    /// Until when ([`Snapshot::elapsed`]) a promotion may receive from another standby.
    #[must_use]
    pub fn catch_up_until(&self) -> Duration {
        self.progress.right_asked + CATCH_UP.min(self.settings.ttl / 2)
    }

    fn begin_to_catch_up(&mut self, action: &Action, until: Duration) {
        if let Action::CatchUp { up_to, .. } = action {
            self.progress.catch_up = Some(CatchUp {
                up_to: *up_to,
                until,
                over: None,
            });
        }
    }

    fn fold_closed(&mut self, closed: bool) {
        if let Answer::Standby(view) = &mut self.answer {
            view.closed = closed;
        }
    }

    fn end_to_catch_up(&mut self) {
        let leaving = Leaving {
            receiver: self.standby().and_then(|view| view.receiver),
            until: self.elapsed + LEAVE,
        };
        if let Some(catch_up) = &mut self.progress.catch_up {
            catch_up.over = Some(leaving);
        }
    }

    /// What the guard has tried in this round it does not try again in it.
    fn fold_watch(&mut self, action: &Action) {
        if let Operation::Guard(watch) = &mut self.operation {
            match action {
                Action::ReportDeath => watch.death = Death::Told,
                Action::AskStandbys(_) => watch.links_tried = true,
                _ => {}
            }
        }
    }

    fn fold_announced(&mut self, name: &LinkName) {
        let me = self.settings.me.clone();
        if let Ok(cluster) = &mut self.cluster {
            let entry = cluster.nodes.entry(me).or_default();
            entry.announced = Announced::Name(name.clone());
        }
    }

    fn fold_attribute(&mut self, node: &NodeName, attribute: &Attribute) {
        let Ok(cluster) = &mut self.cluster else {
            return;
        };
        let entry = cluster
            .nodes
            .entry(node.clone())
            .or_insert_with(ClusterNode::default);
        match attribute.clone() {
            Attribute::Status(value) => entry.status = Some(value),
            Attribute::DataStatus(value) => entry.data_status = Some(value),
            Attribute::Score(value) => entry.score = Some(value),
            Attribute::Position(value) => entry.position = Some(value),
            Attribute::Baseline(value) => entry.baseline = Some(value),
            Attribute::Receiver(value) => entry.receiver = Some(value),
            Attribute::Guard(value) => entry.guard = Some(Word::Known(value)),
            Attribute::Unfit(value) => entry.unfit = value,
            Attribute::Flushed(what) => {
                entry.flushed = Some(what.clone());
                let at = self.elapsed;
                self.progress.said = Some(Said { at, what });
            }
        }
    }

    /// Forgets what only one round of observation may rely on.
    pub fn begin_round(&mut self) {
        if self.progress.change_lock == ChangeLock::Taken {
            self.progress.change_lock = ChangeLock::Held;
        }
        self.progress.renewed = false;
        self.progress.epoch_moved = false;
        self.register = None;
    }

    /// Forgets what a guard that [stood still](crate::decide::stood_still) in the middle of a round has asked
    /// before: it is of the past (R15). The register, the standbys and the cluster are asked again, and a last time where the
    /// time for proofs went by meanwhile.
    pub fn woke_late(&mut self) {
        self.register = None;
        self.progress.renewed = false;
        self.progress.quorum = None;
        if let Operation::Guard(watch) = &mut self.operation {
            watch.links_tried = false;
            watch.overslept = true;
        }
    }
}

/// A reign that is to be kept: written once a promotion is complete.
#[must_use]
pub fn with_reign(memory: &Memory, reign: Reign) -> Memory {
    Memory {
        reign: Some(reign),
        ..*memory
    }
}
