//! What runs on a node besides PostgreSQL: name resolution, ssh, corosync, Pacemaker.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Error, Result};
use crate::layout::Duty;
use crate::node::Node;
use crate::pacemaker::seed_cib;
use crate::run::Run;
use crate::spec::Spec;
use crate::wait::wait;
use crate::{binaries, clock};

const SHORT: Duration = Duration::from_secs(10);

/// Makes the two key pairs of a cluster in `dir`: one for root, one for every node's sshd.
pub(crate) fn make_keys(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    for name in ["root", "host"] {
        let path = dir.join(name);
        if path.exists() {
            continue;
        }
        let file = path.to_string_lossy().into_owned();
        Run::host(&[
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "testbed",
            "-f",
            &file,
        ])
        .ok()?;
    }
    Ok(())
}

/// Everything that a fresh machine needs before its services can start. The disk keeps it.
pub(crate) fn furnish(node: &Node, spec: &Spec, keys: &Path) -> Result<()> {
    let mut hosts = String::from("127.0.0.1 localhost\n");
    for other in &spec.nodes {
        let _ = writeln!(hosts, "{} {}", other.address(), other.name);
    }
    node.write("/etc/hosts", hosts, 0o644)?;
    node.write("/etc/hostname", format!("{}\n", node.name()), 0o644)?;
    furnish_ssh(node, spec, keys)?;
    if !spec.bare {
        install_programs(node)?;
    }
    if node.spec().duty == Duty::Database {
        furnish_cluster(node, spec)?;
    }
    Ok(())
}

fn furnish_ssh(node: &Node, spec: &Spec, keys: &Path) -> Result<()> {
    let read = |name: &str| fs::read(keys.join(name)).map_err(Error::io("read", keys.join(name)));
    node.mkdir("/root/.ssh", "0700", "root")?;
    // What this machine's own root has its shell do (it may wait for a lock of its own) is none of a node's.
    node.write("/root/.bashrc", "", 0o644)?;
    node.write("/root/.ssh/id_ed25519", read("root")?, 0o600)?;
    node.write("/root/.ssh/id_ed25519.pub", read("root.pub")?, 0o644)?;
    node.write("/root/.ssh/authorized_keys", read("root.pub")?, 0o600)?;
    node.write(
        "/root/.ssh/config",
        "ConnectTimeout 5\nIdentityFile ~/.ssh/id_ed25519\n",
        0o600,
    )?;
    node.write("/etc/ssh/testbed_host_key", read("host")?, 0o600)?;
    let host_key = String::from_utf8_lossy(&read("host.pub")?)
        .trim()
        .to_owned();
    let mut known = String::new();
    for other in &spec.nodes {
        let _ = writeln!(known, "{},{} {host_key}", other.name, other.address());
    }
    node.write("/root/.ssh/known_hosts", known, 0o644)?;
    node.write(
        "/etc/ssh/testbed_sshd_config",
        "HostKey /etc/ssh/testbed_host_key\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
         UsePAM no\nUseDNS no\nPidFile /run/sshd.pid\nSubsystem sftp internal-sftp\n\
         SetEnv PATH=/opt/pha4pgsql/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
        0o644,
    )
}

/// Puts those of this project's programs into the node that have been built.
pub(crate) fn install_programs(node: &Node) -> Result<()> {
    node.mkdir("/opt/pha4pgsql/bin", "0755", "root")?;
    for (name, target) in binaries::INSTALLED {
        let Some(path) = binaries::to_install(name)? else {
            continue;
        };
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        // Through another name: a program that is running cannot be written to.
        let fresh = format!("{target}.new");
        node.write(&fresh, bytes, 0o755)?;
        node.run(&["mv", "-f", &fresh, target], SHORT)?;
    }
    node.run(&["sh", "-c", LINKS], SHORT).map(drop)
}

/// The commands by their own names, where a shell on the node finds them.
const LINKS: &str = "cd /opt/pha4pgsql/bin && \
    for name in cleanup doctor manage master online_switch rebuild_slave recovery_master \
        repair_slave setup standby_node start status stop unmanage unstandby_node; do \
        ln -sf cls cls_$name; done; \
    ln -sf /opt/pha4pgsql/bin/* /usr/local/bin/";

fn furnish_cluster(node: &Node, spec: &Spec) -> Result<()> {
    node.write("/etc/corosync/corosync.conf", corosync_conf(spec), 0o644)?;
    // Nothing of a cluster that the host itself may be part of.
    let clear = "rm -rf /var/lib/pacemaker/cib/* /var/lib/pacemaker/pengine/* /var/lib/corosync/* \
                 /var/log/pacemaker/* /var/log/corosync* /var/log/cluster /etc/corosync/authkey /etc/pacemaker/authkey";
    node.run(&["sh", "-c", clear], SHORT)?;
    for directory in ["/var/lib/corosync", "/var/log/corosync"] {
        node.mkdir(directory, "0755", "root")?;
    }
    let newer = node
        .spec()
        .root
        .join("usr/share/pacemaker/pacemaker-3.7.rng");
    let seed = seed_cib(newer.exists());
    node.write("/var/lib/pacemaker/cib/cib.xml", seed, 0o600)?;
    node.run(
        &[
            "chown",
            "hacluster:haclient",
            "/var/lib/pacemaker/cib/cib.xml",
        ],
        SHORT,
    )
    .map(drop)
}

fn corosync_conf(spec: &Spec) -> String {
    let mut conf = format!(
        "totem {{\n  version: 2\n  cluster_name: {}\n  transport: knet\n  crypto_cipher: none\n  crypto_hash: none\n  token: {}\n}}\n\
         logging {{\n  to_logfile: yes\n  logfile: /var/log/corosync/corosync.log\n  to_syslog: no\n  to_stderr: no\n  timestamp: hires\n}}\n\
         quorum {{\n  provider: corosync_votequorum\n",
        spec.name, spec.token_ms
    );
    if spec.databases().count() == 2 {
        conf.push_str("  two_node: 1\n  wait_for_all: 0\n");
    }
    conf.push_str("}\nnodelist {\n");
    for node in spec.databases() {
        let _ = write!(
            conf,
            "  node {{\n    ring0_addr: {}\n    name: {}\n    nodeid: {}\n  }}\n",
            node.address(),
            node.name,
            node.number
        );
    }
    conf.push_str("}\n");
    conf
}

/// Starts sshd.
pub(crate) fn start_ssh(node: &Node) -> Result<()> {
    node.run(
        &[
            "/usr/sbin/sshd",
            "-f",
            "/etc/ssh/testbed_sshd_config",
            "-E",
            "/var/log/sshd.log",
        ],
        SHORT,
    )
    .map(drop)
}

/// Starts Pacemaker with more of an environment.
const PACEMAKER: &str = "exec env PCMK_logfile=/var/log/pacemaker/pacemaker.log \"$@\" \
    setsid --fork pacemakerd -f </dev/null >/var/log/pacemakerd.out 2>&1";

/// Starts corosync and, once it answers, Pacemaker; does not wait for the cluster to form.
/// `own_clock` has Pacemaker and everything that it starts go by the node's clock.
///
/// # Errors
/// A daemon did not start; the message holds the end of its log.
pub(crate) fn start_cluster(node: &Node, own_clock: bool) -> Result<()> {
    let processes = node.processes();
    if processes.iter().any(|process| process.comm == "pacemakerd") {
        return Ok(());
    }
    start_corosync(node)?;
    let mut argv = ["sh", "-c", PACEMAKER, "sh"].map(str::to_owned).to_vec();
    if own_clock {
        node.wind_clock()?;
        argv.extend(clock::environment());
    }
    node.run(&argv, SHORT).map(drop)
}

/// Starts corosync unless it runs, and waits until it answers. One that Pacemaker has asked to end
/// still runs for a second, and answers nobody.
fn start_corosync(node: &Node) -> Result<()> {
    wait(&format!("corosync on {}", node.name()), SHORT, || {
        let processes = node.processes();
        if !processes.iter().any(|process| process.comm == "corosync") {
            node.run(&["corosync"], SHORT).map_err(|error| {
                let log = node.read("/var/log/corosync/corosync.log");
                let log = log.unwrap_or_default();
                let log = String::from_utf8_lossy(&log);
                let tail: Vec<&str> = log.lines().rev().take(5).collect();
                format!("{error}; its log ends: {}", tail.join(" / "))
            })?;
        }
        let output = node
            .exec(&["corosync-cfgtool", "-s"], SHORT)
            .map_err(|e| e.to_string())?;
        if output.ok() {
            Ok(())
        } else {
            Err(output.stderr.trim().to_owned())
        }
    })
}

/// Stops Pacemaker in an orderly way (it stops its resources first), then corosync.
///
/// # Errors
/// They were still there when the time was up.
pub(crate) fn stop_cluster(node: &Node, timeout: Duration) -> Result<()> {
    node.kill_named("pacemakerd", Signal::TERM);
    gone(node, "pacemakerd", timeout)?;
    node.kill_named("corosync", Signal::TERM);
    gone(node, "corosync", SHORT)
}

/// Kills `pacemakerd` alone.
///
/// # Errors
/// It was still there when the time was up.
pub(crate) fn kill_pacemakerd(node: &Node) -> Result<()> {
    node.kill_named("pacemakerd", Signal::KILL);
    gone(node, "pacemakerd", SHORT)
}

fn gone(node: &Node, comm: &str, timeout: Duration) -> Result<()> {
    wait(
        &format!("the end of {comm} on {}", node.name()),
        timeout,
        || {
            let left: Vec<String> = node
                .processes()
                .into_iter()
                .map(|process| process.comm)
                .collect();
            if left.iter().any(|name| name == comm) {
                Err(format!("running: {}", left.join(" ")))
            } else {
                Ok(())
            }
        },
    )
}
