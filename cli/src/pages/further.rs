//! The pages that are about no command of `cls`: the agent's parameters, the configuration file, and
//! `distlock`, whose own tests compare its page with its command line.

use std::io;

use clap_mangen::roff::{Roff, bold, roman};
use pha_core::params::TABLE;

/// The file that is shipped with the keys, their values, and what they mean.
const EXAMPLE: &str = include_str!("../../../config.ini.example");

/// The page of the program `distlock`, which is made there.
const DISTLOCK: &str = include_str!("../../../docs/man/distlock.8");

/// The pages by their file names.
pub(super) fn pages() -> io::Result<[(String, String); 3]> {
    Ok([
        ("distlock.8".to_owned(), DISTLOCK.to_owned()),
        ("expgsql.7".to_owned(), agent()?),
        ("pha4pgsql-config.ini.5".to_owned(), configuration(EXAMPLE)?),
    ])
}

fn begun(title: &str, section: &str, name: &str) -> Roff {
    let mut page = Roff::new();
    let source = concat!("pha4pgsql ", env!("CARGO_PKG_VERSION"));
    page.control("TH", [title, section, "", source, "pha4pgsql"]);
    page.control("SH", ["NAME"]);
    page.text([roman(name)]);
    page
}

fn finished(mut page: Roff, others: &[(&str, &str)]) -> io::Result<String> {
    page.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for (number, (name, section)) in others.iter().enumerate() {
        let before = if number == 0 { "" } else { ", " };
        line.extend([roman(before), bold(*name), roman(format!("({section})"))]);
    }
    page.text(line);
    let mut text = Vec::new();
    page.to_writer(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn agent() -> io::Result<String> {
    let name = "expgsql - OCF resource agent ocf:heartbeat:expgsql: PostgreSQL under Pacemaker";
    let mut page = begun("expgsql", "7", name);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "Pacemaker runs it; cls_setup writes the configuration from config.ini, where each parameter \
         is a key with pgsql_ before its name. A parameter that is not set, or set to nothing, has its \
         default. A time is in seconds, or has a unit: 90, 90s, 1500ms, 2min, 1h.",
    )]);
    page.control("SH", ["PARAMETERS"]);
    for spec in TABLE {
        page.control("TP", []);
        page.text([bold(spec.name)]);
        page.text([roman(spec.long)]);
        let default = match spec.default {
            "" => String::new(),
            value => format!("Default: {value}. "),
        };
        let change = if spec.reloadable {
            "A change needs no restart of PostgreSQL."
        } else {
            "A change restarts PostgreSQL."
        };
        page.control("sp", []);
        page.text([roman(format!("{default}{change}"))]);
    }
    finished(
        page,
        &[
            ("cls_setup", "8"),
            ("cls_doctor", "8"),
            ("pha4pgsql-config.ini", "5"),
        ],
    )
}

/// A page of the comments and the keys below each; `example` begins with what is said of the whole file.
fn configuration(example: &str) -> io::Result<String> {
    let name = "pha4pgsql-config.ini - the configuration file config.ini of pha4pgsql";
    let mut page = begun("pha4pgsql-config.ini", "5", name);
    page.control("SH", ["DESCRIPTION"]);
    let mut said: Vec<&str> = Vec::new();
    let mut keys: Vec<&str> = Vec::new();
    let mut first = true;
    // An empty line at the end, so that the last group is closed as the others are.
    for line in example.lines().map(str::trim).chain([""]) {
        let comment = line.strip_prefix('#').map(str::trim);
        if (comment.is_some() && !keys.is_empty()) || line.is_empty() {
            if first && keys.is_empty() {
                page.text([roman(said.join(" "))]);
                page.control("SH", ["KEYS"]);
            } else if !keys.is_empty() {
                page.control("TP", []);
                page.text([bold(keys.join(", "))]);
                page.text([roman(said.join(" "))]);
            }
            first &= said.is_empty();
            said.clear();
            keys.clear();
        }
        match (comment, line.split_once('=')) {
            (Some(text), _) => said.push(text),
            (None, Some((key, _))) => keys.push(key.trim()),
            _ => {}
        }
    }
    page.control("SH", ["FILES"]);
    page.control("TP", []);
    page.text([bold("/etc/pha4pgsql/config.ini")]);
    page.text([roman("where a package is installed")]);
    page.control("TP", []);
    page.text([bold("/opt/pha4pgsql/config.ini")]);
    page.text([roman("where install.sh has put the programs")]);
    finished(
        page,
        &[("expgsql", "7"), ("cls_setup", "8"), ("distlock", "8")],
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_and_every_key_of_the_example_is_on_its_page() {
        let [_, (_, agent), (_, configuration)] = pages().unwrap();
        for spec in TABLE {
            assert!(
                agent.contains(&format!("\\fB{}\\fR", spec.name)),
                "{}",
                spec.name
            );
        }
        let keys = EXAMPLE.lines().filter(|line| !line.starts_with('#'));
        for key in keys.filter_map(|line| line.split_once(" = ")) {
            assert!(configuration.contains(key.0), "{}", key.0);
        }
    }

    #[test]
    fn a_comment_is_of_the_keys_that_follow_it() {
        let example = "# The file.\n\n# One.\n# Two.\na = 1\nb = 2\n# Three.\nc = 3\n";
        let page = configuration(example).unwrap();
        let keys = page.split("KEYS").nth(1).unwrap();
        assert!(page.contains("The file.\n.SH KEYS"), "{page}");
        assert!(
            keys.contains("\\fBa, b\\fR\nOne. Two.\n.TP\n\\fBc\\fR\nThree.\n"),
            "{page}"
        );
    }
}
