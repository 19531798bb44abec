//! Waiting until a node that was stopped is a standby again, and the primary's loss would be survived.

use std::time::Duration;

use pha_core::cluster::Cover;
use pha_core::message;
use pha_core::message::Message;
use pha_core::names::NodeName;
use pha_core::params::Mode;
use pha_core::status::Role;
use pha_host::clock::Deadline;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::register;
use crate::tools;
use crate::wait::{self, Look};

/// How long the question whether Pacemaker is at work may take.
pub(crate) const IDLE: Duration = Duration::from_secs(10);

/// After which start of PostgreSQL a node is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    /// Any: it was stopped before.
    Any,
    /// Another one than this, as Pacemaker has recorded it.
    OtherThan(Option<i64>),
}

impl Start {
    fn is(self, now: Option<i64>) -> bool {
        match self {
            Self::Any => true,
            Self::OtherThan(before) => now.is_some() && now != before,
        }
    }
}

/// What is waited for.
pub(crate) struct Back<'a> {
    /// The node that has to stream, and after which start; none where any standby will do.
    pub(crate) node: Option<(&'a NodeName, Start)>,
    /// The next one is stopped after it: Pacemaker has nothing more to do, a node that is no standby then is an
    /// error, and one that could not open for writing does not do.
    pub(crate) before_next: bool,
}

impl Back<'_> {
    /// Waits until the node streams and, where commits wait for standbys, until they wait for one that may be
    /// promoted: one that was kept off is a holder again with a later monitor of the primary.
    ///
    /// # Errors
    /// It did not come about.
    pub(crate) fn wait(
        &self,
        session: &Session,
        cluster: &Cluster,
        deadline: Deadline,
    ) -> Result<(), ClsError> {
        let what = match self.node {
            Some((node, _)) => format!("{node} to stream again"),
            None => "a standby that commits wait for".to_owned(),
        };
        wait::until(session, &what, deadline, || {
            if self.before_next && !tools::idle(Deadline::after(IDLE))? {
                return Ok(Look::Pending("Pacemaker is at work".to_owned()));
            }
            let cluster = cluster.again(session)?;
            match self.missing(&cluster)? {
                None => Ok(Look::Done(())),
                Some(missing) => Ok(Look::Pending(missing)),
            }
        })
    }

    fn missing(&self, cluster: &Cluster) -> Result<Option<String>, ClsError> {
        if let Some((name, start)) = self.node {
            let node = cluster.node(name);
            let gone =
                |why: Message| Err(ClsError::failed(message!("{name}: {why}", name, why), ""));
            match node.role() {
                Role::Stopped if self.before_next => return gone(node.why_stopped().what()),
                Role::Promoted if self.before_next => {
                    return gone(message!("it has become the primary meanwhile"));
                }
                Role::Unpromoted if !start.is(node.database.started) => {
                    return Ok(Some(format!("{name} was not restarted yet")));
                }
                Role::Unpromoted if node.streams() => {}
                _ => return Ok(Some(cluster.state(name))),
            }
        }
        let mut nodes = cluster.view.nodes.values();
        if self.node.is_none() && !nodes.any(|node| node.role() == Role::Unpromoted) {
            return Ok(None);
        }
        let mode = cluster.params.rep_mode;
        let reading = match mode {
            Mode::Sync => register(cluster)?,
            Mode::Async | Mode::Standalone | Mode::Slave => None,
        };
        let cover = match cluster.view.cover(mode, reading.as_ref()) {
            // That the register cannot be read says nothing of this standby, and what comes next asks it.
            Cover::Unknown(_) if self.before_next => cluster.view.cover(mode, None),
            cover => cover,
        };
        Ok(match cover {
            Cover::Ready => None,
            Cover::Unfit if !self.before_next => None,
            Cover::Unfit | Cover::NotYet | Cover::Unknown(_) => Some(cover.to_string()),
        })
    }
}
