//! Rules about the nodes, the network, the lock service and Pacemaker.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Examination, Found, Rule};
use crate::hindrance::Hindrance;
use crate::layout::Layout;
use crate::message;
use crate::message::Message;
use crate::params::{Arbiter, LockService};
use crate::register::{Damage, Number};
use crate::server_program::ServerProgram;
use crate::setup::SiteFinding;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "nodes",
        well: || message!("every node answers"),
        look: nodes,
    },
    Rule {
        id: "names",
        well: || message!("every node finds every name, at the same address"),
        look: names,
    },
    Rule {
        id: "ssh",
        well: || message!("root gets from every node to every other by ssh"),
        look: ssh,
    },
    Rule {
        id: "promise",
        well: || {
            message!(
                "every node could ask every other for its promise while the lock service is away"
            )
        },
        look: promise,
    },
    Rule {
        id: "clocks",
        well: || message!("the clocks agree"),
        look: clocks,
    },
    Rule {
        id: "programs",
        well: || message!("every program is there"),
        look: programs,
    },
    Rule {
        id: "versions",
        well: || message!("every node has the same versions"),
        look: versions,
    },
    Rule {
        id: "files",
        well: || message!("config.ini and the passfiles are for their owners alone"),
        look: files,
    },
    Rule {
        id: "passwords",
        well: || message!("no password can travel in clear"),
        look: passwords,
    },
    Rule {
        id: "disks",
        well: || message!("there is space on the disks"),
        look: disks,
    },
    Rule {
        id: "lock-service",
        well: || message!("the lock service answers every node and keeps what it says"),
        look: lock_service,
    },
    Rule {
        id: "lock-rights",
        well: || message!("the lock service's role may make every change of its row, and no other"),
        look: lock_rights,
    },
    Rule {
        id: "lock-name",
        well: || message!("the lock is this cluster's alone"),
        look: lock_name,
    },
    Rule {
        id: "lease",
        well: || message!("the lease outlasts a late answer of the lock service"),
        look: lease,
    },
    Rule {
        id: "arbiter",
        well: || message!("something decides between two halves of the cluster"),
        look: arbiter,
    },
    Rule {
        id: "site",
        well: || message!("every node has what config.ini says, and the same config.ini"),
        look: site,
    },
    Rule {
        id: "pacemaker",
        well: || message!("Pacemaker's configuration is what cls_setup would write"),
        look: pacemaker,
    },
];

fn nodes(seen: &Examination) -> Vec<Found> {
    seen.nodes
        .iter()
        .filter_map(|(name, facts)| {
            let why = facts.as_ref().err()?;
            let remedy = match &why.remedy {
                Some(remedy) => remedy.into(),
                None => message!("see that it is on, and that its cls runs: cls internal facts"),
            };
            Some(Found::error(Message::from(&why.why), remedy).on(name))
        })
        .collect()
}

fn names(seen: &Examination) -> Vec<Found> {
    let remedy = || message!("write every node's name and address into /etc/hosts of every node");
    let mut found = seen.each(|me, facts| {
        facts
            .names
            .iter()
            .filter_map(move |(name, addresses)| match addresses {
                Err(why) => Some(Found::error(
                    message!("{name} is not found: {why}", name, why),
                    remedy(),
                )),
                // Debian's installer writes the own name at 127.0.1.1.
                Ok(list) if list.iter().any(|a| a.starts_with("127.") || a == "::1") => {
                    let list = list.join(", ");
                    let text = match name == me {
                        true => message!(
                            "{name} is {list} here, an address of no use for this node",
                            name,
                            list
                        ),
                        false => message!(
                            "{name} is {list} here, an address of no use for another node",
                            name,
                            list
                        ),
                    };
                    Some(Found::warning(text, remedy()))
                }
                Ok(_) => None,
            })
            .collect::<Vec<Found>>()
    });
    for name in seen.nodes.keys() {
        let views: BTreeSet<&Vec<String>> = seen
            .answered()
            .filter_map(|(_, facts)| facts.names.get(name)?.as_ref().ok())
            .filter(|list| !list.iter().any(|address| address.starts_with("127.")))
            .collect();
        if views.len() > 1 {
            let text = message!("the nodes find {name} at different addresses", name);
            found.push(Found::warning(text, remedy()));
        }
    }
    found
}

fn ssh(seen: &Examination) -> Vec<Found> {
    seen.each(|_, facts| {
        facts
            .ssh
            .iter()
            .filter_map(|(name, result)| {
                let why = result.as_ref().err()?;
                Some(no_way(message!("no way to {name}", name), why))
            })
            .collect::<Vec<Found>>()
    })
}

fn promise(seen: &Examination) -> Vec<Found> {
    seen.each(|_, facts| {
        let refused = facts.promise.iter().filter_map(|(name, result)| {
            let why = result.as_ref()?.as_ref().err()?;
            let what = message!(
                "{name} could not be asked for its promise; in an outage of the lock service a lost standby would stop the primary",
                name
            );
            Some(no_way(what, why))
        });
        refused.collect::<Vec<Found>>()
    })
}

fn no_way(what: Message, why: &Hindrance) -> Found {
    let remedy = match &why.remedy {
        Some(remedy) => Message::from(remedy),
        None => message!("try it by hand as root on that node: ssh -v"),
    };
    Found::error(message!("{what}: {why}", what, why = why.why), remedy)
}

fn clocks(seen: &Examination) -> Vec<Found> {
    let remedy =
        || message!("chronyc tracking; keep every node's clock with chrony or systemd-timesyncd");
    seen.clocks
        .iter()
        .filter_map(|(name, (ahead, doubt))| {
            let off = (ahead.abs() - doubt).max(0.0);
            let text = message!(
                "the clock is {seconds} s off",
                seconds = format!("{ahead:+.1}")
            );
            match off {
                off if off > 10.0 => Some(Found::error(text, remedy()).on(name)),
                off if off > 1.0 => Some(Found::warning(text, remedy()).on(name)),
                _ => None,
            }
        })
        .collect()
}

fn programs(seen: &Examination) -> Vec<Found> {
    seen.each(|_, facts| {
        facts
            .programs
            .iter()
            .filter(|(_, version)| version.is_none())
            .map(|(name, _)| {
                let of_server = name.parse::<ServerProgram>().ok();
                let remedy = match (of_server, name.as_str()) {
                    (Some(program), _) => program.remedy().message(),
                    (None, "cls" | "distlock" | "expgsql") => same_version(seen),
                    (None, "ip") => {
                        message!("install iproute2 (Debian) or iproute (RHEL-like systems)")
                    }
                    (None, "pacemakerd") => message!("install {package}", package = "pacemaker"),
                    (None, "corosync") => message!("install {package}", package = "corosync"),
                    (None, _) => message!("install Pacemaker's commands: pacemaker-cli-utils (Debian), pacemaker-cli (RHEL-like systems)"),
                };
                let text = message!("{name} is not there", name);
                match of_server {
                    // Only a repair needs it, and there is another one.
                    Some(ServerProgram::Rewind) => Found::warning(text, remedy),
                    _ => Found::error(text, remedy),
                }
            })
            .collect::<Vec<Found>>()
    })
}

fn same_version(seen: &Examination) -> Message {
    match seen.layout {
        // It is what is typed.
        Layout::Directory => seen.layout.same_version().into(),
        Layout::Package => message!("install the same package pha4pgsql there"),
    }
}

fn versions(seen: &Examination) -> Vec<Found> {
    let all: BTreeSet<&String> = seen
        .answered()
        .flat_map(|(_, facts)| facts.programs.keys())
        .collect();
    all.into_iter()
        .filter_map(|program| {
            let views: Vec<(&str, &str)> = seen
                .answered()
                .filter_map(|(node, facts)| {
                    let version = facts.programs.get(program)?.as_deref()?;
                    Some((node.as_str(), version))
                })
                .collect();
            let different = views.iter().any(|(_, version)| *version != views[0].1);
            different.then(|| {
                let list: Vec<String> = views
                    .iter()
                    .map(|(node, version)| format!("{version} on {node}"))
                    .collect();
                let ours = matches!(program.as_str(), "cls" | "distlock" | "expgsql");
                let why = list.join(", ");
                match program.as_str() {
                    // The older one ends itself: "Local feature set (…) is incompatible with DC's (…)".
                    "pacemakerd" => Found::warning(
                        message!(
                            "{name}: {why}; a node with the older one that leaves the cluster, for a reboot too, cannot come back with it",
                            name = program,
                            why
                        ),
                        message!("bring every node to the same version, the one with the oldest next"),
                    ),
                    _ if ours => Found::error(message!("{name}: {why}", name = program, why), same_version(seen)),
                    _ => Found::warning(
                        message!("{name}: {why}", name = program, why),
                        message!("bring every node to the same version"),
                    ),
                }
            })
        })
        .collect()
}

fn files(seen: &Examination) -> Vec<Found> {
    seen.each(|_, facts| {
        let named = facts.passfiles.iter().filter_map(|(path, file)| match file {
            None => Some(Found::error(
                message!("the passfile {path}, which a connection string names, is not there", path),
                message!("make {path} with mode 0600 and a line host:port:database:user:password, or take passfile= out of config.ini, then cls_setup", path),
            )),
            Some(file) if file.mode & 0o077 != 0 => Some(Found::error(
                message!(
                    "the passfile {path} can be read by others (mode {mode}): no password is taken from it",
                    path,
                    mode = format!("{:04o}", file.mode)
                ),
                message!("chmod 0600 {path}", path),
            )),
            Some(_) => None,
        });
        let others = facts
            .files
            .iter()
            .filter(|(path, _)| !facts.passfiles.contains_key(*path))
            .filter_map(|(path, file)| match file {
                None if path.ends_with("config.ini") => Some(Found::error(
                    message!("{name} is not there", name = path),
                    Message::from(seen.layout.installer()),
                )),
                None => None,
                Some(file) if file.mode & 0o077 != 0 => Some(Found::error(
                    message!(
                        "{path} can be read by others (mode {mode})",
                        path,
                        mode = format!("{:04o}", file.mode)
                    ),
                    message!("chmod 0600 {path}", path),
                )),
                Some(_) => None,
            });
        named.chain(others).collect::<Vec<Found>>()
    })
}

/// S10. With libpq's defaults a server that says no to encryption is sent what it asks for, and so is
/// who answers in its place.
fn passwords(seen: &Examination) -> Vec<Found> {
    seen.each(|_, facts| {
        let found = facts.in_clear.iter();
        found
            .map(|(what, remedy)| Found::warning(what.into(), remedy.into()))
            .collect::<Vec<Found>>()
    })
}

fn disks(seen: &Examination) -> Vec<Found> {
    seen.each(|_, facts| {
        let disks = facts.disks.iter();
        let short = disks.filter_map(|(place, disk)| disk.shortage(place));
        short
            .map(|short| Found::new(short.level, short.text, short.remedy))
            .collect::<Vec<Found>>()
    })
}

fn lock_service(seen: &Examination) -> Vec<Found> {
    seen.each(|_, facts| {
        let lock = match &facts.lock {
            None => return Vec::new(),
            Some(Err(why)) => {
                let remedy = message!(
                    "start the lock service, open its pg_hba.conf to this node, and see that its password is in root's .pgpass (cls_setup)"
                );
                return vec![Found::error(why.into(), remedy)];
            }
            Some(Ok(lock)) => lock,
        };
        let mut found = Vec::new();
        if lock.standby {
            found.push(Found::error(
                message!("it is a standby, which cannot be written to"),
                message!("name its primary, or several hosts and target_session_attrs=read-write"),
            ));
        }
        // A register that forgets after a crash could name a primary that lost commits.
        for (name, bad) in [
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("synchronous_commit", "off"),
        ] {
            if lock.settings.get(name).is_some_and(|value| value == bad) {
                found.push(Found::error(
                    message!("{name} is {bad} there: it can forget after a crash", name, bad),
                    message!("ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf() on the lock service", name),
                ));
            }
        }
        found
    })
}

/// S11. A right that is missing shows at the first failover; one too many is another cluster's row, or
/// the whole lock service.
fn lock_rights(seen: &Examination) -> Vec<Found> {
    let lock = match &seen.params.lock_service {
        LockService::Builtin {
            table, lockname, ..
        } => format!("{table}:{lockname}"),
        LockService::Off | LockService::External { .. } => return Vec::new(),
    };
    let give = message!(
        "as the owner of the table: distlock <conninfo> init {lock} --role <role>",
        lock
    );
    // Every node has the same role, unless its passfile says otherwise: then each is worth a line.
    seen.each(|_, facts| {
        let Some(Ok(rights)) = &facts.lock else {
            return Vec::new();
        };
        let mut found = Vec::new();
        if let Some(why) = &rights.refused {
            found.push(Found::error(why.into(), give.clone()));
        }
        match (&rights.table_owner, rights.superuser) {
            (Some(owner), true) => found.push(Found::error(
                message!(
                    "a superuser changes a table there that belongs to {owner}, whose triggers run with a superuser's rights then",
                    owner
                ),
                message!("connect with a role of its own: CREATE ROLE … LOGIN, then {give}", give),
            )),
            (_, true) => found.push(Found::warning(
                message!("the role is a superuser of the lock service"),
                message!("a role of its own is enough: CREATE ROLE … LOGIN, then {give}", give),
            )),
            (_, false) if !rights.own_row_only => found.push(Found::warning(
                message!("the role can change the rows of other clusters"),
                give.clone(),
            )),
            (_, false) => {}
        }
        found
    })
}

fn lock_name(seen: &Examination) -> Vec<Found> {
    let mut rows = seen
        .answered()
        .filter_map(|(_, facts)| facts.lock.as_ref()?.as_ref().ok());
    let Some(row) = rows.next() else {
        return Vec::new();
    };
    let Some(named) = &row.named else {
        // The row that it makes is empty: what this cluster has seen has to be written there.
        let remedy = match seen.register {
            Some(_) => message!("cls_setup makes it, and then cls_recovery_master fills it"),
            None => message!("cls_setup makes it"),
        };
        return vec![Found::error(
            message!("the lock service has no row of this name"),
            remedy,
        )];
    };
    if let (Some(row), Some(told)) = (row.come, seen.register) {
        let number = [
            (Number::Term, row.term, told.term),
            (Number::Epoch, row.epoch, told.epoch),
        ];
        let behind = number.into_iter().find(|(_, says, seen)| says < seen);
        if let Some((number, says, seen)) = behind {
            let damage = Damage::OutOfStep { number, says, seen };
            return vec![Found::error(damage.what(), damage.remedy())];
        }
    }
    let mine = |name: &String| seen.nodes.keys().any(|node| node.as_str() == name);
    let foreign: Vec<&str> = named
        .iter()
        .filter(|name| !name.is_empty() && !mine(name))
        .map(String::as_str)
        .collect();
    if foreign.is_empty() {
        return Vec::new();
    }
    vec![Found::error(
        message!(
            "the lock's row names {nodes}, no node of this cluster",
            nodes = foreign.join(", ")
        ),
        message!(
            "another cluster may use the same name: give pgsql_distlock_lockname a name of its own in config.ini, then cls_setup"
        ),
    )]
}

/// The guard renews the lease, whatever the interval of the monitors is; what it needs is time for
/// an answer of the lock service that comes late.
fn lease(seen: &Examination) -> Vec<Found> {
    let ttl = seen.params.distlock_ttl;
    if seen.params.lock_service.arbiter() != Arbiter::Builtin || ttl >= SHORTEST_LEASE {
        return Vec::new();
    }
    vec![Found::warning(
        message!(
            "the lease of {ttl} ms is short: a primary that waits a moment longer for the lock service is stopped",
            ttl = ttl.as_millis().to_string()
        ),
        message!(
            "pgsql_distlock_ttl={seconds} in config.ini, then cls_setup",
            seconds = SHORTEST_LEASE.as_secs()
        ),
    )]
}

/// A lease shorter than this makes a stop of one lost packet.
const SHORTEST_LEASE: Duration = Duration::from_secs(2);

fn arbiter(seen: &Examination) -> Vec<Found> {
    let none = seen.params.lock_service.arbiter() == Arbiter::Off;
    if !none || seen.fencing {
        return Vec::new();
    }
    let remedy =
        message!("give a lock service (pgsql_enable_distlock, pgsql_distlock_conninfo) or fencing");
    if seen.nodes.len() == 2 {
        vec![Found::error(
            message!("two nodes without a lock service or fencing: cut apart, both become primary"),
            remedy,
        )]
    } else {
        vec![Found::warning(
            message!(
                "neither a lock service nor fencing: a primary that hangs can wake up beside the next one"
            ),
            remedy,
        )]
    }
}

fn site(seen: &Examination) -> Vec<Found> {
    // What cls_setup would write all the same is no error here either.
    let each = |finding: &SiteFinding| {
        let level = match finding.refused {
            true => Found::error,
            false => Found::warning,
        };
        let found = |node| level(finding.what.clone(), finding.remedy.clone()).on(node);
        finding.nodes.iter().map(found).collect::<Vec<Found>>()
    };
    seen.site.iter().flat_map(each).collect()
}

fn pacemaker(seen: &Examination) -> Vec<Found> {
    match &seen.setup {
        Err(why) => vec![Found::error(why.into(), "cls_setup --dry-run".into())],
        Ok(changes) if !seen.set_up => vec![Found::warning(
            message!(
                "no database is set up yet ({count} changes are to be made)",
                count = changes.len()
            ),
            message!("cls_setup --dry-run shows what would be configured, cls_setup makes it"),
        )],
        Ok(changes) => changes
            .iter()
            .map(|change| Found::warning(change.clone(), "cls_setup".into()))
            .collect(),
    }
}
