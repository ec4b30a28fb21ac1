//! Requests to other nodes and their answers, over [`Frames`].

use std::collections::{BTreeMap, VecDeque};
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
    followers: Mutex<BTreeMap<u64, Follower>>,
}

/// What a leader knows of a follower. It hears of every answer: openraft awaits one to a heartbeat for no longer than
/// the next, so on a link as slow as that it would never hear any.
#[derive(Default)]
struct Follower {
    /// Entries and heartbeats that may still be answered, oldest first: when they were sent, and in which term.
    sent: VecDeque<(Ticket, u64, Instant)>,
    /// The newest of them that was acknowledged.
    acknowledged: Option<(u64, Instant)>,
}

impl Follower {
    fn sent(&mut self, ticket: Ticket, term: u64, at: Instant) {
        if self.sent.len() >= SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((ticket, term, at));
    }

    /// An answer has come: the follower has followed the leader of that term no earlier than when it was asked.
    fn answered(&mut self, ticket: Ticket, is_success: bool) {
        let Some(found) = self.sent.iter().position(|(of, ..)| *of == ticket) else { return };
        let newest = self.sent.drain(..=found).next_back().filter(|_| is_success);
        self.acknowledged = self.acknowledged.max(newest.map(|(_, term, at)| (term, at)));
    }
}

/// So many are on their way to a follower at most: a window of entries, and as many heartbeats.
const SENT_MAX: usize = 64;

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
        Arc::new(Exchange { frames, clock, spawn, open, followers: Mutex::default() })
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
        if let Answer::Appended(response) = &answer {
            self.followers().entry(from).or_default().answered(ticket, response.is_success());
        }
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
        let (of, at) = self.followers().get(&by.0)?.acknowledged?;
        (of == term).then_some(at)
    }

    fn followers(&self) -> MutexGuard<'_, BTreeMap<u64, Follower>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
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
        let ticket = Ticket { channel: self.id, number };
        if let Request::Append(append) = &request {
            let term = append.vote.leader_id.term;
            self.exchange.followers().entry(self.to).or_default().sent(ticket, term, self.now());
        }
        let frame = Frame::Ask(ticket, request);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn ticket(channel: u64) -> Ticket {
        Ticket { channel, number: 0 }
    }

    #[test]
    fn an_answer_counts_from_when_its_question_was_sent_however_late_it_comes() {
        let mut follower = Follower::default();
        (1..=4).for_each(|n| follower.sent(ticket(n), 7, at(n * 40)));
        follower.answered(ticket(3), true);
        assert_eq!(follower.acknowledged, Some((7, at(120))));
        follower.answered(ticket(2), true);
        assert_eq!(follower.acknowledged, Some((7, at(120))), "an older one says nothing new");
        follower.answered(ticket(4), false);
        assert_eq!(follower.acknowledged, Some((7, at(120))), "a refusal follows nobody");
        follower.answered(ticket(9), true);
        assert_eq!(follower.acknowledged, Some((7, at(120))), "never asked");
    }

    #[test]
    fn a_later_term_counts_alone_and_what_is_on_its_way_is_bounded() {
        let mut follower = Follower::default();
        follower.sent(ticket(1), 7, at(40));
        follower.sent(ticket(2), 8, at(30));
        follower.answered(ticket(1), true);
        follower.answered(ticket(2), true);
        assert_eq!(follower.acknowledged, Some((8, at(30))));
        (10..110).for_each(|n| follower.sent(ticket(n), 8, at(n)));
        assert_eq!(follower.sent.len(), 64);
        follower.answered(ticket(45), true);
        assert_eq!(follower.acknowledged, Some((8, at(30))), "forgotten");
    }
}
