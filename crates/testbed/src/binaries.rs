//! Where the programs of this project are: the testbed itself, and what nodes get installed.

use std::path::{Path, PathBuf};

use crate::cargo::profile_of;
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

/// The program `name` as it goes into a node, if it has been built.
///
/// # Errors
/// It is older than its sources: what a test says of yesterday's program says nothing. What `PHA_BIN_DIR` names is
/// taken as it is.
pub(crate) fn to_install(name: &str) -> Result<Option<PathBuf>> {
    let Some(path) = find(name) else {
        return Ok(None);
    };
    let given = std::env::var_os("PHA_BIN_DIR").is_some();
    let Some(source) = newer_source(&path).filter(|_| !given) else {
        return Ok(Some(path));
    };
    let directory = path.parent().unwrap_or(&path);
    let build = [&["cargo", "build"], profile_of(directory), &["-p", name]].concat();
    Err(Error::Asked(format!(
        "{} is older than {}; type `{}`, or set PHA_BIN_DIR={} to take it as it is",
        path.display(),
        source.display(),
        build.join(" "),
        directory.display()
    )))
}

/// A source that has changed, or is gone, since the program was built of it. Which those are cargo has written down
/// beside the program (`expgsql.d`); a program without that was brought here from elsewhere.
fn newer_source(program: &Path) -> Option<PathBuf> {
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let built = changed(program)?;
    let text = std::fs::read_to_string(program.with_extension("d")).ok()?;
    let (_, list) = text.lines().next()?.split_once(": ")?;
    // A space in a name has a backslash before it.
    let escaped = list.replace("\\ ", "\0");
    let mut sources = escaped
        .split(' ')
        .map(|word| PathBuf::from(word.replace('\0', " ")));
    sources.find(|source| changed(source).is_none_or(|changed| changed > built))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_program_that_is_older_than_one_of_its_sources_is_found_out() {
        let directory = std::env::temp_dir().join(format!("testbed-old-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let now = SystemTime::now();
        let write = |name: &str, text: &str, age: u64| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(now - Duration::from_secs(age)).unwrap();
            path
        };
        let program = write("program", "", 50);
        assert_eq!(newer_source(&program), None, "nobody knows its sources");
        let (first, second) = (write("a.rs", "", 90), write("b c.rs", "", 60));
        let escaped = second.display().to_string().replace(' ', "\\ ");
        let list = format!("{}: {} {escaped}\n", program.display(), first.display());
        write("program.d", &list, 0);
        assert_eq!(newer_source(&program), None);
        write("b c.rs", "", 40);
        assert_eq!(newer_source(&program), Some(second));
        std::fs::remove_file(&first).unwrap();
        assert_eq!(newer_source(&program), Some(first));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
