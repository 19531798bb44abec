//! What can go wrong with a testbed, always with the node and the program named.

use std::path::Path;
use std::time::Duration;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the testbed. Every variant says where it happened and what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be started at all.
    #[error("{place}: cannot start {program}: {source}; is the package that holds it installed?")]
    Start {
        /// `host` or the node's name.
        place: String,
        /// The program that was to be started.
        program: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A program ended with a status other than 0.
    #[error("{place}: `{command}` ended with {status}: {stderr}")]
    Failed {
        /// `host` or the node's name.
        place: String,
        /// The words of the command.
        command: String,
        /// Exit code or signal, in words.
        status: String,
        /// What the program said on stderr (stdout where stderr is empty).
        stderr: String,
    },
    /// A program did not end in time and was killed.
    #[error("{place}: `{command}` was killed after {seconds:.1} s without an answer: {stderr}")]
    Hung {
        /// `host` or the node's name.
        place: String,
        /// The words of the command.
        command: String,
        /// How long it was given, in seconds.
        seconds: f64,
        /// What it had said on stderr by then.
        stderr: String,
    },
    /// A condition did not come about in time.
    #[error("{what} did not come about within {:.1} s; last seen: {last}", .timeout.as_secs_f64())]
    NotInTime {
        /// The condition that was waited for.
        what: String,
        /// How long it was waited for.
        timeout: Duration,
        /// What was there instead when the time was up.
        last: String,
    },
    /// The node is powered off.
    #[error("{0} is powered off; `cargo testbed fault boot {0}` starts it")]
    Down(String),
    /// There is no cluster of that name, or its keeper is gone.
    #[error("no cluster named {0} is running; `cargo testbed up --name {0}` makes one")]
    NoCluster(String),
    /// Something asked for does not exist or contradicts something else.
    #[error("{0}")]
    Asked(String),
    /// A file or directory operation of the testbed itself failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the system answered.
        source: std::io::Error,
    },
}

impl Error {
    /// An [`Error::Io`] that names the operation and the path.
    pub(crate) fn io(
        operation: &str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let what = format!("cannot {operation} {}", path.as_ref().display());
        move |source| Error::Io { what, source }
    }

    /// The same for the error type of rustix.
    pub(crate) fn sys(
        operation: &str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(rustix::io::Errno) -> Error {
        let convert = Error::io(operation, path);
        move |errno| convert(errno.into())
    }
}
