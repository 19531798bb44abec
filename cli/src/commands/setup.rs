//! `cls_setup`: Pacemaker's configuration, the lock service's tables and the passfiles, from
//! config.ini.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use pha_core::decide::operator::Course;
use pha_core::message;
use pha_core::message::Message;
use pha_core::names::{NodeName, and};
use pha_core::setup::Cost;
use pha_host::clock::Deadline;
use pha_host::config::ClusterConfig;
use pha_host::lock;
use serde_json::json;

use crate::app::Session;
use crate::error::ClsError;
use crate::site;
use crate::wait::{self, Look};

pub(crate) mod cib;
pub(crate) mod design;
pub(crate) mod lock_part;
pub(crate) mod look;
pub(crate) mod moved;
pub(crate) mod passfile;
mod remove;
mod restart;
mod work;

use super::restart::order::{self, Cause, Order};
use super::restart::round;
use cib::{plan, push, seen};
use design::Intent;
use lock_part::{lock_failed, lock_part};
use work::Work;

/// How long the look at the members may take that ends a move of the lock service, also where the time is up.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// Make the cluster's configuration from config.ini
///
/// Shows what will be changed, then changes it: the lock service's tables, the passfiles of every
/// node, and Pacemaker's configuration in one step. What is not its own stays; running it again
/// changes nothing. New databases are started by cls_start. Says what each change costs while the
/// database runs; one that restarts PostgreSQL is refused without --restart.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also make changes that restart a PostgreSQL that runs: on one node after the other, with a planned
    /// switch before the primary, where all nodes need not change at the same moment
    #[arg(long, conflicts_with = "remove")]
    restart: bool,
    /// With --restart: also where PostgreSQL has to be stopped on every node at the same time
    #[arg(long, requires = "restart")]
    together: bool,
    /// With --restart: also while a backup runs or a transaction has been open for a minute
    #[arg(long, requires = "restart")]
    force: bool,
    /// Where the lock service moves: this node is switched off, so that it does not go on with the old one
    #[arg(long, value_name = "NODE", conflicts_with = "remove")]
    off: Vec<String>,
    /// Take the database and its addresses out of Pacemaker's configuration; needs cls_stop first
    #[arg(long)]
    remove: bool,
}

impl Setup {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let usual = Duration::from_secs(if self.restart { 600 } else { 60 });
        let timeout = session.common.timeout.unwrap_or(usual);
        let deadline = Deadline::after(timeout);
        let config = site::config(session)?;
        let intent = design::intent(&config)?;
        if self.remove {
            return remove::take_away(session, &intent, self.dry_run, deadline);
        }
        let work = self.look(session, &config, &intent, deadline)?;
        session
            .ui
            .progress(&format!("from {}", config.file.display()));
        show(session, &work);
        let lines = work.lines();
        let restarts = work.restarts();
        let details = json!({
            "changes": lines,
            "kept": work.plan.kept,
            "warnings": work.warnings,
            "cost": if work.running.is_empty() { Cost::Nothing } else { work.plan.cost() },
            "restarts": restarts,
            "dry_run": self.dry_run,
            "config": config.file,
        });
        if lines.is_empty() {
            session.ui.done("nothing to change", details);
            return Ok(());
        }
        let known = restart::known(session, &work, deadline);
        let order = Order {
            cause: Cause::Parameters(&work.plan),
            settings: &known,
            force: self.force,
        };
        let course = restart::course(session, &work, &order, deadline);
        if self.dry_run {
            let sentence = dry_sentence(&restarts, course);
            session.ui.done(&sentence, details);
            return Ok(());
        }
        if !restarts.is_empty() && !self.restart {
            return Err(ClsError::refused(
                message!(
                    "PostgreSQL runs on {nodes} and would be restarted there by what is marked so: nothing was changed",
                    nodes = Message::all(restarts.iter().map(Message::from))
                ),
                message!(
                    "cls_setup --restart makes the change and restarts PostgreSQL (with --dry-run it says how); or undo the change in config.ini"
                ),
            ));
        }
        let course = course?;
        if let Some(course) = &course {
            order::may_go(course, self.together, "cls_setup --restart")?;
        }
        let begin = |course| round::begin(session, &order, course, "cls_setup --restart", deadline);
        let _guard = course.as_ref().map(begin).transpose()?.flatten();
        self.make(session, &intent, &work, deadline)?;
        if let Some(moved) = &work.moved {
            moved.before(deadline)?;
        }
        let done = match course {
            Some(course) => round::perform(session, order, &course, deadline).map(|ended| {
                let how = ended.says();
                format!("the cluster is set up, and PostgreSQL was restarted: {how}")
            }),
            None => plain(session, &work, deadline),
        };
        // What it means that a node has left comes before what else it has disturbed.
        if let Some(moved) = &work.moved {
            moved.after(Deadline::after(LAST_LOOK))?;
        }
        let done = done?;
        let next = work.moved.iter().flat_map(moved::Moving::next);
        let done = next.fold(done, |done, next| {
            format!("{done}. {}", session.ui.say(&next))
        });
        if !work.plan.is_done() {
            wait::until(session, "the new configuration", deadline, || {
                let left = plan(&config, &intent, deadline)?;
                Ok(match left.changes.first() {
                    None => Look::Done(()),
                    Some(change) => Look::Pending(format!("not yet: {change}")),
                })
            })?;
        }
        session.ui.done(&done, details);
        Ok(())
    }

    /// Everything that there is to change, and what is in its way.
    fn look(
        &self,
        session: &Session,
        config: &ClusterConfig,
        intent: &Intent,
        deadline: Deadline,
    ) -> Result<Work, ClsError> {
        let (mut plan, mut running, mut cluster) = seen(config, intent, deadline)?;
        if self.restart && !running.is_empty() {
            order::settled(session, deadline)?;
            (plan, running, cluster) = seen(config, intent, deadline)?;
        }
        let off = moved::off(config, &plan, &cluster, &self.off)?;
        let asked = without(config, &off);
        let mut warnings: Vec<Message> = intent
            .in_clear
            .iter()
            .map(|found| {
                let (what, why) = (found.what.as_str(), found.remedy);
                message!("{what}: {why}", what, why)
            })
            .collect();
        warnings.extend(look::others(session, config));
        warnings.extend(look::check(&asked, &intent.design, &plan, deadline)?);
        if !off.is_empty() && !intent.passfiles.is_empty() {
            warnings.push(message!(
                "the passfiles of {nodes} stay as they are: cls_setup again when it is on",
                nodes = Message::all(off.iter().map(Message::from))
            ));
        }
        if plan.makes_database() {
            remove::ready_for_database(config, deadline)?;
        }
        let lock = lock_part(config, intent, deadline)?;
        let moved = moved::judge(
            config,
            &plan,
            &cluster,
            &running,
            lock.as_ref(),
            &off,
            deadline,
        )?;
        let to_be_written = moved.as_ref().is_some_and(|moved| moved.to_be_written);
        warnings.extend(to_be_written.then(|| moved::warning(&cluster)));
        Ok(Work {
            running,
            plan,
            lock,
            moved,
            passfiles: passfiles(&asked, intent, true, deadline)?,
            asked,
            warnings,
        })
    }

    /// What is made besides Pacemaker's configuration.
    fn make(
        &self,
        session: &Session,
        intent: &Intent,
        work: &Work,
        deadline: Deadline,
    ) -> Result<(), ClsError> {
        if let Some(part) = work.lock.as_ref().filter(|part| part.change.is_some()) {
            session.ui.progress("lock service: making its tables");
            let made = lock::init(&part.info, &part.name, deadline);
            made.map_err(|trouble| lock_failed(&part.info, &trouble.to_string()))?;
        }
        if !work.passfiles.is_empty() {
            session.ui.progress("writing the passfiles of every node");
            passfiles(&work.asked, intent, false, deadline)?;
        }
        Ok(())
    }
}

/// How a dry run ends.
fn dry_sentence(restarts: &[&NodeName], course: Result<Option<Course>, ClsError>) -> String {
    let with = match &course {
        Ok(Some(Course::Together { .. })) => "--restart --together",
        _ => "--restart",
    };
    let course = match course {
        _ if restarts.is_empty() => return "nothing was changed: --dry-run".to_owned(),
        Ok(Some(course)) => course.to_string(),
        Ok(None) => format!("PostgreSQL restarts on {}", and(restarts)),
        Err(error) => format!("it would be refused now: {error}; {}", error.hint()),
    };
    format!("nothing was changed: --dry-run. With {with}, and not without: {course}")
}

/// Makes a change that restarts no PostgreSQL, and waits until Pacemaker has taken it up.
fn plain(session: &Session, work: &Work, deadline: Deadline) -> Result<String, ClsError> {
    let plan = &work.plan;
    if !plan.is_done() {
        session.ui.progress("changing Pacemaker's configuration");
        push(&plan.before, &plan.after, deadline)?;
        if let Some(moved) = &work.moved {
            moved.after(deadline)?;
        }
    }
    if !work.running.is_empty() && plan.cost() > Cost::Nothing {
        order::settled(session, deadline)?;
        order::nothing_failed(session)?;
    }
    let next = match work.running.is_empty() {
        true => "cls_start starts the database, ",
        false => "",
    };
    Ok(format!(
        "the cluster is set up; {next}cls_doctor looks for what could go wrong"
    ))
}

fn show(session: &Session, work: &Work) {
    if session.ui.is_json() || session.common.quiet {
        return;
    }
    let ui = &session.ui;
    let line = |before: &str, message: &Message| {
        ui.print(&format!("{before}{}", ui.wrapped(4, &ui.say(message))));
    };
    for change in work.lines() {
        line("", &change);
    }
    for kept in &work.plan.kept {
        line("  ", &message!("kept: {kept}", kept));
    }
    for warning in &work.warnings {
        line("! ", warning);
    }
    if !work.running.is_empty() && !work.plan.is_done() {
        line(
            "  ",
            &message!("cost in all: {cost}", cost = work.plan.cost().message()),
        );
    }
}

/// The same configuration for the nodes alone that can be asked.
fn without(config: &ClusterConfig, off: &BTreeSet<NodeName>) -> ClusterConfig {
    let mut asked = config.clone();
    asked.nodes.retain(|node| !off.contains(node));
    asked
}

/// Brings the passfiles of every node up to date, or with `check` only looks; which were not.
pub(crate) fn passfiles(
    config: &ClusterConfig,
    intent: &Intent,
    check: bool,
    deadline: Deadline,
) -> Result<Vec<String>, ClsError> {
    if intent.passfiles.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |what: &dyn std::fmt::Display, remedy: &str| {
        ClsError::refused(
            format!("the passfiles cannot be written: {what}"),
            format!("{remedy}; then cls_setup again"),
        )
    };
    let version = site::layout().same_version();
    let stdin = serde_json::to_vec(&intent.passfiles).map_err(|error| failed(&error, version))?;
    let words: &[&str] = if check {
        &["passfile", "--check"]
    } else {
        &["passfile"]
    };
    let mut changed = Vec::new();
    for answer in site::ask_all(
        config,
        words,
        &stdin,
        deadline.sub_budget(Duration::from_secs(20)),
    ) {
        let node = answer.node;
        let text = answer.text.map_err(|silence| {
            failed(
                &format!("{node}: {}", silence.why),
                silence.remedy_or(site::LOOK),
            )
        })?;
        let files: Vec<String> = serde_json::from_str(&text)
            .map_err(|error| failed(&format!("{node}: {error}"), version))?;
        changed.extend(files.iter().map(|file| format!("{file} on {node}")));
    }
    Ok(changed)
}
