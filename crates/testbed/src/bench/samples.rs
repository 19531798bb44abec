//! Several measurements of one thing.

use serde::Serialize;

/// Several measurements of one thing.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Samples {
    pub(super) values: Vec<f64>,
}

impl Samples {
    pub(super) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    pub(super) fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The median; of an even number the lower of the two in the middle.
    pub(super) fn median(&self) -> Option<f64> {
        let values = self.sorted();
        values.get(values.len().saturating_sub(1) / 2).copied()
    }
}
