use super::*;
use crate::timeline::HistoryEntry;

fn number(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

fn lineage(names: &[(u64, u32, u64)]) -> Lineage {
    let name = |(term, own, fork): &(u64, u32, u64)| TimelineName {
        term: *term,
        number: number(*own),
        fork: Lsn::new(*fork),
    };
    Lineage::new(names.iter().map(name).collect())
}

fn history(own: u32, entries: &[(u32, u64)]) -> History {
    History {
        own: number(own),
        entries: entries
            .iter()
            .map(|(parent, end)| HistoryEntry {
                parent: number(*parent),
                end: Lsn::new(*end),
            })
            .collect(),
    }
}

fn at(timeline: u32, lsn: u64) -> WalPosition {
    WalPosition {
        timeline: number(timeline),
        lsn: Lsn::new(lsn),
    }
}

/// Terms 1 and 2, and term 3 that took the number of term 2 at the same position.
const FIRST: (u64, u32, u64) = (1, 1, 0);
const SECOND: (u64, u32, u64) = (2, 2, 100);
const AGAIN: (u64, u32, u64) = (3, 2, 100);

struct Case {
    what: &'static str,
    record: (&'static [(u64, u32, u64)], Held),
    signal: bool,
    end: WalPosition,
    history: History,
    known: &'static [(u64, u32, u64)],
    mine: bool,
}

fn judged(case: &Case) -> Kinship {
    let record = Record {
        system: 7,
        lineage: lineage(case.record.0),
        held: case.record.1,
    };
    let known = lineage(case.known);
    let seen = Seen {
        record: Some(&record),
        system: Some(7),
        end: case.end,
        history: &case.history,
        standby_signal: case.signal.into(),
        fresh_copy: false,
    };
    kinship(&origin(&seen, &known), case.end, &known, case.mine)
}

fn base() -> Case {
    Case {
        what: "",
        record: (&[FIRST], Held::Following),
        signal: true,
        end: at(1, 90),
        history: history(1, &[]),
        known: &[FIRST],
        mine: false,
    }
}

#[test]
fn what_follows() {
    let on_second = || Case {
        end: at(2, 150),
        history: history(2, &[(1, 100)]),
        known: &[FIRST, SECOND],
        ..base()
    };
    let cases = [
        base(),
        Case {
            what: "a part of an older timeline, up to the fork",
            end: at(1, 100),
            known: &[FIRST, SECOND],
            ..base()
        },
        Case {
            what: "recorded before the first byte of it was received",
            record: (&[FIRST, SECOND], Held::Following),
            known: &[FIRST, SECOND],
            ..base()
        },
        Case {
            what: "received while it ran, before that was recorded",
            ..on_second()
        },
        Case {
            what: "its own, which it had no time to name",
            record: (&[FIRST], Held::Opened(Opening::at(2))),
            signal: false,
            known: &[FIRST],
            mine: true,
            ..on_second()
        },
        Case {
            what: "the same after it was named",
            record: (&[FIRST], Held::Opened(Opening::at(2))),
            signal: false,
            ..on_second()
        },
        Case {
            what: "an old primary that went no further than its successor took",
            record: (&[FIRST], Held::Opened(Opening::at(1))),
            signal: false,
            end: at(1, 100),
            known: &[FIRST, SECOND],
            ..base()
        },
        Case {
            what: "the oldest names are not kept any more",
            record: (&[SECOND], Held::Following),
            ..on_second()
        },
    ];
    for case in cases {
        assert_eq!(judged(&case), Kinship::Follows, "{}", case.what);
    }
}

#[test]
fn what_has_diverged() {
    let second = |record, signal| Case {
        record,
        signal,
        end: at(2, 150),
        history: history(2, &[(1, 100)]),
        known: &[FIRST, AGAIN],
        ..base()
    };
    let cases = [
        (
            Case {
                what: "past the fork of an older timeline",
                end: at(1, 101),
                known: &[FIRST, SECOND],
                ..base()
            },
            at(1, 100),
            true,
        ),
        (
            Case {
                what: "the same number at the same position, of another term",
                ..second((&[FIRST, SECOND], Held::Opened(Opening::at(2))), false)
            },
            at(1, 100),
            false,
        ),
        (
            Case {
                what: "the same, never registered",
                ..second((&[FIRST], Held::Opened(Opening::at(2))), false)
            },
            at(1, 100),
            false,
        ),
        (
            Case {
                what: "the same number at another position",
                known: &[FIRST, (3, 2, 80)],
                ..second((&[FIRST, SECOND], Held::Opened(Opening::at(2))), false)
            },
            at(1, 80),
            true,
        ),
        (
            Case {
                what: "opened by hand: the register has no such number",
                known: &[FIRST],
                ..second((&[FIRST], Held::Following), false)
            },
            at(1, 100),
            true,
        ),
        (
            Case {
                what: "opened by hand: the register has the number for another",
                ..second((&[FIRST], Held::Following), false)
            },
            at(1, 100),
            false,
        ),
        (
            Case {
                what: "from a foreign history of the archive",
                known: &[FIRST],
                ..second((&[FIRST], Held::Following), true)
            },
            at(1, 100),
            true,
        ),
        (
            Case {
                what: "an owner that an operator has passed over",
                known: &[FIRST],
                ..second((&[FIRST, SECOND], Held::Opened(Opening::at(2))), false)
            },
            at(1, 100),
            true,
        ),
    ];
    for (case, fork, rewindable) in cases {
        let expected = Kinship::Diverged { fork, rewindable };
        assert_eq!(judged(&case), expected, "{}", case.what);
    }
}

#[test]
fn what_cannot_be_told() {
    let cases = [
        Case {
            what: "opened by hand on a timeline that was recorded ahead",
            record: (&[FIRST, SECOND], Held::Following),
            signal: false,
            end: at(2, 150),
            history: history(2, &[(1, 100)]),
            known: &[FIRST, SECOND],
            ..base()
        },
        Case {
            what: "standby.signal was removed",
            signal: false,
            ..base()
        },
        Case {
            what: "another fork than was recorded",
            record: (&[FIRST, SECOND], Held::Following),
            end: at(2, 150),
            history: history(2, &[(1, 90)]),
            known: &[FIRST, SECOND],
            ..base()
        },
        Case {
            what: "replaced by hand",
            record: (&[FIRST, SECOND], Held::Opened(Opening::at(2))),
            end: at(3, 300),
            history: history(3, &[(1, 90)]),
            known: &[FIRST, (4, 3, 90)],
            ..base()
        },
        Case {
            what: "a register that knows nothing of it",
            known: &[(9, 7, 900)],
            ..base()
        },
    ];
    for case in cases {
        let found = judged(&case);
        assert!(
            matches!(found, Kinship::Unknown(_)),
            "{}: {found:?}",
            case.what
        );
    }
}

#[test]
fn what_has_a_number_that_was_given_before_was_begun_by_somebody_else() {
    let opened = |above| {
        judged(&Case {
            record: (&[FIRST], Held::Opened(Opening { term: 3, above })),
            signal: false,
            known: &[FIRST],
            mine: true,
            end: at(2, 150),
            history: history(2, &[(1, 100)]),
            ..base()
        })
    };
    assert_eq!(opened(1), Kinship::Follows);
    assert!(matches!(opened(2), Kinship::Diverged { .. }));
}

#[test]
fn an_opening_is_read_as_earlier_programs_kept_it() {
    for (text, opening) in [
        (r#"{"opened":3}"#, Opening::at(3)),
        (
            r#"{"opened":{"term":3,"above":2}}"#,
            Opening { term: 3, above: 2 },
        ),
    ] {
        let held: Held = serde_json::from_str(text).unwrap();
        assert_eq!(held, Held::Opened(opening));
        let again = serde_json::to_string(&held).unwrap();
        assert_eq!(serde_json::from_str::<Held>(&again).unwrap(), held);
    }
}

#[test]
fn data_of_another_database_and_those_that_nothing_is_known_of() {
    let (record, own) = (
        Record {
            system: 7,
            lineage: lineage(&[FIRST]),
            held: Held::Following,
        },
        history(1, &[]),
    );
    let seen = Seen {
        record: Some(&record),
        system: Some(8),
        end: at(1, 5),
        history: &own,
        standby_signal: StandbySignal::There,
        fresh_copy: false,
    };
    let known = lineage(&[FIRST]);
    assert!(matches!(origin(&seen, &known), Origin::Unknown(_)));
    for seen in [
        Seen {
            record: None,
            ..seen
        },
        Seen {
            fresh_copy: true,
            ..seen
        },
    ] {
        assert_eq!(origin(&seen, &known), Origin::Unrecorded);
    }
    let unnamed = kinship(&Origin::Unrecorded, at(1, 5), &known, false);
    assert_eq!(unnamed, Kinship::Unnamed);
}

#[test]
fn a_primary_names_its_timelines() {
    let known = Timelines::default().named(1, &lineage(&[FIRST]));
    let record = |names: &[(u64, u32, u64)], held| {
        Some(Record {
            system: 7,
            lineage: lineage(names),
            held,
        })
    };
    let cases = [
        // The first time, also in the middle of a history that nobody has named.
        (None, history(1, &[]), Timelines::default(), vec![(5, 1, 0)]),
        (
            None,
            history(3, &[(1, 50), (2, 100)]),
            Timelines::default(),
            vec![(5, 3, 100)],
        ),
        // What the register has named is not named again.
        (None, history(1, &[]), known.clone(), vec![FIRST]),
        (
            record(&[FIRST], Held::Opened(Opening::at(4))),
            history(2, &[(1, 70)]),
            known.clone(),
            vec![FIRST, (4, 2, 70)],
        ),
        (
            record(&[FIRST, SECOND], Held::Opened(Opening::at(4))),
            history(3, &[(1, 70)]),
            known.clone(),
            vec![FIRST, (4, 3, 70)],
        ),
        (
            record(&[FIRST, SECOND], Held::Opened(Opening::at(4))),
            history(2, &[(1, 100)]),
            known.clone(),
            vec![FIRST, SECOND],
        ),
        // Somebody has opened a standby: the number that it might have received is not the one it took.
        (
            record(&[FIRST, SECOND], Held::Following),
            history(2, &[(1, 100)]),
            known,
            vec![FIRST, (5, 2, 100)],
        ),
    ];
    for (record, history, known, expected) in cases {
        let found = of_primary(record.as_ref(), &history, &known, 5);
        assert_eq!(found, lineage(&expected), "{record:?} {history:?}");
    }
    let highest = Timelines {
        highest: 6,
        ..Timelines::default()
    };
    assert_eq!(highest.named(2, &lineage(&[FIRST])).highest, 6);
}

/// Somebody opened the last standby while no primary was left, and an operator goes on with it.
#[test]
fn data_that_are_not_proven_follow_the_decision_that_has_chosen_them() {
    let judged = |record: Option<&Record>, history: &History, known: &Lineage| {
        let seen = Seen {
            record,
            system: Some(7),
            end: at(history.own.get(), 150),
            history,
            standby_signal: StandbySignal::Missing,
            fresh_copy: false,
        };
        let kinship = kinship(&origin(&seen, known), seen.end, known, false);
        (unproven(&seen, None), kinship)
    };
    let record = |names: &[(u64, u32, u64)], system| Record {
        system,
        lineage: lineage(names),
        held: Held::Following,
    };
    let second = history(2, &[(1, 100)]);
    for (kept, history, chosen) in [
        (record(&[FIRST], 7), &second, vec![FIRST, (5, 2, 100)]),
        // Whoever opened it may have written on its timeline.
        (record(&[FIRST, SECOND], 7), &second, vec![(5, 2, 100)]),
        (record(&[FIRST], 7), &history(1, &[]), vec![(5, 1, 0)]),
        (record(&[FIRST], 8), &second, vec![(5, 2, 100)]),
    ] {
        let (data, before) = judged(Some(&kept), history, &lineage(&[FIRST, SECOND]));
        assert!(!matches!(before, Kinship::Follows), "{before:?}");
        let named = data.unwrap().chosen_at(5);
        assert_eq!(named, lineage(&chosen));
        let kept = Record {
            system: 7,
            lineage: named.clone(),
            held: Held::Copied,
        };
        let after = judged(Some(&kept), history, &named);
        assert_eq!(after, (None, Kinship::Follows));
        // Nobody else's timeline of that number is taken for it.
        let theirs = Origin::Named(lineage(&[FIRST, SECOND]));
        let theirs = kinship(&theirs, at(2, 140), &named, false);
        assert!(!matches!(theirs, Kinship::Follows), "{theirs:?}");
    }
    // What a standby has received, and what is proven, is not named anew.
    let signal = Seen {
        record: Some(&record(&[FIRST], 7)),
        system: Some(7),
        end: at(2, 150),
        history: &second,
        standby_signal: StandbySignal::There,
        fresh_copy: false,
    };
    assert_eq!(unproven(&signal, None), None);
    let damaged = unproven(&signal, Some("not JSON".to_owned())).unwrap();
    assert_eq!(damaged.chosen_at(5), lineage(&[(5, 2, 100)]));
}

#[test]
fn old_names_are_dropped_and_what_is_left_is_still_compared() {
    let mut long = lineage(&[FIRST]);
    for next in 2..200 {
        long = long.and(TimelineName {
            term: u64::from(next),
            number: number(next),
            fork: Lsn::new(u64::from(next)),
        });
    }
    assert_eq!(long.names().len(), KEPT);
    let short = long.up_to(number(180)).unwrap();
    assert!(short.leads_to(&long) && !long.leads_to(&short));
    let text = serde_json::to_string(&long).unwrap();
    assert_eq!(serde_json::from_str::<Lineage>(&text).unwrap(), long);
}

/// Of what was opened a record says one thing and the file another; without the file nothing is known of either.
#[test]
fn whether_data_were_opened_is_not_guessed_where_the_file_cannot_be_looked_for() {
    let record = |held| Record {
        system: 7,
        lineage: lineage(&[FIRST]),
        held,
    };
    let moved_on = history(2, &[(1, 100)]);
    let told = |held, signal, end, history| {
        let record = record(held);
        let seen = Seen {
            record: Some(&record),
            system: Some(7),
            end,
            history,
            standby_signal: signal,
            fresh_copy: false,
        };
        let unproven = unproven(&seen, None).is_some();
        (origin(&seen, &Lineage::default()), unproven)
    };
    let opened = Held::Opened(Opening::at(2));
    let own = history(1, &[]);
    for (held, end, history) in [
        (Held::Following, at(1, 50), &own),
        (Held::Following, at(2, 150), &moved_on),
        (opened, at(2, 150), &moved_on),
    ] {
        let (of_unknown, unproven) = told(held, StandbySignal::Unknown, end, history);
        assert!(matches!(of_unknown, Origin::Unknown(_)), "{of_unknown:?}");
        assert!(unproven || history.own == own.own);
    }
    // What is proven by the record alone stays so.
    let (named, _) = told(opened, StandbySignal::Unknown, at(1, 50), &own);
    assert_eq!(named, Origin::Named(lineage(&[FIRST])));
}

#[test]
fn a_servers_record_is_believed_and_stopped_data_are_held_against_it() {
    let record = Record {
        system: 7,
        lineage: lineage(&[FIRST, SECOND]),
        held: Held::Following,
    };
    let served = |record, own| OwnData::Served(record, number(own));
    assert_eq!(
        served(Some(&record), 2).lineage(),
        Some(lineage(&[FIRST, SECOND]))
    );
    assert_eq!(served(Some(&record), 1).lineage(), Some(lineage(&[FIRST])));
    assert_eq!(served(Some(&record), 3).lineage(), None);
    assert_eq!(served(None, 2).lineage(), None);
    let own = history(2, &[(1, 100)]);
    let stopped = |standby_signal| {
        OwnData::Stopped(Seen {
            record: Some(&record),
            system: Some(7),
            end: at(2, 150),
            history: &own,
            standby_signal,
            fresh_copy: false,
        })
    };
    let closed = stopped(StandbySignal::There);
    assert_eq!(closed.lineage(), Some(lineage(&[FIRST, SECOND])));
    assert_eq!(closed.unproven(None), None);
    // Somebody has opened them: no record says what they are on.
    let opened = stopped(StandbySignal::Missing);
    assert_eq!(opened.lineage(), None);
    assert!(opened.unproven(None).is_some() && closed.unproven(Some("x".to_owned())).is_some());
    assert_eq!(
        served(Some(&record), 2).unproven(Some("x".to_owned())),
        None
    );
}
