//! The one declaration of every parameter.

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One line of text.
    Text,
    /// An absolute path.
    Path,
    /// A whole number between the two, both allowed.
    Integer(u32, u32),
    /// A time, in seconds where no unit is given, between the two numbers of seconds.
    Seconds(u32, u32),
    /// A boolean.
    Boolean,
    /// One of these words.
    Select(&'static [&'static str]),
}

impl Kind {
    /// The `type` of `content` in the meta-data (OCF 1.1, `ra-api.rng`).
    ///
    /// A time is a string there: `integer` would make validators refuse `90s`, which Pacemaker's
    /// users write for every other time.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text | Self::Path | Self::Seconds(..) => "string",
            Self::Integer(..) => "integer",
            Self::Boolean => "boolean",
            Self::Select(_) => "select",
        }
    }
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Its name, without `OCF_RESKEY_`.
    pub name: &'static str,
    /// What a value may be.
    pub kind: Kind,
    /// The value where none, or an empty one, is given. Empty: none.
    pub default: &'static str,
    /// Whether it has to be given in every mode.
    pub required: bool,
    /// Whether a change needs no restart of PostgreSQL (OCF 1.1 `reload-agent`).
    pub reloadable: bool,
    /// The group within which no two resources may have the same values (OCF 1.1).
    pub unique_group: Option<&'static str>,
    /// Whether it may contain a password.
    pub secret: bool,
    /// Accepted for old configurations and without effect: why.
    pub deprecated: Option<&'static str>,
    /// A few words.
    pub short: &'static str,
    /// A paragraph.
    pub long: &'static str,
}

impl Spec {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        short: &'static str,
        long: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            default,
            required: false,
            reloadable: false,
            unique_group: None,
            secret: false,
            deprecated: None,
            short,
            long,
        }
    }

    const fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn unique(mut self, group: &'static str) -> Self {
        self.unique_group = Some(group);
        self
    }

    const fn deprecated(mut self, why: &'static str) -> Self {
        self.deprecated = Some(why);
        self
    }
}

/// The parameter of this name.
#[must_use]
pub fn spec(name: &str) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| spec.name == name)
}

/// A day, the longest time that makes sense for any parameter.
const DAY: u32 = 86_400;

/// Every parameter. Names and defaults are those of the `ocf:heartbeat:pgsql` agent where it has
/// the parameter, so that a configuration for it keeps working.
pub const TABLE: &[Spec] = &[
    Spec::new(
        "pgctl",
        Kind::Path,
        "/usr/bin/pg_ctl",
        "path of pg_ctl",
        "Path of pg_ctl. The server programs beside it (postgres, pg_controldata, pg_waldump) are taken from the directory that it really lies in.",
    ),
    Spec::new(
        "psql",
        Kind::Path,
        "/usr/bin/psql",
        "path of psql",
        "Path of psql.",
    )
    .reloadable(),
    Spec::new(
        "pgdata",
        Kind::Path,
        "/var/lib/pgsql/data",
        "data directory",
        "PostgreSQL's data directory. The agent works with an existing one and never makes or empties one.",
    )
    .unique("pgdata"),
    Spec::new(
        "pgdba",
        Kind::Text,
        "postgres",
        "operating system user of PostgreSQL",
        "The operating system user that owns the data directory and that PostgreSQL runs as.",
    ),
    Spec::new(
        "pghost",
        Kind::Text,
        "",
        "host to connect to",
        "Host name, address or socket directory that the agent connects to. Empty: the Unix socket in socketdir, or where PostgreSQL says that its socket is.",
    ),
    Spec::new(
        "pgport",
        Kind::Integer(1, 65_535),
        "5432",
        "port",
        "The port that PostgreSQL listens on.",
    ),
    Spec::new(
        "pglibs",
        Kind::Path,
        "/usr/lib",
        "library directory",
        "Directory that is appended to LD_LIBRARY_PATH for PostgreSQL's programs.",
    ),
    Spec::new(
        "start_opt",
        Kind::Text,
        "",
        "options of the server",
        "Further options of the server, as after pg_ctl's -o. They are split into words as a shell would, but nothing is expanded.",
    ),
    Spec::new(
        "ctl_opt",
        Kind::Text,
        "",
        "options of pg_ctl",
        "Further options of pg_ctl, for example -W or -t 600. They are split into words as a shell would, but nothing is expanded.",
    )
    .reloadable(),
    Spec::new(
        "pgdb",
        Kind::Text,
        "template1",
        "database of monitor_sql",
        "The database that monitor_sql runs in. The agent's own questions go to the database postgres, and to this one only where the role is not let into that.",
    )
    .reloadable(),
    Spec::new(
        "logfile",
        Kind::Path,
        "/dev/null",
        "log of the server's start",
        "File that the server's output is appended to until its own logging begins.",
    )
    .reloadable(),
    Spec::new(
        "socketdir",
        Kind::Path,
        "",
        "socket directory",
        "Directory of PostgreSQL's Unix socket. Needed where unix_socket_directories names several of which the first is not the one to use.",
    ),
    Spec::new(
        "stop_escalate",
        Kind::Seconds(0, DAY),
        "90",
        "time for a fast shutdown",
        "How long a fast shutdown may take before it becomes an immediate one. It is shortened where the operation's own timeout leaves less.",
    )
    .reloadable(),
    Spec::new(
        "stop_escalate_in_slave",
        Kind::Seconds(0, DAY),
        "90",
        "time for a fast shutdown of a standby",
        "The same as stop_escalate, for a standby.",
    )
    .reloadable(),
    Spec::new(
        "monitor_user",
        Kind::Text,
        "",
        "role for monitoring",
        "Role that monitor connects as. Empty: the role named like pgdba. It needs the rights of pg_monitor.",
    )
    .reloadable(),
    Spec::new(
        "monitor_password",
        Kind::Text,
        "",
        "password of monitor_user",
        "Password of monitor_user. The cluster configuration is readable for every user of the group haclient: a line in the .pgpass file of pgdba is the better place.",
    )
    .reloadable()
    .secret(),
    Spec::new(
        "monitor_sql",
        Kind::Text,
        "select now();",
        "statement for monitoring",
        "SQL statement that monitor runs on a primary, in pgdb (postgres, if that is template0 or template1). Its search_path is empty: tables and functions of your own are named with their schema. An error, or no answer in time while PostgreSQL accepts connections, is a failure.",
    )
    .reloadable(),
    Spec::new(
        "config",
        Kind::Path,
        "",
        "configuration file",
        "PostgreSQL's configuration file. Empty: postgresql.conf in pgdata.",
    ),
    Spec::new(
        "check_wal_receiver",
        Kind::Boolean,
        "false",
        "report the WAL receiver",
        "Whether monitor keeps the node attribute RESOURCE-receiver-status: normal, normal (master) or ERROR.",
    )
    .reloadable(),
    Spec::new(
        "rep_mode",
        Kind::Select(&["none", "slave", "async", "sync"]),
        "none",
        "replication mode",
        "none: one PostgreSQL. slave: a standby of a primary outside this resource. async and sync: a promotable clone of a primary and its standbys; in sync the primary waits for a standby as long as there is one.",
    ),
    Spec::new(
        "node_list",
        Kind::Text,
        "",
        "nodes of the cluster",
        "Every node that may run an instance, separated by spaces, in Pacemaker's spelling. Needed in the modes async and sync.",
    )
    .reloadable(),
    Spec::new(
        "restore_command",
        Kind::Text,
        "",
        "restore_command",
        "PostgreSQL's restore_command on a standby. Empty: none.",
    ),
    Spec::new(
        "archive_cleanup_command",
        Kind::Text,
        "",
        "archive_cleanup_command",
        "PostgreSQL's archive_cleanup_command on a standby. Empty: none.",
    ),
    Spec::new(
        "recovery_end_command",
        Kind::Text,
        "",
        "recovery_end_command",
        "PostgreSQL's recovery_end_command on a standby. Empty: none.",
    ),
    Spec::new(
        "master_ip",
        Kind::Text,
        "",
        "address of the primary",
        "Host name or address under which standbys reach the primary, usually a virtual address that follows it. Needed in the modes slave, async and sync.",
    ),
    Spec::new(
        "repuser",
        Kind::Text,
        "postgres",
        "role for replication",
        "Role that a standby connects to the primary as. Its password belongs into the .pgpass file of pgdba.",
    ),
    Spec::new(
        "primary_conninfo_opt",
        Kind::Text,
        "",
        "further keywords of primary_conninfo",
        "Further keywords and values of primary_conninfo, for example sslmode=verify-full keepalives_idle=60. The agent writes host, port, user and application_name itself.",
    )
    .secret(),
    Spec::new(
        "restart_on_promote",
        Kind::Boolean,
        "false",
        "without effect",
        "Accepted so that old configurations keep working. Whether a promotion restarts PostgreSQL depends on whether the primary has changed.",
    )
    .reloadable()
    .deprecated("the agent decides by itself whether a promotion restarts PostgreSQL"),
    Spec::new(
        "tmpdir",
        Kind::Path,
        "/var/lib/pgsql/tmp",
        "directory of the agent's files",
        "Directory on the node's own disk, outside pgdata, where the agent keeps its part of PostgreSQL's configuration (rep_mode.conf). It must survive a reboot.",
    ),
    Spec::new(
        "xlog_check_count",
        Kind::Integer(1, 100),
        "3",
        "agreeing monitors before the first election",
        "How many monitors in a row must see the same node with the newest data before the first primary of a cluster is elected.",
    )
    .reloadable(),
    Spec::new(
        "crm_attr_timeout",
        Kind::Seconds(1, DAY),
        "5",
        "time for an attribute update",
        "How long an update of a permanent node attribute may take.",
    )
    .reloadable(),
    Spec::new(
        "replication_slot_name",
        Kind::Text,
        "",
        "beginning of the replication slots' names",
        "With it, every standby streams from a physical replication slot named REPLICATION_SLOT_NAME_NODE, the node's name in lower case and with _ for every other character. Empty: no slots. A slot keeps WAL for a standby that is away: watch the primary's disk, or set max_slot_wal_keep_size.",
    ),
    Spec::new(
        "enable_distlock",
        Kind::Boolean,
        "false",
        "use a lock service",
        "Whether promotion, and the change of the primary from sync to async, need the distributed lock. Recommended for two nodes: without it, two nodes that do not see each other can both be primary.",
    )
    .reloadable(),
    Spec::new(
        "distlock_conninfo",
        Kind::Text,
        "",
        "the built-in lock service",
        "Connection string of the PostgreSQL outside the cluster that keeps the lock, for example host=node3 dbname=postgres user=distlock sslmode=verify-full. With rep_mode=sync this is what keeps every acknowledged commit. Its password belongs into the .pgpass file of root.",
    )
    .reloadable()
    .secret(),
    Spec::new(
        "distlock_lockname",
        Kind::Text,
        "",
        "name of the lock",
        "Table and name of the lock, TABLE:NAME, or just the name of a lock in table distlock. Every cluster that shares a lock service needs its own.",
    )
    .reloadable(),
    Spec::new(
        "distlock_ttl",
        Kind::Seconds(1, 3_600),
        "3",
        "how long the lock lasts",
        "How long the lock of the built-in lock service is held without being renewed. The guard, a small process beside the primary, renews it four times as often (every second at the least). A standby that takes over from a dead primary waits for its end. A primary that is cut off from the lock service and from the other nodes is stopped before it.",
    )
    .reloadable(),
    Spec::new(
        "async_max_lag",
        Kind::Integer(0, 1_048_576),
        "16",
        "WAL that a takeover may lose, in MiB",
        "rep_mode=async with the built-in lock service: how much WAL, in MiB, a standby may lack of what the primary last recorded about itself and still take over. A standby that lacks more is not promoted. Among those that may, the one with the most WAL is.",
    )
    .reloadable(),
    Spec::new(
        "guard_pacemaker_timeout",
        Kind::Seconds(0, DAY),
        "0",
        "how long a primary may run without Pacemaker",
        "The guard stops the primary when Pacemaker has not been running on its node for so long. 0: never; then Pacemaker can be restarted under a running database, and the guard goes on renewing the lease, so that no other node takes over meanwhile.",
    )
    .reloadable(),
    Spec::new(
        "guard_watchdog",
        Kind::Path,
        "",
        "watchdog device",
        "A watchdog device, for example /dev/watchdog, that the guard feeds as long as it can do its work and stops when it ends in an orderly way. The machine is rebooted when the guard stands still, or cannot stop PostgreSQL, for longer than the device's own timeout. Not together with sbd or another program that uses the same device.",
    )
    .reloadable(),
    Spec::new(
        "distlock_lock_cmd",
        Kind::Text,
        "",
        "external command that takes the lock",
        "Command that takes or renews the lock and prints 1 if it has it, 0 if another has. @owner stands for RESOURCE_NODE. It is split into words as a shell would and started without one. A primary that goes on alone renews the lock with each monitor, and acknowledges nothing where it cannot: so the lock has to last longer than two monitors and the command together, and the command has to end within 15 s by itself.",
    )
    .reloadable()
    .secret(),
    Spec::new(
        "distlock_unlock_cmd",
        Kind::Text,
        "",
        "external command that releases the lock",
        "Command that releases the lock and prints 1 if it did. As for distlock_lock_cmd.",
    )
    .reloadable()
    .secret(),
    Spec::new(
        "distlock_lockservice_deadcheck_nodelist",
        Kind::Text,
        "",
        "nodes that confirm that the lock service is dead",
        "Hosts, separated by spaces, that are asked over ssh when the external lock service cannot be reached from here; the node itself is not. Only if every one of them can be reached and none of them reaches it either, the lock counts as held.",
    )
    .reloadable(),
];
