//! The network: a bridge in a namespace of its own, one port per node, and the faults on it.
//!
//! Faults are rules of a bridge table between *ports*. They hit everything that passes between
//! two nodes, whichever address it uses and ARP included, as a cut cable does; and they stay
//! when a node is powered off and on.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::layout::{NodeSpec, SUBNET};
use crate::procfs::ProcessId;
use crate::run::{Output, Run};

const TABLE: &str = "table bridge faults";

/// Packets from one port of the bridge to another that get lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) from: String,
    pub(crate) to: String,
    /// How many of a hundred.
    pub(crate) percent: u8,
    /// Only those of connections to this TCP or UDP port, whichever of the two offers it.
    pub(crate) service: Option<u16>,
}

impl Loss {
    /// The rules that make it.
    fn rules(&self) -> Vec<String> {
        let Loss {
            from,
            to,
            percent,
            service,
        } = self;
        let ends = format!("iifname \"{from}\" oifname \"{to}\"");
        let share = match percent {
            100 => String::new(),
            percent => format!(" numgen random mod 100 < {percent}"),
        };
        match service {
            None => vec![format!("{ends}{share} counter drop")],
            Some(service) => ["sport", "dport"]
                .map(|side| {
                    format!("{ends} ether type ip meta l4proto {{ tcp, udp }} th {side} {service}{share} counter drop")
                })
                .to_vec(),
        }
    }
}

/// The lines for nft that add a loss to those in force.
fn added(loss: &Loss) -> String {
    let rules = loss.rules().into_iter();
    rules
        .map(|rule| format!("add rule bridge faults forward {rule}\n"))
        .collect()
}

/// The network namespace with the bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fabric {
    keeper: ProcessId,
}

impl Fabric {
    /// The fabric that `keeper` holds.
    pub(crate) fn of(keeper: ProcessId) -> Fabric {
        Fabric { keeper }
    }

    fn inside(holder: ProcessId, place: &str, argv: &[&str]) -> Run {
        let shown: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let mut full: Vec<String> = [
            "nsenter",
            "--target",
            &holder.pid.to_string(),
            "--net",
            "--",
        ]
        .map(str::to_owned)
        .to_vec();
        full.extend(shown.iter().cloned());
        Run::wrapped(place, &shown, full).timeout(Duration::from_secs(15))
    }

    fn batch(holder: ProcessId, place: &str, lines: &str) -> Result<Output> {
        Fabric::inside(holder, place, &["ip", "-batch", "-"])
            .stdin(lines)
            .ok()
    }

    fn nft(self, rules: &str) -> Result<Output> {
        Fabric::inside(self.keeper, "the network", &["nft", "-f", "-"])
            .stdin(rules)
            .ok()
    }

    /// Makes the bridge and the empty table of faults.
    pub(crate) fn build(self) -> Result<()> {
        Fabric::batch(
            self.keeper,
            "the network",
            "link set lo up\nlink add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up\n",
        )?;
        self.heal()
    }

    /// Plugs the namespaces of `holder` into a port of the bridge.
    pub(crate) fn plug(
        self,
        port: &str,
        hardware: &str,
        address: &str,
        holder: ProcessId,
    ) -> Result<()> {
        self.unplug(port)?;
        let pid = holder.pid;
        Fabric::batch(
            self.keeper,
            "the network",
            &format!(
                "link add {port} type veth peer name eth0 address {hardware} netns {pid}\n\
                 link set {port} master br0 up\n"
            ),
        )?;
        Fabric::batch(
            holder,
            port,
            &format!(
                "link set lo up\naddr add {address}/24 broadcast {SUBNET}.255 dev eth0\nlink set eth0 up\n"
            ),
        )?;
        Ok(())
    }

    /// Pulls the cable of a port out, for good; a port that is not there needs nothing.
    pub(crate) fn unplug(self, port: &str) -> Result<()> {
        let output =
            Fabric::inside(self.keeper, "the network", &["ip", "link", "del", port]).output()?;
        if output.ok() || output.stderr.contains("Cannot find device") {
            return Ok(());
        }
        Err(Error::Asked(format!(
            "the network: cannot remove port {port}: {}",
            output.stderr.trim()
        )))
    }

    /// Takes a port's link down or up while the node runs on.
    pub(crate) fn carrier(self, port: &str, up: bool) -> Result<()> {
        let direction = if up { "up" } else { "down" };
        Fabric::inside(
            self.keeper,
            "the network",
            &["ip", "link", "set", port, direction],
        )
        .ok()?;
        Ok(())
    }

    /// Drops everything that `from` sends to `to`.
    pub(crate) fn drop_one_way(self, from: &str, to: &str) -> Result<()> {
        self.add(from, to, 100, None)
    }

    /// Drops what belongs to connections to TCP or UDP port `port` between `a` and `b`, whichever
    /// of the two offers it.
    pub(crate) fn drop_port(self, a: &str, b: &str, port: u16) -> Result<()> {
        self.add(a, b, 100, Some(port))?;
        self.add(b, a, 100, Some(port))
    }

    /// Drops `percent` of the packets between `a` and `b`, both ways.
    pub(crate) fn lose(self, a: &str, b: &str, percent: u8) -> Result<()> {
        self.add(a, b, percent, None)?;
        self.add(b, a, percent, None)
    }

    fn add(self, from: &str, to: &str, percent: u8, service: Option<u16>) -> Result<()> {
        let loss = Loss {
            from: from.to_owned(),
            to: to.to_owned(),
            percent,
            service,
        };
        self.nft(&added(&loss)).map(drop)
    }

    /// Removes every rule.
    pub(crate) fn heal(self) -> Result<()> {
        self.only(&[])
    }

    /// Makes these losses the only rules, in one transaction: one that stays is never lifted.
    pub(crate) fn only(self, losses: &[Loss]) -> Result<()> {
        let mut rules = format!(
            "{TABLE} {{}}\ndelete {TABLE}\n{TABLE} {{\nchain forward {{\ntype filter hook forward priority 0; policy accept;\n}}\n}}\n"
        );
        rules.extend(losses.iter().map(added));
        self.nft(&rules).map(drop)
    }

    /// The rules in force, as nft prints them.
    pub(crate) fn rules(self) -> Result<String> {
        Ok(Fabric::inside(
            self.keeper,
            "the network",
            &["nft", "list", "table", "bridge", "faults"],
        )
        .ok()?
        .stdout)
    }

    /// Delay, jitter, loss and the like on what is sent to and by a port (`tc-netem(8)` words).
    pub(crate) fn netem(self, node: &NodeSpec, words: &[&str]) -> Result<()> {
        let mut argv = vec!["tc", "qdisc", "replace", "dev", &node.name, "root", "netem"];
        argv.extend(words);
        let output = Fabric::inside(self.keeper, "the network", &argv).output()?;
        if output.ok() {
            return Ok(());
        }
        Err(Error::Asked(format!(
            "the network: tc netem on {}: {}; the kernel needs sch_netem (CONFIG_NET_SCH_NETEM)",
            node.name,
            output.stderr.trim()
        )))
    }

    /// Takes the delays of a port away.
    pub(crate) fn no_netem(self, port: &str) -> Result<()> {
        let _ = Fabric::inside(
            self.keeper,
            "the network",
            &["tc", "qdisc", "del", "dev", port, "root"],
        )
        .output()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Loss, added};

    #[test]
    fn a_loss_is_one_rule_and_one_of_a_service_hits_both_ends_of_its_connections() {
        let mut loss = Loss {
            from: "a".to_owned(),
            to: "b".to_owned(),
            percent: 30,
            service: None,
        };
        assert_eq!(
            added(&loss),
            "add rule bridge faults forward iifname \"a\" oifname \"b\" numgen random mod 100 < 30 counter drop\n"
        );
        (loss.percent, loss.service) = (100, Some(22));
        let rules = added(&loss);
        for side in ["sport", "dport"] {
            let rule = format!("th {side} 22 counter drop\n");
            assert!(rules.contains(&rule), "{rules}");
        }
        assert_eq!(rules.lines().count(), 2);
    }
}
