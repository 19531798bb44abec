//! The cluster as a command sees it: one `cibadmin --query`, and the database resource in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pha_core::cluster::{Cluster as View, ClusterNode};
use pha_core::dialect::RoleWords;
use pha_core::health::daemons::in_part;
use pha_core::message;
use pha_core::message::Message;
use pha_core::names::{NodeName, ResourceName};
use pha_core::params::{LockService as LockParameter, Params};
use pha_core::parse::cib::{Cib, CibResource};
use pha_core::quoted::shell_word;
use pha_core::status::Role;
use pha_host::clock::Deadline;
use pha_host::command::Command;
use pha_host::conninfo::{Conninfo, Secret};
use pha_host::local;
use pha_host::lock::{LockName, LockService};
use pha_host::pacemaker::{self, Pacemaker};
use pha_host::pgctl;
use pha_host::postgres::Postgres;
use pha_host::user::User;

use crate::app::Session;
use crate::error::ClsError;
use crate::tools;

/// The agent that a database resource has.
const AGENT: &str = "ocf:heartbeat:expgsql";
/// How long the question to Pacemaker may take.
const QUERY: Duration = Duration::from_secs(5);

/// The cluster at one moment, and how the database in it is reached.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// What is seen of it.
    pub(crate) view: View,
    /// The database resource.
    pub(crate) resource: ResourceName,
    /// The agent's parameters; those with a wrong value have their default.
    pub(crate) params: Params,
    /// The same as they are given.
    pub(crate) given: Given,
    /// Every node, in the order of the configuration.
    pub(crate) names: Vec<NodeName>,
    /// The words for the roles in the cluster's configuration.
    pub(crate) roles: RoleWords,
}

/// The agent's parameters as they are in the cluster's configuration, a password perhaps among them.
#[derive(Clone)]
pub(crate) struct Given(pub(crate) BTreeMap<String, String>);

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Cluster {
    /// Looks at the cluster.
    ///
    /// # Errors
    /// [`ClsError::NoCluster`], what is wrong with the answer, or that there is no database, or
    /// several and none was named.
    pub(crate) fn look(session: &Session, deadline: Deadline) -> Result<Self, ClsError> {
        let cib = Pacemaker::new(ResourceName::undefined(), QUERY).cib(deadline)?;
        Self::find(&cib, session.common.resource.as_deref())
    }

    /// The database in a cluster: the only promotable clone of our agent, or the one named.
    fn find(cib: &Cib, wanted: Option<&str>) -> Result<Self, ClsError> {
        let named = |resource: &CibResource| {
            wanted.is_none_or(|name| {
                resource.id == name || resource.container.as_ref().is_some_and(|c| c.id == name)
            })
        };
        let found: Vec<&CibResource> = cib
            .resources
            .iter()
            .filter(|resource| resource.agent == AGENT && named(resource))
            .collect();
        let resource = match found[..] {
            [resource] => resource,
            [] => {
                let named = wanted.map(|name| format!(" called {name}"));
                return Err(ClsError::NoResource(named.unwrap_or_default()));
            }
            _ => {
                let names: Vec<&str> = found.iter().map(|resource| resource.id.as_str()).collect();
                return Err(ClsError::SeveralResources(names.join(", ")));
            }
        };
        let given = resource
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let (params, _, _) = Params::parse_leniently(given);
        let name = ResourceName::new(resource.id.as_str())
            .map_err(|error| ClsError::Argument(Message::from(error.to_string())))?;
        Ok(Self {
            view: View::of_cib(cib, &name),
            resource: name,
            params,
            given: Given(resource.parameters.clone()),
            names: cib.nodes.iter().map(|node| node.name.clone()).collect(),
            roles: cib
                .dialect
                .map_or(RoleWords::Master, |dialect| dialect.roles),
        })
    }

    /// Looks again. One look has a time of its own: at the end of a wait the last one must still
    /// say what is missing, rather than fail for lack of time.
    pub(crate) fn again(&self, session: &Session) -> Result<Self, ClsError> {
        let next = Self::look(session, Deadline::after(QUERY))?;
        if next.resource == self.resource {
            Ok(next)
        } else {
            Err(ClsError::NoResource(format!(" called {}", self.resource)))
        }
    }

    /// The nodes that should run the database: `node_list`, or every node where it is not given.
    pub(crate) fn nodes(&self) -> Vec<NodeName> {
        if self.params.node_list.is_empty() {
            return self.names.clone();
        }
        self.params.node_list.clone()
    }

    /// The node on which the database is promoted, if there is exactly one.
    pub(crate) fn primary(&self) -> Result<NodeName, ClsError> {
        let promoted: Vec<&NodeName> = self.view.promoted().collect();
        match promoted[..] {
            [one] => Ok(one.clone()),
            [] => Err(ClsError::NoPrimary),
            _ => {
                let names: Vec<&str> = promoted.iter().map(|node| node.as_str()).collect();
                Err(ClsError::Disagree(format!(
                    "{} are promoted at the same time",
                    names.join(" and ")
                )))
            }
        }
    }

    /// A node as the cluster sees it; one that it does not know is not there.
    pub(crate) fn node(&self, name: &NodeName) -> ClusterNode {
        self.view.node(name)
    }

    /// A node that an operator has named.
    ///
    /// # Errors
    /// [`ClsError::Argument`] with the names that there are.
    pub(crate) fn named(&self, name: &str) -> Result<NodeName, ClsError> {
        let known = self.names.iter().find(|known| known.as_str() == name);
        known.cloned().ok_or_else(|| {
            let known: Vec<&str> = self.names.iter().map(NodeName::as_str).collect();
            ClsError::Argument(message!(
                "{name} is no node of the cluster; there are {known}",
                name,
                known = known.join(", ")
            ))
        })
    }

    /// What a node is at, in a word, for somebody who waits for it.
    pub(crate) fn state(&self, name: &NodeName) -> String {
        let node = self.node(name);
        match (self.view.pending(name), node.role()) {
            (Some(pending), _) => format!("{name}: {pending}"),
            (None, Role::Stopped) => format!("{name}: {}", node.why_stopped()),
            (None, role) => format!("{name}: {role}"),
        }
    }

    /// # Errors
    /// [`ClsError::NoQuorum`]: a command that changes something could not see its effect.
    pub(crate) fn require_quorum(&self) -> Result<(), ClsError> {
        if self.view.quorum {
            Ok(())
        } else {
            Err(ClsError::NoQuorum)
        }
    }

    /// That this part has quorum, and that Pacemaker runs whole on this node: without one of its daemons its tools
    /// do nothing here and say that they did.
    pub(crate) fn require_whole(&self, deadline: Deadline) -> Result<(), ClsError> {
        self.require_quorum()?;
        let here = self.local_node(deadline)?;
        match self.in_part(deadline).remove(&here) {
            Some((what, hint)) => Err(ClsError::refused(what, hint)),
            None => Ok(()),
        }
    }

    /// The members whose Pacemaker runs without one of its daemons: what is said of each, and what is typed. None
    /// where corosync cannot be asked.
    pub(crate) fn in_part(&self, deadline: Deadline) -> BTreeMap<NodeName, (Message, Message)> {
        let Some(groups) = pacemaker::daemons(deadline.sub_budget(QUERY)) else {
            return BTreeMap::new();
        };
        let nodes = self.view.nodes.iter();
        let said =
            nodes.filter_map(|(name, node)| Some((name.clone(), in_part(name, node, &groups)?)));
        said.collect()
    }

    /// How PostgreSQL is stopped by hand on a node, without Pacemaker.
    pub(crate) fn stop_by_hand(&self) -> String {
        let params = &self.params;
        let [account, program, data] =
            [&params.pgdba, &params.pgctl, &params.pgdata].map(|text| shell_word(text));
        format!("runuser -u {account} -- {program} -D {data} -m fast stop")
    }

    /// This node's name. It usually is the host's; Pacemaker is asked where it is not.
    pub(crate) fn local_node(&self, deadline: Deadline) -> Result<NodeName, ClsError> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        if let Ok(name) = self.named(host.trim()) {
            return Ok(name);
        }
        let output = tools::run(Command::new("crm_node").arg("--name"), deadline)?;
        NodeName::new(output.text().trim()).map_err(|error| {
            ClsError::failed(format!("crm_node --name: {error}"), "crm_node --name")
        })
    }

    /// The system identifier of this node's data, if it has any.
    pub(crate) fn local_system(&self) -> Option<u64> {
        let owner = User::lookup(&self.params.pgdba).ok()?;
        pgctl::system_identifier(&owner, Path::new(&self.params.pgdata))
    }

    /// The built-in lock service, if one is configured, for this node's data.
    pub(crate) fn lock_service(&self) -> Option<Result<LockService, String>> {
        self.lock_service_of(self.local_system())
    }

    /// The same for the database with this system identifier.
    pub(crate) fn lock_service_of(
        &self,
        system: Option<u64>,
    ) -> Option<Result<LockService, String>> {
        self.lock().map(|lock| {
            let (info, name) = lock?;
            Ok(LockService::new(info, name).of_system(system))
        })
    }

    /// Where the built-in lock service is, and which row is ours.
    pub(crate) fn lock(&self) -> Option<Result<(Conninfo, LockName), String>> {
        let LockParameter::Builtin {
            conninfo,
            table,
            lockname,
        } = &self.params.lock_service
        else {
            return None;
        };
        let read = || {
            let info: Conninfo = conninfo.expose().parse().map_err(describe)?;
            let name: LockName = format!("{table}:{lockname}").parse().map_err(describe)?;
            Ok((info, name))
        };
        Some(read())
    }

    /// The local server, as the account that owns it.
    pub(crate) fn local_postgres(&self) -> Result<Postgres, String> {
        let user = User::lookup(&self.params.pgdba).map_err(describe)?;
        Ok(local::postgres(&self.params, &user, "cls"))
    }

    /// The primary over the network, by the address that follows it.
    pub(crate) fn remote_postgres(&self) -> Result<Postgres, String> {
        let params = &self.params;
        let Some(address) = params.master_ip.as_deref() else {
            return Err("the parameter master_ip is not set".to_owned());
        };
        let user = User::lookup(&params.pgdba).map_err(describe)?;
        let role = params.monitor_user.as_deref().unwrap_or(&params.repuser);
        let mut info = Conninfo::local(address, params.pgport)
            .with_user(role)
            .with_dbname(params.pgdb.as_str())
            .or_application_name("cls");
        info.passfile = Some(user.home().join(".pgpass"));
        if let (Some(_), Some(password)) = (&params.monitor_user, &params.monitor_password) {
            info = info.with_password(Secret::new(password.expose()));
        }
        Ok(Postgres { info, user })
    }
}

fn describe(error: impl std::fmt::Display) -> String {
    error.to_string()
}
