//! The network between the nodes breaks while a call is put on hold.

use std::time::Duration;

use tests::ladder::Ladder;

/// The node that carries the call loses the others, and the PBX asks for a hold. The node falls silent with its lease; the
/// others take the call over, and the PBX's repeated re-INVITE is answered by them. When the network is whole again, the
/// call goes on where it is.
#[test]
fn partition_during_a_hold() {
    let ladder = Ladder::new(6, None);
    ladder.pbx().sends("INVITE"); //                                        F1
    ladder.pbx().hears("100"); //                                           F2
    ladder.carrier().hears("INVITE").answers(200); //                       F3 F4
    ladder.carrier().hears("ACK"); //                                       F5
    ladder.pbx().hears("200").sends("ACK"); //                              F6 F7
    let first = ladder.carrying_node();

    ladder.after(Duration::from_secs(1));
    ladder.the_node_that_carries_the_calls_is_cut_off_from_the_others();
    ladder.after(Duration::from_millis(400));
    ladder.pbx().sends_hold(); //                                           F8, and again until it is heard
    let hold = ladder.carrier().within(Duration::from_secs(8));
    hold.hears("INVITE").which_says("a=sendonly").answers(200); //          F9 F10
    hold.hears("ACK"); //                                                   F11
    ladder.pbx().hears("100"); //                                           F12
    ladder.pbx().hears("200").which_says("a=recvonly").sends("ACK"); //     F13 F14
    assert_ne!(ladder.carrying_node(), first, "another node has the home");

    ladder.the_nodes_hear_each_other_again();
    ladder.pbx().hears_nothing(Duration::from_secs(3));
    ladder.carrier().hears_nothing(Duration::from_secs(3));
    ladder.pbx().sends("BYE"); //                                           F15
    ladder.carrier().hears("BYE").answers(200); //                          F16 F17
    ladder.pbx().hears("200"); //                                           F18
    ladder.all_is_over_and_recorded(1);
}
