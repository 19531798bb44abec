//! Pacemaker's configuration, as set-up reads it and changes it.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use pha_core::cluster::Cluster;
use pha_core::message;
use pha_core::names::{NodeName, ResourceName};
use pha_core::parse::cib::Cib;
use pha_core::register::Seen;
use pha_core::setup::{Element, SetupError, SetupPlan};
use pha_host::clock::Deadline;
use pha_host::command::Command;
use pha_host::config::ClusterConfig;
use pha_host::files;
use pha_host::pacemaker::Pacemaker;

use super::design::{self, Intent};
use crate::error::ClsError;
use crate::tools;

/// Exit status of crm_diff: the texts differ.
const DIFFERENT: i32 = 1;

pub(super) fn cib(deadline: Deadline) -> Result<String, ClsError> {
    let pacemaker = Pacemaker::new(ResourceName::undefined(), Duration::from_secs(10));
    Ok(pacemaker.cib_xml(deadline)?)
}

pub(super) fn refused(error: SetupError) -> ClsError {
    let hint = match error {
        SetupError::Schema(_) => "cibadmin --upgrade --force",
        _ => "cibadmin --query --scope resources",
    };
    ClsError::refused(error.to_string(), hint)
}

/// What has to be changed in Pacemaker's configuration.
pub(crate) fn plan(
    config: &ClusterConfig,
    intent: &Intent,
    deadline: Deadline,
) -> Result<SetupPlan, ClsError> {
    seen(config, intent, deadline).map(|(plan, ..)| plan)
}

/// How far the register has come, as a primary has told the cluster.
pub(crate) fn told(plan: &SetupPlan, deadline: Deadline) -> Option<Seen> {
    let name = ResourceName::new(plan.database.as_str()).ok()?;
    let cib = Cib::parse(&cib(deadline).ok()?).ok()?;
    Cluster::of_cib(&cib, &name).seen
}

/// What has to be changed, where the database runs, and its cluster.
pub(super) fn seen(
    config: &ClusterConfig,
    intent: &Intent,
    deadline: Deadline,
) -> Result<(SetupPlan, Vec<NodeName>, Cluster), ClsError> {
    let xml = cib(deadline)?;
    let cib = Cib::parse(&xml)?;
    let cluster = without_database(&cib);
    if !cluster.quorum {
        return Err(ClsError::NoQuorum);
    }
    if let Some(node) = unknown(config, &cluster).next() {
        let known: Vec<&str> = cluster.nodes.keys().map(NodeName::as_str).collect();
        return Err(ClsError::refused(
            message!(
                "{node} is no node of this cluster; Pacemaker knows {known}",
                node,
                known = known.join(", ")
            ),
            message!("correct node1, node2 … in config.ini, or start corosync and Pacemaker there"),
        ));
    }
    let plan = SetupPlan::make(&xml, &intent.design).map_err(refused)?;
    design::parsed(&plan.parameters())?;
    let running = plan.running(&cib);
    let cluster = match ResourceName::new(plan.database.as_str()) {
        Ok(name) => Cluster::of_cib(&cib, &name),
        Err(_) => cluster,
    };
    Ok((plan, running, cluster))
}

/// What is known of a cluster while it may have no database.
pub(super) fn without_database(cib: &Cib) -> Cluster {
    Cluster::of_cib(cib, &ResourceName::undefined())
}

/// The nodes of config.ini that Pacemaker does not know.
fn unknown<'a>(
    config: &'a ClusterConfig,
    cluster: &'a Cluster,
) -> impl Iterator<Item = &'a NodeName> {
    let nodes = config.nodes.iter();
    nodes.filter(|node| !cluster.nodes.contains_key(*node))
}

/// Whether Pacemaker's configuration has the database already, and which of the nodes it does not know.
pub(crate) fn known(
    config: &ClusterConfig,
    intent: &Intent,
    deadline: Deadline,
) -> Result<(bool, Vec<NodeName>), ClsError> {
    let xml = cib(deadline)?;
    let cib = Cib::parse(&xml)?;
    let plan = SetupPlan::make(&xml, &intent.design).map_err(refused)?;
    let cluster = without_database(&cib);
    let unknown = unknown(config, &cluster).cloned().collect();
    Ok((!plan.makes_database(), unknown))
}

/// A directory that goes away again.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is two files without secrets below the directory for such files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes the whole change in one step of the cluster. The patch names every element by its place
/// and identifier, so what others change at the same time stays, or the patch fails as a whole.
pub(crate) fn push(before: &Element, after: &Element, deadline: Deadline) -> Result<(), ClsError> {
    if before == after {
        return Ok(());
    }
    let next = "cls_setup --dry-run shows what is left to change";
    let failed = |error: &dyn std::fmt::Display| ClsError::failed(error.to_string(), next);
    let scratch = Scratch(std::env::temp_dir().join(format!("cls-setup-{}", std::process::id())));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&scratch.0)
        .map_err(|error| failed(&format!("{}: {error}", scratch.0.display())))?;
    let file = |name: &str, text: String| {
        let path = scratch.0.join(name);
        files::replace(&path, text.as_bytes(), 0o600).map_err(|error| failed(&error))?;
        Ok::<String, ClsError>(path.to_string_lossy().into_owned())
    };
    let original = file("before.xml", before.to_xml())?;
    let new = file("after.xml", after.to_xml())?;
    let diff = Command::new("crm_diff")
        .arg("--no-version")
        .arg(format!("--original={original}"))
        .arg(format!("--new={new}"))
        .accept(DIFFERENT);
    let patch = tools::run(diff, deadline)?.stdout;
    let push = Command::new("cibadmin")
        .args(["--patch", "--xml-pipe"])
        .stdin_bytes(patch);
    tools::change(push, deadline).map(drop)
}
