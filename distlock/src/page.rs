//! The manual page `distlock(8)`, made from the definition of the command line. It is checked in below
//! `docs/man`, from where `cls` has it for `install.sh`, as it has its own pages.

use std::io;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::app::{AFTER_HELP, Arguments};

fn page() -> io::Result<String> {
    let mut command = Arguments::command();
    // Only then the actions have the common option too.
    command.build();
    let man = Man::new(command.clone())
        .section("8")
        .source(concat!("pha4pgsql ", env!("CARGO_PKG_VERSION")))
        .manual("pha4pgsql");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let mut rest = Roff::new();
    rest.control("SH", ["ACTIONS"]);
    for action in actions(&command) {
        described(&mut rest, action);
    }
    rest.control("SH", ["EXIT STATUS AND EXAMPLES"]);
    rest.control("nf", []);
    for line in AFTER_HELP.lines() {
        rest.text([roman(line)]);
    }
    rest.control("fi", []);
    rest.control("SH", ["SEE ALSO"]);
    rest.text([
        bold("cls_setup"),
        roman("(8), "),
        bold("cls_status"),
        roman("(8), "),
        bold("expgsql"),
        roman("(7), "),
        bold("pha4pgsql-config.ini"),
        roman("(5)"),
    ]);
    rest.to_writer(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn actions(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|action| action.get_name() != "help")
}

/// One action: how it is typed, what it does, and its arguments.
fn described(page: &mut Roff, action: &Command) {
    let own = |arg: &&Arg| !arg.is_global_set() && arg.get_id() != "help";
    let arguments: Vec<&Arg> = action.get_arguments().filter(own).collect();
    let mut typed = vec![bold(action.get_name())];
    for arg in &arguments {
        let word = word(arg);
        let word = match arg.is_required_set() {
            true => word,
            false => format!("[{word}]"),
        };
        typed.push(roman(format!(" {word}")));
    }
    page.control("TP", []);
    page.text(typed);
    page.text([roman(said(action.get_about()))]);
    page.control("RS", []);
    for arg in arguments {
        page.control("TP", []);
        page.text([bold(word(arg))]);
        let default: Vec<_> = arg.get_default_values().iter().collect();
        let default = match default.as_slice() {
            [value] if arg.get_action().takes_values() => {
                format!(" [default: {}]", value.to_string_lossy())
            }
            _ => String::new(),
        };
        page.text([roman(said(arg.get_help()) + &default)]);
    }
    page.control("RE", []);
}

/// An argument as the usage has it.
fn word(arg: &Arg) -> String {
    let name = arg.get_value_names().and_then(<[_]>::first);
    let value = name.map_or_else(String::new, |name| format!("<{name}>"));
    match arg.get_long() {
        Some(long) if arg.get_action().takes_values() => format!("--{long} {value}"),
        Some(long) => format!("--{long}"),
        None => value,
    }
}

fn said(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

/// Compares the page of `docs/man` with what is generated; with `UPDATE_GENERATED=1` writes it.
#[test]
#[allow(clippy::unwrap_used)]
fn the_manual_page_is_current_and_has_every_action_with_its_arguments() {
    let page = page().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/distlock.8");
    if std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        std::fs::write(&file, &page).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == page,
        "{} is not what the code generates; run UPDATE_GENERATED=1 cargo test -p distlock page and look at the difference",
        file.display()
    );
    for part in [
        "distlock \\-",
        "\\fBtrylock\\fR <LOCK> <OWNER> [<TTL>] [<TIMEOUT>]",
        "\\fBprune\\fR <LOCK>",
        "\\-\\-role <ROLE>",
        "[default: 50]",
        "EXIT STATUS",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}
