//! Asking a server about itself and its peers. What its answer means is read in the core
//! ([`server_view`]).

use pha_core::parse::server_view::{self, question, question_about_links};
use pha_core::postgres::{Links, ServerView};

use super::error::PostgresError;
use crate::clock::Deadline;
use crate::sql::{Session, TextRows};

/// Reads the view over an open connection.
///
/// # Errors
/// [`PostgresError`].
pub(crate) fn read(session: &mut Session, deadline: Deadline) -> Result<ServerView, PostgresError> {
    Ok(server_view::from_rows(rows(session, deadline)?)?)
}

/// What the server answers, as it is.
pub(crate) fn rows(session: &mut Session, deadline: Deadline) -> Result<TextRows, PostgresError> {
    let question = question();
    match session.simple(&question, deadline) {
        // object_not_in_prerequisite_state: a promotion ended between two of the functions.
        Err(error) if error.sqlstate() == Some("55000") => Ok(session.simple(&question, deadline)?),
        other => Ok(other?),
    }
}

/// The links of a primary alone, over an open connection.
pub(super) fn read_links(
    session: &mut Session,
    deadline: Deadline,
) -> Result<Links, PostgresError> {
    let rows = session.simple(&question_about_links(), deadline)?;
    Ok(server_view::links(rows)?)
}
