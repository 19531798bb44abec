//! `config.ini`: what `install.sh` and `cls_setup` make a cluster of.
//!
//! Two forms of one set of keys: the specification's shell-style assignments, and TOML. Nothing in
//! the file is ever executed. The first thing that is wrong is one error with file, line, key and
//! what is allowed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use pha_core::layout;
use pha_core::names::NodeName;
use pha_core::params::{ParamError, Params};
use pha_core::quoted::quoted;
use pha_core::secret::Secret;

use crate::conninfo::Conninfo;
use crate::files;

mod entry;
mod keys;
mod shell;
mod toml;

use entry::Entry;
pub use entry::Fault;

/// How many nodes the configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterType {
    /// Two nodes; without a lock service each could take the other for dead.
    Dual,
    /// Three nodes or more, with quorum.
    Multi,
}

/// The names of the resources, `RESOURCE_LIST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceNames {
    /// The promotable clone.
    pub clone: String,
    /// The address that follows the primary.
    pub writer: String,
    /// The address on a standby.
    pub reader: String,
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The file it came from.
    pub file: PathBuf,
    /// Two nodes, or more.
    pub cluster_type: ClusterType,
    /// Every node: node1, node2 … and then othernodes.
    pub nodes: Vec<NodeName>,
    /// Where OCF agents live (`OCF_ROOT`).
    pub ocf_root: PathBuf,
    /// Where the product is installed (`pha4pgsql_dir`).
    pub directory: PathBuf,
    /// The names of the resources.
    pub resources: ResourceNames,
    /// The address that follows the primary.
    pub writer_vip: IpAddr,
    /// The address on a standby; none if there is to be none.
    pub reader_vip: Option<IpAddr>,
    /// Whether that address goes to the primary's node when no standby is left.
    pub reader_vip_on_primary: bool,
    /// The interface of both; none to let IPaddr2 find it.
    pub vip_nic: Option<String>,
    /// The length of their network's prefix.
    pub vip_cidr_netmask: Option<u32>,
    /// The agent's parameters by name, those that follow from other keys among them
    /// (`node_list`, `master_ip`, the built-in lock service).
    pub agent: BTreeMap<String, String>,
    /// The password of the role for replication; it goes into a passfile.
    pub replication_password: Option<Secret>,
    /// The connection string of the lock service as it was given, possibly with a password.
    pub lock_service: Option<Secret>,
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file} cannot be read: {reason}; give another file with --config")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// This account may not read it.
    #[error("{file} may not be read by this account: run this as root, whose file it is")]
    Forbidden {
        /// The file.
        file: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{file}{place}: {fault}")]
    Wrong {
        /// The file.
        file: PathBuf,
        /// `:LINE`, or nothing where something is missing.
        place: String,
        /// What is wrong.
        fault: Fault,
    },
}

/// The assignments by key, each checked by itself.
struct Values(BTreeMap<String, Entry>);

/// The most bytes of a configuration file; the example with all its comments has a few thousand.
const LONGEST: usize = 1 << 20;

impl ClusterConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] with file, line, key, and what is allowed.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |reason: String| ConfigError::Unreadable {
            file: file.to_owned(),
            reason,
        };
        let text = files::read_text(file)
            .map_err(|error| match error.is_permission() {
                true => ConfigError::Forbidden {
                    file: file.to_owned(),
                },
                false => unreadable(error.to_string()),
            })?
            .ok_or_else(|| unreadable("there is no such file".to_owned()))?;
        Self::parse(file, &text)
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        if text.len() > LONGEST {
            return Err(ConfigError::Unreadable {
                file: file.to_owned(),
                reason: "it has more than 1 MiB; config.ini.example shows what belongs there"
                    .to_owned(),
            });
        }
        // Editors of Windows put a mark before the first character.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let read = || -> Result<Self, Fault> { Values::check(entries(text)?)?.config(file) };
        read().map_err(|fault| ConfigError::Wrong {
            file: file.to_owned(),
            place: fault
                .line
                .map(|line| format!(":{line}"))
                .unwrap_or_default(),
            fault,
        })
    }
}

/// The assignments in whichever form the text has: a shell takes no space before `=`, and TOML
/// takes no bare value. Where the text is wrong in both, the error is that of the form in which most of
/// its lines are written.
fn entries(text: &str) -> Result<Vec<Entry>, Fault> {
    let error = match toml::read(text) {
        Ok(entries) => return Ok(entries),
        Err(error) => error,
    };
    let shell = shell::read(text);
    if shell.is_ok() {
        return shell;
    }
    // `key = …` is TOML, `key=…` may be either.
    let keys = text.lines().filter_map(|line| line.split_once('='));
    let keys = keys.map(|(key, _)| key.trim_start().trim_start_matches("export "));
    let (spaced, tight): (Vec<&str>, Vec<&str>) = keys
        .filter(|key| shell::is_name(key.trim_end()))
        .partition(|key| key.ends_with(' '));
    if spaced.len() >= tight.len() {
        Err(error)
    } else {
        shell
    }
}

impl Values {
    fn check(entries: Vec<Entry>) -> Result<Self, Fault> {
        let mut values: BTreeMap<String, Entry> = BTreeMap::new();
        for entry in entries {
            let name = keys::canonical(&entry.key).to_owned();
            let Some(kind) = keys::kind(&name) else {
                return Err(Fault::at(
                    entry.line,
                    Some(&entry.key),
                    keys::unknown(&entry.key),
                ));
            };
            if let Some(first) = values.get(&name) {
                let problem = format!("was already given in line {}", first.line);
                return Err(Fault::at(entry.line, Some(&entry.key), problem));
            }
            // An empty value is a key that was not filled in: `pgsql_restore_command=""`.
            if entry.value.trim().is_empty() {
                continue;
            }
            kind.check(&entry.value).map_err(|problem| {
                let shown = if keys::is_secret(&name) {
                    "***".to_owned()
                } else {
                    quoted(&entry.value)
                };
                Fault::at(entry.line, Some(&format!("{}={shown}", entry.key)), problem)
            })?;
            values.insert(name, entry);
        }
        if let Some(key) = keys::required().find(|key| !values.contains_key(*key)) {
            return Err(Fault::missing(
                key,
                format!("is missing: add a line {key}=… (config.ini.example shows what it means)"),
            ));
        }
        Ok(Self(values))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|entry| entry.value.as_str())
    }

    fn wrong(&self, key: &str, problem: String) -> Fault {
        match self.0.get(key) {
            Some(entry) => Fault::at(entry.line, Some(key), problem),
            None => Fault::missing(key, problem),
        }
    }

    fn address(&self, key: &str) -> Option<IpAddr> {
        self.text(key).and_then(|text| text.parse().ok())
    }

    fn nodes(&self, cluster_type: ClusterType) -> Result<Vec<NodeName>, Fault> {
        let mut numbered: Vec<(u32, &str)> = self
            .0
            .keys()
            .filter_map(|key| Some((keys::node_number(key)?, key.as_str())))
            .collect();
        numbered.sort_unstable();
        for ((before, _), (number, key)) in numbered.iter().zip(numbered.iter().skip(1)) {
            if *number != before + 1 {
                let problem = format!(
                    "is given and node{} is not: number the nodes without a gap",
                    before + 1
                );
                return Err(self.wrong(key, problem));
            }
        }
        let numbered = numbered
            .into_iter()
            .map(|(_, key)| (key, self.text(key).unwrap_or_default()));
        let others = self.text("othernodes").unwrap_or_default();
        let others = others.split_whitespace().map(|name| ("othernodes", name));
        let mut nodes: Vec<NodeName> = Vec::new();
        // Pacemaker and the name service do not tell capitals from small letters.
        let mut known: BTreeMap<String, &str> = BTreeMap::new();
        for (key, name) in numbered.chain(others) {
            let node = NodeName::new(name)
                .map_err(|error| self.wrong(key, format!("is not usable: {error}")))?;
            if let Some(first) = known.insert(name.to_ascii_lowercase(), key) {
                let problem =
                    format!("names {node}, which {first} names already: every node is named once");
                return Err(self.wrong(key, problem));
            }
            nodes.push(node);
        }
        match (cluster_type, nodes.len()) {
            (ClusterType::Dual, 2) | (ClusterType::Multi, 3..) => Ok(nodes),
            (ClusterType::Dual, many) => Err(self.wrong(
                "cluster_type",
                format!("is dual, but {many} nodes are named: dual is for node1 and node2, multi for more"),
            )),
            (ClusterType::Multi, _) => Err(self.wrong(
                "cluster_type",
                "is multi, but only two nodes are named: add node3, or take dual".to_owned(),
            )),
        }
    }

    /// What the two addresses and their netmask say together.
    fn addresses(&self, writer: IpAddr) -> Result<(), Fault> {
        let reader = self.address("reader_vip");
        if reader == Some(writer) {
            return Err(self.wrong(
                "reader_vip",
                format!(
                    "is {writer}, as writer_vip: give each its own address, or leave reader_vip out"
                ),
            ));
        }
        let bits = self
            .text("vip_cidr_netmask")
            .and_then(|text| text.parse::<u32>().ok());
        let short = [Some(writer), reader]
            .into_iter()
            .flatten()
            .find(IpAddr::is_ipv4);
        match (bits, short) {
            (Some(bits @ 33..), Some(address)) => Err(self.wrong(
                "vip_cidr_netmask",
                format!("is {bits}: the network of {address} has a prefix of at most 32 bits"),
            )),
            _ => Ok(()),
        }
    }

    /// `RESOURCE_LIST` names the clone, the writer's and the reader's address, in this order.
    fn resources(&self) -> Result<ResourceNames, Fault> {
        let list = self
            .text("RESOURCE_LIST")
            .unwrap_or("msPostgresql vip-master vip-slave");
        match list.split_whitespace().collect::<Vec<_>>()[..] {
            [clone, writer, reader] if clone == writer || writer == reader || clone == reader => {
                Err(self.wrong(
                    "RESOURCE_LIST",
                    "names a resource twice: the clone and the two addresses need three names"
                        .to_owned(),
                ))
            }
            [clone, writer, reader] => Ok(ResourceNames {
                clone: clone.to_owned(),
                writer: writer.to_owned(),
                reader: reader.to_owned(),
            }),
            _ => Err(self.wrong(
                "RESOURCE_LIST",
                "must name three resources: the clone, the writer's and the reader's address"
                    .to_owned(),
            )),
        }
    }

    /// The connection string of the built-in lock service: given itself, or within the psql command
    /// of the specification.
    fn lock_service(&self) -> Result<Option<Secret>, Fault> {
        let on = self
            .text("pgsql_enable_distlock")
            .and_then(pha_core::ocf::parse_boolean)
            .unwrap_or(false);
        let external = self.text("pgsql_distlock_lock_cmd").is_some();
        if !on || external {
            return Ok(None);
        }
        let given = ["pgsql_distlock_conninfo", "pgsql_distlock_psql_cmd"]
            .into_iter()
            .find_map(|key| Some((key, self.text(key)?)));
        let Some((key, text)) = given else {
            return Err(Fault::missing(
                "pgsql_distlock_conninfo",
                "is missing: pgsql_enable_distlock is true; give the connection string of the lock service".to_owned(),
            ));
        };
        let info = text
            .parse::<Conninfo>()
            .map_err(|error| self.wrong(key, format!("is not usable: {error}")))?;
        if self.text("pgsql_distlock_lockname").is_none() {
            return Err(Fault::missing(
                "pgsql_distlock_lockname",
                "is missing: pgsql_enable_distlock is true; give every cluster a name of its own"
                    .to_owned(),
            ));
        }
        // The agent takes no psql command, of which only the connection string is of use.
        let plain = if key == "pgsql_distlock_psql_cmd" {
            keywords(&info).map_err(|error| self.wrong(key, format!("is not usable: {error}")))?
        } else {
            text.to_owned()
        };
        Ok(Some(Secret::new(plain)))
    }

    /// The agent's parameters, checked as the agent will check them.
    fn agent(
        &self,
        nodes: &[NodeName],
        lock: Option<&Secret>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let mut agent: BTreeMap<String, String> = self
            .0
            .iter()
            .filter(|(key, _)| matches!(keys::kind(key), Some(keys::Kind::Agent)))
            .map(|(key, entry)| (key.replacen("pgsql_", "", 1), entry.value.clone()))
            .collect();
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        agent.insert("node_list".to_owned(), names.join(" "));
        if let Some(writer) = self.text("writer_vip") {
            agent.insert("master_ip".to_owned(), writer.to_owned());
        }
        if let Some(lock) = lock {
            agent.insert("distlock_conninfo".to_owned(), lock.expose().to_owned());
        }
        let given = agent
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        match Params::parse(given) {
            Ok(_) => Ok(agent),
            Err(error) => Err(self.agent_fault(&error)),
        }
    }

    /// The agent's complaint, about the key that the parameter came from.
    fn agent_fault(&self, error: &ParamError) -> Fault {
        let key = format!("pgsql_{}", error.parameter);
        let shown = match &error.value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        };
        Fault {
            line: self.0.get(&key).map(|entry| entry.line),
            key: Some(shown),
            problem: error.problem.clone(),
        }
    }

    fn config(&self, file: &Path) -> Result<ClusterConfig, Fault> {
        let cluster_type = match self.text("cluster_type") {
            Some("multi") => ClusterType::Multi,
            _ => ClusterType::Dual,
        };
        let nodes = self.nodes(cluster_type)?;
        let lock_service = self.lock_service()?;
        let writer_vip = self
            .address("writer_vip")
            .ok_or_else(|| self.wrong("writer_vip", "is no address".to_owned()))?;
        self.addresses(writer_vip)?;
        let path = |key: &str, default: &str| PathBuf::from(self.text(key).unwrap_or(default));
        Ok(ClusterConfig {
            file: file.to_owned(),
            cluster_type,
            ocf_root: path("OCF_ROOT", "/usr/lib/ocf"),
            directory: path("pha4pgsql_dir", layout::DIRECTORY),
            resources: self.resources()?,
            writer_vip,
            reader_vip: self.address("reader_vip"),
            reader_vip_on_primary: self.text("reader_vip_on_primary") == Some("true"),
            vip_nic: self.text("vip_nic").map(str::to_owned),
            vip_cidr_netmask: self
                .text("vip_cidr_netmask")
                .and_then(|text| text.parse().ok()),
            agent: self.agent(&nodes, lock_service.as_ref())?,
            replication_password: self.text("pgsql_reppassword").map(Secret::new),
            lock_service,
            nodes,
        })
    }
}

/// The connection string that a psql command amounts to.
fn keywords(info: &Conninfo) -> Result<String, pha_core::conninfo::ConninfoError> {
    let list = |text: &dyn Fn(&crate::conninfo::Server) -> String| {
        let all: Vec<String> = info.servers.iter().map(text).collect();
        all.join(",")
    };
    let mut pairs = vec![
        ("host", list(&|server| server.host.clone())),
        ("port", list(&|server| server.port.to_string())),
        ("dbname", info.database()),
        ("user", info.user_name()),
    ];
    if let Some(time) = info.connect_timeout {
        pairs.push(("connect_timeout", time.as_secs().to_string()));
    }
    if let Some(password) = &info.password {
        pairs.push(("password", password.expose().to_owned()));
    }
    // libpq needs no quotes around plain words, and they are easier to read without.
    let words: Result<Vec<String>, _> = pairs
        .iter()
        .map(|(keyword, value)| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-/,:".contains(c);
            if !value.is_empty() && value.chars().all(plain) {
                Ok(format!("{keyword}={value}"))
            } else {
                pha_core::conninfo::quote_value(keyword, value)
                    .map(|quoted| format!("{keyword}={quoted}"))
            }
        })
        .collect();
    Ok(words?.join(" "))
}

#[cfg(test)]
mod tests;
