//! What the guard looks at beside the register: the agent's memory, PostgreSQL, Pacemaker.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use pha_core::decide::may_be_at_work;
use pha_core::link_name::LinkName;
use pha_core::names::NodeName;
use pha_core::parse::server_view;
use pha_core::register::Memory;
use pha_core::snapshot::Answer;
use tracing::{info, warn};

use crate::clock::{Deadline, since_boot};
use crate::guard::place::{Handed, Place};
use crate::memory::MemoryFile;
use crate::pacemaker;
use crate::postgres::{Postgres, view};
use crate::process::Process;
use crate::sql::{Session, TextRows};

/// How often processes are searched for a Pacemaker that is not there.
const PACEMAKER: Duration = Duration::from_secs(5);

/// When PostgreSQL gives up a question of the guard's, which itself does not wait so long for any.
const STATEMENT: Duration = Duration::from_secs(10);

/// Everything that outlives a round.
pub(crate) struct Sources {
    /// What PostgreSQL answered last.
    pub(crate) answer: Answer,
    /// The agent's memory as it was last read, and of which version of its file.
    memory: Option<((u64, i64, i64), Memory)>,
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
            memory: None,
            session: None,
            pacemaker: None,
            pacemaker_seen: now,
            pacemaker_sought: None,
        }
    }

    /// What the agent has kept of the register, as it lies on the disk now; none where that cannot be told. It is read
    /// where the file has changed.
    pub(crate) fn memory(&mut self, file: &MemoryFile) -> Option<Memory> {
        let meta = std::fs::metadata(file.path()).ok()?;
        let version = (meta.ino(), meta.mtime(), meta.mtime_nsec());
        if let Some((known, memory)) = &self.memory
            && *known == version
        {
            return Some(*memory);
        }
        match file.load() {
            Ok(memory) => {
                self.memory = Some((version, memory));
                Some(memory)
            }
            Err(error) => {
                warn!("{error}");
                None
            }
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
    /// `term` is that of this node's last promotion.
    pub(crate) fn look(
        &mut self,
        postgres: &Postgres,
        place: &Place,
        term: u64,
        deadline: Deadline,
    ) {
        let asked = since_boot();
        let rows = self.over(postgres, deadline, |session| view::rows(session, deadline));
        if let Ok(rows) = &rows
            && let Err(error) = handed(term, asked, rows).and_then(|seen| place.hand_over(&seen))
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
        let mut runs = Some(self.pacemaker.is_some_and(Process::is_alive));
        if runs == Some(false) && due {
            let found = pacemaker::launcher();
            runs = found.as_ref().ok().map(Option::is_some);
            self.pacemaker = found.unwrap_or_else(|error| {
                warn!("whether Pacemaker runs here cannot be told: {error}");
                None
            });
            self.pacemaker_sought = Some(now);
        }
        if may_be_at_work(runs) {
            self.pacemaker_seen = now;
        }
        now.saturating_sub(self.pacemaker_seen)
    }
}

fn handed(term: u64, asked: Duration, rows: &TextRows) -> Result<Handed, String> {
    Handed::new(term, asked, rows.clone()).ok_or_else(|| "the machine has no boot id".to_owned())
}
