//! `cls_recovery_master` at a terminal, answered by an operator who says what is so and wants to lose nothing.

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::stage::CLS;
use crate::error::{Error, Result};
use crate::node::Node;

/// What the command may take beyond its own timeout before its terminal is taken away.
const GRACE: Duration = Duration::from_secs(15);

/// Types the command on a node. Of a node it says that it is off only where it is in `off`, the nodes that the
/// caller keeps without power, and it confirms only where the command knows of nothing that would be lost
/// but what a node without power has, which the chosen one then has as well. Where it was typed, how it
/// ended, and its last words.
pub(super) fn recovery_master(node: &Node, off: &[String], limit: Duration) -> Result<String> {
    let patience = limit + GRACE;
    let command = format!(
        "NO_COLOR=1 {CLS} recovery_master --timeout {}",
        limit.as_secs()
    );
    // script(1) is the terminal; it ends with its input, too.
    let argv = [
        "timeout",
        "--signal=KILL",
        &patience.as_secs().to_string(),
        "script",
        "-qefc",
        &command,
        "/dev/null",
    ];
    let failed = |source| Error::Start {
        place: node.name().to_owned(),
        program: "script".to_owned(),
        source,
    };
    let mut child = node
        .interactive(&argv.map(str::to_owned))?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let said = listen(child.stdout.take());
    let mut terminal = child.stdin.take();
    let end = Instant::now() + patience + GRACE;
    let (mut text, mut read) = (String::new(), 0);
    loop {
        match said.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(more) => text += &more,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                break;
            }
        }
        if let Some(answer) = answer(&text, read, off)
            && let Some(terminal) = &mut terminal
        {
            read = text.len();
            // A command that has ended meanwhile needs no answer.
            let _ = writeln!(terminal, "{answer}").and_then(|()| terminal.flush());
        }
    }
    drop(terminal);
    let status = child.wait().map_err(failed)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    let last = lines[lines.len().saturating_sub(2)..].join("; ");
    let code = status.code().unwrap_or(128);
    Ok(format!("{}, exit code {code}: {last}", node.name()))
}

/// What comes from a terminal, piece by piece, until its end.
fn listen(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (say, said) = channel();
    std::thread::spawn(move || {
        let Some(mut from) = from else { return };
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            // Nobody listens any more once the time is up.
            let _ = say.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
    });
    said
}

/// The answer to what is asked at the end of the text; none where nothing was asked since `read`.
fn answer(text: &str, read: usize, off: &[String]) -> Option<String> {
    let asked = text.get(read..)?.trim_end_matches(' ');
    let line = asked.lines().next_back()?;
    if let Some((_, rest)) = line.split_once("Type \"")
        && line.ends_with("when you have seen that it is:")
    {
        let words = rest.split('"').next()?;
        let node = words.strip_suffix(" is off")?;
        let is_off = off.iter().any(|name| name == node);
        return Some(if is_off { words } else { "no" }.to_owned());
    }
    let node = line.strip_prefix("Type ")?.split(' ').next()?;
    if !line.ends_with(&format!("to go on with the data of {node}:")) {
        return None;
    }
    let mut losses = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("to be lost: "));
    let known = losses.any(|loss| {
        let unknown = loss
            .strip_prefix("what ")
            .and_then(|loss| loss.split_once(" has is not known: "));
        unknown.is_none_or(|(node, _)| !off.iter().any(|name| name == node))
    });
    Some(if known { "no" } else { node }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::answer;

    const ASKED: &str = "looking for the end of WAL on node1\r\n\
        Switch it off (its power, not the network). Type \"node1 is off\" when you have seen that it is: ";
    const CONFIRM: &str = "Type node2 to go on with the data of node2: ";

    fn says(text: &str, off: &[&str]) -> Option<String> {
        let off: Vec<String> = off.iter().map(|name| (*name).to_owned()).collect();
        answer(text, 0, &off)
    }

    #[test]
    fn off_is_said_only_of_a_node_that_is() {
        assert_eq!(says(ASKED, &["node1"]).as_deref(), Some("node1 is off"));
        assert_eq!(says(ASKED, &["node2"]).as_deref(), Some("no"));
        assert_eq!(
            says("looking for the end of WAL on node1\r\n", &["node1"]),
            None
        );
        assert_eq!(answer(ASKED, ASKED.len(), &["node1".to_owned()]), None);
    }

    #[test]
    fn nothing_is_confirmed_that_would_lose_what_was_acknowledged() {
        let node1 = "to be lost: what node1 has is not known: it does not answer\r\n";
        let holder =
            "to be lost: node2 is not known to hold every acknowledged commit; node1 is\r\n";
        let clean = "as far as is known, nothing would be lost\r\n";
        for (said, off, expected) in [
            (clean, vec![], "node2"),
            (node1, vec!["node1"], "node2"),
            (node1, vec![], "no"),
            (holder, vec!["node1"], "no"),
        ] {
            let text = format!("{said}{CONFIRM}");
            assert_eq!(says(&text, &off).as_deref(), Some(expected), "{text}");
        }
    }
}
