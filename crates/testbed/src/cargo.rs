//! Running cargo, and what it built, from inside `cargo testbed`: visibly, and with a deadline.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::interrupt::{Undo, kill_group};
use crate::packages;
use crate::progress::Progress;

/// How long a build may take, from nothing, on a slow machine.
const BUILD: Duration = Duration::from_secs(3000);

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    // `cargo run` says where the package is; a binary started by hand was built there.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package
        .ancestors()
        .nth(2)
        .map_or_else(|| package.clone(), Path::to_path_buf)
}

/// A cargo command in the workspace.
pub(crate) fn cargo<S: AsRef<OsStr>>(words: &[S]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command
        .args(words)
        .current_dir(workspace())
        .stdin(Stdio::null());
    command
}

/// The directory that this program was built into, and the product beside it: of a test the one above its own.
///
/// # Errors
/// The system does not tell.
pub(crate) fn own_directory() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::io("find", "this program"))?;
    let mut directories = own.ancestors().skip(1);
    let directory = directories.find(|directory| !directory.ends_with("deps"));
    Ok(directory.map_or_else(|| PathBuf::from("."), Path::to_path_buf))
}

/// What cargo is told so that it builds into that directory of its target directory.
pub(crate) fn profile_of(directory: &Path) -> &'static [&'static str] {
    match directory.ends_with("debug") {
        true => &[],
        false => &["--release"],
    }
}

/// Builds the programs that nodes get into the directory that this program is in, from where they are taken;
/// with `PHA_BIN_DIR` they come from there as they are.
///
/// # Errors
/// A package cannot be installed, or the build fails or takes too long.
pub(crate) fn build_product(progress: &Progress) -> Result<()> {
    if let Some(place) = std::env::var_os("PHA_BIN_DIR") {
        progress.say(&format!("the programs of {}", Path::new(&place).display()));
        return Ok(());
    }
    packages::ensure_to_build(progress)?;
    let mut words = vec!["build"];
    words.extend(profile_of(&own_directory()?));
    progress.say(&format!(
        "cargo {}: expgsql, cls, distlock",
        words.join(" ")
    ));
    for package in ["expgsql", "cls", "distlock"] {
        words.extend(["--package", package]);
    }
    match stream(cargo(&words), BUILD, |_| {})? {
        0 => Ok(()),
        code => Err(Error::Asked(format!(
            "cargo {} ended with status {code}; its messages are above",
            words.join(" ")
        ))),
    }
}

/// Runs a command whose stderr goes to this program's, and hands every line of its stdout to
/// `line`; its exit code, where a signal ended it 128 and the signal. The whole process group is
/// killed on Ctrl-C, and when it has not written a line for `silence`: how long all of it takes depends on what
/// else the machine has to do.
///
/// # Errors
/// It does not start, or hung.
pub(crate) fn stream(
    mut command: Command,
    silence: Duration,
    mut line: impl FnMut(&str),
) -> Result<i32> {
    let program = command.get_program().to_string_lossy().into_owned();
    let no_start = |source| Error::Start {
        place: "host".to_owned(),
        program: program.clone(),
        source,
    };
    command.process_group(0).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(no_start)?;
    let _undo = Undo::group(child.id());
    let (say, said) = channel::<String>();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(|l| l.ok()) {
                if say
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    break;
                }
            }
        });
    }
    loop {
        match said.recv_timeout(silence) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                kill_group(child.id());
                let _ = child.wait();
                return Err(Error::Hung {
                    place: "host".to_owned(),
                    command: program,
                    seconds: silence.as_secs_f64(),
                    stderr: "its messages are above".to_owned(),
                });
            }
        }
    }
    let status = crate::run::wait_child(&mut child, Instant::now() + Duration::from_secs(5))
        .map_err(no_start)?;
    Ok(status.map_or(137, crate::run::shell_code))
}
