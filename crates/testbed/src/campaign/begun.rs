//! A fault that has begun, and how it ends.

use std::time::Duration;

use super::stage::{Claim, Stage};
use crate::error::Result;
use crate::node::Node;

/// How long an operator's command in between may take: it meets faults that nothing mends yet.
pub(super) const COMMAND: Duration = Duration::from_secs(30);
/// Ends a fault; what there is to say of it.
pub(super) type Undo<'s> = Box<dyn FnOnce() -> Result<String> + 's>;

/// A fault that has begun.
pub(super) struct Begun<'s> {
    /// To whom.
    pub(super) what: String,
    /// What it keeps from other steps until it is over.
    pub(super) claims: Vec<Claim<'s>>,
    pub(super) undo: Undo<'s>,
}

impl<'s> Begun<'s> {
    pub(super) fn new(what: &str, undo: impl FnOnce() -> Result<String> + 's) -> Begun<'s> {
        Begun {
            what: what.to_owned(),
            claims: Vec::new(),
            undo: Box::new(undo),
        }
    }

    /// A fault of which there is nothing to say at its end.
    pub(super) fn silent(what: &str, undo: impl FnOnce() -> Result<()> + 's) -> Begun<'s> {
        Begun::new(what, || undo().map(|()| String::new()))
    }

    pub(super) fn having(mut self, claims: impl IntoIterator<Item = Claim<'s>>) -> Begun<'s> {
        self.claims.extend(claims);
        self
    }
}

/// What belongs to an earlier command, once its time has come.
pub(super) fn type_later(stage: &Stage<'_>, node: &Node, words: &[&str]) -> Result<String> {
    if !node.is_on() {
        return Ok(String::new());
    }
    let (_, said) = stage.cls(node, words, COMMAND)?;
    Ok(format!("; cls_{}: {said}", words.join(" ")))
}
