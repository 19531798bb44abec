//! The tools that packages are made with: pinned, with their sums, in a directory of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::run::Run;

/// What pip is told; the sums in it are compared by pip.
const PINNED: &str = include_str!("../../package/tools.txt");

/// Ninety megabytes over a slow line.
const DOWNLOAD: Duration = Duration::from_secs(1200);

/// Installs them below the build's directory, where that was not done before with the same list. Returns the
/// directory of the programs.
pub(super) fn ensure(target: &Path, progress: &Progress) -> Result<PathBuf> {
    let place = target.join("tools/package");
    let programs = place.join("bin");
    // Written last: an installation that was cut off is begun again.
    let done = place.join("installed.txt");
    if std::fs::read_to_string(&done).is_ok_and(|text| text == PINNED) {
        return Ok(programs);
    }
    let _step = progress.step("installing the tools that make packages");
    std::fs::create_dir_all(&place).map_err(Error::io("make", &place))?;
    let list = place.join("tools.txt");
    let text = |path: &Path| path.display().to_string();
    let pip = pip(&place)?;
    std::fs::write(&list, PINNED).map_err(Error::io("write", &list))?;
    let words = [
        &text(&pip),
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--requirement",
        &text(&list),
    ];
    Run::host(&words).timeout(DOWNLOAD).ok()?;
    std::fs::write(&done, PINNED).map_err(Error::io("write", &done))?;
    Ok(programs)
}

/// A pip in a directory of its own, which is emptied.
///
/// # Errors
/// python3 has no venv.
pub(crate) fn pip(place: &Path) -> Result<PathBuf> {
    let words = ["python3", "-m", "venv", "--clear"];
    let directory = place.display().to_string();
    Run::host(&[&words[..], &[&directory]].concat())
        .timeout(DOWNLOAD)
        .ok()?;
    Ok(place.join("bin/pip"))
}

#[cfg(test)]
mod tests {
    use super::PINNED;

    #[test]
    fn every_tool_is_pinned_by_its_version_and_its_sum() {
        for line in PINNED.lines().filter(|line| !line.starts_with('#')) {
            let (tool, sum) = line.split_once(" --hash=sha256:").unwrap_or_default();
            assert!(tool.split_once("==").is_some(), "{line}");
            assert!(
                sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{line}"
            );
        }
    }
}
