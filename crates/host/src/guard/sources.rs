//! What the guard looks at beside the register: the agent's memory, PostgreSQL, Pacemaker.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use pha_core::link_name::LinkName;
use pha_core::names::NodeName;
use pha_core::parse::server_view;
use pha_core::plan::Action;
use pha_core::register::Memory;
use pha_core::snapshot::{Answer, Snapshot};
use tracing::{info, warn};

use crate::clock::{Deadline, since_boot};
use crate::guard::place::{Handed, Place};
use crate::memory::MemoryFile;
use crate::postgres::{Postgres, view};
use crate::process::Process;
use crate::sql::{Session, TextRows};

/// How often processes are searched for a Pacemaker that is not there.
const PACEMAKER: Duration = Duration::from_secs(5);

/// When PostgreSQL gives up a question of the guard's, which itself does not wait so long for any.
const STATEMENT: Duration = Duration::from_secs(10);

/// Whom Pacemaker runs as.
const ROOT: u32 = 0;

/// Everything that outlives a round.
pub(crate) struct Sources {
    /// What PostgreSQL answered last.
    pub(crate) answer: Answer,
    /// What the agent has kept of the register.
    pub(crate) memory: Memory,
    /// When the memory was last read.
    pub(crate) remembered_at: Duration,
    memory_file: Option<(u64, i64, i64)>,
    session: Option<Session>,
    pacemaker: Option<Process>,
    pacemaker_seen: Duration,
    pacemaker_sought: Option<Duration>,
}

impl Sources {
    /// Nothing has been looked at yet.
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            answer: Answer::NotAsked,
            memory: Memory::default(),
            remembered_at: now,
            memory_file: None,
            session: None,
            pacemaker: None,
            pacemaker_seen: now,
            pacemaker_sought: None,
        }
    }

    /// Reads the memory where it has changed. The guard itself keeps nothing there: it changes
    /// nothing that a memory is needed for, and must not wait for a disk.
    pub(crate) fn remember(&mut self, file: &MemoryFile) {
        let now = since_boot();
        let Ok(meta) = std::fs::metadata(file.path()) else {
            return;
        };
        let version = (meta.ino(), meta.mtime(), meta.mtime_nsec());
        if self.memory_file == Some(version) {
            self.remembered_at = now;
            return;
        }
        match file.load() {
            Ok(memory) => {
                self.memory = self.memory.merged(&memory);
                self.memory_file = Some(version);
                self.remembered_at = now;
            }
            Err(error) => warn!("{error}"),
        }
    }

    /// Takes in what the asking for promises has left in the memory: a change that another node has
    /// passed on moves the epoch before a monitor sees it.
    pub(crate) fn learn(&mut self, action: &Action, snapshot: &Snapshot) {
        if let (Action::AskPromises(_), Ok(memory)) = (action, &snapshot.memory) {
            self.memory = self.memory.merged(memory);
        }
    }

    /// Writes WAL and sees which of the standbys acknowledge it.
    pub(crate) fn ask(
        &mut self,
        postgres: &Postgres,
        standbys: &BTreeMap<NodeName, LinkName>,
        deadline: Deadline,
    ) -> Result<BTreeSet<NodeName>, String> {
        self.over(postgres, deadline, |session| {
            postgres.acknowledged_by(session, standbys, deadline)
        })
    }

    /// Asks PostgreSQL for its view, and leaves it where a monitor finds it that has no connection.
    pub(crate) fn look(&mut self, postgres: &Postgres, place: &Place, deadline: Deadline) {
        let asked = since_boot();
        let rows = self.over(postgres, deadline, |session| view::rows(session, deadline));
        if let Ok(rows) = &rows
            && let Err(error) = self
                .handed(asked, rows)
                .and_then(|seen| place.hand_over(&seen))
        {
            warn!("the agent does not see what the guard sees: {error}");
        }
        // The guard needs nothing that lies on the disk.
        let answer = rows.and_then(|rows| match server_view::from_rows(rows) {
            Ok(view) => Ok(view.role.into()),
            Err(error) => Err(error.to_string()),
        });
        self.answer = match answer {
            Ok(answer) => answer,
            Err(text) => {
                if !matches!(self.answer, Answer::Refused(_)) {
                    info!("PostgreSQL does not show its view: {text}");
                }
                Answer::Refused(text)
            }
        };
    }

    fn handed(&self, asked: Duration, rows: &TextRows) -> Result<Handed, String> {
        let term = self.memory.reign.map_or(0, |reign| reign.term);
        Handed::new(term, asked, rows.clone())
            .ok_or_else(|| "the machine has no boot id".to_owned())
    }

    /// Does something over the kept connection; one that has failed is made anew the next time. It is
    /// not kept in a database that others are copied from.
    fn over<T>(
        &mut self,
        postgres: &Postgres,
        deadline: Deadline,
        work: impl FnOnce(&mut Session) -> Result<T, crate::postgres::PostgresError>,
    ) -> Result<T, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let kept = self.session.take().filter(Session::is_usable);
        let (mut session, stays) = match kept {
            Some(session) => (session, true),
            None => {
                let mut session = postgres.connect(deadline).map_err(|e| text(&e))?;
                let template = session.stay(STATEMENT, deadline).map_err(|e| text(&e))?;
                (session, !template)
            }
        };
        let result = work(&mut session).map_err(|e| text(&e));
        if result.is_ok() && stays {
            self.session = Some(session);
        }
        result
    }

    /// How long Pacemaker has not been running here, where anybody wants to know.
    pub(crate) fn pacemaker_gone(&mut self, now: Duration, timeout: Duration) -> Duration {
        if timeout.is_zero() {
            return Duration::ZERO;
        }
        let due = self
            .pacemaker_sought
            .is_none_or(|sought| now.saturating_sub(sought) >= PACEMAKER);
        if !self.pacemaker.is_some_and(Process::is_alive) && due {
            self.pacemaker = Process::running("pacemakerd", ROOT);
            self.pacemaker_sought = Some(now);
        }
        if self.pacemaker.is_some_and(Process::is_alive) {
            self.pacemaker_seen = now;
        }
        now.saturating_sub(self.pacemaker_seen)
    }
}
