//! What an effect was decided from that is no change of the register itself (R12).

use super::{Memory, Reading};
use crate::names::NodeName;

/// The register as it was when something was decided that takes effect elsewhere: PostgreSQL's
/// synchronous standbys have no condition that the lock service could check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decided {
    /// The term at which this node is the owner.
    pub term: u64,
    /// The epoch of the holders.
    pub epoch: u64,
    /// The lock service is out of reach. The other nodes were asked instead: each has promised not to be
    /// promoted at this epoch, or one of them has passed the change of the holders on (R7); or what was begun
    /// at this epoch is taken back (R3). Then this node's own memory says whether the epoch has moved: at one
    /// term nobody moves it but the owner.
    pub by_memory: bool,
}

impl Decided {
    /// Whether it still is so, by what the lock service says now (not asked where it was decided by
    /// promise) and by what is on this node's disk now.
    ///
    /// # Errors
    /// Why it is not, or cannot be told. The effect must not be made then.
    pub fn holds(
        &self,
        me: &NodeName,
        reading: Option<&Reading>,
        memory: &Memory,
    ) -> Result<(), String> {
        let moved = |term: u64, epoch: u64| {
            format!(
                "the register has moved on to term {term}, epoch {epoch} since this was decided (term \
                 {}, epoch {})",
                self.term, self.epoch
            )
        };
        if (memory.term, memory.epoch) != (self.term, self.epoch) {
            return Err(moved(memory.term, memory.epoch));
        }
        match reading {
            None if memory.withdrawn >= Some(self.epoch) => {
                Err("this node has withdrawn its question for promises".to_owned())
            }
            None if self.by_memory && !memory.unsettled_at(self.epoch) => Ok(()),
            None => Err("it is not known whether the register has moved".to_owned()),
            Some(reading) => match reading.row().map_err(|no| no.to_string())? {
                row if row.is_owned_at(me, self.term) && row.epoch == self.epoch => Ok(()),
                row => Err(moved(row.term, row.epoch)),
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::register::{Register, Trouble};

    fn row(term: u64, epoch: u64) -> Reading {
        Reading::Row(Register {
            owner: Some("node1".parse().unwrap()),
            term,
            epoch,
            ..Register::fresh()
        })
    }

    #[test]
    fn an_effect_is_made_at_the_very_epoch_it_was_decided_from() {
        let me: NodeName = "node1".parse().unwrap();
        let decided = Decided {
            term: 2,
            epoch: 5,
            by_memory: false,
        };
        let memory = Memory {
            term: 2,
            epoch: 5,
            ..Memory::default()
        };
        let holds = |reading: Option<&Reading>, memory: &Memory| {
            decided.holds(&me, reading, memory).map_err(drop)
        };
        assert_eq!(holds(Some(&row(2, 5)), &memory), Ok(()));
        for other in [row(2, 6), row(3, 5), row(2, 4), Reading::Missing] {
            assert_eq!(holds(Some(&other), &memory), Err(()), "{other:?}");
        }
        let away = Reading::Unknown(Trouble::Unreachable(String::new()));
        assert_eq!(holds(Some(&away), &memory), Err(()));
        assert_eq!(holds(None, &memory), Err(()), "nobody has promised");
        let later = Memory { epoch: 6, ..memory };
        assert_eq!(holds(Some(&row(2, 5)), &later), Err(()));
        // Nothing is decided from what this node does not keep.
        let earlier = Memory { epoch: 4, ..memory };
        assert_eq!(holds(Some(&row(2, 5)), &earlier), Err(()));

        let promised = Decided {
            by_memory: true,
            ..decided
        };
        assert_eq!(promised.holds(&me, None, &memory), Ok(()));
        assert!(promised.holds(&me, None, &later).is_err());
        assert!(promised.holds(&me, None, &earlier).is_err());
        let asked = Memory {
            asked: Some(5),
            ..memory
        };
        assert!(promised.holds(&me, None, &asked).is_err());
    }
}
