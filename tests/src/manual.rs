//! What the manual has a newcomer type.

/// The blocks of code of a part of the manual, which begins with this heading and ends before the next one: lines
/// without their comments, blocks without a line left out.
///
/// # Panics
/// There is no such heading.
#[must_use]
pub fn blocks(manual: &str, heading: &str) -> Vec<Vec<String>> {
    let mut lines = manual.lines();
    assert!(lines.any(|line| line == heading), "no {heading}");
    let mut blocks = Vec::new();
    let mut block: Option<Vec<String>> = None;
    for line in lines {
        match (line.trim_start().starts_with("```"), block.take()) {
            (true, Some(ended)) => blocks.push(ended),
            (true, None) => block = Some(Vec::new()),
            (false, Some(mut open)) => {
                open.push(without_comment(line).to_owned());
                block = Some(open);
            }
            // A line in a block may begin with a number sign too.
            (false, None) if line.starts_with('#') => break,
            (false, None) => {}
        }
    }
    for block in &mut blocks {
        block.retain(|line| !line.is_empty());
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// All lines of such a part, one after the other.
#[must_use]
pub fn commands(manual: &str, heading: &str) -> Vec<String> {
    blocks(manual, heading).concat()
}

/// The part of a line before its comment, which stands alone or behind blanks.
fn without_comment(line: &str) -> &str {
    match line.find(" #").or(line.starts_with('#').then_some(0)) {
        Some(at) => line[..at].trim_end(),
        None => line.trim_end(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_its_blocks_without_comments() {
        let manual = "## A\n```\nno\n```\n### B\ntext\n```sh\n# why\none 'a#b'   # what\n\ntwo\n```\n```\n# all\n```\n### C\n```\nno\n```\n";
        assert_eq!(commands(manual, "### B"), ["one 'a#b'", "two"]);
        assert_eq!(blocks(manual, "### B").len(), 1);
    }
}
