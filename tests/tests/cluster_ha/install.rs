//! From bare nodes to a healthy cluster with three commands, and back: `install.sh`, `cls_setup`,
//! `cls_start`, on real nodes that have PostgreSQL, corosync and Pacemaker and nothing of this
//! project.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pha_testbed::layout::{READER_VIP, WRITER_VIP};
use pha_testbed::{Cluster, ClusterBuilder, Output, Signal, WriterPlan, binaries, packages};

const SHORT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(240);
/// Where the sources would have been cloned to.
pub(crate) const SOURCE: &str = "/root/pha4pgsql";
const INSTALLED: [&str; 6] = [
    "/opt/pha4pgsql/bin/cls",
    "/opt/pha4pgsql/bin/distlock",
    "/opt/pha4pgsql/config.ini",
    "/usr/lib/ocf/resource.d/heartbeat/expgsql",
    "/usr/local/share/man/man8/cls_online_switch.8",
    "/usr/local/share/bash-completion/completions/cls_online_switch",
];

/// The specification's file with this cluster's addresses, and a password for the lock service.
pub(crate) fn specification() -> String {
    let bin = packages::bin_dir().unwrap();
    format!(
        r#"cluster_type=dual
OCF_ROOT=/usr/lib/ocf
RESOURCE_LIST="msPostgresql vip-master vip-slave"
pha4pgsql_dir=/opt/pha4pgsql
writer_vip={WRITER_VIP}
reader_vip={READER_VIP}
node1=node1
node2=node2
vip_nic=eth0
vip_cidr_netmask=24
pgsql_pgctl={bin}/pg_ctl
pgsql_psql=/usr/bin/psql
pgsql_pgdata=/data/postgresql/data
pgsql_restore_command=""
pgsql_rep_mode=sync
pgsql_repuser=replication
pgsql_reppassord=geheim-replication
pgsql_enable_distlock=true
pgsql_distlock_psql_cmd='/usr/bin/psql \\"host=node3 port=5439 dbname=postgres user=postgres password=geheim-lock connect_timeout=5\\"'
pgsql_distlock_lockname=pgsql_cls1
"#
    )
}

fn programs() -> [(&'static str, PathBuf); 3] {
    ["cls", "expgsql", "distlock"].map(|name| {
        let path = binaries::find(name);
        (
            name,
            path.expect("build the programs first: cargo build --release"),
        )
    })
}

/// Puts the sources' install.sh, the built programs and config.ini on node1, as a clone would.
pub(crate) fn bring_sources(cluster: &Cluster) {
    let node = cluster.node("node1");
    node.mkdir(&format!("{SOURCE}/bin"), "0755", "root")
        .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install.sh");
    let script = std::fs::read(script).unwrap();
    node.write(&format!("{SOURCE}/install.sh"), script, 0o644)
        .unwrap();
    for (name, path) in programs() {
        let bytes = std::fs::read(path).unwrap();
        node.write(&format!("{SOURCE}/bin/{name}"), bytes, 0o755)
            .unwrap();
    }
    node.write(&format!("{SOURCE}/config.ini"), specification(), 0o600)
        .unwrap();
}

pub(crate) fn on_node1(cluster: &Cluster, words: &[&str]) -> Output {
    cluster.node("node1").exec(words, LONG).unwrap()
}

/// The same where anything but success fails the test.
pub(crate) fn must(cluster: &Cluster, words: &[&str]) -> Output {
    let output = on_node1(cluster, words);
    assert!(
        output.ok(),
        "{words:?} ended with {}\n{}\n{}",
        output.code,
        output.stdout,
        output.stderr
    );
    output
}

pub(crate) fn install(cluster: &Cluster, more: &[&str]) -> Output {
    let script = format!("{SOURCE}/install.sh");
    on_node1(cluster, &[&["sh", script.as_str()], more].concat())
}

/// Inode and time of everything installed: what a run that changes nothing leaves alone.
fn fingerprint(cluster: &Cluster) -> String {
    ["node1", "node2"]
        .map(|name| {
            let mut words = vec!["stat", "-c", "%n %i %a %y"];
            words.extend(INSTALLED);
            cluster.node(name).run(&words, SHORT).unwrap().stdout
        })
        .concat()
}

/// When each postmaster was started.
pub(crate) fn postmasters(cluster: &Cluster) -> Vec<Option<i32>> {
    ["node1", "node2"]
        .map(|name| cluster.node(name).postmaster_pid())
        .to_vec()
}

#[test]
fn from_bare_nodes_to_a_healthy_cluster_and_back() {
    let cluster = ClusterBuilder::new("install").bare(true).up().unwrap();
    bring_sources(&cluster);
    // As on many hardened systems: what is unpacked there cannot be run.
    for node in ["node1", "node2"] {
        let words = ["mount", "-t", "tmpfs", "-o", "noexec", "noexec", "/tmp"];
        cluster.node(node).run(&words, SHORT).unwrap();
    }

    let began = Instant::now();
    let installed = install(&cluster, &[]);
    assert!(installed.ok(), "{}\n{}", installed.stdout, installed.stderr);
    assert!(installed.stdout.contains("every node has the same version"));
    let after_install = began.elapsed();
    super::looks::what_is_wrong_is_found_before_anything_is_written(&cluster);
    let began = Instant::now().checked_sub(after_install).unwrap();
    let dry = must(&cluster, &["cls_setup", "--dry-run"]);
    assert!(
        dry.stdout.contains("+ msPostgresql (promotable clone)"),
        "{}",
        dry.stdout
    );
    assert!(dry.stdout.contains("~ passfile"), "{}", dry.stdout);
    assert!(!cluster.cib().unwrap().xml.contains("msPostgresql"));
    must(&cluster, &["cls_setup"]);
    let after_setup = began.elapsed();
    must(&cluster, &["cls_start"]);
    let healthy = began.elapsed();
    let status = must(&cluster, &["cls_status"]);
    #[allow(clippy::print_stderr)]
    {
        eprintln!(
            "install {after_install:.1?}, setup {after_setup:.1?}, healthy {healthy:.1?}\n{}",
            status.stdout
        );
    }
    assert!(healthy < Duration::from_secs(60), "{healthy:?}");

    no_password_is_readable(&cluster);
    the_doctor_finds_nothing_and_what_is_spoilt(&cluster);
    a_bound_key_asks_for_promises_and_does_nothing_else(&cluster);
    the_walk_through_of_the_specification(&cluster);
    nothing_changes_the_second_time(&cluster);
    super::looks::a_start_names_a_dead_address(&cluster);
    super::changes::a_change_of_parameters_restarts_only_when_it_is_asked_to(&cluster);
    super::moved::the_lock_service_moves(&cluster);
    an_upgrade_does_not_touch_postgres(&cluster);
    a_node_that_is_down_is_named(&cluster);
    uninstall(&cluster);
}

/// Passwords are in passfiles of mode 0600 and in config.ini of mode 0600, and nowhere else.
fn no_password_is_readable(cluster: &Cluster) {
    assert!(!cluster.cib().unwrap().xml.contains("geheim"));
    for name in ["node1", "node2"] {
        let node = cluster.node(name);
        let home = node
            .as_postgres(&["sh", "-c", "echo ~"], SHORT)
            .unwrap()
            .text()
            .to_owned();
        for (path, owner, line) in [
            (
                format!("{home}/.pgpass"),
                "postgres",
                "*:5432:*:replication:geheim-replication",
            ),
            (
                "/root/.pgpass".to_owned(),
                "root",
                "node3:5439:postgres:postgres:geheim-lock",
            ),
        ] {
            let text = node.run(&["cat", &path], SHORT).unwrap().stdout;
            assert!(text.lines().any(|found| found == line), "{name} {path}");
            let mode = node.run(&["stat", "-c", "%a %U", &path], SHORT).unwrap();
            assert_eq!(mode.text(), format!("600 {owner}"), "{name} {path}");
        }
        let logs = node.run(&["sh", "-c", "cat /var/log/pacemaker/*.log"], SHORT);
        assert!(!logs.unwrap().stdout.contains("geheim"));
    }
}

fn nothing_changes_the_second_time(cluster: &Cluster) {
    let before = (
        fingerprint(cluster),
        postmasters(cluster),
        configuration(cluster),
        register(cluster),
    );
    let again = install(cluster, &[]);
    assert!(again.ok(), "{}\n{}", again.stdout, again.stderr);
    assert_eq!(
        again.stdout.matches("nothing to change").count(),
        2,
        "{}",
        again.stdout
    );
    let setup = must(cluster, &["cls_setup"]);
    assert!(
        setup.stdout.contains("nothing to change"),
        "{}",
        setup.stdout
    );
    let after = (
        fingerprint(cluster),
        postmasters(cluster),
        configuration(cluster),
        register(cluster),
    );
    assert_eq!(before, after);
}

/// The configuration without the attributes that the agent keeps.
fn configuration(cluster: &Cluster) -> String {
    let output = must(cluster, &["cibadmin", "--query", "--scope", "resources"]);
    let constraints = must(cluster, &["cibadmin", "--query", "--scope", "constraints"]);
    output.stdout + &constraints.stdout
}

/// Who owns the lock, since when and with whom (D6: set-up must not free it).
fn register(cluster: &Cluster) -> String {
    cluster
        .lock_sql("select owner, term, epoch, holders from distlock where lockname = 'pgsql_cls1'")
        .unwrap()
}

/// Programs of another build replace those in use; every postmaster and the primary stay.
fn an_upgrade_does_not_touch_postgres(cluster: &Cluster) {
    let node = cluster.node("node1");
    let before = postmasters(cluster);
    for (name, _) in programs() {
        let program = format!("{SOURCE}/bin/{name}");
        // Bytes after the last section of an ELF file are of no meaning to it: another build.
        let append = "printf 'another build' >>\"$1\"";
        node.run(&["sh", "-c", append, "sh", &program], SHORT)
            .unwrap();
    }
    let upgraded = install(cluster, &[]);
    assert!(upgraded.ok(), "{}\n{}", upgraded.stdout, upgraded.stderr);
    assert_eq!(
        upgraded.stdout.matches("(3 files changed)").count(),
        2,
        "{}",
        upgraded.stdout
    );
    must(cluster, &["cls_setup"]);
    must(cluster, &["cls_start"]);
    assert_eq!(before, postmasters(cluster));
    assert_eq!(must(cluster, &["cls_master"]).text(), "node1");
}

/// What the specification shows in its chapter on tests of failures, below a writer: kill the
/// primary once, then until it leaves the node; rebuild the old one; the same again with the roles
/// exchanged and pg_rewind.
fn the_walk_through_of_the_specification(cluster: &Cluster) {
    let writer = cluster.start_writer(&WriterPlan::new(1)).unwrap();
    writer.wait_for(50, LONG).unwrap();
    killed_until_the_takeover(cluster, "node1", "node2");
    writer.wait_for(50, LONG).unwrap();
    let node1 = cluster.node("node1");
    let empty = "rm -rf /data/postgresql/data/*";
    node1.run(&["sh", "-c", empty], SHORT).unwrap();
    let rebuilt = must(cluster, &["cls_rebuild_slave"]).stdout;
    assert!(
        rebuilt.contains("slave recovery of node1 successed"),
        "{rebuilt}"
    );
    healthy_again(cluster, "node2", "node1");

    killed_until_the_takeover(cluster, "node2", "node1");
    writer.wait_for(50, LONG).unwrap();
    let node2 = cluster.node("node2");
    let repaired = node2.run(&["cls_repair_slave"], LONG).unwrap().stdout;
    assert!(
        repaired.contains("slave recovery of node2 successed"),
        "{repaired}"
    );
    healthy_again(cluster, "node1", "node2");
    writer.stop().unwrap();
    let verdict = cluster
        .check(&["node1", "node2"], Duration::from_secs(15))
        .unwrap();
    assert!(verdict.clean(), "{verdict}");
}

/// Waits until the status of the cluster, asked on `node`, has all of these parts.
pub(crate) fn status_shows(cluster: &Cluster, node: &str, parts: &[&str]) {
    let looked = cluster.wait(&format!("a status with {parts:?}"), LONG, || {
        let output = cluster
            .node(node)
            .exec(&["cls_status"], LONG)
            .map_err(|error| error.to_string())?;
        let lacks: Vec<_> = parts
            .iter()
            .filter(|part| !output.stdout.contains(**part))
            .collect();
        if lacks.is_empty() {
            return Ok(());
        }
        Err(format!("no {lacks:?} in {}", output.stdout))
    });
    looked.unwrap();
}

/// Waits until the attributes of a node are these.
#[track_caller]
pub(crate) fn attributes_become(cluster: &Cluster, node: &str, wanted: [&str; 3]) {
    let what = format!("attributes of {node}: {wanted:?}");
    let seen = cluster.wait(&what, LONG, || {
        let found = attributes(cluster, node);
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
    seen.unwrap();
}

/// The attributes of a node as the specification prints them: promotion score, data status, status.
fn attributes(cluster: &Cluster, node: &str) -> [String; 3] {
    let cib = cluster.cib().unwrap();
    [
        cib.transient(node, "master-pgsql"),
        cib.permanent(node, "pgsql-data-status"),
        cib.transient(node, "pgsql-status"),
    ]
    .map(Option::unwrap_or_default)
}

fn killed_until_the_takeover(cluster: &Cluster, primary: &str, standby: &str) {
    let before = cluster.cib().unwrap().repl_info();
    for count in 1..=3 {
        let killed = cluster.node(primary).kill_named("postgres", Signal::KILL);
        assert!(killed > 0, "nothing to kill on {primary}");
        if count == 3 {
            break;
        }
        // Restarted where it was.
        let failures = format!("fail-count={count}");
        let line = format!("pgsql_REPL_INFO:{before}\n");
        status_shows(
            cluster,
            standby,
            &[
                "migration-threshold=3",
                &failures,
                &format!("Promoted: [ {primary} ]"),
                &line,
                &format!("{standby}: streaming, sync"),
                "every acknowledged commit is on: node1 node2",
            ],
        );
        attributes_become(cluster, primary, ["1000", "LATEST", "PRI"]);
        attributes_become(cluster, standby, ["100", "STREAMING|SYNC", "HS:sync"]);
    }
    let line = format!("pgsql_REPL_INFO:{standby}|");
    status_shows(
        cluster,
        standby,
        &[
            "fail-count=3",
            &format!("Promoted: [ {standby} ]"),
            &format!("Stopped: [ {primary} ]"),
            // The writer's address, which follows the promotion: the reader's has no standby.
            &format!("Started {standby}"),
            &line,
        ],
    );
    attributes_become(cluster, primary, ["-INFINITY", "DISCONNECT", "STOP"]);
    attributes_become(cluster, standby, ["1000", "LATEST", "PRI"]);
    assert_eq!(place(cluster, "vip-master").as_deref(), Some(standby));
    assert_eq!(place(cluster, "vip-slave"), None);
    let info = cluster.cib().unwrap().repl_info();
    let fields: Vec<&str> = info.split('|').collect();
    let timeline = |info: &str| info.split('|').nth(1)?.parse::<u32>().ok();
    assert_eq!(
        timeline(&info),
        timeline(&before).map(|old| old + 1),
        "{info}"
    );
    assert_eq!(fields[2].len(), 16, "{info}");
}

/// The three conditions of the specification, and nothing to look at.
pub(crate) fn healthy_again(cluster: &Cluster, primary: &str, standby: &str) {
    let (writer, reader) = (format!("Started {primary}"), format!("Started {standby}"));
    status_shows(cluster, standby, &["Health: healthy", &writer, &reader]);
    attributes_become(cluster, primary, ["1000", "LATEST", "PRI"]);
    attributes_become(cluster, standby, ["100", "STREAMING|SYNC", "HS:sync"]);
    assert_eq!(place(cluster, "vip-slave").as_deref(), Some(standby));
}

fn a_node_that_is_down_is_named(cluster: &Cluster) {
    let node2 = cluster.node("node2");
    assert!(node2.kill_named("sshd", Signal::KILL) > 0);
    let script = format!("{SOURCE}/install.sh");
    let node1 = cluster.node("node1");
    node1
        .run(&["rm", "/opt/pha4pgsql/bin/cls_status"], SHORT)
        .unwrap();
    let output = node1.exec(&["sh", &script], LONG).unwrap();
    assert_eq!(output.code, 1, "{}\n{}", output.stdout, output.stderr);
    assert!(
        output.stderr.contains("not done on: node2"),
        "{}",
        output.stderr
    );
    assert!(
        output.stdout.contains("node1: installed (1 files changed)"),
        "{}",
        output.stdout
    );
    node2
        .run(
            &["/usr/sbin/sshd", "-f", "/etc/ssh/testbed_sshd_config"],
            SHORT,
        )
        .unwrap();
}

fn uninstall(cluster: &Cluster) {
    let refused = install(cluster, &["--uninstall"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("still has a resource"),
        "{}",
        refused.stderr
    );
    let running = on_node1(cluster, &["cls_setup", "--remove"]);
    assert_eq!(running.code, 10, "{}", running.stderr);
    must(cluster, &["cls_stop"]);
    must(cluster, &["cls_setup", "--remove"]);
    let done = install(cluster, &["--uninstall"]);
    assert!(done.ok(), "{}\n{}", done.stdout, done.stderr);
    for name in ["node1", "node2"] {
        for path in INSTALLED {
            let there = cluster.node(name).exec(&["test", "-e", path], SHORT);
            assert!(!there.unwrap().ok(), "{path} is still on {name}");
        }
    }
}

/// The findings of `cls_doctor` that are not ok, as `level rule node: text`.
fn findings(cluster: &Cluster) -> (i32, Vec<String>) {
    let output = on_node1(cluster, &["cls_doctor", "--json", "--timeout", "120"]);
    let answer: serde_json::Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
    pha_tests::schema::follows_the_schema(&answer, "cls_doctor");
    let word =
        |check: &serde_json::Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let found = answer["checks"].as_array().unwrap().iter().map(|check| {
        let [level, id, node, text] = ["level", "id", "node", "text"].map(|key| word(check, key));
        assert_eq!(level != "ok", check["remedy"].is_string(), "{check}");
        format!("{level} {id} {node}: {text}")
    });
    let found = found.filter(|line| !line.starts_with("ok ")).collect();
    (output.code, found)
}

fn the_doctor_finds_nothing_and_what_is_spoilt(cluster: &Cluster) {
    let (code, found) = findings(cluster);
    // Without a superuser for replication, on the primary and on the standby.
    let bad = |line: &String| line.starts_with("error") || line.contains(" replication-role ");
    let errors = found.iter().any(bad);
    assert!(code == 0 && !errors, "{code}: {found:#?}");

    let [node1, node2] = ["node1", "node2"].map(|name| cluster.node(name));
    let shell = |node: &pha_testbed::Node, line: &str| {
        node.run(&["sh", "-c", line], SHORT).unwrap();
    };
    shell(
        &node2,
        "chmod 0644 /opt/pha4pgsql/config.ini; rm /opt/pha4pgsql/bin/distlock",
    );
    shell(
        &node1,
        "ssh-keygen -R node2; crm_resource -r vip-slave -p cidr_netmask -v 25",
    );
    cluster.lock_service().unwrap().stop().unwrap();
    let (code, found) = findings(cluster);
    assert_eq!(code, 1);
    // node2's host key is gone on node1, so that what node2 knows cannot be asked for.
    for expected in [
        "error nodes node2: ",
        "error ssh node1: ",
        "error lock-service node1: ",
    ] {
        let seen = found.iter().any(|line| line.starts_with(expected));
        assert!(seen, "no {expected} in {found:#?}");
    }
    shell(
        &node1,
        "ssh-keyscan node2 >>/root/.ssh/known_hosts 2>/dev/null",
    );
    cluster.lock_service().unwrap().start().unwrap();
    let (_, found) = findings(cluster);
    for expected in [
        "error files node2: ",
        "error programs node2: distlock",
        "warning pacemaker : ~ vip-slave cidr_netmask",
    ] {
        let seen = found.iter().any(|line| line.starts_with(expected));
        assert!(seen, "no {expected} in {found:#?}");
    }
    assert!(
        !found.iter().any(|line| line.contains("lock-service")),
        "{found:#?}"
    );
    must(cluster, &["cls_setup"]);
    let mended = install(cluster, &[]);
    assert!(mended.ok(), "{}", mended.stderr);
    let (code, found) = findings(cluster);
    assert_eq!(code, 0, "{found:#?}");
    must(cluster, &["cls_start"]);
}

/// `--restrict-ssh`, on nodes whose shells speak: the doctor goes the way of an outage, also where no
/// other key of root's is let in any more, and names what stands in that way.
fn a_bound_key_asks_for_promises_and_does_nothing_else(cluster: &Cluster) {
    let [node1, node2] = ["node1", "node2"].map(|name| cluster.node(name));
    for node in [&node1, &node2] {
        let speaks = "echo Welcome to this node; echo and more >&2; printf unfinished\n";
        node.write("/root/.bashrc", speaks, 0o644).unwrap();
    }
    let authorized = || {
        let text = node2.read("/root/.ssh/authorized_keys").unwrap();
        String::from_utf8(text).unwrap()
    };
    let before = authorized();
    let bound =
        "restrict,command=\"/usr/lib/ocf/resource.d/heartbeat/expgsql promise\" ssh-ed25519 ";
    for _ in 0..2 {
        let done = install(cluster, &["--restrict-ssh"]);
        assert!(done.ok(), "{}\n{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("a key of its own"), "{}", done.stdout);
        assert!(authorized().starts_with(&before), "{}", authorized());
        assert_eq!(authorized().matches(bound).count(), 2, "{}", authorized());
    }
    let (code, found) = findings(cluster);
    assert_eq!(code, 0, "{found:#?}");

    // Root's other key is not let in any more.
    let all = authorized();
    let only_bound: String = all
        .lines()
        .filter(|line| line.starts_with("restrict"))
        .map(|line| format!("{line}\n"))
        .collect();
    node2
        .write("/root/.ssh/authorized_keys", &only_bound, 0o600)
        .unwrap();
    let key =
        "! ssh -i /root/.ssh/pha4pgsql_promise -o BatchMode=yes node2 touch /run/taken </dev/null";
    node1.run(&["sh", "-c", key], SHORT).unwrap();
    assert!(node2.read("/run/taken").is_err());
    let has = |found: &[String], start: &str| found.iter().any(|line| line.starts_with(start));
    let (_, found) = findings(cluster);
    assert!(has(&found, "error ssh node1: "), "{found:#?}");
    assert!(!has(&found, "error promise"), "{found:#?}");
    node2
        .write("/root/.ssh/authorized_keys", "", 0o600)
        .unwrap();
    let (_, found) = findings(cluster);
    assert!(
        has(&found, "error promise node1: node2 could not be asked"),
        "{found:#?}"
    );
    node2
        .write("/root/.ssh/authorized_keys", &all, 0o600)
        .unwrap();
}

/// Three nodes by quorum, without a lock service: the reader's address on a standby, on the
/// primary when no standby is left and config.ini says so, and a configuration made by another
/// hand adopted.
#[test]
fn three_nodes_and_an_adopted_configuration() {
    let cluster = ClusterBuilder::new("multi")
        .databases(3)
        .lock_service(false)
        .bare(true)
        .up()
        .unwrap();
    bring_sources(&cluster);
    let config = specification()
        .lines()
        .filter(|line| !line.contains("distlock"))
        .map(|line| line.replace("cluster_type=dual", "cluster_type=multi\nnode3=node3"))
        .map(|line| line + "\n")
        .collect::<String>();
    write_config(&cluster, &(config.clone() + "reader_vip_on_primary=true\n"));
    let installed = install(&cluster, &[]);
    assert!(installed.ok(), "{}\n{}", installed.stdout, installed.stderr);

    // A configuration with identifiers of another tool's making.
    cluster
        .push_configuration(&cluster.spec().pacemaker)
        .unwrap();
    let plan = must(&cluster, &["cls_setup", "--dry-run"]).stdout;
    assert!(
        !plan.contains("+ msPostgresql (promotable clone)"),
        "{plan}"
    );
    assert!(!plan.contains("+ pgsql operation"), "{plan}");
    // Other parameters restart the database; what runs until then is no success of the start.
    must(&cluster, &["cls_setup", "--restart", "--together"]);
    must(&cluster, &["cls_start"]);
    assert!(
        must(&cluster, &["cls_setup"])
            .stdout
            .contains("nothing to change")
    );
    let xml = cluster.cib().unwrap().xml;
    assert!(xml.contains(r#"name="no-quorum-policy" value="stop""#));
    let primary = must(&cluster, &["cls_master"]).text().to_owned();
    assert_ne!(place(&cluster, "vip-slave"), Some(primary.clone()));
    assert_eq!(place(&cluster, "vip-master"), Some(primary.clone()));

    // No standby left: the reader's address goes to the primary, which stays what it is.
    let postmaster = cluster.node(&primary).postmaster_pid();
    let standbys = ["node1", "node2", "node3"].map(str::to_owned);
    let standbys = standbys.iter().filter(|name| **name != primary);
    for name in standbys.clone() {
        must(&cluster, &["cls_standby_node", name]);
    }
    let reader = || match place(&cluster, "vip-slave") {
        Some(node) if node == primary => Ok(()),
        other => Err(format!("vip-slave is on {other:?}")),
    };
    cluster
        .wait("the reader on the primary", SHORT, reader)
        .unwrap();
    for name in standbys {
        must(&cluster, &["cls_unstandby_node", name]);
    }
    let reader = || match place(&cluster, "vip-slave") {
        Some(node) if node != primary => Ok(()),
        other => Err(format!("vip-slave is on {other:?}")),
    };
    cluster
        .wait("the reader on a standby", LONG, reader)
        .unwrap();
    assert_eq!(must(&cluster, &["cls_master"]).text(), primary);
    assert_eq!(cluster.node(&primary).postmaster_pid(), postmaster);

    // And without the option it stays with standbys: constraints are replaced in place.
    write_config(&cluster, &config);
    assert!(install(&cluster, &[]).ok());
    let changed = must(&cluster, &["cls_setup"]).stdout;
    assert!(
        changed.contains("+ rsc_colocation rsc=vip-slave"),
        "{changed}"
    );
    assert!(
        must(&cluster, &["cls_setup"])
            .stdout
            .contains("nothing to change")
    );
    assert_eq!(cluster.node(&primary).postmaster_pid(), postmaster);
}

fn write_config(cluster: &Cluster, text: &str) {
    let path = format!("{SOURCE}/config.ini");
    cluster.node("node1").write(&path, text, 0o600).unwrap();
}

/// The node that a resource runs on.
fn place(cluster: &Cluster, resource: &str) -> Option<String> {
    let placements = cluster.placements().unwrap();
    placements
        .into_iter()
        .find(|placement| placement.resource == resource && placement.role == "Started")
        .map(|placement| placement.node)
}
