//! What `deny.toml` says of licences, sources and versions, without cargo-deny (docs/dependencies.md).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rules() -> toml::Table {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    text.parse().unwrap()
}

fn words(rules: &toml::Table, part: &str, name: &str) -> Vec<String> {
    let list = rules[part][name].as_array().unwrap().iter();
    list.map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The packages that are built here, as cargo knows them: members, and what they need.
fn packages() -> Vec<Value> {
    let version = Command::new(env!("CARGO")).arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--all-features"])
        .args(["--format-version", "1", "--filter-platform", host.unwrap()])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let mut read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let Value::Array(packages) = read["packages"].take() else {
        panic!("no packages");
    };
    assert!(packages.len() > 50, "{}", packages.len());
    packages
}

/// Whether the licences that are let in satisfy the expression (SPDX): `AND` binds closer than `OR`, and
/// older crates write a stroke for `OR`.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let fits = any(&mut words, allowed);
    assert_eq!(words.next(), None, "{expression}");
    fits
}

type Words<'a, 'b> = &'b mut std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: Words<'_, '_>, allowed: &[String]) -> bool {
    let mut fits = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        fits |= all(words, allowed);
    }
    fits
}

fn all(words: Words<'_, '_>, allowed: &[String]) -> bool {
    let mut fits = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        fits &= one(words, allowed);
    }
    fits
}

fn one(words: Words<'_, '_>, allowed: &[String]) -> bool {
    let word = words.next().expect("a licence");
    if word == "(" {
        let fits = any(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return fits;
    }
    let mut name = word.to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        name = format!("{name} WITH {}", words.next().expect("an exception"));
    }
    allowed.contains(&name)
}

#[test]
fn every_licence_and_every_source_is_one_that_is_let_in() {
    let rules = rules();
    let licences = words(&rules, "licenses", "allow");
    let registries = words(&rules, "sources", "allow-registry");
    let mut wrong = Vec::new();
    for package in packages() {
        let (name, version) = (&package["name"], &package["version"]);
        let licence = package["license"].as_str().unwrap_or("NONE");
        if !satisfied(licence, &licences) {
            wrong.push(format!("{name} {version}: the licence {licence}"));
        }
        let Some(source) = package["source"].as_str() else {
            continue;
        };
        let registry = source.strip_prefix("registry+");
        if !registry.is_some_and(|from| registries.iter().any(|one| one == from)) {
            wrong.push(format!("{name} {version}: from {source}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "see deny.toml");
}

#[test]
fn every_version_is_said() {
    assert_eq!(rules()["bans"]["wildcards"].as_str(), Some("deny"));
    let mut wrong = Vec::new();
    // Members have no source; what they name by its path is theirs.
    for member in packages()
        .iter()
        .filter(|package| package["source"].is_null())
    {
        for needed in member["dependencies"].as_array().unwrap() {
            if needed["req"] == "*" && needed["path"].is_null() {
                wrong.push(format!("{} needs any {}", member["name"], needed["name"]));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned()];
    for (expression, fits) in [
        ("MIT", true),
        ("GPL-3.0 OR MIT", true),
        ("MIT/GPL-3.0", true),
        ("GPL-3.0", false),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT) AND Apache-2.0", true),
        ("MIT OR Apache-2.0 AND GPL-3.0", true),
        ("Apache-2.0 WITH LLVM-exception", false),
        ("NONE", false),
    ] {
        assert_eq!(satisfied(expression, &allowed), fits, "{expression}");
    }
}
