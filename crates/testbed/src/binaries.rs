//! Where the programs of this project are: the testbed itself, and what nodes get installed.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What a node gets: the program's name, and where it goes.
pub const INSTALLED: [(&str, &str); 3] = [
    ("expgsql", "/usr/lib/ocf/resource.d/heartbeat/expgsql"),
    ("cls", "/opt/pha4pgsql/bin/cls"),
    ("distlock", "/opt/pha4pgsql/bin/distlock"),
];

/// Directories to look in: `PHA_BIN_DIR`; beside this program; and, for a test (which lies in
/// `TARGET/PROFILE/deps`), one above it and the release directory.
fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("PHA_BIN_DIR")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    if let Ok(own) = std::env::current_exe() {
        for dir in own.ancestors().skip(1).take(2) {
            places.push(dir.to_path_buf());
            if let Some(target) = dir.parent() {
                places.push(target.join("release"));
            }
        }
    }
    places
}

/// The program `name`, if it has been built.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    places()
        .into_iter()
        .map(|dir| dir.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The testbed's own program, which nodes are started with.
pub(crate) fn testbed() -> Result<PathBuf> {
    find("testbed").ok_or_else(|| {
        Error::Asked(
            "the testbed's program is not built; type `cargo build --release -p pha-testbed`, or set PHA_BIN_DIR to where it is".to_owned(),
        )
    })
}
