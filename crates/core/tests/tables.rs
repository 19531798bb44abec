//! The tables of `src/decide` stand above what they share, and not in each other.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `src/decide` that are no tables: what every table may use.
const NO_TABLES: [&str; 2] = ["mod", "shared"];

/// The modules in a directory, by name.
fn names(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap();
    files
        .map(|file| {
            let path = file.unwrap().path();
            path.file_stem().unwrap().to_string_lossy().into_owned()
        })
        .collect()
}

/// The code of a file without its comments, line by line.
fn code(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.map(str::to_owned).collect()
}

/// Sees that a file borrows from no table but its own. `inside` is the module that holds the tables.
fn borrows_from_none(file: &Path, inside: &str, tables: &[String]) {
    let own = file.file_stem().unwrap().to_string_lossy().into_owned();
    for (number, line) in code(file).iter().enumerate() {
        for table in tables.iter().filter(|table| **table != own) {
            let borrowed = [
                format!("{inside}::{table}"),
                format!("{inside}::{{{table}"),
                format!("super::{table}"),
            ];
            assert!(
                !borrowed.iter().any(|path| line.contains(path.as_str())),
                "{}:{}: {line}",
                file.display(),
                number + 1
            );
        }
    }
}

/// A table that borrows from another ties the order of two operations' rules together, and a judgement
/// that one of them changes for itself changes unseen in the other.
#[test]
fn no_table_imports_a_table_and_nothing_shared_imports_one() {
    let decide = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide");
    let mut tables = names(&decide);
    tables.retain(|name| !NO_TABLES.contains(&name.as_str()));
    assert!(tables.contains(&"primary".to_owned()), "{tables:?}");

    let mut files: Vec<PathBuf> = tables
        .iter()
        .map(|name| decide.join(format!("{name}.rs")))
        .filter(|path| path.exists())
        .collect();
    for directory in ["shared", "operator"] {
        let directory = decide.join(directory);
        let inside = names(&directory);
        let inside = inside.iter().map(|name| format!("{name}.rs"));
        files.extend(inside.map(|name| directory.join(name)));
    }
    for file in files {
        borrows_from_none(&file, "decide", &tables);
        for line in code(&file) {
            // Everything of a module at once would hide what is borrowed.
            assert!(
                !line.contains("decide::{") || line.contains("decide::shared::{"),
                "{}: {line}",
                file.display()
            );
        }
    }
}

/// The same for the operator's commands. What is judged in several of them is in `mod.rs`, and what every one of them
/// answers with in `refusal.rs`.
#[test]
fn no_table_of_a_command_imports_another_commands() {
    let operator = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide/operator");
    let mut tables = names(&operator);
    tables.retain(|name| name != "mod" && name != "refusal");
    tables.sort();
    tables.dedup();
    assert!(tables.contains(&"restart".to_owned()), "{tables:?}");
    let shown = code(&operator.join("mod.rs")).join(" ");
    for table in &tables {
        let file = operator.join(format!("{table}.rs"));
        borrows_from_none(&file, "operator", &tables);
        // What `mod.rs` shows of the other tables to the crates is not taken from there either.
        let others = tables.iter().filter(|other| *other != table);
        let foreign = others.flat_map(|other| {
            let path = format!("pub use {other}::{{");
            let names = shown.split_once(&path).unwrap().1;
            names.split_once('}').unwrap().0.split(',').map(str::trim)
        });
        let foreign: Vec<&str> = foreign.filter(|name| !name.is_empty()).collect();
        for line in code(&file) {
            let apart = |c: char| !c.is_alphanumeric() && c != '_';
            let borrowed = line.split(apart).find(|word| foreign.contains(word));
            assert_eq!(borrowed, None, "{}: {line}", file.display());
        }
    }
}
