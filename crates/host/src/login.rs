//! How whoever gives a command has come to this machine: what the kernel keeps of a login, and what ssh has put into
//! the environment of the processes that a command descends from. `sudo` and `su` do not hand that on.
//!
//! Who logged in can have changed their own part of it: it tells an audit where to look, and proves nothing.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use rustix::process::geteuid;

use crate::process::parent;

/// What ssh's server puts into the environment: the client's address and port, and its own.
const CONNECTION: &str = "SSH_CONNECTION=";

/// How many processes are looked at, this one first.
const DEPTH: usize = 32;

/// How much of an environment is read.
const LENGTH: u64 = 1 << 20;

/// How many addresses are told: the nearest, and the farthest.
const MOST: usize = 3;

/// The number of the account that has logged in, which neither `sudo` nor `su` changes. None where nobody has, as
/// for a service, or the kernel does not keep it.
#[must_use]
pub fn account() -> Option<u32> {
    known(&std::fs::read_to_string("/proc/self/loginuid").ok()?)
}

/// The largest number stands for none.
fn known(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|id| *id != u32::MAX)
}

/// Where ssh says that this process, or one that it descends from, was connected from: each address once, the nearest
/// first, as it is found. Root alone is told of the others: who is not has what they know in an environment of their
/// own.
#[must_use]
pub fn addresses() -> Vec<String> {
    let own = i32::try_from(std::process::id()).ok();
    let depth = if geteuid().is_root() { DEPTH } else { 1 };
    own.map_or_else(Vec::new, |own| addresses_of(own, depth))
}

fn addresses_of(pid: i32, depth: usize) -> Vec<String> {
    let line = std::iter::successors(Some(pid), |pid| parent(*pid).filter(|pid| *pid > 1));
    let session = line.take(depth).take_while(|pid| !is_ssh_server(*pid));
    let mut found = Vec::new();
    for address in session.filter_map(|pid| address(&environment(pid)?)) {
        if !found.contains(&address) {
            // The farthest is ssh's own word, whatever was set in the shells between.
            found.truncate(MOST - 1);
            found.push(address);
        }
    }
    found
}

fn environment(pid: i32) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(LENGTH).read_to_end(&mut text).ok()?;
    Some(text)
}

fn address(environment: &[u8]) -> Option<String> {
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(CONNECTION.as_bytes()))?;
    let value = String::from_utf8_lossy(value);
    let address = value.split(' ').next()?;
    (!address.is_empty()).then(|| address.to_owned())
}

/// Whether it is the server of ssh itself: what is in its environment is of whoever started that. The program is
/// root's, so that nobody ends the search with a copy of theirs.
fn is_ssh_server(pid: i32) -> bool {
    let program = format!("/proc/{pid}/exe");
    let name = std::fs::read_link(&program).ok();
    let name = name.as_ref().and_then(|path| path.file_name());
    let named = name.is_some_and(|name| name.as_encoded_bytes().starts_with(b"sshd"));
    named && std::fs::metadata(program).is_ok_and(|file| file.uid() == 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn nobody_has_logged_in_to_a_service() {
        assert_eq!(known("1000\n"), Some(1000));
        assert_eq!(known("0"), Some(0));
        assert_eq!(known("4294967295"), None);
        assert_eq!(known(""), None);
    }

    #[test]
    fn an_address_is_taken_as_it_is_found() {
        let text = b"A=1\0SSH_CONNECTION=10.0.0.5 50022 10.0.0.1 22\0B=2";
        assert_eq!(address(text), Some("10.0.0.5".to_owned()));
        assert_eq!(address(b"NO_SSH_CONNECTION=x\0"), None);
        assert_eq!(address(b"SSH_CONNECTION=\0"), None);
        let odd = address(b"SSH_CONNECTION=\xff'\n1\0").unwrap();
        assert_eq!(odd, "\u{fffd}'\n1");
    }

    /// As sudo and su do it: the environment is not handed on.
    #[test]
    fn the_client_is_found_in_what_a_command_descends_from() {
        let inner = "env -u SSH_CONNECTION sh -c 'echo $$; read line; :'; :";
        let middle = format!("SSH_CONNECTION='2001:db8::7 9 x 22' sh -c \"{inner}\"; :")
            .replace("$$", "\\$\\$");
        let mut child = Command::new("sh")
            .args(["-c", &middle])
            .env("SSH_CONNECTION", "10.0.0.5 50022 10.0.0.1 22")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let pid: i32 = line.trim().parse().unwrap();
        let (found, near, own) = (
            addresses_of(pid, DEPTH),
            addresses_of(pid, 2),
            addresses_of(pid, 1),
        );
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(found[..2], ["2001:db8::7", "10.0.0.5"]);
        assert!(found.len() <= MOST, "{found:?}");
        assert_eq!(near, ["2001:db8::7"]);
        assert_eq!(own, [""; 0]);
    }
}
