//! Whether every node has what the configuration needs: asked of all of them before anything is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pha_core::message;
use pha_core::message::Message;
use pha_core::names::NodeName;
use pha_core::params::Params;
use pha_core::server_program::ServerProgram;
use pha_core::setup::{
    DataFacts, Design, Needed, OwnAddress, SetupPlan, SiteFacts, SiteFinding, SiteQuestion,
    other_copies, own_addresses,
};
use pha_host::clock::Deadline;
use pha_host::command::Command;
use pha_host::config::ClusterConfig;
use pha_host::node;
use pha_host::pgctl::{self, PgCtl, PgError};
use pha_host::user::User;

use super::design;
use crate::app::Session;
use crate::error::ClsError;
use crate::site;

/// How long the nodes may take to answer.
const ASK: Duration = Duration::from_secs(20);
/// How long one look may take.
const STEP: Duration = Duration::from_secs(5);
/// Success if `$1` can be run. A path is looked at itself: of one the shells do not all look closely.
const LOOK: &str =
    "case $1 in /*) test -f \"$1\" && test -x \"$1\" ;; *) command -v \"$1\" >/dev/null ;; esac";
/// Exit status of the look: there is no such program.
const MISSING: [i32; 2] = [1, 127];
/// Exit status of `ip link show`: there is no such interface.
const NO_INTERFACE: i32 = 1;

/// Asks every node. Warnings about what is not well and no reason to refuse.
///
/// # Errors
/// [`ClsError::Refused`] with everything with which what is going to be written would not work.
pub(super) fn check(
    config: &ClusterConfig,
    design: &Design,
    plan: &SetupPlan,
    deadline: Deadline,
) -> Result<Vec<Message>, ClsError> {
    let params = design::parsed(&design.parameters)?;
    let question = plan.question(design, &params.pgctl, &params.pgdba);
    let failed = |error: serde_json::Error| ClsError::failed(error.to_string(), "cls_setup");
    let stdin = serde_json::to_vec(&question).map_err(failed)?;
    let mut nodes: BTreeMap<NodeName, SiteFacts> = BTreeMap::new();
    let mut warnings = Vec::new();
    for answer in site::ask_all(config, &["site"], &stdin, deadline.sub_budget(ASK)) {
        let text = answer.text.map_err(|silence| silence.to_string());
        let facts = text.and_then(|text| {
            serde_json::from_str(&text).map_err(|_| {
                let next = site::layout().same_version();
                format!("its cls answers in another form: {next}")
            })
        });
        match facts {
            Ok(facts) => drop(nodes.insert(answer.node, facts)),
            Err(why) => warnings.push(message!(
                "{node} could not be asked whether it has what this needs: {why}",
                node = answer.node,
                why
            )),
        }
    }
    let own = site::checksum(&config.file);
    let file = config.file.display().to_string();
    let other = other_copies(site::layout(), &file, own.as_deref(), &nodes);
    warnings.extend(other.iter().map(said));
    let (refused, well): (Vec<SiteFinding>, Vec<SiteFinding>) = plan
        .judge_site(design, &nodes)
        .into_iter()
        .partition(|finding| finding.refused);
    warnings.extend(well.iter().map(said));
    match &refused[..] {
        [] => Ok(warnings),
        [one] => Err(ClsError::refused(
            message!("{what}: nothing was changed", what = place(one)),
            message!("{remedy}; then cls_setup again", remedy = one.remedy),
        )),
        many => {
            let lines = many
                .iter()
                .map(said)
                .reduce(|before, name| message!("{before}\n  {name}", before, name));
            Err(ClsError::refused(
                message!(
                    "{count} things are in the way, and nothing was changed:\n  {lines}",
                    count = many.len(),
                    lines = lines.unwrap_or_else(|| Message::from(""))
                ),
                message!("mend them all, then cls_setup again"),
            ))
        }
    }
}

fn place(finding: &SiteFinding) -> Message {
    message!(
        "{what} (on {nodes})",
        what = finding.what,
        nodes = Message::all(finding.nodes.iter().map(Message::from))
    )
}

fn said(finding: &SiteFinding) -> Message {
    message!("{what}: {why}", what = place(finding), why = finding.remedy)
}

/// Files that an operator may have edited in place of the one that is read.
const USUAL: [&str; 3] = [
    "config.ini",
    "/opt/pha4pgsql/config.ini",
    "/etc/pha4pgsql/config.ini",
];

/// Warnings about other files than the one that is read, if none was named.
pub(crate) fn others(session: &Session, config: &ClusterConfig) -> Vec<Message> {
    if session.common.config.is_some() {
        return Vec::new();
    }
    let real = |file: &Path| std::fs::canonicalize(file).ok();
    let (own, text) = (real(&config.file), site::checksum(&config.file));
    let other = |file: &&Path| {
        let there = real(file);
        there.is_some() && there != own && site::checksum(file) != text
    };
    let said = |file: &Path| {
        let file = real(file).unwrap_or_else(|| file.to_owned());
        message!(
            "{file} is not read: {read} is, and has other contents; --config={file} reads it, and {installer} --config {file} copies it to every node",
            file = file.display().to_string(),
            read = config.file.display().to_string(),
            installer = site::layout().installer()
        )
    };
    let all = USUAL.iter().map(Path::new);
    all.filter(other).map(said).collect()
}

/// What there is on this node.
///
/// # Errors
/// [`ClsError::Failed`] if that cannot be told.
pub(crate) fn facts(own: &Path, question: SiteQuestion) -> Result<SiteFacts, ClsError> {
    let given = [
        ("pgctl", question.pgctl.as_str()),
        ("pgdata", &question.pgdata),
        ("pgdba", &question.pgdba),
    ];
    let (params, _, _) = Params::parse_leniently(given);
    let pg = node::pg_ctl(&params).ok();
    let account = pg.as_ref().map(|pg| &pg.user);
    let version = pg
        .as_ref()
        .map(|pg| pg.program_version(Deadline::after(STEP)));
    Ok(SiteFacts {
        missing: missing(account, question.needed)?,
        lacking: pg
            .as_ref()
            .map_or_else(Vec::new, |pg| pg.missing(ServerProgram::ALL)),
        account: account.is_some(),
        major: version.and_then(Result::ok).map(|version| version.major()),
        data: pg.as_ref().map_or(DataFacts::None, data),
        nic: question.nic.and_then(|nic| has_interface(&nic)),
        addresses: addresses(),
        config: site::checksum(own),
    })
}

fn data(pg: &PgCtl) -> DataFacts {
    let major = match pg.data_version() {
        Ok(version) => Some(version.major()),
        Err(PgError::NoDataDirectory(_)) => return DataFacts::None,
        Err(PgError::UnknownVersion { .. }) => None,
        Err(error) => return DataFacts::Unknown(error.to_string()),
    };
    DataFacts::There {
        major,
        identifier: pgctl::system_identifier(&pg.user, &pg.pgdata),
    }
}

fn has_interface(nic: &str) -> Option<bool> {
    let output = Command::new("ip")
        .args(["link", "show", "dev", nic])
        .accept(NO_INTERFACE)
        .run(Deadline::after(STEP));
    output.ok().map(|output| output.code == 0)
}

/// The addresses of this node's interfaces; none where they cannot be told.
pub(crate) fn addresses() -> Option<Vec<OwnAddress>> {
    let command = Command::new("ip").args(["-oneline", "address", "show"]);
    let output = command.run(Deadline::after(STEP)).ok()?;
    Some(own_addresses(&output.text()))
}

/// Which of the programs cannot be run on this node.
fn missing(account: Option<&User>, needed: Vec<Needed>) -> Result<Vec<Needed>, ClsError> {
    let mut missing = Vec::new();
    for one in needed {
        let mut look = Command::new("/bin/sh").args(["-c", LOOK, "sh", &one.program]);
        if one.by_postgres {
            // Without the account nothing can be run as it: that is found by itself.
            let Some(owner) = account else { continue };
            look = look.run_as(owner);
        }
        for code in MISSING {
            look = look.accept(code);
        }
        let output = look
            .run(Deadline::after(STEP))
            .map_err(|error| ClsError::failed(error.to_string(), "cls_doctor"))?;
        if output.code != 0 {
            missing.push(one);
        }
    }
    Ok(missing)
}
