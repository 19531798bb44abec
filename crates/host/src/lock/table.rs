//! Making, migrating and showing the tables of the lock service.

use pha_core::history::{NOTE, Operator};
use pha_core::register::{Remake, Trouble};
use serde_json::{Map, Value};
use tokio_postgres::types::{ToSql, Type};

use super::name::LockName;
use super::rights::{self, RoleName};
use super::session::{connect, is_not_made, trouble};
use super::statements::{self, insert_row, mark};
use crate::clock::Deadline;
use crate::conninfo::Conninfo;
use crate::sql::{Identifier, Session, SqlError};

/// What `init` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The row was made.
    RowMade,
    /// There was a row, which was left as it is.
    RowKept,
    /// There was a row whose `expired_time` was negative, as old ones of the bare lock can be: it is 0
    /// now. Both mean that the lock was given back.
    RowMended,
}

/// Creates or migrates the tables and makes the row if there is none. One transaction; repeatable;
/// two at once wait for each other; a row that exists keeps its owner, term and holders.
///
/// # Errors
/// [`Trouble`]; nothing was changed then, unless the reply to the commit itself was lost.
pub fn init(info: &Conninfo, lock: &LockName, deadline: Deadline) -> Result<Change, Trouble> {
    let run = || -> Result<Change, SqlError> {
        let mut session = connect(info, deadline)?;
        session.simple("begin", deadline)?;
        // Two creations of one table at once would otherwise collide in the catalogue (23505).
        session.query_typed(
            "select pg_advisory_xact_lock(hashtext('pha4pgsql'), hashtext($1))",
            &[(&lock.table.to_string(), Type::TEXT)],
            deadline,
        )?;
        session.simple("set local client_min_messages = warning", deadline)?;
        migrate(&mut session, lock, deadline)?;
        let change = make_row(&mut session, lock, deadline)?;
        session.simple("commit", deadline)?;
        Ok(change)
    };
    refuse_foreign_owner(info, lock, deadline)?;
    run().map_err(|error| trouble(&error, lock))
}

/// What [`grant`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The roles that have rights on the table and no row of their own yet. Row security stays off
    /// until they have, since they would find no row any more.
    pub missing: Vec<String>,
}

/// Gives a role the least rights with which a cluster can keep its row (S11). As the table's owner;
/// repeatable; after [`init`].
///
/// # Errors
/// [`Trouble`]; nothing was changed then, unless the reply to the commit itself was lost.
pub fn grant(
    info: &Conninfo,
    lock: &LockName,
    role: &RoleName,
    deadline: Deadline,
) -> Result<Granted, Trouble> {
    let run = || -> Result<Granted, SqlError> {
        let mut session = connect(info, deadline)?;
        session.simple("begin", deadline)?;
        session.simple("set local client_min_messages = warning", deadline)?;
        session.simple(&rights::grants(lock, role), deadline)?;
        let missing = rights::without_policy(&mut session, lock, deadline)?;
        if missing.is_empty() {
            session.simple(&rights::enforce(lock), deadline)?;
        }
        session.simple("commit", deadline)?;
        Ok(Granted { missing })
    };
    run().map_err(|error| trouble(&error, lock))
}

/// Everything that [`init`] and [`grant`] would do, as a script for psql.
#[must_use]
pub fn script(lock: &LockName, role: Option<&RoleName>) -> String {
    let row = insert_row(lock).replace("$1", &rights::literal(&lock.name));
    let row = row.trim_end_matches(" returning 1");
    let mended = mend_row(lock).replace("$1", &rights::literal(&lock.name));
    let mended = mended.trim_end_matches(" returning 1");
    let rights = role.map_or_else(String::new, |role| {
        format!(
            "\n-- The rights of the cluster's role: its own row and its history.\n{}\n\
             -- Every other role with rights on the table needs a policy before this, or finds no row any more.\n{}",
            rights::grants(lock, role),
            rights::enforce(lock)
        )
    });
    format!(
        "begin;\n{};\n{row};\n{mended};\n{rights}commit;\n",
        schema(&lock.table)
    )
}

/// A superuser's session would run what an owner without that right has put onto the table.
fn refuse_foreign_owner(
    info: &Conninfo,
    lock: &LockName,
    deadline: Deadline,
) -> Result<(), Trouble> {
    let standing = connect(info, deadline)
        .and_then(|mut session| rights::standing(&mut session, lock, deadline))
        .map_err(|error| trouble(&error, lock))?;
    match standing {
        Some(rights::Standing {
            superuser: true,
            owner: Some(owner),
            ..
        }) => Err(Trouble::Answered(format!(
            "the table {} belongs to {owner}, whose triggers would run with a superuser's rights here; connect as {owner}, or ALTER TABLE {} OWNER TO a superuser after having looked at its triggers",
            lock.table, lock.table
        ))),
        _ => Ok(()),
    }
}

/// Brings the tables up to date. Where they are, nothing is asked for that only their owner may do. The mark that
/// says so lies on the function of their history, which stays when somebody drops the tables alone.
fn migrate(session: &mut Session, lock: &LockName, deadline: Deadline) -> Result<(), SqlError> {
    let schema = schema(&lock.table);
    let function = function(&lock.table);
    let rows = session.query_typed(
        "select obj_description(to_regprocedure($1), 'pg_proc') \
         where to_regclass($2) is not null and to_regclass($3) is not null",
        &[
            (&format!("{function}()"), Type::TEXT),
            (&lock.table.quoted(), Type::TEXT),
            (&lock.table.suffixed("_history").quoted(), Type::TEXT),
        ],
        deadline,
    )?;
    let known: Option<String> = rows.first().and_then(|row| row.try_get(0).ok().flatten());
    let version = format!("pha4pgsql {:016x}", mark(&schema));
    if known.as_deref() == Some(version.as_str()) {
        return Ok(());
    }
    session.simple(&schema, deadline)?;
    let comment = format!("comment on function {function}() is '{version}'");
    session.simple(&comment, deadline)?;
    Ok(())
}

fn function(table: &Identifier) -> String {
    table.suffixed("_log_update").quoted()
}

/// Writes that the lock was given back as the agent does, where an old row `$1` says it by a negative time.
fn mend_row(lock: &LockName) -> String {
    format!(
        "update {} set expired_time = interval '0' \
         where lockname = $1 and expired_time < interval '0' returning 1",
        lock.table.quoted()
    )
}

/// Makes the row as new ([`Remake`]).
///
/// # Errors
/// [`Trouble`]; also where the row is left alone.
pub fn remake(
    info: &Conninfo,
    lock: &LockName,
    remake: &Remake,
    deadline: Deadline,
) -> Result<(), Trouble> {
    // Where the columns are there nothing is asked for that only the tables' owner may do: an emergency does not
    // wait for an upgrade of the history.
    let made =
        connect(info, deadline).and_then(|mut session| make_row(&mut session, lock, deadline));
    let current = || matches!(show(info, lock, deadline), Ok(Shown::Row(row)) if row.is_migrated());
    if made.is_err() || !current() {
        init(info, lock, deadline)?;
    }
    let run = || -> Result<bool, SqlError> {
        let statement = statements::remake(lock, remake);
        let mut session = connect(info, deadline)?;
        let rows = session.query_typed(&statement.sql, &statement.params(), deadline)?;
        Ok(!rows.is_empty())
    };
    match run().map_err(|error| trouble(&error, lock))? {
        true => Ok(()),
        false => Err(Trouble::Answered(remake.left_alone(&lock.to_string()))),
    }
}

fn make_row(
    session: &mut Session,
    lock: &LockName,
    deadline: Deadline,
) -> Result<Change, SqlError> {
    let rows = session.query_typed(&insert_row(lock), &[(&lock.name, Type::TEXT)], deadline)?;
    if !rows.is_empty() {
        return Ok(Change::RowMade);
    }
    let rows = session.query_typed(&mend_row(lock), &[(&lock.name, Type::TEXT)], deadline)?;
    Ok(match rows.is_empty() {
        true => Change::RowKept,
        false => Change::RowMended,
    })
}

/// The specification's tables, function and trigger, with what is added here. Columns are added
/// only where they are missing, and the trigger is replaced, so that an older one is brought up to date.
/// The trigger writes the history with its owner's rights, and names everything with its schema: whoever
/// changes the row needs no right on the history, and can put nothing in the way of its names.
///
/// An entry is the row after the change, with what the change found (`last_…`). Agents of an older version
/// know nothing of it and go on working. A history that cannot be shortened hinders no change. Servers before
/// PostgreSQL 11 know no `old` where a row is made.
fn schema(table: &Identifier) -> String {
    let history = table.suffixed("_history").quoted();
    let function = function(table);
    let trigger = format!("\"{}_log_update\"", table.name());
    let index = format!("\"{}_history_lock\"", table.name());
    let table = table.quoted();
    let old = OldEntries {
        table: "%1$I.%2$I",
        lock: "$1",
        keep: &KEPT.to_string(),
        age: &format!("interval '{KEPT_DAYS} days'"),
        most: "1000",
    };
    format!(
        "create table if not exists {table} (\
           lockname text primary key, owner text not null, ts timestamptz not null, \
           expired_time interval not null);\
         alter table {table} \
           add column if not exists term bigint not null default 0,\
           add column if not exists epoch bigint not null default 0,\
           add column if not exists holders text[] not null default '{{}}',\
           add column if not exists positions jsonb not null default '{{}}',\
           add column if not exists reason text not null default '',\
           add column if not exists system_identifier text,\
           add column if not exists timelines jsonb;\
         create table if not exists {history} (\
           id serial primary key, lockname text not null, owner text not null, \
           ts timestamptz not null, expired_time interval not null);\
         alter table {history} \
           add column if not exists term bigint,\
           add column if not exists epoch bigint,\
           add column if not exists holders text[],\
           add column if not exists reason text,\
           add column if not exists changed_at timestamptz,\
           add column if not exists last_ts timestamptz,\
           add column if not exists last_expired_time interval,\
           add column if not exists last_positions jsonb,\
           add column if not exists timeline jsonb;\
         create index if not exists {index} on {history} (lockname, id);\
         create or replace function {function}() returns trigger language plpgsql \
           security definer set search_path = pg_catalog, pg_temp as $log$\
         begin \
           if tg_op = 'INSERT' then \
             execute format('insert into %I.%I (lockname, owner, ts, expired_time, term, epoch, \
                     holders, reason, changed_at) \
                     values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())', \
                     tg_table_schema, tg_table_name || '_history') \
               using new.lockname, new.owner, new.ts, new.expired_time, new.term, new.epoch, \
                     new.holders, new.reason;\
           elsif new.owner is distinct from old.owner \
              or new.term is distinct from old.term or new.epoch is distinct from old.epoch \
              or new.holders is distinct from old.holders \
              or new.timelines is distinct from old.timelines \
              or (new.expired_time <= interval '0' and old.expired_time > interval '0') \
              or (new.reason is distinct from old.reason and new.reason like '{NOTE}%') then \
             execute format('insert into %I.%I (lockname, owner, ts, expired_time, term, epoch, \
                     holders, reason, changed_at, last_ts, last_expired_time, last_positions, timeline) \
                     values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp(), $9, $10, $11, $12)', \
                     tg_table_schema, tg_table_name || '_history') \
               using new.lockname, new.owner, new.ts, new.expired_time, new.term, new.epoch, \
                     new.holders, new.reason, old.ts, old.expired_time, old.positions, \
                     new.timelines -> 'lineage' -> -1;\
           else \
             return new;\
           end if;\
           begin \
             execute format($old${old}$old$, tg_table_schema, tg_table_name || '_history') \
               using new.lockname;\
           exception when others then \
             raise warning 'the history of % is not shortened: %', new.lockname, sqlerrm;\
           end;\
           return new;\
         end $log$;\
         drop trigger if exists {trigger} on {table};\
         create trigger {trigger} after insert or update on {table} \
           for each row execute procedure {function}()"
    )
}

/// The latest entries of each row that stay, however old they are.
pub const ALWAYS_KEPT: u32 = 100;

/// The most entries of each row that the trigger leaves.
pub const KEPT: u32 = 10_000;

/// For how many days the trigger keeps entries beyond [`ALWAYS_KEPT`].
pub const KEPT_DAYS: u32 = 730;

/// The statement that takes entries away which are too old or too many, a limited number at a time. It waits
/// for nobody: what another session has locked stays until the next time.
struct OldEntries<'s> {
    table: &'s str,
    lock: &'s str,
    keep: &'s str,
    age: &'s str,
    most: &'s str,
}

impl std::fmt::Display for OldEntries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            table,
            lock,
            keep,
            age,
            most,
        } = self;
        // The entry behind so many latest ones, and all before it.
        let beyond = |count: &dyn std::fmt::Display| {
            format!(
                "id <= (select id from {table} where lockname = {lock} order by id desc offset {count} limit 1)"
            )
        };
        write!(
            f,
            "delete from {table} where id in (select id from {table} where lockname = {lock} and {} \
             and ({} or coalesce(changed_at, ts) < clock_timestamp() - {age}) \
             order by id limit {most} for update skip locked)",
            beyond(&ALWAYS_KEPT),
            beyond(keep)
        )
    }
}

/// Takes away the row's entries that are older than so many days, and those beyond the latest `keep`; the
/// latest [`ALWAYS_KEPT`] stay. As the owner of the table. How many it were.
///
/// # Errors
/// [`Trouble`]; what was taken away until then is gone.
pub fn prune(
    info: &Conninfo,
    lock: &LockName,
    days: u32,
    keep: u32,
    deadline: Deadline,
) -> Result<u64, Trouble> {
    let history = lock.table.suffixed("_history").quoted();
    let sql = OldEntries {
        table: &history,
        lock: "$1",
        keep: "$2",
        age: "$3 * interval '1 day'",
        most: "10000",
    };
    let sql = format!("with old as ({sql} returning 1) select count(*) from old");
    let (days, keep) = (f64::from(days), i64::from(keep));
    let run = || -> Result<u64, SqlError> {
        let mut session = connect(info, deadline)?;
        let mut all = 0;
        loop {
            let params: [(&(dyn ToSql + Sync), Type); 3] = [
                (&lock.name, Type::TEXT),
                (&keep, Type::INT8),
                (&days, Type::FLOAT8),
            ];
            let rows = session.query_typed(&sql, &params, deadline)?;
            let count: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
            match count.and_then(|count| u64::try_from(count).ok()) {
                Some(count) if count > 0 => all += count,
                _ => return Ok(all),
            }
        }
    };
    run().map_err(|error| trouble(&error, lock))
}

/// Notes in the history that an operator's command begins. The row says nothing else than before.
///
/// # Errors
/// [`Trouble`].
pub fn note(
    info: &Conninfo,
    lock: &LockName,
    operator: &Operator,
    deadline: Deadline,
) -> Result<(), Trouble> {
    let sql = format!(
        "update {} set reason = $2 where lockname = $1",
        lock.table.quoted()
    );
    let run = || -> Result<(), SqlError> {
        let note = operator.note();
        let params: [(&(dyn ToSql + Sync), Type); 2] =
            [(&lock.name, Type::TEXT), (&note, Type::TEXT)];
        connect(info, deadline)?.query_typed(&sql, &params, deadline)?;
        Ok(())
    };
    run().map_err(|error| trouble(&error, lock))
}

/// The row as it stands, whatever its shape: of the specification's bare table, or migrated.
#[derive(Debug, Clone, PartialEq)]
pub struct Details {
    /// The columns as JSON; those that the table does not have are missing.
    pub columns: Map<String, Value>,
    /// How long ago the lease was renewed, in seconds.
    pub age: Option<f64>,
    /// How long the lease still runs, in seconds; negative when it has expired.
    pub left: Option<f64>,
    /// How long the lease is in all, in seconds.
    pub ttl: Option<f64>,
}

/// The columns that [`init`] adds to the specification's table; [`schema`] makes them.
const ADDED: [&str; 7] = [
    "term",
    "epoch",
    "holders",
    "positions",
    "reason",
    "system_identifier",
    "timelines",
];

impl Details {
    /// Whether the table has every column of this version, so that [`init`] has nothing to add.
    #[must_use]
    pub fn is_migrated(&self) -> bool {
        ADDED
            .iter()
            .all(|column| self.columns.contains_key(*column))
    }
}

/// What was found where the row should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// The row.
    Row(Details),
    /// The table without such a row.
    NoRow,
    /// No table, or an older one without the columns: what the service says, and how it is made.
    NoTable(Trouble),
}

/// Reads the row for a person or a script.
///
/// # Errors
/// [`Trouble`].
pub fn show(info: &Conninfo, lock: &LockName, deadline: Deadline) -> Result<Shown, Trouble> {
    let sql = format!(
        "select to_jsonb(l)::text, extract(epoch from clock_timestamp() - ts)::float8, \
         extract(epoch from ts + expired_time - clock_timestamp())::float8, \
         extract(epoch from expired_time)::float8 from {} l where lockname = $1",
        lock.table.quoted()
    );
    let rows = match query(info, lock, &sql, deadline) {
        Ok(rows) => rows,
        Err(error) if is_not_made(&error) => return Ok(Shown::NoTable(trouble(&error, lock))),
        Err(error) => return Err(trouble(&error, lock)),
    };
    let Some(row) = rows.first() else {
        return Ok(Shown::NoRow);
    };
    let get = |index: usize| row.try_get::<_, Option<f64>>(index).ok().flatten();
    Ok(Shown::Row(Details {
        columns: object(row.try_get(0).ok()),
        age: get(1),
        left: get(2),
        ttl: get(3),
    }))
}

/// One line of the history: the columns as JSON, with the times that [`pha_core::history::Entry::read`]
/// takes in seconds.
pub type History = Map<String, Value>;

/// Reads the latest `limit` changes, the oldest of them first.
///
/// # Errors
/// [`Trouble`].
pub fn history(
    info: &Conninfo,
    lock: &LockName,
    limit: u32,
    deadline: Deadline,
) -> Result<Vec<History>, Trouble> {
    // By their names in the JSON, since a table of an older version does not have all columns. What was set
    // to infinity by hand is in no JSON.
    let seconds =
        |time: &str| format!("case when isfinite({time}) then extract(epoch from {time}) end");
    let sql = format!(
        "select (e.entry || jsonb_build_object('at_seconds', {}, 'renewed_seconds', {}, \
         'lease_seconds', {}, 'last_lease_seconds', {}))::text \
         from {} h cross join lateral (select to_jsonb(h) as entry) e \
         where lockname = $1 order by id desc limit {limit}",
        seconds("coalesce((e.entry ->> 'changed_at')::timestamptz, ts)"),
        seconds("(e.entry ->> 'last_ts')::timestamptz"),
        seconds("expired_time"),
        seconds("(e.entry ->> 'last_expired_time')::interval"),
        lock.table.suffixed("_history").quoted()
    );
    let rows = query(info, lock, &sql, deadline).map_err(|error| trouble(&error, lock))?;
    Ok(rows
        .iter()
        .rev()
        .map(|row| object(row.try_get(0).ok()))
        .collect())
}

fn query(
    info: &Conninfo,
    lock: &LockName,
    sql: &str,
    deadline: Deadline,
) -> Result<Vec<tokio_postgres::Row>, SqlError> {
    connect(info, deadline)?.query_typed(sql, &[(&lock.name, Type::TEXT)], deadline)
}

fn object(text: Option<String>) -> Map<String, Value> {
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}
