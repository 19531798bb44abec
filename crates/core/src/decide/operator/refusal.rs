//! Why a command does not begin.

use std::collections::BTreeMap;
use std::fmt;

use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::postgres;
use crate::register::NotTheOwner;

/// What to do about a primary whose stop would wait for its archive.
pub(super) fn mend_archive() -> Message {
    message!(
        "mend archive_command (PostgreSQL's log says what is wrong with it), or give --force: writes then stand still until the stop's time is over and PostgreSQL is stopped at once"
    )
}

/// What keeps PostgreSQL on this node from taking up any change of its settings, as far as it was seen.
pub(super) fn unread(errors: &BTreeMap<NodeName, Vec<String>>, node: &NodeName) -> Option<Broken> {
    let errors = errors.get(node).filter(|errors| !errors.is_empty())?;
    Some(postgres::unread(node, errors))
}

/// What is not so, and what to type.
pub type Broken = (Message, Message);

/// Why the register does not bear out that `primary` is promoted, and what is done about it; `doubt` says what it
/// means for the command where it names nobody else.
pub(super) fn not_borne_out(
    why: &NotTheOwner,
    primary: &NodeName,
    doubt: impl FnOnce(Message) -> Message,
) -> Broken {
    let text = match why {
        NotTheOwner::Another { .. } => message!(
            "{primary} is promoted, and {why}",
            primary,
            why = why.what()
        ),
        _ => doubt(why.advised()),
    };
    (text, why.before_again())
}

/// One precondition of a command.
pub struct Precondition<Facts: 'static> {
    /// A stable name.
    pub id: &'static str,
    /// What it asks for, in one sentence.
    pub says: &'static str,
    /// What is not so, and what to type.
    pub check: fn(&Facts) -> Option<Broken>,
}

/// # Errors
/// The first precondition that does not hold.
pub(super) fn all_hold<Facts>(
    rules: &[Precondition<Facts>],
    facts: &Facts,
) -> Result<(), Box<Refusal>> {
    let broken = |rule: &Precondition<Facts>| {
        let (what, hint) = (rule.check)(facts)?;
        Some(Box::new(Refusal::new(rule.id, what, hint)))
    };
    rules.iter().find_map(broken).map_or(Ok(()), Err)
}

/// Why a command does not begin. Nothing was changed.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule, for logs and tests.
    pub id: &'static str,
    /// What is not as it has to be.
    pub what: Message,
    /// What to type next.
    pub hint: Message,
}

impl Refusal {
    pub(super) fn new(
        id: &'static str,
        what: impl Into<Message>,
        hint: impl Into<Message>,
    ) -> Self {
        Self {
            id,
            what: what.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}
