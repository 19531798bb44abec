//! Which file goes where. The links of `cls` and the manual pages are those of `docs/man`, which a test
//! compares with the definition of the command line.

use std::path::{Path, PathBuf};

use super::site::Site;
use crate::error::{Error, Result};

/// A format of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Deb,
    Rpm,
}

/// What is at a place of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A file of the build, with its permission bits.
    File(PathBuf, u32),
    /// The same, which belongs to the operator once it is there.
    Settings(PathBuf, u32),
    /// A file of the sources, made smaller with gzip.
    Packed(PathBuf),
    /// A link to that name.
    Link(String),
    /// A directory for files of the operator.
    Directory(u32),
}

/// Everything of a package by its place, in the order of places.
pub(super) type Contents = std::collections::BTreeMap<String, What>;

/// What the build has made, and where.
pub(super) struct Sources<'a> {
    /// The sources of the product.
    pub(super) tree: &'a Path,
    /// The programs.
    pub(super) programs: &'a Path,
    /// The licences of what is in the programs.
    pub(super) licences: &'a Path,
    /// The list of what is in the programs.
    pub(super) list: &'a Path,
}

/// The names of the links that `cls` has, by its manual pages.
pub(super) fn links(tree: &Path) -> Result<Vec<String>> {
    let pages = pages(tree)?;
    let names = pages.iter().filter_map(|page| page.strip_suffix(".8"));
    let links = names.filter(|name| name.starts_with("cls_"));
    Ok(links.map(str::to_owned).collect())
}

/// The file names of the manual pages.
fn pages(tree: &Path) -> Result<Vec<String>> {
    let directory = tree.join("docs/man");
    let entries = directory
        .read_dir()
        .map_err(Error::io("read", &directory))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", &directory))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// The contents of a package.
///
/// # Errors
/// The manual pages cannot be listed.
pub(super) fn contents(from: &Sources<'_>, format: Format) -> Result<Contents> {
    let mut all = Contents::new();
    let mut put = |place: String, what: What| drop(all.insert(place, what));
    let (tree, programs) = (from.tree, from.programs);
    let agent = "/usr/lib/ocf/resource.d/heartbeat/expgsql";
    for (name, place) in [
        ("cls", "/usr/sbin/cls"),
        ("distlock", "/usr/sbin/distlock"),
        ("expgsql", agent),
    ] {
        put(place.to_owned(), What::File(programs.join(name), 0o755));
    }
    let bash = "/usr/share/bash-completion/completions";
    let fish = "/usr/share/fish/vendor_completions.d";
    for link in links(tree)? {
        put(format!("/usr/sbin/{link}"), What::Link("cls".to_owned()));
        // Shells load completions by the command's name; one file has them all.
        put(format!("{bash}/{link}"), What::Link("cls".to_owned()));
        put(
            format!("{fish}/{link}.fish"),
            What::Link("cls.fish".to_owned()),
        );
    }
    let zsh = match format {
        Format::Deb => "/usr/share/zsh/vendor-completions",
        Format::Rpm => "/usr/share/zsh/site-functions",
    };
    for (name, place) in [
        ("cls.bash", format!("{bash}/cls")),
        ("cls.fish", format!("{fish}/cls.fish")),
        ("_cls", format!("{zsh}/_cls")),
    ] {
        let file = tree.join("docs/completions").join(name);
        put(place, What::File(file, 0o644));
    }
    for page in pages(tree)? {
        let section = page.rsplit('.').next().unwrap_or("8");
        let place = format!("/usr/share/man/man{section}/{page}.gz");
        put(place, What::Packed(tree.join("docs/man").join(&page)));
    }
    put("/etc/pha4pgsql".to_owned(), What::Directory(0o755));
    let example = tree.join("config.ini.example");
    let place = "/etc/pha4pgsql/config.ini.example".to_owned();
    put(place, What::Settings(example, 0o644));
    if format == Format::Deb {
        let settings = tree.join("crates/testbed/package/needrestart.conf");
        let place = "/etc/needrestart/conf.d/pha4pgsql.conf".to_owned();
        put(place, What::Settings(settings, 0o644));
    }
    let directories = tree.join("crates/testbed/package/tmpfiles.conf");
    let place = "/usr/lib/tmpfiles.d/pha4pgsql.conf".to_owned();
    put(place, What::File(directories, 0o644));
    let script = tree.join("install.sh");
    let place = "/usr/share/pha4pgsql/install.sh".to_owned();
    put(place, What::File(script, 0o755));
    papers(from, format, &mut put);
    Ok(all)
}

/// What is to be read: licences, the list of what is inside, what has changed, the manual.
fn papers(from: &Sources<'_>, format: Format, put: &mut impl FnMut(String, What)) {
    let doc = |name: &str| format!("/usr/share/doc/pha4pgsql/{name}");
    let (licence, text) = match format {
        // Debian has the text of the licence already, and wants to be pointed at it.
        Format::Deb => (doc("copyright"), "crates/testbed/package/copyright.txt"),
        Format::Rpm => (
            "/usr/share/licenses/pha4pgsql/LICENSE".to_owned(),
            "LICENSE",
        ),
    };
    put(licence, What::File(from.tree.join(text), 0o644));
    let packed = |file: &Path| What::Packed(file.to_owned());
    put(doc("THIRD-PARTY-LICENSES.gz"), packed(from.licences));
    put(doc("sbom.cdx.json.gz"), packed(from.list));
    let changes = from.tree.join("CHANGELOG.md");
    put(doc("changelog.gz"), packed(&changes));
    for name in ["manual.md", "manual.zh.md"] {
        let file = from.tree.join("docs").join(name);
        put(doc(&format!("{name}.gz")), What::Packed(file));
    }
}

/// The same as nfpm reads it, after everything that is to be made smaller was.
///
/// # Errors
/// gzip fails.
pub(super) fn written(
    site: &Site,
    contents: &Contents,
    format: Format,
) -> Result<Vec<serde_json::Value>> {
    use serde_json::json;
    let mut entries = Vec::new();
    for (place, what) in contents {
        let mut entry = match what {
            What::File(source, mode) => {
                json!({"src": source, "dst": place, "file_info": {"mode": mode}})
            }
            What::Settings(source, mode) => {
                json!({"src": source, "dst": place, "type": "config|noreplace", "file_info": {"mode": mode}})
            }
            What::Packed(source) => {
                let packed = pack(site, source, place)?;
                json!({"src": packed, "dst": place, "file_info": {"mode": 0o644}})
            }
            What::Link(target) => json!({"src": target, "dst": place, "type": "symlink"}),
            What::Directory(mode) => {
                json!({"dst": place, "type": "dir", "file_info": {"mode": mode}})
            }
        };
        if let Some(kind) = to_be_read(place, format) {
            entry["type"] = json!(kind);
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// What rpm calls a file that is to be read, which it leaves out where no documentation is wanted
/// (`--excludedocs`, but the licence) and lists by itself (`rpm -qd`, `rpm -qL`).
fn to_be_read(place: &str, format: Format) -> Option<&'static str> {
    let of = |begin: &str| format == Format::Rpm && place.starts_with(begin);
    if of("/usr/share/licenses/") {
        Some("license")
    } else if of("/usr/share/doc/") || of("/usr/share/man/") {
        Some("doc")
    } else {
        None
    }
}

/// Makes a file smaller, without its name and time in it.
fn pack(site: &Site, source: &Path, place: &str) -> Result<PathBuf> {
    let packed = site
        .made
        .join(place.trim_start_matches('/').replace('/', "-"));
    std::fs::copy(source, packed.with_extension("")).map_err(Error::io("copy", source))?;
    let name = packed.with_extension("").display().to_string();
    site.tool(&["gzip", "-9", "--no-name", "--force", &name])
        .ok()?;
    Ok(packed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(format: Format) -> Contents {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let from = Sources {
            tree: &tree,
            programs: Path::new("/built"),
            licences: Path::new("/licences"),
            list: Path::new("/list"),
        };
        contents(&from, format).unwrap()
    }

    #[test]
    fn every_file_of_the_sources_that_goes_into_a_package_is_there() {
        for format in [Format::Deb, Format::Rpm] {
            for (place, what) in of(format) {
                assert!(place.starts_with('/') && !place.ends_with('/'), "{place}");
                if let What::File(file, _) | What::Settings(file, _) | What::Packed(file) = what {
                    let made = ["/built", "/licences", "/list"];
                    let made = made.iter().any(|begin| file.starts_with(begin));
                    assert!(made || file.is_file(), "{}", file.display());
                }
            }
        }
    }

    #[test]
    fn every_command_has_a_link_a_page_and_completions() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let links = links(&tree).unwrap();
        for expected in ["cls_status", "cls_setup", "cls_doctor", "cls_start"] {
            assert!(links.iter().any(|link| link == expected), "{links:?}");
        }
        let contents = of(Format::Deb);
        for link in links {
            for place in [
                format!("/usr/sbin/{link}"),
                format!("/usr/share/bash-completion/completions/{link}"),
                format!("/usr/share/fish/vendor_completions.d/{link}.fish"),
                format!("/usr/share/man/man8/{link}.8.gz"),
            ] {
                assert!(contents.contains_key(&place), "{place}");
            }
        }
    }

    #[test]
    fn the_operators_files_are_never_replaced() {
        for format in [Format::Deb, Format::Rpm] {
            for (place, what) in of(format) {
                let settings = matches!(what, What::Settings(..) | What::Directory(_));
                assert_eq!(settings, place.starts_with("/etc"), "{place}");
                // install.sh writes it, so no package may.
                assert!(!place.ends_with("/config.ini"), "{place}");
            }
        }
    }

    #[test]
    fn only_rpm_is_told_what_is_to_be_read() {
        for (place, _) in of(Format::Rpm) {
            let read = ["/usr/share/man/", "/usr/share/doc/", "/usr/share/licenses/"];
            let expected = read.iter().any(|begin| place.starts_with(begin));
            assert_eq!(
                to_be_read(&place, Format::Rpm).is_some(),
                expected,
                "{place}"
            );
            assert_eq!(to_be_read(&place, Format::Deb), None, "{place}");
        }
        let licence = "/usr/share/licenses/pha4pgsql/LICENSE";
        assert_eq!(to_be_read(licence, Format::Rpm), Some("license"));
        assert!(of(Format::Rpm).contains_key(licence));
    }

    #[test]
    fn needrestart_is_kept_from_pacemaker_where_it_may_be_installed() {
        let place = "/etc/needrestart/conf.d/pha4pgsql.conf";
        assert!(!of(Format::Rpm).contains_key(place));
        let Some(What::Settings(file, 0o644)) = of(Format::Deb).remove(place) else {
            panic!("{place} is no file of the operator's");
        };
        // As needrestart reads it, and asks for each service.
        let script = r#"our %nrconf; $nrconf{override_rc} = {qr(^dbus) => 0};
            eval do { local(@ARGV, $/) = $ARGV[0]; <> }; die $@ if $@;
            for my $rc (qw(pacemaker.service corosync.service pacemaker.service.d ssh.service)) {
                print "$rc " if grep { $rc =~ /$_/ && !$nrconf{override_rc}{$_} } keys %{$nrconf{override_rc}};
            }"#;
        let output = std::process::Command::new("perl")
            .args(["-we", script])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "pacemaker.service corosync.service ", "{output:?}");
    }
}
