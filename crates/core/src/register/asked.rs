//! The answering side of R7: the order in which a node that is asked looks and acts.

use std::time::Duration;

use super::{
    ClusterId, Memory, PromiseAnswer, PromiseRequest, Reading, Register, RelayStep, Reply, Update,
    Wanted, may_promise, relay_reply, relay_step,
};
use crate::names::NodeName;
use crate::postgres::SeenRole;

/// Of the time that a question gives, the share that each of promotion lock, register and disk may take.
const SHARES: u32 = 3;

/// A node that a question has come to.
pub trait Reached {
    /// The same while it holds its promotion lock.
    type Locked<'a>: Asked
    where
        Self: 'a;

    /// Looks whether a promise could be kept here, and keeps nothing.
    ///
    /// # Errors
    /// Why it could not.
    fn try_out(&mut self) -> Result<(), String>;

    /// Takes its promotion lock, for which it may wait so long.
    ///
    /// # Errors
    /// Why it has not got it.
    fn lock(&mut self, within: Duration) -> Result<Self::Locked<'_>, String>;
}

/// A node that is asked. It holds its promotion lock from before the first of these to after the last, so
/// that it can become the primary neither before its promise is on its disk nor unseen.
pub trait Asked {
    /// What it remembers.
    ///
    /// # Errors
    /// Why that cannot be told.
    fn memory(&mut self) -> Result<Memory, String>;

    /// What PostgreSQL is there.
    ///
    /// # Errors
    /// Why that cannot be told.
    fn role(&mut self) -> Result<SeenRole, String>;

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

    /// Keeps durably that the primary of `term` has withdrawn its question at `epoch` ([`Memory::freed`]).
    ///
    /// # Errors
    /// Why the promise binds this node still, if there is one.
    fn free(&mut self, term: u64, epoch: u64) -> Result<(), String>;
}

/// What `me`, a node of `nodes` and of `cluster`, answers to a question. Whoever asks for something that is kept
/// is answered under the promotion lock: a promotion that is under way neither sees a promise nor is seen by
/// who gives one. `ttl` is the lease by this node's own configuration.
///
/// # Errors
/// Why it refuses.
pub fn answer<N: Reached>(
    me: &NodeName,
    nodes: &[NodeName],
    cluster: &ClusterId,
    ttl: Duration,
    request: &PromiseRequest,
    node: &mut N,
) -> Result<PromiseAnswer, String> {
    request.is_for(me, nodes, cluster)?;
    let within = request.within / SHARES;
    match request.wanted {
        Wanted::Trial => node.try_out().map(|()| PromiseAnswer::Ready),
        Wanted::Withdraw => {
            let (term, epoch) = (request.term, request.epoch);
            node.lock(within)?.free(term, epoch)?;
            Ok(PromiseAnswer::Withdrawn { epoch })
        }
        Wanted::Promise => consider(me, request, ttl, &mut node.lock(within)?),
    }
}

/// What `me` answers who is asked for its promise. It passes the primary's change on where it reaches the register, and
/// promises where it does not: no promise is worth anything while the register says something else. `ttl` is
/// the lease by this node's own configuration.
///
/// # Errors
/// Why it neither passes the change on nor promises.
fn consider(
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
