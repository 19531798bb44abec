//! Whether a cluster has come to rest: register, PostgreSQL, Pacemaker and `cls_status` agree on one
//! primary, that every other node streams from it, and on who of them is in sync (at least one).

use std::collections::BTreeSet;
use std::time::Duration;

use super::stage::CLS;
use crate::cluster::Cluster;
use crate::pacemaker::RESOURCE;

type Wrong = String;

/// What one database says of itself: whether it is a primary, its timeline, and (a primary's) who
/// streams from it, and who of them in sync.
const SELF: &str = "SELECT pg_is_in_recovery(), coalesce(CASE WHEN pg_is_in_recovery() \
    THEN (SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming') \
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer END, 0), \
    string_agg(split_part(application_name, '@', 1), ' '), \
    string_agg(split_part(application_name, '@', 1), ' ') FILTER (WHERE sync_state IN ('sync', 'quorum')) \
    FROM pg_stat_replication WHERE state = 'streaming'";

/// The primary and the nodes whose standbys its commits wait for.
#[derive(Debug, PartialEq, Eq)]
struct Agreed<'a> {
    primary: &'a str,
    synced: BTreeSet<&'a str>,
}

/// The primary of a cluster in which everything agrees, or the first thing that does not.
pub(super) fn primary(cluster: &Cluster) -> Result<String, Wrong> {
    let text = |error: crate::error::Error| error.to_string();
    let names: Vec<String> = cluster
        .databases()
        .iter()
        .map(|node| node.name().to_owned())
        .collect();
    let register = cluster
        .lock_sql(
            "SELECT owner, array_to_string(holders, ' '), \
             clock_timestamp() - ts < expired_time FROM distlock",
        )
        .map_err(text)?;
    let mut servers = Vec::new();
    for name in &names {
        let said = cluster.sql(name, SELF).map_err(text)?;
        servers.push((name.as_str(), said));
    }
    let agreed = agreed(&servers)?;
    registered(&register, &agreed)?;
    for name in &names {
        known(cluster, name, &agreed, &names)?;
    }
    placed(cluster, agreed.primary)?;
    Ok(agreed.primary.to_owned())
}

/// The only primary, when every other server streams from it on its timeline, at least one in sync.
fn agreed<'a>(servers: &'a [(&'a str, String)]) -> Result<Agreed<'a>, Wrong> {
    let words = |text: &'a str| text.split_whitespace().collect::<BTreeSet<&str>>();
    let mut primary: Option<(&str, &str, BTreeSet<&str>, BTreeSet<&str>)> = None;
    let mut standbys = Vec::new();
    for (name, said) in servers {
        let fields: Vec<&str> = said.split('|').collect();
        match fields.as_slice() {
            ["f", timeline, streaming, synced] => {
                if let Some((other, ..)) = primary {
                    return Err(format!("{other} and {name} are both primaries"));
                }
                primary = Some((*name, *timeline, words(streaming), words(synced)));
            }
            ["t", "0", ..] => return Err(format!("{name} is a standby that does not stream")),
            ["t", timeline, ..] => standbys.push((*name, *timeline)),
            _ => return Err(format!("{name} says {said:?} of itself")),
        }
    }
    let Some((primary, timeline, streaming, synced)) = primary else {
        return Err("there is no primary".to_owned());
    };
    for (name, theirs) in &standbys {
        if *theirs != timeline {
            return Err(format!(
                "{name} is on timeline {theirs}, {primary} on {timeline}"
            ));
        }
    }
    let names: BTreeSet<&str> = standbys.iter().map(|(name, _)| *name).collect();
    if names != streaming || synced.is_empty() {
        return Err(format!(
            "to {primary} {streaming:?} are streaming, {synced:?} of them in sync; there are {names:?}"
        ));
    }
    Ok(Agreed { primary, synced })
}

/// The register names the primary as the owner, it and who is in sync as holders, and its lease
/// runs.
fn registered(register: &str, agreed: &Agreed<'_>) -> Result<(), Wrong> {
    let fields: Vec<&str> = register.split('|').collect();
    let mut wanted = agreed.synced.clone();
    wanted.insert(agreed.primary);
    match fields.as_slice() {
        [owner, holders, "t"]
            if *owner == agreed.primary
                && holders.split_whitespace().collect::<BTreeSet<_>>() == wanted =>
        {
            Ok(())
        }
        _ => Err(format!("{agreed:?}, and the register has {register:?}")),
    }
}

/// What one node's Pacemaker knows of all of them.
fn known(
    cluster: &Cluster,
    seer: &str,
    agreed: &Agreed<'_>,
    names: &[String],
) -> Result<(), Wrong> {
    let cib = cluster.cib_of(seer).map_err(|error| error.to_string())?;
    if cib.members() != names {
        return Err(format!("{seer} sees the members {:?}", cib.members()));
    }
    for name in names {
        let wanted: &[&str] = match name.as_str() {
            primary if primary == agreed.primary => &["PRI"],
            synced if agreed.synced.contains(synced) => &["HS:sync"],
            _ => &["HS:async", "HS:potential"],
        };
        let status = cib.transient(name, &format!("{RESOURCE}-status"));
        if !wanted.contains(&status.as_deref().unwrap_or_default()) {
            return Err(format!("{seer} knows {name} as {status:?}, not {wanted:?}"));
        }
    }
    Ok(())
}

/// The roles and the addresses are where the primary is.
fn placed(cluster: &Cluster, primary: &str) -> Result<(), Wrong> {
    let found = cluster
        .placements_of(primary)
        .map_err(|error| error.to_string())?;
    for (resource, role) in [(RESOURCE, "Promoted"), ("vip-master", "Started")] {
        let at: Vec<&str> = found
            .iter()
            .filter(|place| place.resource == resource && place.role == role)
            .map(|place| place.node.as_str())
            .collect();
        if at != [primary] {
            return Err(format!(
                "{resource} is {role} on {at:?}, {primary} is primary"
            ));
        }
    }
    Ok(())
}

/// What the product itself says to a monitoring system.
pub(super) fn status(cluster: &Cluster, node: &str) -> Result<(), Wrong> {
    let argv = [CLS, "status", "--check"];
    let output = cluster
        .find(node)
        .and_then(|node| node.exec(&argv, Duration::from_secs(20)))
        .map_err(|error| error.to_string())?;
    if output.code == 0 {
        Ok(())
    } else {
        Err(format!(
            "cls_status --check on {node} ends with {}: {} {}",
            output.code,
            output.text(),
            output.stderr.trim()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{Agreed, agreed, registered};

    fn servers(said: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        said.iter()
            .map(|(name, said)| (*name, (*said).to_owned()))
            .collect()
    }

    #[test]
    fn one_primary_from_which_everybody_streams_is_agreement() {
        let good = servers(&[("a", "t|3||"), ("b", "f|3|a c|c"), ("c", "t|3||")]);
        let found = agreed(&good).map(|agreed| (agreed.primary, agreed.synced));
        assert_eq!(found, Ok(("b", ["c"].into())));
        for bad in [
            servers(&[("a", "t|3||"), ("b", "t|3||")]),
            servers(&[("a", "f|3|b|b"), ("b", "f|3||")]),
            servers(&[("a", "f|3|b|b"), ("b", "t|2||")]),
            servers(&[("a", "f|3|b|b"), ("b", "t|0||")]),
            servers(&[("a", "f|3||"), ("b", "t|3||")]),
            servers(&[("a", "f|3|b|"), ("b", "t|3||")]),
            servers(&[("a", "f|3|b|b"), ("b", "t|3||"), ("c", "t|3||")]),
            servers(&[("a", "f|3|b|b"), ("b", "")]),
        ] {
            assert!(agreed(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_register_must_name_who_is_in_sync() {
        let agreed = Agreed {
            primary: "a",
            synced: ["b"].into(),
        };
        assert_eq!(registered("a|b a|t", &agreed), Ok(()));
        for bad in ["b|a b|t", "a|a|t", "a|a b|f", "a|a b c|t", ""] {
            assert!(registered(bad, &agreed).is_err(), "{bad:?}");
        }
    }
}
