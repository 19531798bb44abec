//! `cls_init`: a database on every node, roles, settings and the lock service's tables, from config.ini.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use pha_core::init::{InitAction, InitFacts, InitFinding, InitLock, InitPlan, InitSite, InitStep};
use pha_core::message::Message;
use pha_core::names::NodeName;
use pha_core::params::Params;
use pha_host::clock::Deadline;
use pha_host::config::ClusterConfig;
use pha_host::conninfo::{Conninfo, ConninfoError};
use pha_host::lock::{self, Details, LockName, Shown};
use serde_json::json;

use super::setup::design::{self, Intent};
use super::setup::{cib, lock_part, look as site_look};
use crate::app::Session;
use crate::error::ClsError;
use crate::site;

pub(crate) mod look;
pub(crate) mod node;
mod perform;

/// How long all of it may take unless `--timeout` says otherwise: a copy is as large as the database.
const DAY: Duration = Duration::from_secs(86_400);
/// How long the nodes may take to answer.
const ASK: Duration = Duration::from_secs(30);
/// How long it may take to stop what was started, whatever time is left.
const STOP: Duration = Duration::from_secs(300);
/// How long the lock service may take to answer.
const LOCK: Duration = Duration::from_secs(10);

/// What to type after a step that has failed.
const AGAIN: &str = "mend it, then cls_init again: it goes on where it was";

fn failed(what: &dyn std::fmt::Display) -> ClsError {
    ClsError::failed(what.to_string(), AGAIN)
}

/// Prepare the nodes of a new cluster: databases, roles, settings, the lock service
///
/// Shows what there is to do, and does it with --yes: a database where no node has one, or a copy of the one
/// that a node has; settings and lines of pg_hba.conf that are missing, between marks; the roles without
/// superuser, those of a new database with new passwords where config.ini has none; the tables of the lock service. Data that are
/// there are never written over; running it again does what is left. cls_setup and cls_start come next.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Do what was shown
    #[arg(long)]
    yes: bool,
    /// The locale of a new database (its encoding is UTF8)
    #[arg(long, default_value = "C.UTF-8", value_name = "LOCALE")]
    locale: String,
    /// Connection string of a superuser of the lock service (the same host, port and dbname), who makes the
    /// cluster's role, the tables and the rights there; its password belongs into root's passfile
    #[arg(long, value_name = "CONNINFO", value_parser = without_password)]
    lock_admin: Option<Box<Conninfo>>,
}

/// What a command line has, every account of the machine can read.
fn without_password(text: &str) -> Result<Box<Conninfo>, String> {
    let info: Conninfo = text
        .parse()
        .map_err(|error: ConninfoError| error.to_string())?;
    match info.password {
        None => Ok(Box::new(info.or_application_name("cls"))),
        Some(_) => Err("its password belongs into root's ~/.pgpass (mode 0600)".to_owned()),
    }
}

/// What the command works on.
struct Work<'a> {
    session: &'a Session,
    config: ClusterConfig,
    intent: Intent,
    params: Params,
    /// The roles of which config.ini has the password.
    given: Vec<String>,
    lock: Option<(Conninfo, LockName)>,
    administrator: Option<&'a Conninfo>,
    locale: &'a str,
    deadline: Deadline,
}

impl Init {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let deadline = Deadline::after(session.common.timeout.unwrap_or(DAY));
        let config = site::config(session)?;
        let intent = design::intent(&config)?;
        let params = design::parsed(&intent.design.parameters)?;
        let given = given(&config)?;
        let work = Work {
            session,
            lock: lock_part::lock_name(&config, &intent)?,
            config,
            intent,
            params,
            given,
            administrator: self.lock_admin.as_deref(),
            locale: &self.locale,
            deadline,
        };
        work.require_one_lock_service()?;
        let (plan, warnings) = work.look()?;
        work.show(&plan, &warnings);
        let details = json!({
            "steps": plan.steps.iter().map(described).collect::<Vec<_>>(),
            "refused": plan.refused,
            "remains": plan.remains,
            "warnings": warnings,
            "done": self.yes,
            "config": work.config.file,
        });
        if !plan.refused.is_empty() {
            return Err(refused(&plan.refused));
        }
        let next = "cls_setup, then cls_start";
        if plan.steps.is_empty() {
            let sentence = match plan.remains.is_empty() {
                true => format!("nothing to do; a new cluster goes on with {next}"),
                false => format!("nothing to do but what is left to you; then {next}"),
            };
            session.ui.done(&sentence, details);
            return Ok(());
        }
        if !self.yes {
            session
                .ui
                .done("nothing was changed: cls_init --yes does it", details);
            return Ok(());
        }
        work.perform(&plan)?;
        let (left, _) = work.look()?;
        if let Some(step) = left.steps.first() {
            return Err(ClsError::failed(
                format!("it was done, and is not so: {step}"),
                "look whether something else sets that (postgresql.auto.conf, an included file, pgsql_start_opt); then cls_init again",
            ));
        }
        let sentence = match left.remains.is_empty() {
            true => format!("the nodes are prepared; {next}"),
            false => format!("the nodes are prepared but for what is left to you; then {next}"),
        };
        session.ui.done(&sentence, details);
        Ok(())
    }
}

/// The roles of which config.ini has the password.
fn given(config: &ClusterConfig) -> Result<Vec<String>, ClsError> {
    let params = design::parsed(&config.agent)?;
    let mut options = params.primary_conninfo_opt.iter();
    let replication =
        config.replication_password.is_some() || options.any(|(keyword, _)| keyword == "password");
    let replication = replication.then_some(params.repuser);
    let monitor = params.monitor_password.and(params.monitor_user);
    Ok(replication.into_iter().chain(monitor).collect())
}

/// A step for JSON: with its identifier and its sentence.
fn described(step: &InitStep) -> serde_json::Value {
    json!({ "id": step.action.id(), "node": step.node, "text": step.to_string() })
}

fn refused(findings: &[InitFinding]) -> ClsError {
    match findings {
        [one] => {
            let shown = InitFinding {
                remedy: "nothing was changed".to_owned(),
                ..one.clone()
            };
            ClsError::refused(shown.to_string(), one.remedy.as_str())
        }
        many => {
            let lines: Vec<String> = many.iter().map(|one| format!("\n  {one}")).collect();
            ClsError::refused(
                format!(
                    "{} things are in the way, and nothing was changed:{}",
                    many.len(),
                    lines.concat()
                ),
                "mend them all, then cls_init again",
            )
        }
    }
}

/// What a row amounts to.
fn of_row(row: &Details) -> InitLock {
    let term = row.columns.get("term").and_then(serde_json::Value::as_i64);
    let owner = row.columns.get("owner").and_then(serde_json::Value::as_str);
    InitLock::of_row(term, owner, row.is_migrated())
}

impl Work<'_> {
    /// Asks every node and the lock service, and makes the plan.
    fn look(&self) -> Result<(InitPlan, Vec<Message>), ClsError> {
        let stdin = serde_json::to_vec(&self.intent.design.parameters);
        let stdin = stdin.map_err(|error| failed(&error))?;
        let mut facts: BTreeMap<NodeName, InitFacts> = BTreeMap::new();
        let mut silent = Vec::new();
        let limit = self.deadline.sub_budget(ASK);
        for answer in site::ask_all(&self.config, &["init-look"], &stdin, limit) {
            let version = site::layout().same_version();
            let told = answer.text.and_then(|text| {
                serde_json::from_str(&text).map_err(|_| {
                    pha_core::hindrance::Hindrance::new("its cls answers in another form", version)
                })
            });
            match told {
                Ok(told) => drop(facts.insert(answer.node, told)),
                Err(why) => silent.push(InitFinding {
                    id: "nodes",
                    nodes: vec![answer.node],
                    what: format!("it cannot be asked: {}", why.why),
                    remedy: why.remedy_or(site::LOOK).to_owned(),
                }),
            }
        }
        let (configured, pacemaker) = self.pacemaker()?;
        let site = InitSite {
            nodes: &self.config.nodes,
            params: &self.params,
            writer: self.config.writer_vip,
            reader: self.config.reader_vip,
            given: &self.given,
            locale: self.locale,
            configured,
            administrator: self.administrator.is_some(),
        };
        let mut plan = match silent.is_empty() {
            true => InitPlan::make(&site, &facts, &self.lock_state()?),
            false => InitPlan {
                refused: silent,
                ..InitPlan::default()
            },
        };
        plan.remains.extend(pacemaker);
        Ok((plan, site_look::others(self.session, &self.config)))
    }

    /// Whether Pacemaker's configuration has the database, and what is to be done before it can.
    fn pacemaker(&self) -> Result<(bool, Option<InitFinding>), ClsError> {
        let finding = |nodes: Vec<NodeName>, what: &str| {
            InitFinding {
            id: "pacemaker",
            nodes,
            what: what.to_owned(),
            remedy: "the same /etc/corosync/corosync.conf on every node (part 2 of the manual's installation), and on each: systemctl enable corosync pacemaker && systemctl restart corosync pacemaker".to_owned(),
        }
        };
        match cib::known(&self.config, &self.intent, self.deadline) {
            Ok((configured, unknown)) if unknown.is_empty() => Ok((configured, None)),
            Ok((configured, unknown)) => {
                let what = "Pacemaker does not know these nodes yet";
                Ok((configured, Some(finding(unknown, what))))
            }
            Err(ClsError::NoCluster) => {
                let here = site::this_node(&self.config.nodes).cloned();
                let what = "Pacemaker does not run";
                Ok((false, Some(finding(here.into_iter().collect(), what))))
            }
            Err(error) => Err(error),
        }
    }

    /// What the administrator makes elsewhere would be no use to the cluster, and its role's password would
    /// be another one by then.
    fn require_one_lock_service(&self) -> Result<(), ClsError> {
        let (Some(admin), Some((info, _))) = (self.administrator, &self.lock) else {
            return Ok(());
        };
        let at = |info: &Conninfo| -> Vec<(String, u16)> {
            let servers = info.servers.iter();
            servers.map(|one| (one.host.clone(), one.port)).collect()
        };
        let (servers, database) = (at(info), info.database());
        if at(admin).iter().all(|one| servers.contains(one)) && admin.database() == database {
            return Ok(());
        }
        Err(ClsError::refused(
            format!(
                "--lock-admin connects to {admin}, and the cluster to {info}: nothing was changed"
            ),
            "give --lock-admin the same host, port and dbname as pgsql_distlock_conninfo has",
        ))
    }

    /// What the lock service says to the cluster's own role, or to its administrator.
    fn lock_state(&self) -> Result<InitLock, ClsError> {
        let Some((info, name)) = &self.lock else {
            return Ok(InitLock::None);
        };
        let shown = |info: &Conninfo| lock::show(info, name, self.deadline.sub_budget(LOCK));
        let why = match shown(info) {
            Ok(Shown::Row(row)) => return Ok(of_row(&row)),
            Ok(Shown::NoRow | Shown::NoTable(_)) => return Ok(InitLock::Lacking),
            Err(trouble) => trouble.to_string(),
        };
        let used = match self.administrator.map(shown) {
            None | Some(Ok(Shown::NoRow | Shown::NoTable(_))) => false,
            Some(Ok(Shown::Row(row))) => of_row(&row) == InitLock::Used,
            Some(Err(trouble)) => {
                return Err(ClsError::refused(
                    format!("--lock-admin cannot be used: {trouble}; nothing was changed"),
                    "correct it, or its password in root's passfile",
                ));
            }
        };
        Ok(InitLock::Silent { why, used })
    }

    fn show(&self, plan: &InitPlan, warnings: &[Message]) {
        let session = self.session;
        let file = self.config.file.display();
        session.ui.progress(&format!("from {file}"));
        if session.ui.is_json() || session.common.quiet {
            return;
        }
        for (number, step) in (1..).zip(&plan.steps) {
            let line = session.ui.wrapped(5, &step.to_string());
            session.ui.print(&format!("{number:>3}. {line}"));
        }
        for finding in &plan.remains {
            let line = session.ui.wrapped(2, &format!("left to you: {finding}"));
            session.ui.print(&format!("! {line}"));
        }
        for warning in warnings {
            let line = session.ui.wrapped(2, &session.ui.say(warning));
            session.ui.print(&format!("! {line}"));
        }
    }

    fn perform(&self, plan: &InitPlan) -> Result<(), ClsError> {
        let mut started = None;
        let performed = self.steps(plan, &mut started);
        // What was started is stopped again, whatever became of the steps.
        let stopped = match started {
            Some(node) => self.order(&node, &InitAction::Stop, Deadline::after(STOP)),
            None => Ok(()),
        };
        performed.and(stopped)
    }

    fn steps(&self, plan: &InitPlan, started: &mut Option<NodeName>) -> Result<(), ClsError> {
        for step in &plan.steps {
            if self.session.interrupt.is_set() {
                return Err(ClsError::Interrupted(step.to_string()));
            }
            self.session.ui.progress(&step.to_string());
            match (&step.action, &step.node) {
                (InitAction::Passfiles { generated }, _) => self.passfiles(generated)?,
                (InitAction::LockService, _) => self.lock_service()?,
                (action, Some(node)) => {
                    match action {
                        InitAction::Start => *started = Some(node.clone()),
                        InitAction::Stop => *started = None,
                        _ => {}
                    }
                    self.order(node, action, self.deadline)?;
                }
                (_, None) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_taken_from_a_command_line() {
        assert!(without_password("host=node3 user=postgres").is_ok());
        let refused = without_password("host=node3 user=postgres password=geheim");
        assert!(refused.is_err_and(|why| why.contains("pgpass") && !why.contains("geheim")));
    }
}
