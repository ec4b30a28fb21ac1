//! Reliable provisional responses (RFC 3262): ours until their PRACK, the peer's in their order.

use std::time::Duration;

use bytes::Bytes;
use machine::Instant;
use sip::{Message, Name, push_number};

use crate::dialog::{Timer, Unacknowledged};
use crate::{Dialog, NotNow, Output};

/// Where a reliable provisional response of the peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReliableOrder {
    /// The next in order: take it, and send PRACK.
    Next {
        /// Its RSeq.
        rseq: u32,
    },
    /// It was seen before; its PRACK is on the way (RFC 3262 §4).
    Repeated,
    /// One before it is missing: neither PRACK nor use it; the peer will repeat both (RFC 3262 §4).
    Early,
}

impl Dialog {
    /// The RSeq of a new reliable provisional response; `chance` draws the first (RFC 3262 §3: 1 to 2³¹ − 1).
    /// Record the state that holds it, then hand the response to [`Dialog::send_provisional`].
    pub fn next_rseq(&mut self, chance: u64) -> Result<u32, NotNow> {
        let provisional = &mut self.state.provisional;
        if provisional.sent != 0 && !provisional.acknowledged {
            return Err(NotNow::PrackAwaited);
        }
        provisional.sent = match provisional.sent {
            0 => 1 + (chance % u64::from(FIRST_RSEQ_MAX)) as u32,
            last => last.saturating_add(1),
        };
        provisional.acknowledged = false;
        Ok(provisional.sent)
    }

    /// Sends a reliable provisional response to the peer's INVITE, and repeats it until its PRACK comes: the one
    /// numbered last, also at a successor. `has_sdp`: it carries a session description.
    pub fn send_provisional(&mut self, now: Instant, message: Bytes, has_sdp: bool) {
        if let Some(invite) = &mut self.theirs {
            self.reliable_cseq = invite.cseq;
            if has_sdp {
                self.offer.in_invite_response(invite, true);
            }
        }
        self.note_exchange();
        self.outputs.push(Output::Send(message.clone()));
        let interval = self.settings.t1.max(Duration::from_millis(1));
        self.unacknowledged = Some(Unacknowledged { message, interval, has_sdp });
        self.timers.set(Timer::Provisional, now + interval);
        self.timers.set(Timer::NoPrack, now + self.settings.t1.saturating_mul(64));
    }

    /// Whether a 2xx may be sent now: not while a reliable provisional that carries a session description has no
    /// PRACK (RFC 3262 §3).
    pub fn may_answer(&self) -> bool {
        !self.unacknowledged.as_ref().is_some_and(|u| u.has_sdp)
    }

    /// Writes the RAck of the PRACK for the peer's last response in order, with its CRLF; `cseq` is the INVITE's.
    pub fn write_rack(&self, out: &mut Vec<u8>, cseq: u32) {
        out.extend_from_slice(b"RAck: ");
        push_number(out, self.state.provisional.received);
        out.push(b' ');
        push_number(out, cseq);
        out.extend_from_slice(b" INVITE\r\n");
    }

    pub(crate) fn resend_provisional(&mut self, now: Instant) {
        if let Some(unacknowledged) = &mut self.unacknowledged {
            self.outputs.push(Output::Send(unacknowledged.message.clone()));
            // RFC 3262 §3: the interval doubles, without a cap.
            unacknowledged.interval = unacknowledged.interval.saturating_mul(2);
            self.timers.set(Timer::Provisional, now + unacknowledged.interval);
        }
    }

    pub(crate) fn stop_provisional(&mut self) {
        self.unacknowledged = None;
        self.timers.clear(Timer::Provisional);
        self.timers.clear(Timer::NoPrack);
    }

    /// Orders a provisional response of the peer; `None` where it is not a reliable one.
    pub(crate) fn order_of(&mut self, response: &Message<'_>) -> Option<ReliableOrder> {
        if !response.has_token(Name::Require, b"100rel") {
            return None;
        }
        let rseq = response.rseq().ok().flatten().filter(|rseq| *rseq > 0)?;
        let last = self.state.provisional.received;
        if last == 0 || rseq == last.wrapping_add(1) {
            self.state.provisional.received = rseq;
            Some(ReliableOrder::Next { rseq })
        } else if rseq <= last {
            Some(ReliableOrder::Repeated)
        } else {
            Some(ReliableOrder::Early)
        }
    }
}

const FIRST_RSEQ_MAX: u32 = 0x7fff_ffff;
