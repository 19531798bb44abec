//! What the other programs of this installation ask for on a node; not for people.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use super::doctor::facts;
use super::restart::settings;
use super::setup::look;
use super::setup::passfile::Passfiles;
use super::{config, hand_over, init, rows, seen, wal_end, way};
use crate::app::Session;
use crate::error::ClsError;
use crate::site;

/// The most that is read from standard input.
const LIMIT: u64 = 1 << 20;

/// For install.sh and for commands that look at other nodes
#[derive(Debug, Args)]
pub(crate) struct Internal {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Print a value of config.ini: nodes (one a line), ocf_root, directory; or which file it is
    Config {
        /// Which one
        #[arg(value_parser = ["nodes", "ocf_root", "directory", "file"])]
        key: String,
    },
    /// Print the names of the commands, one a line
    Commands,
    /// Write manual pages and completions below a directory, as below /usr/share
    Pages {
        /// Where to
        directory: PathBuf,
    },
    /// Merge the lines given as JSON into the passfiles of this node
    Passfile {
        /// Only say which would be changed
        #[arg(long)]
        check: bool,
    },
    /// Print which config.ini the commands of this node read, as JSON
    Copy,
    /// Print what cls_doctor asks of a node, as JSON
    Facts,
    /// Print what this node has of what is asked for as JSON
    Site,
    /// Print what cls_init asks of a node, as JSON; the agent's parameters are given as JSON
    InitLook,
    /// Do the step of cls_init that is given as JSON
    InitDo,
    /// Print whether PostgreSQL runs on this node: yes or no
    Running,
    /// Print the time in seconds
    Clock,
    /// Print where this node's WAL ends, as JSON
    WalEnd,
    /// Ask this node's PostgreSQL what is given as JSON, and print the rows as JSON
    Rows,
    /// Print what the settings of this node's PostgreSQL are and will be after its next start, as JSON;
    /// the agent's parameters are given as JSON
    Settings,
    /// Print what this node has seen of the register, as JSON
    Seen {
        /// The database resource
        resource: String,
    },
    /// Hand the register over to the successor of a planned switch, where this node's PostgreSQL was the
    /// primary and is stopped, and print the register's epoch as JSON
    HandOver {
        /// The node that is to be primary
        successor: String,
        /// Only say whether there is anything against it, while the primary still serves
        #[arg(long)]
        check: bool,
    },
    /// Use and give no promises beside an operator's decision, and print what was promised here, as JSON
    GiveWay {
        /// The database resource
        resource: String,
        /// The register's epoch
        epoch: u64,
    },
}

impl Internal {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        match &self.question {
            Question::Config { key } => {
                let config = site::config(session)?;
                let text = match key.as_str() {
                    "nodes" => {
                        let names: Vec<&str> = config.nodes.iter().map(|n| n.as_str()).collect();
                        names.join("\n")
                    }
                    "ocf_root" => config.ocf_root.to_string_lossy().into_owned(),
                    "file" => config.file.to_string_lossy().into_owned(),
                    _ => config.directory.to_string_lossy().into_owned(),
                };
                session.ui.print(&text);
            }
            Question::Copy => session.ui.print_json(&config::own_copy(session)),
            Question::Facts => {
                let facts = facts::gather(&site::config(session)?)?;
                session.ui.print_json(&facts);
            }
            Question::Site => {
                let facts = look::facts(&site::file(session), read_json()?)?;
                session.ui.print_json(&facts);
            }
            Question::InitLook => session.ui.print_json(&init::look::facts(&read_json()?)?),
            Question::InitDo => init::node::run(session, &read_json()?)?,
            Question::Running => {
                let runs = facts::runs(&site::config(session)?)?;
                session.ui.print(runs.word());
            }
            Question::Clock => session.ui.print(&format!("{:.3}", facts::now())),
            Question::WalEnd => wal_end::run(session)?,
            Question::Rows => rows::run(session, &given()?)?,
            Question::Settings => settings::run(session, &read_json()?)?,
            Question::Seen { resource } => seen::run(session, resource)?,
            Question::HandOver { successor, check } => {
                let wanted = match check {
                    true => hand_over::Wanted::Whether,
                    false => hand_over::Wanted::For,
                };
                hand_over::run(session, successor, wanted)?;
            }
            Question::GiveWay { resource, epoch } => way::run(session, resource, *epoch)?,
            Question::Commands => session
                .ui
                .print(&crate::pages::names(&(session.definition)()).join("\n")),
            Question::Pages { directory } => {
                let written = crate::pages::write(&(session.definition)(), directory);
                written.map_err(|error| {
                    let what = format!("{}: {error}", directory.display());
                    ClsError::failed(what, "name a directory that can be written to")
                })?;
            }
            Question::Passfile { check } => {
                let changed = passfiles()?.ensure(*check);
                let changed = changed.map_err(|error| {
                    let other = "it is a plain file of that account, in its own home (getent passwd): put what is there instead out of the way";
                    ClsError::failed(error.why.as_str(), error.remedy_or(other))
                })?;
                session.ui.print_json(&changed);
            }
        }
        Ok(())
    }
}

fn passfiles() -> Result<Passfiles, ClsError> {
    read_json()
}

/// What cls_setup sends.
fn read_json<T: DeserializeOwned>() -> Result<T, ClsError> {
    // The parser's message could quote the text, which has passwords in it.
    serde_json::from_str(&given()?).map_err(|_| {
        ClsError::failed(
            "standard input: not the JSON that cls_setup sends",
            "cls_setup",
        )
    })
}

fn given() -> Result<String, ClsError> {
    let mut text = String::new();
    let read = std::io::stdin().take(LIMIT).read_to_string(&mut text);
    read.map_err(|error| ClsError::failed(format!("standard input: {error}"), "cls_setup"))?;
    Ok(text)
}
