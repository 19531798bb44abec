//! The programs of PostgreSQL that are run, and the packages that have them. Distributions spread them over
//! several: a server runs without some of them, until an operation needs one.

use std::fmt;

use crate::message;
use crate::message::Message;
use crate::text_enum::text_enum;

text_enum! {
    /// A program of PostgreSQL that lies beside `pg_ctl`.
    ServerProgram, "a program of PostgreSQL" {
        /// The server.
        Postgres = "postgres",
        /// Reads the control file: wherever a server does not run.
        ControlData = "pg_controldata",
        /// Reads the WAL: where it ends is asked before a standby is started.
        WalDump = "pg_waldump",
        /// `cls_repair_slave`.
        Rewind = "pg_rewind",
        /// `cls_rebuild_slave`.
        BaseBackup = "pg_basebackup",
    }
}

impl ServerProgram {
    /// Without which a node cannot be a standby: PostgreSQL is not started there after another node was
    /// primary.
    pub const OF_A_STANDBY: &'static [Self] = &[Self::Postgres, Self::ControlData, Self::WalDump];

    /// How to get it.
    #[must_use]
    pub fn remedy(self) -> Install {
        Install(self)
    }
}

/// The packages that have a program, as a clause: Debian's (and Ubuntu's), and those of Red Hat Enterprise
/// Linux and its kin, where `dnf provides` knows better than any table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Install(ServerProgram);

impl Install {
    /// As an operator reads it.
    #[must_use]
    pub fn message(self) -> Message {
        let (debian, red_hat) = match self.0 {
            ServerProgram::BaseBackup => ("postgresql-client-VERSION", "postgresql-server"),
            ServerProgram::WalDump => ("postgresql-VERSION", "postgresql-contrib"),
            ServerProgram::Postgres | ServerProgram::ControlData | ServerProgram::Rewind => {
                ("postgresql-VERSION", "postgresql-server")
            }
        };
        message!(
            "install {program}: Debian has it in {debian}, RHEL-like systems in {red_hat} (dnf provides '*/{program}')",
            program = self.0.as_str(),
            debian,
            red_hat
        )
    }
}

impl fmt::Display for Install {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}
