#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::*;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::message::Language;
use crate::names::NodeName;
use crate::register::Update;

/// 2026-11-29 16:00:00Z.
const BEGIN: f64 = 1_795_968_000.0;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A row of the table as this version's trigger leaves it, so many seconds after the beginning: owner,
/// term, holders, reason, and when the lease found was renewed (below 0: it had been given back then).
fn row(at: f64, owner: &str, term: u64, holders: &[&str], reason: &str, renewed: f64) -> Value {
    let given_back = reason.starts_with("release") || reason.starts_with("hand-over");
    json!({
        "owner": owner, "term": term, "epoch": term, "holders": holders, "reason": reason,
        "changed_at": "set", "at_seconds": BEGIN + at,
        "lease_seconds": if given_back { 0.0 } else { 3.0 },
        "renewed_seconds": BEGIN + renewed.abs(),
        "last_lease_seconds": if renewed < 0.0 { 0.0 } else { 3.0 },
        "last_positions": { "node1": "0/5000000", "node2": "0/4000000" },
        "timeline": { "term": term, "number": term, "fork": "0000000004800000" },
    })
}

/// The same as an older version's trigger left it.
fn old(at: f64, owner: &str, term: u64, holders: &[&str], reason: &str) -> Value {
    json!({
        "owner": owner, "term": term, "epoch": term, "holders": holders, "reason": reason,
        "at_seconds": BEGIN + at, "lease_seconds": 3.0,
    })
}

fn told(rows: &[Value]) -> Vec<Event> {
    let entries = rows.iter().cloned().map(map);
    let entries: Vec<Entry> = entries
        .map(|columns| Entry::read(&columns).unwrap())
        .collect();
    let events = events(&entries);
    events.iter().for_each(said_in_chinese);
    events
}

/// Nothing of what is told is left in English, but for what somebody else has written: whose command or decision
/// it was, and the reason in a row.
fn said_in_chinese(event: &Event) {
    let foreign = |text: &str| match &event.cause {
        Some(Cause::Decision { by }) => text == by,
        Some(Cause::Words { text: words }) => text == words,
        _ => false,
    };
    for line in [event.headline()].into_iter().chain(event.details()) {
        let said = line.in_language(Language::Chinese);
        // Names and an arrow are the same everywhere.
        let names = matches!(event.kind, Kind::Lock | Kind::Takeover | Kind::Switch);
        let plain = foreign(&said) || (names && said.contains(" -> "));
        assert!(plain || !said.is_ascii(), "{said}");
    }
}

fn headline(event: &Event) -> String {
    event.headline().to_string()
}

fn details(event: &Event) -> Vec<String> {
    event.details().iter().map(ToString::to_string).collect()
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

const BOTH: &[&str] = &["node1", "node2"];

/// node1 is the first primary, node2 a holder.
fn begun() -> Vec<Value> {
    vec![
        row(0.0, "", 0, &[], "init", 0.0),
        row(10.0, "node1", 1, &["node1"], "first primary node1", 0.0),
        row(
            11.0,
            "node1",
            1,
            &["node1"],
            "timelines named by node1",
            10.0,
        ),
        row(20.0, "node1", 1, BOTH, "set holders by node1", 19.0),
    ]
}

fn and(more: &[Value]) -> Vec<Event> {
    told(&[begun(), more.to_vec()].concat())
}

#[test]
fn a_power_cut_of_the_primary() {
    let events = and(&[
        row(106.0, "node2", 2, &["node2"], "promote by node2", 100.0),
        row(
            107.5,
            "node2",
            2,
            &["node2"],
            "timelines named by node2",
            106.0,
        ),
        row(140.0, "node2", 2, BOTH, "set holders by node2", 139.0),
    ]);
    assert_eq!(
        kinds(&events),
        ["made", "first", "added", "takeover", "added"]
    );
    let takeover = &events[3];
    assert_eq!(takeover.from.as_deref(), Some("node1"));
    assert_eq!(takeover.cause, Some(Cause::Silent { seconds: 6.0 }));
    assert_eq!(
        takeover.outage,
        Some(Outage {
            at_least_seconds: None,
            at_most_seconds: Some(7.5)
        })
    );
    assert_eq!(takeover.lost, Some(Loss::Nothing));
    assert_eq!(headline(takeover), "takeover  node1 -> node2 (term 2)");
    assert_eq!(
        details(takeover),
        [
            "node1 had said nothing for 6.0 s and not given its lease back: no power, no network, or it stood still",
            "no primary for at most 7.5 s",
            "no acknowledged commit was lost",
        ]
    );
    assert_eq!(takeover.gone, ["node1"]);
}

#[test]
fn a_switch_that_an_operator_ordered_and_one_that_nobody_did() {
    let stop = row(103.0, "node1", 1, BOTH, "release by node1", 102.0);
    let promoted = row(104.0, "node2", 2, &["node2"], "promote by node2", -103.0);
    let open = row(
        104.5,
        "node2",
        2,
        &["node2"],
        "timelines named by node2",
        104.0,
    );
    let operator = Operator {
        who: "ann b".to_owned(),
        node: "node2".to_owned(),
        command: "cls_online_switch".to_owned(),
    };
    let note = row(101.0, "node1", 1, BOTH, &operator.note(), 100.0);
    let events = and(&[note, stop.clone(), promoted.clone(), open.clone()]);
    assert_eq!(kinds(&events)[3..], ["operator", "switch"]);
    assert_eq!(
        (headline(&events[3]).as_str(), details(&events[3]).len()),
        ("operator  ann_b on node2: cls_online_switch", 0)
    );
    let Some(Cause::Command(by)) = &events[4].cause else {
        panic!("{:?}", events[4])
    };
    assert_eq!(
        (by.who.as_str(), by.command.as_str()),
        ("ann_b", "cls_online_switch")
    );
    assert_eq!(
        events[4].outage,
        Some(Outage {
            at_least_seconds: Some(1.5),
            at_most_seconds: Some(2.5)
        })
    );
    // Without the note: stopped, and nobody knows why.
    let events = and(&[stop.clone(), promoted.clone(), open.clone()]);
    assert_eq!(kinds(&events)[3..], ["takeover"]);
    assert_eq!(events[3].cause, Some(Cause::Stopped));
    // A note that something else than a stop follows is the reason of nothing.
    let early = row(-60.0, "node1", 1, BOTH, &operator.note(), -61.0);
    let events = and(&[early, stop.clone(), promoted.clone(), open.clone()]);
    assert_eq!(kinds(&events)[3..], ["operator", "takeover"], "long before");
    let repair = Operator {
        command: "cls_cleanup".to_owned(),
        ..operator
    };
    let note = row(101.0, "node1", 1, BOTH, &repair.note(), 100.0);
    let events = and(&[note, stop.clone(), promoted.clone(), open]);
    assert_eq!(kinds(&events)[3..], ["operator", "takeover"]);
    // A hand-over is one by itself.
    let hand_over = row(
        103.0,
        "node1",
        1,
        BOTH,
        "hand-over by node1 to node2",
        102.0,
    );
    let events = and(&[hand_over.clone(), promoted.clone()]);
    assert_eq!(kinds(&events)[3..], ["switch"]);
    // So is one after the stop that gave the lease back.
    let events = and(&[stop.clone(), hand_over, promoted]);
    assert_eq!(kinds(&events)[3..], ["switch"]);
    // A stop that nobody follows stays.
    let late = row(9_000.0, "node1", 2, &["node1"], "promote by node1", -103.0);
    assert_eq!(kinds(&and(&[stop, late]))[3..], ["stopped", "restart"]);
}

#[test]
fn restarts_in_place() {
    let crash = row(101.0, "node1", 2, &["node1"], "promote by node1", 100.0);
    let events = and(&[crash]);
    assert_eq!(kinds(&events)[3..], ["restart"]);
    assert_eq!(
        (&events[3].cause, &events[3].lost),
        (&Some(Cause::Ended), &Some(Loss::Nothing))
    );
    assert!(events[3].outage.is_none() && events[3].opened.is_none());
}

#[test]
fn standbys_come_and_go() {
    let events = and(&[
        row(30.0, "node1", 1, &["node1"], "set holders by node1", 29.0),
        row(40.0, "node1", 1, BOTH, "set holders by node1", 39.0),
        row(
            50.0,
            "node1",
            1,
            &["node1", "node3"],
            "set holders by node1",
            49.0,
        ),
        // The same again, which moves the epoch alone.
        row(
            51.0,
            "node1",
            1,
            &["node1", "node3"],
            "set holders by node1",
            49.0,
        ),
        row(60.0, "node1", 1, &["node1"], "leave by node3", 59.0),
    ]);
    assert_eq!(
        kinds(&events)[3..],
        ["degraded", "added", "exchanged", "left"]
    );
    assert_eq!(
        headline(&events[3]),
        "degraded  node1 goes on without node2 (term 1)"
    );
    assert_eq!(
        headline(&events[5]),
        "exchanged node3 in place of node2 (term 1)"
    );
    assert_eq!(events[6].node.as_deref(), Some("node3"));
}

#[test]
fn an_operator_decides_and_says_what_for() {
    let by = "override by operator root: the data of node2 were chosen, node1 said to be off";
    let alone = row(30.0, "node1", 1, &["node1"], "set holders by node1", 29.0);
    let decided = row(200.0, "", 2, &["node2"], by, 100.0);
    let promoted = row(201.0, "node2", 3, &["node2"], "promote by node2", -200.0);
    let events = and(&[alone, decided.clone(), promoted]);
    assert_eq!(kinds(&events)[3..], ["degraded", "recovery", "elected"]);
    assert_eq!(
        events[4].lost,
        Some(Loss::Possible {
            holders: vec!["node1".to_owned()]
        })
    );
    assert_eq!(events[5].lost, None);
    assert_eq!(
        details(&events[4]),
        [
            "operator root: the data of node2 were chosen, node1 said to be off",
            "lost are the commits, if any, that were on no other node than node1",
        ]
    );
    assert_eq!(Summary::of(&events).with_loss, 1);
    // Chosen among the holders nothing is lost.
    assert_eq!(and(&[decided])[3].lost, Some(Loss::Nothing));
}

#[test]
fn asynchronous_replication_says_what_was_lost() {
    let events = told(&[
        row(10.0, "node1", 1, &["node1"], "first primary node1", 0.0),
        row(100.0, "node2", 2, &["node2"], "promote by node2", 95.0),
        row(
            101.0,
            "node2",
            2,
            &["node2"],
            "timelines named by node2",
            100.0,
        ),
    ]);
    // 0/5000000 was recorded of node1, and node2's timeline begins at 0/4800000.
    assert_eq!(
        events[1].lost,
        Some(Loss::Behind {
            bytes: Some(0x0080_0000)
        })
    );
}

#[test]
fn what_an_older_version_recorded_is_told_as_far_as_it_goes() {
    let events = told(&[
        old(0.0, "", 0, &[], "init"),
        old(10.0, "node1", 1, &["node1"], "first primary node1"),
        old(20.0, "node1", 1, BOTH, "set holders by node1"),
        old(30.0, "node2", 2, &["node2"], "promote by node2"),
        // From here on with this version's trigger.
        row(60.0, "node1", 3, &["node1"], "promote by node1", 55.0),
    ]);
    assert_eq!(
        kinds(&events),
        ["made", "first", "added", "takeover", "takeover"]
    );
    assert_eq!(
        (&events[3].cause, &events[3].lost, events[3].outage),
        (&Some(Cause::NotRecorded), &Some(Loss::Nothing), None)
    );
    // node1 was no holder at term 2.
    assert!(matches!(events[4].lost, Some(Loss::Behind { .. })));
    // The first entry of a part: what it came from is not known.
    let part = told(&[old(30.0, "node2", 2, &["node2"], "promote by node2")]);
    assert_eq!(part[0].lost, Some(Loss::NotRecorded));
    assert_eq!(headline(&part[0]), "takeover  node2 is primary (term 2)");
}

#[test]
fn the_bare_lock_and_edits_by_hand() {
    let bare = |at: f64, owner: &str, given_back: bool| {
        json!({
            "owner": owner, "at_seconds": BEGIN + at, "lease_seconds": if given_back { 0.0 } else { 30.0 },
        })
    };
    let events = told(&[
        bare(0.0, "pgsql_node1", false),
        bare(9.0, "pgsql_node2", false),
        bare(12.0, "pgsql_node2", true),
    ]);
    assert_eq!(kinds(&events), ["lock", "lock", "lock"]);
    assert_eq!(headline(&events[1]), "lock      pgsql_node1 -> pgsql_node2");
    assert_eq!(
        headline(&events[2]),
        "lock      pgsql_node2 gave the lock back"
    );
    for edited in [
        // The reason is the one of the last renewal, or of the change before.
        row(30.0, "node2", 1, BOTH, "renew by node1", 29.0),
        row(30.0, "node1", 7, BOTH, "renew by node1", 29.0),
        row(30.0, "node1", 1, &["node3"], "renew by node1", 29.0),
        row(30.0, "node3", 1, BOTH, "set holders by node1", 29.0),
        row(30.0, "node3", 2, &["node3"], "promote by node1", 29.0),
        row(
            30.0,
            "node3",
            1,
            BOTH,
            "operator root on node1: cls_restart",
            29.0,
        ),
    ] {
        let events = and(std::slice::from_ref(&edited));
        assert_eq!(kinds(&events)[3..], ["edited"], "{edited}");
    }
    // A change of a later version is shown as it is.
    let later = row(
        30.0,
        "node1",
        1,
        &["node1"],
        "given back by node1 to node2",
        29.0,
    );
    let events = and(&[later]);
    assert_eq!(kinds(&events)[3..], ["other"]);
    assert_eq!(details(&events[3]), ["given back by node1 to node2"]);
}

/// The words of the changes are those that the derivation knows.
#[test]
fn every_change_of_the_register_is_known() {
    let node = |text: &str| NodeName::new(text.to_owned()).unwrap();
    let (one, two) = (node("node1"), node("node2"));
    let ttl = Duration::from_secs(3);
    let holders = BTreeSet::from([one.clone()]);
    let fresh = crate::register::Register::fresh();
    let giving = one.clone();
    let updates = [
        Update::FirstPrimary {
            node: one.clone(),
            ttl,
        },
        Update::promote(&fresh, one.clone(), ttl),
        Update::Renew {
            node: one.clone(),
            term: 1,
            positions: Default::default(),
            ttl,
        },
        Update::set_holders(&fresh, one.clone(), holders.clone(), ttl),
        Update::NameTimelines {
            node: one.clone(),
            term: 1,
            lineage: Lineage::default(),
        },
        Update::Release {
            node: one.clone(),
            term: 1,
        },
        Update::Leave { node: one.clone() },
        Update::Override {
            by: "x".to_owned(),
            from_term: 0,
            from_epoch: 0,
            above_term: 0,
            above_epoch: 0,
            lineage: None,
            above_number: 0,
            owner: None,
            holders,
        },
        Update::HandOver {
            node: one,
            term: 1,
            from_epoch: 1,
            successor: two,
            position: Lsn::new(1),
        },
        Update::GiveBack {
            node: giving,
            term: 1,
            from_epoch: 1,
        },
    ];
    for update in updates {
        // Every one, so that a new change is thought of here.
        match update {
            Update::FirstPrimary { .. }
            | Update::Promote { .. }
            | Update::Renew { .. }
            | Update::SetHolders { .. }
            | Update::NameTimelines { .. }
            | Update::Release { .. }
            | Update::Leave { .. }
            | Update::Override { .. }
            | Update::HandOver { .. }
            | Update::GiveBack { .. } => {}
        }
        let columns = map(json!({ "at_seconds": BEGIN, "reason": update.reason() }));
        let reason = Entry::read(&columns).unwrap().reason;
        assert!(!matches!(reason, Reason::Other(_)), "{reason:?}");
    }
}

#[test]
fn nonsense_in_the_table_is_no_failure() {
    assert_eq!(Entry::read(&Map::new()), None);
    for value in [json!("x"), json!(-1), json!(1e300), Value::Null] {
        assert_eq!(
            Entry::read(&map(json!({ "at_seconds": value }))),
            None,
            "{value}"
        );
    }
    let entry = Entry::read(&map(json!({
        "at_seconds": BEGIN, "owner": 3, "term": -7, "holders": [1, null, "a\u{1b}[2J"], "reason": {},
        "timeline": { "term": "x" }, "last_positions": { "a": 3, "b": "no" }, "renewed_seconds": 1,
    })))
    .unwrap();
    assert_eq!(
        (entry.owner, entry.term, entry.timeline),
        (None, None, None)
    );
    assert_eq!(entry.holders, BTreeSet::from(["a\\u{1b}[2J".to_owned()]));
    assert!(entry.before.unwrap().positions.is_empty());
}

#[test]
fn moments_are_written_as_people_read_them() {
    for (millis, expected) in [
        (0, "1970-01-01 00:00:00Z"),
        (951_782_400_000, "2000-02-29 00:00:00Z"),
        (1_795_968_000_000, "2026-11-29 16:00:00Z"),
        (4_107_542_399_999, "2100-02-28 23:59:59Z"),
        (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        (253_402_300_799_999, "9999-12-31 23:59:59Z"),
    ] {
        assert_eq!(Moment::of_millis(millis).unwrap().to_string(), expected);
    }
    let moment = Moment::of_seconds(BEGIN + 0.25).unwrap();
    assert_eq!(
        serde_json::to_value(moment).unwrap(),
        "2026-11-29T16:00:00.250Z"
    );
    assert_eq!(moment.days_before(29).day(), "2026-10-31");
    assert_eq!(moment.days_before(u32::MAX).day(), "1970-01-01");
    assert!(Moment::of_seconds(f64::NAN).is_some_and(|moment| moment.millis() == 0));
    assert!(
        [-0.001, 1e12, f64::INFINITY]
            .map(Moment::of_seconds)
            .iter()
            .all(Option::is_none)
    );
}

#[test]
fn a_page_that_shows_hostile_text_and_runs_none() {
    let hostile = "</title><script>alert('x')</script>&\"";
    let mut rows = begun();
    rows.push(row(
        30.0,
        hostile,
        2,
        &[hostile],
        &format!("promote by {hostile}"),
        29.0,
    ));
    rows.push(row(40.0, hostile, 2, &[hostile], hostile, 39.0));
    let events = told(&rows);
    let page = Page {
        title: hostile,
        from: events[0].at,
        to: Moment::of_seconds(BEGIN + 100.0).unwrap(),
        events: &events,
        all: &events,
        summary: &Summary::of(&events),
        language: Language::English,
    };
    let text = html(&page);
    assert!(
        !text.contains("<script") && !text.contains("alert('"),
        "{text}"
    );
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
    let elements: BTreeSet<&str> = document
        .descendants()
        .filter(roxmltree::Node::is_element)
        .map(|node| node.tag_name().name())
        .collect();
    let known = [
        "body", "br", "h1", "head", "html", "line", "meta", "p", "rect", "strong", "style", "svg",
        "table", "td", "text", "th", "title", "tr",
    ];
    assert_eq!(elements, BTreeSet::from(known));
    let heading = document
        .descendants()
        .find(|node| node.has_tag_name("h1"))
        .unwrap();
    assert_eq!(heading.text(), Some(hostile));
    // Nothing is loaded from elsewhere.
    for node in document.descendants() {
        assert!(
            node.attributes()
                .all(|a| !["src", "href"].contains(&a.name()))
        );
    }
    // Each node has a bar, and all of it lies in the picture.
    for bar in document
        .descendants()
        .filter(|node| node.has_tag_name("rect"))
    {
        let x: f64 = bar.attribute("x").unwrap().parse().unwrap();
        let width: f64 = bar.attribute("width").unwrap().parse().unwrap();
        assert!(x >= 150.0 && x + width <= 941.0, "{x} {width}");
    }
    // An empty history is a page too.
    let to = page.to;
    assert!(
        html(&Page {
            title: "x",
            from: to,
            to,
            events: &[],
            all: &[],
            summary: &Summary::of(&[]),
            language: Language::Chinese,
        })
        .contains("</svg>")
    );
}

/// The last days of a quiet cluster: who was primary when they began was promoted before, and the summary is
/// that of all that was asked for.
#[test]
fn a_page_of_the_last_days_shows_who_was_primary_before() {
    let mut rows = begun();
    let late = "set holders by node1";
    rows.push(row(5000.0, "node1", 1, &["node1"], late, 4999.0));
    let all = told(&rows);
    let from = Moment::of_seconds(BEGIN + 4000.0).unwrap();
    let page = Page {
        title: "x",
        from,
        to: Moment::of_seconds(BEGIN + 6000.0).unwrap(),
        events: &all[all.len() - 1..],
        all: &all,
        summary: &Summary::of(&all),
        language: Language::English,
    };
    let bars = super::html::reigns(&page);
    assert_eq!(bars.len(), 1);
    assert_eq!(
        (bars[0].node, bars[0].from, bars[0].to),
        ("node1", from, page.to)
    );
    assert!(html(&page).contains("1 degradation"));
    let chinese = html(&Page {
        language: Language::Chinese,
        ..page
    });
    for part in [
        "lang=\"zh-CN\"",
        "降级（失去同步备库）1 次",
        "时间为 UTC",
        "<th>时间</th><th>事件</th>",
        "node1 主库：",
        "node1 不再等待 node2",
    ] {
        assert!(chinese.contains(part), "no {part} in {chinese}");
    }
}

/// What a row says that somebody has changed by hand proves nothing, and neither does a service that was put
/// back to before a standby went away.
#[test]
fn nothing_is_said_to_be_lost_or_not_where_the_entries_prove_neither() {
    let mut edited = row(30.0, "node1", 1, BOTH, "by hand", 29.0);
    edited["holders"] = json!(["node1", "node2", "node3"]);
    edited["reason"] = json!("set holders by node9");
    let promoted = row(40.0, "node3", 2, &["node3"], "promote by node3", 30.0);
    let events = and(&[edited.clone(), promoted.clone()]);
    assert_eq!(kinds(&events)[3..], ["edited", "takeover"]);
    assert_eq!(events[3].lost, Some(Loss::NotRecorded));
    assert_eq!(events[4].lost, Some(Loss::NotRecorded));
    let again = row(
        35.0,
        "node1",
        1,
        &["node1", "node3"],
        "set holders by node1",
        34.0,
    );
    let events = and(&[edited, again, promoted]);
    assert_eq!(events.last().unwrap().lost, Some(Loss::Nothing));

    let by = "override by operator root: the data of node2 were chosen";
    let mut decided = row(200.0, "", 2, &["node2"], by, 100.0);
    assert_eq!(and(&[decided.clone()])[3].lost, Some(Loss::Nothing));
    // Beyond what the row had: somebody has seen changes of which there is no entry.
    decided["epoch"] = json!(7);
    assert_eq!(and(&[decided])[3].lost, Some(Loss::NotRecorded));
    // What only another node is known to hold may be lost, whatever was not seen beside.
    let alone = row(150.0, "node1", 1, &["node1"], "set holders by node1", 149.0);
    let mut decided = row(200.0, "", 1004, &["node2"], by, 100.0);
    decided["epoch"] = json!(1009);
    let lost = and(&[alone, decided])[4].lost.clone();
    assert!(matches!(lost, Some(Loss::Possible { .. })), "{lost:?}");
}

#[test]
fn the_summary_counts() {
    let mut rows = begun();
    rows.push(row(
        106.0,
        "node2",
        2,
        &["node2"],
        "promote by node2",
        100.0,
    ));
    rows.push(row(
        107.0,
        "node2",
        2,
        &["node2"],
        "timelines named by node2",
        106.0,
    ));
    let lines = Summary::of(&told(&rows))
        .lines()
        .map(|line| line.to_string());
    assert_eq!(
        lines[0],
        "1 takeover, 0 switches, 0 restarts, 0 degradations"
    );
    assert_eq!(
        lines[1],
        "since 2026-11-29 16:00:00Z no loss of an acknowledged commit is recorded; the longest time without a primary: at most 7.0 s (2026-11-29 16:01:46Z)"
    );
}
