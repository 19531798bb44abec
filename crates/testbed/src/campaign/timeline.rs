//! The picture of a campaign: acknowledgements, what each node was, and the faults, over one axis of
//! time. Plain SVG, written by hand.

use std::fmt::Write as _;

use super::figures::seconds;
use super::stage::Event;
use super::story::{Story, offset};
use super::watch::Seen;

const LEFT: f64 = 120.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 62.0;
const CURVE: f64 = 90.0;
const BAND: f64 = 20.0;
const LANE: f64 = 15.0;
const GAP: f64 = 14.0;
/// Width of a letter of the labels, roughly.
const LETTER: f64 = 5.6;

/// One per node, and the same for what it acknowledged.
const COLOURS: [&str; 5] = ["#1f77b4", "#d9821b", "#7a4fb5", "#2a9d8f", "#8c564b"];

struct Canvas {
    svg: String,
    begin: u64,
    /// Points per second.
    scale: f64,
    right: f64,
}

/// The whole picture.
pub(super) fn draw(story: &Story) -> String {
    let length = seconds(story.begin, story.end).max(1.0);
    let scale = (1300.0 / length).clamp(4.0, 12.0);
    let mut canvas = Canvas {
        svg: String::new(),
        begin: story.begin,
        scale,
        right: LEFT + length * scale,
    };
    let lanes = lanes(&canvas, &story.events);
    let count = lanes.iter().map(|(lane, _)| lane + 1).max().unwrap_or(0);
    let bands = TOP + CURVE + GAP;
    let faults = bands + story.changes.len() as f64 * (BAND + 4.0) + GAP;
    let bottom = faults + count as f64 * LANE + GAP;
    canvas.rounds(story, bottom);
    canvas.axis(length, bottom);
    canvas.acknowledgements(story);
    for (index, name) in story.changes.keys().enumerate() {
        canvas.node(story, index, name, bands + index as f64 * (BAND + 4.0));
    }
    for (lane, event) in lanes {
        canvas.fault(event, faults + lane as f64 * LANE);
    }
    canvas.text(8.0, faults + 11.0, "faults,", "#333");
    canvas.text(8.0, faults + 25.0, "operator", "#333");
    canvas.legend(story);
    let (width, height) = ((canvas.right + RIGHT).max(1000.0), bottom + 24.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"10\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
        canvas.svg
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

impl Canvas {
    fn x(&self, at: u64) -> f64 {
        LEFT + offset(self.begin, at) * self.scale
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str, title: &str) {
        let title = match title {
            "" => String::new(),
            text => format!("<title>{}</title>", escape(text)),
        };
        let _ = writeln!(
            self.svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{fill}\">{title}</rect>",
            width.max(0.6)
        );
    }

    fn text(&mut self, x: f64, y: f64, text: &str, fill: &str) {
        let _ = writeln!(
            self.svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{fill}\">{}</text>",
            escape(text)
        );
    }

    fn line(&mut self, x: f64, from: f64, to: f64, stroke: &str, dash: &str) {
        let _ = writeln!(
            self.svg,
            "<line x1=\"{x:.1}\" y1=\"{from:.1}\" x2=\"{x:.1}\" y2=\"{to:.1}\" stroke=\"{stroke}\" stroke-dasharray=\"{dash}\"/>"
        );
    }

    /// Grey between the healing and the rest that follows, and the outages in red over everything.
    fn rounds(&mut self, story: &Story, bottom: f64) {
        for round in &story.rounds {
            let (x, end) = (self.x(round.healed), self.x(round.end));
            self.rect(
                x,
                TOP,
                end - x,
                bottom - TOP,
                "#f0f0f0",
                "healed, not yet at rest",
            );
        }
        for (begin, end) in &story.figures.outages {
            let (from, to) = (self.x(*begin), self.x(*end));
            let title = format!("no acknowledgement for {:.1} s", seconds(*begin, *end));
            self.rect(from, TOP, to - from, CURVE, "#f9d0cc", &title);
        }
        for (index, round) in story.rounds.iter().enumerate() {
            let x = self.x(round.begin);
            self.line(x, TOP - 12.0, bottom, "#888", "3 3");
            self.text(x + 3.0, TOP - 4.0, &format!("round {}", index + 1), "#555");
        }
    }

    fn axis(&mut self, length: f64, bottom: f64) {
        let mut second = 0.0;
        while second <= length {
            let x = LEFT + second * self.scale;
            self.line(x, bottom, bottom + 5.0, "#333", "");
            self.text(x - 8.0, bottom + 17.0, &format!("{second:.0} s"), "#333");
            second += 30.0;
        }
    }

    /// Commits per second, by the host that acknowledged them; those of probes are not counted.
    fn acknowledgements(&mut self, story: &Story) {
        let hosts: Vec<&String> = story.changes.keys().collect();
        let bars = seconds(story.begin, story.end) as usize + 1;
        let mut counts = vec![vec![0_u32; bars]; hosts.len()];
        for acknowledgement in story.through_vip() {
            let second = offset(story.begin, acknowledgement.at) as usize;
            let host = hosts.iter().position(|host| **host == acknowledgement.host);
            if let Some(count) = host.and_then(|host| counts.get_mut(host)?.get_mut(second)) {
                *count += 1;
            }
        }
        let highest = (0..bars).map(|bar| counts.iter().map(|host| host[bar]).sum::<u32>());
        let highest = highest.max().unwrap_or(0).max(1);
        for bar in 0..bars {
            let mut y = TOP + CURVE;
            for (host, counts) in counts.iter().enumerate() {
                let height = f64::from(counts[bar]) / f64::from(highest) * CURVE;
                if height > 0.0 {
                    y -= height;
                    let x = LEFT + bar as f64 * self.scale;
                    let title = format!("{bar} s: {} by {}", counts[bar], hosts[host]);
                    self.rect(x, y, self.scale * 0.9, height, colour(host), &title);
                }
            }
        }
        self.text(8.0, TOP + 12.0, "acknowledged", "#333");
        self.text(8.0, TOP + 26.0, &format!("per second ({highest})"), "#333");
    }

    fn node(&mut self, story: &Story, index: usize, name: &str, y: f64) {
        self.text(8.0, y + 14.0, name, colour(index));
        let Some(changes) = story.changes.get(name) else {
            return;
        };
        let ends = changes.iter().skip(1).map(|change| change.at);
        for (change, end) in changes.iter().zip(ends.chain([story.end])) {
            let (x, to) = (self.x(change.at.max(story.begin)), self.x(end));
            let title = format!(
                "{name} {:?} for {:.1} s",
                change.seen,
                seconds(change.at, end)
            );
            self.rect(x, y, to - x, BAND, fill(change.seen, index), &title);
        }
    }

    fn fault(&mut self, event: &Event, y: f64) {
        let (x, end) = (self.x(event.begin), self.x(event.end));
        let title = format!("{} {}: {}", event.step, event.kind, event.what);
        self.rect(x, y, (end - x).max(2.0), LANE - 3.0, tint(event), &title);
        self.text(x + 3.0, y + 9.5, &label(event), "#000");
    }

    fn legend(&mut self, story: &Story) {
        let plan = &story.plan;
        let outcome = story.trouble().unwrap_or_else(|| "passed".to_owned());
        let title = format!(
            "seed {}, {} nodes: {} faults, {} commits, {:.1} % of the time; {outcome}",
            plan.seed,
            plan.nodes,
            story.faults(),
            story.figures.acknowledged,
            story.figures.available() * 100.0,
        );
        self.text(8.0, 16.0, &title, "#000");
        let mut x = LEFT;
        let roles = [
            (Seen::Primary, "primary (in its node's colour)"),
            (Seen::Standby, "standby, receiving"),
            (Seen::Alone, "in recovery, receiving nothing"),
            (Seen::Starting, "starting or ending"),
            (Seen::Stopped, "PostgreSQL stopped"),
            (Seen::Frozen, "frozen"),
            (Seen::Off, "no power"),
        ];
        for (seen, says) in roles {
            self.rect(x, 24.0, 12.0, 12.0, fill(seen, 0), "");
            self.text(x + 16.0, 34.0, says, "#333");
            x += 34.0 + says.len() as f64 * LETTER;
        }
    }
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

fn fill(seen: Seen, index: usize) -> &'static str {
    match seen {
        Seen::Primary => colour(index),
        Seen::Standby => "#bfe3bf",
        Seen::Alone => "#f2e394",
        Seen::Starting => "#d8d8d8",
        Seen::Stopped => "#ebe4e4",
        Seen::Frozen => "#9fd8ef",
        Seen::Off => "#3a3a3a",
    }
}

/// By what is hit: the operator's commands, the lock service, the network, processes, machines.
fn tint(event: &Event) -> &'static str {
    let kind = event.kind.as_str();
    let begins = |words: &[&str]| words.iter().any(|word| kind.starts_with(word));
    if !event.done {
        "#eeeeee"
    } else if begins(&["cls_"]) {
        "#a8d5a2"
    } else if begins(&["lock"]) {
        "#cdb4e0"
    } else if begins(&["cut", "isolate", "lose", "delay", "link"]) {
        "#a9c9ee"
    } else if begins(&["kill", "stop"]) {
        "#f5c38b"
    } else {
        "#ec9a94"
    }
}

fn label(event: &Event) -> String {
    let number = match event.step {
        0 => String::new(),
        number => format!("{number} "),
    };
    let whom = event.what.split([':', ';']).next().unwrap_or_default();
    let whom = whom.split(" for ").next().unwrap_or_default();
    if event.done {
        format!("{number}{} {whom}", event.kind)
    } else {
        format!("{number}({})", event.kind)
    }
}

/// Each event in the first lane that is free, its label included.
fn lanes<'e>(canvas: &Canvas, events: &'e [Event]) -> Vec<(usize, &'e Event)> {
    let mut free: Vec<f64> = Vec::new();
    let mut placed = Vec::new();
    for event in events {
        let (x, end) = (canvas.x(event.begin), canvas.x(event.end));
        let taken = end.max(x + label(event).len() as f64 * LETTER + 8.0);
        let lane = free.iter().position(|until| *until <= x);
        let lane = lane.unwrap_or_else(|| {
            free.push(0.0);
            free.len() - 1
        });
        free[lane] = taken;
        placed.push((lane, event));
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::campaign::figures::Figures;
    use crate::campaign::plan::Plan;
    use crate::campaign::stage::Event;
    use crate::campaign::story::{Played, Story};
    use crate::campaign::watch::{Change, Seen};
    use crate::checker::Ledger;
    use crate::checker::{Acknowledgement, Verdict};

    const SECOND: u64 = 1_000_000;

    fn event(step: u32, begin: u64, end: u64, what: &str) -> Event {
        Event {
            step,
            kind: "power cut".to_owned(),
            what: what.to_owned(),
            begin: begin * SECOND,
            end: end * SECOND,
            done: step != 3,
        }
    }

    fn story() -> Story {
        let acknowledgements: Vec<Acknowledgement> = [101, 102, 110]
            .map(|second| Acknowledgement {
                writer: 1,
                id: second,
                sent: second * SECOND,
                at: second * SECOND,
                host: "node1".to_owned(),
                timeline: 1,
            })
            .into();
        let figures = Figures::of(acknowledgements.iter(), 112 * SECOND);
        let changes = [(100, Seen::Primary), (103, Seen::Off), (107, Seen::Primary)];
        let changes = changes.map(|(at, seen)| Change {
            at: at * SECOND,
            seen,
        });
        Story {
            plan: Plan::new(1, 2, 1, None, 1),
            begin: 100 * SECOND,
            end: 112 * SECOND,
            rounds: vec![Played {
                begin: 100 * SECOND,
                healed: 108 * SECOND,
                end: 110 * SECOND,
                recovery: None,
            }],
            events: vec![
                event(1, 102, 107, "node1 & \"others\""),
                event(2, 103, 104, "<node2>"),
                event(3, 111, 111, ""),
            ],
            changes: [("node1".to_owned(), changes.to_vec())].into(),
            verdict: Verdict {
                ledger: Ledger {
                    acknowledgements,
                    unknown: 0,
                    given_up: 0,
                    end: 112 * SECOND,
                },
                missing: [("node1".to_owned(), Vec::new())].into(),
                silent: [].into(),
                duplicates: Vec::new(),
                superseded: Vec::new(),
            },
            figures,
            trouble: None,
        }
    }

    #[test]
    fn the_picture_is_well_formed_and_shows_the_outage_and_every_fault() {
        let svg = draw(&story());
        let document = roxmltree::Document::parse(&svg);
        let titles: Vec<String> = document
            .iter()
            .flat_map(|document| document.descendants())
            .filter(|node| node.has_tag_name("title"))
            .filter_map(|node| node.text().map(str::to_owned))
            .collect();
        for shown in [
            "no acknowledgement for 8.0 s",
            "1 power cut: node1 & \"others\"",
            "2 power cut: <node2>",
            "node1 Off for 4.0 s",
            "2 s: 1 by node1",
        ] {
            assert!(
                titles.iter().any(|title| title == shown),
                "{shown}: {titles:?}"
            );
        }
    }

    #[test]
    fn the_report_has_the_verdict_and_the_figures() {
        let text = story().to_string();
        for line in [
            "2 made, 1 had no object",
            "2: median 2.0 s, 95 % within 8.0 s, longest 8.0 s",
            "every acknowledged commit is there",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(text.ends_with("passed"), "{text}");
    }
}
