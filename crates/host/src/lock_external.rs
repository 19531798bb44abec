//! The lock service of the user's own: `distlock_lock_cmd` and `distlock_unlock_cmd`, and the
//! specification's dead-check over ssh. What their answers mean is decided in
//! [`pha_core::deadcheck`].

use std::time::Duration;

use pha_core::deadcheck::{DeadCheck, DeadCheckStep, LockAnswer, PeerAnswer, to_ask};
use pha_core::names::NodeName;
use pha_core::params::{LockService, Params};
use pha_core::snapshot::ExternalLock;

use crate::clock::Deadline;
use crate::command::{Command, CommandError, Output};
use crate::conninfo::Conninfo;
use crate::ssh::Ssh;

/// How long one lock command may take, here or on another node: longer than `distlock` waits by itself.
const BUDGET: Duration = Duration::from_secs(15);

/// Tries to obtain the lock. Where the lock service cannot be reached from here, every node of
/// `distlock_lockservice_deadcheck_nodelist` but `me` is asked to take it for this node.
#[must_use]
pub fn obtain(params: &Params, me: &NodeName, owner: &str, deadline: Deadline) -> ExternalLock {
    let LockService::External { lock, .. } = params.lock_service.with_owner(owner) else {
        return ExternalLock::NotLocked("no external lock is configured".to_owned());
    };
    let nodes = to_ask(&params.deadcheck_nodes, me);
    // A lock service that is cut off is noticed by waiting, and a lock that another one has too; the others
    // need time after that, and so does what comes of it.
    let here = run(&lock, deadline.sub_budget(BUDGET.min(deadline.left() / 2)));
    let steps = u32::try_from(nodes.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let share = BUDGET.min(deadline.left() / steps);
    let ssh = Ssh::default();
    let ask = |node: &str| ask_peer(&ssh, node, &lock, deadline.sub_budget(share));
    let verdict = dead_check(&here, &nodes, ask);
    match &verdict {
        DeadCheck::Locked { by } => {
            tracing::info!("the lock is held; the lock service answered {by}");
        }
        DeadCheck::TreatedAsLocked => tracing::warn!(
            "the lock service cannot be reached from here nor from {}: it counts as dead, and the lock as held",
            nodes.join(", ")
        ),
        DeadCheck::HeldByOther(_) | DeadCheck::NotLocked(_) => {}
    }
    verdict.lock()
}

/// Gives the lock back.
///
/// # Errors
/// What the command said; the lock then ends with its time to live.
pub fn release(params: &Params, owner: &str, deadline: Deadline) -> Result<(), String> {
    let LockService::External { unlock, .. } = params.lock_service.with_owner(owner) else {
        return Ok(());
    };
    // A command that hangs must leave time for the rest of the operation.
    run(
        &unlock,
        deadline.sub_budget(BUDGET.min(deadline.left() / 2)),
    )
    .released()
}

/// Runs a lock command here. `argv` is split already, with `@owner` replaced.
fn run(argv: &[String], deadline: Deadline) -> LockAnswer {
    let Some((program, args)) = argv.split_first() else {
        return LockAnswer::Error("the lock command is empty".to_owned());
    };
    let mut command = Command::new(program).args(args);
    for secret in secrets(argv) {
        command = command.secret(secret);
    }
    // Every exit status is an answer to be read, not a failure of starting it.
    for status in 1..=255 {
        command = command.accept(status);
    }
    match command.run(deadline) {
        Ok(output) => answer(&output, &secrets(argv)),
        Err(error @ CommandError::TimedOut { .. }) => LockAnswer::overdue(&error.to_string()),
        Err(error) => LockAnswer::Error(error.to_string()),
    }
}

/// Asks the listed nodes as far as the dead-check wants to know.
fn dead_check(
    here: &LockAnswer,
    nodes: &[String],
    mut ask: impl FnMut(&str) -> PeerAnswer,
) -> DeadCheck {
    let mut answers = Vec::new();
    loop {
        match DeadCheck::next(here, nodes, &answers) {
            DeadCheckStep::Ask(node) => answers.push((node.to_owned(), ask(node))),
            DeadCheckStep::Decided(verdict) => return verdict,
        }
    }
}

/// Runs the lock command on another node.
fn ask_peer(ssh: &Ssh, node: &str, argv: &[String], deadline: Deadline) -> PeerAnswer {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    match ssh.exec_directly(node, &words, deadline) {
        Ok(output) => PeerAnswer::Answered(answer(&output, &secrets(argv))),
        Err(error) => PeerAnswer::Unreachable(error),
    }
}

fn answer(output: &Output, secrets: &[String]) -> LockAnswer {
    // A command may repeat its arguments, and its last words go into the cluster's status.
    let plain = |text: &str| {
        secrets
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    };
    LockAnswer::of(
        output.code,
        &plain(&output.text()),
        &plain(&output.error_text()),
    )
}

/// Passwords in the words of a command: old configurations have connection strings in them.
fn secrets(argv: &[String]) -> Vec<String> {
    argv.iter()
        .filter_map(|word| word.parse::<Conninfo>().ok())
        .filter_map(|info| info.password)
        .map(|password| password.expose().to_owned())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn shell(script: &str) -> LockAnswer {
        run(
            &words(&["/bin/sh", "-c", script, "lock"]),
            Deadline::after(Duration::from_millis(800)),
        )
    }

    #[test]
    fn a_real_commands_answer_is_read() {
        assert_eq!(shell("echo 1"), LockAnswer::Locked);
        assert_eq!(shell("true"), LockAnswer::Locked);
        assert_eq!(shell("echo 0"), LockAnswer::HeldByOther);
        assert_eq!(shell("echo 0; exit 1"), LockAnswer::HeldByOther);
        assert_eq!(
            shell("echo refused >&2; exit 3"),
            LockAnswer::ServiceUnreachable("refused".to_owned())
        );
        for script in ["echo maybe", "exit 4", "kill -9 $$", "sleep 5"] {
            assert!(matches!(shell(script), LockAnswer::Error(_)), "{script}");
        }
        let missing = run(
            &words(&["/nonexistent"]),
            Deadline::after(Duration::from_secs(1)),
        );
        assert!(matches!(missing, LockAnswer::Error(_)), "{missing:?}");
        assert!(matches!(
            run(&[], Deadline::after(Duration::from_secs(1))),
            LockAnswer::Error(_)
        ));
    }

    #[test]
    fn a_password_in_the_command_is_not_repeated() {
        let argv = words(&[
            "/bin/sh",
            "-c",
            "echo \"$1\" >&2; exit 9",
            "lock",
            "host=node3 password=topsecret",
        ]);
        let answer = run(&argv, Deadline::after(Duration::from_secs(2)));
        let shown = format!("{answer:?}");
        assert!(shown.contains("status 9"), "{shown}");
        assert!(!shown.contains("topsecret"), "{shown}");
    }

    #[test]
    fn nodes_are_asked_only_where_the_service_is_out_of_reach() {
        let nodes = words(&["a", "b"]);
        let mut asked = Vec::new();
        let unreachable = || LockAnswer::ServiceUnreachable("timeout".to_owned());
        let verdict = dead_check(&unreachable(), &nodes, |node| {
            asked.push(node.to_owned());
            PeerAnswer::Answered(unreachable())
        });
        assert_eq!(verdict, DeadCheck::TreatedAsLocked);
        assert_eq!(asked, nodes);
        for here in [
            LockAnswer::Locked,
            LockAnswer::HeldByOther,
            LockAnswer::Error("28P01".to_owned()),
        ] {
            let verdict = dead_check(&here, &nodes, |node| {
                PeerAnswer::Unreachable(format!("{node} was asked"))
            });
            assert!(!format!("{verdict:?}").contains("was asked"), "{here:?}");
        }
    }
}
