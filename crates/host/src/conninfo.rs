//! Connection strings as libpq reads them (PostgreSQL manual, "Connection Strings"), and the psql
//! command of the specification's `pgsql_distlock_psql_cmd`, of which the connection string is taken.
//!
//! The password is shown by neither `Debug` nor `Display`, and no error quotes a value.

mod auth;
mod parse;
mod passfile;
mod psql;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use auth::{Method, RequireAuth};
use pha_core::conninfo::LONGEST;
pub use pha_core::secret::Secret;

use pha_core::quoted::quoted;

use crate::account::Files;
use crate::user::User;

/// Where PostgreSQL's own packages on Debian and Red Hat put the socket; libpq's built-in default.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// A connection string that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConninfoError {
    /// The text does not follow the syntax.
    #[error(
        "connection string: {0}; write it like \"host=node3 port=5432 dbname=postgres user=postgres\""
    )]
    Syntax(String),
    /// A keyword that libpq does not know either.
    #[error(
        "connection string: unknown keyword {}; allowed are {list}", quoted(.0),
        list = parse::KEYWORDS.join(" ")
    )]
    UnknownKeyword(String),
    /// A keyword of libpq's that this program does not offer.
    #[error("connection string: the keyword {0:?} is not supported here; leave it out")]
    Unsupported(String),
    /// A value that the keyword does not allow.
    #[error("connection string: {keyword} has a wrong value; {expected} is expected")]
    Value {
        /// The keyword.
        keyword: String,
        /// What is allowed.
        expected: &'static str,
    },
}

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

/// One server of possibly several, tried in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A host name, an address, or a directory with a socket in it (begins with `/`).
    pub host: String,
    /// The address, when it is not to be looked up by the name.
    pub hostaddr: Option<IpAddr>,
    /// The TCP port, or the number in the socket's name.
    pub port: u16,
}

impl Server {
    /// Whether this is a directory with a socket in it.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.hostaddr.is_none() && self.host.starts_with('/')
    }

    /// Whether what is sent there leaves this machine, as far as its name says.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        let address = self.hostaddr.or_else(|| self.host.parse().ok());
        !self.is_socket()
            && address.map_or(self.host != "localhost", |address| !address.is_loopback())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_socket() {
            return write!(f, "{}/.s.PGSQL.{}", self.host, self.port);
        }
        match self.hostaddr {
            Some(address) if address.to_string() != self.host => {
                write!(f, "{} ({address}):{}", self.host, self.port)
            }
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
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

/// libpq's own default is the directory it was built with; packages differ, so the first that exists.
fn default_server(port: u16) -> Server {
    let directory = SOCKET_DIRECTORIES
        .into_iter()
        .find(|directory| std::path::Path::new(directory).is_dir())
        .unwrap_or(SOCKET_DIRECTORIES[0]);
    Server {
        host: directory.to_owned(),
        hostaddr: None,
        port,
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

    /// The servers to which the password could travel in clear, and what to do: there is a password, the
    /// connection goes over a network, and encryption is left to who answers there. A server asks for
    /// a proof or for the password itself as it likes, and so does who stands in its place.
    #[must_use]
    pub fn in_clear(&self) -> Option<String> {
        let exposed = |server: &&Server| server.is_remote() && self.password_for(server).is_some();
        if self.sslmode >= SslMode::Require || !self.require_auth.allows(Method::Password) {
            return None;
        }
        if self.channel_binding == Binding::Require {
            return None;
        }
        let servers: Vec<String> = self
            .servers
            .iter()
            .filter(exposed)
            .map(Server::to_string)
            .collect();
        (!servers.is_empty()).then(|| servers.join(", "))
    }

    /// The password for one server: the one given, or the passfile's.
    #[must_use]
    pub fn password_for(&self, server: &Server) -> Option<Secret> {
        self.password_from(Files::own(), server)
    }

    /// The same from the files of an account.
    #[must_use]
    pub fn password_from(&self, files: Files<'_>, server: &Server) -> Option<Secret> {
        self.password
            .clone()
            .or_else(|| passfile::password(files, self, server))
    }
}

impl FromStr for Conninfo {
    type Err = ConninfoError;

    /// Reads keywords and values, a URI, or a psql command.
    fn from_str(text: &str) -> Result<Self, ConninfoError> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(ConninfoError::Syntax(format!(
                "it has more than {} KiB",
                LONGEST >> 10
            )));
        }
        if parse::is_uri(text) {
            return parse::settings(parse::uri(text)?);
        }
        if let Some(settings) = psql::settings(text)? {
            return parse::settings(settings);
        }
        parse::settings(parse::keywords(text)?)
    }
}

impl fmt::Display for Conninfo {
    /// Who, which database and where: enough for a message, and no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.user_name())?;
        for (index, server) in self.servers.iter().enumerate() {
            write!(f, "{}{server}", if index > 0 { "," } else { "" })?;
        }
        write!(f, "/{}", self.database())
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Conninfo({self}, password {}, sslmode {:?})",
            if self.password.is_some() {
                "given"
            } else {
                "not given"
            },
            self.sslmode
        )
    }
}

#[cfg(test)]
mod tests;
