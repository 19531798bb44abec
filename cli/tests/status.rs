//! `cls_status` and `cls_master` against recorded answers.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Node, PRIMARY, STANDBY, Shims, TWO, cib};
use pha_tests::pg::eventually;
use pha_tests::schema::follows_the_schema;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

const CHINESE: &str = "zh_CN.UTF-8";

/// `cls_status --watch | head`, and over ssh without a terminal when the connection is gone.
#[test]
fn an_endless_status_ends_when_nobody_reads_it() {
    let shims = Shims::cluster(&cib(&[PRIMARY, STANDBY], TWO, &[]));
    let mut watch = Command::new(env!("CARGO_BIN_EXE_cls"))
        .args(["status", "--watch", "1"])
        .env("PATH", format!("{}:/usr/bin:/bin", shims.path().display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(watch.stdout.take());
    let mut ended = None;
    let done = eventually(Duration::from_secs(60), || {
        ended = watch.try_wait().unwrap();
        ended.is_some()
    });
    let _ = watch.kill();
    assert!(
        done && ended.is_some_and(|status| status.success()),
        "{ended:?}"
    );
}

#[test]
fn master_prints_the_node() {
    let shims = Shims::cluster(&cib(&[PRIMARY, STANDBY], TWO, &[]));
    let run = shims.cls(&["master"]);
    assert_eq!((run.code, run.out.as_str()), (0, "node1\n"), "{run:?}");
    let document = shims.cls(&["master", "--json"]).json();
    assert_eq!(document["primary"], "node1");
    follows_the_schema(&document, "cls_master");
    // One child process is all it takes.
    assert_eq!(shims.calls().len(), 2);
}

#[test]
fn without_a_primary_master_says_so_and_fails() {
    let unpromoted = Node {
        last: ("start", 0),
        ..PRIMARY
    };
    let shims = Shims::cluster(&cib(&[unpromoted, STANDBY], TWO, &[]));
    let run = shims.cls(&["master"]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(
        run.err.contains("no primary") && run.err.contains("cls_status"),
        "{run:?}"
    );
}

#[test]
fn every_way_of_not_knowing_has_its_code() {
    let shims = Shims::new();
    shims.tool("cibadmin", "echo 'Could not connect' >&2; exit 102");
    for command in ["master", "status"] {
        let run = shims.cls(&[command]);
        assert_eq!(run.code, 101, "{run:?}");
        assert!(run.err.contains("systemctl start"), "{run:?}");
    }
    shims.tool("cibadmin", "echo nonsense");
    assert_eq!(shims.cls(&["master"]).code, 1);
    shims.tool("cibadmin", "exit 76");
    assert_eq!(shims.cls(&["master"]).code, 1);
    shims.tool(
        "cibadmin",
        "echo '<cib><configuration><nodes/></configuration><status/></cib>'",
    );
    let run = shims.cls(&["master"]);
    assert_eq!(run.code, 10, "{run:?}");
    assert!(run.err.contains("cls_setup"), "{run:?}");
    assert_eq!(shims.cls(&["master", "--nonsense"]).code, 100);
    assert_eq!(shims.cls(&["nonsense"]).code, 100);
    assert_eq!(shims.cls(&["--help"]).code, 0);
}

/// What another node asks is answered in English, whatever the locale there: the answer is read by a program.
#[test]
fn an_error_is_said_in_the_operators_language_and_to_programs_in_english() {
    let shims = Shims::new();
    shims.tool("cibadmin", "exit 102");
    let run = shims.cls_in(CHINESE, &["master"]);
    assert_eq!(
        (run.code, run.err.as_str()),
        (
            101,
            "cls: 没有集群信息：本节点上的 Pacemaker 没有运行\n  下一步： systemctl start corosync pacemaker\n"
        )
    );
    let check = shims.cls_in(CHINESE, &["status", "--check"]);
    assert_eq!(
        check.out,
        "UNKNOWN - 没有集群信息：本节点上的 Pacemaker 没有运行\n"
    );
    let program = shims.cls_in(CHINESE, &["internal", "wal-end"]);
    assert_eq!(program.err, shims.cls(&["internal", "wal-end"]).err);
    assert!(program.err.contains("\n  next: "), "{program:?}");
    let document = shims.cls_in(CHINESE, &["master", "--json"]).json();
    follows_the_schema(&document, "failed");
    assert_eq!(document, shims.cls(&["master", "--json"]).json());
}

/// A monitoring system's account: Pacemaker runs, and its tools say to this account what they say where
/// it does not.
#[test]
fn an_account_that_may_not_ask_is_told_so() {
    let shims = Shims::new();
    for code in [102, 4] {
        let lines = format!("echo 'Could not connect: Permission denied' >&2; exit {code}");
        shims.tool("cibadmin", &lines);
        for command in ["master", "status", "stop"] {
            let run = shims.cls_as_nobody(&[command]);
            assert_eq!(run.code, 10, "{run:?}");
            assert!(run.err.contains("may not ask Pacemaker"), "{run:?}");
            assert!(run.err.contains("haclient"), "{run:?}");
            assert!(run.err.contains("as root"), "{run:?}");
            assert!(!run.err.contains("systemctl start"), "{run:?}");
        }
        let run = shims.cls_as_nobody(&["status", "--check"]);
        assert_eq!(run.code, 3, "{run:?}");
        assert!(run.out.contains("may not ask Pacemaker"), "{run:?}");
    }
    // What only root may read.
    shims.write("config.ini", "");
    let file = shims.path().join("config.ini");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    let run = shims.cls_as_nobody(&["doctor", "--config", file.to_str().unwrap()]);
    assert_eq!(run.code, 10, "{run:?}");
    assert!(run.err.contains("run this as root"), "{run:?}");
}

#[test]
fn status_shows_pacemakers_view_and_the_line_of_the_specification() {
    let shims = Shims::cluster(&cib(&[PRIMARY, STANDBY], TWO, &[]));
    let run = shims.cls(&["status"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.starts_with("Online: [ node1 node2 ]"), "{run:?}");
    assert!(
        run.out
            .contains("\npgsql_REPL_INFO:node1|1|00000000070000D0\n"),
        "{run:?}"
    );
    // No PostgreSQL is there to be asked, and what nobody could look at is not healthy.
    assert!(run.out.contains("Health: warning"), "{run:?}");
    assert!(
        run.out
            .contains("!  PostgreSQL on node1 cannot be asked about its standbys: "),
        "{run:?}"
    );
    assert!(!run.out.contains('\x1b'), "colour without a terminal");
}

#[test]
fn check_has_the_codes_of_a_monitoring_plugin() {
    let unseen = Shims::cluster(&cib(&[PRIMARY, STANDBY], TWO, &[]));
    let run = unseen.cls(&["status", "--check"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.out
            .starts_with("WARNING - PostgreSQL on node1 cannot be asked"),
        "{run:?}"
    );

    let gone = Node {
        online: false,
        data_status: "DISCONNECT",
        ..STANDBY
    };
    let run = Shims::cluster(&cib(&[PRIMARY, gone], TWO, &[])).cls(&["status", "--check"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.out.starts_with("WARNING - node2"), "{run:?}");

    let stopped = |node| Node {
        last: ("stop", 0),
        ..node
    };
    let nodes = [stopped(PRIMARY), stopped(STANDBY)];
    let run = Shims::cluster(&cib(&nodes, TWO, &[])).cls(&["status", "--check"]);
    assert_eq!(run.code, 2, "{run:?}");

    let run = Shims::new()
        .tool("cibadmin", "exit 102")
        .cls(&["status", "--check"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.out.starts_with("UNKNOWN - "), "{run:?}");
}

#[test]
fn json_says_what_the_text_says() {
    let failed = Node {
        last: ("start", 1),
        data_status: "DISCONNECT",
        transient: &[("fail-count-pgsql#start_0", "INFINITY")],
        ..STANDBY
    };
    let shims = Shims::cluster(&cib(&[PRIMARY, failed], TWO, &[]));
    let json = shims.cls(&["status", "--json"]).json();
    follows_the_schema(&json, "cls_status");
    assert_eq!(json["level"], "warning");
    assert_eq!(json["primary"], "node1");
    assert_eq!(json["nodes"][1]["role"], "Stopped");
    assert_eq!(json["fail_counts"][0]["count"], "INFINITY");
    let text = shims.cls(&["status"]).out;
    assert!(text.contains("it is broken"), "{text}");
    assert!(text.contains("cls_cleanup --node node2"), "{text}");
}

/// Whatever hangs, the answer comes within five seconds and says what hangs.
#[test]
fn a_source_that_hangs_costs_the_others_nothing() {
    // A server that accepts connections and never answers.
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = frozen.local_addr().unwrap().port();
    let conninfo = format!("host=127.0.0.1 port={port} dbname=d user=u");
    let parameters = [
        TWO,
        &[
            ("enable_distlock", "true"),
            ("distlock_conninfo", &conninfo),
            ("distlock_lockname", "cls"),
        ],
    ]
    .concat();
    let shims = Shims::cluster(&cib(&[PRIMARY, STANDBY], &parameters, &[]));
    shims.tool("crm_mon", "sleep 60");
    let began = Instant::now();
    let run = shims.cls(&["status"]);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("crm_mon"), "{run:?}");
    assert!(run.out.contains(&format!("127.0.0.1:{port}")), "{run:?}");

    shims.tool("cibadmin", "sleep 60");
    let began = Instant::now();
    let run = shims.cls(&["status"]);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(run.code, 11);
    assert!(run.err.contains("cibadmin"), "{run:?}");
}

/// No line is wider than a terminal of the usual width, and a program gets whole lines.
#[test]
fn screens_fit_into_eighty_columns() {
    let gone = Node {
        online: false,
        data_status: "DISCONNECT",
        ..STANDBY
    };
    let failed = Node {
        last: ("promote", 0),
        transient: &[
            ("fail-count-pgsql#monitor_3000", "3"),
            ("pgsql-status", "PRI"),
            (
                "pgsql-guard",
                "not running: /run/pha4pgsql/pgsql.guard: Is a directory",
            ),
        ],
        ..PRIMARY
    };
    let shims = Shims::cluster(&cib(&[failed, gone], TWO, &[]));
    let path = format!("{}:/usr/bin:/bin", shims.path().display());
    let on_a_terminal = |locale: &str, columns: u32, words: &str| {
        let line = format!(
            "stty rows 24 cols {columns}; '{}' {words}",
            env!("CARGO_BIN_EXE_cls")
        );
        let output = std::process::Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("PATH", &path)
            .env("NO_COLOR", "1")
            .env("LC_ALL", locale)
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).replace('\r', "")
    };
    // What doctor and config find here needs a configuration; nothing of it is as it should be.
    let config = shims.path().join("config.ini");
    let text = "cluster_type=dual\nwriter_vip=192.0.2.1\nreader_vip=192.0.2.2\nnode1=node1.invalid\nnode2=node2.invalid\nvip_nic=eth9\npgsql_pgdata=/nowhere\npgsql_pgctl=/nowhere/pg_ctl\npgsql_rep_mode=sync\npgsql_start_opt='-c work_mem=5MB'\n";
    std::fs::write(&config, text).unwrap();
    let given = |command: &str| format!("{command} --config {} --timeout 10", config.display());
    let (doctor, configured) = (given("doctor"), given("config"));
    let setup = given("setup --off nod2");
    let widest = |text: &str| text.lines().map(UnicodeWidthStr::width).max();
    for words in [
        "status",
        "--help",
        "status --help",
        "recovery_master --help",
        "setup --help",
        "history",
        "master --resource nonsense",
        "cleanup --node node7",
        "standby_node node1",
        &doctor,
        &configured,
        &setup,
    ] {
        for (columns, locale) in [(80, "C"), (60, "C"), (80, CHINESE), (60, CHINESE)] {
            let text = on_a_terminal(locale, columns, words);
            let columns = usize::try_from(columns).unwrap();
            for line in text.lines().filter(|line| line.width() > columns) {
                // A word stays whole: a path may be copied.
                let ends = |c: char| c.is_whitespace() || c.width() == Some(2);
                let whole = line.split(ends).any(|word| word.width() > columns - 12);
                assert!(whole, "{words}, {columns}: {line}\n{text}");
            }
            assert!(!text.trim().is_empty(), "{words}");
            let said = locale == "C" || words.ends_with("--help") || !text.is_ascii();
            assert!(said, "{words} in Chinese: {text}");
        }
        assert!(
            !words.ends_with("--help")
                || widest(&shims.cls(&words.split(" ").collect::<Vec<_>>()).out) <= Some(80),
            "{words}"
        );
    }
    let wrapped = on_a_terminal("C", 80, "status");
    let whole = shims.cls(&["status"]).out;
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let health = |text: &str| text.split_once("Health:").unwrap().1.to_owned();
    assert_eq!(words(&health(&wrapped)), words(&health(&whole)));
    assert!(widest(&whole) > Some(80), "{whole}");
}

/// A cluster at night, as an operator reads it in either language. A program gets the same document.
#[test]
fn a_sick_cluster_is_shown_in_the_operators_language() {
    let off = Node {
        online: false,
        ..PRIMARY
    };
    let failed = Node {
        last: ("start", 1),
        data_status: "DISCONNECT",
        transient: &[("fail-count-pgsql#start_0", "INFINITY")],
        ..STANDBY
    };
    // Nobody listens there.
    let service = [
        ("enable_distlock", "true"),
        ("distlock_conninfo", "host=127.0.0.1 port=1 dbname=d user=u"),
        ("distlock_lockname", "cls"),
    ];
    let shims = Shims::cluster(&cib(&[off, failed], &[TWO, &service].concat(), &[]));
    insta::assert_snapshot!("sick_in_english", shims.cls(&["status"]).out);
    insta::assert_snapshot!("sick_in_chinese", shims.cls_in(CHINESE, &["status"]).out);
    let line = shims.cls_in(CHINESE, &["status", "--check"]);
    assert_eq!(line.code, 2);
    assert_eq!(
        line.out,
        "CRITICAL - 没有主库，业务无法写入（另有 4 条，见 cls_status）\n"
    );
    let document = |locale| {
        let mut json = shims.cls_in(locale, &["status", "--json"]).json();
        json["took_ms"].take();
        json
    };
    assert_eq!(document(CHINESE), document("C"));
}
