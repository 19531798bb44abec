//! The roles of a cluster in a new database (`cls_init`).

use std::fmt::Write as _;

use pha_core::doctor::replication_role_statements;
use pha_core::params::Params;
use tokio_postgres::types::Type;

use super::error::PostgresError;
use super::{Postgres, replication_role};
use crate::clock::Deadline;
use crate::conninfo::Secret;
use crate::sql::{Session, SqlError};

/// Whether a role is there.
const KNOWN: &str = "select from pg_catalog.pg_roles where rolname = $1";

/// A statement made by the server of a name and a text, quoted as it reads them.
const CREATE: &str = "select pg_catalog.format('CREATE ROLE %I LOGIN', $1, $2)";
const PASSWORD: &str = "select pg_catalog.format('ALTER ROLE %I PASSWORD %L', $1, $2)";
const MONITOR: &str = "select pg_catalog.format('GRANT pg_monitor TO %I', $1, $2)";

/// The random bytes of a password.
const RANDOM: usize = 24;

/// A password that nobody can guess, of characters that need no quotes anywhere.
///
/// # Errors
/// The system has no random numbers.
pub fn new_password() -> std::io::Result<Secret> {
    let mut bytes = [0; RANDOM];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if got != RANDOM {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let text = bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok(Secret::new(text))
}

/// Why the roles were not made.
#[derive(Debug, thiserror::Error)]
pub enum RolesError {
    /// The server.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The role is there with a password that nobody has told.
    #[error(
        "the role {0} is there already, with a password that neither config.ini nor a passfile has"
    )]
    Known(String),
}

impl From<SqlError> for RolesError {
    fn from(error: SqlError) -> Self {
        Self::Postgres(error.into())
    }
}

/// Makes a role that may log in, with a password; whether it was not there yet. One that is there keeps its
/// password. The password leaves this program as what the server stores of it, so that no log has it.
pub(crate) fn ensure_login(
    session: &mut Session,
    role: &str,
    password: Option<&Secret>,
    deadline: Deadline,
) -> Result<bool, SqlError> {
    if is_known(session, role, deadline)? {
        return Ok(false);
    }
    made(session, CREATE, role, "", deadline)?;
    set_password(session, role, password, deadline)?;
    Ok(true)
}

pub(crate) fn is_known(
    session: &mut Session,
    role: &str,
    deadline: Deadline,
) -> Result<bool, SqlError> {
    let rows = session.query_typed(KNOWN, &[(&role, Type::TEXT)], deadline)?;
    Ok(!rows.is_empty())
}

fn set_password(
    session: &mut Session,
    role: &str,
    password: Option<&Secret>,
    deadline: Deadline,
) -> Result<(), SqlError> {
    let Some(password) = password else {
        return Ok(());
    };
    let stored = postgres_protocol::password::scram_sha_256(password.expose().as_bytes());
    made(session, PASSWORD, role, &stored, deadline)
}

/// Runs the statement that the server makes.
fn made(
    session: &mut Session,
    statement: &str,
    role: &str,
    text: &str,
    deadline: Deadline,
) -> Result<(), SqlError> {
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&role, Type::TEXT), (&text, Type::TEXT)];
    let rows = session.query_typed(statement, &params, deadline)?;
    for row in rows {
        let sql: String = row.try_get(0).unwrap_or_default();
        session.simple(&sql, deadline)?;
    }
    Ok(())
}

impl Postgres {
    /// Makes the roles that the parameters name, without superuser, and gives them the rights that they
    /// lack. New ones get the password that the account's passfile has for them. All or nothing; repeatable.
    ///
    /// # Errors
    /// [`RolesError`]; `generated` are the roles of which the passfile's password is new, so that one of
    /// them that is there already has another.
    pub fn ensure_roles(
        &self,
        params: &Params,
        generated: &[String],
        deadline: Deadline,
    ) -> Result<(), RolesError> {
        let mut session = self.connect(deadline)?;
        session.simple("begin", deadline)?;
        let password = |role: &str| {
            let mut info = self.info.clone().with_user(role);
            info.password = None;
            let server = info.servers.first()?;
            info.password_from(self.user.files(), server)
        };
        let roles = [Some(&params.repuser), params.monitor_user.as_ref()];
        for role in roles.into_iter().flatten() {
            if generated.contains(role) && is_known(&mut session, role, deadline)? {
                return Err(RolesError::Known(role.clone()));
            }
        }
        let facts = replication_role(&mut session, &params.repuser, deadline)?;
        for statement in replication_role_statements(&facts, params) {
            session.simple(&statement, deadline)?;
        }
        if facts.rights.is_none() {
            let password = password(&params.repuser);
            set_password(&mut session, &params.repuser, password.as_ref(), deadline)?;
        }
        if let Some(user) = &params.monitor_user
            && ensure_login(&mut session, user, password(user).as_ref(), deadline)?
        {
            made(&mut session, MONITOR, user, "", deadline)?;
        }
        session.simple("commit", deadline)?;
        Ok(())
    }
}
