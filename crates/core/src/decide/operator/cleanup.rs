//! `cls_cleanup`: whether Pacemaker has tried again what it was made to forget.

use crate::cluster::{Cluster, FailCount};
use crate::names::NodeName;
use crate::parse::cib::Failure;

/// What one look after a cleanup shows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Cleaned {
    /// It is not over: what is awaited.
    Awaits(String),
    /// Nothing is under way and nothing has failed. Before the cleaning has begun that is so too, so that it is
    /// believed where the look before has shown it.
    Quiet,
    /// What was tried again has failed again, or Pacemaker has looked at the database on this node and could not
    /// tell its role. It does not look again by itself.
    Failed(FailedAnew),
}

/// What has failed after the cleanup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAnew {
    /// Where.
    pub node: NodeName,
    /// Which operation of which resource.
    pub what: String,
    /// Its reason, or its exit status.
    pub why: String,
}

impl FailedAnew {
    fn of(node: &NodeName, resource: &str, failure: &Failure) -> Self {
        Self {
            node: node.clone(),
            what: format!("{} of {resource}", failure.operation),
            why: why(failure),
        }
    }
}

/// Judges one look at the cluster, of which `before` is how it was before the cleanup of `node`; of every node where
/// none is given.
pub fn cleaned(before: &Cluster, now: &Cluster, node: Option<&NodeName>) -> Cleaned {
    let meant = |name: &NodeName| node.is_none_or(|node| name == node);
    let pending = now.all_pending().filter(|(name, _)| meant(name));
    let busy: Vec<String> = pending
        .map(|(name, what)| format!("{what} on {name}"))
        .collect();
    if !busy.is_empty() {
        return Cleaned::Awaits(busy.join(", "));
    }
    let failed = |count: &FailCount| {
        format!(
            "{} has failed on {}: {} (fail count {})",
            count.resource, count.node, count.operation, count.count
        )
    };
    let counts = || now.our_failures().filter(|count| meant(&count.node));
    // What is not forgotten yet comes first: as long as it is there the cleanup has not been done.
    if let Some(count) = counts().find(|count| anew(before, now, count).is_none()) {
        return Cleaned::Awaits(failed(count));
    }
    if let Some(failed) = counts().find_map(|count| anew(before, now, count)) {
        return Cleaned::Failed(failed);
    }
    // With a failure Pacemaker forgets what else it knew of the resource there, until the probe that follows, seconds
    // later: whoever asks meanwhile would find no primary.
    if let Some(name) = before
        .nodes
        .keys()
        .find(|name| meant(name) && is_forgotten(before, now, name))
    {
        return Cleaned::Awaits(format!("Pacemaker has not looked at {name} again"));
    }
    let mut nodes = now.nodes.keys().filter(|name| meant(name));
    nodes
        .find_map(|name| failed_probe(now, name))
        .map_or(Cleaned::Quiet, Cleaned::Failed)
}

/// Whether the database's role was on record on a node before, and nothing is now.
fn is_forgotten(before: &Cluster, now: &Cluster, name: &NodeName) -> bool {
    let seen = now.node(name);
    let nothing = seen.database.role.is_none() && seen.database.last_operation.is_none();
    before.node(name).database.role.is_some() && seen.online && nothing
}

/// The failure that has led to this count, where its operation is another one than the one before.
fn anew(before: &Cluster, now: &Cluster, count: &FailCount) -> Option<FailedAnew> {
    let state = |view: &Cluster| {
        let node = view.nodes.get(&count.node)?;
        if count.resource == view.database.name.as_str() {
            return Some(node.database.clone());
        }
        let mut placed = node.placed.iter();
        let (_, state) = placed.find(|(name, _)| count.resource == name.as_str())?;
        Some(state.clone())
    };
    let now = state(now)?;
    let call = now.failed_call?;
    if state(before).and_then(|state| state.failed_call) == Some(call) {
        return None;
    }
    let failure = now.last_failure?;
    Some(FailedAnew::of(&count.node, &count.resource, &failure))
}

fn failed_probe(now: &Cluster, name: &NodeName) -> Option<FailedAnew> {
    let seen = now.node(name);
    let unknown = seen.online && seen.database.role.is_none();
    let failure = seen.database.last_failure.as_ref().filter(|_| unknown)?;
    Some(FailedAnew::of(name, now.database.name.as_str(), failure))
}

fn why(failure: &Failure) -> String {
    let status = || format!("status {}", failure.code);
    failure.reason.clone().unwrap_or_else(status)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::Count;
    use crate::parse::cib::{Pending, ResourceState};
    use crate::status::Role;

    fn name() -> NodeName {
        "node1".parse().unwrap()
    }

    fn view(change: fn(&mut Cluster)) -> Cluster {
        let mut view = Cluster::default();
        let node = view.nodes.entry(name()).or_default();
        node.online = true;
        node.database.role = Some(Role::Promoted);
        change(&mut view);
        view
    }

    fn database(view: &mut Cluster) -> &mut ResourceState {
        &mut view.nodes.get_mut(&name()).unwrap().database
    }

    fn probe_failed(view: &mut Cluster) {
        let state = database(view);
        state.role = None;
        state.last_operation = Some("monitor".to_owned());
        state.last_failure = Some(Failure {
            operation: "monitor".to_owned(),
            code: 6,
            reason: None,
        });
    }

    #[test]
    fn what_is_under_way_failed_or_forgotten_is_awaited() {
        let before = view(|_| {});
        assert_eq!(cleaned(&before, &before, None), Cleaned::Quiet);
        type Change = fn(&mut Cluster);
        let awaited: [(Change, &str); 3] = [
            (
                |view| {
                    database(view).pending = Some(Pending {
                        operation: "promote".to_owned(),
                    });
                },
                "promote of",
            ),
            (
                |view| view.failures.push(counted_start(view)),
                "has failed on node1: start",
            ),
            (|view| database(view).role = None, "not looked at node1"),
        ];
        let other: NodeName = "node2".parse().unwrap();
        for (change, what) in awaited {
            let now = view(change);
            for node in [None, Some(&name())] {
                let seen = cleaned(&before, &now, node);
                assert!(
                    matches!(&seen, Cleaned::Awaits(why) if why.contains(what)),
                    "{what}: {seen:?}"
                );
            }
            assert_eq!(
                cleaned(&before, &now, Some(&other)),
                Cleaned::Quiet,
                "{what}"
            );
        }
        let away = view(|view| {
            database(view).role = None;
            view.nodes.get_mut(&name()).unwrap().online = false;
        });
        assert_eq!(cleaned(&before, &away, None), Cleaned::Quiet);
    }

    #[test]
    fn a_probe_that_could_not_tell_the_role_is_a_failure() {
        let (before, now) = (view(|_| {}), view(probe_failed));
        let failed = FailedAnew {
            node: name(),
            what: format!("monitor of {}", now.database.name),
            why: "status 6".to_owned(),
        };
        assert_eq!(cleaned(&before, &now, None), Cleaned::Failed(failed));
        // What has failed and runs all the same was tried again.
        let runs = view(|view| {
            probe_failed(view);
            database(view).role = Some(Role::Unpromoted);
        });
        assert_eq!(cleaned(&before, &runs, None), Cleaned::Quiet);
    }

    fn counted_start(view: &Cluster) -> FailCount {
        FailCount {
            resource: view.database.name.to_string(),
            node: name(),
            operation: "start".to_owned(),
            count: Count::Infinity,
            threshold: None,
        }
    }

    /// A failure with this number, and its count.
    fn start_failed(call: i64) -> impl Fn(&mut Cluster) {
        move |view| {
            let state = database(view);
            state.role = Some(Role::Stopped);
            state.last_failure = Some(Failure {
                operation: "start".to_owned(),
                code: 5,
                reason: Some("no PG_VERSION".to_owned()),
            });
            state.failed_call = Some(call);
            view.failures.push(counted_start(view));
        }
    }

    #[test]
    fn what_fails_anew_is_not_waited_for() {
        let with = |call| {
            let mut view = view(|_| {});
            start_failed(call)(&mut view);
            view
        };
        let (before, after) = (with(7), with(12));
        assert!(matches!(
            cleaned(&before, &before, None),
            Cleaned::Awaits(_)
        ));
        let failed = FailedAnew {
            node: name(),
            what: format!("start of {}", after.database.name),
            why: "no PG_VERSION".to_owned(),
        };
        assert_eq!(cleaned(&before, &after, None), Cleaned::Failed(failed));
        // What is under way may mend it.
        let mut busy = with(12);
        database(&mut busy).pending = Some(Pending {
            operation: "start".to_owned(),
        });
        assert!(matches!(cleaned(&before, &busy, None), Cleaned::Awaits(_)));
    }
}
