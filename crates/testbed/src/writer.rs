//! Clients that count: each inserts 1, 2, 3 … with one commit per number and logs what was
//! acknowledged, when, and by which server.
//!
//! A number whose outcome is not known (the connection broke, or the answer took too long) is
//! never tried again: it may or may not be there afterwards, and nobody promised either.

use std::fs::File;
use std::future::poll_fn;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustix::time::{ClockId, clock_gettime};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::WRITER_VIP;

/// The table that writers fill.
pub(crate) const TABLE: &str = "testbed_ledger";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS testbed_ledger (writer integer, id bigint, at timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (writer, id))";
const INSERT: &str = "INSERT INTO testbed_ledger (writer, id) VALUES ($1, $2)";
/// What a session calls that has a `statement_timeout`: the time goes on while the COMMIT waits for a standby.
const PROCEDURE: &str = "CREATE OR REPLACE PROCEDURE testbed_insert(writer integer, id bigint) LANGUAGE plpgsql AS \
     'BEGIN INSERT INTO testbed_ledger VALUES (writer, id); COMMIT; END'";
const CALL: &str = "CALL testbed_insert($1, $2)";
/// What PostgreSQL warns of when a session gives up its wait (`SyncRepWaitForLSN`) and is told success.
const GIVEN_UP: &str = "canceling wait for synchronous replication";
const NEXT: &str = "SELECT coalesce(max(id), 0) + 1 FROM testbed_ledger WHERE writer = $1";
/// The host name comes from the kernel, not from a setting: a copied data directory would bring
/// the settings of another node along. The timeline is that of the WAL being written.
const IDENTITY: &str = "SELECT trim(pg_read_file('/proc/sys/kernel/hostname', 0, 64), E' \\n'), \
     ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer, \
     to_regclass('testbed_ledger') IS NOT NULL, \
     to_regprocedure('testbed_insert(integer,bigint)') IS NOT NULL";

/// What one writer shall do.
#[derive(Debug, Clone)]
pub struct WriterPlan {
    /// Distinguishes writers of one cluster, and their rows.
    pub number: u32,
    /// Where it connects: the writer VIP unless told.
    pub address: String,
    /// It ends after this many acknowledgements.
    pub count: u64,
    /// It ends after this time.
    pub time: Duration,
    /// Pause after each acknowledgement.
    pub pace: Duration,
    /// How long it waits for a connection.
    pub connect_deadline: Duration,
    /// How long it waits for an acknowledgement before it gives the connection up.
    pub statement_deadline: Duration,
    /// Commits by calling a procedure with COMMIT inside, in a session with this `statement_timeout`.
    pub procedure: Option<Duration>,
}

impl WriterPlan {
    /// Through the writer VIP, as fast as it goes, for at most ten minutes and a million rows.
    #[must_use]
    pub fn new(number: u32) -> WriterPlan {
        WriterPlan {
            number,
            address: WRITER_VIP.to_owned(),
            count: 1_000_000,
            time: Duration::from_secs(600),
            pace: Duration::from_millis(2),
            connect_deadline: Duration::from_millis(500),
            statement_deadline: Duration::from_secs(1),
            procedure: None,
        }
    }

    /// Commits by calling a procedure with COMMIT inside, in a session with this `statement_timeout`. When
    /// that is over PostgreSQL says success, with a warning, although no standby has confirmed the commit.
    #[must_use]
    pub fn procedure(mut self, timeout: Duration) -> WriterPlan {
        self.procedure = Some(timeout);
        self
    }

    /// Connects to this address instead; a writer per node shows two primaries at once.
    #[must_use]
    pub fn to(mut self, address: &str) -> WriterPlan {
        self.address = address.to_owned();
        self
    }

    /// Ends after this many acknowledgements.
    #[must_use]
    pub fn count(mut self, count: u64) -> WriterPlan {
        self.count = count;
        self
    }

    /// Ends after this time.
    #[must_use]
    pub fn time(mut self, time: Duration) -> WriterPlan {
        self.time = time;
        self
    }

    /// Waits no longer than this for a connection before it tries again: the grain of an outage that
    /// it measures.
    #[must_use]
    pub fn connect_deadline(mut self, deadline: Duration) -> WriterPlan {
        self.connect_deadline = deadline;
        self
    }

    /// Pauses this long after each acknowledgement.
    #[must_use]
    pub fn pace(mut self, pace: Duration) -> WriterPlan {
        self.pace = pace;
        self
    }
}

/// A writer at work in a thread of its own. Dropping it lets it end by itself soon.
#[derive(Debug)]
pub struct Writer {
    number: u32,
    shared: Arc<Shared>,
    done: Receiver<Result<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    given_up: AtomicU64,
}

/// Microseconds of the clock that no one sets and that every process of this machine shares.
#[must_use]
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

impl Cluster {
    /// Starts a writer at the client's end of the network. Its log is
    /// `acknowledged/<number>-<address>.log` in the cluster's directory.
    ///
    /// # Errors
    /// The log cannot be written or the client's namespace is gone.
    pub fn start_writer(&self, plan: &WriterPlan) -> Result<Writer> {
        let address: IpAddr = plan.address.parse().map_err(|_| {
            Error::Asked(format!(
                "a writer needs a numeric address, not {:?}",
                plan.address
            ))
        })?;
        let path = self
            .layout
            .acknowledgements()
            .join(format!("{}-{address}.log", plan.number));
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let space = self.client()?.proc("ns/net");
        let space_file = File::open(&space).map_err(Error::io("open", &space))?;
        let shared = Arc::new(Shared::default());
        let (tell, done) = channel();
        let task = Task {
            plan: plan.clone(),
            address,
            log,
            path,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            let entered = move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&space_file),
                Some(LinkNameSpaceType::Network),
            );
            let outcome = entered
                .map_err(Error::sys("enter", &space))
                .and_then(|()| task.run());
            // Nobody may be listening any more.
            let _ = tell.send(outcome);
        });
        Ok(Writer {
            number: plan.number,
            shared,
            done,
        })
    }
}

impl Writer {
    /// Its number in the plan.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// How many numbers have been acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// How many were a success with the warning that the wait for a standby was given up.
    pub(crate) fn given_up(&self) -> u64 {
        self.shared.given_up.load(Ordering::Relaxed)
    }

    /// Waits until `more` further numbers have been acknowledged.
    ///
    /// # Errors
    /// [`Error::NotInTime`].
    pub fn wait_for(&self, more: u64, timeout: Duration) -> Result<()> {
        let goal = self.acknowledged() + more;
        crate::wait::wait(
            &format!("{more} more acknowledgements to writer {}", self.number),
            timeout,
            || {
                let now = self.acknowledged();
                if now >= goal {
                    Ok(())
                } else {
                    Err(format!("{} of {more}", now + more - goal))
                }
            },
        )
    }

    /// Lets it go on for this long, or until its plan is fulfilled.
    pub(crate) fn wait_time(&self, time: Duration) {
        let begin = now_us();
        let _ = crate::wait::wait("the end of the time", time, || {
            if u128::from(now_us() - begin) >= time.as_micros() {
                Ok(())
            } else {
                Err(String::new())
            }
        });
    }

    /// Lets the writer finish its number and end; how many were acknowledged.
    ///
    /// # Errors
    /// It could not work at all, or did not end in time.
    pub fn stop(self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.finish(Duration::from_secs(15))
    }

    /// Waits until its plan is fulfilled; how many were acknowledged.
    ///
    /// # Errors
    /// It could not work at all, or did not end in time.
    pub fn finish(self, timeout: Duration) -> Result<u64> {
        match self.done.recv_timeout(timeout) {
            Ok(outcome) => outcome.map(|()| self.acknowledged()),
            Err(_) => {
                self.shared.stop.store(true, Ordering::Relaxed);
                Err(Error::NotInTime {
                    what: format!("the end of writer {}", self.number),
                    timeout,
                    last: format!("{} acknowledged", self.acknowledged()),
                })
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

struct Task {
    plan: WriterPlan,
    address: IpAddr,
    log: File,
    path: PathBuf,
    shared: Arc<Shared>,
}

/// An open connection and who is at the other end.
struct Session {
    client: Client,
    insert: Statement,
    host: String,
    timeline: i32,
    /// PostgreSQL has warned that the wait for the standby was given up.
    given_up: Arc<AtomicBool>,
}

/// Why a session or a statement did not work, in one line.
type Reason = String;

impl Task {
    fn run(mut self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("start", "the writer's event loop"))?;
        let begin = now_us();
        self.note(&format!("S\t{begin}"))?;
        let outcome = runtime.block_on(self.write_all(begin));
        self.note(&format!("E\t{}", now_us()))?;
        outcome
    }

    fn note(&mut self, line: &str) -> Result<()> {
        // One write per line: a reader of the growing file sees whole lines.
        self.log
            .write_all(format!("{line}\n").as_bytes())
            .map_err(Error::io("write", &self.path))
    }

    fn finished(&self, begin: u64) -> bool {
        let time_up = u128::from(now_us() - begin) >= self.plan.time.as_micros();
        let count = self.shared.acknowledged.load(Ordering::Relaxed);
        time_up || count >= self.plan.count || self.shared.stop.load(Ordering::Relaxed)
    }

    async fn write_all(&mut self, begin: u64) -> Result<()> {
        let mut session: Option<Session> = None;
        let mut id: i64 = 1;
        let mut silent_since: Option<Reason> = None;
        while !self.finished(begin) {
            let Some(open) = session.take() else {
                match self.connect().await {
                    Ok((open, next)) => {
                        id = id.max(next);
                        session = Some(open);
                    }
                    Err(reason) => {
                        // The same refusal again and again is one line in the log.
                        if silent_since.as_ref() != Some(&reason) {
                            self.note(&format!("N\t{}\t{reason}", now_us()))?;
                            silent_since = Some(reason);
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                continue;
            };
            let sent = now_us();
            match self.insert(&open, id).await {
                // A success that waited for no standby: no acknowledgement.
                Ok(()) if open.given_up.swap(false, Ordering::Relaxed) => {
                    self.note(&format!("W\t{id}\t{sent}\t{}", now_us()))?;
                    self.shared.given_up.fetch_add(1, Ordering::Relaxed);
                    silent_since = None;
                    session = Some(open);
                    tokio::time::sleep(self.plan.pace).await;
                }
                Ok(()) => {
                    self.note(&format!(
                        "A\t{id}\t{sent}\t{}\t{}\t{}",
                        now_us(),
                        open.host,
                        open.timeline
                    ))?;
                    self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                    silent_since = None;
                    session = Some(open);
                    tokio::time::sleep(self.plan.pace).await;
                }
                Err(reason) => self.note(&format!("U\t{id}\t{sent}\t{}\t{reason}", now_us()))?,
            }
            id += 1;
        }
        Ok(())
    }

    async fn insert(&self, session: &Session, id: i64) -> std::result::Result<(), Reason> {
        let number = i32::try_from(self.plan.number).unwrap_or(i32::MAX);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&number, &id];
        let execution = session.client.execute(&session.insert, &parameters);
        let rows_wanted = u64::from(self.plan.procedure.is_none());
        match tokio::time::timeout(self.plan.statement_deadline, execution).await {
            Err(_) => Err("no answer in time".to_owned()),
            Ok(Err(error)) => Err(reason(&error)),
            Ok(Ok(rows)) if rows == rows_wanted => Ok(()),
            Ok(Ok(rows)) => Err(format!("{rows} rows inserted")),
        }
    }

    /// Opens a session that can write, and says which number is the next.
    async fn connect(&self) -> std::result::Result<(Session, i64), Reason> {
        let mut config = tokio_postgres::Config::new();
        config
            .hostaddr(self.address)
            .port(5432)
            .user("postgres")
            .dbname("postgres")
            .application_name("testbed-writer")
            .connect_timeout(self.plan.connect_deadline)
            .tcp_user_timeout(self.plan.statement_deadline);
        let connecting = config.connect(NoTls);
        let (client, mut connection) =
            match tokio::time::timeout(self.plan.connect_deadline, connecting).await {
                Err(_) => return Err("no connection in time".to_owned()),
                Ok(outcome) => outcome.map_err(|error| reason(&error))?,
            };
        let given_up = Arc::new(AtomicBool::new(false));
        let warned = Arc::clone(&given_up);
        // Ends when the client is dropped or the connection breaks; the client notices the latter. A notice
        // is read before the success that it belongs to.
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notice(notice) = message
                    && notice.message().starts_with(GIVEN_UP)
                {
                    warned.store(true, Ordering::Relaxed);
                }
            }
        });
        let introduced = self.introduce(client, given_up);
        match tokio::time::timeout(self.plan.statement_deadline, introduced).await {
            Err(_) => Err("connected, but no answer in time".to_owned()),
            Ok(outcome) => outcome.map_err(|error| reason(&error)),
        }
    }

    async fn introduce(
        &self,
        client: Client,
        given_up: Arc<AtomicBool>,
    ) -> std::result::Result<(Session, i64), tokio_postgres::Error> {
        let row = client.query_one(IDENTITY, &[]).await?;
        let (host, timeline): (String, i32) = (row.try_get(0)?, row.try_get(1)?);
        let (table, procedure): (bool, bool) = (row.try_get(2)?, row.try_get(3)?);
        if !table {
            client.batch_execute(CREATE).await?;
        }
        if let Some(timeout) = self.plan.procedure {
            if !procedure {
                client.batch_execute(PROCEDURE).await?;
            }
            let limit = "SELECT set_config('statement_timeout', $1, false)";
            client
                .query_one(limit, &[&timeout.as_millis().to_string()])
                .await?;
        }
        let number = i32::try_from(self.plan.number).unwrap_or(i32::MAX);
        let next = client.query_one(NEXT, &[&number]).await?.try_get(0)?;
        let insert = client
            .prepare(if self.plan.procedure.is_some() {
                CALL
            } else {
                INSERT
            })
            .await?;
        given_up.store(false, Ordering::Relaxed);
        Ok((
            Session {
                client,
                insert,
                host,
                timeline,
                given_up,
            },
            next,
        ))
    }
}

fn reason(error: &tokio_postgres::Error) -> Reason {
    let text = match error.as_db_error() {
        Some(answer) if *answer.code() == SqlState::READ_ONLY_SQL_TRANSACTION => {
            "the server is read-only".to_owned()
        }
        Some(answer) => format!("{}: {}", answer.code().code(), answer.message()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    };
    text.replace(['\t', '\n', '\r'], " ")
}
