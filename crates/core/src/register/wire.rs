//! The question and the answer of R7 as they travel between two nodes over ssh.
//!
//! A question says who asks, of which cluster, and which term and epoch; nothing in it says where to
//! connect to, which files to look at or how to answer. The answer names the node that gives it, so
//! that a wrong line in a hosts file cannot make one node promise for two. It stands behind a mark,
//! because a login shell may print something of its own before it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::HIGHEST;
use super::memory::DataEnd;
use super::reading::Reply;
use crate::names::{NodeName, ResourceName};
use crate::quoted::{printable, quoted};

/// The version of the exchange. A node that does not know it has not promised.
const VERSION: u32 = 2;

/// The version before, whose questions are still answered: through an upgrade one node has it longer
/// than the other. It said more than is needed, which is not looked at, and its answer has no mark.
const BEFORE: u32 = 1;

/// What stands before the answer.
const MARK: &str = "pha4pgsql promise: ";

/// The longest question and the longest answer: a register with hundreds of nodes is far smaller.
const LONGEST: usize = 64 * 1024;

/// The longest that a node works on an answer, whatever it is asked: it holds its promotion lock.
const PATIENCE: Duration = Duration::from_secs(30);

/// A text that is no question, or no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AnswerError(String);

/// Which cluster a node belongs to: both sides compare it, neither uses it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterId {
    /// The register's row, as `table:name`.
    pub lock: String,
    /// The system identifier of the node's data, where it has any.
    #[serde(default)]
    pub system: Option<String>,
}

impl ClusterId {
    /// How the two differ; nothing where they may be of one cluster.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<String> {
        if self.lock != other.lock {
            return Some(format!(
                "its row in the lock service is {}, here it is {}",
                quoted(&other.lock),
                quoted(&self.lock)
            ));
        }
        match (&self.system, &other.system) {
            (Some(mine), Some(theirs)) if mine != theirs => Some(format!(
                "its data have the system identifier {}, here it is {}",
                quoted(theirs),
                quoted(mine)
            )),
            _ => None,
        }
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// The promise, or the register's own answer (R7).
    #[default]
    Promise,
    /// To know that a promise could be asked for, on the same way: nothing is read of the register,
    /// and nothing is kept.
    Trial,
    /// To tell that the question of this term and epoch is withdrawn. A version that does not know it
    /// understands nothing, and its promise stays.
    Withdraw,
}

/// The question as it travels: one JSON document on the other node's standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseRequest {
    /// The version of the exchange; the answer is given in the same one.
    version: u32,
    /// What is wanted.
    #[serde(default)]
    pub wanted: Wanted,
    /// The resource, which names the memory on the other node.
    pub resource: ResourceName,
    /// The node that is meant.
    pub to: NodeName,
    /// The primary that asks.
    pub node: NodeName,
    /// The cluster of the node that asks.
    #[serde(flatten)]
    pub cluster: ClusterId,
    /// See [`PromiseAsk::term`].
    #[serde(default)]
    pub term: u64,
    /// See [`PromiseAsk::epoch`].
    #[serde(default)]
    pub epoch: u64,
    /// Whether the primary keeps if it relies on the promise, so that it may withdraw one that it does
    /// not rely on. Versions before did not.
    #[serde(default)]
    pub revocable: bool,
    /// After this time nobody waits for the answer any more.
    pub within: Duration,
}

/// What is known of a question before the rest of it is read.
#[derive(Debug, Deserialize)]
struct Head {
    version: u32,
}

impl PromiseRequest {
    /// The question to one of the nodes that are asked.
    #[must_use]
    pub fn new(
        ask: &PromiseAsk,
        to: NodeName,
        resource: ResourceName,
        cluster: ClusterId,
        within: Duration,
    ) -> Self {
        Self {
            wanted: Wanted::Promise,
            term: ask.term,
            epoch: ask.epoch,
            ..Self::trial(ask.node.clone(), to, resource, cluster, within)
        }
    }

    /// The withdrawal of the question, to one of the nodes that were asked.
    #[must_use]
    pub fn withdrawal(
        withdrawn: &Withdrawal,
        to: NodeName,
        resource: ResourceName,
        cluster: ClusterId,
        within: Duration,
    ) -> Self {
        Self {
            wanted: Wanted::Withdraw,
            term: withdrawn.term,
            epoch: withdrawn.epoch,
            ..Self::trial(withdrawn.node.clone(), to, resource, cluster, within)
        }
    }

    /// The question of `node` whether it could ask `to`.
    #[must_use]
    pub fn trial(
        node: NodeName,
        to: NodeName,
        resource: ResourceName,
        cluster: ClusterId,
        within: Duration,
    ) -> Self {
        Self {
            version: VERSION,
            wanted: Wanted::Trial,
            resource,
            to,
            node,
            cluster,
            term: 0,
            epoch: 0,
            revocable: true,
            within,
        }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a question. Fields that are not known are passed over; the time is capped.
    ///
    /// # Errors
    /// [`AnswerError`] for anything that a primary would not ask.
    pub fn of_json(text: &[u8]) -> Result<Self, AnswerError> {
        let wrong = |what: String| AnswerError(format!("the request {what}"));
        if text.len() > LONGEST {
            return Err(wrong(format!("has more than {LONGEST} bytes")));
        }
        let unreadable = |error: serde_json::Error| {
            wrong(format!(
                "is not understood: {}",
                printable(&error.to_string(), 300)
            ))
        };
        let Head { version } = serde_json::from_slice(text).map_err(unreadable)?;
        if ![BEFORE, VERSION].contains(&version) {
            return Err(wrong(other_version(version)));
        }
        let mut request: Self = serde_json::from_slice(text).map_err(unreadable)?;
        let plausible = 1..=HIGHEST;
        let numbers = request.wanted == Wanted::Trial
            || (plausible.contains(&request.term) && plausible.contains(&request.epoch));
        if !numbers || request.to == request.node {
            return Err(wrong("makes no sense".to_owned()));
        }
        request.within = request.within.min(PATIENCE);
        Ok(request)
    }

    /// What `me`, a node of `nodes` and of `cluster`, finds wrong with being asked this.
    ///
    /// # Errors
    /// The sentence for the node that asks.
    pub fn is_for(
        &self,
        me: &NodeName,
        nodes: &[NodeName],
        cluster: &ClusterId,
    ) -> Result<(), String> {
        if self.to != *me {
            return Err(format!(
                "this is {me} and not {to}; the name {to} leads to the wrong node: correct /etc/hosts on {}",
                self.node,
                to = self.to
            ));
        }
        if self.node == *me || !nodes.contains(&self.node) {
            return Err(format!(
                "{} is no other node in {me}'s node_list",
                self.node
            ));
        }
        match cluster.differs(&self.cluster) {
            Some(how) => Err(format!("{} is of another cluster: {how}", self.node)),
            None => Ok(()),
        }
    }
}

fn other_version(version: u32) -> String {
    format!(
        "is of version {version}, this node's is {VERSION}; install the same version on every node"
    )
}

/// The answer as it travels: the mark and one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    version: u32,
    node: NodeName,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterId>,
    answer: PromiseAnswer,
}

impl PromiseAnswer {
    /// The answer of `me` to `request`, in the form that the node that asks understands.
    #[must_use]
    pub fn to_line(&self, request: &PromiseRequest, me: &NodeName, cluster: &ClusterId) -> String {
        let envelope = Envelope {
            version: request.version,
            node: me.clone(),
            cluster: (request.version != BEFORE).then(|| cluster.clone()),
            answer: self.clone(),
        };
        // Numbers, names and texts: nothing of it can fail to be written.
        let json = serde_json::to_string(&envelope).unwrap_or_default();
        match request.version {
            BEFORE => format!("{json}\n"),
            _ => format!("{MARK}{json}\n"),
        }
    }

    /// Finds the answer of `node` in what was printed there.
    ///
    /// # Errors
    /// [`AnswerError`] for anything but one well-formed answer of that very node of this cluster: then
    /// it has not promised.
    pub fn of_output(
        output: &[u8],
        node: &NodeName,
        cluster: &ClusterId,
    ) -> Result<Self, AnswerError> {
        let wrong = |what: String| AnswerError(format!("the answer of {node} {what}"));
        let text = String::from_utf8_lossy(output);
        let mut marked = text.split(MARK).skip(1);
        let (Some(line), None) = (marked.next(), marked.next()) else {
            let line = text.lines().next().unwrap_or_default();
            return Err(wrong(format!(
                "is not one line of expgsql's: {}",
                quoted(line)
            )));
        };
        let line = line.lines().next().unwrap_or_default();
        if line.len() > LONGEST {
            return Err(wrong(format!("has more than {LONGEST} bytes")));
        }
        let unreadable = |error: serde_json::Error| {
            let error = printable(&error.to_string(), 300);
            wrong(format!("is not understood ({error}): {}", quoted(line)))
        };
        let Head { version } = serde_json::from_str(line).map_err(unreadable)?;
        if version != VERSION {
            return Err(wrong(other_version(version)));
        }
        let envelope: Envelope = serde_json::from_str(line).map_err(unreadable)?;
        if envelope.node != *node {
            return Err(wrong(format!(
                "comes from {}: the name {node} leads to the wrong node; correct /etc/hosts here",
                envelope.node
            )));
        }
        match envelope.cluster.map(|theirs| cluster.differs(&theirs)) {
            Some(None) => Ok(envelope.answer),
            Some(Some(how)) => Err(wrong(format!("comes from another cluster: {how}"))),
            None => Err(wrong("does not say which cluster it is of".to_owned())),
        }
    }
}

/// What the primary asks of the other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PromiseAsk {
    /// The primary.
    pub node: NodeName,
    /// Who is asked now: all other nodes, or only those that are no holders.
    pub peers: Vec<NodeName>,
    /// With these every other node has been asked, so that their promises make the set complete.
    pub completes: bool,
    /// The term at which the primary was promoted.
    pub term: u64,
    /// The epoch that it last saw.
    pub epoch: u64,
    /// The lease, for a change that is passed on.
    pub ttl: Duration,
}

/// What the primary tells the other nodes once its PostgreSQL has been stopped and it has not relied on
/// their promises: it will not, so that they need not keep them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Withdrawal {
    /// The primary that had asked.
    pub node: NodeName,
    /// Who is told.
    pub peers: Vec<NodeName>,
    /// The term at which it was promoted.
    pub term: u64,
    /// The epoch at which it had asked.
    pub epoch: u64,
    /// What its data are like, as the proof that a restart in place by the promises has never opened PostgreSQL;
    /// none where they were not used.
    pub unopened: Option<DataEnd>,
}

/// One node's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PromiseAnswer {
    /// It will not promote at this epoch; that is on its disk.
    Promised {
        /// The epoch.
        epoch: u64,
    },
    /// It reaches the register and has passed the primary's change on: the reply.
    Relayed(Reply),
    /// It does not promise, or could not be asked; why.
    Refused(String),
    /// It could be asked to promise: the answer to a trial, which promises nothing.
    Ready,
    /// The answer to a withdrawal: a promise at this epoch binds it no more; that is on its disk.
    Withdrawn {
        /// The epoch.
        epoch: u64,
    },
}

impl PromiseAnswer {
    /// Whether `to`, which was only asked whether it could promise, says that it could.
    ///
    /// # Errors
    /// Why it could not, or that it has answered to something else.
    pub fn ready(self, to: &NodeName) -> Result<(), String> {
        match self {
            Self::Ready => Ok(()),
            Self::Refused(why) => Err(why),
            Self::Promised { .. } | Self::Relayed(_) | Self::Withdrawn { .. } => {
                Err(format!("{to} takes a trial for the question itself"))
            }
        }
    }
}
