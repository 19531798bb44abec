//! Which lines `pg_hba.conf` lacks for the nodes of the cluster (PostgreSQL manual, "The pg_hba.conf File").

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{InitFacts, InitSite};
use crate::names::NodeName;
use crate::setup::OwnAddress;

/// What is missing, and what is refused on purpose.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pub(super) lines: Vec<String>,
    pub(super) refused: Vec<String>,
}

/// What a file does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Admits,
    Refuses,
    /// No line that is understood is about it.
    Nothing,
}

/// A connection, as the lines tell it apart.
struct Attempt<'a> {
    database: &'a str,
    user: &'a str,
    /// None: by the socket, with a password.
    from: Option<IpAddr>,
}

/// The addresses that others see: not those of the host alone.
pub(super) fn usual(addresses: &[OwnAddress]) -> impl Iterator<Item = &OwnAddress> {
    addresses.iter().filter(|own| match own.address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    })
}

/// The addresses that a node comes from: those in the network of the writers' address, or else all. What
/// Pacemaker moves from node to node is none of them.
fn of_node<'a>(site: &InitSite<'_>, addresses: &'a [OwnAddress]) -> Vec<&'a OwnAddress> {
    let moves = |address: IpAddr| address == site.writer || Some(address) == site.reader;
    let all = || usual(addresses).filter(|own| !moves(own.address));
    let near: Vec<&OwnAddress> = all()
        .filter(|own| contains(own.address, own.prefix, site.writer))
        .collect();
    if near.is_empty() {
        return all().collect();
    }
    near
}

/// Whether an address is in the network of another one.
fn contains(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32_u32.saturating_sub(prefix.into());
            let bits = |address: u32| address.checked_shr(shift).unwrap_or(0);
            bits(network.to_bits()) == bits(address.to_bits())
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128_u32.saturating_sub(prefix.into());
            let bits = |address: u128| address.checked_shr(shift).unwrap_or(0);
            bits(network.to_bits()) == bits(address.to_bits())
        }
        _ => false,
    }
}

/// The length of a host's prefix.
const fn whole(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The network that an address is in.
fn network(own: &OwnAddress) -> IpAddr {
    match own.address {
        IpAddr::V4(address) => {
            let shift = 32_u32.saturating_sub(own.prefix.into());
            let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let shift = 128_u32.saturating_sub(own.prefix.into());
            let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
    }
}

/// A name as the file takes it.
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// The lines that a node's file lacks: for every node the roles of the cluster, and, where the database is
/// new, a password for everybody else in the clients' network.
pub(super) fn missing(
    site: &InitSite<'_>,
    facts: &BTreeMap<NodeName, InitFacts>,
    own: &InitFacts,
    is_new: bool,
) -> Missing {
    let mut missing = Missing::default();
    let rules: &[String] = if is_new { &[] } else { &own.hba };
    let mut need = |attempt: &Attempt<'_>, line: String| {
        let shown = match attempt.from {
            Some(from) => format!("{} from {from}", attempt.user),
            None => format!("{} on the socket", attempt.user),
        };
        match answer(rules, attempt) {
            Answer::Admits => {}
            Answer::Refuses => missing.refused.push(shown),
            Answer::Nothing => missing.lines.push(line),
        }
    };
    let params = site.params;
    if let Some(user) = &params.monitor_user {
        let attempt = Attempt {
            database: "postgres",
            user,
            from: None,
        };
        need(
            &attempt,
            format!("local postgres {} scram-sha-256", quoted(user)),
        );
    }
    let mut networks = BTreeSet::new();
    for facts in facts.values() {
        for address in of_node(site, &facts.addresses) {
            let from = address.address;
            let users = [Some(&params.repuser), params.monitor_user.as_ref()];
            let databases: [&[&str]; 2] = [&["replication", "postgres"], &["postgres"]];
            for (user, databases) in users.into_iter().zip(databases) {
                let Some(user) = user else { continue };
                for database in databases {
                    let attempt = Attempt {
                        database,
                        user,
                        from: Some(from),
                    };
                    let line = format!(
                        "host {database} {} {from}/{} scram-sha-256",
                        quoted(user),
                        whole(from)
                    );
                    need(&attempt, line);
                }
            }
            if contains(from, address.prefix, site.writer) && address.prefix < whole(from) {
                networks.insert((network(address), address.prefix));
            }
        }
    }
    if is_new {
        let clients = networks
            .into_iter()
            .map(|(network, prefix)| format!("host all all {network}/{prefix} scram-sha-256"));
        missing.lines.extend(clients);
    }
    missing
}

/// What the first line that fits says. A line that names groups, files or hosts is taken for none.
fn answer(lines: &[String], attempt: &Attempt<'_>) -> Answer {
    let found = lines.iter().find_map(|line| fits(line, attempt));
    match (found, attempt.from) {
        (None, _) => Answer::Nothing,
        (Some("reject"), _) => Answer::Refuses,
        // The account connects, and the role is not named like it.
        (Some("peer" | "ident"), None) => Answer::Nothing,
        (Some(_), _) => Answer::Admits,
    }
}

/// The method of a line that is about the connection.
fn fits<'l>(line: &'l str, attempt: &Attempt<'_>) -> Option<&'l str> {
    let mut words = line.split_whitespace();
    let kind = words.next()?;
    let (databases, users) = (words.next()?, words.next()?);
    let names = |list: &str, wanted: &str, all: bool| {
        list.split(',')
            .any(|name| (all && name == "all") || name.trim_matches('"') == wanted)
    };
    // "all" is every database, and none of them is replication.
    let database = names(
        databases,
        attempt.database,
        attempt.database != "replication",
    );
    if !database || !names(users, attempt.user, true) {
        return None;
    }
    let Some(from) = attempt.from else {
        return (kind == "local").then(|| words.next()).flatten();
    };
    if !kind.starts_with("host") {
        return None;
    }
    let address = words.next()?;
    let next = words.next()?;
    if address == "all" {
        return Some(next);
    }
    if let Some((network, prefix)) = address.split_once('/') {
        let (network, prefix) = (network.parse().ok()?, prefix.parse().ok()?);
        return contains(network, prefix, from).then_some(next);
    }
    // An address and its mask.
    let (network, mask): (IpAddr, IpAddr) = (address.parse().ok()?, next.parse().ok()?);
    let prefix = match mask {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    };
    let method = words.next()?;
    contains(network, u8::try_from(prefix).ok()?, from).then_some(method)
}
