//! The installation: its config.ini, and running this program on every node.

use std::path::PathBuf;
use std::time::Duration;

use pha_core::names::NodeName;
use pha_host::clock::Deadline;
use pha_host::command::{Command, Output};
use pha_host::config::ClusterConfig;
use pha_host::ssh::Ssh;

use crate::app::Session;
use crate::error::ClsError;

/// Exit status of a shell that finds no such program, and of one that may not run it.
const NOT_THERE: [i32; 2] = [127, 126];

/// The configuration that `--config` names, or the installed one.
///
/// # Errors
/// [`ClsError::Config`].
pub(crate) fn config(session: &Session) -> Result<ClusterConfig, ClsError> {
    let file = session.common.config.clone().unwrap_or_else(installed);
    Ok(ClusterConfig::read(&file)?)
}

/// `../config.ini` beside the program, as `install.sh` puts it there, or below the usual directory.
fn installed() -> PathBuf {
    let usual = PathBuf::from("/opt/pha4pgsql");
    let from = |variable: Option<PathBuf>| variable.map(|dir| dir.join("config.ini"));
    let own = std::env::current_exe().ok().and_then(|program| {
        let directory = program.parent()?.parent()?.to_owned();
        Some(directory)
    });
    [
        std::env::var_os("pha4pgsql_dir").map(PathBuf::from),
        own,
        Some(usual.clone()),
    ]
    .into_iter()
    .filter_map(from)
    .find(|file| file.exists())
    .unwrap_or_else(|| usual.join("config.ini"))
}

/// What one node answered, or why it did not.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The node.
    pub(crate) node: NodeName,
    /// What the program printed there.
    pub(crate) text: Result<String, String>,
}

/// Runs `cls internal …` on every node at the same time: here as a child, elsewhere over ssh.
pub(crate) fn ask_all(
    config: &ClusterConfig,
    words: &[&str],
    stdin: &[u8],
    deadline: Deadline,
) -> Vec<Answer> {
    let here = this_host();
    std::thread::scope(|scope| {
        let started: Vec<_> = config
            .nodes
            .iter()
            .map(|node| {
                let local = node.as_str() == here;
                let ask = move || ask(config, node, local, words, stdin, deadline);
                (node, scope.spawn(ask))
            })
            .collect();
        started
            .into_iter()
            .map(|(node, thread)| Answer {
                node: node.clone(),
                text: thread
                    .join()
                    .unwrap_or_else(|_| Err("the thread that asked panicked".to_owned())),
            })
            .collect()
    })
}

/// This host's name.
pub(crate) fn this_host() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    text.trim().to_owned()
}

fn ask(
    config: &ClusterConfig,
    node: &NodeName,
    local: bool,
    words: &[&str],
    stdin: &[u8],
    deadline: Deadline,
) -> Result<String, String> {
    let output = if local {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        Command::new(program)
            .arg("internal")
            .args(words)
            .arg("--config")
            .arg(&config.file)
            .stdin_bytes(stdin)
            .run(deadline)
            .map_err(|error| error.to_string())?
    } else {
        remote(config, node, words, stdin, deadline)?
    };
    Ok(output.text().into_owned())
}

fn remote(
    config: &ClusterConfig,
    node: &NodeName,
    words: &[&str],
    stdin: &[u8],
    deadline: Deadline,
) -> Result<Output, String> {
    let program = config.directory.join("bin/cls");
    let program = program.to_string_lossy();
    // The remote program must not outlive the connection.
    let limit = format!(
        "{:.0}",
        deadline.left().max(Duration::from_secs(1)).as_secs_f64()
    );
    let mut argv = vec!["timeout", "--signal=KILL", &limit, &program, "internal"];
    argv.extend(words);
    let output = Ssh::default()
        .exec(node.as_str(), &argv, stdin, deadline)
        .map_err(|error| error.to_string())?;
    if output.code == 0 {
        return Ok(output);
    }
    if NOT_THERE.contains(&output.code) {
        return Err(format!("{program} is not there; run `sh install.sh`"));
    }
    Err(format!(
        "cls on {node} ended with status {}: {}",
        output.code,
        output.error_text().trim()
    ))
}
