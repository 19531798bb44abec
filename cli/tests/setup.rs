//! `cls_setup` with Pacemaker's own tools, on a configuration in a file instead of a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use pha_tests::schema::follows_the_schema;

/// A configuration as pcs made it for the predecessor: other identifiers, old words, the external
/// lock command, a rule that does harm, an operator's timeout, a resource of somebody else.
const CIB: &str = r#"<cib crm_feature_set="3.10.0" validate-with="pacemaker-3.7" epoch="9" num_updates="0" admin_epoch="0" have-quorum="1">
<configuration><crm_config>
<cluster_property_set id="cib-bootstrap-options"><nvpair id="q" name="no-quorum-policy" value="ignore"/><nvpair id="st" name="stonith-enabled" value="false"/></cluster_property_set>
<cluster_property_set id="pgsql_replication"><nvpair id="pgsql_replication-pgsql_REPL_INFO" name="pgsql_REPL_INFO" value="node1|1|00000000070000D0"/></cluster_property_set>
</crm_config><nodes><node id="1" uname="node1"/><node id="2" uname="node2"/></nodes><resources>
<primitive class="ocf" id="web" provider="heartbeat" type="Dummy"/>
<primitive class="ocf" id="vip-master" provider="heartbeat" type="IPaddr2"><instance_attributes id="via"><nvpair id="v1" name="ip" value="192.0.2.9"/></instance_attributes></primitive>
<master id="msPostgresql"><meta_attributes id="mm"><nvpair id="mm1" name="master-max" value="1"/><nvpair id="mm2" name="target-role" value="Master"/></meta_attributes><primitive class="ocf" id="pgsql" provider="heartbeat" type="expgsql"><instance_attributes id="pia"><nvpair id="a1" name="pgdata" value="/data"/><nvpair id="a2" name="distlock_lock_cmd" value="/opt/distlock geheim"/></instance_attributes><operations><op id="s" name="start" interval="0s" timeout="300s"/></operations></primitive></master>
</resources><constraints>
<rsc_colocation id="c1" rsc="vip-master" with-rsc="msPostgresql" with-rsc-role="Master" score="INFINITY"/>
<rsc_location id="l1" rsc="web" node="node2" score="5"/>
</constraints></configuration><status/></cib>"#;

const CONFIG: &str = "cluster_type=dual\nwriter_vip=192.0.2.1\nreader_vip=192.0.2.2\nnode1=node1\nnode2=node2\nvip_nic=eth0\nvip_cidr_netmask=24\npgsql_pgdata=/data\npgsql_rep_mode=async\n";

struct Site(PathBuf);

impl Site {
    fn new(cib: &str, config: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cls-setup-test-{}-{number}", std::process::id());
        let site = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&site.0).unwrap();
        std::fs::write(site.0.join("cib.xml"), cib).unwrap();
        std::fs::write(site.0.join("config.ini"), config).unwrap();
        // Whether there is quorum is the one thing that a file does not tell.
        let controller = site.0.join("crm_node");
        std::fs::write(&controller, "#!/bin/sh\necho 1\n").unwrap();
        std::fs::set_permissions(controller, Permissions::from_mode(0o755)).unwrap();
        site
    }

    fn cib(&self) -> String {
        std::fs::read_to_string(self.0.join("cib.xml")).unwrap()
    }

    fn cls(&self, words: &[&str]) -> Output {
        let path = std::env::var("PATH").unwrap();
        Command::new(env!("CARGO_BIN_EXE_cls"))
            .arg("setup")
            .args(words)
            .arg("--config")
            .arg(self.0.join("config.ini"))
            .env("CIB_file", self.0.join("cib.xml"))
            .env("PATH", format!("{}:{path}", self.0.display()))
            .output()
            .unwrap()
    }

    fn refused(&self, code: i32, part: &str) {
        let before = self.cib();
        let output = self.cls(&[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part), "no {part} in {said}");
        assert_eq!(self.cib(), before);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_configuration_is_adopted_in_one_step_and_then_left_alone() {
    let site = Site::new(CIB, CONFIG);
    let plan = text(&site.cls(&["--dry-run"]));
    assert!(
        plan.contains("+ vip-slave (ocf:heartbeat:IPaddr2)"),
        "{plan}"
    );
    assert!(plan.contains("kept: pgsql distlock_lock_cmd=***"), "{plan}");
    assert!(!plan.contains("geheim"), "{plan}");
    assert_eq!(site.cib(), CIB);

    text(&site.cls(&[]));
    let after = site.cib();
    for part in [
        "node1|1|00000000070000D0",
        "id=\"web\"",
        "id=\"l1\"",
        "timeout=\"300s\"",
        "<master id=\"msPostgresql\"",
        "name=\"master-ip\"",
        "value=\"192.0.2.1\"",
    ] {
        let part = part.replace("master-ip", "master_ip");
        assert!(after.contains(&part), "no {part} in {after}");
    }
    assert!(text(&site.cls(&[])).contains("nothing to change"));
    assert_eq!(site.cib(), after);

    let json = text(&site.cls(&["--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["changes"].as_array().map(Vec::len), Some(0));

    text(&site.cls(&["--remove"]));
    let gone = site.cib();
    assert!(
        !gone.contains("msPostgresql") && !gone.contains("vip-"),
        "{gone}"
    );
    for part in ["node1|1|00000000070000D0", "id=\"web\"", "id=\"l1\""] {
        assert!(gone.contains(part), "no {part} in {gone}");
    }
}

#[test]
fn what_cannot_be_set_up_is_refused_and_nothing_is_changed() {
    Site::new(CIB, &CONFIG.replace("node2=node2", "node2=other"))
        .refused(10, "other is no node of this cluster");
    Site::new(CIB, "cluster_type=duel\n").refused(10, "config.ini:1");
    Site::new(
        &CIB.replace("have-quorum=\"1\"", "have-quorum=\"0\""),
        CONFIG,
    )
    .refused(102, "quorum");
    Site::new(&CIB.replace("type=\"expgsql\"", "type=\"mysql\""), CONFIG)
        .refused(10, "RESOURCE_LIST");
    // Neither node can be asked whether PostgreSQL runs there, so nothing new is made.
    let without = CIB.replace("msPostgresql", "msOther");
    Site::new(
        &without.replace("value=\"/data\"", "value=\"/other\""),
        CONFIG,
    )
    .refused(10, "cannot be set up");
    // Nothing listens there: the lock service comes before everything that needs it.
    let lock = "pgsql_enable_distlock=true\npgsql_distlock_lockname=x\npgsql_distlock_psql_cmd='psql \\\"host=127.0.0.1 port=1 password=geheim\\\"'\n";
    let site = Site::new(CIB, &(CONFIG.to_owned() + lock));
    site.refused(10, "lock service");
    assert!(!String::from_utf8_lossy(&site.cls(&[]).stderr).contains("geheim"));
}

#[test]
fn the_file_that_was_edited_and_is_not_read_is_named() {
    let site = Site::new(CIB, CONFIG);
    let clone = site.0.join("clone");
    std::fs::create_dir(&clone).unwrap();
    let run = |other: &str| {
        std::fs::write(clone.join("config.ini"), other).unwrap();
        let path = std::env::var("PATH").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_cls"))
            .args(["setup", "--dry-run"])
            .current_dir(&clone)
            .env("pha4pgsql_dir", &site.0)
            .env("CIB_file", site.0.join("cib.xml"))
            .env("PATH", format!("{}:{path}", site.0.display()))
            .output();
        text(&output.unwrap())
    };
    let said = run("cluster_type=multi\n");
    assert!(said.contains("clone/config.ini is not read: "), "{said}");
    assert!(!run(CONFIG).contains("is not read"));
}

/// The same cluster while the database runs on node1.
fn running(cib: &str) -> String {
    let operation = r#"<lrm_rsc_op id="pgsql_last_0" operation="start" operation_key="pgsql_start_0" interval="0" call-id="5" rc-code="0" op-status="0" transition-key="1:1:0:x"/>"#;
    let status = format!(
        r#"<status><node_state id="1" uname="node1" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="1"><lrm_resources><lrm_resource id="pgsql" type="expgsql" class="ocf" provider="heartbeat">{operation}</lrm_resource></lrm_resources></lrm></node_state></status>"#
    );
    cib.replace("<status/>", &status)
}

#[test]
fn a_restart_of_what_runs_is_said_and_refused_without_the_flag() {
    let site = Site::new(CIB, CONFIG);
    text(&site.cls(&[]));
    // Stopped, nothing has to be asked for.
    let stopped = site.cib();
    std::fs::write(
        site.0.join("config.ini"),
        CONFIG.to_owned() + "pgsql_start_opt='-c work_mem=5MB'\n",
    )
    .unwrap();
    let dry = text(&site.cls(&["--dry-run"]));
    assert!(!dry.contains("restart"), "{dry}");

    std::fs::write(site.0.join("cib.xml"), running(&stopped)).unwrap();
    let dry = text(&site.cls(&["--dry-run"]));
    let line = "+ pgsql start_opt: \"-c work_mem=5MB\"  [PostgreSQL restarts on every node]";
    assert!(dry.contains(line), "{dry}");
    assert!(
        dry.contains("With --restart --together, and not without"),
        "{dry}"
    );
    let json = text(&site.cls(&["--dry-run", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    follows_the_schema(&json, "done");
    assert_eq!(json["cost"], "restart");
    assert_eq!(json["restarts"], serde_json::json!(["node1"]));
    site.refused(10, "PostgreSQL runs on node1 and would be restarted there");
    site.refused(10, "undo the change in config.ini");
}

/// A misspelt name would leave the node that was meant in the way, or not looked at.
#[test]
fn what_is_said_to_be_off_is_a_node_and_is_off() {
    let site = Site::new(&running(CIB), CONFIG);
    for (off, says) in [
        (
            "nod2",
            "--off nod2: no node of the database has this name; there are node1, node2",
        ),
        (
            "node1",
            "--off node1: it is not switched off, it is in the cluster",
        ),
    ] {
        let before = site.cib();
        let output = site.cls(&["--off", "node2", "--off", off]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(10), "{said}");
        assert!(said.contains(says), "no {says} in {said}");
        assert_eq!(site.cib(), before);
    }
    text(&site.cls(&["--dry-run", "--off", "node2"]));
    let both = site.cls(&["--remove", "--off", "node2"]);
    assert_eq!(both.status.code(), Some(100), "{both:?}");
}
