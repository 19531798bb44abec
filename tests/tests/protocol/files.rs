//! What a file of PostgreSQL's settings says and what its server has are two things. A reload takes up nothing while
//! any of the files has an error, and a reload that somebody else makes later, when that is mended, takes up whatever
//! they say then.

use pha_core::parse::standby_names::Waits;
use pha_core::plan::{Action, Effect};
use pha_core::register::Update;
use pha_core::snapshot::Snapshot;

use crate::model::{Explored, Move};
use crate::mutation::Mutation;
use crate::state::{HELD_BIT, Node, Postgres, State};
use crate::strangers;

/// R14.
pub(crate) const SHUT: &str =
    "nobody is told to open whose commits wait for a standby that cannot exist";

impl Explored {
    pub(crate) fn file_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        let node = &state.nodes[i];
        // One file of the cluster has an error at a time, and it comes while a server runs: one that is down is not
        // started before it is mended.
        let whole = state.nodes.iter().all(|node| !node.unread);
        if self.files && (node.unread || (whole && node.postgres != Postgres::Down)) {
            moves.push(Move::ErrorComes(i));
        }
        let other = node.names != node.shown && !node.unread;
        if self.files && other && matches!(node.postgres, Postgres::Primary { .. }) {
            moves.push(Move::Reloads(i));
        }
    }

    /// The settings of a standby are written again, and it is to read them.
    pub(crate) fn rewritten(&self, node: &mut Node, names: u8) -> Result<Effect, String> {
        (node.names, node.lender) = (names, None);
        let read = reload(node).map(|()| Effect::Done);
        match self.mutation {
            Mutation::OpeningUnseen => Ok(Effect::Done),
            _ => read,
        }
    }
}

/// The server reads its files.
pub(crate) fn reload(node: &mut Node) -> Result<(), String> {
    if node.unread {
        return Err("a file has an error".to_owned());
    }
    node.shown = node.names;
    Ok(())
}

/// What a server has that does not run is what it will read.
pub(crate) fn unless_running(node: &mut Node) {
    if node.postgres == Postgres::Down {
        node.shown = node.names;
    }
}

/// The names of a setting, as bits.
pub(crate) fn bits(waits: &Waits) -> u8 {
    let held = if waits.is_held() { HELD_BIT } else { 0 };
    strangers::of_texts(waits.names()) | held
}

/// Whether an operation asks for the register although it has seen that its standby takes up no change.
pub(crate) fn asks_unread(s: &Snapshot, actions: &[Action]) -> bool {
    let asks = |action: &Action| matches!(action, Action::UpdateRegister(Update::Promote { .. }));
    s.standby().is_some_and(|view| view.unread.is_some()) && actions.iter().any(asks)
}
