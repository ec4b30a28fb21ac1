//! A trunk with two accounts, of which one is dead in any of four ways: each call reaches the other one in the same
//! attempt of its caller. With both dead, or the trunk full, it reaches the failover target.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use tests::digest::Device;
use tests::length;
use tests::orders::Load;
use tests::sipp::{Running, Sipp, Transport};
use tests::trio::{Setup, Trio, items};
use tests::wait;

const LINE: &str = "+31201110001";
const RECEPTION: &str = "+31207654321";
const PASSWORD: &str = "canary-1";

/// How an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Alive,
    /// It takes everything and says nothing.
    Silent,
    /// Nobody is there. What its machine says of that by ICMP, anybody could say: over UDP it is silence.
    Gone,
    /// 503.
    Failing,
    Unregistered,
}

/// Who answers at an account's address, or does not.
enum Callee {
    Sipp(Box<Running>),
    Mute { _socket: UdpSocket },
    Nobody,
}

struct House {
    trio: Trio,
    /// How often an account has registered: each time is another dialog.
    registered: Cell<u32>,
}

impl House {
    fn start() -> House {
        let trio = Trio::start(&Setup::default(), |trio| resources(trio, 10_000, true));
        House { trio, registered: Cell::new(0) }
    }

    fn account(&self, number: u8) -> SocketAddr {
        self.trio.peer(20 + number)
    }

    fn reception(&self) -> SocketAddr {
        self.trio.peer(30)
    }

    /// An account registers for so long, in seconds; 0 takes it away.
    fn register(&self, number: u8, expires: u32) {
        let device = Device::new(self.account(number), &format!("line-{number}"), PASSWORD);
        let lines = format!("Expires: {expires}\r\n");
        self.registered.set(self.registered.get() + 1);
        let call = format!("reg-{}", self.registered.get());
        device.send(self.trio.home(1), "REGISTER", &format!("line-{number}"), &call, 1, &lines);
        let challenge = device.expect("SIP/2.0 401");
        let answer = device.answer(&challenge, "REGISTER", 1) + &lines;
        device.send(self.trio.home(1), "REGISTER", &format!("line-{number}"), &call, 2, &answer);
        device.expect("SIP/2.0 200");
        wait::until("every node knows of it", Duration::from_secs(10), || {
            let bound = |id: u8| {
                let all = items(self.trio.node(id), "registrations");
                all.iter().any(|it| it["name"] == format!("line-{number}").as_str())
            };
            (1..=3).all(|id| bound(id) == (expires > 0))
        });
    }

    fn callee(&self, at: SocketAddr, scenario: &str) -> Callee {
        let callee = Sipp::callee(self.trio.node(1).dir(), scenario, at, Transport::Udp);
        Callee::Sipp(Box::new(callee.start()))
    }

    /// An account becomes so.
    fn becomes(&self, number: u8, how: How) -> Callee {
        let at = self.account(number);
        match how {
            How::Alive => self.callee(at, "callee"),
            How::Failing => self.callee(at, "unavailable_callee"),
            How::Silent => Callee::Mute { _socket: UdpSocket::bind(at).expect("its address is free") },
            How::Gone => Callee::Nobody,
            How::Unregistered => {
                self.register(number, 0);
                Callee::Nobody
            }
        }
    }

    fn calls(&self, count: u32, rate: u32, hold_s: f64) -> Value {
        Load::start_to(LINE, self.trio.home(2), self.trio.pbx(), (count, rate), hold_s).figures()
    }
}

impl Callee {
    /// Ends it; how many calls it has had, from their INVITE to their BYE.
    fn had(self) -> u64 {
        match self {
            Callee::Sipp(mut running) => running.stop().successful,
            Callee::Mute { .. } | Callee::Nobody => 0,
        }
    }
}

fn resources(trio: &Trio, concurrent: u32, fails_over: bool) -> String {
    let (pbx, reception) = (trio.pbx().ip(), trio.peer(30));
    let networks: Vec<String> =
        (21..=22).map(|number| format!("\"{}/32\"", trio.peer(number).ip())).collect();
    let failover = if fails_over { format!("failover = [\"number:{RECEPTION}\"]\n") } else { String::new() };
    let limits = "per_minute = 1000000\nper_hour = 1000000\nper_day = 1000000\nper_week = 1000000\n";
    format!(
        "[[tenant]]\nname = \"house\"\n\n\
         [[trunk]]\nname = \"line\"\ntenant = \"house\"\n\
         account = [{{ username = \"line-1\", password = \"{PASSWORD}\" }}, {{ username = \"line-2\", password = \
         \"{PASSWORD}\" }}]\n\
         [trunk.access]\nnetworks = [{}]\nauth = [\"digest\"]\n[trunk.media]\nmode = \"direct\"\n\
         [trunk.limits]\nconcurrent = {concurrent}\n{limits}[trunk.timers]\nno_response = \"1s\"\n[trunk.probe]\ninterval = \"0s\"\n\
         [trunk.delivery]\ntargets = [\"account:1\", \"account:2\"]\n{failover}\n\
         [[trunk]]\nname = \"reception\"\ntenant = \"house\"\n[trunk.access]\nnetworks = [\"{}/32\"]\n\
         auth = [\"address\"]\n[trunk.media]\nmode = \"direct\"\n[trunk.limits]\nconcurrent = 10000\n{limits}\
         [trunk.delivery]\ntargets = [\"sip:{reception}\"]\n\n\
         [[trunk]]\nname = \"office\"\ntenant = \"house\"\ndefault_caller_id = \"{LINE}\"\ncaller_ids = [\"{LINE}\"]\n\
         [trunk.access]\nnetworks = [\"{pbx}/32\"]\nauth = [\"address\"]\n[trunk.media]\nmode = \"direct\"\n\
         [trunk.limits]\nconcurrent = 10000\n{limits}\n\
         [[number]]\ne164 = \"{LINE}\"\ntrunk = \"line\"\n\n[[number]]\ne164 = \"{RECEPTION}\"\ntrunk = \"reception\"\n",
        networks.join(", "),
        reception.ip(),
    )
}

/// Contract, "Delivery": the accounts die in turn and in every way, and no call is lost. At full length ten thousand.
#[test]
fn t60_accounts_die_in_turn_and_every_call_reaches_the_other() {
    let house = House::start();
    let (count, rate) = length((20, 20), (1_250, 125));
    (1..=2).for_each(|number| house.register(number, 3_600));
    for how in [How::Silent, How::Gone, How::Failing, How::Unregistered] {
        for dead in [1, 2] {
            let (ill, well) = (house.becomes(dead, how), house.becomes(3 - dead, How::Alive));
            let figures = house.calls(count, rate, 0.2);
            // There was nobody else to answer them.
            assert_eq!(
                (figures["completed"].as_u64(), &figures["failed"]),
                (Some(u64::from(count)), &json!({})),
                "account {dead} is {how:?}: {figures}"
            );
            // Heard in vain for `no_response`, then the other.
            let waited = figures["pdd_ms"]["p50"].as_f64().unwrap_or_default() >= 1_000.0;
            let silent = matches!(how, How::Silent | How::Gone) && dead == 1;
            assert_eq!(waited, silent, "account {dead} is {how:?}: {figures}");
            drop((ill, well));
            if how == How::Unregistered {
                house.register(dead, 3_600);
            }
        }
    }
    assert_eq!(house.trio.settle(8 * count as usize).len(), 8 * count as usize);
    house.trio.assert_no_panic();
}

/// The failover target, and its twin without one: 486 from a full trunk, 408 from who says nothing, 480 from who is nowhere.
#[test]
fn t60_with_both_accounts_dead_or_the_trunk_full_the_failover_target_is_reached() {
    let house = House::start();
    (1..=2).for_each(|number| house.register(number, 3_600));
    let reception = house.callee(house.reception(), "callee");
    // Nobody is at either address.
    let figures = house.calls(5, 20, 0.2);
    assert_eq!((figures["completed"].as_u64(), &figures["failed"]), (Some(5), &json!({})), "{figures}");
    assert_eq!(reception.had(), 5);
    // One slot: of two calls the first holds it.
    house.trio.node(1).apply(&resources(&house.trio, 1, true));
    let (reception, line) = (house.callee(house.reception(), "callee"), house.becomes(1, How::Alive));
    let figures = house.calls(2, 4, 2.0);
    assert_eq!((figures["completed"].as_u64(), &figures["failed"]), (Some(2), &json!({})), "{figures}");
    assert_eq!((line.had(), reception.had()), (1, 1));

    house.trio.node(1).apply(&resources(&house.trio, 1, false));
    let (reception, line) = (house.callee(house.reception(), "callee"), house.becomes(1, How::Alive));
    let figures = house.calls(2, 4, 2.0);
    assert_eq!(
        (figures["completed"].as_u64(), &figures["failed"]),
        (Some(1), &json!({"486": 1})),
        "{figures}"
    );
    assert_eq!((line.had(), reception.had()), (1, 0));
    house.trio.node(1).apply(&resources(&house.trio, 10_000, false));
    let figures = house.calls(2, 4, 0.2);
    assert_eq!(
        (figures["completed"].as_u64(), &figures["failed"]),
        (Some(0), &json!({"408": 2})),
        "{figures}"
    );
    (1..=2).for_each(|number| house.register(number, 0));
    let figures = house.calls(2, 4, 0.2);
    assert_eq!(
        (figures["completed"].as_u64(), &figures["failed"]),
        (Some(0), &json!({"480": 2})),
        "{figures}"
    );
}

/// KW27: an account that does not answer OPTIONS is not waited for by each call, until it answers again. Its twin is asked
/// nothing, and every call waits for it.
#[test]
fn kw27_an_account_that_does_not_answer_options_is_tried_last_until_it_does() {
    let house = House::start();
    (1..=2).for_each(|number| house.register(number, 3_600));
    let answering = |number: u8| {
        let callee = Sipp::callee(house.trio.node(1).dir(), "callee", house.account(number), Transport::Udp);
        // It answers OPTIONS.
        callee.options(&["-aa"]).start()
    };
    let waits = || {
        let figures = house.calls(2, 20, 0.2);
        assert_eq!((figures["completed"].as_u64(), &figures["failed"]), (Some(2), &json!({})), "{figures}");
        figures["pdd_ms"]["p50"].as_f64().unwrap_or_default() >= 1_000.0
    };
    let down = |count: f64| {
        wait::until("every node knows what is down", Duration::from_secs(20), || {
            house.trio.running().all(|node| node.metric("banyan_targets_down") == Some(count))
        });
    };
    let (mute, mut second) = (house.becomes(1, How::Silent), answering(2));
    assert!(waits(), "the twin: nobody has asked the first");
    let asked = resources(&house.trio, 10_000, true).replace("interval = \"0s\"", "interval = \"400ms\"");
    house.trio.node(1).apply(&asked);
    down(1.0);
    assert!(!waits(), "the first is known to be down");
    drop(mute);
    let mut first = answering(1);
    down(0.0);
    assert!(!waits());
    assert_eq!((first.stop().successful, second.stop().successful), (2, 4));
    house.trio.assert_no_panic();
}
