//! A cluster as a whole: assembled, found again, asked, configured, taken down.

use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cib::{Cib, Placement, placements};
use crate::error::{Error, Result};
use crate::fabric::Fabric;
use crate::interrupt::Undo;
use crate::layout::{Duty, Layout, NodeSpec};
use crate::node::Node;
use crate::pacemaker::Config;
use crate::procfs::ProcessId;
use crate::progress::Progress;
use crate::run::{ends_before, remove_directory};
use crate::spec::Spec;
use crate::{peer, services, systemd, wait};

/// A running cluster. Where this process made it (not detached), dropping the value ends it, and
/// so does the end of this process, however it comes.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) spec: Spec,
    pub(crate) layout: Layout,
    pub(crate) keeper: ProcessId,
    /// The keeper as a child of this process, with the lifeline as its stdin.
    pub(crate) owner: Option<Child>,
    pub(crate) progress: Progress,
}

impl Cluster {
    /// Finds a cluster that another process made.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn attach(name: &str) -> Result<Cluster> {
        let layout = Layout::of(name)?;
        let spec = layout.load(name)?;
        let keeper = layout
            .keeper()
            .ok_or_else(|| Error::NoCluster(name.to_owned()))?;
        Ok(Cluster {
            spec,
            layout,
            keeper,
            owner: None,
            progress: Progress::quiet(),
        })
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it was asked to be.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its directory on the host.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.layout.dir
    }

    pub(crate) fn fabric(&self) -> Fabric {
        Fabric::of(self.keeper)
    }

    /// All nodes: the database nodes, then the lock service's.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        self.spec.nodes.iter().map(|spec| self.made(spec)).collect()
    }

    /// The database nodes.
    #[must_use]
    pub fn databases(&self) -> Vec<Node> {
        self.spec.databases().map(|spec| self.made(spec)).collect()
    }

    fn made(&self, spec: &NodeSpec) -> Node {
        Node {
            spec: spec.clone(),
            layout: self.layout.clone(),
            keeper: self.keeper,
        }
    }

    /// The node of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, name: &str) -> Result<Node> {
        self.spec
            .nodes
            .iter()
            .find(|node| node.name == name)
            .map(|spec| self.made(spec))
            .ok_or_else(|| {
                let names: Vec<&str> = self
                    .spec
                    .nodes
                    .iter()
                    .map(|node| node.name.as_str())
                    .collect();
                Error::Asked(format!(
                    "no node {name} in cluster {}: it has {}",
                    self.name(),
                    names.join(", ")
                ))
            })
    }

    /// The node of that name.
    ///
    /// # Panics
    /// There is none: a mistake in the test that asks.
    #[must_use]
    pub fn node(&self, name: &str) -> Node {
        match self.find(name) {
            Ok(node) => node,
            Err(error) => panic!("{error}"),
        }
    }

    /// Powers a node on and starts what starts at boot: sshd, and corosync with Pacemaker or the
    /// lock service; or systemd does. Does not wait for the node to become a member.
    ///
    /// # Errors
    /// Something did not start.
    pub fn boot(&self, node: &str) -> Result<()> {
        if self.find(node)?.is_on() {
            return Ok(());
        }
        if self.find(node)?.spec().systemd {
            return self.find(node)?.power_on(true);
        }
        self.power_on(node)?;
        let node = self.find(node)?;
        match node.spec().duty {
            Duty::Database => services::start_cluster(&node, self.spec.own_clocks),
            Duty::Lock => self.lock_service()?.start(),
        }
    }

    /// Powers a node on and starts no more than sshd there.
    ///
    /// # Errors
    /// It did not start.
    pub fn power_on(&self, node: &str) -> Result<()> {
        let node = self.find(node)?;
        node.power_on(false)?;
        services::start_ssh(&node)
    }

    /// Starts corosync and Pacemaker on a node that is on.
    ///
    /// # Errors
    /// A daemon did not start.
    pub fn start_pacemaker(&self, node: &str) -> Result<()> {
        services::start_cluster(&self.find(node)?, self.spec.own_clocks)
    }

    /// Stops Pacemaker (its resources first) and corosync on a node that stays on.
    ///
    /// # Errors
    /// They did not end in time.
    pub fn stop_pacemaker(&self, node: &str, timeout: Duration) -> Result<()> {
        services::stop_cluster(&self.find(node)?, timeout)
    }

    /// Kills a node's `pacemakerd` and starts another, which takes over the daemons that run and starts those that are
    /// missing.
    ///
    /// # Errors
    /// No node of that name, or it did not end or start.
    pub fn replace_pacemakerd(&self, node: &str) -> Result<()> {
        services::kill_pacemakerd(&self.find(node)?)?;
        self.start_pacemaker(node)
    }

    /// Waits until there is a coordinator and every powered database node is a member with quorum
    /// as seen by itself.
    ///
    /// # Errors
    /// [`Error::NotInTime`].
    pub fn wait_for_members(&self, timeout: Duration) -> Result<()> {
        let on: Vec<Node> = self.databases().into_iter().filter(Node::is_on).collect();
        let mut names: Vec<String> = on.iter().map(|node| node.name().to_owned()).collect();
        names.sort();
        wait::wait(
            &format!("membership of {}", names.join(", ")),
            timeout,
            || {
                for node in &on {
                    let cib = self.cib_of(node.name()).map_err(|e| e.to_string())?;
                    if cib.members() != names || cib.coordinator().is_none() {
                        return Err(format!(
                            "{} sees members [{}], coordinator {}",
                            node.name(),
                            cib.members().join(" "),
                            cib.coordinator().unwrap_or_else(|| "none".to_owned())
                        ));
                    }
                }
                Ok(())
            },
        )
    }

    /// Waits for a condition; see [`wait::wait`].
    ///
    /// # Errors
    /// [`Error::NotInTime`] with what `probe` saw last.
    pub fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        probe: impl FnMut() -> std::result::Result<T, String>,
    ) -> Result<T> {
        wait::wait(what, timeout, probe)
    }

    /// The CIB as this node has it.
    ///
    /// # Errors
    /// The node is off or its Pacemaker does not answer.
    pub fn cib_of(&self, node: &str) -> Result<Cib> {
        let output = self
            .find(node)?
            .run(&["cibadmin", "--query", "--local"], Duration::from_secs(15))?;
        Ok(Cib { xml: output.stdout })
    }

    /// The CIB as the first database node has it that answers.
    ///
    /// # Errors
    /// None answers; the last one's error.
    pub fn cib(&self) -> Result<Cib> {
        self.first_answer(|node| self.cib_of(node.name()))
    }

    /// Where resources run, as the first database node sees it that answers.
    ///
    /// # Errors
    /// None answers; the last one's error.
    pub fn placements(&self) -> Result<Vec<Placement>> {
        self.first_answer(|node| self.placements_of(node.name()))
    }

    /// Where resources run, as this node sees it.
    ///
    /// # Errors
    /// The node is off or its Pacemaker does not answer.
    pub fn placements_of(&self, node: &str) -> Result<Vec<Placement>> {
        let output = self.find(node)?.run(
            &["crm_mon", "-1", "--output-as=xml"],
            Duration::from_secs(15),
        )?;
        Ok(placements(&output.stdout))
    }

    fn first_answer<T>(&self, question: impl Fn(&Node) -> Result<T>) -> Result<T> {
        let mut last = Error::Asked(format!("cluster {} has no database node", self.name()));
        for node in self.databases() {
            match question(&node) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Makes the packaged agent usable on every powered database node: mends its call of
    /// crm_attribute in the node's own copy, and gives it its directory.
    ///
    /// # Errors
    /// The package is another one than the one this was written for.
    pub fn prepare_packaged_agent(&self) -> Result<()> {
        self.databases()
            .iter()
            .filter(|node| node.is_on())
            .try_for_each(peer::prepare)
    }

    /// Pushes a Pacemaker configuration from the first database node that is on. What is there
    /// under other names stays.
    ///
    /// # Errors
    /// Pacemaker refused it.
    pub fn push_configuration(&self, config: &Config) -> Result<()> {
        if config.agent == peer::AGENT {
            self.prepare_packaged_agent()?;
        }
        let xml = config.to_xml();
        let node = self
            .databases()
            .into_iter()
            .find(Node::is_on)
            .ok_or_else(|| Error::Asked("every database node is powered off".to_owned()))?;
        node.write("/run/testbed-configuration.xml", xml, 0o600)?;
        node.run(
            &[
                "cibadmin",
                "--modify",
                "--allow-create",
                "--xml-file",
                "/run/testbed-configuration.xml",
            ],
            Duration::from_secs(30),
        )
        .map(drop)
    }

    /// Pushes the configuration that this cluster was asked for.
    ///
    /// # Errors
    /// As [`Cluster::push_configuration`].
    pub fn configure(&self) -> Result<()> {
        self.progress.say("Pacemaker's configuration");
        self.push_configuration(&self.spec.pacemaker)
    }

    /// Installs the programs of this project again on every powered node (after a new build).
    ///
    /// # Errors
    /// A node refused the files.
    pub fn install_programs(&self) -> Result<()> {
        self.nodes()
            .iter()
            .filter(|node| node.is_on())
            .try_for_each(services::install_programs)
    }

    pub(crate) fn client(&self) -> Result<ProcessId> {
        Layout::announced(&self.layout.client())
            .filter(|client| client.alive())
            .ok_or_else(|| Error::NoCluster(self.name().to_owned()))
    }

    /// Ends a cluster by name, whoever made it, and removes what it left; no error if it is not
    /// there.
    ///
    /// # Errors
    /// Its processes or files cannot be removed.
    pub fn down(name: &str) -> Result<()> {
        let layout = Layout::of(name)?;
        if let Some(keeper) = layout.keeper() {
            end_keeper(keeper)?;
        }
        remove_directory(&layout.dir)
    }

    pub(crate) fn end(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        let Some(mut child) = self.owner.take() else {
            return;
        };
        // A failure here has nobody to go to; `down` finds what is left.
        let _ = end_keeper(self.keeper);
        let _ = child.wait();
        for node in self.spec.nodes.iter().filter(|node| node.systemd) {
            systemd::forget(&self.spec.name, &node.name);
        }
        let _ = remove_directory(&self.layout.dir);
    }

    /// Lets go of the cluster without ending it, when it is to outlive a test that failed. Only
    /// for clusters made with [`crate::ClusterBuilder::detached`]; others end with this process anyway.
    pub fn keep(mut self) {
        self.owner = None;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.owner.is_some() && std::thread::panicking() {
            self.wreck("the test that owns the cluster failed");
        }
        self.finish();
    }
}

impl Undo {
    /// On Ctrl-C the cluster `name` ends. What was being made at that moment may go on for a
    /// moment and leave files in a directory that is being removed, so it is tried again.
    pub(crate) fn cluster(name: &str) -> Undo {
        let name = name.to_owned();
        Undo::with(move || {
            let ended = wait::wait("the end of the cluster", Duration::from_secs(30), || {
                Cluster::down(&name).map_err(|error| error.to_string())
            });
            if let Err(error) = ended {
                let _ = writeln!(std::io::stderr(), "testbed: {error}");
            }
        })
    }
}

fn end_keeper(keeper: ProcessId) -> Result<()> {
    keeper.signal(Signal::KILL);
    let deadline = Instant::now() + Duration::from_secs(15);
    match ends_before(u32::try_from(keeper.pid).unwrap_or(0), deadline) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Asked(format!(
            "the cluster's keeper (process {}) does not end",
            keeper.pid
        ))),
        Err(source) => Err(Error::Io {
            what: "cannot wait for the cluster's end".to_owned(),
            source,
        }),
    }
}
