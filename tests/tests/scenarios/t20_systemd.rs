//! What a service manager hears of a node: this test is one.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use tests::node::Node;
use tests::wait;

/// A watchdog's interval, in microseconds; it hears of the node twice in each.
const INTERVAL_US: &str = "400000";

#[test]
fn t20_a_service_manager_hears_that_a_node_is_ready_lives_and_stops() {
    let mut node = Node::new();
    let path = node.dir().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket can wait");
    let hear = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
    };
    let launcher = [
        "env".to_owned(),
        format!("NOTIFY_SOCKET={}", path.display()),
        format!("WATCHDOG_USEC={INTERVAL_US}"),
    ];
    node.spawn_by(&launcher);
    assert_eq!(hear().as_deref(), Some("READY=1"));
    assert!(node.ready(), "it is, when it says so");
    for _ in 0..4 {
        assert_eq!(hear().as_deref(), Some("WATCHDOG=1"));
    }

    // A process that stands still is silent.
    let process = node.process().expect("it runs");
    process.signal(Signal::STOP);
    wait::pass(Duration::from_millis(100));
    manager.set_nonblocking(true).expect("a socket need not wait");
    while hear().is_some() {}
    wait::pass(Duration::from_millis(1_000));
    assert_eq!(hear(), None);
    process.signal(Signal::CONT);
    manager.set_nonblocking(false).expect("a socket can wait");
    assert_eq!(hear().as_deref(), Some("WATCHDOG=1"));

    assert!(node.stop().success());
    manager.set_nonblocking(true).expect("a socket need not wait");
    let last: Vec<String> = std::iter::from_fn(hear).collect();
    assert!(last.iter().any(|said| said == "STOPPING=1"), "{last:?}");
}
