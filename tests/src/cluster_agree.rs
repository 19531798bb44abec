//! What must agree in a cluster at rest: the register, `pgsql_REPL_INFO`, the attributes on every
//! node, where Pacemaker has put what, and what each PostgreSQL says of itself.

use std::collections::{BTreeMap, BTreeSet};

use pha_testbed::cib::Cib;
use pha_testbed::{Cluster, PGDATA};

/// A cluster at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The only node that accepts writes.
    pub primary: String,
    /// The nodes that follow it, all of them in sync, by name.
    pub standbys: Vec<String>,
    /// The timeline of all of them.
    pub timeline: u32,
    /// `pgsql_REPL_INFO`.
    pub repl_info: String,
    /// The register.
    pub register: Register,
}

/// What is left of [`State`] where the built-in lock service is not used, so that there is no register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// As in [`State`].
    pub primary: String,
    /// As in [`State`].
    pub standbys: Vec<String>,
    /// As in [`State`].
    pub timeline: u32,
    /// As in [`State`].
    pub repl_info: String,
}

/// The register's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Who may be primary; empty before the first.
    pub owner: String,
    /// Raised at every promotion.
    pub term: u64,
    /// Raised whenever the owner changes the holders.
    pub epoch: u64,
    /// Who holds every acknowledged commit.
    pub holders: BTreeSet<String>,
    /// Whether the lease runs.
    pub leased: bool,
    /// Whether it ended because its owner gave it back, and not because its time was over.
    pub released: bool,
    /// Seconds since the lease has ended; negative while it runs.
    pub expired_for: i64,
}

/// What one PostgreSQL says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Server {
    /// Nothing runs.
    Stopped,
    /// It accepts writes, on this timeline.
    Primary(u32),
    /// It streams this timeline.
    Standby(u32),
}

/// Reads the register on the lock service's own node.
///
/// # Errors
/// It cannot be read.
pub fn register(cluster: &Cluster) -> Result<Register, String> {
    let row = cluster
        .lock_sql(
            "SELECT owner, term, epoch, array_to_string(holders, ' '), \
             floor(extract(epoch FROM clock_timestamp() - ts - expired_time)), \
             expired_time = interval '0' FROM distlock",
        )
        .map_err(|error| error.to_string())?;
    let fields: Vec<&str> = row.split('|').collect();
    let [owner, term, epoch, holders, expired, released] = fields.as_slice() else {
        return Err(format!("the register holds {row:?}"));
    };
    let number = |text: &str| {
        text.parse()
            .map_err(|_| format!("{text:?} in the register"))
    };
    let expired_for: i64 = expired
        .parse()
        .map_err(|_| format!("{expired:?} in the register"))?;
    Ok(Register {
        owner: (*owner).to_owned(),
        term: number(term)?,
        epoch: number(epoch)?,
        holders: holders.split_whitespace().map(str::to_owned).collect(),
        leased: expired_for < 0,
        released: *released == "t",
        expired_for,
    })
}

/// The state of a cluster in which everything agrees, or the first thing that does not.
///
/// A database that does not run is allowed (its node is off, or Pacemaker has stopped it); one that
/// runs must be the primary or in sync.
///
/// # Errors
/// What does not agree.
pub fn agree(cluster: &Cluster) -> Result<State, String> {
    let register = register(cluster)?;
    let rest = agree_without_register(cluster)?;
    the_register_knows(&register, &rest.primary, &rest.standbys)?;
    terms_rise(cluster)?;
    Ok(State {
        primary: rest.primary,
        standbys: rest.standbys,
        timeline: rest.timeline,
        repl_info: rest.repl_info,
        register,
    })
}

/// The same for a cluster that has no register.
///
/// # Errors
/// What does not agree.
pub fn agree_without_register(cluster: &Cluster) -> Result<Rest, String> {
    let servers = servers(cluster)?;
    let (primary, timeline) = the_primary(&servers)?;
    let standbys = in_sync(cluster, &servers, primary, timeline)?;
    let repl_info = switch_of(cluster, primary, timeline)?;
    for node in cluster.databases().iter().filter(|node| node.is_on()) {
        let cib = cluster.cib_of(node.name()).map_err(|e| e.to_string())?;
        the_cib_says(&cib, node.name(), &servers, &repl_info)?;
    }
    placed(cluster, primary, &standbys)?;
    Ok(Rest {
        primary: primary.to_owned(),
        standbys,
        timeline,
        repl_info,
    })
}

/// Ends with an error unless the two are the same.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{what} is {found:?}, not {wanted:?}"))
    }
}

fn servers(cluster: &Cluster) -> Result<BTreeMap<String, Server>, String> {
    let mut servers = BTreeMap::new();
    for node in cluster.databases() {
        let runs = node.is_on() && node.postmaster_of(PGDATA).is_some();
        let server = if runs {
            ask(cluster, node.name())?
        } else {
            Server::Stopped
        };
        servers.insert(node.name().to_owned(), server);
    }
    Ok(servers)
}

fn ask(cluster: &Cluster, node: &str) -> Result<Server, String> {
    let said = cluster
        .sql(
            node,
            "SELECT pg_is_in_recovery(), coalesce(CASE WHEN pg_is_in_recovery() \
             THEN (SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming') \
             ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer END, 0)",
        )
        .map_err(|error| error.to_string())?;
    match said.split_once('|').map(|(role, tli)| (role, tli.parse())) {
        Some(("f", Ok(timeline))) => Ok(Server::Primary(timeline)),
        Some(("t", Ok(0))) => Err(format!("{node} is a standby that does not stream")),
        Some(("t", Ok(timeline))) => Ok(Server::Standby(timeline)),
        _ => Err(format!("{node} says {said:?} of itself")),
    }
}

fn the_primary(servers: &BTreeMap<String, Server>) -> Result<(&str, u32), String> {
    let mut primaries = servers.iter().filter_map(|(node, server)| match server {
        Server::Primary(timeline) => Some((node.as_str(), *timeline)),
        _ => None,
    });
    match (primaries.next(), primaries.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err("there is no primary".to_owned()),
        (Some(one), Some(two)) => Err(format!("{one:?} and {two:?} are both primaries")),
    }
}

/// The standbys that run, all on the primary's timeline and all waited for by its commits.
fn in_sync(
    cluster: &Cluster,
    servers: &BTreeMap<String, Server>,
    primary: &str,
    timeline: u32,
) -> Result<Vec<String>, String> {
    let mut standbys = Vec::new();
    for (node, server) in servers {
        if let Server::Standby(theirs) = server {
            same(&format!("the timeline of {node}"), theirs, &timeline)?;
            standbys.push(node.clone());
        }
    }
    let ask = |question: &str| {
        cluster
            .sql(primary, question)
            .map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .map_err(|error| error.to_string())
    };
    let links = ask(
        "SELECT split_part(application_name, '@', 1) FROM pg_stat_replication \
         WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum') ORDER BY 1",
    )?;
    same("what streams in sync", &links, &standbys)?;
    let names = ask("SHOW synchronous_standby_names")?.concat();
    let named: Vec<String> = standbys
        .iter()
        .filter(|standby| !names.contains(standby.as_str()))
        .cloned()
        .collect();
    same("what synchronous_standby_names lacks", &named, &Vec::new())?;
    same(
        "whether synchronous_standby_names is empty",
        &names.is_empty(),
        &standbys.is_empty(),
    )?;
    Ok(standbys)
}

fn the_register_knows(
    register: &Register,
    primary: &str,
    standbys: &[String],
) -> Result<(), String> {
    same("the register's owner", &register.owner.as_str(), &primary)?;
    let mut holders: BTreeSet<String> = standbys.iter().cloned().collect();
    holders.insert(primary.to_owned());
    same("the register's holders", &register.holders, &holders)?;
    same("whether the lease runs", &register.leased, &true)
}

/// What `pgsql_REPL_INFO` has to be, by the history file of the primary's timeline.
fn switch_of(cluster: &Cluster, primary: &str, timeline: u32) -> Result<String, String> {
    if timeline == 1 {
        return Ok(format!("{primary}|0|{:016X}", 0));
    }
    let path = format!("{PGDATA}/pg_wal/{timeline:08X}.history");
    let bytes = cluster
        .node(primary)
        .read(&path)
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    let switch = last.and_then(|line| {
        let mut fields = line.split_whitespace();
        let parent: u32 = fields.next()?.parse().ok()?;
        let (high, low) = fields.next()?.split_once('/')?;
        let (high, low) = (
            u64::from_str_radix(high, 16).ok()?,
            u64::from_str_radix(low, 16).ok()?,
        );
        Some(format!("{primary}|{parent}|{high:08X}{low:08X}"))
    });
    switch.ok_or_else(|| format!("{path} on {primary} holds {text:?}"))
}

/// The attributes as one node's Pacemaker has them.
fn the_cib_says(
    cib: &Cib,
    seer: &str,
    servers: &BTreeMap<String, Server>,
    repl_info: &str,
) -> Result<(), String> {
    same(
        &format!("pgsql_REPL_INFO on {seer}"),
        &cib.repl_info().as_str(),
        &repl_info,
    )?;
    let members = cib.members();
    for (node, server) in servers {
        let (status, score, data) = match server {
            Server::Primary(_) => ("PRI", "1000", "LATEST"),
            Server::Standby(_) => ("HS:sync", "100", "STREAMING|SYNC"),
            Server::Stopped => ("STOP", "-INFINITY", "DISCONNECT"),
        };
        let check = |name: &str, found: Option<String>, wanted: &str| {
            let what = format!("{name} of {node} on {seer}");
            same(&what, &found.unwrap_or_default().as_str(), &wanted)
        };
        check(
            "pgsql-data-status",
            cib.permanent(node, "pgsql-data-status"),
            data,
        )?;
        // Transient attributes go with the membership.
        if members.contains(node) {
            check("pgsql-status", cib.transient(node, "pgsql-status"), status)?;
            check("master-pgsql", cib.transient(node, "master-pgsql"), score)?;
        }
    }
    Ok(())
}

/// Where Pacemaker has put the roles and the addresses.
fn placed(cluster: &Cluster, primary: &str, standbys: &[String]) -> Result<(), String> {
    let placements = cluster
        .placements_of(primary)
        .map_err(|error| error.to_string())?;
    let at = |resource: &str, role: &str| -> Vec<String> {
        let found = placements
            .iter()
            .filter(|p| p.resource == resource && p.role == role);
        let mut nodes: Vec<String> = found.map(|p| p.node.clone()).collect();
        nodes.sort();
        nodes
    };
    let one = vec![primary.to_owned()];
    same(
        "what Pacemaker has promoted",
        &at("pgsql", "Promoted"),
        &one,
    )?;
    let unpromoted: Vec<String> = at("pgsql", "Unpromoted");
    same(
        "what Pacemaker runs unpromoted",
        &unpromoted.as_slice(),
        &standbys,
    )?;
    same(
        "where the writers' address is",
        &at("vip-master", "Started"),
        &one,
    )?;
    let readers = at("vip-slave", "Started");
    if readers.iter().all(|node| standbys.contains(node))
        && readers.is_empty() == standbys.is_empty()
    {
        Ok(())
    } else {
        Err(format!(
            "the readers' address is on {readers:?}, standbys are {standbys:?}"
        ))
    }
}

/// Terms are fencing tokens: each belongs to one owner, and they only rise, one by one.
fn terms_rise(cluster: &Cluster) -> Result<(), String> {
    let text = cluster
        .lock_sql("SELECT term, owner FROM distlock_history ORDER BY id")
        .map_err(|error| error.to_string())?;
    let mut before: Option<(u64, String)> = None;
    for line in text.lines() {
        let Some((Ok(term), owner)) = line.split_once('|').map(|(t, o)| (t.parse::<u64>(), o))
        else {
            return Err(format!("the register's history holds {line:?}"));
        };
        if let Some((last, holder)) = &before {
            let same_reign = term == *last && (owner == holder || *last == 0);
            // An operator's decision leaves room for what a node that could not be asked has seen.
            let decided = owner.is_empty() && term > *last;
            if !same_reign && !decided && term != last + 1 {
                return Err(format!(
                    "the register went from term {last} of {holder} to term {term} of {owner}"
                ));
            }
        }
        before = Some((term, owner.to_owned()));
    }
    Ok(())
}
