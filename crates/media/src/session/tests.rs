//! Streams whose packets come from where they should, from elsewhere, and under wrong keys.

use super::*;
use crate::srtp::{GROWTH_MAX, Sender};
use DropReason::{Held, Invalid, Nowhere, Stranger};
use RelaySide::{Egress, Ingress};
use env::{SideKeys, SrtpKey, SrtpSuite};
use proptest::prelude::*;

const RTP: [u8; 12] = [0x80, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7];
const RTCP: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];
const ID: RelayId = RelayId(1);

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("literal")
}

fn remote(rtp: &str) -> RelayRemote {
    let rtp = addr(rtp);
    RelayRemote { rtp, rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1) }
}

fn side(local: &str, signalled: Option<&str>, latch: Option<&str>) -> SideConfig {
    SideConfig {
        local: addr(local),
        remote: signalled.map(remote),
        latch: latch.map(|ip| ip.parse().expect("literal")),
        sends: true,
        receives: true,
        keys: None,
    }
}

/// The caller at 192.0.2.1, where it says; the callee says 10.0.0.5, its SIP comes from 203.0.113.9.
fn entry() -> RelayEntry {
    RelayEntry {
        kind: RelayKind::Rtp { clock_rate: 8000 },
        ingress: side("198.51.100.7:10000", Some("192.0.2.1:4000"), None),
        egress: side("198.51.100.7:10002", Some("10.0.0.5:5000"), Some("203.0.113.9")),
        unleased: false,
        resumed: None,
        silence: None,
    }
}

struct Stream(RelaySession);

impl Stream {
    fn new(entry: RelayEntry) -> Stream {
        Stream(RelaySession::new(at(0), ID, entry))
    }

    fn rtp(&mut self, side: RelaySide, from: &str) -> Result<String, DropReason> {
        self.packet(side, Component::Rtp, from, &RTP)
    }

    fn rtcp(&mut self, side: RelaySide, from: &str) -> Result<String, DropReason> {
        self.packet(side, Component::Rtcp, from, &RTCP)
    }

    fn packet(
        &mut self,
        side: RelaySide,
        component: Component,
        from: &str,
        bytes: &[u8],
    ) -> Result<String, DropReason> {
        match self.0.received(at(1), side, component, addr(from), &mut bytes.to_vec(), bytes.len()) {
            Verdict::Forward { to, length } => {
                assert_eq!(length, bytes.len());
                Ok(to.to_string())
            }
            Verdict::Drop(reason) => Err(reason),
        }
    }

    fn events(&mut self) -> Vec<RelayEvent> {
        std::iter::from_fn(|| self.0.poll_event()).collect()
    }
}

fn to(address: &str) -> Result<String, DropReason> {
    Ok(address.to_owned())
}

#[test]
fn media_and_control_flow_between_the_signalled_addresses() {
    let mut entry = entry();
    entry.egress = side("198.51.100.7:10002", Some("203.0.113.9:5000"), None);
    let mut stream = Stream::new(entry);
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("203.0.113.9:5000"));
    assert_eq!(stream.rtp(Egress, "203.0.113.9:5000"), to("192.0.2.1:4000"));
    assert_eq!(stream.rtcp(Ingress, "192.0.2.1:4001"), to("203.0.113.9:5001"));
    // Ports need not be symmetric; addresses do.
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4444"), to("203.0.113.9:5000"));
    assert_eq!(stream.rtp(Ingress, "192.0.2.2:4000"), Err(Stranger));
    assert_eq!(stream.rtcp(Ingress, "192.0.2.2:4001"), Err(Stranger));
    assert_eq!(stream.events(), []);
}

#[test]
fn the_first_valid_packet_from_the_sip_source_is_latched_once() {
    let mut stream = Stream::new(entry());
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("10.0.0.5:5000"));
    assert_eq!(stream.rtp(Egress, "203.0.113.9:61000"), to("192.0.2.1:4000"));
    let learned = RelayRemote { rtp: addr("203.0.113.9:61000"), rtcp: addr("10.0.0.5:5001") };
    assert_eq!(stream.events(), [RelayEvent::Latched { id: ID, side: Egress, remote: learned }]);
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("203.0.113.9:61000"));
    // Locked: neither another port nor the signalled address is heard now.
    assert_eq!(stream.rtp(Egress, "203.0.113.9:61002"), Err(Stranger));
    assert_eq!(stream.rtp(Egress, "10.0.0.5:5000"), Err(Stranger));
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("203.0.113.9:61000"));
    assert_eq!(stream.events(), []);
}

#[test]
fn nobody_else_and_nothing_invalid_can_be_latched() {
    let mut stream = Stream::new(entry());
    assert_eq!(stream.rtp(Egress, "203.0.113.10:61000"), Err(Stranger));
    assert_eq!(stream.packet(Egress, Component::Rtp, "203.0.113.9:61000", b"rubbish"), Err(Invalid));
    assert_eq!(stream.packet(Egress, Component::Rtp, "203.0.113.9:61000", &RTCP), Err(Invalid));
    assert_eq!(stream.rtcp(Egress, "203.0.113.9:61001"), Err(Stranger));
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("10.0.0.5:5000"));
    assert_eq!(stream.events(), []);
    assert_eq!(stream.0.figures().egress.strange, 2);
    assert_eq!(stream.0.figures().egress.invalid, 2);
}

/// The twin of the test above it: the same peer, with latching off.
#[test]
fn without_a_latch_only_the_signalled_address_is_heard() {
    let mut entry = entry();
    entry.egress.latch = None;
    let mut stream = Stream::new(entry);
    assert_eq!(stream.rtp(Egress, "203.0.113.9:61000"), Err(Stranger));
    assert_eq!(stream.rtp(Egress, "10.0.0.5:5000"), to("192.0.2.1:4000"));
}

#[test]
fn a_media_server_apart_from_its_sip_server_closes_the_latch_where_it_signalled() {
    let mut stream = Stream::new(entry());
    assert_eq!(stream.rtp(Egress, "10.0.0.5:5000"), to("192.0.2.1:4000"));
    assert_eq!(stream.rtp(Egress, "203.0.113.9:61000"), Err(Stranger));
    assert_eq!(stream.events(), []);
}

#[test]
fn control_is_learned_after_media_from_the_same_address_once() {
    let mut stream = Stream::new(entry());
    let _ = stream.rtp(Egress, "203.0.113.9:61000");
    assert_eq!(stream.rtcp(Ingress, "192.0.2.1:4001"), to("10.0.0.5:5001"));
    assert_eq!(stream.rtcp(Egress, "203.0.113.9:61007"), to("192.0.2.1:4001"));
    assert_eq!(stream.rtcp(Ingress, "192.0.2.1:4001"), to("203.0.113.9:61007"));
    assert_eq!(stream.rtcp(Egress, "203.0.113.9:61008"), Err(Stranger));
    assert_eq!(stream.events().len(), 2);
}

#[test]
fn the_next_offer_opens_the_latch_again_and_keeps_the_address_meanwhile() {
    let mut stream = Stream::new(entry());
    let _ = stream.rtp(Egress, "203.0.113.9:61000");
    stream.0.update(at(2), entry());
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("203.0.113.9:61000"));
    assert_eq!(stream.rtp(Egress, "203.0.113.9:62000"), to("192.0.2.1:4000"));
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("203.0.113.9:62000"));
    assert_eq!(stream.rtp(Egress, "203.0.113.9:61000"), Err(Stranger));
}

#[test]
fn a_peer_that_moves_is_served_only_at_its_new_address() {
    let mut stream = Stream::new(entry());
    let _ = stream.rtp(Egress, "203.0.113.9:61000");
    let moved = RelayEntry { egress: side("198.51.100.7:10002", Some("192.0.2.66:7000"), None), ..entry() };
    stream.0.update(at(2), moved);
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("192.0.2.66:7000"));
    assert_eq!(stream.rtp(Egress, "203.0.113.9:61000"), Err(Stranger));
}

#[test]
fn before_the_answer_nothing_goes_to_the_callee_and_hold_stops_media_but_not_control() {
    let mut unanswered = entry();
    unanswered.egress = side("198.51.100.7:10002", None, None);
    let mut stream = Stream::new(unanswered);
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), Err(Nowhere));
    assert_eq!(stream.rtp(Egress, "203.0.113.9:5000"), Err(Stranger));
    let mut held = entry();
    held.egress.receives = false;
    stream.0.update(at(2), held);
    assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), Err(Held));
    assert_eq!(stream.rtcp(Ingress, "192.0.2.1:4001"), to("10.0.0.5:5001"));
}

#[test]
fn datagrams_that_are_no_rtp_pass_where_the_stream_is_none() {
    let fax = RelayEntry { kind: RelayKind::Datagrams, ..entry() };
    let mut stream = Stream::new(fax);
    assert_eq!(stream.packet(Ingress, Component::Rtp, "192.0.2.1:4000", b"\0\x01udptl"), to("10.0.0.5:5000"));
    let mut stream = Stream::new(entry());
    assert_eq!(stream.packet(Ingress, Component::Rtp, "192.0.2.1:4000", b"\0\x01udptl"), Err(Invalid));
}

#[test]
fn fl28_a_side_that_falls_silent_is_reported_once_and_again_when_heard() {
    let silence = Some(Duration::from_secs(10));
    let mut stream = Stream::new(entry());
    // Ringing for a minute is no silence.
    stream.0.handle_timeout(at(60_000));
    assert_eq!(stream.events(), []);
    assert_eq!(stream.0.poll_timeout(), None);
    stream.0.update(at(60_000), RelayEntry { silence, ..entry() });
    assert_eq!(stream.0.poll_timeout(), Some(at(70_000)));
    for ms in (60_000..80_000).step_by(20) {
        let from = addr("192.0.2.1:4000");
        stream.0.received(at(ms), Ingress, Component::Rtp, from, &mut RTP.clone(), RTP.len());
        stream.0.handle_timeout(at(ms));
    }
    assert_eq!(stream.events(), [RelayEvent::Silent { id: ID, side: Egress }]);
    stream.0.received(at(80_000), Egress, Component::Rtp, addr("10.0.0.5:5000"), &mut RTP.clone(), RTP.len());
    assert_eq!(stream.events(), [RelayEvent::Heard { id: ID, side: Egress }]);
}

#[test]
fn fl28_a_side_on_hold_is_not_silent() {
    let mut held = RelayEntry { silence: Some(Duration::from_secs(10)), ..entry() };
    held.ingress.sends = false;
    held.egress.sends = false;
    let mut stream = Stream::new(held.clone());
    stream.0.handle_timeout(at(60_000));
    assert_eq!(stream.events(), []);
    // Back from hold: the clock starts there.
    held.ingress.sends = true;
    stream.0.update(at(60_000), held);
    stream.0.handle_timeout(at(69_999));
    assert_eq!(stream.events(), []);
    stream.0.handle_timeout(at(70_000));
    assert_eq!(stream.events(), [RelayEvent::Silent { id: ID, side: Ingress }]);
}

#[test]
fn a_side_is_steady_while_it_speaks_from_where_it_listens() {
    let mut stream = Stream::new(entry());
    let mut packet = |ms, from: &str| {
        stream.0.received(at(ms), Ingress, Component::Rtp, addr(from), &mut RTP.clone(), RTP.len());
        stream.0.steady(at(ms), Ingress)
    };
    for i in 0..9 {
        assert_eq!(packet(i * 20, "192.0.2.1:4000"), None);
    }
    assert_eq!(packet(180, "192.0.2.1:4000"), Some(addr("192.0.2.1:4000")));
    // Another port of the same address is heard, and shows that it is not steady.
    assert_eq!(packet(200, "192.0.2.1:4444"), None);
    for i in 11..20 {
        assert_eq!(packet(i * 20, "192.0.2.1:4000"), None);
    }
    assert_eq!(packet(400, "192.0.2.1:4000"), Some(addr("192.0.2.1:4000")));
    assert_eq!(stream.0.steady(at(550), Ingress), Some(addr("192.0.2.1:4000")));
    assert_eq!(stream.0.steady(at(551), Ingress), None);
    assert_eq!(stream.0.steady(at(400), Egress), None);
    // So does the next offer.
    stream.0.update(at(401), entry());
    assert_eq!(stream.0.steady(at(401), Ingress), None);
}

#[test]
fn figures_count_what_came_and_what_was_relayed() {
    let mut stream = Stream::new(entry());
    for sequence in [1_u8, 2, 5] {
        let mut packet = RTP;
        packet[3] = sequence;
        let _ = stream.packet(Ingress, Component::Rtp, "192.0.2.1:4000", &packet);
    }
    let _ = stream.rtcp(Ingress, "192.0.2.1:4001");
    let ingress = stream.0.figures().ingress;
    assert_eq!((ingress.packets, ingress.bytes, ingress.relayed), (3, 36, 3));
    assert_eq!((ingress.lost, ingress.rtcp), (2, 1));
    assert_eq!(stream.0.figures().egress, SideFigures::default());
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    (0..4_u8, 0..4_u16).prop_map(|(ip, port)| SocketAddr::from(([192, 0, 2, ip], 4000 + port)))
}

fn any_side() -> impl Strategy<Value = SideConfig> {
    let remote = prop::option::of((any_address(), any_address()));
    (remote, prop::option::of(0..4_u8)).prop_map(|(remote, latch)| SideConfig {
        local: SocketAddr::from(([198, 51, 100, 7], 10_000)),
        remote: remote.map(|(rtp, rtcp)| RelayRemote { rtp, rtcp }),
        latch: latch.map(|ip| IpAddr::from([192, 0, 2, ip])),
        sends: true,
        receives: true,
        keys: None,
    })
}

proptest! {
    /// I-37: whatever comes from wherever, through any number of offers, a packet goes only to the other
    /// side's signalled address, or to a port of the address that the entry lets us latch.
    #[test]
    fn i_37_media_goes_only_where_it_was_signalled_or_latched(
        first in (any_side(), any_side()),
        steps in prop::collection::vec(
            prop_oneof![
                8 => (any::<bool>(), any::<bool>(), any_address()).prop_map(Ok),
                1 => (any_side(), any_side()).prop_map(Err),
            ],
            1..60,
        ),
    ) {
        let entry = |(ingress, egress)| RelayEntry { ingress, egress, ..entry() };
        let mut config = entry(first);
        let mut session = RelaySession::new(at(0), ID, config.clone());
        for step in steps {
            let (egress, control, from) = match step {
                Ok(packet) => packet,
                Err(sides) => {
                    config = entry(sides);
                    session.update(at(1), config.clone());
                    continue;
                }
            };
            let (side, component) = (
                if egress { Egress } else { Ingress },
                if control { Component::Rtcp } else { Component::Rtp },
            );
            let bytes: &[u8] = if control { &RTCP } else { &RTP };
            let (mut bytes, length) = (bytes.to_vec(), bytes.len());
            if let Verdict::Forward { to, .. } = session.received(at(1), side, component, from, &mut bytes, length) {
                let far = if egress { config.ingress } else { config.egress };
                let signalled = far.remote.map(|remote| if control { remote.rtcp } else { remote.rtp });
                prop_assert!(Some(to) == signalled || Some(to.ip()) == far.latch, "{to}");
                let near = if egress { config.egress } else { config.ingress };
                let known = near.remote.map(|remote| if control { remote.rtcp } else { remote.rtp });
                prop_assert!(
                    known.map(|known| known.ip()) == Some(from.ip()) || near.latch == Some(from.ip()),
                    "heard {from}"
                );
            }
        }
    }
}

/// The caller secures under `theirs`, the callee speaks in clear.
fn secured(theirs: u8) -> (RelayEntry, Sender) {
    let key = |fill| SrtpKey::new(SrtpSuite::AesCm80, &[fill; 30]).expect("30 octets");
    let mut entry = entry();
    entry.ingress.remote = Some(remote("10.0.0.7:4000"));
    entry.ingress.latch = Some("192.0.2.1".parse().expect("literal"));
    entry.egress = side("198.51.100.7:10002", Some("203.0.113.9:5000"), None);
    entry.ingress.keys = Some(SideKeys { receive: Some(key(theirs)), send: Some(key(9)) });
    (entry, Sender::new(key(theirs), None))
}

fn seal(sender: &mut Sender) -> Vec<u8> {
    let mut buffer = [&RTP[..], &[0; GROWTH_MAX]].concat();
    let header = read_rtp(&RTP).expect("RTP");
    let length = sender.seal_rtp(&mut buffer, RTP.len(), &header).expect("sent");
    buffer.truncate(length);
    buffer
}

#[test]
fn a_wrong_tag_teaches_nothing_and_the_stream_goes_on() {
    let (entry, mut peer) = secured(1);
    let mut stream = RelaySession::new(at(0), ID, entry);
    let mut say = |bytes: &[u8], from: &str| {
        let mut buffer = bytes.to_vec();
        stream.received(at(1), Ingress, Component::Rtp, addr(from), &mut buffer, bytes.len())
    };
    let good = seal(&mut peer);
    let mut forged = good.clone();
    forged[RTP.len()] ^= 1;
    assert_eq!(say(&forged, "192.0.2.1:6666"), Verdict::Drop(DropReason::Forged));
    assert_eq!(say(&RTP, "192.0.2.1:6666"), Verdict::Drop(DropReason::Forged));
    let forward = Verdict::Forward { to: addr("203.0.113.9:5000"), length: RTP.len() };
    assert_eq!(say(&good, "192.0.2.1:4444"), forward);
    assert_eq!(say(&good, "192.0.2.1:4444"), Verdict::Drop(DropReason::Replayed));
    let figures = stream.figures().ingress;
    assert_eq!((figures.packets, figures.forged, figures.replayed), (1, 2, 1));
    stream.handle_timeout(at(2));
    let learned = RelayRemote { rtp: addr("192.0.2.1:4444"), rtcp: addr("10.0.0.7:4001") };
    let events: Vec<_> = std::iter::from_fn(|| stream.poll_event()).collect();
    let told = RelayEvent::Forged { id: ID, side: Ingress, packets: 2 };
    assert_eq!(events, [RelayEvent::Latched { id: ID, side: Ingress, remote: learned }, told]);
    // Told once.
    stream.handle_timeout(at(3));
    assert_eq!(stream.poll_event(), None);
}

#[test]
fn one_side_is_secured_and_the_other_in_clear() {
    let (entry, _) = secured(1);
    let mut stream = RelaySession::new(at(0), ID, entry.clone());
    let mut buffer = [&RTP[..], &[0; GROWTH_MAX]].concat();
    let verdict =
        stream.received(at(1), Egress, Component::Rtp, addr("203.0.113.9:5000"), &mut buffer, RTP.len());
    let Verdict::Forward { to, length } = verdict else { unreachable!("{verdict:?}") };
    // A tag of ten octets; the twelve of its header in clear.
    assert_eq!((to, length, &buffer[..12]), (addr("10.0.0.7:4000"), RTP.len() + 10, &RTP[..]));
    // Without room it is dropped and not sent in clear.
    let mut exact = RTP.to_vec();
    exact[3] += 1;
    let verdict =
        stream.received(at(1), Egress, Component::Rtp, addr("203.0.113.9:5000"), &mut exact, RTP.len());
    assert_eq!(verdict, Verdict::Drop(DropReason::Unsent));
    // A side whose keys are not to be had is closed both ways.
    let mut closed = entry;
    closed.ingress.keys = Some(SideKeys { receive: None, send: None });
    stream.update(at(2), closed);
    for (side, from) in [(Ingress, "10.0.0.7:4000"), (Egress, "203.0.113.9:5000")] {
        let mut buffer = [&RTP[..], &[0; GROWTH_MAX]].concat();
        let verdict = stream.received(at(2), side, Component::Rtp, addr(from), &mut buffer, RTP.len());
        assert!(matches!(verdict, Verdict::Drop(_)), "{verdict:?}");
    }
}

#[test]
fn the_same_keys_go_on_counting_and_others_begin_anew() {
    let (entry, mut peer) = secured(1);
    let mut stream = RelaySession::new(at(0), ID, entry.clone());
    let say = |stream: &mut RelaySession, bytes: &[u8]| {
        let mut buffer = bytes.to_vec();
        stream.received(at(1), Ingress, Component::Rtp, addr("192.0.2.1:4444"), &mut buffer, bytes.len())
    };
    let packet = seal(&mut peer);
    assert!(matches!(say(&mut stream, &packet), Verdict::Forward { .. }));
    stream.update(at(2), entry);
    assert_eq!(say(&mut stream, &packet), Verdict::Drop(DropReason::Replayed));
    let (other, mut peer) = secured(2);
    stream.update(at(3), other);
    assert_eq!(say(&mut stream, &packet), Verdict::Drop(DropReason::Forged));
    assert!(matches!(say(&mut stream, &seal(&mut peer)), Verdict::Forward { .. }));
}

#[test]
fn a_peer_that_changes_its_source_with_every_packet_makes_no_flood_of_records() {
    let (entry, _) = secured(1);
    let mut stream = RelaySession::new(at(0), ID, entry);
    for source in 0..100 {
        // Each begins shortly before its wrap.
        let packet = [0x80, 8, 0xFF, 0, 0, 0, 0, 160, 0, 0, 0, source];
        let mut buffer = [&packet[..], &[0; GROWTH_MAX]].concat();
        let from = addr("203.0.113.9:5000");
        let verdict = stream.received(at(1), Egress, Component::Rtp, from, &mut buffer, packet.len());
        assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
    }
    assert_eq!(std::iter::from_fn(|| stream.poll_event()).count(), 8);
}
