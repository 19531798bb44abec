//! Generated files are checked in and equal to what the code generates; the agent's meta-data is
//! valid for the validators that this machine has.
//!
//! `UPDATE_GENERATED=1 cargo test -p pha-core --test generated` rewrites the files.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// The core itself has no effects; this test of it reads and writes files and runs a validator.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn check_generated(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == text,
        "{path} is not what the code generates; run UPDATE_GENERATED=1 cargo test -p pha-core --test generated and look at the difference"
    );
}

#[test]
fn the_table_of_parameters_is_current() {
    check_generated("docs/parameters.md", &pha_core::params::markdown());
}

#[test]
fn the_tables_of_rules_are_current() {
    check_generated("docs/rules.md", &pha_core::reference::rules());
}

#[test]
fn the_meta_data_are_current() {
    check_generated("docs/meta-data-1.0.xml", &pha_core::metadata::xml(0));
    check_generated("docs/meta-data-1.1.xml", &pha_core::metadata::xml(1));
}

#[test]
fn what_the_documentation_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = std::fs::read_dir(root.join("docs")).unwrap();
    let pages = pages.map(|page| page.unwrap().path());
    let top = [
        "agent/",
        "cli/",
        "crates/",
        "distlock/",
        "docs/",
        "fuzz/",
        "tests/",
    ];
    let mut seen = 0;
    for page in pages.filter(|page| page.extension().is_some_and(|kind| kind == "md")) {
        let text = std::fs::read_to_string(&page).unwrap();
        for path in text.split('`').skip(1).step_by(2) {
            let is_path = top.iter().any(|top| path.starts_with(top));
            if !is_path || path.contains(|c: char| "<*… ".contains(c)) {
                continue;
            }
            seen += 1;
            assert!(root.join(path).exists(), "{}: {path}", page.display());
        }
    }
    assert!(seen > 50, "{seen} paths");
}

/// A file of the test's own under the target directory.
fn write(name: &str, text: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, text).unwrap();
    file
}

/// Validates with xmllint where it and the schema are installed; the rules of the schemas that a
/// generator can break are checked without it in the unit tests.
fn validate(option: &str, schema: &str, file: &Path) {
    if !Path::new(schema).exists() || Command::new("xmllint").arg("--version").output().is_err() {
        return;
    }
    let output = Command::new("xmllint")
        .args(["--noout", option, schema])
        .arg(file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{schema}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn version_1_0_is_valid_for_the_resource_agents_packages_schemas() {
    let text = pha_core::metadata::xml(0);
    let old = write("meta-data-1.0.xml", &text);
    validate(
        "--dtdvalid",
        "/usr/share/resource-agents/ra-api-1.dtd",
        &old,
    );
    // The schema knows the roles of its own time only: from resource-agents 4.12 the new ones.
    let schema = "/usr/share/resource-agents/metadata.rng";
    let new_roles = std::fs::read_to_string(schema).is_ok_and(|text| text.contains("Promoted"));
    let text = if new_roles {
        text.replace("\"Master\"", "\"Promoted\"")
            .replace("\"Slave\"", "\"Unpromoted\"")
    } else {
        text
    };
    validate("--relaxng", schema, &write("meta-data-roles.xml", &text));
}

#[test]
fn version_1_1_is_valid_for_pcs() {
    let file = write("meta-data-1.1.xml", &pha_core::metadata::xml(1));
    validate("--relaxng", "/usr/share/pcs/data/ocf-1.1.rng", &file);
}

/// A manual, in one language.
fn manual(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(file)).unwrap()
}

/// Every attribute that a node shows in `cls_status` is explained where an operator looks.
#[test]
fn the_manuals_explain_every_attribute() {
    for file in ["docs/manual.md", "docs/manual.zh.md"] {
        let text = manual(file);
        for of in pha_core::names::NodeAttribute::ALL {
            let rows = text.lines().filter(|line| line.starts_with("| `pgsql-"));
            let name = format!("`pgsql-{of}`");
            assert!(
                rows.clone().any(|row| row.contains(&name)),
                "{file}: {name}"
            );
        }
    }
}

/// Whoever is called at night finds each finding of `cls_status` in a table of the failures, by its id.
#[test]
fn the_manuals_have_an_entry_for_every_finding_of_health() {
    for (file, chapter) in [
        ("docs/manual.md", "\n## Every failure and its repair\n"),
        ("docs/manual.zh.md", "\n## 故障与修复\n"),
    ] {
        let text = manual(file);
        let (_, failures) = text.split_once(chapter).unwrap();
        for rule in pha_core::health::HEALTH_RULES {
            let id = format!("`{}`", rule.id);
            let mut rows = failures.lines().filter(|line| line.starts_with("| "));
            let leads = |row: &str| {
                let mut cells = row.split(" | ").skip(1);
                cells.next().is_some_and(|ids| ids.contains(&id))
                    && cells.next().is_some_and(|entry| entry.contains("](#"))
            };
            assert!(rows.any(leads), "{file}: {id}");
        }
    }
}

/// The anchor that a heading has where Markdown is shown.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then_some(c),
    });
    kept.flat_map(char::to_lowercase).collect()
}

#[test]
fn the_links_within_the_manuals_lead_to_headings() {
    for file in ["docs/manual.md", "docs/manual.zh.md"] {
        let text = manual(file);
        let headings = text.lines().filter(|line| line.starts_with("##"));
        let anchors: Vec<String> = headings
            .map(|line| anchor(line.trim_start_matches('#').trim()))
            .collect();
        let links = text.split("](#").skip(1);
        let links: Vec<&str> = links.filter_map(|rest| rest.split(')').next()).collect();
        assert!(links.len() > 30, "{file}: {} links", links.len());
        for link in links {
            assert!(
                anchors.iter().any(|anchor| anchor == link),
                "{file}: #{link}"
            );
        }
    }
}

/// What is added to one manual belongs into the other as well, at the same place.
#[test]
fn the_manuals_have_the_same_chapters() {
    let levels = |file: &str| -> Vec<usize> {
        let text = manual(file);
        let prose = text.split("\n```").step_by(2);
        let lines = prose.flat_map(str::lines);
        let levels = lines.map(|line| line.len() - line.trim_start_matches('#').len());
        levels.filter(|level| *level > 0).collect()
    };
    let english = levels("docs/manual.md");
    assert!(english.len() > 50);
    assert_eq!(english, levels("docs/manual.zh.md"));
}
