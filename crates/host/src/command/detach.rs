//! Programs that are not waited for.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use super::{Command, CommandError};

impl Command {
    /// Starts the program and does not wait for it. It gets this process's own environment, the
    /// parameters of the agent included, nothing to read, and `log` as its standard error. None of
    /// this process's pipes stays open in it: Pacemaker's executor reads the agent's to their end.
    ///
    /// # Errors
    /// [`CommandError::NotStarted`].
    pub fn detach(self, log: File) -> Result<Child, CommandError> {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.begun(command.spawn())
    }

    /// Starts the program with an empty environment and a socket as its standard input, over which
    /// both sides speak. It ends when this process does, which closes the socket. What is given as
    /// `kept` stays open in it.
    ///
    /// # Errors
    /// [`CommandError::NotStarted`].
    pub(crate) fn converse(
        self,
        socket: OwnedFd,
        kept: Option<OwnedFd>,
    ) -> Result<Child, CommandError> {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(socket)
            .stdout(Stdio::null())
            .stderr(kept.map_or_else(Stdio::null, Stdio::from));
        self.begun(command.spawn())
    }

    fn begun(&self, child: std::io::Result<Child>) -> Result<Child, CommandError> {
        child.map_err(|reason| CommandError::NotStarted {
            program: self.shown_program(),
            reason,
        })
    }
}
