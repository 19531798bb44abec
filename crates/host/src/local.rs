//! How the PostgreSQL of this node is reached: the one place that finds its socket, for the agent, the
//! guard, the commands and the doctor.
//!
//! What PostgreSQL is told to use (`unix_socket_directories`, `port`) and what it was built with differ
//! from site to site. A running server has written where it listens into `postmaster.pid`, so that is
//! believed first. A parameter (`pghost`, `socketdir`) comes before it only in the choice of the
//! directory: a server may have several sockets, and the file names the first.

use std::path::Path;

use pha_core::params::Params;

use crate::conninfo::{Conninfo, Secret};
use crate::postgres::Postgres;
use crate::process::PidFile;
use crate::user::User;

/// The local server, asked as `monitor_user` or as the account that it runs as. `name` is what its
/// sessions are called in `pg_stat_activity`.
#[must_use]
pub fn postgres(params: &Params, user: &User, name: &str) -> Postgres {
    let role = params.monitor_user.as_ref().unwrap_or(&params.pgdba);
    let mut info = Conninfo {
        servers: servers(params, user),
        ..Conninfo::default()
    };
    info = info
        .with_dbname(&params.pgdb)
        .with_user(role)
        .or_application_name(name);
    if let Some(password) = &params.monitor_password {
        info = info.with_password(Secret::new(password.expose()));
    }
    Postgres {
        info,
        user: user.clone(),
    }
}

/// Where the server listens, as its parameters and its own file say. A file that cannot be read says
/// nothing: then it is the usual place.
#[must_use]
pub fn servers(params: &Params, user: &User) -> Vec<crate::conninfo::Server> {
    let pgdata = Path::new(&params.pgdata);
    let file = PidFile::read(pgdata, user).ok().flatten();
    let named = params.pghost.as_ref().or(params.socketdir.as_ref());
    place(named.map(String::as_str), params.pgport, pgdata, file)
}

fn place(
    named: Option<&str>,
    pgport: u16,
    pgdata: &Path,
    file: Option<PidFile>,
) -> Vec<crate::conninfo::Server> {
    let port = file.as_ref().and_then(|file| file.port).unwrap_or(pgport);
    let written = || file.as_ref().and_then(|file| host(file, pgdata));
    match named.map(str::to_owned).or_else(written) {
        Some(host) => Conninfo::local(host, port).servers,
        None => Conninfo::usual(port).servers,
    }
}

/// The socket's directory as the file names it, or the address, where the server has no socket that
/// can be connected to.
fn host(file: &PidFile, pgdata: &Path) -> Option<String> {
    let socket = file.socket_dir.as_deref().filter(|directory| {
        // A name in the abstract namespace is no directory (manual, `unix_socket_directories`).
        !directory.to_string_lossy().starts_with('@')
    });
    // The server works in its data directory: what is relative is relative to that.
    let socket = socket.map(|directory| pgdata.join(directory).to_string_lossy().into_owned());
    socket.or_else(|| {
        // `*` and the addresses that stand for every address are none to connect to.
        match file.listen_address.as_deref()? {
            "*" | "0.0.0.0" => Some("127.0.0.1".to_owned()),
            "::" => Some("::1".to_owned()),
            address => Some(address.to_owned()),
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found(named: Option<&str>, file: Option<&str>) -> (String, u16) {
        let file = file.map(|text| PidFile::parse(text).unwrap());
        let servers = place(named, 5432, Path::new("/data"), file);
        let [server] = &servers[..] else {
            panic!("{servers:?}");
        };
        (server.host.clone(), server.port)
    }

    #[test]
    fn the_server_itself_says_where_it_listens() {
        let file = |port: &str, directory: &str, address: &str| {
            format!("7\n/data\n1\n{port}\n{directory}\n{address}\n")
        };
        for (named, text, expected) in [
            (
                None,
                file("5433", "/run/elsewhere", "*"),
                ("/run/elsewhere", 5433),
            ),
            (None, file("5432", "sockets", "*"), ("/data/sockets", 5432)),
            // Several directories: a parameter says which; the port is the server's all the same.
            (Some("/tmp"), file("5433", "/run/a", "*"), ("/tmp", 5433)),
            // Without a socket there is the network.
            (None, file("5433", "", "*"), ("127.0.0.1", 5433)),
            (None, file("5433", "", "192.0.2.7"), ("192.0.2.7", 5433)),
            (None, file("5433", "@abstract", "::"), ("::1", 5433)),
        ] {
            let (host, port) = found(named, Some(&text));
            assert_eq!((host.as_str(), port), expected, "{text:?}");
        }
        assert_eq!(found(Some("/tmp"), None), ("/tmp".to_owned(), 5432));
        // One that is only beginning has not written it yet.
        assert_eq!(found(None, Some("7\n/data\n1\n")), found(None, None));
    }
}
