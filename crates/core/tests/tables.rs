//! The tables of `src/decide` stand above what they share, and not in each other.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::Path;

/// Modules of `src/decide` that are no tables: what every table may use.
const NO_TABLES: [&str; 2] = ["mod", "shared"];

/// A table that borrows from another ties the order of two operations' rules together, and a judgement
/// that one of them changes for itself changes unseen in the other.
#[test]
fn no_table_imports_a_table_and_nothing_shared_imports_one() {
    let decide = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide");
    let names = |directory: &Path| -> Vec<String> {
        let files = fs::read_dir(directory).unwrap();
        files
            .map(|file| {
                let path = file.unwrap().path();
                path.file_stem().unwrap().to_string_lossy().into_owned()
            })
            .collect()
    };
    let mut tables = names(&decide);
    tables.retain(|name| !NO_TABLES.contains(&name.as_str()));
    assert!(tables.contains(&"primary".to_owned()), "{tables:?}");

    let mut files: Vec<_> = tables
        .iter()
        .map(|name| decide.join(format!("{name}.rs")))
        .filter(|path| path.exists())
        .collect();
    let shared = names(&decide.join("shared"));
    files.extend(
        shared
            .iter()
            .map(|name| decide.join(format!("shared/{name}.rs"))),
    );

    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let own = file.file_stem().unwrap().to_string_lossy().into_owned();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for table in tables.iter().filter(|table| **table != own) {
                let borrowed = [
                    format!("decide::{table}"),
                    format!("decide::{{{table}"),
                    format!("super::{table}"),
                ];
                assert!(
                    !borrowed.iter().any(|path| code.contains(path.as_str())),
                    "{}:{}: {line}",
                    file.display(),
                    number + 1
                );
            }
            // Everything of a module at once would hide what is borrowed.
            assert!(
                !code.contains("decide::{") || code.contains("decide::shared::{"),
                "{}: {line}",
                file.display()
            );
        }
    }
}
