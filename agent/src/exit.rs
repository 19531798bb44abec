//! The one place where the agent ends: an exit code, and exactly one reason for a failure.

use std::process::ExitCode;

use pha_core::plan::Exit;
use pha_host::log::exit_reason;

/// Turns the end of an operation into what Pacemaker reads: the exit code, and one
/// `ocf-exit-reason:` line on standard error for a failure (OCF resource agent API 1.1).
pub(crate) fn with(exit: Exit) -> ExitCode {
    if let Some(reason) = exit.reason.as_deref().filter(|_| !exit.code.is_answer()) {
        exit_reason(reason);
    }
    ExitCode::from(exit.code.code())
}
