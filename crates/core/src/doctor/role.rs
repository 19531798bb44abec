//! The role that standbys connect to the primary as: enough rights to replicate and to rewind, and no more.

use super::{Examination, Found, Level, RoleFacts, RoleRights, Rule};
use crate::message;
use crate::message::Message;
use crate::params::Params;

pub(super) const RULES: &[Rule] = &[Rule {
    id: "replication-role",
    well: || message!("the role of the standbys may replicate and rewind, and is no superuser"),
    look: replication_role,
}];

/// What `pg_rewind` runs on its source (PostgreSQL manual, `pg_rewind`, Notes; version 11 and newer).
pub const REWIND_FUNCTIONS: [&str; 4] = [
    "pg_catalog.pg_ls_dir(text, boolean, boolean)",
    "pg_catalog.pg_stat_file(text, boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
];

/// The first version whose `pg_rewind` can do without a superuser.
const WITHOUT_SUPERUSER: u32 = 11;

/// The first version whose `pg_rewind` makes no temporary table on its source.
const WITHOUT_TEMPORARY: u32 = 14;

/// A name as SQL reads it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What is wrong with the role, and the statements that mend it.
#[derive(Default)]
struct Advice {
    level: Option<Level>,
    why: Vec<Message>,
    statements: Vec<String>,
}

impl Advice {
    fn found(&mut self, level: Level, why: Message) {
        self.level = self.level.max(Some(level));
        self.why.push(why);
    }

    fn type_in(&mut self, statement: String) {
        if !self.statements.contains(&statement) {
            self.statements.push(statement);
        }
    }
}

fn grant_functions<S: AsRef<str>>(functions: &[S], role: &str) -> String {
    let functions: Vec<&str> = functions.iter().map(AsRef::as_ref).collect();
    let (list, role) = (functions.join(", "), quoted(role));
    format!("GRANT EXECUTE ON FUNCTION {list} TO {role}")
}

/// Everything that a role is granted instead of being a superuser.
fn grants(role: &str, facts: &RoleFacts, params: &Params) -> Vec<String> {
    let mut grants = vec![grant_functions(&REWIND_FUNCTIONS, role)];
    if facts.major < WITHOUT_TEMPORARY {
        grants.push(grant_temporary(role, facts));
    }
    // The commands ask as this role on another node, and over ssh where it may not see sessions.
    if params.monitor_user.is_none() {
        grants.push(format!("GRANT pg_monitor TO {}", quoted(role)));
    }
    grants
}

fn grant_temporary(role: &str, facts: &RoleFacts) -> String {
    let (database, role) = (quoted(&facts.database), quoted(role));
    format!("GRANT TEMPORARY ON DATABASE {database} TO {role}")
}

/// A role that the agent needs for its own questions must not lose its rights to save the standbys' some.
fn is_the_agents(role: &str, params: &Params) -> bool {
    role == params.pgdba || params.monitor_user.as_deref() == Some(role)
}

fn replication_role(seen: &Examination) -> Vec<Found> {
    if !seen.params.rep_mode.replicated() {
        return Vec::new();
    }
    let asked = seen.answered().filter_map(|(_, facts)| {
        let server = facts.server.as_ref()?.as_ref().ok()?;
        server.role.as_ref()
    });
    // Every node of a cluster has the same roles; the primary knows them first.
    let Some(facts) = asked.min_by_key(|facts| facts.standby) else {
        return Vec::new();
    };
    let role = seen.params.repuser.as_str();
    match &facts.rights {
        None => vec![absent(role, facts, &seen.params)],
        Some(rights) => judge(role, facts, rights, &seen.params)
            .into_iter()
            .collect(),
    }
}

fn created(role: &str, facts: &RoleFacts, params: &Params) -> Vec<String> {
    let mut statements = vec![format!("CREATE ROLE {} LOGIN REPLICATION", quoted(role))];
    statements.extend(grants(role, facts, params));
    statements
}

/// The statements that give the role what it needs and does not have: none where nothing is missing. A right
/// that is too much is not taken away.
#[must_use]
pub fn replication_role_statements(facts: &RoleFacts, params: &Params) -> Vec<String> {
    let role = params.repuser.as_str();
    let Some(rights) = &facts.rights else {
        return created(role, facts, params);
    };
    let mut advice = Advice::default();
    no_standby(&mut advice, role, rights);
    too_little(&mut advice, role, facts, rights);
    advice.statements
}

/// Where to type them, and the statements; each ends with a semicolon.
fn in_psql(facts: &RoleFacts, statements: &[String]) -> Message {
    message!(
        "in psql on the primary, in the database {database}: {statements};",
        database = facts.database,
        statements = statements.join("; ")
    )
}

fn absent(role: &str, facts: &RoleFacts, params: &Params) -> Found {
    Found::error(
        message!(
            "there is no role {role} (pgsql_repuser): no standby can connect",
            role
        ),
        message!(
            "a password by \\password afterwards; {statements}",
            statements = in_psql(facts, &created(role, facts, params))
        ),
    )
}

fn judge(role: &str, facts: &RoleFacts, rights: &RoleRights, params: &Params) -> Option<Found> {
    let mut advice = Advice::default();
    no_standby(&mut advice, role, rights);
    let above = rights.superuser || !rights.member_of.is_empty();
    match (facts.major >= WITHOUT_SUPERUSER, above) {
        (true, true) if is_the_agents(role, params) => return Some(its_own(role, facts, params)),
        (true, true) => too_much(&mut advice, role, facts, rights, params),
        (true, false) => too_little(&mut advice, role, facts, rights),
        (false, _) if !rights.superuser => {
            advice.found(
                Level::Warning,
                message!(
                    "pg_rewind of version {version} needs a superuser, and {role} is none: cls_repair_slave cannot work",
                    version = facts.major,
                    role
                ),
            );
            advice.type_in(format!("ALTER ROLE {} SUPERUSER", quoted(role)));
        }
        (false, _) => {}
    }
    let level = advice.level?;
    let remedy = in_psql(facts, &advice.statements);
    Some(Found::new(level, Message::several(advice.why), remedy))
}

/// A superuser may replicate without it.
fn no_standby(advice: &mut Advice, role: &str, rights: &RoleRights) {
    if rights.login && (rights.replication || rights.superuser) {
        return;
    }
    advice.found(
        Level::Error,
        message!(
            "the role {role} has not both LOGIN and REPLICATION: no standby can connect",
            role
        ),
    );
    advice.type_in(format!("ALTER ROLE {} LOGIN REPLICATION", quoted(role)));
}

/// The grants come first: with them in force nothing stops working when the right above them goes.
fn too_much(
    advice: &mut Advice,
    role: &str,
    facts: &RoleFacts,
    rights: &RoleRights,
    params: &Params,
) {
    let what = if rights.superuser {
        message!("the role {role} is a superuser", role)
    } else {
        message!(
            "the role {role} can do what a superuser can, as a member of {groups}",
            role,
            groups = rights.member_of.join(", ")
        )
    };
    advice.found(
        Level::Warning,
        message!(
            "{what}: whoever has its password has the whole database, and replicating and rewinding need less",
            what
        ),
    );
    for statement in grants(role, facts, params) {
        advice.type_in(statement);
    }
    let name = quoted(role);
    for group in &rights.member_of {
        advice.type_in(format!("REVOKE {} FROM {name}", quoted(group)));
    }
    if rights.superuser {
        advice.type_in(format!("ALTER ROLE {name} REPLICATION NOSUPERUSER"));
    }
}

fn too_little(advice: &mut Advice, role: &str, facts: &RoleFacts, rights: &RoleRights) {
    if !rights.refused.is_empty() {
        advice.found(
            Level::Warning,
            message!(
                "{role} may not execute {functions}, which pg_rewind needs: cls_repair_slave cannot work",
                role,
                functions = rights.refused.join(", ")
            ),
        );
        advice.type_in(grant_functions(&rights.refused, role));
    }
    if facts.major < WITHOUT_TEMPORARY && !rights.temporary {
        advice.found(
            Level::Warning,
            message!(
                "{role} may not make the temporary table in {database} that pg_rewind of version {version} needs",
                role,
                database = facts.database,
                version = facts.major
            ),
        );
        advice.type_in(grant_temporary(role, facts));
    }
}

fn its_own(role: &str, facts: &RoleFacts, params: &Params) -> Found {
    let other = match role {
        "replication" => "replicator",
        _ => "replication",
    };
    let statements = created(other, facts, params);
    Found::warning(
        message!(
            "standbys connect as {role}, the agent's own role, which can do everything",
            role
        ),
        message!(
            "a role of their own, with its lines in pg_hba.conf, its password (\\password {other}; pgsql_reppassword) and pgsql_repuser = \"{other}\" in config.ini, then cls_setup; {statements}",
            other,
            statements = in_psql(facts, &statements)
        ),
    )
}
