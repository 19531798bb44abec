//! The ssh client against a real sshd on loopback. Needs the packages openssh-server and
//! openssh-client, and root, whose account it logs in to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pha_host::clock::Deadline;
use pha_host::ssh::{Direct, DirectError, Ssh, SshError};

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
        Self::start_with(name, "")
    }

    /// With further lines of sshd_config.
    fn start_with(name: &str, more: &str) -> Self {
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
             AuthorizedKeysFile {at}/authorized\nStrictModes no\nUsePAM no\nPidFile none\n{more}PermitRootLogin yes\n"
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

    fn client(&self, known: PathBuf) -> Direct {
        Direct {
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
    assert!(matches!(error, DirectError::Signalled { .. }), "{error}");

    let began = Instant::now();
    let error = ssh
        .exec(
            HOST,
            &["sleep", "30"],
            b"",
            Deadline::after(Duration::from_millis(700)),
        )
        .unwrap_err();
    assert!(matches!(error, DirectError::TimedOut { .. }), "{error}");
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
    assert!(matches!(error, DirectError::UnknownHost { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("ssh -p {} {HOST} true", server.port)),
        "{error}"
    );

    // A key of the same kind that is not the host's.
    keygen(&server.dir.join("other"), "ed25519");
    let error = server
        .client(server.known("other.pub", ""))
        .exec(HOST, &["true"], b"", soon())
        .unwrap_err();
    assert!(
        matches!(error, DirectError::ChangedHostKey { .. }),
        "{error}"
    );

    let known = server.known("host_ed25519.pub", "");
    let plain = std::fs::read_to_string(&known).unwrap();
    let revoked = std::fs::read_to_string(server.known("host_ed25519.pub", "@revoked ")).unwrap();
    std::fs::write(&known, format!("{plain}{revoked}")).unwrap();
    let error = server
        .client(known)
        .exec(HOST, &["true"], b"", soon())
        .unwrap_err();
    assert!(
        matches!(error, DirectError::ChangedHostKey { .. }),
        "{error}"
    );
}

#[test]
fn a_key_that_is_not_accepted_is_named() {
    let server = Server::start("auth");
    keygen(&server.dir.join("stranger"), "ed25519");
    let known = server.known("host_ed25519.pub", "");
    let ssh = Direct {
        keys: vec![server.dir.join("stranger")],
        ..server.client(known.clone())
    };
    let error = ssh.exec(HOST, &["true"], b"", soon()).unwrap_err();
    assert!(
        matches!(&error, DirectError::Authentication { tried, .. } if tried.ends_with("stranger")),
        "{error}"
    );
    let ssh = Direct {
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
    let ssh = Direct {
        port: silent.local_addr().unwrap().port(),
        ..Direct::default()
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
    assert!(matches!(error, DirectError::TimedOut { .. }), "{error}");
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
    let error = Direct {
        port,
        ..Direct::default()
    }
    .exec(HOST, &["true"], b"", soon())
    .unwrap_err();
    assert!(matches!(error, DirectError::Connect { .. }), "{error}");

    let error = Direct::default()
        .exec("no-such-host.invalid", &["true"], b"", soon())
        .unwrap_err();
    assert!(matches!(error, DirectError::Resolve { .. }), "{error}");
}

/// What a site may have in its ssh configuration; `more` is for the host `node2`.
fn site(server: &Server, more: &str) -> Ssh {
    let at = server.dir.display();
    let text = format!(
        "Host node2\nHostName {HOST}\nPort {}\n{more}\n\
         Host *\nUser root\nIdentityFile {at}/id\nIdentitiesOnly yes\nUserKnownHostsFile {at}/known\nGlobalKnownHostsFile none\n",
        server.port
    );
    let config = server.dir.join("ssh_config");
    std::fs::write(&config, text).unwrap();
    Ssh {
        config: Some(config),
        key: None,
    }
}

#[test]
fn the_sites_configuration_counts() {
    let server = Server::start("site");
    server.known("host_ed25519.pub", "");
    let nasty = "a 'b' \"c\" $(id) `id` ; | \\ * \n~";
    let at = server.dir.display();
    for more in [
        "",
        // A configuration for a person at a terminal.
        &format!(
            "ControlMaster auto\nControlPath {at}/control\nControlPersist 60\nRequestTTY force\nRemoteCommand top\n\
             LocalForward {} localhost:1\nExitOnForwardFailure yes\nPermitLocalCommand yes\nLocalCommand echo local\n\
             ForwardAgent yes\nLogLevel QUIET\nStrictHostKeyChecking ask",
            server.port
        ),
    ] {
        let ssh = site(&server, more);
        let output = ssh.exec("node2", &["printf", "%s", nasty], b"", soon());
        let output = output.unwrap_or_else(|error| panic!("{more}: {error}"));
        assert_eq!((output.text().as_ref(), output.code), (nasty, 0), "{more}");
        assert_eq!(output.error_text(), "", "{more}");
        let direct = ssh.exec_directly("node2", &["printf", "%s", nasty], soon());
        assert_eq!(direct.unwrap().text(), nasty, "{more}");
    }
    assert!(!server.dir.join("control").exists(), "no shared connection");
    let ssh = site(&server, "");
    let script = "cat; echo err >&2; exit 7";
    let output = ssh.exec("node2", &["sh", "-c", script], b"input", soon());
    let output = output.unwrap();
    assert_eq!(
        (
            output.code,
            output.text().as_ref(),
            output.error_text().as_ref()
        ),
        (7, "input", "err\n")
    );
    let settings = ssh.settings("node2", soon()).unwrap();
    assert_eq!(
        (settings.host.as_str(), settings.direct.port),
        (HOST, server.port)
    );
    assert_eq!(settings.direct.keys, [server.dir.join("id")]);
    assert_eq!(settings.needs_client, None);

    for end in ["kill -9 $$", "exit 255"] {
        let error = ssh
            .exec("node2", &["sh", "-c", end], b"", soon())
            .unwrap_err();
        assert!(matches!(error, SshError::Broken { .. }), "{error}");
    }
    let brief = Deadline::after(Duration::from_millis(700));
    let error = ssh.exec("node2", &["sleep", "30"], b"", brief).unwrap_err();
    assert!(matches!(error, SshError::TimedOut { .. }), "{error}");
    for host in ["-oProxyCommand=touch /tmp/x", "", "a b", "-"] {
        let error = ssh.exec(host, &["true"], b"", soon()).unwrap_err();
        assert!(matches!(error, SshError::Argument { .. }), "{error}");
    }
}

#[test]
fn a_jump_host_is_used() {
    let server = Server::start("jump");
    server.known("host_ed25519.pub", "");
    let ssh = site(&server, "");
    let config = ssh.config.clone().unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let jump = format!(
        "Host node3\nHostName {HOST}\nPort {}\nProxyJump node2\n",
        server.port
    );
    std::fs::write(&config, format!("{jump}{text}")).unwrap();
    let output = ssh.exec("node3", &["echo", "there"], b"", soon()).unwrap();
    assert_eq!(output.text(), "there\n");
    let settings = ssh.settings("node3", soon()).unwrap();
    assert_eq!(settings.needs_client, Some("proxyjump"));
    let output = ssh
        .exec_directly("node3", &["echo", "there"], soon())
        .unwrap();
    assert_eq!(output.text(), "there\n");
}

/// Names with capitals are looked for as ssh-keyscan and ssh write them.
#[test]
fn capitals_in_a_name_are_no_other_name() {
    let server = Server::start("capitals");
    let known = server.known("host_ed25519.pub", "");
    let text = std::fs::read_to_string(&known).unwrap();
    std::fs::write(&known, text.replace(HOST, "localhost")).unwrap();
    let direct = server.client(known);
    let output = direct
        .exec("LocalHost", &["echo", "1"], b"", soon())
        .unwrap();
    assert_eq!(output.text(), "1\n");
    let ssh = site(&server, "");
    let config = ssh.config.clone().unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(&format!("Host node2\nHostName {HOST}"), "Host LocalHost");
    std::fs::write(&config, text).unwrap();
    let output = ssh.exec("LocalHost", &["echo", "1"], b"", soon()).unwrap();
    assert_eq!(output.text(), "1\n");
}

#[test]
fn what_a_login_shell_prints_is_no_part_of_an_answer() {
    let noise = "ForceCommand echo Welcome; echo to node2 >&2; printf unfinished; eval \"$SSH_ORIGINAL_COMMAND\"\n";
    let server = Server::start_with("noise", noise);
    server.known("host_ed25519.pub", "");
    let ssh = site(&server, "");
    let script = "echo out; echo err >&2; exit 3";
    let output = ssh
        .exec("node2", &["sh", "-c", script], b"", soon())
        .unwrap();
    assert_eq!(
        (
            output.code,
            output.text().as_ref(),
            output.error_text().as_ref()
        ),
        (3, "out\n", "err\n")
    );
    let output = ssh.exec_directly("node2", &["echo", "1"], soon()).unwrap();
    assert_eq!(
        (output.text().as_ref(), output.error_text().as_ref()),
        ("1\n", "")
    );
}

/// A key that is bound to one command runs that and nothing else, also where root may log in no other way.
#[test]
fn a_bound_key_runs_its_command_alone() {
    let server = Server::start_with("bound", "PermitRootLogin forced-commands-only\n");
    server.known("host_ed25519.pub", "");
    let key = std::fs::read_to_string(server.dir.join("id.pub")).unwrap();
    let bound = format!("restrict,command=\"sed s/^/answer:/\" {key}");
    std::fs::write(server.dir.join("authorized"), bound).unwrap();
    let ssh = site(&server, "");
    let output = ssh.ask("node2", &["/agent", "promise"], b"question\n", soon());
    assert_eq!(output.unwrap().text(), "answer:question\n");
    let error = ssh.exec("node2", &["touch", "/x"], b"other\n", soon());
    let error = error.unwrap_err();
    assert!(matches!(error, SshError::NotRun { .. }), "{error}");
    assert!(error.to_string().contains("authorized_keys"), "{error}");

    // A key of its own is tried first; without the file the configuration's own are used.
    keygen(&server.dir.join("promise"), "ed25519");
    let promise = std::fs::read_to_string(server.dir.join("promise.pub")).unwrap();
    let keys =
        format!("restrict,command=\"echo other\" {key}restrict,command=\"echo promise\" {promise}");
    std::fs::write(server.dir.join("authorized"), keys).unwrap();
    for (file, said) in [("promise", "promise\n"), ("none", "other\n")] {
        let ssh = Ssh {
            key: Some(server.dir.join(file)),
            ..ssh.clone()
        };
        let output = ssh.ask("node2", &["true"], b"", soon()).unwrap();
        assert_eq!(output.text(), said);
    }
}

/// Each cause is named, and what it says to type leads on.
#[test]
fn each_cause_has_its_remedy() {
    let server = Server::start("causes");
    let ssh = site(&server, "");
    let fails = |ssh: &Ssh, host: &str, what: &str, remedy: &str| {
        let error = ssh.exec(host, &["true"], b"", soon()).unwrap_err();
        let SshError::Failed { cause, .. } = &error else {
            panic!("{error}")
        };
        assert!(
            cause.what.contains(what) && cause.remedy.contains(remedy),
            "{error}"
        );
        let direct = ssh.exec_directly(host, &["true"], soon());
        assert!(direct.is_err(), "{what}");
        cause.remedy.clone()
    };
    fails(&ssh, "node2", "not known here", "ssh node2 true");
    keygen(&server.dir.join("other"), "ed25519");
    let known = server.known("other.pub", "");
    // `ssh-keygen -R` changes no file with a line that it does not understand.
    let text = std::fs::read_to_string(&known).unwrap();
    std::fs::write(&known, text.replace("nonsense\n", "")).unwrap();
    let remedy = fails(&ssh, "node2", &known.display().to_string(), "ssh-keygen -f");
    // The remedy, typed.
    let command = remedy
        .split_once(": ")
        .unwrap()
        .1
        .split_once(", then")
        .unwrap()
        .0;
    tool("sh", &["-c", command]);
    fails(&ssh, "node2", "not known here", "ssh node2 true");
    server.known("host_ed25519.pub", "@revoked ");
    fails(&ssh, "node2", "revoked", "new host key");
    server.known("host_ed25519.pub", "");
    ssh.exec("node2", &["true"], b"", soon()).unwrap();

    let key = server.dir.join("id");
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let error = ssh
        .exec("node2", &["true"], b"", soon())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("chmod 600 {}", key.display())),
        "{error}"
    );
    mode(0o600);
    std::fs::write(server.dir.join("authorized"), "").unwrap();
    fails(
        &ssh,
        "node2",
        "root was not let in",
        "authorized_keys of root on node2",
    );
    fails(&ssh, "no-such-host.invalid", "no address", "/etc/hosts");
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let text = std::fs::read_to_string(ssh.config.as_ref().unwrap()).unwrap();
    let port = |number: u16| {
        let text = text.replace(&format!("Port {}", server.port), &format!("Port {number}"));
        std::fs::write(ssh.config.as_ref().unwrap(), text).unwrap();
    };
    port(free);
    fails(&ssh, "node2", "nobody listens", "start sshd on node2");
    std::fs::write(ssh.config.as_ref().unwrap(), "Nonsense yes\n").unwrap();
    fails(
        &ssh,
        "node2",
        "configuration cannot be used",
        "ssh -G node2",
    );
}
