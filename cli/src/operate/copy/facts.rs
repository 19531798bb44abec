//! What is observed before anything is done.

use std::time::Duration;

use pha_core::begun::is_nothing;
use pha_core::decide::may_run;
use pha_core::decide::operator::{CopyFacts, Data, Instance};
use pha_core::lineage::Kinship;
use pha_core::message;
use pha_core::parse::controldata::State;
use pha_core::postgres::{PrimaryView, ServerView};
use pha_core::register::Reading;
use pha_core::server_program::ServerProgram;
use pha_host::missing;
use pha_host::node::memory_file;
use pha_host::record::RecordFile;
use pha_host::rewind::Source;

use super::{Work, broken};
use crate::error::ClsError;
use crate::operate::{ASK, usable};
use crate::wait::{self, Look};

/// How long Pacemaker may be at work on the node before that counts as a reason not to begin.
const SETTLE: Duration = Duration::from_secs(20);
/// How long the programs that read the data directory may take.
const READ: Duration = Duration::from_secs(30);

impl Work<'_> {
    pub(super) fn facts(&mut self) -> Result<CopyFacts, ClsError> {
        self.settle()?;
        let cluster = &self.cluster;
        let promoted: Vec<_> = cluster.view.promoted().cloned().collect();
        let repl_info = cluster.view.repl_info().map(|info| info.node.clone());
        let in_standby = cluster.node(&self.node).standby;
        let unfinished = self.unfinished()?;
        let primary_system = match &promoted[..] {
            [primary] if *primary != self.node => {
                Some(self.primary_system(&Source::new(&cluster.params, primary))?)
            }
            _ => None,
        };
        self.system = primary_system.map(|(system, _)| system);
        let register = self.register()?;
        let instance = self.instance()?;
        let kinship = match instance {
            Instance::Stopped => self.kinship(register.as_ref()),
            _ => None,
        };
        let cluster = &self.cluster;
        Ok(CopyFacts {
            kinship,
            lacking: self.pg.missing(ServerProgram::ALL),
            node: self.node.clone(),
            replicated: cluster.params.rep_mode.replicated(),
            register,
            seen: cluster.view.seen,
            instance,
            data: self.data()?,
            managed: cluster.view.managed,
            unfinished: unfinished.map(|mark| mark.method),
            promoted,
            repl_info,
            in_standby,
            primary_system,
        })
    }

    /// What the data are to the register's timelines, where that can be told.
    pub(super) fn kinship(&self, register: Option<&Reading>) -> Option<Kinship> {
        let Some(Reading::Row(row)) = register else {
            return None;
        };
        let file = RecordFile::beside(&memory_file(&self.cluster.resource));
        let deadline = self.deadline.sub_budget(READ);
        let known = &row.timelines.lineage;
        let (_, kinship) = file.kinship(&self.pg, known, deadline).ok()?;
        Some(kinship)
    }

    /// Lets Pacemaker finish what it is at.
    fn settle(&mut self) -> Result<(), ClsError> {
        let what = format!("Pacemaker to be done on {}", self.node);
        let deadline = self.deadline.sub_budget(SETTLE);
        let settled = wait::until(self.session, &what, deadline, || {
            let cluster = self.cluster.again(self.session)?;
            Ok(match cluster.view.pending(&self.node) {
                Some(pending) => Look::Pending(pending),
                None => Look::Done(cluster),
            })
        });
        match settled {
            Ok(cluster) => self.cluster = cluster,
            Err(ClsError::TimedOut { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) fn register(&self) -> Result<Option<Reading>, ClsError> {
        let Some(service) = self.cluster.lock_service_of(self.system) else {
            return Ok(None);
        };
        let mut service = usable(service)?;
        Ok(Some(service.read(self.deadline.sub_budget(ASK))))
    }

    fn instance(&self) -> Result<Instance, ClsError> {
        let node = self.cluster.node(&self.node);
        let process = self.pg.surely_running().map_err(|error| broken(&error))?;
        Ok(Instance::of(
            self.cluster.view.pending(&self.node),
            node.role(),
            process,
            node.streams(),
        ))
    }

    /// Whether a server works in the data directory, or that cannot be told.
    pub(super) fn is_running(&self) -> bool {
        may_run(&self.pg.surely_running())
    }

    fn data(&self) -> Result<Data, ClsError> {
        let pgdata = &self.pg.pgdata;
        let names = self.pg.user.files().names(pgdata, "");
        let names = names.map_err(|error| broken(&error))?.unwrap_or_default();
        if is_nothing(&names) {
            self.require_mounted()?;
            self.require_empty(&names)?;
            return Ok(Data::Nothing);
        }
        let deadline = self.deadline.sub_budget(READ);
        let read = self.pg.data_version().and_then(|version| {
            let control = self.pg.controldata(deadline)?;
            Ok((version, control))
        });
        Ok(match read {
            Err(error) => Data::Unreadable(error.to_string()),
            Ok((version, control)) => Data::Cluster {
                major: version.major(),
                clean: matches!(control.state, State::ShutDown | State::ShutDownInRecovery),
                rewindable: control.can_be_rewound(),
                system: control.system_identifier,
            },
        })
    }

    /// What is copied into a mount point fills the file system below, and lies under the data when theirs
    /// is mounted again.
    fn require_mounted(&self) -> Result<(), ClsError> {
        let Some(point) = missing::unmounted(&self.pg.pgdata) else {
            return Ok(());
        };
        let (point, node) = (point.display().to_string(), &self.node);
        Err(ClsError::refused(
            message!(
                "{pgdata} is empty, and nothing is mounted on {point} on {node}, which its /etc/fstab names",
                pgdata = self.pg.pgdata.display().to_string(),
                point,
                node
            ),
            message!(
                "on {node}: mount {point}, then cls_cleanup --node {node}; where that file system is not to be used any more, take its line out of /etc/fstab, then give the command again",
                node,
                point
            ),
        ))
    }

    fn require_empty(&self, names: &[String]) -> Result<(), ClsError> {
        if names.is_empty() {
            return Ok(());
        }
        let (pgdata, node) = (self.pg.pgdata.display().to_string(), &self.node);
        Err(ClsError::refused(
            message!(
                "{pgdata} is the root of a file system (lost+found is in it), and pg_basebackup copies into an empty directory only",
                pgdata
            ),
            message!(
                "on {node}: rmdir {pgdata}/lost+found (fsck makes it again where it needs one), or make a directory below it the data directory; then give the command again",
                node,
                pgdata
            ),
        ))
    }

    fn primary_system(&self, source: &Source) -> Result<(u64, u32), ClsError> {
        let (view, _) = self.source_view(source)?;
        let system = view.system;
        let system =
            system.ok_or_else(|| broken(&"the primary did not tell its system identifier"));
        Ok((system?, view.version / 10_000))
    }

    /// What the source says about itself, and as which primary.
    pub(super) fn source_view(
        &self,
        source: &Source,
    ) -> Result<(ServerView, PrimaryView), ClsError> {
        let deadline = self.deadline.sub_budget(READ);
        let postgres = source.postgres(&self.pg).map_err(refused)?;
        let view = postgres
            .view(deadline)
            .map_err(|e| refused(e.to_string()))?;
        match view.primary().cloned() {
            Some(primary) => Ok((view, primary)),
            None => Err(ClsError::Disagree(
                "the promoted node's PostgreSQL is in recovery".to_owned(),
            )),
        }
    }

    /// Rows of one statement on the source, by its node's own address, as the copy itself goes.
    pub(super) fn ask(
        &self,
        source: &Source,
        sql: &str,
    ) -> Result<pha_host::sql::TextRows, ClsError> {
        let deadline = self.deadline.sub_budget(READ);
        let postgres = source.postgres(&self.pg).map_err(refused)?;
        let mut session = postgres
            .connect(deadline)
            .map_err(|e| refused(e.to_string()))?;
        session
            .simple(sql, deadline)
            .map_err(|e| refused(e.to_string()))
    }
}

fn refused(error: String) -> ClsError {
    ClsError::refused(
        message!("the primary's PostgreSQL: {error}", error),
        message!(
            "let the role for replication in on the primary (pg_hba.conf, and .pgpass of pgdba here)"
        ),
    )
}
