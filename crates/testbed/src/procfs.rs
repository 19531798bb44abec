//! What /proc of the host says about the processes of a node.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

/// A process identified so that a reused number is not mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcessId {
    /// The number in the host's pid namespace.
    pub pid: i32,
    /// When it started, in clock ticks after boot (field 22 of /proc/PID/stat).
    pub started: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub(crate) fn of(pid: i32) -> Option<ProcessId> {
        stat(pid).map(|stat| ProcessId {
            pid,
            started: stat.started,
        })
    }

    /// Whether it still runs (a zombie does not).
    #[must_use]
    pub fn alive(self) -> bool {
        stat(self.pid)
            .is_some_and(|stat| stat.started == self.started && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Sends a signal if it is still the same process.
    pub(crate) fn signal(self, signal: Signal) {
        if self.alive() {
            signal_pid(self.pid, signal);
        }
    }

    /// A path below this process's entry in /proc.
    pub(crate) fn proc(self, rest: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{rest}", self.pid))
    }
}

struct Stat {
    state: char,
    parent: i32,
    started: u64,
    /// Clock ticks in user mode and in the kernel, of the process and of children it waited for.
    ticks: [u64; 4],
}

/// The CPU that a process has used, milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    /// By itself.
    pub(crate) own: u64,
    /// By the children that it has waited for, and theirs.
    pub(crate) children: u64,
}

/// User and system time of a process (fields 14 to 17 of /proc/PID/stat).
pub(crate) fn cpu_ms(pid: i32) -> Option<Cpu> {
    let [user, system, children_user, children_system] = stat(pid)?.ticks;
    let ms = |ticks: u64| ticks * 1000 / rustix::param::clock_ticks_per_second();
    Some(Cpu {
        own: ms(user + system),
        children: ms(children_user + children_system),
    })
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may itself hold spaces and parentheses.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The fields after the state, which is the third; those that may be negative are not asked for.
    let fields: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
    Some(Stat {
        state,
        parent: i32::try_from(*fields.first()?).ok()?,
        started: *fields.get(18)?,
        ticks: fields.get(10..14)?.try_into().ok()?,
    })
}

/// The scheduler state letter of a process (`R`, `S`, `T`, `Z` …).
pub(crate) fn state(pid: i32) -> Option<char> {
    stat(pid).map(|stat| stat.state)
}

/// Sends a signal; a process that is gone needs none.
pub(crate) fn signal_pid(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// A process of a node.
#[derive(Debug, Clone)]
pub struct Process {
    /// The number on the host.
    pub pid: i32,
    /// The number inside the node.
    pub inner_pid: i32,
    /// The parent's number on the host.
    pub parent: i32,
    /// The short name (`/proc/PID/comm`).
    pub comm: String,
    /// The arguments, or the title that the process gave itself, joined by spaces.
    pub cmdline: String,
}

impl Process {
    /// What it does for the server, where it is a process of PostgreSQL that serves no session: the
    /// first word of its title, `startup` or `walreceiver`, behind `cluster_name` where there is one.
    /// The title of a session begins with its role, and `startup` is at its end while it connects;
    /// behind role and database it has the client's address, which no other title has there.
    #[must_use]
    pub fn server_kind(&self) -> Option<&str> {
        let title = self.cmdline.strip_prefix("postgres: ")?;
        let mut words = title.split(' ').peekable();
        words.next_if(|word| word.ends_with(':'));
        let kind = words.next()?;
        let third = words.nth(1).unwrap_or_default();
        let session = third == "[local]" || third.ends_with(')');
        // A walsender has its role and its client's address behind the word.
        (kind == "walsender" || !session).then_some(kind)
    }

    /// Memory that is in RAM, KiB (VmRSS of /proc/PID/status); none of a process that is gone.
    #[must_use]
    pub fn resident_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    }
}

/// The processes in the pid namespace of `init`, without `init` itself and kernel leftovers.
pub(crate) fn processes_of(init: i32) -> Vec<Process> {
    let Ok(space) = fs::read_link(format!("/proc/{init}/ns/pid")) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != init)
        .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == space))
        .filter_map(describe)
        .collect()
}

/// Lets the programs go on that wait outside a node for one inside ([`Node::entrance`]). nsenter
/// stops itself when its child is stopped, and then never learns that it goes on or has died: a node
/// whose dead are not fetched does not end.
///
/// [`Node::entrance`]: crate::node::Node::entrance
pub(crate) fn wake_entrances(init: i32) {
    let Ok(entries) = fs::read_dir("/proc") else {
        return;
    };
    let target = format!("nsenter\0--target\0{init}\0");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| state(*pid) == Some('T'))
        .filter(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline"));
            words.is_ok_and(|words| words.starts_with(target.as_bytes()))
        })
        .for_each(|pid| signal_pid(pid, Signal::CONT));
}

/// What a process is now; none of one that has ended.
pub(crate) fn describe(pid: i32) -> Option<Process> {
    let stat = stat(pid).filter(|stat| !matches!(stat.state, 'Z' | 'X'))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let inner = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(Process {
        pid,
        parent: stat.parent,
        inner_pid: inner.split_whitespace().last()?.parse().ok()?,
        comm: fs::read_to_string(format!("/proc/{pid}/comm"))
            .ok()?
            .trim_end()
            .to_owned(),
        cmdline: String::from_utf8_lossy(&cmdline)
            .replace('\0', " ")
            .trim()
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_not_taken_for_what_its_title_says_at_the_end() {
        let kind = |cmdline: &str| {
            let process = Process {
                pid: 2,
                inner_pid: 2,
                parent: 1,
                comm: "postgres".to_owned(),
                cmdline: cmdline.to_owned(),
            };
            process.server_kind().map(str::to_owned)
        };
        for (title, expected) in [
            (
                "postgres: startup recovering 000000010000000000000003",
                Some("startup"),
            ),
            ("postgres: startup", Some("startup")),
            (
                "postgres: main: startup waiting for 000000010000000000000003",
                Some("startup"),
            ),
            (
                "postgres: walreceiver streaming 0/30000A0",
                Some("walreceiver"),
            ),
            (
                "postgres: walsender repl 192.0.2.2(40000) streaming 0/30000A0",
                Some("walsender"),
            ),
            ("postgres: logical replication launcher", Some("logical")),
            ("postgres: postgres postgres [local] startup", None),
            ("postgres: postgres postgres 192.0.2.2(40000) startup", None),
            ("postgres: startup postgres [local] idle", None),
            ("postgres: main: startup postgres [local] idle", None),
            ("/usr/lib/postgresql/15/bin/postgres -D /data", None),
        ] {
            assert_eq!(kind(title).as_deref(), expected, "{title}");
        }
    }
}
