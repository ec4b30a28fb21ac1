//! Two telephones that others wrote call each other through trunk and number, and hear each other's tone.

use std::time::Duration;

use tests::baresip::Telephone;
use tests::node::Node;
use tests::sipp::Transport;

/// Far apart, and no harmonics of one another.
const ALICE_HERTZ: f64 = 440.0;
const BOB_HERTZ: f64 = 1_100.0;

#[test]
fn t30_two_telephones_hear_each_other_over_udp() {
    both_hear_each_other(Transport::Udp);
}

#[test]
fn t30_two_telephones_hear_each_other_over_tcp() {
    both_hear_each_other(Transport::Tcp);
}

/// Both ways: Alice calls Bob's number, then Bob calls Alice's.
fn both_hear_each_other(transport: Transport) {
    for (caller, callee) in [("alice", "bob"), ("bob", "alice")] {
        let mut node = Node::at_localhost();
        let dir = node.dir().to_owned();
        let mut alice = Telephone::new(&dir, "alice", 5072, 30_200, transport, ALICE_HERTZ);
        let mut bob = Telephone::new(&dir, "bob", 5076, 30_300, transport, BOB_HERTZ);
        node.start();
        node.apply(&house(&alice, &bob));
        let numbers = [("alice", "+31201110001"), ("bob", "+31201110002")];
        let number = numbers.iter().find(|(name, _)| *name == callee).map_or("", |(_, number)| number);

        let (calls, takes) = if caller == "alice" { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
        takes.start();
        calls.call(number, &node.sip().to_string(), 5);
        calls.finish(Duration::from_secs(20));
        let records = node.settle(1);
        takes.stop();

        let ladder = format!("alice:\n{}\nbob:\n{}", alice.words(), bob.words());
        assert_eq!(records.len(), 1, "{ladder}");
        assert!(records[0].answered(), "{}\n{ladder}", records[0].0);
        assert_heard("alice", &alice.heard(), BOB_HERTZ, ALICE_HERTZ, &ladder);
        assert_heard("bob", &bob.heard(), ALICE_HERTZ, BOB_HERTZ, &ladder);
    }
}

/// Most of a call of about four seconds is the other's tone, and nothing of it is one's own.
pub fn assert_heard(who: &str, samples: &[i16], other: f64, own: f64, ladder: &str) {
    let (heard, echoed) =
        (tests::tone::tenths_heard(samples, other), tests::tone::tenths_heard(samples, own));
    let tenths = samples.len() / 800;
    assert!(tenths >= 30, "{who} recorded {tenths} tenths of a second\n{ladder}");
    assert!(heard * 10 >= tenths * 9, "{who} heard the tone in {heard} of {tenths} tenths\n{ladder}");
    assert_eq!(echoed, 0, "{who} heard itself\n{ladder}");
}

/// One trunk at this address, two numbers of it, each delivered to one telephone.
fn house(alice: &Telephone, bob: &Telephone) -> String {
    format!(
        "[[tenant]]\nname = \"house\"\n\n\
         [[trunk]]\nname = \"office\"\ntenant = \"house\"\n\
         caller_ids = [\"+31201110001\", \"+31201110002\"]\ndefault_caller_id = \"+31201110001\"\n\n\
         [trunk.access]\nnetworks = [\"127.0.0.1/32\"]\nauth = [\"address\"]\n\n\
         [trunk.limits]\nconcurrent = 4\n\n\
         [[number]]\ne164 = \"+31201110001\"\ntrunk = \"office\"\ndelivery = [\"{}\"]\n\n\
         [[number]]\ne164 = \"+31201110002\"\ntrunk = \"office\"\ndelivery = [\"{}\"]\n",
        alice.uri(),
        bob.uri()
    )
}
