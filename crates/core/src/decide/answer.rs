//! What it means that PostgreSQL did not answer as it was to.

use crate::postgres::{PmStatus, SqlErrorKind};
use crate::snapshot::Answer;

/// What a failed call says about a server whose postmaster is alive. `text` is shown to the operator;
/// `status` is what the postmaster has written into its file: starting and stopping have the same SQLSTATE,
/// and their texts may be translated.
#[must_use]
pub fn unanswered(kind: &SqlErrorKind, text: String, status: Option<PmStatus>) -> Answer {
    match kind {
        SqlErrorKind::Refused | SqlErrorKind::NoSocket => Answer::NotListening,
        // A connection that is cut while it is made: the postmaster was about to accept it
        // and its backend died, or it is too full to (listen backlog, `EAGAIN`).
        SqlErrorKind::TimedOut | SqlErrorKind::Broken | SqlErrorKind::Unreachable => match status {
            Some(PmStatus::Stopping) => Answer::ShuttingDown,
            Some(PmStatus::Starting | PmStatus::Ready | PmStatus::Standby) | None => {
                Answer::NoAnswer
            }
        },
        SqlErrorKind::Authentication
        | SqlErrorKind::Tls
        | SqlErrorKind::Unusable
        | SqlErrorKind::TooMuch => Answer::Refused(text),
        SqlErrorKind::Server { sqlstate, .. } => of_sqlstate(sqlstate, text, status),
    }
}

/// PostgreSQL manual, Appendix A.
fn of_sqlstate(sqlstate: &str, text: String, status: Option<PmStatus>) -> Answer {
    match sqlstate {
        // cannot_connect_now: starting up, shutting down, in recovery.
        "57P03" if status == Some(PmStatus::Stopping) => Answer::ShuttingDown,
        "57P03" if status.is_none() && text.contains("shutting down") => Answer::ShuttingDown,
        "57P03" => Answer::StartingUp,
        // admin_shutdown and crash_shutdown end a session that had begun; query_canceled
        // comes from a timeout that was set on the role.
        "57P01" => Answer::ShuttingDown,
        "57P02" => Answer::StartingUp,
        "57014" => Answer::Busy(text),
        // insufficient_resources: too_many_connections, out_of_memory, disk_full …
        _ if sqlstate.starts_with("53") => Answer::Busy(text),
        _ => Answer::Refused(text),
    }
}

/// What a failed `monitor_sql` says about a primary that has answered the agent's own question; `failure`
/// is what [`unanswered`] makes of it. Only an answer to the administrator's own check, which had been
/// `asked`, can say that it fails. That none came, or that no connection was left for it, says that the
/// server is busy, which is no reason to restart it; and so it is where its database does not let the agent
/// in.
#[must_use]
pub fn own_check_failed(failure: Answer, asked: bool) -> Answer {
    match failure {
        Answer::Refused(text) if asked => Answer::Failing(format!("monitor_sql failed: {text}")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sqlstate: &str, status: Option<PmStatus>) -> Answer {
        let kind = SqlErrorKind::Server {
            sqlstate: sqlstate.to_owned(),
            fatal: true,
        };
        unanswered(&kind, "text".to_owned(), status)
    }

    #[test]
    fn a_server_that_is_busy_or_on_its_way_has_not_refused() {
        let text = || "text".to_owned();
        assert_eq!(of("57P03", Some(PmStatus::Stopping)), Answer::ShuttingDown);
        assert_eq!(of("57P03", Some(PmStatus::Starting)), Answer::StartingUp);
        assert_eq!(of("57P03", None), Answer::StartingUp);
        assert_eq!(of("57P01", None), Answer::ShuttingDown);
        assert_eq!(of("57014", None), Answer::Busy(text()));
        assert_eq!(of("53300", None), Answer::Busy(text()));
        assert_eq!(of("28P01", None), Answer::Refused(text()));
        let timed_out = |status| unanswered(&SqlErrorKind::TimedOut, text(), status);
        assert_eq!(timed_out(Some(PmStatus::Stopping)), Answer::ShuttingDown);
        assert_eq!(timed_out(Some(PmStatus::Ready)), Answer::NoAnswer);
    }

    #[test]
    fn only_an_answer_to_the_check_says_that_it_fails() {
        let refused = || Answer::Refused("no".to_owned());
        assert!(matches!(
            own_check_failed(refused(), true),
            Answer::Failing(_)
        ));
        assert_eq!(own_check_failed(refused(), false), refused());
        let busy = Answer::Busy("no".to_owned());
        assert_eq!(own_check_failed(busy.clone(), true), busy);
        assert_eq!(own_check_failed(Answer::NoAnswer, true), Answer::NoAnswer);
    }
}
