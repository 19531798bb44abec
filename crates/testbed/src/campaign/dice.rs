//! Random numbers that are the same everywhere and for ever, so that a seed names one campaign.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). Written
/// out here because the sequence behind a seed must not change with the version of a library.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none. The modulo's bias is of no account here.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Yes in this share of cases.
    pub(super) fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// One of them.
    pub(super) fn pick<T: Copy>(&mut self, first: T, others: &[T]) -> T {
        let chosen = self.below(others.len() as u64 + 1);
        let index = usize::try_from(chosen).unwrap_or(0);
        index
            .checked_sub(1)
            .and_then(|index| others.get(index).copied())
            .unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_sequence_is_the_published_one() {
        // The first outputs for the seed 1234567, as in the author's reference code.
        let mut dice = Dice::new(1_234_567);
        let first = [dice.next(), dice.next(), dice.next()];
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut dice = Dice::new(1);
        for _ in 0..1000 {
            assert!((3..=7).contains(&dice.between(3, 7)));
            assert!([1, 2, 3].contains(&dice.pick(1, &[2, 3])));
        }
        assert_eq!((dice.below(0), dice.between(5, 5)), (0, 5));
    }
}
