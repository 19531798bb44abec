//! Clocks that can be set: programs of a node are told another time than the right one, by
//! libfaketime. The monotonic clock stays as it is, as it does for an administrator who sets the time.

use std::time::Duration;

use crate::error::Result;
use crate::node::Node;
use crate::packages;

/// By how much the time that is told differs from the right one.
const FILE: &str = "/run/clock";

const SHORT: Duration = Duration::from_secs(10);

/// The environment of a program that is told the time of its node's clock.
pub(crate) fn environment() -> [String; 5] {
    [
        format!("LD_PRELOAD={}", packages::clock_library()),
        format!("FAKETIME_TIMESTAMP_FILE={FILE}"),
        // The file is looked at again after a second.
        "FAKETIME_CACHE_DURATION=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "NO_FAKE_STAT=1".to_owned(),
    ]
}

impl Node {
    /// Sets the node's clock this many seconds ahead of the right time, or behind it, within a
    /// second, for the programs that go by it. That lasts until it is set again or the node starts.
    ///
    /// # Errors
    /// The node is off.
    pub fn set_clock(&self, ahead_s: i32) -> Result<()> {
        // Replaced as a whole: a file that is read while it is written would be another time.
        let fresh = format!("{FILE}.new");
        self.write(&fresh, format!("{ahead_s:+}\n"), 0o644)?;
        self.run(&["mv", "-f", &fresh, FILE], SHORT).map(drop)
    }

    /// Sets it right where nobody has set it since the node started.
    pub(crate) fn wind_clock(&self) -> Result<()> {
        match self.read(FILE) {
            Ok(_) => Ok(()),
            Err(_) => self.set_clock(0),
        }
    }
}
