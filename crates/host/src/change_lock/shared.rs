//! The lock that this process has, for processes that make an effect in its name.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

/// The lock that this process has: who acts as an account for it inherits the descriptor.
static HELD: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// A descriptor of the lock that this process has, if it has one, for a process that makes an effect in
/// its name: the lock lasts until both have closed it.
pub(crate) fn inherited() -> Option<OwnedFd> {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.as_ref()?.try_clone().ok()
}

/// Keeps the descriptor that is inherited from here on; none once the lock has ended.
pub(super) fn set(held: Option<OwnedFd>) {
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = held;
}
