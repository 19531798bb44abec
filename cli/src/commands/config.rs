//! `cls_config`: the configuration that is in force on every node.

use std::time::Duration;

use clap::Args;
use pha_core::hindrance::Hindrance;
use pha_core::message;
use pha_core::message::Message;
use pha_core::names::NodeName;
use pha_core::setup::{Change, ConfigCopy, CopyState, InForce, SetupPlan};
use pha_host::clock::Deadline;
use pha_host::config::ClusterConfig;
use serde::Serialize;

use super::Outcome;
use super::setup::cib::plan;
use super::setup::{design, look};
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
    changes: Vec<Message>,
    /// Other files on this node that could be taken for the one that is read.
    warnings: Vec<Message>,
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
        warnings: Vec<Message>,
    ) -> Self {
        let alike = |copy: &Copy| copy.state == Some(CopyState::Same);
        Self {
            same: plan.is_done() && copies.iter().all(alike),
            config: config.file.display().to_string(),
            copies,
            parameters: plan.in_force(),
            changes: plan.changes.iter().map(Change::message).collect(),
            warnings,
        }
    }
}

/// The file of this node's commands.
pub(crate) fn own_copy(session: &Session) -> ConfigCopy {
    let file = site::file(session);
    ConfigCopy {
        checksum: site::checksum(&file),
        file: file.display().to_string(),
    }
}

fn copies(config: &ClusterConfig, deadline: Deadline) -> Vec<Copy> {
    let own = site::checksum(&config.file);
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
        ui.print(&format!("! {}", ui.wrapped(2, &ui.say(warning))));
    }
    if !session.common.quiet {
        let heading = ui.say(&message!("Parameters of the database:"));
        ui.print(&format!("\n{}", ui.paint(Tone::Heading, &heading)));
        for parameter in &report.parameters {
            let line = ui.say(&line(parameter));
            ui.print(&format!("  {}", ui.wrapped(4, &line)));
        }
    }
    if report.changes.is_empty() {
        let words = ui.say(&message!("the cluster has what config.ini says"));
        ui.print(&format!("\n{}", ui.paint(Tone::Good, &words)));
        return;
    }
    let words = ui.say(&message!("cls_setup would change:"));
    ui.print(&format!("\n{}", ui.paint(Tone::Attention, &words)));
    for change in &report.changes {
        ui.print(&format!("  {}", ui.wrapped(4, &ui.say(change))));
    }
    let next = message!("cls_setup --dry-run says what it costs; cls_setup makes it");
    ui.next(5, &next);
}

fn show_copy(ui: &Ui, copy: &Copy) {
    let node = &copy.node;
    let file = copy.file.as_deref().unwrap_or_default();
    let copies = || Some(site::layout().copies());
    let (tone, says, next) = match (copy.state, &copy.silent) {
        (Some(CopyState::Same), _) => (
            Tone::Good,
            message!("{node}: reads {file}, the same", node, file),
            None,
        ),
        (Some(CopyState::Other), _) => (
            Tone::Attention,
            message!("{node}: reads {file}, which has other contents", node, file),
            copies(),
        ),
        (Some(CopyState::Missing), _) => (
            Tone::Attention,
            message!("{node}: has no {file}", node, file),
            copies(),
        ),
        (None, silent) => {
            let why = silent.as_ref().map_or("", |silent| silent.why.as_str());
            let next = silent.as_ref().map(|silent| match &silent.remedy {
                Some(remedy) => remedy.into(),
                None => message!("cls_doctor says what is in the way"),
            });
            (
                Tone::Attention,
                message!("{node}: does not say: {why}", node, why),
                next,
            )
        }
    };
    ui.print(&ui.paint(tone, &ui.wrapped(0, &ui.say(&says))));
    if let Some(next) = next {
        ui.next(5, &next);
    }
}

/// A parameter, and what differs of it.
fn line(parameter: &InForce) -> Message {
    let given = |value: &Option<String>| match value {
        Some(value) => value.into(),
        None => message!("not given"),
    };
    let (name, value) = (&parameter.name, given(&parameter.value));
    let line = match parameter.same {
        true => message!("{name} = {value}", name, value),
        false => message!(
            "{name} = {value}  (config.ini: {wanted})",
            name,
            value,
            wanted = given(&parameter.wanted)
        ),
    };
    parameter.other_on.iter().fold(line, |line, node| {
        message!("{line}  ({node} has the new value already)", line, node)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pha_tests::schema::follows_the_schema;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_document_is_that_of_the_schema() {
        let node: NodeName = "node2".parse().unwrap();
        let copy = |state, silent| Copy {
            node: node.clone(),
            file: Some("/etc/pha4pgsql/config.ini".to_owned()),
            state,
            silent,
        };
        let report = Report {
            same: false,
            config: "/etc/pha4pgsql/config.ini".to_owned(),
            copies: vec![
                copy(Some(CopyState::Same), None),
                copy(Some(CopyState::Other), None),
                copy(Some(CopyState::Missing), None),
                copy(None, Some(Hindrance::new("off", "start it"))),
            ],
            parameters: vec![InForce {
                name: "rep_mode".to_owned(),
                value: None,
                wanted: Some("sync".to_owned()),
                same: false,
                other_on: vec![node.clone()],
            }],
            changes: vec!["+ x".into()],
            warnings: vec!["y".into()],
        };
        let mut document = serde_json::to_value(&report).unwrap();
        document["version"] = json!(1);
        follows_the_schema(&document, "cls_config");
        let line = line(&report.parameters[0]);
        let chinese = line.in_language(pha_core::message::Language::Chinese);
        assert_eq!(
            chinese,
            "rep_mode = 未设置  （config.ini：sync）  （node2 已是新值）"
        );
    }
}
