//! What is in the programs: every crate, with its version, its sum and its licence, as cargo resolved them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::site::{Arch, PROGRAMS, STEP, Site};
use crate::error::{Error, Result};
use crate::run::Run;

/// Build dependencies that leave code of their own in the programs: the sources of OpenSSL.
const SOURCES: [&str; 1] = ["openssl-src"];

/// The papers that go with the programs.
pub(super) struct Papers {
    /// The licences' texts.
    pub(super) licences: PathBuf,
    /// A CycloneDX list.
    pub(super) list: PathBuf,
}

/// A crate that is in the programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    licence: String,
    place: PathBuf,
}

/// Writes both.
pub(super) fn collect(site: &Site, arch: Arch) -> Result<Papers> {
    let metadata = metadata(site, arch)?;
    let all = crates(&metadata);
    let lock = site.source.join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock).map_err(Error::io("read", &lock))?;
    let papers = Papers {
        licences: site.made.join("THIRD-PARTY-LICENSES"),
        list: site.made.join("sbom.cdx.json"),
    };
    write(&papers.licences, &licences(&all)?)?;
    let rustc = Run::host(&["rustc", "--version"]).ok()?;
    let compiler = rustc.text().split(' ').nth(1).unwrap_or_default();
    let list = list(&site.version, &time(site)?, &all, &sums(&lock), compiler);
    let text = serde_json::to_string_pretty(&list).unwrap_or_default();
    write(&papers.list, &text)?;
    Ok(papers)
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(Error::io("write", file))
}

fn metadata(site: &Site, arch: Arch) -> Result<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = site.source.join("Cargo.toml").display().to_string();
    let triple = arch.triple();
    let words = [
        &cargo,
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--manifest-path",
        &manifest,
        "--filter-platform",
        &triple,
        "--features",
        "pha-host/portable",
    ];
    let output = Run::host(&words).timeout(STEP).ok()?;
    serde_json::from_str(&output.stdout)
        .map_err(|error| Error::Asked(format!("cargo metadata said no JSON: {error}")))
}

/// The time of the sources, as CycloneDX writes times.
pub(super) fn time(site: &Site) -> Result<String> {
    let when = format!("@{}", site.epoch);
    let words = ["date", "--utc", "--date", &when, "+%Y-%m-%dT%H:%M:%SZ"];
    Ok(Run::host(&words).ok()?.text().to_owned())
}

/// What the programs are linked of, without the programs and what is this project's own.
fn crates(metadata: &Value) -> BTreeSet<Crate> {
    let empty = Vec::new();
    let list = |value: &Value| value.as_array().unwrap_or(&empty).clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let name = |id: &str| {
        packages
            .get(id)
            .map_or_else(String::new, |one| text(&one["name"]))
    };
    let mut waiting: Vec<String> = packages
        .keys()
        .filter(|id| PROGRAMS.contains(&name(id).as_str()))
        .cloned()
        .collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        for dependency in nodes
            .get(&id)
            .map_or_else(Vec::new, |node| list(&node["deps"]))
        {
            let to = text(&dependency["pkg"]);
            let kinds = list(&dependency["dep_kinds"]);
            let linked = kinds.iter().any(|kind| kind["kind"].is_null());
            if linked || SOURCES.contains(&name(&to).as_str()) {
                waiting.push(to);
            }
        }
    }
    let foreign = seen.iter().filter_map(|id| packages.get(id));
    foreign
        .filter(|package| !package["source"].is_null())
        .map(|package| Crate {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: text(&package["license"]),
            place: Path::new(&text(&package["manifest_path"]))
                .parent()
                .map_or_else(PathBuf::new, Path::to_path_buf),
        })
        .collect()
}

/// Every text, once, with the crates that it is of.
fn licences(all: &BTreeSet<Crate>) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut book =
        "What is in the programs of pha4pgsql besides its own code, and under which licences.\n\n"
            .to_owned();
    for one in all {
        let title = format!("{} {}", one.name, one.version);
        book += &format!("{title}: {}\n", one.licence);
        // The sources of C libraries lie one directory further down.
        for file in papers(&one.place, 2)? {
            let bytes = std::fs::read(&file).map_err(Error::io("read", &file))?;
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            texts.entry(text).or_default().push(title.clone());
        }
    }
    for (text, mut of) in texts {
        of.dedup();
        book += &format!("\n{}\n{}\n\n{text}\n", "=".repeat(72), of.join(", "));
    }
    Ok(book)
}

fn papers(place: &Path, depth: u8) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in place.read_dir().map_err(Error::io("read", place))? {
        let path = entry.map_err(Error::io("read", place))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let name = name.to_ascii_uppercase();
        let paper = [
            "LICENSE",
            "LICENCE",
            "COPYING",
            "COPYRIGHT",
            "NOTICE",
            "UNLICENSE",
        ];
        if path.is_file() && paper.iter().any(|begin| name.starts_with(begin)) {
            found.push(path);
        } else if depth > 0 && path.is_dir() && !path.is_symlink() {
            found.extend(papers(&path, depth - 1)?);
        }
    }
    found.sort();
    Ok(found)
}

/// The sums of Cargo.lock by name and version.
fn sums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut sums = BTreeMap::new();
    for block in lock.split("[[package]]") {
        let value = |key: &str| {
            let begin = format!("{key} = \"");
            let line = block.lines().find_map(|line| line.strip_prefix(&begin));
            line.and_then(|rest| rest.strip_suffix('"'))
                .map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(sum)) =
            (value("name"), value("version"), value("checksum"))
        {
            sums.insert((name, version), sum);
        }
    }
    sums
}

fn list(
    version: &str,
    time: &str,
    all: &BTreeSet<Crate>,
    sums: &BTreeMap<(String, String), String>,
    compiler: &str,
) -> Value {
    let mut components: Vec<Value> = all
        .iter()
        .map(|one| {
            let key = (one.name.clone(), one.version.clone());
            let sum = sums
                .get(&key)
                .map(|sum| json!({"alg": "SHA-256", "content": sum}));
            let address = format!("pkg:cargo/{}@{}", one.name, one.version.replace('+', "%2B"));
            json!({
                "type": "library",
                "bom-ref": address,
                "name": one.name,
                "version": one.version,
                "purl": address,
                // Old manifests write a slash where the standard has OR.
                "licenses": [{"expression": one.licence.replace('/', " OR ")}],
                "hashes": sum.into_iter().collect::<Vec<Value>>(),
            })
        })
        .collect();
    components.push(json!({
        "type": "library",
        "bom-ref": "rust-std",
        "name": "rust-std",
        "version": compiler,
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
    }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "component": {
                "type": "application",
                "bom-ref": "pha4pgsql",
                "name": "pha4pgsql",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": components,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn example() -> Value {
        let package = |name: &str, source: Value| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": source, "manifest_path": format!("/crates/{name}/Cargo.toml")});
        let registry = json!("registry+x");
        let names = ["libc", "openssl-sys", "openssl-src", "cc", "proptest"];
        let mut packages: Vec<Value> = names
            .iter()
            .map(|name| package(name, registry.clone()))
            .collect();
        packages.push(package("cls", Value::Null));
        packages.push(package("pha-core", Value::Null));
        let needs = |to: &str, kind: Value| json!({"pkg": to, "dep_kinds": [{"kind": kind}]});
        json!({"packages": packages, "resolve": {"nodes": [
            {"id": "cls", "deps": [needs("pha-core", Value::Null), needs("openssl-sys", Value::Null), needs("proptest", json!("dev"))]},
            {"id": "pha-core", "deps": [needs("libc", Value::Null)]},
            {"id": "openssl-sys", "deps": [needs("openssl-src", json!("build")), needs("cc", json!("build"))]},
        ]}})
    }

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_or_tests_is_not() {
        let names: Vec<String> = crates(&example()).into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["libc", "openssl-src", "openssl-sys"]);
    }

    #[test]
    fn the_list_has_versions_sums_and_licences() {
        let lock = "[[package]]\nname = \"libc\"\nversion = \"1.0.0\"\nsource = \"x\"\nchecksum = \"abc\"\n\n[[package]]\nname = \"cls\"\nversion = \"1.0.0\"\n";
        let sums = sums(lock);
        assert_eq!(sums.len(), 1);
        let list = list(
            "0.1.0",
            "2026-01-01T00:00:00Z",
            &crates(&example()),
            &sums,
            "1.95.0",
        );
        let libc = &list["components"][0];
        assert_eq!(libc["purl"], "pkg:cargo/libc@1.0.0");
        assert_eq!(libc["hashes"][0]["content"], "abc");
        assert_eq!(libc["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }
}
