//! `cls_config`: the configuration that is in force on every node.

use std::time::Duration;

use clap::Args;
use pha_core::hindrance::Hindrance;
use pha_core::names::NodeName;
use pha_core::setup::{ConfigCopy, CopyState, InForce, SetupPlan};
use pha_host::clock::Deadline;
use pha_host::config::ClusterConfig;
use serde::Serialize;

use super::Outcome;
use super::doctor::facts::checksum;
use super::setup::{design, look, plan};
use crate::app::Session;
use crate::error::ClsError;
use crate::render::{Tone, Ui};
use crate::site;

/// How long the nodes may take to answer.
const ASK: Duration = Duration::from_secs(20);

/// Show the configuration that is in force, and what differs from config.ini
///
/// Which config.ini is read, and whether the commands of every node read the same; the parameters that
/// the database has, and what cls_setup would change. No password is shown. Exit code 1 if anything
/// differs.
#[derive(Debug, Args)]
pub(crate) struct Config {}

/// Everything that is shown.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether nothing differs.
    same: bool,
    /// The file that is read here.
    config: String,
    /// The one that each node reads.
    copies: Vec<Copy>,
    /// The database's parameters.
    parameters: Vec<InForce>,
    /// What cls_setup would change.
    changes: Vec<String>,
    /// Other files on this node that could be taken for the one that is read.
    warnings: Vec<String>,
}

/// A node's file.
#[derive(Debug, Serialize)]
struct Copy {
    node: NodeName,
    /// Its path; none where the node does not say.
    file: Option<String>,
    state: Option<CopyState>,
    /// Why the node does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    silent: Option<Hindrance>,
}

impl Config {
    pub(crate) fn run(&self, session: &Session) -> Result<Outcome, ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(30));
        let deadline = Deadline::after(timeout);
        let config = site::config(session)?;
        let intent = design::intent(&config)?;
        let plan = plan(&config, &intent, deadline)?;
        let warnings = look::others(session, &config);
        let report = Report::new(&config, &plan, copies(&config, deadline), warnings);
        if session.ui.is_json() {
            session.ui.print_json(&report);
        } else {
            show(session, &report);
        }
        Ok(match report.same {
            true => Outcome::Done,
            false => Outcome::Check(1),
        })
    }
}

impl Report {
    fn new(
        config: &ClusterConfig,
        plan: &SetupPlan,
        copies: Vec<Copy>,
        warnings: Vec<String>,
    ) -> Self {
        let alike = |copy: &Copy| copy.state == Some(CopyState::Same);
        Self {
            same: plan.is_done() && copies.iter().all(alike),
            config: config.file.display().to_string(),
            copies,
            parameters: plan.in_force(),
            changes: plan.changes.iter().map(ToString::to_string).collect(),
            warnings,
        }
    }
}

/// The file of this node's commands.
pub(crate) fn own_copy(session: &Session) -> ConfigCopy {
    let file = site::file(session);
    ConfigCopy {
        checksum: checksum(&file),
        file: file.display().to_string(),
    }
}

fn copies(config: &ClusterConfig, deadline: Deadline) -> Vec<Copy> {
    let own = checksum(&config.file);
    let answers = site::ask_all(config, &["copy"], &[], deadline.sub_budget(ASK));
    let copies = answers.into_iter().map(|answer| {
        let copy = answer.text.and_then(|text| {
            let strange = "its cls answers in another form";
            serde_json::from_str::<ConfigCopy>(&text)
                .map_err(|_| Hindrance::new(strange, site::layout().same_version()))
        });
        let node = answer.node;
        match copy {
            Ok(copy) => Copy {
                node,
                state: Some(copy.state(own.as_deref())),
                file: Some(copy.file),
                silent: None,
            },
            Err(why) => Copy {
                node,
                state: None,
                file: None,
                silent: Some(why),
            },
        }
    });
    copies.collect()
}

fn show(session: &Session, report: &Report) {
    let ui = &session.ui;
    for copy in &report.copies {
        show_copy(ui, copy);
    }
    for warning in &report.warnings {
        ui.print(&format!("! {}", ui.wrapped(2, warning)));
    }
    if !session.common.quiet {
        ui.print(&format!(
            "\n{}",
            ui.paint(Tone::Heading, "Parameters of the database:")
        ));
        for parameter in &report.parameters {
            ui.print(&format!("  {}", ui.wrapped(4, &line(parameter))));
        }
    }
    if report.changes.is_empty() {
        let words = "the cluster has what config.ini says";
        ui.print(&format!("\n{}", ui.paint(Tone::Good, words)));
        return;
    }
    let words = "cls_setup would change:";
    ui.print(&format!("\n{}", ui.paint(Tone::Attention, words)));
    for change in &report.changes {
        ui.print(&format!("  {}", ui.wrapped(4, change)));
    }
    ui.print("     next: cls_setup --dry-run says what it costs; cls_setup makes it");
}

fn show_copy(ui: &Ui, copy: &Copy) {
    let node = &copy.node;
    let file = copy.file.as_deref().unwrap_or_default();
    let copies = format!(
        "{}, where the right one is, copies it to every node",
        site::layout().installer()
    );
    let (tone, says, next) = match (copy.state, &copy.silent) {
        (Some(CopyState::Same), _) => (Tone::Good, format!("reads {file}, the same"), None),
        (Some(CopyState::Other), _) => (
            Tone::Attention,
            format!("reads {file}, which has other contents"),
            Some(copies.as_str()),
        ),
        (Some(CopyState::Missing), _) => (
            Tone::Attention,
            format!("has no {file}"),
            Some(copies.as_str()),
        ),
        (None, silent) => {
            let why = silent.as_ref().map_or("", |silent| silent.why.as_str());
            let next = silent.as_ref().map(|silent| silent.remedy_or(site::LOOK));
            (Tone::Attention, format!("does not say: {why}"), next)
        }
    };
    let text = format!("{node}: {says}");
    ui.print(&ui.paint(tone, &ui.wrapped(0, &text)));
    if let Some(next) = next {
        ui.print(&format!("     next: {}", ui.wrapped(11, next)));
    }
}

/// A parameter, and what differs of it.
fn line(parameter: &InForce) -> String {
    let none = || "not given".to_owned();
    let value = parameter.value.clone().unwrap_or_else(none);
    let mut text = format!("{} = {value}", parameter.name);
    if !parameter.same {
        let wanted = parameter.wanted.clone().unwrap_or_else(none);
        text += &format!("  (config.ini: {wanted})");
    }
    for node in &parameter.other_on {
        text += &format!("  ({node} has the new value already)");
    }
    text
}
