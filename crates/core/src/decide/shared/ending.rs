//! How monitors and notifications end on a primary.

use crate::decide::shared::attributes;
use crate::ocf::OcfCode;
use crate::plan::{Action, Step};
use crate::snapshot::{Operation, Snapshot};

/// All is as it should be, or as it can be.
pub(in crate::decide) fn done(s: &Snapshot) -> Step {
    match s.operation {
        Operation::Monitor { .. } => Step::finish(OcfCode::RunningPromoted),
        _ => Step::finish(OcfCode::Success),
    }
}

/// The end of a round that changes nothing: the register must not be relied on, or another operation of
/// this node is at work. What is shown does not depend on either.
pub(in crate::decide) fn show_and_end(s: &Snapshot, warning: String) -> Step {
    let actions = attributes::of_primary(s);
    done(s).after(actions).after(vec![Action::Warn(warning)])
}
