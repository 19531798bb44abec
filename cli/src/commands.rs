//! The commands, one file each.

use clap::Subcommand;

use crate::app::{Outcome, Session};
use crate::error::ClsError;

mod cleanup;
mod config;
mod doctor;
mod hand_over;
mod history;
mod init;
mod internal;
mod manage;
mod master;
pub(crate) mod online_switch;
mod rebuild_slave;
mod recovery_master;
mod repair_slave;
mod restart;
pub(crate) mod rows;
mod seen;
mod setup;
mod standby_node;
mod start;
mod status;
mod wal_end;
mod way;

/// Every command.
#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub(crate) enum Command {
    Status(status::Status),
    Master(master::Master),
    Start(start::Start),
    Stop(start::Stop),
    OnlineSwitch(online_switch::OnlineSwitch),
    Cleanup(cleanup::Cleanup),
    RepairSlave(repair_slave::RepairSlave),
    RebuildSlave(rebuild_slave::RebuildSlave),
    RecoveryMaster(recovery_master::RecoveryMaster),
    StandbyNode(standby_node::StandbyNode),
    UnstandbyNode(standby_node::UnstandbyNode),
    Unmanage(manage::Unmanage),
    Manage(manage::Manage),
    Restart(restart::Restart),
    Init(init::Init),
    Setup(setup::Setup),
    Config(config::Config),
    Doctor(doctor::Doctor),
    History(history::History),
    #[command(hide = true)]
    Internal(internal::Internal),
}

impl Command {
    /// Whether an operator types it to change something; the others only look, or are what another node's command
    /// asks of this one.
    pub(crate) const fn changes(&self) -> bool {
        match self {
            Self::Status(_)
            | Self::Master(_)
            | Self::Config(_)
            | Self::Doctor(_)
            | Self::History(_)
            | Self::Internal(_) => false,
            Self::Start(_)
            | Self::Stop(_)
            | Self::OnlineSwitch(_)
            | Self::Cleanup(_)
            | Self::RepairSlave(_)
            | Self::RebuildSlave(_)
            | Self::RecoveryMaster(_)
            | Self::StandbyNode(_)
            | Self::UnstandbyNode(_)
            | Self::Unmanage(_)
            | Self::Manage(_)
            | Self::Restart(_)
            | Self::Init(_)
            | Self::Setup(_) => true,
        }
    }

    /// Runs it.
    pub(crate) fn run(&self, session: &Session) -> Result<Outcome, ClsError> {
        match self {
            Self::Status(command) => return command.run(session),
            Self::RepairSlave(command) => return command.run(session),
            Self::RebuildSlave(command) => return command.run(session),
            Self::Master(command) => command.run(session),
            Self::Start(command) => command.run(session),
            Self::Stop(command) => command.run(session),
            Self::OnlineSwitch(command) => command.run(session),
            Self::Cleanup(command) => command.run(session),
            Self::RecoveryMaster(command) => command.run(session),
            Self::StandbyNode(command) => command.run(session),
            Self::UnstandbyNode(command) => command.run(session),
            Self::Unmanage(command) => command.run(session),
            Self::Manage(command) => command.run(session),
            Self::Restart(command) => command.run(session),
            Self::Init(command) => command.run(session),
            Self::Setup(command) => command.run(session),
            Self::Config(command) => return command.run(session),
            Self::Doctor(command) => return command.run(session),
            Self::History(command) => command.run(session),
            Self::Internal(command) => command.run(session),
        }
        .map(|()| Outcome::Done)
    }
}
