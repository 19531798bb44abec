//! Why ssh did not get to a node, by what the client said, and what to do about it: one table.

use std::fmt;

use pha_core::quoted::quoted;

/// What the client said, in our words, and what to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// What the client was to reach, and all that it said.
struct Said<'a> {
    host: &'a str,
    text: &'a str,
}

/// One cause: a part of what the client (OpenSSH 7.4 to 10) says, and what it means.
struct Known {
    says: &'static [&'static str],
    means: fn(&Said<'_>) -> (String, String),
}

/// The first that fits counts, so that what is sure stands before what may have many reasons.
const CAUSES: &[Known] = &[
    Known {
        says: &["REVOKED HOST KEY"],
        means: |said| {
            (
                "its host key is marked as revoked in known_hosts".to_owned(),
                format!("give {} a new host key, and accept that", said.host),
            )
        },
    },
    Known {
        says: &[
            "HOST IDENTIFICATION HAS CHANGED",
            "has changed and you have requested strict checking",
        ],
        means: |said| {
            let file = said
                .between("Offending ", "\n")
                .and_then(|key| key.split(" key in ").nth(1))
                .and_then(|place| place.rsplit_once(':'))
                .map_or("/root/.ssh/known_hosts", |(file, _)| file);
            let name = said
                .between("Host key for ", " has changed")
                .unwrap_or(said.host);
            (
                format!("its host key is not the one in {file}"),
                format!(
                    "only if it was installed anew: ssh-keygen -f {file} -R '{name}', then ssh {} and accept the new key",
                    said.host
                ),
            )
        },
    },
    Known {
        says: &["key is known for", "Host key verification failed"],
        means: |said| {
            (
                "its host key is not known here".to_owned(),
                format!(
                    "as root on this node: ssh {} true, and accept the key after comparing it",
                    said.host
                ),
            )
        },
    },
    Known {
        says: &["are too open", "bad permissions"],
        means: |said| {
            let file = said
                .between("Permissions ", "\n")
                .and_then(|line| line.split('\'').nth(1))
                .or_else(|| said.between("Load key \"", "\""))
                .unwrap_or("/root/.ssh/id_ed25519");
            (
                format!("the private key {file} can be read by others, so that it is not used"),
                format!("chmod 600 {file}"),
            )
        },
    },
    Known {
        says: &["Permission denied (", "Too many authentication failures"],
        means: |said| {
            let line = said
                .lines()
                .find(|line| line.contains(": Permission denied ("));
            let user = line.and_then(|line| line.split_once('@'));
            let user = user.map_or("root", |(user, _)| user);
            (
                format!("{user} was not let in with any key of this node"),
                format!(
                    "put a public key of root on this node (/root/.ssh/*.pub) into authorized_keys of {user} on {host}; where it is there already, sshd of {host} refuses {user} (sshd -T | grep -i permitrootlogin: prohibit-password lets keys in) or ssh offers other keys (ssh -v {host} true)",
                    host = said.host
                ),
            )
        },
    },
    Known {
        says: &[
            "Bad configuration option",
            "Bad owner or permissions",
            "bad configuration options",
            "Can't open user config file",
        ],
        means: |said| {
            (
                format!(
                    "this node's ssh configuration cannot be used: {}",
                    said.first()
                ),
                format!("correct it until this shows no error: ssh -G {}", said.host),
            )
        },
    },
    Known {
        says: &["Could not resolve hostname"],
        means: |said| {
            (
                "the name has no address".to_owned(),
                format!("add {} to /etc/hosts on this node", said.host),
            )
        },
    },
    Known {
        says: &["Connection refused"],
        means: |said| {
            (
                "nobody listens there".to_owned(),
                format!(
                    "start sshd on {host}; if it has another port, name it in /root/.ssh/config (ssh -G {host} | grep -w port)",
                    host = said.host
                ),
            )
        },
    },
    Known {
        says: &[
            "timed out",
            "No route to host",
            "Network is unreachable",
            "Host is down",
        ],
        means: |said| {
            (
                format!("it does not answer ({})", said.last()),
                format!(
                    "see that {} runs and that no packet filter is in between",
                    said.host
                ),
            )
        },
    },
    Known {
        says: &["Unable to negotiate"],
        means: |said| {
            (
                format!("the two have no algorithm in common ({})", said.last()),
                "allow one on both sides: ssh_config here, sshd_config there".to_owned(),
            )
        },
    },
    Known {
        says: &[
            "kex_exchange_identification",
            "Connection closed by",
            "Connection reset by",
        ],
        means: |said| {
            (
                format!("sshd ended the connection ({})", said.last()),
                format!(
                    "see sshd's log on {} (AllowUsers, MaxStartups, a full disk)",
                    said.host
                ),
            )
        },
    },
];

impl Cause {
    /// The cause of a failure of the client, by all that it printed on standard error.
    #[must_use]
    pub fn of(host: &str, text: &str) -> Self {
        let said = Said { host, text };
        let known = CAUSES
            .iter()
            .find(|known| known.says.iter().any(|part| text.contains(part)));
        let (what, remedy) = match known {
            Some(known) => (known.means)(&said),
            None => (said.last(), format!("try it by hand: ssh -v {host} true")),
        };
        Self { what, remedy }
    }
}

impl Said<'_> {
    fn between(&self, before: &str, after: &str) -> Option<&str> {
        let (_, rest) = self.text.split_once(before)?;
        Some(rest.split_once(after)?.0)
    }

    fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        let lines = self.text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty())
    }

    fn first(&self) -> String {
        self.lines().next().map_or_else(nothing, quoted)
    }

    fn last(&self) -> String {
        self.lines().next_back().map_or_else(nothing, quoted)
    }
}

fn nothing() -> String {
    "ssh said nothing".to_owned()
}
