//! What precedes a new database, and taking everything out again.

use pha_core::message::Message;
use std::time::Duration;

use pha_core::cluster::Cluster;
use pha_core::names::ResourceName;
use pha_core::parse::cib::Cib;
use pha_core::setup::{Change, SetupPlan};
use pha_core::status::Role;
use pha_host::clock::Deadline;
use pha_host::config::ClusterConfig;
use serde_json::json;

use super::cib::{cib, push, refused};
use super::design::Intent;
use crate::app::Session;
use crate::commands::doctor::running::Running;
use crate::error::ClsError;
use crate::site;

/// Takes the resources out of the configuration. A resource that is removed while it runs is
/// stopped by Pacemaker without the clone's notifications, so it has to be stopped before.
pub(super) fn take_away(
    session: &Session,
    intent: &Intent,
    dry_run: bool,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let xml = cib(deadline)?;
    // It also refuses a text that would keep the next step busy.
    let cib = Cib::parse(&xml)?;
    let plan = SetupPlan::remove(&xml, &intent.design).map_err(refused)?;
    refuse_running(&cib, &plan, intent)?;
    let lines: Vec<Message> = plan.changes.iter().map(Change::message).collect();
    if !session.ui.is_json() && !session.common.quiet {
        let ui = &session.ui;
        let print = |line: &Message| ui.print(&ui.wrapped(4, &ui.say(line)));
        lines.iter().for_each(print);
    }
    let details = json!({ "changes": lines, "dry_run": dry_run });
    if plan.is_done() {
        session.ui.done("nothing to remove", details);
    } else if dry_run {
        session.ui.done("nothing was changed: --dry-run", details);
    } else {
        push(&plan.before, &plan.after, deadline)?;
        session
            .ui
            .done("removed from Pacemaker's configuration", details);
    }
    Ok(())
}

fn refuse_running(cib: &Cib, plan: &SetupPlan, intent: &Intent) -> Result<(), ClsError> {
    for resource in [&plan.database, &intent.design.writer, &intent.design.reader] {
        let name = ResourceName::new(resource.as_str())
            .map_err(|error| ClsError::Argument(Message::from(error.to_string())))?;
        let view = Cluster::of_cib(cib, &name);
        let mut nodes = view.nodes.iter();
        if let Some((node, _)) = nodes.find(|(_, node)| node.role() != Role::Stopped) {
            return Err(ClsError::refused(
                format!("{resource} runs on {node}"),
                "cls_stop, then cls_setup --remove again",
            ));
        }
    }
    Ok(())
}

/// Pacemaker would stop a PostgreSQL that runs without it, and ban a node without the agent.
pub(super) fn ready_for_database(
    config: &ClusterConfig,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let budget = deadline.sub_budget(Duration::from_secs(15));
    for answer in site::ask_all(config, &["running"], &[], budget) {
        let node = answer.node;
        let text = answer.text.map_err(|silence| {
            let what = format!("{node} cannot be set up: {}", silence.why);
            ClsError::refused(what, silence.remedy_or(site::LOOK))
        })?;
        match Running::of(&text) {
            Some(Running::No) => {}
            Some(Running::Yes) => {
                return Err(ClsError::refused(
                    format!("PostgreSQL runs on {node} already, without Pacemaker"),
                    format!(
                        "stop it on {node} and keep it from starting at boot (systemctl disable --now postgresql), then cls_setup again"
                    ),
                ));
            }
            None => {
                return Err(ClsError::refused(
                    format!("cls on {node} answers in another form"),
                    site::layout().same_version(),
                ));
            }
        }
    }
    Ok(())
}
