//! What a program needs of the system that it runs on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::site::{GLIBC, PROGRAMS, STEP};
use crate::error::{Error, Result};
use crate::run::Run;

/// The libraries of glibc, which every system has (glibc 2.34 and newer has them in one).
const EVERYWHERE: [&str; 8] = [
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
];

/// What one program needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Its name.
    pub(super) program: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Libraries.
    pub(super) libraries: Vec<String>,
    /// The newest version of glibc that a symbol asks for.
    pub(super) glibc: String,
}

/// Looks at every program.
///
/// # Errors
/// One needs a library that not every system has, or a newer glibc than is promised.
pub(super) fn examine(programs: &Path) -> Result<Vec<Needs>> {
    PROGRAMS.iter().map(|name| one(programs, name)).collect()
}

fn one(programs: &Path, name: &str) -> Result<Needs> {
    let file = programs.join(name);
    let needs = look(&file)?;
    judge(&needs).map_err(|why| Error::Asked(format!("{} {why}", file.display())))?;
    Ok(needs)
}

/// What these programs need, in words: libraries beside those of every system, and the newest glibc; and
/// whether that is all that a portable program may need.
///
/// # Errors
/// One cannot be read.
pub(crate) fn in_words(programs: &[PathBuf]) -> Result<(String, bool)> {
    let needs: Vec<Needs> = programs
        .iter()
        .map(|file| look(file))
        .collect::<Result<_>>()?;
    let portable = needs.iter().all(|one| judge(one).is_ok());
    Ok((together(&needs), portable))
}

fn together(needs: &[Needs]) -> String {
    let newest = needs.iter().map(|one| &one.glibc);
    let newest = newest.max_by_key(|version| numbers(version));
    let more = needs.iter().flat_map(|one| &one.libraries);
    let more: BTreeSet<&str> = more
        .map(String::as_str)
        .filter(|library| !EVERYWHERE.contains(library))
        .collect();
    let glibc = format!("glibc {}", newest.map_or("", String::as_str));
    std::iter::once(glibc.as_str())
        .chain(more)
        .collect::<Vec<&str>>()
        .join(", ")
}

fn look(file: &Path) -> Result<Needs> {
    let text = file.display().to_string();
    let words = ["readelf", "--wide", "--dynamic", "--version-info", &text];
    let output = Run::host(&words).timeout(STEP).ok()?;
    let size = file.metadata().map_err(Error::io("look at", file))?.len();
    let name = file.file_name().unwrap_or_default();
    Ok(Needs {
        program: name.to_string_lossy().into_owned(),
        size,
        ..read(&output.stdout)
    })
}

/// Reads what readelf says.
fn read(text: &str) -> Needs {
    let mut needs = Needs::default();
    let mut newest = Vec::new();
    for line in text.lines() {
        if line.contains("(NEEDED)") {
            let library = line
                .split_once('[')
                .and_then(|(_, rest)| rest.split_once(']'));
            needs
                .libraries
                .extend(library.map(|(name, _)| name.to_owned()));
        }
        let name = line.split_once("Name: GLIBC_").map(|(_, rest)| rest);
        let version = name.and_then(|rest| rest.split_whitespace().next());
        if let Some(version) = version.filter(|version| numbers(version) > newest) {
            newest = numbers(version);
            version.clone_into(&mut needs.glibc);
        }
    }
    needs.libraries.sort();
    needs
}

fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}

fn judge(needs: &Needs) -> Result<(), String> {
    let strange = needs
        .libraries
        .iter()
        .find(|library| !EVERYWHERE.contains(&library.as_str()));
    if let Some(library) = strange {
        return Err(format!("needs {library}, which not every system has"));
    }
    if needs.libraries.is_empty() || needs.glibc.is_empty() {
        return Err("does not say what it needs; readelf was not understood".to_owned());
    }
    if numbers(&needs.glibc) > numbers(GLIBC) {
        return Err(format!("needs glibc {}, newer than {GLIBC}", needs.glibc));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "
 0x0000000000000001 (NEEDED)             Shared library: [libpthread.so.0]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x000000000000000c (INIT)               0x3000
Version needs section '.gnu.version_r' contains 2 entries:
  0x0010:   Name: GLIBC_2.3.4  Flags: none  Version: 9
  0x0020:   Name: GLIBC_2.17  Flags: none  Version: 8
  0x0030:   Name: GLIBC_2.2.5  Flags: none  Version: 7
";

    #[test]
    fn what_a_program_needs_is_read_and_judged() {
        let needs = read(SAID);
        assert_eq!(needs.libraries, ["libc.so.6", "libpthread.so.0"]);
        assert_eq!(needs.glibc, "2.17");
        assert_eq!(judge(&needs), Ok(()));
        let newer = read(&SAID.replace("2.3.4", "2.34"));
        assert!(judge(&newer).is_err_and(|why| why.contains("glibc 2.34")));
        let other = read(&SAID.replace("libpthread.so.0", "libssl.so.3"));
        assert!(judge(&other).is_err_and(|why| why.contains("libssl.so.3")));
        assert!(judge(&read("")).is_err());
        assert_eq!(together(&[needs]), "glibc 2.17");
        assert_eq!(together(&[newer, other]), "glibc 2.34, libssl.so.3");
    }
}
