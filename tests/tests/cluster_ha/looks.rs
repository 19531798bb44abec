//! What is wrong on the nodes is found by `cls_setup` before it writes anything, all of it at once; and
//! `cls_start` does not wait for what Pacemaker has given up.

use std::time::{Duration, Instant};

use pha_testbed::Cluster;

use super::changes::configure_text;
use super::install::{healthy_again, must, on_node1, specification};

/// On the cluster that `install` has installed and not set up yet.
pub(crate) fn what_is_wrong_is_found_before_anything_is_written(cluster: &Cluster) {
    let spoilt = |changes: &[(&str, &str)]| {
        let mut text = specification();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        configure_text(cluster, &text);
    };
    let before = cluster.cib().unwrap().xml;
    let refused = |parts: &[&str]| {
        let dry = on_node1(cluster, &["cls_setup", "--dry-run"]);
        let run = on_node1(cluster, &["cls_setup"]);
        assert_eq!(
            (dry.code, run.code),
            (10, 10),
            "{}{}",
            run.stdout,
            run.stderr
        );
        for part in parts {
            for said in [&dry.stderr, &run.stderr] {
                assert!(said.contains(part), "no {part} in {said}");
            }
        }
        let now = cluster.cib().unwrap().xml;
        assert!(!now.contains("msPostgresql"), "{before}\n{now}");
        run.stderr
    };
    // What the file alone shows.
    spoilt(&[("reader_vip=", "reader_vip=192.168.150.100\n#")]);
    refused(&["config.ini:6: reader_vip is 192.168.150.100, as writer_vip"]);
    spoilt(&[("vip-master vip-slave", "vip vip")]);
    refused(&["config.ini:3: RESOURCE_LIST names a resource twice"]);
    // What only the nodes know, all of it at once.
    spoilt(&[
        ("/pg_ctl", "/no_pg_ctl"),
        ("/data/postgresql/data", "/data/elsewhere"),
        ("vip_nic=eth0", "vip_nic=eth9"),
    ]);
    let said = refused(&[
        "3 things are in the way, and nothing was changed",
        "/no_pg_ctl of pgctl is no program that could be run (on node1 and node2)",
        "there are no data of PostgreSQL in pgsql_pgdata=/data/elsewhere (on node1 and node2)",
        "there is no interface vip_nic=eth9 (on node1 and node2): vip_nic=",
    ]);
    #[allow(clippy::print_stderr)]
    {
        eprintln!("{said}");
    }
    spoilt(&[("vip_cidr_netmask=24", "vip_cidr_netmask=8")]);
    refused(&["vip_cidr_netmask=8 is not that of the network of eth0, which is 24"]);
    // Another copy on the other node is no reason to refuse, and named.
    spoilt(&[]);
    let node2 = cluster.node("node2");
    let other = specification() + "pgsql_pgport=5433\n";
    node2
        .write("/opt/pha4pgsql/config.ini", other, 0o600)
        .unwrap();
    let dry = must(cluster, &["cls_setup", "--dry-run"]).stdout;
    let copy = "is not as /opt/pha4pgsql/config.ini is here (on node2): sh install.sh";
    assert!(dry.contains(copy), "{dry}");
    spoilt(&[]);
    let dry = must(cluster, &["cls_setup", "--dry-run"]).stdout;
    assert!(!dry.contains("is not as"), "{dry}");
}

/// An interface that is not there, put into the cluster by hand: the writer's address is dead.
pub(crate) fn a_start_names_a_dead_address(cluster: &Cluster) {
    must(cluster, &["cls_stop"]);
    let set = |nic: &str| {
        let value = format!("--parameter-value={nic}");
        let words = ["--resource=vip-master", "--set-parameter=nic", &value];
        must(cluster, &[&["crm_resource"], &words[..]].concat());
    };
    set("eth9");
    let began = Instant::now();
    let start = on_node1(cluster, &["cls_start"]);
    let took = began.elapsed();
    #[allow(clippy::print_stderr)]
    {
        eprintln!("after {took:.1?}: {}", start.stderr);
    }
    assert_eq!(start.code, 1, "{}{}", start.stdout, start.stderr);
    let said = "node1 is primary, and vip-master (192.168.150.100) is on no node: on node1 start failed with";
    assert!(start.stderr.contains(said), "{}", start.stderr);
    assert!(took < Duration::from_secs(90), "{took:?}");
    set("eth0");
    must(cluster, &["cls_cleanup"]);
    must(cluster, &["cls_start"]);
    healthy_again(cluster, "node1", "node2");
}
