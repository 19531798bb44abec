//! One command's session with the lock service, and what its failures mean.

use pha_core::register::Trouble;

use super::name::LockName;
use crate::clock::Deadline;
use crate::conninfo::Conninfo;
use crate::sql::{Purpose, Session, SqlError};

/// What to do about a lock service that only answers questions.
pub(super) const READ_ONLY: &str = "; that server is a standby or read-only, connect to its primary (target_session_attrs=read-write)";

/// A session of one command of its own.
pub(super) fn connect(info: &Conninfo, deadline: Deadline) -> Result<Session, SqlError> {
    let mut session = Session::connect(info, Purpose::LockService, deadline)?;
    session.limit_statements(deadline, deadline)?;
    Ok(session)
}

/// Whether the tables are not there, or not in this version's form: undefined_table,
/// undefined_column, invalid_schema_name.
pub(super) fn is_not_made(error: &SqlError) -> bool {
    matches!(error.sqlstate(), Some("42P01" | "42703" | "3F000"))
}

/// Sorts a failure, with what to do about it.
pub(super) fn trouble(error: &SqlError, lock: &LockName) -> Trouble {
    let hint = match error.sqlstate() {
        _ if is_not_made(error) => format!(
            "; run `distlock <conninfo> init {lock}` once (a table that is not in the schema public is named with its schema)"
        ),
        // query_canceled by statement_timeout, lock_not_available
        Some("57014" | "55P03") => {
            "; another session keeps the row locked, see pg_locks there".to_owned()
        }
        // protocol_violation, which is what a pooler calls options that it does not know
        Some("08P01") => {
            "; connect to PostgreSQL itself, not through a pooler that refuses start-up options"
                .to_owned()
        }
        // read_only_sql_transaction
        Some("25006") => READ_ONLY.to_owned(),
        // insufficient_privilege
        Some("42501") => {
            format!(
                "; give the role what it needs, as the owner of the table: distlock <conninfo> init --role <role> {lock}"
            )
        }
        // undefined_object: the role of a grant
        Some("42704") => "; make it first: CREATE ROLE … LOGIN".to_owned(),
        _ => String::new(),
    };
    let text = format!("{error}{hint}");
    if error.answered() {
        Trouble::Answered(text)
    } else {
        Trouble::Unreachable(text)
    }
}
