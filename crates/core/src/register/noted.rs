//! What agent and guard tell each other of promises (R7), in lines that a reboot takes away.

use std::fmt;

use super::Memory;

/// Every other node has promised not to promote, at this term and epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromisedAt {
    /// The term of the primary that has asked.
    pub term: u64,
    /// The epoch that was promised for.
    pub epoch: u64,
}

impl PromisedAt {
    /// What a line says; none where it makes no sense, which proves nothing.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (term, epoch) = line.split_once(' ')?;
        Some(Self {
            term: term.parse().ok()?,
            epoch: epoch.parse().ok()?,
        })
    }

    /// Whether it still binds the other nodes, as far as this node knows: nothing later is known of the register.
    #[must_use]
    pub const fn binds(self, memory: &Memory) -> bool {
        self.term == memory.term && self.epoch == memory.epoch
    }
}

impl fmt::Display for PromisedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.term, self.epoch)
    }
}

/// The epoch at which the guard has asked for promises, as its line says ([`Memory::with_guard`]). One that makes no
/// sense counts as none: the other nodes then keep to what they may have promised until the epoch moves otherwise.
#[must_use]
pub fn asked_at(line: &str) -> Option<u64> {
    line.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_nonsense_proves_nothing() {
        let noted = PromisedAt { term: 3, epoch: 7 };
        assert_eq!(PromisedAt::parse(&noted.to_string()), Some(noted));
        for line in ["", "3", "3 ", " 7", "3 7 1", "3 x", "-3 7"] {
            assert_eq!(PromisedAt::parse(line), None, "{line:?}");
        }
        assert_eq!(asked_at("7"), Some(7));
        assert_eq!(asked_at("7 8"), None);
    }

    #[test]
    fn promises_bind_until_something_later_is_known() {
        let noted = PromisedAt { term: 3, epoch: 7 };
        for (term, epoch, binds) in [(3, 7, true), (3, 8, false), (4, 7, false), (0, 0, false)] {
            let memory = Memory {
                term,
                epoch,
                ..Memory::default()
            };
            assert_eq!(noted.binds(&memory), binds, "{term} {epoch}");
        }
    }
}
