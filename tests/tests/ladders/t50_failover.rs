//! A carrier's trunk is full, and the next carrier is asked; also when the count must outlive the node that kept it.

use std::time::Duration;

use tests::ladder::Ladder;

/// The first carrier takes one call. The second call goes to the second carrier at once; after the node's death the first
/// call still counts.
#[test]
fn a_full_trunk_fails_over() {
    let ladder = Ladder::new(4, Some(1));
    ladder.pbx().sends("INVITE"); //                                        F1
    ladder.pbx().hears("100"); //                                           F2
    ladder.carrier().hears("INVITE").answers(200); //                       F3 F4
    ladder.carrier().hears("ACK"); //                                       F5
    ladder.pbx().hears("200").sends("ACK"); //                              F6 F7
    ladder.after(Duration::from_secs(1));
    ladder.the_node_that_carries_the_calls_dies();
    ladder.after(Duration::from_secs(3));

    ladder.second_pbx().sends("INVITE"); //                                 F8
    ladder.second_pbx().hears("100"); //                                    F9
    ladder.second_carrier().hears("INVITE").answers(200); //                F10 F11
    ladder.second_carrier().hears("ACK"); //                                F12
    ladder.second_pbx().hears("200").sends("ACK"); //                       F13 F14
    ladder.carrier().hears_nothing(Duration::from_secs(1));

    ladder.pbx().sends("BYE"); //                                           F15
    ladder.carrier().hears("BYE").answers(200); //                          F16 F17
    ladder.pbx().hears("200"); //                                           F18
    ladder.second_carrier().sends("BYE"); //                                F19
    ladder.second_pbx().hears("BYE").answers(200); //                       F20 F21
    ladder.second_carrier().hears("200"); //                                F22
    ladder.all_is_over_and_recorded(2);
}

/// The twin: without the limit, the second call goes to the first carrier too.
#[test]
fn a_trunk_that_is_not_full_does_not_fail_over() {
    let ladder = Ladder::new(5, None);
    ladder.second_pbx().sends("INVITE"); //                                 F1
    ladder.second_pbx().hears("100"); //                                    F2
    ladder.carrier().hears("INVITE").answers(200); //                       F3 F4
    ladder.carrier().hears("ACK"); //                                       F5
    ladder.second_pbx().hears("200").sends("ACK"); //                       F6 F7
    ladder.second_carrier().hears_nothing(Duration::from_secs(1));
}
