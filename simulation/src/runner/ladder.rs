//! The ladder of a call: its messages with virtual times, between them what went wrong with the world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::Run;

/// The ladder of a call, or of none: what happened to the world.
pub struct Ladder {
    /// By time.
    pub rungs: Vec<Rung>,
}

/// A line of a ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// When, in the world's nanoseconds.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Something happened to the world.
    Event(String),
    /// A message of the call was sent.
    Message(Message),
}

/// A message of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// From where.
    pub from: SocketAddr,
    /// To where.
    pub to: SocketAddr,
    /// Whose machine sent it; 0: a peer's.
    pub by: u64,
    /// When it arrived, and on whose machine.
    pub arrived: Option<(u64, u64)>,
    /// What became of it.
    pub fate: Fate,
    /// Whether the same was sent before.
    pub again: bool,
    /// Its first line.
    pub first: String,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way, or has arrived.
    Sent,
    /// The network lost it.
    Lost,
    /// It came where nobody was.
    Unheard,
    /// Its machine did not have the address any more.
    Unsent,
}

/// A line of the trace that is of a message.
struct Line<'a> {
    at: u64,
    what: &'a str,
    node: u64,
    from: &'a str,
    to: &'a str,
    digest: &'a str,
    call: &'a str,
    first: String,
}

impl Line<'_> {
    fn read(line: &str) -> Option<Line<'_>> {
        let mut words = line.split_whitespace();
        let at = words.next()?.parse().ok()?;
        let (what, node) = words.next()?.split_once('@')?;
        let (from, _, to) = (words.next()?, words.next()?, words.next()?);
        let (_, digest, call) = (words.next()?, words.next()?, words.next()?);
        let first = words.collect::<Vec<_>>().join(" ");
        Some(Line { at, what, node: node.parse().ok()?, from, to, digest, call, first })
    }
}

/// Messages that are still on their way, by where from, where to and what: their places among the rungs.
type Flying = BTreeMap<(String, String, String), VecDeque<usize>>;

impl Ladder {
    /// The ladder of the call that the first violation names; else the world's own events.
    pub fn of_failure(run: &Run) -> Ladder {
        let first = run.violations.first().map(|violation| violation.found.as_str()).unwrap_or_default();
        let call = first.split_once('#').map(|(_, rest)| {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            format!("#{}", &rest[..digits])
        });
        Ladder::of_call(&run.trace, call.as_deref())
    }

    /// The ladder of a call, or of none.
    pub fn of_call(trace: &str, call: Option<&str>) -> Ladder {
        let (mut ladder, mut flying) = (Ladder { rungs: Vec::new() }, Flying::new());
        for line in trace.lines() {
            match Line::read(line) {
                Some(line) if Some(line.call) == call => ladder.message(&line, &mut flying),
                Some(_) => {}
                None => ladder.event(line),
            }
        }
        ladder
    }

    /// The ladder of the first call that more than one node has spoken for; else of the first call.
    pub fn of_takeover(trace: &str) -> Ladder {
        let mut speakers: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        for line in trace.lines().filter_map(Line::read).filter(|line| line.what == "put") {
            if let Some(call) = line.call.strip_prefix('#').and_then(|call| call.parse().ok()) {
                speakers.entry(call).or_default().extend(Some(line.node).filter(|node| *node > 0));
            }
        }
        let call = speakers.iter().find(|(_, nodes)| nodes.len() > 1).or(speakers.first_key_value());
        Ladder::of_call(trace, call.map(|(call, _)| format!("#{call}")).as_deref())
    }

    fn event(&mut self, line: &str) {
        let Some((at, text)) = line.trim_start().split_once(' ') else { return };
        if let Ok(at) = at.parse() {
            self.rungs.push(Rung { at, what: What::Event(text.trim().to_owned()) });
        }
    }

    fn message(&mut self, line: &Line<'_>, flying: &mut Flying) {
        let key = (line.from.to_owned(), line.to.to_owned(), line.digest.to_owned());
        let fate = match line.what {
            "put" | "tcp" => Fate::Sent,
            "unsent" => Fate::Unsent,
            landed => return self.landed(landed, line, flying.entry(key).or_default()),
        };
        let (Ok(from), Ok(to)) = (line.from.parse(), line.to.parse()) else { return };
        let waiting = flying.entry(key);
        let again = matches!(waiting, std::collections::btree_map::Entry::Occupied(_));
        if fate == Fate::Sent {
            waiting.or_default().push_back(self.rungs.len());
        }
        let message =
            Message { from, to, by: line.node, arrived: None, fate, again, first: line.first.clone() };
        self.rungs.push(Rung { at: line.at, what: What::Message(message) });
    }

    /// A message is where it goes, or is lost.
    fn landed(&mut self, how: &str, line: &Line<'_>, waiting: &mut VecDeque<usize>) {
        let place = if how == "lost" { waiting.pop_back() } else { waiting.pop_front() };
        let rung = place.and_then(|place| self.rungs.get_mut(place));
        let Some(Rung { what: What::Message(message), .. }) = rung else { return };
        match how {
            "got" => message.arrived = Some((line.at, line.node)),
            "void" => (message.arrived, message.fate) = (Some((line.at, 0)), Fate::Unheard),
            _ => message.fate = Fate::Lost,
        }
    }

    /// The ladder in lines that people read.
    pub fn text(&self) -> String {
        let lines = self.rungs.iter().map(|rung| {
            let at = format!("{:>9}.{:03} ms", rung.at / 1_000_000, rung.at / 1_000 % 1_000);
            match &rung.what {
                What::Event(text) => format!("{at}  --- {text}"),
                What::Message(message) => format!("{at}  {}", message.text()),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Message {
    fn text(&self) -> String {
        let end = |at: SocketAddr, machine: u64| match (machine, name(at)) {
            (0, name) => name,
            (machine, name) if name.starts_with("home") => format!("{name} ({machine})"),
            (_, name) => name,
        };
        let to = self.arrived.map_or(0, |(_, machine)| machine);
        let fate = match self.fate {
            Fate::Sent => "",
            Fate::Lost => "   (lost)",
            Fate::Unheard => "   (nobody hears it)",
            Fate::Unsent => "   (not sent: the address is gone)",
        };
        let again = if self.again { "   (again)" } else { "" };
        format!("{:>10} -> {:10} {}{again}{fate}", end(self.from, self.by), end(self.to, to), self.first)
    }
}

/// What a peer, home or node is called.
pub fn name(at: SocketAddr) -> String {
    let IpAddr::V4(ip) = at.ip() else { return at.to_string() };
    match ip.octets() {
        [10, 0, 0, node] => format!("node {node}"),
        [10, 0, 1, caller] => format!("caller {caller}"),
        [10, 0, 2, callee] => format!("callee {callee}"),
        [10, 0, 3, _] => "nobody".to_owned(),
        [10, 0, 9, home] => format!("home {home}"),
        _ => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
        4000000 put@0 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdef #3 INVITE sip:x SIP/2.0\n\
        4500000 got@1 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdef #3 INVITE sip:x SIP/2.0\n\
        5000000 put@0 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdee #4 INVITE sip:x SIP/2.0\n\
        6000000 node 1 dies in its life 1\n\
        7000000 put@2 10.0.9.1:5060 > 10.0.1.1:5060 90 1123456789abcdef #3 SIP/2.0 100 Trying\n\
        7000000 lost@2 10.0.9.1:5060 > 10.0.1.1:5060 90 1123456789abcdef #3 SIP/2.0 100 Trying\n\
        8000000 put@0 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdef #3 INVITE sip:x SIP/2.0\n\
        8500000 void@0 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdef #3 INVITE sip:x SIP/2.0\n";

    #[test]
    fn a_ladder_has_the_messages_of_its_call_and_the_world_s_events() {
        let ladder = Ladder::of_call(TRACE, Some("#3")).text();
        let lines: Vec<&str> = ladder.lines().map(str::trim_start).collect();
        assert_eq!(
            lines,
            [
                "4.000 ms    caller 1 -> home 1 (1) INVITE sip:x SIP/2.0",
                "6.000 ms  --- node 1 dies in its life 1",
                "7.000 ms  home 1 (2) -> caller 1   SIP/2.0 100 Trying   (lost)",
                "8.000 ms    caller 1 -> home 1     INVITE sip:x SIP/2.0   (again)   (nobody hears it)"
            ]
        );
    }

    #[test]
    fn the_ladder_of_a_takeover_is_of_a_call_that_two_nodes_have_spoken_for() {
        let trace = TRACE.replace("#4", "#2").replace("put@2", "put@1")
            + "9000000 put@2 10.0.9.1:5060 > 10.0.1.1:5060 90 1123456789abcdef #3 SIP/2.0 200 OK\n";
        assert!(Ladder::of_takeover(&trace).text().contains("200 OK"));
        assert!(
            Ladder::of_takeover(TRACE).text().contains("100 Trying"),
            "the first, where there is no other"
        );
    }

    #[test]
    fn a_ladder_of_no_call_has_the_world_s_events_only() {
        assert_eq!(Ladder::of_call(TRACE, None).rungs.len(), 1);
    }
}
