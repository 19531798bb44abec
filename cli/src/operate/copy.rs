//! Repairing and rebuilding this node's standby: look, decide, perform, and look again.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pha_core::begun::Begun;
use pha_core::decide::operator::{
    CopyFacts, CopyKind, CopyPlan, CopyRequest, CopyStep, CopyVerdict, Method, OldData,
    is_still_so, plan_copy,
};
use pha_core::health::NotingCommand;
use pha_core::lineage::Lineage;
use pha_core::message;
use pha_core::names::NodeName;
use pha_host::change_lock::Held;
use pha_host::clock::Deadline;
use pha_host::node::pg_ctl;
use pha_host::pgctl::PgCtl;
use pha_host::process::{self, Signal};
use pha_host::rewind::Source;
use pha_host::sql::TextRows;
use pha_host::unfinished::Copies;
use serde_json::json;

use crate::app::{Outcome, Session};
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::{changing, elsewhere, lock};

mod aside;
mod configuration;
mod data;
mod facts;
mod register;
mod room;
mod start;

/// How long a copy may take unless `--timeout` says otherwise.
const DAY: Duration = Duration::from_secs(86_400);

/// How long a copy that was left behind may take to be gone once it was killed.
const GONE: Duration = Duration::from_secs(10);

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    /// `--node`.
    pub(crate) node: Option<String>,
    /// `--dry-run`.
    pub(crate) dry_run: bool,
    /// `--max-rate`.
    pub(crate) max_rate: Option<String>,
    /// `--waldir`.
    pub(crate) wal_dir: Option<PathBuf>,
    /// `--tablespace-mapping`.
    pub(crate) tablespaces: Vec<String>,
    /// `--ignore-space`.
    pub(crate) ignore_space: bool,
    /// `--accept-mark`.
    pub(crate) accepted_mark: Option<String>,
}

/// As which command it is noted.
fn noted(request: CopyRequest) -> NotingCommand {
    match request.kind {
        CopyKind::Repair => NotingCommand::RepairSlave,
        CopyKind::Rebuild => NotingCommand::RebuildSlave,
    }
}

/// One repair or rebuild on this node.
struct Work<'a> {
    session: &'a Session,
    cluster: Cluster,
    node: NodeName,
    pg: PgCtl,
    /// What root keeps of the copies into the data directory.
    copies: Copies,
    request: CopyRequest,
    order: &'a Order,
    deadline: Deadline,
    /// The system identifier of the primary's data, which this node is to have; what it has now may be
    /// another database's.
    system: Option<u64>,
    /// The standby was stopped by a constraint that has to go again.
    banned: bool,
    /// The source's timelines by name, once it is seen that it still is the primary.
    timelines: Option<Lineage>,
    /// A slot on the source that was made for the copy.
    slot: Option<String>,
    /// The source's tablespaces and their sizes, once it was asked.
    tablespaces: OnceCell<TextRows>,
    /// What was moved aside, and whether it may be started again.
    old: OldData,
    /// The node's change lock, until its data are whole again.
    changing: Option<Held>,
}

/// Runs the command, here or on the node that it is for.
pub(crate) fn run(
    session: &Session,
    request: CopyRequest,
    order: &Order,
) -> Result<Outcome, ClsError> {
    let deadline = Deadline::after(session.common.timeout.unwrap_or(DAY));
    let cluster = Cluster::look(session, deadline)?;
    cluster.require_whole(deadline)?;
    let (node, elsewhere) = elsewhere(
        session,
        &cluster,
        order.node.as_deref(),
        noted(request),
        deadline,
    )?;
    if let Some(outcome) = elsewhere {
        return Ok(outcome);
    }
    let pg = pg_ctl(&cluster.params).map_err(|refusal| {
        ClsError::refused(
            refusal.reason,
            message!("correct the resource's parameters"),
        )
    })?;
    let mut work = Work {
        session,
        cluster,
        node,
        copies: Copies::into(&pg.pgdata),
        pg,
        request,
        order,
        deadline,
        system: None,
        banned: false,
        timelines: None,
        slot: None,
        tablespaces: OnceCell::new(),
        old: OldData::default(),
        changing: None,
    };
    // First, so that what is decided is still so when it is done.
    let guard = if order.dry_run {
        None
    } else {
        Some(lock::acquire(
            session,
            &work.cluster,
            noted(request),
            deadline,
        )?)
    };
    let done = work.run();
    drop(guard);
    done.map(|()| Outcome::Done)
}

impl Work<'_> {
    fn run(&mut self) -> Result<(), ClsError> {
        let facts = self.facts()?;
        let plan = match plan_copy(&self.request, &facts) {
            CopyVerdict::Nothing(why) => {
                let sentence = self.session.ui.say(&why);
                self.session
                    .ui
                    .done(&sentence, json!({ "node": self.node }));
                return Ok(());
            }
            CopyVerdict::Refused(refusal) => return Err(refusal.into()),
            CopyVerdict::Go(plan) => plan,
        };
        self.show(&facts, &plan);
        let source = Source::new(&self.cluster.params, &plan.source);
        let mut moved = Vec::new();
        if plan.method == Method::Backup && facts.unfinished != Some(Begun::Backup) {
            // Before anything is done; what is refused is refused again when it is moved.
            let moves = self.moves(&plan, &source)?;
            moved.extend(moves.places.iter().map(|(_, place)| shown(place)));
            if !moved.is_empty() {
                let all = moved.join(", ");
                self.session
                    .ui
                    .progress(&format!("what is moved aside: {all}"));
            }
        }
        if self.order.dry_run {
            let sentence = format!(
                "{} would be copied from {}; nothing was done",
                self.node, plan.source
            );
            let steps: Vec<String> = plan
                .steps
                .iter()
                .map(|step| step.says(&facts, &plan))
                .collect();
            self.session.ui.done(
                &sentence,
                json!({ "node": self.node, "source": plan.source, "steps": steps, "aside": moved }),
            );
            return Ok(());
        }
        self.end_left_copies()?;
        let performed = self.perform(&facts, &plan, &source);
        let ended = self.put_in_order(&plan);
        performed?;
        ended?;
        self.report(&facts, &plan);
        Ok(())
    }

    fn show(&self, facts: &CopyFacts, plan: &CopyPlan) {
        if let Some(why) = &plan.because {
            self.session.ui.progress(&self.session.ui.say(&message!(
                "pg_rewind cannot work here ({why}), so the node is rebuilt",
                why
            )));
        }
        for (number, step) in (1..).zip(&plan.steps) {
            self.session
                .ui
                .progress(&format!("  {number}. {}", step.says(facts, plan)));
        }
    }

    /// A command that is killed leaves `pg_basebackup` or `pg_rewind` at work. It would go on to write
    /// what is old by now into the new copy, or remove the copy when it fails.
    fn end_left_copies(&self) -> Result<(), ClsError> {
        let pgdata = &self.pg.pgdata;
        let left =
            process::copies_into(pgdata, self.pg.user.uid()).map_err(|error| broken(&error))?;
        if left.is_empty() {
            return Ok(());
        }
        self.session
            .ui
            .progress("ending the copy that an earlier command has left at work");
        let deadline = self.deadline.sub_budget(GONE);
        for process in left {
            process
                .signal(Signal::KILL)
                .map_err(|error| broken(&error))?;
            if !process.wait_gone(deadline) {
                return Err(broken(&format!(
                    "process {} of an earlier copy into {} survives SIGKILL",
                    process.pid(),
                    pgdata.display()
                )));
            }
        }
        Ok(())
    }

    fn perform(
        &mut self,
        facts: &CopyFacts,
        plan: &CopyPlan,
        source: &Source,
    ) -> Result<(), ClsError> {
        for step in &plan.steps {
            if self.session.interrupt.is_set() {
                return Err(ClsError::Interrupted(step.says(facts, plan)));
            }
            if step.is_on_still_data() {
                self.hold_still(plan)?;
            }
            match step {
                CopyStep::TakeDown => self.take_down()?,
                CopyStep::Leave => self.leave()?,
                CopyStep::KeepConfiguration => self.keep_configuration()?,
                CopyStep::SetAside => self.set_aside(plan, source)?,
                CopyStep::Rewind => {
                    if let Some(why) = self.rewind(facts, plan, source)? {
                        self.or_rebuild(why, plan, source)?;
                    }
                }
                CopyStep::Backup => self.backup(plan, source)?,
                CopyStep::CheckSource => self.check_source(plan, source)?,
                CopyStep::RestoreConfiguration => self.restore_configuration()?,
                CopyStep::Cleanup => {
                    // The start needs it.
                    self.changing = None;
                    self.let_start()?;
                }
                CopyStep::Await => self.await_standby(plan)?,
            }
        }
        Ok(())
    }

    /// From here on nobody starts PostgreSQL on this node until its data are whole again, or the copy is given up;
    /// and what was planned holds still.
    fn hold_still(&mut self, plan: &CopyPlan) -> Result<(), ClsError> {
        if self.changing.is_some() {
            return Ok(());
        }
        let command = noted(self.request);
        self.changing = Some(changing(&self.cluster, command, self.deadline)?);
        let (runs, register) = (self.is_running(), self.register()?);
        let told = self.cluster.view.seen;
        let so = is_still_so(plan, &self.node, runs, register.as_ref(), told);
        so.map_err(|refusal| ClsError::from(*refusal))
    }

    /// Where `pg_rewind` cannot work: a rebuild if that was allowed, or what to type.
    fn or_rebuild(
        &mut self,
        error: ClsError,
        plan: &CopyPlan,
        source: &Source,
    ) -> Result<(), ClsError> {
        if !self.request.or_rebuild {
            return Err(error);
        }
        self.session
            .ui
            .progress(&format!("{error}; so the node is rebuilt"));
        self.set_aside(plan, source)?;
        self.backup(plan, source)
    }

    /// What must not stay, whatever became of the copy.
    fn put_in_order(&mut self, plan: &CopyPlan) -> Result<(), ClsError> {
        self.changing = None;
        let lifted = self.lift_ban();
        if let Some(slot) = self.slot.take() {
            self.drop_slot(plan, &slot);
        }
        lifted
    }

    fn report(&self, facts: &CopyFacts, plan: &CopyPlan) {
        let old: Vec<_> = self.old.aside.iter().map(|(old, _)| shown(old)).collect();
        let stays: Vec<_> = self.old.stays().into_iter().map(shown).collect();
        if !old.is_empty() {
            self.session.ui.progress(&format!(
                "the old data are in {}; remove all of it when it is of no more use",
                old.join(", ")
            ));
        }
        if !stays.is_empty() {
            self.session.ui.progress(&format!(
                "what of them is in {} was not moved; the new copy has other places",
                stays.join(", ")
            ));
        }
        let mut sentence = format!("slave recovery of {} successed", self.node);
        if facts.in_standby {
            sentence += &format!(
                "; the node is out of service: cls_unstandby_node {}",
                self.node
            );
        }
        let method = plan.method.to_string();
        self.session.ui.done(
            &sentence,
            json!({ "node": self.node, "source": plan.source, "method": method, "old_data": old, "not_moved": stays }),
        );
    }

    /// Marks the data directory as one that must not be started.
    fn mark(&self, plan: &CopyPlan, method: Method) -> Result<(), ClsError> {
        let mark = self.old.begun(method.into(), plan.source.as_str());
        self.copies.begin(&mark).map_err(|error| broken(&error))
    }
}

fn shown(place: &Path) -> String {
    place.display().to_string()
}

/// A step on this node's disk has failed.
fn broken(error: &dyn std::fmt::Display) -> ClsError {
    ClsError::failed(
        error.to_string(),
        message!("mend it, then give the command again"),
    )
}
