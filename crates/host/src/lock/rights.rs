//! The least rights with which a cluster can keep its row (S11): one role per cluster, its own row
//! and its own history only, no ownership.
//!
//! The row is guarded by row security, whose policies name the locks of a role. The trigger that
//! writes the history runs with the rights of the table's owner, so that nobody else needs any on it.
//! Row security is switched on once every role that has rights on the table has a policy: one without
//! would find no row any more, and its cluster would be without a register.

use std::collections::BTreeSet;
use std::time::Duration;

use pha_core::lineage::{Lineage, TimelineName};
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::register::{Register, Trouble, Update};
use pha_core::timeline::TimelineId;
use tokio_postgres::types::Type;

use super::name::LockName;
use super::session::{connect, trouble};
use super::statements::{self, Statement, insert_row, mark};
use crate::clock::Deadline;
use crate::conninfo::{Conninfo, Secret};
use crate::postgres::prepare;
use crate::sql::{Session, SqlError};

/// A role of the lock service, which gets the rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleName(String);

/// A text that is no role's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "role name {} is not usable: 1 to 63 bytes without control characters are expected",
    pha_core::quoted::quoted(.0)
)]
pub struct RoleNameError(String);

impl std::str::FromStr for RoleName {
    type Err = RoleNameError;

    fn from_str(text: &str) -> Result<Self, RoleNameError> {
        // PostgreSQL cuts longer names, so that two of them could be one.
        let usable = (1..=63).contains(&text.len()) && !text.chars().any(char::is_control);
        let reserved = ["public", "none"].contains(&text.to_lowercase().as_str());
        if usable && !reserved {
            Ok(Self(text.to_owned()))
        } else {
            Err(RoleNameError(text.to_owned()))
        }
    }
}

impl std::fmt::Display for RoleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl RoleName {
    fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// Whether the lock service has the role.
///
/// # Errors
/// [`Trouble`].
pub fn has_role(
    info: &Conninfo,
    lock: &LockName,
    role: &RoleName,
    deadline: Deadline,
) -> Result<bool, Trouble> {
    connect(info, deadline)
        .and_then(|mut session| prepare::is_known(&mut session, &role.0, deadline))
        .map_err(|error| trouble(&error, lock))
}

/// Makes a role that may log in and nothing else, with a password; whether it was not there yet. One that is
/// there keeps its password.
///
/// # Errors
/// [`Trouble`]; nothing was changed then, unless the reply to the commit itself was lost.
pub fn ensure_role(
    info: &Conninfo,
    lock: &LockName,
    role: &RoleName,
    password: Option<&Secret>,
    deadline: Deadline,
) -> Result<bool, Trouble> {
    let run = || -> Result<bool, SqlError> {
        let mut session = connect(info, deadline)?;
        session.simple("begin", deadline)?;
        let made = prepare::ensure_login(&mut session, &role.0, password, deadline)?;
        session.simple("commit", deadline)?;
        Ok(made)
    };
    run().map_err(|error| trouble(&error, lock))
}

/// A text as SQL takes it; standard_conforming_strings is on in every session of ours.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The row on which `cls_doctor` tries what the role may: beside the living one, under the same policy.
#[must_use]
pub(super) fn scratch(lock: &LockName) -> LockName {
    LockName {
        table: lock.table.clone(),
        name: format!("{}#doctor", lock.name),
    }
}

/// What gives the role its rights. Repeatable. The name of a policy is made of the role and the lock,
/// so that a role may have several.
pub(super) fn grants(lock: &LockName, role: &RoleName) -> String {
    let history = lock.table.suffixed("_history").quoted();
    let (table, to) = (lock.table.quoted(), role.quoted());
    let policy = format!(
        "\"pha4pgsql_{:016x}\"",
        mark(&format!("{to} {}", lock.name))
    );
    let usage = lock.table.schema().map_or_else(String::new, |schema| {
        format!("grant usage on schema \"{schema}\" to {to};\n")
    });
    let rows = format!(
        "lockname in ({}, {})",
        literal(&lock.name),
        literal(&scratch(lock).name)
    );
    format!(
        "{usage}\
         grant select, insert, update on {table} to {to};\n\
         grant select on {history} to {to};\n\
         drop policy if exists {policy} on {table};\n\
         create policy {policy} on {table} to {to}\n  using ({rows}) with check ({rows});\n\
         drop policy if exists {policy} on {history};\n\
         create policy {policy} on {history} for select to {to}\n  using ({rows});\n"
    )
}

/// What makes the policies hold.
pub(super) fn enforce(lock: &LockName) -> String {
    format!(
        "alter table {} enable row level security;\nalter table {} enable row level security;\n",
        lock.table.quoted(),
        lock.table.suffixed("_history").quoted()
    )
}

/// The roles with rights on the table that have no policy of their own, but for its owner, superusers
/// and roles that row security does not bind.
const WITHOUT_POLICY: &str = "\
select distinct case when a.grantee = 0 then 'PUBLIC' else g.rolname::text end \
from pg_catalog.pg_class c \
cross join lateral pg_catalog.aclexplode(c.relacl) a \
left join pg_catalog.pg_roles g on g.oid = a.grantee \
where c.oid = pg_catalog.to_regclass($1) and a.grantee <> c.relowner \
  and not coalesce(g.rolsuper or g.rolbypassrls, false) \
  and not exists (select from pg_catalog.pg_policy p where p.polrelid = c.oid and a.grantee = any(p.polroles)) \
order by 1";

/// The roles that would find no row any more once row security is on.
pub(super) fn without_policy(
    session: &mut Session,
    lock: &LockName,
    deadline: Deadline,
) -> Result<Vec<String>, SqlError> {
    let table = lock.table.quoted();
    let rows = session.query_typed(WITHOUT_POLICY, &[(&table, Type::TEXT)], deadline)?;
    Ok(rows.iter().filter_map(|row| row.try_get(0).ok()).collect())
}

/// What the role of a connection is to the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The role is a superuser.
    pub superuser: bool,
    /// The owner of the table, where it is neither a superuser nor the role itself. Its triggers run in
    /// the sessions of whoever changes the row.
    pub owner: Option<String>,
    /// The role can see and change no row but its own: row security is on and binds it.
    pub own_row_only: bool,
}

const STANDING: &str = "\
select r.rolsuper, case when o.rolsuper or o.oid = r.oid then null else o.rolname::text end, \
       c.relrowsecurity and not (r.rolsuper or r.rolbypassrls) \
         and (c.relforcerowsecurity or not pg_catalog.pg_has_role(r.oid, o.oid, 'usage')) \
from pg_catalog.pg_class c join pg_catalog.pg_roles o on o.oid = c.relowner, pg_catalog.pg_roles r \
where c.oid = pg_catalog.to_regclass($1) and r.rolname = current_user";

/// Reads what the session's role is to the table; none where there is no table.
pub(super) fn standing(
    session: &mut Session,
    lock: &LockName,
    deadline: Deadline,
) -> Result<Option<Standing>, SqlError> {
    let table = lock.table.quoted();
    let rows = session.query_typed(STANDING, &[(&table, Type::TEXT)], deadline)?;
    Ok(rows.first().map(|row| Standing {
        superuser: row.try_get(0).unwrap_or(false),
        owner: row.try_get(1).ok().flatten(),
        own_row_only: row.try_get(2).unwrap_or(false),
    }))
}

/// How long the trial may wait for a lock that somebody else keeps.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '2s'";

/// Tries every change of the protocol with the connection's rights, the history's trigger included, on
/// a row beside the living one, in one transaction that is rolled back. As a superuser nothing is tried on
/// somebody else's table, whose triggers would have that right too.
///
/// # Errors
/// [`Trouble`], which names the change that the role may not make; nothing was changed.
pub fn try_changes(
    info: &Conninfo,
    lock: &LockName,
    deadline: Deadline,
) -> Result<Standing, Trouble> {
    let scratch = scratch(lock);
    let failed = |what: &str, error: &SqlError| match trouble(error, lock) {
        Trouble::Answered(text) => Trouble::Answered(format!("{what}: {text}")),
        other => other,
    };
    let mut session = connect(info, deadline).map_err(|error| failed("connecting", &error))?;
    let standing = standing(&mut session, lock, deadline)
        .map_err(|error| failed("looking at the table", &error))?
        .unwrap_or_default();
    if standing.superuser && standing.owner.is_some() {
        return Ok(standing);
    }
    let begin = format!("begin; {LOCK_TIMEOUT}");
    session
        .simple(&begin, deadline)
        .map_err(|error| failed("beginning a transaction", &error))?;
    let insert = insert_row(&scratch);
    session
        .query_typed(&insert, &[(&scratch.name, Type::TEXT)], deadline)
        .map_err(|error| failed("making a row", &error))?;
    for (what, update) in changes() {
        let statement = statements::update(&scratch, &update, None);
        let changed =
            send(&mut session, &statement, deadline).map_err(|error| failed(what, &error))?;
        if !changed {
            return Err(Trouble::Answered(format!(
                "{what}: no row was changed; the role does not see its own row {lock}, see `distlock <conninfo> init --role <role> {lock}`"
            )));
        }
    }
    // The transaction ends with the session as well.
    session
        .simple("rollback", deadline)
        .map_err(|error| failed("rolling back", &error))?;
    Ok(standing)
}

fn send(
    session: &mut Session,
    statement: &Statement,
    deadline: Deadline,
) -> Result<bool, SqlError> {
    let rows = session.query_typed(&statement.sql, &statement.params(), deadline)?;
    Ok(!rows.is_empty())
}

/// Every kind of change, in an order in which each finds its condition met.
fn changes() -> Vec<(&'static str, Update)> {
    let name = |text: &str| NodeName::new(text.to_owned()).ok();
    let (Some(one), Some(two)) = (name("one"), name("two")) else {
        return Vec::new();
    };
    let ttl = Duration::from_secs(3);
    let both = BTreeSet::from([one.clone(), two.clone()]);
    let at = |owner: &NodeName, term, epoch, holders: &BTreeSet<NodeName>| Register {
        owner: Some(owner.clone()),
        term,
        epoch,
        holders: holders.clone(),
        ..Register::fresh()
    };
    let alone = BTreeSet::from([one.clone()]);
    vec![
        (
            "registering the first primary",
            Update::FirstPrimary {
                node: one.clone(),
                ttl,
            },
        ),
        (
            "renewing the lease",
            Update::Renew {
                node: one.clone(),
                term: 1,
                positions: [(one.clone(), Lsn::new(1))].into(),
                ttl,
            },
        ),
        (
            "naming a timeline",
            Update::NameTimelines {
                node: one.clone(),
                term: 1,
                lineage: Lineage::new(vec![TimelineName {
                    term: 1,
                    number: TimelineId::FIRST,
                    fork: Lsn::INVALID,
                }]),
            },
        ),
        (
            "registering a standby",
            Update::set_holders(&at(&one, 1, 1, &alone), one.clone(), both.clone(), ttl),
        ),
        ("leaving the holders", Update::Leave { node: two.clone() }),
        (
            "handing over",
            Update::HandOver {
                node: one.clone(),
                term: 1,
                from_epoch: 2,
                successor: two.clone(),
                position: Lsn::new(2),
            },
        ),
        (
            "giving the lease back",
            Update::Release {
                node: one.clone(),
                term: 1,
            },
        ),
        (
            "promoting a node",
            Update::promote(&at(&one, 1, 3, &both), two.clone(), ttl),
        ),
        (
            "giving the right back",
            Update::GiveBack {
                node: two,
                term: 2,
                from_epoch: 4,
            },
        ),
        (
            "an operator's decision",
            Update::Override {
                by: "cls_doctor".to_owned(),
                from_term: 3,
                from_epoch: 5,
                above_term: 0,
                above_epoch: 0,
                lineage: None,
                above_number: 0,
                owner: None,
                holders: alone,
            },
        ),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Each change of the trial meets its condition, by what the core says that it means.
    #[test]
    fn the_trial_makes_every_change() {
        let mut row = Register::fresh();
        let mut kinds = BTreeSet::new();
        for (what, update) in changes() {
            row = update.apply(&row).unwrap_or_else(|| panic!("{what}"));
            kinds.insert(update.reason().split(" by ").next().unwrap().to_owned());
        }
        assert_eq!(kinds.len(), 10, "{kinds:?}");
    }

    #[test]
    fn names_of_roles_are_quoted() {
        let role: RoleName = "a\"b'; drop".parse().unwrap();
        assert_eq!(role.quoted(), "\"a\"\"b'; drop\"");
        for text in ["", "public", "PUBLIC", "a\nb", &"x".repeat(64)] {
            assert!(text.parse::<RoleName>().is_err(), "{text}");
        }
    }
}
