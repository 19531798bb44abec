//! The command line: one binary, called as `cls status` or through a link `cls_status`.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::app::{Common, Outcome, Session};
use crate::audit::Trail;
use crate::commands::Command;
use crate::error::Exit;
use crate::interrupt::Interrupt;
use crate::render::Ui;

/// Operate a PostgreSQL cluster of pha4pgsql
///
/// Every command is also there as a program of its own: `cls_status` is `cls status`.
#[derive(Debug, Parser)]
#[command(name = "cls", version, after_help = EXIT_CODES, max_term_width = 80)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// One line: it is broken where the terminal ends.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 the primary is up but a standby is not (start), 10 a precondition is \
not met, 11 it did not come about in time, 100 wrong arguments, 101 no cluster information (Pacemaker \
does not run here), 102 no quorum, or the nodes disagree. `status --check` has those of a monitoring \
plugin: 0 ok, 1 warning, 2 critical, 3 unknown.";

/// The words as `cls` takes them: `/opt/x/cls_online_switch --to b` is `cls online_switch --to b`.
fn words(mut given: Vec<OsString>) -> Vec<OsString> {
    let name = given
        .first()
        .and_then(|first| Path::new(first).file_name())
        .and_then(OsStr::to_str);
    if let Some(command) = name.and_then(|name| name.strip_prefix("cls_")) {
        let command = OsString::from(command);
        given[0] = "cls".into();
        given.insert(1, command);
    }
    given
}

/// Runs the program; the only function that makes an exit code.
pub(crate) fn main(given: impl Iterator<Item = OsString>) -> ExitCode {
    let given: Vec<OsString> = given.collect();
    let cli = match Cli::try_parse_from(words(given.clone())) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let operator = !matches!(cli.command, Command::Internal(_));
    let ui = Ui::new(cli.common.json, cli.common.quiet, operator);
    let session = Session {
        ui,
        interrupt: Interrupt::install(),
        common: cli.common,
        definition: command,
    };
    pha_host::log::init(tracing::Level::ERROR);
    let trail = cli.command.changes().then(|| Trail::begin(&given));
    let result = cli.command.run(&session).map(|outcome| match outcome {
        Outcome::Done => 0,
        Outcome::Check(code) => code,
    });
    if let Some(trail) = trail {
        trail.end(result.as_ref().copied());
    }
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            session.ui.error(&error);
            error.exit().into()
        }
    }
}

/// The definition of the command line, that manual pages and completions are made from.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Help and version are no errors; anything else clap says is a wrong argument.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to tell anyone if the stream is closed.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done.into(),
        _ => Exit::Usage.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(words(line.iter().map(OsString::from).collect()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_link_is_the_command() {
        assert!(matches!(
            parse(&["/opt/x/bin/cls_master", "--json"]).unwrap().command,
            Command::Master(_)
        ));
        assert!(matches!(
            parse(&["cls", "master"]).unwrap().command,
            Command::Master(_)
        ));
        assert!(parse(&["cls_nonsense"]).is_err());
        assert!(parse(&["cls", "status", "--timeout", "0"]).is_err());
    }

    #[test]
    fn help_as_it_is_printed() {
        let mut texts = Cli::command().render_long_help().to_string();
        let mut cli = Cli::command();
        cli.build();
        for command in cli
            .get_subcommands_mut()
            .filter(|sub| sub.get_name() != "help")
        {
            let text = command.render_help().to_string();
            texts += &format!("\n==== cls_{} ====\n{text}", command.get_name());
        }
        insta::assert_snapshot!(texts);
    }
}
