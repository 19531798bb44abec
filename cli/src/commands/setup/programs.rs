//! Whether the programs that parameters name are on every node, before they are relied upon.

use std::time::Duration;

use pha_core::names::NodeName;
use pha_core::setup::Needed;
use pha_host::clock::Deadline;
use pha_host::command::Command;
use pha_host::config::ClusterConfig;
use pha_host::user::User;

use super::design;
use crate::error::ClsError;
use crate::site;

/// How long the nodes may take to answer.
const ASK: Duration = Duration::from_secs(15);
/// How long one look may take.
const STEP: Duration = Duration::from_secs(5);
/// Success if `$1` can be run. A path is looked at itself: of one the shells do not all look closely.
const LOOK: &str =
    "case $1 in /*) test -f \"$1\" && test -x \"$1\" ;; *) command -v \"$1\" >/dev/null ;; esac";
/// Exit status of the look: there is no such program.
const MISSING: [i32; 2] = [1, 127];

/// Asks every node for the programs. Warnings about nodes that could not be asked.
///
/// # Errors
/// [`ClsError::Refused`] with every program that is missing somewhere.
pub(super) fn check(
    config: &ClusterConfig,
    needed: &[Needed],
    deadline: Deadline,
) -> Result<Vec<String>, ClsError> {
    if needed.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error: serde_json::Error| ClsError::failed(error.to_string(), "cls_setup");
    let stdin = serde_json::to_vec(needed).map_err(failed)?;
    let mut missing: Vec<(Needed, Vec<NodeName>)> = Vec::new();
    let mut warnings = Vec::new();
    for answer in site::ask_all(config, &["programs"], &stdin, deadline.sub_budget(ASK)) {
        let node = answer.node;
        let text = answer.text.map_err(|silence| silence.to_string());
        let found: Result<Vec<Needed>, String> = text.and_then(|text| {
            serde_json::from_str(&text)
                .map_err(|_| "its cls answers in another form; run `sh install.sh`".to_owned())
        });
        match found {
            Err(why) => warnings.push(format!(
                "{node} could not be asked whether it has {}: {why}",
                words(needed)
            )),
            Ok(found) => {
                for program in found {
                    match missing.iter_mut().find(|(known, _)| *known == program) {
                        Some((_, nodes)) => nodes.push(node.clone()),
                        None => missing.push((program, vec![node.clone()])),
                    }
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(warnings);
    }
    let said: Vec<String> = missing
        .iter()
        .map(|(program, nodes)| said(program, nodes))
        .collect();
    Err(ClsError::refused(
        format!("{}: nothing was changed", said.join("; ")),
        "install it there (and let the account run it), or correct config.ini; then cls_setup again",
    ))
}

fn words(needed: &[Needed]) -> String {
    let programs: Vec<&str> = needed.iter().map(|one| one.program.as_str()).collect();
    programs.join(", ")
}

fn said(needed: &Needed, nodes: &[NodeName]) -> String {
    let names: Vec<&NodeName> = nodes.iter().collect();
    let effect = match needed.parameter.as_str() {
        "restore_command" => ", and without it PostgreSQL would not start there",
        _ => "",
    };
    format!(
        "{} of {} is no program that could be run on {}{effect}",
        needed.program,
        needed.parameter,
        super::and(&names),
    )
}

/// Which of the programs cannot be run on this node.
///
/// # Errors
/// [`ClsError::Failed`] if that cannot be told.
pub(crate) fn missing(
    config: &ClusterConfig,
    needed: Vec<Needed>,
) -> Result<Vec<Needed>, ClsError> {
    let params = design::parsed(&config.agent)?;
    let mut missing = Vec::new();
    for one in needed {
        let mut look = Command::new("/bin/sh").args(["-c", LOOK, "sh", &one.program]);
        if one.by_postgres {
            let owner = User::lookup(&params.pgdba)
                .map_err(|error| ClsError::failed(error.to_string(), "correct pgsql_pgdba"))?;
            look = look.run_as(&owner);
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
