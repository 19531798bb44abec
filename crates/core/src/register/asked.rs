//! The answering side of R7: the order in which a node that is asked for its promise looks and acts.

use std::time::Duration;

use super::{
    Memory, PromiseAnswer, PromiseRequest, Reading, Register, RelayStep, Reply, Update,
    may_promise, relay_reply, relay_step,
};
use crate::names::NodeName;

/// A node that is asked. It holds its promotion lock from before the first of these to after the last, so
/// that it can become the primary neither before its promise is on its disk nor unseen.
pub trait Asked {
    /// What it remembers.
    ///
    /// # Errors
    /// Why that cannot be told.
    fn memory(&mut self) -> Result<Memory, String>;

    /// Whether its postmaster is alive, and whether its data directory is a standby's.
    ///
    /// # Errors
    /// Why that cannot be told.
    fn role(&mut self) -> Result<(bool, bool), String>;

    /// Reads the register from here.
    ///
    /// # Errors
    /// Why that cannot even be tried.
    fn read(&mut self) -> Result<Reading, String>;

    /// Sends the primary's change of the register from here.
    ///
    /// # Errors
    /// Why that cannot even be tried.
    fn send(&mut self, update: &Update) -> Result<Reply, String>;

    /// Keeps durably what it has seen of the register.
    ///
    /// # Errors
    /// Why it could not be kept.
    fn saw(&mut self, row: &Register) -> Result<(), String>;

    /// What is left of the time that the asking primary gives it.
    fn left(&mut self) -> Duration;

    /// Keeps the promise durably.
    ///
    /// # Errors
    /// Why it was not given, or could not be kept.
    fn promise(&mut self, request: &PromiseRequest) -> Result<(), String>;
}

/// What `me` answers to `request`. It passes the primary's change on where it reaches the register, and
/// promises where it does not: no promise is worth anything while the register says something else. `ttl` is
/// the lease by this node's own configuration.
///
/// # Errors
/// Why it neither passes the change on nor promises.
pub fn consider(
    me: &NodeName,
    request: &PromiseRequest,
    ttl: Duration,
    asked: &mut impl Asked,
) -> Result<PromiseAnswer, String> {
    let known = asked.memory()?;
    may_promise(me, request, &known, asked.role()?)?;
    let reading = asked.read()?;
    if let Reading::Row(row) = &reading {
        asked.saw(row)?;
    }
    match relay_step(request, ttl, &reading, &known) {
        RelayStep::Promise => {}
        RelayStep::Answer(answer) => return Ok(answer),
        RelayStep::Send(update) => {
            let reply = asked.send(&update)?;
            if let Reading::Row(row) = reply.reading() {
                asked.saw(&row)?;
            }
            if let Some(answer) = relay_reply(reply)? {
                return Ok(answer);
            }
        }
    }
    in_time(asked.left())?;
    asked.promise(request)?;
    Ok(PromiseAnswer::Promised {
        epoch: request.epoch,
    })
}

/// A promise that comes later than the asking primary waits binds this node, and nobody goes by it.
fn in_time(left: Duration) -> Result<(), String> {
    match left.is_zero() {
        true => Err("the time for the answer is over".to_owned()),
        false => Ok(()),
    }
}
