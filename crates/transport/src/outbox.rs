//! Datagrams out: collected while a burst of work lasts, then handed to the network with one call per
//! socket.

use std::future::poll_fn;
use std::net::SocketAddr;
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
    may_speak: Box<dyn Fn() -> bool + Send + Sync>,
}

struct Lane {
    socket: Arc<dyn Datagrams>,
    local: SocketAddr,
    queue: Mutex<Vec<Outgoing>>,
}

/// A batch of this size leaves at once: longer ones gain nothing.
const FULL: usize = 64;

impl Outbox {
    /// An outbox without sockets. `may_speak` is asked before each batch; what may not leave is forgotten.
    pub fn new(counters: Arc<Counters>, may_speak: Box<dyn Fn() -> bool + Send + Sync>) -> Outbox {
        Outbox { lanes: Mutex::default(), waker: AtomicWaker::new(), counters, may_speak }
    }

    /// From now on what leaves from the socket's address leaves through it.
    pub fn add(&self, socket: Arc<dyn Datagrams>) {
        let (local, queue) = (socket.local(), Mutex::new(Vec::with_capacity(FULL)));
        lock(&self.lanes).push(Lane { local, socket, queue });
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
            FULL => self.send(lane, &mut queue),
            _ => {}
        }
        true
    }

    /// Hands over everything that is queued.
    pub fn flush(&self) {
        for lane in lock(&self.lanes).iter() {
            let mut queue = lock(&lane.queue);
            if !queue.is_empty() {
                self.send(lane, &mut queue);
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
        let taken = if (self.may_speak)() { lane.socket.send(queue) } else { 0 };
        Counters::count(&self.counters.sends);
        Counters::add(&self.counters.datagrams_out, taken);
        Counters::add(&self.counters.datagrams_dropped, queue.len().saturating_sub(taken));
        queue.clear();
    }
}
