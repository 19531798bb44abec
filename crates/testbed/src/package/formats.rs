//! The files that are handed out: a tarball, a .deb, a .rpm and their sums.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::contents::{Contents, Format, Sources, What, contents, links, written};
use super::inside::{self, Papers};
use super::site::{Arch, PROGRAMS, STEP, Site};
use crate::error::{Error, Result};
use crate::run::Run;

pub(super) const BEFORE_REMOVAL: &str = include_str!("../../package/preremove.sh");
pub(super) const AFTER_INSTALLATION: &str = include_str!("../../package/postinstall.sh");
pub(super) const AFTER_REMOVAL: &str = include_str!("../../package/postremove.sh");

const ABOUT: &str = "High availability for PostgreSQL under Pacemaker\n\
    An OCF resource agent (expgsql), a lock service in a PostgreSQL outside\n\
    the cluster, and the commands cls_* that set a cluster up and operate it.\n\
    An upgrade of this package restarts neither PostgreSQL nor Pacemaker.";

/// Programs of one kind of machine, and the papers that go with them.
pub(super) struct Built {
    pub(super) arch: Arch,
    /// The directory of the programs.
    pub(super) programs: PathBuf,
    pub(super) inside: Papers,
}

impl Built {
    fn sources<'a>(&'a self, site: &'a Site) -> Sources<'a> {
        Sources {
            tree: &site.source,
            programs: &self.programs,
            licences: &self.inside.licences,
            list: &self.inside.list,
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn write(file: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(file, bytes).map_err(Error::io("write", file))
}

/// The tarball: `install.sh` with the programs in `bin` beside it.
pub(super) fn tarball(site: &Site, built: &Built) -> Result<PathBuf> {
    let name = format!("pha4pgsql-{}-{}", site.version, built.arch.name());
    let place = site.made.join(&name);
    let from = built.sources(site);
    let mut files: Vec<(PathBuf, String, &str)> = Vec::new();
    for program in PROGRAMS {
        files.push((
            built.programs.join(program),
            format!("bin/{program}"),
            "755",
        ));
    }
    files.push((
        site.source.join("install.sh"),
        "install.sh".to_owned(),
        "755",
    ));
    for file in [
        "config.ini.example",
        "LICENSE",
        "CHANGELOG.md",
        "README.md",
        "docs/manual.md",
        "docs/manual.zh.md",
    ] {
        files.push((site.source.join(file), file.to_owned(), "644"));
    }
    files.push((
        from.licences.to_owned(),
        "THIRD-PARTY-LICENSES".to_owned(),
        "644",
    ));
    files.push((from.list.to_owned(), "sbom.cdx.json".to_owned(), "644"));
    for (source, to, mode) in files {
        let mode = format!("-m{mode}");
        let words = [
            "install",
            "-D",
            &mode,
            &text(&source),
            &text(&place.join(to)),
        ];
        site.tool(&words).ok()?;
    }
    let tar = site.output.join(format!("{name}.tar"));
    let when = format!("--mtime=@{}", site.epoch);
    let (made, file) = (text(&site.made), text(&tar));
    let words = [
        "tar",
        "--sort=name",
        &when,
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "-C",
        &made,
        "-cf",
        &file,
        &name,
    ];
    site.tool(&words).ok()?;
    site.tool(&["gzip", "-9", "--no-name", "--force", &file])
        .ok()?;
    Ok(tar.with_extension("tar.gz"))
}

/// What the .deb is called.
pub(super) fn debian_name(version: &str, arch: Arch) -> String {
    format!("pha4pgsql_{version}-1_{}.deb", arch.debian())
}

/// The .deb and the .rpm.
pub(super) fn packages(site: &Site, built: &Built) -> Result<Vec<PathBuf>> {
    for (name, script) in [
        ("preremove", BEFORE_REMOVAL),
        ("postinstall", AFTER_INSTALLATION),
        ("postremove", AFTER_REMOVAL),
    ] {
        write(&site.made.join(name), script)?;
    }
    let mut made = Vec::new();
    for (format, packager) in [(Format::Deb, "deb"), (Format::Rpm, "rpm")] {
        let list = contents(&built.sources(site), format)?;
        write(&changes(site, format), what_changed(site, format)?)?;
        let description = described(site, built.arch, format, &written(site, &list, format)?);
        let settings = site.made.join(format!("nfpm-{packager}.yaml"));
        // What is JSON is YAML too.
        write(&settings, description.to_string())?;
        let file = match format {
            Format::Deb => debian_name(&site.version, built.arch),
            Format::Rpm => format!("pha4pgsql-{}-1.{}.rpm", site.version, built.arch.name()),
        };
        let file = site.output.join(file);
        let words = [
            "nfpm",
            "package",
            "--config",
            &text(&settings),
            "--packager",
            packager,
            "--target",
            &text(&file),
        ];
        site.tool(&words).ok()?;
        made.push(file);
    }
    Ok(made)
}

/// The file of what has changed, as the format has it.
fn changes(site: &Site, format: Format) -> PathBuf {
    site.made.join(format!("changes-{format:?}.yaml"))
}

fn what_changed(site: &Site, format: Format) -> Result<String> {
    // nfpm adds the release where Debian wants it, and leaves it out for rpm, which wants it too.
    let version = match format {
        Format::Deb => site.version.clone(),
        Format::Rpm => format!("{}-1", site.version),
    };
    let changes = json!([{
        "semver": version,
        "date": inside::time(site)?,
        "packager": site.maintainer,
        "deb": {"urgency": "medium", "distributions": ["stable"]},
        "changes": [{"note": "What has changed is in changelog.gz beside this file."}],
    }]);
    Ok(changes.to_string())
}

/// What nfpm is told. The names of what a package needs are those of its distributions.
fn described(
    site: &Site,
    arch: Arch,
    format: Format,
    entries: &[serde_json::Value],
) -> serde_json::Value {
    let script = |name: &str| text(&site.made.join(name));
    let (arch, needs, recommended) = match format {
        Format::Deb => (
            arch.debian(),
            json!([
                "libc6 (>= 2.17)",
                "iproute2",
                "openssh-client",
                "pacemaker",
                "pacemaker-cli-utils",
                "resource-agents"
            ]),
            json!(["ca-certificates", "corosync", "postgresql"]),
        ),
        Format::Rpm => (
            arch.name(),
            // The same programs are in packages of other names, from one distribution to the next.
            json!(["pacemaker", "resource-agents", "/usr/bin/ssh"]),
            json!([
                "ca-certificates",
                "corosync",
                "postgresql-server",
                "postgresql-contrib"
            ]),
        ),
    };
    let mut scripts = json!({
        "preremove": script("preremove"),
        "postinstall": script("postinstall"),
    });
    // rpm knows no purge.
    if format == Format::Deb {
        scripts["postremove"] = json!(script("postremove"));
    }
    json!({
        "name": "pha4pgsql",
        "arch": arch,
        "platform": "linux",
        "version": site.version,
        "release": "1",
        "section": "database",
        "priority": "optional",
        "maintainer": site.maintainer,
        "description": ABOUT,
        "license": "Apache-2.0",
        "depends": needs,
        "recommends": recommended,
        "contents": entries,
        "changelog": text(&changes(site, format)),
        "scripts": scripts,
        "rpm": {"summary": "High availability for PostgreSQL under Pacemaker", "group": "Applications/Databases"},
    })
}

/// Unpacks everything with the distributions' own tools, compares it with the lists, and runs it.
///
/// # Errors
/// Something is missing, or is not what it should be.
pub(super) fn check(site: &Site, built: &Built, files: &[PathBuf]) -> Result<()> {
    for file in files {
        let name = file
            .extension()
            .and_then(|end| end.to_str())
            .unwrap_or_default();
        let root = site.made.join(format!("root-{name}"));
        std::fs::create_dir_all(&root).map_err(Error::io("make", &root))?;
        let (place, package) = (text(&root), text(file));
        let (format, programs) = match name {
            "deb" => {
                Run::host(&["dpkg-deb", "--extract", &package, &place])
                    .timeout(STEP)
                    .ok()?;
                (Some(Format::Deb), "usr/sbin")
            }
            "rpm" => {
                rpm(&place, &package)?;
                (Some(Format::Rpm), "usr/sbin")
            }
            _ => {
                site.tool(&[
                    "tar",
                    "-C",
                    &place,
                    "--strip-components=1",
                    "-xzf",
                    &package,
                ])
                .ok()?;
                (None, "bin")
            }
        };
        if let Some(format) = format {
            compare(&root, &contents(&built.sources(site), format)?)?;
            lint(site, format, &package)?;
        }
        // The programs of another machine cannot be run here.
        if built.arch.name() == std::env::consts::ARCH {
            try_programs(site, &root.join(programs), format.is_some())?;
        }
    }
    Ok(())
}

/// Installs it below a root of its own with rpm itself, and has rpm compare every file with its sum.
fn rpm(root: &str, package: &str) -> Result<()> {
    let into = |words: &[&str]| -> Result<()> {
        let all = [&["rpm", "--root", root], words].concat();
        Run::host(&all).timeout(STEP).ok().map(drop)
    };
    Run::host(&["rpm", "--checksig", "--nosignature", package]).ok()?;
    into(&["--initdb"])?;
    // What it depends on is not in that root, nor is a shell for its scripts.
    into(&[
        "--install",
        "--nodeps",
        "--noscripts",
        "--ignorearch",
        package,
    ])?;
    into(&["--verify", "--nodeps", "pha4pgsql"])
}

/// Has the distribution's own judge look at a package: a warning is an error. What is found and stays so is in
/// a file, with the reason.
fn lint(site: &Site, format: Format, package: &str) -> Result<()> {
    let reasons = |file: &str| text(&site.source.join("crates/testbed/package").join(file));
    let words = match format {
        Format::Deb => vec![
            "lintian".to_owned(),
            "--allow-root".to_owned(),
            "--fail-on=error,warning".to_owned(),
            format!("--suppress-tags-from-file={}", reasons("lintian.txt")),
            package.to_owned(),
        ],
        Format::Rpm => vec![
            "rpmlint".to_owned(),
            "--strict".to_owned(),
            format!("--config={}", reasons("rpmlint.toml")),
            package.to_owned(),
        ],
    };
    Run::host(&words).timeout(STEP).ok().map(drop)
}

fn compare(root: &Path, contents: &Contents) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for (place, what) in contents {
        let file = root.join(place.trim_start_matches('/'));
        let stat = file
            .symlink_metadata()
            .map_err(Error::io("look at", &file))?;
        let mode = stat.permissions().mode() & 0o7777;
        let right = match what {
            What::File(_, expected) | What::Settings(_, expected) => {
                stat.is_file() && mode == *expected
            }
            What::Packed(_) => stat.is_file() && mode == 0o644,
            What::Link(target) => {
                let found = std::fs::read_link(&file).map_err(Error::io("read", &file))?;
                found == Path::new(target)
            }
            What::Directory(expected) => stat.is_dir() && mode == *expected,
        };
        if !right {
            let found = format!("{} is not {what:?} (mode {mode:04o})", file.display());
            return Err(Error::Asked(found));
        }
    }
    Ok(())
}

/// Runs the programs, and compares the links with the commands that `cls` has.
fn try_programs(site: &Site, place: &Path, linked: bool) -> Result<()> {
    let mut said = BTreeMap::new();
    for words in [["cls", "--version"], ["distlock", "--version"]] {
        let output = Run::host(&[&text(&place.join(words[0])), words[1]]).ok()?;
        said.insert(words[0], output.text().to_owned());
    }
    if said.values().any(|text| !text.ends_with(&site.version)) {
        return Err(Error::Asked(format!(
            "{} are of another version: {said:?}",
            place.display()
        )));
    }
    if linked {
        let commands = Run::host(&[&text(&place.join("cls")), "internal", "commands"]).ok()?;
        let mut names: Vec<String> = commands
            .text()
            .lines()
            .map(|name| format!("cls_{name}"))
            .collect();
        names.sort();
        if names != links(&site.source)? {
            return Err(Error::Asked(format!(
                "the links are not the commands {names:?}"
            )));
        }
        for name in names {
            Run::host(&[&text(&place.join(name)), "--help"]).ok()?;
        }
    }
    Ok(())
}

/// The sums of all, as `sha256sum -c` reads them.
pub(super) fn sums(site: &Site, files: &[PathBuf]) -> Result<PathBuf> {
    let place = text(&site.output);
    let mut words = vec!["env", "-C", &place, "sha256sum", "--"];
    words.extend(files.iter().filter_map(|file| file.file_name()?.to_str()));
    let sums = site.output.join("SHA256SUMS");
    write(&sums, Run::host(&words).timeout(STEP).ok()?.stdout)?;
    Ok(sums)
}
