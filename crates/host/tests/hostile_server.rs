//! Servers that send without an end, and servers that ask for the password itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pha_host::clock::Deadline;
use pha_host::conninfo::Conninfo;
use pha_host::sql::{Purpose, Session, SqlError, SqlErrorKind};

/// A message of the protocol.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

fn asked(method: u32) -> Vec<u8> {
    message(b'R', &method.to_be_bytes())
}

/// What lets a client in.
fn welcome() -> Vec<u8> {
    [asked(0), message(b'K', &[0; 8]), message(b'Z', b"I")].concat()
}

/// Says no to encryption, and takes the client's first message.
fn greet(stream: &mut TcpStream) {
    let mut length = [0; 4];
    loop {
        stream.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        stream.read_exact(&mut body).unwrap();
        if body != 80_877_103_u32.to_be_bytes() {
            return;
        }
        stream.write_all(b"N").unwrap();
    }
}

/// A server for one client; it tells what `serve` returns.
fn server<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (String, Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        greet(&mut stream);
        let _ = tell.send(serve(stream));
    });
    // An address by which this machine is reached, and which is not known to be its own.
    let text =
        format!("host=far.test hostaddr=0.0.0.0 port={port} user=u password=geheim dbname=d");
    (text, told)
}

/// Sends the piece again and again until nobody takes it any more; how many bytes that were.
fn flood(stream: &mut TcpStream, piece: &[u8]) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut sent = 0;
    while sent < 1 << 30 && stream.write_all(piece).is_ok() {
        sent += piece.len();
    }
    sent
}

fn connect(text: &str) -> Result<Session, SqlError> {
    let info: Conninfo = text.parse().unwrap();
    Session::connect(
        &info,
        Purpose::LockService,
        Deadline::after(Duration::from_secs(20)),
    )
}

/// The client had 20 s and took neither them nor more than its bound, and what the kernel held.
fn bounded(error: &SqlError, told: &Receiver<usize>, began: Instant) {
    assert_eq!(error.kind(), &SqlErrorKind::TooMuch, "{error}");
    assert!(error.answered(), "it is there: {error}");
    assert!(error.to_string().contains("more than 8 MiB"), "{error}");
    let sent = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(sent < 32 << 20, "{sent} bytes");
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn an_answer_without_an_end_is_given_up() {
    let row = |length: usize| {
        let size = u32::try_from(length).unwrap();
        message(
            b'D',
            &[&[0, 1], &size.to_be_bytes()[..], &vec![b'x'; length]].concat(),
        )
    };
    let described = message(b'T', &[&[0, 1, b'c', 0][..], &[0; 18]].concat());
    let huge = [&[b'D'][..], &u32::to_be_bytes(1 << 30)].concat();
    let notice = message(b'N', b"SNOTICE\0C00000\0Mx\0\0");
    for (what, first, piece) in [
        ("many rows", described.clone(), row(10).repeat(1000)),
        ("long rows", described.clone(), row(1 << 20)),
        ("one row", [described, huge].concat(), vec![b'x'; 1 << 16]),
        ("notices", Vec::new(), notice.repeat(1000)),
    ] {
        let (text, told) = server(move |mut stream| {
            stream.write_all(&welcome()).unwrap();
            let mut asked = [0; 5];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(&first).unwrap();
            flood(&mut stream, &piece)
        });
        let mut session = connect(&text).unwrap_or_else(|error| panic!("{what}: {error}"));
        let began = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(20));
        let error = session.simple("select 1", deadline).unwrap_err();
        assert!(
            !error.surely_without_effect() && !session.is_usable(),
            "{what}"
        );
        bounded(&error, &told, began);
    }
}

#[test]
fn a_greeting_without_an_end_is_given_up() {
    let named = |count: usize| {
        let name = |n: usize| message(b'S', format!("n{n}\0x\0").as_bytes());
        (0..count).flat_map(name).collect::<Vec<u8>>()
    };
    for piece in [
        named(10_000),
        message(b'N', b"SNOTICE\0C00000\0Mx\0\0").repeat(1000),
    ] {
        let (text, told) = server(move |mut stream| {
            stream.write_all(&asked(0)).unwrap();
            flood(&mut stream, &piece)
        });
        let began = Instant::now();
        bounded(&connect(&text).err().unwrap(), &told, began);
    }
}

/// Sends a request for a proof, and tells what comes back.
fn asking(request: Vec<u8>) -> (String, Receiver<Vec<u8>>) {
    server(move |mut stream| {
        stream.write_all(&request).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut answer = vec![0; 1000];
        let length = stream.read(&mut answer).unwrap_or(0);
        answer.truncate(length);
        answer
    })
}

#[test]
fn what_require_auth_does_not_allow_is_not_answered() {
    let md5 = message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]);
    let scram = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    for (request, allowed, sends) in [
        (asked(3), "", true),
        (asked(3), "password", true),
        (asked(3), "scram-sha-256", false),
        (asked(3), "!password", false),
        (md5.clone(), "md5", true),
        (md5, "scram-sha-256", false),
        (scram.clone(), "scram-sha-256", true),
        (scram, "!scram-sha-256", false),
        (welcome(), "scram-sha-256", false),
    ] {
        let (text, told) = asking(request.clone());
        let error = connect(&format!("{text} require_auth={allowed}")).err();
        let answer = told.recv_timeout(Duration::from_secs(10)).unwrap();
        let what = format!("{request:?} {allowed}: {error:?}");
        assert_eq!(!answer.is_empty(), sends, "{what}");
        if !sends {
            let error = error.unwrap();
            assert_eq!(error.kind(), &SqlErrorKind::Authentication, "{what}");
            assert!(error.to_string().contains("does not allow"), "{what}");
        }
    }
    // A notice before it hides nothing.
    let notice = message(b'N', &[b'x'; 3000]);
    let (text, told) = asking([notice, asked(3)].concat());
    connect(&format!("{text} require_auth=scram-sha-256"))
        .err()
        .unwrap();
    assert!(
        told.recv_timeout(Duration::from_secs(10))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn binding_to_the_encryption_is_not_given_up_unseen() {
    for request in [
        asked(3),
        message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
        welcome(),
    ] {
        let (text, told) = asking(request);
        let error = connect(&format!("{text} channel_binding=require"))
            .err()
            .unwrap();
        assert_eq!(error.kind(), &SqlErrorKind::Authentication, "{error}");
        assert!(
            told.recv_timeout(Duration::from_secs(10))
                .unwrap()
                .is_empty()
        );
    }
}

/// What is logged while `work` runs.
fn logged(work: impl FnOnce()) -> String {
    use std::sync::{Arc, Mutex};
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_password_in_clear_is_announced() {
    let (text, told) = asking(asked(3));
    let log = logged(|| drop(connect(&text)));
    assert!(
        told.recv_timeout(Duration::from_secs(10))
            .unwrap()
            .ends_with(b"geheim\0")
    );
    assert!(
        log.contains("in clear") && log.contains("far.test"),
        "{log}"
    );
    assert!(!log.contains("geheim"), "{log}");
    // The connection string alone says that it could come to that.
    let could = |further: &str| {
        format!("{text} {further}")
            .parse::<Conninfo>()
            .unwrap()
            .in_clear()
    };
    assert!(could("").is_some_and(|servers| servers.contains("far.test")));
    for safe in [
        "sslmode=verify-full",
        "sslmode=require",
        "require_auth=scram-sha-256",
        "require_auth=!password",
        "channel_binding=require",
        "host=/tmp hostaddr=",
        "password='' passfile=/nonexistent",
    ] {
        assert_eq!(could(safe), None, "{safe}");
    }
}
