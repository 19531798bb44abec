//! What was typed, by whom and from where, and how it ended: a line in the system's log each, for an audit.
//!
//! The register's history (`cls_history`) knows of the commands that may move the primary, and only where the lock
//! service answers; this is of every command that may change something, on the node where it was typed, and on the one
//! to which it was given on. Nothing depends on it: a node without such a log has no trail, and the command goes on.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use pha_core::names::NodeName;
use pha_core::quoted::{shell_word, shortened};
use pha_host::login;
use pha_host::user::User;

use crate::error::{ClsError, Exit};

/// Where the system takes log lines (syslog(3)); journald's and rsyslog's alike.
const SOCKET: &str = "/dev/log";

/// Facility authpriv, severity notice: among what is kept from ordinary accounts.
const PRIORITY: u8 = 10 << 3 | 5;

/// The longest line; a receiver may cut one of more than 1,024 bytes.
const LONGEST: usize = 900;

/// The variable in which a command that is given on to another node says for whom. Anybody can set it, so that it is
/// noted as a remark, and never in the place of who typed the command there.
pub(crate) const REMARK: &str = "PHA4PGSQL_FOR";

/// The most characters that are noted of a remark, or of an address that is none. What was typed stands before
/// them, so that they cannot push it out of the line.
const FOREIGN: usize = 200;

/// One command.
#[derive(Debug)]
pub(crate) struct Trail {
    typed: String,
}

impl Trail {
    /// Notes that it begins.
    pub(crate) fn begin(given: &[OsString]) -> Self {
        let trail = Self {
            typed: typed(given),
        };
        let remark = std::env::var_os(REMARK);
        let remark = remark.map_or_else(String::new, |text| remark_of(&text.to_string_lossy()));
        say(&format!(
            "begins: {}, typed by {}{remark}",
            trail.typed,
            who(),
        ));
        trail
    }

    /// Notes how it ended.
    pub(crate) fn end(self, result: Result<u8, &ClsError>) {
        let how = match result {
            Ok(0) => "done".to_owned(),
            Ok(code) => format!("exit code {code}"),
            Err(error) if error.exit() == Exit::Precondition => format!("refused: {error}"),
            Err(error) => format!("failed: {error}"),
        };
        say(&format!("ended, {how}: {}", self.typed));
    }
}

/// Who gives the commands, as far as it is known: the account, the one that has logged in, from where, on which terminal.
fn who() -> String {
    let input = std::fs::read_link("/proc/self/fd/0").ok();
    let place = place(&login::addresses(), input.as_deref());
    let login = login::account().map_or_else(String::new, |uid| {
        logged_in(uid, User::of_id(uid).ok().as_ref().map(User::name))
    });
    format!("{}{login}{place}", shell_word(&operator()))
}

/// The same for the node to which a command is given on, where it is root's.
pub(crate) fn asked_from(here: &NodeName) -> String {
    format!("{} at {here}", who())
}

fn remark_of(text: &str) -> String {
    format!(", for {}", shell_word(&shortened(text, FOREIGN)))
}

fn logged_in(uid: u32, name: Option<&str>) -> String {
    match name {
        Some(name) => format!(" (login {}, {uid})", shell_word(name)),
        None => format!(" (login {uid})"),
    }
}

/// From where: the addresses of ssh clients, and the terminal.
fn place(addresses: &[String], input: Option<&Path>) -> String {
    let shown = |address: &String| match address.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => shell_word(&shortened(address, FOREIGN)),
    };
    let addresses: Vec<String> = addresses.iter().map(shown).collect();
    let address = match addresses.is_empty() {
        true => String::new(),
        false => format!(" from {}", addresses.join(", ")),
    };
    let terminal = input.and_then(|path| path.to_str());
    let terminal =
        terminal.filter(|path| path.starts_with("/dev/pts/") || path.starts_with("/dev/tty"));
    let terminal = terminal.map(|path| format!(" on {}", path.trim_start_matches("/dev/")));
    format!("{address}{}", terminal.unwrap_or_default())
}

/// The words as a shell would take them again; one that may have a password in it is not shown.
fn typed(given: &[OsString]) -> String {
    let mut words = given.iter().map(|word| word.to_string_lossy());
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let shown = words.map(|word| {
        let lower = word.to_lowercase();
        match lower.contains("passw") || lower.contains("://") {
            true => "(not shown)".to_owned(),
            false => shell_word(&word),
        }
    });
    let line: Vec<String> = std::iter::once(shell_word(&program)).chain(shown).collect();
    line.join(" ")
}

fn say(text: &str) {
    send(Path::new(SOCKET), text);
}

fn send(socket: &Path, text: &str) {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .scan(0, |length, c| {
            *length += c.len_utf8();
            (*length <= LONGEST).then_some(c)
        })
        .collect();
    let line = format!("<{PRIORITY}>cls[{}]: {line}", std::process::id());
    let sent = UnixDatagram::unbound().and_then(|socket_of_ours| {
        // A receiver that hangs keeps nobody from a command.
        socket_of_ours.set_nonblocking(true)?;
        socket_of_ours.send_to(line.as_bytes(), socket)
    });
    if let Err(error) = sent {
        tracing::debug!("no line in the system's log: {error}");
    }
}

/// Who gives the commands: the account that root's rights were taken from, or the process's own. Only root is
/// believed of which account it took over from: without its rights anybody can say so.
pub(crate) fn operator() -> String {
    let own = User::current().ok();
    let is_root = own.as_ref().is_some_and(|user| user.uid() == 0);
    let sudo = std::env::var("SUDO_USER").ok().filter(|_| is_root);
    sudo.or_else(|| Some(own?.name().to_owned()))
        .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<OsString> {
        line.iter().map(OsString::from).collect()
    }

    #[test]
    fn what_was_typed_can_be_read_and_has_no_password() {
        let line = words(&["/usr/sbin/cls_recovery_master", "--off", "node 1"]);
        assert_eq!(typed(&line), "cls_recovery_master --off 'node 1'");
        for secret in ["host=node3 Password=geheim", "postgres://u:geheim@node3/x"] {
            let line = words(&["cls", "init", "--lock-admin", secret]);
            assert_eq!(typed(&line), "cls init --lock-admin (not shown)");
        }
    }

    #[test]
    fn from_where_is_said_as_far_as_it_is_known() {
        let said = |addresses: &[&str], terminal: &str| {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            place(&addresses, Some(Path::new(terminal)))
        };
        assert_eq!(said(&["10.0.0.5"], "/dev/pts/3"), " from 10.0.0.5 on pts/3");
        assert_eq!(said(&[], "pipe:[7]"), "");
        // Each that was found is shown, and one that says something else is one word.
        assert_eq!(
            said(&["::1", "x: ended, done", "fe80::1%eth0"], "pipe:[7]"),
            " from ::1, 'x: ended, done', 'fe80::1%eth0'"
        );
        let long = "a ".repeat(500);
        assert!(said(&[&long], "pipe:[7]").chars().count() < 220);
    }

    #[test]
    fn who_has_logged_in_and_for_whom_are_remarks() {
        assert_eq!(logged_in(1000, Some("a b")), " (login 'a b', 1000)");
        assert_eq!(logged_in(1000, None), " (login 1000)");
        assert_eq!(
            remark_of("alice from 10.0.0.5 at node1"),
            ", for 'alice from 10.0.0.5 at node1'"
        );
        let hostile = remark_of("x' typed by root\nended, done");
        assert_eq!(hostile.lines().count(), 1, "{hostile}");
        let node: NodeName = "node1".parse().unwrap();
        assert!(asked_from(&node).ends_with(" at node1"));
    }

    #[test]
    fn a_line_is_one_line_of_bounded_length() {
        let name = format!("cls-audit-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let receiver = UnixDatagram::bind(&path).unwrap();
        let mut bytes = [0; 4096];
        let mut received = |text: &str| {
            send(&path, text);
            let length = receiver.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        };
        let line = received("begins\nwell");
        assert!(line.starts_with("<85>cls["), "{line}");
        assert!(line.ends_with("]: begins well"), "{line}");
        let long = received(&"主".repeat(1000));
        assert!(
            long.len() <= LONGEST + 40 && long.ends_with('主'),
            "{}",
            long.len()
        );
        // Nobody listens: the command goes on.
        drop(receiver);
        std::fs::remove_file(&path).unwrap();
        send(&path, "begins");
    }
}
