//! Entries on their way to one follower: several requests under way at a time.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use env::Purpose;
use futures::{Stream, StreamExt};
use machine::Instant;
use openraft::error::{RPCError, Unreachable};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};
use openraft::type_config::alias::LogIdOf;

use super::exchange::Channel;
use super::frame::{Answer, Request};
use super::types::TypeConfig;

type LogId = Option<LogIdOf<TypeConfig>>;

/// The answers to a stream of requests, in their order.
pub(super) struct Pipeline<S> {
    channel: Channel,
    to: u64,
    /// `None` once it has ended.
    input: Option<S>,
    window: VecDeque<Sent>,
    /// Up to where answers have come or will come.
    covered: Option<LogId>,
    /// How long an answer may take.
    patience: Duration,
    alarm: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    over: bool,
}

/// A request that awaits its answer.
struct Sent {
    number: u32,
    at: Instant,
    prev: LogId,
    last: LogId,
}

impl<S> Pipeline<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    pub(super) fn new(channel: Channel, input: S, to: u64, patience: Duration) -> Pipeline<S> {
        Pipeline {
            channel,
            to,
            input: Some(input),
            window: VecDeque::new(),
            covered: None,
            patience,
            alarm: None,
            over: false,
        }
    }

    /// Sends one request; `false` if it is lost.
    fn send(&mut self, request: AppendEntriesRequest<TypeConfig>) -> bool {
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        // News of a commit needs no answer where one to the entries themselves comes anyhow.
        if request.entries.is_empty() && self.covered.is_some_and(|covered| covered >= last) {
            return self.channel.ask(Purpose::Raft, Request::Mention(request)).is_some();
        }
        let at = self.channel.now();
        let Some(number) = self.channel.ask(Purpose::Raft, Request::Append(request)) else { return false };
        self.covered = self.covered.max(Some(last));
        self.window.push_back(Sent { number, at, prev, last });
        true
    }

    /// Takes an answer: to the oldest request, or that a mention failed.
    fn settle(
        &mut self,
        number: u32,
        response: AppendEntriesResponse<TypeConfig>,
    ) -> Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>> {
        let is_success = response.is_success();
        let (prev, last) = match self.window.iter().position(|sent| sent.number == number) {
            Some(at) => {
                // Answers before this one are lost; it says all that they said.
                let sent = self.window.drain(..=at).next_back();
                sent.map_or((None, None), |sent| (sent.prev, sent.last))
            }
            // A mention failed: what it followed conflicts.
            None if !is_success => (self.covered.flatten(), None),
            None => return self.fail(),
        };
        if response.is_conflict() && prev.is_none() {
            // Nothing can conflict with nothing.
            return self.fail();
        }
        self.over = !is_success;
        Ok(response.into_stream_result(prev, last))
    }

    /// Ends the conversation.
    fn fail<T>(&mut self) -> Result<T, RPCError<TypeConfig>> {
        self.over = true;
        Err(Unreachable::from_string(format_args!("node {} gives no answer", self.to)).into())
    }

    /// Whether the oldest answer has taken too long.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let Some(oldest) = self.window.front() else {
                self.alarm = None;
                return false;
            };
            let due = oldest.at + self.patience;
            if self.channel.now() >= due {
                return true;
            }
            // An alarm that was set for an earlier request rings too early; it is set again only then.
            let alarm = self.alarm.get_or_insert_with(|| self.channel.sleep_until(due));
            if alarm.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.alarm = None;
        }
    }
}

impl<S> Stream for Pipeline<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    type Item = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        match this.channel.poll_answer(cx) {
            Poll::Ready(Some((number, Answer::Appended(response)))) => {
                return Poll::Ready(Some(this.settle(number, response)));
            }
            Poll::Ready(_) => {
                return Poll::Ready(Some(this.fail()));
            }
            Poll::Pending => {}
        }
        while this.window.len() < WINDOW
            && let Some(input) = &mut this.input
        {
            match input.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => {
                    if !this.send(request) {
                        return Poll::Ready(Some(this.fail()));
                    }
                }
                Poll::Ready(None) => this.input = None,
                Poll::Pending => break,
            }
        }
        if this.input.is_none() && this.window.is_empty() {
            this.over = true;
            return Poll::Ready(None);
        }
        if this.is_late(cx) {
            return Poll::Ready(Some(this.fail()));
        }
        Poll::Pending
    }
}

/// Requests under way to one follower.
const WINDOW: usize = 32;
