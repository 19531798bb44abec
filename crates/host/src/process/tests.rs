#![allow(clippy::unwrap_used)]

use super::*;
use std::process::{Child, Command, Stdio};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pha-process-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A program named `postgres` that sleeps.
    fn server(&self) -> Command {
        let program = self.0.join("postgres");
        if !program.exists() {
            // By a process of its own: a fork of another test would keep it open for writing.
            let copied = Command::new("cp").arg("/bin/sleep").arg(&program).status();
            assert!(copied.unwrap().success());
        }
        let mut server = Command::new(program);
        server.arg("600").stdin(Stdio::null());
        server
    }

    /// The same in a directory, where every process of a server works.
    fn server_in(&self, cwd: &Path) -> Reaped {
        Reaped(self.server().current_dir(cwd).spawn().unwrap())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Reaped(Child);

impl Reaped {
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn me() -> User {
    User::current().unwrap()
}

fn postmaster(pgdata: &Path) -> Result<Postmaster, ProcessError> {
    Postmaster::of(pgdata, &me())
}

fn servers(pgdata: &Path) -> Vec<Process> {
    server_processes(pgdata, &me()).unwrap()
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn write_pid(dir: &Path, text: &str) {
    std::fs::write(dir.join("postmaster.pid"), text).unwrap();
}

#[test]
fn a_full_pid_file_is_read() {
    let text = "4711\n/pg data\n1700000000\n5433\n/run/pg\nlocalhost\n  5433001    42\nstandby \n";
    let file = PidFile::parse(text).unwrap();
    assert_eq!(
        (file.pid, file.port, file.status),
        (4711, Some(5433), Some(PmStatus::Standby))
    );
    assert_eq!(file.data_dir.as_deref(), Some(Path::new("/pg data")));
    assert_eq!(file.socket_dir.as_deref(), Some(Path::new("/run/pg")));
    assert_eq!(file.start_time, Some(1_700_000_000));
}

#[test]
fn empty_lines_keep_their_place() {
    let file = PidFile::parse("4711\n/pg\n1700000000\n5433\n\n\n  1 2\nready   \n").unwrap();
    assert_eq!(
        (file.socket_dir, file.status),
        (None, Some(PmStatus::Ready))
    );
}

#[test]
fn a_starting_servers_file_has_fewer_lines() {
    let file = PidFile::parse("4711\n/pg\n1700000000\n5433\n\n").unwrap();
    assert_eq!(
        (file.port, file.socket_dir, file.status),
        (Some(5433), None, None)
    );
}

#[test]
fn a_standalone_backend_has_a_negative_number() {
    assert_eq!(PidFile::parse("-4711\n/pg\n").unwrap().pid, 4711);
}

#[test]
fn other_first_lines_are_refused() {
    for text in ["", "x", "0", "-2147483648", "4711 4712", "99999999999"] {
        assert_eq!(PidFile::parse(text), None, "{text}");
    }
}

#[test]
fn an_unreadable_pid_file_is_quoted_and_an_empty_one_names_nobody() {
    let dir = Dir::new("bad");
    write_pid(&dir.0, "not a number\n");
    assert!(
        postmaster(&dir.0)
            .unwrap_err()
            .to_string()
            .contains("\"not a number\"")
    );
    write_pid(&dir.0, "");
    let empty = Postmaster::Stale {
        pid: 0,
        why: "it is empty".to_owned(),
    };
    assert_eq!(postmaster(&dir.0).unwrap(), empty);
}

#[test]
fn no_file_no_directory_no_postmaster() {
    let dir = Dir::new("none");
    assert_eq!(postmaster(&dir.0).unwrap(), Postmaster::Absent);
    assert_eq!(postmaster(&dir.0.join("gone")).unwrap(), Postmaster::Absent);
    assert_eq!(servers(&dir.0.join("gone")), []);
}

#[test]
fn a_server_of_another_account_in_this_directory_is_neither_ours_nor_gone() {
    use std::os::unix::process::CommandExt as _;
    let dir = Dir::new("foreign");
    let uid = User::lookup("nobody").unwrap().uid();
    let server = Reaped(dir.server().current_dir(&dir.0).uid(uid).spawn().unwrap());
    write_pid(&dir.0, &format!("{}\n", server.pid()));
    let seen = postmaster(&dir.0);
    assert!(
        matches!(seen, Err(ProcessError::OtherAccount { uid: of, .. }) if of == uid),
        "{seen:?}"
    );
    assert_eq!(servers(&dir.0), []);
}

#[test]
fn a_reused_number_is_stale_and_the_other_process_lives_on() {
    let dir = Dir::new("reused");
    let other = Reaped(
        Command::new("sleep")
            .arg("600")
            .current_dir(&dir.0)
            .spawn()
            .unwrap(),
    );
    write_pid(&dir.0, &format!("{}\n", other.pid()));
    let Postmaster::Stale { pid, why } = postmaster(&dir.0).unwrap() else {
        panic!()
    };
    assert_eq!((pid, why.as_str()), (other.pid(), "that process is sleep"));
    assert_eq!(kill_everything(&dir.0, &me(), soon()).unwrap(), []);
    assert!(Process::of(other.pid()).is_some());
}

#[test]
fn a_number_that_nobody_has_is_stale() {
    let dir = Dir::new("free");
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    write_pid(&dir.0, &format!("{}\n", child.id()));
    assert!(matches!(
        postmaster(&dir.0).unwrap(),
        Postmaster::Stale { .. }
    ));
}

#[test]
fn a_postgres_of_another_directory_is_stale() {
    let (dir, other) = (Dir::new("mine"), Dir::new("theirs"));
    let server = dir.server_in(&other.0);
    write_pid(&dir.0, &format!("{}\n", server.pid()));
    assert!(matches!(
        postmaster(&dir.0).unwrap(),
        Postmaster::Stale { .. }
    ));
    assert_eq!(kill_everything(&dir.0, &me(), soon()).unwrap(), []);
    assert!(Process::of(server.pid()).is_some());
}

#[test]
fn servers_are_found_through_links_and_without_their_pid_file() {
    let dir = Dir::new("found");
    let link = dir.0.join("link");
    let data = dir.0.join("data");
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::symlink(&data, &link).unwrap();
    let server = dir.server_in(&data);
    wait_for_name(server.pid());
    let found = servers(&link);
    assert_eq!(
        found
            .iter()
            .map(|process| process.pid())
            .collect::<Vec<_>>(),
        [server.pid()]
    );
    write_pid(&data, &format!("{}\n/x\n", server.pid()));
    assert!(matches!(
        postmaster(&link).unwrap(),
        Postmaster::Alive {
            state: 'S' | 'R',
            ..
        }
    ));
    std::fs::remove_dir_all(&data).unwrap();
    assert_eq!(
        servers(&data).len(),
        1,
        "the directory was removed under it"
    );
}

#[test]
fn everything_is_killed_and_seen_gone() {
    let dir = Dir::new("kill");
    let started = [dir.server_in(&dir.0), dir.server_in(&dir.0)];
    started
        .iter()
        .for_each(|server| wait_for_name(server.pid()));
    assert_eq!(servers(&dir.0).len(), 2);
    assert_eq!(kill_everything(&dir.0, &me(), soon()).unwrap(), []);
    assert!(
        started
            .iter()
            .all(|server| Process::of(server.pid()).is_none())
    );
}

/// Another server of the account whose directory does not answer.
#[test]
fn what_cannot_be_looked_at_keeps_nobody_from_being_killed() {
    let dir = Dir::new("unclear");
    let server = dir.server_in(&dir.0);
    wait_for_name(server.pid());
    let look = || {
        Ok(Family {
            unclear: Some(ProcessError::unclear(std::process::id().cast_signed())),
            ..family(&dir.0, &me())?
        })
    };
    assert!(look().unwrap().whole().is_err());
    let killed = kill_seen(look, soon());
    assert!(Process::of(server.pid()).is_none());
    let error = killed.unwrap_err().to_string();
    let here = std::env::current_dir().unwrap();
    let named = format!("which works in {},", here.display());
    assert!(error.contains(&named), "{error}");
}

#[test]
fn a_stopped_process_is_alive_and_can_be_killed() {
    let dir = Dir::new("stopped");
    let server = dir.server_in(&dir.0);
    wait_for_name(server.pid());
    write_pid(&dir.0, &format!("{}\n", server.pid()));
    let process = Process::of(server.pid()).unwrap();
    assert!(process.signal(Signal::STOP).unwrap());
    let until = soon();
    while !matches!(
        postmaster(&dir.0).unwrap(),
        Postmaster::Alive { state: 'T', .. }
    ) {
        assert!(!until.expired());
    }
    assert!(!process.wait_gone(Deadline::after(Duration::from_millis(20))));
    assert!(process.signal(Signal::KILL).unwrap());
    assert!(process.wait_gone(soon()));
    assert!(!process.signal(Signal::KILL).unwrap());
}

#[test]
fn a_process_of_another_start_is_not_signalled() {
    let other = Reaped(Command::new("sleep").arg("600").spawn().unwrap());
    let process = Process::of(other.pid()).unwrap();
    let predecessor = Process {
        started: process.started - 1,
        ..process
    };
    assert!(!predecessor.signal(Signal::KILL).unwrap());
    assert!(process.is_alive());
}

#[test]
fn a_name_with_parentheses_does_not_confuse_the_fields() {
    let numbers = (5..=22)
        .map(|field| field.to_string())
        .collect::<Vec<_>>()
        .join(" ");
    let stat = Stat::parse(&format!("1 (a) Z (b)) S 7 {numbers} 23")).unwrap();
    assert_eq!(
        (stat.name.as_str(), stat.state, stat.parent, stat.started),
        ("a) Z (b)", 'S', 7, 22)
    );
}

#[test]
fn a_status_without_user_ids_is_no_account() {
    let ids = |text| kin::user_ids(text);
    assert_eq!(
        ids("Name:\ta\nUid:\t26\t0\t26\t26\n"),
        Some(vec![26, 0, 26, 26])
    );
    for text in ["", "Name:\ta\n", "Uid:\n", "Uid:\t26\tx\t26\t26\n"] {
        assert_eq!(ids(text), None, "{text:?}");
    }
    let own = kin::account_of(std::process::id().cast_signed()).unwrap();
    assert_eq!(own, Some(me().uid()));
}

#[test]
fn going_to_sleep_is_counted() {
    let before = voluntary_switches(std::process::id().cast_signed()).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    // The main thread's count may stand still while this one sleeps, but it is readable.
    assert!(voluntary_switches(std::process::id().cast_signed()).unwrap() >= before);
    assert_eq!(voluntary_switches(i32::MAX), None);
}

/// A child is a copy of this program until it has executed its own.
fn wait_for_name(pid: i32) {
    let until = soon();
    while kin::is_postgres(pid).unwrap() != Some(true) {
        assert!(!until.expired());
    }
}

#[test]
fn copies_are_found_by_their_program_and_the_directory_that_they_write() {
    let dir = Dir::new("copies");
    let pgdata = dir.0.join("data");
    let started = |name: &str, word: String| {
        let program = dir.0.join(name);
        // A program of any name that sleeps, and has words that its shell does not look at.
        if !program.exists() {
            std::fs::copy("/bin/bash", &program).unwrap();
        }
        let mut command = Command::new(&program);
        command.args(["-c", "read -t 600 <> <(:)", "copy", &word]);
        Reaped(command.stdin(Stdio::null()).spawn().unwrap())
    };
    let word = |option: &str| format!("{option}={}", pgdata.display());
    let copies = [
        started("pg_basebackup", word("--pgdata")),
        started("pg_rewind", word("--target-pgdata")),
    ];
    let others = [
        started("pg_basebackup", format!("{}.old", word("--pgdata"))),
        started("pg_dump", word("--pgdata")),
    ];
    let mut expected: Vec<i32> = copies.iter().map(Reaped::pid).collect();
    expected.sort_unstable();
    let mut found = Vec::new();
    for _ in 0..1000 {
        found = copies_into(&pgdata, me().uid()).unwrap();
        if found.len() == 2 {
            break;
        }
        // The program is not yet the one that it was started as.
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut found: Vec<i32> = found.into_iter().map(Process::pid).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    drop((copies, others));
    assert_eq!(copies_into(&pgdata, me().uid()).unwrap(), []);
}

#[test]
fn a_process_of_a_server_that_has_changed_its_directory_is_of_it_all_the_same() {
    let dir = Dir::new("moved");
    let (data, fifo) = (dir.0.join("data"), dir.0.join("fifo"));
    std::fs::create_dir(&data).unwrap();
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let program = dir.0.join("postgres");
    std::fs::copy("/bin/bash", &program).unwrap();
    // One that is forked, one that runs the same file anew, and one that the server only starts.
    let script = format!(
        "(cd / && read -t 60 <> {0}; :) & (cd / && exec \"$0\" -c 'read -t 60 <> {0}; :') & sleep 60 & wait",
        fifo.display()
    );
    let mut command = Command::new(&program);
    command.args(["-c", &script]).arg(&program);
    let server = Reaped(command.current_dir(&data).spawn().unwrap());
    // Each child runs the server's own file before it becomes what it is started as.
    let sleeps = || {
        let children = format!("/proc/{0}/task/{0}/children", server.pid());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let mut names = children
            .split_whitespace()
            .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default());
        names.any(|name| name.trim() == "sleep")
    };
    let until = soon();
    while !sleeps() || servers(&data).len() != 3 {
        assert!(!until.expired(), "{:?}", servers(&data));
        std::thread::sleep(Duration::from_millis(5));
    }
    // Another server of the same account, which runs the same file, is no relative.
    let mut command = Command::new(&program);
    command.args(["-c", &format!("read -t 60 <> {}; :", fifo.display())]);
    let elsewhere = Reaped(command.current_dir(&dir.0).spawn().unwrap());
    wait_for_name(elsewhere.pid());
    assert_eq!(servers(&data).len(), 3);
    assert_eq!(kill_everything(&data, &me(), soon()).unwrap(), []);
    assert!(Process::of(server.pid()).is_none());
    assert!(Process::of(elsewhere.pid()).is_some());
}

#[test]
fn a_program_is_the_file_of_that_name_on_this_system() {
    let dir = Dir::new("program");
    let found = || Process::running("pacemakerd", me().uid()).unwrap();
    let before = found();
    let forged = dir.0.join("pacemakerd");
    std::fs::copy("/bin/sleep", &forged).unwrap();
    let forged = Reaped(Command::new(&forged).arg("600").spawn().unwrap());
    let until = soon();
    while kin::is_named(forged.pid(), &["pacemakerd"]).unwrap() != Some(true) {
        assert!(!until.expired());
    }
    assert_eq!(found(), before, "it only has the name");
    let real = Reaped(Command::new("sleep").arg("600").spawn().unwrap());
    while kin::is_named(real.pid(), &["sleep"]).unwrap() != Some(true) {
        assert!(!until.expired());
    }
    let runs = |uid| Process::running("sleep", uid).unwrap();
    assert!(runs(me().uid()).is_some());
    assert_eq!(runs(me().uid() + 1), None);
}
