//! The dialog machine: its making (RFC 3261 §12.1), its timers, its end.

use std::sync::Arc;

use std::time::Duration;

use bytes::Bytes;
use machine::museum::planted;
use machine::{Instant, Timers};
use sip::{Message, Name};
use smallvec::SmallVec;

use crate::offer::{Carrier, Invite, Offer};
use crate::state::{Peer, Provisionals, uri_of};
use crate::{
    DialogState, LocalCseq, MIN_SE_S, NeedsReservation, PeerError, Refresher, Reject, Role, Session,
    SessionHeaders, SessionPolicy, SessionRequest, facts,
};

/// What does not survive a node because it follows from configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The estimate of a round trip (RFC 3261 §17.1.1.1), for reliable provisional responses.
    pub t1: Duration,
    /// What we want of session timers.
    pub session: SessionPolicy,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { t1: Duration::from_millis(500), session: SessionPolicy::default() }
    }
}

/// An INVITE that we sent: what its responses make dialogs of.
#[derive(Clone, Copy, Debug)]
pub struct InviteSent<'a> {
    /// Its Call-ID.
    pub call_id: &'a str,
    /// Its From tag.
    pub local_tag: &'a str,
    /// Its From without the tag.
    pub local: &'a str,
    /// Its To.
    pub remote: &'a str,
    /// Its Request-URI: the target, if the peer gives no Contact.
    pub request_uri: &'a str,
    /// Its CSeq.
    pub cseq: u32,
    /// The numbers for further requests, beginning above `cseq`.
    pub numbers: LocalCseq,
    /// Whether it went to a SIPS URI.
    pub secure: bool,
    /// Whether it carried an offer.
    pub offered: bool,
    /// The session timer that it asked for.
    pub session: Option<SessionRequest>,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Repeat these bytes, a reliable provisional response, to the peer (RFC 3262 §3).
    Send(Bytes),
    /// No PRACK for 64·T1: the INVITE is refused with 5xx (RFC 3262 §3).
    NoPrack,
    /// Send a session refresh (RFC 4028 §7.4).
    Refresh(RefreshBy),
    /// No refresh in time: send BYE (RFC 4028 §10).
    SessionExpired,
    /// The wait after a 491 is over: the owner's request may be tried again (RFC 3261 §14.1). A refresh of ours is
    /// asked for by `Refresh` instead.
    Retry,
}

/// The request that refreshes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshBy {
    /// UPDATE without an offer, where the peer allows it (RFC 4028 §7.4).
    Update,
    /// Re-INVITE with the session description that stands.
    Invite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    Refresh,
    Expiry,
    Glare,
    Provisional,
    NoPrack,
}

/// A reliable provisional response of ours without its PRACK.
#[derive(Clone, Debug)]
pub(crate) struct Unacknowledged {
    pub(crate) message: Bytes,
    pub(crate) interval: Duration,
    pub(crate) has_sdp: bool,
}

/// A dialog at work. What must survive is in its [`DialogState`]; the rest is of this node and this moment.
///
/// Requests and responses go through [`receive_request`](Dialog::receive_request),
/// [`responded`](Dialog::responded), [`sent_request`](Dialog::sent_request) and
/// [`receive_response`](Dialog::receive_response); timers as in every machine.
#[derive(Clone, Debug)]
pub struct Dialog {
    pub(crate) state: DialogState,
    pub(crate) settings: Settings,
    /// Our INVITE without a final response.
    pub(crate) ours: Option<Invite>,
    /// The peer's INVITE without a final response.
    pub(crate) theirs: Option<Invite>,
    /// The CSeq of our UPDATE without a final response.
    pub(crate) update_ours: Option<u32>,
    /// The CSeq of the peer's UPDATE without a final response.
    pub(crate) update_theirs: Option<u32>,
    pub(crate) offer: Offer,
    /// The CSeq of the peer's INVITE whose 2xx has no ACK.
    pub(crate) ack_awaited: Option<u32>,
    /// The CSeq of the INVITE that our last reliable provisional answered.
    pub(crate) reliable_cseq: u32,
    pub(crate) unacknowledged: Option<Unacknowledged>,
    /// The Contact of the peer's request, ours once we answer it with 2xx.
    pub(crate) target_offered: Option<Arc<str>>,
    /// What our 2xx to the peer's request says of session timers.
    pub(crate) session_offered: Option<Session>,
    /// What our request asked of session timers.
    pub(crate) session_asked: Option<SessionRequest>,
    /// Whether a 422 was already followed in this dialog.
    pub(crate) min_se_followed: bool,
    /// When the session ends unless refreshed.
    pub(crate) session_ends: Option<Instant>,
    pub(crate) ended: bool,
    pub(crate) timers: Timers<Timer>,
    pub(crate) outputs: SmallVec<[Output; 1]>,
}

impl Dialog {
    /// The dialog that the peer's INVITE opens, under our To tag (RFC 3261 §12.1.1). `first_cseq` numbers our
    /// first request in it; `has_sdp`: the INVITE carries an offer. A session interval below our minimum is refused.
    pub fn from_invite(
        invite: &Message<'_>,
        local_tag: &str,
        first_cseq: u32,
        has_sdp: bool,
        settings: Settings,
    ) -> Result<Dialog, Reject> {
        let (cseq, _) = invite.cseq().map_err(PeerError::from)?;
        let from = facts::party(invite, Name::From)?;
        let to = facts::party(invite, Name::To)?;
        let target = facts::contact(invite)?;
        let headers = SessionHeaders::of(invite)?;
        let session = settings.session.answer(&headers)?;
        let mut peer = Peer::default();
        facts::abilities(&mut peer, invite);
        let state = DialogState {
            role: Role::Uas,
            confirmed: false,
            secure: invite.uri().is_some_and(is_sips),
            call_id: facts::call_id(invite)?.into(),
            local_tag: local_tag.into(),
            remote_tag: from.tag,
            local: to.address,
            // Some callers give no Contact; their From is the best guess, and better than no call.
            remote_target: target.unwrap_or_else(|| facts::request_uri(uri_of(&from.address))),
            remote: from.address,
            route_set: facts::record_route(invite)?.into_boxed_slice(),
            cseq: LocalCseq::starting_at(first_cseq),
            remote_cseq: Some(cseq),
            invite_cseq: cseq,
            invite_offered: has_sdp,
            invite_exchanged: false,
            provisional: Provisionals::default(),
            session: None,
            min_se_s: headers.min_se_s.unwrap_or(MIN_SE_S),
            peer,
        };
        let mut dialog = Dialog::over(state, settings);
        dialog.session_offered = session;
        Ok(dialog)
    }

    /// The early dialog that another answer to the same INVITE of the peer's opens, under a To tag of its own
    /// (RFC 3261 §12.1: one INVITE, many early dialogs).
    pub fn sibling(&self, local_tag: &str) -> Dialog {
        let mut sibling = self.clone();
        sibling.state.local_tag = local_tag.into();
        sibling
    }

    /// The dialog that a response to our INVITE opens (RFC 3261 §12.1.2). Follow with
    /// [`receive_response`](Dialog::receive_response) of the same response; [`Forks`](crate::Forks) does both.
    pub fn from_response(
        invite: &InviteSent<'_>,
        response: &Message<'_>,
        settings: Settings,
    ) -> Result<Dialog, PeerError> {
        let to = facts::party(response, Name::To)?;
        if to.tag.is_empty() && response.status().is_none_or(|status| status < 200) {
            return Err(PeerError::NoToTag);
        }
        let state = DialogState {
            role: Role::Uac,
            confirmed: false,
            secure: invite.secure,
            call_id: invite.call_id.into(),
            local_tag: invite.local_tag.into(),
            remote_tag: to.tag,
            local: invite.local.into(),
            remote: invite.remote.into(),
            remote_target: facts::contact(response)?.unwrap_or_else(|| invite.request_uri.into()),
            route_set: facts::record_route(response)?.into_iter().rev().collect(),
            cseq: invite.numbers,
            remote_cseq: None,
            invite_cseq: invite.cseq,
            invite_offered: invite.offered,
            invite_exchanged: false,
            provisional: Provisionals::default(),
            session: None,
            min_se_s: invite.session.map_or(MIN_SE_S, |s| s.min_se_s),
            peer: Peer::default(),
        };
        let mut dialog = Dialog::over(state, settings);
        dialog.session_asked = invite.session;
        Ok(dialog)
    }

    /// The dialog at a successor. `session_left`: how much of the session's interval is left by its recorded
    /// deadline. An overdue refresh of the peer's has 32 s of grace; ours goes out at once.
    pub fn restore(
        now: Instant,
        mut state: DialogState,
        settings: Settings,
        session_left: Option<Duration>,
    ) -> Dialog {
        state.cseq = state.cseq.for_successor();
        if planted("cseq-reused") {
            state.cseq = LocalCseq::starting_at(1 + u32::from(state.role == Role::Uac));
        }
        if planted("tags-swapped") && state.role == Role::Uas {
            std::mem::swap(&mut state.local_tag, &mut state.remote_tag);
        }
        if planted("routes-reversed") && state.role == Role::Uas {
            state.route_set.reverse();
        }
        let mut dialog = Dialog::over(state, settings);
        if let Some(session) = dialog.state.session {
            let left = session_left.unwrap_or(session.interval()).min(session.interval());
            let gone = session.interval() - left;
            if session.refresher == Refresher::Us {
                dialog.timers.set(Timer::Refresh, now + session.refresh_after().saturating_sub(gone));
            }
            let expires = session.expires_after().saturating_sub(gone).max(TAKEOVER_GRACE);
            dialog.timers.set(Timer::Expiry, now + expires);
            dialog.session_ends = Some(now + left);
        }
        dialog
    }

    /// A machine over a state; an early one has its INVITE in progress.
    fn over(state: DialogState, settings: Settings) -> Dialog {
        let invite = Invite {
            cseq: state.invite_cseq,
            offered: state.invite_offered,
            exchanged: state.invite_exchanged,
        };
        let pending = (!state.confirmed).then_some(invite);
        let mut offer = Offer::default();
        if !state.confirmed && state.invite_offered && !state.invite_exchanged {
            offer.made(state.role == Role::Uac, Carrier::Invite);
        }
        Dialog {
            ours: pending.filter(|_| state.role == Role::Uac),
            theirs: pending.filter(|_| state.role == Role::Uas),
            reliable_cseq: state.invite_cseq,
            state,
            settings,
            update_ours: None,
            update_theirs: None,
            offer,
            ack_awaited: None,
            unacknowledged: None,
            target_offered: None,
            session_offered: None,
            session_asked: None,
            min_se_followed: false,
            session_ends: None,
            ended: false,
            timers: Timers::default(),
            outputs: SmallVec::new(),
        }
    }

    /// What must survive.
    pub fn state(&self) -> &DialogState {
        &self.state
    }

    /// When the session ends unless it is refreshed: what a successor must know to give `session_left`.
    pub fn session_ends(&self) -> Option<Instant> {
        self.session_ends
    }

    /// Whether BYE went one way or the other, or the INVITE was refused.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next CSeq of ours, or what must be recorded before there is one.
    pub fn take_cseq(&mut self) -> Result<u32, NeedsReservation> {
        self.state.cseq.take()
    }

    /// Numbers up to `reserved_to` are recorded.
    pub fn reserve_cseq(&mut self, reserved_to: u32) {
        self.state.cseq.reserve(reserved_to);
    }

    /// Ends the dialog without a message: nothing more is expected, and no timer fires.
    pub fn end(&mut self) {
        self.ended = true;
        self.session_ends = None;
        self.unacknowledged = None;
        self.timers.clear_all();
    }

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Refresh if self.is_idle() => self.outputs.push(Output::Refresh(self.refresh_by())),
                // Another request of either side is in progress and may itself be the refresh.
                Timer::Refresh => self.timers.set(Timer::Refresh, now + REFRESH_POSTPONED),
                Timer::Expiry => {
                    self.timers.clear(Timer::Refresh);
                    self.session_ends = None;
                    self.outputs.push(Output::SessionExpired);
                }
                Timer::Glare => self.outputs.push(Output::Retry),
                Timer::Provisional => self.resend_provisional(now),
                Timer::NoPrack => {
                    self.stop_provisional();
                    self.outputs.push(Output::NoPrack);
                }
            }
        }
    }

    /// The next thing to do; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() { None } else { Some(self.outputs.remove(0)) }
    }

    /// When `handle_timeout` wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// How a session of this dialog is refreshed.
    pub fn refresh_by(&self) -> RefreshBy {
        if self.state.peer.update { RefreshBy::Update } else { RefreshBy::Invite }
    }

    /// Writes Session-Expires and Min-SE of a re-INVITE or UPDATE of ours (RFC 4028 §7.4); nothing where no
    /// session timer is wanted.
    pub fn write_session_request(&self, out: &mut Vec<u8>) {
        if let Some(request) = self.session_request() {
            // §7.4: the roles stay as they were, said from the point of view of this transaction.
            request.write(out, self.state.session.map(|s| s.param(true)));
        }
    }

    /// Writes the Session-Expires and Require of our 2xx to the peer's INVITE or UPDATE (RFC 4028 §9), before
    /// or after [`responded`](Dialog::responded). An UPDATE before the first 2xx refreshes nothing yet.
    pub fn write_session_answer(&self, out: &mut Vec<u8>) {
        if !self.state.confirmed && self.update_theirs.is_some() {
            return;
        }
        if let Some(session) = self.session_offered {
            session.write_answer(out, self.state.peer.timer);
        }
    }

    pub(crate) fn session_request(&self) -> Option<SessionRequest> {
        let mut request = self.settings.session.request()?;
        request.min_se_s = request.min_se_s.max(self.state.min_se_s);
        request.interval_s =
            self.state.session.map_or(request.interval_s, |s| s.interval_s).max(request.min_se_s);
        Some(request)
    }

    /// A refresh succeeded, or the session began: it counts from now.
    pub(crate) fn start_session(&mut self, now: Instant, session: Option<Session>) {
        self.state.session = session;
        self.timers.clear(Timer::Refresh);
        self.timers.clear(Timer::Expiry);
        // A 2xx may cross a BYE: it is acknowledged, but the session is over.
        let session = session.filter(|_| !self.ended);
        self.session_ends = session.map(|s| now + s.interval());
        if let Some(session) = session {
            if session.refresher == Refresher::Us {
                self.timers.set(Timer::Refresh, now + session.refresh_after());
            }
            self.timers.set(Timer::Expiry, now + session.expires_after());
        }
    }

    /// Whether no INVITE and no UPDATE of either side is in progress.
    pub(crate) fn is_idle(&self) -> bool {
        self.ours.is_none()
            && self.theirs.is_none()
            && self.update_ours.is_none()
            && self.update_theirs.is_none()
            && self.ack_awaited.is_none()
    }

    /// Keeps in the state how far the first INVITE's offer and answer are.
    pub(crate) fn note_exchange(&mut self) {
        if !self.state.confirmed
            && let Some(invite) = self.ours.or(self.theirs)
        {
            self.state.invite_exchanged = invite.exchanged;
        }
    }
}

fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// How long after a takeover a peer may take to refresh: its refresh may have met a dead node.
const TAKEOVER_GRACE: Duration = Duration::from_secs(32);

const REFRESH_POSTPONED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::*;
    use crate::{Answered, Received, SessionMode};

    const TIMED: &str = "Supported: timer\r\nSession-Expires: 1800;refresher=uas\r\n";

    #[test]
    fn a_callee_s_dialog_is_made_of_the_invite() {
        // RFC 3261 §12.1.1.
        let dialog = uas_early("Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n", Settings::default());
        let state = dialog.state();
        assert_eq!((&*state.call_id, &*state.local_tag, &*state.remote_tag), ("c1@a", "b1", "a1"));
        assert_eq!(
            (&*state.local, &*state.remote),
            ("Bob <sip:bob@us.example>", "\"Alice\" <sip:alice@a.example>")
        );
        assert_eq!(&*state.remote_target, "sip:alice@192.0.2.1:5070");
        assert_eq!(*state.route_set, ["<sip:p1;lr>".into(), "<sip:p2;lr>".into()]);
        assert_eq!((state.remote_cseq, state.invite_cseq, state.role), (Some(7), 7, Role::Uas));
        assert!(!state.confirmed && !state.secure);
    }

    #[test]
    fn a_caller_s_dialog_is_made_of_the_response() {
        // RFC 3261 §12.1.2: the route set in reverse; no remote CSeq yet.
        let routes = "Record-Route: <sip:p2;lr>, <sip:p1;lr>\r\n";
        let mut dialog = uac_by(180, routes, false, Settings::default());
        let state = dialog.state().clone();
        assert_eq!((&*state.local_tag, &*state.remote_tag, state.remote_cseq), ("u1", "b9", None));
        assert_eq!((&*state.local, &*state.remote), ("<sip:us@us.example>", "<sip:bob@b.example>"));
        assert_eq!(*state.route_set, ["<sip:p1;lr>".into(), "<sip:p2;lr>".into()]);
        assert!(!state.confirmed);
        assert_eq!(dialog.take_cseq(), Ok(11));
    }

    #[test]
    fn the_2xx_decides_route_set_and_target_of_an_early_dialog() {
        // RFC 3261 §13.2.2.4, §12.2.1.2.
        let mut dialog = uac_by(180, "Record-Route: <sip:p1;lr>\r\n", false, Settings::default());
        let extra = "Contact: <sip:bob@192.0.2.77>\r\nRecord-Route: <sip:p9;lr>\r\n";
        assert_eq!(answer(&mut dialog, at(3), 200, "INVITE", 10, extra), Ok(Answered::Success));
        assert_eq!(*dialog.state().route_set, ["<sip:p9;lr>".into()]);
        assert_eq!(&*dialog.state().remote_target, "sip:bob@192.0.2.77");
        assert!(dialog.state().confirmed);
        // A re-INVITE changes the target, never the route set (§12.2).
        dialog.sent_request(sip::Method::Invite, 11, true);
        let extra = "Contact: <sip:bob@192.0.2.78>\r\nRecord-Route: <sip:p5;lr>\r\n";
        assert_eq!(answer(&mut dialog, at(4), 200, "INVITE", 11, extra), Ok(Answered::Success));
        assert_eq!(*dialog.state().route_set, ["<sip:p9;lr>".into()]);
        assert_eq!(&*dialog.state().remote_target, "sip:bob@192.0.2.78");
    }

    #[test]
    fn a_sips_request_makes_a_secure_dialog() {
        // RFC 3261 §12.1.1.
        let text = invite("").replace("INVITE sip:bob@", "INVITE sips:bob@");
        let dialog =
            Dialog::from_invite(&parse(&text), "b1", 1, true, Settings::default()).expect("a dialog");
        assert!(dialog.state().secure);
        assert_eq!(
            &*dialog.state().remote_target,
            "sip:alice@a.example",
            "no Contact: From is the best guess"
        );
    }

    #[test]
    fn what_makes_no_dialog_is_refused() {
        let settings = Settings::default();
        let star = invite("Contact: *\r\n");
        let refused = Dialog::from_invite(&parse(&star), "b1", 1, true, settings).map(|_| ());
        assert_eq!(refused, Err(Reject::Malformed(PeerError::Contact)));
        assert_eq!(refused.map_err(|r| r.status()), Err(400));
        let small = invite("Supported: timer\r\nSession-Expires: 60\r\n");
        let refused = Dialog::from_invite(&parse(&small), "b1", 1, true, settings).map(|_| ());
        assert_eq!(refused, Err(Reject::IntervalTooSmall { min_se_s: 90 }));
        // RFC 3261 §12.1.2: without a To tag a provisional opens no dialog.
        let tagless = response(180, "", "INVITE", 10, "");
        let refused = Dialog::from_response(&sent(&settings), &parse(&tagless), settings).map(|_| ());
        assert_eq!(refused, Err(PeerError::NoToTag));
    }

    #[test]
    fn an_early_dialog_ends_with_the_refusal_of_its_invite() {
        // RFC 3261 §12.3.
        let mut callee = uas_early("", Settings::default());
        callee.responded(at(1), sip::Method::Invite, 486, false);
        assert!(callee.is_ended());
        let mut caller = uac_by(180, "", false, Settings::default());
        assert_eq!(answer(&mut caller, at(1), 486, "INVITE", 10, ""), Ok(Answered::Refused));
        assert!(caller.is_ended());
    }

    #[test]
    fn siblings_differ_in_our_tag_only() {
        // RFC 3261 §12.1: each To tag of ours is a dialog of its own.
        let mut first = uas_early("", Settings::default());
        let mut second = first.sibling("b2");
        second.responded(at(0), sip::Method::Invite, 200, true);
        assert_eq!(ask(&mut second, "ACK", 7, "", false), Ok(Received::Ack { awaited: true }));
        assert_eq!((&*second.state().local_tag, second.state().confirmed), ("b2", true));
        assert!(!first.state().confirmed);
        assert_eq!(
            ask(&mut first, "PRACK", 8, "RAck: 1 7 INVITE\r\n", false),
            Err(Reject::NoSuchProvisional)
        );
    }

    #[test]
    fn we_refresh_at_half_by_update_where_the_peer_allows_it() {
        // RFC 4028 §7.4, §10: half of 1800; end 32 s before 1800.
        let mut dialog = uas(&format!("{TIMED}Allow: INVITE, ACK, BYE, UPDATE\r\n"));
        assert_eq!(dialog.session_ends(), Some(at(1800)));
        let expected = [(900_000, Output::Refresh(RefreshBy::Update)), (1_768_000, Output::SessionExpired)];
        assert_eq!(run(&mut dialog, at(10_000)), expected);
        assert_eq!(dialog.poll_timeout(), None);
    }

    #[test]
    fn we_refresh_by_invite_where_the_peer_has_no_update() {
        let mut dialog = uas(TIMED);
        assert_eq!(run(&mut dialog, at(901)), [(900_000, Output::Refresh(RefreshBy::Invite))]);
    }

    #[test]
    fn a_refresh_of_ours_moves_refresh_and_end() {
        let mut dialog = uas(&format!("{TIMED}Allow: UPDATE\r\n"));
        run(&mut dialog, at(900));
        dialog.sent_request(sip::Method::Update, 1, false);
        let extra = "Session-Expires: 600;refresher=uac\r\n";
        assert_eq!(answer(&mut dialog, at(901), 200, "UPDATE", 1, extra), Ok(Answered::Success));
        assert_eq!(dialog.session_ends(), Some(at(1501)));
        let expected = [(1_201_000, Output::Refresh(RefreshBy::Update)), (1_469_000, Output::SessionExpired)];
        assert_eq!(run(&mut dialog, at(10_000)), expected);
    }

    #[test]
    fn a_peer_that_refreshes_keeps_the_session_and_one_that_stops_loses_it() {
        // RFC 4028 §10: min(32, 90/3) = 30 s before the end.
        let mut dialog = uas("Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n");
        for second in [40, 80, 120] {
            assert_eq!(run(&mut dialog, at(second)), []);
            let extra = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n";
            let cseq = 10 + u32::try_from(second).expect("small");
            assert_eq!(
                ask(&mut dialog, "UPDATE", cseq, extra, false),
                Ok(Received::Update { repeated: false })
            );
            dialog.responded(at(second), sip::Method::Update, 200, false);
        }
        assert_eq!(run(&mut dialog, at(1000)), [(180_000, Output::SessionExpired)]);
    }

    #[test]
    fn roles_survive_in_the_headers_of_a_refresh() {
        // RFC 4028 §7.4: "uac" and "uas" are of the transaction; I-17: the refresher survives a takeover.
        let dialog = uas("Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n");
        assert_eq!(dialog.state().session, Some(Session { interval_s: 600, refresher: Refresher::Peer }));
        let mut out = Vec::new();
        dialog.write_session_request(&mut out);
        assert_eq!(out, b"Session-Expires: 600;refresher=uas\r\n");
        let successor = Dialog::restore(at(0), dialog.state().clone(), Settings::default(), None);
        out.clear();
        successor.write_session_request(&mut out);
        assert_eq!(out, b"Session-Expires: 600;refresher=uas\r\n");
    }

    #[test]
    fn the_answer_to_the_first_invite_carries_the_agreed_timer() {
        let dialog = uas_early("Supported: timer\r\nSession-Expires: 600\r\n", Settings::default());
        let mut out = Vec::new();
        dialog.write_session_answer(&mut out);
        assert_eq!(out, b"Session-Expires: 600;refresher=uac\r\nRequire: timer\r\n");
        let policy = SessionPolicy { mode: SessionMode::Off, ..SessionPolicy::default() };
        let dialog = uas_early("Supported: timer\r\nSession-Expires: 600\r\n", session(policy));
        out.clear();
        dialog.write_session_answer(&mut out);
        assert_eq!(out, b"");
    }

    /// A dialog in which we refresh every 900 s of 1800, at a successor with `left_s` of the interval left.
    fn successor(refresher: &str, left_s: u64) -> Dialog {
        let dialog = uas(&format!("Supported: timer\r\nSession-Expires: 1800;refresher={refresher}\r\n"));
        let left = Some(Duration::from_secs(left_s));
        Dialog::restore(at(0), dialog.state().clone(), Settings::default(), left)
    }

    #[test]
    fn a_successor_resumes_the_session_timer_from_its_deadline() {
        let refresh = Output::Refresh(RefreshBy::Invite);
        // 300 s of 1800 are gone: 600 s to the half, 1468 s to the end less 32.
        let expected = [(600_000, refresh.clone()), (1_468_000, Output::SessionExpired)];
        assert_eq!(run(&mut successor("uas", 1500), at(9000)), expected);
        // Ours is overdue: at once. The end leaves 32 s of grace.
        let expected = [(0, refresh), (32_000, Output::SessionExpired)];
        assert_eq!(run(&mut successor("uas", 10), at(9000)), expected);
        // The peer's is overdue: it may have met a dead node.
        assert_eq!(run(&mut successor("uac", 0), at(9000)), [(32_000, Output::SessionExpired)]);
        assert_eq!(run(&mut successor("uac", 1800), at(9000)), [(1_768_000, Output::SessionExpired)]);
    }

    #[test]
    fn a_refresh_waits_while_another_request_is_in_progress() {
        let mut dialog = uas(TIMED);
        dialog.sent_request(sip::Method::Invite, 1, true);
        assert_eq!(run(&mut dialog, at(905)), []);
        let extra = "Session-Expires: 1800;refresher=uac\r\n";
        assert_eq!(answer(&mut dialog, at(906), 200, "INVITE", 1, extra), Ok(Answered::Success));
        // That INVITE was itself a refresh: the next is due half an interval after it.
        assert_eq!(run(&mut dialog, at(2000)), [(1_806_000, Output::Refresh(RefreshBy::Invite))]);
    }

    #[test]
    fn an_ended_dialog_has_no_timers() {
        let mut dialog = uas(TIMED);
        assert!(dialog.poll_timeout().is_some());
        dialog.end();
        assert_eq!((dialog.poll_timeout(), dialog.session_ends()), (None, None));
    }
}
