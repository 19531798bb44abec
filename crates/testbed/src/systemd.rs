//! Nodes that systemd boots: process 1 of the node is the tree's own. What it starts and stops is in
//! [`units`](crate::units).
//!
//! The node's first process becomes systemd ([`become_init`]), which takes it for a container: it leaves the
//! kernel's settings, the devices and the clock alone. It has a cgroup of its own, and its end (poweroff, reboot) is
//! the end of the node's processes, as the kernel has it for a pid namespace.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::mount::{MountFlags, mount_bind, mount_remount};

use crate::error::{Error, Result};
use crate::procfs::Process;
use crate::wait::wait;

/// The program, in every tree.
const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// Appears once the node's cable is plugged in: an interface is there before any service is, as on a machine.
pub(crate) const PLUGGED: &str = "/run/testbed-plugged";
/// Below the root of the hierarchy of cgroups.
const CGROUPS: &str = "pha4pgsql-testbed";
/// Has its own cgroup for the root of them, and shows no other.
const START: &str =
    "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec env -i container=testbed \"$1\"";

const SHORT: Duration = Duration::from_secs(30);

/// Takes this process into the cgroup of the node, while the machine's own file system is still its root.
pub(crate) fn enter_cgroup(cluster: &str, node: &str) -> Result<()> {
    let group = group(cluster, node)?;
    // What the node had before it was switched off, with the groups of its services.
    remove_groups(&group);
    fs::create_dir_all(&group).map_err(Error::io("create", &group))?;
    let members = group.join("cgroup.procs");
    fs::write(&members, "0").map_err(Error::io("write", &members))
}

/// Becomes systemd, once the cable is plugged in.
pub(crate) fn become_init() -> Result<()> {
    // The kernel's settings are the machine's, for the most part.
    let settings = Path::new("/proc/sys");
    mount_bind(settings, settings).map_err(Error::sys("bind", settings))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    mount_remount(settings, flags, "").map_err(Error::sys("remount", settings))?;
    // Each boot has a name of its own, as on a machine: the journal goes by it.
    let random = |name: &str| settings.join("kernel/random").join(name);
    let (fresh, name) = (random("uuid"), Path::new("/run/testbed-boot-id"));
    fs::copy(&fresh, name).map_err(Error::io("read", &fresh))?;
    let shown = random("boot_id");
    mount_bind(name, &shown).map_err(Error::sys("bind", &shown))?;
    wait("the cable", SHORT, || match Path::new(PLUGGED).exists() {
        true => Ok(()),
        false => Err(format!("no {PLUGGED}")),
    })?;
    let words = ["--cgroup", "--", "sh", "-c", START, "sh", SYSTEMD];
    Err(Error::Start {
        place: "the node".to_owned(),
        program: SYSTEMD.to_owned(),
        source: Command::new("unshare").args(words).exec(),
    })
}

/// Where this machine has the hierarchy of cgroups that is one for all controllers.
fn unified() -> Result<PathBuf> {
    mounted(|kind, _| kind == "cgroup2").ok_or_else(|| {
        Error::Asked(
            "no file system of the kind cgroup2 is mounted here, and systemd needs one".to_owned(),
        )
    })
}

/// The first mount point for whose kind and options `select` says so (proc(5), mounts).
fn mounted(select: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/mounts").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        select(kind, options).then(|| PathBuf::from(place))
    })
}

fn group(cluster: &str, node: &str) -> Result<PathBuf> {
    Ok(unified()?.join(CGROUPS).join(format!("{cluster}-{node}")))
}

/// Removes the cgroup of a node that is off.
pub(crate) fn forget(cluster: &str, node: &str) {
    if let Ok(group) = group(cluster, node) {
        remove_groups(&group);
    }
}

/// Removes a cgroup and those below it, as far as nothing is in them.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// A cgroup with little memory, for one process; it is removed with this value.
pub(crate) struct Narrow {
    group: PathBuf,
    /// Where the kernel counts whom it has killed.
    counter: &'static str,
}

impl Narrow {
    /// Leaves the process this many bytes from now on.
    pub(crate) fn around(process: &Process, bytes: u64) -> Result<Narrow> {
        let own = mounted(|kind, options| {
            kind == "cgroup" && options.split(',').any(|option| option == "memory")
        });
        let (root, limit, counter) = match own {
            Some(root) => (root, "memory.limit_in_bytes", "memory.oom_control"),
            None => {
                let root = unified()?;
                let control = root.join("cgroup.subtree_control");
                fs::write(&control, "+memory").map_err(Error::io("write", &control))?;
                (root, "memory.max", "memory.events")
            }
        };
        let group = root.join(format!("{CGROUPS}-{}", process.pid));
        fs::create_dir_all(&group).map_err(Error::io("create", &group))?;
        let narrow = Narrow { group, counter };
        for (file, value) in [
            (limit, bytes),
            ("cgroup.procs", u64::try_from(process.pid).unwrap_or(0)),
        ] {
            let path = narrow.group.join(file);
            fs::write(&path, value.to_string()).map_err(Error::io("write", &path))?;
        }
        Ok(narrow)
    }

    /// Waits until the kernel has killed it for want of memory.
    pub(crate) fn wait_for_the_kill(&self, timeout: Duration) -> Result<()> {
        wait("a kill for want of memory", timeout, || {
            let text = fs::read_to_string(self.group.join(self.counter));
            let text = text.map_err(|error| error.to_string())?;
            match kills(&text) {
                0 => Err(text),
                _ => Ok(()),
            }
        })
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        // It holds nobody any more, or the kernel keeps it.
        remove_groups(&self.group);
    }
}

/// `oom_kill N` of the kernel's counters.
fn kills(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::kills;

    #[test]
    fn both_kinds_of_counters_are_read() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(
            kills("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n"),
            1
        );
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\n"), 0);
    }
}
