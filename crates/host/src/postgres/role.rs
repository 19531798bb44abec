//! What the role that standbys connect as may do.

use pha_core::doctor::{REWIND_FUNCTIONS, RoleFacts, RoleRights};
use pha_core::parse::server_view::Unexpected;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::error::PostgresError;
use crate::clock::Deadline;
use crate::sql::Session;

/// Of the predefined roles those two lead to everything (PostgreSQL manual, "Predefined Roles"). A role
/// uses what its groups can do, and what theirs can; only the first of such a chain can be revoked.
const ASK: &str = "\
select pg_catalog.current_setting('server_version_num')::int4 / 10000, pg_catalog.pg_is_in_recovery(), \
       pg_catalog.current_database()::text, r.rolcanlogin, r.rolreplication, r.rolsuper, \
       array(select g.rolname::text from pg_catalog.pg_auth_members m \
             join pg_catalog.pg_roles g on g.oid = m.roleid \
             where m.member = r.oid and exists (select from pg_catalog.pg_roles p \
               where (p.rolsuper or p.rolname in ('pg_execute_server_program', 'pg_write_server_files')) \
                 and pg_catalog.pg_has_role(g.oid, p.oid, 'member')) \
             order by 1), \
       array(select f from pg_catalog.unnest($2) f \
             where pg_catalog.has_function_privilege(r.oid, pg_catalog.to_regprocedure(f), 'execute') \
                   is distinct from true), \
       pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'temporary') \
from (select) one left join pg_catalog.pg_roles r on r.rolname = $1";

/// Asks a server, in the session's database, what the role for replication may do. Nothing is written, so
/// that a standby can be asked as well.
///
/// # Errors
/// [`PostgresError`] when the server does not answer.
pub fn replication_role(
    session: &mut Session,
    role: &str,
    deadline: Deadline,
) -> Result<RoleFacts, PostgresError> {
    let functions = REWIND_FUNCTIONS.as_slice();
    let rows = session.query_typed(
        ASK,
        &[(&role, Type::TEXT), (&functions, Type::TEXT_ARRAY)],
        deadline,
    )?;
    let row = rows.first().ok_or_else(|| Unexpected {
        column: "pg_roles.rolname",
        text: String::new(),
    })?;
    let read = read(row).map_err(|error| Unexpected {
        column: "pg_roles",
        text: error.to_string(),
    });
    Ok(read?)
}

fn read(row: &Row) -> Result<RoleFacts, tokio_postgres::Error> {
    let major: i32 = row.try_get(0)?;
    let login: Option<bool> = row.try_get(3)?;
    let rights = match login {
        None => None,
        Some(login) => Some(RoleRights {
            login,
            replication: row.try_get(4)?,
            superuser: row.try_get(5)?,
            member_of: row.try_get(6)?,
            refused: row.try_get(7)?,
            temporary: row.try_get(8)?,
        }),
    };
    Ok(RoleFacts {
        major: u32::try_from(major).unwrap_or(0),
        standby: row.try_get(1)?,
        database: row.try_get(2)?,
        rights,
    })
}
