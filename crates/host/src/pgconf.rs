//! The agent's own part of PostgreSQL's configuration.
//!
//! What the agent sets is in one file, `rep_mode.conf` in `tmpdir`, which the last line of
//! `postgresql.conf` includes; it is only ever replaced as a whole. Both belong to the account that
//! PostgreSQL runs as, and are written *as* that account: root never follows a link that it made.
//!
//! For whom commits wait is not in it. It says that they wait for [`NOBODY`], and includes a file of
//! root's in memory (`/run`) that says for whom they wait really. That one is there while the agent has
//! PostgreSQL serve, and a restart of the machine takes it away: whoever starts the server outside
//! Pacemaker after that finds it waiting for nobody who could ever come, instead of acknowledging commits
//! beside a primary that has taken over meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pha_core::conninfo;
use pha_core::link_name::LinkName;
use pha_core::names::NodeName;
use pha_core::params::Params;
use pha_core::parse::conffile::{self, Directive, Ensured};
use pha_core::parse::standby_names::{NOBODY, StandbyNames, Waits};
use pha_core::snapshot::InMemory;
use pha_core::whose::{NAMES, Stands, is_foreign, is_foreign_word};

use crate::account::Content;
use crate::files::{Change, FileError};
use crate::own;
use crate::pgctl::{PgCtl, PgError};

/// Why the configuration cannot be written, or must not be used.
#[derive(Debug, thiserror::Error)]
pub enum PgConfError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The data directory.
    #[error(transparent)]
    Pg(#[from] PgError),
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
    /// More than is looked through.
    #[error("{}: {problem}", path.display())]
    TooMuch {
        /// The file at which it was too much.
        path: PathBuf,
        /// What there is too much of, and what to do.
        problem: &'static str,
    },
    /// What root has written and the account cannot read.
    #[error("PostgreSQL's account cannot read {}, which says for whom commits wait: see who may pass through the directories above it (namei -l {})", .0.display(), .0.display())]
    Unread(PathBuf),
    /// A value that cannot be written.
    #[error("{0}")]
    Value(String),
    /// The administrator's configuration sets what the agent has to set.
    #[error(
        "{}, line {line}: synchronous_standby_names is set{}; the agent sets it, since a commit must not wait for, nor do without, another standby than the one that the cluster knows: remove that line{}",
        path.display(), value.as_ref().map(|value| format!(" to {value:?}")).unwrap_or_default(), if *.auto { " (ALTER SYSTEM RESET synchronous_standby_names)" } else { "" }
    )]
    ForeignNames {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The value; `None` where it is not to be shown.
        value: Option<String>,
        /// Whether it is `postgresql.auto.conf`.
        auto: bool,
    },
}

/// What the agent's file is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether the server is to run as a standby.
    pub standby: bool,
    /// The `application_name` of a standby that is not started under an incarnation (R11).
    pub plain_name: Option<LinkName>,
    /// The standbys that commits wait for; none for a standby.
    pub names: Waits,
    /// `restore_command` in place of the administrator's own ([`crate::restore`]).
    pub restore_command: Option<String>,
    /// The node of another standby to receive from, in place of the primary, for as long as it takes to have
    /// all that it has. It is addressed by its own name, as the source of a copy is, and keeps no slot.
    pub upstream: Option<NodeName>,
}

/// The settings as texts.
#[derive(Debug)]
pub struct Texts {
    /// The agent's file.
    pub own: String,
    /// The file in memory that it includes; none where commits are to wait for [`NOBODY`], and where the
    /// agent does not manage the replication.
    pub names: Option<String>,
    /// For a version below 12: the `recovery.conf` of a standby.
    pub recovery: Option<String>,
}

/// What the agent's files begin with.
const HEAD: &str = "# Written by the resource agent expgsql; changes are lost.\n";

impl Settings {
    /// The settings as texts, with the names in the file `in_memory`.
    ///
    /// # Errors
    /// [`PgConfError::Value`] for a parameter with a line break or another control character.
    pub fn render(
        &self,
        params: &Params,
        me: &NodeName,
        in_memory: &Path,
        has_standby_signal: bool,
    ) -> Result<Texts, PgConfError> {
        let named = line(NAMES, &self.names.to_string())?;
        let mut own = String::from(HEAD);
        let mut names = None;
        if params.rep_mode.replicated() {
            let nobody = Waits::For(NOBODY.to_owned());
            own.push_str(&line(NAMES, &nobody.to_string())?);
            own.push_str(&line("include_if_exists", &in_memory.to_string_lossy())?);
            names = (self.names != nobody).then(|| format!("{HEAD}{named}"));
        } else {
            own.push_str(&named);
        }
        // A server that recovers from the crash of a backend by itself shows commits that still
        // waited for a standby, while that standby, which may lack them, counts as a holder. As it
        // is, the crash ends the server, and the agent makes this node the only holder first (R1).
        own.push_str(&line("restart_after_crash", "off")?);
        let recovery = self.recovery_lines(params, me)?;
        if has_standby_signal {
            // A restarted WAL receiver tries again after this time; the default of 5 s would be
            // most of a takeover.
            own.push_str(&line("wal_retrieve_retry_interval", "500ms")?);
            own.push_str(&recovery);
            return Ok(Texts {
                own,
                names,
                recovery: None,
            });
        }
        let old_form = format!("{}{recovery}", line("standby_mode", "on")?);
        Ok(Texts {
            own,
            names,
            recovery: self.standby.then_some(old_form),
        })
    }

    /// The settings of a standby, the same in both forms (PostgreSQL 12 moved them from
    /// `recovery.conf`). They are kept on a primary, which ignores them.
    fn recovery_lines(&self, params: &Params, me: &NodeName) -> Result<String, PgConfError> {
        let host = match &self.upstream {
            Some(node) => node.as_str(),
            None => params.master_ip.as_deref().unwrap_or_default(),
        };
        let conninfo = primary_conninfo(params, host, self.plain_name.as_ref())?;
        let mut text = line("primary_conninfo", &conninfo)?;
        text.push_str(&line("recovery_target_timeline", "latest")?);
        let restore = self.restore_command.as_ref();
        let commands = [
            (
                "restore_command",
                restore.or(params.restore_command.as_ref()),
            ),
            (
                "archive_cleanup_command",
                params.archive_cleanup_command.as_ref(),
            ),
            ("recovery_end_command", params.recovery_end_command.as_ref()),
        ];
        for (name, command) in commands {
            if let Some(command) = command {
                text.push_str(&line(name, command)?);
            }
        }
        if let Some(slot) = params.slot_for(me).filter(|_| self.upstream.is_none()) {
            text.push_str(&line("primary_slot_name", &slot)?);
        }
        Ok(text)
    }
}

/// How a standby reaches the primary: by the writer's address. Its name is here only where it is the
/// node's plain one; an incarnation comes from the server's environment, which libpq looks at before the
/// name that the WAL receiver would give itself.
fn primary_conninfo(
    params: &Params,
    host: &str,
    name: Option<&LinkName>,
) -> Result<String, PgConfError> {
    let port = params.pgport.to_string();
    let mut pairs = vec![
        ("host", host),
        ("port", port.as_str()),
        ("user", params.repuser.as_str()),
    ];
    pairs.extend(name.map(|name| ("application_name", name.as_str())));
    let own: BTreeSet<&str> = pairs
        .iter()
        .map(|(keyword, _)| *keyword)
        .chain(["application_name"])
        .collect();
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

/// What the file `in_memory` says. It is root's own.
#[must_use]
pub fn in_memory(file: &Path) -> InMemory {
    let says = |content: &[u8]| {
        let items = conffile::scan(content).ok()?;
        let mut values = items.into_iter().filter_map(|item| match item.directive {
            Directive::Set { name, value } if name == NAMES => Some(value),
            _ => None,
        });
        let names: StandbyNames = values.next()?.parse().ok()?;
        Some(InMemory::of(&Waits::from(&names)))
    };
    match std::fs::read(file) {
        Ok(content) => says(&content).unwrap_or(InMemory::Unknown),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => InMemory::Nothing,
        Err(_) => InMemory::Unknown,
    }
}

/// Makes the configuration what the settings say: the agent's files, their inclusion, and the file
/// that makes the server a standby. Says whether anything was changed; nothing is reloaded.
///
/// # Errors
/// [`PgConfError`]; what was written until then is complete in itself.
pub fn ensure(
    pg: &PgCtl,
    params: &Params,
    me: &NodeName,
    in_memory: &Path,
    settings: &Settings,
) -> Result<Change, PgConfError> {
    let has_signal = pg.data_version()?.has_standby_signal();
    let Texts {
        own,
        names,
        recovery,
    } = settings.render(params, me, in_memory, has_signal)?;
    let file = own_file(params);
    let files = pg.user.files();
    let mut changed = own::ensure_directory_for(&pg.user, Path::new(&params.tmpdir), 0o755)?;
    // First what is included: the agent's file of an earlier version includes nothing and says it all, and
    // holds until it is replaced.
    if let Some(names) = &names {
        let shown = own::show(in_memory, names.as_bytes())?;
        // PostgreSQL passes over what it cannot read, and commits would wait for nobody who could come.
        let read = shown
            .made()
            .then(|| files.read_text(in_memory))
            .transpose()?;
        if read.is_some_and(|read| read.as_ref() != Some(names)) {
            return Err(PgConfError::Unread(in_memory.to_owned()));
        }
        changed = changed.or(shown);
    }
    changed = changed.or(files.ensure(&file, own.as_bytes(), 0o600)?);
    changed = changed.or(ensure_included(pg, &file)?);
    changed = changed.or(free_from(pg, &own)?);
    if names.is_none() {
        changed = changed.or(own::ensure_absent(in_memory)?);
    }
    let (signal, other) = if has_signal {
        ("standby.signal", "recovery.signal")
    } else {
        ("recovery.conf", "recovery.done")
    };
    let content = recovery.unwrap_or_default();
    let (path, other) = (pg.pgdata.join(signal), pg.pgdata.join(other));
    if !settings.standby {
        return Ok(changed.or(files.ensure_absent(&path)?));
    }
    // A leftover of a point-in-time recovery would end it with a promotion of its own.
    changed = changed.or(files.ensure_absent(&other)?);
    Ok(changed.or(files.ensure(&path, content.as_bytes(), 0o600)?))
}

fn ensure_included(pg: &PgCtl, own: &Path) -> Result<Change, PgConfError> {
    let (files, config) = (pg.user.files(), &pg.config);
    let content = files.read(config)?;
    let content = content.ok_or_else(|| PgConfError::Missing(config.clone()))?;
    let ensured = conffile::ensure_include(&content.bytes, &own.to_string_lossy(), &[])
        .map_err(|error| malformed(pg, config, &content, error))?;
    match ensured {
        Ensured::Unchanged => Ok(Change::AlreadySo),
        Ensured::Changed(changed) => {
            // The configuration may be a link, as distributions make: the file itself is replaced.
            let real = content.real.as_deref().unwrap_or(config);
            Ok(files.ensure(real, &changed, content.stat.mode & 0o777)?)
        }
    }
}

/// Removes from `postgresql.auto.conf` what the agent's own file sets: the server reads the former
/// last, so it would win. `pg_basebackup -R` and `pg_rewind -R` write `primary_conninfo` there,
/// naming one particular node, and a standby would never follow another.
fn free_from(pg: &PgCtl, own: &str) -> Result<Change, PgConfError> {
    let auto = pg.pgdata.join("postgresql.auto.conf");
    let Some(content) = pg.user.files().read(&auto)? else {
        return Ok(Change::AlreadySo);
    };
    let own = conffile::scan(own.as_bytes())
        .map_err(|error| PgConfError::Value(format!("the agent's own file: {error}")))?;
    let names: Vec<&str> = own
        .iter()
        .filter_map(|item| match &item.directive {
            Directive::Set { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let freed = conffile::without_settings(&content.bytes, &names)
        .map_err(|error| malformed(pg, &auto, &content, error))?;
    match freed {
        Ensured::Unchanged => Ok(Change::AlreadySo),
        Ensured::Changed(changed) => {
            tracing::warn!(
                "removing from {} what the agent sets itself ({})",
                auto.display(),
                names.join(", ")
            );
            Ok(pg.user.files().ensure(&auto, &changed, 0o600)?)
        }
    }
}

/// An error about a line that PostgreSQL would not accept either. The line is quoted, which Pacemaker
/// shows to all nodes, only where it is of the account's own configuration.
fn malformed(
    pg: &PgCtl,
    path: &Path,
    content: &Content,
    error: conffile::ConfError,
) -> PgConfError {
    let problem = match may_quote(pg, content) {
        true => error.to_string(),
        false => format!("line {}: no setting: {}", error.line, error.problem),
    };
    PgConfError::Malformed {
        path: path.to_owned(),
        problem,
    }
}

/// Whether a file is one of the configuration's: in the data directory, or below the directory of the
/// main file.
fn may_quote(pg: &PgCtl, content: &Content) -> bool {
    let files = pg.user.files();
    let beside = pg.config.parent().unwrap_or(&pg.pgdata);
    files.may_quote(content, &pg.pgdata) || files.may_quote(content, beside)
}

/// Refuses a configuration in which somebody else sets `synchronous_standby_names`.
///
/// # Errors
/// [`PgConfError::ForeignNames`] with file and line, or why the configuration cannot be read.
pub fn refuse_foreign_names(pg: &PgCtl, params: &Params) -> Result<(), PgConfError> {
    if let Some(word) = pg.start_opt.iter().find(|word| is_foreign_word(word)) {
        return Err(PgConfError::Value(format!(
            "the parameter start_opt sets {NAMES} ({word:?}), which the agent sets; remove it there"
        )));
    }
    let mut search = Search {
        pg,
        // What it includes is written by the agent as well.
        seen: BTreeSet::from([own_file(params)]),
        bytes: 0,
    };
    search.file(&pg.config, Origin::Config, 0)?;
    let auto = pg.pgdata.join("postgresql.auto.conf");
    search.file(&auto, Origin::AlterSystem, 0)
}

/// Where a file's settings stand in the order in which the server reads them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The main file: it has to be there, and what the agent sets comes after it.
    Config,
    /// A file that another one includes.
    Included,
    /// `postgresql.auto.conf`: it comes after what the agent sets.
    AlterSystem,
}

impl Origin {
    fn stands(self) -> Stands {
        match self {
            Self::Config | Self::Included => Stands::Before,
            Self::AlterSystem => Stands::After,
        }
    }
}

/// How deep files may include each other; a server refuses more (`CONF_FILE_MAX_DEPTH`).
const DEPTH: usize = 10;
/// How many files the configuration may have, and how many bytes in all.
const MOST_FILES: usize = 1000;
const MOST_BYTES: usize = 32 << 20;

/// A look through the configuration.
struct Search<'a> {
    pg: &'a PgCtl,
    /// The files that were looked through: each once, so that a circle ends.
    seen: BTreeSet<PathBuf>,
    /// How much was read.
    bytes: usize,
}

impl Search<'_> {
    /// Looks through one file and what it includes.
    fn file(&mut self, path: &Path, origin: Origin, depth: usize) -> Result<(), PgConfError> {
        if !self.seen.insert(path.to_owned()) {
            return Ok(());
        }
        let pg = self.pg;
        let content = match pg.user.files().read(path)? {
            Some(content) => content,
            None if origin == Origin::Config => return Err(PgConfError::Missing(path.to_owned())),
            None => return Ok(()),
        };
        self.bytes += content.bytes.len();
        self.within(path, depth)?;
        let base = path.parent().unwrap_or_else(|| Path::new("/"));
        for item in conffile::items(&content.bytes) {
            let item = item.map_err(|error| malformed(pg, path, &content, error))?;
            match item.directive {
                Directive::Set { name, value } if is_foreign(&name, &value, origin.stands()) => {
                    return Err(PgConfError::ForeignNames {
                        path: path.to_owned(),
                        line: item.line,
                        value: may_quote(pg, &content).then_some(value),
                        auto: origin == Origin::AlterSystem,
                    });
                }
                Directive::Set { .. } => {}
                Directive::Include(file) | Directive::IncludeIfExists(file) => {
                    self.file(&base.join(file), Origin::Included, depth + 1)?;
                }
                Directive::IncludeDir(directory) => {
                    for file in conf_files(pg, &base.join(directory))? {
                        self.file(&file, Origin::Included, depth + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Refuses what no configuration needs: the account may write it, and root looks through it.
    fn within(&self, path: &Path, depth: usize) -> Result<(), PgConfError> {
        let problem = if depth > DEPTH {
            "is the eleventh file that includes another in a row, which PostgreSQL refuses too: name it in the main file"
        } else if self.seen.len() > MOST_FILES {
            "is one of more than 1000 files of PostgreSQL's configuration: put them together"
        } else if self.bytes > MOST_BYTES {
            "and the files before it have more than 32 MiB: take out of PostgreSQL's configuration what is not needed"
        } else {
            return Ok(());
        };
        Err(PgConfError::TooMuch {
            path: path.to_owned(),
            problem,
        })
    }
}

/// The files of an `include_dir`, in PostgreSQL's order.
fn conf_files(pg: &PgCtl, directory: &Path) -> Result<Vec<PathBuf>, PgConfError> {
    let names = pg.user.files().names(directory, ".conf")?;
    let mut files: Vec<PathBuf> = names
        .into_iter()
        .flatten()
        .filter(|name| !name.starts_with('.'))
        .map(|name| directory.join(name))
        .collect();
    files.sort();
    Ok(files)
}
