//! Stands in for Pacemaker's tools and, recording only, for PostgreSQL's programs.
//!
//! It is called under the name of the tool that it plays (a link to it lies in a directory on
//! PATH). `PHA_SHIM` names a directory:
//!
//! - `cluster/` is the cluster that `cibadmin`, `crm_attribute` and `attrd_updater` show and
//!   change: what is set is really stored, and shown by the next query;
//! - `fault/<tool>` says how the tool is to misbehave: see [`Fault`];
//! - `calls/` gets a file for every call, with its arguments and its environment;
//! - `real` names the directory of PostgreSQL's real programs.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// How a tool misbehaves.
enum Fault {
    /// It fails with this status and this sentence.
    Fail(u8, String),
    /// It works after so many milliseconds.
    Slow(u64),
    /// It never ends.
    Hang,
    /// It never ends, and does not hear SIGTERM.
    Deaf,
    /// It claims success and prints this.
    Nonsense(String),
}

impl Fault {
    fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text.trim_end(), ""));
        Some(match word {
            "fail" => {
                let (code, words) = rest.split_once(' ')?;
                Self::Fail(code.parse().ok()?, words.to_owned())
            }
            "slow" => Self::Slow(rest.trim().parse().ok()?),
            "hang" => Self::Hang,
            "deaf" => Self::Deaf,
            "nonsense" => Self::Nonsense(rest.to_owned()),
            _ => return None,
        })
    }
}

struct Shim {
    base: PathBuf,
    tool: String,
    args: Vec<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("shim: {error}");
            ExitCode::from(99)
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let base = std::env::var_os("PHA_SHIM").ok_or("PHA_SHIM is not set")?;
    let mut args = std::env::args();
    let own = args.next().unwrap_or_default();
    let tool = Path::new(&own)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let shim = Shim {
        base: base.into(),
        tool,
        args: args.collect(),
    };
    shim.record()
        .map_err(|error| format!("recording: {error}"))?;
    let fault = fs::read_to_string(shim.base.join("fault").join(&shim.tool)).ok();
    match fault.as_deref().map(|text| Fault::parse(text).ok_or(text)) {
        Some(Err(text)) => return Err(format!("no such fault: {text}")),
        Some(Ok(Fault::Fail(code, words))) => {
            eprintln!("{words}");
            return Ok(ExitCode::from(code));
        }
        Some(Ok(Fault::Nonsense(words))) => {
            println!("{words}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(Ok(Fault::Hang)) => loop {
            thread::park();
        },
        Some(Ok(Fault::Deaf)) => {
            let script = "trap '' TERM; while :; do sleep 1; done";
            let error = std::process::Command::new("/bin/sh")
                .args(["-c", script])
                .exec();
            return Err(error.to_string());
        }
        Some(Ok(Fault::Slow(millis))) => thread::sleep(Duration::from_millis(millis)),
        None => {}
    }
    match shim.tool.as_str() {
        "cibadmin" => shim.cibadmin(),
        "crm_attribute" => shim.crm_attribute(),
        "attrd_updater" => shim.attrd_updater(),
        "crmadmin" => Ok(shim.crmadmin()),
        _ => shim.real(),
    }
}

impl Shim {
    /// What the call looked like from outside, in a file of its own.
    fn record(&self) -> io::Result<()> {
        let mut text = format!("tool {}\n", self.tool);
        for arg in &self.args {
            text.push_str(&format!("arg {arg:?}\n"));
        }
        let environ = fs::read("/proc/self/environ")?;
        text.push_str(&format!(
            "environ {:?}\n",
            String::from_utf8_lossy(&environ)
        ));
        let name = format!("{}-{}", self.tool, std::process::id());
        fs::write(self.base.join("calls").join(name), text)
    }

    /// Becomes the program of PostgreSQL that has this name.
    fn real(&self) -> Result<ExitCode, String> {
        let real = fs::read(self.base.join("real")).map_err(|error| error.to_string())?;
        let directory = PathBuf::from(std::ffi::OsStr::from_bytes(&real));
        let program = directory.join(&self.tool);
        let error = std::process::Command::new(&program)
            .arg0(&program)
            .args(&self.args)
            .exec();
        Err(format!("{}: {error}", program.display()))
    }

    fn option(&self, name: &str) -> Option<&str> {
        let prefix = format!("--{name}=");
        self.args.iter().find_map(|arg| arg.strip_prefix(&prefix))
    }

    fn flag(&self, name: &str) -> bool {
        self.args.iter().any(|arg| *arg == format!("--{name}"))
    }

    fn need(&self, name: &str) -> Result<&str, String> {
        self.option(name)
            .ok_or_else(|| format!("{} {:?}: --{name} is missing", self.tool, self.args))
    }

    fn cluster(&self, parts: &[&str]) -> PathBuf {
        parts
            .iter()
            .fold(self.base.join("cluster"), |path, part| path.join(part))
    }

    fn attrd_updater(&self) -> Result<ExitCode, String> {
        let (node, name) = (self.need("node")?, self.need("name")?);
        let file = self.cluster(&["transient", node, name]);
        if self.flag("query") {
            let Ok(value) = fs::read_to_string(&file) else {
                return Ok(ExitCode::from(78));
            };
            println!("name=\"{name}\" host=\"{node}\" value=\"{value}\"");
            return Ok(ExitCode::SUCCESS);
        }
        self.change(&file)
    }

    fn crm_attribute(&self) -> Result<ExitCode, String> {
        let name = self.need("name")?;
        if self.option("type") == Some("crm_config") {
            return self.change(&self.cluster(&["property", self.need("set-name")?, name]));
        }
        match self.need("lifetime")? {
            "forever" => self.change(&self.cluster(&["permanent", self.need("node")?, name])),
            "reboot" => self.change(&self.cluster(&["transient", self.need("node")?, name])),
            other => Err(format!("lifetime {other}")),
        }
    }

    fn change(&self, file: &Path) -> Result<ExitCode, String> {
        if self.flag("delete") {
            let gone = fs::remove_file(file).is_ok();
            return Ok(ExitCode::from(if gone { 0 } else { 105 }));
        }
        store(file, self.need("update")?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// A coordinator that has nothing to do.
    fn crmadmin(&self) -> ExitCode {
        if self.flag("dc_lookup") {
            println!("Designated Controller is: node1");
        } else {
            println!("Controller on node1 in state S_IDLE: ok");
        }
        ExitCode::SUCCESS
    }

    fn cibadmin(&self) -> Result<ExitCode, String> {
        if self.flag("query") {
            print!("{}", self.cib());
            return Ok(ExitCode::SUCCESS);
        }
        // A monitor that is to run now is only recorded: nobody here orders it.
        if self.flag("delete") {
            return Ok(ExitCode::SUCCESS);
        }
        let xml = self.need("xml-text")?;
        let name = attribute_of(xml, "nvpair", "name").ok_or("no name")?;
        let value = attribute_of(xml, "nvpair", "value").ok_or("no value")?;
        let id = attribute_of(xml, "nvpair", "id").ok_or("no id")?;
        let set = id.strip_suffix(&format!("-{name}")).ok_or("odd id")?;
        let file = self.cluster(&["property", set, &name]);
        let present = fs::read_to_string(&file).ok();
        if self.flag("create") {
            if self.cluster(&["property", set]).exists() {
                return Ok(ExitCode::from(108));
            }
        } else if self.flag("modify") {
            let xpath = self.need("xpath")?;
            if !present.is_some_and(|old| xpath.contains(&format!("@value='{old}'"))) {
                return Ok(ExitCode::from(105));
            }
        } else if self.flag("replace") {
            if present.is_some() {
                return Ok(ExitCode::from(105));
            }
        } else {
            return Err(format!("cibadmin {:?}", self.args));
        }
        store(&file, &value)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The cluster as `cibadmin --query` of Pacemaker 2.1 prints it.
    fn cib(&self) -> String {
        let mut nodes = String::new();
        let mut status = String::new();
        for (index, node) in names(&self.cluster(&["nodes"])).iter().enumerate() {
            let id = index + 1;
            let state = fs::read_to_string(self.cluster(&["nodes", node])).unwrap_or_default();
            let online = state.trim() == "online";
            nodes.push_str(&format!(
                "<node id=\"{id}\" uname=\"{node}\">{}</node>",
                pairs(
                    &format!("nodes-{id}"),
                    &self.cluster(&["permanent", node]),
                    "instance_attributes"
                )
            ));
            let (ccm, crmd, join) = if online {
                ("true", "online", "member")
            } else {
                ("false", "offline", "down")
            };
            status.push_str(&format!(
                "<node_state id=\"{id}\" uname=\"{node}\" in_ccm=\"{ccm}\" crmd=\"{crmd}\" join=\"{join}\" expected=\"member\">\
                 <transient_attributes id=\"{id}\">{}</transient_attributes></node_state>",
                pairs(
                    &format!("status-{id}"),
                    &self.cluster(&["transient", node]),
                    "instance_attributes"
                )
            ));
        }
        let sets: String = names(&self.cluster(&["property"]))
            .iter()
            .map(|set| {
                pairs(
                    set,
                    &self.cluster(&["property", set]),
                    "cluster_property_set",
                )
            })
            .collect();
        format!(
            "<cib crm_feature_set=\"3.16.1\" validate-with=\"pacemaker-3.9\" epoch=\"7\" num_updates=\"3\" admin_epoch=\"0\" \
             have-quorum=\"1\" dc-uuid=\"1\"><configuration><crm_config>{TWO_NODES}{sets}</crm_config><nodes>{nodes}</nodes>\
             <resources/><constraints/></configuration><status>{status}</status></cib>\n"
        )
    }
}

/// What `cls_setup` writes for two nodes.
const TWO_NODES: &str = "<cluster_property_set id=\"cib-bootstrap-options\">\
    <nvpair id=\"policy\" name=\"no-quorum-policy\" value=\"ignore\"/></cluster_property_set>";

fn pairs(id: &str, directory: &Path, element: &str) -> String {
    let pairs: String = names(directory)
        .iter()
        .map(|name| {
            let value = fs::read_to_string(directory.join(name)).unwrap_or_default();
            format!(
                "<nvpair id=\"{id}-{name}\" name=\"{name}\" value=\"{}\"/>",
                escaped(&value)
            )
        })
        .collect();
    format!("<{element} id=\"{id}\">{pairs}</{element}>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// Stores a value so that a reader sees the old one or the new one.
fn store(file: &Path, value: &str) -> Result<(), String> {
    let text = |error: io::Error| format!("{}: {error}", file.display());
    let directory = file.parent().ok_or("no directory")?;
    fs::create_dir_all(directory).map_err(text)?;
    let new = directory.join(format!(".{}", std::process::id()));
    fs::write(&new, value).map_err(text)?;
    fs::rename(&new, file).map_err(text)
}

/// The attribute of the first element of that name; enough for what the agent writes.
fn attribute_of(xml: &str, element: &str, attribute: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{element} "))?;
    let (_, rest) = rest.split_once(&format!("{attribute}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.to_owned())
}
