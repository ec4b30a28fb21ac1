//! The relay over real loopback sockets. Waiting is receiving with a deadline; nothing sleeps.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use env::{
    Clock, Relay as _, RelayEntry, RelayEvent, RelayId, RelayKind, RelayRemote, RelaySide, SideConfig,
    SideKeys, SrtpCount, SrtpKey, SrtpMark, SrtpSuite,
};
use machine::{Instant, WallTime};
use media::{Receiver, Sender};

use super::SocketRelay;

const ID: RelayId = RelayId(7);

/// Time that the test moves.
#[derive(Default)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> WallTime {
        WallTime(0)
    }
}

/// A peer: sockets on two neighbouring ports.
struct Peer {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Peer {
    fn new() -> Peer {
        let (rtp, rtcp) = neighbours();
        for socket in [&rtp, &rtcp] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        }
        Peer { rtp, rtcp }
    }

    fn remote(&self) -> RelayRemote {
        RelayRemote { rtp: address(&self.rtp), rtcp: address(&self.rtcp) }
    }
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("bound")
}

/// Two sockets on an even port and the next.
fn neighbours() -> (UdpSocket, UdpSocket) {
    std::iter::repeat_with(|| {
        let even = UdpSocket::bind("127.0.0.1:0").ok()?;
        let port = address(&even).port();
        let odd = UdpSocket::bind(("127.0.0.1", port.checked_add(1)?)).ok()?;
        port.is_multiple_of(2).then_some((even, odd))
    })
    .take(1000)
    .flatten()
    .next()
    .expect("a free pair of ports")
}

/// A free pair for the relay: bound for a moment to find it.
fn free() -> SocketAddr {
    address(&neighbours().0)
}

fn side(local: SocketAddr, peer: &Peer) -> SideConfig {
    SideConfig { local, remote: Some(peer.remote()), latch: None, sends: true, receives: true, keys: None }
}

struct World {
    relay: SocketRelay,
    clock: Arc<TestClock>,
    caller: Peer,
    callee: Peer,
    entry: RelayEntry,
}

impl World {
    fn new() -> World {
        let clock = Arc::new(TestClock::default());
        let relay = SocketRelay::start(1, clock.clone()).expect("start");
        let (caller, callee) = (Peer::new(), Peer::new());
        // Another test may take a port between finding and binding it.
        let entry = std::iter::repeat_with(|| RelayEntry {
            kind: RelayKind::Rtp { clock_rate: 8000 },
            ingress: side(free(), &caller),
            egress: side(free(), &callee),
            unleased: false,
            resumed: None,
            silence: None,
        })
        .take(100)
        .find(|entry| relay.install(ID, entry.clone()).is_ok())
        .expect("free ports");
        World { relay, clock, caller, callee, entry }
    }

    /// Until the relay's thread has said something.
    fn events(&self) -> Vec<RelayEvent> {
        let mut events = Vec::new();
        let blocked = UdpSocket::bind("127.0.0.1:0").expect("bind");
        blocked.set_read_timeout(Some(Duration::from_millis(5))).expect("timeout");
        for _ in 0..1000 {
            // The thread looks for silence when its clock says so.
            self.clock.0.fetch_add(1_000_000_000, Ordering::SeqCst);
            self.relay.poll_events(&mut events);
            if !events.is_empty() {
                break;
            }
            // Nobody sends here: this waits 5 ms for the thread.
            let _ = blocked.recv(&mut [0]);
        }
        events
    }
}

fn rtp(sequence: u8) -> [u8; 14] {
    [0x80, 8, 0, sequence, 0, 0, 0, 160, 0, 0, 0, 7, 0xd5, 0xd5]
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 100];
    let (length, from) = socket.recv_from(&mut buffer).expect("a packet within 5 s");
    (buffer[..length].to_vec(), from)
}

fn beside(rtp: SocketAddr) -> SocketAddr {
    SocketAddr::new(rtp.ip(), rtp.port() + 1)
}

#[test]
fn media_and_control_arrive_unchanged_from_the_right_ports() {
    let world = World::new();
    let (ingress, egress) = (world.entry.ingress.local, world.entry.egress.local);
    world.caller.rtp.send_to(&rtp(1), ingress).expect("send");
    assert_eq!(receive(&world.callee.rtp), (rtp(1).to_vec(), egress));
    world.callee.rtp.send_to(&rtp(2), egress).expect("send");
    assert_eq!(receive(&world.caller.rtp), (rtp(2).to_vec(), ingress));
    let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
    world.caller.rtcp.send_to(&report, beside(ingress)).expect("send");
    assert_eq!(receive(&world.callee.rtcp), (report.to_vec(), beside(egress)));
    let figures = world.relay.remove(ID).expect("installed");
    assert_eq!((figures.ingress.packets, figures.egress.packets), (1, 1));
    assert_eq!(figures.ingress.rtcp, 1);
    assert_eq!(world.relay.remove(ID), None);
}

/// The caller's packets are secured, the callee's are not; over the wrap, and past packets that somebody made up.
#[test]
fn srtp_becomes_rtp_and_back_over_the_wrap_and_what_is_forged_is_counted() {
    let mut world = World::new();
    let key = |fill| SrtpKey::new(SrtpSuite::AesCm80, &[fill; 30]).expect("30 octets");
    world.entry.ingress.keys = Some(SideKeys { receive: Some(key(1)), send: Some(key(2)) });
    world.relay.update(ID, world.entry.clone()).expect("same ports");
    let (ingress, egress) = (world.entry.ingress.local, world.entry.egress.local);
    let packet = |sequence: u16| {
        let [s0, s1] = sequence.to_be_bytes();
        [0x80, 8, s0, s1, 0, 0, 0, 160, 0, 0, 0, 7, 0xd5, 0xd5]
    };
    let (mut peer, mut ears) = (Sender::new(key(1), None), Receiver::new(key(2), Vec::new()));
    peer.recorded(SrtpMark { count: SrtpCount::Sent(7), value: 2 });
    for sequence in [0xFFFD, 0xFFFE, 0xFFFF, 0, 1] {
        let clear = packet(sequence);
        let header = media::read_rtp(&clear).expect("RTP");
        let mut secured = [&clear[..], &[0; media::GROWTH_MAX]].concat();
        let length = peer.seal_rtp(&mut secured, clear.len(), &header).expect("sent");
        peer.recorded(SrtpMark { count: SrtpCount::Sent(7), value: 2 });
        secured.truncate(length);
        let mut forged = secured.clone();
        forged[13] ^= 1;
        for bytes in [&forged, &secured] {
            world.caller.rtp.send_to(bytes, ingress).expect("send");
        }
        // In order: had the forged one passed, it would come first.
        assert_eq!(receive(&world.callee.rtp), (clear.to_vec(), egress));
        if sequence == 0 {
            // Both directions asked for what comes behind the wrap long before.
            let events = world.events();
            for count in [SrtpCount::Sent(7), SrtpCount::Heard(7)] {
                let mark = SrtpMark { count, value: 2 };
                assert!(events.contains(&RelayEvent::Mark { id: ID, side: RelaySide::Ingress, mark }));
            }
        }
        world.callee.rtp.send_to(&clear, egress).expect("send");
        if sequence == 0 {
            // Beyond the wrap nothing is sent before that is recorded: it is asked for again.
            let wrap = SrtpMark { count: SrtpCount::Sent(7), value: 2 };
            let wanted = RelayEvent::Mark { id: ID, side: RelaySide::Ingress, mark: wrap };
            assert!((0..10).any(|_| world.events().contains(&wanted)));
            world.relay.recorded(ID, RelaySide::Ingress, wrap);
            continue;
        }
        let (mut heard, _) = receive(&world.caller.rtp);
        assert_ne!(heard[12..14], clear[12..14], "secured");
        let (length, _) = ears.open_rtp(&mut heard, &header).expect("ours");
        assert_eq!(heard[..length], clear);
    }
    let figures = world.relay.figures(ID).expect("installed");
    assert_eq!((figures.ingress.packets, figures.ingress.forged, figures.ingress.unsent), (5, 5, 1));
}

#[test]
fn a_stranger_is_not_heard() {
    let world = World::new();
    let stranger = UdpSocket::bind("127.0.0.2:0").expect("bind");
    stranger.send_to(&rtp(66), world.entry.ingress.local).expect("send");
    // In order: had the stranger's packet been relayed, it would come first.
    world.caller.rtp.send_to(&rtp(1), world.entry.ingress.local).expect("send");
    assert_eq!(receive(&world.callee.rtp).0, rtp(1));
    assert_eq!(world.relay.figures(ID).expect("installed").ingress.strange, 1);
}

#[test]
fn a_latched_address_is_reported_and_served() {
    let mut world = World::new();
    world.entry.ingress.latch = Some([127, 0, 0, 3].into());
    world.relay.update(ID, world.entry.clone()).expect("same ports");
    let behind_nat = UdpSocket::bind("127.0.0.3:0").expect("bind");
    behind_nat.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    behind_nat.send_to(&rtp(1), world.entry.ingress.local).expect("send");
    assert_eq!(receive(&world.callee.rtp).0, rtp(1));
    world.callee.rtp.send_to(&rtp(2), world.entry.egress.local).expect("send");
    assert_eq!(receive(&behind_nat).0, rtp(2));
    let remote = RelayRemote { rtp: address(&behind_nat), rtcp: world.caller.remote().rtcp };
    assert_eq!(world.events(), [RelayEvent::Latched { id: ID, side: RelaySide::Ingress, remote }]);
}

#[test]
fn after_an_update_returns_nothing_goes_to_the_old_address() {
    let mut world = World::new();
    let moved = Peer::new();
    world.entry.egress.remote = Some(moved.remote());
    world.relay.update(ID, world.entry.clone()).expect("same ports");
    world.caller.rtp.send_to(&rtp(1), world.entry.ingress.local).expect("send");
    assert_eq!(receive(&moved.rtp).0, rtp(1));
    world.callee.rtp.set_nonblocking(true).expect("nonblocking");
    assert!(world.callee.rtp.recv(&mut [0; 100]).is_err());
}

#[test]
fn a_taken_port_is_an_error_and_installs_nothing() {
    let world = World::new();
    let mut entry = world.entry.clone();
    entry.ingress.local = address(&world.caller.rtp);
    let error = world.relay.install(RelayId(8), entry.clone()).expect_err("taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(world.relay.figures(RelayId(8)), None);
    // An update that cannot bind leaves the old entry at work.
    assert!(world.relay.update(ID, entry).is_err());
    world.caller.rtp.send_to(&rtp(1), world.entry.ingress.local).expect("send");
    assert_eq!(receive(&world.callee.rtp).0, rtp(1));
}

#[test]
fn an_update_may_move_our_ports() {
    let mut world = World::new();
    let old = world.entry.ingress.local;
    let entry = world.entry.clone();
    world.entry =
        std::iter::repeat_with(|| RelayEntry { ingress: side(free(), &world.caller), ..entry.clone() })
            .take(100)
            .find(|entry| world.relay.update(ID, entry.clone()).is_ok())
            .expect("free ports");
    assert_ne!(world.entry.ingress.local, old);
    world.caller.rtp.send_to(&rtp(1), world.entry.ingress.local).expect("send");
    assert_eq!(receive(&world.callee.rtp).0, rtp(1));
}

const FOR_EVER: Instant = Instant::from_nanos(u64::MAX);

#[test]
fn a_muted_relay_says_nothing_and_goes_on_after() {
    let world = World::new();
    world.relay.speak_until(Instant::ZERO, None);
    world.caller.rtp.send_to(&rtp(1), world.entry.ingress.local).expect("send");
    // The figures show that it came; only then is the relay unmuted.
    while world.relay.figures(ID).expect("installed").ingress.packets == 0 {
        std::thread::yield_now();
    }
    world.relay.speak_until(FOR_EVER, None);
    world.caller.rtp.send_to(&rtp(2), world.entry.ingress.local).expect("send");
    assert_eq!(receive(&world.callee.rtp).0, rtp(2));
}

#[test]
fn a_muted_relay_goes_on_where_it_is_told_to() {
    let world = World::new();
    world.relay.speak_until(Instant::ZERO, Some(world.entry.ingress.local.ip()));
    world.caller.rtp.send_to(&rtp(1), world.entry.ingress.local).expect("send");
    assert_eq!(receive(&world.callee.rtp).0, rtp(1));
}

#[test]
fn removed_ports_can_be_bound_by_others() {
    let world = World::new();
    world.relay.remove(ID).expect("installed");
    // The thread closes them when it reads its mail, which it does at once.
    let bound = std::iter::repeat_with(|| {
        std::thread::yield_now();
        UdpSocket::bind(world.entry.ingress.local)
    });
    assert!(bound.take(1_000_000).any(|socket| socket.is_ok()));
}

#[test]
fn silence_is_reported_by_the_thread() {
    let mut world = World::new();
    world.entry.silence = Some(Duration::from_secs(10));
    world.entry.egress.sends = false;
    world.relay.update(ID, world.entry.clone()).expect("same ports");
    assert_eq!(world.events(), [RelayEvent::Silent { id: ID, side: RelaySide::Ingress }]);
}

/// Until the relay hears `from` at its ingress; gives how many packets that took.
fn packets_until_heard(world: &World, from: &UdpSocket) -> usize {
    world.callee.rtp.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
    (1..=250)
        .find(|_| {
            world.clock.0.fetch_add(50_000_000, Ordering::SeqCst);
            from.send_to(&rtp(99), world.entry.ingress.local).expect("send");
            let mut buffer = [0; 100];
            world.callee.rtp.recv(&mut buffer).is_ok_and(|_| buffer[3] == 99)
        })
        .expect("heard in the end")
}

/// A second of media, so that the caller's socket is tied to it.
fn talk(world: &World) {
    for sequence in 0..50 {
        world.clock.0.fetch_add(20_000_000, Ordering::SeqCst);
        world.caller.rtp.send_to(&rtp(sequence), world.entry.ingress.local).expect("send");
        assert_eq!(receive(&world.callee.rtp).0, rtp(sequence));
    }
}

#[test]
fn a_steady_peer_that_goes_on_from_another_port_is_heard_again() {
    let world = World::new();
    talk(&world);
    let elsewhere = UdpSocket::bind("127.0.0.1:0").expect("bind");
    // The first packet meets a tied socket; not heard, the peer is untied.
    assert!(packets_until_heard(&world, &elsewhere) > 1);
    // The twin: a peer that is not steady yet may change its port at will.
    let world = World::new();
    elsewhere.send_to(&rtp(1), world.entry.ingress.local).expect("send");
    assert_eq!(receive(&world.callee.rtp).0, rtp(1));
}

#[test]
fn a_steady_peer_that_signals_a_move_is_heard_and_served_there() {
    let mut world = World::new();
    talk(&world);
    let moved = Peer::new();
    world.entry.ingress.remote = Some(moved.remote());
    world.relay.update(ID, world.entry.clone()).expect("same ports");
    packets_until_heard(&world, &moved.rtp);
    world.callee.rtp.send_to(&rtp(3), world.entry.egress.local).expect("send");
    assert_eq!(receive(&moved.rtp).0, rtp(3));
}
