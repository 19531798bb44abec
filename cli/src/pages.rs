//! Manual pages and completions of the shells, made from the definition of the command line.
//!
//! They are checked in below `docs/` (a test compares them), and `cls internal pages` writes them
//! as `install.sh` puts them on a node: always those of the program that is installed.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

mod further;

/// Administration commands.
const SECTION: &str = "8";

/// Every manual page by its file name: that of `cls`, one for each of its links, and those that are about
/// no command.
pub(crate) fn manual(mut cls: Command) -> io::Result<Vec<(String, String)>> {
    // Only then the subcommands have the common options too.
    cls.build();
    let names: Vec<String> = commands(&cls).map(link).collect();
    let mut pages = Vec::new();
    for command in commands(&cls) {
        let name = link(command);
        let page = command
            .clone()
            .display_name(name.clone())
            .bin_name(name.clone());
        let others = names.iter().filter(|other| **other != name);
        let others = std::iter::once("cls").chain(others.map(String::as_str));
        pages.push((format!("{name}.{SECTION}"), page_of(page, others)?));
    }
    let names = names.iter().map(String::as_str);
    pages.push((format!("cls.{SECTION}"), page_of(cls.clone(), names)?));
    pages.extend(further::pages()?);
    Ok(pages)
}

/// The commands that people give.
fn commands(cls: &Command) -> impl Iterator<Item = &Command> {
    cls.get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

/// The names of the commands that there are links for.
pub(crate) fn names(cls: &Command) -> Vec<String> {
    commands(cls)
        .map(|command| command.get_name().to_owned())
        .collect()
}

fn link(command: &Command) -> String {
    format!("cls_{}", command.get_name())
}

fn page_of<'a>(command: Command, others: impl Iterator<Item = &'a str>) -> io::Result<String> {
    // The commands are listed once, at the end, as the pages that they have.
    let command = command.version(env!("CARGO_PKG_VERSION"));
    let man = Man::new(command)
        .section(SECTION)
        .source(concat!("pha4pgsql ", env!("CARGO_PKG_VERSION")))
        .manual("pha4pgsql");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let mut rest = Roff::new();
    rest.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in crate::error::MEANINGS {
        rest.control("TP", []);
        rest.text([bold(code.to_string())]);
        rest.text([roman(*meaning)]);
    }
    rest.control("SH", ["FILES"]);
    rest.control("TP", []);
    rest.text([bold("/etc/pha4pgsql/config.ini, /opt/pha4pgsql/config.ini")]);
    rest.text([roman(
        "the cluster's settings, unless --config or $pha4pgsql_dir says otherwise: where a package \
         was installed the first, else the second; the other one is read where there is only that",
    )]);
    rest.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for other in others {
        line.extend([bold(other), roman(format!("({SECTION}), "))]);
    }
    line.extend([bold("crm_mon"), roman(format!("({SECTION})"))]);
    rest.text(line);
    rest.to_writer(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The completions by the shell's name for the file: one file per shell, for `cls` and its links.
pub(crate) fn completions(cls: &Command) -> [(&'static str, String); 3] {
    let names: Vec<String> = commands(cls).map(link).collect();
    let made = |shell: Shell| {
        let mut text = Vec::new();
        generate(shell, &mut cls.clone(), "cls", &mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    let bash = made(Shell::Bash)
        + BASH_NODES
        + BASH_LINKS
        + &format!(
            "complete -F _cls_link -o nosort -o bashdefault -o default {}\n",
            names.join(" ")
        );
    // The first line of the file names the commands that it is loaded for; the function asks which
    // one it was.
    let zsh = made(Shell::Zsh)
        .replacen(
            "#compdef cls",
            &format!("#compdef cls {}", names.join(" ")),
            1,
        )
        .replacen("_cls() {\n", ZSH_LINKS, 1)
        .replace(":NODE:_default'", ":NODE:_cls_node_names'")
        .replace(
            ":node -- The node:_default'",
            ":node -- The node:_cls_node_names'",
        );
    let fish = names
        .iter()
        .fold(fish_nodes(&made(Shell::Fish)), |text, name| {
            text + &fish_link(name) + "\n"
        });
    [("cls.bash", bash), ("_cls", zsh), ("cls.fish", fish)]
}

/// The options that take a node's name, and the commands whose argument is one.
const NODE_OPTIONS: [&str; 4] = ["node", "to", "off", "confirm"];
const NODE_COMMANDS: [&str; 2] = ["standby_node", "unstandby_node"];

/// Where a node is asked for, the nodes of config.ini are offered, as far as the account may read it.
const BASH_NODES: &str = r#"
_cls_nodes() {
    case ${3##*/} in
        --node|--to|--off|--confirm) ;;
        standby_node|unstandby_node|cls_standby_node|cls_unstandby_node) [[ $2 == -* ]] && return ;;
        *) return ;;
    esac
    COMPREPLY=($(compgen -W "$("${1%"${1##*/}"}cls" internal config nodes 2>/dev/null)" -- "$2"))
}
_cls_words() {
    _cls "$@"
    _cls_nodes "$@"
}
complete -F _cls_words -o bashdefault -o default cls
"#;

fn fish_nodes(text: &str) -> String {
    const NAMES: &str = r#" -f -a "(cls internal config nodes 2>/dev/null)""#;
    let takes_node = |line: &str| {
        let mut options = NODE_OPTIONS.iter();
        options.any(|option| line.contains(&format!(" -l {option} ")) && line.ends_with(" -r"))
    };
    let mut made = String::with_capacity(text.len());
    for line in text.lines() {
        made.push_str(line);
        if takes_node(line) {
            made.push_str(NAMES);
        }
        made.push('\n');
    }
    for command in NODE_COMMANDS {
        made += &format!("complete -c cls -n \"__fish_cls_using_subcommand {command}\"{NAMES}\n");
    }
    made
}

/// `cls_x …` is completed as `cls x …`.
const BASH_LINKS: &str = r#"
_cls_link() {
    local name=${1##*/}
    local words=(cls "${name#cls_}" "${COMP_WORDS[@]:1}") cword=$((COMP_CWORD + 1))
    local COMP_WORDS=("${words[@]}") COMP_CWORD=$cword
    _cls cls "$2" "$3"
    _cls_nodes "$@"
}
"#;

const ZSH_LINKS: &str = r#"_cls_node_names() {
    compadd -- ${(f)"$(cls internal config nodes 2>/dev/null)"}
}

_cls() {
    if [[ $service == cls_* ]]; then
        words=(cls "${service#cls_}" "${(@)words[2,-1]}")
        (( CURRENT += 1 ))
        local service=cls
    fi
"#;

fn fish_link(name: &str) -> String {
    let command = pha_core::health::word_of_link(name);
    format!("complete -c {name} -w 'cls {command}'")
}

/// Everything as it lies below a `share` directory, where man and the shells look by themselves.
pub(crate) fn tree(cls: &Command) -> io::Result<Vec<(String, String)>> {
    let mut files: Vec<(String, String)> = manual(cls.clone())?
        .into_iter()
        .map(|(name, text)| {
            let section = name.rsplit('.').next().unwrap_or(SECTION);
            (format!("man/man{section}/{name}"), text)
        })
        .collect();
    for name in commands(cls).map(link) {
        // Shells load completions by the command's name.
        files.push((
            format!("bash-completion/completions/{name}"),
            ". \"${BASH_SOURCE[0]%/*}/cls\"\n".to_owned(),
        ));
        let fish = format!("fish/vendor_completions.d/{name}.fish");
        files.push((fish, fish_link(&name) + "\n"));
    }
    for (name, text) in completions(cls) {
        let place = match name {
            "cls.bash" => "bash-completion/completions/cls",
            "_cls" => "zsh/site-functions/_cls",
            _ => "fish/vendor_completions.d/cls.fish",
        };
        files.push((place.to_owned(), text));
    }
    Ok(files)
}

/// Writes the tree below a directory.
pub(crate) fn write(cls: &Command, directory: &Path) -> io::Result<()> {
    for (name, text) in tree(cls)? {
        let file = directory.join(OsString::from(name));
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, text)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::entry::command;

    /// Compares a directory of `docs` with what is generated; with `UPDATE_GENERATED=1` writes it.
    fn check_directory(directory: &str, files: impl IntoIterator<Item = (String, String)>) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs")
            .join(directory);
        let update = std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1");
        let mut expected = Vec::new();
        for (name, text) in files {
            let file = directory.join(&name);
            if update {
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(&file, &text).unwrap();
            }
            let found = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                found == text,
                "{} is not what the code generates; run UPDATE_GENERATED=1 cargo test -p cls pages and look at the difference",
                file.display()
            );
            expected.push(file);
        }
        expected.sort();
        let mut found: Vec<PathBuf> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        found.sort();
        assert_eq!(found, expected, "files of commands that are no more");
    }

    #[test]
    fn the_manual_pages_are_current() {
        check_directory("man", manual(command()).unwrap());
    }

    #[test]
    fn the_completions_are_current() {
        let files = completions(&command());
        check_directory(
            "completions",
            files.map(|(name, text)| (name.to_owned(), text)),
        );
    }

    /// What bash offers after these words, the last of which is begun.
    fn offered(words: &[&str]) -> Vec<String> {
        let script = format!(
            "{}\ncomplete -p \"${{1##*/}}\" >/dev/null || exit 1\n\
             COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))\n\
             function=$(complete -p \"${{1##*/}}\" | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
             $function \"$1\" \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            completions(&command())[0].1
        );
        let output = std::process::Command::new("bash")
            .args(["-c", &script, "bash"])
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_the_program_and_its_links() {
        assert_eq!(offered(&["cls", "online"]), ["online_switch"]);
        assert_eq!(offered(&["cls", "online_switch", "--dr"]), ["--dry-run"]);
        assert_eq!(offered(&["cls_online_switch", "--dr"]), ["--dry-run"]);
        assert_eq!(
            offered(&["/opt/x/bin/cls_online_switch", "--dr"]),
            ["--dry-run"]
        );
        assert_eq!(offered(&["cls_online_switch", "--keep"]), [""]);
        assert_eq!(offered(&["cls_rebuild_slave", "--keep"]), ["--keep-old"]);
    }

    #[test]
    fn the_shells_offer_the_nodes_where_one_is_asked_for() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("cls-nodes-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let program = directory.join("cls");
        let script =
            "#!/bin/sh\n[ \"$*\" = 'internal config nodes' ] && printf 'node1\\nnode2\\n'\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let place = |name: &str| directory.join(name).display().to_string();
        let (cls, link) = (place("cls"), place("cls_standby_node"));
        for (words, expected) in [
            (
                &[cls.as_str(), "standby_node", ""][..],
                &["node1", "node2"][..],
            ),
            (&[&cls, "cleanup", "--node", "node2"], &["node2"]),
            (&[&link, "n"], &["node1", "node2"]),
            (
                &[&place("cls_online_switch"), "--to", ""],
                &["node1", "node2"],
            ),
            (&[&link, "--fo"], &["--force"]),
            (&[&cls, "standby_node", "--fo"], &["--force"]),
        ] {
            assert_eq!(offered(words), expected, "{words:?}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
        // Every option and argument that is a node, in the other shells too.
        let [_, (_, zsh), (_, fish)] = completions(&command());
        assert!(!zsh.contains(":NODE:_default") && !zsh.contains(":node -- The node:_default"));
        let offers = |line: &&str| line.contains("internal config nodes");
        assert_eq!(
            fish.lines().filter(offers).count(),
            zsh.matches(":_cls_node_names'").count()
        );
    }

    #[test]
    fn every_link_has_a_page_with_its_options_and_exit_codes() {
        let pages = manual(command()).unwrap();
        assert_eq!(pages.len(), names(&command()).len() + 4);
        let (_, page) = pages
            .iter()
            .find(|(name, _)| name == "cls_online_switch.8")
            .unwrap();
        for part in [
            "cls_online_switch \\-",
            "dry\\-run",
            "timeout",
            "EXIT STATUS",
            "cls_status",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
    }
}
