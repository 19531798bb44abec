//! The agent as Pacemaker starts it: the real `expgsql`, an action as its argument, everything
//! else in the environment; with a data directory of its own and a cluster that is played by
//! shims (`agent_shim.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::pg::{self, Result, Server};

/// Pacemaker's tools that the shims play.
pub const TOOLS: [&str; 4] = ["cibadmin", "crm_attribute", "attrd_updater", "crmadmin"];

/// PostgreSQL's programs that are recorded, and on demand broken.
const PROGRAMS: [&str; 4] = ["pg_ctl", "postgres", "pg_controldata", "pg_waldump"];

/// What a failing Pacemaker tool says (2.1.5, without a cluster).
pub const NO_CLUSTER: &str =
    "fail 102 Could not connect to the CIB: Transport endpoint is not connected";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A freshly made data directory from which each test's is copied: initdb costs a second.
struct Template(PathBuf);

static TEMPLATE: Mutex<Weak<Template>> = Mutex::new(Weak::new());

impl Drop for Template {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn template() -> Result<Arc<Template>> {
    let mut shared = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(template) = shared.upgrade() {
        return Ok(template);
    }
    let dir = fresh_directory("tpl")?;
    give(&dir)?;
    let data = dir.join("data");
    let made = Arc::new(Template(dir));
    pg::run(
        &pg::bin_directory()?.join("initdb"),
        &[
            "-D",
            &data.to_string_lossy(),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        ],
    )?;
    *shared = Arc::downgrade(&made);
    Ok(made)
}

fn fresh_directory(what: &str) -> Result<PathBuf> {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // Short, because a socket's path has at most 107 bytes.
    let dir = std::env::temp_dir().join(format!("pha-{what}-{}-{number}", std::process::id()));
    fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).map_err(text)?;
    Ok(dir)
}

/// Gives a file or directory to the account that PostgreSQL runs as.
///
/// # Errors
/// When this is not root, or there is no such account.
pub fn give(path: &Path) -> Result<()> {
    let (uid, gid) = postgres_account()?;
    lchown(path, Some(uid), Some(gid)).map_err(|error| format!("{}: {error}", path.display()))
}

fn postgres_account() -> Result<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").map_err(text)?;
    let line = passwd
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .ok_or("there is no user postgres; run apt-get install postgresql")?;
    let mut fields = line.split(':').skip(2);
    let mut number = || fields.next().and_then(|field| field.parse().ok());
    number()
        .zip(number())
        .ok_or_else(|| format!("/etc/passwd: {line}"))
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

/// The program under test, built from this source: Cargo does not build it for these tests by itself.
///
/// # Errors
/// What Cargo said.
pub fn expgsql() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("PHA_BIN_DIR") {
        return Ok(Path::new(&dir).join("expgsql"));
    }
    let directory = programs()?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", "expgsql", "--target-dir"]);
        command.arg(directory.parent().ok_or("no target directory")?);
        if directory.ends_with("release") {
            command.arg("--release");
        }
        let output = command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .map_err(text)?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
    }
    Ok(directory.join("expgsql"))
}

/// Copies a directory, or a program that is to be executed, by a process of its own: what another test forks
/// meanwhile would keep a file open for writing that was written here, and such a file is not executed
/// (ETXTBSY).
///
/// # Errors
/// What could not be copied.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    match status.map_err(text)? {
        status if status.success() => Ok(()),
        status => Err(format!("cp -a {}: {status}", from.display())),
    }
}

/// `TARGET/PROFILE`, where this test lies in `deps`.
fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(text)?;
    let directory = own.parent().and_then(Path::parent);
    directory
        .map(Path::to_owned)
        .ok_or_else(|| own.display().to_string())
}

/// A node with its own data directory, cluster and state. Everything of it goes when it is dropped.
pub struct World {
    /// Where all of it lies.
    pub dir: PathBuf,
    /// Parameters, without `OCF_RESKEY_`.
    pub params: BTreeMap<String, String>,
    /// This node's name.
    pub node: String,
    /// Further variables of every call.
    pub env: BTreeMap<String, String>,
    _template: Option<Arc<Template>>,
}

impl World {
    /// A node without a data directory, in a cluster with a second node, both online.
    ///
    /// # Errors
    /// What could not be made.
    pub fn empty() -> Result<Self> {
        let dir = fresh_directory("ag")?;
        for (name, mode) in [
            ("bin", 0o755),
            ("pgbin", 0o755),
            ("fault", 0o755),
            ("calls", 0o777),
            ("cluster", 0o755),
            ("cluster/nodes", 0o755),
            ("state", 0o700),
            ("run", 0o755),
            ("pg", 0o755),
            ("tmp", 0o755),
        ] {
            let path = dir.join(name);
            fs::create_dir(&path).map_err(text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(text)?;
        }
        give(&dir.join("pg"))?;
        give(&dir.join("tmp"))?;
        // A copy, because the target directory need not be open to the account of PostgreSQL.
        let shim = dir.join("shim");
        copy(&programs()?.join("pha-shim"), &shim)?;
        for tool in TOOLS {
            symlink(&shim, dir.join("bin").join(tool)).map_err(text)?;
        }
        for program in PROGRAMS {
            symlink(&shim, dir.join("pgbin").join(program)).map_err(text)?;
        }
        let real = pg::bin_directory()?;
        fs::write(dir.join("real"), real.as_os_str().as_encoded_bytes()).map_err(text)?;
        let mut world = Self {
            dir,
            params: BTreeMap::new(),
            node: "node1".to_owned(),
            env: BTreeMap::new(),
            _template: None,
        };
        for node in ["node1", "node2"] {
            world.member(node, true)?;
        }
        let own = |name: &str| world.dir.join(name).to_string_lossy().into_owned();
        let params = [
            ("pgctl", own("pgbin/pg_ctl")),
            ("psql", real.join("psql").to_string_lossy().into_owned()),
            ("pgdata", own("pg/data")),
            ("logfile", own("pg/log")),
            ("tmpdir", own("tmp")),
            ("socketdir", own("pg")),
        ];
        world.params = params
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Ok(world)
    }

    /// A node with a data directory that nothing runs on.
    ///
    /// # Errors
    /// What could not be made.
    pub fn new() -> Result<Self> {
        let mut world = Self::empty()?;
        let template = template()?;
        copy(&template.0.join("data"), &world.data())?;
        world.configure(&[
            "listen_addresses = ''",
            &format!(
                "unix_socket_directories = '{}'",
                world.dir.join("pg").display()
            ),
            "fsync = off",
            "shared_buffers = 16MB",
            "dynamic_shared_memory_type = mmap",
        ])?;
        world._template = Some(template);
        Ok(world)
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("pg/data")
    }

    /// Appends lines to postgresql.conf.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, lines: &[&str]) -> Result<()> {
        self.append("postgresql.conf", lines)
    }

    /// Appends lines to a file of the data directory, which belongs to PostgreSQL's account.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&self, name: &str, lines: &[&str]) -> Result<()> {
        let path = self.data().join(name);
        let mut content = fs::read_to_string(&path).unwrap_or_default();
        for line in lines {
            content.push_str(line);
            content.push('\n');
        }
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
        give(&path)
    }

    /// Sets a parameter.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }

    /// The parameters of a replicated node: two nodes, an address that nobody listens on.
    pub fn replicated(&mut self, mode: &str) -> &mut Self {
        self.set("rep_mode", mode)
            .set("node_list", "node1 node2")
            .set("master_ip", "127.0.0.1")
    }

    /// The built-in lock service of that server, with a lock of this world's own.
    ///
    /// # Errors
    /// What psql said.
    pub fn with_lock_of(&mut self, server: &Server) -> Result<String> {
        let name = format!(
            "w{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        self.set("enable_distlock", "true")
            .set("distlock_conninfo", server.conninfo())
            .set("distlock_lockname", format!("distlock:{name}"));
        Ok(name)
    }

    /// Makes a node a member of the cluster, or one that has left.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn member(&self, node: &str, online: bool) -> Result<()> {
        let path = self.dir.join("cluster/nodes").join(node);
        fs::write(path, if online { "online" } else { "offline" }).map_err(text)
    }

    /// Makes a tool misbehave as `agent_shim.rs` says; `None` makes it work again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn fault(&self, tools: &[&str], fault: Option<&str>) -> Result<()> {
        for tool in tools {
            let path = self.dir.join("fault").join(tool);
            match fault {
                Some(fault) => fs::write(path, fault).map_err(text)?,
                None => drop(fs::remove_file(path)),
            }
        }
        Ok(())
    }

    /// Puts an attribute of a node (or a property) where another node's agent would have.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, place: &str, value: &str) -> Result<()> {
        let path = self.dir.join("cluster").join(place);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(text)?;
        }
        fs::write(path, value).map_err(text)
    }

    /// An attribute or a property as the cluster has it now.
    #[must_use]
    pub fn get(&self, place: &str) -> Option<String> {
        fs::read_to_string(self.dir.join("cluster").join(place)).ok()
    }

    /// What the recorded calls of tools and programs looked like, one text per call.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn calls(&self) -> Result<Vec<String>> {
        fs::read_dir(self.dir.join("calls"))
            .map_err(text)?
            .flatten()
            .map(|entry| fs::read_to_string(entry.path()).map_err(text))
            .collect()
    }

    /// Starts to describe a call of the agent.
    #[must_use]
    pub fn call(&self, action: &str) -> Call<'_> {
        Call {
            world: self,
            action: action.to_owned(),
            timeout: Duration::from_secs(20),
            env: BTreeMap::new(),
        }
    }

    /// A recurring monitor.
    #[must_use]
    pub fn monitor(&self) -> Call<'_> {
        self.call("monitor").meta("interval", "10000")
    }

    /// A notification.
    #[must_use]
    pub fn notify(&self, when: &str, operation: &str, node: &str) -> Call<'_> {
        let mut call = self
            .call("notify")
            .meta("notify_type", when)
            .meta("notify_operation", operation);
        for list in ["start", "stop", "promote", "demote"] {
            let nodes = if list == operation { node } else { " " };
            call = call.meta(&format!("notify_{list}_uname"), nodes);
        }
        call
    }

    /// Runs SQL by the socket and returns psql's bare output.
    ///
    /// # Errors
    /// What psql said.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let directory = self.dir.join("pg");
        pg::run(
            &pg::bin_directory()?.join("psql"),
            &[
                "-X",
                "-At",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &directory.to_string_lossy(),
                "-p",
                self.params.get("pgport").map_or("5432", String::as_str),
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-c",
                sql,
            ],
        )
        .map(|output| output.trim_end().to_owned())
    }

    /// The postmaster's process number, if its file names one.
    #[must_use]
    pub fn postmaster(&self) -> Option<i32> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// The guard that runs beside the primary, if one does.
    #[must_use]
    pub fn guard(&self) -> Option<i32> {
        let line = fs::read_to_string(self.dir.join("run/pgsql.guard")).ok()?;
        let pid: i32 = line.split(' ').next()?.parse().ok()?;
        // A zombie is no guard: nobody reaps it here, because its agent has ended.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let alive = stat.rsplit_once(") ")?.1.chars().next()? != 'Z';
        let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        (alive && arguments.ends_with("\0guard\0")).then_some(pid)
    }

    /// The server processes of the data directory, as the kernel shows them.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let Ok(home) = fs::metadata(self.data()) else {
            return vec![];
        };
        let is_ours = |pid: &i32| {
            let postgres = fs::read_link(format!("/proc/{pid}/exe"))
                .is_ok_and(|exe| exe.file_name().is_some_and(|name| name == "postgres"));
            postgres
                && fs::metadata(format!("/proc/{pid}/cwd"))
                    .is_ok_and(|cwd| (cwd.dev(), cwd.ino()) == (home.dev(), home.ino()))
        };
        fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(is_ours)
            .collect()
    }

    /// Sends a signal to every server process of the data directory.
    pub fn signal(&self, signal: Signal) {
        for pid in self.processes() {
            send(pid, signal);
        }
    }

    /// Ends every server process as a crash does, and waits for the end: the kernel ends a process
    /// some time after the signal. Whether all are gone.
    pub fn crash(&self) -> bool {
        pg::eventually(Duration::from_secs(10), || {
            self.signal(Signal::KILL);
            self.processes().is_empty()
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(guard) = self.guard() {
            send(guard, Signal::KILL);
        }
        self.crash();
        if std::thread::panicking() && std::env::var_os("PHA_KEEP").is_some() {
            return;
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Sends a signal to one process.
pub fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // One that has just ended is as good as signalled.
        let _ = kill_process(pid, signal);
    }
}

/// How the agent is started.
enum Begun<'a> {
    /// As Pacemaker does it: by its caller.
    ByCaller,
    /// By what this script of a shell starts, which is the first of a session.
    ByScript(&'a str),
}

/// One call of the agent.
pub struct Call<'a> {
    world: &'a World,
    action: String,
    timeout: Duration,
    env: BTreeMap<String, String>,
}

impl Call<'_> {
    /// Pacemaker's timeout for it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A variable `OCF_RESKEY_CRM_meta_<name>`.
    #[must_use]
    pub fn meta(self, name: &str, value: &str) -> Self {
        self.env(&format!("OCF_RESKEY_CRM_meta_{name}"), value)
    }

    /// A variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts the agent and does not wait.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(&self) -> Child {
        self.begin(&Begun::ByCaller)
    }

    /// Has a process in a session of its own start another one, which is to wait for a line; once the first has
    /// ended, the other one does `then` with the agent as `"$0"` and the action as `"$1"`. What all of them wrote.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn when_the_first_has_ended(&self, then: &str) -> String {
        let script = format!("exec 3<&0; sh -c 'read go; {then}' \"$0\" \"$1\" <&3 &");
        let mut child = self.begin(&Begun::ByScript(&script));
        let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
        let stdin = child.stdin.take();
        let status = child.wait().unwrap_or_else(|error| panic!("{error}"));
        assert!(status.success(), "setsid: {status}");
        let gone = stdin.map(|mut stdin| stdin.write_all(b"\n"));
        assert!(matches!(gone, Some(Ok(()))), "{gone:?}");
        [stdout, stderr]
            .map(|written| written.join().unwrap_or_default())
            .concat()
    }

    fn begin(&self, begun: &Begun<'_>) -> Child {
        let world = self.world;
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            world.dir.join("bin").display()
        );
        let program = expgsql().unwrap_or_else(|error| panic!("{error}"));
        let mut command = match begun {
            Begun::ByCaller => Command::new(program),
            Begun::ByScript(script) => {
                let mut command = Command::new("setsid");
                command.args(["--fork", "--wait", "sh", "-c", script]);
                command.arg(program);
                command
            }
        };
        command
            .arg(&self.action)
            .env_clear()
            .env("PATH", path)
            .env("OCF_ROOT", "/usr/lib/ocf")
            .env("OCF_RESOURCE_INSTANCE", "pgsql")
            .env("OCF_RESOURCE_TYPE", "expgsql")
            .env("OCF_RESOURCE_PROVIDER", "heartbeat")
            .env("OCF_RA_VERSION_MAJOR", "1")
            .env("OCF_RA_VERSION_MINOR", "1")
            .env("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:")
            .env("OCF_RESKEY_crm_feature_set", "3.16.1")
            .env("OCF_RESKEY_CRM_meta_on_node", &world.node)
            .env(
                "OCF_RESKEY_CRM_meta_timeout",
                self.timeout.as_millis().to_string(),
            )
            .env("PHA_SHIM", &world.dir)
            .env("PHA_STATE_DIR", world.dir.join("state"))
            .env("PHA_RUN_DIR", world.dir.join("run"))
            .current_dir("/")
            .stdin(match begun {
                Begun::ByCaller => Stdio::null(),
                Begun::ByScript(_) => Stdio::piped(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in &world.params {
            command.env(format!("OCF_RESKEY_{name}"), value);
        }
        command.envs(&world.env).envs(&self.env);
        use std::os::unix::process::CommandExt;
        command.process_group(0);
        command.spawn().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs the agent as Pacemaker does: one that has not answered after its timeout is killed.
    ///
    /// # Panics
    /// When it has not answered in time, was ended by a signal, or broke a rule that every answer
    /// keeps: a code of OCF, and exactly one reason for a failure.
    #[must_use]
    pub fn run(&self) -> Outcome {
        if let Err(error) = expgsql() {
            panic!("{error}");
        }
        let began = Instant::now();
        let mut child = self.spawn();
        let stdout = reader(child.stdout.take());
        let stderr = reader(child.stderr.take());
        let mut status = None;
        pg::eventually(self.timeout, || {
            status = child.try_wait().unwrap_or(None);
            status.is_some()
        });
        let took = began.elapsed();
        let Some(status) = status else {
            if let Ok(Some(group)) = i32::try_from(child.id()).map(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait();
            let words = stderr.join().unwrap_or_default();
            panic!(
                "{} did not answer within {:?}:\n{words}",
                self.action, self.timeout
            );
        };
        let outcome = Outcome {
            code: status.code(),
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
            took,
        };
        outcome.check(&self.action);
        outcome
    }
}

fn reader(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The agent's answer.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// The lines that Pacemaker takes for the reason of a failure.
    #[must_use]
    pub fn reasons(&self) -> Vec<&str> {
        self.stderr
            .lines()
            .filter_map(|line| line.strip_prefix("ocf-exit-reason:"))
            .collect()
    }

    /// The only reason, or nothing.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.reasons().first().copied().unwrap_or_default()
    }

    /// What every answer keeps to.
    fn check(&self, action: &str) {
        let code = self
            .code
            .unwrap_or_else(|| panic!("{action} was ended by a signal: {self:?}"));
        assert!(
            (0..=9).contains(&code) || [190, 191].contains(&code),
            "{action}: {code} is no code of OCF: {self:?}"
        );
        assert!(
            !self.stderr.contains("panicked at"),
            "{action} panicked: {self:?}"
        );
        match code {
            0 | 8 => assert!(
                self.reasons().is_empty(),
                "{action}: a reason without a failure: {self:?}"
            ),
            // A probe's "not running" is no failure.
            7 => assert!(self.reasons().len() <= 1, "{action}: {self:?}"),
            _ => assert_eq!(
                self.reasons().len(),
                1,
                "{action}: exactly one reason is due: {self:?}"
            ),
        }
        assert!(
            self.reasons()
                .iter()
                .all(|reason| !reason.trim().is_empty()),
            "{action}: an empty reason: {self:?}"
        );
    }

    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another one.
    #[track_caller]
    pub fn is(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Checks that the reason contains a text.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn because(self, part: &str) -> Self {
        assert!(
            self.reason().contains(part),
            "the reason does not contain {part:?}: {self:#?}"
        );
        self
    }
}

/// What one of the cases that run side by side does.
pub type Case<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Runs cases side by side: they wait more than they work.
///
/// # Panics
/// With the names of those that failed.
pub fn together<'a>(cases: Vec<(&'a str, Case<'a>)>) {
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let running: Vec<_> = cases
            .into_iter()
            .map(|(name, case)| (name, scope.spawn(case)))
            .collect();
        running
            .into_iter()
            .filter_map(|(name, case)| case.join().is_err().then_some(name))
            .collect()
    });
    assert!(failed.is_empty(), "failed: {failed:?}");
}
