//! A session of our own making: what a role, a database or the server's configuration may set for
//! every session is set here at connection, so that a statement means the same everywhere.
//!
//! They go as start-up options, which come before what `ALTER ROLE` and `ALTER DATABASE … SET` say
//! (PostgreSQL manual, "Setting Parameters") and hold for the first statement already: on a standby
//! a role whose default is `serializable` could not even run the one that changes it.
//!
//! `search_path` is empty: PostgreSQL then looks into `pg_catalog` alone, for functions and operators
//! too, and a table has to be named with its schema. Anything else lets whoever may create objects in
//! a schema of the path put their code under the agent's questions, which it asks as a superuser.

use std::fmt::Write as _;
use std::time::Duration;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The agent's own questions and changes on a database node. What it writes there waits for no
    /// standby: it would hang just when a standby is lost.
    Agent,
    /// The lock service: what is granted there must outlive a crash of it. Whether it may be written
    /// to is its administrator's word and stays as it is: a copy that was made read-only, because
    /// another one has taken its place, must not grant a lease.
    LockService,
    /// What the administrator has set is to be seen or to be used, in the doctor's questions and in
    /// `monitor_sql`.
    AsSet,
    /// The same without a limit for its statements, which would be read for the server's own: for who asks
    /// how the server is set, in statements that are short.
    Examination,
}

/// Settings that every session may set for itself, of every version that a lock service can be (9.5 and
/// newer): an option that the server does not know keeps the session out.
const ALWAYS: [(&str, &str); 23] = [
    ("search_path", ""),
    ("role", "none"),
    ("row_security", "on"),
    ("local_preload_libraries", ""),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("lock_timeout", "0"),
    ("client_min_messages", "warning"),
    // How values are written, and how literals are read.
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("xmlbinary", "base64"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("lc_monetary", "C"),
    ("array_nulls", "on"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
    ("quote_all_identifiers", "off"),
    ("check_function_bodies", "on"),
    ("default_tablespace", ""),
];

/// The start-up options of a session (libpq's `options`), after those that its connection string
/// gives. The server gives up a statement after `limit`.
#[must_use]
pub fn options(given: Option<&str>, purpose: Purpose, limit: Duration) -> String {
    let mut text = given.map(str::to_owned).unwrap_or_default();
    let limit = limit.as_millis().clamp(1, i32::MAX as u128).to_string();
    let further: &[(&str, &str)] = match purpose {
        Purpose::Agent => &[
            ("synchronous_commit", "local"),
            ("default_transaction_read_only", "off"),
        ],
        Purpose::LockService => &[("synchronous_commit", "on")],
        Purpose::AsSet | Purpose::Examination => &[],
    };
    let limit = [("statement_timeout", limit.as_str())];
    let limit = limit.iter().filter(|_| purpose != Purpose::Examination);
    for (name, value) in ALWAYS.iter().chain(further).chain(limit) {
        // The server splits the text at spaces; a backslash takes the meaning of one away.
        let value = value.replace('\\', "\\\\").replace(' ', "\\ ");
        let _ = write!(text, " -c {name}={value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_comes_last_and_spaces_are_kept() {
        let text = options(
            Some("-c search_path=ha"),
            Purpose::LockService,
            Duration::from_millis(1500),
        );
        assert!(text.starts_with("-c search_path=ha -c search_path= -c role=none "));
        assert!(text.contains(" -c default_transaction_isolation=read\\ committed "));
        assert!(text.ends_with(" -c synchronous_commit=on -c statement_timeout=1500"));
        assert!(!text.contains("read_only"));
    }
}
