//! Reading every parameter from what Pacemaker passes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::table::{Kind, Spec, TABLE, spec};
use super::values::{self, Problem};
use super::{LockService, Mode, ParamError, Params, Warning};
use crate::conninfo;
use crate::names::NodeName;
use crate::secret::Secret;

/// What the environment calls a parameter.
const PREFIX: &str = "OCF_RESKEY_";

impl Params {
    /// Reads the parameters from names (without `OCF_RESKEY_`) and values. An empty value is as
    /// good as none: the default holds.
    ///
    /// # Errors
    /// The first [`ParamError`], in the order of [`TABLE`].
    pub fn parse<'a>(
        given: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Self, Vec<Warning>), ParamError> {
        let (params, warnings, errors) = Self::parse_leniently(given);
        match errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok((params, warnings)),
        }
    }

    /// Reads the parameters and puts the default in the place of every one that is not usable.
    /// This is for `stop`, which has to end PostgreSQL also when the configuration is broken, and
    /// for a probe; whoever calls it decides by the errors what can be relied upon.
    #[must_use]
    pub fn parse_leniently<'a>(
        given: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (Self, Vec<Warning>, Vec<ParamError>) {
        let mut reader = Reader::new(given);
        let params = reader.params();
        reader.errors.sort_by_key(|error| position(error.parameter));
        (params, reader.warnings, reader.errors)
    }

    /// The names and values among a whole environment: what begins with `OCF_RESKEY_` and is not
    /// Pacemaker's own.
    pub fn from_environment<'a>(
        environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        environment.into_iter().filter_map(|(key, value)| {
            let name = key.strip_prefix(PREFIX)?;
            let pacemakers = name.starts_with("CRM_meta_") || name == "crm_feature_set";
            (!pacemakers).then_some((name, value))
        })
    }
}

fn position(name: &str) -> usize {
    TABLE
        .iter()
        .position(|spec| spec.name == name)
        .unwrap_or(TABLE.len())
}

/// Reads value after value, collecting what is wrong.
struct Reader<'a> {
    given: BTreeMap<&'a str, &'a str>,
    warnings: Vec<Warning>,
    errors: Vec<ParamError>,
}

impl<'a> Reader<'a> {
    fn new(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut reader = Self {
            given: BTreeMap::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
        };
        for (name, value) in given {
            match spec(name) {
                None => reader.warn(name, "is not known to this agent and has no effect"),
                Some(_) if value.trim().is_empty() => {}
                Some(spec) => {
                    if let Some(why) = spec.deprecated {
                        reader.warn(name, &format!("is accepted and has no effect: {why}"));
                    }
                    reader.given.insert(name, value);
                }
            }
        }
        reader
    }

    fn warn(&mut self, parameter: &str, message: &str) {
        self.warnings.push(Warning {
            // The name is text from outside as long as it is no known parameter's.
            parameter: parameter.escape_debug().to_string(),
            message: message.to_owned(),
        });
    }

    /// Reads one parameter; a value that is not usable is noted and the default taken.
    fn read<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Spec, &str) -> Result<T, Problem>,
    ) -> Option<T> {
        let spec = spec(name)?;
        if let Some(value) = self.given.get(name) {
            match read(spec, value) {
                Ok(value) => return Some(value),
                Err(problem) => self
                    .errors
                    .push(ParamError::new(spec, Some(value), problem)),
            }
        }
        if spec.default.is_empty() {
            return None;
        }
        read(spec, spec.default).ok()
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        self.read(name, |_, value| values::one_line(value))
    }

    fn path(&mut self, name: &'static str) -> Option<String> {
        self.read(name, |_, value| values::path(value))
    }

    fn words(&mut self, name: &'static str) -> Vec<String> {
        self.read(name, |_, value| values::words(value))
            .unwrap_or_default()
    }

    fn boolean(&mut self, name: &'static str) -> bool {
        self.read(name, |_, value| values::boolean(value))
            .unwrap_or_default()
    }

    fn seconds(&mut self, name: &'static str) -> Duration {
        self.read(name, |spec, value| match spec.kind {
            Kind::Seconds(least, most) => values::seconds(value, least, most),
            _ => Err("is declared as no time".to_owned()),
        })
        .unwrap_or_default()
    }

    fn integer(&mut self, name: &'static str) -> u32 {
        self.read(name, |spec, value| match spec.kind {
            Kind::Integer(least, most) => values::integer(value, least, most),
            _ => Err("is declared as no number".to_owned()),
        })
        .unwrap_or_default()
    }

    fn params(&mut self) -> Params {
        let pgdata = self.path("pgdata").unwrap_or_default();
        let config = self
            .path("config")
            .unwrap_or_else(|| format!("{pgdata}/postgresql.conf"));
        // Without effect, and checked all the same: a wrong value is a mistake to hear of.
        self.boolean("restart_on_promote");
        Params {
            pgctl: self.path("pgctl").unwrap_or_default(),
            psql: self.path("psql").unwrap_or_default(),
            pgdata,
            pgdba: self
                .read("pgdba", |_, value| values::user(value))
                .unwrap_or_default(),
            pghost: self.read("pghost", |_, value| values::host_or_directory(value)),
            pgport: u16::try_from(self.integer("pgport")).unwrap_or_default(),
            pglibs: self.path("pglibs"),
            start_opt: self.words("start_opt"),
            ctl_opt: self.words("ctl_opt"),
            pgdb: self.text("pgdb").unwrap_or_default(),
            logfile: self.path("logfile").unwrap_or_default(),
            socketdir: self.path("socketdir"),
            stop_escalate: self.seconds("stop_escalate"),
            stop_escalate_in_slave: self.seconds("stop_escalate_in_slave"),
            monitor_user: self.text("monitor_user"),
            monitor_password: self.text("monitor_password").map(Secret::new),
            monitor_sql: self
                .read("monitor_sql", |_, value| statement(value))
                .unwrap_or_default(),
            config,
            check_wal_receiver: self.boolean("check_wal_receiver"),
            rep_mode: self.rep_mode(),
            node_list: self.node_list(),
            restore_command: self.text("restore_command"),
            archive_cleanup_command: self.text("archive_cleanup_command"),
            recovery_end_command: self.text("recovery_end_command"),
            master_ip: self.read("master_ip", |_, value| values::host(value)),
            repuser: self.text("repuser").unwrap_or_default(),
            primary_conninfo_opt: self
                .read("primary_conninfo_opt", |_, value| conninfo_options(value))
                .unwrap_or_default(),
            tmpdir: self.path("tmpdir").unwrap_or_default(),
            xlog_check_count: self.integer("xlog_check_count"),
            crm_attr_timeout: self.seconds("crm_attr_timeout"),
            replication_slot_name: self.read("replication_slot_name", |_, value| {
                values::slot_prefix(value)
            }),
            lock_service: self.lock_service(),
            distlock_ttl: self.seconds("distlock_ttl"),
            async_max_lag: u64::from(self.integer("async_max_lag")) << 20,
            guard_pacemaker_timeout: self.seconds("guard_pacemaker_timeout"),
            guard_watchdog: self.path("guard_watchdog"),
            deadcheck_nodes: self
                .read("distlock_lockservice_deadcheck_nodelist", |_, value| {
                    values::ssh_hosts(value)
                })
                .unwrap_or_default(),
        }
    }

    fn rep_mode(&mut self) -> Mode {
        self.read("rep_mode", |_, value| {
            value
                .trim()
                .parse()
                .map_err(|_| "is not known: none, slave, async or sync is allowed".to_owned())
        })
        .unwrap_or(Mode::Standalone)
    }

    fn node_list(&mut self) -> Vec<NodeName> {
        self.read("node_list", |_, value| values::node_list(value))
            .unwrap_or_default()
    }

    /// Notes a contradiction between parameters, under the one that has to be changed.
    fn contradiction(&mut self, name: &'static str, problem: &str) {
        if let Some(spec) = spec(name) {
            let value = self.given.get(name).copied();
            self.errors.push(ParamError::new(spec, value, problem));
        }
    }

    fn lock_service(&mut self) -> LockService {
        const BUILTIN: [&str; 2] = ["distlock_conninfo", "distlock_lockname"];
        const EXTERNAL: [&str; 2] = ["distlock_lock_cmd", "distlock_unlock_cmd"];
        let enabled = self.boolean("enable_distlock");
        let conninfo = self.read("distlock_conninfo", |_, value| lock_conninfo(value));
        let name = self.read("distlock_lockname", |_, value| values::lock_name(value));
        let lock = self.words("distlock_lock_cmd");
        let unlock = self.words("distlock_unlock_cmd");
        let missing = |reader: &Self, names: [&'static str; 2]| {
            names
                .into_iter()
                .find(|name| !reader.given.contains_key(name))
        };
        let builtin = BUILTIN.iter().any(|name| self.given.contains_key(name));
        let external = EXTERNAL.iter().any(|name| self.given.contains_key(name));
        if !enabled {
            if builtin || external {
                self.warn(
                    "enable_distlock",
                    "is not true, so that the other distlock parameters have no effect",
                );
            }
            return LockService::Off;
        }
        match (builtin, external) {
            (true, true) => {
                self.contradiction(
                    "distlock_lock_cmd",
                    "contradicts distlock_conninfo: remove either distlock_conninfo and distlock_lockname, or distlock_lock_cmd and distlock_unlock_cmd",
                );
            }
            (false, false) => {
                self.contradiction(
                    "enable_distlock",
                    "needs a lock service: set distlock_conninfo and distlock_lockname, or distlock_lock_cmd and distlock_unlock_cmd",
                );
            }
            (true, false) => match (missing(self, BUILTIN), conninfo, name) {
                (Some(missing), ..) => {
                    self.contradiction(
                        missing,
                        "is missing: distlock_conninfo and distlock_lockname need each other",
                    );
                }
                (None, Some(conninfo), Some((table, lockname))) => {
                    return LockService::Builtin {
                        conninfo,
                        table,
                        lockname,
                    };
                }
                // What is wrong with them has been noted already.
                (None, ..) => {}
            },
            (false, true) => match missing(self, EXTERNAL) {
                Some(missing) => {
                    self.contradiction(
                        missing,
                        "is missing: distlock_lock_cmd and distlock_unlock_cmd need each other",
                    );
                }
                None if !lock.is_empty() && !unlock.is_empty() => {
                    return LockService::External { lock, unlock };
                }
                None => {}
            },
        }
        LockService::Off
    }
}

/// A statement may have several lines, but no NUL: the protocol ends a string with it.
fn statement(value: &str) -> Result<String, Problem> {
    if value.contains('\0') {
        return Err("contains a NUL".to_owned());
    }
    Ok(value.to_owned())
}

/// The keywords of `primary_conninfo` that the agent writes itself. `application_name` is how the
/// primary recognises a standby; another one would make a synchronous standby a stranger.
const OWN_KEYWORDS: [&str; 5] = ["host", "hostaddr", "port", "user", "application_name"];

/// Secrets that are none of a passfile's: they would stand in the cluster's configuration and on command
/// lines, where everybody can read them.
const SECRET_KEYWORDS: [&str; 4] = [
    "sslpassword",
    "oauth_client_secret",
    "scram_client_key",
    "scram_server_key",
];

fn conninfo_options(value: &str) -> Result<Vec<(String, Secret)>, Problem> {
    values::one_line(value)?;
    let pairs = conninfo::parse(value).map_err(|error| format!("is not usable: {error}"))?;
    match pairs
        .iter()
        .find(|(keyword, _)| OWN_KEYWORDS.contains(&keyword.as_str()))
    {
        Some((keyword, _)) => Err(format!(
            "sets {keyword}, which the agent writes itself: remove it (master_ip, pgport and repuser decide)"
        )),
        None => match pairs
            .iter()
            .find(|(keyword, _)| SECRET_KEYWORDS.contains(&keyword.as_str()))
        {
            Some((keyword, _)) => Err(format!(
                "sets {keyword}, a secret that everybody on the node could read: remove it (a key file without a passphrase, or a password in the passfile)"
            )),
            None => Ok(pairs),
        },
    }
}

/// The lock service's connection string in either of libpq's forms.
fn lock_conninfo(value: &str) -> Result<Secret, Problem> {
    let text = values::one_line(value.trim())?;
    if !text.starts_with("postgresql://") && !text.starts_with("postgres://") {
        conninfo::parse(&text).map_err(|error| format!("is not usable: {error}"))?;
    }
    Ok(Secret::new(text))
}
