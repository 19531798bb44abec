//! The command that mends a node's data, as the agent orders it and as others read it again.
//!
//! Pacemaker carries the agent's reason for a failure as text and nothing else. So that the words are
//! the same on both ends, one enum writes them and reads them.

use crate::text_enum::text_enum;

text_enum! {
    /// A command that mends a node's data, with the words that order it.
    Remedy, "remedy" {
        /// The data have diverged: rewind them.
        Repair = "run cls_repair_slave",
        /// Copy them anew.
        Rebuild = "run cls_rebuild_slave",
    }
}

impl Remedy {
    /// The command itself, where it is named and not ordered: [`Self::ordered_by`] does not read it.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Repair => "cls_repair_slave",
            Self::Rebuild => "cls_rebuild_slave",
        }
    }

    /// What a reason of the agent orders. One that orders a repair may name the rebuild as what to do
    /// where that fails.
    #[must_use]
    pub fn ordered_by(reason: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|remedy| reason.contains(remedy.as_str()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ordered_is_read_again() {
        for remedy in Remedy::ALL {
            let reason = format!("{remedy} on node1: because; cls_rebuild_slave if that fails");
            assert_eq!(Remedy::ordered_by(&reason), Some(*remedy), "{reason}");
        }
        assert_eq!(Remedy::ordered_by("run cls_recovery_master"), None);
        for remedy in Remedy::ALL {
            assert_eq!(remedy.as_str(), format!("run {}", remedy.command()));
            assert_eq!(Remedy::ordered_by(remedy.command()), None);
        }
    }
}
