//! Every parser of text from outside answers 10 MiB of the worst that was thought of in a time that a
//! monitor has: with what it read, or with a sentence.
//!
//! A parser that compares everything with everything needs minutes for these, not seconds, so that a
//! generous limit tells the two apart on a busy machine as well. It counts the time that this thread
//! has computed, not the time that others took from it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::time::Duration;

use pha_core::cluster::Cluster;
use pha_core::names::{NodeAttribute, ResourceName};
use pha_core::params::Params;
use pha_core::parse::cib::{Cib, CibError};
use pha_core::parse::conffile::{self, Ensured};
use pha_core::parse::{controldata, history, standby_names::StandbyNames, waldump};
use pha_core::register::{PromiseAnswer, PromiseRequest};
use pha_core::timeline::TimelineId;

/// So many bytes of everything.
const SIZE: usize = 10 << 20;

/// How much computing one answer may take, without optimisation and with some to spare; a monitor has a
/// multiple of it.
const LIMIT: Duration = Duration::from_secs(10);

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

fn filled(piece: &str) -> String {
    piece.repeat(SIZE / piece.len())
}

/// Different pieces, each made of a number.
fn numbered(piece: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() > SIZE {
            break;
        }
        text.push_str(&piece(number));
    }
    text
}

#[test]
fn repeated_lines_of_a_configuration_are_taken_out_in_one_pass() {
    let text = filled("primary_conninfo = 'host=192.0.2.1'\n");
    let changed = soon("settings", || {
        conffile::without_settings(text.as_bytes(), &["primary_conninfo"])
    });
    assert_eq!(changed, Ok(Ensured::Changed(Vec::new())));
    let text = filled("include_if_exists '/own'\n");
    let changed = soon("inclusions", || {
        conffile::ensure_include(text.as_bytes(), "/own", &[])
    });
    let Ok(Ensured::Changed(text)) = changed else {
        panic!("{changed:?}");
    };
    assert_eq!(text.split(|byte| *byte == b'\n').count(), 2);
    let text = format!("{}=", filled("'x"));
    let error = soon("one line", || conffile::scan(text.as_bytes())).unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
}

fn cib(properties: &str, nodes: &str, resources: &str, attributes: &str) -> String {
    format!(
        "<cib epoch=\"1\" have-quorum=\"1\"><configuration><crm_config>{properties}</crm_config>\
         <nodes><node id=\"1\" uname=\"node1\"/>{nodes}</nodes><resources>{resources}</resources>\
         </configuration><status><node_state id=\"1\" uname=\"node1\" in_ccm=\"true\" crmd=\"online\" \
         join=\"member\"><transient_attributes><instance_attributes id=\"x\">{attributes}\
         </instance_attributes></transient_attributes></node_state></status></cib>"
    )
}

fn pgsql() -> ResourceName {
    "pgsql".parse().unwrap()
}

fn view(what: &str, text: &str) -> Result<Cluster, CibError> {
    soon(what, || {
        Cib::parse(text).map(|cib| Cluster::of_cib(&cib, &pgsql()))
    })
}

#[test]
fn attributes_of_megabytes_are_read_and_none_is_shown_whole() {
    let value = "9".repeat(2 << 20);
    let attributes = NodeAttribute::ALL
        .iter()
        .fold(String::new(), |mut text, name| {
            let _ = write!(text, "<nvpair name=\"pgsql-{name}\" value=\"{value}\"/>");
            text
        });
    let cluster = view("values", &cib("", "", "", &attributes)).unwrap();
    let node = &cluster.nodes[&"node1".parse().unwrap()];
    assert!(node.unfit.is_some(), "it stays unfit, whatever the reason");
    let guard = node.guard.as_ref().map(ToString::to_string);
    let unfit = node.unfit.as_ref().map(|unfit| unfit.why.clone());
    let words = [&unfit, &guard, &node.receiver];
    let words = words.into_iter().flatten().chain(&cluster.malformed);
    for text in words.clone() {
        assert!(text.len() < 600, "{} bytes", text.len());
    }
    assert_eq!(words.count(), 3 + 5);
}

#[test]
fn no_shape_of_the_information_base_keeps_a_monitor_busy() {
    let pair = |name: &str| format!("<nvpair name=\"{name}\" value=\"1\"/>");
    let refused = |what: &str, text: &str| view(what, text).unwrap_err().to_string();
    let many = numbered(|number| format!(" a{number}=\"\""));
    let error = refused("one element", &cib("", "", "", &format!("<nvpair{many}/>")));
    assert!(error.contains("more than 200 attributes"), "{error}");
    let many = numbered(|number| format!(" xmlns:a{number}=\"b{number}\""));
    let error = refused("namespaces", &cib("", "", "", &format!("<nvpair{many}/>")));
    assert!(error.contains("more than 200 attributes"), "{error}");
    let many = numbered(|number| format!("<a{number} xmlns=\"b{number}\">"));
    let error = refused("nested namespaces", &cib("", "", "", &many));
    assert!(error.contains("20 XML namespaces"), "{error}");
    let error = refused("elements", &cib("", "", "", &filled("<a/>")));
    assert!(error.contains("1000000 elements"), "{error}");
    refused("depth", &cib("", "", "", &filled("<a>")));
    let error = refused(
        "nodes",
        &cib("", &filled("<node id=\"1\" uname=\"n\"/>"), "", ""),
    );
    assert!(error.contains("1000 nodes"), "{error}");
    let one = filled("<primitive id=\"a\"/>");
    let error = refused("resources", &cib("", "", &one, ""));
    assert!(error.contains("10000 resources"), "{error}");
    // One long value that everything refers to.
    let long = format!(
        "<nvpair id=\"z\" name=\"a\" value=\"{}\"/>",
        "x".repeat(1 << 20)
    );
    let refer = "<nvpair id-ref=\"z\"/>".repeat(100_000);
    let error = refused("references", &cib("", "", "", &(long + &refer)));
    assert!(error.contains("64 MiB of values"), "{error}");
    // A group of many, with much to say of each.
    let meta: String = (0..50_000)
        .map(|number| pair(&format!("m{number}")))
        .collect();
    let inside = "<primitive id=\"a\"/>".repeat(9_000);
    let group = format!(
        "<group id=\"g\"><meta_attributes id=\"m\">{meta}</meta_attributes>{inside}</group>"
    );
    view("group", &cib("", "", &group, "")).unwrap();
    // Whatever Pacemaker would not write is skipped where it stands.
    let noise = format!(
        "<!-- <a {many}> --><![CDATA[<b {many}>]]>",
        many = "a='' ".repeat(300)
    );
    view("noise", &cib(&noise, "", "", "")).unwrap();
}

#[test]
fn references_and_fail_counts_are_looked_up_and_not_searched_for() {
    let refer = numbered(|number| format!("<nvpair id-ref=\"z{number}\"/>"));
    view("references", &cib("", "", "", &refer)).unwrap();
    let resources: String = (0..9_999)
        .map(|n| format!("<primitive id=\"b{n}\"/>"))
        .collect();
    let counts = numbered(|n| format!("<nvpair name=\"fail-count-a{n}#monitor\" value=\"1\"/>"));
    let cluster = view("fail counts", &cib("", "", &resources, &counts)).unwrap();
    assert!(cluster.failures.len() > 100_000);
}

#[test]
fn what_programs_print_is_read_in_one_pass() {
    let own = TimelineId::new(u32::MAX).unwrap();
    let lines = numbered(|number| format!("{}\t0/1\n", number + 1));
    let read = soon("history", || history::parse(own, &lines)).unwrap();
    assert!(read.entries.len() > 100_000);
    let lines = numbered(|number| format!("{number}: x\n"));
    soon("pg_controldata", || controldata::parse(&lines)).unwrap_err();
    let lines = filled("rmgr: x\n");
    soon("pg_waldump", || {
        waldump::last_record_line(&lines).map(str::len)
    })
    .unwrap();
    for (text, accepted) in [("a,", false), ("\"\"\"\"", true), ("(", false)] {
        let text = filled(text);
        let read = soon("standby names", || text.parse::<StandbyNames>());
        assert_eq!(read.is_ok(), accepted, "{}", &text[..10]);
    }
}

#[test]
fn a_promise_and_a_connection_string_have_a_largest_size() {
    let question = soon("request", || {
        PromiseRequest::of_json(filled("[").as_bytes())
    });
    assert!(question.unwrap_err().to_string().contains("65536"));
    let cluster = pha_core::register::ClusterId {
        lock: "lock".to_owned(),
        system: None,
    };
    for text in [filled("[["), filled("\n"), filled("expgsql")] {
        let node = "node1".parse().unwrap();
        let answer = soon("answer", || {
            PromiseAnswer::of_output(text.as_bytes(), &node, &cluster)
        });
        assert!(answer.unwrap_err().to_string().len() < 600);
    }
    let many = numbered(|number| format!("k{number}=x "));
    let error = soon("connection string", || pha_core::conninfo::parse(&many)).unwrap_err();
    assert!(error.to_string().contains("64 KiB"), "{error}");
    let many = numbered(|number| format!("n{number} "));
    let given = [("rep_mode", "sync"), ("node_list", many.as_str())];
    soon("node_list", || drop(Params::parse(given)));
}
