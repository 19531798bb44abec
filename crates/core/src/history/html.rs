//! The same as one page that needs nothing else: no script, no picture and no style from elsewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Event, Kind, Moment, Summary};
use crate::message;
use crate::message::{Language, Message};

/// What a page is about.
#[derive(Debug, Clone)]
pub struct Page<'p> {
    /// Its heading: a foreign text.
    pub title: &'p str,
    /// The beginning of the picture.
    pub from: Moment,
    /// The end of the picture: when the page was made.
    pub to: Moment,
    /// What is told, the oldest first.
    pub events: &'p [Event],
    /// All that is known, the oldest first, which the picture is made of: who was primary when it begins was
    /// promoted before.
    pub all: &'p [Event],
    /// In a few numbers.
    pub summary: &'p Summary,
    /// What it is read in.
    pub language: Language,
}

impl Page<'_> {
    /// A message, as HTML shows it.
    fn say(&self, message: &Message) -> String {
        escaped(&message.in_language(self.language))
    }
}

/// The style, and the picture's colours: of the primary, of another holder, of what may have lost commits.
const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;color:#1c2733;max-width:64rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin:0 0 .2rem}p{margin:.2rem 0}\
table{border-collapse:collapse;width:100%;margin-top:1rem}\
td,th{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #d8dee6}\
td:first-child{white-space:nowrap;font-variant-numeric:tabular-nums}\
.may{background:#fdecea}.small{color:#5b6875;font-size:.9rem}\
svg{width:100%;height:auto;margin-top:1rem}text{font:12px system-ui,sans-serif;fill:#1c2733}\
.primary{fill:#1f77b4}.holder{fill:#bcd9ee}.lane{fill:#f1f4f7}.axis{stroke:#8a96a3}\
.mark{stroke:#2f6f3e;stroke-width:2}.mark.may{stroke:#c0392b}";

/// Where the lanes begin and end, how high one is, and where the first one begins.
const LEFT: f64 = 150.0;
const RIGHT: f64 = 940.0;
const LANE: f64 = 34.0;
const TOP: f64 = 14.0;

/// How many moments the axis names.
const TICKS: i64 = 5;

/// Foreign text as HTML shows it, also as the value of an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            control if control.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// A stretch of time in a node's lane.
pub(super) struct Bar<'p> {
    pub(super) node: &'p str,
    pub(super) from: Moment,
    pub(super) to: Moment,
}

/// Who was primary from when to when.
pub(super) fn reigns<'p>(page: &Page<'p>) -> Vec<Bar<'p>> {
    let mut bars: Vec<Bar<'p>> = Vec::new();
    let mut reign: Option<(&'p str, Moment)> = None;
    for event in page.all {
        let begins = match event.kind {
            Kind::First | Kind::Takeover | Kind::Switch | Kind::Restart | Kind::Elected => {
                event.node.as_deref()
            }
            Kind::Recovery | Kind::Edited => event.owner.as_deref(),
            Kind::Stopped => None,
            _ => continue,
        };
        if let Some((node, from)) = reign.take() {
            let to = event.ended.or(event.heard).unwrap_or(event.at).max(from);
            bars.push(Bar { node, from, to });
        }
        reign = begins.map(|node| (node, event.opened.unwrap_or(event.at)));
    }
    bars.extend(reign.map(|(node, from)| Bar {
        node,
        from,
        to: page.to.max(from),
    }));
    clipped(bars, page)
}

/// What of these lies in the picture.
fn clipped<'p>(bars: impl IntoIterator<Item = Bar<'p>>, page: &Page<'p>) -> Vec<Bar<'p>> {
    let begin = page.from;
    let inside = |bar: &Bar<'p>| bar.to > begin || bar.from >= begin;
    let clip = |bar: Bar<'p>| Bar {
        from: bar.from.max(begin),
        ..bar
    };
    bars.into_iter().filter(inside).map(clip).collect()
}

/// Which nodes held every acknowledged commit from when to when.
fn held<'p>(page: &Page<'p>) -> Vec<Bar<'p>> {
    let ends = page.all.iter().skip(1).map(|event| event.at);
    let ends = ends.chain([page.to]);
    let stretches = page.all.iter().zip(ends);
    let bars = stretches.flat_map(|(event, to)| {
        let (from, to) = (event.at, to.max(event.at));
        event.holders.iter().map(move |node| Bar { node, from, to })
    });
    clipped(bars, page)
}

/// One self-contained page. It is XML as well, so that a test can read it.
#[must_use]
pub fn html(page: &Page<'_>) -> String {
    let title = escaped(page.title);
    let [counts, cost] = page.summary.lines();
    let language = match page.language {
        Language::English => "en",
        Language::Chinese => "zh-CN",
    };
    let times = message!(
        "{from} to {to}, times in UTC",
        from = page.from.to_string(),
        to = page.to.to_string()
    );
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"{language}\"><head><meta charset=\"utf-8\"/>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\
         <meta name=\"viewport\" content=\"width=device-width\"/>\
         <title>{title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n\
         <p class=\"small\">{}</p>\n<p>{}</p>\n<p><strong>{}</strong></p>\n",
        page.say(&times),
        page.say(&counts),
        page.say(&cost)
    );
    picture(&mut text, page);
    let _ = writeln!(
        text,
        "<table><tr><th>{}</th><th>{}</th><th></th></tr>",
        page.say(&message!("time")),
        page.say(&message!("event"))
    );
    for event in page.events.iter().rev() {
        row(&mut text, page, event);
    }
    text.push_str("</table></body></html>\n");
    text
}

fn row(text: &mut String, page: &Page<'_>, event: &Event) {
    let class = if event.may_have_lost() {
        " class=\"may\""
    } else {
        ""
    };
    let details: Vec<String> = event.details().iter().map(|line| page.say(line)).collect();
    let _ = writeln!(
        text,
        "<tr{class}><td>{}</td><td>{}</td><td>{}</td></tr>",
        event.at,
        page.say(&event.headline()),
        details.join("<br/>")
    );
}

fn picture(text: &mut String, page: &Page<'_>) {
    let (reigns, held) = (reigns(page), held(page));
    let nodes: BTreeSet<&str> = held.iter().chain(&reigns).map(|bar| bar.node).collect();
    let lane = |node: &str| {
        let index = nodes.iter().position(|known| *known == node);
        TOP + LANE * index.unwrap_or(0) as f64
    };
    let bottom = TOP + LANE * nodes.len() as f64;
    let whole = page.to.seconds_since(page.from).max(0.001);
    let place = |at: Moment| {
        let part = at.seconds_since(page.from) / whole;
        LEFT + (RIGHT - LEFT) * part.clamp(0.0, 1.0)
    };
    let _ = writeln!(
        text,
        "<svg viewBox=\"0 0 960 {:.0}\" role=\"img\"><title>{}</title>",
        bottom + 66.0,
        page.say(&message!(
            "who was primary, and who held every acknowledged commit"
        ))
    );
    for node in &nodes {
        let y = lane(node);
        let _ = writeln!(
            text,
            "<text x=\"0\" y=\"{:.1}\">{}</text><rect class=\"lane\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{}\" height=\"24\"/>",
            y + 16.0,
            escaped(node),
            RIGHT - LEFT
        );
    }
    let bars = held.iter().map(|bar| (bar, "holder", 8.0, 8.0));
    for (bar, class, down, height) in
        bars.chain(reigns.iter().map(|bar| (bar, "primary", 0.0, 24.0)))
    {
        let (x, y) = (place(bar.from), lane(bar.node) + down);
        // What is shorter than a line of the picture is seen nevertheless.
        let width = (place(bar.to) - x).max(1.0);
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\"><title>{}</title></rect>",
            page.say(&message!(
                "{node} {role} {from} to {to}",
                node = bar.node,
                role = role(class),
                from = bar.from.to_string(),
                to = bar.to.to_string()
            ))
        );
    }
    for event in page.events {
        let may = if event.may_have_lost() { " may" } else { "" };
        let (x, line) = (place(event.at), page.say(&event.headline()));
        let _ = writeln!(
            text,
            "<line class=\"mark{may}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"><title>{} \
             {line}</title></line>",
            bottom + 10.0,
            event.at
        );
    }
    axis(text, page, bottom);
    text.push_str("</svg>\n");
}

/// What a class of the picture's bars means.
fn role(class: &str) -> Message {
    match class {
        "primary" => message!("primary"),
        _ => message!("holds every acknowledged commit"),
    }
}

/// The moments along the picture, and what its colours mean.
fn axis(text: &mut String, page: &Page<'_>, bottom: f64) {
    let (from, whole) = (page.from.millis(), page.to.millis() - page.from.millis());
    for tick in 0..TICKS {
        let moment = Moment::of_millis(from + whole / (TICKS - 1) * tick).unwrap_or(page.to);
        let x = LEFT + (RIGHT - LEFT) / (TICKS - 1) as f64 * tick as f64;
        let anchor = match tick {
            0 => "start",
            _ if tick == TICKS - 1 => "end",
            _ => "middle",
        };
        let _ = writeln!(
            text,
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"/>\
             <text text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{:.1}\">{} {}</text>",
            bottom + 14.0,
            bottom + 28.0,
            moment.day(),
            moment.clock()
        );
    }
    let y = bottom + 44.0;
    let keys = [("primary", role("primary")), ("holder", role("holder"))];
    for (index, (class, words)) in keys.iter().enumerate() {
        let x = LEFT + 120.0 * index as f64;
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y:.1}\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"{:.1}\">{words}</text>",
            x + 18.0,
            y + 10.5,
            words = page.say(words)
        );
    }
}
