//! What systemd starts on a node and stops when its machine goes down: the services are its units, and each boot has a
//! journal, which says in which order.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::layout::SUBNET;
use crate::node::Node;

const SHORT: Duration = Duration::from_secs(30);

/// The unit that has the node's address.
pub(crate) const NETWORK: &str = "testbed-network.service";
/// What is enabled on a database node, in the order of their start.
pub(crate) const ENABLED: [&str; 4] = [
    NETWORK,
    "ssh.service",
    "corosync.service",
    "pacemaker.service",
];
/// Makes the units of a node that is on, but not by systemd. Debian's own database stays where it is, and starts
/// nowhere; nothing looks for newer packages while something is measured. Services start when a package is installed.
pub(crate) fn furnish(node: &Node) -> Result<()> {
    let network = format!(
        "[Unit]\nDescription=Address of this machine\nDefaultDependencies=no\nConflicts=shutdown.target\n\
         Before=shutdown.target network.target network-online.target corosync.service ssh.service\n\
         After=local-fs.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/usr/sbin/ip address replace {}/24 broadcast {SUBNET}.255 dev eth0\n\
         ExecStart=/usr/sbin/ip link set eth0 up\nExecStop=/usr/sbin/ip link set eth0 down\n\
         [Install]\nWantedBy=multi-user.target\n",
        node.address()
    );
    node.write(&format!("/etc/systemd/system/{NETWORK}"), network, 0o644)?;
    node.write(
        "/etc/default/ssh",
        "SSHD_OPTS=\"-f /etc/ssh/testbed_sshd_config\"\n",
        0o644,
    )?;
    // A journal on the disk, which the next boot can look at.
    node.mkdir("/var/log/journal", "0755", "root")?;
    let identity = format!("{:032x}\n", 0x7068_6100_u32 + u32::from(node.spec().number));
    node.write("/etc/machine-id", identity, 0o444)?;
    node.run(&["rm", "-f", "/usr/sbin/policy-rc.d"], SHORT)?;
    let units = |verb: &'static str, names: &[&'static str]| {
        node.run(&[&["systemctl", "--root=/", verb], names].concat(), SHORT)
    };
    units(
        "mask",
        &[
            "postgresql.service",
            "apt-daily.timer",
            "apt-daily-upgrade.timer",
        ],
    )?;
    units("enable", &ENABLED).map(drop)
}

/// The moments at which something was said in the last boot but one, each as the place in its journal.
#[derive(Debug)]
pub(crate) struct Journal {
    lines: Vec<String>,
}

impl Journal {
    /// Of the boot before this one.
    pub(crate) fn of_the_boot_before(node: &Node) -> Result<Journal> {
        let words = [
            "journalctl",
            "--no-pager",
            "--boot=-1",
            "--output=short-precise",
        ];
        let said = node.run(&words, SHORT)?;
        Ok(Journal::of(&said.stdout))
    }

    fn of(text: &str) -> Journal {
        Journal {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// Checks that these were said in this order: each of them after the last time that the one before was.
    ///
    /// # Errors
    /// One was not, or was said before.
    pub(crate) fn in_order(&self, parts: &[&str]) -> Result<()> {
        let mut before: Option<(usize, &str)> = None;
        for part in parts {
            let at = self.lines.iter().rposition(|line| line.contains(part));
            let at =
                at.ok_or_else(|| Error::Asked(format!("the journal does not say {part:?}")))?;
            if let Some((earlier, other)) = before.filter(|(earlier, _)| *earlier >= at) {
                return Err(Error::Asked(format!(
                    "the journal says {part:?} ({}) before {other:?} ({})",
                    self.lines[at], self.lines[earlier]
                )));
            }
            before = Some((at, part));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Journal;

    #[test]
    fn the_journal_has_an_order() {
        let journal =
            Journal::of("a: demote ok\nb: Stopped x.service\na: late\nc: Stopped y.service");
        assert!(
            journal
                .in_order(&["demote", "x.service", "y.service"])
                .is_ok()
        );
        let said = |parts: &[&str]| {
            let outcome = journal.in_order(parts);
            outcome
                .map_err(|error| error.to_string())
                .err()
                .unwrap_or_default()
        };
        let wrong = said(&["y.service", "x.service"]);
        assert!(
            wrong.contains("\"x.service\" (b: Stopped x.service) before \"y.service\""),
            "{wrong}"
        );
        assert_eq!(
            said(&["demote", "z.service"]),
            "the journal does not say \"z.service\""
        );
    }
}
