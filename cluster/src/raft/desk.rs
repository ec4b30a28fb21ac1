//! Where requests of other nodes are answered, each node's in their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use env::Purpose;

use super::exchange::Exchange;
use super::frame::{Answer, Frame, Ticket};
use crate::codec::DecodeError;

/// An answer in the making; `None` if there is none to give.
pub(super) type Making = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

/// Answers in the making.
pub(crate) struct Desk {
    exchange: Arc<Exchange>,
    making: BTreeMap<u64, VecDeque<(Ticket, Making)>>,
    /// Nodes that sent what can't be read, and were complained of.
    unread: BTreeSet<u64>,
}

impl Desk {
    pub(super) fn new(exchange: Arc<Exchange>) -> Desk {
        Desk { exchange, making: BTreeMap::new(), unread: BTreeSet::new() }
    }

    /// Takes a request. It is polled at once, so that requests reach Raft in the order in which they came.
    pub(super) fn take(&mut self, from: u64, ticket: Ticket, mut making: Making, cx: &mut Context<'_>) {
        match making.as_mut().poll(cx) {
            Poll::Ready(answer) => self.answer(from, ticket, answer),
            Poll::Pending => {
                let queue = self.making.entry(from).or_default();
                if queue.len() >= MAKING_MAX {
                    // Whoever asked so long ago has given up: a disk is stuck.
                    queue.pop_front();
                }
                queue.push_back((ticket, making));
            }
        }
    }

    /// A node sent what can't be read. It is said once: a node with another version of the program sends
    /// nothing else.
    pub(super) fn complain(&mut self, from: u64, error: DecodeError) {
        if self.unread.insert(from) {
            tracing::warn!(from, %error, "a node sends what can't be read");
        }
    }

    /// Gives the answers that are ready.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        let Desk { exchange, making, .. } = self;
        for (from, queue) in making {
            queue.retain_mut(|(ticket, making)| match making.as_mut().poll(cx) {
                Poll::Ready(answer) => {
                    give(exchange, *from, *ticket, answer);
                    false
                }
                Poll::Pending => true,
            });
        }
    }

    fn answer(&self, from: u64, ticket: Ticket, answer: Option<Answer>) {
        give(&self.exchange, from, ticket, answer);
    }
}

fn give(exchange: &Exchange, from: u64, ticket: Ticket, answer: Option<Answer>) {
    if let Some(answer) = answer {
        // Lost, it is asked again.
        exchange.send(from, Purpose::Raft, &Frame::Answer(ticket, answer));
    }
}

/// Requests of one node that are being answered at a time.
const MAKING_MAX: usize = 128;
