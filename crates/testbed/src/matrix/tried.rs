//! The package that is tried.

use std::path::Path;

use crate::error::{Error, Result};
use crate::layout::base;
use crate::package::elf;
use crate::run::{Run, remove_directory};

/// Its bytes.
pub(super) fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        Error::Asked(format!(
            "{}: {error}; type `cargo testbed package`, or name one with --package",
            file.display()
        ))
    })
}

/// Which package it is, and what its programs need.
pub(super) fn described(file: &Path) -> Result<String> {
    let place = base().join("cache/package");
    remove_directory(&place)?;
    let (from, to) = (file.display().to_string(), place.display().to_string());
    Run::host(&["dpkg-deb", "--extract", &from, &to]).ok()?;
    let programs = [
        "usr/sbin/cls",
        "usr/sbin/distlock",
        "usr/lib/ocf/resource.d/heartbeat/expgsql",
    ];
    let (needs, portable) = elf::in_words(&programs.map(|program| place.join(program)))?;
    let sum = sum(file)?;
    let kind = match portable {
        true => "These are the portable programs of `cargo testbed package`",
        false => {
            "These are **not** the portable programs of `cargo testbed package`, but of a build for one system"
        }
    };
    Ok(format!(
        "{kind}: they need {needs}. The SHA-256 of the package is\n`{sum}`."
    ))
}

/// Its SHA-256.
pub(super) fn sum(file: &Path) -> Result<String> {
    let file = file.display().to_string();
    let said = Run::host(&["sha256sum", "--", &file]).ok()?;
    let sum = said.text().split_whitespace().next();
    Ok(sum.unwrap_or_default().to_owned())
}
