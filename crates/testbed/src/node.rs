//! One machine of the cluster: run programs in it, read and write its files, take its power.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::Signal;

use crate::error::{Error, Result};
use crate::fabric::Fabric;
use crate::layout::{Layout, NodeSpec, READY};
use crate::procfs::{self, Process, ProcessId};
use crate::roles;
use crate::run::{Output, Run, ends_before};

/// The search path inside a node: the tools of this project first.
pub const NODE_PATH: &str =
    "/opt/pha4pgsql/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where PostgreSQL keeps its data on every database node.
pub const PGDATA: &str = "/data/postgresql/data";

/// A node of a cluster. Cheap to clone; holds no resources itself.
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) spec: NodeSpec,
    pub(crate) layout: Layout,
    pub(crate) keeper: ProcessId,
}

impl Node {
    /// Its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its own address.
    #[must_use]
    pub fn address(&self) -> String {
        self.spec.address()
    }

    /// What it was asked to be.
    #[must_use]
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    fn fabric(&self) -> Fabric {
        Fabric::of(self.keeper)
    }

    /// The directory of PostgreSQL's server programs on this node.
    ///
    /// # Errors
    /// There is no PostgreSQL.
    pub(crate) fn server_programs(&self) -> Result<String> {
        crate::packages::bin_dir_in(&self.spec.root)
    }

    /// Process 1 of the node, if it is powered on.
    #[must_use]
    pub fn init(&self) -> Option<ProcessId> {
        Layout::announced(&self.layout.node(self.name())).filter(|init| init.alive())
    }

    fn powered(&self) -> Result<ProcessId> {
        self.init()
            .ok_or_else(|| Error::Down(self.name().to_owned()))
    }

    /// The words that enter the node, before the program's own.
    pub(crate) fn entrance(&self) -> Result<Vec<String>> {
        let pid = self.powered()?.pid.to_string();
        Ok([
            "nsenter", "--target", &pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--",
        ]
        .map(str::to_owned)
        .to_vec())
    }

    fn environment() -> [String; 6] {
        [
            "/usr/bin/env".to_owned(),
            "-i".to_owned(),
            format!("PATH={NODE_PATH}"),
            "HOME=/root".to_owned(),
            "USER=root".to_owned(),
            "LC_ALL=C.UTF-8".to_owned(),
        ]
    }

    fn program(&self, argv: &[String], timeout: Duration) -> Result<Run> {
        let mut full = self.entrance()?;
        full.extend(Node::environment());
        // The program is killed from inside as well: ending nsenter alone would leave it running.
        let limit = format!("{:.3}", timeout.as_secs_f64());
        full.extend([
            "/usr/bin/timeout".to_owned(),
            "--signal=KILL".to_owned(),
            limit,
        ]);
        full.extend(argv.iter().cloned());
        Ok(Run::wrapped(self.name(), argv, full).timeout(timeout + Duration::from_secs(2)))
    }

    /// Runs a program as root in the node, with stdin empty. Any exit code is a result; 137 says
    /// that `timeout` passed and the program was killed.
    ///
    /// # Errors
    /// The node is off, or the program could not be started or ended.
    pub fn exec<S: AsRef<str>>(&self, argv: &[S], timeout: Duration) -> Result<Output> {
        self.exec_with(argv, "", timeout)
    }

    /// The same with text on stdin.
    ///
    /// # Errors
    /// As [`Node::exec`].
    pub fn exec_with<S: AsRef<str>>(
        &self,
        argv: &[S],
        stdin: &str,
        timeout: Duration,
    ) -> Result<Output> {
        let argv: Vec<String> = argv.iter().map(|word| word.as_ref().to_owned()).collect();
        self.program(&argv, timeout)?.stdin(stdin).output()
    }

    /// The same where an exit code other than 0 is an error that names node, program and stderr.
    ///
    /// # Errors
    /// As [`Node::exec`], and a failure of the program.
    pub fn run<S: AsRef<str>>(&self, argv: &[S], timeout: Duration) -> Result<Output> {
        let argv: Vec<String> = argv.iter().map(|word| word.as_ref().to_owned()).collect();
        self.program(&argv, timeout)?.ok()
    }

    /// Runs a program as the user postgres.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn as_postgres<S: AsRef<str>>(&self, argv: &[S], timeout: Duration) -> Result<Output> {
        let mut full = vec!["runuser", "-u", "postgres", "--"];
        full.extend(argv.iter().map(AsRef::as_ref));
        self.run(&full, timeout)
    }

    /// A command for a terminal: stdin, stdout and stderr are the caller's.
    ///
    /// # Errors
    /// The node is off.
    pub fn interactive(&self, argv: &[String]) -> Result<std::process::Command> {
        let mut full = self.entrance()?;
        full.extend(Node::environment());
        if let Ok(term) = std::env::var("TERM") {
            full.push(format!("TERM={term}"));
        }
        full.extend(argv.iter().cloned());
        let mut command = std::process::Command::new(&full[0]);
        command.args(&full[1..]);
        Ok(command)
    }

    fn open(&self, path: &str, flags: OFlags, mode: u32) -> Result<fs::File> {
        let root = self.powered()?.proc("root");
        let root = rustix::fs::open(
            &root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(Error::sys("open", &root))?;
        // IN_ROOT keeps absolute links inside of the node: they must not lead to the host's files.
        rustix::fs::openat2(
            &root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::from_raw_mode(mode),
            ResolveFlags::IN_ROOT,
        )
        .map(fs::File::from)
        .map_err(Error::sys("open", format!("{}:{path}", self.name())))
    }

    /// Reads a file of the node.
    ///
    /// # Errors
    /// The node is off, or the file cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path, OFlags::RDONLY, 0)?
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", format!("{}:{path}", self.name())))?;
        Ok(bytes)
    }

    /// Writes a file of the node (its directory must exist), with exactly this mode, owned by root.
    ///
    /// # Errors
    /// The node is off, or the file cannot be written.
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let mut file = self.open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, mode)?;
        let place = format!("{}:{path}", self.name());
        file.write_all(bytes.as_ref())
            .map_err(Error::io("write", &place))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(Error::sys("chmod", &place))
    }

    /// Makes a directory of the node and those above it.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn mkdir(&self, path: &str, mode: &str, owner: &str) -> Result<()> {
        self.run(
            &["install", "-d", "-m", mode, "-o", owner, "-g", owner, path],
            Duration::from_secs(10),
        )
        .map(drop)
    }

    // ---- power -----------------------------------------------------------------------------

    /// Starts the machine: file system, network, nothing else. The services are the cluster's, or with `systemd`
    /// its units.
    pub(crate) fn power_on(&self, systemd: bool) -> Result<()> {
        if self.init().is_some() {
            return Ok(());
        }
        let dir = self.layout.node(self.name());
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let _ = fs::remove_file(dir.join(READY));
        let flags = ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork"];
        let cluster = self.layout.dir.to_string_lossy().into_owned();
        let root = self.spec.root.to_string_lossy().into_owned();
        let mut role = vec![roles::NODE, &cluster, self.name(), &root];
        if systemd {
            role.push(roles::SYSTEMD);
        }
        let init = spawn_role(Some(self.keeper), &flags, &role, &dir, Stdio::null())?;
        crate::run::reap(init.child);
        self.fabric().plug(
            self.name(),
            &self.spec.hardware_address(),
            &self.address(),
            init.identity,
        )?;
        if systemd {
            self.write(crate::systemd::PLUGGED, "", 0o644)?;
        }
        Ok(())
    }

    /// Cuts the power: the cable is dead first, then every process, all at once. What was
    /// written to the disk stays, what was in /run, /tmp and memory does not. (Unlike on real
    /// hardware, what was written but not yet fsynced stays too: the page cache is the host's.)
    ///
    /// # Errors
    /// The network refused, or the processes did not die within ten seconds.
    pub fn power_cut(&self) -> Result<()> {
        let Some(init) = self.init() else {
            return Ok(());
        };
        self.fabric().unplug(self.name())?;
        init.signal(Signal::KILL);
        procfs::wake_entrances(init.pid);
        // A pid namespace's first process ends only after all the others have.
        let deadline = Instant::now() + Duration::from_secs(10);
        match ends_before(u32::try_from(init.pid).unwrap_or(0), deadline) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Asked(format!(
                "{}: processes survive the power cut",
                self.name()
            ))),
            Err(source) => Err(Error::Io {
                what: format!("{}: cannot wait for the power cut", self.name()),
                source,
            }),
        }
    }

    /// Runs a program of the host in the directory of this node's disk, for what is done to the disk
    /// of a machine that is off: `data` is what the node has at `/data`.
    ///
    /// # Errors
    /// The node is on, or the program failed.
    pub fn on_its_disk(&self, argv: &[&str]) -> Result<Output> {
        if self.is_on() {
            return Err(Error::Asked(format!(
                "{}: its disk is in use; cut its power first",
                self.name()
            )));
        }
        let disk = self.layout.disk(self.name()).to_string_lossy().into_owned();
        let keeper = self.keeper.pid.to_string();
        let inside = ["nsenter", "--target", &keeper, "--mount", "--"];
        Run::host(&[&inside[..], &["env", "--chdir", &disk], argv].concat()).ok()
    }

    /// Whether the node is powered on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.init().is_some()
    }

    // ---- processes -------------------------------------------------------------------------

    /// Every process of the node except its process 1.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        self.init()
            .map(|init| procfs::processes_of(init.pid))
            .unwrap_or_default()
    }

    /// Sends `signal` to every process for which `select` says so; how many there were.
    pub fn kill(&self, select: impl Fn(&Process) -> bool, signal: Signal) -> usize {
        let chosen: Vec<Process> = self.processes().into_iter().filter(select).collect();
        for process in &chosen {
            procfs::signal_pid(process.pid, signal);
        }
        chosen.len()
    }

    /// Sends `signal` to every process of that short name (`postgres`, `corosync`, `pacemakerd` …).
    pub fn kill_named(&self, comm: &str, signal: Signal) -> usize {
        self.kill(|process| process.comm == comm, signal)
    }

    /// The processes for which `select` says so, without the children of any of them: a child that has
    /// not begun its own program yet has the name and the command line of its parent. The parent is looked
    /// at afterwards: when the list was made it may not have begun its program itself.
    fn programs(&self, select: impl Fn(&Process) -> bool) -> Vec<Process> {
        let mut found = self.processes();
        found.retain(&select);
        found.retain(|process| procfs::describe(process.parent).is_none_or(|p| !select(&p)));
        found
    }

    /// Sends `signal` to the programs of that short name, and not to children that have not begun their
    /// own yet; how many there were.
    pub fn kill_program(&self, comm: &str, signal: Signal) -> usize {
        let chosen = self.programs(|process| process.comm == comm);
        for process in &chosen {
            procfs::signal_pid(process.pid, signal);
        }
        chosen.len()
    }

    /// The agent's processes that carry out an operation (`monitor`, … or `guard`), without what they
    /// have started.
    #[must_use]
    pub fn operations(&self, name: &str) -> Vec<Process> {
        let line = format!("expgsql {name}");
        self.programs(|process| process.comm == "expgsql" && process.cmdline.ends_with(&line))
    }

    /// The processes of the server at [`PGDATA`] that are of this kind
    /// ([`Process::server_kind`]: `startup`, `walreceiver` …).
    #[must_use]
    pub fn server_processes(&self, kind: &str) -> Vec<Process> {
        let Some(postmaster) = self.postmaster_of(PGDATA) else {
            return Vec::new();
        };
        let mut found = self.processes();
        found.retain(|p| p.parent == postmaster.pid && p.server_kind() == Some(kind));
        found
    }

    /// Sends `signal` to [`Node::server_processes`] of that kind; how many there were.
    pub fn kill_server_process(&self, kind: &str, signal: Signal) -> usize {
        let chosen = self.server_processes(kind);
        for process in &chosen {
            procfs::signal_pid(process.pid, signal);
        }
        chosen.len()
    }

    /// The postmaster of the database at [`PGDATA`] (or at another directory), if one runs: its
    /// number inside the node comes from postmaster.pid and must belong to a postgres process.
    #[must_use]
    pub fn postmaster_of(&self, pgdata: &str) -> Option<Process> {
        let text = self.read(&format!("{pgdata}/postmaster.pid")).ok()?;
        let inner: i32 = String::from_utf8_lossy(&text)
            .lines()
            .next()?
            .trim()
            .parse()
            .ok()?;
        self.processes()
            .into_iter()
            .find(|process| process.inner_pid == inner && process.comm == "postgres")
    }

    /// The postmaster's number inside the node.
    #[must_use]
    pub fn postmaster_pid(&self) -> Option<i32> {
        self.postmaster_of(PGDATA).map(|process| process.inner_pid)
    }

    /// Sends `signal` to the postmaster alone; whether there was one.
    pub fn kill_postmaster(&self, signal: Signal) -> bool {
        let postmaster = self.postmaster_of(PGDATA);
        if let Some(process) = &postmaster {
            procfs::signal_pid(process.pid, signal);
        }
        postmaster.is_some()
    }

    /// Stops every process of the node where it stands, as a hypervisor that pauses a machine.
    ///
    /// # Errors
    /// The node is off, or some process did not stop within ten seconds.
    pub fn freeze(&self) -> Result<()> {
        let init = self.powered()?;
        let deadline = Instant::now() + Duration::from_secs(10);
        init.signal(Signal::STOP);
        loop {
            // Processes fork while they are being stopped, so look until none is left running.
            let running: Vec<Process> = procfs::processes_of(init.pid)
                .into_iter()
                .filter(|process| !matches!(procfs::state(process.pid), None | Some('T' | 't')))
                .collect();
            if running.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let names: Vec<&str> = running
                    .iter()
                    .map(|process| process.comm.as_str())
                    .collect();
                return Err(Error::Asked(format!(
                    "{}: cannot freeze {}",
                    self.name(),
                    names.join(", ")
                )));
            }
            for process in running {
                procfs::signal_pid(process.pid, Signal::STOP);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// The node is off.
    pub fn thaw(&self) -> Result<()> {
        let init = self.powered()?;
        for process in procfs::processes_of(init.pid) {
            procfs::signal_pid(process.pid, Signal::CONT);
        }
        init.signal(Signal::CONT);
        procfs::wake_entrances(init.pid);
        Ok(())
    }

    /// Fills the data disk to the last block with one file; needs a disk of limited size.
    ///
    /// # Errors
    /// The disk is the host's, which nobody should fill.
    pub fn fill_data_disk(&self) -> Result<()> {
        let kind = self.run(
            &["stat", "--file-system", "--format=%T", "/data"],
            Duration::from_secs(10),
        )?;
        if kind.text() != "tmpfs" {
            return Err(Error::Asked(format!(
                "{}: its data disk is the host's; make the cluster with a data disk of limited size",
                self.name()
            )));
        }
        // dd ends with an error as soon as the disk is full: that is what is wanted.
        let fill = self.exec(
            &["dd", "if=/dev/zero", "of=/data/ballast", "bs=64k"],
            Duration::from_secs(120),
        )?;
        if fill.stderr.contains("No space left") {
            Ok(())
        } else {
            Err(Error::Asked(format!(
                "{}: dd: {}",
                self.name(),
                fill.stderr.trim()
            )))
        }
    }

    /// Frees what [`Node::fill_data_disk`] took.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn free_data_disk(&self) -> Result<()> {
        self.run(&["rm", "-f", "/data/ballast"], Duration::from_secs(30))
            .map(drop)
    }
}

/// A role that was started and has announced itself.
pub(crate) struct Started {
    pub(crate) identity: ProcessId,
    pub(crate) child: std::process::Child,
}

/// Starts this project's program in a role, in namespaces of its own below `keeper`, and waits
/// until it is ready. What it says goes to `console.log` in `dir`.
pub(crate) fn spawn_role(
    keeper: Option<ProcessId>,
    unshare: &[&str],
    role: &[&str],
    dir: &Path,
    stdin: Stdio,
) -> Result<Started> {
    use std::os::unix::process::CommandExt;
    let mut argv: Vec<String> = Vec::new();
    if let Some(keeper) = keeper {
        let pid = keeper.pid.to_string();
        argv.extend(["nsenter", "--target", &pid, "--mount", "--pid", "--"].map(str::to_owned));
    }
    argv.push("unshare".to_owned());
    argv.extend(unshare.iter().map(|word| (*word).to_owned()));
    argv.push("--".to_owned());
    argv.push(crate::binaries::testbed()?.to_string_lossy().into_owned());
    argv.extend(role.iter().map(|word| (*word).to_owned()));
    let console = dir.join("console.log");
    let log = fs::File::create(&console).map_err(Error::io("create", &console))?;
    let errors = log.try_clone().map_err(Error::io("share", &console))?;
    let mut child = std::process::Command::new(&argv[0])
        .args(&argv[1..])
        .process_group(0)
        .stdin(stdin)
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|source| Error::Start {
            place: "host".to_owned(),
            program: argv[0].clone(),
            source,
        })?;
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        if let Some(identity) = Layout::announced(dir).filter(|role| role.alive()) {
            return Ok(Started { identity, child });
        }
        let ended = child.try_wait().map_err(Error::io("wait for", &console))?;
        if ended.is_some() || Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            let said = fs::read_to_string(&console).unwrap_or_default();
            return Err(Error::Asked(format!(
                "`{}` did not get ready: {}",
                role.join(" "),
                said.trim()
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
