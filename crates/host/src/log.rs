//! What the program says about itself while it works.
//!
//! Pacemaker's executor reads an agent's standard error and logs it line by line, so one event is
//! one plain line (`WARNING: …`, the words of the resource agents' `ocf_log`), and the reason for a
//! failure is the one line that begins with `ocf-exit-reason:` (OCF 1.1; Pacemaker shows it).

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use pha_core::quoted::shortened;
use pha_core::reason::advice_first;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The environment variable that says what is logged, in the form of tracing's `EnvFilter`.
pub const FILTER_VARIABLE: &str = "PHA_LOG";

/// How many characters of a reason Pacemaker is given: it goes into the information base of every node.
const REASON: usize = 1000;
/// How many characters a line of the log has at most.
const LINE: usize = 4000;

static REASON_GIVEN: AtomicBool = AtomicBool::new(false);

/// Sends events of that level and above to standard error; `PHA_LOG` overrides the level.
///
/// A second call, as in tests, changes nothing.
pub fn init(level: Level) {
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var(FILTER_VARIABLE)
        .from_env_lossy();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(PlainLine)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The same for a process of its own, whose standard error is a file: with the time in front.
pub fn init_resident(level: Level) {
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var(FILTER_VARIABLE)
        .from_env_lossy();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Writes the reason for a failure where Pacemaker looks for it, once: only the first call of a
/// process has an effect, since the first reason is the cause of those that follow.
pub fn exit_reason(reason: &str) {
    if REASON_GIVEN.swap(true, Ordering::SeqCst) {
        return;
    }
    let prefix =
        std::env::var("OCF_EXIT_REASON_PREFIX").unwrap_or_else(|_| "ocf-exit-reason:".to_owned());
    // Nothing is left to tell anyone if standard error is closed.
    let _ = std::io::stderr().write_all(reason_line(&prefix, reason).as_bytes());
}

/// One line, whatever the reason was made of, with its advice where Pacemaker does not cut it off.
fn reason_line(prefix: &str, reason: &str) -> String {
    let reason = shortened(&advice_first(reason), REASON);
    let words: Vec<&str> = reason
        .split(char::is_control)
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    format!("{prefix}{}\n", words.join(" / "))
}

/// `LEVEL: message field=value`, without time or colour: the reader of standard error adds the time.
struct PlainLine;

impl<S, N> FormatEvent<S, N> for PlainLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        let mut line = String::new();
        context.format_fields(Writer::new(&mut line), event)?;
        let line = shortened(&line, LINE).replace(['\n', '\r'], " / ");
        writeln!(writer, "{level}: {line}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_reason_is_one_line() {
        let line = reason_line(
            "ocf-exit-reason:",
            "pg_ctl failed:\n\n  no space\r\nleft\u{1b}",
        );
        assert_eq!(line, "ocf-exit-reason:pg_ctl failed: / no space / left\n");
        let line = reason_line("ocf-exit-reason:", &"x".repeat(2 << 20));
        assert!(line.len() < 1100, "{} bytes", line.len());
        let long = format!("{} run cls_rebuild_slave --keep-old", "x".repeat(2 << 20));
        let line = reason_line("ocf-exit-reason:", &long);
        assert!(
            line.starts_with("ocf-exit-reason:cls_rebuild_slave --keep-old: xxx"),
            "{}",
            &line[..100]
        );
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_plain_line_with_its_fields() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(PlainLine)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(rule = "R3", "one\ntwo");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "WARNING: one / two rule=\"R3\"\n");
    }
}
