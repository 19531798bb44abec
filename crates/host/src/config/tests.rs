#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

/// The file of the specification, word for word.
const SPECIFICATION: &str = r#"cluster_type=dual
OCF_ROOT=/usr/lib/ocf
RESOURCE_LIST="msPostgresql vip-master vip-slave"
pha4pgsql_dir=/opt/pha4pgsql
writer_vip=192.168.41.136
reader_vip=192.168.41.137
node1=node1
node2=node2
vip_nic=eno33554984
vip_cidr_netmask=24
pgsql_pgctl=/usr/bin/pg_ctl
pgsql_psql=/usr/bin/psql
pgsql_pgdata=/data/postgresql/data
pgsql_restore_command=""
pgsql_rep_mode=sync
pgsql_repuser=replication
pgsql_reppassord=replication
pgsql_enable_distlock=true
pgsql_distlock_psql_cmd='/usr/bin/psql \\"host=node3 port=5439 dbname=postgres user=postgres connect_timeout=5\\"'
pgsql_distlock_lockname=pgsql_cls1
"#;

fn parse(text: &str) -> Result<ClusterConfig, String> {
    ClusterConfig::parse(Path::new("config.ini"), text).map_err(|error| error.to_string())
}

/// The specification's file with one line replaced, or taken out where `with` is empty.
fn changed(key: &str, with: &str) -> String {
    let mut lines: Vec<&str> = SPECIFICATION.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with(&format!("{key}=")))
        .unwrap();
    if with.is_empty() {
        lines.remove(at);
    } else {
        lines[at] = with;
    }
    lines.join("\n")
}

#[test]
fn the_specifications_file_works_unchanged() {
    let config = parse(SPECIFICATION).unwrap();
    let nodes: Vec<&str> = config.nodes.iter().map(NodeName::as_str).collect();
    assert_eq!(nodes, ["node1", "node2"]);
    assert_eq!(config.cluster_type, ClusterType::Dual);
    assert_eq!(config.resources.clone, "msPostgresql");
    assert_eq!(config.resources.reader, "vip-slave");
    assert_eq!(config.writer_vip.to_string(), "192.168.41.136");
    assert_eq!(config.vip_cidr_netmask, Some(24));
    assert_eq!(config.replication_password.unwrap().expose(), "replication");
    assert_eq!(config.agent["node_list"], "node1 node2");
    assert_eq!(config.agent["master_ip"], "192.168.41.136");
    assert_eq!(config.agent["rep_mode"], "sync");
    // Not filled in, so not given to the agent: some versions of pcs refuse an empty value.
    assert!(!config.agent.contains_key("restore_command"));
    let lock: crate::conninfo::Conninfo = config.agent["distlock_conninfo"].parse().unwrap();
    assert_eq!(lock.servers[0].host, "node3");
    assert_eq!(lock.servers[0].port, 5439);
}

#[test]
fn the_shipped_example_says_the_same_in_toml() {
    let example = include_str!("../../../../config.ini.example");
    let config = parse(example).unwrap();
    let other = parse(SPECIFICATION).unwrap();
    assert!(toml::read(example).is_ok());
    assert_eq!(config.nodes, other.nodes);
    assert_eq!(config.resources, other.resources);
    assert!(config.replication_password.is_none(), "a sample password");
    assert_eq!(config.agent["pgdata"], other.agent["pgdata"]);
    assert_eq!(config.agent["rep_mode"], "sync");
}

#[test]
fn more_than_two_nodes_are_multi() {
    let text = changed("cluster_type", "cluster_type=multi")
        + "\nnode3=node3\nothernodes=\"node4 node5\"\n";
    let nodes = parse(&text).unwrap().nodes;
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    assert_eq!(names, ["node1", "node2", "node3", "node4", "node5"]);
    assert!(parse(&(SPECIFICATION.to_owned() + "node3=c\n")).is_err());
    assert!(parse(&changed("cluster_type", "cluster_type=multi")).is_err());
    let twice = changed("cluster_type", "cluster_type=multi") + "\nnode3=node1\n";
    let error = parse(&twice).unwrap_err();
    assert!(
        error.contains("config.ini:21: node3 names node1, which node1 names already"),
        "{error}"
    );
}

/// Every wrong file has one error with file, line, key and what is allowed.
#[test]
fn what_is_wrong_is_said_in_one_error() {
    for (text, parts) in [
        (
            changed("cluster_type", "cluster_type=duel"),
            &["config.ini:1: ", "cluster_type=\"duel\"", "dual or multi"][..],
        ),
        (
            changed("writer_vip", "writer_vpi=1.2.3.4"),
            &["config.ini:5: ", "writer_vpi", "did you mean writer_vip?"],
        ),
        (
            changed("pgsql_rep_mode", "pgsql_rep_mod=sync"),
            &["config.ini:15: ", "did you mean pgsql_rep_mode?"],
        ),
        (
            changed("pgsql_rep_mode", "pgsql_rep_mode=synchronous"),
            &["config.ini:15: ", "synchronous", "async"],
        ),
        (
            changed("pgsql_pgdata", ""),
            &["config.ini: ", "pgsql_pgdata is missing"],
        ),
        (
            changed("pgsql_pgdata", "pgsql_pgdata="),
            &["pgsql_pgdata is missing"],
        ),
        (
            changed("node2", "node2=node 2"),
            &["config.ini:8: ", "node2", "quotes"],
        ),
        (
            changed("vip_cidr_netmask", "vip_cidr_netmask=255.255.255.0"),
            &["config.ini:10: ", "from 1 to 128"],
        ),
        (
            changed("vip_nic", "vip_nic=$(reboot)"),
            &["config.ini:9: ", "vip_nic", "nothing is expanded"],
        ),
        (
            changed("vip_nic", "vip_nic=`reboot`"),
            &["nothing is expanded"],
        ),
        (changed("vip_nic", "vip_nic=a;reboot"), &["single quotes"]),
        (changed("vip_nic", "vip_nic=\"a"), &["no closing one"]),
        (
            changed("vip_nic", "reboot"),
            &["config.ini:9: ", "key=value"],
        ),
        (
            changed("pgsql_distlock_lockname", ""),
            &["pgsql_distlock_lockname is missing"],
        ),
        (
            SPECIFICATION.to_owned() + "node1=x\n",
            &["config.ini:21: ", "node1", "already given in line 7"],
        ),
        (
            changed(
                "pgsql_distlock_psql_cmd",
                "pgsql_distlock_psql_cmd='host=x pasword=geheim'",
            ),
            &["config.ini:19: ", "pgsql_distlock_psql_cmd", "not usable"],
        ),
        (
            "cluster_type = \"dual\"\nnode1 = [\n".to_owned(),
            &["is not TOML"],
        ),
        (
            "cluster_type = \"dual\"\nnode1 = 1.5\n".to_owned(),
            &["config.ini:2: ", "node1"],
        ),
    ] {
        let error = parse(&text).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
        assert!(!error.contains("geheim"), "{error}");
    }
}

#[test]
fn quoting_is_the_shells() {
    for (line, value) in [
        ("vip_nic=a\\ b", "a b"),
        ("vip_nic='a\\ b'", "a\\ b"),
        ("vip_nic=\"a\\\"b\" # comment", "a\"b"),
        ("vip_nic=\"a\\$b\"", "a$b"),
        ("export vip_nic=a'b'\"c\"", "abc"),
    ] {
        let config = parse(&changed("vip_nic", line)).unwrap();
        assert_eq!(config.vip_nic.as_deref(), Some(value), "{line}");
    }
}

/// What editors and people do to a file that worked.
#[test]
fn one_wrong_line_of_many_is_the_one_that_is_named() {
    // A mark of Windows before the first character, and its ends of lines.
    parse(&format!("\u{feff}{SPECIFICATION}")).unwrap();
    let example = include_str!("../../../../config.ini.example");
    parse(&format!("\u{feff}{example}").replace('\n', "\r\n")).unwrap();

    // A space as in TOML among the lines of a shell, and the other way round.
    let error = parse(&changed("pgsql_pgdata", "pgsql_pgdata = /data")).unwrap_err();
    assert!(error.starts_with("config.ini:13: "), "{error}");
    assert!(error.contains("no space before ="), "{error}");
    let line = example
        .lines()
        .position(|line| line.starts_with("writer_vip"));
    let bare = example.replace(
        example.lines().nth(line.unwrap()).unwrap(),
        "writer_vip=192.168.41.136",
    );
    let error = parse(&bare).unwrap_err();
    let place = format!("config.ini:{}: ", line.unwrap() + 1);
    assert!(
        error.starts_with(&place) && error.contains("TOML"),
        "{error}"
    );
}

#[test]
fn what_would_fight_for_one_address_or_name_is_refused() {
    for (key, line, expected) in [
        (
            "reader_vip",
            "reader_vip=192.168.41.136",
            "reader_vip is 192.168.41.136, as writer_vip: ",
        ),
        (
            "vip_cidr_netmask",
            "vip_cidr_netmask=64",
            "vip_cidr_netmask is 64: the network of 192.168.41.136 has a prefix of at most 32 bits",
        ),
        (
            "RESOURCE_LIST",
            "RESOURCE_LIST='msPostgresql vip vip'",
            "RESOURCE_LIST names a resource twice: ",
        ),
    ] {
        let error = parse(&changed(key, line)).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with("config.ini:"), "{error}");
    }
}

#[test]
fn every_node_has_a_number_and_a_name_of_its_own() {
    let multi = changed("cluster_type", "cluster_type=multi");
    for (more, expected) in [
        (
            "\nnode4=node4\n",
            "config.ini:21: node4 is given and node3 is not",
        ),
        (
            "\nothernodes='node3 NODE2'\n",
            "config.ini:21: othernodes names NODE2, which node2 names already",
        ),
        (
            "\nnode3=node3\nothernodes='node4 a|b'\n",
            "config.ini:22: othernodes=\"node4 a|b\" is not usable",
        ),
    ] {
        let error = parse(&(multi.clone() + more)).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
