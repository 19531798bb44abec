//! The constraint by which a planned switch says who may be promoted, while the register is handed over (R9).
//!
//! It is written as a whole and not by `crm_resource --ban --lifetime`, which gives the role to the constraint
//! and the end to a rule in it: Pacemaker 2.1.5 then ignores the role, and stops the instances instead of only
//! not promoting them. Its name is one that `crm_resource --clear` takes away.

use crate::dialect::RoleWords;
use crate::history::Moment;
use crate::names::NodeName;
use crate::setup::Element;

/// Who may be promoted while it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promotable<'n> {
    /// Nobody: the primary is demoted.
    Nobody,
    /// This node, where its promotion score lets it.
    Only(&'n NodeName),
}

/// The constraint of a clone for the time of a hand-over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold<'n> {
    /// The clone, as the cluster's configuration names it.
    pub clone: &'n str,
    /// The primary that is demoted.
    pub old: &'n NodeName,
    /// The words for the roles that this cluster knows.
    pub roles: RoleWords,
    /// From then on it has no effect, so that it does no harm if nobody lives to take it away.
    pub until: Moment,
}

/// The identifier of the constraint that keeps a clone off a node, as `crm_resource --ban` forms it.
#[must_use]
pub fn kept_off(clone: &str, node: &str) -> String {
    format!("cli-ban-{clone}-on-{node}")
}

impl Hold<'_> {
    /// The constraint's identifier.
    #[must_use]
    pub fn id(&self) -> String {
        kept_off(self.clone, self.old.as_str())
    }

    /// The constraint.
    #[must_use]
    pub fn constraint(&self, who: Promotable<'_>) -> Element {
        let id = self.id();
        let named = |part: &str, tag: &str| Element::new(tag).with("id", &format!("{id}-{part}"));
        let node = named("node", "expression").with("attribute", "#uname");
        let node = match who {
            Promotable::Nobody => node.with("operation", "defined"),
            Promotable::Only(name) => node.with("operation", "ne").with("value", name.as_str()),
        };
        let until = named("until", "date_expression")
            .with("operation", "lt")
            .with("end", &self.until.to_string());
        let rule = named("rule", "rule")
            .with("role", self.roles.promoted())
            .with("score", "-INFINITY")
            .with("boolean-op", "and")
            .and(node)
            .and(until);
        Element::new("rsc_location")
            .with("id", &id)
            .with("rsc", self.clone)
            .and(rule)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::Cluster;
    use crate::parse::cib::Cib;

    fn hold(old: &NodeName) -> Hold<'_> {
        Hold {
            clone: "ms",
            old,
            roles: RoleWords::Promoted,
            until: Moment::of_millis(1_000_000_000_000).unwrap(),
        }
    }

    #[test]
    fn the_rule_names_the_role_and_ends() {
        let (old, new) = ("node1".parse().unwrap(), "node3".parse().unwrap());
        assert_eq!(
            hold(&old).constraint(Promotable::Nobody).to_xml(),
            r##"<rsc_location id="cli-ban-ms-on-node1" rsc="ms">
  <rule id="cli-ban-ms-on-node1-rule" role="Promoted" score="-INFINITY" boolean-op="and">
    <expression id="cli-ban-ms-on-node1-node" attribute="#uname" operation="defined"/>
    <date_expression id="cli-ban-ms-on-node1-until" operation="lt" end="2001-09-09 01:46:40Z"/>
  </rule>
</rsc_location>
"##
        );
        let only = hold(&old).constraint(Promotable::Only(&new)).to_xml();
        assert!(
            only.contains(r##"attribute="#uname" operation="ne" value="node3"/>"##),
            "{only}"
        );
        let older = Hold {
            roles: RoleWords::Master,
            ..hold(&old)
        };
        let older = older.constraint(Promotable::Nobody).to_xml();
        assert!(older.contains(r#"role="Master""#), "{older}");
    }

    #[test]
    fn one_of_a_command_that_was_ended_is_found_and_is_no_administrators() {
        let (old, new): (NodeName, NodeName) = ("node1".parse().unwrap(), "node3".parse().unwrap());
        let read = |constraint: &str| {
            let cib = Cib::parse(&format!(
                r#"<cib have-quorum="1"><configuration><crm_config/><nodes><node id="1" uname="node1"/></nodes><resources><clone id="ms"><primitive id="pgsql" class="ocf" provider="heartbeat" type="expgsql"/></clone></resources><constraints>{constraint}</constraints></configuration><status/></cib>"#
            ));
            Cluster::of_cib(&cib.unwrap(), &"pgsql".parse().unwrap())
        };
        for who in [Promotable::Nobody, Promotable::Only(&new)] {
            let cluster = read(&hold(&old).constraint(who).to_xml());
            assert_eq!(cluster.left, [hold(&old).id()]);
            assert_eq!(cluster.node(&old).barred, None);
        }
        // As `pcs resource ban ms node1` makes it.
        let banned = hold(&old).id();
        let ban = format!(
            r#"<rsc_location id="{banned}" rsc="ms" role="Started" node="node1" score="-INFINITY"/>"#
        );
        let cluster = read(&ban);
        assert!(cluster.left.is_empty(), "{:?}", cluster.left);
        assert_eq!(cluster.node(&old).barred, Some(banned));
    }
}
