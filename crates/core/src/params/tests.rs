#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::together::validate_together;
use super::*;

const SYNC: [(&str, &str); 3] = [
    ("rep_mode", "sync"),
    ("node_list", "node1 node2"),
    ("master_ip", "192.168.0.236"),
];

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn parsed(given: &[(&str, &str)]) -> Params {
    Params::parse(given.iter().copied()).unwrap().0
}

fn refused(given: &[(&str, &str)]) -> ParamError {
    Params::parse(given.iter().copied()).unwrap_err()
}

fn together(given: &[(&str, &str)]) -> Result<(), ParamError> {
    let all = SYNC.iter().chain(given).copied();
    validate_together(&Params::parse(all).unwrap().0, &node("node1"))
}

#[test]
fn defaults_are_those_of_the_agent_it_descends_from() {
    let (params, warnings) = Params::parse([("config", "")]).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(params.pgctl, "/usr/bin/pg_ctl");
    assert_eq!(params.config, "/var/lib/pgsql/data/postgresql.conf");
    assert_eq!((params.pgport, params.pghost), (5432, None));
    assert_eq!(params.pgdb, "template1");
    assert_eq!(params.monitor_sql, "select now();");
    assert_eq!(params.stop_escalate, Duration::from_secs(90));
    assert_eq!(params.crm_attr_timeout, Duration::from_secs(5));
    assert_eq!(params.rep_mode, Mode::Standalone);
    assert_eq!(params.lock_service, LockService::Off);
    assert_eq!(params.distlock_ttl, Duration::from_secs(3));
    assert_eq!(params.tmpdir, "/var/lib/pgsql/tmp");
}

#[test]
fn every_declared_parameter_is_read_and_every_default_is_usable() {
    for spec in TABLE {
        let error = refused(&[(spec.name, "a\u{1}\0")]);
        assert_eq!(error.parameter, spec.name);
        assert_eq!(error.code, OcfCode::Configured);
        let text = error.to_string();
        assert_eq!(text.contains("***"), spec.secret, "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        if !spec.default.is_empty() {
            let (_, _, errors) = Params::parse_leniently([(spec.name, spec.default)]);
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}

#[test]
fn names_are_declared_once() {
    let mut names: Vec<&str> = TABLE.iter().map(|spec| spec.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
}

#[test]
fn values_of_every_kind_are_checked() {
    for (name, value) in [
        ("pgport", "0"),
        ("pgport", "65536"),
        ("pgport", "5432x"),
        ("pgport", "+1"),
        ("pgdata", "data"),
        ("pgdata", "/a/../b"),
        ("logfile", "/a\nb"),
        ("stop_escalate", "-1"),
        ("stop_escalate", "90 parsecs"),
        ("stop_escalate", "99999999999999999999h"),
        ("check_wal_receiver", "maybe"),
        ("rep_mode", "Sync"),
        ("node_list", "node1 node1"),
        ("node_list", "node1;reboot"),
        ("master_ip", "10.0.0.1 -x"),
        ("pghost", "a'b"),
        ("pgdba", "-u"),
        ("start_opt", "-c 'a"),
        ("replication_slot_name", "Slot"),
        ("restore_command", "cp x\nrestore_target='x'"),
        ("primary_conninfo_opt", "sslpassword=x"),
        ("primary_conninfo_opt", "application_name=x"),
        ("primary_conninfo_opt", "sslmode"),
        ("distlock_lockname", "t;drop:x"),
        ("distlock_lockname", "a.b.c:x"),
        ("distlock_lockname", "distlock:"),
        ("distlock_conninfo", "host"),
        ("distlock_ttl", "0"),
        (
            "distlock_lockservice_deadcheck_nodelist",
            "-oProxyCommand=x",
        ),
        ("xlog_check_count", "0"),
    ] {
        let error = refused(&[(name, value)]);
        assert_eq!(error.parameter, name, "{error}");
    }
    assert_eq!(
        refused(&[("pgport", "abc")]).to_string(),
        "parameter pgport=\"abc\" is not allowed: a whole number from 1 to 65535 is"
    );
}

#[test]
fn times_have_units_and_booleans_several_spellings() {
    for (text, milliseconds) in [
        ("90", 90_000),
        ("1500ms", 1500),
        ("2min", 120_000),
        ("1h", 3_600_000),
    ] {
        let params = parsed(&[("stop_escalate", text)]);
        assert_eq!(params.stop_escalate, Duration::from_millis(milliseconds));
    }
    for text in ["true", "YES", "1", "on", " True "] {
        assert!(parsed(&[("check_wal_receiver", text)]).check_wal_receiver);
    }
}

#[test]
fn options_are_words_and_reach_pg_ctls_shell_unexpanded() {
    let params = parsed(&[("start_opt", r#"-p 5433 -c log_line_prefix='%m $(id) `x`'"#)]);
    assert_eq!(
        params.start_opt,
        ["-p", "5433", "-c", "log_line_prefix=%m $(id) `x`"]
    );
    let argument = params.start_options().unwrap();
    assert_eq!(shlex::split(&argument).unwrap(), params.start_opt);
    assert!(
        argument.contains("'log_line_prefix=%m $(id) `x`'"),
        "{argument}"
    );
    assert_eq!(parsed(&[]).start_options(), None);
}

#[test]
fn unknown_and_deprecated_parameters_are_said_and_stop_nothing() {
    let given = [
        ("restart_on_promote", "true"),
        ("rep_moed", "sync"),
        ("a\nb", "x"),
    ];
    let (_, warnings) = Params::parse(given).unwrap();
    let text: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 3);
    assert!(
        text[0].contains("restart_on_promote: is accepted"),
        "{text:?}"
    );
    assert!(text[1].contains("rep_moed: is not known"), "{text:?}");
    assert!(text[2].starts_with("parameter a\\nb:"), "{text:?}");
}

#[test]
fn the_environment_holds_more_than_parameters() {
    let environment = [
        ("OCF_RESKEY_pgdata", "/data"),
        ("OCF_RESKEY_CRM_meta_timeout", "1"),
        ("OCF_RESKEY_crm_feature_set", "3.16.1"),
        ("PATH", "/bin"),
    ];
    let given: Vec<_> = Params::from_environment(environment).collect();
    assert_eq!(given, [("pgdata", "/data")]);
}

#[test]
fn the_lock_service_is_exactly_one() {
    let on = ("enable_distlock", "true");
    let conninfo = ("distlock_conninfo", "host=node3 password=geheim");
    let name = ("distlock_lockname", "distlock:cls1");
    let lock = (
        "distlock_lock_cmd",
        "/bin/distlock 'psql \"host=x password=geheim\"' lock distlock:x @owner",
    );
    let unlock = (
        "distlock_unlock_cmd",
        "/bin/distlock x unlock distlock:x @owner",
    );
    let builtin = parsed(&[on, conninfo, name]).lock_service;
    assert_eq!(builtin.arbiter(), Arbiter::Builtin);
    assert!(!format!("{builtin:?}").contains("geheim"));
    assert_eq!(
        builtin,
        LockService::Builtin {
            conninfo: Secret::new("host=node3 password=geheim"),
            table: "distlock".to_owned(),
            lockname: "cls1".to_owned()
        }
    );
    let external = parsed(&[on, lock, unlock]).lock_service;
    assert!(!format!("{external:?}").contains("geheim"));
    let LockService::External { lock: words, .. } = external.with_owner("pgsql_node 1") else {
        panic!("{external:?}");
    };
    assert_eq!(words.len(), 5);
    assert_eq!(words[1], "psql \"host=x password=geheim\"");
    assert_eq!(words[4], "pgsql_node 1");
    for given in [
        vec![on],
        vec![on, conninfo],
        vec![on, name],
        vec![on, lock],
        vec![on, unlock],
        vec![on, conninfo, name, lock, unlock],
        vec![on, conninfo, unlock],
    ] {
        let error = refused(&given).to_string();
        assert!(!error.contains("geheim"), "{error}");
        let lenient = Params::parse_leniently(given).0;
        assert_eq!(lenient.lock_service, LockService::Off);
    }
    let (off, warnings) = Params::parse([conninfo, name]).unwrap();
    assert_eq!(off.lock_service, LockService::Off);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn contradictions_are_found() {
    let none: [(&str, &str); 0] = [];
    assert_eq!(together(&none), Ok(()));
    let parameter = |given: &[(&str, &str)]| together(given).unwrap_err().parameter;
    let other =
        |given: &[(&str, &str)]| validate_together(&parsed(given), &node("node1")).unwrap_err();
    assert_eq!(other(&[("rep_mode", "slave")]).parameter, "master_ip");
    assert_eq!(
        other(&[("rep_mode", "async"), ("master_ip", "x")]).parameter,
        "node_list"
    );
    assert_eq!(parameter(&[("monitor_password", "x")]), "monitor_user");
    assert_eq!(parameter(&[("tmpdir", "/var/lib/pgsql/data/")]), "tmpdir");
    let absent = together(&[("node_list", "node2 node3")]).unwrap_err();
    assert_eq!(
        (absent.parameter, absent.code),
        ("node_list", OcfCode::Args)
    );
    let spelling = together(&[("node_list", "Node1 node2")]).unwrap_err();
    assert!(spelling.to_string().contains("write node1"), "{spelling}");
}

#[test]
fn slots_are_named_after_nodes_and_never_shared() {
    let params = parsed(&[("replication_slot_name", "sample")]);
    assert_eq!(
        params.slot_for(&node("Node-1.example.com")).unwrap(),
        "sample_node_1_example_com"
    );
    let slot = ("replication_slot_name", "s");
    let error = together(&[slot, ("node_list", "node1 a-b a.b")]).unwrap_err();
    assert!(error.to_string().contains("s_a_b"), "{error}");
    let long = "x".repeat(60);
    assert!(together(&[("replication_slot_name", long.as_str())]).is_err());
}

#[test]
fn secrets_are_in_no_debug_output() {
    let params = parsed(&[
        ("monitor_user", "m"),
        ("monitor_password", "geheim"),
        ("primary_conninfo_opt", "password=geheim sslmode=require"),
        ("enable_distlock", "1"),
        ("distlock_conninfo", "postgresql://u:geheim@host/db"),
        ("distlock_lockname", "x"),
    ]);
    let shown = format!("{params:?}");
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(shown.contains("sslmode"), "{shown}");
}

proptest! {
    #[test]
    fn no_value_panics_and_no_error_breaks_a_line(
        index in 0..TABLE.len(),
        value in prop_oneof![any::<String>(), "[ -~]{0,40}"],
    ) {
        let (_, _, errors) = Params::parse_leniently([(TABLE[index].name, value.as_str())]);
        for error in errors {
            prop_assert_eq!(error.to_string().lines().count(), 1);
        }
    }

    #[test]
    fn what_is_accepted_for_a_configuration_file_has_one_line(value in any::<String>()) {
        if let Ok((params, _)) = Params::parse([("restore_command", value.as_str())]) {
            let text = params.restore_command.unwrap_or_default();
            prop_assert!(!text.contains(['\n', '\r', '\0']));
        }
    }
}
