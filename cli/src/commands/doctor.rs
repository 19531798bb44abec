//! `cls_doctor`: what would hurt at three in the night.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use pha_core::cluster::WithoutQuorum;
use pha_core::dialect::{self, FENCING};
use pha_core::doctor::{Check, Examination, Level, NodeFacts};
use pha_core::hindrance::Hindrance;
use pha_core::message;
use pha_core::names::NodeName;
use pha_core::setup::{Change, Element, SetupPlan, SiteFacts, SiteFinding, other_copies};
use pha_core::status::Role;
use pha_host::clock::Deadline;
use pha_host::config::ClusterConfig;
use serde_json::json;

use super::Outcome;
use super::setup::cib::{plan, told};
use super::setup::design;
use crate::app::Session;
use crate::error::ClsError;
use crate::render::{Tone, width};
use crate::site;

pub(crate) mod facts;
pub(crate) mod running;

/// How many columns the longest word for a level takes.
const WORD: usize = 7;

/// Look on every node for what could go wrong, with what to do about it
///
/// One line each: ok, warning or error. Nothing is changed. Exit code 1 if there is an error.
#[derive(Debug, Args)]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) fn run(&self, session: &Session) -> Result<Outcome, ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(60));
        let deadline = Deadline::after(timeout);
        let config = site::config(session)?;
        let asking = session.ui.say(&message!("asking every node"));
        session.ui.progress(&asking);
        let checks = examine(&config, deadline)?.judge();
        show(session, &checks);
        let failed = checks.iter().any(|check| check.level == Level::Error);
        Ok(if failed {
            Outcome::Check(1)
        } else {
            Outcome::Done
        })
    }
}

fn show(session: &Session, checks: &[Check]) {
    let worst = checks.iter().map(|check| check.level).max();
    if session.ui.is_json() {
        session
            .ui
            .print_json(&json!({ "verdict": worst, "checks": checks }));
        return;
    }
    for check in checks {
        let (tone, word) = match check.level {
            Level::Ok => (Tone::Good, message!("ok")),
            Level::Warning => (Tone::Attention, message!("warning")),
            Level::Error => (Tone::Bad, message!("error")),
        };
        if session.common.quiet && check.level == Level::Ok {
            continue;
        }
        let ui = &session.ui;
        let place = check
            .node
            .as_ref()
            .map_or(String::new(), |node| format!("{node}: "));
        let remedy = check.remedy.as_ref().map_or(String::new(), |remedy| {
            // One line for a program, two and more for a reader.
            let begin = if ui.is_terminal() { "\n        " } else { "  " };
            format!("{begin}-> {}", ui.wrapped(11, &ui.say(remedy)))
        });
        let text = ui.wrapped(8, &format!("{}: {place}{}", check.id, ui.say(&check.text)));
        let word = ui.say(&word);
        let blank = " ".repeat(WORD.saturating_sub(width(&word)));
        let word = ui.paint(tone, &format!("{word}{blank}"));
        ui.print(&format!("{word} {text}{remedy}"));
    }
}

fn examine(config: &ClusterConfig, deadline: Deadline) -> Result<Examination, ClsError> {
    let intent = design::intent(config)?;
    let params = design::parsed(&intent.design.parameters)?;
    // Half of the time is for the nodes' answers, so that one that hangs leaves some for the rest.
    let budget = deadline.reserving(deadline.left() / 2);
    let nodes: BTreeMap<NodeName, Result<NodeFacts, Hindrance>> =
        site::ask_all(config, &["facts"], &[], budget)
            .into_iter()
            .map(|answer| {
                let facts = answer.text.and_then(|text| {
                    let strange = "its cls answers in another form";
                    serde_json::from_str(&text)
                        .map_err(|_| Hindrance::new(strange, site::layout().same_version()))
                });
                (answer.node, facts)
            })
            .collect();
    let plan = plan(config, &intent, deadline);
    let (monitor, fencing, without_quorum) = match &plan {
        Ok(plan) => (
            monitor_interval(plan),
            fencing(&plan.after),
            WithoutQuorum::of(|name| option(&plan.before, name)),
        ),
        Err(_) => (None, false, WithoutQuorum::default()),
    };
    let register = plan.as_ref().ok().and_then(|plan| told(plan, deadline));
    let site: BTreeMap<NodeName, SiteFacts> = nodes
        .iter()
        .filter_map(|(node, facts)| Some((node.clone(), facts.as_ref().ok()?.site.clone()?)))
        .collect();
    let file = config.file.display().to_string();
    let own = site::checksum(&config.file);
    let mut found: Vec<SiteFinding> = other_copies(site::layout(), &file, own.as_deref(), &site)
        .into_iter()
        .collect();
    if let Ok(plan) = &plan {
        found.extend(plan.judge_site(&intent.design, &site));
    }
    let set_up = plan.as_ref().is_ok_and(|plan| {
        let mut elements = plan.before.descendants();
        elements.any(|element| element.tag == "primitive" && element.id() == plan.database)
    });
    Ok(Examination {
        layout: site::layout(),
        set_up,
        site: found,
        params,
        clocks: clocks(config, deadline.sub_budget(Duration::from_secs(10))),
        nodes,
        setup: plan
            .map(|plan| plan.changes.iter().map(Change::message).collect())
            .map_err(|error| error.to_string()),
        monitor,
        register,
        fencing,
        without_quorum,
    })
}

/// How far each node's clock is ahead. The answer was given somewhere between question and reply.
fn clocks(config: &ClusterConfig, deadline: Deadline) -> BTreeMap<NodeName, (f64, f64)> {
    let asked = facts::now();
    let answers = site::ask_all(config, &["clock"], &[], deadline);
    let doubt = (facts::now() - asked) / 2.0;
    answers
        .into_iter()
        .filter_map(|answer| {
            let theirs: f64 = answer.text.ok()?.trim().parse().ok()?;
            Some((answer.node, (theirs - asked - doubt, doubt)))
        })
        .collect()
}

fn monitor_interval(plan: &SetupPlan) -> Option<u32> {
    let database = plan
        .after
        .descendants()
        .find(|element| element.tag == "primitive" && element.id() == plan.database)?;
    database
        .descendants()
        .filter(|op| op.tag == "op" && op.attribute("name") == Some("monitor"))
        .find(|op| dialect::role(op.attribute("role")) == Some(Role::Promoted))?
        .attribute("interval")?
        .trim_end_matches('s')
        .parse()
        .ok()
}

/// A cluster option as it is set.
fn option(configuration: &Element, name: &str) -> Option<String> {
    let mut elements = configuration.descendants();
    let set = elements.find(|element| element.attribute("name") == Some(name))?;
    set.attribute("value").map(str::to_owned)
}

fn fencing(configuration: &Element) -> bool {
    let on = |element: &Element| {
        let name = element.attribute("name");
        name.is_some_and(|name| FENCING.contains(&name))
            && element.attribute("value") != Some("false")
    };
    configuration.descendants().any(on)
}
