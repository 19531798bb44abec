//! The lock as the specification has it: owner and lease, nothing else. It works on the
//! specification's bare table, and on a migrated one leaves term, epoch and holders alone.

use std::time::Duration;

use pha_core::register::Trouble;
use tokio_postgres::types::Type;

use super::name::LockName;
use super::session::{connect, trouble};
use crate::clock::Deadline;
use crate::conninfo::Conninfo;
use crate::sql::{Session, SqlError};

/// The answer of the mutex.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MutexAnswer {
    /// It is held (or was released) for the owner that asked.
    Yes,
    /// Another owner holds it.
    No,
    /// Nothing is known; the request may have taken effect.
    Unknown(Trouble),
}

/// How often `lock` looks whether the lock is free. A row cannot be waited for without keeping it
/// locked, which would keep its owner from renewing.
const POLL: Duration = Duration::from_millis(250);

fn answer(outcome: Result<bool, SqlError>, lock: &LockName) -> MutexAnswer {
    match outcome {
        Ok(true) => MutexAnswer::Yes,
        Ok(false) => MutexAnswer::No,
        Err(error) => MutexAnswer::Unknown(trouble(&error, lock)),
    }
}

/// A session for a table that an older tool may have made, whose trigger names its history without a
/// schema. What PostgreSQL itself has comes first; the statements here need no conversion of a value
/// for which an operator of that schema could be nearer.
fn session(info: &Conninfo, lock: &LockName, deadline: Deadline) -> Result<Session, SqlError> {
    let mut session = connect(info, deadline)?;
    let path = format!("pg_catalog, \"{}\"", lock.table.home());
    session
        .query_typed(
            "select pg_catalog.set_config('search_path', $1, false)",
            &[(&path, Type::TEXT)],
            deadline,
        )
        .map_err(SqlError::before_the_statement)?;
    Ok(session)
}

fn take(
    session: &mut Session,
    lock: &LockName,
    owner: &str,
    ttl: Duration,
    deadline: Deadline,
) -> Result<bool, SqlError> {
    let table = lock.table.quoted();
    let seconds = ttl.as_secs_f64();
    let sql = format!(
        "insert into {table} as l (lockname, owner, ts, expired_time) \
         values ($1, $2, pg_catalog.clock_timestamp(), pg_catalog.make_interval(secs => $3)) \
         on conflict (lockname) do update \
         set owner = excluded.owner, ts = pg_catalog.clock_timestamp(), expired_time = excluded.expired_time \
         where l.owner in ('', excluded.owner) or l.ts + l.expired_time <= pg_catalog.clock_timestamp() \
         returning 1"
    );
    let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] = &[
        (&lock.name, Type::TEXT),
        (&owner, Type::TEXT),
        (&seconds, Type::FLOAT8),
    ];
    let rows = session.query_typed(&sql, params, deadline)?;
    Ok(!rows.is_empty())
}

/// Takes or renews the lock for `ttl`, if it is free, expired, or this owner's.
pub fn trylock(
    info: &Conninfo,
    lock: &LockName,
    owner: &str,
    ttl: Duration,
    deadline: Deadline,
) -> MutexAnswer {
    let outcome = session(info, lock, deadline)
        .and_then(|mut session| take(&mut session, lock, owner, ttl, deadline));
    answer(outcome, lock)
}

/// As [`trylock`], waiting until the deadline for the lock to become free.
pub fn lock(
    info: &Conninfo,
    lock: &LockName,
    owner: &str,
    ttl: Duration,
    deadline: Deadline,
) -> MutexAnswer {
    let mut session = match session(info, lock, deadline) {
        Ok(session) => session,
        Err(error) => return answer(Err(error), lock),
    };
    loop {
        match take(&mut session, lock, owner, ttl, deadline) {
            Ok(false) if deadline.left() > POLL => std::thread::sleep(POLL),
            outcome => return answer(outcome, lock),
        }
    }
}

/// Ends the lease if it is this owner's; the owner stays written, as the last one who had it.
pub fn unlock(info: &Conninfo, lock: &LockName, owner: &str, deadline: Deadline) -> MutexAnswer {
    let outcome = session(info, lock, deadline).and_then(|mut session| {
        let sql = format!(
            "update {} set ts = pg_catalog.clock_timestamp(), expired_time = interval '0' \
             where lockname = $1 and owner = $2 returning 1",
            lock.table.quoted()
        );
        let rows = session.query_typed(
            &sql,
            &[(&lock.name, Type::TEXT), (&owner, Type::TEXT)],
            deadline,
        )?;
        Ok(!rows.is_empty())
    });
    answer(outcome, lock)
}
