//! What the agent was asked, and who answers it.

use std::collections::BTreeMap;
use std::time::Duration;

use pha_core::decide::{checks_parameters, without_account, without_replication};
use pha_core::metadata;
use pha_core::names::NodeName;
use pha_core::ocf::{Action, OcfCode, OcfContext};
use pha_core::params::together::validate_together;
use pha_core::params::{ParamError, Params};
use pha_core::plan::Exit;
use pha_core::snapshot::Operation;
use pha_host::clock::Deadline;
use pha_host::drive::drive;
use pha_host::node::{Node, this_node};
use pha_host::{account, change_lock, guard, log, preflight, promise, restore};
use tracing::{Level, warn};

/// Runs the action of the command line.
pub(crate) fn run() -> Exit {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .map(|(key, value)| {
            (
                key.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect();
    let mut words = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned());
    let (word, more) = (words.next(), words.next());
    if word.as_deref() == Some(guard::WORD) && more.is_none() {
        return crate::guard::run(&environment, guard::run);
    }
    if word.as_deref() == Some(guard::ATTEND) && more.is_none() {
        return crate::guard::run(&environment, guard::attend);
    }
    if word.as_deref() == Some(restore::WORD) {
        let words: Vec<String> = more.into_iter().chain(words).collect();
        return restored(&words);
    }
    log::init(Level::INFO);
    let (Some(word), None) = (word, more) else {
        return Exit::fail(
            OcfCode::Args,
            "expgsql takes one argument, the action: start, stop, monitor, promote, demote, notify, validate-all, meta-data, methods or status",
        );
    };
    // Not Pacemaker's question but another node's, over ssh (R7).
    if word == "promise" {
        return match promise::answer(std::io::stdin()) {
            Ok(line) => print(&line),
            Err((code, error)) => Exit::fail(code, error),
        };
    }
    match OcfContext::parse(
        &word,
        environment.iter().map(|(k, v)| (k.as_str(), v.as_str())),
    ) {
        Ok(context) => match context.action {
            Action::MetaData => print(&metadata::xml(context.feature.1)),
            Action::Methods => print(&metadata::methods()),
            _ => on_resource(&context, &environment),
        },
        Err(error) => Exit::fail(error.code(), error.to_string()),
    }
}

/// A file for PostgreSQL, which writes what is said here into its log.
fn restored(words: &[String]) -> Exit {
    match restore::run(words) {
        (0, _) => Exit {
            code: OcfCode::Success,
            reason: None,
        },
        (_, why) => Exit {
            code: OcfCode::Generic,
            reason: why,
        },
    }
}

/// The texts that go to standard output.
fn print(text: &str) -> Exit {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::of(OcfCode::Success),
        Err(error) => Exit::fail(OcfCode::Generic, format!("standard output: {error}")),
    }
}

fn on_resource(context: &OcfContext, environment: &BTreeMap<String, String>) -> Exit {
    let given = environment
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let (params, warnings, errors) = Params::parse_leniently(Params::from_environment(given));
    for warning in warnings {
        warn!("{warning}");
    }
    let me = match this_node(context) {
        Ok(me) => me,
        Err(reason) => return Exit::fail(OcfCode::Generic, reason),
    };
    let strict = checks_parameters(context.action, context.is_probe);
    let understood = errors.is_empty();
    if strict && let Err(error) = checked(&params, errors, &me) {
        return Exit::fail(error.code, error.to_string());
    }
    if let Some(refusal) = without_replication(context.action, &params) {
        return refusal;
    }
    // What was left behind changes nothing any more (R12).
    if let Err(error) = change_lock::end_with_caller() {
        return Exit::fail(OcfCode::Generic, error.to_string());
    }
    change_lock::end_after(context.timeout);
    let deadline = Deadline::after(budget(context.timeout));
    account::until(deadline);
    let checked = match context.action {
        Action::Start => preflight::before_start(&context.resource, &params, deadline),
        Action::ValidateAll => preflight::check(&context.resource, &params, deadline),
        _ => Ok(()),
    };
    if let Err(refusal) = checked {
        return Exit::fail(refusal.code, refusal.reason);
    }
    if context.action == Action::ValidateAll
        && let Err(refusal) = preflight::foresee(&params)
    {
        return Exit::fail(refusal.code, refusal.reason);
    }
    match operation(context, &me) {
        Some(operation) => perform(context, params, understood, me, &operation, deadline),
        None => Exit::of(OcfCode::Success),
    }
}

fn checked(params: &Params, errors: Vec<ParamError>, me: &NodeName) -> Result<(), ParamError> {
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => validate_together(params, me),
    }
}

/// The part of Pacemaker's timeout that the operation may use. The rest is for the end itself, also
/// of a program that does not hear SIGTERM: an answer that comes after the timeout is no answer.
fn budget(timeout: Duration) -> Duration {
    let reserve = (timeout / 10).clamp(Duration::from_millis(1500), Duration::from_secs(5));
    timeout.saturating_sub(reserve.min(timeout / 2))
}

/// The operation to carry through; `None` for an action that is over once the parameters are right.
fn operation(context: &OcfContext, me: &NodeName) -> Option<Operation> {
    Some(match context.action {
        Action::Start => Operation::Start,
        Action::Stop => Operation::Stop,
        Action::Monitor => Operation::Monitor {
            probe: context.is_probe,
        },
        Action::Status => Operation::Monitor { probe: true },
        Action::Promote => Operation::Promote,
        Action::Demote => Operation::Demote {
            then_stop: context.lists.stop.contains(me),
        },
        Action::Notify => Operation::Notify(context.notification.clone()?),
        Action::ValidateAll | Action::ReloadAgent | Action::MetaData | Action::Methods => {
            return None;
        }
    })
}

fn perform(
    context: &OcfContext,
    params: Params,
    understood: bool,
    me: NodeName,
    operation: &Operation,
    deadline: Deadline,
) -> Exit {
    match Node::new(context.resource.clone(), me, params) {
        Ok(mut node) => {
            if understood {
                node.keep_what_is_asked();
            }
            let outcome = drive(&mut node, operation, deadline);
            node.conclude(operation, &outcome.last);
            outcome.exit
        }
        Err(refusal) => without_account(operation, Exit::fail(refusal.code, refusal.reason)),
    }
}
