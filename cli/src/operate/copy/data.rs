//! Rewinding and copying.

use std::time::{Duration, Instant};

use pha_core::begun::is_nothing;
use pha_core::decide::operator::{
    CopyFacts, CopyPlan, Data, Method, has_checkpoint, not_rewound, started_meanwhile,
};
use pha_core::message;
use pha_core::names::copy_slot;
use pha_host::basebackup::Backup;
use pha_host::clock::Deadline;
use pha_host::own;
use pha_host::rewind::Source;

use super::{Work, broken};
use crate::error::ClsError;
use crate::operate::ASK;
use crate::primary::Primary;
use crate::wait::{self, Look};

/// How long the primary's checkpoint may take.
const CHECKPOINT: Duration = Duration::from_secs(300);
/// How often the progress of a copy is shown.
const GLANCE: Duration = Duration::from_secs(1);

/// What the source says of the base backup that is being sent (PostgreSQL 13 and newer).
const PROGRESS: &str = "select phase, backup_streamed / 1024, coalesce(backup_total, 0) / 1024 \
    from pg_stat_progress_basebackup p join pg_stat_activity a using (pid) \
    where application_name = 'pha4pgsql copy' order by backup_start desc limit 1";

impl Work<'_> {
    /// Rewinds the data, or says why `pg_rewind` cannot.
    pub(super) fn rewind(
        &mut self,
        facts: &CopyFacts,
        plan: &CopyPlan,
        source: &Source,
    ) -> Result<Option<ClsError>, ClsError> {
        self.await_checkpoint(plan, source)?;
        let before = self.kinship(facts.register.as_ref());
        let ended = self.session.interrupt.flag().clone();
        let clean = matches!(facts.data, Data::Cluster { clean: true, .. });
        // Without a change, for as long as that can show anything: whether the WAL is still there,
        // whether the role may read the source's files. A crashed server cannot be tried dry.
        if clean {
            self.session
                .ui
                .progress("seeing whether pg_rewind can do it");
            if let Err(error) = self.pg.rewind(source, true, &ended, self.deadline) {
                return self.not_rewound(&error).map(Some);
            }
        }
        self.mark(plan, Method::Rewind)?;
        if self.is_running() {
            self.copies.end().map_err(|error| broken(&error))?;
            return Err(ClsError::from(*started_meanwhile(&self.node)));
        }
        // The recovery of a crashed server happens in single-user mode, which refuses to be a
        // standby; the agent makes the file anew when it starts one.
        for name in ["standby.signal", "recovery.signal"] {
            let path = self.pg.pgdata.join(name);
            let removed = self.pg.user.files().ensure_absent(&path);
            let _ = removed.map_err(|error| broken(&error))?;
        }
        self.session.ui.progress("pg_rewind is at work");
        let words = match self.pg.rewind(source, false, &ended, self.deadline) {
            Ok(words) => words,
            Err(error) => return self.not_rewound(&error).map(Some),
        };
        for line in words {
            self.session.ui.progress(&line);
        }
        let label = self.pg.pgdata.join("backup_label");
        let label = self.pg.user.files().is_there(&label);
        let why = not_rewound(before.as_ref(), label);
        why.map(|why| self.not_rewound(&why)).transpose()
    }

    /// What is said of data that `pg_rewind` could not rewind.
    fn not_rewound(&self, error: &dyn std::fmt::Display) -> Result<ClsError, ClsError> {
        if self.session.interrupt.is_set() {
            return Err(ClsError::Interrupted("pg_rewind".to_owned()));
        }
        Ok(ClsError::failed(
            message!(
                "pg_rewind cannot repair {node}: {error}",
                node = self.node,
                error = error.to_string()
            ),
            message!(
                "cls_rebuild_slave --keep-old --node {node}",
                node = self.node
            ),
        ))
    }

    /// `pg_rewind` before 17 takes the source's timeline from its latest checkpoint, which may be
    /// of the time before the source's promotion.
    fn await_checkpoint(&self, plan: &CopyPlan, source: &Source) -> Result<(), ClsError> {
        let deadline = self.deadline.sub_budget(CHECKPOINT);
        if !self.has_checkpoint(source)? {
            self.ask_for_checkpoint(plan, source, deadline);
        }
        wait::until(
            self.session,
            "a checkpoint of the primary",
            deadline,
            || {
                Ok(if self.has_checkpoint(source)? {
                    Look::Done(())
                } else {
                    Look::Pending("the latest one is of the timeline before".to_owned())
                })
            },
        )
    }

    /// Whether the source's latest checkpoint is of the timeline that it writes.
    fn has_checkpoint(&self, source: &Source) -> Result<bool, ClsError> {
        let (view, primary) = self.source_view(source)?;
        Ok(has_checkpoint(view.checkpoint, primary.timeline))
    }

    /// The role for replication need not have the right to (`pg_checkpoint`, version 15 and newer; only
    /// superusers before). The source's own account has it; and a checkpoint follows every promotion in
    /// any case, without haste.
    fn ask_for_checkpoint(&self, plan: &CopyPlan, source: &Source, deadline: Deadline) {
        let Err(error) = self.ask(source, "checkpoint") else {
            return;
        };
        let primary = Primary::new(&self.cluster, &plan.source, deadline);
        if let Err(ssh) = primary.over_ssh("checkpoint", deadline) {
            tracing::debug!("waiting for the primary's own checkpoint: {error}; {ssh}");
        }
    }

    pub(super) fn backup(&mut self, plan: &CopyPlan, source: &Source) -> Result<(), ClsError> {
        // Until it has begun nothing is a copy's that lies where one is to be.
        let copied = match self.begin_backup(plan, source) {
            Ok(()) => self.try_backup(source).map_err(|error| (error, true)),
            Err(error) => Err((error, false)),
        };
        match copied {
            Ok(()) => Ok(()),
            Err((error, begun)) => {
                let back = !self.old.aside.is_empty();
                self.put_back(plan, begun)?;
                if self.session.interrupt.is_set() {
                    return Err(ClsError::Interrupted("pg_basebackup".to_owned()));
                }
                if matches!(error, ClsError::Refused { .. }) {
                    return Err(error);
                }
                let what = error.what();
                Err(ClsError::failed(
                    match back {
                        true => message!("{what}; the old data are where they were", what),
                        false => what,
                    },
                    message!("mend it, then give the command again"),
                ))
            }
        }
    }

    /// Sees that a copy can be made, and marks what it is written to.
    fn begin_backup(&mut self, plan: &CopyPlan, source: &Source) -> Result<(), ClsError> {
        let into = self.copies_into(plan, source)?;
        let pgdata = &self.pg.pgdata;
        let names = self.pg.user.files().names(pgdata, "");
        let names = names.map_err(|error| broken(&error))?.unwrap_or_default();
        if !self.old.may_be_copied_over(is_nothing(&names)) {
            return Err(ClsError::refused(
                message!(
                    "the data directory of {node} was empty, and by now there is something in {pgdata}",
                    node = self.node,
                    pgdata = pgdata.display().to_string()
                ),
                message!("see who has laid it there; then give the command again"),
            ));
        }
        if self.is_running() {
            return Err(broken(&format!(
                "a server runs in {}",
                self.pg.pgdata.display()
            )));
        }
        self.old.copies_into(into);
        self.mark(plan, Method::Backup)
    }

    fn try_backup(&mut self, source: &Source) -> Result<(), ClsError> {
        self.make_directory()?;
        let backup = Backup {
            max_rate: self.order.max_rate.clone(),
            wal_dir: self.order.wal_dir.clone().or_else(|| self.old_wal_dir()),
            tablespaces: self.order.tablespaces.clone(),
            slot: Some(self.ensure_slot(source)?),
        };
        let (pg, deadline, ended) = (
            &self.pg,
            self.deadline,
            self.session.interrupt.flag().clone(),
        );
        std::thread::scope(|scope| {
            let copy = scope.spawn(|| pg.basebackup(source, &backup, &ended, deadline));
            let mut shown = Instant::now();
            while !copy.is_finished() {
                if shown.elapsed() >= GLANCE {
                    shown = Instant::now();
                    self.show_progress(source);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            match copy.join() {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(broken(&error)),
                Err(_) => Err(broken(&"the thread that runs pg_basebackup panicked")),
            }
        })
    }

    fn show_progress(&self, source: &Source) {
        // Where the source cannot say (before 13, or without the right to), the copy goes on all the same.
        let Ok(rows) = self.ask(source, PROGRESS) else {
            return;
        };
        if let Some([Some(phase), Some(done), Some(total)]) = rows.first().map(Vec::as_slice) {
            let number = |text: &str| text.parse::<u64>().unwrap_or(0);
            let (sent, all) = (number(done), number(total).max(number(done)));
            let percent = (sent * 100).checked_div(all).unwrap_or(0);
            self.session
                .ui
                .progress(&format!("{sent}/{all} kB ({percent}%), {phase}"));
        }
    }

    /// pg_basebackup runs as the owner of the data, who need not be able to create the directory. What
    /// only the old data name, that account makes itself.
    fn make_directory(&self) -> Result<(), ClsError> {
        let (user, files) = (&self.pg.user, self.pg.user.files());
        // A link may lead to what was moved aside.
        for (_, place) in &self.old.aside {
            if *place != self.pg.pgdata {
                let made = files.ensure_directory(place, 0o700);
                let _ = made.map_err(|error| broken(&error))?;
            }
        }
        let named = [Some(&self.pg.pgdata), self.order.wal_dir.as_ref()];
        for directory in named.into_iter().flatten() {
            let made = own::ensure_directory_for(user, directory, 0o700);
            let there = made.and_then(|_| files.look(directory));
            let there = there.map_err(|error| broken(&error))?;
            if there.is_some_and(|there| there.uid != user.uid()) {
                let (name, directory) = (user.name(), directory.display().to_string());
                return Err(ClsError::refused(
                    message!("{directory} does not belong to {name}", directory, name),
                    message!(
                        "if the copy is to be made there: chown {name}: {directory}",
                        name,
                        directory
                    ),
                ));
            }
            let mode = files.set_mode(directory, 0o700);
            let _ = mode.map_err(|error| broken(&error))?;
        }
        let Some(old) = self.old_wal_dir().filter(|_| self.order.wal_dir.is_none()) else {
            return Ok(());
        };
        let made = files.ensure_directory(&old, 0o700);
        made.map(drop).map_err(|error| broken(&error))
    }

    /// A slot keeps on the source what the new standby will need, from the beginning of the copy
    /// until it streams: the one that it will stream from, or one for this copy.
    fn ensure_slot(&mut self, source: &Source) -> Result<String, ClsError> {
        let own = self.cluster.params.slot_for(&self.node);
        let name = own.clone().unwrap_or_else(|| copy_slot(&self.node));
        let postgres = source.postgres(&self.pg).map_err(|error| broken(&error))?;
        postgres
            .ensure_physical_slot(&name, self.deadline.sub_budget(ASK))
            .map_err(|error| broken(&format!("a replication slot on the primary: {error}")))?;
        if own.is_none() {
            self.slot = Some(name.clone());
        }
        Ok(name)
    }

    pub(super) fn drop_slot(&self, plan: &CopyPlan, slot: &str) {
        let source = Source::new(&self.cluster.params, &plan.source);
        let dropped = source.postgres(&self.pg).and_then(|postgres| {
            postgres
                .ensure_no_slot(slot, Deadline::after(ASK))
                .map_err(|error| error.to_string())
        });
        if let Err(error) = dropped {
            self.session.ui.progress(&format!(
                "the replication slot {slot} stays on {} and keeps WAL; drop it there: {error}",
                plan.source
            ));
        }
    }
}
