//! Encrypted connections against a real server: what each `sslmode` accepts and refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use pha_host::clock::Deadline;
use pha_host::conninfo::Conninfo;
use pha_host::sql::{Purpose, Session, SqlError, SqlErrorKind};
use pha_tests::pg::Server;

type Pair = (X509, PKey<Private>);

/// A certificate for `name` (and the DNS name `name`), by `issuer` or by itself.
fn certificate(name: &str, issuer: Option<&Pair>) -> Pair {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(u32::from(issuer.is_some()) + 1).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder
        .set_issuer_name(issuer.map_or(&subject, |(by, _)| by.subject_name()))
        .unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(2).unwrap())
        .unwrap();
    builder.set_pubkey(&key).unwrap();
    if issuer.is_some() {
        let names = SubjectAlternativeName::new()
            .dns(name)
            .build(&builder.x509v3_context(issuer.map(|(by, _)| by.as_ref()), None))
            .unwrap();
        builder.append_extension(names).unwrap();
    } else {
        let authority = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(authority).unwrap();
    }
    let signing = issuer.map_or(&key, |(_, by)| by);
    builder.sign(signing, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

fn write(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

struct Files {
    directory: PathBuf,
    server: Server,
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Files {
    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Connects; whether the connection is encrypted, or why there is none. `HOME` is not looked
    /// at, because every file is named.
    fn connect(&self, settings: &str) -> Result<bool, SqlError> {
        let text = format!(
            "hostaddr=127.0.0.1 port={} user=postgres dbname=postgres {settings}",
            self.server.port
        );
        let info: Conninfo = text.parse().unwrap();
        let deadline = Deadline::after(Duration::from_secs(10));
        let mut session = Session::connect(&info, Purpose::LockService, deadline)?;
        let rows = session.simple(
            "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
            deadline,
        )?;
        Ok(rows[0][0].as_deref() == Some("t"))
    }
}

/// A server with a certificate for `lock.test` by a test authority. Database `template1` asks for a
/// certificate of the client's.
fn server(name: &str) -> Files {
    let directory = std::env::temp_dir().join(format!("pha-tls-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    let authority = certificate("test authority", None);
    let other = certificate("another authority", None);
    let own = certificate("lock.test", Some(&authority));
    let client = certificate("postgres", Some(&authority));
    let pem = |pair: &Pair| pair.0.to_pem().unwrap();
    write(&directory.join("root.crt"), &pem(&authority), 0o644);
    write(&directory.join("other.crt"), &pem(&other), 0o644);
    write(&directory.join("server.crt"), &pem(&own), 0o644);
    let signing = authority.1.private_key_to_pem_pkcs8().unwrap();
    write(&directory.join("root.key"), &signing, 0o600);
    write(&directory.join("client.crt"), &pem(&client), 0o644);
    let key = client.1.private_key_to_pem_pkcs8().unwrap();
    write(&directory.join("client.key"), &key, 0o600);
    write(&directory.join("open.key"), &key, 0o644);
    let server = Server::start_with(&["ssl=on", "ssl_ca_file=root.crt"], |data| {
        let owner = fs::metadata(data).map_err(|error| error.to_string())?;
        let give = |name: &str, bytes: &[u8]| {
            use std::os::unix::fs::{MetadataExt, chown};
            write(&data.join(name), bytes, 0o600);
            chown(data.join(name), Some(owner.uid()), Some(owner.gid())).unwrap();
        };
        give("server.crt", &pem(&own));
        give("server.key", &own.1.private_key_to_pem_pkcs8().unwrap());
        give("root.crt", &pem(&authority));
        give(
            "pg_hba.conf",
            b"local all all trust\nhostssl template1 all all cert\nhostssl all all all trust\nhostnossl postgres postgres all trust\n",
        );
        Ok(())
    })
    .unwrap();
    Files { directory, server }
}

#[test]
fn pg_each_sslmode_does_what_libpq_does() {
    let files = server("modes");
    let (root, other) = (files.path("root.crt"), files.path("other.crt"));
    let yes = |settings: &str| files.connect(settings).unwrap();
    assert!(!yes("sslmode=disable"));
    assert!(!yes("sslmode=allow"), "plain is tried first");
    assert!(yes("sslmode=prefer"));
    assert!(yes("sslmode=require"));
    assert!(yes(&format!("sslmode=require sslrootcert={root}")));
    assert!(yes(&format!(
        "sslmode=verify-ca host=whatever sslrootcert={root}"
    )));
    assert!(yes(&format!(
        "sslmode=verify-full host=lock.test sslrootcert={root}"
    )));
    let refused = |settings: &str| files.connect(settings).unwrap_err();
    for settings in [
        format!("sslmode=verify-full host=other.test sslrootcert={root}"),
        format!("sslmode=verify-full sslrootcert={root}"),
        format!("sslmode=verify-full host=lock.test sslrootcert={other}"),
        format!("sslmode=verify-ca host=lock.test sslrootcert={other}"),
        format!("sslmode=require sslrootcert={other}"),
    ] {
        let error = refused(&settings);
        assert_eq!(error.kind(), &SqlErrorKind::Tls, "{settings}: {error}");
        assert!(
            error.answered(),
            "a wrong certificate is an answer: {error}"
        );
        assert!(
            error.to_string().contains("certificate") && !error.to_string().contains(".c:"),
            "{settings}: {error}"
        );
    }
    let error = refused("sslmode=verify-full host=lock.test sslrootcert=/nonexistent");
    assert!(
        error
            .to_string()
            .contains("sslrootcert /nonexistent is not there"),
        "{error}"
    );
}

/// Connects from a process whose system trusts the authority of the server; why there is no connection.
fn where_trusted(files: &Files, settings: &str) -> Option<String> {
    let text = format!(
        "hostaddr=127.0.0.1 port={} user=postgres dbname=postgres sslmode=verify-full host=lock.test {settings}",
        files.server.port
    );
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "pg_the_system_is_trusted_where_it_is_named_and_only_there",
        ])
        .args(["--nocapture", "--test-threads", "1"])
        .env(CONNECT, text)
        .env("SSL_CERT_FILE", files.path("root.crt"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcome = said.lines().find_map(|line| line.split_once("outcome: "));
    let outcome = outcome.unwrap_or_else(|| panic!("{said}")).1;
    (outcome != "connected").then(|| outcome.to_owned())
}

/// Makes this program the process that connects.
const CONNECT: &str = "PHA_TLS_CONNECT";

#[test]
fn pg_the_system_is_trusted_where_it_is_named_and_only_there() {
    if let Ok(text) = std::env::var(CONNECT) {
        let deadline = Deadline::after(Duration::from_secs(10));
        let info: Conninfo = text.parse().unwrap();
        let outcome = Session::connect(&info, Purpose::LockService, deadline);
        let said = outcome.map_or_else(|error| error.to_string(), |_| "connected".to_owned());
        println!("\noutcome: {said}");
        return;
    }
    let files = server("system");
    assert_eq!(where_trusted(&files, "sslrootcert=system"), None);
    let named = |name: &str| where_trusted(&files, &format!("sslrootcert={}", files.path(name)));
    assert_eq!(named("root.crt"), None);
    // Whoever names an authority trusts no other, as with libpq.
    let why = named("other.crt").unwrap();
    assert!(why.contains("certificate"), "{why}");
}

#[test]
fn pg_a_server_without_encryption_is_refused_where_it_is_asked_for() {
    let server = Server::start(&[]).unwrap();
    let base = format!(
        "host=127.0.0.1 port={} user=postgres dbname=postgres",
        server.port
    );
    let connect = |mode: &str| {
        let info: Conninfo = format!("{base} sslmode={mode}").parse().unwrap();
        Session::connect(
            &info,
            Purpose::LockService,
            Deadline::after(Duration::from_secs(10)),
        )
    };
    for mode in ["disable", "allow", "prefer"] {
        assert!(connect(mode).is_ok(), "{mode}");
    }
    let error = connect("require").err().unwrap();
    assert!(
        error.to_string().contains("does not support TLS"),
        "{error}"
    );
    // By the socket of the machine, sslmode has no meaning.
    let info: Conninfo = format!("{} sslmode=require", server.socket_conninfo())
        .parse()
        .unwrap();
    assert!(
        Session::connect(
            &info,
            Purpose::LockService,
            Deadline::after(Duration::from_secs(10))
        )
        .is_ok()
    );
}

#[test]
fn pg_a_client_certificate_lets_in() {
    let files = server("client");
    let (crt, key, open) = (
        files.path("client.crt"),
        files.path("client.key"),
        files.path("open.key"),
    );
    let base = "dbname=template1 sslmode=require";
    assert!(
        files
            .connect(&format!("{base} sslcert={crt} sslkey={key}"))
            .unwrap()
    );
    let error = files.connect(base).unwrap_err();
    assert_eq!(error.sqlstate(), Some("28000"), "{error}");
    let error = files
        .connect(&format!("{base} sslcert={crt} sslkey={open}"))
        .unwrap_err();
    assert!(
        error.to_string().contains("accessible to others"),
        "{error}"
    );
}

/// A list by the authority that names these certificates as revoked.
fn revocations(directory: &Path, revoked: &[&str]) {
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
    };
    fs::write(
        directory.join("ca.cnf"),
        "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=2\ncrlnumber=number\n",
    )
    .unwrap();
    fs::write(directory.join("index.txt"), "").unwrap();
    fs::write(directory.join("number"), "01\n").unwrap();
    let authority = [
        "-config", "ca.cnf", "-keyfile", "root.key", "-cert", "root.crt",
    ];
    for certificate in revoked {
        openssl(&[&["ca"], &authority[..], &["-revoke", certificate]].concat());
    }
    openssl(&[&["ca"], &authority[..], &["-gencrl", "-out", "root.crl"]].concat());
}

#[test]
fn pg_a_revoked_certificate_is_refused() {
    let files = server("revoked");
    let root = files.path("root.crt");
    let base = format!("sslmode=verify-full host=lock.test sslrootcert={root}");
    let with = |further: &str| files.connect(&format!("{base} {further}"));
    let list = format!("sslcrl={}", files.path("root.crl"));
    let error = with(&list).unwrap_err();
    assert!(
        error.to_string().contains("root.crl cannot be used"),
        "{error}"
    );
    revocations(&files.directory, &[]);
    assert!(with(&list).unwrap());
    revocations(&files.directory, &["server.crt"]);
    let error = with(&list).unwrap_err();
    assert_eq!(error.kind(), &SqlErrorKind::Tls, "{error}");
    assert!(error.to_string().contains("revoked"), "{error}");
    assert!(
        with("").unwrap(),
        "libpq looks at no list that is not named"
    );
    // A directory as `openssl rehash` makes it; one without the authority's list is no list.
    let hashed = files.directory.join("hashed");
    fs::create_dir(&hashed).unwrap();
    fs::copy(files.directory.join("root.crl"), hashed.join("root.crl")).unwrap();
    let directory = format!("sslcrldir={}", hashed.display());
    assert!(with(&directory).is_err());
    let rehash = std::process::Command::new("openssl")
        .arg("rehash")
        .arg(&hashed)
        .status();
    assert!(rehash.unwrap().success());
    assert!(
        with(&directory)
            .unwrap_err()
            .to_string()
            .contains("revoked")
    );
}

#[test]
fn pg_old_protocols_are_refused_and_a_proof_is_bound_to_the_encryption() {
    let files = server("protocol");
    let session = |text: &str| {
        let info: Conninfo = text.parse().unwrap();
        Session::connect(
            &info,
            Purpose::LockService,
            Deadline::after(Duration::from_secs(10)),
        )
    };
    let mut own = session(&files.server.socket_conninfo()).unwrap();
    let deadline = Deadline::after(Duration::from_secs(10));
    own.simple(
        "alter system set ssl_max_protocol_version = 'TLSv1.2'; ",
        deadline,
    )
    .unwrap();
    own.simple("create role proven login password 'geheim'", deadline)
        .unwrap();
    own.simple("select pg_reload_conf()", deadline).unwrap();
    let protocol = |settings: &str| files.connect(&format!("sslmode=require {settings}"));
    // The server reloads when it has heard of it.
    let reloaded = Deadline::after(Duration::from_secs(10));
    let error = loop {
        match protocol("ssl_min_protocol_version=TLSv1.3") {
            Err(error) => break error,
            Ok(_) => assert!(!reloaded.expired()),
        }
    };
    assert_eq!(error.kind(), &SqlErrorKind::Tls, "{error}");
    assert!(protocol("ssl_min_protocol_version=TLSv1.2").unwrap());
    assert!(protocol("ssl_max_protocol_version=tlsv1.2").unwrap());

    // The address is trusted: that is no proof, and nothing that could be bound.
    for refused in ["channel_binding=require", "require_auth=scram-sha-256"] {
        let error = protocol(refused).unwrap_err();
        assert_eq!(
            error.kind(),
            &SqlErrorKind::Authentication,
            "{refused}: {error}"
        );
    }
    assert!(protocol("require_auth=none").unwrap());
    let hba = files.server.data().join("pg_hba.conf");
    let lines = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, format!("host all proven all scram-sha-256\n{lines}")).unwrap();
    own.simple("select pg_reload_conf()", deadline).unwrap();
    let as_proven = |settings: &str| {
        session(&format!(
            "hostaddr=127.0.0.1 port={} user=proven password=geheim dbname=postgres {settings}",
            files.server.port
        ))
    };
    let bound = "sslmode=require channel_binding=require require_auth=scram-sha-256";
    let reloaded = Deadline::after(Duration::from_secs(10));
    while as_proven(bound).is_err() {
        assert!(!reloaded.expired(), "{:?}", as_proven(bound).err());
    }
    as_proven("sslmode=disable require_auth=scram-sha-256").unwrap();
    as_proven("sslmode=disable require_auth=!scram-sha-256")
        .err()
        .unwrap();
    let error =
        as_proven("sslmode=prefer channel_binding=require ssl_min_protocol_version=TLSv1.3");
    // The fall-back without encryption binds nothing.
    assert!(error.is_err());
}
