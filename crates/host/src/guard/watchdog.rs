//! The hardware watchdog: it reboots the machine when nobody feeds it in time.
//!
//! Linux' interface (Documentation/watchdog/watchdog-api): opening the device starts it with the
//! time that its driver was configured with, any write feeds it, and only a `V` just before the file
//! is closed stops it again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// An open watchdog.
pub(crate) struct Watchdog(Option<File>);

impl Watchdog {
    /// Opens the device, if one is configured.
    pub(crate) fn open(path: Option<&str>) -> io::Result<Self> {
        let open = |path: &str| {
            let file = OpenOptions::new().append(true).open(Path::new(path));
            file.map_err(|error| {
                io::Error::new(error.kind(), format!("guard_watchdog={path}: {error}"))
            })
        };
        Ok(Self(path.map(open).transpose()?))
    }

    /// None.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Feeds it.
    pub(crate) fn feed(&mut self) -> io::Result<()> {
        self.0
            .as_mut()
            .map_or(Ok(()), |device| device.write_all(b"\0"))
    }

    /// Stops it, for an orderly end.
    pub(crate) fn disarm(&mut self) -> io::Result<()> {
        self.0
            .take()
            .map_or(Ok(()), |mut device| device.write_all(b"V"))
    }
}
