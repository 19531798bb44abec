//! Whether PostgreSQL on the primary has a connection left for one more client.

use super::{Connections, Level, Observation, Problem, problem};
use crate::message;

/// From which part of the limit on it is said: nine tenths.
const NEARLY: (u32, u32) = (9, 10);

/// Clients that are refused, or will be soon.
pub(super) fn exhausted(seen: &Observation<'_>) -> Vec<Problem> {
    let (Some(connections), Some(primary)) = (seen.connections, seen.primary()) else {
        return Vec::new();
    };
    let (level, text) = match connections {
        Connections::NoneLeft => (
            Level::Critical,
            message!(
                "clients hold every connection of PostgreSQL, those for superusers too on {primary}",
                primary
            ),
        ),
        Connections::InUse { clients, limit } if clients >= limit => (
            Level::Critical,
            message!(
                "no connection of PostgreSQL is left for clients: {clients} are in use of {limit} on {primary}",
                clients,
                limit,
                primary
            ),
        ),
        Connections::InUse { clients, limit }
            if u64::from(clients) * u64::from(NEARLY.1)
                >= u64::from(limit) * u64::from(NEARLY.0) =>
        {
            (
                Level::Warning,
                message!(
                    "nearly every connection of PostgreSQL is in use: {clients} of {limit} on {primary}",
                    clients,
                    limit,
                    primary
                ),
            )
        }
        Connections::InUse { .. } => return Vec::new(),
    };
    // Whoever is to free one may have none to do it in SQL.
    let remedy = message!(
        "on {primary}: ps -C postgres -o pid,lstart,args shows each session; kill <pid> (never -9) ends one that is idle; then limit the clients' pools or raise max_connections, on the standbys first",
        primary
    );
    vec![problem(level, text, remedy).on(primary)]
}
