//! Finding a server: several hosts, libpq's fall-backs of `sslmode`, and what the session is for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::runtime::Builder;
use tokio_postgres::config::{ChannelBinding, SslMode as DriverSsl};
use tokio_postgres::{Client, Config, NoTls};

use super::error::{SqlError, SqlErrorKind};
use super::own::{Purpose, options};
use super::watch::{Socket, Watch, Watched};
use super::{Live, Session, tls};
use crate::account::Files;
use crate::clock::Deadline;
use crate::conninfo::{Binding, Conninfo, Secret, Server, SslMode, TargetSession};

type Mover = tokio::task::JoinHandle<Result<(), tokio_postgres::Error>>;

/// How much later than its caller the server gives up a statement: whoever waits for it has said by
/// then that no answer came.
const LATER: Duration = Duration::from_secs(1);

impl Session {
    /// Connects to the first server of `info` that will have it. The session is of our own making
    /// ([`Purpose`]); the server gives up its statements a little after the deadline, since a client
    /// that goes away does not stop what it has asked for.
    ///
    /// # Errors
    /// [`SqlError`] of the last server tried; it says which one, and never a password.
    pub fn connect(
        info: &Conninfo,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Self, SqlError> {
        Self::connect_as(Files::own(), info, purpose, deadline)
    }

    /// The same as an account: sockets are connected to by the account, and passwords and certificates are
    /// read from its files.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_as(
        files: Files<'_>,
        info: &Conninfo,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Self, SqlError> {
        let limit = deadline.left() + LATER;
        let with = |options| Conninfo {
            options: Some(options),
            ..info.clone()
        };
        let own = options(info.options.as_deref(), purpose, limit);
        match any(files, &with(own.clone()), deadline) {
            // A trigger of the database fails in every session that begins (version 17 and newer), and
            // the agent has to get in all the same. Older servers do not know the setting, and a role
            // that is no superuser may not use it: then the first error says what is wrong.
            Err(error) if purpose == Purpose::Agent && error.may_be_a_login_trigger() => {
                let without = with(own + " -c event_triggers=off");
                any(files, &without, deadline).map_err(|_| error)
            }
            other => other,
        }
    }
}

/// Connects to the first server that will have it.
fn any(files: Files<'_>, info: &Conninfo, deadline: Deadline) -> Result<Session, SqlError> {
    let in_order = |target| in_order(files, info, target, deadline);
    match info.target {
        TargetSession::PreferStandby => {
            in_order(TargetSession::Standby).or_else(|_| in_order(TargetSession::Any))
        }
        target => in_order(target),
    }
}

fn in_order(
    files: Files<'_>,
    info: &Conninfo,
    target: TargetSession,
    deadline: Deadline,
) -> Result<Session, SqlError> {
    let mut last = SqlError::timed_out(&info.to_string(), false);
    let count = info.servers.len();
    for (index, server) in info.servers.iter().enumerate() {
        // A frozen server must leave time for the ones after it.
        let remaining = u32::try_from(count - index).unwrap_or(1).max(1);
        let share = deadline.left() / remaining;
        let budget = info.connect_timeout.map_or(share, |limit| limit.min(share));
        let step = deadline.sub_budget(budget);
        match one(files, info, server, step).and_then(|session| fitting(session, target, step)) {
            Ok(session) => return Ok(session),
            Err(error) => last = error,
        }
        if deadline.expired() {
            break;
        }
    }
    Err(last)
}

/// libpq tries twice where the mode leaves a choice: `allow` without encryption first, `prefer`
/// with it first.
fn one(
    files: Files<'_>,
    info: &Conninfo,
    server: &Server,
    deadline: Deadline,
) -> Result<Session, SqlError> {
    let files = files.within(deadline);
    let modes: &[SslMode] = match info.sslmode {
        // Sockets of the machine are never encrypted.
        _ if server.is_socket() => &[SslMode::Disable],
        SslMode::Disable => &[SslMode::Disable],
        SslMode::Allow => &[SslMode::Disable, SslMode::Allow],
        SslMode::Prefer => &[SslMode::Prefer, SslMode::Disable],
        SslMode::Require => &[SslMode::Require],
        SslMode::VerifyCa => &[SslMode::VerifyCa],
        SslMode::VerifyFull => &[SslMode::VerifyFull],
    };
    let mut first = None;
    for mode in modes {
        match with_mode(files, info, server, *mode, deadline) {
            Ok(session) => return Ok(session),
            Err(error) if error.may_be_the_encryption() => {
                first.get_or_insert(error);
            }
            Err(error) => return Err(first.unwrap_or(error)),
        }
    }
    Err(first.unwrap_or_else(|| SqlError::timed_out(&server.to_string(), false)))
}

fn with_mode(
    files: Files<'_>,
    info: &Conninfo,
    server: &Server,
    mode: SslMode,
    deadline: Deadline,
) -> Result<Session, SqlError> {
    let target = server.to_string();
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| {
            SqlError::new(
                SqlErrorKind::Unusable,
                &target,
                format!("no event loop: {error}; are there file descriptors left?"),
            )
        })?;
    let way = Way {
        files,
        info,
        server,
        mode,
        password: info.password_from(files, server),
    };
    let exposed = way.password.is_some() && server.is_remote();
    let watch = Arc::new(Watch::new(
        info.require_auth.clone(),
        exposed.then(|| target.clone()),
    ));
    let connected = runtime.block_on(async {
        let dialled = dial(&way, Arc::clone(&watch), deadline);
        tokio::time::timeout(deadline.left(), dialled).await
    });
    let failed = match connected {
        Ok(Ok((client, mover, server_version))) => {
            return Ok(Session {
                live: Some(Live {
                    client,
                    mover,
                    runtime: Some(runtime),
                    watch,
                }),
                target,
                server_version,
            });
        }
        Ok(Err(error)) => error.or_stopped(watch.stopped()),
        Err(_) => SqlError::timed_out(&target, false),
    };
    runtime.shutdown_background();
    Err(failed)
}

/// One attempt: whose files it uses, where it goes, and how.
struct Way<'a> {
    files: Files<'a>,
    info: &'a Conninfo,
    server: &'a Server,
    mode: SslMode,
    password: Option<Secret>,
}

async fn dial(
    way: &Way<'_>,
    watch: Arc<Watch>,
    deadline: Deadline,
) -> Result<(Client, Mover, Option<String>), SqlError> {
    let Way {
        files,
        info,
        server,
        mode,
        ..
    } = *way;
    let target = server.to_string();
    let wrong = |error: tokio_postgres::Error| SqlError::of(&error, &target, false);
    let version = |text: Option<&str>| text.map(str::to_owned);
    let config = config(way);
    let made = match mode {
        SslMode::Disable | SslMode::Prefer => None,
        _ => Some(tls::connector(files, info, mode, &target)?),
    };
    let socket = socket(files, info, server, deadline).await;
    let socket = socket.map_err(|error| SqlError::of_network(&error, &target))?;
    let socket = Watched::plain(socket, watch, mode != SslMode::Disable);
    if mode == SslMode::Disable {
        let (client, connection) = config.connect_raw(socket, NoTls).await.map_err(wrong)?;
        let announced = version(connection.parameter("server_version"));
        return Ok((client, tokio::spawn(connection), announced));
    }
    let encryption = tls::Encryption {
        files,
        info: info.clone(),
        mode,
        target: target.clone(),
        domain: server.host.clone(),
        made,
    };
    let (client, connection) = config
        .connect_raw(socket, encryption)
        .await
        .map_err(wrong)?;
    let announced = version(connection.parameter("server_version"));
    Ok((client, tokio::spawn(connection), announced))
}

/// The most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 32;

/// Reaches the server: by its socket, or at the first of its addresses that answers. An address that
/// does not must leave time for the others.
async fn socket(
    files: Files<'_>,
    info: &Conninfo,
    server: &Server,
    deadline: Deadline,
) -> io::Result<Socket> {
    if server.is_socket() {
        let path = format!("{}/.s.PGSQL.{}", server.host, server.port);
        let connection = files.connect(path.as_ref())?;
        return Ok(Socket::Unix(UnixStream::from_std(connection.into())?));
    }
    let addresses: Vec<SocketAddr> = match server.hostaddr {
        Some(address) => vec![SocketAddr::new(address, server.port)],
        None => lookup_host((server.host.as_str(), server.port))
            .await?
            .take(MOST_ADDRESSES)
            .collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let remaining = u32::try_from(addresses.len() - index).unwrap_or(1).max(1);
        let share = deadline.left() / remaining;
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(Socket::Tcp(prepared(stream, info)?)),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        }
    }
    Err(last)
}

/// Sets what the connection string says of the connection; the system's own values hold otherwise.
fn prepared(stream: TcpStream, info: &Conninfo) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    if let Some(time) = info.tcp_user_timeout {
        let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&stream, millis)?;
    }
    let keepalives = &info.keepalives;
    sockopt::set_socket_keepalive(&stream, keepalives.on)?;
    if !keepalives.on {
        return Ok(stream);
    }
    if let Some(idle) = keepalives.idle {
        sockopt::set_tcp_keepidle(&stream, idle)?;
    }
    if let Some(interval) = keepalives.interval {
        sockopt::set_tcp_keepintvl(&stream, interval)?;
    }
    if let Some(count) = keepalives.count {
        sockopt::set_tcp_keepcnt(&stream, count)?;
    }
    Ok(stream)
}

fn config(way: &Way<'_>) -> Config {
    let (info, mode) = (way.info, way.mode);
    let mut config = Config::new();
    config
        .user(info.user_name())
        .dbname(info.database())
        .ssl_mode(match mode {
            SslMode::Disable => DriverSsl::Disable,
            SslMode::Prefer => DriverSsl::Prefer,
            SslMode::Allow | SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                DriverSsl::Require
            }
        });
    if let Some(password) = &way.password {
        config.password(password.expose());
    }
    if let Some(name) = &info.application_name {
        config.application_name(name);
    }
    if let Some(options) = &info.options {
        config.options(options);
    }
    config.channel_binding(match info.channel_binding {
        Binding::Disable => ChannelBinding::Disable,
        Binding::Prefer => ChannelBinding::Prefer,
        Binding::Require => ChannelBinding::Require,
    });
    config
}

/// Keeps a session only when the server is what was asked for.
fn fitting(
    mut session: Session,
    target: TargetSession,
    deadline: Deadline,
) -> Result<Session, SqlError> {
    let (question, wanted, name) = match target {
        TargetSession::Any | TargetSession::PreferStandby => return Ok(session),
        TargetSession::ReadWrite => ("show transaction_read_only", "off", "read-write"),
        TargetSession::ReadOnly => ("show transaction_read_only", "on", "read-only"),
        TargetSession::Primary => ("select pg_catalog.pg_is_in_recovery()", "f", "primary"),
        TargetSession::Standby => ("select pg_catalog.pg_is_in_recovery()", "t", "standby"),
    };
    let rows = session.simple(question, deadline)?;
    let answer = rows.first().and_then(|row| row.first()).cloned().flatten();
    if answer.as_deref() == Some(wanted) {
        return Ok(session);
    }
    Err(SqlError::new(
        SqlErrorKind::Unusable,
        &session.target,
        format!("the server is not {name}, as target_session_attrs asks"),
    ))
}
