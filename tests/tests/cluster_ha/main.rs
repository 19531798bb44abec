//! The product as a whole on real corosync, Pacemaker and PostgreSQL. Every scenario ends with the
//! checker's verdict on acknowledged commits and with everything in agreement
//! (`pha_tests::cluster::agree`). Needs root; about two clusters are up at a time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod account;
mod asynchronous;
mod changes;
mod commands;
mod crashes;
mod demo;
mod disasters;
mod doubt;
mod external;
mod fit;
mod guard;
mod init;
mod install;
mod killed;
mod lock;
mod looks;
mod modes;
mod moved;
mod one_at_a_time;
mod operator;
mod outage;
mod partition;
mod power;
mod quorum;
mod refusals;
mod restarts;
mod restored;
mod slots;
mod stalled;
mod start;
mod strangers;
mod three;
mod timelines;
