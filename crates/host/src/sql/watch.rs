//! What a server may send and ask for, seen before the driver acts on it.
//!
//! The driver keeps whatever arrives until an answer is complete, and gives the password in whichever
//! way the server asks. Here every byte is counted, and the server's first messages are read along
//! (PostgreSQL manual, "Message Formats"): a method that `require_auth` does not allow is refused
//! before anything is answered.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, TlsStream};
use tracing::warn;

use super::error::SqlErrorKind;
use crate::conninfo::{Method, RequireAuth};

/// The most bytes of one answer, and of everything that is said when a connection is made. The agent's
/// own questions have answers of a few thousand; those of `monitor_sql` are the administrator's.
pub(super) const MOST: usize = 8 << 20;

/// What is known of one connection while it is read.
#[derive(Debug)]
pub(super) struct Watch {
    read: AtomicUsize,
    allowed: RequireAuth,
    /// The server, where a password that is sent without encryption goes over a network.
    exposed: Option<String>,
    stopped: Mutex<Option<(SqlErrorKind, String)>>,
}

impl Watch {
    pub(super) fn new(allowed: RequireAuth, exposed: Option<String>) -> Self {
        Self {
            read: AtomicUsize::new(0),
            allowed,
            exposed,
            stopped: Mutex::new(None),
        }
    }

    /// Another question begins.
    pub(super) fn begin(&self) {
        self.read.store(0, Ordering::Relaxed);
    }

    /// Why the connection was ended from here, if it was.
    pub(super) fn stopped(&self) -> Option<(SqlErrorKind, String)> {
        self.stopped.lock().ok()?.clone()
    }

    fn stop(&self, kind: SqlErrorKind, text: String) -> io::Error {
        let error = io::Error::other(text.clone());
        if let Ok(mut stopped) = self.stopped.lock() {
            stopped.get_or_insert((kind, text));
        }
        error
    }

    fn count(&self, bytes: usize) -> io::Result<()> {
        if self.read.fetch_add(bytes, Ordering::Relaxed) + bytes <= MOST {
            return Ok(());
        }
        let text = format!(
            "its answer has more than {} MiB; look what it is that answers there, and whether the table and the statement are the right ones",
            MOST >> 20
        );
        Err(self.stop(SqlErrorKind::TooMuch, text))
    }

    /// Judges what the server asks for. `None`: it asks for nothing more.
    fn asked(&self, method: Option<Method>, proven: bool, encrypted: bool) -> io::Result<()> {
        let wanted = match (method, proven) {
            // What comes after an exchange that was allowed ends it.
            (None, true) => return Ok(()),
            (method, _) => method.unwrap_or(Method::None),
        };
        if !self.allowed.allows(wanted) {
            let text = format!(
                "the server asks for {}, which require_auth={} does not allow; look whether it is the right server, and at its pg_hba.conf",
                wanted.described(),
                self.allowed
            );
            return Err(self.stop(SqlErrorKind::Authentication, text));
        }
        if let (Method::Password, false, Some(server)) = (wanted, encrypted, &self.exposed) {
            warn!(
                "database server at {server} asks for the password in clear and without encryption, and gets it: set sslmode=verify-full, or require_auth=scram-sha-256, in its connection string"
            );
        }
        Ok(())
    }
}

/// Reads the server's messages along until it has let the client in.
#[derive(Debug)]
enum Judge {
    /// The one byte with which it answers the request for encryption.
    Encryption,
    /// The first bytes of a message.
    Head { bytes: [u8; 9], have: usize },
    /// The rest of a message.
    Body(usize),
    /// Nothing more: it is in, or what follows is encrypted.
    Done,
}

const HEAD: Judge = Judge::Head {
    bytes: [0; 9],
    have: 0,
};

#[derive(Debug)]
struct Along {
    judge: Judge,
    encrypted: bool,
    proven: bool,
}

impl Along {
    fn read(&mut self, mut bytes: &[u8], watch: &Watch) -> io::Result<()> {
        while let Some((first, rest)) = bytes.split_first() {
            match &mut self.judge {
                Judge::Done => return Ok(()),
                Judge::Encryption if *first == b'S' => self.judge = Judge::Done,
                Judge::Encryption if *first == b'N' => self.judge = HEAD,
                // An error in the place of the answer.
                Judge::Encryption => {
                    self.judge = HEAD;
                    continue;
                }
                Judge::Body(left) => {
                    let passed = bytes.len().min(*left);
                    *left -= passed;
                    if *left == 0 {
                        self.judge = HEAD;
                    }
                    bytes = &bytes[passed..];
                    continue;
                }
                Judge::Head { bytes: head, have } => {
                    head[*have] = *first;
                    *have += 1;
                    let (head, have) = (*head, *have);
                    self.head(head, have, watch)?;
                }
            }
            bytes = rest;
        }
        Ok(())
    }

    /// A message has its kind, its length without the kind, and one of `R` what the server asks for.
    fn head(&mut self, head: [u8; 9], have: usize, watch: &Watch) -> io::Result<()> {
        let number =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let needed = if head[0] == b'R' { 9 } else { 5 };
        if have < needed {
            return Ok(());
        }
        let length = usize::try_from(number(1)).unwrap_or(usize::MAX);
        let body = (length.saturating_add(1)).saturating_sub(needed);
        self.judge = if body > 0 { Judge::Body(body) } else { HEAD };
        if needed == 5 {
            return Ok(());
        }
        let method = match number(5) {
            0 => {
                self.judge = Judge::Done;
                None
            }
            3 => Some(Method::Password),
            5 => Some(Method::Md5),
            7 => Some(Method::Gss),
            9 => Some(Method::Sspi),
            10 => Some(Method::Scram),
            // What follows in an exchange that was judged when it began; anything else the driver refuses.
            _ => return Ok(()),
        };
        watch.asked(method, self.proven, self.encrypted)?;
        self.proven = true;
        Ok(())
    }
}

/// A TCP connection or a socket of this machine.
#[derive(Debug)]
pub(super) enum Socket {
    /// Over a network.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

/// A stream of which the server's first messages are read along.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    watch: std::sync::Arc<Watch>,
    along: Along,
    /// Whether the bytes are counted here: those of an encrypted stream are counted below it.
    counts: bool,
}

impl Watched<Socket> {
    /// The connection itself; `asks` says whether encryption is asked for first.
    pub(super) fn plain(stream: Socket, watch: std::sync::Arc<Watch>, asks: bool) -> Self {
        Self {
            stream,
            watch,
            along: Along {
                judge: if asks { Judge::Encryption } else { HEAD },
                encrypted: false,
                proven: false,
            },
            counts: true,
        }
    }

    /// What is known of it.
    pub(super) fn watch(&self) -> std::sync::Arc<Watch> {
        std::sync::Arc::clone(&self.watch)
    }
}

impl<S> Watched<S> {
    /// What the encryption hands out.
    pub(super) fn encrypted(stream: S, watch: std::sync::Arc<Watch>) -> Self {
        Self {
            stream,
            watch,
            along: Along {
                judge: HEAD,
                encrypted: true,
                proven: false,
            },
            counts: false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let fresh = &buffer.filled()[before..];
        let mut judged = match this.counts {
            true => this.watch.count(fresh.len()),
            false => Ok(()),
        };
        if judged.is_ok() {
            judged = this.along.read(fresh, &this.watch);
        }
        if judged.is_err() {
            // Nobody acts on what was refused.
            buffer.set_filled(before);
        }
        Poll::Ready(judged)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Watched<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
