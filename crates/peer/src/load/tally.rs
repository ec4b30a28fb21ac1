//! Counts what an agent tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hdrhistogram::Histogram;
use machine::Instant;

use super::Progress;
use super::report::{PostDialDelay, Report, RtpReport};
use crate::local::{CallRef, Event, Output, Side};
use crate::media::StreamReport;
use crate::outcome::Outcome;
use crate::shell::RtpHandle;

/// The running count of a run.
pub(super) struct Tally {
    progress: Arc<Progress>,
    media: Vec<RtpHandle>,
    report: Report,
    /// Post-dial delays in microseconds.
    delays: Histogram<u64>,
    ended: u64,
    received_ended: u64,
}

impl Tally {
    pub(super) fn new(progress: Arc<Progress>, media: Vec<RtpHandle>) -> Tally {
        // 1 µs to 10 minutes with three digits: the bounds are constants that the histogram accepts.
        let delays = Histogram::new_with_bounds(1, 600_000_000, 3).expect("constant bounds");
        Tally { progress, media, report: Report::default(), delays, ended: 0, received_ended: 0 }
    }

    /// Takes one output that is not a message.
    pub(super) fn take(&mut self, _now: Instant, output: Output) {
        match output {
            Output::Event { call, event } => self.event(call, event),
            Output::StartMedia { call, remote, payload } => {
                if let Some(media) = self.carrier(call) {
                    media.start(call, remote, payload);
                }
            }
            Output::StopMedia { call, ended } => {
                if let Some(media) = self.carrier(call) {
                    media.stop(call, ended);
                }
            }
            Output::Stray(violation) => self.fail(format!("stray: {violation}")),
            Output::Send { .. } => {}
        }
    }

    /// Whether every placed call is over, and every call that came to us or is awaited too.
    pub(super) fn is_settled(&self, placed: u64, awaited: u64) -> bool {
        self.ended >= placed && self.received_ended >= self.report.received.max(awaited)
    }

    /// The report.
    pub(super) fn finish(mut self, placed: u64, wall: Duration) -> Report {
        self.report.placed = placed;
        self.report.wall_s = (wall.as_secs_f64() * 1000.0).round() / 1000.0;
        self.report.pdd_ms = PostDialDelay {
            p50: milliseconds(self.delays.value_at_quantile(0.5)),
            p99: milliseconds(self.delays.value_at_quantile(0.99)),
            max: milliseconds(self.delays.max()),
        };
        let mut ends = BTreeMap::new();
        for media in std::mem::take(&mut self.media) {
            ends.extend(media.finish());
        }
        self.report.rtp = rtp(&ends);
        self.report
    }

    fn event(&mut self, call: CallRef, event: Event) {
        match (call.side, event) {
            (Side::Caller, Event::Progress(delay)) => {
                self.delays.saturating_record(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX).max(1));
            }
            (Side::Caller, Event::Answered) => {
                self.report.answered += 1;
                self.progress.answered.store(self.report.answered, Ordering::Relaxed);
            }
            (Side::Callee, Event::Answered) => self.report.received_answered += 1,
            (_, Event::Retransmitted) => self.report.retransmissions += 1,
            (Side::Caller, Event::Ended(outcome)) => {
                self.ended += 1;
                self.progress.ended.store(self.ended, Ordering::Relaxed);
                self.report.completed += u64::from(outcome == Outcome::Completed);
                self.report.cancelled += u64::from(outcome == Outcome::Cancelled);
                if !outcome.is_good() {
                    self.fail(outcome.to_string());
                }
            }
            (Side::Callee, Event::Ended(outcome)) => {
                self.received_ended += 1;
                if !outcome.is_good() {
                    self.fail(format!("callee: {outcome}"));
                }
            }
            (_, Event::Offered) => self.report.received += 1,
            (Side::Callee, Event::Progress(_)) | (_, Event::Refused) => {}
        }
    }

    fn fail(&mut self, reason: String) {
        *self.report.failed.entry(reason).or_default() += 1;
        self.progress.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The thread that carries this end's media: callers first, callees at their own address if they have one.
    fn carrier(&self, call: CallRef) -> Option<&RtpHandle> {
        match call.side {
            Side::Caller => self.media.first(),
            Side::Callee => self.media.last(),
        }
    }
}

/// Adds up both ends of every call.
fn rtp(ends: &BTreeMap<CallRef, StreamReport>) -> RtpReport {
    let mut sum = RtpReport::default();
    let mut longest_gap = Duration::ZERO;
    for (call, end) in ends {
        sum.sent += end.sent;
        sum.received += end.received;
        sum.lost += end.lost;
        sum.foreign += end.foreign;
        longest_gap = longest_gap.max(end.longest_gap);
        // Both ends must name each other; counted at the caller.
        let far = end.far.filter(|_| call.side == Side::Caller).map(CallRef::callee);
        let far = far.and_then(|far| ends.get(&far));
        sum.both_ways += u64::from(far.is_some_and(|far| far.far == Some(call.number) && end.heard));
    }
    sum.longest_gap_ms = longest_gap.as_secs_f64() * 1000.0;
    sum.longest_gap_ms = (sum.longest_gap_ms * 10.0).round() / 10.0;
    sum
}

#[allow(clippy::cast_precision_loss)]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
