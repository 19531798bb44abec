//! The kinds of actions, and the failure of one.

use std::fmt;

/// How PostgreSQL is stopped, from the kindest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StopMode {
    /// `pg_ctl stop -m fast`: sessions are ended and a shutdown checkpoint is written.
    Fast,
    /// `pg_ctl stop -m immediate`: no checkpoint; recovery at the next start.
    Immediate,
    /// SIGKILL to the postmaster and to every server process.
    Kill,
}

/// The kind of an [`Action`](crate::plan::Action): what failures are kept under, and what the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActionKind {
    /// [`Action::WriteStandbySettings`].
    WriteStandbySettings,
    /// [`Action::OpenStandby`].
    OpenStandby,
    /// [`Action::CatchUp`].
    CatchUp,
    /// [`Action::CloseStandby`].
    CloseStandby,
    /// [`Action::WritePrimarySettings`].
    WritePrimarySettings,
    /// [`Action::SetNames`], by which commits pass.
    SetNames,
    /// [`Action::SetNames`] with [`Waits::Held`].
    HoldCommits,
    /// [`Action::WriteNames`].
    WriteNames,
    /// [`Action::TakeBarrier`].
    TakeBarrier,
    /// [`Action::Announce`].
    Announce,
    /// [`Action::KeepLinks`].
    KeepLinks,
    /// [`Action::EndLinks`].
    EndLinks,
    /// [`Action::StartPostgres`].
    StartPostgres,
    /// [`Action::StopPostgres`].
    StopPostgres,
    /// [`Action::EndNames`].
    EndNames,
    /// [`Action::PromotePostgres`].
    PromotePostgres,
    /// [`Action::EnsureSlots`].
    EnsureSlots,
    /// [`Action::DropSlots`].
    DropSlots,
    /// [`Action::RestartReceiver`].
    RestartReceiver,
    /// [`Action::ReadDisk`].
    ReadDisk,
    /// [`Action::KeepRecord`].
    KeepRecord,
    /// [`Action::SetHistoriesAside`].
    SetHistoriesAside,
    /// [`Action::ReserveTimelines`].
    ReserveTimelines,
    /// [`Action::ReadRegister`].
    ReadRegister,
    /// [`Action::UpdateRegister`].
    UpdateRegister,
    /// [`Action::AskPromises`].
    AskPromises,
    /// [`Action::UsePromises`].
    UsePromises,
    /// [`Action::WithdrawPromises`].
    WithdrawPromises,
    /// [`Action::Remember`].
    Remember,
    /// [`Action::LockExternal`].
    LockExternal,
    /// [`Action::UnlockExternal`].
    UnlockExternal,
    /// [`Action::SetAttribute`].
    SetAttribute,
    /// [`Action::WriteReplInfo`].
    WriteReplInfo,
    /// [`Action::WriteSeen`].
    WriteSeen,
    /// [`Action::AskQuorum`].
    AskQuorum,
    /// [`Action::StartAttendant`].
    StartAttendant,
    /// [`Action::StartGuard`].
    StartGuard,
    /// [`Action::EndGuard`].
    EndGuard,
    /// [`Action::ReportDeath`].
    ReportDeath,
    /// [`Action::AskStandbys`].
    AskStandbys,
    /// [`Action::TakeChangeLock`].
    TakeChangeLock,
    /// [`Action::ReleaseChangeLock`].
    ReleaseChangeLock,
    /// [`Action::Confirm`].
    Confirm,
    /// [`Action::Warn`].
    Warn,
}

impl ActionKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::WriteStandbySettings,
        Self::OpenStandby,
        Self::CatchUp,
        Self::CloseStandby,
        Self::WritePrimarySettings,
        Self::SetNames,
        Self::HoldCommits,
        Self::WriteNames,
        Self::TakeBarrier,
        Self::Announce,
        Self::KeepLinks,
        Self::EndLinks,
        Self::StartPostgres,
        Self::StopPostgres,
        Self::EndNames,
        Self::PromotePostgres,
        Self::EnsureSlots,
        Self::DropSlots,
        Self::RestartReceiver,
        Self::ReadDisk,
        Self::KeepRecord,
        Self::SetHistoriesAside,
        Self::ReserveTimelines,
        Self::ReadRegister,
        Self::UpdateRegister,
        Self::AskPromises,
        Self::UsePromises,
        Self::WithdrawPromises,
        Self::Remember,
        Self::LockExternal,
        Self::UnlockExternal,
        Self::SetAttribute,
        Self::WriteReplInfo,
        Self::WriteSeen,
        Self::AskQuorum,
        Self::StartAttendant,
        Self::StartGuard,
        Self::EndGuard,
        Self::ReportDeath,
        Self::AskStandbys,
        Self::TakeChangeLock,
        Self::ReleaseChangeLock,
        Self::Confirm,
        Self::Warn,
    ];

    /// The stable text for logs.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::WriteStandbySettings => "write-standby-settings",
            Self::OpenStandby => "open-standby",
            Self::CatchUp => "catch-up",
            Self::CloseStandby => "close-standby",
            Self::WritePrimarySettings => "write-primary-settings",
            Self::SetNames => "set-names",
            Self::HoldCommits => "hold-commits",
            Self::WriteNames => "write-names",
            Self::TakeBarrier => "take-barrier",
            Self::Announce => "announce",
            Self::KeepLinks => "keep-links",
            Self::EndLinks => "end-links",
            Self::StartPostgres => "start-postgres",
            Self::StopPostgres => "stop-postgres",
            Self::EndNames => "end-names",
            Self::PromotePostgres => "promote-postgres",
            Self::EnsureSlots => "ensure-slots",
            Self::DropSlots => "drop-slots",
            Self::RestartReceiver => "restart-receiver",
            Self::ReadDisk => "read-disk",
            Self::KeepRecord => "keep-record",
            Self::SetHistoriesAside => "set-histories-aside",
            Self::ReserveTimelines => "reserve-timelines",
            Self::ReadRegister => "read-register",
            Self::UpdateRegister => "update-register",
            Self::AskPromises => "ask-promises",
            Self::UsePromises => "use-promises",
            Self::WithdrawPromises => "withdraw-promises",
            Self::Remember => "remember",
            Self::LockExternal => "lock-external",
            Self::UnlockExternal => "unlock-external",
            Self::SetAttribute => "set-attribute",
            Self::WriteReplInfo => "write-repl-info",
            Self::WriteSeen => "write-seen",
            Self::AskQuorum => "ask-quorum",
            Self::StartAttendant => "start-attendant",
            Self::StartGuard => "start-guard",
            Self::EndGuard => "end-guard",
            Self::ReportDeath => "report-death",
            Self::AskStandbys => "ask-standbys",
            Self::TakeChangeLock => "take-change-lock",
            Self::ReleaseChangeLock => "release-change-lock",
            Self::Confirm => "confirm",
            Self::Warn => "warn",
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// An action that failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    /// [`crate::plan::Action::kind`].
    pub action: ActionKind,
    /// What happened, for the operator.
    pub text: String,
}
