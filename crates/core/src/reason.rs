//! What Pacemaker shows of the agent's reason for a failure.
//!
//! It keeps the first [`SHOWN`] bytes and drops the rest. A reason is made in many places, of texts whose
//! length nobody knows beforehand (paths, errors of a server), so that the one place that hands it over sees
//! to it that the advice is among what is kept.

/// How many bytes Pacemaker shows (`EXIT_REASON_MAX_LEN`, of which the last ends the text).
pub const SHOWN: usize = 127;

/// What the name of a command for operators begins with.
const COMMAND: &str = "cls_";

/// The reason, with the clause in front that names a command where Pacemaker would cut that off. Clauses are
/// parted by semicolons. Of one that is too long by itself, the command is in front with its options.
#[must_use]
pub fn advice_first(reason: &str) -> String {
    if is_shown(reason) {
        return reason.to_owned();
    }
    let mut clauses: Vec<&str> = reason.split("; ").collect();
    let names = |clause: &&str| clause.contains(COMMAND);
    let Some(at) = clauses.iter().position(names) else {
        return reason.to_owned();
    };
    let advice = clauses.remove(at);
    clauses.insert(0, advice);
    let turned = clauses.join("; ");
    if is_shown(&turned) {
        return turned;
    }
    format!("{}: {reason}", command(advice))
}

/// Whether the first command that is named is shown with its options, or none is named.
fn is_shown(reason: &str) -> bool {
    let named = command(reason);
    reason
        .find(named)
        .is_none_or(|at| at + named.len() <= SHOWN)
}

/// The first command that is named, with its options; empty if there is none.
fn command(text: &str) -> &str {
    let Some(from) = text.find(COMMAND) else {
        return "";
    };
    let named = &text[from..];
    let mut end = 0;
    for word in named.split_inclusive(' ') {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if end > 0 && !word.starts_with("--") {
            break;
        }
        if bare.len() < word.trim_end().len() {
            return &named[..end + bare.len()];
        }
        end += word.len();
    }
    named[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(reason: &str) -> String {
        let turned = advice_first(reason);
        let end = (0..=SHOWN.min(turned.len())).rev();
        let end = end.into_iter().find(|end| turned.is_char_boundary(*end));
        turned[..end.unwrap_or(0)].to_owned()
    }

    #[test]
    fn a_command_and_its_options_are_read() {
        for (text, named) in [
            ("nothing", ""),
            (
                "run cls_rebuild_slave --keep-old on node1: because",
                "cls_rebuild_slave --keep-old",
            ),
            (
                "only if lost, cls_rebuild_slave --keep-old",
                "cls_rebuild_slave --keep-old",
            ),
            ("cls_status; then cls_cleanup", "cls_status"),
            ("(cls_recovery_master): it was", "cls_recovery_master"),
            (
                "cls_repair_slave --or-rebuild: x",
                "cls_repair_slave --or-rebuild",
            ),
        ] {
            assert_eq!(command(text), named, "{text}");
        }
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        for reason in ["no space left", "no data here; run cls_rebuild_slave"] {
            assert_eq!(advice_first(reason), reason);
        }
        let long = "x".repeat(500);
        assert_eq!(advice_first(&long), long);
    }

    #[test]
    fn advice_behind_the_limit_comes_first() {
        let far = format!(
            "no data in /{}; only if lost: cls_rebuild_slave --keep-old",
            "d".repeat(120)
        );
        assert!(
            advice_first(&far)
                .starts_with("only if lost: cls_rebuild_slave --keep-old; no data in /"),
            "{far}"
        );
        // Whatever is before it, and wherever the clauses end.
        for before in (0..400).map(|length| "ü".repeat(length)) {
            for parted in [" ", ": ", "; "] {
                let reason = format!("{before}{parted}run cls_rebuild_slave --keep-old on node1");
                assert!(
                    shown(&reason).contains("cls_rebuild_slave --keep-old"),
                    "{reason}"
                );
                assert!(advice_first(&reason).contains(&before));
            }
        }
    }
}
