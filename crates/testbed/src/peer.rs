//! The packaged agent `ocf:heartbeat:pgsql` as a peer for benchmarks.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::node::Node;

/// The agent's name in [`crate::pacemaker::Config::agent`].
pub const AGENT: &str = "pgsql";

const FUNCTIONS: &str = "/usr/lib/ocf/lib/heartbeat/ocf-shellfuncs";

/// resource-agents 4.12 calls `crm_attribute -p -v -INFINITY`. Pacemaker 2.1.5 takes `-v` as the
/// name of the resource then, so the agent never gets a promotion score written.
const BROKEN: &str = "${HA_SBIN_DIR}/crm_attribute -p $@";

const MENDED: &str = r#"case "$1" in
		-v) ${HA_SBIN_DIR}/crm_attribute --promotion="${OCF_RESOURCE_INSTANCE%%:*}" --update="$2" ;;
		*) ${HA_SBIN_DIR}/crm_attribute --promotion="${OCF_RESOURCE_INSTANCE%%:*}" "$@" ;;
		esac"#;

/// Makes the packaged agent usable on a node: mends its call of crm_attribute in the node's own copy, and gives
/// it its directory.
///
/// # Errors
/// The package is another one than the one this was written for.
pub(crate) fn prepare(node: &Node) -> Result<()> {
    node.mkdir("/var/lib/pgsql/tmp", "0700", "postgres")?;
    let text = String::from_utf8_lossy(&node.read(FUNCTIONS)?).into_owned();
    if text.contains(MENDED) || !text.contains("crm_attribute -p") {
        return Ok(());
    }
    if !text.contains(BROKEN) {
        return Err(Error::Asked(format!(
            "{}: {FUNCTIONS} is not the one of resource-agents 4.12",
            node.name()
        )));
    }
    let fresh = format!("{FUNCTIONS}.new");
    node.write(&fresh, text.replace(BROKEN, MENDED), 0o644)?;
    node.run(&["mv", "-f", &fresh, FUNCTIONS], Duration::from_secs(10))
        .map(drop)
}
