//! What `corosync-cpgtool` says: which processes of which nodes have joined which closed process group of
//! corosync (`corosync-cpgtool(8)`, `cpg_overview(3)`).
//!
//! Four of Pacemaker's daemons each join a group, on every node, from 2.0 to 3.0 under the same names. So any node
//! can tell where one of them has ended, which the cluster information base does not say: a node without its
//! attribute manager is a healthy member there, whose scores and answers nobody hears any more.

use std::collections::{BTreeMap, BTreeSet};

/// Pacemaker's daemons, and the group of each.
const DAEMONS: [(&str, &str); 4] = [
    ("cib", "pacemaker-based"),
    ("stonith-ng", "pacemaker-fenced"),
    ("attrd", "pacemaker-attrd"),
    ("crmd", "pacemaker-controld"),
];

/// The groups, and the nodes (corosync's number of each) of which a process has joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups(BTreeMap<String, BTreeSet<u32>>);

impl Groups {
    /// Reads what `corosync-cpgtool` prints: a heading, then for each group a line with its name, in which bytes that
    /// cannot be printed are escaped, and for each process an indented line with its number, the node's number and
    /// the node's address. Lines that are neither are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut groups: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        let mut group = None;
        for line in text.lines().skip(1) {
            if !line.starts_with([' ', '\t']) {
                let name = line.trim_end().trim_end_matches("\\x00").to_owned();
                groups.entry(name.clone()).or_default();
                group = Some(name);
                continue;
            }
            let node = line.split_whitespace().nth(1);
            // A number of more than 31 bits is printed as a negative one.
            let node = node.and_then(|text| {
                let signed = text
                    .parse::<i32>()
                    .map(|number| u32::from_ne_bytes(number.to_ne_bytes()));
                signed.or_else(|_| text.parse()).ok()
            });
            if let (Some(node), Some(group)) = (node, &group) {
                groups.entry(group.clone()).or_default().insert(node);
            }
        }
        Self(groups)
    }

    /// The daemons that this node lacks although another one of its daemons runs. `id` is the node's number in
    /// the cluster information base.
    #[must_use]
    pub fn missing(&self, id: &str) -> Vec<&'static str> {
        let Ok(id) = id.parse::<u32>() else {
            return Vec::new();
        };
        let joined = |group: &str| self.0.get(group).is_some_and(|nodes| nodes.contains(&id));
        let missing = DAEMONS.iter().filter(|(group, _)| !joined(group));
        let missing: Vec<&str> = missing.map(|(_, daemon)| *daemon).collect();
        if missing.len() == DAEMONS.len() {
            return Vec::new();
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Group Name\t       PID\t   Node ID\n\
        crmd\\x00\n\
        \t\t        72\t         1 (192.168.150.11)\n\
        \t\t        74\t         2 (192.168.150.12)\n\
        attrd\\x00\n\
        \t\t        70\t         1 (192.168.150.11)\n\
        stonith-ng\\x00\n\
        \t\t        68\t         1 (192.168.150.11)\n\
        \t\t        70\t         2 (192.168.150.12)\n\
        cib\\x00\n\
        \t\t        67\t         1 (192.168.150.11)\n\
        \t\t        69\t         2 (192.168.150.12)\n";

    #[test]
    fn a_daemon_that_has_ended_is_missing_where_others_run() {
        let groups = Groups::parse(SAID);
        assert!(groups.missing("1").is_empty());
        assert_eq!(groups.missing("2"), ["pacemaker-attrd"]);
        // Pacemaker does not run there at all, or it is no node of corosync.
        assert!(groups.missing("3").is_empty());
        assert!(groups.missing("remote1").is_empty());
    }

    #[test]
    fn a_group_whose_last_process_has_ended_is_missing_everywhere() {
        let none = SAID.replace(
            "attrd\\x00\n\t\t        70\t         1 (192.168.150.11)\n",
            "",
        );
        let groups = Groups::parse(&none);
        assert_eq!(groups.missing("1"), ["pacemaker-attrd"]);
        assert_eq!(groups.missing("2"), ["pacemaker-attrd"]);
    }

    #[test]
    fn numbers_of_32_bits_and_texts_that_are_no_answer_are_taken() {
        let large = "Group Name\tPID\tNode ID\ncib\\x00\n\t\t 67\t-1062692096 (10.0.0.1)\n";
        assert_eq!(Groups::parse(large).missing("3232275200").len(), 3);
        for text in ["", "\n", "\t\t1 1\n\t\t1 1\n", "x\n\t\n  7\n"] {
            assert!(Groups::parse(text).missing("1").is_empty(), "{text:?}");
        }
    }
}
