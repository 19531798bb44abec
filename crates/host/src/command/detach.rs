//! A program that outlives this one.

use std::fs::File;
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
        command.spawn().map_err(|reason| CommandError::NotStarted {
            program: self.shown_program(),
            reason,
        })
    }
}
