//! Golden bytes of everything that stands in a log. A failure here means that logs written before can't be
//! read any more: a changed record is a new version, never an edit.

use call::{
    AttemptEnd, CallCommand, CallId, Change, Epoch, Flow, HomeId, Incarnation, NodeId, Refuse, Side, Update,
};
use cluster::codec::{DecodeError, decode_entry, encode_entry};
use cluster::{
    Batch, Boot, Command, DrainedUntil, Enrol, EnrolStep, FloatingHome, Place, Rebind, Register, Restore,
    Stamped, State, Turn, Turned,
};
use machine::{ClusterTime, WallTime};
use proptest::prelude::*;
use trunk::settings::PortRange;
use trunk::{Host, Kind, SipTarget, Transport};

use crate::support::{admit, confirm, dialog, end, gateway, leg, name};

fn entry(commands: Vec<Command>) -> Stamped {
    let batch = Batch { node: NodeId(1), incarnation: Incarnation(2), seq: 3, shard: 0, commands };
    Stamped { time: ClusterTime(4), batch }
}

fn bytes(command: Command) -> Vec<u8> {
    let stamped = entry(vec![command]);
    let mut out = Vec::new();
    encode_entry(&stamped, &mut out);
    assert_eq!(decode_entry(&out).as_ref(), Ok(&stamped));
    out
}

/// Version 2, time 4, node 1, incarnation 2, batch 3, shard 0, one command; then `expected`.
fn small(command: Command, expected: &[u8]) {
    let out = bytes(command);
    assert_eq!(&out[..7], [2, 4, 1, 2, 3, 0, 1]);
    assert_eq!(&out[7..], expected);
}

/// Larger ones by length and CRC32C.
fn large(command: CallCommand) -> (usize, u32) {
    let (call, home, epoch) = (CallId(5), HomeId(6), Epoch(7));
    let out = bytes(Command::Call { call, home, epoch, command });
    (out.len(), crc32c::crc32c(&out))
}

#[test]
fn commands_of_the_cluster() {
    let (homes, supports) = (vec![name("h")], 2);
    let boot = Boot { nonce: 9, name: "a".to_owned(), homes, supports, ..Boot::default() };
    // No floating homes, no region, supports version 2.
    small(Command::Boot(boot.clone()), &[0, 9, 1, b'a', 1, 1, b'h', 0, 0, 2]);
    let home = FloatingHome {
        name: name("f"),
        address: "192.0.2.10".parse().unwrap(),
        sip: vec![(Transport::Udp, 60), (Transport::Tcp, 5060)],
        media_ports: PortRange { first: 10, last: 20 },
        nodes: vec![NodeId(1), NodeId(3)],
        region: Some(name("eu")),
    };
    let (region, supports) = (Some(name("r")), 7);
    small(
        Command::Boot(Boot { floating: vec![home], region, supports, ..boot }),
        &[
            &[0, 9, 1, b'a', 1, 1, b'h', 1][..],
            // Its name; 192.0.2.10; UDP port 60, TCP port 5060; 10 to 20; nodes 1 and 3; in eu.
            &[1, b'f', 0, 192, 0, 2, 10, 2, 0, 60, 1, 251, 196, 19, 10, 20, 2, 1, 3, 1, 2, b'e', b'u'],
            &[1, 1, b'r', 7],
        ]
        .concat(),
    );
    small(
        Command::DeleteResource { kind: Kind::Gateway, name: "g".to_owned() },
        &[3, Kind::Gateway as u8, 1, b'g'],
    );
    small(Command::CdrsDurable(300), &[4, 251, 44, 1]);
    small(Command::Tick, &[5]);
    let out = bytes(Command::PutResources(vec![gateway("g", Some(1))]));
    assert_eq!(out[7..9], [2, 1]);
}

#[test]
fn commands_of_nodes_and_homes() {
    let (node, incarnation) = (NodeId(1), Incarnation(2));
    small(Command::Evict { node, incarnation, term: 3 }, &[6, 1, 2, 3]);
    small(Command::Leave, &[7]);
    small(Command::Return, &[8]);
    small(Command::Yield { home: HomeId(6), epoch: Epoch(7) }, &[9, 6, 7]);
    small(Command::Drain { node, until: DrainedUntil::Boot }, &[10, 1, 0]);
    small(Command::Drain { node, until: DrainedUntil::Resume }, &[10, 1, 1]);
    small(Command::Resume(node), &[11, 1]);
    small(Command::Remove(node), &[12, 1]);
    small(Command::RaiseVersion(5), &[13, 5]);
}

#[test]
fn a_restore() {
    // An empty backup: version 0 of no resources of any of seven kinds and of none of three single ones, no windows, no
    // bindings.
    let empty = Restore::read(&State::default().backup().flatten().collect::<Vec<u8>>()).unwrap();
    small(Command::Restore(Box::new(empty)), &[&[16][..], &[0; 8], &[0; 3], &[0], &[0]].concat());
}

#[test]
fn commands_of_registrations() {
    let register = |change| {
        let proof = auth::Use { issued: ClusterTime(4), salt: 5, nc: 6 };
        let (username, call_id) = ("u".to_owned(), "c".to_owned());
        let trunk = name("t");
        let register = Register { trunk, account: 1, username, call_id, cseq: 7, proof, change };
        Command::Register(Box::new(register))
    };
    // Trunk t, account 1, its name, its Call-ID, CSeq 7; a nonce of time 4 and number 5, its sixth use.
    let head = [14, 1, b't', 1, 1, b'u', 1, b'c', 7, 4, 5, 6];
    small(register(Rebind::Query), &[&head[..], &[0]].concat());
    small(register(Rebind::Remove("s".to_owned())), &[&head[..], &[2, 1, b's']].concat());
    small(register(Rebind::Clear), &[&head[..], &[3]].concat());
    let place = Place {
        contact: "s".to_owned(),
        path: vec!["p".to_owned()],
        host: Host::Name("h".to_owned()),
        port: Some(60),
        transport: Transport::Tcp,
        flow: Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:60".parse().unwrap(),
            remote: "192.0.2.2:61".parse().unwrap(),
            connection: 0,
        },
        home: HomeId(2),
        behind_nat: true,
        expires_s: 50,
        user_agent: None,
        at: WallTime(8),
    };
    small(
        register(Rebind::Put(Box::new(place))),
        &[
            &head[..],
            // Its Contact; one Path; host h by name, port 60, TCP.
            &[1, 1, b's', 1, 1, b'p', 1, 1, b'h', 1, 60, 1],
            // UDP, ours, theirs, no connection; home 2, behind NAT, 50 s, no name, at 8 (zigzag).
            &[0, 0, 192, 0, 2, 1, 60, 0, 192, 0, 2, 2, 61, 0, 2, 1, 50, 0, 16],
        ]
        .concat(),
    );
}

#[test]
fn commands_of_registrations_of_ours() {
    let enrol = |step| {
        let (gateway, home, epoch) = (name("g"), HomeId(6), Epoch(7));
        Command::Enrol(Box::new(Enrol { gateway, account: 1, home, epoch, step }))
    };
    // Gateway g, account 1, home 6 in epoch 7.
    let head = [15, 1, b'g', 1, 6, 7];
    let (target, at) = ("t".to_owned(), WallTime(8));
    let claim = EnrolStep::Claim { username: "u".to_owned(), contact: "c".to_owned() };
    small(enrol(claim), &[&head[..], &[0, 1, b'u', 1, b'c']].concat());
    let bound = EnrolStep::Bound { target: target.clone(), expires_s: 60, at };
    small(enrol(bound), &[&head[..], &[1, 1, b't', 60, 16]].concat());
    let failed = EnrolStep::Failed { target, status: 403, at };
    small(enrol(failed), &[&head[..], &[2, 1, b't', 251, 147, 1, 16]].concat());
    small(enrol(EnrolStep::Release), &[&head[..], &[3]].concat());
}

#[test]
fn commands_of_health() {
    let health = |turn| {
        let target = SipTarget::parse("sip:h:5080;transport=tcp").unwrap();
        Command::Health(Box::new(Turned { target, home: HomeId(6), epoch: Epoch(7), turn }))
    };
    // No user, the name h, port 5080, TCP, not `sips:`; home 6 in epoch 7.
    let head = [17, 0, 1, 1, b'h', 1, 251, 216, 19, 1, 1, 0, 6, 7];
    small(health(Turn::Up), &[&head[..], &[0]].concat());
    small(health(Turn::Down { status: 200, at: WallTime(8) }), &[&head[..], &[1, 200, 16]].concat());
}

/// A node that skipped what it does not know would part from the others.
#[test]
fn a_command_that_is_not_known_is_an_error_and_never_skipped() {
    let mut out = bytes(Command::RaiseVersion(5));
    let at = out.len() - 2;
    assert_eq!(out[at], 13);
    out[at] = 17;
    assert_eq!(decode_entry(&out), Err(DecodeError::Nonsense));
    // Behind one that is known it spoils the whole batch.
    let mut out = Vec::new();
    encode_entry(&entry(vec![Command::Tick, Command::RaiseVersion(5)]), &mut out);
    let at = out.len() - 2;
    out[at] = 17;
    assert_eq!(decode_entry(&out), Err(DecodeError::Nonsense));
}

#[test]
fn commands_of_calls() {
    let change = |change| CallCommand::Change(change);
    let (call, home, epoch) = (CallId(5), HomeId(6), Epoch(7));
    let at = WallTime(8);
    let small_call = |change, expected: &[u8]| {
        let command = Command::Call { call, home, epoch, command: CallCommand::Change(change) };
        // Command 1, call 5, home 6, epoch 7, a change.
        small(command, &[&[1, 5, 6, 7, 2], expected].concat());
    };
    let ended = AttemptEnd { status: 100, at };
    let attempt = call::Attempt {
        number: 1,
        from_target: 2,
        ended,
        session_expires: Some(90),
        challenge: None,
        onward: Vec::new(),
    };
    small_call(Change::Attempt(attempt), &[0, 1, 2, 100, 16, 1, 90, 0, 0]);
    small_call(Change::Cancel(at), &[2, 16]);
    small_call(Change::Acked(None), &[4, 0]);
    small_call(Change::Advance(Side::Egress, 64), &[6, 1, 64]);
    let ports = call::Ports { ingress: [10].into_iter().collect(), egress: [20].into_iter().collect() };
    let rehome = call::Rehome { local: "192.0.2.1:60".parse().unwrap(), ports: Some(ports) };
    small_call(Change::Rehome(Box::new(rehome)), &[8, 0, 192, 0, 2, 1, 60, 1, 1, 10, 1, 20]);
    let mark = |count| Change::Mark(call::Mark { side: Side::Egress, stream: 1, count, value: 3 });
    small_call(mark(call::Count::Sent(9)), &[9, 1, 1, 0, 9, 3]);
    small_call(mark(call::Count::Heard(9)), &[9, 1, 1, 1, 9, 3]);
    small_call(mark(call::Count::Control), &[9, 1, 1, 2, 3]);
    let refuse = {
        let admit = admit(1, "t", &["g"]);
        Refuse {
            key: admit.key,
            party: admit.party,
            tenant: None,
            facts: admit.facts,
            status: 403,
            reason: "rule".to_owned(),
            started_at: at,
            proof: None,
        }
    };
    let progress = call::Progress {
        attempt: 0,
        dialog: dialog(dialog::Role::Uac, "x"),
        status: 183,
        rseq: Some(1),
        sdp: None,
        at,
    };
    let update = Update { side: Side::Ingress, leg: leg(dialog::Role::Uas), far: None };
    let golden = [
        ("Admit", large(CallCommand::Admit(admit(1, "t", &["g"]).into()))),
        ("Refuse", large(CallCommand::Refuse(Box::new(refuse)))),
        ("Progress", large(change(Change::Progress(Box::new(progress))))),
        ("Confirm", large(confirm(8))),
        ("Update", large(change(Change::Update(Box::new(update))))),
        ("End", large(end(200, 8))),
    ];
    assert_eq!(golden, GOLDEN);
}

const GOLDEN: [(&str, (usize, u32)); 6] = [
    // Two bytes and one more than before there were registrations: no proof, and in Admit a target without one.
    ("Admit", (229, 2759960806)),
    ("Refuse", (56, 3161139186)),
    ("Progress", (138, 3781740674)),
    ("Confirm", (429, 1106150303)),
    ("Update", (221, 590806817)),
    ("End", (26, 2050792956)),
];

#[test]
fn what_is_not_an_entry_is_refused() {
    assert_eq!(decode_entry(&[]), Err(DecodeError::Empty));
    assert_eq!(decode_entry(&[1, 0]), Err(DecodeError::Version(1)));
    let mut out = bytes(Command::Tick);
    out.push(0);
    assert_eq!(decode_entry(&out), Err(DecodeError::Trailing(1)));
    // A length that would take all memory.
    assert_eq!(
        decode_entry(&[2, 4, 1, 2, 3, 0, 253, 255, 255, 255, 255, 255, 255, 255, 255]),
        Err(DecodeError::Nonsense)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(first) = bytes.first_mut() {
            *first = 2;
        }
        let _ = decode_entry(&bytes);
        let _ = cluster::log::scan(&bytes, |_, _| ());
        let _ = cluster::State::from_snapshot(&bytes);
    }
}
