//! The one place of the testbed that starts a program: argument vector, deadline, both streams.
//!
//! The streams go to anonymous files instead of pipes. A program that leaves a daemon behind
//! (`pg_ctl start`, `corosync`) would keep a pipe open for ever; a file is simply read once the
//! program itself has ended.

use std::fs;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Error, Result};

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code, or 128 + signal where a signal ended it, as a shell would say.
    pub code: i32,
    /// Everything written to stdout (invalid UTF-8 replaced).
    pub stdout: String,
    /// Everything written to stderr (invalid UTF-8 replaced).
    pub stderr: String,
    /// Wall time from start to end.
    pub elapsed: Duration,
}

impl Output {
    /// Whether the exit code is 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.code == 0
    }

    /// Stdout without surrounding white space.
    #[must_use]
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

/// A program about to be run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    place: String,
    /// The words as a person would type them; may differ from `argv`, which enters namespaces.
    shown: Vec<String>,
    argv: Vec<String>,
    stdin: Option<Vec<u8>>,
    timeout: Duration,
}

impl Run {
    /// A program on the host.
    pub(crate) fn host<S: AsRef<str>>(argv: &[S]) -> Run {
        let argv: Vec<String> = argv.iter().map(|word| word.as_ref().to_owned()).collect();
        Run::wrapped("host", &argv, argv.clone())
    }

    /// A program that runs at `place` as `shown`, by way of the longer `argv`.
    pub(crate) fn wrapped(place: &str, shown: &[String], argv: Vec<String>) -> Run {
        Run {
            place: place.to_owned(),
            shown: shown.to_vec(),
            argv,
            stdin: None,
            timeout: Duration::from_secs(30),
        }
    }

    /// Bytes to give on stdin; without them stdin is /dev/null.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Run {
        self.stdin = Some(bytes.into());
        self
    }

    /// The deadline (30 s unless told).
    pub(crate) fn timeout(mut self, timeout: Duration) -> Run {
        self.timeout = timeout;
        self
    }

    /// Runs it; any exit code is a result, only failing to start or to end is an error.
    pub(crate) fn output(&self) -> Result<Output> {
        let (mut out, mut err) = (self.file()?, self.file()?);
        let begin = Instant::now();
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).process_group(0);
        command.stdout(self.share(&out)?).stderr(self.share(&err)?);
        match &self.stdin {
            None => command.stdin(Stdio::null()),
            Some(bytes) => command.stdin(self.input(bytes)?),
        };
        let mut child = command.spawn().map_err(|source| self.no_start(source))?;
        let status = wait_child(&mut child, begin + self.timeout).map_err(|e| self.no_start(e))?;
        let stderr = slurp(&mut err);
        let Some(status) = status else {
            return Err(Error::Hung {
                place: self.place.clone(),
                command: self.command_line(),
                seconds: self.timeout.as_secs_f64(),
                stderr: brief(&stderr),
            });
        };
        Ok(Output {
            code: shell_code(status),
            stdout: slurp(&mut out),
            stderr,
            elapsed: begin.elapsed(),
        })
    }

    /// Runs it; an exit code other than 0 is an error too.
    pub(crate) fn ok(&self) -> Result<Output> {
        let output = self.output()?;
        if output.ok() {
            Ok(output)
        } else {
            Err(self.failure(&output))
        }
    }

    /// The error that describes `output` as a failure of this program.
    pub(crate) fn failure(&self, output: &Output) -> Error {
        let said = if output.stderr.trim().is_empty() {
            &output.stdout
        } else {
            &output.stderr
        };
        let status = match output.code {
            code if code > 128 => format!("status {code} (signal {})", code - 128),
            code => format!("status {code}"),
        };
        Error::Failed {
            place: self.place.clone(),
            command: self.command_line(),
            status,
            stderr: brief(said),
        }
    }

    fn command_line(&self) -> String {
        brief(&self.shown.join(" "))
    }

    fn no_start(&self, source: std::io::Error) -> Error {
        Error::Start {
            place: self.place.clone(),
            program: self.argv[0].clone(),
            source,
        }
    }

    fn file(&self) -> Result<File> {
        rustix::fs::memfd_create("testbed-stream", rustix::fs::MemfdFlags::CLOEXEC)
            .map(File::from)
            .map_err(|errno| self.no_start(errno.into()))
    }

    fn share(&self, file: &File) -> Result<Stdio> {
        file.try_clone()
            .map(Stdio::from)
            .map_err(|source| self.no_start(source))
    }

    fn input(&self, bytes: &[u8]) -> Result<Stdio> {
        let mut file = self.file()?;
        file.write_all(bytes)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .map_err(|source| self.no_start(source))?;
        Ok(Stdio::from(file))
    }
}

/// Waits for `child` until `deadline`; `None` says that it was killed because the time was up.
pub(crate) fn wait_child(
    child: &mut Child,
    deadline: Instant,
) -> std::io::Result<Option<ExitStatus>> {
    if !ends_before(child.id(), deadline)? {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    }
    child.wait().map(Some)
}

/// Waits until the process `pid` has ended (`true`) or `deadline` has passed (`false`).
pub(crate) fn ends_before(pid: u32, deadline: Instant) -> std::io::Result<bool> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(true);
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        Err(errno) => return Err(errno.into()),
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if Instant::now() >= deadline => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

pub(crate) fn shell_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn slurp(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // The file is ours and in memory; if it cannot be read there is nothing to show.
    let _ = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One line of at most 2,000 characters: error messages are fragments, not logs.
fn brief(text: &str) -> String {
    let joined = text
        .trim()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join(" / ");
    if joined.chars().count() <= 2000 {
        return joined;
    }
    let tail: String = joined.chars().skip(joined.chars().count() - 1900).collect();
    format!("… {tail}")
}

/// Waits for a child in the background, so that it does not stay behind as a zombie.
pub(crate) fn reap(mut child: Child) {
    std::thread::spawn(move || child.wait());
}

/// Removes a directory with everything in it, if it is there.
pub(crate) fn remove_directory(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}
