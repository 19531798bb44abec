//! A TCP relay in front of a server that, when told to, does what networks do to the one message
//! that matters.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What happens to the next message that contains the marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The connection breaks before the server gets it.
    LoseRequest,
    /// The server gets it and answers; the answer is lost and the connection breaks.
    LoseReply,
    /// The server gets it only after this many milliseconds; the client sees a broken connection
    /// at once.
    DelayRequest(u64),
    /// The server gets it; its answer, and all later ones, never arrive, and the connection stays.
    SwallowReply,
}

/// The relay. It ends its listener when it is dropped.
pub struct Relay {
    /// The port that clients connect to.
    pub port: u16,
    state: Arc<State>,
}

struct State {
    server: u16,
    marker: Vec<u8>,
    next: Mutex<Vec<Mishap>>,
    happened: AtomicU32,
    connections: AtomicU64,
    over: AtomicBool,
}

impl Relay {
    /// Relays connections to 127.0.0.1:`server`; messages that contain `marker` are the ones that
    /// mishaps happen to.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub fn start(server: u16, marker: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            server,
            marker: marker.as_bytes().to_vec(),
            next: Mutex::new(Vec::new()),
            happened: AtomicU32::new(0),
            connections: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.over.load(Ordering::SeqCst) {
                    break;
                }
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&shared);
                thread::spawn(move || {
                    let _ = state.relay(client);
                });
            }
        });
        Ok(Self { port, state })
    }

    /// Lets these mishaps happen to the next messages with the marker, one each, in this order.
    pub fn plan(&self, mishaps: &[Mishap]) {
        *self
            .state
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = mishaps.iter().rev().copied().collect();
    }

    /// How many mishaps have happened.
    #[must_use]
    pub fn happened(&self) -> u32 {
        self.state.happened.load(Ordering::SeqCst)
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn relay(&self, mut client: TcpStream) -> io::Result<()> {
        let mut server = TcpStream::connect(("127.0.0.1", self.server))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let muted = Arc::new(AtomicBool::new(false));
        let replies = {
            let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
            let muted = Arc::clone(&muted);
            thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    if !muted.load(Ordering::SeqCst) && to.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                if !muted.load(Ordering::SeqCst) {
                    let _ = to.shutdown(Shutdown::Both);
                }
            })
        };
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            let message = &buffer[..count];
            match self.mishap(message) {
                None => server.write_all(message)?,
                Some(Mishap::LoseRequest) => break,
                Some(Mishap::SwallowReply) => {
                    muted.store(true, Ordering::SeqCst);
                    server.write_all(message)?;
                }
                Some(Mishap::LoseReply) => {
                    muted.store(true, Ordering::SeqCst);
                    server.write_all(message)?;
                    // Long enough for the server to commit; the test looks whether it has.
                    thread::sleep(Duration::from_millis(200));
                    break;
                }
                Some(Mishap::DelayRequest(millis)) => {
                    muted.store(true, Ordering::SeqCst);
                    client.shutdown(Shutdown::Both)?;
                    thread::sleep(Duration::from_millis(millis));
                    server.write_all(message)?;
                    thread::sleep(Duration::from_millis(200));
                    break;
                }
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
        let _ = replies.join();
        Ok(())
    }

    fn mishap(&self, message: &[u8]) -> Option<Mishap> {
        let marked = message
            .windows(self.marker.len())
            .any(|window| window == self.marker);
        if !marked {
            return None;
        }
        let mishap = self
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()?;
        self.happened.fetch_add(1, Ordering::SeqCst);
        Some(mishap)
    }
}
