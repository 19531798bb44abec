//! The manual's table of parameters.

use std::fmt::Write as _;

use super::table::{Kind, Spec, TABLE};

/// The text of `docs/parameters.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Parameters of ocf:heartbeat:expgsql\n\
         \n\
         Generated from the agent's own declaration; edit that instead.\n\
         \n\
         A parameter that is not set, or set to nothing, has its default. *Reload* says whether a\n\
         change is taken over without a restart of PostgreSQL (Pacemaker 2.1 and newer). A time is\n\
         in seconds, or has a unit: `90`, `90s`, `1500ms`, `2min`, `1h`.\n\
         \n\
         | parameter | value | default | reload | meaning |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for spec in TABLE {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            spec.name,
            value(spec.kind),
            default(spec),
            if spec.reloadable { "yes" } else { "no" },
            cell(spec.long)
        );
    }
    text
}

/// A pipe would end the table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn value(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Path => "absolute path".to_owned(),
        Kind::Integer(least, most) => format!("{least} to {most}"),
        Kind::Seconds(least, most) => format!("{least} to {most} seconds"),
        Kind::Boolean => "boolean".to_owned(),
        Kind::Select(words) => words.join(", "),
    }
}

fn default(spec: &Spec) -> String {
    if spec.default.is_empty() {
        "none".to_owned()
    } else {
        format!("`{}`", cell(spec.default))
    }
}
