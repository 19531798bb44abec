//! The manual's installation, as a newcomer types it: both languages have the same commands.
#![allow(clippy::unwrap_used, missing_docs)]

use pha_tests::manual::{blocks, commands};

const ENGLISH: &str = include_str!("../../docs/manual.md");
const CHINESE: &str = include_str!("../../docs/manual.zh.md");

/// The parts of the installation, from packages to a healthy cluster. The packages themselves are a table.
const PARTS: [(&str, &str); 5] = [
    (
        "### With one command: cls_init",
        "### 一条命令完成：cls_init",
    ),
    (
        "### 2. Corosync and Pacemaker",
        "### 2. Corosync 与 Pacemaker",
    ),
    ("### 3. PostgreSQL", "### 3. PostgreSQL"),
    ("### 4. The lock service", "### 4. 锁服务"),
    ("### 5. pha4pgsql", "### 5. pha4pgsql"),
];

#[test]
fn both_manuals_install_with_the_same_lines() {
    for (english, chinese) in PARTS {
        let [english, chinese] = [blocks(ENGLISH, english), blocks(CHINESE, chinese)];
        assert!(!english.is_empty());
        assert_eq!(english, chinese);
    }
}

#[test]
fn the_manual_of_one_command_is_five_lines() {
    let typed = commands(ENGLISH, "### With one command: cls_init");
    assert_eq!(typed.first().map(String::as_str), Some("sh install.sh"));
    assert_eq!(typed.last().map(String::as_str), Some("cls_start"));
    assert!(
        typed.iter().any(|line| line.starts_with("cls_init --yes")),
        "{typed:?}"
    );
}
