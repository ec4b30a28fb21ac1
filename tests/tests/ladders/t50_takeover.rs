//! The node that carries a call is killed; nobody on the telephone notices.

use std::time::Duration;

use tests::ladder::Ladder;

/// RFC 3665 §3.1 through the cluster; then the node dies. The successor takes the call over without a word, and both
/// ends hang up by it as if nothing had happened.
#[test]
fn answered_then_the_node_dies() {
    let ladder = Ladder::new(1, None);
    ladder.pbx().sends("INVITE"); //                                        F1
    ladder.pbx().hears("100"); //                                           F2
    ladder.carrier().hears("INVITE").answers(180); //                       F3 F4
    ladder.pbx().hears("180"); //                                           F5
    ladder.carrier().answers(200).hears("ACK"); //                          F6 F7
    ladder.pbx().hears("200").sends("ACK"); //                              F8 F9
    let first = ladder.carrying_node();

    ladder.after(Duration::from_secs(2));
    ladder.the_node_that_carries_the_calls_dies();
    ladder.pbx().hears_nothing(Duration::from_secs(3));
    ladder.carrier().hears_nothing(Duration::from_secs(3));
    assert_ne!(ladder.carrying_node(), first, "another node has the home");

    ladder.pbx().sends("BYE"); //                                           F10
    ladder.carrier().hears("BYE").answers(200); //                          F11 F12
    ladder.pbx().hears("200"); //                                           F13
    ladder.all_is_over_and_recorded(1);
}

/// The node dies while it rings. The carrier's answer finds nobody at first; it is repeated, and reaches the successor,
/// which knows the call: one ring, one answer, no second INVITE.
#[test]
fn ringing_then_the_node_dies() {
    let ladder = Ladder::new(2, None);
    ladder.pbx().sends("INVITE"); //                                        F1
    ladder.pbx().hears("100"); //                                           F2
    ladder.carrier().hears("INVITE").answers(180); //                       F3 F4
    ladder.pbx().hears("180"); //                                           F5

    ladder.after(Duration::from_secs(1));
    ladder.the_node_that_carries_the_calls_dies();
    ladder.carrier().answers(200); //                                       F6, and again until it is heard
    ladder.carrier().within(Duration::from_secs(5)).hears("ACK"); //        F7
    ladder.pbx().within(Duration::from_secs(5)).hears("200"); //            F8
    ladder.pbx().sends("ACK"); //                                           F9

    ladder.after(Duration::from_secs(2));
    ladder.carrier().sends("BYE"); //                                       F10
    ladder.pbx().hears("BYE").answers(200); //                              F11 F12
    ladder.carrier().hears("200"); //                                       F13
    ladder.all_is_over_and_recorded(1);
}
