//! Encryption as libpq's `sslmode` means it (PostgreSQL manual, "SSL Support").

use std::error::Error;
use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use openssl::error::ErrorStack;
use openssl::ssl::{
    SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion,
};
use openssl::x509::store::X509Lookup;
use openssl::x509::verify::X509VerifyFlags;
use postgres_openssl::{MakeTlsConnector, TlsStream};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::error::{SqlError, SqlErrorKind, without_places};
use super::watch::{Socket, Watched};
use crate::conninfo::{Conninfo, SslMode, TlsVersion};
use crate::user::home;

/// Makes the connector for one attempt with `mode`.
pub(super) fn connector(
    info: &Conninfo,
    mode: SslMode,
    target: &str,
) -> Result<MakeTlsConnector, SqlError> {
    let unusable = |text: String| SqlError::new(SqlErrorKind::Unusable, target, text);
    let openssl = |what: &str, path: &Path, error: ErrorStack| {
        let why = without_places(&error.to_string());
        unusable(format!("{what} {} cannot be used: {why}", path.display()))
    };
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|error| {
        let why = without_places(&error.to_string());
        unusable(format!("OpenSSL cannot be used: {why}"))
    })?;
    let root = root(info, mode);
    match &root {
        None => builder.set_verify(SslVerifyMode::NONE),
        Some(Root::System) => builder.set_verify(SslVerifyMode::PEER),
        Some(Root::File(path)) if !path.exists() => {
            return Err(unusable(format!(
                "sslrootcert {} is not there, and the server's certificate is to be checked by it; put the certificate of its authority there, or name another file, or sslrootcert=system for the authorities that this system trusts",
                path.display()
            )));
        }
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
    builder
        .set_min_proto_version(info.ssl_min.map(version))
        .and_then(|()| builder.set_max_proto_version(info.ssl_max.map(version)))
        .map_err(|error| {
            unusable(format!(
                "ssl_min_protocol_version or ssl_max_protocol_version cannot be used: {}",
                without_places(&error.to_string())
            ))
        })?;
    if root.is_some() {
        revoked(&mut builder, info).map_err(|(what, path, error)| openssl(what, &path, error))?;
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    let verify_name = root.is_some() && mode == SslMode::VerifyFull;
    connector.set_callback(move |connection, _| {
        connection.set_verify_hostname(verify_name);
        Ok(())
    });
    Ok(connector)
}

/// Encryption for one connection. For `sslmode=prefer`, the default, it is made only once the server has
/// agreed to it: making it reads every root certificate of the system, which would be most of a monitor's
/// work where the server then refuses encryption.
pub(super) struct Encryption {
    pub(super) info: Conninfo,
    pub(super) mode: SslMode,
    pub(super) target: String,
    pub(super) domain: String,
    /// Made before, where its failure is to be told before anything is connected.
    pub(super) made: Option<MakeTlsConnector>,
}

impl TlsConnect<Watched<Socket>> for Encryption {
    type Stream = Watched<TlsStream<Watched<Socket>>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: Watched<Socket>) -> Self::Future {
        Box::pin(async move {
            let mut maker = match self.made {
                Some(made) => made,
                None => connector(&self.info, self.mode, &self.target)?,
            };
            let watch = stream.watch();
            let domain = &self.domain;
            let connect = MakeTlsConnect::<Watched<Socket>>::make_tls_connect(&mut maker, domain)?;
            let stream = TlsConnect::connect(connect, stream).await?;
            Ok(Watched::encrypted(stream, watch))
        })
    }
}

fn version(version: TlsVersion) -> SslVersion {
    match version {
        TlsVersion::V1 => SslVersion::TLS1,
        TlsVersion::V1_1 => SslVersion::TLS1_1,
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    }
}

/// Has the lists of revoked certificates looked at, for the whole chain as libpq does. A list that was
/// named has to be there, where libpq would go on without one; the one in the home need not be.
fn revoked(
    builder: &mut SslConnectorBuilder,
    info: &Conninfo,
) -> Result<(), (&'static str, PathBuf, ErrorStack)> {
    let in_home = || home().map(|home| home.join(".postgresql/root.crl"));
    let named = info.sslcrl.is_some() || info.sslcrldir.is_some();
    let default = if named { None } else { in_home() };
    let file = info.sslcrl.clone().or(default.filter(|path| path.exists()));
    if file.is_none() && info.sslcrldir.is_none() {
        return Ok(());
    }
    let store = builder.cert_store_mut();
    if let Some(file) = file {
        let failed = |error| ("sslcrl", file.clone(), error);
        let lookup = store.add_lookup(X509Lookup::file()).map_err(failed)?;
        lookup
            .load_crl_file(&file, SslFiletype::PEM)
            .map_err(failed)?;
    }
    if let Some(directory) = &info.sslcrldir {
        let failed = |error| ("sslcrldir", directory.clone(), error);
        let lookup = store.add_lookup(X509Lookup::hash_dir()).map_err(failed)?;
        let path = directory.to_string_lossy();
        lookup.add_dir(&path, SslFiletype::PEM).map_err(failed)?;
    }
    let flags = X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL;
    let failed = |error| ("sslcrl", PathBuf::new(), error);
    store.set_flags(flags).map_err(failed)
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
