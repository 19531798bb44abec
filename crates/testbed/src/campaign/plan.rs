//! What a campaign does and when: a pure function of its seed, and a file to repeat it from.

use serde::{Deserialize, Serialize};

use super::dice::Dice;
use super::fault::Step;
use super::menu::Menu;

/// Everything that a campaign does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What it was made from.
    pub seed: u64,
    /// Database nodes.
    pub nodes: u8,
    /// Clients that write through the writer VIP.
    pub writers: u32,
    /// Size of the data disks in MiB where they are to be filled.
    pub data_disk_mib: Option<u32>,
    /// Kinds of faults that were drawn more often, by the beginnings of their names.
    #[serde(default)]
    pub favoured: Vec<String>,
    /// Faults, healing and the checker, again and again.
    pub rounds: Vec<Round>,
}

/// The faults between two states of health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// In the order of their beginning.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64, nodes: u8, writers: u32, disk: Option<u32>, rounds: usize) -> Plan {
        Plan::favouring(&[], seed, nodes, writers, disk, rounds)
    }

    /// The plan of a seed, in which more than half of the faults are of the kinds whose names begin with one
    /// of these words.
    #[must_use]
    pub fn favouring(
        favoured: &[String],
        seed: u64,
        nodes: u8,
        writers: u32,
        disk: Option<u32>,
        rounds: usize,
    ) -> Plan {
        // So that a seed is another campaign with another number of nodes.
        let mut dice = Dice::new(seed ^ (u64::from(nodes) << 56));
        let mut number = 0;
        let menu = Menu {
            nodes,
            disk: disk.is_some(),
            favoured,
        };
        let rounds = (0..rounds)
            .map(|_| Round {
                steps: menu.steps(&mut dice, &mut number),
            })
            .collect();
        Plan {
            seed,
            nodes,
            writers,
            data_disk_mib: disk,
            favoured: favoured.to_vec(),
            rounds,
        }
    }

    /// The same with the steps of these numbers alone; rounds that become empty are left out.
    #[must_use]
    pub fn only(mut self, numbers: &[std::ops::RangeInclusive<u32>]) -> Plan {
        for round in &mut self.rounds {
            round
                .steps
                .retain(|step| numbers.iter().any(|range| range.contains(&step.number)));
        }
        self.rounds.retain(|round| !round.steps.is_empty());
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use super::Plan;
    use crate::campaign::fault::{Fault, Party, ROUND_MS};
    use crate::layout::{LOCK_PORT, PGPORT};

    fn plan(seed: u64) -> Plan {
        let nodes = u8::try_from(2 + seed % 2).unwrap();
        Plan::new(seed, nodes, 3, Some(512), 5)
    }

    #[test]
    fn a_seed_is_a_plan_and_a_plan_is_a_file() {
        for seed in 0..300 {
            let made = plan(seed);
            assert_eq!(made, plan(seed));
            assert_ne!(made.rounds, plan(seed + 2).rounds, "seed {seed}");
            let text = serde_json::to_string_pretty(&made).unwrap();
            assert_eq!(made, serde_json::from_str(&text).unwrap());
        }
    }

    #[test]
    fn a_longer_campaign_begins_like_a_shorter_one() {
        let (short, long) = (Plan::new(9, 2, 3, None, 2), Plan::new(9, 2, 3, None, 6));
        assert_eq!(short.rounds, long.rounds[..2]);
    }

    #[test]
    fn every_fault_ends_within_its_round_and_steps_are_numbered_through() {
        for seed in 0..300 {
            let mut expected = 1;
            for round in plan(seed).rounds {
                assert!(round.steps.is_sorted_by_key(|step| step.at_ms));
                for step in round.steps {
                    assert!(step.at_ms + step.for_ms <= ROUND_MS, "{step:?}");
                    assert_eq!(step.number, expected);
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn every_kind_of_fault_is_used_and_faults_overlap() {
        let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
        let mut overlapping = 0;
        for seed in 0..300 {
            for round in plan(seed).rounds {
                for step in &round.steps {
                    *kinds.entry(step.fault.kind()).or_default() += 1;
                }
                let pairs = round.steps.windows(2);
                overlapping += pairs
                    .filter(|pair| pair[1].at_ms < pair[0].at_ms + pair[0].for_ms)
                    .count();
            }
        }
        // Thirty-seven kinds of one form, two signals to each of fourteen processes, three things done to
        // each of six operations, three refusals, four ports, eight commands.
        assert_eq!(kinds.len(), 98, "{kinds:#?}");
        assert!(overlapping > 1000, "{overlapping}");
    }

    #[test]
    fn favoured_kinds_are_drawn_more_often_and_others_too() {
        let words = ["copied".to_owned(), "hang agent's m".to_owned()];
        let plan = Plan::favouring(&words, 7, 2, 3, None, 40);
        let steps = plan.rounds.iter().flat_map(|round| &round.steps);
        let kinds: Vec<String> = steps.map(|step| step.fault.kind()).collect();
        let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
        let (copied, hanging) = (count("copied standby"), count("hang agent's monitor"));
        assert!(copied > 40 && hanging > 40, "{copied} {hanging}");
        assert!(copied + hanging + 60 < kinds.len(), "of {}", kinds.len());
    }

    #[test]
    fn the_lock_service_is_cut_off_one_way_in_both_directions() {
        let mut ways = BTreeSet::new();
        for seed in 0..300 {
            for step in plan(seed).rounds.into_iter().flat_map(|round| round.steps) {
                if let Fault::Cut { a, b, one_way } = step.fault
                    && one_way
                {
                    ways.insert((a == Party::Lock, b == Party::Lock));
                }
            }
        }
        let both = [(true, false), (false, true)];
        assert!(both.iter().all(|way| ways.contains(way)), "{ways:?}");
    }

    #[test]
    fn a_port_is_cut_only_where_it_is_offered() {
        for seed in 0..300 {
            for step in plan(seed).rounds.into_iter().flat_map(|round| round.steps) {
                if let Fault::CutPort { a, b, port } = step.fault {
                    let lock = a == Party::Lock || b == Party::Lock;
                    assert_eq!(lock, port == LOCK_PORT, "{step:?}");
                    let client = a == Party::Client || b == Party::Client;
                    assert!(!client || port == PGPORT, "{step:?}");
                }
            }
        }
    }

    #[test]
    fn a_full_disk_needs_one_of_limited_size() {
        for seed in 0..300 {
            let steps = Plan::new(seed, 2, 3, None, 5).rounds.into_iter();
            for step in steps.flat_map(|round| round.steps) {
                let full = matches!(step.fault, Fault::FillDisk(_) | Fault::LockFillDisk);
                assert!(!full, "{step:?}");
            }
        }
    }

    #[test]
    fn steps_can_be_picked_out() {
        let whole = plan(4);
        let some = whole.clone().only(&[2..=3, 7..=7]);
        let numbers: BTreeSet<u32> = some
            .rounds
            .iter()
            .flat_map(|round| round.steps.iter().map(|step| step.number))
            .collect();
        assert_eq!(numbers, [2, 3, 7].into());
        assert!(some.rounds.iter().all(|round| !round.steps.is_empty()));
    }
}
