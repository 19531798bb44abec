//! Waiting for something to become true, with words for what is being waited for and a deadline.

use std::time::{Duration, Instant};

use pha_host::clock::Deadline;

use crate::app::Session;
use crate::error::ClsError;

/// Pacemaker tells nobody outside of it when something has changed, so it is asked again; one
/// question costs about 10 ms of CPU.
const PAUSE: Duration = Duration::from_millis(250);

/// What one look has shown.
pub(crate) enum Look<T> {
    /// It is so.
    Done(T),
    /// It is not so yet; this is how it is instead.
    Pending(String),
}

/// Looks again and again until it is so, until the deadline, or until Ctrl-C.
///
/// # Errors
/// What `look` returns, [`ClsError::TimedOut`] with what was seen last, [`ClsError::Interrupted`].
pub(crate) fn until<T>(
    session: &Session,
    what: &str,
    deadline: Deadline,
    mut look: impl FnMut() -> Result<Look<T>, ClsError>,
) -> Result<T, ClsError> {
    let began = Instant::now();
    loop {
        let seen = match look()? {
            Look::Done(value) => return Ok(value),
            Look::Pending(seen) => seen,
        };
        if session.interrupt.is_set() {
            return Err(ClsError::Interrupted(what.to_owned()));
        }
        if deadline.expired() {
            return Err(ClsError::TimedOut {
                what: what.to_owned(),
                seen,
                after: began.elapsed(),
            });
        }
        session.ui.progress(&format!("waiting for {what}: {seen}"));
        session.interrupt.pause(deadline.sub_budget(PAUSE));
    }
}
