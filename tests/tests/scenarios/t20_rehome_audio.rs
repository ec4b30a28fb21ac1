//! Telephones that others wrote stay content when the node of their call dies with its address: they hear each other
//! again once each has had its re-INVITE, and hang up as always.

use std::time::Duration;

use tests::baresip::Telephone;
use tests::sipp::Transport;
use tests::trio::{Setup, Trio};
use tests::{length, wait};

/// Far apart, and no harmonics of one another.
const CALLER_HERTZ: f64 = 440.0;
const CALLEE_HERTZ: f64 = 1_100.0;

#[test]
fn t20_telephones_hear_each_other_again_when_their_node_is_dead() {
    let calls = length(2_u16, 10);
    let setup = Setup { homes: 0, detect: Duration::from_secs(2), ..Setup::default() };
    let mut trio = Trio::start(&setup, |_| house(calls));
    let dir = trio.node(2).dir().to_owned();
    let mut pairs: Vec<(Telephone, Telephone)> = (0..calls).map(|pair| telephones(&dir, pair)).collect();
    let begun = wait::now();
    for (pair, (caller, callee)) in (0..calls).zip(&mut pairs) {
        callee.start();
        caller.call(&number(pair), &trio.node(1).sip().to_string(), 120);
    }
    let sum = |trio: &Trio, metric| trio.running().filter_map(|node| node.metric(metric)).sum::<f64>();
    wait::until("the calls are up", PATIENCE, || {
        sum(&trio, "banyan_calls_answered_total") >= f64::from(calls)
    });
    wait::pass(Duration::from_secs(2));
    trio.node_mut(1).kill();
    // More than this nobody can have heard by now.
    let before = usize::try_from(begun.elapsed().as_millis() / 100).unwrap_or(usize::MAX);
    wait::until("the peers know", PATIENCE, || sum(&trio, "banyan_rehomed_calls_total") >= f64::from(calls));
    wait::pass(Duration::from_secs(3));

    // Half of the calls are ended by who called, half by who was called.
    for (pair, (caller, callee)) in pairs.iter_mut().enumerate() {
        let (first, second) = if pair % 2 == 0 { (caller, callee) } else { (callee, caller) };
        first.stop();
        wait::pass(Duration::from_millis(300));
        second.stop();
    }
    let records = trio.settle(usize::from(calls));
    assert_eq!(records.len(), usize::from(calls), "one record each");
    for record in &records {
        assert!(record.answered() && record.text("reason") == "BYE", "{}", record.0);
        assert!(record.0["events"].to_string().contains("\"rehomed\""), "{}", record.0);
    }
    for (caller, callee) in &pairs {
        for (telephone, hertz) in [(caller, CALLEE_HERTZ), (callee, CALLER_HERTZ)] {
            let heard = telephone.tenths_heard(hertz);
            assert!(heard >= before + 15, "{heard} tenths, {before} at most before\n{}", telephone.words());
        }
    }
    trio.assert_no_panic();
}

fn telephones(dir: &std::path::Path, pair: u16) -> (Telephone, Telephone) {
    let of = |user: &str, at: u16, hertz| {
        let (port, rtp) = (5_100 + 4 * at, 31_000 + 40 * at);
        Telephone::new(dir, &format!("{user}{pair}"), port, rtp, Transport::Udp, hertz)
    };
    (of("caller", 2 * pair, CALLER_HERTZ), of("callee", 2 * pair + 1, CALLEE_HERTZ))
}

fn number(pair: u16) -> String {
    format!("+3120111{pair:04}")
}

/// One trunk at this address, and for each pair a number that is delivered to the telephone which is called.
fn house(calls: u16) -> String {
    let numbers: String = (0..calls)
        .map(|pair| {
            let port = 5_100 + 4 * (2 * pair + 1);
            format!(
                "[[number]]\ne164 = \"{}\"\ntrunk = \"office\"\ndelivery = [\"sip:callee{pair}@127.0.0.1:{port}\"]\n\n",
                number(pair)
            )
        })
        .collect();
    format!(
        "[[tenant]]\nname = \"house\"\n\n[[trunk]]\nname = \"office\"\ntenant = \"house\"\n\
         caller_ids = [\"{0}\"]\ndefault_caller_id = \"{0}\"\n\n[trunk.access]\nnetworks = [\"127.0.0.1/32\"]\n\
         auth = [\"address\"]\n\n[trunk.limits]\nconcurrent = 50\n\n{numbers}",
        number(0)
    )
}

const PATIENCE: Duration = Duration::from_secs(30);
