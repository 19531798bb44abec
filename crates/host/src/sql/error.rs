//! Why a statement has no result, kept apart by what it means to the caller.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;

pub use pha_core::postgres::SqlErrorKind;
use pha_core::quoted::shortened;

/// How many characters of a server's words are shown.
const SHOWN: usize = 1000;

/// A failed connection or statement. It never shows a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("database server at {target}: {text}")]
pub struct SqlError {
    kind: SqlErrorKind,
    target: String,
    text: String,
    /// Whether a statement had been sent when it failed.
    sent: bool,
}

impl SqlError {
    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> &SqlErrorKind {
        &self.kind
    }

    /// The SQLSTATE, when the server answered an error.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match &self.kind {
            SqlErrorKind::Server { sqlstate, .. } => Some(sqlstate),
            _ => None,
        }
    }

    /// Whether a server is there and said no ([`SqlErrorKind::answered`]).
    #[must_use]
    pub fn answered(&self) -> bool {
        self.kind.answered()
    }

    /// Whether it was the deadline.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind == SqlErrorKind::TimedOut
    }

    /// Whether the server has no connection left (53300): it is busy, not dead.
    #[must_use]
    pub fn is_too_many_connections(&self) -> bool {
        self.sqlstate() == Some("53300")
    }

    /// Whether a statement had been sent: otherwise it is the connection that failed.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.sent
    }

    /// Whether a statement that failed with this has surely changed nothing
    /// ([`SqlErrorKind::surely_without_effect`]).
    #[must_use]
    pub fn surely_without_effect(&self) -> bool {
        self.kind.surely_without_effect(self.sent)
    }

    /// The text without the server's name.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the session goes on after this error.
    pub(super) fn connection_survives(&self) -> bool {
        matches!(self.kind, SqlErrorKind::Server { fatal: false, .. })
            || self.kind == SqlErrorKind::Unusable
    }

    /// Whether another sslmode may help (libpq's `allow` and `prefer`).
    pub(super) fn may_be_the_encryption(&self) -> bool {
        match &self.kind {
            SqlErrorKind::Tls => true,
            SqlErrorKind::Server { sqlstate, .. } => sqlstate.starts_with("28"),
            _ => false,
        }
    }

    /// Whether it may come from an event trigger on `login`: not from the server's own checks of a
    /// connection (authentication, privileges, settings, resources, a server that starts or stops).
    pub(super) fn may_be_a_login_trigger(&self) -> bool {
        let own = [
            "08", "0A", "22023", "28", "3D", "42501", "42704", "53", "55000", "57", "58", "XX",
        ];
        match &self.kind {
            SqlErrorKind::Server { sqlstate, .. } => {
                !self.sent && !own.iter().any(|class| sqlstate.starts_with(class))
            }
            _ => false,
        }
    }

    pub(super) fn new(kind: SqlErrorKind, target: &str, text: impl Into<String>) -> Self {
        Self {
            kind,
            target: target.to_owned(),
            text: text.into(),
            sent: false,
        }
    }

    pub(super) fn timed_out(target: &str, sent: bool) -> Self {
        Self {
            sent,
            ..Self::new(
                SqlErrorKind::TimedOut,
                target,
                "no answer in time; look whether the server is overloaded, frozen or cut off",
            )
        }
    }

    /// The same, of a preparing statement: the one that counts was not sent.
    pub(crate) fn before_the_statement(self) -> Self {
        Self {
            sent: false,
            ..self
        }
    }

    pub(super) fn gone(target: &str) -> Self {
        Self::new(
            SqlErrorKind::Broken,
            target,
            "the connection was given up after an earlier failure; connect again",
        )
    }

    /// Adds what the server said when it ended the connection.
    pub(super) fn because(self, reason: Option<&tokio_postgres::Error>) -> Self {
        let Some(reason) = reason.map(|reason| Self::of(reason, &self.target, self.sent)) else {
            return self;
        };
        if matches!(reason.kind, SqlErrorKind::Server { .. }) && self.kind == SqlErrorKind::Broken {
            return reason;
        }
        self
    }

    /// The same failure, where the connection was ended from here and it is known why.
    pub(super) fn or_stopped(self, stopped: Option<(SqlErrorKind, String)>) -> Self {
        match stopped {
            Some((kind, text)) => Self { kind, text, ..self },
            None => self,
        }
    }

    /// Sorts a failure of the network before the driver has a connection.
    pub(super) fn of_network(error: &io::Error, target: &str) -> Self {
        let (kind, text) = network(error, false);
        Self::new(kind, target, one_line(&text))
    }

    /// Sorts an error of the driver. `sent` says whether a statement was on its way.
    pub(super) fn of(error: &tokio_postgres::Error, target: &str, sent: bool) -> Self {
        let (kind, text) = sort(error, sent);
        Self {
            kind,
            target: target.to_owned(),
            text: one_line(&text),
            sent,
        }
    }
}

/// The words of OpenSSL without the places in its sources: of `error:CODE:library:function:reason:file:line:data`
/// the reason and the data are left.
pub(super) fn without_places(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("error:") {
        plain.push_str(before);
        let fields: Vec<&str> = after.splitn(7, ':').collect();
        let digits = |text: &str, radix| text.chars().all(|c| c.is_digit(radix));
        match fields[..] {
            [code, _, _, reason, _, line, data]
                if code.len() == 8 && digits(code, 16) && digits(line, 10) =>
            {
                plain.push_str(reason);
                if data.starts_with(|first: char| first.is_alphanumeric()) {
                    plain.push(' ');
                }
                rest = data;
            }
            _ => {
                plain.push_str("error:");
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// A message is one line; what comes from the server may have several.
fn one_line(text: &str) -> String {
    let text = shortened(text, SHOWN);
    text.split(|c: char| c.is_control())
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn sort(error: &tokio_postgres::Error, sent: bool) -> (SqlErrorKind, String) {
    if let Some(server) = error.as_db_error() {
        let fatal = matches!(server.severity(), "FATAL" | "PANIC")
            || server.parsed_severity().is_some_and(|severity| {
                use tokio_postgres::error::Severity;
                matches!(severity, Severity::Fatal | Severity::Panic)
            });
        let mut text = format!("{} (SQLSTATE {}", server.message(), server.code().code());
        if let Some(hint) = server.hint() {
            let _ = write!(text, "; {hint}");
        }
        text.push(')');
        let sqlstate = server.code().code().to_owned();
        return (SqlErrorKind::Server { sqlstate, fatal }, text);
    }
    let cause = error.source();
    if let Some(io) = cause.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        return network(io, sent);
    }
    let why = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    // The driver keeps its kinds to itself; these are its fixed texts.
    let kind = match error.to_string().as_str() {
        "connection closed" | "error communicating with the server" => {
            return (SqlErrorKind::Broken, "the connection ended".to_owned());
        }
        "error performing TLS handshake" => SqlErrorKind::Tls,
        "authentication error" => SqlErrorKind::Authentication,
        // "password missing" is one of these.
        "invalid configuration" if why.contains("password") => {
            return (
                SqlErrorKind::Authentication,
                "the server asks for a password; put one into the password file (~/.pgpass, mode 0600)"
                    .to_owned(),
            );
        }
        "error connecting to server" => SqlErrorKind::Unreachable,
        _ => SqlErrorKind::Unusable,
    };
    (kind, without_places(&why))
}

fn network(error: &io::Error, sent: bool) -> (SqlErrorKind, String) {
    use io::ErrorKind as E;
    let (kind, hint) = match error.kind() {
        E::ConnectionRefused => (
            SqlErrorKind::Refused,
            "; is PostgreSQL running there, and listening on that address?",
        ),
        E::NotFound => (
            SqlErrorKind::NoSocket,
            "; no server runs there, or its unix_socket_directories is another",
        ),
        E::TimedOut => (SqlErrorKind::TimedOut, ""),
        E::ConnectionReset
        | E::ConnectionAborted
        | E::BrokenPipe
        | E::UnexpectedEof
        | E::NotConnected => (SqlErrorKind::Broken, ""),
        _ if sent => (SqlErrorKind::Broken, ""),
        _ => (SqlErrorKind::Unreachable, ""),
    };
    (kind, format!("{error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::without_places;

    #[test]
    fn openssl_is_quoted_without_its_sources() {
        for (text, plain) in [
            (
                "error:80000002:system library:file_open:No such file or directory:../crypto/bio/bss_file.c:67:calling fopen(/x, r), error:10000080:BIO routines:BIO_new_file:no such file:../crypto/bio/bss_file.c:75:",
                "No such file or directory calling fopen(/x, r), no such file",
            ),
            (
                "handshake: error:0A000086:SSL routines:tls_post:certificate verify failed:../ssl/statem.c:1889:: self-signed certificate",
                "handshake: certificate verify failed: self-signed certificate",
            ),
            ("an error: of somebody else", "an error: of somebody else"),
            ("error:", "error:"),
        ] {
            assert_eq!(without_places(text), plain);
        }
    }
}
