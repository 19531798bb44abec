//! Settings of PostgreSQL that are changed on one node alone, and what an operator makes of that: the same
//! value on every node for a limit, the default for everything else.

use std::time::Duration;

use rustix::process::Signal;

use crate::error::Result;
use crate::node::{Node, PGDATA};

/// PostgreSQL's own `max_connections`.
pub(super) const LIMIT: u32 = 100;
pub(super) const MAX_CONNECTIONS: &str = "max_connections";
pub(super) const ISOLATION: &str = "default_transaction_isolation";

/// What `ALTER SYSTEM` does, also where the server is down or takes no session; an empty value resets. A
/// directory that is being copied has no such file yet.
const SCRIPT: &str = "cd \"$1\" && [ -f postgresql.auto.conf ] || exit 0; \
    sed -i \"/^$2 /d\" postgresql.auto.conf && \
    if [ -n \"$3\" ]; then printf \"%s = '%s'\\n\" \"$2\" \"$3\" >>postgresql.auto.conf; fi";
const SHORT: Duration = Duration::from_secs(10);

/// Sets a value on a node and has the server read it; an empty one is the default.
pub(super) fn set(node: &Node, name: &str, value: &str) -> Result<()> {
    node.as_postgres(&["sh", "-c", SCRIPT, "sh", PGDATA, name, value], SHORT)?;
    node.kill_postmaster(Signal::HUP);
    Ok(())
}

/// After a round: a limit that was raised on one node has the same value on all, as a standby needs at least
/// what its primary has, and what else was set on one is not set any more.
pub(super) fn settle(limit: u32, node: &Node) -> Result<()> {
    if limit > LIMIT {
        set(node, MAX_CONNECTIONS, &limit.to_string())?;
    }
    set(node, ISOLATION, "")
}

/// Restarts PostgreSQL as an administrator does, beside Pacemaker.
pub(super) fn restart(node: &Node, patience: Duration) -> Result<()> {
    let ctl = format!("{}/pg_ctl", node.server_programs()?);
    let seconds = patience.as_secs().to_string();
    let log = "/var/log/postgresql/pgsql.log";
    let restart = [
        &ctl, "-D", PGDATA, "-l", log, "-m", "fast", "-w", "-t", &seconds, "restart",
    ];
    node.as_postgres(&restart, patience + SHORT).map(drop)
}
