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
    lanes: Vec<Lane>,
    waker: AtomicWaker,
    counters: Arc<Counters>,
}

struct Lane {
    socket: Arc<dyn Datagrams>,
    local: SocketAddr,
    queue: Mutex<Vec<Outgoing>>,
}

/// A batch of this size leaves at once: longer ones gain nothing.
const FULL: usize = 64;

impl Outbox {
    /// An outbox over `sockets`.
    pub fn new(sockets: Vec<Arc<dyn Datagrams>>, counters: Arc<Counters>) -> Outbox {
        let lane = |socket: Arc<dyn Datagrams>| Lane {
            local: socket.local(),
            socket,
            queue: Mutex::new(Vec::with_capacity(FULL)),
        };
        Outbox { lanes: sockets.into_iter().map(lane).collect(), waker: AtomicWaker::new(), counters }
    }

    /// Queues a datagram from our address `local`; false if no socket is bound there.
    pub fn push(&self, local: SocketAddr, to: SocketAddr, bytes: Bytes) -> bool {
        let Some(lane) = self.lanes.iter().find(|lane| lane.local == local) else { return false };
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
        for lane in &self.lanes {
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
        let taken = lane.socket.send(queue);
        Counters::count(&self.counters.sends);
        Counters::add(&self.counters.datagrams_out, taken);
        Counters::add(&self.counters.datagrams_dropped, queue.len().saturating_sub(taken));
        queue.clear();
    }
}
