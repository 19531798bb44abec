//! One server of a connection string.

use std::fmt;
use std::net::IpAddr;

/// Where PostgreSQL's own packages on Debian and Red Hat put the socket; libpq's built-in default.
pub(super) const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

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

/// libpq's own default is the directory it was built with; packages differ, so the first that exists.
pub(super) fn default_server(port: u16) -> Server {
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
