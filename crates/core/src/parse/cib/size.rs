//! How much a cluster information base may hold, looked at before it is parsed.
//!
//! The parser compares every attribute of an element with the element's others, and every prefix with
//! all declarations of namespaces. Pacemaker's own elements have some twenty attributes and no
//! namespaces; an element with a hundred thousand would keep a monitor busy for minutes.

use super::error::CibError;

/// The most elements and texts.
pub(super) const NODES: u32 = 1_000_000;
/// The most bytes of names and values that are read, whichever way they are referred to.
pub(super) const BYTES: usize = 64 << 20;
/// The most nodes; Pacemaker itself is made for far fewer.
pub(super) const MEMBERS: usize = 1000;
/// The most primitive resources.
pub(super) const RESOURCES: usize = 10_000;
/// How many clones and groups around a resource are looked at; Pacemaker's schema allows two.
pub(super) const DEPTH: usize = 8;
/// The most attributes of all elements.
const ATTRIBUTES: usize = 2_000_000;
/// The most attributes of one element.
const OF_ONE: usize = 200;
/// The most declarations of namespaces.
const NAMESPACES: usize = 20;

/// Counts, in one pass, what the parser would have to compare.
pub(super) fn check(text: &str) -> Result<(), CibError> {
    let (mut all, mut namespaces) = (0, 0);
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
        rest = &rest[at..];
        // What is inside of these is no element, whatever it looks like.
        if let Some(after) = skipped(rest) {
            rest = after;
            continue;
        }
        let tag = Tag::read(&rest[1..]);
        all += tag.attributes;
        namespaces += tag.namespaces;
        if tag.attributes > OF_ONE {
            return Err(CibError::TooMany(
                "an element with more than 200 attributes",
            ));
        }
        if all > ATTRIBUTES {
            return Err(CibError::TooMany("more than 2000000 attributes"));
        }
        if namespaces > NAMESPACES {
            return Err(CibError::TooMany("more than 20 XML namespaces"));
        }
        rest = &rest[1 + tag.length..];
    }
    Ok(())
}

/// What follows a comment, a section of plain characters or an instruction at the beginning; none where
/// there is none of them. One without an end is the parser's to refuse.
fn skipped(text: &[u8]) -> Option<&[u8]> {
    let kinds: [(&[u8], &[u8]); 3] = [(b"<!--", b"-->"), (b"<![CDATA[", b"]]>"), (b"<?", b"?>")];
    let (begin, end) = kinds.iter().find(|(begin, _)| text.starts_with(begin))?;
    let inside = &text[begin.len()..];
    let at = inside.windows(end.len()).position(|window| window == *end);
    Some(at.map_or(&[], |at| &inside[at + end.len()..]))
}

/// A tag, from behind its `<` to behind its `>`.
struct Tag {
    length: usize,
    attributes: usize,
    namespaces: usize,
}

impl Tag {
    fn read(text: &[u8]) -> Self {
        let mut tag = Self {
            length: text.len(),
            attributes: 0,
            namespaces: 0,
        };
        let mut quote = None;
        for (at, byte) in text.iter().enumerate() {
            match (quote, byte) {
                (Some(end), byte) if end == *byte => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(*byte),
                (None, b'>') => {
                    tag.length = at + 1;
                    break;
                }
                (None, b'=') => tag.attributes += 1,
                (None, b'x') if text[at..].starts_with(b"xmlns") => tag.namespaces += 1,
                (None, _) => {}
            }
        }
        tag
    }
}
