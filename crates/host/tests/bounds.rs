//! Connection strings, configuration files and psql commands of any size are read, or refused with a
//! sentence, in a time that a monitor has. What is counted is the time that this thread has computed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use pha_host::config::ClusterConfig;
use pha_host::conninfo::Conninfo;

const SIZE: usize = 10 << 20;
/// Without optimisation; a parser that compares everything with everything needs minutes.
const LIMIT: Duration = Duration::from_secs(20);

fn computed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

fn soon<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let before = computed();
    let answer = work();
    let spent = computed() - before;
    assert!(spent < LIMIT, "{what}: {spent:?} of computing");
    answer
}

fn conninfo(text: &str) -> Result<Conninfo, String> {
    let what = text.chars().take(20).collect::<String>();
    soon(&what, || text.parse::<Conninfo>()).map_err(|error| error.to_string())
}

#[test]
fn a_connection_string_has_a_largest_size_and_a_number_of_servers() {
    for piece in ["a,", "host=a ", "'", "\\\"", "postgresql://a,", "%41"] {
        let error = conninfo(&piece.repeat(SIZE / piece.len())).unwrap_err();
        assert!(error.contains("64 KiB") && error.len() < 300, "{error}");
    }
    let hosts = |count: usize| vec!["h"; count].join(",");
    assert_eq!(
        conninfo(&format!("host={}", hosts(32)))
            .unwrap()
            .servers
            .len(),
        32
    );
    for text in [
        format!("host={}", hosts(33)),
        format!("postgresql://{}/", hosts(33)),
    ] {
        let error = conninfo(&text).unwrap_err();
        assert!(error.contains("at most 32 servers"), "{error}");
    }
    // The largest that is taken.
    let backslashes = format!("psql {}\"host=a dbname=b\"", "\\".repeat(60_000));
    assert_eq!(conninfo(&backslashes).unwrap().servers[0].host, "a");
    conninfo(&format!("password={}", "\\a".repeat(30_000))).unwrap();
}

fn config(text: &str) -> String {
    let file = Path::new("config.ini");
    let read = soon("config.ini", || ClusterConfig::parse(file, text));
    read.err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn a_configuration_file_has_a_largest_size() {
    let error = config(&"a=1\n".repeat(SIZE / 4));
    assert!(error.contains("1 MiB"), "{error}");
    let most = 1 << 20;
    let numbered =
        |piece: &dyn Fn(usize) -> String| (0..most).map(piece).take(most / 12).collect::<String>();
    let lines = numbered(&|n| format!("a{n}=1\n"));
    let names = format!("othernodes=\"{}\"", numbered(&|n| format!("n{n} ")));
    let deep = format!("a={}", "[".repeat(most / 2));
    for text in [lines, names, deep, "a='".repeat(most / 3)] {
        let error = config(&text);
        assert!(!error.is_empty() && error.len() < 600, "{error}");
    }
}
