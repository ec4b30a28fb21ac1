//! Datagrams out: collected while a burst of work lasts, then handed to the network with one call per
//! socket.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use env::{Datagrams, Outgoing};
use futures::task::AtomicWaker;

use crate::{Counters, lock};

/// Where all datagrams of a node leave. `push` queues; the task of [`Outbox::run`] is woken once and runs
/// after everything that was already ready, so that one burst leaves in one batch.
pub struct Outbox {
    lanes: Mutex<Vec<Lane>>,
    waker: AtomicWaker,
    counters: Arc<Counters>,
    may_speak: MaySpeak,
}

/// Whether anything may leave from an address of ours now.
pub type MaySpeak = Box<dyn Fn(SocketAddr) -> bool + Send + Sync>;

struct Lane {
    socket: Arc<dyn Datagrams>,
    local: SocketAddr,
    queue: Mutex<Vec<Outgoing>>,
    /// Whether what is queued waits for [`Outbox::open`].
    held: AtomicBool,
    /// For how many looks what is queued has waited for the right to speak.
    waits: AtomicU32,
}

/// A batch of this size leaves at once: longer ones gain nothing.
const FULL: usize = 64;
/// So many ACKs wait for the right to speak; with the next, all are forgotten.
const WAITING_MAX: usize = 1024;

impl Outbox {
    /// An outbox without sockets. `may_speak` is asked before each batch; what may not leave is forgotten, since its
    /// transaction repeats it or it was true for that moment only. But an ACK, which nobody repeats, waits for some looks
    /// of [`Outbox::look`].
    pub fn new(counters: Arc<Counters>, may_speak: MaySpeak) -> Outbox {
        Outbox { lanes: Mutex::default(), waker: AtomicWaker::new(), counters, may_speak }
    }

    /// What leaves from the socket's address leaves through it, once it is opened: until then it is queued,
    /// since the address may not be this machine's yet.
    pub fn add(&self, socket: Arc<dyn Datagrams>) {
        let (local, queue) = (socket.local(), Mutex::new(Vec::with_capacity(FULL)));
        let (held, waits) = (AtomicBool::new(true), AtomicU32::new(0));
        lock(&self.lanes).push(Lane { local, socket, queue, held, waits });
    }

    /// From now on, what is queued from this address leaves.
    pub fn open(&self, local: SocketAddr) {
        let lanes = lock(&self.lanes);
        lanes.iter().filter(|lane| lane.local == local).for_each(|lane| {
            lane.held.store(false, Ordering::Relaxed);
        });
        self.waker.wake();
    }

    /// Nothing leaves from this address any more; what is queued is forgotten.
    pub fn remove(&self, local: SocketAddr) {
        lock(&self.lanes).retain(|lane| lane.local != local);
    }

    /// Queues a datagram from our address `local`; false if no socket is bound there.
    pub fn push(&self, local: SocketAddr, to: SocketAddr, bytes: Bytes) -> bool {
        let lanes = lock(&self.lanes);
        let Some(lane) = lanes.iter().find(|lane| lane.local == local) else { return false };
        let mut queue = lock(&lane.queue);
        queue.push(Outgoing { to, bytes });
        match queue.len() {
            // The first of a burst wakes the task; the rest finds it awake.
            1 => self.waker.wake(),
            FULL.. if !lane.held.load(Ordering::Relaxed) => self.send(lane, &mut queue),
            _ => {}
        }
        true
    }

    /// Sends a datagram at once, whether or not anything may leave: an answer that promises nothing. False if no
    /// socket is bound there.
    pub fn say(&self, local: SocketAddr, to: SocketAddr, bytes: Bytes) -> bool {
        let lanes = lock(&self.lanes);
        let Some(lane) = lanes.iter().find(|lane| lane.local == local) else { return false };
        Counters::count(&self.counters.sends);
        let taken = lane.socket.send(&[Outgoing { to, bytes }]);
        Counters::add(&self.counters.datagrams_out, taken);
        true
    }

    /// Hands over everything that is queued.
    pub fn flush(&self) {
        for lane in lock(&self.lanes).iter() {
            let mut queue = lock(&lane.queue);
            if !queue.is_empty() && !lane.held.load(Ordering::Relaxed) {
                self.send(lane, &mut queue);
            }
        }
    }

    /// A look now and then: what waited for the right to speak leaves where there is one again, and is forgotten where
    /// there was none for so many looks. The ACK of an answer that was committed just before its node was granted a lease would
    /// else leave when the callee repeats itself, up to 4 s later, or after the BYE.
    pub fn look(&self, looks_max: u32) {
        for lane in lock(&self.lanes).iter().filter(|lane| !lane.held.load(Ordering::Relaxed)) {
            let mut queue = lock(&lane.queue);
            if queue.is_empty() {
                continue;
            }
            self.send(lane, &mut queue);
            if lane.waits.fetch_add(u32::from(!queue.is_empty()), Ordering::Relaxed) >= looks_max {
                self.forget(lane, &mut queue);
            }
        }
    }

    /// Flushes whenever it is woken. Never ends.
    pub async fn run(self: Arc<Outbox>) {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            self.flush();
            Poll::<()>::Pending
        })
        .await;
    }

    fn send(&self, lane: &Lane, queue: &mut Vec<Outgoing>) {
        if !(self.may_speak)(lane.local) {
            let before = queue.len();
            queue.retain(|datagram| datagram.bytes.starts_with(b"ACK "));
            Counters::add(&self.counters.datagrams_dropped, before - queue.len());
            if queue.len() >= WAITING_MAX {
                self.forget(lane, queue);
            }
            return;
        }
        let taken = lane.socket.send(queue);
        Counters::count(&self.counters.sends);
        Counters::add(&self.counters.datagrams_out, taken);
        Counters::add(&self.counters.datagrams_dropped, queue.len().saturating_sub(taken));
        queue.clear();
        lane.waits.store(0, Ordering::Relaxed);
    }

    fn forget(&self, lane: &Lane, queue: &mut Vec<Outgoing>) {
        Counters::add(&self.counters.datagrams_dropped, queue.len());
        queue.clear();
        lane.waits.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use env::Batch;

    use super::*;

    /// Keeps what was sent.
    struct Wire {
        local: SocketAddr,
        sent: Mutex<Vec<Bytes>>,
    }

    impl Datagrams for Wire {
        fn local(&self) -> SocketAddr {
            self.local
        }

        fn poll_recv(&self, _: &mut Context<'_>, _: &mut Batch) -> Poll<std::io::Result<()>> {
            Poll::Pending
        }

        fn send(&self, datagrams: &[Outgoing]) -> usize {
            lock(&self.sent).extend(datagrams.iter().map(|datagram| datagram.bytes.clone()));
            datagrams.len()
        }
    }

    #[test]
    fn what_leaves_from_an_address_waits_until_it_is_opened() {
        let local = "192.0.2.1:5060".parse().expect("literal");
        let wire = Arc::new(Wire { local, sent: Mutex::default() });
        let outbox = Outbox::new(Arc::new(Counters::default()), Box::new(|_| true));
        outbox.add(wire.clone());
        let count = FULL + 6;
        (0..count).for_each(|_| assert!(outbox.push(local, local, Bytes::from_static(b"held"))));
        outbox.flush();
        assert_eq!(lock(&wire.sent).len(), 0);
        outbox.open(local);
        outbox.flush();
        assert_eq!(lock(&wire.sent).len(), count);
        // From now on a full batch leaves at once.
        (0..FULL).for_each(|_| assert!(outbox.push(local, local, Bytes::from_static(b"open"))));
        assert_eq!(lock(&wire.sent).len(), count + FULL);
    }
    #[test]
    fn an_ack_that_may_not_leave_waits_for_some_looks_and_all_else_is_forgotten() {
        let local = "192.0.2.1:5060".parse().expect("literal");
        let wire = Arc::new(Wire { local, sent: Mutex::default() });
        let (may, counters) = (Arc::new(AtomicBool::new(false)), Arc::new(Counters::default()));
        let asked = may.clone();
        let outbox = Outbox::new(counters.clone(), Box::new(move |_| asked.load(Ordering::Relaxed)));
        outbox.add(wire.clone());
        outbox.open(local);
        assert!(outbox.push(local, local, Bytes::from_static(b"ACK sip:a SIP/2.0")));
        assert!(outbox.push(local, local, Bytes::from_static(b"SIP/2.0 503 No")));
        outbox.flush();
        outbox.look(2);
        assert_eq!(lock(&wire.sent).len(), 0);
        may.store(true, Ordering::Relaxed);
        outbox.look(2);
        assert_eq!(*lock(&wire.sent), [Bytes::from_static(b"ACK sip:a SIP/2.0")], "it may speak again");
        may.store(false, Ordering::Relaxed);
        assert!(outbox.push(local, local, Bytes::from_static(b"ACK sip:b SIP/2.0")));
        (0..3).for_each(|_| outbox.look(2));
        may.store(true, Ordering::Relaxed);
        outbox.look(2);
        assert_eq!(lock(&wire.sent).len(), 1, "that is over");
        assert_eq!(counters.datagrams_dropped.load(Ordering::Relaxed), 2);
    }
}
