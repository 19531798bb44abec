//! Rules about who may connect to PostgreSQL as a standby.

use super::{Examination, Found, ReplicationLine, Rule, ServerFacts};
use crate::message;

pub(super) const RULES: &[Rule] = &[Rule {
    id: "replication-strangers",
    well: || message!("who may replicate is bounded in pg_hba.conf"),
    look: strangers,
}];

/// Whoever may replicate and gives himself a standby's name is one to PostgreSQL: it releases commits for
/// him (R11). So the lines that let anybody are named.
fn strangers(seen: &Examination) -> Vec<Found> {
    seen.each(|node, facts| {
        let Some(Ok(ServerFacts { replication, .. })) = &facts.server else {
            return Vec::new();
        };
        let replication = match replication {
            None => return Vec::new(),
            Some(Ok(lines)) => lines,
            Some(Err(why)) => {
                return vec![Found::warning(
                    message!("who may replicate cannot be seen: {why}", why),
                    message!("in SQL: grant select on pg_catalog.pg_hba_file_rules and grant execute on function pg_catalog.pg_hba_file_rules() to the role of monitor_user; or look into pg_hba.conf yourself"),
                )];
            }
        };
        let wide = replication.iter().filter_map(|line| {
            let who = line.users.join(", ");
            let why = match (line.from(), line.method.as_str()) {
                (From::Everywhere, "trust") => message!("from everywhere, without a password"),
                (From::Network, "trust") => message!("from a network, without a password"),
                // A certificate is not had by accident.
                (From::Everywhere, method) if method != "cert" => message!("from everywhere"),
                _ => return None,
            };
            Some(Found::warning(
                message!(
                    "line {number} of pg_hba.conf lets {who} replicate {why}: a client that connects from there under a standby's application_name is counted as that standby, and commits are confirmed that no standby has",
                    number = line.number,
                    who,
                    why
                ),
                message!(
                    "name in that line of {node} the role and the address of one node (host replication {role} ADDRESS/32 scram-sha-256), a line for each, then: select pg_reload_conf()",
                    node,
                    role = seen.params.repuser
                ),
            ))
        });
        wide.collect()
    })
}

/// From where a line lets somebody connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// This machine, over a socket or as itself.
    Here,
    One,
    Network,
    Everywhere,
}

impl ReplicationLine {
    /// PostgreSQL manual, "The pg_hba.conf File": an address with a mask, a name (with a dot in front, all
    /// names that end so), or a word.
    fn from(&self) -> From {
        if !self.kind.starts_with("host") {
            return From::Here;
        }
        let one = ["255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
        match (self.address.as_str(), self.mask.as_deref()) {
            ("samehost", _) => From::Here,
            ("all", _) | (_, Some("0.0.0.0" | "::")) => From::Everywhere,
            (_, Some(mask)) if one.contains(&mask) => From::One,
            (_, Some(_)) | ("samenet", None) => From::Network,
            (name, None) if name.starts_with('.') => From::Network,
            (_, None) => From::One,
        }
    }
}
