//! The steps that are done from here: passwords and the lock service.

use pha_core::conninfo;
use pha_core::init::InitAction;
use pha_core::names::NodeName;
use pha_core::secret::Secret;
use pha_host::clock::Deadline;
use pha_host::config::ClusterConfig;
use pha_host::lock::{self, RoleName, Shown};
use pha_host::postgres::prepare::new_password;

use super::node::Order;
use super::{AGAIN, LOCK, Work, failed};
use crate::commands::setup::{self, design};
use crate::error::ClsError;
use crate::site;

fn password() -> Result<Secret, ClsError> {
    new_password().map_err(|error| failed(&format!("random numbers: {error}")))
}

impl Work<'_> {
    /// Has a node do a step.
    pub(super) fn order(
        &self,
        node: &NodeName,
        action: &InitAction,
        deadline: Deadline,
    ) -> Result<(), ClsError> {
        let order = Order {
            parameters: self.intent.design.parameters.clone(),
            action: action.clone(),
        };
        let stdin = serde_json::to_vec(&order).map_err(|error| failed(&error))?;
        let done = site::ask_one(&self.config, node, &["init-do"], &stdin, deadline);
        done.map(drop).map_err(|why| {
            let what = format!("{node}: {}", why.why);
            ClsError::failed(what, why.remedy_or(AGAIN))
        })
    }

    /// Writes the passwords of config.ini and those that are new into the passfiles of every node.
    pub(super) fn passfiles(&self, generated: &[String]) -> Result<(), ClsError> {
        let mut config = self.config.clone();
        for role in generated {
            let new = password()?;
            if *role == self.params.repuser {
                config.replication_password = Some(new);
            } else {
                let (name, new) = ("monitor_password".to_owned(), new.expose().to_owned());
                config.agent.insert(name, new);
            }
        }
        self.write(&config)
    }

    fn write(&self, config: &ClusterConfig) -> Result<(), ClsError> {
        let intent = design::intent(config)?;
        setup::passfiles(config, &intent, false, self.deadline).map(drop)
    }

    /// Makes the tables and the row; by an administrator also the role and its rights.
    pub(super) fn lock_service(&self) -> Result<(), ClsError> {
        let Some((info, name)) = &self.lock else {
            return Ok(());
        };
        let limit = || self.deadline.sub_budget(LOCK);
        let administrator = self
            .administrator
            .filter(|admin| admin.user_name() != info.user_name());
        let Some(admin) = administrator else {
            let info = self.administrator.unwrap_or(info);
            let made = lock::init(info, name, limit());
            return made.map(drop).map_err(|trouble| {
                ClsError::failed(
                    format!("the lock service {info}: {trouble}"),
                    "cls_init --yes --lock-admin with the connection string of a superuser there; or there by hand: distlock init --role",
                )
            });
        };
        let role: RoleName = info.user_name().parse().map_err(|error| failed(&error))?;
        if !lock::has_role(admin, name, &role, limit()).map_err(|trouble| failed(&trouble))? {
            let password = match info.password.clone() {
                Some(given) => given,
                None => self.new_lock_password()?,
            };
            lock::ensure_role(admin, name, &role, Some(&password), limit())
                .map_err(|trouble| failed(&trouble))?;
        }
        let _ = lock::init(admin, name, limit()).map_err(|trouble| failed(&trouble))?;
        let granted =
            lock::grant(admin, name, &role, limit()).map_err(|trouble| failed(&trouble))?;
        if !granted.missing.is_empty() {
            self.session.ui.progress(&format!(
                "{role} still sees the rows of others there: row security stays off until {} have their own (distlock init --role)",
                granted.missing.join(", ")
            ));
        }
        match lock::show(info, name, limit()) {
            Ok(Shown::Row(_)) => Ok(()),
            Ok(_) => Err(failed(&format!("{role} does not see the row {name}"))),
            Err(trouble) => Err(ClsError::failed(
                format!("the lock service {info} does not let {role} in: {trouble}"),
                "a line for it in pg_hba.conf there, for every node, and a reload; or its password in root's passfile (config.ini, cls_setup); then cls_init again",
            )),
        }
    }

    /// A password for the role of the lock service, in the passfiles of every node already.
    fn new_lock_password(&self) -> Result<Secret, ClsError> {
        let new = password()?;
        let given = self.config.lock_service.as_ref();
        let given = given.map_or("", |given| given.expose());
        let pairs = conninfo::parse(given).map_err(|error| {
            ClsError::refused(
                format!("pgsql_distlock_conninfo: {error}: no password can be made for its role"),
                "write it as keywords (host=… port=… dbname=… user=…), or give it the password",
            )
        })?;
        let pairs = pairs
            .iter()
            .map(|(keyword, value)| (keyword.as_str(), value.expose()))
            .chain([("password", new.expose())]);
        let with = conninfo::render(pairs).map_err(|error| failed(&error))?;
        let config = ClusterConfig {
            lock_service: Some(Secret::new(with)),
            ..self.config.clone()
        };
        self.write(&config)?;
        Ok(new)
    }
}
