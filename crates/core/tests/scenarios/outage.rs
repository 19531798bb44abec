//! R7: the lock service is away and the standby is lost.

use pha_core::decide::decide;
use pha_core::ocf::{self, OcfCode, When};
use pha_core::register::{
    ClusterId, Memory, PromiseAnswer, PromiseAsk, PromiseRequest, PromiseVerdict, Promises,
    Reading, Register, RelayStep, Reply, Trouble, Update, all_promised, may_promise, relay_step,
    tally,
};
use pha_core::snapshot::{Operation, SeenRole, StandbySignal};
use pha_core::status::Score;

use crate::world::{MONITOR, World, expired, node, nodes, notification, owned, reign};

const RENEW: &str = "renew by node1";
const ASK: &str = "ask-promises";
const USE: &str = "use-promises";
const ALONE: &str = "set-names []";
const SET: &str = "set holders by node1";

fn unreachable() -> Reading {
    Reading::Unknown(Trouble::Unreachable("no route to host".to_owned()))
}

fn promised(epoch: u64) -> PromiseAnswer {
    PromiseAnswer::Promised { epoch }
}

/// The primary at term 1, epoch 10, without its standby and without the lock service.
fn cut_off() -> World {
    let mut world = World::primary();
    world.standbys.clear();
    world.register = Err(unreachable());
    world
}

#[test]
fn with_the_promise_of_every_other_node_the_primary_goes_on() {
    let mut world = cut_off();
    world.answers = vec![(node(2), promised(10))];
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK, USE, ALONE, RENEW]);
    assert!(run.rules.contains(&"primary-degrade-by-promise"));
    assert!(world.names.is_empty());

    // A standby that comes back meanwhile is not named: that needs the register (R4).
    world.standbys = World::primary().standbys;
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW]);

    // The lock service is back: the holder for which commits do not wait goes first.
    world.standbys.clear();
    world.register = Ok(owned(1, 1, &[1, 2]));
    let run = world.carry(&MONITOR);
    assert_eq!(run.actions[..2], [RENEW, SET]);
    assert_eq!(
        (world.row().epoch, &world.row().holders),
        (11, &nodes(&[1]))
    );
}

#[test]
fn anything_but_a_promise_for_the_very_epoch_leaves_commits_waiting() {
    let unknown = Reply::Unknown(Trouble::Unreachable("no route to host".to_owned()));
    let mut invented = owned(1, 1, &[1, 2]);
    invented.epoch = 11;
    let cases: Vec<(Vec<_>, &str)> = vec![
        (vec![], "node2 has not answered"),
        (
            vec![(node(2), PromiseAnswer::Refused("ssh: refused".to_owned()))],
            "node2: ssh: refused",
        ),
        (vec![(node(2), promised(9))], "epoch 9 instead of 10"),
        (vec![(node(2), promised(11))], "epoch 11 instead of 10"),
        (vec![(node(3), promised(10))], "node2 has not answered"),
        (
            vec![(node(2), promised(10)), (node(2), promised(10))],
            "node2 has not answered",
        ),
        (
            vec![(node(2), PromiseAnswer::Relayed(unknown))],
            "makes no sense",
        ),
        (
            vec![(node(2), PromiseAnswer::Relayed(Reply::Applied(invented)))],
            "makes no sense",
        ),
    ];
    for (answers, why) in cases {
        let mut world = cut_off();
        world.answers = answers;
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, &[RENEW, ASK]);
        assert_eq!(world.names, ["node2"]);
        assert!(run.warnings[0].contains(why), "{why}: {:?}", run.warnings);
        assert!(run.warnings[0].contains("no route to host"));
    }
}

/// A promise bars the holder that gives it: it is asked last, and only for a set that can be complete.
#[test]
fn a_holder_is_asked_only_when_all_others_have_promised() {
    let mut world = cut_off();
    world.settings.nodes.push(node(3));
    world.answers = vec![(node(2), promised(10))];
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK]);
    assert_eq!(world.asked, [vec![node(3)]], "node2, the holder, is spared");
    assert_eq!(world.names, ["node2"]);

    world.asked.clear();
    world.answers.push((node(3), promised(10)));
    let run = world.carry(&MONITOR);
    run.expect(
        OcfCode::RunningPromoted,
        &[RENEW, ASK, ASK, USE, ALONE, RENEW],
    );
    assert_eq!(world.asked, [vec![node(3)], vec![node(2)]]);

    // A holder that does not answer: the others' promises are no complete set.
    let mut world = cut_off();
    world.settings.nodes.push(node(3));
    world.answers = vec![(node(3), promised(10))];
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK, ASK]);
    assert_eq!(world.names, ["node2"]);
}

/// A holder stays one that an operator has taken out of `node_list` meanwhile.
#[test]
fn whom_commits_wait_for_is_asked_although_it_is_not_in_the_list() {
    let mut world = cut_off();
    world.settings.nodes = vec![node(1)];
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK]);
    assert!(
        run.warnings[0].contains("node2 has not answered"),
        "{:?}",
        run.warnings
    );
    assert_eq!(world.names, ["node2"]);

    // A name that no node can have promises nothing.
    world.name(&["*"]);
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW]);
    assert_eq!(world.names, ["*"]);
}

#[test]
fn nobody_is_asked_without_need_or_right() {
    type Change = fn(&mut World);
    let cases: Vec<(&str, Change)> = vec![
        ("the standby is there", |w| {
            w.standbys = World::primary().standbys;
        }),
        ("the service answers errors (D3)", |w| {
            w.register = Err(Reading::Unknown(Trouble::Answered("password".to_owned())));
        }),
        ("the row is missing", |w| w.register = Err(Reading::Missing)),
        ("the row makes no sense", |w| {
            w.register = Err(Reading::Damaged("holders is NULL".to_owned().into()));
        }),
        ("a later term was seen", |w| w.memory.term = 2),
        ("a change of its own is not settled", |w| {
            w.memory.asked = Some(10);
        }),
    ];
    for (what, change) in cases {
        let mut world = cut_off();
        world.answers = vec![(node(2), promised(10))];
        change(&mut world);
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, &[RENEW]);
        assert_eq!(world.names, ["node2"], "{what}");
    }
    // A primary that does not know its own term has none to ask for.
    let mut world = cut_off();
    world.memory.reign = None;
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &["read-register"]);
}

/// The addition may be made after the promise: it would end the promise, and make a holder of a
/// standby for which nobody waits any more.
#[test]
fn an_addition_whose_reply_was_lost_forbids_asking() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.answers = vec![(node(2), promised(10))];
    world.lost = Some("set holders");
    let run = world.carry(&MONITOR);
    assert_eq!(world.row().holders, nodes(&[1, 2]), "{:?}", run.actions);
    assert_eq!(world.memory.asked, Some(10), "kept before it was sent");
    world.standbys.clear();
    world.register = Err(unreachable());
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW]);
    assert_eq!(world.names, ["node2"]);
}

#[test]
fn a_node_that_reaches_the_register_passes_the_change_on() {
    let mut made = owned(1, 1, &[1]);
    made.epoch = 11;
    let mut world = cut_off();
    world.answers = vec![(node(2), PromiseAnswer::Relayed(Reply::Applied(made)))];
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK, ALONE, RENEW]);
    assert!(run.rules.contains(&"primary-drop-name"), "{:?}", run.rules);

    // It has learned so of another owner.
    let mut world = cut_off();
    let other = Reply::NotApplied(owned(2, 2, &[2]));
    world.answers = vec![(node(2), PromiseAnswer::Relayed(other))];
    world.carry(&MONITOR).expect(
        OcfCode::NotRunning,
        &[RENEW, ASK, "stop-postgres Immediate"],
    );

    // What is passed on and damaged is damage.
    for reply in [
        Reply::Missing,
        Reply::Damaged("holders is NULL".to_owned().into()),
    ] {
        let mut world = cut_off();
        world.answers = vec![(node(2), PromiseAnswer::Relayed(reply))];
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, &[RENEW, ASK]);
        assert!(run.warnings[0].contains("damaged"), "{:?}", run.warnings);
        assert_eq!(world.names, ["node2"]);
    }
}

#[test]
fn a_standby_that_is_stopped_on_purpose_can_promise_too() {
    let mut world = World::primary();
    world.register = Err(unreachable());
    world.answers = vec![(node(2), promised(10))];
    world
        .carry(&notification(When::Pre, ocf::Operation::Stop, 2))
        .expect(OcfCode::Success, &[RENEW, ASK, USE, ALONE, RENEW]);
}

/// Since R11 the names that commits wait for are incarnations of nodes.
#[test]
fn a_holder_is_known_by_any_of_its_names() {
    for name in ["node2", "node2@00000000000000ff"] {
        let mut world = cut_off();
        world.settings.nodes.push(node(3));
        world.name(&[name]);
        world.answers = vec![(node(2), promised(10))];
        world.carry(&MONITOR);
        assert_eq!(world.asked, [vec![node(3)]], "{name}: the holder is spared");
        assert_eq!(world.names, [name]);
    }
}

/// The answer of the only other node is lost. Once PostgreSQL has been stopped here nothing needs the
/// promise any more, and it would bar the one node that could take over.
#[test]
fn a_stopped_primary_withdraws_the_question_that_it_did_not_use() {
    for operation in [Operation::Stop, Operation::Demote { then_stop: true }] {
        let mut world = cut_off();
        world.carry(&MONITOR);
        assert_eq!(world.asked, [vec![node(2)]]);
        assert_eq!(world.memory.relied, Some(10));
        assert_eq!(world.freed, [], "not while PostgreSQL runs");

        let run = world.carry(&operation);
        assert_eq!(run.code, Some(OcfCode::Success));
        let told: Vec<_> = world.freed.iter().map(|to| (to.term, to.epoch)).collect();
        assert_eq!(told, [(1, 10)], "{:?}", run.actions);
        assert_eq!(world.freed[0].peers, [node(2)]);
        let place = |what: &str| run.actions.iter().position(|done| done.starts_with(what));
        assert!(
            place("stop-postgres") < place("withdraw"),
            "{:?}",
            run.actions
        );
        assert_eq!(world.memory.withdrawn, Some(10));
    }
}

/// However its server is started again: what may have been withdrawn is no promise.
#[test]
fn who_has_withdrawn_relies_on_no_promise_of_that_epoch() {
    let mut world = cut_off();
    world.memory = world.memory.relying(10).withdrawing(1, 10, None).unwrap();
    world.answers = vec![(node(2), promised(10))];
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW]);
    assert_eq!(world.names, ["node2"]);
    assert_eq!(world.asked, Vec::<Vec<_>>::new());
    assert!(world.memory.using(1, 10, None).is_err());
    // The withdrawal came while the answers were on their way.
    let mut snapshot = world.look(&MONITOR);
    snapshot.memory = Ok(Memory {
        withdrawn: None,
        ..world.memory
    });
    snapshot.register = Some(unreachable());
    snapshot.progress.change_lock = pha_core::snapshot::ChangeLock::Held;
    snapshot.progress.promises = Some(Promises {
        epoch: 10,
        asked: nodes(&[2]),
        missing: vec![],
    });
    let plan = decide(&snapshot);
    assert_eq!(plan.rule, "primary-degrade-by-promise");
    assert!(
        world.perform(&plan.actions[0]).is_err(),
        "{:?}",
        plan.actions
    );
}

/// By its promise commits were acknowledged that the other node lacks.
#[test]
fn what_was_used_is_not_withdrawn() {
    let mut world = cut_off();
    world.answers = vec![(node(2), promised(10))];
    world.carry(&MONITOR);
    assert_eq!((world.names.len(), world.memory.used), (0, Some(10)));
    for operation in [Operation::Demote { then_stop: true }, Operation::Stop] {
        let run = world.carry(&operation);
        assert_eq!(run.code, Some(OcfCode::Success));
        assert_eq!(world.freed, [], "{:?}", run.actions);
    }
    // Nor by a node that has lost its memory, and may have done so.
    world.register = Ok(owned(1, 1, &[1, 2]));
    let row = Register {
        epoch: 10,
        ..owned(1, 1, &[1, 2])
    };
    let memory = Memory::none().seeing_as(&node(1), &row);
    assert_eq!(memory.used, Some(10));
}

/// Commits passed without node2, and it streams and is waited for again: what passed it may not have flushed.
#[test]
fn after_promises_were_used_a_standby_is_a_holder_by_its_barrier_alone() {
    let mut world = World::primary();
    world.memory.used = Some(10);
    world.memory.relied = Some(10);
    let run = world.carry(&MONITOR);
    let set = run
        .actions
        .iter()
        .position(|done| done == "set holders by node1");
    let barrier = run.actions.iter().position(|done| done == "take-barrier");
    assert!(set.is_some() && set < barrier, "{:?}", run.actions);
    assert_eq!(world.row().holders, nodes(&[1, 2]), "{:?}", run.actions);
    // At another epoch it is a holder as before.
    let mut world = World::primary();
    world.memory.used = Some(9);
    let run = world.carry(&MONITOR);
    let barrier = run.actions.iter().any(|done| done == "take-barrier");
    assert!(!barrier, "{:?}", run.actions);
}

#[test]
fn the_gate_of_a_node_that_has_promised_stays_shut_until_the_epoch_moves() {
    let mut world = World::standby();
    world.memory = Memory {
        term: 1,
        epoch: 10,
        ..Memory::default()
    };
    world.memory = world.memory.promising(1, 10, true).unwrap();
    world.register = Ok(expired(2, 1, &[1, 2]));
    let run = world.carry(&Operation::Promote);
    run.expect(OcfCode::Generic, &["read-register"]);
    assert!(run.reason.contains("has promised"), "{}", run.reason);
    assert_eq!(world.cluster().node(&node(1)).score, Some(Score::MayNot));

    let mut row = expired(2, 1, &[1, 2]);
    row.epoch = 12; // taken out, and added again
    world.register = Ok(row);
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
}

/// Nobody knows of the promises' end but the primary: the standby follows again and the register is
/// back before anything was changed.
#[test]
fn promises_that_were_not_needed_end_when_the_register_is_back() {
    let mut world = World::primary();
    world.memory = world.memory.relying(10);
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::RunningPromoted));
    assert_eq!(
        (world.row().epoch, &world.row().holders),
        (11, &nodes(&[1, 2]))
    );
    // Once is enough.
    world.carry(&MONITOR);
    assert_eq!(world.row().epoch, 11);
    assert_eq!(world.memory.relied, None);
}

/// An operator's command was killed between its question and its decision, and the primary was started again.
#[test]
fn a_primary_that_gave_way_to_no_decision_may_ask_for_promises_again() {
    let mut world = World::primary();
    world.memory = world.memory.giving_way(10);
    assert_eq!(world.memory.withdrawn, Some(10));
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::RunningPromoted));
    assert_eq!(
        (world.row().epoch, &world.row().holders),
        (11, &nodes(&[1, 2]))
    );
    world.carry(&MONITOR);
    assert_eq!((world.row().epoch, world.memory.withdrawn), (11, None));
}

/// The primary that went on alone crashes, and the lock service comes back: it restarts by its own
/// right, which ends the promise of a node that is no holder then.
#[test]
fn the_primary_that_went_on_alone_comes_back() {
    let mut world = World::standby();
    world.memory = Memory {
        term: 1,
        epoch: 10,
        reign: reign(1, 1),
        ..Memory::default()
    };
    world.register = Ok(expired(1, 1, &[1, 2]));
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(
        (world.row().epoch, &world.row().holders),
        (11, &nodes(&[1]))
    );
}

/// The register's promotion may be made after the promise, and would end it.
#[test]
fn who_may_have_been_promoted_unheard_gives_no_promise() {
    let mut world = World::standby();
    world.register = Ok(expired(2, 1, &[1, 2]));
    world.memory.term = 1;
    world.memory.epoch = 10;
    world.lost = Some("promote");
    world.settings.ttl = std::time::Duration::from_secs(600);
    let run = world.carry(&Operation::Promote);
    assert!(run.actions.len() > 1, "{:?}", run.actions);
    assert!(world.memory.asked.is_some_and(|epoch| epoch >= 10));
    let memory = world.memory;
    assert!(memory.promising(memory.term, memory.epoch, true).is_err());
}

fn request() -> PromiseRequest {
    let ask = PromiseAsk {
        completes: true,
        node: node(1),
        peers: vec![node(2)],
        term: 1,
        epoch: 10,
        ttl: World::new().settings.ttl,
    };
    PromiseRequest::new(
        &ask,
        node(2),
        "pgsql".parse().unwrap(),
        cluster(),
        std::time::Duration::from_secs(5),
    )
}

fn cluster() -> ClusterId {
    ClusterId {
        lock: "distlock:pgsql_cls1".to_owned(),
        system: Some("7".to_owned()),
    }
}

#[test]
fn the_node_that_is_asked_relays_where_it_can() {
    let memory = Memory {
        term: 1,
        epoch: 10,
        ..Memory::default()
    };
    let ttl = World::new().settings.ttl;
    let step = |reading| relay_step(&request(), ttl, &reading, &memory);
    let RelayStep::Send(update) = step(Reading::Row(owned(1, 1, &[1, 2]))) else {
        panic!("not sent")
    };
    assert!(matches!(&update, Update::SetHolders { from_epoch: 10, .. }));
    let made = update.apply(&owned(1, 1, &[1, 2])).unwrap();
    assert_eq!(made.holders, nodes(&[1]));

    assert_eq!(step(unreachable()), RelayStep::Promise);
    let mut moved = owned(1, 1, &[1, 2]);
    moved.epoch = 11;
    for row in [moved, owned(2, 2, &[2])] {
        let expected = PromiseAnswer::Relayed(Reply::NotApplied(row.clone()));
        assert_eq!(step(Reading::Row(row)), RelayStep::Answer(expected));
    }
    let mut older = owned(1, 1, &[1, 2]);
    older.epoch = 9;
    for (reading, why) in [
        (Reading::Row(older), "restored from a backup"),
        (Reading::Missing, "no row of this name"),
        (Reading::Damaged("NULL".to_owned().into()), "damaged"),
        (
            Reading::Unknown(Trouble::Answered("password".to_owned())),
            "answered an error",
        ),
    ] {
        match step(reading) {
            RelayStep::Answer(PromiseAnswer::Refused(text)) => {
                assert!(text.contains(why), "{text}");
            }
            other => panic!("{why}: {other:?}"),
        }
    }
}

#[test]
fn who_may_be_the_primary_itself_promises_nothing() {
    let memory = |term: u64| Memory {
        reign: reign(term, 1),
        ..Memory::default()
    };
    let may = |memory: &Memory, seen| may_promise(&node(2), &request(), memory, seen).is_ok();
    let role = |runs, signal| SeenRole { runs, signal };
    let gone = role(false, StandbySignal::Missing);
    let standby = role(true, StandbySignal::There);
    for seen in [gone, role(false, StandbySignal::Unknown), standby] {
        assert!(may(&Memory::default(), seen) && may(&memory(0), seen));
        assert!(!may(&memory(1), seen) && !may(&memory(2), seen));
    }
    // Nor one of which nobody can see what it is.
    for signal in [StandbySignal::Missing, StandbySignal::Unknown] {
        let seen = role(true, signal);
        assert!(!may(&Memory::default(), seen) && !may(&memory(0), seen));
    }
}

#[test]
fn a_question_says_who_asks_and_nothing_that_would_be_used() {
    let json = request().to_json();
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    let expected = [
        "epoch",
        "lock",
        "node",
        "resource",
        "revocable",
        "system",
        "term",
        "to",
        "version",
        "wanted",
        "within",
    ];
    assert_eq!(names, expected);
}

#[test]
fn questions_are_read_strictly_where_it_matters() {
    let good = request();
    let json = good.to_json();
    let read = |text: &str| PromiseRequest::of_json(text.as_bytes());
    assert_eq!(read(&json).unwrap(), good);
    let long = json.replace("pgsql_cls1", &"d".repeat(70_000));
    let changed = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        json.replace(from, to)
    };
    for text in [
        "",
        "null",
        "[]",
        &json[..json.len() - 1],
        &changed("\"version\":2", "\"version\":3"),
        &changed("\"promise\"", "\"anything\""),
        &changed("\"epoch\":10", "\"epoch\":-1"),
        &changed("\"epoch\":10", "\"epoch\":0"),
        &changed("\"epoch\":10", "\"epoch\":9223372036854775806"),
        &changed("\"epoch\":10", "\"epoch\":18446744073709551615"),
        &changed("\"term\":1", "\"term\":0"),
        &changed("\"term\":1", "\"term\":1e3"),
        &changed("\"pgsql\"", "\"../etc\""),
        &changed("\"node2\"", "\"node1\""),
        &changed("\"node2\"", "\"node2; rm\""),
        &format!("{json}{json}"),
        &long,
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    // Harmless: more than is known is passed over, and nobody holds the promotion lock for an hour.
    assert_eq!(read(&json.replacen('{', "{\"other\":1,", 1)).unwrap(), good);
    let patient = read(&changed("\"secs\":5", "\"secs\":3600")).unwrap();
    assert!(patient.within <= std::time::Duration::from_secs(30));
}

/// A node that was not upgraded yet asks: what it says beyond the question is not looked at, and the
/// answer has the form that it knows.
#[test]
fn a_question_of_the_version_before_is_answered() {
    let text = r#"{"version":1,"resource":"pgsql","to":"node2","node":"node1","term":1,"epoch":10,"ttl":{"secs":30,"nanos":0},"within":{"secs":5,"nanos":0},"conninfo":"host=evil","lock":"distlock:pgsql_cls1","pgdata":"/evil"}"#;
    let request = PromiseRequest::of_json(text.as_bytes()).unwrap();
    assert_eq!((request.term, request.epoch), (1, 10));
    request
        .is_for(&node(2), &[node(1), node(2)], &cluster())
        .unwrap();
    assert_eq!(
        promised(10).to_line(&request, &node(2), &cluster()),
        "{\"version\":1,\"node\":\"node2\",\"answer\":{\"promised\":{\"epoch\":10}}}\n"
    );
}

#[test]
fn a_node_answers_its_own_cluster_in_its_own_name() {
    let nodes = [node(1), node(2)];
    let wrong = |request: PromiseRequest, why: &str| {
        let text = request.is_for(&node(2), &nodes, &cluster()).unwrap_err();
        assert!(text.contains(why), "{text}");
    };
    request().is_for(&node(2), &nodes, &cluster()).unwrap();
    let mut other = request();
    other.to = node(3);
    wrong(other, "this is node2 and not node3");
    let mut other = request();
    other.node = node(3);
    wrong(other, "node_list");
    let mut other = request();
    other.cluster.lock = "distlock:pgsql_cls2".to_owned();
    wrong(other, "pgsql_cls2");
    let mut other = request();
    other.cluster.system = Some("8".to_owned());
    wrong(other, "system identifier");
    // A node whose data are being replaced has none, and can promise.
    let mut other = request();
    other.cluster.system = None;
    other.is_for(&node(2), &nodes, &cluster()).unwrap();
}

#[test]
fn an_answer_is_found_behind_what_a_shell_prints() {
    let line = promised(10).to_line(&request(), &node(2), &cluster());
    let read = |text: &str| PromiseAnswer::of_output(text.as_bytes(), &node(2), &cluster());
    assert_eq!(read(&line), Ok(promised(10)));
    for shell in ["Last login: Mon\n", "no line break", "\u{1b}[0m{}\n"] {
        assert_eq!(read(&format!("{shell}{line}bye\n")), Ok(promised(10)));
    }
    let relayed = PromiseAnswer::Relayed(Reply::NotApplied(owned(1, 1, &[1])));
    let text = relayed.to_line(&request(), &node(2), &cluster());
    assert_eq!(read(&text), Ok(relayed));
    let foreign = ClusterId {
        system: Some("8".to_owned()),
        ..cluster()
    };
    for (text, why) in [
        ("", "not one line"),
        ("yes\n", "yes"),
        ("{\"promised\":{\"epoch\":10}}", "not one line"),
        (&line.replace("node2", "node3"), "leads to the wrong node"),
        (
            &line.replace("\"version\":2", "\"version\":3"),
            "same version",
        ),
        (&line.replace("10", "\"10\""), "not understood"),
        (&line.replace("10", "-10"), "not understood"),
        (&line.replace("\"lock\"", "\"locks\""), "which cluster"),
        (&format!("{line}{line}"), "not one line"),
        (
            &promised(10).to_line(&request(), &node(2), &foreign),
            "another cluster",
        ),
        (&line.replace("10", &"1".repeat(70_000)), "bytes"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(why) && error.len() < 1000, "{error}");
    }
    assert!(PromiseAnswer::of_output(&[0xff, 0xfe], &node(2), &cluster()).is_err());
    // The answer to a trial is no promise.
    assert!(!tally_of(PromiseAnswer::Ready).cover(10));
    assert!(tally_of(promised(10)).cover(10));
}

fn tally_of(answer: PromiseAnswer) -> Promises {
    let ask = PromiseAsk {
        completes: true,
        node: node(1),
        peers: vec![node(2)],
        term: 1,
        epoch: 10,
        ttl: World::new().settings.ttl,
    };
    match tally(&ask, &[(node(2), answer)]) {
        PromiseVerdict::Promises(promises) => promises,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_guard_relies_on_promises_of_everybody_and_on_nothing_else() {
    let ask = |completes, peers: &[u8]| PromiseAsk {
        completes,
        node: node(1),
        peers: peers.iter().map(|n| node(*n)).collect(),
        term: 1,
        epoch: 10,
        ttl: World::new().settings.ttl,
    };
    let both = |first, second| [(node(2), first), (node(3), second)];
    let all = both(promised(10), promised(10));
    assert!(all_promised(&ask(true, &[2, 3]), &all));
    // The others were never asked.
    assert!(!all_promised(&ask(false, &[2, 3]), &all));
    assert!(!all_promised(&ask(true, &[2, 3]), &all[..1]));
    let refused = || PromiseAnswer::Refused("no".to_owned());
    let row = Register {
        term: 2,
        epoch: 11,
        ..Register::fresh()
    };
    let relayed = PromiseAnswer::Relayed(Reply::NotApplied(row));
    for other in [promised(9), refused(), PromiseAnswer::Ready, relayed] {
        let answers = both(promised(10), other);
        assert!(!all_promised(&ask(true, &[2, 3]), &answers), "{answers:?}");
    }
}
