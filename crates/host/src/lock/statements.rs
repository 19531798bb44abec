//! The SQL of every read and change of the row.
//!
//! `Update::apply` in the core is what each of these means; a test against a real server proves
//! them equal. The table's name is a checked identifier; everything else is a parameter.

use std::collections::{BTreeMap, BTreeSet};

use pha_core::lineage::Lineage;
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::register::{MADE_AGAIN, RawRow, Remake, Update};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::name::LockName;
use crate::sql::Identifier;

/// The columns in the order in which [`columns`] takes them. The lease is measured by the server.
const COLUMNS: &str = "owner::text, term::bigint, epoch::bigint, holders::text[], positions::text, \
     extract(epoch from ts + expired_time - clock_timestamp())::float8, \
     extract(epoch from expired_time)::float8, \
     to_char(ts at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), system_identifier, \
     current_setting('transaction_read_only')::boolean, timelines::text";

/// Stands for the number of the parameter that holds the caller's system identifier.
const SYSTEM: &str = "$system";

/// R1: no other node's lease runs. `$3` is the node that asks.
const LEASE_FREE: &str = "(owner = '' or owner = $3 or ts + expired_time <= clock_timestamp())";

/// R5: the node that asks (`$3`) is the owner at its own term (`$4`).
const OWNER_AT_TERM: &str = "owner = $3 and term = $4 and term > 0";

const LEASE_ENDS: &str = "ts = clock_timestamp(), expired_time = interval '0'";

/// A statement and its parameters.
pub(super) struct Statement {
    pub(super) sql: String,
    values: Vec<(Box<dyn ToSql + Sync>, Type)>,
}

impl Statement {
    pub(super) fn params(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.values
            .iter()
            .map(|(value, kind)| (value.as_ref(), kind.clone()))
            .collect()
    }

    fn text(self, value: impl Into<String>) -> Self {
        self.with(value.into(), Type::TEXT)
    }

    fn count(self, value: u64) -> Self {
        // A number that no row can hold meets no condition.
        self.with(i64::try_from(value).unwrap_or(i64::MAX), Type::INT8)
    }

    fn names(self, names: &BTreeSet<NodeName>) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.with(names, Type::TEXT_ARRAY)
    }

    fn micros(self, time: std::time::Duration) -> Self {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.with(micros, Type::INT8)
    }

    /// Adds the caller's system identifier; NULL where it is not known.
    fn of_system(mut self, system: Option<&str>) -> Self {
        self = self.with(system.map(str::to_owned), Type::TEXT);
        self.sql = self.sql.replace(SYSTEM, &format!("${}", self.values.len()));
        self
    }

    fn with(mut self, value: impl ToSql + Sync + 'static, kind: Type) -> Self {
        self.values.push((Box::new(value), kind));
        self
    }
}

/// Reads the row; `$1` is the lock's name.
pub(super) fn read(table: &Identifier) -> String {
    format!(
        "select {COLUMNS} from {} where lockname = $1",
        table.quoted()
    )
}

/// `Register::lease_from_now`, and reads the row; `$1` is the lock's name.
pub(super) fn lease_from_now(table: &Identifier) -> String {
    format!(
        "update {} set ts = clock_timestamp() where lockname = $1 and ts > clock_timestamp() returning {COLUMNS}",
        table.quoted()
    )
}

/// A number that stands for a text (FNV-1a): the same in every build.
pub(super) fn mark(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Makes the row `$1` where there is none.
pub(super) fn insert_row(lock: &LockName) -> String {
    format!(
        "insert into {} (lockname, owner, ts, expired_time, reason) \
         values ($1, '', clock_timestamp(), interval '0', 'init') \
         on conflict (lockname) do nothing returning 1",
        lock.table.quoted()
    )
}

/// `Remake::apply`: whether it was made again is whether a row is returned.
pub(super) fn remake(lock: &LockName, remake: &Remake) -> Statement {
    let sql = format!(
        "update {} set reason = $2, owner = '', term = 0, epoch = 0, holders = '{{}}', positions = '{{}}', {LEASE_ENDS}, \
         system_identifier = null, timelines = null where lockname = $1 and (system_identifier is null \
         or system_identifier = {SYSTEM} or ts + expired_time <= clock_timestamp()) returning 1",
        lock.table.quoted()
    );
    Statement {
        sql,
        values: Vec::new(),
    }
    .text(lock.name.clone())
    .text(MADE_AGAIN)
    .of_system(remake.system.as_deref())
}

/// Reads the columns; one that cannot be read is an error.
pub(super) fn columns(row: &Row) -> Result<RawRow, tokio_postgres::Error> {
    Ok(RawRow {
        owner: row.try_get(0)?,
        term: row.try_get(1)?,
        epoch: row.try_get(2)?,
        holders: row.try_get(3)?,
        positions: row.try_get(4)?,
        lease_left: row.try_get(5)?,
        ttl: row.try_get(6)?,
        renewed: row.try_get(7)?,
        system: row.try_get(8)?,
        read_only: row.try_get(9)?,
        timelines: row.try_get(10)?,
    })
}

/// The conditional change, by a node whose data have this system identifier. `$1` is the lock's name,
/// `$2` the reason for the history, `$3` the node that asks (for an override, the new owner). The first
/// change after the row was made gives it to the database of the node that makes it.
pub(super) fn update(lock: &LockName, update: &Update, system: Option<&str>) -> Statement {
    let statement = |set: String, condition: String, who: &str| {
        Statement {
            sql: format!(
                "update {} set reason = $2, system_identifier = coalesce(system_identifier, {SYSTEM}), {set} \
                 where lockname = $1 and ({SYSTEM} is null or coalesce(system_identifier, {SYSTEM}) = {SYSTEM}) \
                 and {condition} returning {COLUMNS}",
                lock.table.quoted()
            ),
            values: Vec::new(),
        }
        .text(lock.name.clone())
        .text(update.reason())
        .text(who)
    };
    let statement = match update {
        Update::FirstPrimary { node, ttl } => statement(
            promoted("$4", NO_FORMER),
            format!("term = 0 and {LEASE_FREE}"),
            node.as_str(),
        )
        .micros(*ttl),
        Update::Promote {
            node,
            from_owner,
            from_term,
            from_epoch,
            bounded_loss,
            ttl,
        } => statement(
            promoted("$4", FORMER),
            format!(
                "term > 0 and owner = $5 and term = $6 and epoch = $7 and ($8 or $3 = any(holders)) and {LEASE_FREE}"
            ),
            node.as_str(),
        )
        .micros(*ttl)
        .text(from_owner.as_ref().map_or("", NodeName::as_str))
        .count(*from_term)
        .count(*from_epoch)
        .with(*bounded_loss, Type::BOOL),
        Update::Renew {
            node,
            term,
            positions,
            ttl,
        } => statement(
            format!("positions = {RECORDED}, {}", lease("$6")),
            OWNER_AT_TERM.to_owned(),
            node.as_str(),
        )
        .count(*term)
        .text(json(positions))
        .micros(*ttl),
        Update::SetHolders {
            node,
            term,
            from_epoch,
            from_holders,
            holders,
            ttl,
        } => statement(
            format!(
                "holders = $7, epoch = epoch + 1, timelines = timelines - 'former', positions = {}, {}",
                kept("positions", "$7"),
                lease("$8")
            ),
            format!(
                "{OWNER_AT_TERM} and epoch = $5 and holders @> $6 and holders <@ $6 and $3 = any($7)"
            ),
            node.as_str(),
        )
        .count(*term)
        .count(*from_epoch)
        .names(from_holders)
        .names(holders)
        .micros(*ttl),
        Update::NameTimelines {
            node,
            term,
            lineage,
        } => statement(
            format!(
                "positions = {}, {}",
                kept("positions", "holders"),
                timelines("$4", "$5", "$6::jsonb")
            ),
            OWNER_AT_TERM.to_owned(),
            node.as_str(),
        )
        .count(*term)
        .count(u64::from(
            lineage.last().map_or(0, |name| name.number.get()),
        ))
        .text(names(lineage)),
        Update::Release { node, term } => statement(
            format!("positions = {}, {LEASE_ENDS}", kept("positions", "holders")),
            OWNER_AT_TERM.to_owned(),
            node.as_str(),
        )
        .count(*term),
        Update::Leave { node } => statement(
            format!(
                "holders = array_remove(holders, $3), timelines = timelines #- array['former', 'nodes', $3], \
                 positions = {}",
                kept("positions", "array_remove(holders, $3)")
            ),
            format!(
                "owner <> $3 and case when $3 = any(holders) then exists (select from unnest(holders) h where h <> $3) \
                 else {FORMER_KNOWN} and timelines #> '{{former,nodes}}' ? $3 end"
            ),
            node.as_str(),
        ),
        Update::Override {
            from_term,
            from_epoch,
            above_term,
            above_epoch,
            owner,
            holders,
            lineage,
            above_number,
            ..
        } => statement(
            format!(
                "owner = $3, term = greatest(term, $7) + 1, epoch = greatest(epoch, $8) + 1, holders = $6, \
                 positions = '{{}}', {}, {LEASE_ENDS}",
                timelines(
                    "coalesce((timelines ->> 'term')::bigint, 0)",
                    "$10",
                    "coalesce($9::jsonb, timelines -> 'lineage', '[]')"
                )
            ),
            "term = $4 and epoch = $5 and cardinality($6) > 0".to_owned(),
            owner.as_ref().map_or("", NodeName::as_str),
        )
        .count(*from_term)
        .count(*from_epoch)
        .names(holders)
        .count(*above_term)
        .count(*above_epoch)
        .with(lineage.as_ref().map(names), Type::TEXT)
        .count(u64::from(*above_number)),
        Update::HandOver {
            node,
            term,
            from_epoch,
            successor,
            position,
        } => statement(
            format!(
                "holders = array[$3, $6], epoch = epoch + 1, timelines = timelines - 'former', \
                 positions = jsonb_build_object($3, $7, $6, $7), {LEASE_ENDS}"
            ),
            format!("{OWNER_AT_TERM} and epoch = $5"),
            node.as_str(),
        )
        .count(*term)
        .count(*from_epoch)
        .text(successor.as_str())
        .text(position.to_string()),
        Update::GiveBack {
            node,
            term,
            from_epoch,
        } => statement(
            format!(
                "owner = '', term = term + 1, epoch = epoch + 1, holders = {FORMER_HOLDERS}, positions = {FORMER_POSITIONS}, \
                 timelines = timelines - 'former', {LEASE_ENDS}"
            ),
            format!("{OWNER_AT_TERM} and epoch = $5 and {FORMER_KNOWN} and {FORMER_OF_OWNER}"),
            node.as_str(),
        )
        .count(*term)
        .count(*from_epoch),
    };
    statement.of_system(system)
}

/// R0, R1: the node that asks takes everything.
fn promoted(micros: &str, former: &str) -> String {
    format!(
        "owner = $3, term = term + 1, epoch = epoch + 1, holders = array[$3], positions = {}, {former}, {}",
        kept("positions", "array[$3]"),
        lease(micros)
    )
}

fn lease(micros: &str) -> String {
    format!("ts = clock_timestamp(), expired_time = {micros} * interval '1 microsecond'")
}

/// Positions of holders only.
fn kept(positions: &str, holders: &str) -> String {
    format!(
        "(select coalesce(jsonb_object_agg(p.key, p.value), '{{}}') from jsonb_each({positions}) p \
         where p.key = any({holders}))"
    )
}

/// R10: what was recorded and what was seen (`$5`), the higher of both, of holders only.
const RECORDED: &str = "(select coalesce(jsonb_object_agg(p.node, greatest(p.old, p.new)::text), '{}') \
     from (select coalesce(o.key, n.key) as node, o.value::pg_lsn as old, n.value::pg_lsn as new \
     from jsonb_each_text(positions) o full join jsonb_each_text($5::jsonb) n on o.key = n.key) p \
     where p.node = any(holders))";

/// R14: who holds everything as it is, for a node that is given the register (`$8`: without being one of them), and
/// of the owner what it might have given back before.
const FORMER: &str = "timelines = (timelines - 'former') || case \
     when $8 or jsonb_array_length(coalesce(timelines -> 'lineage', '[]')) = 0 then '{}' \
     when owner <> $3 then jsonb_build_object('former', jsonb_build_object('term', term + 1, 'nodes', \
     (select coalesce(jsonb_object_agg(h.node, positions -> h.node), '{}') from unnest(holders) h(node)))) \
     when coalesce((timelines #>> '{former,term}')::bigint = term, false) \
     then jsonb_build_object('former', (timelines -> 'former') || jsonb_build_object('term', term + 1)) \
     else '{}' end";

/// Nothing is to be given back.
const NO_FORMER: &str = "timelines = timelines - 'former'";

/// R14: it is known who held everything before the owner.
const FORMER_KNOWN: &str = "coalesce((timelines #>> '{former,term}')::bigint = term, false)";

/// … and nothing was recorded of the owner since.
const FORMER_OF_OWNER: &str =
    "timelines #> array['former', 'nodes', $3] = coalesce(positions -> $3, 'null')";

const FORMER_HOLDERS: &str = "array(select jsonb_object_keys(timelines #> '{former,nodes}'))";

const FORMER_POSITIONS: &str = "(select coalesce(jsonb_object_agg(f.key, f.value), '{}') \
     from jsonb_each(timelines #> '{former,nodes}') f where f.value <> 'null')";

/// R13: the names of timelines, and the highest number of all that was ever given. What a later version has put
/// beside them stays.
fn timelines(term: &str, number: &str, lineage: &str) -> String {
    format!(
        "timelines = (coalesce(timelines, '{{}}') - 'former') || jsonb_build_object('term', {term}, \
         'highest', greatest({number}, coalesce((timelines ->> 'highest')::bigint, 0)), 'lineage', {lineage})"
    )
}

/// The names of timelines; there is nothing in them that JSON cannot hold.
fn names(lineage: &Lineage) -> String {
    serde_json::to_string(lineage).unwrap_or_else(|_| "[]".to_owned())
}

fn json(positions: &BTreeMap<NodeName, Lsn>) -> String {
    // Names of nodes and positions hold no character that JSON escapes.
    let entries: Vec<String> = positions
        .iter()
        .map(|(node, lsn)| format!("\"{node}\": \"{lsn}\""))
        .collect();
    format!("{{{}}}", entries.join(", "))
}
