//! What comes over the links, sorted: consensus keeps its own frames, the rest goes to the layers above.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use call::NodeId;
use env::{Frames, LinkEvent, Purpose};

use crate::outbox::Outbox;
use crate::raft::{Desk, Leader, Received};
use crate::vigil::Vigil;

/// Hears what other nodes sent for the layers above. Called on the node's thread; it passes on and does not
/// wait.
pub trait FrameSink: Send + Sync + 'static {
    /// A SIP message that reached another node has come.
    fn forwarded(&self, from: NodeId, bytes: Vec<u8>);

    /// A question, or the answer to one, has come.
    fn asked(&self, from: NodeId, bytes: Vec<u8>);
}

/// Nobody listens.
impl FrameSink for () {
    fn forwarded(&self, _: NodeId, _: Vec<u8>) {}

    fn asked(&self, _: NodeId, _: Vec<u8>) {}
}

/// Reads the links of one node.
pub(crate) struct Dispatch {
    frames: Arc<dyn Frames>,
    outbox: Outbox,
    vigil: Arc<Vigil>,
    desk: Desk,
    sink: Arc<dyn FrameSink>,
    events: Vec<LinkEvent>,
}

impl Dispatch {
    pub(crate) fn new(
        frames: Arc<dyn Frames>,
        outbox: Outbox,
        vigil: Arc<Vigil>,
        sink: Arc<dyn FrameSink>,
    ) -> Dispatch {
        let desk = outbox.raft.desk();
        Dispatch { frames, outbox, vigil, desk, sink, events: Vec::new() }
    }

    /// Reads for as long as it is polled.
    pub(crate) async fn run(mut self) {
        let raft = self.outbox.raft.clone();
        raft.scope(poll_fn(|cx| self.poll(cx))).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut events = std::mem::take(&mut self.events);
        for _ in 0..ROUNDS {
            if self.frames.poll_events(cx, &mut events).is_pending() {
                self.events = events;
                self.desk.poll(cx);
                return Poll::Pending;
            }
            for event in events.drain(..) {
                self.take(event, cx);
            }
        }
        self.events = events;
        self.desk.poll(cx);
        // There is more, but others want to run too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self, event: LinkEvent, cx: &mut Context<'_>) {
        if let LinkEvent::Frame { from, .. } = &event {
            self.vigil.heard(NodeId(*from));
        }
        match event {
            LinkEvent::Up(node) => {
                tracing::debug!(node, "linked");
                // What was sent to the leader while there was no link is lost.
                if self.outbox.raft.leader().0 == Leader::Other(NodeId(node)) {
                    self.outbox.proposer.retry(self.outbox.seams.clock.now());
                }
            }
            LinkEvent::Down(node) => {
                tracing::info!(node, "the link is gone");
                self.outbox.raft.lost(NodeId(node));
                self.vigil.hinted(NodeId(node));
            }
            LinkEvent::Frame { from, purpose: Purpose::Forward, bytes } => {
                self.sink.forwarded(NodeId(from), bytes);
            }
            LinkEvent::Frame { from, purpose: Purpose::Query, bytes } => {
                self.sink.asked(NodeId(from), bytes);
            }
            LinkEvent::Frame { from, purpose: Purpose::Raft | Purpose::Snapshot, bytes } => {
                let from = NodeId(from);
                match self.outbox.raft.receive(&mut self.desk, from, &bytes, cx) {
                    Some(Received::Proposed(stamped)) => self.outbox.take(from, stamped),
                    Some(Received::Refused(incarnation, seq)) => self.outbox.refused(incarnation, seq),
                    Some(Received::Asked(ask)) => {
                        let answer = self.vigil.asked(from, ask);
                        self.outbox.raft.answer_lease(from, answer);
                    }
                    Some(Received::Leased(answer)) => self.vigil.answered(answer),
                    Some(Received::Missing(span)) => {
                        self.outbox.raft.answer_cdrs(from, self.outbox.replica.projection().lines(span));
                    }
                    Some(Received::Found(lines)) => self.outbox.replica.projection().fill(from.0, lines),
                    None => {}
                }
            }
        }
    }
}

/// Readings of the links before other tasks have their turn.
const ROUNDS: usize = 8;
