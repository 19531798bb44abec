//! The cluster as a command sees it: one `cibadmin --query`, and the database resource in it.

use std::path::Path;
use std::time::Duration;

use pha_core::health::{Count, fail_counts};
use pha_core::names::{NodeName, ResourceName};
use pha_core::params::{LockService as LockParameter, Params};
use pha_core::parse::cib::{Cib, CibNode, CibResource};
use pha_core::status::Role;
use pha_host::clock::Deadline;
use pha_host::command::Command;
use pha_host::conninfo::{Conninfo, Secret};
use pha_host::lock::{LockName, LockService};
use pha_host::pacemaker::Pacemaker;
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

/// The cluster at one moment, and the database in it.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Its state.
    pub(crate) cib: Cib,
    /// The database resource.
    pub(crate) resource: ResourceName,
    /// The clone around it, or itself where there is none.
    pub(crate) clone: String,
    /// The agent's parameters; those with a wrong value have their default.
    pub(crate) params: Params,
    /// The clone and the resources that are placed with it, such as the two addresses.
    pub(crate) ours: Vec<String>,
}

impl Cluster {
    /// Looks at the cluster.
    ///
    /// # Errors
    /// [`ClsError::NoCluster`], what is wrong with the answer, or that there is no database, or
    /// several and none was named.
    pub(crate) fn look(session: &Session, deadline: Deadline) -> Result<Self, ClsError> {
        let pacemaker = Pacemaker::new(ResourceName::undefined(), QUERY);
        let xml = pacemaker.cib_xml(deadline)?;
        let cib = Cib::parse(&xml)?;
        Self::find(cib, &xml, session.common.resource.as_deref())
    }

    /// The database in a cluster: the only promotable clone of our agent, or the one named.
    pub(crate) fn find(cib: Cib, xml: &str, wanted: Option<&str>) -> Result<Self, ClsError> {
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
        let clone = resource
            .container
            .as_ref()
            .map_or_else(|| resource.id.clone(), |container| container.id.clone());
        let given = resource
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let (params, _, _) = Params::parse_leniently(given);
        let name = ResourceName::new(resource.id.as_str())
            .map_err(|error| ClsError::Argument(error.to_string()))?;
        let ours = placed_with(xml, &clone);
        Ok(Self {
            resource: name,
            params,
            ours,
            clone,
            cib,
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
            return self
                .cib
                .nodes
                .iter()
                .map(|node| node.name.clone())
                .collect();
        }
        self.params.node_list.clone()
    }

    /// The node on which the database is promoted, if there is exactly one.
    pub(crate) fn primary(&self) -> Result<NodeName, ClsError> {
        let promoted: Vec<&NodeName> = self.cib.promoted(&self.resource).collect();
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

    /// What the database does on a node.
    pub(crate) fn role(&self, node: &CibNode) -> Role {
        self.role_of(node, &self.resource)
    }

    /// What a resource does on a node.
    pub(crate) fn role_of(&self, node: &CibNode, resource: &ResourceName) -> Role {
        if !node.online {
            return Role::Stopped;
        }
        node.resource(resource)
            .and_then(|state| state.role)
            .unwrap_or(Role::Stopped)
    }

    /// Whether an operation of a resource of ours is under way on a node.
    pub(crate) fn pending(&self, node: &CibNode) -> Option<String> {
        self.primitives().find_map(|resource| {
            let pending = node.resource(&resource)?.pending.as_ref()?;
            Some(format!("{} of {resource}", pending.operation))
        })
    }

    /// The primitives of ours: the database itself and the addresses.
    pub(crate) fn primitives(&self) -> impl Iterator<Item = ResourceName> + '_ {
        self.cib
            .resources
            .iter()
            .filter(|resource| {
                let outer = resource.container.as_ref().map(|container| &container.id);
                self.ours.contains(&resource.id) || outer.is_some_and(|id| self.ours.contains(id))
            })
            .filter_map(|resource| ResourceName::new(resource.id.as_str()).ok())
    }

    /// The addresses that are placed with the database.
    pub(crate) fn addresses(&self) -> Vec<ResourceName> {
        self.primitives()
            .filter(|resource| *resource != self.resource)
            .collect()
    }

    /// Why the database does not run on a node that is in the cluster.
    pub(crate) fn why_stopped(&self, node: &CibNode) -> String {
        if node.standby {
            return "in standby".to_owned();
        }
        let state = node.resource(&self.resource);
        if let Some(pending) = state.and_then(|state| state.pending.as_ref()) {
            return format!("{} is under way", pending.operation);
        }
        match state.and_then(|state| state.last_failure.as_ref()) {
            Some(failure) => format!(
                "{} failed with {}: {}",
                failure.operation,
                failure.code,
                failure.reason.as_deref().unwrap_or("no reason given")
            ),
            None => "stopped".to_owned(),
        }
    }

    /// Whether an operator has stopped the database (`cls_stop`).
    pub(crate) fn is_stopped_on_purpose(&self) -> bool {
        self.definition()
            .is_some_and(CibResource::is_stopped_on_purpose)
    }

    /// Whether an operator has taken the database out of Pacemaker's control (`cls_unmanage`).
    pub(crate) fn is_unmanaged(&self) -> bool {
        let is = |value: Option<&str>, wanted: bool| {
            value.and_then(pha_core::ocf::parse_boolean) == Some(wanted)
        };
        is(self.meta("is-managed"), false) || is(self.cib.property("maintenance-mode"), true)
    }

    /// The addresses that are left out of Pacemaker's control, although the database may not be.
    pub(crate) fn unmanaged_addresses(&self) -> impl Iterator<Item = ResourceName> {
        self.addresses().into_iter().filter(|name| {
            let managed = self.cib.resource(name);
            let managed = managed.and_then(|resource| resource.meta_attribute("is-managed"));
            managed.and_then(pha_core::ocf::parse_boolean) == Some(false)
        })
    }

    fn definition(&self) -> Option<&CibResource> {
        self.cib.resource(&self.resource)
    }

    /// A meta attribute of the database.
    fn meta(&self, name: &str) -> Option<&str> {
        self.definition()?.meta_attribute(name)
    }

    /// Whether Pacemaker does not try the database on a node again by itself: the node is away, the
    /// failures have reached the threshold, or one was of the kind that only an operator can mend.
    pub(crate) fn is_given_up(&self, name: &NodeName) -> bool {
        let Some(node) = self.cib.node(name).filter(|node| node.online) else {
            return true;
        };
        let threshold = self
            .meta("migration-threshold")
            .and_then(|text| text.parse::<u32>().ok());
        let counted = fail_counts(&self.cib).iter().any(|count| {
            count.node == *name
                && count.resource == self.resource.as_str()
                && (count.count == Count::Infinity
                    || threshold.is_some_and(|threshold| count.count.reaches(threshold)))
        });
        // OCF: arguments, permissions, installation and configuration are hard errors.
        let hard = node
            .resource(&self.resource)
            .and_then(|state| state.last_failure.as_ref())
            .is_some_and(|failure| (2..=6).contains(&failure.code));
        counted || hard
    }

    /// A node by its name.
    ///
    /// # Errors
    /// [`ClsError::Argument`] with the names that there are.
    pub(crate) fn node(&self, name: &str) -> Result<&CibNode, ClsError> {
        self.cib
            .nodes
            .iter()
            .find(|node| node.name.as_str() == name)
            .ok_or_else(|| {
                let known: Vec<&str> = self.cib.nodes.iter().map(|n| n.name.as_str()).collect();
                ClsError::Argument(format!(
                    "{name} is no node of the cluster; there are {}",
                    known.join(", ")
                ))
            })
    }

    /// # Errors
    /// [`ClsError::NoQuorum`]: a command that changes something could not see its effect.
    pub(crate) fn require_quorum(&self) -> Result<(), ClsError> {
        if self.cib.have_quorum {
            Ok(())
        } else {
            Err(ClsError::NoQuorum)
        }
    }

    /// This node's name. It usually is the host's; Pacemaker is asked where it is not.
    pub(crate) fn local_node(&self, deadline: Deadline) -> Result<NodeName, ClsError> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        if let Some(node) = self
            .cib
            .nodes
            .iter()
            .find(|n| n.name.as_str() == host.trim())
        {
            return Ok(node.name.clone());
        }
        let output = tools::run(Command::new("crm_node").arg("--name"), deadline)?;
        NodeName::new(output.text().trim()).map_err(|error| {
            ClsError::failed(format!("crm_node --name: {error}"), "crm_node --name")
        })
    }

    /// The system identifier of this node's data, if it has any.
    pub(crate) fn local_system(&self) -> Option<u64> {
        pgctl::system_identifier(Path::new(&self.params.pgdata))
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
        let params = &self.params;
        let user = User::lookup(&params.pgdba).map_err(describe)?;
        let mut info = match params.pghost.as_deref().or(params.socketdir.as_deref()) {
            Some(place) => Conninfo::local(place, params.pgport),
            None => {
                let mut info = Conninfo::default();
                for server in &mut info.servers {
                    server.port = params.pgport;
                }
                info
            }
        };
        let role = params.monitor_user.as_deref().unwrap_or(&params.pgdba);
        info = info.with_user(role).with_dbname(params.pgdb.as_str());
        if let Some(password) = &params.monitor_password {
            info = info.with_password(Secret::new(password.expose()));
        }
        Ok(Postgres {
            info: info.or_application_name("cls"),
            user,
        })
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

/// The clone and every resource that a colocation ties to it.
fn placed_with(xml: &str, clone: &str) -> Vec<String> {
    let mut ours = vec![clone.to_owned()];
    if let Ok(document) = roxmltree::Document::parse(xml) {
        let tied = document
            .descendants()
            .filter(|node| node.has_tag_name("rsc_colocation"))
            .filter(|node| node.attribute("with-rsc") == Some(clone))
            .filter_map(|node| node.attribute("rsc"));
        for resource in tied {
            if !ours.iter().any(|known| known == resource) {
                ours.push(resource.to_owned());
            }
        }
    }
    ours
}
