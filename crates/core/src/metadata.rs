//! The agent's meta-data, generated from the parameters' declaration.
//!
//! Sources: OCF Resource Agent API 1.1 and its schema `ra-api.rng`; for version 1.0 the document
//! type `ra-api-1.dtd` of the resource-agents package.

use std::fmt::Write as _;

use crate::dialect::RoleWords;
use crate::params::{Kind, Spec, TABLE};

/// The agent's name in `ocf:heartbeat:expgsql`.
pub const AGENT: &str = "expgsql";

/// One advertised action: name, timeout in seconds, interval in seconds, promoted role.
struct Advertised {
    name: &'static str,
    timeout: u32,
    interval: Option<u32>,
    role: Option<Promoted>,
}

#[derive(Clone, Copy)]
enum Promoted {
    Yes,
    No,
}

const fn action(name: &'static str, timeout: u32) -> Advertised {
    Advertised {
        name,
        timeout,
        interval: None,
        role: None,
    }
}

const fn monitor(timeout: u32, interval: u32, role: Promoted) -> Advertised {
    Advertised {
        name: "monitor",
        timeout,
        interval: Some(interval),
        role: Some(role),
    }
}

/// The timeouts are advice for whoever configures the resource. The two monitors need different
/// intervals because Pacemaker identifies a recurring action by name and interval.
const ACTIONS: &[Advertised] = &[
    action("start", 120),
    action("stop", 120),
    action("status", 60),
    monitor(60, 4, Promoted::No),
    monitor(60, 3, Promoted::Yes),
    action("promote", 120),
    action("demote", 120),
    action("notify", 90),
    action("meta-data", 5),
    action("validate-all", 20),
    action("methods", 5),
    action("reload-agent", 20),
];

const SHORT: &str = "PostgreSQL with streaming replication that loses no acknowledged commit";

const LONG: &str = "Manages PostgreSQL: a single server, a standby of a primary elsewhere, or a \
promotable clone of a primary and its standbys with asynchronous or synchronous streaming \
replication. With rep_mode=sync and the built-in lock service a commit that a client has seen \
acknowledged survives every failover.";

/// The meta-data for the standard's version 1.`version_minor` (`OCF_RA_VERSION_MINOR`).
///
/// Version 1.0 is for Pacemaker before 2.1: pcs 0.10 copies the roles from here into the cluster
/// configuration, where that Pacemaker only knows Master and Slave, and neither `reload-agent` nor
/// `unique-group` exist in it. From 1.1 on the roles are Promoted and Unpromoted.
#[must_use]
pub fn xml(version_minor: u32) -> String {
    let old = version_minor == 0;
    let mut text = String::from("<?xml version=\"1.0\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "<resource-agent name=\"{AGENT}\" version=\"{}\">\n<version>{}</version>",
        env!("CARGO_PKG_VERSION"),
        if old { "1.0" } else { "1.1" }
    );
    descriptions(&mut text, LONG, SHORT);
    text.push_str("<parameters>\n");
    for spec in TABLE {
        parameter(&mut text, spec, old);
    }
    text.push_str("</parameters>\n<actions>\n");
    for action in ACTIONS {
        if !(old && action.name == "reload-agent") {
            advertise(&mut text, action, old);
        }
    }
    text.push_str("</actions>\n</resource-agent>\n");
    text
}

/// The action names that `methods` prints, one a line.
#[must_use]
pub fn methods() -> String {
    crate::ocf::Action::ALL
        .iter()
        .map(|action| format!("{action}\n"))
        .collect()
}

fn descriptions(text: &mut String, long: &str, short: &str) {
    let _ = writeln!(
        text,
        "<longdesc lang=\"en\">{}</longdesc>\n<shortdesc lang=\"en\">{}</shortdesc>",
        escape(long),
        escape(short)
    );
}

fn parameter(text: &mut String, spec: &Spec, old: bool) {
    let _ = write!(text, "<parameter name=\"{}\"", escape(spec.name));
    match spec.unique_group {
        Some(_) if old => text.push_str(" unique=\"1\""),
        Some(group) => {
            let _ = write!(text, " unique-group=\"{}\"", escape(group));
        }
        None if old => text.push_str(" unique=\"0\""),
        None => {}
    }
    let _ = write!(text, " required=\"{}\"", u8::from(spec.required));
    if spec.reloadable && !old {
        text.push_str(" reloadable=\"1\"");
    }
    text.push_str(">\n");
    if let (Some(why), false) = (spec.deprecated, old) {
        let _ = writeln!(
            text,
            "<deprecated><desc lang=\"en\">{}</desc></deprecated>",
            escape(why)
        );
    }
    descriptions(text, spec.long, spec.short);
    content(text, spec, old);
    text.push_str("</parameter>\n");
}

fn content(text: &mut String, spec: &Spec, old: bool) {
    // "select" is new in 1.1; a string says no more than that there are several words.
    let options = match spec.kind {
        Kind::Select(words) if !old => words,
        _ => &[],
    };
    let kind = match spec.kind {
        Kind::Select(_) if old => "string",
        kind => kind.content_type(),
    };
    let _ = write!(
        text,
        "<content type=\"{kind}\" default=\"{}\"",
        escape(spec.default)
    );
    if options.is_empty() {
        text.push_str("/>\n");
        return;
    }
    text.push_str(">\n");
    for word in options {
        let _ = writeln!(text, "<option value=\"{}\"/>", escape(word));
    }
    text.push_str("</content>\n");
}

fn advertise(text: &mut String, action: &Advertised, old: bool) {
    let _ = write!(
        text,
        "<action name=\"{}\" timeout=\"{}s\"",
        action.name, action.timeout
    );
    if let Some(interval) = action.interval {
        let _ = write!(text, " interval=\"{interval}s\" depth=\"0\"");
    }
    if let Some(role) = action.role {
        let words = match old {
            true => RoleWords::Master,
            false => RoleWords::Promoted,
        };
        let role = match role {
            Promoted::Yes => words.promoted(),
            Promoted::No => words.unpromoted(),
        };
        let _ = write!(text, " role=\"{role}\"");
    }
    text.push_str("/>\n");
}

/// Escapes a text for an element or an attribute in double quotes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use roxmltree::{Document, Node};

    fn names<'a>(node: Node<'a, 'a>) -> Vec<&'a str> {
        node.children()
            .filter(Node::is_element)
            .map(|child| child.tag_name().name())
            .collect()
    }

    /// The rules of the OCF 1.1 schema that a generator can break.
    #[test]
    fn version_1_1_is_as_the_standard_asks() {
        let text = xml(1);
        let document = Document::parse(&text).unwrap();
        let root = document.root_element();
        assert_eq!(
            names(root),
            ["version", "longdesc", "shortdesc", "parameters", "actions"]
        );
        let parameters: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("parameter"))
            .collect();
        assert_eq!(parameters.len(), TABLE.len());
        for parameter in parameters {
            let children = names(parameter);
            let described: Vec<_> = children
                .iter()
                .filter(|name| **name != "deprecated")
                .collect();
            assert_eq!(described, [&"longdesc", &"shortdesc", &"content"]);
            for attribute in parameter.attributes() {
                let allowed = ["name", "unique-group", "required", "reloadable"];
                assert!(allowed.contains(&attribute.name()), "{attribute:?}");
            }
            let content = parameter
                .children()
                .find(|node| node.has_tag_name("content"))
                .unwrap();
            let kind = content.attribute("type").unwrap();
            assert!(["boolean", "string", "integer", "select"].contains(&kind));
            assert_eq!(
                kind == "select",
                content.children().any(|node| node.has_tag_name("option"))
            );
        }
        let roles: Vec<_> = document
            .descendants()
            .filter_map(|node| node.attribute("role"))
            .collect();
        assert_eq!(roles, ["Unpromoted", "Promoted"]);
        assert!(text.contains("reload-agent"));
    }

    #[test]
    fn version_1_0_has_the_old_words_only() {
        let text = xml(0);
        let document = Document::parse(&text).unwrap();
        let roles: Vec<_> = document
            .descendants()
            .filter_map(|node| node.attribute("role"))
            .collect();
        assert_eq!(roles, ["Slave", "Master"]);
        for word in ["reload", "unique-group", "Promoted", "deprecated"] {
            assert!(
                !text.contains(&format!("\"{word}")) && !text.contains(&format!("<{word}")),
                "{word}"
            );
        }
    }

    #[test]
    fn version_1_0_has_no_select() {
        assert!(xml(1).contains("type=\"select\"") && !xml(0).contains("type=\"select\""));
    }

    #[test]
    fn every_action_is_advertised() {
        for action in crate::ocf::Action::ALL {
            assert!(
                ACTIONS.iter().any(|known| known.name == action.as_str()),
                "{action}"
            );
        }
    }

    #[test]
    fn markup_in_texts_is_escaped() {
        assert_eq!(escape("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
    }
}
