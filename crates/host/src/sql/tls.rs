//! Encryption as libpq's `sslmode` means it (PostgreSQL manual, "SSL Support").

use std::error::Error;
use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use postgres_openssl::{MakeTlsConnector, TlsStream};
use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::error::{SqlError, SqlErrorKind};
use crate::conninfo::{Conninfo, SslMode};
use crate::user::User;

/// Makes the connector for one attempt with `mode`.
pub(super) fn connector(
    info: &Conninfo,
    mode: SslMode,
    target: &str,
) -> Result<MakeTlsConnector, SqlError> {
    let unusable = |text: String| SqlError::new(SqlErrorKind::Unusable, target, text);
    let openssl = |what: &str, path: &Path, error: openssl::error::ErrorStack| {
        unusable(format!("{what} {} cannot be used: {error}", path.display()))
    };
    let mut builder = SslConnector::builder(SslMethod::tls_client())
        .map_err(|error| unusable(format!("OpenSSL cannot be used: {error}")))?;
    let root = root(info, mode);
    match &root {
        None => builder.set_verify(SslVerifyMode::NONE),
        Some(Root::System) => builder.set_verify(SslVerifyMode::PEER),
        Some(Root::File(path)) => {
            builder
                .set_ca_file(path)
                .map_err(|error| openssl("sslrootcert", path, error))?;
            builder.set_verify(SslVerifyMode::PEER);
        }
    }
    if let Some((certificate, key)) = own_certificate(info) {
        check_key(&key).map_err(unusable)?;
        builder
            .set_certificate_chain_file(&certificate)
            .map_err(|error| openssl("sslcert", &certificate, error))?;
        builder
            .set_private_key_file(&key, SslFiletype::PEM)
            .map_err(|error| openssl("sslkey", &key, error))?;
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    let verify_name = root.is_some() && mode == SslMode::VerifyFull;
    connector.set_callback(move |connection, _| {
        connection.set_verify_hostname(verify_name);
        Ok(())
    });
    Ok(connector)
}

/// Encryption for `sslmode=prefer`, the default: made only once the server has agreed to it. Making
/// it reads every root certificate of the system, which would be most of a monitor's work where the
/// server then refuses encryption.
pub(super) struct Preferred {
    pub(super) info: Conninfo,
    pub(super) target: String,
}

/// [`Preferred`] for one server.
pub(super) struct PreferredConnect {
    info: Conninfo,
    target: String,
    domain: String,
}

impl MakeTlsConnect<Socket> for Preferred {
    type Stream = TlsStream<Socket>;
    type TlsConnect = PreferredConnect;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<PreferredConnect> {
        Ok(PreferredConnect {
            info: self.info.clone(),
            target: self.target.clone(),
            domain: domain.to_owned(),
        })
    }
}

impl TlsConnect<Socket> for PreferredConnect {
    type Stream = TlsStream<Socket>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<TlsStream<Socket>, Self::Error>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let mut maker = connector(&self.info, SslMode::Prefer, &self.target)?;
            let connect = MakeTlsConnect::<Socket>::make_tls_connect(&mut maker, &self.domain)?;
            TlsConnect::connect(connect, stream).await
        })
    }
}

enum Root {
    System,
    File(PathBuf),
}

/// The roots to check against. Without a file `require` checks nothing; with one it checks the
/// chain, as libpq does "for backward compatibility".
fn root(info: &Conninfo, mode: SslMode) -> Option<Root> {
    if mode < SslMode::Require {
        return None;
    }
    let file = info
        .sslrootcert
        .clone()
        .or_else(|| home().map(|home| home.join(".postgresql/root.crt")))?;
    if file == Path::new("system") {
        return Some(Root::System);
    }
    // The verifying modes fail on a file that is not there; `require` goes without.
    (mode > SslMode::Require || file.exists()).then_some(Root::File(file))
}

fn own_certificate(info: &Conninfo) -> Option<(PathBuf, PathBuf)> {
    let in_home = |name: &str| home().map(|home| home.join(".postgresql").join(name));
    let certificate = info
        .sslcert
        .clone()
        .or_else(|| in_home("postgresql.crt").filter(|path| path.exists()))?;
    let key = info
        .sslkey
        .clone()
        .or_else(|| in_home("postgresql.key").filter(|path| path.exists()))?;
    Some((certificate, key))
}

/// libpq's rule: a private key may be read by nobody else, or, when root owns it, by its group.
fn check_key(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path)
        .map_err(|error| format!("sslkey {} cannot be read: {error}", path.display()))?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(format!(
            "sslkey {} is accessible to others; run chmod 0600 on it",
            path.display()
        ));
    }
    Ok(())
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .or_else(|| User::current().ok().map(|user| user.home().to_owned()))
}
