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
