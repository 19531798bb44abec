//! What a connection string says, field by field.

use std::path::PathBuf;
use std::time::Duration;

use pha_core::secret::Secret;

use super::auth::RequireAuth;
use super::server::{Server, default_server};
use crate::user::User;

/// Whether and how the connection is encrypted (libpq's `sslmode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only when the server insists.
    Allow,
    /// When the server can.
    #[default]
    Prefer,
    /// Always; the certificate is checked only where `sslrootcert` is there.
    Require,
    /// Always, by a certificate of the given root.
    VerifyCa,
    /// Always, by a certificate of the given root that names the host.
    VerifyFull,
}

/// Whether a proof is to be bound to the encryption (libpq's `channel_binding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binding {
    /// Never.
    Disable,
    /// Where the server can.
    #[default]
    Prefer,
    /// Always: who stands between the two cannot pass it on.
    Require,
}

/// A version of the protocol of encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLSv1
    V1,
    /// TLSv1.1
    V1_1,
    /// TLSv1.2
    V1_2,
    /// TLSv1.3
    V1_3,
}

/// What the session must be good for (libpq's `target_session_attrs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetSession {
    /// Any server.
    #[default]
    Any,
    /// One that accepts writes.
    ReadWrite,
    /// One that does not.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is in recovery.
    Standby,
    /// One that is in recovery, or else any.
    PreferStandby,
}

/// TCP keepalives; the system's own values where none are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepalives {
    /// Whether they are sent at all.
    pub on: bool,
    /// Idle time before the first.
    pub idle: Option<Duration>,
    /// Time between two.
    pub interval: Option<Duration>,
    /// How many may be lost.
    pub count: Option<u32>,
}

/// A connection string, read.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo {
    /// The servers, tried in order; at least one.
    pub servers: Vec<Server>,
    /// The database; the user's name when it is not given.
    pub dbname: Option<String>,
    /// The role; the operating system's user when it is not given.
    pub user: Option<String>,
    /// The password; better kept in a passfile.
    pub password: Option<Secret>,
    /// The file of passwords; `~/.pgpass` when it is not given.
    pub passfile: Option<PathBuf>,
    /// How long to try one server; the operation's deadline holds as well.
    pub connect_timeout: Option<Duration>,
    /// Shown in `pg_stat_activity`.
    pub application_name: Option<String>,
    /// Settings for the session, as `-c name=value`.
    pub options: Option<String>,
    /// Encryption.
    pub sslmode: SslMode,
    /// Root certificates; `system` for those of the system.
    pub sslrootcert: Option<PathBuf>,
    /// Certificates that were revoked: a file.
    pub sslcrl: Option<PathBuf>,
    /// The same as a directory made by `openssl rehash`.
    pub sslcrldir: Option<PathBuf>,
    /// The oldest protocol of encryption that is taken; none for any.
    pub ssl_min: Option<TlsVersion>,
    /// The newest one; none for any.
    pub ssl_max: Option<TlsVersion>,
    /// Whether a proof is to be bound to the encryption.
    pub channel_binding: Binding,
    /// What a server may ask for.
    pub require_auth: RequireAuth,
    /// The client's certificate.
    pub sslcert: Option<PathBuf>,
    /// The client's key.
    pub sslkey: Option<PathBuf>,
    /// TCP keepalives.
    pub keepalives: Keepalives,
    /// How long sent data may remain unacknowledged.
    pub tcp_user_timeout: Option<Duration>,
    /// What the session must be good for.
    pub target: TargetSession,
}

impl Default for Conninfo {
    fn default() -> Self {
        Self {
            servers: vec![default_server(5432)],
            dbname: None,
            user: None,
            password: None,
            passfile: None,
            connect_timeout: None,
            application_name: None,
            options: None,
            sslmode: SslMode::default(),
            sslrootcert: None,
            sslcrl: None,
            sslcrldir: None,
            ssl_min: Some(TlsVersion::V1_2),
            ssl_max: None,
            channel_binding: Binding::default(),
            require_auth: RequireAuth::default(),
            sslcert: None,
            sslkey: None,
            keepalives: Keepalives {
                on: true,
                idle: None,
                interval: None,
                count: None,
            },
            tcp_user_timeout: None,
            target: TargetSession::default(),
        }
    }
}

impl Conninfo {
    /// The server in `directory`, by its socket and without encryption: the local PostgreSQL.
    #[must_use]
    pub fn local(directory: impl Into<String>, port: u16) -> Self {
        Self {
            servers: vec![Server {
                host: directory.into(),
                hostaddr: None,
                port,
            }],
            ..Self::default()
        }
    }

    /// The server in the directory that packages have its socket in, on this port.
    #[must_use]
    pub fn usual(port: u16) -> Self {
        Self {
            servers: vec![default_server(port)],
            ..Self::default()
        }
    }

    /// The same with another database.
    #[must_use]
    pub fn with_dbname(mut self, dbname: impl Into<String>) -> Self {
        self.dbname = Some(dbname.into());
        self
    }

    /// The same with another role.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The same with a password.
    #[must_use]
    pub fn with_password(mut self, password: Secret) -> Self {
        self.password = Some(password);
        self
    }

    /// The same with a name for `pg_stat_activity`, unless the text gave one.
    #[must_use]
    pub fn or_application_name(mut self, name: &str) -> Self {
        self.application_name.get_or_insert_with(|| name.to_owned());
        self
    }

    /// The role: the one given, or the operating system's user.
    #[must_use]
    pub fn user_name(&self) -> String {
        self.user.clone().unwrap_or_else(|| {
            User::current().map_or_else(|_| "postgres".to_owned(), |user| user.name().to_owned())
        })
    }

    /// The database: the one given, or the role's name.
    #[must_use]
    pub fn database(&self) -> String {
        self.dbname.clone().unwrap_or_else(|| self.user_name())
    }
}
