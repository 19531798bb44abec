//! Power cuts: of the standby, of the primary, of both.

use crate::commands::history;
use pha_tests::cluster::{Bed, PATIENCE, agree, must, register, scenario};

#[test]
fn cluster_power_cuts() {
    let bed = Bed::replicating("power");

    scenario("power cut of the standby: writes go on, and it comes back by itself");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut("node2"));
    let alone = bed.until("a register that names the primary alone", || {
        let row = register(&bed)?;
        let holders: Vec<&str> = row.holders.iter().map(String::as_str).collect();
        if holders == ["node1"] {
            Ok(row)
        } else {
            Err(format!("{row:?}"))
        }
    });
    must(writer.wait_for(50, PATIENCE));
    let without = bed.settle("node1", &[]);
    assert_eq!(without.register.term, alone.term, "no promotion");
    must(bed.boot("node2"));
    let with = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(with.register.term, alone.term, "no promotion");
    assert_eq!(
        (with.timeline, bed.fail_count("node1", "node1").as_str()),
        (1, "0")
    );

    scenario("power cut of the primary");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut("node1"));
    must(writer.wait_for(50, PATIENCE));
    let over = bed.conclude(writer, "node2", &[]);
    assert_eq!(over.timeline, 2);
    assert!(over.repl_info.starts_with("node2|1|"), "{over:?}");
    assert_eq!(over.register.term, with.register.term + 1);
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
    let events = history(&bed, "node1", &["degraded", "takeover"]);
    let [alone, takeover] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(alone["gone"], serde_json::json!(["node2"]));
    assert_eq!(
        (
            &takeover["from"],
            &takeover["node"],
            &takeover["cause"]["what"]
        ),
        (&"node1".into(), &"node2".into(), &"silent".into())
    );
    assert_eq!(takeover["lost"]["what"], "nothing");
    assert!(takeover["outage"]["at_most_seconds"].as_f64() > Some(0.0));

    scenario("both nodes power-cut at once and rebooted");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut_all(&["node1", "node2"]));
    must(bed.boot("node1"));
    must(bed.boot("node2"));
    let after = bed.conclude(writer, "node2", &["node1"]);
    assert_eq!(after.timeline, 2, "the primary came back in place");
}

#[test]
fn cluster_frozen_primary_wakes_up() {
    let bed = Bed::replicating("frozen");

    scenario("the primary's machine stands still, the standby takes over, the machine goes on");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.node("node1").freeze());
    must(writer.wait_for(50, PATIENCE));
    // It wakes up as a primary that knows nothing of what happened, with its clients' sessions.
    let stale = bed.writer_to("node1");
    must(bed.node("node1").thaw());
    bed.rejoin("node1", "node2");
    assert_eq!(must(stale.stop()), 0, "the replaced primary acknowledged");
    let after = bed.conclude(writer, "node2", &["node1"]);
    // Pacemaker, which finds two primaries when its parts meet, may demote the right one and promote
    // it again, in place. The old one has never been primary again: that would be a timeline more.
    assert!(after.register.term > before.register.term, "{after:?}");
    assert_eq!(after.timeline, before.timeline + 1);

    scenario("the cluster forgets what the nodes have said of themselves, and is told again");
    // As the coordinator of one part does with the nodes of the other one before the two meet: the
    // attribute daemon has the values still, and does not write what it takes for unchanged.
    let forget = |node: &str| {
        let status = format!("--xpath=//node_state[@uname='{node}']/transient_attributes");
        bed.run(node, &["cibadmin", "--delete", &status]);
    };
    forget("node1");
    bed.settle("node2", &["node1"]);
    // A primary without a score may lose its role to the other one.
    forget("node2");
    bed.until("a primary and a standby again", || {
        let state = agree(&bed)?;
        if state.standbys.len() == 1 {
            Ok(())
        } else {
            Err(format!("{state:?}"))
        }
    });
    let _ = bed.verdict();
}
