//! Running a program on another host over ssh, without the ssh program: for the dead-check of the lock
//! service, where "not reached" and "reached, and it said so" must never be mixed up.
//!
//! Every host key is verified against root's and the system's `known_hosts`; an unknown or changed
//! one is refused. The account authenticates with a key file. Each step ends at the deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, Channel, ErrorCode, Session};

use crate::clock::Deadline;
use crate::command::{KEPT_BYTES, Output};

use super::hostkey;

/// libssh2's code for an operation that took longer than the session's timeout.
const TIMED_OUT: ErrorCode = ErrorCode::Session(-9);
/// libssh2's code for a private key file that cannot be used.
const BAD_KEY_FILE: ErrorCode = ErrorCode::Session(-16);

/// Why a program could not be run on another node. None of these says anything about the program.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// The host's name has no address.
    #[error("ssh to {host}: no address was found: {reason}")]
    Resolve {
        /// The host.
        host: String,
        /// What the resolver said.
        reason: io::Error,
    },
    /// No TCP connection came about.
    #[error("ssh to {host}: connecting to port {port} failed: {reason}")]
    Connect {
        /// The host.
        host: String,
        /// The TCP port.
        port: u16,
        /// What the system said.
        reason: io::Error,
    },
    /// The host is in no `known_hosts`.
    #[error(
        "ssh to {host}: its host key is not known here; as root on this node: ssh -p {port} {host} true, and accept the key after comparing it"
    )]
    UnknownHost {
        /// The host.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// The host shows a key that is not the one on record, or one that was revoked.
    #[error(
        "ssh to {host}: its host key is not the one in known_hosts; only if it was installed anew: ssh-keygen -R {host}, then ssh {host} and accept the new key"
    )]
    ChangedHostKey {
        /// The host.
        host: String,
    },
    /// No key was accepted.
    #[error(
        "ssh to {host}: user {user} was not let in with {tried}; put the public key into authorized_keys of {user} on {host}; where it is there already, sshd of {host} refuses {user} (PermitRootLogin, AllowUsers)"
    )]
    Authentication {
        /// The host.
        host: String,
        /// The account there.
        user: String,
        /// The keys that were tried.
        tried: String,
    },
    /// The deadline came.
    #[error("ssh to {host}: {during} did not end within {} ms", after.as_millis())]
    TimedOut {
        /// The host.
        host: String,
        /// What was being done.
        during: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// Anything else that the protocol or the connection did.
    #[error("ssh to {host}: {during} failed: {reason}")]
    Protocol {
        /// The host.
        host: String,
        /// What was being done.
        during: &'static str,
        /// What the library said.
        reason: String,
    },
    /// The remote program was ended by a signal.
    #[error("ssh to {host}: the remote program was ended by signal {signal}")]
    Signalled {
        /// The host.
        host: String,
        /// The signal's name.
        signal: String,
    },
    /// An argument cannot be given to a remote program.
    #[error("ssh to {host}: an argument holds a NUL byte")]
    Argument {
        /// The host.
        host: String,
    },
}

/// How to reach a host without the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    /// The account on the other node; its login shell must be a POSIX one.
    pub user: String,
    /// The TCP port.
    pub port: u16,
    /// Private key files, tried in this order; those that do not exist are passed over.
    pub keys: Vec<PathBuf>,
    /// Files of known host keys.
    pub known_hosts: Vec<PathBuf>,
}

impl Default for Direct {
    /// Root to root on port 22 with root's keys, as the specification sets nodes up.
    fn default() -> Self {
        let key = |name| PathBuf::from("/root/.ssh").join(name);
        Self {
            user: "root".to_owned(),
            port: 22,
            keys: ["id_ed25519", "id_ecdsa", "id_rsa"].map(key).to_vec(),
            known_hosts: vec![
                key("known_hosts"),
                PathBuf::from("/etc/ssh/ssh_known_hosts"),
            ],
        }
    }
}

impl Direct {
    /// Runs a program on another node, gives it `stdin`, and waits for its end.
    ///
    /// Every argument reaches the program as it is: the remote login shell gets them quoted.
    /// Whatever the exit status, the program ran: it is in [`Output::code`]. At the deadline the
    /// connection is dropped; a remote program that ignores the end of its output may go on, so
    /// give it a time limit of its own.
    pub fn exec(
        &self,
        host: &str,
        argv: &[&str],
        stdin: &[u8],
        deadline: Deadline,
    ) -> Result<Output, DirectError> {
        let call = Call {
            ssh: self,
            host,
            began: Instant::now(),
            deadline,
        };
        let line = shlex::try_join(argv.iter().copied()).map_err(|_| DirectError::Argument {
            host: host.to_owned(),
        })?;
        let addresses = call.resolve()?;
        let (session, stream) = call.verified_session(&addresses)?;
        call.authenticate(&session)?;
        call.run(&session, &stream, &line, stdin)
    }
}

/// One call of [`Direct::exec`].
struct Call<'a> {
    ssh: &'a Direct,
    host: &'a str,
    began: Instant,
    deadline: Deadline,
}

impl Call<'_> {
    /// The resolver has no timeout, so a thread asks it; one that hangs is left behind.
    fn resolve(&self) -> Result<Vec<SocketAddr>, DirectError> {
        let (sender, receiver) = mpsc::channel();
        let target = (self.host.to_owned(), self.ssh.port);
        let error = |reason| DirectError::Resolve {
            host: self.host.to_owned(),
            reason,
        };
        let resolver = std::thread::Builder::new()
            .name("resolve".to_owned())
            .spawn(move || {
                // Nobody listens any more after a timeout; that is all that can go wrong here.
                let _ = sender.send(target.to_socket_addrs().map(Vec::from_iter));
            });
        resolver.map_err(error)?;
        match receiver.recv_timeout(self.deadline.left()) {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(reason)) => Err(error(reason)),
            Err(_) => Err(self.timed_out("looking the name up")),
        }
    }

    fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, DirectError> {
        let mut last = io::Error::other("the name has no address");
        for address in addresses {
            let left = self.deadline.left();
            if left.is_zero() {
                return Err(self.timed_out("connecting"));
            }
            match TcpStream::connect_timeout(address, left) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        if last.kind() == io::ErrorKind::TimedOut {
            return Err(self.timed_out("connecting"));
        }
        Err(DirectError::Connect {
            host: self.host.to_owned(),
            port: self.ssh.port,
            reason: last,
        })
    }

    /// A session with a host whose key is the one on record.
    ///
    /// A host has several keys and `known_hosts` may hold only one; which of them libssh2 would
    /// ask for first says nothing. So each kind of key is asked for until one matches; a match of
    /// any of them is proof.
    fn verified_session(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<(Session, TcpStream), DirectError> {
        let known = hostkey::KnownKeys::read(&self.ssh.known_hosts);
        let mut verdict = DirectError::UnknownHost {
            host: self.host.to_owned(),
            port: self.ssh.port,
        };
        for kind in known.kinds() {
            let stream = self.connect(addresses)?;
            let session = match self.handshake(&stream, kind) {
                Ok(session) => session,
                // The host has no key of that kind.
                Err(HandshakeError::NoCommonKey) => continue,
                Err(HandshakeError::Other(error)) => return Err(error),
            };
            match known.verify(&session, self.host, self.ssh.port) {
                hostkey::KeyCheck::Match => return Ok((session, stream)),
                hostkey::KeyCheck::Unknown => {}
                hostkey::KeyCheck::Changed => {
                    verdict = DirectError::ChangedHostKey {
                        host: self.host.to_owned(),
                    }
                }
                hostkey::KeyCheck::Revoked => {
                    return Err(DirectError::ChangedHostKey {
                        host: self.host.to_owned(),
                    });
                }
            }
        }
        Err(verdict)
    }

    fn handshake(&self, stream: &TcpStream, kind: &str) -> Result<Session, HandshakeError> {
        let fail = |error: ssh2::Error| HandshakeError::Other(self.error("the handshake", &error));
        let mut session = Session::new().map_err(fail)?;
        session
            .method_pref(ssh2::MethodType::HostKey, kind)
            .map_err(|_| HandshakeError::NoCommonKey)?;
        self.limit(&session).map_err(HandshakeError::Other)?;
        let copy = stream.try_clone().map_err(|reason| {
            HandshakeError::Other(DirectError::Connect {
                host: self.host.to_owned(),
                port: self.ssh.port,
                reason,
            })
        })?;
        session.set_tcp_stream(copy);
        match session.handshake() {
            Ok(()) => Ok(session),
            // LIBSSH2_ERROR_KEX_FAILURE and LIBSSH2_ERROR_METHOD_NONE: no key of that kind in common.
            Err(error) if matches!(error.code(), ErrorCode::Session(-5 | -17)) => {
                Err(HandshakeError::NoCommonKey)
            }
            Err(error) => Err(fail(error)),
        }
    }

    fn authenticate(&self, session: &Session) -> Result<(), DirectError> {
        let mut tried = Vec::new();
        // The library opens it by its path, and would wait for the other end of a FIFO.
        for key in self.ssh.keys.iter().filter(|key| key.is_file()) {
            self.limit(session)?;
            match session.userauth_pubkey_file(&self.ssh.user, None, key, None) {
                Ok(()) => return Ok(()),
                Err(error) if error.code() == TIMED_OUT => {
                    return Err(self.timed_out("authentication"));
                }
                Err(error) if error.code() == BAD_KEY_FILE => {
                    tried.push(format!(
                        "{} (unusable: does it have a passphrase?)",
                        key.display()
                    ));
                }
                Err(_) => tried.push(key.display().to_string()),
            }
        }
        let names = |paths: &[PathBuf]| {
            paths
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let tried = if tried.is_empty() {
            format!("any of {} (none exists)", names(&self.ssh.keys))
        } else {
            tried.join(", ")
        };
        Err(DirectError::Authentication {
            host: self.host.to_owned(),
            user: self.ssh.user.clone(),
            tried,
        })
    }

    fn run(
        &self,
        session: &Session,
        stream: &TcpStream,
        line: &str,
        stdin: &[u8],
    ) -> Result<Output, DirectError> {
        let during = "running the program";
        let fail = |error: ssh2::Error| self.error(during, &error);
        self.limit(session)?;
        let mut channel = session.channel_session().map_err(fail)?;
        channel.exec(line).map_err(fail)?;
        let output = self.transfer(session, stream, &mut channel, stdin)?;
        session.set_blocking(true);
        self.limit(session)?;
        channel.close().map_err(fail)?;
        channel.wait_close().map_err(fail)?;
        let signal = channel.exit_signal().map_err(fail)?;
        if let Some(signal) = signal.exit_signal {
            return Err(DirectError::Signalled {
                host: self.host.to_owned(),
                signal,
            });
        }
        Ok(Output {
            code: channel.exit_status().map_err(fail)?,
            ..output
        })
    }

    /// Moves input and both outputs at once, so that neither side can wait for the other for ever.
    fn transfer(
        &self,
        session: &Session,
        stream: &TcpStream,
        channel: &mut Channel,
        mut stdin: &[u8],
    ) -> Result<Output, DirectError> {
        let during = "reading from the program";
        let io_error = |reason: io::Error| self.protocol(during, reason.to_string());
        session.set_blocking(false);
        let mut output = Output {
            code: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
            truncated: false,
        };
        let mut closed = false;
        loop {
            let mut moved = give(channel, &mut stdin).map_err(io_error)?;
            if stdin.is_empty() && !closed {
                closed = match channel.send_eof() {
                    Ok(()) => true,
                    Err(error) if would_block(&error) => false,
                    Err(error) => return Err(self.error(during, &error)),
                };
            }
            moved |= take(channel, &mut output.stdout, &mut output.truncated).map_err(io_error)?;
            moved |= take(
                &mut channel.stderr(),
                &mut output.stderr,
                &mut output.truncated,
            )
            .map_err(io_error)?;
            if channel.eof() {
                return Ok(output);
            }
            if self.deadline.expired() {
                return Err(self.timed_out("the remote program"));
            }
            if !moved {
                self.wait(session, stream).map_err(io_error)?;
            }
        }
    }

    /// Waits until the connection can move in a direction that the session waits for.
    fn wait(&self, session: &Session, stream: &TcpStream) -> io::Result<()> {
        let flags = match session.block_directions() {
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
            BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
        };
        let left = self.deadline.left();
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::from_borrowed_fd(stream.as_fd(), flags)],
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Bounds the session's next step by what is left; 0 would mean no bound to libssh2.
    fn limit(&self, session: &Session) -> Result<(), DirectError> {
        let left = self.deadline.left().as_millis();
        if left == 0 {
            return Err(self.timed_out("the connection"));
        }
        session.set_timeout(u32::try_from(left).unwrap_or(u32::MAX));
        Ok(())
    }

    fn error(&self, during: &'static str, error: &ssh2::Error) -> DirectError {
        if error.code() == TIMED_OUT || self.deadline.expired() {
            return self.timed_out(during);
        }
        self.protocol(during, error.message().to_owned())
    }

    fn protocol(&self, during: &'static str, reason: String) -> DirectError {
        DirectError::Protocol {
            host: self.host.to_owned(),
            during,
            reason,
        }
    }

    fn timed_out(&self, during: &'static str) -> DirectError {
        DirectError::TimedOut {
            host: self.host.to_owned(),
            during,
            after: self.began.elapsed(),
        }
    }
}

enum HandshakeError {
    NoCommonKey,
    Other(DirectError),
}

/// libssh2's `LIBSSH2_ERROR_EAGAIN`.
fn would_block(error: &ssh2::Error) -> bool {
    error.code() == ErrorCode::Session(-37)
}

/// Gives the program what it takes; true when it took anything.
fn give(channel: &mut Channel, stdin: &mut &[u8]) -> io::Result<bool> {
    if stdin.is_empty() {
        return Ok(false);
    }
    match channel.write(stdin) {
        Ok(count) => {
            *stdin = &stdin[count..];
            Ok(count > 0)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        // A program need not read its input to the end; its exit status says whether that was
        // all right.
        Err(_) if channel.eof() => {
            *stdin = &[];
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Takes what is there of one stream, keeping up to the bound; true when there was anything.
fn take(stream: &mut impl Read, kept: &mut Vec<u8>, truncated: &mut bool) -> io::Result<bool> {
    let mut buffer = [0_u8; 16 * 1024];
    match stream.read(&mut buffer) {
        Ok(count) => {
            let room = KEPT_BYTES.saturating_sub(kept.len()).min(count);
            kept.extend_from_slice(&buffer[..room]);
            *truncated |= room < count;
            Ok(count > 0)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
