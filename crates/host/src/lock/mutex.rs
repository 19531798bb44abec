//! The lock as the specification has it: owner and lease, nothing else. It works on the
//! specification's bare table, and on a migrated one leaves term, epoch and holders alone.

use std::time::Duration;

use pha_core::register::Trouble;
use tokio_postgres::types::Type;

use super::{LockName, connect, trouble};
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

fn take(
    session: &mut Session,
    lock: &LockName,
    owner: &str,
    ttl: Duration,
    deadline: Deadline,
) -> Result<bool, SqlError> {
    let table = lock.table.quoted();
    let micros = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
    let sql = format!(
        "insert into {table} as l (lockname, owner, ts, expired_time) \
         values ($1, $2, clock_timestamp(), $3 * interval '1 microsecond') \
         on conflict (lockname) do update \
         set owner = excluded.owner, ts = clock_timestamp(), expired_time = excluded.expired_time \
         where l.owner in ('', excluded.owner) or l.ts + l.expired_time <= clock_timestamp() \
         returning 1"
    );
    let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] = &[
        (&lock.name, Type::TEXT),
        (&owner, Type::TEXT),
        (&micros, Type::INT8),
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
    let outcome = connect(info, deadline)
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
    let mut session = match connect(info, deadline) {
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
    let outcome = connect(info, deadline).and_then(|mut session| {
        let sql = format!(
            "update {} set ts = clock_timestamp(), expired_time = interval '0' \
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
