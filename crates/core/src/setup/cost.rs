//! What a change of Pacemaker's configuration costs while the database runs.
//!
//! | what is changed | what Pacemaker does | cost |
//! | --- | --- | --- |
//! | options, defaults, meta attributes, operations, constraints | takes them up | nothing |
//! | something that was not there | starts it, or leaves it to `cls_start` | nothing |
//! | a parameter of an address, or its removal | stops the address, and starts it with the new value | the connections over it |
//! | a parameter of the database that is reloadable | from 2.1 on: the action `reload-agent` | nothing but that |
//! | the same before Pacemaker 2.1, or one that is not reloadable | demotes and stops every instance at once, and starts them | restart |
//! | the database's agent | the same | restart |
//!
//! Source: Pacemaker Explained, "Reloading an Agent After a Definition Change"; both kinds were seen on
//! Pacemaker 2.0.5 to 3.0.3.

use std::fmt;

use serde::Serialize;

use crate::message;
use crate::message::Message;
use crate::params;

/// What a change costs while the database runs; the dearest is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// Nothing that anybody would notice.
    Nothing,
    /// The agent is told of a new value; PostgreSQL goes on.
    Reload,
    /// An address is taken off its node and set again, or goes for good.
    Address,
    /// PostgreSQL is restarted.
    Restart,
}

impl Cost {
    /// As an operator reads it.
    #[must_use]
    pub fn message(self) -> Message {
        match self {
            Self::Nothing => message!("nothing is restarted"),
            Self::Reload => message!("the agent takes it up, PostgreSQL goes on"),
            Self::Address => message!("the address goes off and on, its connections are cut"),
            Self::Restart => message!("PostgreSQL restarts on every node"),
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}

/// What pairs of names and values belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// An address that is there already: its parameters.
    Address,
    /// A database that is there already: its parameters.
    Database,
    /// Anything else: options, defaults, meta attributes, and what is only just being made.
    Other,
}

impl Owner {
    /// What it costs to change the pair of this name, where Pacemaker `reloads` or does not.
    pub(super) fn cost(self, name: &str, reloads: bool) -> Cost {
        match self {
            Self::Other => Cost::Nothing,
            Self::Address => Cost::Address,
            Self::Database => {
                // One that the agent does not know is not in its meta-data either.
                let reloadable = params::spec(name).is_some_and(|spec| spec.reloadable);
                match reloadable && reloads {
                    true => Cost::Reload,
                    false => Cost::Restart,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_costs_what_the_meta_data_say() {
        for (owner, name, reloads, cost) in [
            (Owner::Database, "monitor_sql", true, Cost::Reload),
            (Owner::Database, "monitor_sql", false, Cost::Restart),
            (Owner::Database, "start_opt", true, Cost::Restart),
            (Owner::Database, "unheard_of", true, Cost::Restart),
            (Owner::Address, "cidr_netmask", true, Cost::Address),
            (Owner::Other, "start_opt", true, Cost::Nothing),
        ] {
            assert_eq!(owner.cost(name, reloads), cost, "{owner:?} {name}");
        }
        assert!(Cost::Restart > Cost::Address && Cost::Reload > Cost::Nothing);
        // What the meta-data call reloadable is what costs a reload, and nothing else.
        let text = crate::metadata::xml(1);
        for spec in params::TABLE {
            let said = format!("<parameter name=\"{}\"", spec.name);
            let line = text.lines().find(|line| line.starts_with(&said));
            let reloadable = line.is_some_and(|line| line.contains("reloadable=\"1\""));
            let cost = Owner::Database.cost(spec.name, true);
            assert_eq!(cost == Cost::Reload, reloadable, "{}", spec.name);
        }
    }
}
