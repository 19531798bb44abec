//! What this node has, for the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use pha_core::begun::Mark;
use pha_core::decide::any_of;
use pha_core::init::{ASKED, COPY_FILES, InitData, InitFacts};
use pha_core::params::Params;
use pha_core::server_program::ServerProgram;
use pha_core::snapshot::Process;
use pha_host::clock::Deadline;
use pha_host::local;
use pha_host::missing;
use pha_host::node;
use pha_host::pgctl::{self, PgCtl, PgError};
use pha_host::unfinished::Copies;

use super::failed;
use crate::commands::setup::design;
use crate::commands::setup::look::addresses;
use crate::error::ClsError;

/// How long one look may take.
const STEP: Duration = Duration::from_secs(10);

/// The setting that says what the data are like.
const CHECKSUMS: &str = "data_checksums";

/// Looks.
///
/// # Errors
/// [`ClsError::Failed`] if something of it cannot be told.
pub(crate) fn facts(parameters: &BTreeMap<String, String>) -> Result<InitFacts, ClsError> {
    let params = design::parsed(parameters)?;
    let Ok(pg) = node::pg_ctl(&params) else {
        return Ok(InitFacts {
            account: false,
            lacking: Vec::new(),
            major: None,
            data: InitData::None,
            runs: false,
            config: None,
            settings: BTreeMap::new(),
            hba: Vec::new(),
            addresses: Vec::new(),
            passwords: BTreeSet::new(),
            mounted: None,
        });
    };
    let version = pg.program_version(Deadline::after(STEP));
    let data = data(&pg);
    let config = pg.user.files().is_there(&pg.config);
    let there = matches!(data, InitData::There { .. }) && config == Some(true);
    let (settings, hba) = match there && version.is_ok() {
        true => (settings(&pg)?, hba(&pg)?),
        false => (BTreeMap::new(), Vec::new()),
    };
    let runs = pg.surely_running().map_err(|error| failed(&error))? != Process::Absent;
    Ok(InitFacts {
        account: true,
        lacking: pg.missing(ServerProgram::ALL),
        major: version.ok().map(|version| version.major()),
        data,
        runs,
        config,
        settings,
        hba,
        addresses: addresses().ok_or_else(|| {
            failed(&"the addresses of this node cannot be told (ip address show)")
        })?,
        passwords: passwords(&params, &pg),
        mounted: mounted(&pg.pgdata),
    })
}

fn data(pg: &PgCtl) -> InitData {
    let files = pg.user.files();
    if let Some(point) = missing::unmounted(&pg.pgdata) {
        let point = point.display();
        return InitData::Unknown(format!(
            "nothing is mounted on {point}, which /etc/fstab names"
        ));
    }
    let mark = match Copies::into(&pg.pgdata).mark() {
        Ok(mark) => mark,
        Err(error) => return InitData::Unknown(error.to_string()),
    };
    let names = match files.names(&pg.pgdata, "") {
        Ok(names) => names.unwrap_or_default(),
        Err(error) => return InitData::Unknown(error.to_string()),
    };
    let Some(first) = names.first() else {
        // What is no directory has no names either.
        return match files.look(&pg.pgdata) {
            Ok(Some(stat)) if stat.kind != pha_host::account::Kind::Directory => {
                InitData::Unknown("it is no directory".to_owned())
            }
            Ok(_) => match mark.filter(Mark::leads_to_data) {
                Some(mark) => InitData::Unfinished(mark.method),
                None => InitData::None,
            },
            Err(error) => InitData::Unknown(error.to_string()),
        };
    };
    if let Some(mark) = mark {
        return InitData::Unfinished(mark.method);
    }
    let major = match pg.data_version() {
        Ok(version) => Some(version.major()),
        Err(PgError::NoDataDirectory(_)) => return InitData::Foreign(first.clone()),
        Err(PgError::UnknownVersion { .. }) => None,
        Err(error) => return InitData::Unknown(error.to_string()),
    };
    InitData::There {
        major,
        identifier: pgctl::system_identifier(&pg.user, &pg.pgdata),
        copy: any_of(&COPY_FILES.map(|name| files.is_there(&pg.pgdata.join(name)))),
    }
}

fn settings(pg: &PgCtl) -> Result<BTreeMap<String, String>, ClsError> {
    let mut settings = BTreeMap::new();
    // A server that runs is not asked by its program for what is in its data.
    for name in ASKED.iter().filter(|name| **name != CHECKSUMS) {
        let value = pg.setting_of_stopped(name, Deadline::after(STEP));
        if let Some(value) = value.map_err(|error| failed(&error))? {
            settings.insert((*name).to_owned(), value);
        }
    }
    let control = pg.controldata(Deadline::after(STEP));
    let on = match control.map_err(|error| failed(&error))?.checksums {
        true => "on",
        false => "off",
    };
    settings.insert(CHECKSUMS.to_owned(), on.to_owned());
    Ok(settings)
}

/// The lines of `pg_hba.conf` that say something.
fn hba(pg: &PgCtl) -> Result<Vec<String>, ClsError> {
    let file = pg
        .hba_file(Deadline::after(STEP))
        .map_err(|error| failed(&error))?;
    let text = pg
        .user
        .files()
        .read_text(&file)
        .map_err(|error| failed(&error))?;
    let text = text.unwrap_or_default();
    let lines = text.lines().map(|line| match line.split_once('#') {
        Some((before, _)) => before.trim(),
        None => line.trim(),
    });
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

/// The roles that the account's passfile has a password for.
fn passwords(params: &Params, pg: &PgCtl) -> BTreeSet<String> {
    let mut info = local::postgres(params, &pg.user, "cls").info;
    info.password = None;
    let known = |role: &&String| {
        let info = info.clone().with_user(role.as_str());
        let server = info.servers.first();
        server.is_some_and(|server| info.password_from(pg.user.files(), server).is_some())
    };
    let roles = [Some(&params.repuser), params.monitor_user.as_ref()];
    roles.into_iter().flatten().filter(known).cloned().collect()
}

/// Where the file system is mounted that a path is on, or would be.
fn mounted(path: &Path) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let places = table.lines().filter_map(|line| line.split(' ').nth(1));
    let above = places.filter(|place| path.starts_with(place));
    above.max_by_key(|place| place.len()).map(str::to_owned)
}
