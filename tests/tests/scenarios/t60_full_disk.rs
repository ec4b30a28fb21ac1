//! The disk of one voter is full, under load.

use std::time::Duration;

use tests::orders::{Load, office};
use tests::small_disk;
use tests::trio::{Setup, Trio};
use tests::wait;

/// Nothing here asserts a time: a busy machine is no dead node.
const DETECT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

/// A follower's disk takes no more: the others carry on, and it catches up when there is room.
#[test]
fn t60_a_voter_whose_disk_is_full_harms_nobody() {
    let setup = Setup { detect: DETECT, launcher: small_disk::launcher("400m"), ..Setup::default() };
    let cluster = Trio::start(&setup, office);
    let leader = cluster.await_leader();
    let full = (1..=3).find(|id| *id != leader).expect("one follows");
    small_disk::fill(cluster.node(full));
    let elsewhere = (1..=3).find(|home| cluster.holder(cluster.node(leader), *home) == Some(leader));
    let home = cluster.home(elsewhere.expect("the leader holds a home"));
    // Segments are allocated ahead, so it takes some load until the disk is missed.
    let (mut placed, mut noticed) = (0, false);
    for _ in 0..40 {
        let figures = Load::start(home, cluster.pbx(), (1_000, 400), 0.1).figures();
        placed += 1_000;
        assert_eq!(
            (&figures["completed"], &figures["failed"]),
            (&1_000.into(), &serde_json::json!({})),
            "{figures}"
        );
        noticed = !cluster.node(full).ready();
        if noticed {
            break;
        }
    }
    assert!(noticed, "{placed} calls on a full disk and still ready: {}", cluster.node(full).log_tail());
    small_disk::empty(cluster.node(full));
    wait::until("it is ready again", PATIENCE, || cluster.node(full).ready());
    assert_eq!(cluster.settle(placed).len(), placed);
    cluster.assert_no_panic();
}
