//! What every node has to have for the configuration that is about to be written: programs, an account,
//! data, an interface for the addresses. Pacemaker and the agent find all of it only one by one, after
//! it was written, on the node that they try.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::programs::Needed;
use super::rolling::effective;
use super::{Design, Element, SetupPlan};
use crate::layout::Layout;
use crate::message;
use crate::message::Message;
use crate::names::{NodeName, and};
use crate::server_program::ServerProgram;

/// What a node is asked. All of it comes from the file that is read here: the node's own copy may be
/// another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteQuestion {
    /// Programs that new or changed parameters name.
    pub needed: Vec<Needed>,
    /// The agent's parameter.
    pub pgctl: String,
    /// The agent's parameter.
    pub pgdata: String,
    /// The agent's parameter.
    pub pgdba: String,
    /// The interface of the addresses.
    pub nic: Option<String>,
}

/// The data directory of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataFacts {
    /// It is not there, or empty, or something else.
    None,
    /// It cannot be looked at, and why.
    Unknown(String),
    /// It has data.
    There {
        /// The major version that made them; none where the file that says so makes no sense.
        major: Option<u32>,
        /// Which database they are of, where its programs can tell.
        identifier: Option<u64>,
    },
}

/// An address of a node's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAddress {
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
}

/// What a node answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteFacts {
    /// Programs that cannot be run there.
    pub missing: Vec<Needed>,
    /// Programs of the server that are not beside `pgctl`; an older version's commands do not say.
    #[serde(default)]
    pub lacking: Vec<ServerProgram>,
    /// Whether the account that shall own the data is there.
    pub account: bool,
    /// The major version of the server's programs, where they run.
    pub major: Option<u32>,
    /// The data.
    pub data: DataFacts,
    /// Whether the interface is there; none where none is asked for, or it cannot be told.
    pub nic: Option<bool>,
    /// The addresses that the node has; none where they cannot be told.
    pub addresses: Option<Vec<OwnAddress>>,
    /// A checksum of the configuration file that commands on that node read; none where there is none.
    pub config: Option<String>,
}

/// What is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SiteFinding {
    /// What, without the place.
    pub what: Message,
    /// Where.
    pub nodes: Vec<NodeName>,
    /// What to do about it.
    pub remedy: Message,
    /// What is written now would not work with it. Otherwise it is so already, or mends itself later.
    pub refused: bool,
}

/// The findings, the same one of several nodes only once.
#[derive(Default)]
struct Findings(Vec<SiteFinding>);

impl Findings {
    fn add(&mut self, refused: bool, node: &NodeName, what: Message, remedy: Message) {
        match self.0.iter_mut().find(|known| known.what == what) {
            Some(known) if known.nodes.contains(node) => {}
            Some(known) => known.nodes.push(node.clone()),
            None => self.0.push(SiteFinding {
                what,
                nodes: vec![node.clone()],
                remedy,
                refused,
            }),
        }
    }
}

/// `2001:db8::1` and `2001:db8::2` have the first `prefix` bits in common.
fn same_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let ((one, length), (other, same)) = (bits(one), bits(other));
    length == same && (prefix == 0 || (one ^ other) >> (128 - u32::from(prefix).min(length)) == 0)
}

/// One of the two addresses, as it shall be.
struct Wanted<'a> {
    key: &'static str,
    ip: IpAddr,
    nic: Option<&'a str>,
    netmask: Option<u32>,
    /// It is written now; what is there already may be on the interface for that reason.
    written: bool,
    moved: bool,
}

impl Wanted<'_> {
    fn look(&self, node: &NodeName, own: &[OwnAddress], found: &mut Findings) {
        let Self { key, ip, .. } = self;
        let host = if ip.is_ipv4() { 32 } else { 128 };
        if let Some(taken) = own.iter().find(|one| self.moved && one.address == *ip) {
            found.add(
                true,
                node,
                message!(
                    "{key}={ip} is an address of {interface} already",
                    key,
                    ip = ip.to_string(),
                    interface = taken.interface
                ),
                message!(
                    "give {key} an address that no node has, or take it off there",
                    key
                ),
            );
            return;
        }
        let near: Vec<&OwnAddress> = own
            .iter()
            .filter(|one| one.address != *ip && u32::from(one.prefix) < host)
            .filter(|one| same_network(one.address, *ip, one.prefix))
            .collect();
        let there = near
            .iter()
            .find(|one| self.nic.is_none_or(|nic| nic == one.interface));
        match (there, near.first(), self.nic) {
            (Some(there), _, _) => {
                let right = u32::from(there.prefix);
                if let Some(bits) = self.netmask.filter(|bits| *bits != right && *bits != host) {
                    found.add(
                        self.written,
                        node,
                        message!(
                            "vip_cidr_netmask={bits} is not that of the network of {interface}, which is {right}",
                            bits,
                            interface = there.interface,
                            right
                        ),
                        message!("vip_cidr_netmask={right} in config.ini, or none", right),
                    );
                }
            }
            (None, Some(other), Some(nic)) => found.add(
                self.written,
                node,
                message!(
                    "{key}={ip} is in the network of {interface}, not in one of vip_nic={nic}",
                    key,
                    ip = ip.to_string(),
                    interface = other.interface,
                    nic
                ),
                message!(
                    "vip_nic={nic} in config.ini, or none",
                    nic = other.interface
                ),
            ),
            (None, _, None) => found.add(
                self.written,
                node,
                message!(
                    "{key}={ip} is in no network of an interface",
                    key,
                    ip = ip.to_string()
                ),
                message!(
                    "correct {key}, or name the interface with vip_nic in config.ini",
                    key
                ),
            ),
            // Meant so, as where addresses are routed to hosts; or wrong.
            (None, None, Some(nic)) => found.add(
                false,
                node,
                message!(
                    "{key}={ip} is in no network of vip_nic={nic}",
                    key,
                    ip = ip.to_string(),
                    nic
                ),
                message!("see that clients have a route to it, or correct it in config.ini"),
            ),
        }
    }
}

fn interfaces(own: &[OwnAddress]) -> String {
    let names: BTreeSet<&str> = own
        .iter()
        .map(|one| one.interface.as_str())
        .filter(|name| *name != "lo")
        .collect();
    names.into_iter().collect::<Vec<_>>().join(" or ")
}

impl SetupPlan {
    /// What the nodes are asked.
    #[must_use]
    pub fn question(&self, design: &Design, pgctl: &str, pgdba: &str) -> SiteQuestion {
        let pgdata = design.parameters.get("pgdata");
        SiteQuestion {
            needed: self.needs(),
            pgctl: pgctl.to_owned(),
            pgdata: pgdata.cloned().unwrap_or_default(),
            pgdba: pgdba.to_owned(),
            nic: design.nic.clone(),
        }
    }

    /// Whether one of these parameters of a resource gets another value than it has.
    fn writes(&self, resource: &str, names: &[&str]) -> bool {
        let of = |configuration: &Element| -> Vec<Option<String>> {
            let found = configuration
                .descendants()
                .find(|element| element.tag == "primitive" && element.id() == resource);
            let values = found.map(|primitive| effective(primitive, None));
            let value = |name: &&str| values.as_ref()?.get(*name).map(|text| (*text).to_owned());
            names.iter().map(value).collect()
        };
        of(&self.before) != of(&self.after)
    }

    /// Judges what the nodes answered: everything that is not as it has to be. Refused is what would not
    /// work of that which is written now; what was there before stays an operator's to mend.
    #[must_use]
    pub fn judge_site(
        &self,
        design: &Design,
        nodes: &BTreeMap<NodeName, SiteFacts>,
    ) -> Vec<SiteFinding> {
        let mut found = Findings::default();
        for (node, facts) in nodes {
            programs(node, facts, &mut found);
            self.server_programs(node, facts, &mut found);
            self.account_and_version(design, node, facts, &mut found);
            self.addresses(design, node, facts, &mut found);
        }
        self.data(design, nodes, &mut found);
        found.0
    }

    fn server_programs(&self, node: &NodeName, facts: &SiteFacts, found: &mut Findings) {
        let pgctl = |missing: &Needed| missing.parameter == "pgctl";
        if facts.missing.iter().any(pgctl) {
            // Nothing can lie beside it.
            return;
        }
        for program in &facts.lacking {
            let of_a_standby = ServerProgram::OF_A_STANDBY.contains(program);
            let effect = match program {
                ServerProgram::Rewind => message!("cls_repair_slave cannot work there"),
                ServerProgram::BaseBackup => message!("cls_rebuild_slave cannot work there"),
                _ => message!("PostgreSQL cannot be started there as a standby"),
            };
            found.add(
                of_a_standby && self.writes(&self.database, &["pgctl"]),
                node,
                message!(
                    "there is no {program}: {effect}",
                    program = program.as_str(),
                    effect
                ),
                program.remedy().message(),
            );
        }
    }

    fn account_and_version(
        &self,
        design: &Design,
        node: &NodeName,
        facts: &SiteFacts,
        found: &mut Findings,
    ) {
        let given = |name: &str, usual: &str| {
            let given = design.parameters.get(name);
            given.cloned().unwrap_or_else(|| usual.to_owned())
        };
        if !facts.account {
            let pgdba = given("pgdba", "postgres");
            found.add(
                self.writes(&self.database, &["pgdba", "pgdata"]),
                node,
                message!("there is no account {pgdba}", pgdba),
                message!(
                    "install PostgreSQL's packages there, or correct pgsql_pgdba in config.ini"
                ),
            );
        }
        if let DataFacts::There {
            major: Some(data), ..
        } = facts.data
            && let Some(program) = facts.major.filter(|program| *program != data)
        {
            found.add(
                self.writes(&self.database, &["pgctl", "pgdata"]),
                node,
                message!(
                    "pgsql_pgctl={pgctl} is of PostgreSQL {program}, and the data in {pgdata} are of {data}",
                    pgctl = given("pgctl", "/usr/bin/pg_ctl"),
                    program,
                    pgdata = given("pgdata", ""),
                    data
                ),
                message!("correct pgsql_pgctl or pgsql_pgdata in config.ini"),
            );
        }
    }

    fn addresses(&self, design: &Design, node: &NodeName, facts: &SiteFacts, found: &mut Findings) {
        let Some(own) = &facts.addresses else { return };
        let resources = [
            ("writer_vip", &design.writer, Some(&design.writer_ip)),
            ("reader_vip", &design.reader, design.reader_ip.as_ref()),
        ];
        if facts.nic == Some(false) {
            let written = resources
                .iter()
                .any(|(_, resource, _)| self.writes(resource, &["ip", "nic"]));
            let nic = design.nic.as_deref().unwrap_or_default();
            let remedy = match interfaces(own) {
                names if names.is_empty() => message!("correct vip_nic in config.ini"),
                names => message!("vip_nic={nic} in config.ini, or none", nic = names),
            };
            let what = message!("there is no interface vip_nic={nic}", nic);
            found.add(written, node, what, remedy);
            return;
        }
        for (key, resource, ip) in resources {
            let Some(ip) = ip.and_then(|ip| ip.parse().ok()) else {
                continue;
            };
            Wanted {
                key,
                ip,
                nic: design.nic.as_deref(),
                netmask: design.netmask,
                written: self.writes(resource, &["ip", "nic", "cidr_netmask"]),
                moved: self.writes(resource, &["ip"]),
            }
            .look(node, own, found);
        }
    }

    fn data(&self, design: &Design, nodes: &BTreeMap<NodeName, SiteFacts>, found: &mut Findings) {
        let written = self.writes(&self.database, &["pgdata"]);
        let pgdata = design.parameters.get("pgdata").cloned().unwrap_or_default();
        let has = |facts: &SiteFacts| matches!(facts.data, DataFacts::There { .. });
        let nowhere = !nodes.values().any(has);
        for (node, facts) in nodes {
            match &facts.data {
                DataFacts::Unknown(why) => found.add(
                    written,
                    node,
                    message!("{pgdata} cannot be looked at: {why}", pgdata, why),
                    message!("correct pgsql_pgdata in config.ini, or the rights of the directory"),
                ),
                DataFacts::None if nowhere => found.add(
                    written,
                    node,
                    message!("there are no data of PostgreSQL in pgsql_pgdata={pgdata}", pgdata),
                    message!("correct pgsql_pgdata in config.ini; or, where the cluster is new, initdb on the first node"),
                ),
                DataFacts::None => found.add(
                    false,
                    node,
                    message!("there are no data of PostgreSQL in pgsql_pgdata={pgdata} yet", pgdata),
                    message!("cls_rebuild_slave there, when the primary runs"),
                ),
                DataFacts::There { .. } => {}
            }
        }
        let mut databases: BTreeMap<u64, Vec<&NodeName>> = BTreeMap::new();
        for (node, facts) in nodes {
            if let DataFacts::There {
                identifier: Some(identifier),
                ..
            } = facts.data
            {
                databases.entry(identifier).or_default().push(node);
            }
        }
        if databases.len() > 1 {
            let said = databases
                .iter()
                .map(|(identifier, nodes)| format!("{identifier} on {}", and(nodes)))
                .collect::<Vec<_>>()
                .join(", ");
            let what = message!(
                "the data in {pgdata} are of different databases: {said}",
                pgdata,
                said
            );
            let remedy = message!(
                "move away what does not belong to the cluster, and make it anew with cls_rebuild_slave when the primary runs"
            );
            for node in databases.into_values().flatten() {
                found.add(written, node, what.clone(), remedy.clone());
            }
        }
    }
}

fn programs(node: &NodeName, facts: &SiteFacts, found: &mut Findings) {
    for Needed {
        parameter, program, ..
    } in &facts.missing
    {
        let what = match parameter.as_str() {
            "restore_command" => message!(
                "{program} of {parameter} is no program that could be run, and without it PostgreSQL would not start there",
                program,
                parameter
            ),
            _ => message!(
                "{program} of {parameter} is no program that could be run",
                program,
                parameter
            ),
        };
        found.add(
            true,
            node,
            what,
            message!("install it there (and let the account run it), or correct config.ini"),
        );
    }
}

/// The nodes whose commands read another configuration file than the one with this checksum.
#[must_use]
pub fn other_copies(
    layout: Layout,
    file: &str,
    own: Option<&str>,
    nodes: &BTreeMap<NodeName, SiteFacts>,
) -> Option<SiteFinding> {
    let other = nodes
        .iter()
        .filter(|(_, facts)| facts.config.as_deref() != own);
    let nodes: Vec<NodeName> = other.map(|(node, _)| node.clone()).collect();
    (!nodes.is_empty()).then(|| SiteFinding {
        what: message!(
            "the config.ini that commands read there is not as {file} is here",
            file
        ),
        nodes,
        remedy: layout.copies(),
        refused: false,
    })
}

/// The addresses in what `ip -oneline address show` prints: `2: eth0    inet 192.0.2.5/24 brd …`. Lines of
/// another form are left out.
#[must_use]
pub fn own_addresses(text: &str) -> Vec<OwnAddress> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (interface, family, address) = (words.next()?, words.next()?, words.next()?);
        if !matches!(family, "inet" | "inet6") {
            return None;
        }
        let (address, prefix) = match address.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, prefix.parse().ok()?),
            // A peer's, as of a tunnel.
            None => {
                let address: IpAddr = address.parse().ok()?;
                (address, if address.is_ipv4() { 32 } else { 128 })
            }
        };
        Some(OwnAddress {
            interface: interface.to_owned(),
            address,
            prefix,
        })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const EMPTY: &str = r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9"><configuration><crm_config/><nodes/><resources/><constraints/></configuration></cib>"#;
    const IP: &str = "\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 192.0.2.11/24 brd 192.0.2.255 scope global eth0\\       valid_lft forever
3: eth1    inet 10.1.2.3/16 scope global eth1\\       valid_lft forever
3: eth1    inet6 2001:db8::3/64 scope global \\       valid_lft forever
4: tun0    inet 10.9.0.1 peer 10.9.0.2/32 scope global tun0
";

    fn design() -> Design {
        let parameters = [("pgdata", "/data"), ("pgctl", "/pg/15/pg_ctl")];
        Design {
            writer_ip: "192.0.2.1".to_owned(),
            reader_ip: Some("192.0.2.2".to_owned()),
            parameters: parameters
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..crate::setup::tests::design()
        }
    }

    fn facts() -> BTreeMap<NodeName, SiteFacts> {
        let facts = SiteFacts {
            missing: Vec::new(),
            lacking: Vec::new(),
            account: true,
            major: Some(15),
            data: DataFacts::There {
                major: Some(15),
                identifier: Some(7),
            },
            nic: Some(true),
            addresses: Some(own_addresses(IP)),
            config: None,
        };
        ["node1", "node2"]
            .map(|node| (node.parse().unwrap(), facts.clone()))
            .into()
    }

    type Spoil = fn(&mut Design, &mut BTreeMap<NodeName, SiteFacts>);

    fn found(spoil: Spoil) -> Vec<SiteFinding> {
        let (mut design, mut facts) = (design(), facts());
        spoil(&mut design, &mut facts);
        let plan = SetupPlan::make(EMPTY, &design).unwrap();
        plan.judge_site(&design, &facts)
    }

    fn on_all(facts: &mut BTreeMap<NodeName, SiteFacts>, change: fn(&mut SiteFacts)) {
        facts.values_mut().for_each(change);
    }

    #[test]
    fn what_is_well_is_not_found() {
        assert_eq!(found(|_, _| ()), []);
        // An address of its own for a host, as in clouds, and an interface that is left to the agent.
        assert_eq!(found(|design, _| design.netmask = Some(32)), []);
        assert_eq!(found(|design, _| design.nic = None), []);
    }

    #[test]
    fn each_kind_is_found_with_its_remedy() {
        let cases: [(Spoil, &str, &str); 12] = [
            (
                |_, facts| {
                    on_all(facts, |one| one.lacking = vec![ServerProgram::WalDump]);
                },
                "there is no pg_waldump: PostgreSQL cannot be started there as a standby",
                "postgresql-contrib",
            ),
            (
                |_, facts| on_all(facts, |one| one.nic = Some(false)),
                "there is no interface vip_nic=eth0",
                "vip_nic=eth0 or eth1",
            ),
            (
                |design, _| design.nic = Some("eth1".to_owned()),
                "writer_vip=192.0.2.1 is in the network of eth0, not in one of vip_nic=eth1",
                "vip_nic=eth0 in config.ini",
            ),
            (
                |design, _| design.netmask = Some(16),
                "vip_cidr_netmask=16 is not that of the network of eth0",
                "vip_cidr_netmask=24 in config.ini",
            ),
            (
                |design, _| design.writer_ip = "192.0.2.11".to_owned(),
                "writer_vip=192.0.2.11 is an address of eth0 already",
                "that no node has",
            ),
            (
                |design, _| {
                    design.nic = None;
                    design.reader_ip = Some("198.51.100.7".to_owned());
                },
                "reader_vip=198.51.100.7 is in no network of an interface",
                "correct reader_vip",
            ),
            (
                |_, facts| on_all(facts, |one| one.account = false),
                "there is no account postgres",
                "correct pgsql_pgdba",
            ),
            (
                |_, facts| on_all(facts, |one| one.major = Some(14)),
                "pgsql_pgctl=/pg/15/pg_ctl is of PostgreSQL 14, and the data in /data are of 15",
                "correct pgsql_pgctl",
            ),
            (
                |_, facts| on_all(facts, |one| one.data = DataFacts::None),
                "there are no data of PostgreSQL in pgsql_pgdata=/data",
                "initdb on the first node",
            ),
            (
                |_, facts| {
                    on_all(facts, |one| {
                        one.data = DataFacts::Unknown("denied".to_owned());
                    });
                },
                "/data cannot be looked at: denied",
                "the rights of the directory",
            ),
            (
                |_, facts| {
                    facts.values_mut().next().unwrap().data = DataFacts::There {
                        major: Some(15),
                        identifier: Some(8),
                    };
                },
                "different databases: 7 on node2, 8 on node1",
                "cls_rebuild_slave",
            ),
            (
                |_, facts| {
                    on_all(facts, |one| {
                        one.missing.push(Needed {
                            parameter: "pgctl".to_owned(),
                            program: "/pg/15/pg_ctl".to_owned(),
                            by_postgres: true,
                        });
                    });
                },
                "/pg/15/pg_ctl of pgctl is no program that could be run",
                "correct config.ini",
            ),
        ];
        for (spoil, what, remedy) in cases {
            let all = found(spoil);
            // Where it is about both addresses, the first is the writer's.
            let one = &all[0];
            assert!(all.len() <= 2, "{all:?}");
            assert!(one.refused && one.nodes.len() == 2, "{one:?}");
            for text in [&one.what, &one.remedy] {
                let chinese = text.in_language(crate::message::Language::Chinese);
                assert!(!chinese.is_ascii(), "{chinese}");
            }
            assert!(one.what.to_string().contains(what), "{one:?}");
            assert!(one.remedy.to_string().contains(remedy), "{one:?}");
        }
    }

    #[test]
    fn another_copy_of_the_configuration_is_named() {
        let mut nodes = facts();
        on_all(&mut nodes, |one| one.config = Some("a".to_owned()));
        assert_eq!(
            other_copies(Layout::Directory, "/c", Some("a"), &nodes),
            None
        );
        nodes.values_mut().last().unwrap().config = None;
        let found = other_copies(Layout::Directory, "/c", Some("a"), &nodes).unwrap();
        assert_eq!(found.nodes, ["node2".parse().unwrap()]);
    }

    #[test]
    fn everything_is_found_at_once() {
        let all = found(|design, facts| {
            design.writer_ip = "192.0.2.11".to_owned();
            on_all(facts, |one| {
                one.account = false;
                one.data = DataFacts::None;
            });
        });
        assert_eq!(all.len(), 3, "{all:?}");
    }

    #[test]
    fn what_is_not_written_now_is_no_reason_to_refuse() {
        let design = design();
        let before = SetupPlan::make(EMPTY, &design).unwrap().after;
        let mut cib = Element::parse(EMPTY).unwrap();
        cib.children = before.children;
        let plan = SetupPlan::make(&cib.to_xml(), &design).unwrap();
        let mut facts = facts();
        on_all(&mut facts, |one| {
            one.nic = Some(false);
            one.data = DataFacts::None;
        });
        let all = plan.judge_site(&design, &facts);
        assert!(
            all.len() == 2 && all.iter().all(|one| !one.refused),
            "{all:?}"
        );
    }

    #[test]
    fn a_standby_without_data_gets_them_later() {
        let all = found(|_, facts| {
            facts.values_mut().last().unwrap().data = DataFacts::None;
        });
        assert!(all.len() == 1 && !all[0].refused, "{all:?}");
        assert_eq!(all[0].nodes[0].as_str(), "node2");
    }
}
