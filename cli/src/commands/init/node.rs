//! A step on this node.

use std::collections::BTreeMap;
use std::time::Duration;

use pha_core::begun::Begun;
use pha_core::init::block::Place;
use pha_core::init::{InitAction, Setting};
use pha_core::params::Params;
use pha_host::basebackup::Backup;
use pha_host::clock::Deadline;
use pha_host::local;
use pha_host::node;
use pha_host::pgctl::{PgCtl, Started, StopMode, Stopped};
use pha_host::postgres::prepare::RolesError;
use pha_host::rewind::Source;
use serde::{Deserialize, Serialize};

use super::failed;
use crate::app::Session;
use crate::commands::setup::design;
use crate::error::ClsError;

/// How long a step may take that is not a copy.
const STEP: Duration = Duration::from_secs(300);
/// How long a fast stop may take before it is an immediate one.
const STOP: Duration = Duration::from_secs(60);
/// How long a copy may take; who gave the command ends it before.
const DAY: Duration = Duration::from_secs(86_400);

/// What a node is told to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The agent's parameters; without passwords.
    pub(crate) parameters: BTreeMap<String, String>,
    /// The step.
    pub(crate) action: InitAction,
}

/// Does it.
///
/// # Errors
/// [`ClsError::Failed`].
pub(crate) fn run(session: &Session, order: &Order) -> Result<(), ClsError> {
    let params = design::parsed(&order.parameters)?;
    let pg = node::pg_ctl(&params).map_err(|refusal| failed(&refusal.reason))?;
    let deadline = Deadline::after(STEP);
    match &order.action {
        InitAction::Initdb {
            locale,
            settings,
            hba,
            ..
        } => {
            let made = pg.initdb(locale, &lines(settings)?, hba, deadline);
            made.map_err(|error| {
                ClsError::failed(
                    error.to_string(),
                    "where it is the locale, another one with --locale (locale -a): cls_init again",
                )
            })
        }
        InitAction::Settings { settings } => {
            let added = pg.add_lines(&pg.config, Place::End, &lines(settings)?);
            added.map(drop).map_err(|error| failed(&error))
        }
        InitAction::Hba { lines } => {
            let file = pg.hba_file(deadline).map_err(|error| failed(&error))?;
            let added = pg.add_lines(&file, Place::Top, lines);
            added.map(drop).map_err(|error| failed(&error))
        }
        InitAction::Start => match pg.start(None, deadline) {
            Ok(Started::Ready) => Ok(()),
            Ok(Started::Recovering) => Err(failed(&"PostgreSQL still recovers after five minutes")),
            Err(error) => Err(failed(&error)),
        },
        InitAction::Roles { generated } => roles(&params, &pg, generated, deadline),
        InitAction::Copy { source, .. } => {
            let source_name = source.as_str();
            let source = Source::new(&params, source);
            let (ended, deadline) = (session.interrupt.flag(), Deadline::after(DAY));
            let copy = || pg.basebackup(&source, &Backup::default(), ended, deadline);
            let copied = pg.marked(Begun::Backup, source_name, copy);
            copied.map_err(|error| failed(&error))
        }
        InitAction::Stop => stop(&pg, deadline),
        // What is done from where the command was given.
        InitAction::Passfiles { .. } | InitAction::LockService => Ok(()),
    }
}

/// The lines of a configuration file.
fn lines(settings: &[Setting]) -> Result<Vec<String>, ClsError> {
    let lines: Option<Vec<String>> = settings.iter().map(Setting::line).collect();
    lines.ok_or_else(|| failed(&"a setting has a control character"))
}

fn roles(
    params: &Params,
    pg: &PgCtl,
    generated: &[String],
    deadline: Deadline,
) -> Result<(), ClsError> {
    // The role for monitoring is one of those that are made.
    let own = Params {
        monitor_user: None,
        monitor_password: None,
        ..params.clone()
    };
    let postgres = local::postgres(&own, &pg.user, "cls");
    postgres
        .ensure_roles(params, generated, deadline)
        .map_err(|error| match error {
            RolesError::Known(_) => ClsError::failed(
                error.to_string(),
                "give it in config.ini (pgsql_reppassword, pgsql_monitor_password), then cls_init again",
            ),
            RolesError::Postgres(error) => failed(&error),
        })
}

fn stop(pg: &PgCtl, deadline: Deadline) -> Result<(), ClsError> {
    let stopped = pg.stop(StopMode::Fast, deadline.sub_budget(STOP));
    match stopped.map_err(|error| failed(&error))? {
        Stopped::WasNotRunning | Stopped::Ended => Ok(()),
        Stopped::StillRunning(_) => Err(ClsError::failed(
            "PostgreSQL does not stop: somebody is connected, or it archives its last WAL",
            "pg_ctl stop -m fast there; then cls_init again",
        )),
    }
}
