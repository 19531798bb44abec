//! Lines of our own in a file of the administrator's: between two marks, and nothing else is changed.

/// Where the lines go that a file does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before everything: where the first line that fits decides, as in `pg_hba.conf`.
    Top,
    /// Behind everything: where the last one decides, as in `postgresql.conf`.
    End,
}

const BEGIN: &str = "# pha4pgsql: what cls_init has added";
const END: &str = "# pha4pgsql: end";

/// The file with these lines too; those that are between the marks already stay.
#[must_use]
pub fn with_lines(text: &[u8], place: Place, lines: &[String]) -> Vec<u8> {
    let mut all: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if all.last().is_some_and(|last| last.is_empty()) {
        all.pop();
    }
    let is = |line: &&[u8], mark: &str| line.trim_ascii() == mark.as_bytes();
    let begin = all.iter().position(|line| is(line, BEGIN));
    let end = begin.and_then(|begin| {
        let after = all[begin..].iter().position(|line| is(line, END))?;
        Some(begin + after)
    });
    let new: Vec<&[u8]> = lines
        .iter()
        .map(|line| line.trim_end().as_bytes())
        .collect();
    match (end, place) {
        (Some(end), _) => drop(all.splice(end..end, new)),
        (None, place) => {
            let at = match place {
                Place::Top => 0,
                Place::End => all.len(),
            };
            let marked = [&[BEGIN.as_bytes()], &new[..], &[END.as_bytes()]].concat();
            drop(all.splice(at..at, marked));
        }
    }
    all.into_iter()
        .flat_map(|line| [line, b"\n"].concat())
        .collect()
}
