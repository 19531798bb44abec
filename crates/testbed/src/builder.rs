//! What a cluster shall be, and making it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::{CLIENT, CLIENT_ADDRESS, Duty, Layout, NodeSpec, machine};
use crate::node::{Node, spawn_role};
use crate::pacemaker::Config;
use crate::progress::Progress;
use crate::run::{Run, reap, remove_directory};
use crate::spec::Spec;
use crate::strangers::ARCHIVE;
use crate::{packages, postgres, roles, services, units};

/// What a cluster shall be. Start with [`ClusterBuilder::new`], end with [`ClusterBuilder::up`].
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    name: String,
    databases: u8,
    lock: bool,
    token_ms: u32,
    rep_mode: String,
    agent: String,
    own_clocks: bool,
    data_disk_mib: Option<u32>,
    parameters: Vec<(String, String)>,
    monitors: (u32, u32),
    detached: bool,
    configured: bool,
    postgres: bool,
    bare: bool,
    root: PathBuf,
    second_root: Option<PathBuf>,
    systemd: bool,
    progress: Progress,
}

impl ClusterBuilder {
    /// Two database nodes `node1` and `node2`, the lock service on `node3`, synchronous
    /// replication; the cluster ends with its [`Cluster`] value. `name` gets the process number
    /// appended, so that tests can run side by side.
    #[must_use]
    pub fn new(name: &str) -> ClusterBuilder {
        ClusterBuilder {
            name: format!("{name}-{}", std::process::id()),
            databases: 2,
            lock: true,
            token_ms: 1000,
            rep_mode: "sync".to_owned(),
            agent: "expgsql".to_owned(),
            own_clocks: false,
            data_disk_mib: None,
            parameters: Vec::new(),
            monitors: (4, 3),
            detached: false,
            configured: false,
            postgres: true,
            bare: false,
            root: machine(),
            second_root: None,
            systemd: false,
            progress: Progress::quiet(),
        }
    }

    /// A cluster that outlives this process, under exactly this name; see [`Cluster::down`].
    #[must_use]
    pub fn detached(name: &str) -> ClusterBuilder {
        ClusterBuilder {
            name: name.to_owned(),
            detached: true,
            ..ClusterBuilder::new(name)
        }
    }

    /// Whether it ends with its [`Cluster`] value (and with this process), or outlives both.
    #[must_use]
    pub fn kept(mut self, kept: bool) -> ClusterBuilder {
        self.detached = kept;
        self
    }

    /// Number of database nodes, 1 to 5. The lock service's node comes after them.
    #[must_use]
    pub fn databases(mut self, count: u8) -> ClusterBuilder {
        self.databases = count;
        self
    }

    /// Whether there is a lock service (a node of its own, and the agent's parameters for it).
    #[must_use]
    pub fn lock_service(mut self, wanted: bool) -> ClusterBuilder {
        self.lock = wanted;
        self
    }

    /// corosync's token timeout in milliseconds.
    #[must_use]
    pub fn token_ms(mut self, token: u32) -> ClusterBuilder {
        self.token_ms = token;
        self
    }

    /// The agent's `rep_mode`: `none`, `slave`, `async` or `sync`.
    #[must_use]
    pub fn rep_mode(mut self, mode: &str) -> ClusterBuilder {
        self.rep_mode = mode.to_owned();
        self
    }

    /// The agent below `ocf:heartbeat:`.
    #[must_use]
    pub fn agent(mut self, agent: &str) -> ClusterBuilder {
        self.agent = agent.to_owned();
        self
    }

    /// One more parameter of the agent, or another value; an empty one takes it out.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> ClusterBuilder {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has PostgreSQL restore WAL and histories from an archive on each node, which is empty until something
    /// is laid there ([`crate::Node::archive_history`]).
    #[must_use]
    pub fn archive(self) -> ClusterBuilder {
        let command = format!("cp {ARCHIVE}/%f %p");
        self.parameter("restore_command", &command)
    }

    /// Seconds between monitors of a standby and of the primary; they must differ.
    #[must_use]
    pub fn monitors(mut self, unpromoted: u32, promoted: u32) -> ClusterBuilder {
        self.monitors = (unpromoted, promoted);
        self
    }

    /// Gives each database node a clock of its own, see [`crate::Node::set_clock`].
    #[must_use]
    pub fn own_clocks(mut self) -> ClusterBuilder {
        self.own_clocks = true;
        self
    }

    /// Gives each database node a data disk in memory of this size, so that it can be filled.
    #[must_use]
    pub fn data_disk_mib(mut self, size: u32) -> ClusterBuilder {
        self.data_disk_mib = Some(size);
        self
    }

    /// Whether `up` ends with [`Cluster::configure`] (default: it does not).
    #[must_use]
    pub fn configured(mut self, wanted: bool) -> ClusterBuilder {
        self.configured = wanted;
        self
    }

    /// Whether databases are prepared (default: they are).
    #[must_use]
    pub fn postgres(mut self, wanted: bool) -> ClusterBuilder {
        self.postgres = wanted;
        self
    }

    /// Whether this project's programs are left out of the database nodes, which get them from
    /// `install.sh` (default: they are put there).
    #[must_use]
    pub fn bare(mut self, wanted: bool) -> ClusterBuilder {
        self.bare = wanted;
        self
    }

    /// Has the nodes lie over this tree instead of the machine's own root: its programs run in them.
    #[must_use]
    pub(crate) fn root(mut self, root: &Path) -> ClusterBuilder {
        self.root = root.to_owned();
        self
    }

    /// Has the second database node lie over this one instead; its PostgreSQL must be of the same major version.
    #[must_use]
    pub(crate) fn second_root(mut self, root: &Path) -> ClusterBuilder {
        self.second_root = Some(root.to_owned());
        self
    }

    /// Has systemd boot the database nodes and start what runs there, see [`crate::systemd`] (default: the testbed
    /// starts it).
    #[must_use]
    pub(crate) fn systemd(mut self, wanted: bool) -> ClusterBuilder {
        self.systemd = wanted;
        self
    }

    /// Where to say what is being done.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> ClusterBuilder {
        self.progress = progress;
        self
    }

    fn spec(&self) -> Result<Spec> {
        if !(1..=5).contains(&self.databases) {
            return Err(Error::Asked(format!(
                "{} database nodes: give 1 to 5",
                self.databases
            )));
        }
        let node = |number: u8, duty| NodeSpec {
            name: format!("node{number}"),
            number,
            duty,
            root: match &self.second_root {
                Some(root) if number == 2 => root.clone(),
                _ => self.root.clone(),
            },
            systemd: self.systemd && duty == Duty::Database,
        };
        let mut nodes: Vec<NodeSpec> = (1..=self.databases)
            .map(|n| node(n, Duty::Database))
            .collect();
        let names: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
        if self.lock {
            nodes.push(node(self.databases + 1, Duty::Lock));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let lock = nodes
            .iter()
            .find(|node| node.duty == Duty::Lock)
            .map(|node| node.name.as_str());
        let mut pacemaker = Config::new(
            &self.agent,
            &names,
            &self.rep_mode,
            lock,
            packages::major_in(&self.root)?,
        );
        (pacemaker.monitor_unpromoted, pacemaker.monitor_promoted) = self.monitors;
        pacemaker.promotable = matches!(self.rep_mode.as_str(), "sync" | "async");
        for (name, value) in &self.parameters {
            pacemaker = pacemaker.with(name, value);
        }
        Ok(Spec {
            name: self.name.clone(),
            nodes,
            token_ms: self.token_ms,
            own_clocks: self.own_clocks,
            data_disk_mib: self.data_disk_mib,
            pacemaker,
            bare: self.bare,
        })
    }

    /// Makes the cluster: machines, network, databases prepared and stopped, Pacemaker with a
    /// coordinator and every node a member, the lock service running.
    ///
    /// # Errors
    /// Anything that stood in the way; what had been made is gone again by then.
    pub fn up(self) -> Result<Cluster> {
        let spec = self.spec()?;
        let layout = Layout::of(&spec.name)?;
        if layout.keeper().is_some() {
            return Err(Error::Asked(format!(
                "cluster {0} is already up; `cargo testbed down --name {0}` ends it",
                spec.name
            )));
        }
        remove_directory(&layout.dir)?;
        for dir in [&layout.dir, &layout.client(), &layout.acknowledgements()] {
            fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        layout.save(&spec)?;
        let (life, stdin) = if self.detached {
            ("detached", Stdio::null())
        } else {
            ("lifeline", Stdio::piped())
        };
        let dir = layout.dir.to_string_lossy().into_owned();
        let keeper = spawn_role(
            None,
            &["--net", "--mount", "--pid", "--fork"],
            &[roles::KEEPER, &dir, life],
            &layout.dir,
            stdin,
        )?;
        let cluster = Cluster {
            spec,
            layout,
            keeper: keeper.identity,
            owner: (!self.detached).then_some(keeper.child),
            progress: self.progress.clone(),
        };
        match cluster.assemble(&self) {
            Ok(()) => Ok(cluster),
            Err(error) => {
                if !crate::interrupt::happened() {
                    cluster.wreck(&format!("the cluster did not come up: {error}"));
                }
                cluster.end();
                // A detached one has no owner to end it with.
                Cluster::down(&self.name)?;
                Err(error)
            }
        }
    }
}

impl Cluster {
    fn assemble(&self, wishes: &ClusterBuilder) -> Result<()> {
        self.progress.say(&format!("network of {}", self.name()));
        self.fabric().build()?;
        let client = spawn_role(
            Some(self.keeper),
            &["--net"],
            &[roles::CLIENT, &self.layout.client().to_string_lossy()],
            &self.layout.client(),
            Stdio::null(),
        )?;
        reap(client.child);
        self.fabric()
            .plug(CLIENT, "02:70:68:61:00:09", CLIENT_ADDRESS, client.identity)?;
        let keys = self.layout.dir.join("keys");
        services::make_keys(&keys)?;
        if wishes.postgres {
            self.progress.say("database templates");
        }
        let templates = if wishes.postgres {
            Some(postgres::Templates::ready(&wishes.root)?)
        } else {
            None
        };
        let names: Vec<&str> = self
            .spec
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        self.progress.say(&format!("machines {}", names.join(", ")));
        in_parallel(self.nodes(), |node| {
            self.first_boot(node, &keys, templates.as_ref())
        })?;
        self.progress.say("first election of Pacemaker");
        self.wait_for_members(Duration::from_secs(60))?;
        if wishes.configured {
            self.configure()?;
        }
        Ok(())
    }

    fn first_boot(
        &self,
        node: &Node,
        keys: &Path,
        templates: Option<&postgres::Templates>,
    ) -> Result<()> {
        self.give_disk(node)?;
        node.power_on(false)?;
        services::furnish(node, &self.spec, keys)?;
        if node.spec().systemd {
            if let Some(templates) = templates {
                templates.furnish(node)?;
            }
            units::furnish(node)?;
            node.power_cut()?;
            return self.boot(node.name());
        }
        if node.spec().duty == Duty::Database {
            services::start_ssh(node)?;
            services::start_cluster(node, self.spec.own_clocks)?;
        }
        if let Some(templates) = templates {
            templates.furnish(node)?;
        }
        if node.spec().duty == Duty::Lock {
            services::start_ssh(node)?;
            if templates.is_some() {
                self.lock_service()?.start()?;
                if !self.spec.bare {
                    self.lock_service()?.initialise(&self.spec)?;
                }
            }
        }
        Ok(())
    }

    fn give_disk(&self, node: &Node) -> Result<()> {
        let data = self
            .layout
            .disk(node.name())
            .join("data")
            .to_string_lossy()
            .into_owned();
        let keeper = self.keeper.pid.to_string();
        let inside = ["nsenter", "--target", &keeper, "--mount", "--"];
        Run::host(&[&inside[..], &["mkdir", "-p", &data]].concat()).ok()?;
        if let Some(size) = self.spec.data_disk_mib {
            let option = format!("size={size}m,mode=0755");
            Run::host(
                &[
                    &inside[..],
                    &["mount", "-t", "tmpfs", "-o", &option, "tmpfs", &data],
                ]
                .concat(),
            )
            .ok()?;
        }
        Ok(())
    }
}

/// Runs `work` for every node at the same time; the first error wins.
fn in_parallel(nodes: Vec<Node>, work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let started: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| work(node)))
            .collect();
        started
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(Error::Asked("a thread of the testbed panicked".to_owned()))
                })
            })
            .collect()
    });
    outcomes.into_iter().collect()
}

/// `name=value` of a command line.
pub(crate) fn assignment(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}
