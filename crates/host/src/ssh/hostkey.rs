//! Comparing a host's key with those on record.

use std::path::PathBuf;

use ssh2::{CheckResult, KnownHostFileKind, Session};

use crate::files;

/// The kinds of host keys that libssh2 can verify, best first, as `known_hosts` calls them, and the
/// signature algorithms to ask for: RSA keys have three, of which the SHA-1 one comes last.
const KINDS: [(&str, &str); 5] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512,rsa-sha2-256,ssh-rsa"),
];

/// What a host's key is compared with.
pub(super) struct KnownKeys {
    lines: Vec<String>,
}

/// What the comparison says.
pub(super) enum KeyCheck {
    /// This key is on record for this host.
    Match,
    /// Nothing is on record for this host.
    Unknown,
    /// Something else is on record for this host.
    Changed,
    /// The key is marked as revoked.
    Revoked,
}

impl KnownKeys {
    /// Reads what there is; a file that cannot be read knows nobody, so its hosts are refused.
    pub(super) fn read(files: &[PathBuf]) -> Self {
        let texts = files
            .iter()
            .filter_map(|path| files::read_text(path).ok().flatten());
        let lines = texts.flat_map(|text| {
            text.lines()
                .map(|line| line.trim().to_owned())
                .collect::<Vec<_>>()
        });
        Self {
            lines: lines
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .collect(),
        }
    }

    /// The kinds of keys worth asking a host for: those that any line holds. Host names may be
    /// hashed, so which line is whose is not visible here.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let held = |kind: &str| {
            self.lines
                .iter()
                .any(|line| line.split_ascii_whitespace().any(|word| word == kind))
        };
        let kinds: Vec<&str> = KINDS
            .iter()
            .filter(|(kind, _)| held(kind))
            .map(|(_, methods)| *methods)
            .collect();
        // With nothing on record one attempt still tells an unknown host from an unreachable one.
        if kinds.is_empty() {
            vec!["ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256"]
        } else {
            kinds
        }
    }

    /// Compares the key that the host has proven to own.
    pub(super) fn verify(&self, session: &Session, host: &str, port: u16) -> KeyCheck {
        let Some((key, _)) = session.host_key() else {
            return KeyCheck::Unknown;
        };
        let encoded = openssl::base64::encode_block(key);
        let revoked = |line: &&String| line.starts_with("@revoked");
        if self
            .lines
            .iter()
            .filter(revoked)
            .any(|line| line.contains(&encoded))
        {
            return KeyCheck::Revoked;
        }
        let Ok(mut known) = session.known_hosts() else {
            return KeyCheck::Unknown;
        };
        // Lines with a marker are no plain host keys, and libssh2 would take the marker for a
        // host. Line by line, because libssh2 stops at the first one that it does not understand.
        for line in self.lines.iter().filter(|line| !line.starts_with('@')) {
            let _ = known.read_str(line, KnownHostFileKind::OpenSSH);
        }
        // `known_hosts` holds names in small letters (sshd(8)), and the client looks for those.
        match known.check_port(&host.to_ascii_lowercase(), port, key) {
            CheckResult::Match => KeyCheck::Match,
            CheckResult::Mismatch => KeyCheck::Changed,
            CheckResult::NotFound | CheckResult::Failure => KeyCheck::Unknown,
        }
    }
}
