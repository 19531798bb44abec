//! Asking the PostgreSQL of another node by its own socket, through this program there: which finds the
//! socket as it is found here, and gives values back as they are.

use std::collections::BTreeMap;
use std::time::Duration;

use pha_core::hindrance::Hindrance;
use pha_core::names::NodeName;
use pha_core::params::Params;
use pha_host::clock::Deadline;
use pha_host::local;
use pha_host::postgres::PostgresError;
use pha_host::sql::{SqlError, TextRows};
use pha_host::user::User;
use serde::{Deserialize, Serialize};

use crate::app::Session;
use crate::error::ClsError;
use crate::site;

/// The most of the time that the way there and back may take.
const WAY: Duration = Duration::from_millis(200);

/// What the other node is given, on its standard input: a password may be in it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The agent's parameters that say how its server is reached.
    parameters: BTreeMap<String, String>,
    /// The statement, without data in it.
    sql: String,
    /// How long it may take, in milliseconds.
    limit: u64,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("sql", &self.sql).finish()
    }
}

impl Request {
    /// A request to the server that these parameters describe, still without a statement.
    pub(crate) fn new(params: &Params) -> Self {
        let port = params.pgport.to_string();
        let password = params.monitor_password.as_ref();
        let given = [
            ("pgdata", Some(params.pgdata.as_str())),
            ("pgdba", Some(params.pgdba.as_str())),
            ("pgdb", Some(params.pgdb.as_str())),
            ("pghost", params.pghost.as_deref()),
            ("pgport", Some(port.as_str())),
            ("socketdir", params.socketdir.as_deref()),
            ("monitor_user", params.monitor_user.as_deref()),
            (
                "monitor_password",
                password.map(|password| password.expose()),
            ),
        ];
        let parameters = given
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        Self {
            parameters,
            sql: String::new(),
            limit: 0,
        }
    }

    /// The same as the account that the server runs as.
    pub(crate) fn by_pgdba(mut self) -> Self {
        self.parameters
            .retain(|name, _| name != "monitor_user" && name != "monitor_password");
        self
    }

    /// Asks this node's own server.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) fn here(&self, sql: &str, deadline: Deadline) -> Result<TextRows, Refusal> {
        let limit = u64::try_from(deadline.left().as_millis()).unwrap_or(u64::MAX);
        answer(&Self {
            sql: sql.to_owned(),
            limit,
            ..self.clone()
        })
    }

    /// Sends it to that node with this statement.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) fn ask(
        &self,
        node: &NodeName,
        sql: &str,
        deadline: Deadline,
    ) -> Result<TextRows, Refusal> {
        let left = deadline.left().saturating_sub(WAY);
        let request = Self {
            sql: sql.to_owned(),
            limit: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            ..self.clone()
        };
        let input = serde_json::to_vec(&request).map_err(|error| Hindrance::of(&error))?;
        site::ask_there::<Result<TextRows, Refusal>>(node, &["rows"], &input, deadline)?
    }
}

/// Why a server has given no rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// What is in the way.
    pub(crate) hindrance: Hindrance,
    /// The server is there and has no connection left.
    pub(crate) full: bool,
}

impl From<Hindrance> for Refusal {
    fn from(hindrance: Hindrance) -> Self {
        Self {
            hindrance,
            full: false,
        }
    }
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        Self {
            hindrance: Hindrance::of(&error),
            full: error.is_too_many_connections(),
        }
    }
}

impl From<PostgresError> for Refusal {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::Sql(error) => error.into(),
            other => Hindrance::of(&other).into(),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.hindrance.fmt(f)
    }
}

/// The other side: the rows of the statement, or why there are none, as JSON.
///
/// # Errors
/// What was given is no request.
pub(super) fn run(session: &Session, text: &str) -> Result<(), ClsError> {
    // The parser's message could quote the text, which may have a password in it.
    let request: Request = serde_json::from_str(text).map_err(|_| {
        ClsError::failed(
            "standard input: not the JSON that cls sends",
            site::layout().same_version(),
        )
    })?;
    session.ui.print_json(&answer(&request));
    Ok(())
}

fn answer(request: &Request) -> Result<TextRows, Refusal> {
    let given = request.parameters.iter();
    let given = given.map(|(name, value)| (name.as_str(), value.as_str()));
    let (params, _, _) = Params::parse_leniently(given);
    let user = User::lookup(&params.pgdba).map_err(|error| error.hindrance())?;
    let deadline = Deadline::after(Duration::from_millis(request.limit));
    let postgres = local::postgres(&params, &user, "cls");
    let mut session = postgres.connect(deadline)?;
    Ok(session.simple(&request.sql, deadline)?)
}
