//! What the site's ssh configuration says about a host, read by the client itself (`ssh -G`).

use std::path::PathBuf;

use super::direct::Direct;

/// What the client would do for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The host that is connected to.
    pub host: String,
    /// Without the client: port, account, keys and known hosts.
    pub direct: Direct,
    /// What libssh2 cannot do and the client has to; none where it can do all of it.
    pub needs_client: Option<&'static str>,
}

/// Settings that only the client follows, and their value where they are not used.
const CLIENTS_OWN: [(&str, &str); 6] = [
    ("proxycommand", "none"),
    ("proxyjump", "none"),
    ("certificatefile", "none"),
    ("pkcs11provider", "none"),
    ("hostkeyalias", "none"),
    ("knownhostscommand", "none"),
];

impl Settings {
    pub(super) fn parse(host: &str, text: &str) -> Self {
        let mut settings = Self {
            host: host.to_owned(),
            direct: Direct::default(),
            needs_client: None,
        };
        let direct = &mut settings.direct;
        let (mut keys, mut users, mut everybodys) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            match name {
                "hostname" => settings.host = value.to_owned(),
                "port" => direct.port = value.parse().unwrap_or(direct.port),
                "user" => direct.user = value.to_owned(),
                "identityfile" => keys.push(home(value)),
                "userknownhostsfile" => users = files(value),
                "globalknownhostsfile" => everybodys = files(value),
                _ => {
                    let own = CLIENTS_OWN.iter().find(|(own, _)| *own == name);
                    if let Some((own, unused)) = own
                        && value != *unused
                    {
                        settings.needs_client = Some(own);
                    }
                }
            }
        }
        if !keys.is_empty() {
            direct.keys = keys;
        }
        users.extend(everybodys);
        if !users.is_empty() {
            direct.known_hosts = users;
        }
        settings
    }
}

fn files(value: &str) -> Vec<PathBuf> {
    let named = value.split_ascii_whitespace();
    named.filter(|file| *file != "none").map(home).collect()
}

/// A file of root's, as whom this runs.
fn home(path: &str) -> PathBuf {
    match path.strip_prefix("~/").or(path.strip_prefix("%d/")) {
        Some(rest) => PathBuf::from("/root").join(rest),
        None => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_says_is_read() {
        let text = "host node2\nuser ha\nhostname 10.0.0.2\nport 2222\n\
                    identityfile ~/.ssh/one\nidentityfile /two\n\
                    globalknownhostsfile /etc/a /etc/b\nuserknownhostsfile /root/.ssh/kh none\n\
                    hostkeyalias none\n";
        let settings = Settings::parse("node2", text);
        assert_eq!(settings.host, "10.0.0.2");
        assert_eq!(
            (settings.direct.user.as_str(), settings.direct.port),
            ("ha", 2222)
        );
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let known = ["/root/.ssh/kh", "/etc/a", "/etc/b"];
        assert_eq!(settings.direct.known_hosts, paths(&known));
        assert_eq!(settings.direct.keys, paths(&["/root/.ssh/one", "/two"]));
        assert_eq!(settings.needs_client, None);
        let jump = Settings::parse("node2", "proxyjump bastion\n");
        assert_eq!(jump.needs_client, Some("proxyjump"));
    }
}
