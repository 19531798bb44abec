//! Faults of the network between nodes; those of single nodes are in [`crate::node`].

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::CLIENT;

impl Cluster {
    fn port(&self, name: &str) -> Result<String> {
        if name == CLIENT {
            return Ok(name.to_owned());
        }
        self.find(name).map(|node| node.name().to_owned())
    }

    /// Cuts everything between two nodes, both ways. `client` names the writers' end.
    ///
    /// # Errors
    /// A name is unknown or the kernel refused the rule.
    pub fn cut(&self, a: &str, b: &str) -> Result<()> {
        self.cut_one_way(a, b)?;
        self.cut_one_way(b, a)
    }

    /// Drops what `from` sends to `to`; the other way still works.
    ///
    /// # Errors
    /// As [`Cluster::cut`].
    pub fn cut_one_way(&self, from: &str, to: &str) -> Result<()> {
        self.fabric()
            .drop_one_way(&self.port(from)?, &self.port(to)?)
    }

    /// Cuts one TCP or UDP port between two nodes, whichever of them offers it.
    ///
    /// # Errors
    /// As [`Cluster::cut`].
    pub fn cut_port(&self, a: &str, b: &str, port: u16) -> Result<()> {
        self.fabric()
            .drop_port(&self.port(a)?, &self.port(b)?, port)
    }

    /// Cuts a node off from everybody, the client included.
    ///
    /// # Errors
    /// As [`Cluster::cut`].
    pub fn isolate(&self, node: &str) -> Result<()> {
        let others = self
            .nodes()
            .into_iter()
            .map(|other| other.name().to_owned());
        others
            .chain([CLIENT.to_owned()])
            .filter(|other| other != node)
            .try_for_each(|other| self.cut(node, &other))
    }

    /// Loses this share of the packets between two nodes, both ways.
    ///
    /// # Errors
    /// As [`Cluster::cut`].
    pub fn lose(&self, a: &str, b: &str, percent: u8) -> Result<()> {
        self.fabric().lose(&self.port(a)?, &self.port(b)?, percent)
    }

    /// Takes the link of a node's interface down or up while the node runs on.
    ///
    /// # Errors
    /// As [`Cluster::cut`].
    pub fn link(&self, node: &str, up: bool) -> Result<()> {
        self.fabric().carrier(&self.port(node)?, up)
    }

    /// Makes the link towards a node slow or unreliable, in the words of tc-netem(8), for example
    /// `["delay", "50ms", "10ms"]`; no words take it away.
    ///
    /// # Errors
    /// The kernel has no netem.
    pub fn netem(&self, node: &str, words: &[&str]) -> Result<()> {
        let node = self.find(node)?;
        if words.is_empty() {
            return self.fabric().no_netem(node.name());
        }
        self.fabric().netem(node.spec(), words)
    }

    /// Takes away every cut and loss (not link states and delays).
    ///
    /// # Errors
    /// The kernel refused.
    pub fn heal(&self) -> Result<()> {
        self.fabric().heal()
    }

    /// The cuts and losses in force, with the packets that each has dropped.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn faults(&self) -> Result<String> {
        self.fabric().rules()
    }

    /// Cuts the power of a node; see [`crate::Node::power_cut`].
    ///
    /// # Errors
    /// There is no such node, or a process survived.
    pub fn power_cut(&self, node: &str) -> Result<()> {
        self.find(node)?.power_cut()
    }

    /// Cuts the power of several nodes at once: all cables are dead before the first process is.
    ///
    /// # Errors
    /// As [`Cluster::power_cut`].
    pub fn power_cut_all(&self, nodes: &[&str]) -> Result<()> {
        let nodes = nodes
            .iter()
            .map(|name| self.find(name))
            .collect::<Result<Vec<_>>>()?;
        for node in &nodes {
            if node.is_on() {
                self.fabric().unplug(node.name())?;
            }
        }
        if nodes.is_empty() {
            return Err(Error::Asked("no node was named".to_owned()));
        }
        nodes.iter().try_for_each(crate::Node::power_cut)
    }
}
