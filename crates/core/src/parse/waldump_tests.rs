#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const LAST: &str = "rmgr: Transaction len (rec/tot):    405/   405, tx:        724, lsn: 0/015165C8, prev 0/01516588, desc: COMMIT 2026-11-22 22:14:41.331428 UTC; inval msgs: catcache 80";

fn lsn(text: &str) -> Lsn {
    text.parse().unwrap()
}

fn dump<'a>(last_record: Option<&'a str>, stderr: &'a str) -> Result<Lsn, WaldumpError> {
    end_of_wal(&Waldump {
        start: lsn("0/1500708"),
        timeline: TimelineId::FIRST,
        geometry: WalGeometry::DEFAULT,
        last_record,
        stderr,
    })
}

fn record_line(manager: &str, at: &str, length: u64, description: &str) -> String {
    format!(
        "rmgr: {manager} len (rec/tot): {length}/ {length}, tx: 0, lsn: {at}, prev 0/01, desc: {description}"
    )
}

#[test]
fn the_error_names_the_last_record() {
    let named = |text: &str| last_record_named(text);
    let stderr = "pg_waldump: error: error in WAL record at 0/15165C8: invalid record length at 0/1516760: wanted 24, got 0\n";
    assert_eq!(named(stderr), Some(lsn("0/15165C8")));
    for stderr in [
        "",
        "pg_waldump: error: could not find a valid record after 0/1500708",
        "pg_waldump: error: error in WAL record at 0/0: unexpected",
        "pg_waldump: error: error in WAL record at 0/15165C8",
    ] {
        assert_eq!(named(stderr), None, "{stderr}");
    }
}

#[test]
fn wordings_of_all_versions_name_the_end() {
    for stderr in [
        "pg_waldump: FATAL:  error in WAL record at 0/15165C8: invalid record length at 0/1516760: wanted 24, got 0\n",
        "pg_waldump: fatal: error in WAL record at 0/15165C8: invalid record length at 0/1516760: wanted 24, got 0\n",
        "pg_waldump: error: error in WAL record at 0/15165C8: invalid record length at 0/1516760: wanted 24, got 0\n",
        "pg_waldump: error: error in WAL record at 0/15165C8: invalid record length at 0/1516760: expected at least 24, got 0\n",
        "pg_waldump: error: error in WAL record at 0/015165C8: record with incorrect prev-link 0/14FF210 at 0/01516760\n",
        "pg_waldump: error: error in WAL record at 0/15165C8: incorrect resource manager data checksum in record at 0/1516760",
        "pg_waldump: error: error in WAL record at 0/15165C8: invalid resource manager ID 153 at 0/1516760",
        "pg_waldump: error: error in WAL record at 0/15165C8: contrecord is requested by 0/1516760",
        "pg_waldump: first record is after 0/1500700, at 0/1500708, skipping over 8 bytes\npg_waldump: error: error in WAL record at 0/15165C8: invalid record length at 0/1516760: wanted 24, got 0\n",
    ] {
        assert_eq!(dump(Some(LAST), stderr), Ok(lsn("0/1516760")), "{stderr}");
        assert_eq!(dump(None, stderr), Ok(lsn("0/1516760")), "{stderr}");
    }
}

#[test]
fn an_error_about_a_page_ends_the_wal_after_the_last_record() {
    for reason in [
        "there is no contrecord flag at 0/1518000",
        "invalid contrecord length 7 (expected 100) at 0/1518000",
        "invalid contrecord length 7 at 0/1518000",
        "missing contrecord at 0/1516760",
        "invalid magic number 0000 in log segment 000000010000000000000001, offset 5341184",
        "invalid magic number 0000 in WAL segment 000000010000000000000001, LSN 0/1518000, offset 5341184",
        "invalid info bits D0A1 in log segment 000000010000000000000001, offset 0",
        "unexpected pageaddr 0/518000 in WAL segment 000000010000000000000001, LSN 0/1518000, offset 5341184",
        "out-of-sequence timeline ID 1 (after 2) in log segment 000000010000000000000001, offset 0",
        "record length 3735928559 at 0/1516760 too long",
    ] {
        let stderr = format!("pg_waldump: error: error in WAL record at 0/15165C8: {reason}\n");
        assert_eq!(dump(Some(LAST), &stderr), Ok(lsn("0/1516760")), "{reason}");
        assert!(
            matches!(dump(None, &stderr), Err(WaldumpError::NoRecord(_))),
            "{reason}"
        );
    }
}

#[test]
fn nothing_after_the_start_is_an_end_too() {
    let stderr = "pg_waldump: error: could not find a valid record after 0/1500708\n";
    assert_eq!(dump(None, stderr), Ok(lsn("0/1500708")));
    let other = "pg_waldump: error: could not find a valid record after 0/1500709\n";
    assert!(dump(None, other).is_err());
    let newer = "pg_waldump: error: could not find a valid record after 0/01500708: invalid record length at 0/01500708: expected at least 24, got 0\n";
    assert_eq!(dump(None, newer), Ok(lsn("0/1500708")));
}

#[test]
fn a_missing_segment_ends_the_wal_at_its_boundary_or_before() {
    let stderr = "pg_waldump: error: could not find file \"000000010000000000000003\": No such file or directory\n";
    let switch = record_line("XLOG       ", "0/02773D08", 24, "SWITCH ");
    assert_eq!(dump(Some(&switch), stderr), Ok(lsn("0/3000000")));
    // A record that would need the missing segment was not printed.
    assert_eq!(dump(Some(LAST), stderr), Ok(lsn("0/1516760")));
    let later = record_line("Heap", "0/03000028", 59, "INSERT");
    assert!(matches!(
        dump(Some(&later), stderr),
        Err(WaldumpError::Contradiction { .. })
    ));
    assert!(matches!(dump(None, stderr), Err(WaldumpError::NoRecord(_))));
    for other in [
        stderr.replace("000000010000000000000003", "000000020000000000000003"),
        stderr.replace("000000010000000000000003", "00000001000000000000003"),
        stderr.replace("000000010000000000000003", "000000010000000000000100"),
        stderr.replace("No such file or directory", "Permission denied"),
    ] {
        assert!(
            matches!(dump(Some(LAST), &other), Err(WaldumpError::Failed(_))),
            "{other}"
        );
    }
}

#[test]
fn what_is_not_the_end_of_the_wal_is_an_error_that_quotes_it() {
    for message in [
        "pg_waldump: error: could not read from file 000000010000000000000001, offset 0: Input/output error",
        "pg_waldump: error: error in WAL record at 0/15165C8: WAL file is from different database system: WAL file database system identifier is 1, pg_control database system identifier is 2",
        "pg_waldump: error: error in WAL record at 0/15165C8: out of memory while trying to decode a record of length 5",
        "pg_waldump: Fehler: Fehler in WAL-Eintrag bei 0/15165C8",
        "pg_waldump: error: could not open directory \"pg_wal\": Permission denied",
        "one line\nanother line",
    ] {
        let error = dump(Some(LAST), message).unwrap_err();
        assert!(matches!(error, WaldumpError::Failed(_)), "{error}");
    }
    assert!(dump(None, "").is_err());
    let before = "pg_waldump: error: error in WAL record at 0/15165C8: invalid record length at 0/1516700: wanted 24, got 0";
    assert!(matches!(
        dump(Some(LAST), before),
        Err(WaldumpError::Contradiction { .. })
    ));
    assert!(matches!(
        dump(Some("rmgr: garbage"), before),
        Err(WaldumpError::Record(_))
    ));
}

#[test]
fn an_end_given_on_the_command_line_is_no_error() {
    assert_eq!(dump(Some(LAST), ""), Ok(lsn("0/1516760")));
}

#[test]
fn records_span_pages_with_headers() {
    let end = |at: &str, length| {
        let line = record_line("Heap", at, length, "INSERT");
        record_end(&line, WalGeometry::DEFAULT).unwrap().to_string()
    };
    assert_eq!(end("0/1001000", 59), "0/1001040");
    // Fills its page exactly: the end is the boundary.
    assert_eq!(end("0/1001FC0", 64), "0/1002000");
    // One byte more lies after the next page's header of 24 bytes.
    assert_eq!(end("0/1001FC0", 65), "0/1002020");
    // The first page of a segment has a header of 40 bytes.
    assert_eq!(end("0/1FFFFC0", 65), "0/2000030");
    // Two whole pages in between.
    assert_eq!(end("0/1001FC0", 64 + 2 * (8192 - 24) + 8), "0/1006020");
}

#[test]
fn positions_after_a_page_header_are_the_pages_boundary() {
    let at = |text: &str| boundary(lsn(text), WalGeometry::DEFAULT).to_string();
    assert_eq!(at("0/1002018"), "0/1002000");
    assert_eq!(at("0/2000028"), "0/2000000");
    assert_eq!(at("0/2000018"), "0/2000018");
    assert_eq!(at("0/1002020"), "0/1002020");
    assert_eq!(at("0/1002000"), "0/1002000");
}

proptest! {
    #[test]
    fn no_text_panics(line in any::<String>(), stderr in any::<String>()) {
        let _ = dump(Some(&line), &stderr);
        let _ = dump(None, &format!("pg_waldump: error: error in WAL record at 0/1: {stderr}"));
        let _ = last_record_line(&line);
    }

    #[test]
    fn a_record_ends_after_its_beginning(at in 1u64.., length in 24u64..1 << 30) {
        let line = record_line("Heap", &Lsn::new(at).to_string(), length, "INSERT");
        if let Ok(end) = record_end(&line, WalGeometry::DEFAULT) {
            prop_assert!(end.as_u64() >= at.saturating_add(length));
        }
    }
}
