//! The keys of config.ini. Those that begin with `pgsql_` are parameters of the agent, checked by
//! the agent's own declaration of them.

use pha_core::params::TABLE;

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An absolute path.
    Path,
    /// An IPv4 or IPv6 address.
    Address,
    /// A node's name.
    Node,
    /// Names with spaces between them, possibly none.
    Names,
    /// A whole number within these limits.
    Integer(u32, u32),
    /// One line of text.
    Text,
    /// A parameter of the agent.
    Agent,
}

/// A key that belongs to no parameter of the agent.
struct Key {
    name: &'static str,
    kind: Kind,
    required: bool,
}

const fn key(name: &'static str, kind: Kind, required: bool) -> Key {
    Key {
        name,
        kind,
        required,
    }
}

const KEYS: &[Key] = &[
    key("cluster_type", Kind::Choice(&["dual", "multi"]), true),
    key("OCF_ROOT", Kind::Path, false),
    key("RESOURCE_LIST", Kind::Names, false),
    key("pha4pgsql_dir", Kind::Path, false),
    key("writer_vip", Kind::Address, true),
    key("reader_vip", Kind::Address, false),
    key(
        "reader_vip_on_primary",
        Kind::Choice(&["true", "false"]),
        false,
    ),
    key("node1", Kind::Node, true),
    key("node2", Kind::Node, true),
    key("othernodes", Kind::Names, false),
    key("vip_nic", Kind::Text, false),
    key("vip_cidr_netmask", Kind::Integer(1, 128), false),
    key("pgsql_reppassword", Kind::Text, false),
    key("pgsql_distlock_psql_cmd", Kind::Text, false),
];

/// The specification's spelling of a key, for which the right one is accepted too.
const MISSPELT: (&str, &str) = ("pgsql_reppassord", "pgsql_reppassword");

/// Parameters of the agent that follow from other keys.
const DERIVED: [&str; 2] = ["node_list", "master_ip"];

/// The key under which a value is kept.
pub(super) fn canonical(name: &str) -> &str {
    if name == MISSPELT.0 { MISSPELT.1 } else { name }
}

/// Whether a value must not be shown.
pub(super) fn is_secret(name: &str) -> bool {
    name == MISSPELT.1
        || name == "pgsql_distlock_psql_cmd"
        || name
            .strip_prefix("pgsql_")
            .and_then(pha_core::params::spec)
            .is_some_and(|spec| spec.secret)
}

/// The keys that must be there.
pub(super) fn required() -> impl Iterator<Item = &'static str> {
    let agent = ["pgsql_pgdata", "pgsql_rep_mode"];
    KEYS.iter()
        .filter(|key| key.required)
        .map(|key| key.name)
        .chain(agent)
}

/// What a key's value must look like; `None` for an unknown key.
pub(super) fn kind(name: &str) -> Option<Kind> {
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Some(key.kind);
    }
    if node_number(name).is_some_and(|number| number > 2) {
        return Some(Kind::Node);
    }
    is_agent_parameter(name).then_some(Kind::Agent)
}

/// `3` of `node3`.
pub(super) fn node_number(name: &str) -> Option<u32> {
    name.strip_prefix("node")
        .filter(|digits| !digits.is_empty() && !digits.starts_with('0'))?
        .parse()
        .ok()
}

fn is_agent_parameter(name: &str) -> bool {
    name.strip_prefix("pgsql_").is_some_and(|parameter| {
        TABLE.iter().any(|spec| spec.name == parameter) && !DERIVED.contains(&parameter)
    })
}

/// Every key by name, for what is allowed and for the nearest one.
fn names() -> impl Iterator<Item = String> {
    let agent = TABLE
        .iter()
        .map(|spec| spec.name)
        .filter(|name| !DERIVED.contains(name));
    KEYS.iter()
        .map(|key| key.name.to_owned())
        .chain(std::iter::once("node3".to_owned()))
        .chain(agent.map(|name| format!("pgsql_{name}")))
}

/// What is wrong with an unknown key: the nearest known one, or all of them.
pub(super) fn unknown(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let nearest = names()
        .map(|known| (distance(&lower, &known.to_ascii_lowercase()), known))
        .min();
    match nearest {
        Some((far, known)) if far <= 1 + name.len() / 4 => {
            format!("is no known key; did you mean {known}?")
        }
        _ => {
            let own: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            format!(
                "is no known key; allowed are {}, node3 and further, and pgsql_ before any parameter of the agent (docs/parameters.md)",
                own.join(", ")
            )
        }
    }
}

/// How many letters have to be put in, taken out or changed to make one text of the other
/// (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, mine) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, theirs) in other.iter().enumerate() {
            let changed = diagonal + usize::from(mine != *theirs);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

impl Kind {
    /// What is wrong with a value, and what is allowed.
    pub(super) fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::Choice(words) if words.contains(&value) => Ok(()),
            Self::Choice(words) => Err(format!("is not allowed: {} is", words.join(" or "))),
            Self::Path if value.starts_with('/') => Ok(()),
            Self::Path => Err("is no absolute path: it must begin with /".to_owned()),
            Self::Address => value
                .parse::<std::net::IpAddr>()
                .map(drop)
                .map_err(|_| "is no IPv4 or IPv6 address".to_owned()),
            Self::Node => node(value),
            Self::Names => value.split_whitespace().try_for_each(node),
            Self::Integer(least, most) => value
                .parse::<u32>()
                .ok()
                .filter(|number| (least..=most).contains(number))
                .map(drop)
                .ok_or_else(|| format!("is not allowed: a whole number from {least} to {most} is")),
            Self::Text if value.chars().any(char::is_control) => {
                Err("contains a control character: one line of text is allowed".to_owned())
            }
            Self::Text => Ok(()),
            // The agent's parameters are checked together: some need others.
            Self::Agent => Ok(()),
        }
    }
}

fn node(name: &str) -> Result<(), String> {
    pha_core::names::NodeName::new(name)
        .map(drop)
        .map_err(|error| format!("is not usable: {error}"))
}
