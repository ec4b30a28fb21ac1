//! `apply`, command by command.

use call::{AttemptEnd, CallCommand, Change, InviteKey, LimitedBy, Outcome as Call, Refuse};
use cluster::{Batch, Command, Delta, Outcome, State, Verdict};
use machine::WallTime;
use trunk::{Kind, Scope, Side};

use crate::support::{Bench, admit, confirm, end, gateway, name, slot, target, trunk};

fn limited(outcome: &Call) -> (&'static str, LimitedBy, u32) {
    match outcome {
        Call::Limited(it) if it.egress => ("egress", it.kind, it.limit),
        Call::Limited(it) => ("ingress", it.kind, it.limit),
        other => panic!("{other:?}"),
    }
}

/// A bench with trunk `t` (30 calls) and gateways `g` (one call) and `h`.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.put(vec![
        trunk("t", |t| t.settings.limits.concurrent = Some(30)),
        gateway("g", Some(1)),
        gateway("h", None),
    ]);
    bench
}

fn attempt(number: u16, from_target: u16) -> CallCommand {
    CallCommand::Change(Change::Attempt(call::Attempt {
        number,
        from_target,
        ended: AttemptEnd { status: 503, at: WallTime(1_800_000_000_100) },
        session_expires: None,
        challenge: None,
        onward: Vec::new(),
    }))
}

#[test]
fn a_call_takes_slots_at_admission_and_gives_them_back_at_its_end_once() {
    let mut bench = bench();
    let (t, g) = (Scope::Trunk(name("t")), Scope::Gateway(name("g")));
    assert_eq!(bench.admit(admit(1, "t", &["g"])), Call::Target(0));
    assert_eq!((bench.used(&t), bench.used(&g)), (1, 1));
    assert_eq!(bench.call(1, confirm(1_800_000_001_000)), Call::Done);
    assert_eq!(bench.call(1, end(200, 1_800_000_003_500)), Call::Done);
    assert_eq!((bench.used(&t), bench.used(&g), bench.state.calls().len()), (0, 0, 0));
    // BYE from both sides at once: the second End finds nothing to release.
    assert_eq!(bench.call(1, end(200, 1_800_000_003_500)), Call::Stale);
    let (number, cdr) = bench.state.cdrs().next().unwrap();
    assert_eq!((number, cdr.sip_status, cdr.duration_ms()), (1, 200, 2500));
    assert_eq!(cdr.call_id_b.as_deref(), Some("egress-call-id@example.net"));
    assert_eq!((cdr.node_start.0, cdr.node_end.0), (1, 1));
    assert_eq!(bench.state.cdrs().len(), 1);
}

#[test]
fn a_full_trunk_refuses_with_its_limit_and_a_cdr_and_admits_again_after_one_end() {
    let mut bench = bench();
    for n in 1..=30 {
        assert_eq!(bench.admit(admit(n, "t", &["h"])), Call::Target(0));
    }
    assert_eq!(limited(&bench.admit(admit(31, "t", &["h"]))), ("ingress", LimitedBy::Concurrent, 30));
    assert_eq!(bench.used(&Scope::Trunk(name("t"))), 30);
    let (_, cdr) = bench.state.cdrs().next().unwrap();
    assert_eq!(cdr.sip_status, 503);
    bench.call(7, end(487, 1_800_000_000_500));
    assert_eq!(bench.admit(admit(32, "t", &["h"])), Call::Target(0));
}

#[test]
fn the_first_target_with_room_is_chosen_in_the_same_step() {
    let mut bench = bench();
    assert_eq!(bench.admit(admit(1, "t", &["g", "h"])), Call::Target(0));
    assert_eq!(bench.admit(admit(2, "t", &["g", "h"])), Call::Target(1));
    assert_eq!(limited(&bench.admit(admit(3, "t", &["g"]))), ("egress", LimitedBy::Concurrent, 1));
    // The trunk's slot was not kept by the refused one.
    assert_eq!(bench.used(&Scope::Trunk(name("t"))), 2);
}

#[test]
fn a_further_attempt_takes_the_next_slot_and_releases_the_last_in_one_step() {
    let mut bench = bench();
    let (g, h) = (Scope::Gateway(name("g")), Scope::Gateway(name("h")));
    bench.admit(admit(1, "t", &["g", "h"]));
    assert_eq!((bench.used(&g), bench.used(&h)), (1, 0));
    assert_eq!(bench.call(1, attempt(1, 1)), Call::Target(1));
    assert_eq!((bench.used(&g), bench.used(&h)), (0, 1));
    // Back to a gateway that somebody else took meanwhile: the call stays as it was.
    bench.admit(admit(2, "t", &["g"]));
    assert_eq!(limited(&bench.call(1, attempt(2, 2))).1, LimitedBy::Concurrent);
    assert_eq!((bench.used(&g), bench.used(&h)), (1, 1));
    bench.call(1, end(503, 1_800_000_000_900));
    let cdr = bench.state.cdrs().next().unwrap().1.clone();
    let tried: Vec<_> = cdr.attempts.iter().map(|a| (a.target.as_str(), a.status)).collect();
    assert_eq!(
        tried,
        [("sip:+31201234567@g.example.com", Some(503)), ("sip:+31201234567@h.example.com", Some(503)),]
    );
}

#[test]
fn a_call_in_and_out_on_one_trunk_takes_two_slots_of_it() {
    let mut bench = Bench::new();
    bench.put(vec![trunk("t", |t| t.settings.limits.concurrent = Some(3))]);
    let hairpin = |n| {
        let mut hairpin = admit(n, "t", &["g"]);
        hairpin.plan.targets = vec![target("g")];
        hairpin.plan.targets[0].slots = vec![slot(Scope::Trunk(name("t")), Side::Egress)];
        hairpin
    };
    assert_eq!(bench.admit(hairpin(1)), Call::Target(0));
    assert_eq!(bench.used(&Scope::Trunk(name("t"))), 2);
    // One is free, two are needed.
    assert_eq!(limited(&bench.admit(hairpin(2))).2, 3);
    assert_eq!(bench.admit(admit(3, "t", &["h"])), Call::Target(0));
}

#[test]
fn a_lowered_limit_drops_nobody_and_admits_nobody_until_below() {
    let mut bench = bench();
    (1..=3).for_each(|n| drop(bench.admit(admit(n, "t", &["h", "h"]))));
    bench.put(vec![trunk("t", |t| t.settings.limits.concurrent = Some(2))]);
    assert_eq!(bench.state.calls().len(), 3);
    // Failover of a call that is up keeps its slot, although the trunk is above its limit.
    assert_eq!(bench.call(1, attempt(1, 1)), Call::Target(1));
    bench.call(1, end(487, 1_800_000_000_500));
    assert_eq!(limited(&bench.admit(admit(4, "t", &["h"]))).2, 2);
    bench.call(2, end(487, 1_800_000_000_500));
    assert_eq!(bench.admit(admit(5, "t", &["h"])), Call::Target(0));
}

#[test]
fn emergency_calls_bypass_limits_and_windows_and_are_not_counted_in_them() {
    let mut bench = Bench::new();
    bench.put(vec![trunk("t", |t| {
        (t.settings.limits.concurrent, t.settings.limits.per_minute) = (Some(0), Some(0));
    })]);
    let mut emergency = admit(1, "t", &["g"]);
    (emergency.emergency, emergency.plan.emergency) = (true, true);
    assert_eq!(bench.admit(emergency), Call::Target(0));
    assert_eq!(bench.state.usage(&Scope::Trunk(name("t"))).hour, 0);
    assert_eq!(limited(&bench.admit(admit(2, "t", &["g"]))).1, LimitedBy::Minute);
}

#[test]
fn a_repeated_invite_finds_its_call_and_a_merged_one_is_known_until_64_t1_after_the_end() {
    let mut bench = bench();
    bench.admit(admit(1, "t", &["h"]));
    let again = |bench: &mut Bench, n, branch| {
        let mut again = admit(n, "t", &["h"]);
        again.key = InviteKey { dialog: 1, branch };
        bench.admit(again)
    };
    let first = bench.id(1);
    assert_eq!(again(&mut bench, 2, 1), Call::Duplicate(first));
    assert_eq!(again(&mut bench, 3, 99), Call::Merged);
    assert_eq!(bench.used(&Scope::Trunk(name("t"))), 1);
    bench.call(1, end(487, 1_800_000_000_500));
    bench.time += 31_999;
    assert_eq!(again(&mut bench, 4, 1), Call::Refused(487));
    bench.time += 1;
    assert_eq!(again(&mut bench, 5, 1), Call::Target(0));
}

#[test]
fn a_repeated_invite_hears_how_it_was_refused_unless_it_was_answered_first() {
    for (answered, heard) in [(false, Call::Refused(503)), (true, Call::Duplicate(bench().id(1)))] {
        let mut bench = bench();
        bench.admit(admit(1, "t", &["h"]));
        if answered {
            bench.call(1, confirm(1_800_000_001_000));
        }
        bench.call(1, end(if answered { 200 } else { 503 }, 1_800_000_002_000));
        let again = |state: &mut Bench| state.call(2, CallCommand::Admit(admit(1, "t", &["h"]).into()));
        assert_eq!(again(&mut bench), heard);
        // A successor that got a snapshot instead of the entries knows it too.
        let snapshot: Vec<u8> = bench.state.clone().into_snapshot(Vec::new()).flatten().collect();
        bench.state = State::from_snapshot(&snapshot).expect("whole").1;
        assert_eq!(again(&mut bench), heard);
    }
}

#[test]
fn a_repeated_invite_of_a_refused_call_hears_the_same_and_makes_no_second_cdr() {
    let mut bench = bench();
    bench.admit(admit(1, "t", &["g"]));
    let refused = bench.admit(admit(2, "t", &["g"]));
    assert!(matches!(refused, Call::Limited(_)));
    assert_eq!(bench.call(9, CallCommand::Admit(admit(2, "t", &["g"]).into())), refused);
    let refuse = || {
        let admit = admit(3, "t", &["g"]);
        CallCommand::Refuse(Box::new(Refuse {
            key: admit.key,
            party: admit.party,
            tenant: None,
            facts: admit.facts,
            status: 403,
            reason: "destinations.deny_prefixes".to_owned(),
            started_at: admit.started_at,
            proof: None,
        }))
    };
    assert_eq!((bench.call(3, refuse()), bench.call(3, refuse())), (Call::Done, Call::Done));
    let copy = CallCommand::Admit(admit(3, "t", &["g"]).into());
    assert_eq!(bench.call(4, copy), Call::Refused(403), "admitted meanwhile or not");
    let statuses: Vec<_> = bench.state.cdrs().map(|(_, cdr)| cdr.sip_status).collect();
    assert_eq!(statuses.len(), 2);
    assert_eq!(statuses[1], 403);
}

#[test]
fn batches_count_once_and_in_order() {
    let mut bench = bench();
    let command = Command::Call {
        call: bench.id(1),
        home: bench.home,
        epoch: bench.epoch,
        command: CallCommand::Admit(admit(1, "t", &["h"]).into()),
    };
    let batch = bench.stamped(bench.seq + 1, vec![command.clone()]);
    let mut deltas = Vec::new();
    assert!(matches!(bench.state.apply(&batch, &mut deltas), Verdict::Applied(_)));
    let digest = bench.state.full_digest();
    deltas.clear();
    assert_eq!(bench.state.apply(&batch, &mut deltas), Verdict::Repeated);
    let ahead = bench.stamped(bench.seq + 3, vec![command]);
    assert_eq!(bench.state.apply(&ahead, &mut deltas), Verdict::Gap { expected: bench.seq + 2 });
    assert_eq!((bench.state.full_digest(), deltas.len()), (digest, 0));
}

#[test]
fn a_process_that_was_succeeded_is_fenced_and_its_epoch_is_stale() {
    let mut bench = bench();
    bench.admit(admit(1, "t", &["h"]));
    let late = bench.stamped(bench.seq + 1, vec![Command::Tick]);
    let old = (bench.id(1), bench.epoch);
    bench.boot(2);
    assert_eq!(bench.state.apply(&late, &mut Vec::new()), Verdict::Fenced);
    // The successor itself, with the epoch of before.
    let command = |epoch| Command::Call { call: old.0, home: bench.home, epoch, command: end(200, 0) };
    let outcomes = [command(old.1), command(bench.epoch)].map(|command| bench.apply(vec![command]));
    assert_eq!(outcomes[0], [Outcome::Call(Call::Stale)]);
    assert_eq!(outcomes[1], [Outcome::Call(Call::Done)]);
}

#[test]
fn a_repeated_boot_begins_no_second_life() {
    let mut bench = bench();
    let boot =
        cluster::Boot { nonce: 1, name: "a".to_owned(), homes: vec![name("a")], ..cluster::Boot::default() };
    let node = call::NodeId(1);
    let batch = Batch {
        node,
        incarnation: call::Incarnation(0),
        seq: 0,
        shard: 0,
        commands: vec![Command::Boot(boot)],
    };
    let stamped = cluster::Stamped { time: machine::ClusterTime(2_000_000), batch };
    assert_eq!(bench.state.apply(&stamped, &mut Vec::new()), Verdict::Repeated);
    let booted = bench.state.booted(node, 1).unwrap();
    assert_eq!((booted.incarnation, booted.homes[0].epoch), (bench.incarnation, bench.epoch));
}

#[test]
fn resources_are_put_all_or_nothing_and_deleted_unless_named() {
    let mut bench = bench();
    let dangling = trunk("u", |t| t.tenant = Some(name("nobody")));
    let outcomes = bench.apply(vec![Command::PutResources(vec![gateway("i", None), dangling])]);
    assert!(matches!(outcomes.as_slice(), [Outcome::Put(Err(_))]));
    assert!(!bench.state.resources().gateways.contains_key("i"));
    bench.deltas.clear();
    let delete = |name: &str| Command::DeleteResource { kind: Kind::Gateway, name: name.to_owned() };
    let outcomes = bench.apply(vec![delete("h"), delete("h")]);
    assert!(matches!(outcomes.as_slice(), [Outcome::Deleted(Ok(())), Outcome::Deleted(Err(_))]));
    assert!(matches!(bench.deltas.as_slice(), [Delta::Resources(_)]));
}

#[test]
fn cdrs_leave_the_state_when_they_are_on_disk() {
    let mut bench = bench();
    for n in 1..=3 {
        bench.admit(admit(n, "t", &["h"]));
        bench.call(n, end(487, 1_800_000_000_500));
    }
    bench.apply(vec![Command::CdrsDurable(2)]);
    assert_eq!(bench.state.cdrs().map(|(number, _)| number).collect::<Vec<_>>(), [3]);
    // Nobody can have what was never made.
    bench.apply(vec![Command::CdrsDurable(99)]);
    bench.admit(admit(4, "t", &["h"]));
    bench.call(4, end(487, 1_800_000_000_500));
    assert_eq!(bench.state.cdrs().map(|(number, _)| number).collect::<Vec<_>>(), [4]);
}

#[test]
fn a_snapshot_is_the_state() {
    let mut bench = bench();
    for n in 1..=40 {
        bench.admit(admit(n, "t", &["g", "h"]));
        match n % 3 {
            0 => drop(bench.call(n, end(487, 1_800_000_000_500))),
            1 => drop(bench.call(n, confirm(1_800_000_000_500))),
            _ => {}
        }
        bench.time += 700;
    }
    let empty: Vec<u8> = bench.state.clone().into_snapshot(Vec::new()).flatten().collect();
    let mark = call::Mark { side: call::Side::Egress, stream: 0, count: call::Count::Sent(9), value: 2 };
    bench.call(2, CallCommand::Change(call::Change::Mark(mark)));
    let bytes: Vec<u8> = bench.state.clone().into_snapshot(b"label".to_vec()).flatten().collect();
    let (label, state) = State::from_snapshot(&bytes).unwrap();
    assert_eq!(label, b"label");
    assert_eq!((state.digest(), state.full_digest()), (bench.state.digest(), bench.state.full_digest()));
    assert!(state.is_consistent() && bench.state.is_consistent());
    assert_eq!(state.call(bench.id(2)).unwrap().marks, [mark]);
    // One without marks, as before version 3, is read too, and is another state.
    let (_, before) = State::from_snapshot(&empty).unwrap();
    assert!(before.is_consistent() && before.call(bench.id(2)).unwrap().marks.is_empty());
    assert_ne!(before.digest(), state.digest());
    // And it goes on the same way.
    let mut copy = Bench { state, deltas: Vec::new(), ..bench };
    assert_eq!(copy.admit(admit(41, "t", &["h"])), Call::Target(0));
    // Cut or flipped anywhere, it is refused.
    for cut in (0..bytes.len()).step_by(97) {
        assert!(State::from_snapshot(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for flip in (0..bytes.len()).step_by(101) {
        let mut damaged = bytes.clone();
        damaged[flip] ^= 0x10;
        assert!(State::from_snapshot(&damaged).is_err(), "flip at {flip}");
    }
}
