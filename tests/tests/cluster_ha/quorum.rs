//! A primary without quorum that nobody ends: Pacemaker lets it run, and no other part is left that could
//! fence its node.

use pha_testbed::ClusterBuilder;
use pha_tests::cluster::{Bed, PATIENCE, must, register, say, scenario};

use crate::commands::cls;
use crate::three::{judged, settle, whole};

/// Sets an option of the cluster.
fn set(bed: &Bed, ask: &str, name: &str, value: &str) {
    let (name, value) = (format!("--name={name}"), format!("--update={value}"));
    bed.run(ask, &["crm_attribute", &name, &value]);
}

#[test]
fn cluster_three_nodes_a_frozen_primary_is_left_alone() {
    let bed = Bed::up(
        ClusterBuilder::new("left-alone")
            .databases(3)
            .configured(true),
    );
    let before = settle(&bed, "one synchronous standby of two", |roles| {
        roles.other.is_some()
    });
    let (primary, other) = (before.primary.clone(), before.other.clone().unwrap());

    scenario("no-quorum-policy=freeze with fencing, and both other nodes lose their power");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    set(&bed, &primary, "no-quorum-policy", "freeze");
    // Nothing can fence here: what matters is that Pacemaker leaves the primary to that.
    set(&bed, &primary, "stonith-enabled", "true");
    must(bed.power_cut_all(&[&before.sync, &other]));
    let way = "corosync-quorumtool -e";
    bed.until("the log of the primary that says how to go on", || {
        let said = bed.logged(&primary, way);
        (said > 0)
            .then_some(())
            .ok_or_else(|| bed.monitor_text(&primary))
    });
    let row = must(register(&bed));
    assert!(row.holders.contains(&before.sync), "{row:?}");
    assert!(bed.server_processes(&primary) > 0, "it was stopped");
    let wrong = "so that Pacemaker stops PostgreSQL here";
    assert_eq!(bed.logged(&primary, wrong), 0);
    let said = cls(&bed, &primary, &["status"]);
    assert!(said.text().contains(way), "{said:?}");

    scenario("what the log says is typed: commits go on");
    let votes = bed.run(&primary, &["sh", "-c", "corosync-quorumtool -s || true"]);
    let total = votes
        .lines()
        .find_map(|line| line.strip_prefix("Total votes:"));
    let total = total.expect("the votes of this part").trim();
    say(&format!("votes of this part: {total}"));
    bed.run(&primary, &["corosync-quorumtool", "-e", total]);
    must(writer.wait_for(50, PATIENCE));
    let row = must(register(&bed));
    assert_eq!(row.holders.iter().collect::<Vec<_>>(), [&primary]);
    assert_eq!((&row.owner, row.term), (&primary, before.term));

    scenario("the others come back");
    set(&bed, &primary, "stonith-enabled", "false");
    set(&bed, &primary, "no-quorum-policy", "stop");
    must(bed.boot(&before.sync));
    must(bed.boot(&other));
    whole(&bed, &primary);
    must(writer.stop());
    judged(&bed);
}
