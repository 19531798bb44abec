//! The rights of root that the guard keeps. It runs for as long as the primary does and reads what
//! others write: what it never needs, a fault in it cannot use, nor can what it starts.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use tracing::warn;

/// What is kept, and what for.
fn kept() -> CapabilitySet {
    // Ends the database's processes, which are another account's.
    CapabilitySet::KILL
        // Becomes the database's account to connect to its server, and to run its programs.
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        // Looks into the data directory, which is the account's alone; and has Pacemaker told of a dead
        // postmaster, by tools whose connection is a file of Pacemaker's own account (libqb).
        | CapabilitySet::DAC_OVERRIDE
        // Sees which program another account's process runs, and where it works.
        | CapabilitySet::SYS_PTRACE
}

/// Gives up every other right, for this process and for whatever it starts (no program that it starts
/// gets more than it has itself). To be called before there is another thread, and after what needs
/// more was opened: the watchdog's device, the score against the lack of memory.
///
/// A kernel or a container that does not let it leaves the guard as it is: it is of more use so.
pub(crate) fn drop_others() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if let Err(errno) = give_up() {
        warn!("the guard keeps all rights of root: {errno}");
    }
}

fn give_up() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)?;
    let own = capabilities(None)?;
    let left = own.permitted & kept();
    set_capabilities(
        None,
        CapabilitySets {
            effective: left,
            permitted: left,
            inheritable: CapabilitySet::empty(),
        },
    )
}
