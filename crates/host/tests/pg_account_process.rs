//! The process that acts as the account: what it may, and what the account can do to it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Cluster, postgres, run, soon};
use pha_host::account::Kind;
use pha_host::clock::Deadline;
use pha_host::command::Command;
use pha_host::conninfo::Conninfo;
use pha_host::postgres::Postgres;
use pha_host::user::User;
use rustix::fs::{FileType, Mode};
use rustix::process::{Pid, Signal, kill_process};

/// The processes that act as an account for this one.
fn helpers() -> Vec<i32> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_child = status
            .lines()
            .any(|line| line.strip_prefix("PPid:\t") == Some(own.as_str()));
        if is_child && line.windows(14).any(|word| word == b"act-as-account") {
            found.push(pid);
        }
    }
    found
}

/// There is one such process for all tests of this file.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn pg_the_process_that_acts_as_the_account_has_no_right_of_root_and_nothing_of_roots() {
    let _alone = alone();
    let user = postgres();
    let home = user.files().look(user.home()).unwrap().unwrap();
    assert_eq!(home.kind, Kind::Directory);
    let pid = *helpers().first().expect("a process of the account");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let four = |id: u32| {
        [
            id.to_string(),
            id.to_string(),
            id.to_string(),
            id.to_string(),
        ]
        .join(" ")
    };
    assert_eq!(field("Uid:"), four(user.uid()));
    assert_eq!(field("Gid:"), four(user.gid()));
    let mut groups: Vec<String> = user.groups().iter().map(u32::to_string).collect();
    groups.sort_by_key(|group| group.parse::<u32>().unwrap());
    assert_eq!(field("Groups:"), groups.join(" "));
    for rights in ["CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(rights), "0000000000000000", "{rights}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    // Its memory is not the account's to look into.
    assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid(), 0);
    // Nor can it trace it, and stop a thread of it by that: reading this is the same permission (proc(5)).
    let look = Command::new("cat").arg(format!("/proc/{pid}/environ"));
    let refused = look.run_as(&user).run(soon()).unwrap_err().to_string();
    assert!(refused.contains("Permission denied"), "{refused}");
    // Standard streams, and no file of root's.
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.display().to_string();
        let expected = target == "/dev/null" || target.starts_with("socket:");
        assert!(expected, "{target} is open");
    }
}

#[test]
fn pg_a_process_that_the_account_stops_or_kills_keeps_nobody_waiting() {
    let _alone = alone();
    let cluster = Cluster::new("stopped");
    let (user, path) = (postgres(), cluster.ctl.pgdata.join("PG_VERSION"));
    let read = |within: u64| {
        let deadline = Deadline::after(Duration::from_millis(within));
        user.files().within(deadline).read_text(&path)
    };
    assert!(read(5000).unwrap().is_some());
    let signal_all = |signal| {
        for pid in helpers() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
        }
    };
    signal_all(Signal::KILL);
    assert!(read(5000).unwrap().is_some(), "a killed one is replaced");
    signal_all(Signal::STOP);
    let began = Instant::now();
    let error = read(300).unwrap_err().to_string();
    assert!(began.elapsed() < Duration::from_secs(2), "{error}");
    // No second wait for what did not answer a moment ago, and no end to that.
    let began = Instant::now();
    assert!(read(5000).is_err());
    assert!(began.elapsed() < Duration::from_millis(500));
    let deadline = Deadline::after(Duration::from_secs(20));
    while read(5000).is_err() {
        assert!(!deadline.expired(), "the account is never asked again");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn pg_a_process_that_acts_as_the_account_outlives_the_thread_that_needed_it_first() {
    let _alone = alone();
    for pid in helpers() {
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
    let cluster = Cluster::new("threads");
    let (user, directory) = (postgres(), cluster.dir.clone());
    let first = std::thread::scope(|scope| {
        let look = || (user.files().is_there(&directory) == Some(true)).then(helpers);
        scope.spawn(look).join()
    });
    let first = first.unwrap().unwrap();
    assert_eq!(first.len(), 1);
    // A change is not tried a second time, as a look is.
    let path = directory.join("written");
    let _ = user.files().ensure(&path, b"x", 0o600).unwrap();
    assert_eq!(helpers(), first);
}

fn access(cluster: &Cluster) -> Postgres {
    Postgres {
        info: Conninfo::local(cluster.dir.to_str().unwrap(), cluster.port).with_user("postgres"),
        user: postgres(),
    }
}

/// A process of the account that tries without a pause to signal threads of this process.
struct Hunter(Child);

impl Hunter {
    fn new() -> Self {
        let script = "printf begun.; while :; do for task in /proc/$1/task/*; do \
                      kill -0 ${task##*/} 2>&- && echo ${task##*/}; done; done";
        let child = std::process::Command::new("sh")
            .args(["-c", script, "sh", &std::process::id().to_string()])
            .uid(postgres().uid())
            .gid(postgres().gid())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut hunter = Self(child);
        let mut begun = [0; 6];
        let pipe = hunter.0.stdout.as_mut().unwrap();
        pipe.read_exact(&mut begun).unwrap();
        hunter
    }

    /// The threads that it could have stopped, and with each the whole process.
    fn found(mut self) -> BTreeSet<String> {
        self.0.kill().unwrap();
        let mut found = String::new();
        let mut pipe = self.0.stdout.take().unwrap();
        pipe.read_to_string(&mut found).unwrap();
        self.0.wait().unwrap();
        found.lines().map(str::to_owned).collect()
    }
}

#[test]
fn pg_no_thread_of_roots_process_is_ever_the_accounts_to_signal() {
    let _alone = alone();
    let cluster = Cluster::new("hunted");
    cluster.start();
    let local = access(&cluster);
    let hunter = Hunter::new();
    for _ in 0..100 {
        let _ = local.connect(soon()).unwrap();
        assert!(run("pg_controldata", &["--version"]).contains("PostgreSQL"));
    }
    assert_eq!(hunter.found(), BTreeSet::new());
}

/// Stops every child of this process that is the account, again and again, as the account may.
struct Stopper {
    over: Arc<AtomicBool>,
    stopped: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Stopper {
    fn new() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stopped = Arc::new(AtomicUsize::new(0));
        let (seen, count) = (Arc::clone(&over), Arc::clone(&stopped));
        let (uid, own) = (postgres().uid(), std::process::id());
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                for pid in children(own) {
                    let owner = fs::metadata(format!("/proc/{pid}")).map(|meta| meta.uid());
                    let status = fs::read_to_string(format!("/proc/{pid}/status"));
                    let is = format!("Uid:\t{uid}\t");
                    if owner.is_ok() && status.is_ok_and(|status| status.contains(&is)) {
                        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Self {
            over,
            stopped,
            thread: Some(thread),
        }
    }

    fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn children(of: u32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task")).unwrap().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let words = lists.collect::<Vec<_>>().join(" ");
    words
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[test]
fn pg_what_the_account_stops_in_its_name_ends_at_the_deadline() {
    let _alone = alone();
    let cluster = Cluster::new("all-stopped");
    cluster.start();
    let local = access(&cluster);
    let stopper = Stopper::new();
    let (mut rounds, until) = (0, Deadline::after(Duration::from_secs(60)));
    while rounds < 10 || stopper.stopped.load(Ordering::Relaxed) < 3 {
        assert!(!until.expired(), "nothing of the account was ever stopped");
        rounds += 1;
        let began = Instant::now();
        let deadline = Deadline::after(Duration::from_millis(300));
        let _ = local.connect(deadline);
        let _ = Command::new("/bin/true").run_as(&local.user).run(deadline);
        let _ = local.user.files().within(deadline).is_there(&cluster.dir);
        // What is ended by force gets half a second to go, twice.
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
    stopper.end();
    // Left alone, all of it works again.
    let deadline = Deadline::after(Duration::from_secs(60));
    // One that was stopped last is waited for, to the deadline, once more.
    let step = || Deadline::after(Duration::from_secs(3));
    let works = || {
        let files = local.user.files().within(step());
        local.connect(step()).is_ok() && files.is_there(&cluster.dir) == Some(true)
    };
    while !works() {
        assert!(!deadline.expired(), "the account is never asked again");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn pg_a_program_of_the_account_has_its_groups_its_home_and_no_right_of_root() {
    let user = postgres();
    let script =
        "id -u; id -g; id -G; id -nu; echo $HOME; pwd; grep -E '^Cap(Prm|Eff)' /proc/self/status";
    let output = Command::new("sh")
        .args(["-c", script])
        .run_as(&user)
        .run(soon())
        .unwrap();
    let lines: Vec<String> = output.text().lines().map(str::to_owned).collect();
    let ids = |text: &str| {
        let ids = text.split(' ').map(|id| id.parse().unwrap());
        ids.collect::<BTreeSet<u32>>()
    };
    assert_eq!(lines[0], user.uid().to_string());
    assert_eq!(lines[1], user.gid().to_string());
    assert_eq!(ids(&lines[2]), user.groups().iter().copied().collect());
    assert_eq!(
        lines[3..6],
        ["postgres", user.home().to_str().unwrap(), "/"]
    );
    assert!(
        lines[6..]
            .iter()
            .all(|line| line.ends_with("\t0000000000000000")),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 8);
}

#[test]
fn pg_a_program_that_the_account_cannot_start_says_why() {
    let dir = std::env::temp_dir().join(format!("pha-interpreter-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("script");
    fs::write(&path, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Command::new(&path).run_as(&postgres()).run(soon());
    fs::remove_dir_all(&dir).unwrap();
    let error = error.unwrap_err();
    assert_eq!(error.status(), Some(126));
    let text = error.to_string();
    assert!(
        text.contains("could not be started: No such file"),
        "{text}"
    );
}

/// What is at these paths is the account's to choose, and the agent reads them when it connects.
#[test]
fn pg_a_fifo_or_a_device_in_the_place_of_a_secret_keeps_nobody_waiting() {
    let _alone = alone();
    let cluster = Cluster::new("secrets");
    cluster.start();
    let user = postgres();
    let fifo = cluster.dir.join("fifo");
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
    chown(&fifo, Some(user.uid()), None).unwrap();
    for path in [
        fifo.as_path(),
        Path::new("/dev/zero"),
        Path::new("/dev/tty"),
    ] {
        let local = |text: &str| {
            let path = path.display();
            let text = format!(
                "host=127.0.0.1 port={} user=postgres {}",
                cluster.port,
                text.replace('@', &path.to_string())
            );
            let info: Conninfo = text.parse().unwrap();
            Postgres {
                info,
                user: user.clone(),
            }
        };
        for text in [
            "sslmode=verify-ca sslrootcert=@",
            "sslmode=require sslcert=@ sslkey=@",
            "sslmode=verify-ca sslrootcert=/etc/ssl/certs/ca-certificates.crt sslcrl=@",
        ] {
            for postgres in [
                local(text),
                Postgres {
                    user: User::current().unwrap(),
                    ..local(text)
                },
            ] {
                let began = Instant::now();
                let error = postgres.connect(soon()).err().unwrap().to_string();
                assert!(error.contains("not a regular file"), "{text}: {error}");
                assert!(began.elapsed() < Duration::from_secs(5), "{text}: {error}");
            }
        }
        // As libpq, it goes on without the password.
        let socket = cluster.dir.display();
        let began = Instant::now();
        let text = format!(
            "host={socket} port={} user=postgres passfile={}",
            cluster.port,
            path.display()
        );
        let postgres = Postgres {
            info: text.parse().unwrap(),
            user: user.clone(),
        };
        drop(postgres.connect(soon()).unwrap());
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
