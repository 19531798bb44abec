//! Why PostgreSQL gave no answer.

use pha_core::decide::unanswered;
use pha_core::parse::server_view::Unexpected;
use pha_core::postgres::PmStatus;
use pha_core::snapshot::Answer;

use crate::pgctl::PgError;
use crate::sql::SqlError;
use crate::user::UserError;

/// Why something could not be found out or done over SQL.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The server said no, or nothing.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The server could not be signalled.
    #[error(transparent)]
    Process(#[from] PgError),
    /// The account could not be taken.
    #[error("connecting as the user {user} failed: {}", become_failed(.reason))]
    Account {
        /// The account.
        user: String,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A view holds something that no known version of PostgreSQL writes there.
    #[error(transparent)]
    Unexpected(#[from] Unexpected),
    /// A row of a view is hidden from the role.
    #[error("the role {role} may not see {what}; run in SQL: grant pg_monitor to {role}")]
    Hidden {
        /// What is hidden.
        what: &'static str,
        /// The role.
        role: String,
    },
    /// The server does not run, so there is nothing to tell it.
    #[error("no server runs on the data directory that could read its configuration again")]
    NotRunning,
    /// The server takes up no change of its settings, because a file has an error in it.
    #[error(
        "PostgreSQL takes up no change of its settings before its files are corrected: {0}; it reads them again at the next monitor"
    )]
    Unread(String),
    /// A wait has reached its deadline.
    #[error("{what} did not come about in time; last seen: {seen}")]
    Deadline {
        /// What was waited for.
        what: &'static str,
        /// What was there instead.
        seen: String,
    },
}

/// Only root can become another account; the system says no more than "not permitted".
fn become_failed(reason: &std::io::Error) -> String {
    if reason.kind() == std::io::ErrorKind::PermissionDenied {
        "only root can become it; run this as root".to_owned()
    } else {
        reason.to_string()
    }
}

impl PostgresError {
    /// What it says about a server whose postmaster is alive.
    pub(crate) fn as_answer(&self, status: Option<PmStatus>) -> Answer {
        match self {
            Self::Sql(error) => unanswered(error.kind(), error.to_string(), status),
            other => Answer::Refused(other.to_string()),
        }
    }
}

/// A configuration in which the owner's account does not exist is found before a connection is tried.
impl From<UserError> for PostgresError {
    fn from(error: UserError) -> Self {
        Self::Account {
            user: "pgdba".to_owned(),
            reason: std::io::Error::other(error.to_string()),
        }
    }
}
