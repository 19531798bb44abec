//! What root asks of the process that is the account, and what that answers: frames of a JSON text
//! and bytes, each with its length in front, over one pair of sockets.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::files::LIMIT;

/// The most bytes of the JSON part of a frame: the names of a directory with a million files.
const MOST_TEXT: u32 = 64 << 20;

/// The most bytes behind it: a file.
#[allow(clippy::cast_possible_truncation, reason = "16 MiB")]
const MOST_BYTES: u32 = LIMIT as u32;

/// One question or one deed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Read a regular file, from a position on.
    Read { path: PathBuf, from: u64, most: u64 },
    /// What is there, or what the link of that name leads to.
    Look { path: PathBuf, follow: bool },
    /// Where a symbolic link leads.
    Link { path: PathBuf },
    /// The path without links.
    Real { path: PathBuf },
    /// The names in a directory that end so, at most so many.
    List {
        path: PathBuf,
        ends: String,
        most: usize,
    },
    /// The free bytes of the file system.
    Space { path: PathBuf },
    /// Connect to a socket in a directory; the connection follows the answer.
    Connect { path: PathBuf },
    /// Make a file hold the bytes of the frame unless it does already.
    Ensure { path: PathBuf, mode: u32 },
    /// Make sure that there is no file of that name.
    Absent { path: PathBuf },
    /// Make a directory and those above it.
    MakeDirectory { path: PathBuf, mode: u32 },
    /// Give what is there these permissions.
    Mode { path: PathBuf, mode: u32 },
    /// Give another name to what is there, where there is nothing of that name.
    Rename { from: PathBuf, to: PathBuf },
    /// Make the link of that name lead there.
    Lead { path: PathBuf, target: PathBuf },
    /// Remove everything in a directory.
    Clear { path: PathBuf },
    /// Remove an empty directory.
    RemoveDirectory { path: PathBuf },
}

impl Request {
    /// Whether it changes nothing, so that it can be asked again.
    pub(super) fn is_look(&self) -> bool {
        match self {
            Self::Read { .. }
            | Self::Look { .. }
            | Self::Link { .. }
            | Self::Real { .. }
            | Self::List { .. }
            | Self::Connect { .. }
            | Self::Space { .. } => true,
            Self::Ensure { .. }
            | Self::Absent { .. }
            | Self::MakeDirectory { .. }
            | Self::Mode { .. }
            | Self::Rename { .. }
            | Self::Lead { .. }
            | Self::Clear { .. }
            | Self::RemoveDirectory { .. } => false,
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// There is nothing of that name.
    Nothing,
    /// What is there.
    There(Stat),
    /// The bytes of a file are in the frame.
    Content {
        /// The file.
        stat: Stat,
        /// Its path without links, where it can be told.
        real: Option<PathBuf>,
    },
    /// A path.
    Path(PathBuf),
    /// Names.
    Names(Vec<String>),
    /// A number of bytes.
    Bytes(u64),
    /// A connection follows.
    Connected,
    /// It is so now; whether anything had to be done for that.
    Done { changed: bool },
    /// It could not be done.
    Failed { errno: Option<i32>, text: String },
}

/// What kind of thing a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO, a socket or a device.
    Other,
}

/// What the system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Its owner.
    pub uid: u32,
    /// Its permissions, the last four octal digits.
    pub mode: u32,
    /// How many names it has.
    pub links: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// Writes a frame.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize, bytes: &[u8]) -> io::Result<()> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    let too_long = |_| io::Error::other("too long");
    let lengths = [
        u32::try_from(text.len()).map_err(too_long)?,
        u32::try_from(bytes.len()).map_err(too_long)?,
    ];
    // In one piece: the reader is woken once.
    let mut frame = Vec::with_capacity(8 + text.len() + bytes.len());
    for length in lengths {
        frame.extend(length.to_be_bytes());
    }
    frame.extend(text);
    frame.extend(bytes);
    to.write_all(&frame)
}

/// Reads a frame; `None` when the other side has ended before one.
pub(super) fn receive<T: for<'a> Deserialize<'a>>(
    from: &mut impl Read,
) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut head = [0; 8];
    loop {
        match from.read(&mut head) {
            Ok(0) => return Ok(None),
            Ok(count) => break from.read_exact(&mut head[count..])?,
            // A process that was stopped for a moment, for one: a socket with a limit of time tells it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let [a, b, c, d, e, f, g, h] = head;
    let text = u32::from_be_bytes([a, b, c, d]);
    let bytes = u32::from_be_bytes([e, f, g, h]);
    if text > MOST_TEXT || bytes > MOST_BYTES {
        return Err(io::Error::other("larger than any answer can be"));
    }
    let text = exactly(from, text)?;
    let bytes = exactly(from, bytes)?;
    let message = serde_json::from_slice(&text)
        // The parser's message could quote the text.
        .map_err(|_| io::Error::other("not an answer"))?;
    Ok(Some((message, bytes)))
}

/// Reads so many bytes; the memory grows with what has come, not with what was announced.
fn exactly(from: &mut impl Read, count: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(u64::from(count)).read_to_end(&mut bytes)?;
    if bytes.len() != count as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Hands an open descriptor over, with one byte that carries it (unix(7)).
pub(super) fn send_descriptor(to: impl AsFd, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(to, &[IoSlice::new(b"d")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes a descriptor that was handed over. What else came with it is closed.
pub(super) fn receive_descriptor(from: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        match recvmsg(&from, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut received = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let first = received
        .next()
        .and_then(|mut descriptors| descriptors.next());
    first.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let request = Request::Ensure {
            path: "/a b".into(),
            mode: 0o600,
        };
        let mut frame = Vec::new();
        send(&mut frame, &request, b"\0bytes").unwrap();
        let mut from = frame.as_slice();
        let (read, bytes) = receive::<Request>(&mut from).unwrap().unwrap();
        assert_eq!((read, bytes.as_slice()), (request, b"\0bytes".as_slice()));
        assert!(receive::<Request>(&mut from).unwrap().is_none());
    }

    #[test]
    fn a_descriptor_is_handed_over_and_anything_else_is_none() {
        use std::os::unix::net::UnixStream;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut end, given) = UnixStream::pair().unwrap();
        send_descriptor(&theirs, given.as_fd()).unwrap();
        let mut received = UnixStream::from(receive_descriptor(&ours).unwrap());
        end.write_all(b"x").unwrap();
        let mut byte = [0; 1];
        received.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        theirs.write_all(b"d").unwrap();
        assert!(receive_descriptor(&ours).is_err());
        drop(theirs);
        assert!(receive_descriptor(&ours).is_err());
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_takes_no_memory() {
        let huge = [0xff; 8];
        let short = [0, 0, 0, 9, 0, 0, 0, 0, b'{'];
        let wrong = [0, 0, 0, 2, 0, 0, 0, 0, b'{', b'}'];
        for frame in [&huge[..], &short, &wrong, &huge[..3]] {
            assert!(receive::<Answer>(&mut &*frame).is_err(), "{frame:?}");
        }
    }
}
