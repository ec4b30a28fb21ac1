//! CDRs that this node never applied, since it got a snapshot instead, are fetched from the files of others.
//!
//! A gap is a span of numbers between two files. It is asked for piece by piece, of one node after the other; what
//! comes is a file of its own, whose name puts it in its place.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use machine::Instant;
use serde::{Deserialize, Serialize};

/// Numbers of CDRs, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// The first.
    pub(crate) from: u64,
    /// The last.
    pub(crate) to: u64,
}

/// Lines of CDRs, as many as fit into an answer, in the order of their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Lines {
    /// What was asked for.
    pub(crate) span: Span,
    /// What the asked node has of it.
    pub(crate) bytes: Vec<u8>,
}

/// What is missing, and of whom it was asked.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    open: VecDeque<Gap>,
    /// Whom the first gap was asked of, and when the answer is late.
    asked: Option<(u64, Span, Instant)>,
    rest_until: Instant,
}

#[derive(Debug)]
struct Gap {
    span: Span,
    /// Nodes that have none of it.
    lacking: BTreeSet<u64>,
}

impl Gaps {
    /// These numbers are missing.
    pub(super) fn open(&mut self, from: u64, to: u64) {
        if from <= to {
            self.open.push_back(Gap { span: Span { from, to }, lacking: BTreeSet::new() });
        }
    }

    /// What to ask of whom now. Nobody has it: not for a while.
    pub(super) fn ask(&mut self, now: Instant, peers: &[u64]) -> Option<(u64, Span)> {
        let is_under_way = self.asked.is_some_and(|(_, _, late)| now < late);
        if self.open.is_empty() || peers.is_empty() || is_under_way || now < self.rest_until {
            return None;
        }
        if let (Some((silent, span, _)), Some(gap)) = (self.asked.take(), self.open.front_mut())
            && gap.span == span
        {
            gap.lacking.insert(silent);
        }
        for _ in 0..self.open.len() {
            let gap = self.open.front()?;
            if let Some(peer) = peers.iter().find(|peer| !gap.lacking.contains(peer)) {
                self.asked = Some((*peer, gap.span, now + LATE));
                return Some((*peer, gap.span));
            }
            self.open.rotate_left(1);
        }
        self.open.iter_mut().for_each(|gap| gap.lacking.clear());
        self.rest_until = now + REST;
        None
    }

    /// Whether this answers what was asked, of whom it was asked.
    pub(super) fn awaits(&self, from: u64, span: Span) -> bool {
        self.asked.is_some_and(|(peer, asked, _)| (peer, asked) == (from, span))
    }

    /// The gap that was asked for is filled with these numbers, which rise.
    pub(super) fn filled(&mut self, numbers: &[u64]) {
        let Some((peer, span, _)) = self.asked.take() else { return };
        let Some(gap) = self.open.pop_front_if(|gap| gap.span == span) else { return };
        let lacking: BTreeSet<u64> = gap.lacking.iter().copied().chain([peer]).collect();
        let mut next = span.from;
        for number in numbers {
            // What it left out, it does not have.
            if next < *number {
                let span = Span { from: next, to: number - 1 };
                self.open.push_back(Gap { span, lacking: lacking.clone() });
            }
            next = number + 1;
        }
        if next <= span.to {
            let lacking = if numbers.is_empty() { lacking } else { gap.lacking };
            self.open.push_front(Gap { span: Span { from: next, to: span.to }, lacking });
        }
    }

    /// What came could not be kept: it is asked for again.
    pub(super) fn again(&mut self) {
        self.asked = None;
    }
}

/// An answer that takes longer is lost.
const LATE: Duration = Duration::from_secs(2);
/// Where nobody has what is missing, all are asked again after this.
const REST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: u64, to: u64) -> Span {
        Span { from, to }
    }

    #[test]
    fn a_gap_is_asked_of_one_node_after_the_other_and_shrinks_by_what_comes() {
        let (mut gaps, now) = (Gaps::default(), Instant::ZERO + REST);
        gaps.open(3, 9);
        assert_eq!(gaps.ask(now, &[]), None);
        assert_eq!(gaps.ask(now, &[1, 2]), Some((1, span(3, 9))));
        assert_eq!(gaps.ask(now, &[1, 2]), None, "one question at a time");
        assert!(gaps.awaits(1, span(3, 9)) && !gaps.awaits(2, span(3, 9)));
        // Node 1 has 4, 5 and 7: the rest of the span is asked of it first, what it left out of the other.
        gaps.filled(&[4, 5, 7]);
        assert_eq!(gaps.ask(now, &[1, 2]), Some((1, span(8, 9))));
        gaps.filled(&[]);
        assert_eq!(gaps.ask(now, &[1, 2]), Some((2, span(8, 9))));
        gaps.filled(&[8, 9]);
        assert_eq!(gaps.ask(now, &[1, 2]), Some((2, span(3, 3))));
        gaps.filled(&[3]);
        assert_eq!(gaps.ask(now, &[1, 2]), Some((2, span(6, 6))));
        gaps.filled(&[6]);
        assert!(gaps.open.is_empty());
        // With nothing to ask for it does not rest either.
        assert_eq!(gaps.ask(now, &[1, 2]), None);
        gaps.open(20, 20);
        assert_eq!(gaps.ask(now, &[1, 2]), Some((1, span(20, 20))));
    }

    #[test]
    fn who_does_not_answer_is_passed_over_and_what_nobody_has_is_asked_for_again_after_a_rest() {
        let (mut gaps, now) = (Gaps::default(), Instant::ZERO + REST);
        gaps.open(1, 2);
        assert_eq!(gaps.ask(now, &[5, 6]), Some((5, span(1, 2))));
        assert_eq!(gaps.ask(now + LATE, &[5, 6]), Some((6, span(1, 2))));
        gaps.filled(&[]);
        assert_eq!(gaps.ask(now + LATE, &[5, 6]), None);
        assert_eq!(gaps.ask(now + LATE + REST, &[5, 6]), Some((5, span(1, 2))));
    }
}
