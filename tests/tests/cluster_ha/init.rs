//! From packages to a healthy cluster: `install.sh`, `cls_init`, `cls_setup`, `cls_start`; and a database that
//! is there already stays what it is.

use std::time::{Duration, Instant};

use pha_testbed::{Cluster, ClusterBuilder};
use pha_tests::manual::commands;

use super::changes::configure_text;
use super::install::{
    SOURCE, bring_sources, healthy_again, install, must, on_node1, specification,
};

const SHORT: Duration = Duration::from_secs(30);
const DATA: &str = "/data/postgresql/data";

/// One edited file, without a password in it.
fn edited() -> String {
    specification()
        .lines()
        .filter(|line| !line.contains("reppassord"))
        .map(|line| match line.starts_with("pgsql_distlock_psql_cmd") {
            true => "pgsql_distlock_conninfo='host=node3 port=5439 dbname=postgres user=cls1 connect_timeout=5'\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect()
}

fn shell(cluster: &Cluster, node: &str, line: &str) -> String {
    let output = cluster.node(node).run(&["sh", "-c", line], SHORT).unwrap();
    output.text().to_owned()
}

fn identifier(cluster: &Cluster, node: &str) -> String {
    let bin = pha_testbed::packages::bin_dir().unwrap();
    let line = format!("LC_ALL=C {bin}/pg_controldata {DATA} | grep 'system identifier'");
    shell(cluster, node, &line)
}

#[test]
fn from_packages_to_a_healthy_cluster_with_one_edited_file() {
    let cluster = ClusterBuilder::new("init").bare(true).up().unwrap();
    bring_sources(&cluster);
    let source = "/root/pha4pgsql/config.ini";
    cluster
        .node("node1")
        .write(source, edited(), 0o600)
        .unwrap();
    let began = Instant::now();
    let installed = install(&cluster, &[]);
    assert!(installed.ok(), "{}\n{}", installed.stdout, installed.stderr);
    let installed = began.elapsed();

    an_existing_database_stays(&cluster);

    for node in ["node1", "node2"] {
        shell(&cluster, node, "rm -rf /data/postgresql ~postgres/.pgpass");
    }
    let began = Instant::now();
    let made = as_the_manual_has_it(&cluster);
    let healthy = installed + began.elapsed();
    healthy_again(&cluster, "node1", "node2");
    #[allow(clippy::print_stderr)]
    {
        eprintln!("install {installed:.1?}, healthy after {healthy:.1?} in all\n{made}");
    }
    assert!(healthy < Duration::from_secs(60), "{healthy:?}");
    assert!(
        made.contains("the nodes are prepared; cls_setup, then cls_start"),
        "{made}"
    );

    nothing_is_left_to_do(&cluster);
    the_passwords_are_in_the_passfiles_alone(&cluster);
    let role = "select rolsuper, rolreplication from pg_roles where rolname = 'replication'";
    assert_eq!(cluster.sql("node1", role).unwrap(), "f|t");
    // A log, also of what a postmaster says before it can be asked.
    let log = shell(&cluster, "node1", &format!("cat {DATA}/log/*.log"));
    assert!(log.contains("starting PostgreSQL"), "{log}");
    let doctor = on_node1(&cluster, &["cls_doctor", "--timeout", "120"]);
    assert_eq!(doctor.code, 0, "{}{}", doctor.stdout, doctor.stderr);
}

/// Types what the manual has for it, line by line; what the second `cls_init` has said. That both manuals have the
/// same lines is a test of its own.
fn as_the_manual_has_it(cluster: &Cluster) -> String {
    let manual = include_str!("../../../docs/manual.md");
    let lines = commands(manual, "### With one command: cls_init");
    let mut made = String::new();
    for line in &lines {
        let output = must(cluster, &["sh", "-c", &format!("cd {SOURCE} && {line}")]);
        if line.starts_with("cls_init --yes") {
            made = output.stdout;
        }
    }
    assert!(!made.is_empty(), "{lines:?}");
    made
}

/// One node has a database: it gets what it lacks, and the other one a copy; without the lock service's
/// administrator that is left to do.
fn an_existing_database_stays(cluster: &Cluster) {
    let before = identifier(cluster, "node1");
    shell(cluster, "node2", &format!("rm -rf {DATA}"));
    shell(
        cluster,
        "node1",
        &format!("echo mine >{DATA}/kept; echo '# mine' >>{DATA}/pg_hba.conf"),
    );
    let files = || {
        shell(
            cluster,
            "node1",
            &format!("cat {DATA}/postgresql.conf {DATA}/pg_hba.conf"),
        )
    };
    let text = files();
    // The role is there, and nobody has told its password: it keeps it, and that is asked for.
    let refused = on_node1(cluster, &["cls_init", "--yes"]);
    assert_eq!(refused.code, 10, "{}{}", refused.stdout, refused.stderr);
    assert!(
        refused.stderr.contains("so may be the role replication"),
        "{}",
        refused.stderr
    );
    assert_eq!(files(), text);

    let given = edited() + "pgsql_reppassword=geheim\n";
    configure_text(cluster, &given);
    let plan = must(cluster, &["cls_init"]).stdout;
    for part in [
        "copy the database from node1 (pg_basebackup)",
        "left to you: the lock service does not let this cluster in",
        "--lock-admin",
        "nothing was changed: cls_init --yes does it",
    ] {
        assert!(plan.contains(part), "no {part} in {plan}");
    }
    assert!(
        !plan.contains("make a new database") && !plan.contains("new password"),
        "{plan}"
    );
    assert_eq!(files(), text);
    assert_eq!(cluster.node("node1").postmaster_pid(), None);
    // An administrator of another server makes nothing.
    let elsewhere = [
        "cls_init",
        "--yes",
        "--lock-admin",
        "host=node1 user=postgres",
    ];
    let refused = on_node1(cluster, &elsewhere);
    assert_eq!(refused.code, 10, "{}{}", refused.stdout, refused.stderr);
    assert!(
        refused.stderr.contains("the same host, port and dbname"),
        "{}",
        refused.stderr
    );
    must(cluster, &["cls_init", "--yes"]);
    assert_eq!(identifier(cluster, "node1"), before);
    assert_eq!(identifier(cluster, "node2"), before);
    for node in ["node1", "node2"] {
        assert_eq!(shell(cluster, node, &format!("cat {DATA}/kept")), "mine");
        assert!(shell(cluster, node, &format!("cat {DATA}/pg_hba.conf")).contains("\n# mine"));
        assert_eq!(cluster.node(node).postmaster_pid(), None);
    }
    let again = must(cluster, &["cls_init", "--yes"]).stdout;
    assert!(
        again.contains("nothing to do but what is left to you"),
        "{again}"
    );
    configure_text(cluster, &edited());
}

fn nothing_is_left_to_do(cluster: &Cluster) {
    let files = || {
        shell(
            cluster,
            "node1",
            &format!("cat {DATA}/postgresql.conf {DATA}/pg_hba.conf ~postgres/.pgpass"),
        )
    };
    let before = (files(), cluster.node("node1").postmaster_pid());
    let again = must(cluster, &["cls_init", "--yes"]).stdout;
    assert!(
        again.contains("nothing to do; a new cluster goes on with"),
        "{again}"
    );
    assert_eq!((files(), cluster.node("node1").postmaster_pid()), before);
    let setup = must(cluster, &["cls_setup"]).stdout;
    assert!(setup.contains("nothing to change"), "{setup}");
}

fn the_passwords_are_in_the_passfiles_alone(cluster: &Cluster) {
    let mut passwords = Vec::new();
    for (file, line) in [
        ("~postgres/.pgpass", "*:5432:*:replication:"),
        ("/root/.pgpass", "node3:5439:postgres:cls1:"),
    ] {
        let texts = ["node1", "node2"].map(|node| {
            assert_eq!(shell(cluster, node, &format!("stat -c %a {file}")), "600");
            let text = shell(cluster, node, &format!("cat {file}"));
            let password = text.lines().find_map(|found| found.strip_prefix(line));
            password
                .unwrap_or_else(|| panic!("no {line} in {file} of {node}"))
                .to_owned()
        });
        assert_eq!(texts[0], texts[1]);
        assert!(texts[0].len() >= 32, "{}", texts[0].len());
        passwords.push(texts[0].clone());
    }
    let cib = cluster.cib().unwrap().xml;
    for node in ["node1", "node2"] {
        let logs = format!("cat {DATA}/log/*.log /var/log/pacemaker/*.log");
        let logs = shell(cluster, node, &logs);
        for password in &passwords {
            assert!(!logs.contains(password) && !cib.contains(password));
        }
    }
}
