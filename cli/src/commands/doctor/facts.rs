//! What this node knows, gathered for the node that asks. Every question has a time limit, and one
//! that fails is a fact too.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pha_core::conninfo;
use pha_core::doctor::{
    FileFacts, LockFacts, NodeFacts, OwnSetting, ReplicationLine, ServerFacts, TotemFacts,
};
use pha_core::hindrance::Hindrance;
use pha_core::message;
use pha_core::names::NodeName;
use pha_core::params::{LockService, Params};
use pha_core::server_program::ServerProgram;
use pha_core::setup::{Needed, SiteQuestion};
use pha_core::snapshot::Process;
use pha_host::account::Stat;
use pha_host::asked::Asked;
use pha_host::clock::Deadline;
use pha_host::command::{Command, find_program};
use pha_host::config::ClusterConfig;
use pha_host::conninfo::Conninfo;
use pha_host::local;
use pha_host::lock::{self, LockName, Shown};
use pha_host::node;
use pha_host::postgres::{printable_lines, replication_role};
use pha_host::promise;
use pha_host::sql::{Purpose, Session, SqlError};
use pha_host::ssh::Ssh;
use pha_host::user::User;

use super::running::Running;
use crate::commands::restart::settings;
use crate::commands::setup::design::{self, Intent};
use crate::commands::setup::{lock_part, look};
use crate::disks;
use crate::error::ClsError;
use crate::site;

/// How long one question may take.
const STEP: Duration = Duration::from_secs(8);

/// What the agent and the commands run of Pacemaker and of the system.
const TOOLS: [&str; 8] = [
    "attrd_updater",
    "cibadmin",
    "crm_attribute",
    "crm_mon",
    "crm_node",
    "crm_resource",
    "crmadmin",
    "ip",
];

/// What is asked of a server.
const SETTINGS: [&str; 24] = [
    "wal_level",
    "max_wal_senders",
    "hot_standby",
    "listen_addresses",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "statement_timeout",
    "transaction_timeout",
    "restart_after_crash",
    "wal_sender_timeout",
    "wal_receiver_timeout",
    "wal_log_hints",
    "data_checksums",
    "wal_keep_size",
    "wal_keep_segments",
    "max_connections",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "max_worker_processes",
    "max_replication_slots",
    "hot_standby_feedback",
    "logging_collector",
    "log_destination",
];

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Gathers everything.
pub(crate) fn gather(config: &ClusterConfig) -> Result<NodeFacts, ClsError> {
    let intent = design::intent(config)?;
    let params = design::parsed(&intent.design.parameters)?;
    let here = site::this_node(&config.nodes);
    let peers: Vec<&NodeName> = config
        .nodes
        .iter()
        .filter(|node| Some(*node) != here)
        .collect();
    // Side by side: what hangs shall not keep the rest from being asked.
    std::thread::scope(|scope| {
        let peers = &peers;
        let params = &params;
        let ssh = scope.spawn(|| each(peers.iter().copied(), ssh));
        let promise = scope.spawn(|| each(peers.iter().copied(), |peer| promise(config, peer)));
        let replication =
            scope.spawn(|| each(peers.iter().copied(), |peer| replication(params, peer)));
        let names = scope.spawn(|| each(config.nodes.iter(), resolve));
        let lock = scope.spawn(|| lock_facts(params));
        let server = scope.spawn(|| server(params));
        let spaces = scope.spawn(|| disks::tablespaces(params, Deadline::after(STEP)));
        Ok(NodeFacts {
            programs: programs(config, params),
            files: files(config, params),
            passfiles: passfiles(params),
            disks: disks::together(
                disks::own(params, Deadline::after(STEP)),
                spaces.join().unwrap_or_default(),
            ),
            names: names.join().unwrap_or_default(),
            ssh: ssh.join().unwrap_or_default(),
            promise: promise.join().unwrap_or_default(),
            replication: replication.join().unwrap_or_default(),
            totem: totem(),
            site: look::facts(&config.file, question(&intent, params)).ok(),
            lock: lock.join().unwrap_or_default(),
            server: server.join().ok(),
            in_clear: intent
                .in_clear
                .iter()
                .map(|found| (found.what.clone(), found.remedy.to_owned()))
                .collect(),
        })
    })
}

/// What cls_setup would ask this node if it wrote everything anew.
fn question(intent: &Intent, params: &Params) -> SiteQuestion {
    SiteQuestion {
        needed: Needed::of(&intent.design.parameters),
        pgctl: params.pgctl.clone(),
        pgdata: params.pgdata.clone(),
        pgdba: params.pgdba.clone(),
        nic: intent.design.nic.clone(),
    }
}

/// Whether PostgreSQL runs here, whoever started it.
pub(crate) fn runs(config: &ClusterConfig) -> Result<Running, ClsError> {
    let params = design::parsed(&config.agent)?;
    let pg = pha_host::node::pg_ctl(&params)
        .map_err(|refusal| ClsError::failed(refusal.reason, message!("correct pgsql_pgdba")))?;
    let process = pg
        .surely_running()
        .map_err(|error| ClsError::failed(error.to_string(), message!("look into pgsql_pgdata")))?;
    Ok(match process {
        Process::Absent => Running::No,
        Process::Alive { .. } | Process::Orphans => Running::Yes,
    })
}

/// Asks about every node at the same time.
fn each<'a, T: Send>(
    nodes: impl Iterator<Item = &'a NodeName>,
    ask: impl Fn(&NodeName) -> T + Sync,
) -> BTreeMap<NodeName, T> {
    std::thread::scope(|scope| {
        let ask = &ask;
        let started: Vec<_> = nodes
            .map(|node| (node, scope.spawn(move || ask(node))))
            .collect();
        started
            .into_iter()
            .filter_map(|(node, thread)| Some((node.clone(), thread.join().ok()?)))
            .collect()
    })
}

fn resolve(node: &NodeName) -> Result<Vec<String>, String> {
    let found = (node.as_str(), 0_u16).to_socket_addrs();
    let mut list: Vec<String> = found
        .map_err(|error| error.to_string())?
        .map(|address| address.ip().to_string())
        .collect();
    list.sort();
    list.dedup();
    Ok(list)
}

fn ssh(peer: &NodeName) -> Result<(), Hindrance> {
    Ssh::default()
        .exec(peer.as_str(), &["true"], &[], Deadline::after(STEP))
        .map(drop)
        .map_err(|error| error.hindrance())
}

/// Asks whether the other node could promise, on the very way that an outage would take. `None` where
/// the agent has not run here yet, or no promise is ever asked for.
fn promise(config: &ClusterConfig, peer: &NodeName) -> Option<Result<(), Hindrance>> {
    let agent = config.ocf_root.join("resource.d/heartbeat/expgsql");
    let (resource, asks) = Asked::all()
        .into_iter()
        .find(|(_, asked)| asked.nodes.contains(peer))?;
    let deadline = Deadline::after(STEP);
    let program = agent.to_string_lossy();
    Some(promise::trial(&program, &resource, &asks, peer, deadline))
}

/// Whether the commands that copy data could connect with these options as well. They do not have all
/// that standbys have, whose PostgreSQL is given them.
fn understood(options: &[(&str, &str)]) -> Result<(), String> {
    let text = conninfo::render(options.iter().copied()).map_err(|error| error.to_string())?;
    text.parse::<Conninfo>().map(drop).map_err(|error| {
        format!(
            "primary_conninfo_opt: {error}; cls_repair_slave and cls_rebuild_slave cannot connect with it: remove it"
        )
    })
}

/// Connects as a standby would, with the database account's passfile. `None` where nobody answers
/// the connection: that server does not run now.
fn replication(params: &Params, peer: &NodeName) -> Option<Result<(), String>> {
    let port = params.pgport.to_string();
    let mut pairs = vec![
        ("host", peer.as_str()),
        ("port", port.as_str()),
        ("user", params.repuser.as_str()),
        ("replication", "true"),
        ("connect_timeout", "5"),
    ];
    let further = params.primary_conninfo_opt.iter();
    let further = further.map(|(keyword, value)| (keyword.as_str(), value.expose()));
    let (passwords, further): (Vec<_>, Vec<_>) =
        further.partition(|(keyword, _)| *keyword == "password");
    if let Err(why) = understood(&further) {
        return Some(Err(why));
    }
    pairs.extend(
        further
            .into_iter()
            .filter(|(keyword, _)| *keyword != "connect_timeout"),
    );
    let outcome = || -> Result<(), String> {
        let user = User::lookup(&params.pgdba).map_err(|error| error.to_string())?;
        let target = conninfo::render(pairs).map_err(|error| error.to_string())?;
        let mut psql = Command::new(&params.psql)
            .args(["--no-psqlrc", "--no-password", "--command=IDENTIFY_SYSTEM"])
            .arg(format!("--dbname={target}"))
            .run_as(&user);
        // Not on the command line, which everybody can read.
        if let Some((_, password)) = passwords.last() {
            psql = psql.env("PGPASSWORD", password).secret(*password);
        }
        psql.run(Deadline::after(STEP))
            .map(drop)
            .map_err(|error| error.to_string())
    };
    match outcome() {
        Ok(()) => Some(Ok(())),
        Err(why) => {
            let absent = [
                "Connection refused",
                "No route to host",
                "timeout expired",
                "could not translate",
                "the database system is starting up",
                "the database system is shutting down",
                "not yet accepting connections",
            ];
            let tail = why.rsplit("FATAL:").next().unwrap_or(&why).trim();
            (!absent.iter().any(|text| why.contains(text))).then(|| Err(tail.to_owned()))
        }
    }
}

fn lock_facts(params: &Params) -> Option<Result<LockFacts, String>> {
    let LockService::Builtin {
        conninfo,
        table,
        lockname,
    } = &params.lock_service
    else {
        return None;
    };
    let ask = || -> Result<LockFacts, String> {
        let describe = |error: &dyn std::fmt::Display| error.to_string();
        let deadline = Deadline::after(STEP);
        let info: Conninfo = conninfo.expose().parse().map_err(|e| describe(&e))?;
        let name: LockName = format!("{table}:{lockname}")
            .parse()
            .map_err(|e: lock::LockNameError| describe(&e))?;
        let mut session =
            Session::connect(&info, Purpose::AsSet, deadline).map_err(|e| describe(&e))?;
        let settings = settings_of(&mut session, deadline)?;
        let standby = session
            .simple("select pg_catalog.pg_is_in_recovery()", deadline)
            .map_err(|e| describe(&e))?;
        let row = match lock::show(&info, &name, deadline) {
            Ok(Shown::Row(row)) => Some(row),
            Ok(Shown::NoRow) => None,
            Ok(Shown::NoTable(trouble)) | Err(trouble) => return Err(describe(&trouble)),
        };
        let tried = match &row {
            Some(_) => lock::try_changes(&info, &name, deadline),
            None => Ok(lock::Standing::default()),
        };
        let (standing, refused) = match tried {
            Ok(standing) => (standing, None),
            Err(trouble) => (lock::Standing::default(), Some(trouble.to_string())),
        };
        Ok(LockFacts {
            settings,
            refused,
            superuser: standing.superuser,
            table_owner: standing.owner,
            own_row_only: standing.own_row_only,
            standby: matches!(standby.first().map(Vec::as_slice), Some([Some(value)]) if value == "t"),
            come: row.as_ref().and_then(lock_part::come),
            named: row.map(|row| {
                let owner = row.columns.get("owner").and_then(|value| value.as_str());
                let holders = row
                    .columns
                    .get("holders")
                    .and_then(|value| value.as_array());
                let holders = holders
                    .into_iter()
                    .flatten()
                    .filter_map(|name| name.as_str());
                owner
                    .into_iter()
                    .chain(holders)
                    .map(str::to_owned)
                    .collect()
            }),
        })
    };
    Some(ask())
}

fn settings_of(
    session: &mut Session,
    deadline: Deadline,
) -> Result<BTreeMap<String, String>, String> {
    let rows = session
        .simple("select name, setting from pg_catalog.pg_settings", deadline)
        .map_err(|error| error.to_string())?;
    Ok(rows
        .into_iter()
        .filter_map(|row| match &row[..] {
            [Some(name), Some(value)] if SETTINGS.contains(&name.as_str()) => {
                Some((name.clone(), value.clone()))
            }
            _ => None,
        })
        .collect())
}

/// What roles and databases have set of what a commit's wait depends on.
const OWN: &str = "\
select case when d.datname is null then 'role ' || r.rolname
            when r.rolname is null then 'database ' || d.datname
            else 'role ' || r.rolname || ' in database ' || d.datname end,
       pg_catalog.split_part(c, '=', 1), pg_catalog.split_part(c, '=', 2)
from pg_catalog.pg_db_role_setting s
cross join lateral pg_catalog.unnest(s.setconfig) c
left join pg_catalog.pg_database d on d.oid = s.setdatabase
left join pg_catalog.pg_roles r on r.oid = s.setrole
where pg_catalog.split_part(c, '=', 1) in ('synchronous_commit', 'statement_timeout', 'transaction_timeout')
order by 1, 2";

fn own_settings(session: &mut Session, deadline: Deadline) -> Result<Vec<OwnSetting>, String> {
    let rows = session
        .simple(OWN, deadline)
        .map_err(|error| error.to_string())?;
    Ok(rows
        .into_iter()
        .filter_map(|row| match <[Option<String>; 3]>::try_from(row) {
            Ok([Some(of), Some(name), Some(value)]) => Some(OwnSetting { of, name, value }),
            _ => None,
        })
        .collect())
}

/// Who may replicate. The server reads the file again for it, and what it could not make sense of is not
/// in force.
const REPLICATION: &str = "\
select line_number, type, pg_catalog.array_to_string(user_name, ' '), coalesce(address, ''), netmask, auth_method
from pg_catalog.pg_hba_file_rules
where error is null and 'replication' = any (database) and auth_method <> 'reject'
order by line_number";

fn replication_lines(
    session: &mut Session,
    deadline: Deadline,
) -> Result<Vec<ReplicationLine>, SqlError> {
    let rows = session.simple(REPLICATION, deadline)?;
    let line = |row: Vec<Option<String>>| match <[Option<String>; 6]>::try_from(row) {
        Ok(
            [
                Some(number),
                Some(kind),
                Some(users),
                Some(address),
                mask,
                Some(method),
            ],
        ) => Some(ReplicationLine {
            number,
            kind,
            users: users.split(' ').map(str::to_owned).collect(),
            address,
            mask,
            method,
        }),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(line).collect())
}

/// The settings in force, or those that a start would use.
fn server(params: &Params) -> Result<ServerFacts, String> {
    let pg = pha_host::node::pg_ctl(params).map_err(|refusal| refusal.reason)?;
    let deadline = Deadline::after(STEP);
    let (mut own, mut role) = (Vec::new(), None);
    let (mut pending, mut replication, mut file_errors) = (Vec::new(), None, None);
    let process = pg.surely_running().map_err(|error| error.to_string())?;
    let settings = if matches!(process, Process::Alive { .. }) {
        let postgres = local::postgres(params, &pg.user, "cls");
        let mut session = postgres
            .connect_for(Purpose::Examination, deadline)
            .map_err(|error| error.to_string())?;
        own = own_settings(&mut session, deadline)?;
        let rows = session.simple(settings::PENDING, deadline);
        pending = printable_lines(rows.map_err(|error| error.to_string())?);
        let errors = postgres.file_errors(Purpose::Examination, deadline);
        file_errors = Some(errors.map_err(|error| error.to_string()));
        let seen = replication_role(&mut session, &params.repuser, deadline);
        role = Some(seen.map_err(|error| error.to_string())?);
        let lines = replication_lines(&mut session, deadline);
        replication = Some(lines.map_err(|error| error.to_string()));
        settings_of(&mut session, deadline)?
    } else {
        pg.check_version(deadline)
            .map_err(|error| error.to_string())?;
        let mut settings = BTreeMap::new();
        for name in SETTINGS {
            let value = pg.setting_of_stopped(name, deadline);
            let value = value.map_err(|error| error.to_string())?;
            settings.extend(value.map(|value| (name.to_owned(), value)));
        }
        // Versions before 15 do not look into the data for it.
        if let Ok(control) = pg.controldata(deadline) {
            let on = if control.checksums { "on" } else { "off" };
            settings.insert("data_checksums".to_owned(), on.to_owned());
        }
        settings
    };
    Ok(ServerFacts {
        settings,
        own,
        role,
        pending,
        file_errors,
        replication,
    })
}

fn programs(config: &ClusterConfig, params: &Params) -> BTreeMap<String, Option<String>> {
    let layout = site::layout();
    let ours = [
        ("cls", layout.program(&config.directory, "cls")),
        ("distlock", layout.program(&config.directory, "distlock")),
        (
            "expgsql",
            config.ocf_root.join("resource.d/heartbeat/expgsql"),
        ),
    ];
    let mut programs: BTreeMap<String, Option<String>> = ours
        .into_iter()
        .map(|(name, path)| (name.to_owned(), site::checksum(&path)))
        .collect();
    let pg = node::pg_ctl(params).ok();
    for program in ServerProgram::ALL {
        let version = pg
            .as_ref()
            .and_then(|pg| pg.version_line(*program, Deadline::after(STEP)));
        programs.insert(program.to_string(), version);
    }
    for (name, option) in [("pacemakerd", "--version"), ("corosync", "-v")] {
        programs.insert(name.to_owned(), version(Command::new(name), option));
    }
    // Their versions are Pacemaker's.
    let missing = |tool: &&&str| find_program(Path::new(**tool)).is_none();
    let tools = TOOLS.iter().filter(missing);
    programs.extend(tools.map(|tool| ((*tool).to_owned(), None)));
    programs
}

fn totem() -> Option<TotemFacts> {
    let command = Command::new("corosync-cmapctl").args(TotemFacts::KEYS);
    let output = command.run(Deadline::after(STEP)).ok()?;
    TotemFacts::parse(&output.text())
}

fn version(program: Command, option: &str) -> Option<String> {
    let output = program.arg(option).run(Deadline::after(STEP)).ok()?;
    output.text().lines().next().map(str::to_owned)
}

fn files(config: &ClusterConfig, params: &Params) -> BTreeMap<String, Option<FileFacts>> {
    let facts = |stat: Stat| FileFacts {
        mode: stat.mode,
        owner: stat.uid.to_string(),
    };
    // Each file as the account whose home it is in, who may have made a link of it.
    let mut files = BTreeMap::new();
    for account in ["root", params.pgdba.as_str()] {
        let Ok(user) = User::lookup(account) else {
            continue;
        };
        let path = user.home().join(".pgpass");
        let stat = user.files().look(&path).ok().flatten();
        files.insert(path.display().to_string(), stat.map(facts));
    }
    let own = std::fs::metadata(&config.file).ok().map(|meta| FileFacts {
        mode: meta.mode() & 0o7777,
        owner: meta.uid().to_string(),
    });
    files.insert(config.file.display().to_string(), own);
    files
}

/// The passfiles that connection strings name: of the lock service's for root, of a standby's for the
/// account.
fn passfiles(params: &Params) -> BTreeMap<String, Option<FileFacts>> {
    let lock = match &params.lock_service {
        LockService::Builtin { conninfo, .. } => conninfo.expose().parse::<Conninfo>().ok(),
        LockService::External { .. } | LockService::Off => None,
    };
    let lock = lock.and_then(|info| Some(("root", info.passfile?)));
    let standby = params.primary_conninfo_opt.iter();
    let standby = standby
        .filter(|(keyword, _)| keyword.as_str() == "passfile")
        .map(|(_, value)| (params.pgdba.as_str(), PathBuf::from(value.expose())));
    lock.into_iter()
        .chain(standby)
        .filter_map(|(account, path)| {
            let user = User::lookup(account).ok()?;
            // What cannot be looked at is not read by libpq either.
            let stat = user.files().look(&path).ok().flatten();
            let facts = stat.map(|stat| FileFacts {
                mode: stat.mode,
                owner: stat.uid.to_string(),
            });
            Some((path.display().to_string(), facts))
        })
        .collect()
}
