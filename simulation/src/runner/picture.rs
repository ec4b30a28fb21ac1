//! A ladder as SVG: a lifeline per caller, node and callee, time downwards, the death of a node marked. No script; its
//! colours follow the reader's, light or dark.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::ladder::{Fate, Ladder, Message, Rung, What, name};

/// Who has a lifeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Caller(String),
    Node(u64),
    Callee(String),
}

/// A picture under way.
struct Picture {
    /// Where each lifeline stands.
    lines: BTreeMap<Who, i32>,
    /// Since when, in pixels from the top, each node that lives does.
    lives: BTreeMap<u64, i32>,
    y: i32,
    last: u64,
    body: String,
    /// What must be above lifelines but below arrows.
    under: String,
}

/// The picture of a ladder, with a title; of those events of the world that it has a mark for.
pub fn draw(ladder: &Ladder, title: &str) -> String {
    let shown: Vec<&Rung> = ladder.rungs.iter().filter(|rung| is_shown(rung)).collect();
    let first = shown.iter().position(|rung| matches!(rung.what, What::Message(_))).unwrap_or(0);
    let last = shown.iter().rposition(|rung| matches!(rung.what, What::Message(_))).unwrap_or(0);
    let shown = shown.get(first..=last).unwrap_or_default();
    let mut picture = Picture::new(shown);
    for rung in shown {
        picture.rung(rung);
    }
    picture.finish(title)
}

fn is_shown(rung: &Rung) -> bool {
    match &rung.what {
        What::Message(_) => true,
        What::Event(text) => life(text).is_some(),
    }
}

/// The node whose life ends (`true`) or begins.
fn life(event: &str) -> Option<(u64, bool)> {
    let rest = event.strip_prefix("node ")?;
    let (node, rest) = rest.split_once(' ')?;
    let ends = if rest.starts_with("dies in") {
        true
    } else if rest.starts_with("begins its") {
        false
    } else {
        return None;
    };
    Some((node.parse().ok()?, ends))
}

/// Whose an end of a message is; `machine` is the node's that has it, if one has.
fn who(at: std::net::SocketAddr, machine: u64) -> Option<Who> {
    let name = name(at);
    match machine {
        0 if name.starts_with("caller") => Some(Who::Caller(name)),
        0 if name.starts_with("callee") => Some(Who::Callee(name)),
        0 => None,
        node => Some(Who::Node(node)),
    }
}

impl Message {
    fn ends(&self) -> (Option<Who>, Option<Who>) {
        (who(self.from, self.by), who(self.to, self.arrived.map_or(0, |(_, machine)| machine)))
    }
}

impl Picture {
    fn new(shown: &[&Rung]) -> Picture {
        let mut lines: BTreeMap<Who, i32> = BTreeMap::new();
        for rung in shown {
            if let What::Message(message) = &rung.what {
                let (from, to) = message.ends();
                from.into_iter().chain(to).for_each(|who| _ = lines.insert(who, 0));
            }
        }
        for (place, x) in (0..).zip(lines.values_mut()) {
            *x = LEFT + place * GAP;
        }
        let nodes = lines.keys().filter_map(|who| if let Who::Node(node) = who { Some(*node) } else { None });
        let lives = nodes.map(|node| (node, TOP)).collect();
        let last = shown.first().map_or(0, |rung| rung.at);
        Picture { lines, lives, y: TOP + ROW / 2, last, body: String::new(), under: String::new() }
    }

    /// The next row; where much time has passed, that is said.
    fn advance(&mut self, at: u64) {
        let passed = at.saturating_sub(self.last);
        self.last = at;
        if passed >= PAUSE_NS {
            let (y, right) = (self.y + ROW, self.right());
            let said = format!("{:.1} s later", passed as f64 / 1e9);
            // Writing into a String can't fail.
            let _ = write!(
                self.body,
                "<path class='pause' d='M{} {y}H{right}'/><text class='note' x='{}' y='{}'>{said}</text>",
                LEFT - 40,
                right + 8,
                y + 4
            );
            self.y = y;
        }
        self.y += ROW;
        let ms = at / 1_000_000;
        let _ = write!(
            self.body,
            "<text class='time' x='{}' y='{}'>{}.{:03} s</text>",
            LEFT - 52,
            self.y + 4,
            ms / 1_000,
            ms % 1_000
        );
    }

    fn rung(&mut self, rung: &Rung) {
        match &rung.what {
            What::Message(message) => {
                self.advance(rung.at);
                self.arrow(message);
            }
            What::Event(text) => {
                let Some((node, ends)) = life(text) else { return };
                let Some(x) = self.lines.get(&Who::Node(node)).copied() else { return };
                self.advance(rung.at);
                if ends { self.death(node, x) } else { self.birth(node, x) }
            }
        }
    }

    fn arrow(&mut self, message: &Message) {
        let (from, to) = message.ends();
        let x_of = |who: Option<Who>| who.and_then(|who| self.lines.get(&who).copied());
        let y = self.y;
        let (start, end) = match (x_of(from), x_of(to)) {
            (Some(start), Some(end)) => (start, end),
            // It got nowhere: half the way to where it was meant for.
            (Some(start), None) => {
                (start, if start > (LEFT + self.right()) / 2 { start - STUMP } else { start + STUMP })
            }
            (None, Some(end)) => (end - STUMP, end),
            (None, None) => return,
        };
        let lost = message.fate != Fate::Sent;
        let class = match (lost, message.again) {
            (true, _) => "lost",
            (false, true) => "again",
            (false, false) => "sent",
        };
        let tip = if start < end { end - 3 } else { end + 3 };
        let text = escaped(&label(&message.first));
        let mark = if message.again { " ↻" } else { "" };
        let head = if lost {
            format!("<path class='cross' d='M{} {}l8 8m0-8l-8 8'/>", end - 4, y - 4)
        } else {
            String::new()
        };
        let arrow = if lost { "" } else { " marker-end='url(#a)'" };
        let _ = write!(
            self.body,
            "<path class='{class}' d='M{start} {y}H{tip}'{arrow}/>{head}<text class='msg {class}' x='{}' y='{}'>{text}{mark}</text>",
            (start + end) / 2,
            y - 5
        );
    }

    fn death(&mut self, node: u64, x: i32) {
        let y = self.y;
        self.lived(node, x, y);
        let _ = write!(
            self.body,
            "<path class='death' d='M{} {}l16 16m0-16l-16 16'/><text class='dead' x='{}' y='{}'>node {node} is killed</text>",
            x - 8,
            y - 8,
            x + 14,
            y + 4
        );
    }

    fn birth(&mut self, node: u64, x: i32) {
        let y = self.y;
        self.lives.insert(node, y);
        let _ = write!(
            self.body,
            "<circle class='birth' cx='{x}' cy='{y}' r='5'/><text class='note' x='{}' y='{}'>node {node} is back</text>",
            x + 12,
            y + 4
        );
    }

    /// A node lived until here.
    fn lived(&mut self, node: u64, x: i32, until: i32) {
        if let Some(since) = self.lives.remove(&node) {
            let _ = write!(
                self.under,
                "<rect class='life' x='{}' y='{since}' width='8' height='{}'/>",
                x - 4,
                until - since
            );
        }
    }

    fn right(&self) -> i32 {
        self.lines.values().copied().max().unwrap_or(LEFT)
    }

    fn finish(mut self, title: &str) -> String {
        let bottom = self.y + ROW;
        for (node, x) in self.lines.clone().into_iter().filter_map(|(who, x)| match who {
            Who::Node(node) => Some((node, x)),
            Who::Caller(_) | Who::Callee(_) => None,
        }) {
            self.lived(node, x, bottom);
        }
        let (width, height) = (self.right() + RIGHT, bottom + 16);
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' \
             role='img' aria-label='{title}'>{STYLE}<rect class='card' x='.5' y='.5' width='{}' height='{}' rx='10'/>\
             <text class='title' x='20' y='30'>{title}</text>",
            width - 1,
            height - 1,
            title = escaped(title)
        );
        for (who, x) in &self.lines {
            let (class, label) = match who {
                Who::Caller(name) | Who::Callee(name) => ("peer", name.clone()),
                Who::Node(node) => ("node", format!("node {node}")),
            };
            let _ = write!(
                svg,
                "<path class='line' d='M{x} {TOP}V{bottom}'/>\
                 <rect class='{class}' x='{}' y='{}' width='92' height='26' rx='6'/>\
                 <text class='head' x='{x}' y='{}'>{label}</text>",
                x - 46,
                TOP - 26,
                TOP - 8
            );
        }
        let _ = write!(svg, "{}{}</svg>", self.under, self.body);
        svg.replace("><", ">\n<")
    }
}

/// What a message is called on its arrow: its method, or its status and phrase.
fn label(first: &str) -> String {
    match first.strip_prefix("SIP/2.0 ") {
        Some(status) => status.to_owned(),
        None => first.split(' ').next().unwrap_or_default().to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

const LEFT: i32 = 130;
const GAP: i32 = 170;
const RIGHT: i32 = 120;
const TOP: i32 = 84;
const ROW: i32 = 24;
const STUMP: i32 = 90;
/// A silence as long as this is shown as such.
const PAUSE_NS: u64 = 300_000_000;

const STYLE: &str = "<style>\
text{font:12px ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2933}\
.card{fill:#fff;stroke:#d5dbe1}.title{font-size:15px;font-weight:600}\
.time{font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;text-anchor:end;fill:#6b7782}\
.head{font-weight:600;text-anchor:middle}.peer{fill:#e8f1fb;stroke:#5b8fc7}.node{fill:#e9f6ee;stroke:#4c9a6a}\
.line{stroke:#b8c1ca;stroke-dasharray:3 4}.life{fill:#4c9a6a;fill-opacity:.75}\
.msg{text-anchor:middle}.sent,.again,.lost{fill:none;stroke:#37526d;stroke-width:1.4}\
.again{stroke-dasharray:5 3;stroke-opacity:.75}.lost{stroke:#c2413b;stroke-dasharray:2 3}\
.msg.sent,.msg.again,.msg.lost{fill:#1f2933;stroke:#fff;stroke-width:5;stroke-dasharray:none;stroke-opacity:1;\
paint-order:stroke}.msg.lost{fill:#c2413b}\
.cross,.death{fill:none;stroke:#c2413b;stroke-width:1.8}.death{stroke-width:3}.dead{fill:#c2413b;font-weight:600}\
.birth{fill:#4c9a6a}.pause{fill:none;stroke:#b8c1ca;stroke-dasharray:1 5}.note{fill:#6b7782;font-style:italic}\
marker path{fill:#37526d}\
@media(prefers-color-scheme:dark){text{fill:#d7dee6}.card{fill:#12181f;stroke:#2c3742}.time,.note{fill:#8b98a5}\
.peer{fill:#1b2d42;stroke:#5b8fc7}.node{fill:#17301f;stroke:#4c9a6a}.line,.pause{stroke:#465361}\
.sent,.again{stroke:#9fb8d1}.msg.sent,.msg.again,.msg.lost{fill:#d7dee6;stroke:#12181f}.lost,.cross,.death{stroke:#f0716a}\
.msg.lost{fill:#f0716a;stroke:#12181f}.dead{fill:#f0716a}marker path{fill:#9fb8d1}}\
</style><defs><marker id='a' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>\
<path d='M0 0L8 4L0 8z'/></marker></defs>";

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
        4000000 put@0 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdef #3 INVITE sip:x SIP/2.0\n\
        4500000 got@1 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdef #3 INVITE sip:x SIP/2.0\n\
        6000000 node 1 dies in its life 1\n\
        700000000 put@2 10.0.9.1:5060 > 10.0.1.1:5060 90 1123456789abcdef #3 SIP/2.0 100 <Trying>\n\
        701000000 got@0 10.0.9.1:5060 > 10.0.1.1:5060 90 1123456789abcdef #3 SIP/2.0 100 <Trying>\n\
        900000000 node 7 dies in its life 1\n";

    #[test]
    fn a_picture_has_a_lifeline_for_each_who_takes_part_and_marks_the_death() {
        let svg = draw(&Ladder::of_call(TRACE, Some("#3")), "A <takeover>");
        for part in ["caller 1</text>", "node 1</text>", "node 2</text>", "node 1 is killed", "0.7 s later"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("node 7"), "it takes no part");
        assert!(svg.contains("100 &lt;Trying&gt;") && svg.contains("A &lt;takeover&gt;"));
        assert!(!svg.contains("<script"));
    }

    #[test]
    fn a_ladder_of_nothing_is_a_picture_of_nothing() {
        assert!(draw(&Ladder { rungs: Vec::new() }, "nothing").ends_with("</svg>"));
    }
}
