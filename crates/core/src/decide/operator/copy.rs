//! Repairing (`pg_rewind`) and rebuilding (`pg_basebackup`) a standby: rule R6.
//!
//! A node that rewinds or replaces its data must not count as a holder meanwhile, and copies only
//! from the register's owner at its present term: anything else may lack acknowledged commits.

mod aside;
mod facts;
mod moves;
mod register;
mod seen;

use super::{Broken, Refusal, not_borne_out};
use crate::begun::Begun;
pub use crate::begun::Lead;
use crate::message;
use crate::message::Message;
use crate::names::{NodeName, and};
use crate::register::{Reading, Register, names_primary};
use crate::remedy::Remedy;
use crate::server_program::ServerProgram;

pub use aside::{OldData, Room, room};
pub use moves::{
    Fixed, Moves, Need, OldPlaces, Outside, PLACE_RULES, PlaceFacts, ROOM_RULES, Target,
    has_other_version, has_room, mapped, plan_moves,
};
pub use register::{Copied, has_left, is_still_so, may_be_used, started_meanwhile, still_missing};
pub use seen::{has_checkpoint, not_rewound};

pub use facts::{CopyFacts, CopyKind, CopyPlan, CopyRequest, CopyStep, Data, Instance, Method};

impl CopyPlan {
    /// Whether old data are moved aside for it. An empty directory stays; what could not be rewound does not.
    #[must_use]
    pub fn moves_old_data(&self) -> bool {
        self.steps.contains(&CopyStep::SetAside) || self.method == Method::Rewind
    }
}

/// The decision.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyVerdict {
    /// There is nothing to do; why.
    Nothing(Message),
    /// Not begun.
    Refused(Refusal),
    /// Do it.
    Go(CopyPlan),
}

/// One precondition.
pub struct CopyRule {
    /// A stable name.
    pub id: &'static str,
    /// What it asks for, in one sentence.
    pub says: &'static str,
    /// What is not so, and what to type.
    pub check: fn(&CopyRequest, &CopyFacts) -> Option<Broken>,
}

/// The rule of [`source`].
const ONE_PRIMARY: &str = "copy-one-primary";

/// The preconditions, in their order.
pub const COPY_RULES: &[CopyRule] = &[
    CopyRule {
        id: "copy-replicated",
        says: "The database must be replicated: rep_mode async or sync.",
        check: |_, facts| {
            (!facts.replicated).then(|| {
                (
                    message!("the database is not replicated, so there is no primary to copy from"),
                    message!("set rep_mode to sync or async in config.ini, then cls_setup"),
                )
            })
        },
    },
    CopyRule {
        id: ONE_PRIMARY,
        says: "Exactly one node is promoted.",
        check: |_, facts| source(facts).err(),
    },
    CopyRule {
        id: "copy-not-the-primary",
        says: "The node is not the primary.",
        check: |_, facts| {
            let primary =
                facts.instance == Instance::Primary || facts.promoted.first() == Some(&facts.node);
            primary.then(|| {
                (
                    message!(
                        "{node} is the primary; only a standby can be repaired or rebuilt",
                        node = facts.node
                    ),
                    message!(
                        "give the standby with --node, or switch first with cls_online_switch"
                    ),
                )
            })
        },
    },
    CopyRule {
        id: "copy-register",
        says: "The register can be read and names the promoted node as its owner (R6).",
        check: register_names_primary,
    },
    CopyRule {
        id: "copy-repl-info",
        says: "Without a register, pgsql_REPL_INFO names the promoted node.",
        check: |_, facts| {
            if facts.register.is_some() {
                return None;
            }
            let primary = facts.promoted.first()?;
            (facts.repl_info.as_ref() != Some(primary)).then(|| {
                let named = facts.repl_info.as_ref();
                let named = named.map_or_else(|| message!("nobody"), Message::from);
                (
                    message!(
                        "{primary} is promoted, and pgsql_REPL_INFO names {named}",
                        primary,
                        named
                    ),
                    message!("wait for the primary's next monitor, then try again"),
                )
            })
        },
    },
    CopyRule {
        id: "copy-last-holder",
        says: "The node is not the only one that holds every acknowledged commit (R6).",
        check: |_, facts| {
            let row = row(facts)?;
            (row.holders.len() == 1 && row.holders.contains(&facts.node)).then(|| {
                (
                    message!(
                        "{node} is the only node that is known to hold every acknowledged commit, so its data must not be replaced",
                        node = facts.node
                    ),
                    message!(
                        "start it and let it be promoted (cls_cleanup), or accept the loss of its data with cls_recovery_master on another node"
                    ),
                )
            })
        },
    },
    CopyRule {
        id: "copy-managed",
        says: "Pacemaker manages the database, so that it can be stopped and started.",
        check: |_, facts| {
            (!facts.managed).then(|| {
                (
                    message!("Pacemaker does not manage the database"),
                    message!("cls_manage"),
                )
            })
        },
    },
    CopyRule {
        id: "copy-nothing-changing",
        says: "Pacemaker is not at work on the node.",
        check: |_, facts| match &facts.instance {
            Instance::Changing(what) => Some((
                message!(
                    "Pacemaker is at work on {node}: {what}",
                    node = facts.node,
                    what
                ),
                message!("wait until it is done, then try again"),
            )),
            _ => None,
        },
    },
    CopyRule {
        id: "copy-foreign-server",
        says: "No server runs in the data directory that Pacemaker does not know of.",
        check: |_, facts| {
            (facts.instance == Instance::Foreign).then(|| {
                (
                    message!(
                        "a server that Pacemaker did not start runs in the data directory of {node}",
                        node = facts.node
                    ),
                    message!("stop it on {node} with pg_ctl stop -m fast", node = facts.node),
                )
            })
        },
    },
    CopyRule {
        id: "copy-running-standby",
        says: "A standby that streams is not rebuilt under way.",
        check: |request, facts| {
            (request.kind == CopyKind::Rebuild
                && facts.instance == Instance::Standby { streaming: true })
            .then(|| {
                (
                    message!(
                        "the database runs on {node} and streams from the primary",
                        node = facts.node
                    ),
                    message!(
                        "nothing is to be done; to rebuild it all the same: cls_standby_node {node}",
                        node = facts.node
                    ),
                )
            })
        },
    },
    CopyRule {
        id: "copy-programs",
        says: "The node has the programs that copy, and those without which a standby is not started afterwards.",
        check: |request, facts| {
            let copies = request.kind == CopyKind::Rebuild || request.or_rebuild;
            let needed = |program: &&ServerProgram| match program {
                ServerProgram::BaseBackup => copies,
                ServerProgram::Rewind => !copies,
                _ => true,
            };
            let lacking: Vec<_> = facts.lacking.iter().filter(needed).copied().collect();
            let first = lacking.first()?;
            Some((
                message!(
                    "{node} has no {programs}",
                    node = facts.node,
                    programs = and(&lacking)
                ),
                Message::from(first.remedy().to_string()),
            ))
        },
    },
    CopyRule {
        id: "copy-same-cluster",
        says: "The data directory, where there is one, is a copy of the primary's cluster and of its version.",
        check: |request, facts| {
            let Data::Cluster { major, system, .. } = facts.data else {
                return None;
            };
            let (primary_system, primary_major) = facts.primary_system?;
            let aside = request.keep_old && request.kind == CopyKind::Rebuild;
            (!aside && (system != primary_system || major != primary_major)).then(|| {
                (
                    message!(
                        "the data directory of {node} is of another cluster (system identifier {system}, version {major}) than the primary's ({primary_system}, {primary_major})",
                        node = facts.node,
                        system,
                        major,
                        primary_system,
                        primary_major
                    ),
                    message!(
                        "see whether pgdata is right; {rebuild} --keep-old moves it aside",
                        rebuild = Remedy::Rebuild.command()
                    ),
                )
            })
        },
    },
    CopyRule {
        id: "rebuild-empty",
        says: "A rebuild needs an empty data directory, or --keep-old.",
        check: |request, facts| {
            let there = facts.data != Data::Nothing && facts.unfinished != Some(Begun::Backup);
            (request.kind == CopyKind::Rebuild && there && !request.keep_old).then(|| {
                (
                    message!(
                        "the data directory of {node} is not empty",
                        node = facts.node
                    ),
                    message!("give --keep-old, which moves it aside, or empty it by hand"),
                )
            })
        },
    },
    CopyRule {
        id: "repair-possible",
        says: "A repair needs data that pg_rewind can work on, or --or-rebuild.",
        check: |request, facts| {
            if request.kind != CopyKind::Repair || request.or_rebuild {
                return None;
            }
            why_not_rewind(facts).map(|why| {
                (
                    message!(
                        "pg_rewind cannot repair {node}: {error}",
                        node = facts.node,
                        error = why
                    ),
                    message!(
                        "{rebuild} --keep-old --node {node} (or {repair} --or-rebuild)",
                        rebuild = Remedy::Rebuild.command(),
                        repair = Remedy::Repair.command(),
                        node = facts.node
                    ),
                )
            })
        },
    },
];

fn row(facts: &CopyFacts) -> Option<&Register> {
    match facts.register.as_ref()? {
        Reading::Row(row) if row.term > 0 => Some(row),
        _ => None,
    }
}

fn register_names_primary(_: &CopyRequest, facts: &CopyFacts) -> Option<Broken> {
    let primary = facts.promoted.first()?;
    let reading = facts.register.as_ref()?;
    let why = names_primary(reading, None, facts.seen, primary).err()?;
    Some(not_borne_out(&why, primary, |why| {
        message!("it is not known whose data are the right ones: {why}", why)
    }))
}

/// Why `pg_rewind` cannot work here.
fn why_not_rewind(facts: &CopyFacts) -> Option<Message> {
    if let Some(method) = facts.unfinished {
        return Some(message!(
            "an earlier {method} was interrupted, and its data directory is neither old nor new",
            method = method.to_string()
        ));
    }
    if facts.lacking.contains(&ServerProgram::Rewind) {
        return Some(message!(
            "{node} has no {programs}",
            node = facts.node,
            programs = ServerProgram::Rewind.as_str()
        ));
    }
    if let Some(why) = facts.alike() {
        return Some(why.into());
    }
    match &facts.data {
        Data::Nothing => Some(message!("there is no data directory")),
        Data::Unreadable(why) => Some(Message::from(why)),
        Data::Cluster {
            rewindable: false, ..
        } => Some(message!(
            "its data have neither checksums nor wal_log_hints = on"
        )),
        // From 13 on pg_rewind recovers a crashed server by itself (release notes).
        Data::Cluster {
            clean: false,
            major,
            ..
        } if *major < 13 => Some(message!(
            "the server was not shut down cleanly, and pg_rewind before 13 does not recover it"
        )),
        Data::Cluster { .. } => None,
    }
}

/// The node to copy from; or what is not so, and what to type.
fn source(facts: &CopyFacts) -> Result<&NodeName, Broken> {
    match &facts.promoted[..] {
        [primary] => Ok(primary),
        [] => Err((
            message!("there is no primary to copy from"),
            message!("bring the primary up first; cls_status says what it needs"),
        )),
        several => Err((
            message!(
                "{nodes} are promoted at the same time",
                nodes = Message::all(several.iter().map(Message::from))
            ),
            message!("cls_status on every node"),
        )),
    }
}

/// Decides what a repair or a rebuild does.
pub fn plan_copy(request: &CopyRequest, facts: &CopyFacts) -> CopyVerdict {
    for rule in COPY_RULES {
        if let Some((what, hint)) = (rule.check)(request, facts) {
            return CopyVerdict::Refused(Refusal::new(rule.id, what, hint));
        }
    }
    let source = match source(facts) {
        Ok(source) => source.clone(),
        Err((what, hint)) => return CopyVerdict::Refused(Refusal::new(ONE_PRIMARY, what, hint)),
    };
    if facts.instance == (Instance::Standby { streaming: true }) {
        return CopyVerdict::Nothing(message!(
            "{node} streams from {source} already",
            node = facts.node,
            source
        ));
    }
    let why_not = why_not_rewind(facts);
    let method = match (request.kind, &why_not) {
        (CopyKind::Repair, None) => Method::Rewind,
        _ => Method::Backup,
    };
    CopyVerdict::Go(CopyPlan {
        term: row(facts).map(|row| row.term),
        steps: steps(facts, method),
        because: why_not.filter(|_| request.kind == CopyKind::Repair),
        method,
        source,
    })
}

fn steps(facts: &CopyFacts, method: Method) -> Vec<CopyStep> {
    use CopyStep as S;
    let mut steps = Vec::new();
    if matches!(facts.instance, Instance::Standby { .. }) {
        steps.push(S::TakeDown);
    }
    let counts =
        |row: &Register| row.holders.contains(&facts.node) || row.may_be_given_back_to(&facts.node);
    if row(facts).is_some_and(counts) {
        steps.push(S::Leave);
    }
    if facts.data != Data::Nothing {
        steps.push(S::KeepConfiguration);
    }
    match method {
        Method::Rewind => steps.push(S::Rewind),
        Method::Backup => {
            if aside::needs_room(facts) {
                steps.push(S::SetAside);
            }
            steps.push(S::Backup);
        }
    }
    steps.extend([S::CheckSource, S::RestoreConfiguration]);
    if !facts.in_standby {
        steps.extend([S::Cleanup, S::Await]);
    }
    steps
}

impl CopyStep {
    /// Whether the data must stand still from this step on, until they are whole again.
    #[must_use]
    pub fn is_on_still_data(&self) -> bool {
        match self {
            Self::Leave
            | Self::KeepConfiguration
            | Self::SetAside
            | Self::Rewind
            | Self::Backup => true,
            Self::TakeDown
            | Self::CheckSource
            | Self::RestoreConfiguration
            | Self::Cleanup
            | Self::Await => false,
        }
    }

    /// The step as a sentence, for the plan that is shown.
    #[must_use]
    pub fn says(self, facts: &CopyFacts, plan: &CopyPlan) -> String {
        let (node, source) = (&facts.node, &plan.source);
        match self {
            Self::TakeDown => format!("stop the standby on {node}, which does not stream"),
            Self::Leave => format!("take {node} out of the register's holders"),
            Self::KeepConfiguration => format!("keep the configuration files of {node}"),
            Self::SetAside => "move the old data directory aside".to_owned(),
            Self::Rewind => {
                format!("rewind {node} to where {source} left the common history (pg_rewind)")
            }
            Self::Backup => format!("copy the whole database from {source} (pg_basebackup)"),
            Self::CheckSource => format!("see that {source} is still the primary"),
            Self::RestoreConfiguration => format!("put the configuration files of {node} back"),
            Self::Cleanup => "let Pacemaker start it (crm_resource --cleanup)".to_owned(),
            Self::Await => format!("wait until {node} streams from {source}"),
        }
    }
}

#[cfg(test)]
mod tests;
