//! Pacemaker's configuration as this project deploys it: two addresses, one promotable clone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::layout::{LOCK_PORT, LOCK_ROLE, READER_VIP, WRITER_VIP};
use crate::node::PGDATA;

/// The clone's name.
pub const CLONE: &str = "msPostgresql";
/// The primitive's name: the prefix of its node attributes.
pub const RESOURCE: &str = "pgsql";

/// One complete Pacemaker configuration. Change what a test needs and push it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The agent: `expgsql`, or `pgsql` for the packaged one as a peer.
    pub agent: String,
    /// The agent's parameters by name.
    pub parameters: BTreeMap<String, String>,
    /// Seconds between two monitors of a standby.
    pub monitor_unpromoted: u32,
    /// Seconds between two monitors of the primary; must differ from the other.
    pub monitor_promoted: u32,
    /// Timeout of every operation of the agent, seconds.
    pub operation_timeout: u32,
    /// Failures after which a resource leaves a node.
    pub migration_threshold: u32,
    /// `no-quorum-policy`: `ignore` for two nodes, `stop` for more.
    pub no_quorum_policy: String,
    /// Whether the two addresses are part of it (a clone alone suits rep_mode none and slave).
    pub addresses: bool,
    /// Whether the clone is promotable; rep_mode none and slave want a plain one.
    pub promotable: bool,
    /// Whether the reader's address prefers a synchronous standby, which makes a difference where
    /// there are several.
    pub reader_prefers_sync: bool,
    /// Further cluster properties by name.
    pub properties: BTreeMap<String, String>,
}

impl Config {
    /// The usual configuration for these database nodes: `rep_mode` and, where `lock_node` is
    /// given, the built-in lock service there.
    #[must_use]
    pub fn new(
        agent: &str,
        nodes: &[&str],
        rep_mode: &str,
        lock_node: Option<&str>,
        pg_major: u32,
    ) -> Config {
        let mut parameters: BTreeMap<String, String> = [
            (
                "pgctl",
                format!("/usr/lib/postgresql/{pg_major}/bin/pg_ctl"),
            ),
            ("psql", "/usr/bin/psql".to_owned()),
            ("pgdata", PGDATA.to_owned()),
            ("pgport", "5432".to_owned()),
            ("logfile", "/var/log/postgresql/pgsql.log".to_owned()),
            ("rep_mode", rep_mode.to_owned()),
            ("node_list", nodes.join(" ")),
            ("master_ip", WRITER_VIP.to_owned()),
            ("repuser", "replication".to_owned()),
            (
                "primary_conninfo_opt",
                "keepalives_idle=5 keepalives_interval=2 keepalives_count=2".to_owned(),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(lock) = lock_node {
            let conninfo = format!(
                "host={lock} port={LOCK_PORT} dbname=postgres user={LOCK_ROLE} connect_timeout=3"
            );
            for (name, value) in [
                ("enable_distlock", "true"),
                ("distlock_conninfo", conninfo.as_str()),
                ("distlock_lockname", "distlock:pgsql_cls1"),
            ] {
                parameters.insert(name.to_owned(), value.to_owned());
            }
        }
        Config {
            agent: agent.to_owned(),
            parameters,
            monitor_unpromoted: 4,
            monitor_promoted: 3,
            operation_timeout: 60,
            migration_threshold: 3,
            no_quorum_policy: if nodes.len() > 2 { "stop" } else { "ignore" }.to_owned(),
            addresses: true,
            reader_prefers_sync: nodes.len() > 2,
            promotable: true,
            properties: BTreeMap::new(),
        }
    }

    /// Sets one parameter of the agent; an empty value takes it out.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Config {
        if value.is_empty() {
            self.parameters.remove(name);
        } else {
            self.parameters.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    /// The `<configuration>` element for `cibadmin --modify --allow-create`.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut xml = String::from("<configuration>\n");
        xml.push_str(&self.crm_config());
        xml.push_str("  <resources>\n");
        if self.addresses {
            xml.push_str(&address("vip-master", WRITER_VIP));
            xml.push_str(&address("vip-slave", READER_VIP));
        }
        xml.push_str(&self.clone_xml());
        xml.push_str("  </resources>\n");
        if self.addresses && self.promotable {
            xml.push_str(&constraints(self.reader_prefers_sync));
        }
        xml.push_str(DEFAULTS);
        xml.push_str("</configuration>\n");
        xml
    }

    fn crm_config(&self) -> String {
        let mut properties: BTreeMap<&str, &str> = [
            ("no-quorum-policy", self.no_quorum_policy.as_str()),
            ("stonith-enabled", "false"),
        ]
        .into();
        properties.extend(
            self.properties
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let pairs = pairs("opt", properties.into_iter());
        format!(
            "  <crm_config><cluster_property_set id=\"cib-bootstrap-options\">\n{pairs}  </cluster_property_set></crm_config>\n"
        )
    }

    fn clone_xml(&self) -> String {
        let threshold = self.migration_threshold.to_string();
        let mut meta = vec![
            ("clone-node-max", "1"),
            ("notify", "true"),
            ("migration-threshold", &threshold),
        ];
        if self.promotable {
            meta.extend([
                ("promotable", "true"),
                ("promoted-max", "1"),
                ("promoted-node-max", "1"),
                ("target-role", "Promoted"),
            ]);
        }
        let parameters = self
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        format!(
            "    <clone id=\"{CLONE}\">\n<meta_attributes id=\"{CLONE}-meta\">\n{}</meta_attributes>\n\
             <primitive id=\"{RESOURCE}\" class=\"ocf\" provider=\"heartbeat\" type=\"{}\">\n\
             <instance_attributes id=\"{RESOURCE}-ia\">\n{}</instance_attributes>\n<operations>\n{}</operations>\n\
             </primitive>\n    </clone>\n",
            pairs("ms", meta.into_iter()),
            escape(&self.agent),
            pairs(RESOURCE, parameters),
            self.operations(),
        )
    }

    fn operations(&self) -> String {
        let mut xml = String::new();
        let timeout = self.operation_timeout;
        let mut add = |id: &str, name: &str, interval: u32, more: &str| {
            let _ = writeln!(
                xml,
                "<op id=\"{RESOURCE}-{id}\" name=\"{name}\" interval=\"{interval}s\" timeout=\"{timeout}s\"{more}/>"
            );
        };
        add("start", "start", 0, " on-fail=\"restart\"");
        add("stop", "stop", 0, " on-fail=\"block\"");
        add(
            "mon-u",
            "monitor",
            self.monitor_unpromoted,
            " on-fail=\"restart\"",
        );
        if self.promotable {
            add(
                "mon-p",
                "monitor",
                self.monitor_promoted,
                " on-fail=\"restart\" role=\"Promoted\"",
            );
            add("promote", "promote", 0, " on-fail=\"restart\"");
            add("demote", "demote", 0, " on-fail=\"restart\"");
        }
        add("notify", "notify", 0, "");
        xml
    }
}

/// The whole CIB that a node starts with: nothing but the properties that shorten the first
/// election, which otherwise waits 20 s for a coordinator that cannot be there yet. `newer` is a
/// Pacemaker that knows the schema with the words Promoted and Unpromoted (2.1.0).
pub(crate) fn seed_cib(newer: bool) -> String {
    let (features, schema) = match newer {
        true => ("3.10.0", "3.7"),
        false => ("3.1.0", "3.1"),
    };
    let properties = [("dc-deadtime", "2s"), ("stonith-enabled", "false")];
    format!(
        "<cib crm_feature_set=\"{features}\" validate-with=\"pacemaker-{schema}\" epoch=\"1\" num_updates=\"0\" admin_epoch=\"0\">\
         <configuration><crm_config><cluster_property_set id=\"cib-bootstrap-options\">{}</cluster_property_set></crm_config>\
         <nodes/><resources/><constraints/></configuration><status/></cib>\n",
        pairs("opt", properties.into_iter())
    )
}

fn pairs<'a>(prefix: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut xml = String::new();
    for (name, value) in pairs {
        let (name, value) = (escape(name), escape(value));
        let _ = writeln!(
            xml,
            "<nvpair id=\"{prefix}-{name}\" name=\"{name}\" value=\"{value}\"/>"
        );
    }
    xml
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // An attribute's white space is folded into spaces unless it is written as a number.
            '\n' | '\t' | '\r' => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

fn address(id: &str, ip: &str) -> String {
    format!(
        "    <primitive id=\"{id}\" class=\"ocf\" provider=\"heartbeat\" type=\"IPaddr2\">\n\
         <instance_attributes id=\"{id}-ia\">\n{}</instance_attributes>\n<operations>\n\
         <op id=\"{id}-start\" name=\"start\" interval=\"0s\" timeout=\"60s\" on-fail=\"restart\"/>\n\
         <op id=\"{id}-mon\" name=\"monitor\" interval=\"10s\" timeout=\"60s\" on-fail=\"restart\"/>\n\
         <op id=\"{id}-stop\" name=\"stop\" interval=\"0s\" timeout=\"60s\" on-fail=\"block\"/>\n\
         </operations>\n    </primitive>\n",
        pairs(
            id,
            [("ip", ip), ("nic", "eth0"), ("cidr_netmask", "24")].into_iter()
        )
    )
}

/// What belongs together, and in which order. With `prefer`, as `cls_setup` makes it for three nodes
/// and more, the reader's address is rather on a synchronous standby. Without `influence` that rule
/// would count for the clone's instance there too, and lift a fresh standby above the primary.
fn constraints(prefer: bool) -> String {
    let (influence, rule) = if prefer {
        (
            r#" influence="false""#,
            r#"    <rsc_location id="loc-vip-slave" rsc="vip-slave"><rule id="loc-vip-slave-rule" score="100"><expression id="loc-vip-slave-sync" attribute="pgsql-status" operation="eq" value="HS:sync"/></rule></rsc_location>
"#,
        )
    } else {
        ("", "")
    };
    format!(
        r#"  <constraints>
    <rsc_colocation id="col-vip-master" rsc="vip-master" with-rsc="msPostgresql" with-rsc-role="Promoted" score="INFINITY"/>
    <rsc_order id="ord-promote-vip-master" first="msPostgresql" first-action="promote" then="vip-master" then-action="start" symmetrical="false" kind="Mandatory"/>
    <rsc_order id="ord-demote-vip-master" first="msPostgresql" first-action="demote" then="vip-master" then-action="stop" symmetrical="false" kind="Optional"/>
    <rsc_colocation id="col-vip-slave" rsc="vip-slave" with-rsc="msPostgresql" with-rsc-role="Unpromoted" score="INFINITY"{influence}/>
    <rsc_order id="ord-promote-vip-slave" first="msPostgresql" first-action="promote" then="vip-slave" then-action="start" symmetrical="false" kind="Mandatory"/>
    <rsc_order id="ord-stop-vip-slave" first="msPostgresql" first-action="stop" then="vip-slave" then-action="stop" symmetrical="false" kind="Optional"/>
{rule}  </constraints>
"#
    )
}

const DEFAULTS: &str = r#"  <rsc_defaults><meta_attributes id="rsc-options">
    <nvpair id="rd-stickiness" name="resource-stickiness" value="1"/>
    <nvpair id="rd-migration-threshold" name="migration-threshold" value="10"/>
  </meta_attributes></rsc_defaults>
"#;

#[cfg(test)]
mod tests {
    use super::{Config, seed_cib};

    #[test]
    fn values_are_escaped_and_the_document_is_well_formed() {
        let evil = "a\"b<c>&d\ne $(f)";
        let config = Config::new("expgsql", &["node1", "node2"], "sync", Some("node3"), 15)
            .with("tmpdir", evil);
        let xml = config.to_xml();
        let document = roxmltree::Document::parse(&xml).ok();
        let found = document.as_ref().and_then(|document| {
            document
                .descendants()
                .find(|node| node.attribute("name") == Some("tmpdir"))?
                .attribute("value")
        });
        assert_eq!(found, Some(evil));
        for (newer, schema) in [(true, "pacemaker-3.7"), (false, "pacemaker-3.1")] {
            let seed = seed_cib(newer);
            let document = roxmltree::Document::parse(&seed).ok();
            let root = document.as_ref().map(roxmltree::Document::root_element);
            assert_eq!(
                root.and_then(|cib| cib.attribute("validate-with")),
                Some(schema)
            );
        }
    }
}
