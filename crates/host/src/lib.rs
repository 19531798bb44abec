//! What pha4pgsql does to the world: the effects that `pha-core` decides on.

#![forbid(unsafe_code)]

pub mod account;
mod apply;
pub mod asked;
pub mod basebackup;
pub mod change_lock;
pub mod clock;
pub mod command;
pub mod config;
pub mod conninfo;
pub mod drive;
pub mod files;
pub mod guard;
pub mod local;
pub mod lock;
pub mod lock_external;
pub mod log;
pub mod login;
pub mod memory;
pub mod missing;
pub mod node;
pub mod observe;
pub mod own;
pub mod pacemaker;
pub mod pgconf;
pub mod pgctl;
pub mod postgres;
pub mod preflight;
pub mod process;
pub mod promise;
pub mod record;
pub mod restore;
pub mod rewind;
pub mod sql;
pub mod ssh;
pub mod unfinished;
pub mod user;
