//! The processes that hold a cluster's namespaces open: this program, started again as each.
//!
//! * The *keeper* is process 1 of an outer pid namespace and owns the network namespace with the
//!   bridge. Everything of the cluster runs below it, so its end is the end of everything: the
//!   kernel kills the processes, drops the mounts and takes the interfaces away.
//! * A *node* is process 1 of a pid namespace of its own: it builds the node's file system and
//!   then reaps what the node's daemons leave behind, or becomes systemd.
//! * The *client* only holds the network namespace from which the writers connect.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, unmount};
use rustix::process::{WaitOptions, pivot_root, setsid, wait};

use crate::error::{Error, Result};
use crate::layout::READY;
use crate::procfs::ProcessId;

/// The first word that makes the program take one of the roles.
pub(crate) const KEEPER: &str = "role-keeper";
/// See [`KEEPER`].
pub(crate) const NODE: &str = "role-node";
/// The last word of a node that systemd boots.
pub(crate) const SYSTEMD: &str = "systemd";
/// See [`KEEPER`].
pub(crate) const CLIENT: &str = "role-client";
/// The first word that makes the program become another one, in a tree; see [`crate::tree`].
pub(crate) const INSIDE: &str = "role-inside";

/// Takes a role if the arguments ask for one; returns only when they do not, or on failure.
pub fn take_role(arguments: &[String]) -> Option<Result<()>> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, KEEPER, dir, life] => Some(keeper(Path::new(dir), *life == "lifeline")),
        [_, NODE, dir, name, lower] => Some(node(Path::new(dir), name, Path::new(lower), false)),
        [_, NODE, dir, name, lower, SYSTEMD] => {
            Some(node(Path::new(dir), name, Path::new(lower), true))
        }
        [_, CLIENT, dir] => Some(client(Path::new(dir))),
        [_, INSIDE, root, program, words @ ..] => Some(inside(Path::new(root), program, words)),
        _ => None,
    }
}

/// The number that the host knows this process by. /proc is still the host's here, and its
/// `self` link is resolved in the pid namespace that it was mounted for.
fn host_identity() -> Result<ProcessId> {
    let link = fs::read_link("/proc/self").map_err(Error::io("read", "/proc/self"))?;
    link.to_str()
        .and_then(|text| text.parse().ok())
        .and_then(ProcessId::of)
        .ok_or_else(|| {
            Error::Asked(format!(
                "/proc/self points to {}, not to a process",
                link.display()
            ))
        })
}

/// Announces readiness with one rename, so that a reader sees all of the file or none.
fn announce(dir: &Path, identity: ProcessId) -> Result<()> {
    let text = serde_json::to_vec(&identity).map_err(|e| Error::Asked(e.to_string()))?;
    let (fresh, ready) = (dir.join("ready.new"), dir.join(READY));
    fs::write(&fresh, text).map_err(Error::io("write", &fresh))?;
    fs::rename(&fresh, &ready).map_err(Error::io("rename", &fresh))
}

fn keeper(dir: &Path, lifeline: bool) -> Result<()> {
    // Failing means that it already leads a session, which is as good.
    let _ = setsid();
    if on_overlay(dir)? || memory_is_plenty()? {
        // An overlay cannot be the upper layer of another one (a container's root usually is
        // one), so the disks of the nodes live in memory there. They do where there is enough of it,
        // too: every node's fsync would wait for whatever else writes to the machine's disk, often
        // longer than a lease. What was written outlives a node's power cut on both.
        let disks = dir.join("disks");
        fs::create_dir_all(&disks).map_err(Error::io("create", &disks))?;
        mount_at("tmpfs", &disks, "tmpfs", MountFlags::empty(), "mode=0755")?;
    }
    announce(dir, host_identity()?)?;
    std::thread::spawn(reap_for_ever);
    if !lifeline {
        loop {
            std::thread::park();
        }
    }
    // The owner holds the other end of this pipe. However the owner ends, the pipe closes.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let _ = Command::new("/bin/kill")
        .args(["-KILL", "--", "-1"])
        .status();
    if !dir.join("keep").exists() {
        let _ = fs::remove_dir_all(dir);
    }
    Ok(())
}

/// Whether `dir` is on a file system that cannot hold the upper layer of an overlay.
fn on_overlay(dir: &Path) -> Result<bool> {
    const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
    let stat = rustix::fs::statfs(dir).map_err(Error::sys("look at", dir))?;
    Ok(u64::try_from(stat.f_type).is_ok_and(|kind| kind == OVERLAYFS_SUPER_MAGIC))
}

/// Whether the disks of one more cluster find room in memory: a cluster takes up to 2 GiB.
fn memory_is_plenty() -> Result<bool> {
    const PLENTY_KIB: u64 = 8 << 20;
    let path = Path::new("/proc/meminfo");
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let available = text.lines().find_map(|line| {
        let rest = line.strip_prefix("MemAvailable:")?;
        rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    Ok(available.is_some_and(|available| available >= PLENTY_KIB))
}

fn client(dir: &Path) -> Result<()> {
    let _ = setsid();
    announce(dir, host_identity()?)?;
    loop {
        std::thread::park();
    }
}

fn node(cluster: &Path, name: &str, lower: &Path, systemd: bool) -> Result<()> {
    let _ = setsid();
    if systemd {
        let of = cluster.file_name().unwrap_or_default().to_string_lossy();
        crate::systemd::enter_cgroup(&of, name)?;
    }
    let (dir, disk) = (
        &cluster.join("nodes").join(name),
        &cluster.join("disks").join(name),
    );
    let identity = host_identity()?;
    // Kept open across the change of root: the place to announce readiness in.
    let outside = rustix::fs::open(
        dir,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(Error::sys("open", dir))?;
    build_root(&dir.join("root"), lower, disk)?;
    rustix::system::sethostname(name.as_bytes()).map_err(Error::sys("set the host name", name))?;
    let text = serde_json::to_vec(&identity).map_err(|e| Error::Asked(e.to_string()))?;
    let fresh = rustix::fs::openat(
        &outside,
        "ready.new",
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
    )
    .map_err(Error::sys("create", "ready.new"))?;
    rustix::io::write(&fresh, &text).map_err(Error::sys("write", "ready.new"))?;
    rustix::fs::renameat(&outside, "ready.new", &outside, READY)
        .map_err(Error::sys("rename", "ready.new"))?;
    drop((fresh, outside));
    if systemd {
        return crate::systemd::become_init();
    }
    reap_for_ever()
}

/// Waits for children without end. A child that never ends makes `wait` block where it would
/// otherwise answer at once that there are none.
fn reap_for_ever() -> ! {
    loop {
        let anchor = Command::new("/bin/sleep")
            .arg("infinity")
            .stdin(Stdio::null())
            .spawn();
        let Ok(anchor) = anchor else {
            std::thread::park_timeout(std::time::Duration::from_secs(1));
            continue;
        };
        let anchor = i32::try_from(anchor.id()).unwrap_or(0);
        while let Ok(Some((pid, _))) = wait(WaitOptions::empty()) {
            if pid.as_raw_nonzero().get() == anchor {
                break;
            }
        }
    }
}

fn mount_at(source: &str, target: &Path, kind: &str, flags: MountFlags, data: &str) -> Result<()> {
    let data = std::ffi::CString::new(data).map_err(|e| Error::Asked(e.to_string()))?;
    mount(source, target, kind, flags, Some(data.as_c_str())).map_err(Error::sys("mount", target))
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    mount_bind(source, target).map_err(Error::sys("bind", target))
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io("chmod", path))
}

/// The node's file system: an overlay over the host's root or another tree, with everything volatile fresh.
fn build_root(root: &Path, lower: &Path, disk: &Path) -> Result<()> {
    let (upper, work) = (disk.join("upper"), disk.join("work"));
    for path in [root, &upper, &work] {
        make_dir(path, 0o755)?;
    }
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    mount_at("overlay", root, "overlay", MountFlags::empty(), &layers)?;
    mount_data(root, disk)?;
    mount_at("proc", &root.join("proc"), "proc", MountFlags::empty(), "")?;
    mount_at("sysfs", &root.join("sys"), "sysfs", MountFlags::RDONLY, "")?;
    build_dev(&root.join("dev"))?;
    mount_at(
        "tmpfs",
        &root.join("run"),
        "tmpfs",
        MountFlags::NOSUID,
        "mode=0755",
    )?;
    mount_at(
        "tmpfs",
        &root.join("tmp"),
        "tmpfs",
        MountFlags::NOSUID,
        "mode=1777",
    )?;
    for (name, mode) in [
        ("lock", 0o1777),
        ("sshd", 0o755),
        ("resource-agents", 0o1755),
        ("postgresql", 0o2775),
    ] {
        make_dir(&root.join("run").join(name), mode)?;
    }
    if let Some((user, group)) = account(root, "postgres")? {
        let run = root.join("run/postgresql");
        std::os::unix::fs::chown(&run, Some(user), Some(group))
            .map_err(Error::io("chown", &run))?;
    }
    enter_root(root)
}

/// The numbers of a user and its group in the passwd file below `root`, if there is such a user.
fn account(root: &Path, user: &str) -> Result<Option<(u32, u32)>> {
    let path = root.join("etc/passwd");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then_some(())?;
        let numbers = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(numbers)
    }))
}

/// The database disk: a directory of the node's disk past the overlay, or, where the cluster
/// asked for a disk of limited size, the small file system that the keeper's mounts hold.
fn mount_data(root: &Path, disk: &Path) -> Result<()> {
    let (data, target) = (disk.join("data"), root.join("data"));
    make_dir(&data, 0o755)?;
    make_dir(&target, 0o755)?;
    bind(&data, &target)
}

fn build_dev(dev: &Path) -> Result<()> {
    mount_at("tmpfs", dev, "tmpfs", MountFlags::NOSUID, "mode=0755")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let target = dev.join(name);
        fs::write(&target, b"").map_err(Error::io("create", &target))?;
        bind(&PathBuf::from("/dev").join(name), &target)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        let link = dev.join(name);
        symlink(target, &link).map_err(Error::io("link", &link))?;
    }
    for name in ["pts", "shm"] {
        make_dir(&dev.join(name), 0o755)?;
    }
    mount_at(
        "devpts",
        &dev.join("pts"),
        "devpts",
        MountFlags::NOSUID,
        "newinstance,ptmxmode=0666,mode=0620",
    )?;
    mount_at(
        "tmpfs",
        &dev.join("shm"),
        "tmpfs",
        MountFlags::NOSUID,
        "mode=1777",
    )
}

/// Becomes `program` with the tree `root` as its root directory, in which the machine's processes and devices
/// and the testbed's own directory are. The mounts are this process's own (unshare(1)) and end with it.
fn inside(root: &Path, program: &str, words: &[&str]) -> Result<()> {
    bind(root, root)?;
    for name in ["proc", "sys", "dev"] {
        let target = root.join(name);
        mount_bind_recursive(Path::new("/").join(name), &target)
            .map_err(Error::sys("bind", &target))?;
    }
    let base = crate::layout::base();
    let target = root.join(base.strip_prefix("/").unwrap_or(&base));
    fs::create_dir_all(&target).map_err(Error::io("create", &target))?;
    bind(&base, &target)?;
    enter_root(root)?;
    Err(Error::Start {
        place: root.display().to_string(),
        program: program.to_owned(),
        source: Command::new(program).args(words).exec(),
    })
}

/// Makes `root` the root directory and lets go of the old one (pivot_root(2), "pivot_root(".", ".")").
fn enter_root(root: &Path) -> Result<()> {
    std::env::set_current_dir(root).map_err(Error::io("enter", root))?;
    pivot_root(".", ".").map_err(Error::sys("make root of", root))?;
    unmount(".", UnmountFlags::DETACH).map_err(Error::sys("unmount the old root under", root))?;
    std::env::set_current_dir("/").map_err(Error::io("enter", "/"))?;
    Ok(())
}
