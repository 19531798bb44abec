//! Whole operations, carried through on a node that is made of values: the sequence of rules, the
//! actions and the exit code of each are what the tables of `pha_core::decide` promise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "scenarios/change_lock.rs"]
mod change_lock;
#[path = "scenarios/demote_stop.rs"]
mod demote_stop;
#[path = "scenarios/endless.rs"]
mod endless;
#[path = "scenarios/exchange.rs"]
mod exchange;
#[path = "scenarios/external.rs"]
mod external;
#[path = "scenarios/guard.rs"]
mod guard;
#[path = "scenarios/links.rs"]
mod links;
#[path = "scenarios/notify.rs"]
mod notify;
#[path = "scenarios/outage.rs"]
mod outage;
#[path = "scenarios/primary.rs"]
mod primary;
#[path = "scenarios/promote.rs"]
mod promote;
#[path = "scenarios/quorum.rs"]
mod quorum;
#[path = "scenarios/restart.rs"]
mod restart;
#[path = "scenarios/seen.rs"]
mod seen;
#[path = "scenarios/start.rs"]
mod start;
#[path = "scenarios/timelines.rs"]
mod timelines;
#[path = "scenarios/world.rs"]
mod world;
