//! What `cls_init` does on nodes that have the packages and not more: a plan, made of what every node says.
//!
//! Data that are there are used and never written over: a database is made where no node has one, and copied
//! to nodes that have none. Where a cluster lives already nothing is prepared any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::begun::Begun;
use crate::names::{NodeName, and};

pub mod block;
mod facts;
mod hba;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::{ASKED, Setting};

pub use facts::{COPY_FILES, InitData, InitFacts, InitSite};

/// The first version that is prepared: `pg_rewind` does without a superuser from it on.
const FIRST_VERSION: u32 = 11;

/// What the lock service answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitLock {
    /// The configuration has none.
    None,
    /// The row is there, as nobody has used it yet.
    Fresh,
    /// The row is there, and a cluster has used it.
    Used,
    /// It answers, and the row is not there.
    Lacking,
    /// It does not let the cluster's role in, or does not answer.
    Silent {
        /// Why.
        why: String,
        /// Its administrator sees the row, as a cluster has used it.
        used: bool,
    },
}

impl InitLock {
    /// What a row amounts to, by the term and the owner in it, and by whether it has all the columns that this version
    /// needs. A cluster that has used it is not begun anew, whatever else the row lacks.
    #[must_use]
    pub fn of_row(term: Option<i64>, owner: Option<&str>, whole: bool) -> Self {
        let used =
            term.is_some_and(|term| term > 0) || owner.is_some_and(|owner| !owner.is_empty());
        match (used, whole) {
            (true, _) => Self::Used,
            (false, true) => Self::Fresh,
            (false, false) => Self::Lacking,
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum InitAction {
    /// Makes a new database, whole with its settings and lines: one that were left without them would count
    /// as somebody's own afterwards.
    Initdb {
        /// Its locale.
        locale: String,
        /// Where the file system is mounted.
        on: Option<String>,
        /// What its configuration gets.
        settings: Vec<Setting>,
        /// What its `pg_hba.conf` gets.
        hba: Vec<String>,
    },
    /// Adds settings to PostgreSQL's configuration.
    Settings {
        /// Which.
        settings: Vec<Setting>,
    },
    /// Writes the passwords into the passfiles of every node.
    Passfiles {
        /// The roles that get a new password, since the configuration has none.
        generated: Vec<String>,
    },
    /// Starts the database, for the next steps.
    Start,
    /// Makes the roles, or gives them the rights that they lack.
    Roles {
        /// Those whose password is new.
        generated: Vec<String>,
    },
    /// Adds lines to `pg_hba.conf`.
    Hba {
        /// Which.
        lines: Vec<String>,
    },
    /// Copies the database from another node.
    Copy {
        /// That node.
        source: NodeName,
        /// Where the file system is mounted.
        on: Option<String>,
    },
    /// Stops the database.
    Stop,
    /// Makes the lock service's role, tables and row.
    LockService,
}

impl InitAction {
    /// The step's identifier.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        match self {
            Self::Initdb { .. } => "initdb",
            Self::Settings { .. } => "settings",
            Self::Passfiles { .. } => "passfiles",
            Self::Start => "start",
            Self::Roles { .. } => "roles",
            Self::Hba { .. } => "hba",
            Self::Copy { .. } => "copy",
            Self::Stop => "stop",
            Self::LockService => "lock-service",
        }
    }
}

/// One step, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitStep {
    /// The node; none for what is done from here.
    pub node: Option<NodeName>,
    /// What is done.
    pub action: InitAction,
}

/// Something that is in the way, or that is left to the administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InitFinding {
    /// Its identifier.
    pub id: &'static str,
    /// Where; empty for what is of no node.
    pub nodes: Vec<NodeName>,
    /// What it is.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for InitFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.nodes.is_empty() {
            write!(f, " (on {})", and(&self.nodes))?;
        }
        write!(f, ": {}", self.remedy)
    }
}

/// The plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InitPlan {
    /// The steps, in the order in which they are done.
    pub steps: Vec<InitStep>,
    /// What is in the way: nothing is done while there is anything.
    pub refused: Vec<InitFinding>,
    /// What is left to do by hand.
    pub remains: Vec<InitFinding>,
}

/// What is found, that of several nodes together.
#[derive(Default)]
struct Findings(Vec<InitFinding>);

impl Findings {
    fn add(&mut self, id: &'static str, node: &NodeName, what: String, remedy: impl Into<String>) {
        let known = self
            .0
            .iter_mut()
            .find(|one| one.id == id && one.what == what);
        match known {
            Some(known) => known.nodes.push(node.clone()),
            None => self.0.push(InitFinding {
                id,
                nodes: vec![node.clone()],
                what,
                remedy: remedy.into(),
            }),
        }
    }

    fn add_nowhere(&mut self, id: &'static str, what: String, remedy: impl Into<String>) {
        self.0.push(InitFinding {
            id,
            nodes: Vec::new(),
            what,
            remedy: remedy.into(),
        });
    }
}

/// Where the database is, or comes from.
enum Origin<'a> {
    /// It is made.
    New(&'a NodeName),
    /// It is there, and nodes without data get a copy.
    There(&'a NodeName),
    /// Every node has its data, or none can be copied: why.
    Everywhere,
}

impl InitPlan {
    /// Makes it of what every node and the lock service say.
    #[must_use]
    pub fn make(
        site: &InitSite<'_>,
        facts: &BTreeMap<NodeName, InitFacts>,
        lock: &InitLock,
    ) -> Self {
        let mut refused = Findings::default();
        look_at_roles(site, &mut refused);
        for (node, facts) in facts {
            look_at_programs(site, node, facts, &mut refused);
            look_at_data(site, node, facts, &mut refused);
        }
        look_together(facts, &mut refused);
        let origin = origin(site, facts, &mut refused);
        let mut steps = Steps {
            site,
            facts,
            steps: Vec::new(),
        };
        if refused.0.is_empty() {
            steps.database(&origin, &mut refused);
        }
        if !steps.steps.is_empty() {
            look_at_life(site, facts, lock, &mut refused);
        }
        let mut remains = Findings::default();
        match lock {
            InitLock::None | InitLock::Fresh | InitLock::Used => {}
            InitLock::Lacking => steps.anywhere(InitAction::LockService),
            InitLock::Silent { used: true, .. } if site.administrator => look_at_use(&mut refused),
            InitLock::Silent { .. } if site.administrator => {
                steps.anywhere(InitAction::LockService)
            }
            InitLock::Silent { why, .. } => remains.add_nowhere(
                "lock-service",
                format!("the lock service does not let this cluster in: {why}"),
                lock_remedy(facts),
            ),
        }
        Self {
            steps: steps.steps,
            refused: refused.0,
            remains: remains.0,
        }
    }
}

fn lock_remedy(facts: &BTreeMap<NodeName, InitFacts>) -> String {
    let addresses: BTreeSet<String> = facts
        .values()
        .flat_map(|facts| hba::usual(&facts.addresses))
        .map(|own| own.address.to_string())
        .collect();
    let addresses: Vec<String> = addresses.into_iter().collect();
    format!(
        "start it, and let {} in by its pg_hba.conf; --lock-admin with the connection string of a superuser there makes the role and the tables; or there by hand: distlock init --role",
        and(&addresses)
    )
}

/// A name that no line of `pg_hba.conf` can hold.
fn look_at_roles(site: &InitSite<'_>, found: &mut Findings) {
    let params = site.params;
    let strange = |role: &&String| {
        role.contains(|c: char| c == '"' || c == ',' || c.is_whitespace() || c.is_control())
    };
    let roles = [Some(&params.repuser), params.monitor_user.as_ref()];
    for role in roles.into_iter().flatten() {
        if *role == params.pgdba {
            found.add_nowhere(
                "roles",
                format!("the role {role} is also the account that PostgreSQL belongs to, a superuser that comes in without a password"),
                "name another one in config.ini",
            );
        }
    }
    for role in roles.into_iter().flatten().filter(strange) {
        found.add_nowhere(
            "roles",
            format!("the role {role:?} has a character that pg_hba.conf sets lines apart by"),
            "name another one in config.ini",
        );
    }
}

fn look_at_programs(site: &InitSite<'_>, node: &NodeName, facts: &InitFacts, found: &mut Findings) {
    let params = site.params;
    if !facts.account {
        let what = format!("there is no account {}", params.pgdba);
        let remedy = "install PostgreSQL's server, or correct pgsql_pgdba in config.ini";
        found.add("account", node, what, remedy);
        return;
    }
    match facts.major {
        None => found.add(
            "programs",
            node,
            format!("pgsql_pgctl={} has no PostgreSQL beside it", params.pgctl),
            "install PostgreSQL's server, or correct pgsql_pgctl in config.ini",
        ),
        Some(major) if major < FIRST_VERSION => found.add(
            "version",
            node,
            format!("PostgreSQL {major} is older than {FIRST_VERSION}"),
            "make the database and its roles by hand, as the manual says; cls_setup works with it",
        ),
        Some(_) => {
            for program in &facts.lacking {
                let what = format!("there is no {program}");
                found.add("programs", node, what, program.remedy().to_string());
            }
        }
    }
}

fn look_at_data(site: &InitSite<'_>, node: &NodeName, facts: &InitFacts, found: &mut Findings) {
    let pgdata = &site.params.pgdata;
    match &facts.data {
        InitData::None if facts.config == Some(false) && !Path::new(&site.params.config).starts_with(pgdata) => {
            found.add(
                "config",
                node,
                format!("{} is not there, and what makes or copies a database puts its configuration into {pgdata}", site.params.config),
                "put it there, or take pgsql_config out of config.ini",
            );
        }
        InitData::None => {}
        InitData::Foreign(name) => found.add(
            "data",
            node,
            format!("{pgdata} is no data directory of PostgreSQL, and not empty: {name} is in it"),
            "move that away, or correct pgsql_pgdata in config.ini; on a file system of its own name a directory below its mount point",
        ),
        InitData::Unfinished(method) => found.add(
            "data",
            node,
            format!("{pgdata} is what an interrupted {method} has left"),
            match method {
                Begun::Initdb => format!("look that it is nothing that you need, and empty {pgdata} there; then cls_init again"),
                Begun::Rewind | Begun::Backup => "cls_rebuild_slave there, once the cluster runs: it knows what was moved aside".to_owned(),
            },
        ),
        InitData::Unknown(why) => found.add(
            "data",
            node,
            format!("{pgdata} cannot be looked at: {why}"),
            "correct pgsql_pgdata in config.ini, or the rights of the directory",
        ),
        InitData::There { major, .. } => {
            if let (Some(data), Some(program)) = (major, facts.major)
                && *data != program
            {
                found.add(
                    "version",
                    node,
                    format!("{} is of PostgreSQL {program}, and the data in {pgdata} are of {data}", site.params.pgctl),
                    "correct pgsql_pgctl or pgsql_pgdata in config.ini",
                );
            }
            if facts.config == Some(false) {
                found.add(
                    "config",
                    node,
                    format!("there is no configuration file {}", site.params.config),
                    "correct pgsql_config in config.ini",
                );
            }
        }
    }
    if facts.account && facts.config.is_none() {
        found.add(
            "config",
            node,
            format!("{} cannot be looked at", site.params.config),
            "see that its disk answers and that the account of the database may look into its directory",
        );
    }
}

fn look_together(facts: &BTreeMap<NodeName, InitFacts>, found: &mut Findings) {
    let mut databases: BTreeMap<u64, Vec<&NodeName>> = BTreeMap::new();
    let mut versions: BTreeMap<u32, Vec<&NodeName>> = BTreeMap::new();
    for (node, facts) in facts {
        if let InitData::There {
            identifier: Some(identifier),
            ..
        } = facts.data
        {
            databases.entry(identifier).or_default().push(node);
        }
        if let Some(major) = facts.major {
            versions.entry(major).or_default().push(node);
        }
    }
    let said = |what: &mut dyn Iterator<Item = (String, &Vec<&NodeName>)>| {
        what.map(|(what, nodes)| format!("{what} on {}", and(nodes)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if databases.len() > 1 {
        let list = said(&mut databases.iter().map(|(id, nodes)| (id.to_string(), nodes)));
        found.add_nowhere(
            "databases",
            format!("the nodes have different databases: {list}"),
            "move away the data that do not belong to the cluster; nodes without data get a copy",
        );
    }
    if versions.len() > 1 {
        let list = said(&mut versions.iter().map(|(v, nodes)| (v.to_string(), nodes)));
        found.add_nowhere(
            "versions",
            format!("the nodes have different versions of PostgreSQL: {list}"),
            "install the same on each, or correct pgsql_pgctl in config.ini",
        );
    }
}

fn origin<'a>(
    site: &InitSite<'a>,
    facts: &'a BTreeMap<NodeName, InitFacts>,
    found: &mut Findings,
) -> Origin<'a> {
    let without = |facts: &InitFacts| facts.data == InitData::None;
    let missing: Vec<&NodeName> = facts
        .iter()
        .filter(|(_, facts)| without(facts))
        .map(|(node, _)| node)
        .collect();
    if missing.is_empty() {
        return Origin::Everywhere;
    }
    if missing.len() == facts.len() {
        let first = site.nodes.iter().find(|node| facts.contains_key(*node));
        return first.map_or(Origin::Everywhere, Origin::New);
    }
    // What cannot be told may be another one, and is not copied from.
    let original = |facts: &InitFacts| match facts.data {
        InitData::There { copy, .. } => copy != Some(true),
        _ => false,
    };
    let sure = |facts: &InitFacts| {
        matches!(
            facts.data,
            InitData::There {
                copy: Some(false),
                ..
            }
        )
    };
    let mut originals = facts.iter().filter(|(_, facts)| original(facts));
    match (originals.next(), originals.next()) {
        (Some((node, facts)), None) if sure(facts) => Origin::There(node),
        _ => {
            let what = "it has no data, and which of the others has the database itself is not for this command to say";
            for node in missing {
                found.add(
                    "original",
                    node,
                    what.to_owned(),
                    "cls_setup and cls_start with those that have data, then cls_rebuild_slave there",
                );
            }
            Origin::Everywhere
        }
    }
}

/// What a cluster has used is not made anew.
fn look_at_use(found: &mut Findings) {
    found.add_nowhere(
        "used",
        "a cluster has used this row of the lock service".to_owned(),
        "choose another pgsql_distlock_lockname in config.ini for a new cluster; of an old one bring back the configuration (cls_setup) and the data (cls_rebuild_slave)",
    );
}

/// Whether the database is in use, or has been a cluster's: then nothing is prepared any more.
fn look_at_life(
    site: &InitSite<'_>,
    facts: &BTreeMap<NodeName, InitFacts>,
    lock: &InitLock,
    found: &mut Findings,
) {
    if site.configured {
        found.add_nowhere(
            "configured",
            "the database is in Pacemaker's configuration already, and not all of it is as cls_init would make it".to_owned(),
            "cls_doctor says what is wrong with the cluster; cls_rebuild_slave makes the data of a standby",
        );
        return;
    }
    if *lock == InitLock::Used {
        look_at_use(found);
    }
    for (node, _) in facts.iter().filter(|(_, facts)| facts.runs) {
        found.add(
            "runs",
            node,
            "PostgreSQL runs, and is prepared while it is stopped".to_owned(),
            "stop it when nobody needs it, and keep the system from starting it (systemctl disable --now postgresql); then cls_init again",
        );
    }
}

/// The steps as they come together.
struct Steps<'a> {
    site: &'a InitSite<'a>,
    facts: &'a BTreeMap<NodeName, InitFacts>,
    steps: Vec<InitStep>,
}

impl Steps<'_> {
    fn on(&mut self, node: &NodeName, action: InitAction) {
        self.steps.push(InitStep {
            node: Some(node.clone()),
            action,
        });
    }

    fn anywhere(&mut self, action: InitAction) {
        self.steps.push(InitStep { node: None, action });
    }

    fn database(&mut self, origin: &Origin<'_>, found: &mut Findings) {
        let (site, facts) = (self.site, self.facts);
        let made = match origin {
            Origin::New(node) => Some(*node),
            Origin::There(_) | Origin::Everywhere => None,
        };
        if let Some(node) = made {
            let action = InitAction::Initdb {
                locale: site.locale.to_owned(),
                on: facts[node].mounted.clone(),
                settings: settings::missing(site, &facts[node], true),
                hba: hba::missing(site, facts, &facts[node], true).lines,
            };
            self.on(node, action);
        }
        // What lies in the data directory is copied with it.
        let with_data: Vec<(&NodeName, &InitFacts)> = facts
            .iter()
            .filter(|(_, one)| one.data != InitData::None)
            .collect();
        for (node, one) in &with_data {
            let settings = settings::missing(site, one, false);
            if !settings.is_empty() {
                self.on(node, InitAction::Settings { settings });
            }
        }
        let lines = |node: &NodeName, one: &InitFacts, found: &mut Findings| {
            let hba = hba::missing(site, facts, one, false);
            for refusal in hba.refused {
                found.add(
                    "hba",
                    node,
                    format!("a line of pg_hba.conf refuses {refusal}"),
                    "take it away or put it behind one that lets that in; then cls_init again",
                );
            }
            hba.lines
        };
        let hba: Vec<(&NodeName, Vec<String>)> = with_data
            .iter()
            .map(|(node, one)| (*node, lines(node, one, found)))
            .filter(|(_, lines)| !lines.is_empty())
            .collect();
        let source = match origin {
            Origin::New(node) | Origin::There(node) => Some(*node),
            Origin::Everywhere => None,
        };
        for (node, lines) in hba {
            self.on(node, InitAction::Hba { lines });
        }
        let Some(source) = source else { return };
        let generated = self.generated();
        if matches!(origin, Origin::There(_)) && !generated.is_empty() {
            found.add_nowhere(
                "passwords",
                format!("the database is there already, and so may be the role {}, whose password neither config.ini nor the passfile of every node has", and(&generated)),
                "write its password into config.ini (pgsql_reppassword, pgsql_monitor_password), or a new one if there is no such role yet; then cls_init again",
            );
        }
        self.anywhere(InitAction::Passfiles {
            generated: generated.clone(),
        });
        self.on(source, InitAction::Start);
        self.on(source, InitAction::Roles { generated });
        for (node, one) in facts {
            if node != source && one.data == InitData::None {
                let action = InitAction::Copy {
                    source: source.clone(),
                    on: one.mounted.clone(),
                };
                self.on(node, action);
            }
        }
        self.on(source, InitAction::Stop);
    }

    /// The roles that need a new password: neither the configuration nor the passfile of every node has one.
    fn generated(&self) -> Vec<String> {
        let params = self.site.params;
        let lacks = |role: &&String| {
            let mut nodes = self.facts.values();
            !self.site.given.contains(role) && !nodes.all(|facts| facts.passwords.contains(*role))
        };
        let roles = [Some(&params.repuser), params.monitor_user.as_ref()];
        roles.into_iter().flatten().filter(lacks).cloned().collect()
    }
}

fn listed(settings: &[Setting]) -> String {
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    settings.join(", ")
}

/// What a step does, as a clause.
impl fmt::Display for InitStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |on: &Option<String>| match on {
            Some(place) => format!(" (on the file system at {place})"),
            None => String::new(),
        };
        match &self.action {
            InitAction::Initdb {
                locale,
                on: place,
                settings,
                hba,
            } => {
                write!(
                    f,
                    "make a new database, locale {locale}{}, with postgresql.conf: {}; and pg_hba.conf: {}",
                    on(place),
                    listed(settings),
                    hba.join("; ")
                )?;
            }
            InitAction::Settings { settings } => {
                write!(f, "add to postgresql.conf: {}", listed(settings))?;
            }
            InitAction::Passfiles { generated } => {
                f.write_str("write the passfiles of every node")?;
                if !generated.is_empty() {
                    write!(f, ", with a new password for {}", and(generated))?;
                }
            }
            InitAction::Start => f.write_str("start the database for the next steps")?,
            InitAction::Roles { .. } => {
                f.write_str(
                    "make the roles that are not there, without superuser, and their rights",
                )?;
            }
            InitAction::Hba { lines } => {
                write!(f, "add to pg_hba.conf: {}", lines.join("; "))?;
            }
            InitAction::Copy { source, on: place } => {
                write!(
                    f,
                    "copy the database from {source} (pg_basebackup){}",
                    on(place)
                )?;
            }
            InitAction::Stop => f.write_str("stop the database: Pacemaker starts it")?,
            InitAction::LockService => {
                f.write_str("make the tables and the row of the lock service, and the rights of the cluster's role")?;
            }
        }
        match &self.node {
            Some(node) => write!(f, " [{node}]"),
            None => Ok(()),
        }
    }
}
