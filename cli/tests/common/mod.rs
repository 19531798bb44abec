//! The real program, with shims of Pacemaker's tools on its PATH: real child processes that print
//! what was recorded, and write down how they were called.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of shims for one test.
pub(crate) struct Shims {
    directory: PathBuf,
}

impl Shims {
    /// Without any tool: what is not there is not found.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("cls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self { directory }
    }

    /// A cluster whose information base is this text.
    pub(crate) fn cluster(cib: &str) -> Self {
        let shims = Self::new();
        shims.write("cib.xml", cib);
        shims.tool("cibadmin", "cat \"$here/cib.xml\"");
        shims.tool("crm_mon", "echo 'Online: [ node1 node2 ]'");
        shims.quorum(true);
        shims.tool(
            "attrd_updater",
            "echo 'name=\"master-pgsql\" host=\"node1\" value=\"1000\"'",
        );
        shims
    }

    /// A tool that runs these lines of a shell; `$here` is the directory of the shims.
    pub(crate) fn tool(&self, name: &str, lines: &str) -> &Self {
        let here = self.directory.display();
        let text =
            format!("#!/bin/sh\nhere='{here}'\necho \"{name} $*\" >>\"$here/calls\"\n{lines}\n");
        self.write(name, &text);
        let path = self.directory.join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// What Pacemaker's controller knows of the quorum, before it is in the information base.
    pub(crate) fn quorum(&self, has: bool) {
        let answer = if has { "echo 1" } else { "echo 0; exit 106" };
        let lines = format!("case $1 in --quorum) {answer} ;; *) echo node1 ;; esac");
        self.tool("crm_node", &lines);
    }

    /// A file that tools can read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Every call of a tool, a line each.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::fs::read_to_string(self.directory.join("calls"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Runs `cls` with these words.
    pub(crate) fn cls(&self, words: &[&str]) -> Run {
        self.cls_in("C", words)
    }

    /// The same for an operator with this locale.
    pub(crate) fn cls_in(&self, locale: &str, words: &[&str]) -> Run {
        let path = format!("{}:/usr/bin:/bin", self.directory.display());
        let output = Command::new(env!("CARGO_BIN_EXE_cls"))
            .args(words)
            .env("PATH", path)
            .env("LC_ALL", locale)
            .env_remove("TERM")
            .output()
            .unwrap();
        Run::of(&output)
    }

    /// The same as the account of nobody, where this account can become it. The program lies where no
    /// other account comes to, so it gets a copy.
    pub(crate) fn cls_as_nobody(&self, words: &[&str]) -> Run {
        const NOBODY: u32 = 65_534;
        let program = self.directory.join("cls");
        if !program.exists() {
            pha_tests::agent::copy(env!("CARGO_BIN_EXE_cls").as_ref(), &program).unwrap();
            self.write("calls", "");
            let all = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(self.directory.join("calls"), all).unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", self.directory.display());
        let mut command = Command::new(program);
        command
            .args(words)
            .env("PATH", path)
            .env("LC_ALL", "C")
            .current_dir("/");
        if pha_host::user::User::current().is_ok_and(|user| user.is_root()) {
            command.uid(NOBODY).gid(NOBODY);
        }
        Run::of(&command.output().unwrap())
    }
}

impl Drop for Shims {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What a run has come to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A node of an information base.
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    pub(crate) online: bool,
    /// The last operation of the database and its result.
    pub(crate) last: (&'a str, i32),
    pub(crate) data_status: &'a str,
    pub(crate) transient: &'a [(&'a str, &'a str)],
    pub(crate) permanent: &'a [(&'a str, &'a str)],
}

pub(crate) const PRIMARY: Node<'static> = Node {
    name: "node1",
    online: true,
    last: ("promote", 0),
    data_status: "LATEST",
    transient: &[("master-pgsql", "1000"), ("pgsql-status", "PRI")],
    permanent: &[],
};

pub(crate) const STANDBY: Node<'static> = Node {
    name: "node2",
    online: true,
    last: ("start", 0),
    data_status: "STREAMING|SYNC",
    transient: &[("master-pgsql", "100"), ("pgsql-status", "HS:sync")],
    permanent: &[],
};

/// An information base with these nodes, parameters of the agent and meta attributes of the clone.
pub(crate) fn cib(
    nodes: &[Node<'_>],
    parameters: &[(&str, &str)],
    meta: &[(&str, &str)],
) -> String {
    let pairs = |prefix: &str, pairs: &[(&str, &str)]| {
        pairs.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = write!(
                text,
                r#"<nvpair id="{prefix}-{name}" name="{name}" value="{value}"/>"#
            );
            text
        })
    };
    let (mut configured, mut states) = (String::new(), String::new());
    for (id, node) in (1..).zip(nodes) {
        let name = node.name;
        let _ = write!(
            configured,
            r#"<node id="{id}" uname="{name}"><instance_attributes id="n{id}"><nvpair id="d{id}" name="pgsql-data-status" value="{}"/>{}</instance_attributes></node>"#,
            node.data_status,
            pairs(&format!("p{id}"), node.permanent)
        );
        let state = if node.online {
            r#"in_ccm="true" crmd="online" join="member""#
        } else {
            r#"in_ccm="false" crmd="offline" join="down""#
        };
        let (operation, code) = node.last;
        let status = if code == 193 { -1 } else { 0 };
        // The address is where the primary is.
        let address = if node.last == ("promote", 0) {
            r#"<lrm_resource id="vip-master" type="IPaddr2" class="ocf" provider="heartbeat"><lrm_rsc_op id="v" operation="start" call-id="6" rc-code="0" op-status="0" interval="0"/></lrm_resource>"#
        } else {
            ""
        };
        let _ = write!(
            states,
            r#"<node_state id="{id}" uname="{name}" {state}><lrm id="{id}"><lrm_resources><lrm_resource id="pgsql" type="expgsql" class="ocf" provider="heartbeat"><lrm_rsc_op id="o{id}" operation="{operation}" call-id="5" rc-code="{code}" op-status="{status}" interval="0" exit-reason="it is broken"/></lrm_resource>{address}</lrm_resources></lrm><transient_attributes id="{id}"><instance_attributes id="i{id}">{}</instance_attributes></transient_attributes></node_state>"#,
            pairs(&format!("t{id}"), node.transient)
        );
    }
    format!(
        r#"<cib have-quorum="1" dc-uuid="1"><configuration><crm_config><cluster_property_set id="pgsql_replication"><nvpair id="r" name="pgsql_REPL_INFO" value="node1|1|00000000070000D0"/></cluster_property_set></crm_config><nodes>{configured}</nodes><resources><primitive id="vip-master" class="ocf" provider="heartbeat" type="IPaddr2"/><clone id="msPostgresql"><meta_attributes id="m"><nvpair id="m-p" name="promotable" value="true"/>{}</meta_attributes><primitive id="pgsql" class="ocf" provider="heartbeat" type="expgsql"><instance_attributes id="a">{}</instance_attributes></primitive></clone></resources><constraints><rsc_colocation id="c" rsc="vip-master" with-rsc="msPostgresql" with-rsc-role="Promoted" score="INFINITY"/></constraints></configuration><status>{states}</status></cib>"#,
        pairs("m", meta),
        pairs("a", parameters)
    )
}

/// The agent's parameters of a cluster of two.
pub(crate) const TWO: &[(&str, &str)] = &[("node_list", "node1 node2"), ("pgdata", "/nowhere")];
