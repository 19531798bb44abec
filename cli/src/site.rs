//! The installation: its config.ini, and running this program on every node.

use std::hash::{DefaultHasher, Hasher as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pha_core::hindrance::Hindrance;
use pha_core::layout::{DIRECTORY, Layout, config_files};
use pha_core::names::NodeName;
use pha_core::quoted::printable;
use pha_host::clock::Deadline;
use pha_host::command::{Command, Output, own_program};
use pha_host::config::ClusterConfig;
use pha_host::ssh::{Ssh, SshError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::app::Session;
use crate::audit;
use crate::error::{ClsError, MEANINGS};

/// Exit status of a shell that finds no such program, and of one that may not run it.
const NOT_THERE: [i32; 2] = [127, 126];

/// What to type next where a node's silence has no remedy of its own.
pub(crate) const LOOK: &str = "cls_doctor says what is in the way";

/// Enough to tell two copies of a program or a configuration apart; `None` where it cannot be read.
pub(crate) fn checksum(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Some(format!("build {:08x}", hasher.finish() >> 32))
}

/// The configuration that `--config` names, or the installed one.
///
/// # Errors
/// [`ClsError::Config`].
pub(crate) fn config(session: &Session) -> Result<ClusterConfig, ClsError> {
    Ok(ClusterConfig::read(&file(session))?)
}

/// Which file that is.
pub(crate) fn file(session: &Session) -> PathBuf {
    session.common.config.clone().unwrap_or_else(installed)
}

/// The configuration where `install.sh` or a package has put it.
fn installed() -> PathBuf {
    let variable = std::env::var_os("pha4pgsql_dir").map(PathBuf::from);
    let program = own_program().ok().map(PathBuf::from);
    let mut files = config_files(variable.as_deref(), program.as_deref());
    let there = files.iter().position(|file| file.exists());
    files.swap_remove(there.unwrap_or(files.len() - 1))
}

/// How this program is installed.
pub(crate) fn layout() -> Layout {
    own_program().map_or(Layout::Directory, |own| Layout::of(Path::new(&own)))
}

/// Where `cls` may lie on another node, the likelier place first: that of this very program where no
/// `pha4pgsql_dir` is known, that of its layout, that of the other.
pub(crate) fn places(directory: Option<&Path>) -> Vec<PathBuf> {
    let own = own_program().ok().filter(|_| directory.is_none());
    let directory = directory.unwrap_or_else(|| Path::new(DIRECTORY));
    let mut places: Vec<PathBuf> = own.into_iter().map(PathBuf::from).collect();
    for place in layout().programs(directory, "cls") {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// What one node answered, or why it did not.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The node.
    pub(crate) node: NodeName,
    /// What the program printed there.
    pub(crate) text: Result<String, Hindrance>,
}

/// The option with which `cls` prints its errors as JSON too.
const JSON: &str = "--json";
/// How much is shown of what another node says.
const SHOWN: usize = 2000;

/// An error of `cls` as it prints it with [`JSON`].
#[derive(Debug, Deserialize)]
struct Failed {
    error: String,
    next: String,
}

/// Why `cls` failed on that node, and what to type there.
fn why_failed(node: &NodeName, output: &Output) -> Hindrance {
    let Ok(Failed { error, next }) = serde_json::from_str(&output.text()) else {
        return said(node, output.code, &output.error_text());
    };
    let next = Some(next.as_str()).filter(|next| !next.is_empty());
    hindrance(node, &error, next)
}

fn hindrance(node: &NodeName, why: &str, next: Option<&str>) -> Hindrance {
    let next = printable(next.unwrap_or("cls_doctor"), SHOWN);
    Hindrance::new(printable(why, SHOWN), format!("on {node}: {next}"))
}

/// The same from what it said to an operator: it was ended before it could print a document, or its version
/// prints none here.
fn said(node: &NodeName, code: i32, words: &str) -> Hindrance {
    let mut lines = words.lines().map(str::trim);
    let why = lines.find_map(|line| line.strip_prefix("cls: "));
    let next = lines.find_map(|line| line.strip_prefix("next: "));
    let why = why.map_or_else(
        || format!("cls ended with status {code}: {}", words.trim()),
        str::to_owned,
    );
    hindrance(node, &why, next)
}

/// Runs `cls internal …` on every node at the same time: here as a child, elsewhere over ssh.
pub(crate) fn ask_all(
    config: &ClusterConfig,
    words: &[&str],
    stdin: &[u8],
    deadline: Deadline,
) -> Vec<Answer> {
    let here = this_node(&config.nodes);
    std::thread::scope(|scope| {
        let started: Vec<_> = config
            .nodes
            .iter()
            .map(|node| {
                let local = Some(node) == here;
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
                    .unwrap_or_else(|_| Err(Hindrance::of(&"the thread that asked panicked"))),
            })
            .collect()
    })
}

/// Runs `cls internal …` on one node: here as a child, elsewhere over ssh.
pub(crate) fn ask_one(
    config: &ClusterConfig,
    node: &NodeName,
    words: &[&str],
    stdin: &[u8],
    deadline: Deadline,
) -> Result<String, Hindrance> {
    let local = Some(node) == this_node(&config.nodes);
    ask(config, node, local, words, stdin, deadline)
}

/// Which of the nodes this host is: by its name, whatever its capitals and with or without the domain,
/// or by an address of its own that one of the names alone leads to.
pub(crate) fn this_node(nodes: &[NodeName]) -> Option<&NodeName> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    by_name(nodes, text.trim()).or_else(|| {
        let own = |node: &&NodeName| {
            let found = (node.as_str(), 0_u16).to_socket_addrs();
            found.is_ok_and(|mut list| list.any(|address| is_own(address.ip())))
        };
        only(nodes.iter().filter(own))
    })
}

fn by_name<'n>(nodes: &'n [NodeName], host: &str) -> Option<&'n NodeName> {
    let whole = |node: &&NodeName| node.as_str().eq_ignore_ascii_case(host);
    let first = |node: &&NodeName| short(node.as_str()).eq_ignore_ascii_case(short(host));
    only(nodes.iter().filter(whole)).or_else(|| only(nodes.iter().filter(first)))
}

fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The one of several that are possible, if it is the only one.
fn only<'n>(mut nodes: impl Iterator<Item = &'n NodeName>) -> Option<&'n NodeName> {
    let node = nodes.next();
    node.filter(|_| nodes.next().is_none())
}

/// Whether packets to the address stay on this host: then it is also the address they come from. No
/// packet is sent for this.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    address.is_loopback() || from.is_ok_and(|from| from.ip() == address)
}

fn ask(
    config: &ClusterConfig,
    node: &NodeName,
    local: bool,
    words: &[&str],
    stdin: &[u8],
    deadline: Deadline,
) -> Result<String, Hindrance> {
    let output = if local {
        let program = own_program().map_err(|error| Hindrance::of(&error))?;
        let mut command = Command::new(program)
            .args(["internal", JSON])
            .args(words)
            .arg("--config")
            .arg(&config.file)
            .stdin_bytes(stdin);
        for (code, _) in MEANINGS {
            command = command.accept(i32::from(*code));
        }
        command
            .run(deadline)
            .map_err(|error| Hindrance::of(&error))?
    } else {
        remote(config, node, words, stdin, deadline)?
    };
    if output.code != 0 {
        return Err(why_failed(node, &output));
    }
    Ok(output.text().into_owned())
}

/// Why a program of this product did not run on another node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Away {
    /// ssh did not get there, or it took too long.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The node does not have it.
    #[error("{0}")]
    NotThere(Hindrance),
}

impl Away {
    /// The same with what to do about it.
    pub(crate) fn hindrance(&self) -> Hindrance {
        match self {
            Self::Ssh(error) => error.hindrance(),
            Self::NotThere(hindrance) => hindrance.clone(),
        }
    }
}

/// Runs `cls` with these words on another node, wherever it is installed there.
///
/// # Errors
/// See [`Away`]; any exit code is an answer.
pub(crate) fn cls_there(
    node: &NodeName,
    words: &[&str],
    stdin: &[u8],
    deadline: Deadline,
) -> Result<Output, Away> {
    there(node, &places(None), &[], words, stdin, deadline)
}

/// The same of a command that an operator has given here, and with whom that node's log remarks that it is for.
///
/// # Errors
/// See [`Away`]; any exit code is an answer.
pub(crate) fn given_on(
    node: &NodeName,
    words: &[&str],
    remark: &str,
    deadline: Deadline,
) -> Result<Output, Away> {
    let remark = format!("{}={remark}", audit::REMARK);
    let before = ["env", &remark];
    there(node, &places(None), &before, words, b"", deadline)
}

/// What `cls internal …` answers on another node, for whoever knows the cluster and needs no config.ini.
///
/// # Errors
/// Why there is no answer, and what to do about it.
pub(crate) fn ask_there<T: DeserializeOwned>(
    node: &NodeName,
    words: &[&str],
    stdin: &[u8],
    deadline: Deadline,
) -> Result<T, Hindrance> {
    let words = [&["internal", JSON], words].concat();
    let output = cls_there(node, &words, stdin, deadline).map_err(|away| away.hindrance())?;
    if output.code != 0 {
        return Err(why_failed(node, &output));
    }
    // The parser's message could quote the text.
    serde_json::from_str(&output.text()).map_err(|_| {
        let strange = format!("cls on {node} answers in another form");
        Hindrance::new(strange, layout().same_version())
    })
}

fn remote(
    config: &ClusterConfig,
    node: &NodeName,
    words: &[&str],
    stdin: &[u8],
    deadline: Deadline,
) -> Result<Output, Hindrance> {
    // The remote program must not outlive the connection.
    let limit = format!(
        "{:.0}",
        deadline.left().max(Duration::from_secs(1)).as_secs_f64()
    );
    let before = ["timeout", "--signal=KILL", &limit];
    let words = [&["internal", JSON], words].concat();
    let places = places(Some(&config.directory));
    there(node, &places, &before, &words, stdin, deadline).map_err(|away| away.hindrance())
}

/// Runs it in the first of these places where it is.
fn there(
    node: &NodeName,
    places: &[PathBuf],
    before: &[&str],
    words: &[&str],
    stdin: &[u8],
    deadline: Deadline,
) -> Result<Output, Away> {
    for program in places {
        let program = program.to_string_lossy();
        let argv = [before, &[&program], words].concat();
        let output = Ssh::default().exec(node.as_str(), &argv, stdin, deadline)?;
        if !NOT_THERE.contains(&output.code) {
            return Ok(output);
        }
    }
    let names: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    let why = format!("{} is not there on {node}", names.join(" or "));
    Err(Away::NotThere(Hindrance::new(why, layout().same_version())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_found_among_the_nodes() {
        let nodes = |names: &[&str]| -> Vec<NodeName> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        for (list, host, expected) in [
            (nodes(&["node1", "node2"]), "node2", Some("node2")),
            (nodes(&["Node1", "Node2"]), "node2", Some("Node2")),
            (
                nodes(&["node1", "node2"]),
                "node2.example.com",
                Some("node2"),
            ),
            (nodes(&["node1.a", "node2.a"]), "node2", Some("node2.a")),
            (nodes(&["db.a", "db.b"]), "db.b", Some("db.b")),
            // Two that it could be are none.
            (nodes(&["db.a", "db.b"]), "db", None),
            (nodes(&["node1"]), "other", None),
        ] {
            let found = by_name(&list, host).map(NodeName::as_str);
            assert_eq!(found, expected, "{list:?} {host}");
        }
        assert!(is_own("127.0.1.1".parse().unwrap()) && is_own("::1".parse().unwrap()));
        // TEST-NET-1 is nobody's.
        assert!(!is_own("192.0.2.1".parse().unwrap()));
        let own = nodes(&["localhost", "no-such-host.invalid"]);
        assert_eq!(this_node(&own).map(NodeName::as_str), Some("localhost"));
    }

    #[test]
    fn why_a_node_was_silent_comes_with_its_remedy() {
        let node: NodeName = "node2".parse().unwrap();
        let words = "cls: reading /var/lib/postgresql/.pgpass failed; a directory\n  next: make it a file\n";
        let silence = said(&node, 1, words);
        assert_eq!(silence.remedy.as_deref(), Some("on node2: make it a file"));
        assert!(silence.why.ends_with("failed; a directory"), "{silence}");
        // A document has a remedy of its own, with whatever is in the text.
        let output = |stdout: &str, stderr: &str| Output {
            code: 1,
            stdout: stdout.into(),
            stderr: stderr.into(),
            truncated: false,
        };
        let document = r#"{"result":"failed","error":"no\n  next: x","next":"mend it"}"#;
        let silence = why_failed(&node, &output(document, words));
        assert_eq!(silence.why, r"no\n  next: x");
        assert_eq!(silence.remedy.as_deref(), Some("on node2: mend it"));
        let silence = why_failed(&node, &output("", words));
        assert_eq!(silence.remedy.as_deref(), Some("on node2: make it a file"));
        let silence = said(&node, 137, "Killed");
        assert!(silence.why.contains("137: Killed"), "{silence}");
    }
}
