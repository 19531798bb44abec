//! The decisions of pha4pgsql, and the texts they are made from: pure functions and types.
//!
//! Nothing here starts a program, opens a file or a connection, reads the environment or looks at
//! a clock; `crates/core/clippy.toml` forbids it. What the cluster, PostgreSQL and the lock service
//! say arrives as text or as a snapshot, and leaves as a plan that `pha-host` performs.
#![forbid(unsafe_code)]

pub mod action;
pub mod begun;
pub mod cluster;
pub mod conninfo;
pub mod deadcheck;
pub mod decide;
pub mod dialect;
pub mod doctor;
pub mod drive;
pub mod end_of_wal;
pub mod health;
pub mod hindrance;
pub mod history;
pub mod init;
pub mod layout;
pub mod limits;
pub mod lineage;
pub mod link_name;
pub mod lsn;
pub mod message;
pub mod metadata;
pub mod names;
pub mod ocf;
pub mod params;
pub mod parse;
pub mod plan;
pub mod postgres;
pub mod proofs;
pub mod quoted;
pub mod reason;
pub mod reference;
pub mod register;
pub mod remedy;
pub mod repl_info;
pub mod secret;
pub mod server_program;
pub mod setup;
pub mod snapshot;
pub mod status;
pub mod sync_in_force;
mod text_enum;
pub mod timeline;
pub mod unfit;
pub mod whose;
