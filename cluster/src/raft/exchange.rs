//! Requests to other nodes and their answers, over [`Frames`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use call::NodeId;
use env::{BoxFuture, Clock, Frames, Purpose, Spawn};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use machine::Instant;

use super::frame::{Answer, Frame, Request, Ticket};

/// Who waits for which answer.
pub(super) struct Exchange {
    frames: Option<Arc<dyn Frames>>,
    clock: Arc<dyn Clock>,
    spawn: Arc<dyn Spawn>,
    open: Mutex<Open>,
    /// When the newest entries were sent that a follower has acknowledged, and in which term.
    acknowledged: Mutex<BTreeMap<NodeId, (u64, Instant)>>,
}

struct Open {
    next: u64,
    channels: BTreeMap<u64, Waiting>,
}

struct Waiting {
    to: u64,
    tell: UnboundedSender<(u32, Answer)>,
}

impl Exchange {
    /// `first` is drawn by chance: see [`Ticket`].
    pub(super) fn new(
        frames: Option<Arc<dyn Frames>>,
        clock: Arc<dyn Clock>,
        spawn: Arc<dyn Spawn>,
        first: u64,
    ) -> Arc<Exchange> {
        let open = Mutex::new(Open { next: first, channels: BTreeMap::new() });
        Arc::new(Exchange { frames, clock, spawn, open, acknowledged: Mutex::default() })
    }

    /// Begins a conversation with a node.
    pub(super) fn open(self: &Arc<Self>, to: u64) -> Channel {
        let (tell, answers) = unbounded();
        let mut open = self.lock();
        let id = open.next;
        open.next = open.next.wrapping_add(1);
        open.channels.insert(id, Waiting { to, tell });
        Channel { exchange: self.clone(), id, to, number: 0, answers }
    }

    /// Sends a frame; `false` if it is lost.
    pub(super) fn send(&self, to: u64, purpose: Purpose, frame: &Frame) -> bool {
        self.frames.as_ref().is_some_and(|frames| frames.send(to, purpose, frame.encode()))
    }

    /// An answer has come.
    pub(super) fn answered(&self, from: u64, ticket: Ticket, answer: Answer) {
        let open = self.lock();
        if let Some(waiting) = open.channels.get(&ticket.channel).filter(|waiting| waiting.to == from) {
            // Whoever waited may have gone this moment.
            drop(waiting.tell.unbounded_send((ticket.number, answer)));
        }
    }

    /// The link to a node is gone: nobody need wait for its answers.
    pub(super) fn lost(&self, node: u64) {
        self.lock().channels.retain(|_, waiting| waiting.to != node);
    }

    /// When the newest entries or heartbeat of a term were sent that a follower has acknowledged.
    pub(super) fn acknowledged(&self, by: NodeId, term: u64) -> Option<Instant> {
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        acknowledged.get(&by).filter(|(of, _)| *of == term).map(|(_, at)| *at)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A conversation: requests go out, and their answers come back in any order.
pub(super) struct Channel {
    exchange: Arc<Exchange>,
    id: u64,
    to: u64,
    number: u32,
    answers: UnboundedReceiver<(u32, Answer)>,
}

impl Channel {
    /// Sends a request. Gives its number, or nothing if it is lost.
    pub(super) fn ask(&mut self, purpose: Purpose, request: Request) -> Option<u32> {
        let number = self.number;
        self.number = self.number.wrapping_add(1);
        let frame = Frame::Ask(Ticket { channel: self.id, number }, request);
        self.exchange.send(self.to, purpose, &frame).then_some(number)
    }

    /// The next answer; `None` when the link is gone.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<(u32, Answer)>> {
        self.answers.poll_next_unpin(cx)
    }

    pub(super) fn now(&self) -> Instant {
        self.exchange.clock.now()
    }

    pub(super) fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        self.exchange.spawn.sleep_until(at)
    }

    /// The peer has followed the leader of this term no earlier than when this request was sent.
    pub(super) fn acknowledged(&self, term: u64, sent_at: Instant) {
        let mut all = self.exchange.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(NodeId(self.to)).or_insert((term, sent_at));
        *known = (*known).max((term, sent_at));
    }

    /// Sends a request and waits for its answer; `None` if either is lost.
    pub(super) async fn once(mut self, purpose: Purpose, request: Request) -> Option<Answer> {
        let asked = self.ask(purpose, request)?;
        loop {
            let (number, answer) = self.answers.next().await?;
            if number == asked {
                return Some(answer);
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.exchange.lock().channels.remove(&self.id);
    }
}
