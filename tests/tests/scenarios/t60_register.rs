//! Three nodes and one device: any node takes its digest and its REGISTER, a nonce counts once over all of them, and a
//! registration outlives the node that heard it.

use std::time::Duration;

use tests::digest::Device;
use tests::trio::{Setup, Trio, items};
use tests::wait;

const NUMBER: &str = "+31201110001";

fn resources(trio: &Trio) -> String {
    let (desk, office) = (trio.peer(20).ip(), trio.peer(21).ip());
    format!(
        "[[tenant]]\nname = \"house\"\n\n\
         [[trunk]]\nname = \"desk\"\ntenant = \"house\"\n\
         account = [{{ username = \"desk-1\", password = \"canary-1\" }}]\n\
         [trunk.access]\nnetworks = [\"{desk}/32\"]\nauth = [\"digest\"]\n[trunk.media]\nmode = \"direct\"\n\
         [trunk.delivery]\ntargets = [\"account:1\"]\n\n\
         [[trunk]]\nname = \"office\"\ntenant = \"house\"\ncaller_ids = [\"{NUMBER}\"]\n\
         default_caller_id = \"{NUMBER}\"\n[trunk.access]\nnetworks = [\"{office}/32\"]\nauth = [\"address\"]\n\
         [trunk.media]\nmode = \"direct\"\n\n\
         [[number]]\ne164 = \"{NUMBER}\"\ntrunk = \"desk\"\n"
    )
}

/// FR5 and KW29.
#[test]
fn kw29_a_registration_and_the_uses_of_nonces_outlive_a_node() {
    let mut trio = Trio::start(&Setup::default(), resources);
    let desk = Device::new(trio.peer(20), "desk-1", "canary-1");
    let office = Device::new(trio.peer(21), "office", "");
    let homes = [trio.home(1), trio.home(2), trio.home(3)];
    let heard_by = trio.holder(trio.node(1), 1).expect("home 1 has a holder");

    // Challenged by one node, taken by another.
    desk.send(homes[1], "REGISTER", "desk-1", "reg", 1, "");
    let challenge = desk.expect("SIP/2.0 401");
    desk.send(homes[0], "REGISTER", "desk-1", "reg", 2, &desk.answer(&challenge, "REGISTER", 1));
    let answer = desk.expect("SIP/2.0 200");
    assert!(answer.contains(&format!("Contact: <sip:desk-1@{}>;expires=3600", desk.at())), "{answer}");

    // The same use again, on the third and on the first: stale.
    for (name, home) in [("replay-3", homes[2]), ("replay-1", homes[0])] {
        let line = desk.answer(&challenge, "REGISTER", 1);
        desk.send(home, "REGISTER", "desk-1", name, 3, &line);
        let answer = desk.expect("SIP/2.0 401");
        assert!(answer.contains("stale=true"), "{answer}");
    }
    for id in 1..=3 {
        wait::until("each node knows of it", Duration::from_secs(5), || {
            items(trio.node(id), "registrations").iter().any(|it| it["name"] == "desk-1")
        });
    }

    trio.node_mut(heard_by).kill();
    let other = (1..=3).find(|id| *id != heard_by).expect("two are left");
    wait::until("another holds its home", Duration::from_secs(20), || {
        trio.holder(trio.node(other), 1).is_some_and(|holder| holder != heard_by)
    });
    // A call, and no REGISTER since.
    wait::until("the desk rings", Duration::from_secs(20), || {
        office.send(homes[0], "INVITE", NUMBER, "call", 1, "");
        desk.hears("INVITE ", Duration::from_millis(500)).is_ok_and(|rings| {
            assert!(rings.starts_with(&format!("INVITE sip:desk-1@{} SIP/2.0", desk.at())), "{rings}");
            true
        })
    });
    // The nonce's use is still known.
    desk.send(homes[0], "REGISTER", "desk-1", "replay-x", 4, &desk.answer(&challenge, "REGISTER", 1));
    assert!(desk.expect("SIP/2.0 401").contains("stale=true"));
    trio.assert_no_panic();
}
