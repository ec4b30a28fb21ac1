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
        if self.ended {
            return;
        }
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

#[cfg(test)]
mod tests {
    use sip::Method;

    use super::*;
    use crate::fixture::*;
    use crate::{Answered, Received, Reject, Settings};

    fn early() -> Dialog {
        uas_early("Supported: 100rel\r\n", Settings::default())
    }

    fn message() -> Bytes {
        Bytes::from_static(b"SIP/2.0 183 x")
    }

    fn sent_at(ladder: &[(u64, Output)]) -> Vec<u64> {
        ladder.iter().filter(|(_, o)| matches!(o, Output::Send(_))).map(|(ms, _)| *ms).collect()
    }

    #[test]
    fn a_reliable_provisional_is_repeated_doubling_without_a_cap_until_64_t1() {
        // RFC 3262 §3: T1, 2·T1, …; after 64·T1 the INVITE is refused with 5xx.
        let mut dialog = early();
        assert_eq!(dialog.next_rseq(41), Ok(42));
        dialog.send_provisional(at(0), message(), true);
        assert_eq!(dialog.poll_output(), Some(Output::Send(message())));
        let ladder = run(&mut dialog, at(90));
        assert_eq!(sent_at(&ladder), [500, 1500, 3500, 7500, 15_500, 31_500]);
        assert_eq!(ladder.last(), Some(&(32_000, Output::NoPrack)));
        assert_eq!(dialog.poll_timeout(), None);
    }

    #[test]
    fn a_prack_ends_it_and_only_the_right_one() {
        // RFC 3262 §3: 481 for a RAck that matches no unacknowledged provisional.
        let mut dialog = early();
        dialog.next_rseq(41).expect("the first");
        dialog.send_provisional(at(0), message(), true);
        for (cseq, rack) in [(8, "43 7 INVITE"), (9, "42 8 INVITE"), (10, "42 7 UPDATE")] {
            let refused = ask(&mut dialog, "PRACK", cseq, &format!("RAck: {rack}\r\n"), false);
            assert_eq!(refused, Err(Reject::NoSuchProvisional), "{rack}");
            assert_eq!(refused.map_err(|r| r.status()), Err(481));
        }
        assert!(!dialog.may_answer(), "an offer or answer is unacknowledged");
        assert_eq!(ask(&mut dialog, "PRACK", 11, "RAck: 42 7 INVITE\r\n", false), Ok(Received::Prack));
        assert_eq!(dialog.poll_timeout(), None);
        assert!(dialog.may_answer());
    }

    #[test]
    fn provisionals_go_one_by_one_and_numbers_never_skip() {
        // RFC 3262 §3: the next only after the PRACK, its RSeq higher by one.
        let mut dialog = early();
        assert_eq!(dialog.next_rseq(41), Ok(42));
        dialog.send_provisional(at(0), message(), false);
        assert!(dialog.may_answer(), "it carries no session description");
        assert_eq!(dialog.next_rseq(41), Err(NotNow::PrackAwaited));
        assert_eq!(ask(&mut dialog, "PRACK", 8, "RAck: 42 7 INVITE\r\n", false), Ok(Received::Prack));
        assert_eq!(dialog.next_rseq(999), Ok(43));
        assert_eq!(dialog.next_rseq(999), Err(NotNow::PrackAwaited));
    }

    #[test]
    fn the_first_rseq_is_between_1_and_2_to_the_31() {
        // RFC 3262 §3.
        for chance in [0, 1, 0x7fff_fffe, 0x7fff_ffff, u64::MAX] {
            let rseq = early().next_rseq(chance).expect("the first");
            assert!((1..=0x7fff_ffff).contains(&rseq), "{rseq}");
        }
    }

    #[test]
    fn rseq_survives_a_takeover_and_the_successor_repeats_the_response() {
        let mut dialog = early();
        dialog.next_rseq(41).expect("the first");
        dialog.send_provisional(at(0), message(), true);
        let mut successor = Dialog::restore(at(0), dialog.state().clone(), Settings::default(), None);
        successor.send_provisional(at(0), message(), true);
        assert_eq!(successor.poll_output(), Some(Output::Send(message())));
        assert_eq!(successor.next_rseq(0), Err(NotNow::PrackAwaited));
        assert_eq!(ask(&mut successor, "PRACK", 8, "RAck: 42 7 INVITE\r\n", false), Ok(Received::Prack));
        assert_eq!(successor.next_rseq(0), Ok(43));
    }

    #[test]
    fn a_prack_after_the_final_response_is_still_taken_and_nothing_is_repeated() {
        // RFC 3262 §3.
        let mut dialog = early();
        dialog.next_rseq(41).expect("the first");
        dialog.send_provisional(at(0), message(), false);
        dialog.responded(at(1), Method::Invite, 200, true);
        dialog.poll_output();
        assert_eq!(run(&mut dialog, at(90)), []);
        assert_eq!(ask(&mut dialog, "PRACK", 8, "RAck: 42 7 INVITE\r\n", false), Ok(Received::Prack));
    }

    #[test]
    fn an_answer_in_a_reliable_provisional_frees_the_way_for_update() {
        // RFC 3311 §5.1, RFC 6337 §2.2.
        let mut dialog = early();
        assert_eq!(dialog.may_send(Method::Update, true), Err(NotNow::OfferPending));
        dialog.next_rseq(0).expect("the first");
        dialog.send_provisional(at(0), message(), true);
        assert_eq!(dialog.may_send(Method::Update, true), Ok(()));
        assert!(dialog.state().invite_exchanged);
        // Its 2xx repeats the answer and is no new offer.
        dialog.responded(at(1), Method::Invite, 200, true);
        assert_eq!(dialog.may_send(Method::Update, true), Ok(()));
    }

    #[test]
    fn an_offer_in_prack_is_answered_by_its_2xx() {
        // RFC 3262 §5.
        let mut dialog = early();
        dialog.next_rseq(0).expect("the first");
        dialog.send_provisional(at(0), message(), true);
        assert_eq!(ask(&mut dialog, "PRACK", 8, "RAck: 1 7 INVITE\r\n", true), Ok(Received::Prack));
        assert_eq!(dialog.may_send(Method::Update, true), Err(NotNow::OfferPending));
        dialog.responded(at(1), Method::Prack, 200, true);
        assert_eq!(dialog.may_send(Method::Update, true), Ok(()));
    }

    /// Bob's reliable 183 with this RSeq.
    fn hear(dialog: &mut Dialog, rseq: &str) -> Option<ReliableOrder> {
        let extra = format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
        match answer(dialog, at(0), 183, "INVITE", 10, &extra) {
            Ok(Answered::Provisional { reliable }) => reliable,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_peer_s_provisionals_are_taken_in_order_only() {
        // RFC 3262 §4: the first sets the count; repeats are dropped; gaps wait for what is missing.
        let mut dialog = uac_by(180, "", false, Settings::default());
        assert_eq!(hear(&mut dialog, "100"), Some(ReliableOrder::Next { rseq: 100 }));
        assert_eq!(hear(&mut dialog, "100"), Some(ReliableOrder::Repeated));
        assert_eq!(hear(&mut dialog, "102"), Some(ReliableOrder::Early));
        assert_eq!(hear(&mut dialog, "101"), Some(ReliableOrder::Next { rseq: 101 }));
        assert_eq!(hear(&mut dialog, "102"), Some(ReliableOrder::Next { rseq: 102 }));
        assert_eq!(hear(&mut dialog, "99"), Some(ReliableOrder::Repeated));
        assert_eq!(hear(&mut dialog, "0"), None, "RFC 3262 §7.1: RSeq begins at 1");
        let mut rack = Vec::new();
        dialog.write_rack(&mut rack, 10);
        assert_eq!(rack, b"RAck: 102 10 INVITE\r\n");
    }

    #[test]
    fn a_provisional_without_require_is_not_reliable() {
        let mut dialog = uac_by(180, "", false, Settings::default());
        let plain = answer(&mut dialog, at(0), 183, "INVITE", 10, "Supported: 100rel\r\nRSeq: 7\r\n");
        assert_eq!(plain, Ok(Answered::Provisional { reliable: None }));
        assert_eq!(dialog.state().provisional.received, 0);
    }

    #[test]
    fn each_invite_of_ours_begins_a_new_count() {
        // RFC 3262 §3: the RSeq space is the transaction's.
        let mut dialog = uac_by(180, "", false, Settings::default());
        assert_eq!(hear(&mut dialog, "100"), Some(ReliableOrder::Next { rseq: 100 }));
        assert_eq!(answer(&mut dialog, at(1), 200, "INVITE", 10, ""), Ok(Answered::Success));
        dialog.sent_request(Method::Invite, 11, true);
        let first = answer(&mut dialog, at(2), 183, "INVITE", 11, "Require: 100rel\r\nRSeq: 7\r\n");
        let next = Some(ReliableOrder::Next { rseq: 7 });
        assert_eq!(first, Ok(Answered::Provisional { reliable: next }));
    }
}
