//! A real cluster on one machine: nodes out of Linux namespaces with the real corosync,
//! Pacemaker, PostgreSQL and sshd in them, faults, and a checker of acknowledged commits.
//!
//! ```no_run
//! use pha_testbed::ClusterBuilder;
//! use std::time::Duration;
//!
//! let cluster = ClusterBuilder::new("example").configured(true).up()?;
//! cluster.power_cut("node1")?;
//! cluster.wait("a promotion", Duration::from_secs(60), || {
//!     let found = cluster.placements().map_err(|error| error.to_string())?;
//!     found.iter().find(|p| p.role == "Promoted").map(|_| ()).ok_or(format!("{found:?}"))
//! })?;
//! # Ok::<(), pha_testbed::Error>(())
//! ```
//!
//! Needs root. The cluster ends when its value is dropped, when the test panics and when the
//! process is killed: everything of it runs below one process that holds a pipe to its owner.

#![forbid(unsafe_code)]

mod bench;
pub mod binaries;
mod builder;
pub mod campaign;
mod cargo;
pub mod checker;
pub mod cib;
pub mod cli;
mod clock;
mod cluster;
mod demo;
mod error;
mod fabric;
mod faults;
mod interrupt;
pub mod layout;
mod lock;
mod matrix;
mod midwrite;
mod node;
pub mod pacemaker;
mod package;
pub mod packages;
pub mod peer;
pub mod postgres;
mod procfs;
mod progress;
mod roles;
mod run;
mod scene;
mod servers;
mod services;
mod spec;
mod strangers;
mod suite;
mod systemd;
mod traced;
mod tree;
mod units;
pub mod wait;
mod wreck;
mod writer;

pub use builder::ClusterBuilder;
pub use checker::{Ledger, Verdict};
pub use cluster::Cluster;
pub use error::{Error, Result};
pub use lock::{Breakage, LockService};
pub use midwrite::Hanging;
pub use node::{NODE_PATH, Node, PGDATA};
pub use procfs::{Process, ProcessId};
pub use progress::{Progress, Step};
pub use roles::take_role;
pub use run::Output;
/// Signals, for [`Node::kill`] and its kin.
pub use rustix::process::Signal;
pub use writer::{Writer, WriterPlan, now_us};
