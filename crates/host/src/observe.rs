//! From the tools to a snapshot. Each source is asked at most once per round, bounded, and a source
//! that does not answer is part of the picture instead of an error.

use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use pha_core::cluster::Cluster;
use pha_core::decide::{guard, own_check_failed};
use pha_core::ocf::{self, When};
use pha_core::parse::cib::Cib;
use pha_core::parse::server_view;
use pha_core::postgres::{PmStatus, RoleView};
use pha_core::register::Memory;
use pha_core::snapshot::{
    Answer, LinkNames, Mode, Operation, Process, Progress, Served, Snapshot, StandbyView, WalRoom,
};
use pha_core::timeline::{History, TimelineId};
use tracing::warn;

use crate::clock::{Deadline, since_boot};
use crate::local;
use crate::memory::MemoryError;
use crate::node::Node;
use crate::pgconf;
use crate::pgctl::PgError;
use crate::postgres::PostgresError;
use crate::unfinished;

/// While something is awaited, the cluster is asked at most this often: one question is a process.
const CLUSTER_AGE: Duration = Duration::from_secs(1);

/// How long an operation waits for the guard's next look at PostgreSQL, at most.
const LOOK: Duration = Duration::from_secs(2);

/// How long a standby may take to say whether its files have an error.
const FILE_ERRORS: Duration = Duration::from_secs(2);

/// Takes the picture for one decision.
pub(crate) fn snapshot(
    node: &mut Node,
    operation: &Operation,
    before: Option<Snapshot>,
    waiting: bool,
    deadline: Deadline,
) -> Snapshot {
    // Before anything is looked at that another operation of this node could change.
    let mut touched = false;
    if node.changing.is_none() {
        let seen = node.change_lock.look();
        touched = seen != node.change_seen;
        node.change_seen = seen;
    }
    let (process, status) = node.pg.running();
    let (answer, cluster) = answers(
        node,
        operation,
        process,
        status,
        before.as_ref(),
        waiting,
        deadline,
    );
    let answer = with_file_errors(node, answer, before.as_ref(), deadline);
    // Nothing is decided on it but who may be promoted, and a primary's WAL disk may hang.
    let wal_room = match answer {
        Answer::Standby(_) => node.pg.wal_room(),
        _ => WalRoom::NotAsked,
    };
    let first = before.is_none();
    // Until it starts something: a copy may have begun, and been killed, while this waited for the change lock. A look
    // that fails later stops no start that is under way.
    let started = before
        .as_ref()
        .is_some_and(|before| before.progress.started);
    let unfinished = match &before {
        _ if *operation == Operation::Start && !started => {
            unfinished::of(&node.pg.user, &node.pg.pgdata)
        }
        Some(before) => before.unfinished.clone(),
        None => None,
    };
    let (memory, progress, disk, silent_before) = match before {
        Some(before) => (
            before.memory,
            before.progress,
            before.disk,
            before.silent_before,
        ),
        None => (
            Ok(Memory::default()),
            Progress::default(),
            None,
            node.silent_before(),
        ),
    };
    let mut snapshot = Snapshot {
        settings: node.settings.clone(),
        operation: operation.clone(),
        elapsed: node.began.elapsed(),
        left: deadline.left(),
        process,
        answer,
        silent_before,
        standby_signal: node.pg.standby_signal(),
        in_memory: pgconf::in_memory(&node.names),
        unfinished,
        disk,
        wal_room,
        stopped_by_guard: match process {
            Process::Alive { .. } => None,
            Process::Absent | Process::Orphans => node.place.why_stopped(),
        },
        served: None,
        cluster,
        register: None,
        memory,
        names: LinkNames {
            fresh: node.fresh.clone(),
            running: node.pg.link_name(),
            kept: node.place.kept_links(),
        },
        guard: node.guard_seen(operation),
        record: Ok(None),
        system: None,
        progress,
    };
    if snapshot.builtin() {
        let known = (!first).then_some(snapshot.memory);
        let again = snapshot.progress.change_lock.reads_memory_again(touched);
        snapshot.memory = Memory::at_look(known, again, || {
            let remembered = node.remembered(operation, deadline);
            remembered.map_err(|error| error.to_string())
        });
    }
    if snapshot.builtin() && snapshot.primary().is_none() {
        snapshot.served = node.served();
    }
    if snapshot.builtin() {
        snapshot.record = node.record.load().map_err(|error| error.to_string());
        snapshot.system = crate::pgctl::system_identifier(&node.pg.user, &node.pg.pgdata);
    }
    snapshot.begin_round();
    snapshot
}

fn answer(
    node: &mut Node,
    operation: &Operation,
    process: Process,
    status: Option<PmStatus>,
    deadline: Deadline,
) -> Answer {
    // Stop needs no answer, and a postmaster stopped by a signal gives none.
    if process != (Process::Alive { frozen: false }) || *operation == Operation::Stop {
        return Answer::NotAsked;
    }
    node.locate_socket();
    let budget = deadline.sub_budget(
        (deadline.left() / 3).clamp(Duration::from_millis(500), Duration::from_secs(10)),
    );
    let (answer, own) = match node.postgres.ask(status, budget) {
        Answer::Busy(text) => match node.seen_by_guard(operation, budget) {
            Some(answer) => {
                warn!(
                    "PostgreSQL is busy: {text}; going by what the guard sees over its own connection"
                );
                (answer, false)
            }
            None => return Answer::Busy(text),
        },
        own => (own, true),
    };
    match node.with_files(answer, budget) {
        Ok(Answer::Primary(view)) if own && *operation == (Operation::Monitor { probe: false }) => {
            match node
                .postgres
                .run_monitor_sql(&node.params.monitor_sql, budget)
            {
                Ok(()) => Answer::Primary(view),
                Err(error) => {
                    let asked = matches!(&error, PostgresError::Sql(error) if error.was_sent());
                    own_check_failed(error.as_answer(status), asked)
                }
            }
        }
        Ok(answer) => answer,
        Err(text) => Answer::Refused(text),
    }
}

/// Adds to what a standby says whether its files have an error because of which it takes up no change. It is asked
/// once in an operation that finds a standby: clients may be waiting for a promotion, and what comes after the look a
/// promotion notices when the standby is opened.
fn with_file_errors(
    node: &Node,
    answer: Answer,
    before: Option<&Snapshot>,
    deadline: Deadline,
) -> Answer {
    let Answer::Standby(mut view) = answer else {
        return answer;
    };
    view.unread = match before.and_then(Snapshot::standby) {
        Some(before) => before.unread.clone(),
        None => {
            let deadline = deadline.sub_budget(FILE_ERRORS.min(deadline.left() / 4));
            match node.postgres.own_file_errors(deadline) {
                Ok(errors) => errors.into_iter().next(),
                Err(error) => {
                    warn!("whether PostgreSQL's files have an error cannot be told: {error}");
                    None
                }
            }
        }
    };
    Answer::Standby(view)
}

/// What PostgreSQL and Pacemaker say. They are asked side by side: the time goes into waiting for
/// them, and clients may be waiting for this operation.
fn answers(
    node: &mut Node,
    operation: &Operation,
    process: Process,
    status: Option<PmStatus>,
    before: Option<&Snapshot>,
    waiting: bool,
    deadline: Deadline,
) -> (Answer, Result<Cluster, String>) {
    if let Some(known) = cluster_known(node, operation, before, waiting, deadline) {
        return (answer(node, operation, process, status, deadline), known);
    }
    let pacemaker = node.pacemaker.clone();
    let (answer, (xml, seen)) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| (pacemaker.cib_xml(deadline), Instant::now()));
        let answer = answer(node, operation, process, status, deadline);
        let xml = asked.join();
        (answer, xml.unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let cib = xml
        .map_err(|error| error.to_string())
        .and_then(|xml| Cib::parse(&xml).map_err(|error| error.to_string()));
    let cluster = cib.map(|cib| Cluster::of_cib(&cib, &node.settings.resource));
    if let Ok(cluster) = &cluster {
        node.cluster_seen = Some(seen);
        for text in &cluster.malformed {
            warn!("{text}");
        }
    }
    (answer, cluster)
}

/// What is said of the cluster without asking Pacemaker.
fn cluster_known(
    node: &Node,
    operation: &Operation,
    before: Option<&Snapshot>,
    waiting: bool,
    deadline: Deadline,
) -> Option<Result<Cluster, String>> {
    let needed = match node.settings.mode {
        Mode::Standalone | Mode::Slave => false,
        Mode::Async | Mode::Sync => *operation != (Operation::Monitor { probe: true }),
    };
    if !needed {
        return Some(Ok(Cluster::default()));
    }
    // What a standby's own agent says is there soon, and a commit may be waiting for it, or a promotion.
    let added = before.is_some_and(|before| before.progress.barrier.is_some());
    let promoted = matches!(operation, Operation::Notify(about)
        if about.when == When::Pre && about.operation == ocf::Operation::Promote);
    let age = if added || promoted {
        CLUSTER_AGE / 5
    } else {
        CLUSTER_AGE
    };
    let fresh = node.cluster_seen.is_some_and(|seen| seen.elapsed() < age);
    if let Some(before) = before.filter(|before| waiting && fresh && before.cluster.is_ok()) {
        return Some(before.cluster.clone());
    }
    deadline
        .expired()
        .then(|| Err("the time of the operation is over".to_owned()))
}

impl Node {
    /// Adds to what PostgreSQL says what only its files and those of this node say.
    fn with_files(&self, mut answer: Answer, deadline: Deadline) -> Result<Answer, String> {
        match &mut answer {
            Answer::Primary(view) => view.history = self.history(view.timeline)?,
            Answer::Standby(view) => {
                self.lineage(view, deadline).map_err(|e| e.to_string())?;
                view.see_mark(self.place.is_standby_changed());
                if let Some(paused) = &mut view.paused {
                    let control = self.pg.controldata(deadline).map_err(|e| e.to_string())?;
                    paused.needed = Some(control.limits);
                }
            }
            _ => {}
        }
        Ok(answer)
    }

    /// A receiver says on which timeline it streams. Where none does, what lies on the disk counts: the
    /// timeline, its history and those of newer ones.
    fn lineage(&self, view: &mut StandbyView, deadline: Deadline) -> Result<(), PgError> {
        if view.streaming {
            return Ok(());
        }
        if let Some(end) = self.pg.end_of_standby(view, deadline)? {
            view.timeline = Some(end.timeline);
            view.histories = self.pg.histories_after(end.timeline)?;
            view.histories.extend(self.pg.history(end.timeline)?);
        }
        Ok(())
    }

    /// The history of a timeline. The first one has no file; every other has to.
    pub(crate) fn history(&self, timeline: TimelineId) -> Result<History, String> {
        match self
            .pg
            .history(timeline)
            .map_err(|error| error.to_string())?
        {
            Some(history) => Ok(history),
            None if timeline == TimelineId::FIRST => Ok(History::without_ancestors(timeline)),
            None => Err(format!(
                "the history file of timeline {timeline} is missing in {}",
                self.pg.wal_dir().display()
            )),
        }
    }

    /// What this node remembers of the register. A promotion holds the promotion lock from here to
    /// its end, so that no promise (R7) is given between what it read and what it does.
    fn remembered(
        &mut self,
        operation: &Operation,
        deadline: Deadline,
    ) -> Result<Memory, MemoryError> {
        if *operation == Operation::Promote && self.promotion.is_none() {
            let share = deadline.sub_budget(deadline.left() / 2);
            self.promotion = Some(self.memory.guard(share)?);
        }
        Ok(self.memory.load()?.with_guard(self.place.relied()))
    }

    /// What the guard has seen of PostgreSQL, where it may stand for what this operation cannot ask.
    /// After a change of this operation's own the guard's next look is waited for.
    fn seen_by_guard(&self, operation: &Operation, deadline: Deadline) -> Option<Answer> {
        let deadline = deadline.sub_budget(LOOK);
        loop {
            let now = since_boot();
            let changed = self.told.map(|told| now.saturating_sub(told));
            let seen = self.place.handed_over()?;
            if guard::stands_in(operation, seen.look(now)?, changed) {
                return Some(server_view::from_rows(seen.rows).ok()?.role.into());
            }
            if changed.is_none() || deadline.expired() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20).min(deadline.left()));
        }
    }

    /// The primary that PostgreSQL was here, as the guard has seen it last since the machine was started.
    fn served(&self) -> Option<Served> {
        let seen = self.place.handed_over()?;
        let (term, look) = (seen.term, seen.look(since_boot())?);
        match server_view::from_rows(seen.rows).ok()?.role {
            RoleView::Primary(view) => Some(Served { view, term, look }),
            RoleView::Standby(_) => None,
        }
    }

    /// A server that was started anew may listen elsewhere.
    pub(crate) fn locate_socket(&mut self) {
        self.postgres.info.servers = local::servers(&self.params, &self.pg.user);
    }
}
