//! What each node is, moment by moment, seen from outside: by its processes and their titles. That
//! costs the nodes nothing and works whatever has happened to their network.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::node::Node;
use crate::procfs;
use crate::writer::now_us;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// No power.
    Off,
    /// Its processes stand still.
    Frozen,
    /// PostgreSQL does not run.
    Stopped,
    /// PostgreSQL runs and is neither of the following yet.
    Starting,
    /// In recovery, and receiving nothing.
    Alone,
    /// In recovery, and receiving.
    Standby,
    /// Not in recovery.
    Primary,
}

/// When a node became what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// Microseconds, monotonic.
    pub(super) at: u64,
    pub(super) seen: Seen,
}

#[derive(Debug, Default)]
struct Story {
    changes: BTreeMap<String, Vec<Change>>,
    primary: Option<String>,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    story: Arc<Mutex<Story>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn locked(story: &Mutex<Story>) -> MutexGuard<'_, Story> {
    story.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    pub(super) fn over(nodes: Vec<Node>) -> Watch {
        let story = Arc::new(Mutex::new(Story::default()));
        let over = Arc::new(AtomicBool::new(false));
        let (write, ended) = (Arc::clone(&story), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for node in &nodes {
                    note(&write, node.name(), look(node));
                }
                std::thread::sleep(PAUSE);
            }
        });
        Watch {
            story,
            over,
            thread: Some(thread),
        }
    }

    /// The node that was last seen to become primary, living or not.
    pub(super) fn primary(&self) -> Option<String> {
        locked(&self.story).primary.clone()
    }

    /// What the node is now.
    pub(super) fn seen(&self, node: &str) -> Option<Seen> {
        let story = locked(&self.story);
        story.changes.get(node)?.last().map(|change| change.seen)
    }

    /// Everything so far.
    pub(super) fn changes(&self) -> BTreeMap<String, Vec<Change>> {
        locked(&self.story).changes.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It holds nothing that its panic could leave undone.
            let _ = thread.join();
        }
    }
}

fn note(story: &Mutex<Story>, node: &str, seen: Seen) {
    let mut story = locked(story);
    let changes = story.changes.entry(node.to_owned()).or_default();
    if changes.last().is_some_and(|last| last.seen == seen) {
        return;
    }
    changes.push(Change { at: now_us(), seen });
    if seen == Seen::Primary {
        story.primary = Some(node.to_owned());
    }
}

fn look(node: &Node) -> Seen {
    let Some(init) = node.init() else {
        return Seen::Off;
    };
    if procfs::state(init.pid) == Some('T') {
        return Seen::Frozen;
    }
    let processes = node.processes();
    let titles = processes
        .iter()
        .filter(|process| process.comm == "postgres")
        .map(|process| process.cmdline.as_str());
    role(titles)
}

/// What PostgreSQL is by the titles of its processes (`postgres: walwriter`): that one runs only
/// outside of recovery, `startup` only in it.
fn role<'a>(titles: impl Iterator<Item = &'a str>) -> Seen {
    let (mut any, mut startup, mut receiver) = (false, false, false);
    for title in titles {
        any = true;
        let Some(title) = title.strip_prefix("postgres: ") else {
            continue;
        };
        if title.starts_with("walwriter") {
            return Seen::Primary;
        }
        startup |= title.starts_with("startup");
        receiver |= title.starts_with("walreceiver streaming");
    }
    match (any, startup, receiver) {
        (false, ..) => Seen::Stopped,
        (_, true, true) => Seen::Standby,
        (_, true, false) => Seen::Alone,
        _ => Seen::Starting,
    }
}

#[cfg(test)]
mod tests {
    use super::{Seen, role};

    #[test]
    fn a_role_is_read_from_titles() {
        let cases: [(&[&str], Seen); 5] = [
            (&[], Seen::Stopped),
            (
                &["/usr/lib/postgresql/15/bin/postgres -D /data"],
                Seen::Starting,
            ),
            (
                &["postgres -D x", "postgres: startup recovering 0001"],
                Seen::Alone,
            ),
            (
                &[
                    "postgres: startup recovering 0001",
                    "postgres: walreceiver streaming 0/3",
                ],
                Seen::Standby,
            ),
            (
                &[
                    "postgres -D x",
                    "postgres: checkpointer ",
                    "postgres: walwriter ",
                ],
                Seen::Primary,
            ),
        ];
        for (titles, seen) in cases {
            assert_eq!(role(titles.iter().copied()), seen, "{titles:?}");
        }
    }
}
