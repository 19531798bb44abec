//! The agent's own part of PostgreSQL's configuration.
//!
//! What the agent sets is in one file, `rep_mode.conf` in `tmpdir`, which the last line of
//! `postgresql.conf` includes; it is only ever replaced as a whole. Both belong to the account that
//! PostgreSQL runs as, and are written *as* that account: root never follows a link that it made.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use pha_core::conninfo;
use pha_core::names::NodeName;
use pha_core::params::Params;
use pha_core::parse::conffile::{self, Directive, Ensured};
use pha_core::parse::standby_names::StandbyNames;

use crate::files::{self, Change, FileError};
use crate::pgctl::{PgCtl, PgError};

/// The setting that only the agent may make.
const NAMES: &str = "synchronous_standby_names";

/// Why the configuration cannot be written, or must not be used.
#[derive(Debug, thiserror::Error)]
pub enum PgConfError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The data directory.
    #[error(transparent)]
    Pg(#[from] PgError),
    /// Acting as the account failed.
    #[error("{}: {reason}", path.display())]
    Account {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// A configuration file is missing.
    #[error("there is no configuration file {}; correct the parameter config", .0.display())]
    Missing(PathBuf),
    /// A configuration file that PostgreSQL would not accept either.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line and what is wrong with it.
        problem: String,
    },
    /// A value that cannot be written.
    #[error("{0}")]
    Value(String),
    /// The administrator's configuration sets what the agent has to set.
    #[error(
        "{}, line {line}: synchronous_standby_names is set to {value:?}; the agent sets it, since a commit must not wait for, nor do without, another standby than the one that the cluster knows: remove that line{}",
        path.display(), if *.auto { " (ALTER SYSTEM RESET synchronous_standby_names)" } else { "" }
    )]
    ForeignNames {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The value.
        value: String,
        /// Whether it is `postgresql.auto.conf`.
        auto: bool,
    },
}

/// What the agent's file is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether the server is to run as a standby.
    pub standby: bool,
    /// The standbys that commits wait for; none for a standby.
    pub names: Vec<String>,
}

impl Settings {
    /// The agent's file, and for a version below 12 the `recovery.conf` of a standby, as texts.
    ///
    /// # Errors
    /// [`PgConfError::Value`] for a parameter with a line break or another control character.
    pub fn render(
        &self,
        params: &Params,
        me: &NodeName,
        has_standby_signal: bool,
    ) -> Result<(String, Option<String>), PgConfError> {
        let names = StandbyNames::first(1, self.names.iter().map(String::as_str));
        let mut own = String::from("# Written by the resource agent expgsql; changes are lost.\n");
        own.push_str(&line(NAMES, &names.to_string())?);
        // A server that recovers from the crash of a backend by itself shows commits that still
        // waited for a standby, while that standby, which may lack them, counts as a holder. As it
        // is, the crash ends the server, and the agent makes this node the only holder first (R1).
        own.push_str(&line("restart_after_crash", "off")?);
        let recovery = recovery_lines(params, me)?;
        if has_standby_signal {
            // A restarted WAL receiver tries again after this time; the default of 5 s would be
            // most of a takeover.
            own.push_str(&line("wal_retrieve_retry_interval", "500ms")?);
            own.push_str(&recovery);
            return Ok((own, None));
        }
        let old_form = format!("{}{recovery}", line("standby_mode", "on")?);
        Ok((own, self.standby.then_some(old_form)))
    }
}

/// The settings of a standby, the same in both forms (PostgreSQL 12 moved them from
/// `recovery.conf`). They are kept on a primary, which ignores them.
fn recovery_lines(params: &Params, me: &NodeName) -> Result<String, PgConfError> {
    let mut text = line("primary_conninfo", &primary_conninfo(params, me)?)?;
    text.push_str(&line("recovery_target_timeline", "latest")?);
    let commands = [
        ("restore_command", &params.restore_command),
        ("archive_cleanup_command", &params.archive_cleanup_command),
        ("recovery_end_command", &params.recovery_end_command),
    ];
    for (name, command) in commands {
        if let Some(command) = command {
            text.push_str(&line(name, command)?);
        }
    }
    if let Some(slot) = params.slot_for(me) {
        text.push_str(&line("primary_slot_name", &slot)?);
    }
    Ok(text)
}

/// How a standby reaches the primary: by the writer's address, under its own node's name.
fn primary_conninfo(params: &Params, me: &NodeName) -> Result<String, PgConfError> {
    let port = params.pgport.to_string();
    let mut pairs = vec![
        ("host", params.master_ip.as_deref().unwrap_or_default()),
        ("port", port.as_str()),
        ("user", params.repuser.as_str()),
        ("application_name", me.as_str()),
    ];
    let own: BTreeSet<&str> = pairs.iter().map(|(keyword, _)| *keyword).collect();
    let further = params.primary_conninfo_opt.iter();
    pairs.extend(
        further
            .map(|(keyword, value)| (keyword.as_str(), value.expose()))
            .filter(|(keyword, _)| !own.contains(keyword)),
    );
    conninfo::render(pairs).map_err(|error| PgConfError::Value(error.to_string()))
}

fn line(name: &str, value: &str) -> Result<String, PgConfError> {
    conffile::setting(name, value).map_err(|error| PgConfError::Value(format!("{name}: {error}")))
}

/// The agent's own file.
#[must_use]
pub fn own_file(params: &Params) -> PathBuf {
    Path::new(&params.tmpdir).join("rep_mode.conf")
}

/// Makes the configuration what the settings say: the agent's file, its inclusion, and the file
/// that makes the server a standby. Says whether anything was changed; nothing is reloaded.
///
/// # Errors
/// [`PgConfError`]; what was written until then is complete in itself.
pub fn ensure(
    pg: &PgCtl,
    params: &Params,
    me: &NodeName,
    settings: &Settings,
) -> Result<Change, PgConfError> {
    let has_signal = pg.data_version()?.has_standby_signal();
    let (own, recovery) = settings.render(params, me, has_signal)?;
    let file = own_file(params);
    let config = pg.config.clone();
    let account = |reason| PgConfError::Account {
        path: file.clone(),
        reason,
    };
    let directory = make_directory(pg, params)?;
    let change = pg
        .user
        .act(|| Ok(files::ensure(&file, own.as_bytes(), 0o600)));
    let mut changed = directory.or(change.map_err(account)??);
    let include = pg.user.act(|| Ok(ensure_included(&config, &file)));
    changed = changed.or(include.map_err(account)??);
    let auto = pg.pgdata.join("postgresql.auto.conf");
    let freed = pg.user.act(|| Ok(free_from(&auto, &own)));
    changed = changed.or(freed.map_err(account)??);
    let (signal, other) = if has_signal {
        ("standby.signal", "recovery.signal")
    } else {
        ("recovery.conf", "recovery.done")
    };
    let content = recovery.unwrap_or_default();
    let (path, other) = (pg.pgdata.join(signal), pg.pgdata.join(other));
    let marked = pg.user.act(|| {
        Ok(if settings.standby {
            // A leftover of a point-in-time recovery would end it with a promotion of its own.
            files::ensure_absent(&other)
                .and_then(|gone| Ok(gone.or(files::ensure(&path, content.as_bytes(), 0o600)?)))
        } else {
            files::ensure_absent(&path)
        })
    });
    Ok(changed.or(marked.map_err(account)??))
}

/// Makes `tmpdir` where it is missing, owned by the account.
fn make_directory(pg: &PgCtl, params: &Params) -> Result<Change, PgConfError> {
    use std::os::unix::fs::DirBuilderExt;
    let path = PathBuf::from(&params.tmpdir);
    if path.is_dir() {
        return Ok(Change::AlreadySo);
    }
    let failed = |reason| PgConfError::Account {
        path: path.clone(),
        reason,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&path)
        .map_err(failed)?;
    std::os::unix::fs::lchown(&path, Some(pg.user.uid()), Some(pg.user.gid())).map_err(failed)?;
    Ok(Change::Made)
}

fn ensure_included(config: &Path, own: &Path) -> Result<Change, PgConfError> {
    use std::os::unix::fs::PermissionsExt;
    let text = files::read(config)?.ok_or_else(|| PgConfError::Missing(config.to_owned()))?;
    let malformed = |error: conffile::ConfError| PgConfError::Malformed {
        path: config.to_owned(),
        problem: error.to_string(),
    };
    match conffile::ensure_include(&text, &own.to_string_lossy(), &[]).map_err(malformed)? {
        Ensured::Unchanged => Ok(Change::AlreadySo),
        Ensured::Changed(changed) => {
            let mode =
                std::fs::metadata(config).map_or(0o600, |meta| meta.permissions().mode() & 0o777);
            // The configuration may be a link, as distributions make: the file itself is replaced.
            let real = std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
            files::replace(&real, &changed, mode)?;
            Ok(Change::Made)
        }
    }
}

/// Removes from `postgresql.auto.conf` what the agent's own file sets: the server reads the former
/// last, so it would win. `pg_basebackup -R` and `pg_rewind -R` write `primary_conninfo` there,
/// naming one particular node, and a standby would never follow another.
fn free_from(auto: &Path, own: &str) -> Result<Change, PgConfError> {
    let malformed = |error: conffile::ConfError| PgConfError::Malformed {
        path: auto.to_owned(),
        problem: error.to_string(),
    };
    let Some(text) = files::read(auto)? else {
        return Ok(Change::AlreadySo);
    };
    let own = conffile::scan(own.as_bytes()).map_err(malformed)?;
    let names: Vec<&str> = own
        .iter()
        .filter_map(|item| match &item.directive {
            Directive::Set { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    match conffile::without_settings(&text, &names).map_err(malformed)? {
        Ensured::Unchanged => Ok(Change::AlreadySo),
        Ensured::Changed(changed) => {
            tracing::warn!(
                "removing from {} what the agent sets itself ({})",
                auto.display(),
                names.join(", ")
            );
            files::replace(auto, &changed, 0o600)?;
            Ok(Change::Made)
        }
    }
}

/// Refuses a configuration in which somebody else sets `synchronous_standby_names`.
///
/// # Errors
/// [`PgConfError::ForeignNames`] with file and line, or why the configuration cannot be read.
pub fn refuse_foreign_names(pg: &PgCtl, params: &Params) -> Result<(), PgConfError> {
    // What stands on the command line is stronger than any file.
    if let Some(word) = pg.start_opt.iter().find(|word| word.contains(NAMES)) {
        return Err(PgConfError::Value(format!(
            "the parameter start_opt sets {NAMES} ({word:?}), which the agent sets; remove it there"
        )));
    }
    let mut seen = BTreeSet::from([own_file(params)]);
    search(&pg.config, Origin::Config, &mut seen)?;
    let auto = pg.pgdata.join("postgresql.auto.conf");
    search(&auto, Origin::AlterSystem, &mut seen)
}

/// Where a file's settings stand in the order in which the server reads them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The main file: it has to be there, and what the agent sets comes after it.
    Config,
    /// A file that another one includes.
    Included,
    /// `postgresql.auto.conf`: it comes after what the agent sets, so even an empty value counts.
    AlterSystem,
}

/// Looks through one file and what it includes; each file once, so that a circle ends.
fn search(path: &Path, origin: Origin, seen: &mut BTreeSet<PathBuf>) -> Result<(), PgConfError> {
    if !seen.insert(path.to_owned()) {
        return Ok(());
    }
    let text = match files::read(path)? {
        Some(text) => text,
        None if origin == Origin::Config => return Err(PgConfError::Missing(path.to_owned())),
        None => return Ok(()),
    };
    let items = conffile::scan(&text).map_err(|error| PgConfError::Malformed {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    let base = path.parent().unwrap_or_else(|| Path::new("/"));
    for item in items {
        match item.directive {
            Directive::Set { name, value }
                if name == NAMES && (origin == Origin::AlterSystem || !value.trim().is_empty()) =>
            {
                return Err(PgConfError::ForeignNames {
                    path: path.to_owned(),
                    line: item.line,
                    value,
                    auto: origin == Origin::AlterSystem,
                });
            }
            Directive::Set { .. } => {}
            Directive::Include(file) => search(&base.join(file), Origin::Included, seen)?,
            Directive::IncludeIfExists(file) => search(&base.join(file), Origin::Included, seen)?,
            Directive::IncludeDir(directory) => {
                for file in conf_files(&base.join(directory)) {
                    search(&file, Origin::Included, seen)?;
                }
            }
        }
    }
    Ok(())
}

/// The files of an `include_dir`, in PostgreSQL's order.
fn conf_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return vec![];
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            name.ends_with(".conf") && !name.starts_with('.')
        })
        .collect();
    files.sort();
    files
}
