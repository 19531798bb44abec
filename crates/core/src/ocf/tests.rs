#![allow(clippy::unwrap_used)]

use super::*;

fn nodes(names: &[&str]) -> Vec<NodeName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

const CLONE: [(&str, &str); 6] = [
    ("OCF_RESOURCE_INSTANCE", "pgsql"),
    ("OCF_RESKEY_CRM_meta_timeout", "60000"),
    ("OCF_RESKEY_CRM_meta_clone", "0"),
    ("OCF_RESKEY_CRM_meta_notify", "true"),
    ("OCF_RESKEY_CRM_meta_master_max", "1"),
    ("OCF_RESKEY_CRM_meta_on_node", "node2"),
];

#[test]
fn a_monitor_without_interval_is_a_probe() {
    let probe = OcfContext::parse("monitor", CLONE).unwrap();
    assert!(probe.is_probe && probe.is_clone && probe.notify);
    assert_eq!(probe.timeout, Duration::from_secs(60));
    assert_eq!(probe.promoted_max, Some(1));
    assert_eq!(probe.on_node.unwrap().as_str(), "node2");
    let interval = ("OCF_RESKEY_CRM_meta_interval", "4000");
    let monitor = OcfContext::parse("monitor", CLONE.into_iter().chain([interval])).unwrap();
    assert!(!monitor.is_probe);
    assert_eq!(monitor.interval, Some(Duration::from_secs(4)));
    let zero = ("OCF_RESKEY_CRM_meta_interval", "0");
    assert!(
        OcfContext::parse("monitor", CLONE.into_iter().chain([zero]))
            .unwrap()
            .is_probe
    );
    assert!(!OcfContext::parse("start", CLONE).unwrap().is_probe);
}

#[test]
fn notifications_are_read_in_both_spellings() {
    let notification = |promoted: &str, unpromoted: &str| {
        let environment = [
            ("notify_type".to_owned(), "post"),
            ("notify_operation".to_owned(), "promote"),
            ("notify_promote_uname".to_owned(), "node2"),
            ("notify_start_uname".to_owned(), " "),
            (format!("notify_{promoted}_uname"), " "),
            (format!("notify_{unpromoted}_uname"), "node1 node2"),
        ]
        .map(|(name, value)| (format!("OCF_RESKEY_CRM_meta_{name}"), value.to_owned()));
        let common = CLONE.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let context = OcfContext::parse("notify", common.into_iter().chain(environment)).unwrap();
        assert_eq!(context.lists.promote, nodes(&["node2"]));
        context.notification.unwrap()
    };
    let new = notification("promoted", "unpromoted");
    assert_eq!(new, notification("master", "slave"));
    assert_eq!((new.when, new.operation), (When::Post, Operation::Promote));
    assert_eq!(new.unpromoted, nodes(&["node1", "node2"]));
    assert_eq!(new.promote, nodes(&["node2"]));
    assert!(new.start.is_empty() && new.promoted.is_empty());
}

#[test]
fn a_broken_environment_is_refused_with_the_fitting_code() {
    let code = |action: &str, more: &[(&str, &str)]| {
        let environment = CLONE.into_iter().chain(more.iter().copied());
        OcfContext::parse(action, environment).unwrap_err().code()
    };
    assert_eq!(code("reload", &[]), OcfCode::Unimplemented);
    assert_eq!(code("notify", &[]), OcfCode::Args);
    assert_eq!(
        code("start", &[("OCF_RESOURCE_INSTANCE", "a b")]),
        OcfCode::Args
    );
    assert_eq!(
        code("start", &[("OCF_RESKEY_CRM_meta_timeout", "20s")]),
        OcfCode::Args
    );
    assert_eq!(
        code(
            "start",
            &[("OCF_RESKEY_CRM_meta_notify_start_uname", "a;b")]
        ),
        OcfCode::Args
    );
    let none: [(&str, &str); 0] = [];
    assert_eq!(
        OcfContext::parse("start", none).unwrap_err(),
        OcfError::NoResource
    );
    assert_eq!(
        OcfContext::parse("meta-data", none).unwrap().feature,
        (1, 1)
    );
}

#[test]
fn codes_are_the_standards() {
    let codes: Vec<u8> = OcfCode::ALL.iter().map(|code| code.code()).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 190, 191]);
    assert_eq!(OcfCode::from_code(191), Some(OcfCode::DegradedPromoted));
    assert_eq!(OcfCode::from_code(10), None);
    assert_eq!(OcfCode::Configured.to_string(), "OCF_ERR_CONFIGURED (6)");
}
