//! Session timers: who refreshes, how often, and when silence ends the session (RFC 4028).

use std::time::Duration;

use serde::{Deserialize, Serialize};
/// The `refresher` parameter: a side of one transaction, not of the dialog.
pub use sip::Refresher as RefresherParam;
use sip::{Message, Name, push_number};

use crate::{PeerError, Reject};

/// Whether we ask for session timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionMode {
    /// Never; the peer may refresh for itself.
    Off,
    /// Where the peer can.
    Optional,
    /// Always: a caller that can't is refused, a callee that can't is refreshed by us.
    Required,
}

/// What a trunk wants of session timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPolicy {
    /// Whether.
    pub mode: SessionMode,
    /// The interval that we ask for.
    pub session_expires_s: u32,
    /// The smallest that we accept.
    pub min_se_s: u32,
}

impl Default for SessionPolicy {
    fn default() -> SessionPolicy {
        SessionPolicy { mode: SessionMode::Optional, session_expires_s: 1800, min_se_s: MIN_SE_S }
    }
}

/// Who sends the refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refresher {
    /// We do.
    Us,
    /// The peer does.
    Peer,
}

/// A session timer that was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The session ends this long after its last refresh.
    pub interval_s: u32,
    /// Who refreshes it.
    pub refresher: Refresher,
}

/// What a message says of session timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionHeaders {
    /// Session-Expires, in seconds.
    pub session_expires_s: Option<u32>,
    /// Its `refresher`.
    pub refresher: Option<RefresherParam>,
    /// Min-SE, in seconds.
    pub min_se_s: Option<u32>,
    /// `timer` in Supported or Require.
    pub timer: bool,
}

/// The Session-Expires and Min-SE of an INVITE that we send, before a dialog exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRequest {
    /// Session-Expires.
    pub interval_s: u32,
    /// Min-SE; left out of the message where it is the 90 s that every peer assumes.
    pub min_se_s: u32,
    retried: bool,
}

impl SessionHeaders {
    /// Reads Session-Expires, Min-SE and the `timer` option of a message (RFC 4028 §4, §5).
    pub fn of(message: &Message<'_>) -> Result<SessionHeaders, PeerError> {
        let expires = message.session_expires()?;
        Ok(SessionHeaders {
            session_expires_s: expires.map(|e| e.interval),
            refresher: expires.and_then(|e| e.refresher),
            min_se_s: message.min_se()?,
            timer: message.has_token(Name::Supported, b"timer") || message.has_token(Name::Require, b"timer"),
        })
    }
}

impl SessionPolicy {
    /// What our INVITE asks for; `None` where timers are off.
    pub fn request(&self) -> Option<SessionRequest> {
        let min_se_s = self.min_se_s.max(MIN_SE_S);
        let interval_s = self.session_expires_s.max(min_se_s);
        (self.mode != SessionMode::Off).then_some(SessionRequest { interval_s, min_se_s, retried: false })
    }

    /// Answers a request that opens or refreshes a session: what the 2xx will say (RFC 4028 §9).
    pub fn answer(&self, request: &SessionHeaders) -> Result<Option<Session>, Reject> {
        if self.mode == SessionMode::Off {
            return Ok(None);
        }
        let min_se_s = self.min_se_s.max(MIN_SE_S);
        let ours = self.session_expires_s.max(min_se_s).max(request.min_se_s.unwrap_or(0));
        let interval_s = match request.session_expires_s {
            Some(asked) if asked < min_se_s && request.timer => {
                return Err(Reject::IntervalTooSmall { min_se_s });
            }
            // The interval is a proxy's, the caller could not understand a 422, and §4 forbids so short a one.
            Some(asked) if asked < min_se_s => return Ok(None),
            Some(asked) => asked.min(ours), // It may be lowered, never raised.
            None if request.timer => ours,
            None if self.mode == SessionMode::Required => return Err(Reject::TimerRequired),
            None => return Ok(None),
        };
        // Table 2 of RFC 4028: a caller without timers can't refresh, whatever its request says.
        let refresher = match (request.timer, request.refresher) {
            (false, _) | (true, Some(RefresherParam::Uas)) => Refresher::Us,
            (true, Some(RefresherParam::Uac) | None) => Refresher::Peer,
        };
        Ok(Some(Session { interval_s, refresher }))
    }

    /// Reads the 2xx to a request of ours that asked for `asked` (RFC 4028 §7.2).
    pub fn adopt(&self, asked: Option<SessionRequest>, response: &SessionHeaders) -> Option<Session> {
        let asked = asked?;
        let Some(interval_s) = response.session_expires_s else {
            // Nobody else wants it: §7.2 lets the caller refresh alone.
            let alone = Session { interval_s: asked.interval_s, refresher: Refresher::Us };
            return (self.mode == SessionMode::Required).then_some(alone);
        };
        let refresher = match response.refresher {
            Some(RefresherParam::Uas) => Refresher::Peer,
            // A 2xx must say who (§9); where it does not, to refresh for nothing harms least.
            Some(RefresherParam::Uac) | None => Refresher::Us,
        };
        // No answer may go below the Min-SE that we sent; one that does would have us refresh without end.
        Some(Session { interval_s: interval_s.max(asked.min_se_s), refresher })
    }
}

impl SessionRequest {
    /// What to ask for after a 422 that demands `min_se_s`; once, then the refusal stands (RFC 4028 §7.3).
    pub fn after_422(self, min_se_s: u32) -> Option<SessionRequest> {
        if self.retried || min_se_s <= self.min_se_s {
            return None;
        }
        Some(SessionRequest { interval_s: self.interval_s.max(min_se_s), min_se_s, retried: true })
    }

    /// Writes Session-Expires and Min-SE, each with its CRLF.
    pub fn write(&self, out: &mut Vec<u8>, refresher: Option<RefresherParam>) {
        write_session_expires(out, self.interval_s, refresher);
        if self.min_se_s > MIN_SE_S {
            out.extend_from_slice(b"Min-SE: ");
            push_number(out, self.min_se_s);
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl Session {
    /// How long after a refresh the next one is due (RFC 4028 §7.2: half the interval).
    pub fn refresh_after(&self) -> Duration {
        self.interval() / 2
    }

    /// How long after the last refresh BYE is due: min(32 s, a third) before the end (RFC 4028 §10).
    pub fn expires_after(&self) -> Duration {
        let third = self.interval() / 3;
        self.interval() - third.min(EXPIRY_MARGIN_MAX)
    }

    /// The whole interval.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.interval_s))
    }

    /// The `refresher` that says the same in a transaction which we began (`ours`) or the peer.
    pub fn param(&self, ours: bool) -> RefresherParam {
        match (self.refresher, ours) {
            (Refresher::Us, true) | (Refresher::Peer, false) => RefresherParam::Uac,
            (Refresher::Us, false) | (Refresher::Peer, true) => RefresherParam::Uas,
        }
    }

    /// Writes the Session-Expires of a 2xx, and `Require: timer` where the peer must act (RFC 4028 §9).
    pub fn write_answer(&self, out: &mut Vec<u8>, peer_has_timer: bool) {
        write_session_expires(out, self.interval_s, Some(self.param(false)));
        if peer_has_timer {
            out.extend_from_slice(b"Require: timer\r\n");
        }
    }
}

fn write_session_expires(out: &mut Vec<u8>, interval_s: u32, refresher: Option<RefresherParam>) {
    out.extend_from_slice(b"Session-Expires: ");
    push_number(out, interval_s);
    match refresher {
        Some(RefresherParam::Uac) => out.extend_from_slice(b";refresher=uac"),
        Some(RefresherParam::Uas) => out.extend_from_slice(b";refresher=uas"),
        None => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 4028 §5: the smallest interval that anyone may demand, and what an absent Min-SE means.
pub const MIN_SE_S: u32 = 90;

/// RFC 4028 §10.
const EXPIRY_MARGIN_MAX: Duration = Duration::from_secs(32);

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: SessionMode) -> SessionPolicy {
        SessionPolicy { mode, session_expires_s: 1800, min_se_s: 120 }
    }

    fn headers(
        expires: Option<u32>,
        refresher: Option<RefresherParam>,
        min_se_s: Option<u32>,
        timer: bool,
    ) -> SessionHeaders {
        SessionHeaders { session_expires_s: expires, refresher, min_se_s, timer }
    }

    const US: Refresher = Refresher::Us;
    const PEER: Refresher = Refresher::Peer;
    const UAC: Option<RefresherParam> = Some(RefresherParam::Uac);
    const UAS: Option<RefresherParam> = Some(RefresherParam::Uas);

    #[track_caller]
    fn check(mode: SessionMode, request: SessionHeaders, expected: Result<Option<(u32, Refresher)>, Reject>) {
        let answered = policy(mode).answer(&request).map(|s| s.map(|s| (s.interval_s, s.refresher)));
        assert_eq!(answered, expected, "{request:?}");
    }

    #[test]
    fn the_callee_chooses_the_refresher_by_table_2() {
        // RFC 4028 §9, table 2: "uac supports?", refresher in the request, refresher in the 2xx.
        let optional = SessionMode::Optional;
        check(optional, headers(Some(600), None, None, false), Ok(Some((600, US)))); // N, none: uas.
        check(optional, headers(Some(600), UAC, None, false), Ok(Some((600, US)))); // N, uac: not allowed.
        check(optional, headers(Some(600), UAS, None, false), Ok(Some((600, US)))); // N, uas: not allowed.
        check(optional, headers(Some(600), None, None, true), Ok(Some((600, PEER)))); // Y, none: either.
        check(optional, headers(Some(600), UAC, None, true), Ok(Some((600, PEER)))); // Y, uac: uac.
        check(optional, headers(Some(600), UAS, None, true), Ok(Some((600, US)))); // Y, uas: uas.
    }

    #[test]
    fn the_callee_may_lower_the_interval_but_not_below_min_se_and_never_raise_it() {
        // RFC 4028 §9.
        let optional = SessionMode::Optional;
        check(optional, headers(Some(7200), None, None, true), Ok(Some((1800, PEER))));
        check(optional, headers(Some(7200), None, Some(3600), true), Ok(Some((3600, PEER))));
        check(optional, headers(Some(120), None, None, true), Ok(Some((120, PEER))));
        check(optional, headers(None, None, None, true), Ok(Some((1800, PEER))));
        check(optional, headers(None, None, Some(2400), true), Ok(Some((2400, PEER))));
    }

    #[test]
    fn too_small_an_interval_gets_422_only_where_the_caller_can_understand_it() {
        // RFC 4028 §9: 422 only with `Supported: timer`.
        let small = Err(Reject::IntervalTooSmall { min_se_s: 120 });
        check(SessionMode::Optional, headers(Some(119), None, None, true), small);
        check(SessionMode::Optional, headers(Some(119), None, None, false), Ok(None));
        // §5: nobody may accept less than 90, whatever is configured.
        let careless = SessionPolicy { min_se_s: 10, ..SessionPolicy::default() };
        let refused = careless.answer(&headers(Some(89), None, None, true));
        assert_eq!(refused, Err(Reject::IntervalTooSmall { min_se_s: 90 }));
        assert_eq!(refused.map_err(|r| r.status()), Err(422));
    }

    #[test]
    fn modes_decide_about_a_caller_without_timers() {
        check(SessionMode::Off, headers(Some(600), UAC, None, true), Ok(None));
        check(SessionMode::Optional, headers(None, None, None, false), Ok(None));
        check(SessionMode::Required, headers(None, None, None, false), Err(Reject::TimerRequired));
        check(SessionMode::Required, headers(None, None, None, true), Ok(Some((1800, PEER))));
        assert_eq!(Reject::TimerRequired.status(), 421);
    }

    #[test]
    fn the_caller_takes_what_the_2xx_says() {
        // RFC 4028 §7.2.
        let policy = policy(SessionMode::Optional);
        let asked = policy.request();
        let adopt = |h| policy.adopt(asked, &h).map(|s| (s.interval_s, s.refresher));
        assert_eq!(adopt(headers(Some(600), UAC, None, false)), Some((600, US)));
        assert_eq!(adopt(headers(Some(600), UAS, None, false)), Some((600, PEER)));
        assert_eq!(adopt(headers(Some(600), None, None, false)), Some((600, US)));
        assert_eq!(
            adopt(headers(Some(1), UAC, None, false)),
            Some((120, US)),
            "below the Min-SE that we sent"
        );
        assert_eq!(adopt(headers(None, None, None, true)), None, "no header, no session timer");
        assert_eq!(policy.adopt(None, &headers(Some(600), UAC, None, true)), None, "nobody asked");
        let required = SessionPolicy { mode: SessionMode::Required, ..policy };
        let alone = required.adopt(required.request(), &headers(None, None, None, false));
        assert_eq!(alone, Some(Session { interval_s: 1800, refresher: US }));
    }

    #[test]
    fn a_422_is_followed_once() {
        // RFC 4028 §7.3.
        let asked = policy(SessionMode::Optional).request().expect("timers are on");
        let again = asked.after_422(3600).expect("a first 422");
        assert_eq!((again.interval_s, again.min_se_s), (3600, 3600));
        assert_eq!(again.after_422(7200), None);
        assert_eq!(asked.after_422(120), None, "it demands no more than we offered");
        let mut kept = Vec::new();
        asked.after_422(600).expect("a first 422").write(&mut kept, None);
        assert_eq!(kept, b"Session-Expires: 1800\r\nMin-SE: 600\r\n");
    }

    #[test]
    fn refresh_at_half_and_end_a_third_or_32_s_early() {
        // RFC 4028 §7.2 and §10: 1800 − min(32, 600) = 1768; 90 − min(32, 30) = 60.
        let long = Session { interval_s: 1800, refresher: US };
        assert_eq!((long.refresh_after().as_secs(), long.expires_after().as_secs()), (900, 1768));
        let short = Session { interval_s: 90, refresher: PEER };
        assert_eq!((short.refresh_after().as_secs(), short.expires_after().as_secs()), (45, 60));
    }

    #[test]
    fn headers_say_the_roles_of_their_transaction() {
        // RFC 4028 §4, §9: Require where the peer must act on it.
        let mut out = Vec::new();
        Session { interval_s: 600, refresher: PEER }.write_answer(&mut out, true);
        assert_eq!(out, b"Session-Expires: 600;refresher=uac\r\nRequire: timer\r\n");
        out.clear();
        Session { interval_s: 600, refresher: US }.write_answer(&mut out, false);
        assert_eq!(out, b"Session-Expires: 600;refresher=uas\r\n");
        out.clear();
        let ours = Session { interval_s: 600, refresher: US };
        let request = SessionPolicy::default().request().expect("timers are on");
        request.write(&mut out, Some(ours.param(true)));
        assert_eq!(out, b"Session-Expires: 1800;refresher=uac\r\n", "90 s needs no Min-SE");
    }
}
