//! Reading a CIB: attributes, the coordinator, who is a member.

use roxmltree::{Document, Node};

/// The text of a CIB, and questions to it.
#[derive(Debug, Clone)]
pub struct Cib {
    /// The document as `cibadmin --query` printed it.
    pub xml: String,
}

impl Cib {
    fn ask<T>(&self, question: impl FnOnce(Node<'_, '_>) -> Option<T>) -> Option<T> {
        let document = Document::parse(&self.xml).ok()?;
        question(document.root_element())
    }

    /// The name of the designated coordinator.
    #[must_use]
    pub fn coordinator(&self) -> Option<String> {
        self.ask(|cib| {
            let id = cib.attribute("dc-uuid")?;
            let node = cib
                .descendants()
                .find(|n| n.has_tag_name("node") && n.attribute("id") == Some(id))?;
            node.attribute("uname").map(str::to_owned)
        })
    }

    /// The nodes that are members with a controller that has joined.
    #[must_use]
    pub fn members(&self) -> Vec<String> {
        self.ask(|cib| {
            let joined = |n: &Node<'_, '_>| {
                n.has_tag_name("node_state")
                    && n.attribute("join") == Some("member")
                    && n.attribute("crmd")
                        .is_some_and(|crmd| crmd != "offline" && crmd != "0")
            };
            let mut names: Vec<String> = cib
                .descendants()
                .filter(joined)
                .filter_map(|n| n.attribute("uname").map(str::to_owned))
                .collect();
            names.sort();
            Some(names)
        })
        .unwrap_or_default()
    }

    /// A node attribute, transient (lifetime reboot) before permanent (forever).
    #[must_use]
    pub fn attribute(&self, node: &str, name: &str) -> Option<String> {
        self.transient(node, name)
            .or_else(|| self.permanent(node, name))
    }

    /// A node attribute of lifetime `reboot`.
    #[must_use]
    pub fn transient(&self, node: &str, name: &str) -> Option<String> {
        self.pair_below(
            |n| n.has_tag_name("node_state") && n.attribute("uname") == Some(node),
            name,
        )
    }

    /// A node attribute of lifetime `forever`.
    #[must_use]
    pub fn permanent(&self, node: &str, name: &str) -> Option<String> {
        self.pair_below(
            |n| n.has_tag_name("node") && n.attribute("uname") == Some(node),
            name,
        )
    }

    /// A cluster property, whatever set it is in.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<String> {
        self.pair_below(|n| n.has_tag_name("crm_config"), name)
    }

    /// `pgsql_REPL_INFO`, empty where it was never written.
    #[must_use]
    pub fn repl_info(&self) -> String {
        self.property("pgsql_REPL_INFO").unwrap_or_default()
    }

    fn pair_below(&self, parent: impl Fn(&Node<'_, '_>) -> bool, name: &str) -> Option<String> {
        self.ask(|cib| {
            let parent = cib.descendants().find(|n| parent(n))?;
            let pair = parent
                .descendants()
                .find(|n| n.has_tag_name("nvpair") && n.attribute("name") == Some(name))?;
            pair.attribute("value").map(str::to_owned)
        })
    }
}

/// Where a resource runs and as what, as `crm_mon --output-as=xml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The resource's name.
    pub resource: String,
    /// The node.
    pub node: String,
    /// `Promoted`, `Unpromoted`, `Started` (older words translated).
    pub role: String,
    /// Whether Pacemaker considers it failed there.
    pub failed: bool,
}

/// Reads `crm_mon -1 --output-as=xml`.
#[must_use]
pub fn placements(crm_mon: &str) -> Vec<Placement> {
    let Ok(document) = Document::parse(crm_mon) else {
        return Vec::new();
    };
    let resources = document
        .descendants()
        .filter(|n| n.has_tag_name("resource"));
    resources
        .flat_map(|resource| {
            let id = resource.attribute("id").unwrap_or_default().to_owned();
            let role = match resource.attribute("role").unwrap_or_default() {
                "Master" => "Promoted",
                "Slave" => "Unpromoted",
                other => other,
            }
            .to_owned();
            let failed = resource.attribute("failed") == Some("true");
            let nodes: Vec<String> = resource
                .children()
                .filter(|n| n.has_tag_name("node"))
                .filter_map(|n| n.attribute("name").map(str::to_owned))
                .collect();
            nodes.into_iter().map(move |node| Placement {
                resource: id.clone(),
                node,
                role: role.clone(),
                failed,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Cib, placements};

    const CIB: &str = r#"<cib have-quorum="1" dc-uuid="2"><configuration>
        <crm_config><cluster_property_set id="pgsql_replication">
          <nvpair id="x" name="pgsql_REPL_INFO" value="node1|0|0000000000000000"/></cluster_property_set></crm_config>
        <nodes><node id="1" uname="node1"><instance_attributes id="n1">
          <nvpair id="a" name="pgsql-data-status" value="LATEST"/></instance_attributes></node>
          <node id="2" uname="node2"/></nodes></configuration>
        <status><node_state id="1" uname="node1" crmd="online" join="member"><transient_attributes id="1">
          <instance_attributes id="s1"><nvpair id="b" name="master-pgsql" value="1000"/></instance_attributes>
        </transient_attributes></node_state>
        <node_state id="2" uname="node2" crmd="online" join="down"/></status></cib>"#;

    #[test]
    fn a_cib_answers_for_attributes_members_and_coordinator() {
        let cib = Cib {
            xml: CIB.to_owned(),
        };
        assert_eq!(cib.coordinator().as_deref(), Some("node2"));
        assert_eq!(cib.members(), ["node1"]);
        assert_eq!(
            cib.attribute("node1", "master-pgsql").as_deref(),
            Some("1000")
        );
        assert_eq!(
            cib.permanent("node1", "pgsql-data-status").as_deref(),
            Some("LATEST")
        );
        assert_eq!(cib.transient("node1", "pgsql-data-status"), None);
        assert_eq!(cib.repl_info(), "node1|0|0000000000000000");
    }

    #[test]
    fn placements_translate_old_role_words() {
        let xml = r#"<r><resource id="pgsql" role="Master" failed="false"><node name="node1"/></resource>
            <resource id="pgsql" role="Stopped"/></r>"#;
        let found = placements(xml);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].node.as_str(), found[0].role.as_str()),
            ("node1", "Promoted")
        );
    }
}
