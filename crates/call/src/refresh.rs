//! Session timers on each leg (RFC 4028), and the numbers that requests of ours need.

use bytes::Bytes;
use dialog::RefreshBy;
use machine::{Instant, WallTime};
use sdp::Session;
use sip::{Message, Method};

use crate::asked::Reply;
use crate::attempt::is_sdp;
use crate::call::{Call, Hangup, Waiting, Wanted};
use crate::exchange::{Kind, Step};
use crate::record::{CallCommand, Change, Side, Update};

impl Call {
    /// Whether a re-INVITE or UPDATE changes nothing: a session refresh, answered here (RFC 4028 §7.4, §9).
    pub(crate) fn is_refresh(&self, side: Side, kind: &Kind, request: &Message<'_>) -> bool {
        let Some(legs) = self.legs.as_ref() else { return false };
        let body = request.body();
        if body.is_empty() {
            return *kind == Kind::Update;
        }
        let known = &legs.leg(side).remote_sdp;
        if !is_sdp(request) {
            return false;
        }
        known == body
            || Session::parse(known).is_ok_and(|old| Session::parse(body).is_ok_and(|new| new.repeats(&old)))
    }

    /// A peer refreshes its session: recorded, then answered, without a word to the far side.
    pub(crate) fn refresh_locally(&mut self, now: Instant, index: usize, side: Side) {
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        let Some(asked) = exchange.asked.as_mut() else { return };
        let has_sdp = !asked.request.view().body().is_empty();
        asked.decided = true;
        exchange.step = Step::Refreshed;
        let (number, kind) = (exchange.number, exchange.kind.clone());
        let Some(legs) = self.legs.as_mut() else { return };
        let leg = legs.leg_mut(side);
        leg.dialog.responded(now, kind.method(), 200, has_sdp);
        exchange.answer = if has_sdp { leg.local_sdp.clone() } else { Bytes::new() };
        let update = Update { side, leg: leg.state(now), far: None };
        self.propose(CallCommand::Change(Change::Update(Box::new(update))), Waiting::Exchange(number));
    }

    /// A peer's refresh is recorded.
    pub(crate) fn refresh_recorded(&mut self, now: Instant, index: usize) {
        let Some(exchange) = self.exchanges.get(index) else { return };
        let Some(side) = exchange.asked.as_ref().map(|asked| asked.side) else { return };
        let body = exchange.answer.clone();
        let mut extra = Vec::new();
        if let Some(legs) = self.legs.as_ref() {
            legs.leg(side).dialog.write_session_answer(&mut extra);
        }
        let content_type = b"application/sdp";
        let reply = Reply { extra: &extra, body: &body, content_type, ..Reply::of(200) };
        self.respond_exchange(now, index, &reply);
    }

    /// A session refresh of ours is due.
    fn refresh(&mut self, now: Instant, side: Side, by: RefreshBy) {
        let Some(legs) = self.legs.as_ref() else { return };
        let leg = legs.leg(side);
        let (kind, sdp) = match by {
            RefreshBy::Update => (Kind::Update, Bytes::new()),
            RefreshBy::Invite => (Kind::Invite, leg.local_sdp.clone()),
        };
        if leg.dialog.may_send(kind.method(), !sdp.is_empty()).is_err() {
            return;
        }
        if leg.dialog.state().cseq.left() == 0 {
            self.wanted.push((side, Wanted::Refresh(by)));
            return self.keep_numbers(side);
        }
        self.send_refresh(now, side, &kind, &sdp);
    }

    /// Sends a refresh of ours; again with another interval after a 422.
    pub(crate) fn send_refresh(&mut self, now: Instant, side: Side, kind: &Kind, sdp: &[u8]) {
        let method: Method<'_> = kind.method();
        let body = Some(dialog::Body { content_type: b"application/sdp", bytes: sdp });
        let body = body.filter(|body| !body.bytes.is_empty());
        if let Some(sent) = self.send_in_dialog(now, side, method, &mut Vec::new(), body) {
            self.open_own(kind.clone(), sent);
        }
        self.keep_numbers(side);
    }

    /// Carries out what the dialogs' timers want.
    pub(crate) fn leg_timeouts(&mut self, now: Instant, wall: WallTime) {
        for side in [Side::Ingress, Side::Egress] {
            let Some(legs) = self.legs.as_mut() else { return };
            legs.leg_mut(side).dialog.handle_timeout(now);
            while let Some(output) =
                self.legs.as_mut().and_then(|legs| legs.leg_mut(side).dialog.poll_output())
            {
                match output {
                    dialog::Output::Refresh(by) => self.refresh(now, side, by),
                    dialog::Output::SessionExpired => {
                        self.hang_up(now, wall, Hangup::ours("session timer"));
                    }
                    // A relayed request is its sender's to try again; a refresh of ours is timed by the dialog.
                    dialog::Output::Retry => self.rehome(now, side),
                    dialog::Output::Send(_) | dialog::Output::NoPrack => {}
                }
            }
        }
    }

    /// Reserves the next block of CSeqs before the last one runs out.
    pub(crate) fn keep_numbers(&mut self, side: Side) {
        let Some(legs) = self.legs.as_ref() else { return };
        let numbers = legs.leg(side).dialog.state().cseq;
        if numbers.left() < NUMBERS_LEFT_MIN {
            self.reserve_numbers(side, numbers.reserved_to());
        }
    }

    /// Proposes a block of CSeqs above `last`, unless one is on its way.
    pub(crate) fn reserve_numbers(&mut self, side: Side, last: u32) {
        if self.waiting.iter().any(|waiting| matches!(waiting, Waiting::Advance(s, _) if *s == side)) {
            return;
        }
        let reserved_to = last.saturating_add(dialog::CSEQ_BLOCK);
        let change = Change::Advance(side, reserved_to);
        self.propose(CallCommand::Change(change), Waiting::Advance(side, reserved_to));
    }

    /// A reservation is committed.
    pub(crate) fn advanced(&mut self, now: Instant, wall: WallTime, side: Side, reserved_to: u32) {
        if let Some(legs) = self.legs.as_mut() {
            legs.leg_mut(side).dialog.reserve_cseq(reserved_to);
        } else if let Some(attempt) = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut()) {
            attempt.forks.iter_mut().for_each(|fork| fork.reserve_cseq(reserved_to));
        }
        self.send_wanted(now, wall, side);
    }

    /// What waited on a side may be sent now.
    pub(crate) fn send_wanted(&mut self, now: Instant, _wall: WallTime, side: Side) {
        if self.wanted.is_empty() {
            return;
        }
        for (at, wanted) in std::mem::take(&mut self.wanted) {
            match wanted {
                _ if at != side => self.wanted.push((at, wanted)),
                Wanted::Bye(reason) => self.send_bye(now, side, reason),
                Wanted::Refresh(by) => self.refresh(now, side, by),
                Wanted::Rehome => self.rehome(now, side),
                Wanted::Presence => self.ask_presence(now, side),
                Wanted::SendOn(number) => {
                    if let Some(index) = self.exchanges.iter().position(|e| e.number == number) {
                        self.send_on(now, index);
                    }
                }
            }
        }
    }
}

/// A new block of numbers is asked for when fewer than these are left.
const NUMBERS_LEFT_MIN: u32 = 16;
