//! The ladder of a call: its messages with virtual times, between them what went wrong with the world.

use std::net::{IpAddr, SocketAddr};

use crate::Run;

/// The ladder of the call that the first violation names; else the world's own events.
pub fn of_failure(run: &Run) -> String {
    let first = run.violations.first().map(|violation| violation.found.as_str()).unwrap_or_default();
    let call = first.split_once('#').map(|(_, rest)| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        format!("#{}", &rest[..digits])
    });
    of_call(&run.trace, call.as_deref())
}

/// The ladder of a call, or of none: what happened to the world.
fn of_call(trace: &str, call: Option<&str>) -> String {
    let lines = trace.lines().filter_map(|line| rung(line, call));
    lines.collect::<Vec<_>>().join("\n")
}

/// A line of the trace, if it is of the call or of the world.
fn rung(line: &str, call: Option<&str>) -> Option<String> {
    let mut words = line.split_whitespace();
    let at: u64 = words.next()?.parse().ok()?;
    let at = format!("{:>9}.{:03} ms", at / 1_000_000, at / 1_000 % 1_000);
    let what = words.next()?;
    if !WIRE.contains(&what) {
        let text = line.trim_start().split_once(' ')?.1;
        return Some(format!("{at}  --- {text}"));
    }
    let (from, _, to) = (words.next()?, words.next()?, words.next()?);
    let (_, _, of) = (words.next()?, words.next()?, words.next()?);
    if Some(of) != call || what == "got" {
        return None;
    }
    let lost = if what == "lost" { "   (lost)" } else { "" };
    let first = words.collect::<Vec<_>>().join(" ");
    Some(format!("{at}  {:>8} -> {:8} {first}{lost}", name(from), name(to)))
}

/// What a peer, home or node is called.
fn name(address: &str) -> String {
    let Ok(at) = address.parse::<SocketAddr>() else { return address.to_owned() };
    let IpAddr::V4(ip) = at.ip() else { return address.to_owned() };
    match ip.octets() {
        [10, 0, 0, node] => format!("node {node}"),
        [10, 0, 1, caller] => format!("caller {caller}"),
        [10, 0, 2, callee] => format!("callee {callee}"),
        [10, 0, 9, home] => format!("home {home}"),
        _ => address.to_owned(),
    }
}

/// What the trace says of messages; all else is of the world.
const WIRE: [&str; 10] = ["put", "got", "lost", "tcp", "up", "down", "raft", "forward", "snapshot", "query"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_has_the_messages_of_its_call_and_the_world_s_events() {
        let trace = "       4000000 put 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdef #3 INVITE sip:x SIP/2.0\n\
                            4500000 got 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdef #3 INVITE sip:x SIP/2.0\n\
                            5000000 put 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdef #4 INVITE sip:x SIP/2.0\n\
                            6000000 node 1 dies in its life 1\n\
                            7000000 lost 10.0.9.1:5060 > 10.0.1.1:5060 90 0123456789abcdef #3 SIP/2.0 100 Trying\n";
        let ladder = of_call(trace, Some("#3"));
        let lines: Vec<&str> = ladder.lines().map(str::trim_start).collect();
        assert_eq!(
            lines,
            [
                "4.000 ms  caller 1 -> home 1   INVITE sip:x SIP/2.0",
                "6.000 ms  --- node 1 dies in its life 1",
                "7.000 ms    home 1 -> caller 1 SIP/2.0 100 Trying   (lost)"
            ]
        );
    }
}
