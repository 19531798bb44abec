//! A short campaign of overlapping faults on a real cluster, of two nodes and of three. The seeds
//! are fixed: what they find is a change of the product, not of the dice. Needs root.

use pha_testbed::campaign::{Plan, play};
use pha_testbed::{ClusterBuilder, Progress, layout};
use pha_tests::cluster::{Bed, must, say, scenario};

/// One round from this seed: nothing acknowledged is lost or acknowledged twice, no replaced
/// primary acknowledges, and the cluster comes to rest with what the manual tells an operator.
fn campaign(name: &str, nodes: u8, seed: u64) {
    let builder = ClusterBuilder::new(name)
        .databases(nodes)
        .own_clocks()
        .archive();
    let bed = Bed::up(builder.configured(true));
    let plan = Plan::new(seed, nodes, 2, None, 1);
    let planned: usize = plan.rounds.iter().map(|round| round.steps.len()).sum();
    scenario(&format!("{planned} faults on {nodes} nodes, seed {seed}"));
    let story = must(play(&bed, &plan, &Progress::on_stderr(), None));
    say(&story.to_string());
    if let Some(trouble) = story.trouble() {
        let logs = layout::base().join("logs").join(bed.name());
        must(story.write(&logs));
        panic!("{trouble}; the timeline is in {}", logs.display());
    }
    // A step may find its victim without power; a campaign that did nothing has shown nothing.
    assert!(story.faults() * 2 > planned, "{story}");
}

#[test]
fn cluster_campaign_of_two_nodes() {
    campaign("campaign", 2, 2);
}

#[test]
fn cluster_campaign_of_three_nodes() {
    campaign("campaign3", 3, 2);
}
