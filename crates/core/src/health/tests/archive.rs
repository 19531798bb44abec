use super::*;

#[test]
fn a_file_that_waits_for_its_archive_is_named_when_it_is_late() {
    let found = |seconds| {
        let archiving = Archiving {
            waiting: 1,
            oldest: Duration::from_secs(seconds),
        };
        of_the_primary(None, Some(archiving)).findings
    };
    assert_eq!(found(59), []);
    let [finding] = &found(60)[..] else {
        panic!("one finding")
    };
    assert_eq!((finding.id, finding.level), ("archive", Level::Warning));
    assert_eq!(
        finding.said(),
        "1 file of WAL waits to be archived, the oldest for 60 s on node1: WAL fills its disk, and a stop of PostgreSQL waits"
    );
}
