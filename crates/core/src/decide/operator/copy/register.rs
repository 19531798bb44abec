//! What the register's answers mean to a copy (R6).

use super::super::Refusal;
use crate::names::NodeName;
use crate::register::{Reading, Register, Reply, Seen, believed};

/// Whether a node that has asked to leave the holders ([`super::CopyStep::Leave`]) is none of them, so that
/// its data may be replaced.
///
/// # Errors
/// Why it is not known to be none.
pub fn has_left(reply: &Reply, me: &NodeName) -> Result<(), Refusal> {
    let (what, hint) = match (reply, reply.row()) {
        (Reply::Applied(_), _) => return Ok(()),
        (_, Ok(row)) if !row.holders.contains(me) => return Ok(()),
        (_, Ok(_)) => (
            format!("the register does not let {me} leave: it is the owner, or the only holder"),
            "look at it with cls_status, then give the command again",
        ),
        (_, Err(no_row)) => (no_row.to_string(), no_row.before_again()),
    };
    Err(Refusal::new("copy-left", what, hint))
}

/// The register's row, where it shows that the source of a copy still owns it, at the term at which the copy
/// was planned; `told` is how far the cluster was told that the register has come. A primary that was replaced meanwhile may have given WAL that nobody else has.
///
/// # Errors
/// What has changed, so that the copy cannot be used.
pub fn source_holds<'r>(
    source: &NodeName,
    term: Option<u64>,
    reading: &'r Reading,
    told: Option<Seen>,
) -> Result<&'r Register, String> {
    let row = believed(reading, None, told).map_err(|no_row| no_row.what().to_string())?;
    let owned = term.is_some_and(|term| row.is_owned_at(source, term));
    owned.then_some(row).ok_or_else(|| {
        format!(
            "the register's owner or term has changed (term {})",
            row.term
        )
    })
}
