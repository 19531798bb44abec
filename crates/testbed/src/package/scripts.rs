//! The scripts of a package, and `install.sh` beside one, run with programs of the test's in place of the
//! system's.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::formats::{AFTER_INSTALLATION, AFTER_REMOVAL, BEFORE_REMOVAL};

const INSTALL: &str = include_str!("../../../../install.sh");

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pha-package-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&place).unwrap();
        Scratch(place)
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.0.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn program(&self, file: &str, lines: &str) {
        self.write(file, &format!("#!/bin/sh\n{lines}\n"));
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap()
    }

    fn is_link(&self, file: &str) -> bool {
        self.0.join(file).is_symlink()
    }

    fn link(&self, target: &str, file: &str) {
        let file = self.0.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, file).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the machine is like that a script runs on.
#[derive(Clone, Copy)]
struct Machine {
    /// How `cibadmin` ends.
    cibadmin: u8,
    /// Whether Pacemaker's daemon is among the processes.
    runs: bool,
}

const CONFIGURED: Machine = Machine {
    cibadmin: 0,
    runs: true,
};

/// Puts the programs of that machine in front of the system's: the PATH.
fn path(place: &Scratch, machine: Machine) -> String {
    place.program("machine/cibadmin", &format!("exit {}", machine.cibadmin));
    let runs = u8::from(!machine.runs);
    let grep = format!("case $* in *pacemakerd*) exit {runs} ;; esac\nexec /bin/grep \"$@\"");
    place.program("machine/grep", &grep);
    let tmpfiles = place.0.join("machine/systemd-tmpfiles");
    if !tmpfiles.exists() {
        place.program("machine/systemd-tmpfiles", "");
    }
    format!("{}/machine:/usr/bin:/bin", place.0.display())
}

/// Runs a script of the package: whether it succeeded, and what it complained of.
fn ran(script: &str, argument: &[&str], machine: Machine) -> (bool, String) {
    let place = Scratch::new();
    let output = Command::new("sh")
        .args(["-c", script, "script"])
        .args(argument)
        .env("PATH", path(&place, machine))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

#[test]
fn removal_is_refused_while_the_agent_is_configured_and_an_upgrade_never_is() {
    // dpkg's words, and rpm's number of versions that are left.
    for argument in [&["remove"][..], &["0"]] {
        let (removed, said) = ran(BEFORE_REMOVAL, argument, CONFIGURED);
        assert!(!removed && said.contains("cls_setup --remove"), "{said}");
        // What takes a primary down is not advised without its way around, nor without the next boot.
        let order = ["cls_online_switch", "systemctl disable --now pacemaker"];
        let found = order.map(|word| said.find(word).unwrap());
        assert!(found[0] < found[1], "{said}");
    }
    for argument in [
        &["upgrade", "0.2.0"][..],
        &["1"],
        &["failed-upgrade", "0.1.0"],
        &["deconfigure", "in-favour", "x", "1"],
    ] {
        assert!(ran(BEFORE_REMOVAL, argument, CONFIGURED).0, "{argument:?}");
    }
}

#[test]
fn removal_is_refused_where_pacemaker_runs_and_gives_no_answer() {
    for (cibadmin, runs, goes_on) in [
        // There is no such resource; no cluster.
        (105, true, true),
        (102, false, true),
        (102, true, true),
        // No answer in time, some failure, no right, not to be run.
        (124, true, false),
        (1, true, false),
        (4, true, false),
        (127, true, false),
        (124, false, true),
        (1, false, true),
    ] {
        let machine = Machine { cibadmin, runs };
        let (removed, said) = ran(BEFORE_REMOVAL, &["remove"], machine);
        assert_eq!(removed, goes_on, "{cibadmin} {runs}: {said}");
        if !goes_on {
            let status = format!("ended with status {cibadmin}");
            assert!(said.contains(&status), "{said}");
            assert!(said.contains("cls_online_switch"), "{said}");
        }
    }
}

#[test]
fn no_script_of_the_package_touches_a_service() {
    for script in [BEFORE_REMOVAL, AFTER_INSTALLATION, AFTER_REMOVAL] {
        let mut shown = false;
        for line in script.lines() {
            shown = match line {
                "END" => false,
                _ if line.ends_with("<<'END'") => true,
                _ => shown,
            };
            let code = !shown && !line.trim_start().starts_with('#');
            for word in [
                "systemctl",
                "service ",
                "invoke-rc.d",
                "crm_resource",
                "kill",
            ] {
                assert!(!code || !line.contains(word), "{line}");
            }
        }
    }
    for argument in [
        &["configure", ""][..],
        &["configure", "0.1.0"],
        &["1"],
        &["2"],
        &["abort-remove"],
    ] {
        assert!(
            ran(AFTER_INSTALLATION, argument, CONFIGURED).0,
            "{argument:?}"
        );
    }
    for argument in [&["remove"][..], &["upgrade", "0.2.0"], &["0"], &["1"]] {
        assert!(ran(AFTER_REMOVAL, argument, CONFIGURED).0, "{argument:?}");
    }
}

#[test]
fn the_directory_in_memory_is_made_with_an_installation_and_nothing_else_is_started() {
    for (argument, expected) in [
        (&["configure", ""][..], true),
        (&["configure", "0.1.0"], true),
        (&["1"], true),
        (&["2"], true),
        (&["abort-remove"], false),
    ] {
        let place = Scratch::new();
        let made = place.0.join("made");
        let program = format!("echo \"$*\" >{}\nexit 1", made.display());
        place.program("machine/systemd-tmpfiles", &program);
        let output = Command::new("sh")
            .args(["-c", AFTER_INSTALLATION, "script"])
            .args(argument)
            .env("PATH", path(&place, CONFIGURED))
            .output()
            .unwrap();
        // An installation does not fail by it.
        assert!(output.status.success(), "{argument:?}: {output:?}");
        assert_eq!(made.exists(), expected, "{argument:?}");
        if expected {
            let said = place.read("made");
            let file = "--create /usr/lib/tmpfiles.d/pha4pgsql.conf\n";
            assert_eq!(said, file, "{argument:?}");
        }
    }
}

/// Machines below one directory, each with a root of its own, that `install.sh` reaches each other by.
struct Nodes {
    place: Scratch,
    path: String,
}

/// `cls` of those machines: its version is the place's, the configuration says nothing but the directory.
fn cls(version: &str) -> String {
    format!(
        r#"case $1:${{2-}}:${{3-}} in
    --version:*) echo 'cls {version}' ;;
    internal:config:ocf_root) echo "$ROOT/usr/lib/ocf" ;;
    internal:config:directory) echo "$ROOT$(sed -n s/^pha4pgsql_dir=//p "$5")" ;;
    internal:config:nodes) sed -n s/^nodes=//p "$5" ;;
    internal:commands:) echo status ;;
esac"#
    )
}

impl Nodes {
    /// node1 has the package.
    fn new() -> Nodes {
        let place = Scratch::new();
        let path = path(&place, CONFIGURED);
        place.program("machine/id", "echo 0");
        place.program("machine/uname", r#"echo "${ROOT##*/}""#);
        let ssh = r#"while [ "$1" != -- ]; do shift; done
ROOT=${ROOT%/*}/$2 exec sh -c "$3""#;
        place.program("machine/ssh", ssh);
        let nodes = Nodes { place, path };
        nodes.package("node1", "1");
        nodes
    }

    /// `install.sh` with every place of it below the node's root.
    fn script() -> String {
        ["/usr/", "/etc/", "/opt/pha4pgsql", "/root/.ssh"]
            .iter()
            .fold(INSTALL.to_owned(), |text, place| {
                text.replace(place, &format!("$ROOT{place}"))
            })
    }

    fn programs(&self, directory: &str, version: &str) {
        self.place
            .program(&format!("{directory}/cls"), &cls(version));
        self.place.program(&format!("{directory}/distlock"), "");
    }

    fn package(&self, node: &str, version: &str) {
        self.programs(&format!("{node}/usr/sbin"), version);
        self.place
            .link("cls", &format!("{node}/usr/sbin/cls_status"));
        let agent = format!("{node}/usr/lib/ocf/resource.d/heartbeat/expgsql");
        self.place.program(&agent, "");
        let script = format!("{node}/usr/share/pha4pgsql/install.sh");
        self.place.write(&script, &Nodes::script());
    }

    /// What `install.sh` of a directory of node1 says, and whether it succeeded.
    fn install(&self, directory: &str, more: &[&str]) -> (bool, String) {
        let root = self.place.0.join("node1");
        let output = Command::new("sh")
            .arg(root.join(directory).join("install.sh"))
            .args(more)
            .env("PATH", &self.path)
            .env("ROOT", &root)
            .current_dir(&root)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.success(), said)
    }
}

const PACKAGE: &str = "usr/share/pha4pgsql";

fn config(directory: &str, more: &str) -> String {
    format!("pha4pgsql_dir={directory}\nnodes=node1 node2\n{more}\n")
}

#[test]
fn a_config_ini_of_other_contents_is_lost_to_nobody_who_has_not_chosen() {
    let nodes = Nodes::new();
    nodes.package("node2", "1");
    let example = config("/opt/pha4pgsql", "password=example");
    let real = config("/opt/pha4pgsql", "password=real");
    let place = &nodes.place;
    place.write("node1/etc/pha4pgsql/config.ini", &example);
    for node in ["node1", "node2"] {
        place.write(&format!("{node}/opt/pha4pgsql/config.ini"), &real);
    }
    let (done, said) = nodes.install(PACKAGE, &[]);
    assert!(!done, "{said}");
    for node in ["node1", "node2"] {
        let own = format!("/{node}/opt/pha4pgsql/config.ini of {node} has other contents than");
        assert!(said.contains(&own), "{said}");
        let file = format!("{node}/opt/pha4pgsql/config.ini");
        assert!(!place.is_link(&file));
        assert_eq!(place.read(&file), real);
    }
    let taken = "/node1/etc/pha4pgsql/config.ini of node1,";
    assert_eq!(said.matches(taken).count(), 2, "{said}");
    assert!(said.contains("--config FILE"), "{said}");

    // As it advises.
    let (done, said) = nodes.install(PACKAGE, &["--config", "opt/pha4pgsql/config.ini"]);
    assert!(done, "{said}");
    let (again, said) = nodes.install(PACKAGE, &[]);
    assert!(again && said.contains("nothing to change"), "{said}");
    for node in ["node1", "node2"] {
        assert_eq!(
            place.read(&format!("{node}/etc/pha4pgsql/config.ini")),
            real
        );
        assert!(place.is_link(&format!("{node}/opt/pha4pgsql/config.ini")));
    }
    // What leads to the package is no other file.
    let changed = config("/opt/pha4pgsql", "password=changed");
    place.write("node1/etc/pha4pgsql/config.ini", &changed);
    let (done, said) = nodes.install(PACKAGE, &[]);
    assert!(done, "{said}");
    assert_eq!(place.read("node2/opt/pha4pgsql/config.ini"), changed);
}

#[test]
fn nothing_leads_to_itself_and_nothing_of_the_package_is_removed() {
    for (directory, link) in [
        ("/etc/pha4pgsql", None),
        (
            "/opt/pha4pgsql",
            Some(("../etc/pha4pgsql", "opt/pha4pgsql")),
        ),
        ("/usr", Some(("sbin", "usr/bin"))),
    ] {
        let nodes = Nodes::new();
        let place = &nodes.place;
        let text = config(directory, "").replace(" node2", "");
        place.write("node1/etc/pha4pgsql/config.ini", &text);
        if let Some((target, file)) = link {
            place.link(target, &format!("node1/{file}"));
        }
        let whole = || {
            for file in ["cls", "distlock", "cls_status"] {
                place.read(&format!("node1/usr/sbin/{file}"));
            }
            assert!(!place.is_link("node1/usr/sbin/cls"), "{directory}");
        };
        for _ in 0..2 {
            let (done, said) = nodes.install(PACKAGE, &[]);
            assert!(done, "{directory}: {said}");
            assert_eq!(place.read("node1/etc/pha4pgsql/config.ini"), text);
            assert!(!place.is_link("node1/etc/pha4pgsql/config.ini"));
            whole();
        }
        let (done, said) = nodes.install(PACKAGE, &["--uninstall", "--force"]);
        assert!(done, "{directory}: {said}");
        assert!(!place.0.join("node1/etc/pha4pgsql/config.ini").exists());
        whole();
    }
}

#[test]
fn uninstall_removes_what_leads_to_the_package_and_asks_pacemaker_before() {
    let nodes = Nodes::new();
    let place = &nodes.place;
    let text = config("/opt/pha4pgsql", "").replace(" node2", "");
    place.write("node1/opt/pha4pgsql/config.ini", &text);
    nodes.programs("node1/opt/pha4pgsql/bin", "0");
    place.link("cls", "node1/opt/pha4pgsql/bin/cls_status");
    let (done, said) = nodes.install(PACKAGE, &[]);
    assert!(
        done && place.is_link("node1/opt/pha4pgsql/bin/cls"),
        "{said}"
    );
    for (cibadmin, why) in [(0, "cls_setup --remove"), (124, "ended with status 124")] {
        let machine = Machine {
            cibadmin,
            runs: true,
        };
        path(place, machine);
        let (done, said) = nodes.install(PACKAGE, &["--uninstall"]);
        assert!(!done && said.contains(why), "{said}");
    }
    let machine = Machine {
        cibadmin: 105,
        runs: true,
    };
    path(place, machine);
    let (done, said) = nodes.install(PACKAGE, &["--uninstall"]);
    assert!(
        done && !place.0.join("node1/opt/pha4pgsql").exists(),
        "{said}"
    );
    place.read("node1/usr/sbin/cls_status");
}

#[test]
fn a_package_of_another_version_is_named() {
    let nodes = Nodes::new();
    let place = &nodes.place;
    std::fs::remove_dir_all(place.0.join("node1")).unwrap();
    nodes.package("node2", "1");
    place.write("node1/tarball/install.sh", &Nodes::script());
    let text = config("/opt/pha4pgsql", "");
    place.write("node1/tarball/config.ini", &text);
    nodes.programs("node1/tarball/bin", "2");
    place.program("node1/tarball/bin/expgsql", "");
    let agents = "node1/usr/lib/ocf/resource.d/heartbeat";
    std::fs::create_dir_all(place.0.join(agents)).unwrap();
    let (done, said) = nodes.install("tarball", &[]);
    assert!(!done && said.contains("which is on: node2;"), "{said}");
    assert!(said.contains("install that package"), "{said}");
}

#[test]
fn nobody_is_told_to_make_a_config_ini_that_others_can_read() {
    let manuals = [
        include_str!("../../../../README.md"),
        include_str!("../../../../docs/manual.md"),
        include_str!("../../../../docs/manual.zh.md"),
    ];
    for text in [&manuals[..], &[INSTALL, AFTER_INSTALLATION]].concat() {
        let copied = text
            .split("config.ini.example ")
            .filter(|before| before.ends_with("cp ") || before.ends_with("cp /etc/pha4pgsql/"));
        assert_eq!(copied.count(), 0, "{text}");
        assert!(text.contains("install -m 600 "));
    }
}
