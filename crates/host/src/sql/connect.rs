//! Finding a server: several hosts, libpq's fall-backs of `sslmode`, and what the session is for.

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::config::SslMode as DriverSsl;
use tokio_postgres::{Client, Config, NoTls};

use super::error::{SqlError, SqlErrorKind};
use super::{Live, Session, tls};
use crate::clock::Deadline;
use crate::conninfo::{Conninfo, Server, SslMode, TargetSession};

type Mover = tokio::task::JoinHandle<Result<(), tokio_postgres::Error>>;

/// Connects to the first server that will have it.
pub(super) fn any(info: &Conninfo, deadline: Deadline) -> Result<Session, SqlError> {
    match info.target {
        TargetSession::PreferStandby => in_order(info, TargetSession::Standby, deadline)
            .or_else(|_| in_order(info, TargetSession::Any, deadline)),
        target => in_order(info, target, deadline),
    }
}

fn in_order(
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
        match one(info, server, step).and_then(|session| fitting(session, target, step)) {
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
fn one(info: &Conninfo, server: &Server, deadline: Deadline) -> Result<Session, SqlError> {
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
        match with_mode(info, server, *mode, deadline) {
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
    let config = config(info, server, mode);
    let connected = runtime.block_on(async {
        tokio::time::timeout(deadline.left(), dial(info, &config, mode, &target)).await
    });
    let (client, mover, server_version) = match connected {
        Ok(Ok(parts)) => parts,
        Ok(Err(error)) => {
            runtime.shutdown_background();
            return Err(error);
        }
        Err(_) => {
            runtime.shutdown_background();
            return Err(SqlError::timed_out(&target, false));
        }
    };
    Ok(session(client, mover, runtime, target, server_version))
}

fn session(
    client: Client,
    mover: Mover,
    runtime: Runtime,
    target: String,
    server_version: Option<String>,
) -> Session {
    Session {
        live: Some(Live {
            client,
            mover,
            runtime: Some(runtime),
        }),
        target,
        server_version,
    }
}

async fn dial(
    info: &Conninfo,
    config: &Config,
    mode: SslMode,
    target: &str,
) -> Result<(Client, Mover, Option<String>), SqlError> {
    let version = |text: Option<&str>| text.map(str::to_owned);
    let wrong = |error: tokio_postgres::Error| SqlError::of(&error, target, false);
    if mode == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await.map_err(wrong)?;
        let announced = version(connection.parameter("server_version"));
        return Ok((client, tokio::spawn(connection), announced));
    }
    if mode == SslMode::Prefer {
        let preferred = tls::Preferred {
            info: info.clone(),
            target: target.to_owned(),
        };
        let (client, connection) = config.connect(preferred).await.map_err(wrong)?;
        let announced = version(connection.parameter("server_version"));
        return Ok((client, tokio::spawn(connection), announced));
    }
    let connector = tls::connector(info, mode, target)?;
    let (client, connection) = config.connect(connector).await.map_err(wrong)?;
    let announced = version(connection.parameter("server_version"));
    Ok((client, tokio::spawn(connection), announced))
}

fn config(info: &Conninfo, server: &Server, mode: SslMode) -> Config {
    let mut config = Config::new();
    if server.is_socket() {
        config.host_path(&server.host);
    } else {
        config.host(&server.host);
        if let Some(address) = server.hostaddr {
            config.hostaddr(address);
        }
    }
    config
        .port(server.port)
        .user(info.user_name())
        .dbname(info.database())
        .ssl_mode(match mode {
            SslMode::Disable => DriverSsl::Disable,
            SslMode::Prefer => DriverSsl::Prefer,
            SslMode::Allow | SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                DriverSsl::Require
            }
        });
    if let Some(password) = info.password_for(server) {
        config.password(password.expose());
    }
    if let Some(name) = &info.application_name {
        config.application_name(name);
    }
    if let Some(options) = &info.options {
        config.options(options);
    }
    if let Some(time) = info.tcp_user_timeout {
        config.tcp_user_timeout(time);
    }
    let keepalives = &info.keepalives;
    config.keepalives(keepalives.on);
    if let Some(idle) = keepalives.idle {
        config.keepalives_idle(idle);
    }
    if let Some(interval) = keepalives.interval {
        config.keepalives_interval(interval);
    }
    if let Some(count) = keepalives.count {
        config.keepalives_retries(count);
    }
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
