//! Connection strings as libpq reads them (PostgreSQL manual, "Connection Strings"), and the psql
//! command of the specification's `pgsql_distlock_psql_cmd`, of which the connection string is taken.
//!
//! The password is shown by neither `Debug` nor `Display`, and no error quotes a value.

mod auth;
mod fields;
mod parse;
mod passfile;
mod psql;
mod server;

use std::fmt;
use std::str::FromStr;

pub use auth::{Method, RequireAuth};
pub use fields::{Binding, Conninfo, Keepalives, SslMode, TargetSession, TlsVersion};
pub use parse::ConninfoError;
pub use pha_core::secret::Secret;
pub use server::Server;

use pha_core::conninfo::LONGEST;

use crate::account::Files;

impl Conninfo {
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
