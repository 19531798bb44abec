//! Encryption as libpq's `sslmode` means it (PostgreSQL manual, "SSL Support").

use std::error::Error;
use std::fs::File;
use std::future::Future;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion,
};
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use postgres_openssl::{MakeTlsConnector, TlsStream};
use rustix::fs::MemfdFlags;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::error::{SqlError, SqlErrorKind, without_places};
use super::watch::{Socket, Watched};
use crate::account::{Content, Files};
use crate::conninfo::{Conninfo, SslMode, TlsVersion};

/// The most files of a directory of lists of revoked certificates.
const MOST_LISTS: usize = 1000;

/// A failure of one of the connection's files: which setting names it, its path, and what is wrong.
struct Unfit(&'static str, PathBuf, String);

impl Unfit {
    fn told(self, target: &str) -> SqlError {
        let Self(what, path, why) = self;
        let text = format!("{what} {} cannot be used: {why}", path.display());
        SqlError::new(SqlErrorKind::Unusable, target, text)
    }

    fn openssl(what: &'static str, path: &Path, error: &ErrorStack) -> Self {
        Self(what, path.to_owned(), without_places(&error.to_string()))
    }
}

/// Reads one of the connection's files. OpenSSL would open its path itself, whatever is there by then: it
/// would wait for the other end of a FIFO, and follow the link of an account with root's rights.
fn read(files: Files<'_>, what: &'static str, path: &Path) -> Result<Option<Content>, Unfit> {
    let unfit =
        |error: crate::files::FileError| Unfit(what, path.to_owned(), error.reason.to_string());
    files.read(path).map_err(unfit)
}

/// What was read, under a name that OpenSSL can open.
struct Copied(File);

impl Copied {
    fn of(bytes: &[u8]) -> io::Result<Self> {
        let memory = rustix::fs::memfd_create("certificates", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(bytes)?;
        Ok(Self(file))
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// Hands what was read to OpenSSL.
fn given(
    what: &'static str,
    path: &Path,
    bytes: &[u8],
    give: impl FnOnce(&Path) -> Result<(), ErrorStack>,
) -> Result<(), Unfit> {
    let copied = Copied::of(bytes);
    let copied = copied.map_err(|error| Unfit(what, path.to_owned(), error.to_string()))?;
    give(&copied.path()).map_err(|error| Unfit::openssl(what, path, &error))
}

/// Makes the connector for one attempt with `mode`.
pub(super) fn connector(
    files: Files<'_>,
    info: &Conninfo,
    mode: SslMode,
    target: &str,
) -> Result<MakeTlsConnector, SqlError> {
    let unusable = |text: String| SqlError::new(SqlErrorKind::Unusable, target, text);
    let told = |unfit: Unfit| unfit.told(target);
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|error| {
        let why = without_places(&error.to_string());
        unusable(format!("OpenSSL cannot be used: {why}"))
    })?;
    let root = root(files, info, mode).map_err(told)?;
    match &root {
        None => builder.set_verify(SslVerifyMode::NONE),
        Some(Root::System) => {
            let found = super::authorities::trust(&mut builder).map_err(|error| {
                let why = without_places(&error.to_string());
                unusable(format!(
                    "the authorities that this system trusts cannot be read: {why}"
                ))
            })?;
            if !found {
                return Err(unusable(
                    "sslrootcert is system, and this system has no list of the authorities that it trusts; install the package ca-certificates, or name a file in sslrootcert, or in the environment's SSL_CERT_FILE".to_owned(),
                ));
            }
            builder.set_verify(SslVerifyMode::PEER);
        }
        Some(Root::Missing(path)) => {
            return Err(unusable(format!(
                "sslrootcert {} is not there, and the server's certificate is to be checked by it; put the certificate of its authority there, or name another file, or sslrootcert=system for the authorities that this system trusts",
                path.display()
            )));
        }
        Some(Root::File(path, content)) => {
            // Only these: the builder begins with those of the system.
            let none = X509StoreBuilder::new().map_err(|error| unusable(error.to_string()))?;
            builder.set_cert_store(none.build());
            given("sslrootcert", path, &content.bytes, |copy| {
                builder.set_ca_file(copy)
            })
            .map_err(told)?;
            builder.set_verify(SslVerifyMode::PEER);
        }
    }
    present(&mut builder, files, info).map_err(told)?;
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
        revoked(&mut builder, files, info).map_err(told)?;
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
pub(super) struct Encryption<'a> {
    pub(super) files: Files<'a>,
    pub(super) info: Conninfo,
    pub(super) mode: SslMode,
    pub(super) target: String,
    pub(super) domain: String,
    /// Made before, where its failure is to be told before anything is connected.
    pub(super) made: Option<MakeTlsConnector>,
}

impl<'a> TlsConnect<Watched<Socket>> for Encryption<'a> {
    type Stream = Watched<TlsStream<Watched<Socket>>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send + 'a>>;

    fn connect(self, stream: Watched<Socket>) -> Self::Future {
        Box::pin(async move {
            let mut maker = match self.made {
                Some(made) => made,
                None => connector(self.files, &self.info, self.mode, &self.target)?,
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
    files: Files<'_>,
    info: &Conninfo,
) -> Result<(), Unfit> {
    let named = info.sslcrl.is_some() || info.sslcrldir.is_some();
    let mut lists = Vec::new();
    if let Some(path) = info.sslcrl.clone().or_else(|| in_home(files, "root.crl")) {
        match read(files, "sslcrl", &path)? {
            Some(content) => lists.push(("sslcrl", path, content.bytes)),
            None if info.sslcrl.is_some() => {
                return Err(Unfit("sslcrl", path, "it is not there".to_owned()));
            }
            None => {}
        }
    }
    if let Some(directory) = &info.sslcrldir {
        lists.push((
            "sslcrldir",
            directory.clone(),
            directory_of(files, directory)?,
        ));
    }
    if lists.is_empty() && !named {
        return Ok(());
    }
    let store = builder.cert_store_mut();
    // OpenSSL takes no list from a file without one.
    for (what, path, bytes) in lists.iter().filter(|(_, _, bytes)| !bytes.is_empty()) {
        given(what, path, bytes, |copy| {
            let lookup = store.add_lookup(X509Lookup::file())?;
            lookup.load_crl_file(copy, SslFiletype::PEM).map(drop)
        })?;
    }
    let flags = X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL;
    let failed = |error| Unfit::openssl("sslcrl", Path::new(""), &error);
    store.set_flags(flags).map_err(failed)
}

/// The lists of a directory, one after the other, of files that are called as OpenSSL looks for them: eight
/// digits of a hash, `.r`, and a number (openssl-rehash(1)).
fn directory_of(files: Files<'_>, directory: &Path) -> Result<Vec<u8>, Unfit> {
    let unfit = |why: String| Unfit("sslcrldir", directory.to_owned(), why);
    let names = files.names(directory, "");
    let names = names.map_err(|error| unfit(error.reason.to_string()))?;
    let names = names.ok_or_else(|| unfit("it is not there".to_owned()))?;
    let is_list = |name: &&String| {
        name.split_once(".r").is_some_and(|(hash, number)| {
            let hex = hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let mut bytes = Vec::new();
    for name in names.iter().filter(is_list).take(MOST_LISTS) {
        let content = read(files, "sslcrldir", &directory.join(name))?;
        bytes.extend(content.map(|content| content.bytes).unwrap_or_default());
        bytes.push(b'\n');
        if bytes.len() as u64 > crate::files::LIMIT {
            return Err(unfit("its lists have more than 16 MiB".to_owned()));
        }
    }
    Ok(bytes)
}

enum Root {
    System,
    File(PathBuf, Content),
    Missing(PathBuf),
}

fn in_home(files: Files<'_>, name: &str) -> Option<PathBuf> {
    let home = files.home()?;
    Some(home.join(".postgresql").join(name))
}

/// The roots to check against. Without a file `require` checks nothing; with one it checks the
/// chain, as libpq does "for backward compatibility".
fn root(files: Files<'_>, info: &Conninfo, mode: SslMode) -> Result<Option<Root>, Unfit> {
    if mode < SslMode::Require {
        return Ok(None);
    }
    let named = info.sslrootcert.clone();
    let Some(path) = named.or_else(|| in_home(files, "root.crt")) else {
        return Ok(None);
    };
    if path == Path::new("system") {
        return Ok(Some(Root::System));
    }
    Ok(match read(files, "sslrootcert", &path)? {
        Some(content) => Some(Root::File(path, content)),
        // The verifying modes fail on a file that is not there; `require` goes without.
        None => (mode > SslMode::Require).then_some(Root::Missing(path)),
    })
}

/// Has the client's own certificate shown, where there is one with its key.
fn present(
    builder: &mut SslConnectorBuilder,
    files: Files<'_>,
    info: &Conninfo,
) -> Result<(), Unfit> {
    let there = |named: &Option<PathBuf>, name: &str| {
        // One that cannot be looked at is not shown: a server that asks for one says so.
        let seen = |path: &PathBuf| files.is_there(path) == Some(true);
        let default = || in_home(files, name).filter(seen);
        named.clone().or_else(default)
    };
    let Some(certificate) = there(&info.sslcert, "postgresql.crt") else {
        return Ok(());
    };
    let Some(key) = there(&info.sslkey, "postgresql.key") else {
        return Ok(());
    };
    let missing = |what, path: &Path| Unfit(what, path.to_owned(), "it is not there".to_owned());
    let content = read(files, "sslkey", &key)?.ok_or_else(|| missing("sslkey", &key))?;
    // libpq's rule: a private key may be read by nobody else, or, when root owns it, by its group.
    let forbidden = if content.stat.uid == 0 { 0o037 } else { 0o077 };
    if content.stat.mode & forbidden != 0 {
        let why = "it is accessible to others; run chmod 0600 on it".to_owned();
        return Err(Unfit("sslkey", key, why));
    }
    let chain = read(files, "sslcert", &certificate)?;
    let chain = chain.ok_or_else(|| missing("sslcert", &certificate))?;
    given("sslcert", &certificate, &chain.bytes, |copy| {
        builder.set_certificate_chain_file(copy)
    })?;
    // Nobody is asked for the password of a key that has one.
    PKey::private_key_from_pem_callback(&content.bytes, |_| Ok(0))
        .and_then(|private| builder.set_private_key(&private))
        .map_err(|error| Unfit::openssl("sslkey", &key, &error))
}
