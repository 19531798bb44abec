//! Whether a cluster has come to rest: register, PostgreSQL, Pacemaker and `cls_status` agree on one
//! primary that every other node follows in sync.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::pacemaker::RESOURCE;

type Wrong = String;

/// What one database says of itself: whether it is a primary, its timeline, and (a primary's) who
/// streams from it in sync.
const SELF: &str = "SELECT pg_is_in_recovery(), coalesce(CASE WHEN pg_is_in_recovery() \
    THEN (SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming') \
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer END, 0), \
    (SELECT coalesce(string_agg(application_name, ' ' ORDER BY 1), '') FROM pg_stat_replication \
    WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum'))";

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
    let primary = agreed(&servers)?;
    registered(&register, primary, &names)?;
    for name in &names {
        known(cluster, name, primary, &names)?;
    }
    placed(cluster, primary)?;
    Ok(primary.to_owned())
}

/// The only primary, when every other server streams from it in sync on its timeline.
fn agreed<'a>(servers: &[(&'a str, String)]) -> Result<&'a str, Wrong> {
    let mut primary: Option<(&str, &str, BTreeSet<&str>)> = None;
    let mut standbys = Vec::new();
    for (name, said) in servers {
        let fields: Vec<&str> = said.split('|').collect();
        match fields.as_slice() {
            ["f", timeline, synced] => {
                if let Some((other, ..)) = primary {
                    return Err(format!("{other} and {name} are both primaries"));
                }
                primary = Some((name, timeline, synced.split_whitespace().collect()));
            }
            ["t", "0", _] => return Err(format!("{name} is a standby that does not stream")),
            ["t", timeline, _] => standbys.push((*name, *timeline)),
            _ => return Err(format!("{name} says {said:?} of itself")),
        }
    }
    let Some((primary, timeline, synced)) = primary else {
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
    if names != synced {
        return Err(format!("{primary} has in sync {synced:?}, not {names:?}"));
    }
    Ok(primary)
}

/// The register names the primary as the owner, everybody as holders, and its lease runs.
fn registered(register: &str, primary: &str, names: &[String]) -> Result<(), Wrong> {
    let fields: Vec<&str> = register.split('|').collect();
    let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    match fields.as_slice() {
        [owner, holders, "t"]
            if *owner == primary
                && holders.split_whitespace().collect::<BTreeSet<_>>() == wanted =>
        {
            Ok(())
        }
        _ => Err(format!(
            "{primary} is primary, the register has {register:?}"
        )),
    }
}

/// What one node's Pacemaker knows of all of them.
fn known(cluster: &Cluster, seer: &str, primary: &str, names: &[String]) -> Result<(), Wrong> {
    let cib = cluster.cib_of(seer).map_err(|error| error.to_string())?;
    if cib.members() != names {
        return Err(format!("{seer} sees the members {:?}", cib.members()));
    }
    for name in names {
        let wanted = if name == primary { "PRI" } else { "HS:sync" };
        let status = cib.transient(name, &format!("{RESOURCE}-status"));
        if status.as_deref() != Some(wanted) {
            return Err(format!("{seer} knows {name} as {status:?}, not {wanted}"));
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
    let argv = ["/opt/pha4pgsql/bin/cls", "status", "--check"];
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
    use super::{agreed, registered};

    fn servers(said: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        said.iter()
            .map(|(name, said)| (*name, (*said).to_owned()))
            .collect()
    }

    #[test]
    fn one_primary_with_everybody_in_sync_is_agreement() {
        let good = servers(&[("a", "t|3|"), ("b", "f|3|a c"), ("c", "t|3|")]);
        assert_eq!(agreed(&good), Ok("b"));
        for bad in [
            servers(&[("a", "t|3|"), ("b", "t|3|")]),
            servers(&[("a", "f|3|"), ("b", "f|3|")]),
            servers(&[("a", "f|3|b"), ("b", "t|2|")]),
            servers(&[("a", "f|3|b"), ("b", "t|0|")]),
            servers(&[("a", "f|3|"), ("b", "t|3|")]),
            servers(&[("a", "f|3|b"), ("b", "")]),
        ] {
            assert!(agreed(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_register_must_name_everybody() {
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(registered("a|b a|t", "a", &names), Ok(()));
        for bad in ["b|a b|t", "a|a|t", "a|a b|f", ""] {
            assert!(registered(bad, "a", &names).is_err(), "{bad:?}");
        }
    }
}
