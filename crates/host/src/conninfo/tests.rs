//! Tables of connection strings.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;

fn read(text: &str) -> Conninfo {
    text.parse().unwrap()
}

fn refused(text: &str) -> String {
    text.parse::<Conninfo>().unwrap_err().to_string()
}

#[test]
fn keywords_and_values() {
    let info = read(
        r"host = node3 port=5439 dbname='my db' user=o\'brien password='a\'b\\c d' connect_timeout=5",
    );
    assert_eq!(info.servers[0].to_string(), "node3:5439");
    assert_eq!(info.dbname.as_deref(), Some("my db"));
    assert_eq!(info.user.as_deref(), Some("o'brien"));
    assert_eq!(info.password.as_ref().unwrap().expose(), r"a'b\c d");
    assert_eq!(info.connect_timeout, Some(Duration::from_secs(5)));
    assert_eq!(info.sslmode, SslMode::Prefer);
    let info = read("");
    assert!(info.servers[0].is_socket());
    assert_eq!(info.servers[0].port, 5432);
    assert_eq!(read("connect_timeout=0").connect_timeout, None);
    assert_eq!(read("password=''").password, None);
}

#[test]
fn several_servers() {
    let info = read("host=a,b,/run/pg port=1,2,3 target_session_attrs=read-write");
    let shown: Vec<String> = info.servers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["a:1", "b:2", "/run/pg/.s.PGSQL.3"]);
    assert_eq!(info.target, TargetSession::ReadWrite);
    let info = read("host=a,b port=7");
    assert!(info.servers.iter().all(|server| server.port == 7));
    let info = read("hostaddr=127.0.0.1,::1");
    assert_eq!(info.servers[1].to_string(), "::1:5432");
    let info = read("host=lock.example hostaddr=127.0.0.1");
    assert_eq!(info.servers[0].to_string(), "lock.example (127.0.0.1):5432");
}

#[test]
fn uris() {
    let info = read(
        "postgresql://me%40x:p%3Aw@a:1,[::1]:2,c/db%20x?sslmode=verify-full&sslrootcert=/r.crt&connect_timeout=3",
    );
    assert_eq!(info.user.as_deref(), Some("me@x"));
    assert_eq!(info.password.as_ref().unwrap().expose(), "p:w");
    assert_eq!(info.dbname.as_deref(), Some("db x"));
    let shown: Vec<String> = info.servers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["a:1", "::1:2", "c:5432"]);
    assert_eq!(info.sslmode, SslMode::VerifyFull);
    assert!(read("postgres://%2Frun%2Fpg/db").servers[0].is_socket());
    assert_eq!(read("postgres:///db?ssl=true").sslmode, SslMode::Require);
    assert!(read("postgres://").servers[0].is_socket());
}

#[test]
fn psql_commands() {
    let expected = read("host=node3 port=5439 dbname=postgres user=postgres connect_timeout=5");
    for text in [
        r#"/usr/bin/psql "host=node3 port=5439 dbname=postgres user=postgres connect_timeout=5""#,
        r#"/usr/bin/psql \"host=node3 port=5439 dbname=postgres user=postgres connect_timeout=5\""#,
        r#"/usr/bin/psql \\"host=node3 port=5439 dbname=postgres user=postgres connect_timeout=5\\""#,
        r#"psql -X -At -h node3 -p5439 -U postgres -d "dbname=postgres connect_timeout=5""#,
        "psql --host=node3 --port 5439 'postgresql:///postgres?connect_timeout=5' postgres",
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    assert!(refused("psql -c 'select 1'").contains("option other than"));
    assert!(refused("psql \"host=a").contains("does not end"));
    // A host that is called psql is none.
    assert_eq!(read("host=psql").servers[0].host, "psql");
}

#[test]
fn errors_name_the_keyword_and_never_a_value() {
    let cases = [
        ("hots=a", "unknown keyword \"hots\""),
        ("requirepeer=x", "\"requirepeer\" is not supported"),
        (
            "host=a password=top secret",
            "a word without = after the value of password",
        ),
        (
            "password='secret",
            "the quoted value of password does not end",
        ),
        ("port=0", "port has a wrong value"),
        ("port=99999", "port has a wrong value"),
        ("host=a,b port=1,2,3", "port has a wrong value"),
        (
            "hostaddr=node3",
            "hostaddr has a wrong value; an IP address",
        ),
        ("host=a,b hostaddr=127.0.0.1", "hostaddr has a wrong value"),
        (
            "connect_timeout=secret",
            "connect_timeout has a wrong value; a whole number",
        ),
        ("sslmode=secret", "verify-full"),
        ("sslmode=require sslrootcert=system", "verify-full"),
        ("target_session_attrs=secret", "prefer-standby"),
        ("postgres://u:sec%ret@h/", "a % that is not followed"),
        ("postgres://u:secret@[::1/", "without ]"),
        ("=secret", "= without a keyword"),
    ];
    for (text, expected) in cases {
        let error = refused(text);
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn the_password_is_never_shown() {
    let info = read("host=node3 dbname=d user=u password=topsecret");
    for shown in [
        format!("{info}"),
        format!("{info:?}"),
        format!("{:?}", info.password),
    ] {
        assert!(!shown.contains("topsecret"), "{shown}");
    }
    assert_eq!(info.to_string(), "u@node3:5432/d");
}

#[test]
fn the_password_file() {
    let path = std::env::temp_dir().join(format!("pgpass-{}", std::process::id()));
    let lines = "# comment:1:d:u:no\nother:*:*:*:no\nnode3:5432:d:u:\nh\\:x:1:d:u:a\\:b\\\\c\n*:5433:d:u:any port\nlocalhost:*:*:u:local\n";
    std::fs::write(&path, lines).unwrap();
    let with = |text: &str| {
        let info = read(&format!(
            "{text} dbname=d user=u passfile={}",
            path.display()
        ));
        let server = info.servers[0].clone();
        info.password_for(&server)
            .map(|secret| secret.expose().to_owned())
    };
    let chmod =
        |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o600);
    assert_eq!(with("host=node9"), None);
    assert_eq!(with("host=node3"), None, "an empty password is none");
    assert_eq!(with("host=h:x port=1").as_deref(), Some("a:b\\c"));
    assert_eq!(with("host=node9 port=5433").as_deref(), Some("any port"));
    assert_eq!(with("host=/var/run/postgresql").as_deref(), Some("local"));
    assert_eq!(
        with("host=node9 port=5433 password=given").as_deref(),
        Some("given")
    );
    chmod(0o640);
    assert_eq!(with("host=node9 port=5433"), None, "others can read it");
    std::fs::remove_file(&path).unwrap();
}
