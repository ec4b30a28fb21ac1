//! Three hosts, a carrier and a PBX on a bridge; homes float between the hosts' interfaces. A holder is killed,
//! stopped, unplugged or cut off: nobody hears of it, and nobody hears two.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use peer::Mix;
use peer::load::{LoadArgs, Report, run};
use rustix::process::Signal;
use tests::netns::{Capture, Frame, Hosts, Net};
use tests::{length, proving, wait};

#[test]
fn t20_a_killed_holders_calls_go_on_and_nobody_hears_of_it() {
    let mut hosts = stage(length(Duration::from_secs(2), Duration::from_millis(500)));
    let (mut records, mut first_ms, mut gaps_ms) = (0, Vec::new(), Vec::new());
    // The leader once; at full length each node, ten times.
    for round in 0..length(1, 30) {
        let victim = if proving() { round % 3 + 1 } else { hosts.leader(1) };
        // In every fourth round the guard dies with its server: then silence has to tell.
        let (first, gap) = one_kill(&mut hosts, victim, round % 4 == 3, &mut records);
        first_ms.push(first);
        gaps_ms.push(gap);
    }
    first_ms.sort_by(f64::total_cmp);
    gaps_ms.sort_by(f64::total_cmp);
    println!("kill to the survivor's first packet: {first_ms:.0?} ms; longest audio gaps: {gaps_ms:.0?} ms");
}

/// Kills a node amid calls that talk and calls that ring, and starts it again. Gives how long its home was silent, and
/// the longest silence of any call, in milliseconds.
fn one_kill(hosts: &mut Hosts, victim: u8, guard_too: bool, records: &mut usize) -> (f64, f64) {
    let survivor = victim % 3 + 1;
    let home = hosts.home_of(victim);
    let capture = Capture::start(&hosts.net, &["carrier", "pbx"]);
    let (talking, ringing) = length((60, 7), (300, 34));
    let calls = [
        Calls::place(hosts, home, Kind::Talk, talking),
        Calls::place(hosts, home, Kind::Answer, ringing),
        Calls::place(hosts, home, Kind::Cancel, ringing),
        Calls::place(hosts, home, Kind::Refuse, ringing),
    ];
    let placed: usize = calls.iter().map(|calls| calls.count).sum();
    let began = wait::now();
    let are_up = |hosts: &Hosts| calls_in_state(hosts, survivor) == (talking, 3 * ringing);
    wait::until("all calls talk or ring", Duration::from_secs(5), || are_up(hosts));
    // Nobody has anything to say for a while: what is heard now is because of the death.
    wait::pass(Duration::from_millis(500));
    if guard_too {
        hosts.kill_guard(victim);
    }
    let killed = wait::now();
    hosts.kill(victim);
    wait::until("a survivor holds the home", PATIENCE, || {
        hosts.holder(survivor, home).is_some_and(|holder| holder != victim)
    });
    wait::pass(Duration::from_millis(1_500));
    let quiet_until = wait::now();
    assert!(quiet_until < began + RINGS, "the machine is too slow for this test: the calls go on already");
    hosts.run(victim);
    let reports: Vec<(Kind, Report, Report)> = calls.into_iter().map(Calls::finish).collect();
    let frames = capture.finish();
    hosts.wait_ready(victim);

    let address = Hosts::home(home).ip();
    let of_home = |frame: &&Frame| *frame.from.ip() == address;
    let spoken: Vec<_> = frames.iter().filter(of_home).filter(|it| it.sip.is_some()).collect();
    let because: Vec<_> = spoken.iter().filter(|it| it.at >= killed && it.at < quiet_until).collect();
    assert!(because.is_empty(), "{} messages because of the takeover: {:?}", because.len(), because.first());
    assert!(spoken.len() > placed, "the capture hears SIP at all: {} messages", spoken.len());
    let dead = hosts.net.hardware(Hosts::host(victim));
    let first = frames.iter().filter(of_home).find(|it| it.at >= killed && it.hardware != dead);
    let first = first.expect("the survivor relays media").at - killed;
    let gap = assert_ended(&reports, quiet_until - killed);

    *records += placed;
    assert_recorded(hosts, survivor, *records);
    hosts.wait_even();
    println!(
        "node {victim} killed, guard too: {guard_too}; silent for {} ms, gap {gap} ms",
        first.as_millis()
    );
    (first.as_secs_f64() * 1_000.0, gap)
}

#[test]
fn t20_a_stopped_or_unplugged_holder_is_silent_before_another_speaks() {
    let hosts = stage(Duration::from_secs(1));
    let capture = Capture::start(&hosts.net, &["carrier", "pbx"]);
    let stopped = hosts.leader(1);
    let (survivor, home) = (stopped % 3 + 1, hosts.home_of(stopped));
    let calls = Calls::place(&hosts, home, Kind::Talk, 20);
    let began = wait::now();
    wait::until("all calls talk", PATIENCE, || calls_in_state(&hosts, survivor) == (20, 0));

    hosts.signal(stopped, Signal::STOP);
    wait::until("another holds the home", PATIENCE, || {
        hosts.holder(survivor, home).is_some_and(|holder| holder != stopped)
    });
    let holder = hosts.holder(survivor, home).expect("somebody does");
    wait::pass(Duration::from_millis(700));
    // It wakes with queues full of media, and with its calls as they were.
    hosts.signal(stopped, Signal::CONT);
    hosts.wait_even();
    wait::pass(Duration::from_millis(500));
    let moved_back = hosts.holder(survivor, home);

    let unplugged = moved_back.expect("somebody holds it");
    let (host, witness) = (Hosts::host(unplugged), unplugged % 3 + 1);
    hosts.net.plug(host, false);
    let pulled = wait::now();
    wait::until("another holds the home", PATIENCE, || {
        hosts.holder(witness, home).is_some_and(|holder| holder != unplugged)
    });
    // What the node said as long as it might, its host's kernel keeps until ARP has an answer: that would leave now.
    wait::pass(Duration::from_millis(500).max(ARP_GIVES_UP.saturating_sub(pulled.elapsed())));
    hosts.net.plug(host, true);
    hosts.wait_even();
    assert!(wait::now() < began + TALKS, "the machine is too slow for this test: the calls are over");
    let report = calls.finish();
    let frames = capture.finish();
    println!("node {stopped} stopped, {holder} took over; node {unplugged} unplugged; {:?}", report.1.rtp);
    assert_ended(&[report], Duration::from_secs(1));
    assert_one_speaker_at_a_time(&hosts, &frames);
    assert_recorded(&hosts, survivor, 20);
}

#[test]
fn t20_a_minority_is_mute_and_after_healing_there_is_one_state() {
    let hosts = stage(Duration::from_secs(1));
    let capture = Capture::start(&hosts.net, &["carrier", "pbx"]);
    let lone = hosts.leader(1);
    let (other, third) = (lone % 3 + 1, (lone + 1) % 3 + 1);
    let (home, others_home) = (hosts.home_of(lone), hosts.home_of(other));
    let calls = Calls::place(&hosts, home, Kind::Talk, 20);
    wait::until("all calls talk", PATIENCE, || calls_in_state(&hosts, other) == (20, 0));

    // The lone node still reaches the carrier and the PBX.
    hosts.net.part(Hosts::host(lone), &[Hosts::host(other), Hosts::host(third)]);
    let parted = wait::now();
    wait::until("the majority holds the home", PATIENCE, || {
        hosts.holder(other, home).is_some_and(|holder| holder != lone)
    });
    // The majority takes calls and ends them.
    let more = Calls::place(&hosts, others_home, Kind::Brief, 10).finish();
    assert_ended(&[more], Duration::ZERO);
    assert_eq!(hosts.records(other).len(), 10);

    hosts.net.heal();
    let healed = wait::now();
    let digests = || [1, 2, 3].map(|node| hosts.metric(node, "banyan_state_digest"));
    wait::until("all nodes have one state", PATIENCE, || {
        let all = digests();
        all.iter().all(|digest| digest.is_some() && *digest == all[0])
    });
    println!("one state {} ms after healing", (wait::now() - healed).as_millis());
    if proving() {
        assert!(wait::now() - healed < Duration::from_secs(2));
    }
    let report = calls.finish();
    let frames = capture.finish();
    assert_ended(&[report], Duration::from_secs(1));
    assert_one_speaker_at_a_time(&hosts, &frames);
    let hardware = hosts.net.hardware(Hosts::host(lone));
    let floating: BTreeSet<Ipv4Addr> = (1..=3).map(home_address).collect();
    let last = frames.iter().rfind(|it| {
        let of_lone = it.hardware == hardware && floating.contains(it.from.ip());
        of_lone && it.at >= parted && it.at < healed
    });
    let last_ms = last.map_or(0, |frame| (frame.at - parted).as_millis());
    println!("the minority's last packet came {last_ms} ms after the cut; its lease is 500 ms");
    if proving() {
        assert!(last_ms <= 550, "{last_ms} ms");
    }
    assert_recorded(&hosts, other, 30);
}

/// What a call's two ends do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Talk, and talk on.
    Talk,
    /// Ring for a while; then the callee answers.
    Answer,
    /// Ring for a while; then the caller gives up.
    Cancel,
    /// Ring for a while; then the callee refuses.
    Refuse,
    /// Talk for a moment.
    Brief,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Talk, Kind::Answer, Kind::Cancel, Kind::Refuse, Kind::Brief];

    fn number(self) -> u8 {
        Kind::ALL.iter().position(|it| *it == self).map_or(0, |at| at as u8 + 1)
    }

    /// The callees' address.
    fn callee(self) -> SocketAddr {
        (Net::at(20 + self.number()), 5080).into()
    }

    fn mix(self) -> Mix {
        let talks = Mix { hold: TALKS, ..Mix::default() };
        let rings = Mix { answer: RINGS, hold: Duration::from_secs(1), ..Mix::default() };
        match self {
            Kind::Talk => talks,
            Kind::Answer => rings,
            Kind::Cancel => Mix { cancel: 1.0, cancel_from: RINGS, answer: RINGS * 2, ..rings },
            Kind::Refuse => Mix { refuse: 1.0, ..rings },
            Kind::Brief => Mix { hold: Duration::from_secs(1), ..talks },
        }
    }
}

/// Calls under way from the carrier through a home to the PBX.
struct Calls {
    kind: Kind,
    count: usize,
    callers: JoinHandle<Report>,
    callees: JoinHandle<Report>,
}

impl Calls {
    fn place(hosts: &Hosts, home: u8, kind: Kind, count: usize) -> Calls {
        let caller = SocketAddr::from((hosts.net.address("carrier"), 5080 + u16::from(kind.number())));
        let calls = count as u64;
        let both = LoadArgs {
            rate: 100.0,
            to: format!("+3120123456{}", kind.number()),
            media: true,
            mix: kind.mix(),
            run: Some(RUN.fetch_add(1, Ordering::Relaxed)),
            ..LoadArgs::new(Hosts::home(home), caller)
        };
        let callees = LoadArgs { listen: kind.callee(), calls: 0, awaits: calls, ..both.clone() };
        let callers = LoadArgs { calls, ..both };
        Calls {
            kind,
            count,
            callees: hosts.net.spawn("pbx", move || run(&callees).expect("callees can listen")),
            callers: hosts.net.spawn("carrier", move || run(&callers).expect("callers can call")),
        }
    }

    fn finish(self) -> (Kind, Report, Report) {
        let callers = self.callers.join().expect("the callers go on");
        (self.kind, callers, self.callees.join().expect("the callees go on"))
    }
}

fn stage(detect: Duration) -> Hosts {
    let hosts = Hosts::start(detect);
    let carrier = hosts.net.address("carrier");
    let mut toml = format!(
        "[[gateway]]\nname = \"carrier\"\ntargets = [\"sip:{carrier}:5080\"]\nnetworks = [\"{carrier}/32\"]\n\
         concurrent = 100000\n"
    );
    for kind in Kind::ALL {
        let (number, callee) = (kind.number(), kind.callee());
        let ip = match callee.ip() {
            std::net::IpAddr::V4(ip) => ip,
            std::net::IpAddr::V6(_) => unreachable!("the network is IPv4"),
        };
        hosts.net.add_address("pbx", ip);
        toml += &format!(
            "\n[[trunk]]\nname = \"pbx-{number}\"\nprofile = \"generic\"\n[trunk.access]\nnetworks = [\"{ip}/32\"]\n\
             auth = [\"address\"]\n[trunk.limits]\nconcurrent = 100000\nper_minute = 1000000\nper_hour = 1000000\n\
             [trunk.media]\nports = \"20000-29999\"\n[trunk.delivery]\ntargets = [\"sip:{callee}\"]\n\
             [[number]]\ne164 = \"+3120123456{number}\"\ntrunk = \"pbx-{number}\"\n"
        );
    }
    hosts.apply(&toml);
    hosts
}

/// How many calls of the cluster talk, and how many ring.
fn calls_in_state(hosts: &Hosts, node: u8) -> (usize, usize) {
    let calls = hosts.items(node, "calls").unwrap_or_default();
    let count = |state: &str| calls.iter().filter(|call| call["state"] == state).count();
    (count("answered"), count("ringing"))
}

/// Every call ended as planned. Whoever talked was heard to the end: no silence lasted until then, `rest` after the
/// fault. Gives the longest one in milliseconds.
fn assert_ended(reports: &[(Kind, Report, Report)], rest: Duration) -> f64 {
    let mut longest: f64 = 0.0;
    for (kind, callers, callees) in reports {
        let count = callers.placed;
        let ended = match kind {
            Kind::Talk | Kind::Brief | Kind::Answer => callers.completed,
            Kind::Cancel => callers.cancelled,
            Kind::Refuse => callers.failed.get("486").copied().unwrap_or(0),
        };
        let failed = if *kind == Kind::Refuse { 1 } else { 0 };
        let is_well = ended == count && callers.failed.len() == failed && callees.failed.is_empty();
        assert!(is_well, "{kind:?}: {ended} of {count}\ncallers {callers:?}\ncallees {callees:?}");
        if *kind == Kind::Talk {
            for end in [callers, callees] {
                longest = longest.max(end.rtp.longest_gap_ms);
                let packets = end.rtp.sent.min(end.rtp.received);
                assert!(
                    packets > count * 50,
                    "each end spoke and heard for more than a second: {:?}",
                    end.rtp
                );
                assert_eq!(end.rtp.foreign, 0, "crosstalk: {:?}", end.rtp);
            }
        }
    }
    let bound = TALKS.saturating_sub(rest).as_secs_f64() * 1_000.0;
    assert!(longest < bound, "a call was silent for {longest} ms and never heard again");
    longest
}

/// For each home: once another host has spoken for it, the one before says nothing more until it holds it anew.
/// Whoever holds a home speaks for it for a while; a single packet of a former holder would be a turn of no length.
fn assert_one_speaker_at_a_time(hosts: &Hosts, frames: &[Frame]) {
    for home in 1..=3 {
        let address = home_address(home);
        let mut turns: Vec<([u8; 6], Instant)> = Vec::new();
        for frame in frames.iter().filter(|frame| *frame.from.ip() == address) {
            if turns.last().is_none_or(|(hardware, _)| *hardware != frame.hardware) {
                turns.push((frame.hardware, frame.at));
            }
        }
        let name = |hardware: [u8; 6]| (1..=3).find(|it| hosts.net.hardware(Hosts::host(*it)) == hardware);
        let turns: Vec<_> = turns.into_iter().map(|(hardware, at)| (name(hardware), at)).collect();
        println!(
            "home {home} was spoken for by {:?}",
            turns.iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
        for pair in turns.windows(2) {
            assert!(pair[1].1 - pair[0].1 >= TURN_MIN, "home {home}: two spoke at a time: {turns:?}");
        }
    }
}

/// One record a call, complete, on this node.
fn assert_recorded(hosts: &Hosts, node: u8, count: usize) {
    let mut records = Vec::new();
    let complete = wait::for_some(PATIENCE, || {
        records = hosts.records(node);
        (records.len() >= count).then_some(())
    });
    let calls: BTreeSet<_> = records.iter().map(|record| record.text("call_id_a")).collect();
    let have = (records.len(), calls.len());
    assert!(complete.is_some() && have == (count, count), "{have:?} records and calls, not {count}");
}

fn home_address(home: u8) -> Ipv4Addr {
    Net::at(100 + home)
}

/// Each run of calls has a name of its own.
static RUN: AtomicU32 = AtomicU32::new(7_700);
/// How long callees ring, and calls talk.
const RINGS: Duration = Duration::from_secs(9);
const TALKS: Duration = Duration::from_secs(14);
const PATIENCE: Duration = Duration::from_secs(30);
/// For how long a kernel keeps datagrams for a neighbour that does not answer: three questions, a second each
/// (`net.ipv4.neigh.*.mcast_solicit` and `retrans_time_ms`).
const ARP_GIVES_UP: Duration = Duration::from_millis(3_200);
/// The shortest time that a home is held in these tests.
const TURN_MIN: Duration = Duration::from_millis(300);
