//! From config.ini to the design of the cluster, with every password taken out of it.

use std::collections::BTreeMap;

use pha_core::conninfo;
use pha_core::params::Params;
use pha_core::setup::Design;
use pha_host::config::{ClusterConfig, ClusterType};
use pha_host::conninfo::{Conninfo, Method, RequireAuth};

use super::passfile::{Passfiles, line};
use crate::error::ClsError;

/// How a dead primary is noticed where nothing else says so.
const KEEPALIVES: &str = "keepalives_idle=5 keepalives_interval=2 keepalives_count=2";

/// What Pacemaker gets, and what the passfiles get.
#[derive(Debug)]
pub(crate) struct Intent {
    /// For Pacemaker; without passwords.
    pub(crate) design: Design,
    /// For the passfiles on every node.
    pub(crate) passfiles: Passfiles,
    /// Which password could travel in clear, where, and what keeps it from that.
    pub(crate) in_clear: Vec<InClear>,
}

/// A password that whoever answers could have sent to him without encryption.
#[derive(Debug)]
pub(crate) struct InClear {
    /// Which, and where.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: &'static str,
}

const LOCK_REMEDY: &str = "add sslmode=verify-full and sslrootcert=… to pgsql_distlock_conninfo, or at least require_auth=scram-sha-256";
const REPLICATION_REMEDY: &str = "add sslmode=verify-full and sslrootcert=… to pgsql_primary_conninfo_opt, or from PostgreSQL 16 on at least require_auth=scram-sha-256";

/// Takes config.ini apart.
///
/// # Errors
/// [`ClsError::Refused`] for a value whose password cannot be kept out of the cluster.
pub(crate) fn intent(config: &ClusterConfig) -> Result<Intent, ClsError> {
    let mut parameters = config.agent.clone();
    let params = parsed(&parameters)?;
    let mut passfiles = Passfiles::new(&params.pgdba);
    let port = params.pgport.to_string();
    let mut replication = config.replication_password.clone();
    if let Some(options) = parameters.get("primary_conninfo_opt").cloned() {
        let (plain, password) = without_password("pgsql_primary_conninfo_opt", &options)?;
        parameters.insert("primary_conninfo_opt".to_owned(), plain);
        replication = replication.or(password);
    } else {
        parameters.insert("primary_conninfo_opt".to_owned(), KEEPALIVES.to_owned());
    }
    let mut in_clear = Vec::new();
    if replication.is_some() && is_left_to_the_server(&params) {
        in_clear.push(InClear {
            what: format!(
                "the password of {} (replication) could travel in clear to {} and between the nodes",
                params.repuser, config.writer_vip
            ),
            remedy: REPLICATION_REMEDY,
        });
    }
    if let Some(password) = replication {
        // Any host: the writer's address, and each node while a standby is rebuilt from it.
        passfiles.database(line(["*", &port, "*", &params.repuser], password.expose()));
    }
    let monitor = parameters.remove("monitor_password");
    if let (Some(password), Some(user)) = (monitor, &params.monitor_user) {
        passfiles.database(line(["*", &port, "*", user], &password));
    }
    if let Some(given) = &config.lock_service {
        let (plain, password) = without_password("pgsql_distlock_conninfo", given.expose())?;
        if let Some(password) = password {
            let info = lock_info(config)?;
            for server in &info.servers {
                let port = server.port.to_string();
                let fields = [&*server.host, &port, &info.database(), &info.user_name()];
                passfiles.root(line(fields, password.expose()));
            }
        }
        parameters.insert("distlock_conninfo".to_owned(), plain);
        in_clear.extend(lock_info(config)?.in_clear().map(|servers| InClear {
            what: format!("the password for the lock service could travel in clear to {servers}"),
            remedy: LOCK_REMEDY,
        }));
    }
    parsed(&parameters)?;
    Ok(Intent {
        design: Design {
            clone: config.resources.clone.clone(),
            writer: config.resources.writer.clone(),
            reader: config.resources.reader.clone(),
            writer_ip: config.writer_vip.to_string(),
            reader_ip: config.reader_vip.map(|ip| ip.to_string()),
            reader_on_primary: config.reader_vip_on_primary,
            nic: config.vip_nic.clone(),
            netmask: config.vip_cidr_netmask,
            parameters,
            quorum: config.cluster_type == ClusterType::Multi,
        },
        passfiles,
        in_clear,
    })
}

/// Whether a standby leaves it to who answers as its primary to ask for the password itself, without
/// encryption: libpq's defaults do.
fn is_left_to_the_server(params: &Params) -> bool {
    let options = params.primary_conninfo_opt.iter();
    let given = |wanted: &str| {
        let mut given = options.clone().filter(|(keyword, _)| keyword == wanted);
        given.next_back().map_or("", |(_, value)| value.expose())
    };
    let encrypted = ["require", "verify-ca", "verify-full"].contains(&given("sslmode"));
    let methods = given("require_auth").parse::<RequireAuth>();
    !encrypted
        && given("channel_binding") != "require"
        && methods.is_ok_and(|methods| methods.allows(Method::Password))
}

/// Where the lock service is, with its password.
pub(crate) fn lock_info(config: &ClusterConfig) -> Result<Conninfo, ClsError> {
    let text = config
        .lock_service
        .as_ref()
        .map_or("", |given| given.expose());
    text.parse()
        .map_err(|error| refused(format!("pgsql_distlock_conninfo: {error}")))
}

/// The parameters, as the agent will read them.
pub(crate) fn parsed(parameters: &BTreeMap<String, String>) -> Result<Params, ClsError> {
    let given = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    Params::parse(given)
        .map(|(params, _)| params)
        .map_err(|error| refused(format!("the agent would not take its parameters: {error}")))
}

fn refused(what: String) -> ClsError {
    ClsError::refused(what, "correct config.ini")
}

type Password = Option<pha_core::secret::Secret>;

/// A connection string without its password, and the password.
fn without_password(key: &str, text: &str) -> Result<(String, Password), ClsError> {
    let is_uri = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| text.trim_start().starts_with(scheme));
    if is_uri {
        let info: Conninfo = text
            .parse()
            .map_err(|error| refused(format!("{key}: {error}")))?;
        if info.password.is_none() {
            return Ok((text.to_owned(), None));
        }
        return Err(refused(format!(
            "{key} is a URI with a password, which would be readable in the cluster's configuration; write it as keywords: host=… port=… dbname=… user=… password=…"
        )));
    }
    let pairs = conninfo::parse(text).map_err(|error| refused(format!("{key}: {error}")))?;
    let password = pairs
        .iter()
        .rev()
        .find(|(keyword, _)| keyword == "password")
        .map(|(_, value)| value.clone());
    if password.is_none() {
        return Ok((text.to_owned(), None));
    }
    let rest = pairs
        .iter()
        .filter(|(keyword, _)| keyword != "password")
        .map(|(keyword, value)| (keyword.as_str(), value.expose()));
    let plain = conninfo::render(rest).map_err(|error| refused(format!("{key}: {error}")))?;
    Ok((plain, password))
}
