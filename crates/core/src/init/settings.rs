//! The settings that a cluster needs, and which of them a database lacks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{InitFacts, InitSite};
use crate::parse::conffile;

/// The settings that a node is asked for.
pub const ASKED: &[&str] = &[
    "listen_addresses",
    "wal_level",
    "max_wal_senders",
    "hot_standby",
    "data_checksums",
    "wal_log_hints",
    "wal_sender_timeout",
    "wal_receiver_timeout",
    "wal_keep_size",
    "wal_keep_segments",
    "logging_collector",
    "hba_file",
];

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)
    }
}

impl Setting {
    /// The line of a configuration file; none for a value that no file can hold.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        conffile::setting(&self.name, &self.value).ok()
    }
}

/// What PostgreSQL's own configuration says, as `postgres -C` prints it, in the versions that are prepared.
struct Rule {
    name: &'static str,
    value: &'static str,
    /// Whether a value of it is not enough.
    lacks: fn(&str) -> bool,
}

/// In the order in which they are written. What an administrator has chosen stays: a time limit is changed
/// where it is the default, that nobody chose.
const RULES: &[Rule] = &[
    Rule {
        name: "listen_addresses",
        value: "*",
        lacks: |value| matches!(value, "" | "localhost" | "127.0.0.1" | "::1"),
    },
    Rule {
        name: "wal_level",
        value: "replica",
        lacks: |value| value == "minimal",
    },
    Rule {
        name: "max_wal_senders",
        value: "10",
        lacks: |value| value.parse().is_ok_and(|number: u32| number < 5),
    },
    Rule {
        name: "hot_standby",
        value: "on",
        lacks: |value| value == "off",
    },
    Rule {
        name: "wal_log_hints",
        value: "on",
        lacks: |value| value == "off",
    },
    Rule {
        name: "wal_sender_timeout",
        value: "5s",
        lacks: is_a_minute,
    },
    Rule {
        name: "wal_receiver_timeout",
        value: "5s",
        lacks: is_a_minute,
    },
    Rule {
        name: "wal_keep_size",
        value: "1GB",
        lacks: |value| value == "0",
    },
    // Before version 13.
    Rule {
        name: "wal_keep_segments",
        value: "64",
        lacks: |value| value == "0",
    },
    Rule {
        name: COLLECTOR,
        value: "on",
        lacks: |value| value == "off",
    },
];

/// What the server writes a log of its own by.
const COLLECTOR: &str = "logging_collector";

/// A file for each day of the week, so that the log never has more than seven.
const LOG: [(&str, &str); 4] = [
    ("log_filename", "postgresql-%a.log"),
    ("log_truncate_on_rotation", "on"),
    ("log_rotation_age", "1d"),
    ("log_rotation_size", "0"),
];

fn is_a_minute(value: &str) -> bool {
    matches!(value, "60000" | "60s" | "1min")
}

/// What of the settings a node's database lacks; of a new one every setting that its version knows.
pub(super) fn missing(site: &InitSite<'_>, facts: &InitFacts, is_new: bool) -> Vec<Setting> {
    let mut missing = Vec::new();
    let mut add = |name: &str, value: &str| {
        missing.push(Setting {
            name: name.to_owned(),
            value: value.to_owned(),
        });
    };
    if is_new {
        add("port", &site.params.pgport.to_string());
        if let Some(directory) = &site.params.socketdir {
            add("unix_socket_directories", directory);
        }
    }
    let kept_by_size = facts.major.is_none_or(|major| major >= 13);
    for rule in RULES {
        let lacks = match facts.settings.get(rule.name) {
            _ if is_new => match rule.name {
                "wal_keep_size" => kept_by_size,
                "wal_keep_segments" => !kept_by_size,
                _ => true,
            },
            Some(value) => (rule.lacks)(value),
            // This version does not know it.
            None => false,
        };
        let needless = match rule.name {
            "wal_log_hints" => facts
                .settings
                .get("data_checksums")
                .is_some_and(|on| on == "on"),
            // The log goes where the configuration says.
            COLLECTOR => site.params.logfile != "/dev/null",
            _ => false,
        };
        if lacks && !needless {
            add(rule.name, rule.value);
            if rule.name == COLLECTOR {
                for (name, value) in LOG {
                    add(name, value);
                }
            }
        }
    }
    missing
}
