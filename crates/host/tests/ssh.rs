//! The ssh client against a real sshd on loopback. Needs the packages openssh-server and
//! openssh-client, and root, whose account it logs in to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pha_host::clock::Deadline;
use pha_host::ssh::{Ssh, SshError};

struct Server {
    dir: PathBuf,
    port: u16,
    process: Child,
}

fn tool(program: &str, args: &[&str]) {
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(
        status
            .unwrap_or_else(|error| panic!("{program}: {error}; install openssh-client"))
            .success()
    );
}

fn keygen(path: &Path, kind: &str) {
    tool(
        "ssh-keygen",
        &["-q", "-t", kind, "-N", "", "-f", path.to_str().unwrap()],
    );
}

impl Server {
    fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("pha-ssh-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        keygen(&dir.join("host_rsa"), "rsa");
        keygen(&dir.join("host_ed25519"), "ed25519");
        keygen(&dir.join("id"), "ed25519");
        std::fs::copy(dir.join("id.pub"), dir.join("authorized")).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let at = dir.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host_rsa\nHostKey {at}/host_ed25519\n\
             AuthorizedKeysFile {at}/authorized\nStrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\n"
        );
        std::fs::write(dir.join("config"), config).unwrap();
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.join("config"))
            .stderr(Stdio::null())
            .spawn()
            .expect("install openssh-server");
        let server = Self { dir, port, process };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Writes a `known_hosts` that holds one of the server's keys.
    fn known(&self, key: &str, marker: &str) -> PathBuf {
        let key = std::fs::read_to_string(self.dir.join(key)).unwrap();
        let key: Vec<&str> = key.split_whitespace().collect();
        let path = self.dir.join("known");
        let line = format!(
            "nonsense\n{marker}[127.0.0.1]:{} {} {}\n",
            self.port, key[0], key[1]
        );
        std::fs::write(&path, line).unwrap();
        path
    }

    fn client(&self, known: PathBuf) -> Ssh {
        Ssh {
            user: "root".into(),
            port: self.port,
            keys: vec![self.dir.join("id")],
            known_hosts: vec![known],
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

const HOST: &str = "127.0.0.1";

#[test]
fn a_program_runs_with_its_arguments_input_and_status() {
    let server = Server::start("run");
    let ssh = server.client(server.known("host_ed25519.pub", ""));
    let nasty = "a 'b' \"c\" $(id) `id` ; | \\ * \n~";
    let output = ssh
        .exec(HOST, &["printf", "%s", nasty], b"", soon())
        .unwrap();
    assert_eq!((output.text().as_ref(), output.code), (nasty, 0));

    let script = "cat; echo err >&2; exit 7";
    let output = ssh
        .exec(HOST, &["sh", "-c", script], b"input", soon())
        .unwrap();
    assert_eq!(
        (
            output.code,
            output.text().as_ref(),
            output.error_text().as_ref()
        ),
        (7, "input", "err\n")
    );

    let noise = "head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero";
    let output = ssh.exec(HOST, &["sh", "-c", noise], b"", soon()).unwrap();
    assert_eq!(
        (output.stdout.len(), output.stderr.len(), output.truncated),
        (1 << 20, 1 << 20, true)
    );

    let input = vec![b'x'; 1_000_000];
    let output = ssh.exec(HOST, &["wc", "-c"], &input, soon()).unwrap();
    assert_eq!(output.text().trim(), "1000000");
    // Input that nobody reads is no failure.
    assert_eq!(ssh.exec(HOST, &["true"], &input, soon()).unwrap().code, 0);

    let error = ssh
        .exec(HOST, &["sh", "-c", "kill -9 $$"], b"", soon())
        .unwrap_err();
    assert!(matches!(error, SshError::Signalled { .. }), "{error}");

    let began = Instant::now();
    let error = ssh
        .exec(
            HOST,
            &["sleep", "30"],
            b"",
            Deadline::after(Duration::from_millis(700)),
        )
        .unwrap_err();
    assert!(matches!(error, SshError::TimedOut { .. }), "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn any_key_on_record_is_proof_whichever_the_host_prefers() {
    let server = Server::start("kinds");
    for key in ["host_rsa.pub", "host_ed25519.pub"] {
        let ssh = server.client(server.known(key, ""));
        assert_eq!(
            ssh.exec(HOST, &["true"], b"", soon()).unwrap().code,
            0,
            "{key}"
        );
    }
    // Hashed host names, as Debian's default writes them.
    let known = server.known("host_rsa.pub", "");
    std::fs::write(
        &known,
        std::fs::read_to_string(&known)
            .unwrap()
            .replace("nonsense\n", ""),
    )
    .unwrap();
    tool("ssh-keygen", &["-q", "-H", "-f", known.to_str().unwrap()]);
    assert!(!std::fs::read_to_string(&known).unwrap().contains(HOST));
    assert_eq!(
        server
            .client(known)
            .exec(HOST, &["true"], b"", soon())
            .unwrap()
            .code,
        0
    );
}

#[test]
fn unknown_changed_and_revoked_hosts_are_refused() {
    let server = Server::start("refused");
    let error = server
        .client(server.dir.join("none"))
        .exec(HOST, &["true"], b"", soon())
        .unwrap_err();
    assert!(matches!(error, SshError::UnknownHost { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("ssh-keyscan -p {} {HOST}", server.port)),
        "{error}"
    );

    // A key of the same kind that is not the host's.
    keygen(&server.dir.join("other"), "ed25519");
    let error = server
        .client(server.known("other.pub", ""))
        .exec(HOST, &["true"], b"", soon())
        .unwrap_err();
    assert!(matches!(error, SshError::ChangedHostKey { .. }), "{error}");

    let known = server.known("host_ed25519.pub", "");
    let plain = std::fs::read_to_string(&known).unwrap();
    let revoked = std::fs::read_to_string(server.known("host_ed25519.pub", "@revoked ")).unwrap();
    std::fs::write(&known, format!("{plain}{revoked}")).unwrap();
    let error = server
        .client(known)
        .exec(HOST, &["true"], b"", soon())
        .unwrap_err();
    assert!(matches!(error, SshError::ChangedHostKey { .. }), "{error}");
}

#[test]
fn a_key_that_is_not_accepted_is_named() {
    let server = Server::start("auth");
    keygen(&server.dir.join("stranger"), "ed25519");
    let known = server.known("host_ed25519.pub", "");
    let ssh = Ssh {
        keys: vec![server.dir.join("stranger")],
        ..server.client(known.clone())
    };
    let error = ssh.exec(HOST, &["true"], b"", soon()).unwrap_err();
    assert!(
        matches!(&error, SshError::Authentication { tried, .. } if tried.ends_with("stranger")),
        "{error}"
    );
    let ssh = Ssh {
        keys: vec![server.dir.join("gone")],
        ..server.client(known)
    };
    let error = ssh
        .exec(HOST, &["true"], b"", soon())
        .unwrap_err()
        .to_string();
    assert!(error.contains("none exists"), "{error}");
}

#[test]
fn silence_and_refusal_are_told_apart_and_bounded() {
    // Accepts connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let ssh = Ssh {
        port: silent.local_addr().unwrap().port(),
        ..Ssh::default()
    };
    let began = Instant::now();
    let error = ssh
        .exec(
            HOST,
            &["true"],
            b"",
            Deadline::after(Duration::from_millis(500)),
        )
        .unwrap_err();
    assert!(matches!(error, SshError::TimedOut { .. }), "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );

    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = Ssh {
        port,
        ..Ssh::default()
    }
    .exec(HOST, &["true"], b"", soon())
    .unwrap_err();
    assert!(matches!(error, SshError::Connect { .. }), "{error}");

    let error = Ssh::default()
        .exec("no-such-host.invalid", &["true"], b"", soon())
        .unwrap_err();
    assert!(matches!(error, SshError::Resolve { .. }), "{error}");
}
