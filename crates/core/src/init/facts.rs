//! What is known of the nodes before a cluster is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::begun::Begun;
use crate::names::NodeName;
use crate::params::Params;
use crate::server_program::ServerProgram;
use crate::setup::OwnAddress;

/// Files by which a data directory is not the database itself: a standby's, or of a copy that was never started.
pub const COPY_FILES: [&str; 4] = [
    "standby.signal",
    "recovery.signal",
    "recovery.conf",
    "backup_label",
];

/// What a data directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitData {
    /// It is not there, or empty.
    None,
    /// It has something in it that is no database, and a name of that.
    Foreign(String),
    /// A database or a copy was being made in it, by this program, and that has not ended.
    Unfinished(Begun),
    /// It cannot be looked at, and why.
    Unknown(String),
    /// A database.
    There {
        /// The major version that made it; none where the file that says so makes no sense.
        major: Option<u32>,
        /// Which database it is.
        identifier: Option<u64>,
        /// A standby's, or a copy that was never started: the database itself is elsewhere. None where one of
        /// [`COPY_FILES`] cannot be looked at and none is seen.
        copy: Option<bool>,
    },
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitFacts {
    /// Whether the account that shall own the data is there.
    pub account: bool,
    /// Programs of the server that are not beside `pgctl`.
    pub lacking: Vec<ServerProgram>,
    /// The major version of the server's programs, where they run.
    pub major: Option<u32>,
    /// The data.
    pub data: InitData,
    /// PostgreSQL runs on them.
    pub runs: bool,
    /// Whether PostgreSQL's configuration file is there; none where that cannot be told.
    pub config: Option<bool>,
    /// The settings of [`ASKED`] as a start would find them; those that this version knows.
    pub settings: BTreeMap<String, String>,
    /// The lines of `pg_hba.conf` without comments.
    pub hba: Vec<String>,
    /// The addresses of its interfaces.
    pub addresses: Vec<OwnAddress>,
    /// Roles for which the account has a password in its passfile.
    pub passwords: BTreeSet<String>,
    /// The file system that the data are on, or would be: where it is mounted.
    pub mounted: Option<String>,
}

/// What shall be, and what is known of the cluster.
#[derive(Debug, Clone, Copy)]
pub struct InitSite<'a> {
    /// The nodes, in the order of the configuration.
    pub nodes: &'a [NodeName],
    /// The agent's parameters.
    pub params: &'a Params,
    /// The address for writers: in the network of the clients.
    pub writer: IpAddr,
    /// The address for readers, which is no node's own either.
    pub reader: Option<IpAddr>,
    /// The roles of which the configuration has the password.
    pub given: &'a [String],
    /// The locale of a new database.
    pub locale: &'a str,
    /// Pacemaker's configuration has the database already.
    pub configured: bool,
    /// The lock service can be changed by its administrator.
    pub administrator: bool,
}
