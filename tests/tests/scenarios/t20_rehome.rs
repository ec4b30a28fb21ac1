//! Three nodes without floating homes: the holder of answered calls is killed, and the others tell the peers by
//! re-INVITE (architecture "A node dies"). The twin's parties forbid it.

use std::time::Duration;

use tests::resources::FAR_NUMBER;
use tests::sipp::{Running, Sipp, Transport};
use tests::trio::{Setup, Trio};
use tests::{length, wait};

/// Three nodes, each with its own address as its only home.
fn three(reinvite: &str) -> Trio {
    three_with(|trio| resources(trio, reinvite))
}

fn three_with(resources: impl FnOnce(&Trio) -> String) -> Trio {
    let setup = Setup { homes: 0, detect: Duration::from_secs(2), ..Setup::default() };
    let mut trio = Trio::start(&setup, resources);
    // A node with other media ports: a call that moves there needs others.
    let node = trio.node(3);
    let file = trio.node_file(node, true).replace("20000-29999", "30000-30999");
    node.write_node_file(&file);
    trio.node_mut(3).stop();
    trio.node_mut(3).start();
    trio.await_leader();
    trio
}

/// Two offices that call, and two carriers that are called: by +49 and by +31.
fn resources(trio: &Trio, reinvite: &str) -> String {
    let media = format!("[gateway.media]\nreinvite = \"{reinvite}\"\n\n");
    let carrier_a = gateway(trio, "carrier-a", CARRIER_A, "+49");
    let carrier_b = gateway(trio, "carrier-b", CARRIER_B, "+31");
    let office = office(trio);
    format!("{carrier_a}{media}{carrier_b}{media}{office}[trunk.media]\nreinvite = \"{reinvite}\"\n")
}

fn gateway(trio: &Trio, name: &str, last: u8, prefix: &str) -> String {
    let at = trio.peer(last);
    format!(
        "[[gateway]]\nname = \"{name}\"\ntargets = [\"sip:{at}\"]\nnetworks = [\"{}/32\"]\n\
         prefixes = [\"{prefix}\"]\npriority = {last}\nconcurrent = 1000\n[gateway.probe]\ninterval = \"0s\"\n\n",
        at.ip()
    )
}

fn office(trio: &Trio) -> String {
    format!(
        "[[tenant]]\nname = \"house\"\n\n\
         [[trunk]]\nname = \"office\"\ntenant = \"house\"\ncaller_ids = [\"+31201234567\"]\n\
         default_caller_id = \"+31201234567\"\n\n[trunk.access]\nnetworks = [\"{}/32\", \"{}/32\"]\n\
         auth = [\"address\"]\n\n[trunk.limits]\nconcurrent = 1000\nper_minute = 10000\n\n",
        trio.peer(OFFICE_A).ip(),
        trio.peer(OFFICE_B).ip()
    )
}

fn callees(trio: &Trio, scenario: &str, last: u8) -> Running {
    Sipp::callee(trio.node(2).dir(), scenario, trio.peer(last), Transport::Udp).start()
}

/// Calls to the first node.
fn callers(trio: &Trio, scenario: &str, last: u8, number: &str) -> Running {
    Sipp::caller(trio.node(2).dir(), scenario, trio.peer(last), trio.node(1).sip(), Transport::Udp)
        .load(50, calls(), Duration::from_secs(6), number)
        .start()
}

/// A metric, over the nodes that run.
fn sum(trio: &Trio, metric: &str) -> f64 {
    trio.running().filter_map(|node| node.metric(metric)).sum()
}

/// Waits until so many calls were answered, and the ACKs of all are recorded.
fn await_up(trio: &Trio, calls: u32) {
    let up = || sum(trio, "banyan_calls_answered_total") >= f64::from(calls);
    wait::until("the calls are up", PATIENCE, up);
    wait::pass(Duration::from_millis(500));
    let recorded = || trio.node(1).metric("banyan_proposals_waiting") == Some(0.0);
    wait::until("their ACKs are recorded", PATIENCE, recorded);
}

/// Waits until so many calls are up at the first node, and kills it.
fn kill_amid(trio: &mut Trio, calls: u32) {
    await_up(trio, calls);
    assert_eq!(trio.node(1).metric("banyan_calls"), Some(f64::from(calls)));
    trio.node_mut(1).kill();
}

const OFFICE_A: u8 = 21;
const OFFICE_B: u8 = 22;
const CARRIER_A: u8 = 23;
const CARRIER_B: u8 = 24;
const CARRIER_C: u8 = 25;
/// How many calls each caller places.
fn calls() -> u32 {
    length(10, 150)
}

const NEAR_NUMBER: &str = "+31301111111";
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn t20_answered_calls_of_a_dead_nodes_own_address_go_on_at_the_others() {
    let mut trio = three("failover");
    let mut quiet_callees = callees(&trio, "rehomed_callee_passive", CARRIER_A);
    let mut busy_callees = callees(&trio, "rehomed_callee_active", CARRIER_B);
    let mut busy_callers = callers(&trio, "rehomed_caller_active", OFFICE_A, FAR_NUMBER);
    let mut quiet_callers = callers(&trio, "rehomed_caller_passive", OFFICE_B, NEAR_NUMBER);
    kill_amid(&mut trio, 2 * calls());
    let moved = |trio: &Trio| sum(trio, "banyan_rehomed_calls_total") >= f64::from(2 * calls());
    wait::until("the peers know", PATIENCE, || moved(&trio));
    // It comes back, and its former calls stay where they are.
    trio.node_mut(1).start();

    // Each side in turn is moved, holds, refreshes, resumes and hangs up.
    for callers in [&mut busy_callers, &mut quiet_callers] {
        let counts = callers.finish(Duration::from_secs(60));
        assert_eq!((counts.successful, counts.failed), (u64::from(calls()), 0), "{}", callers.errors());
    }
    for callees in [&mut quiet_callees, &mut busy_callees] {
        let counts = callees.stop();
        assert_eq!((counts.successful, counts.failed), (u64::from(calls()), 0), "{}", callees.errors());
    }
    assert_eq!(sum(&trio, "banyan_rehomed_calls_total"), f64::from(2 * calls()));
    assert_eq!(trio.node(1).metric("banyan_calls_restored_total"), Some(0.0));
    let records = trio.settle(2 * calls() as usize);
    assert_eq!(records.len(), 2 * calls() as usize, "one record each");
    for record in &records {
        assert!(record.answered() && record.0["events"].to_string().contains("\"rehomed\""), "{}", record.0);
        assert_eq!(record.text("reason"), "BYE", "{}", record.0);
    }
    let free = || trio.running().all(|node| node.metric("banyan_cluster_slots") == Some(0.0));
    wait::until("no slot is held", PATIENCE, free);
    trio.assert_no_panic();
}

/// The twin: its parties forbid it. What they say to the dead address is heard again when its node is back, which
/// passes it on to the nodes that have the calls now.
#[test]
fn t20_parties_that_forbid_re_invites_are_not_asked_and_are_heard_by_the_returned_node() {
    let mut trio = three("never");
    let mut callees = callees(&trio, "callee", CARRIER_A);
    let mut callers = callers(&trio, "caller", OFFICE_A, FAR_NUMBER);
    kill_amid(&mut trio, calls());
    let told = || sum(&trio, "banyan_rehome_failures_total") >= f64::from(2 * calls());
    wait::until("the calls are adopted", PATIENCE, told);
    assert_eq!(sum(&trio, "banyan_calls"), f64::from(calls()));
    trio.node_mut(1).start();

    // SIPp aborts a call at a message that its scenario does not know: a re-INVITE, for instance.
    let counts = callers.finish(Duration::from_secs(60));
    assert_eq!((counts.successful, counts.failed), (u64::from(calls()), 0), "{}", callers.errors());
    let ended = callers.logged().iter().filter(|line| line.contains("ended")).count();
    assert_eq!(ended, calls() as usize, "each BYE got its 200");
    let counts = callees.stop();
    assert_eq!((counts.successful, counts.failed), (u64::from(calls()), 0), "{}", callees.errors());
    assert_eq!(sum(&trio, "banyan_rehomed_calls_total"), 0.0);
    assert!(trio.node(1).metric("banyan_messages_forwarded_total") >= Some(f64::from(2 * calls())));
    let records = trio.settle(calls() as usize);
    assert_eq!(records.len(), calls() as usize);
    for record in &records {
        assert!(record.0["events"].to_string().contains("\"not-rehomed\""), "{}", record.0);
        assert_eq!(record.text("hangup_by"), "caller", "{}", record.0);
    }
    trio.assert_no_panic();
}

/// A drain and a stop move the calls of a node's own address before it falls silent for good.
#[test]
fn t20_a_drained_node_hands_its_calls_over_and_takes_new_ones_when_resumed() {
    let mut trio = three("yes");
    let mut callees = callees(&trio, "rehomed_callee_active", CARRIER_B);
    let mut callers = callers(&trio, "rehomed_caller_passive", OFFICE_B, NEAR_NUMBER);
    await_up(&trio, calls());
    assert!(trio.node(2).banyan(["node", "drain", "1"]).status.success());
    assert_eq!(trio.node(1).metric("banyan_calls"), Some(0.0));

    let counts = callers.finish(Duration::from_secs(60));
    assert_eq!((counts.successful, counts.failed), (u64::from(calls()), 0), "{}", callers.errors());
    let counts = callees.stop();
    assert_eq!((counts.successful, counts.failed), (u64::from(calls()), 0), "{}", callees.errors());
    assert_eq!(sum(&trio, "banyan_rehomed_calls_total"), f64::from(calls()));

    assert!(trio.node(2).banyan(["node", "resume", "1"]).status.success());
    wait::until("it is ready again", PATIENCE, || trio.node(1).ready());
    let mut callees = self::callees(&trio, "rehomed_callee_passive", CARRIER_A);
    let mut callers = self::callers(&trio, "rehomed_caller_active", OFFICE_A, FAR_NUMBER);
    await_up(&trio, 2 * calls());
    assert!(trio.node_mut(1).stop().success());
    let counts = callers.finish(Duration::from_secs(60));
    assert_eq!((counts.successful, counts.failed), (u64::from(calls()), 0), "{}", callers.errors());
    callees.stop();
    let records = trio.settle(2 * calls() as usize);
    assert_eq!(records.len(), 2 * calls() as usize, "one record each");
    assert!(records.iter().all(|record| record.text("reason") == "BYE"), "nobody but the peers ended a call");
    trio.assert_no_panic();
}

/// The twin: parties that forbid re-INVITEs keep their calls, and the node its address, until the calls have ended.
#[test]
fn t20_a_drained_node_keeps_the_calls_of_parties_that_forbid_re_invites() {
    let trio = three("never");
    let mut callees = callees(&trio, "callee", CARRIER_A);
    let mut callers = callers(&trio, "caller", OFFICE_A, FAR_NUMBER);
    await_up(&trio, calls());
    let drained = trio.node(2).banyan(["node", "drain", "1", "--timeout", "2"]);
    assert_eq!(drained.status.code(), Some(1), "it still has calls");
    assert_eq!(trio.node(1).metric("banyan_calls"), Some(f64::from(calls())));
    let counts = callers.finish(Duration::from_secs(60));
    assert_eq!((counts.successful, counts.failed), (u64::from(calls()), 0), "{}", callers.errors());
    callees.stop();
    assert!(trio.node(2).banyan(["node", "drain", "1"]).status.success());
    let records = trio.settle(calls() as usize);
    assert!(
        records
            .iter()
            .all(|record| record.text("reason") == "BYE" && record.0["events"] == serde_json::json!([]))
    );
    assert_eq!(sum(&trio, "banyan_rehome_failures_total"), 0.0);
}

/// A ringing call is cancelled where it rang. It rings elsewhere, where a further carrier may be tried after it rang,
/// and ends with 503 where there is none.
#[test]
fn t20_ringing_calls_of_a_dead_nodes_own_address_ring_elsewhere_or_end() {
    let mut trio = three_with(|trio| {
        let on = "[gateway.delivery]\nafter_progress = \"continue\"\n\n";
        let first = gateway(trio, "carrier-a", CARRIER_A, "+49");
        let second = gateway(trio, "carrier-b", CARRIER_B, "+49");
        let only = gateway(trio, "carrier-c", CARRIER_C, "+31");
        format!("{first}{on}{second}{only}{on}{}", office(trio))
    });
    let mut ringing = [CARRIER_A, CARRIER_C].map(|last| callees(&trio, "ringing_callee", last));
    let mut answering = callees(&trio, "rehomed_callee_passive", CARRIER_B);
    let mut lucky = callers(&trio, "ringing_caller", OFFICE_A, FAR_NUMBER);
    let mut others = callers(&trio, "ringing_caller", OFFICE_B, NEAR_NUMBER);
    let rings = |running: &Running| running.logged().iter().filter(|line| line.contains("rings")).count();
    wait::until("they ring", PATIENCE, || rings(&lucky) + rings(&others) == 2 * calls() as usize);
    wait::pass(Duration::from_millis(200));
    trio.node_mut(1).kill();

    for (callers, word) in [(&mut lucky, "ended"), (&mut others, "refused")] {
        let counts = callers.finish(Duration::from_secs(60));
        assert_eq!((counts.successful, counts.failed), (u64::from(calls()), 0), "{}", callers.errors());
        let logged = callers.logged().iter().filter(|line| line.contains(word)).count();
        assert_eq!(logged, calls() as usize, "{word}");
    }
    for callees in &mut ringing {
        callees.stop();
        let cancelled = callees.logged().iter().filter(|line| line.contains("cancelled")).count();
        assert_eq!(cancelled, calls() as usize, "each old INVITE is cancelled: {}", callees.errors());
    }
    answering.stop();
    let records = trio.settle(2 * calls() as usize);
    assert_eq!(records.len(), 2 * calls() as usize, "one record each");
    let answered: Vec<_> = records.iter().filter(|record| record.answered()).collect();
    assert_eq!(answered.len(), calls() as usize);
    assert!(answered.iter().all(|record| record.text("gateway") == "carrier-b"));
    assert!(records.iter().all(|record| record.answered() || record.status() == 503));
    trio.assert_no_panic();
}
