//! Both ends hang up at once, while the call changes hands.

use std::time::Duration;

use tests::ladder::Ladder;

/// The node dies, and before another has the call both ends send BYE. Each BYE is repeated until the successor is there
/// (RFC 3261 §17.1.2.2); each end hears its 200, the other's BYE or not, and there is one CDR.
#[test]
fn bye_glare_over_a_takeover() {
    let ladder = Ladder::new(3, None);
    ladder.pbx().sends("INVITE"); //                                        F1
    ladder.pbx().hears("100"); //                                           F2
    ladder.carrier().hears("INVITE").answers(180); //                       F3 F4
    ladder.pbx().hears("180"); //                                           F5
    ladder.carrier().answers(200).hears("ACK"); //                          F6 F7
    ladder.pbx().hears("200").sends("ACK"); //                              F8 F9

    ladder.after(Duration::from_secs(2));
    ladder.the_node_that_carries_the_calls_dies();
    ladder.pbx().answers_every_bye();
    ladder.carrier().answers_every_bye();
    ladder.pbx().sends("BYE"); //                                           F10
    ladder.carrier().sends("BYE"); //                                       F11
    ladder.pbx().within(Duration::from_secs(6)).hears("200"); //            F12
    ladder.carrier().within(Duration::from_secs(6)).hears("200"); //        F13
    ladder.pbx().hears_nothing(Duration::from_secs(5));
    ladder.all_is_over_and_recorded(1);
}
