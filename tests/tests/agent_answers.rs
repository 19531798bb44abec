//! What the agent answers without a database: its description, and what it does not know.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use pha_tests::agent::World;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn meta_data_is_what_the_documents_show_for_each_version_of_the_interface() {
    let world = World::empty().unwrap();
    for (minor, file) in [("0", "meta-data-1.0.xml"), ("1", "meta-data-1.1.xml")] {
        let outcome = world
            .call("meta-data")
            .env("OCF_RA_VERSION_MINOR", minor)
            .run()
            .is(0);
        assert_eq!(outcome.stdout, document(file), "{file}");
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
fn meta_data_needs_no_resource_no_cluster_and_no_sound_parameters() {
    let mut world = World::empty().unwrap();
    world.set("pgport", "many").set("rep_mode", "$(id)");
    let outcome = world
        .call("meta-data")
        .env("OCF_RESOURCE_INSTANCE", "")
        .run()
        .is(0);
    assert_eq!(outcome.stdout, document("meta-data-1.1.xml"));
    assert!(world.calls().unwrap().is_empty());
}

#[test]
fn methods_are_the_actions_of_the_meta_data() {
    let world = World::empty().unwrap();
    let methods = world.call("methods").run().is(0).stdout;
    let words: Vec<&str> = methods.split_whitespace().collect();
    for action in [
        "start",
        "stop",
        "status",
        "monitor",
        "promote",
        "demote",
        "notify",
        "meta-data",
        "validate-all",
        "methods",
    ] {
        assert!(words.contains(&action), "{action} is not in {words:?}");
    }
    let described = document("meta-data-1.1.xml");
    for action in words
        .iter()
        .filter(|word| !["methods", "status"].contains(word))
    {
        assert!(
            described.contains(&format!("<action name=\"{action}\"")),
            "{action} is not in the meta-data"
        );
    }
}

#[test]
fn an_unknown_action_is_not_implemented_and_says_what_is() {
    let world = World::empty().unwrap();
    for action in ["usage", "help", "", "Start", "start;id", "migrate_to"] {
        let outcome = world.call(action).run().is(3);
        assert!(outcome.reason().contains("validate-all"), "{outcome:?}");
    }
}

#[test]
fn a_call_that_is_not_pacemakers_is_told_what_is_missing() {
    let world = World::empty().unwrap();
    for action in ["start", "stop", "monitor"] {
        let call = world.call(action).env("OCF_RESOURCE_INSTANCE", "");
        call.run().is(2).because("OCF_RESOURCE_INSTANCE");
    }
    let call = world
        .call("monitor")
        .env("OCF_RESOURCE_INSTANCE", "pg sql;id");
    call.run().is(2).because("\"pg sql;id\"");
    let call = world.notify("sometimes", "start", "node1");
    call.run().is(2).because("\"sometimes\"");
    let call = world.call("monitor").meta("interval", "often");
    call.run().is(2).because("\"often\"");
    let call = world.call("monitor").meta("on_node", "a b");
    call.run().is(2).because("\"a b\"");
}

#[test]
fn a_probe_touches_nothing() {
    let mut world = World::empty().unwrap();
    world.replicated("sync");
    world
        .call("monitor")
        .timeout(Duration::from_secs(5))
        .run()
        .is(7);
    world.call("status").run().is(7);
    assert!(world.calls().unwrap().is_empty());
    for directory in ["state", "run", "tmp", "pg"] {
        let mut entries = std::fs::read_dir(world.dir.join(directory)).unwrap();
        assert!(entries.next().is_none(), "{directory}");
    }
}

#[test]
fn an_operation_whose_caller_ended_before_it_began_does_nothing() {
    let mut world = World::empty().unwrap();
    world.replicated("sync");
    for action in ["start", "stop", "promote", "demote", "monitor"] {
        let said = world
            .call(action)
            .when_the_first_has_ended("exec \"$0\" \"$1\"");
        assert!(
            said.contains("whoever started this operation is gone"),
            "{action}: {said}"
        );
    }
    assert!(world.calls().unwrap().is_empty());
}

#[test]
fn an_operation_by_hand_goes_on_where_only_the_first_of_its_session_is_gone() {
    let mut world = World::empty().unwrap();
    world.replicated("sync");
    let said = world
        .call("monitor")
        .when_the_first_has_ended("\"$0\" \"$1\"; echo status $?");
    assert!(said.contains("status 7"), "{said}");
}
