//! The answered legs: a dialog each, where its messages go, and the session descriptions that stand.

use std::net::SocketAddr;

use bytes::Bytes;
use dialog::{Dialog, SessionMode, SessionPolicy};
use machine::Instant;
use trunk::settings::{SessionTimer, Settings};

use crate::record::{Flow, LegState, Side};

/// One answered leg.
#[derive(Debug)]
pub(crate) struct Leg {
    /// Its dialog.
    pub dialog: Dialog,
    /// Where its messages go.
    pub flow: Flow,
    /// Our address as the peer knows it; another than the flow's until a re-INVITE has told it.
    pub known_at: SocketAddr,
    /// The session description that we last gave.
    pub local_sdp: Bytes,
    /// The session description that the peer last gave.
    pub remote_sdp: Bytes,
    /// Where its RTP was found to come from.
    pub latched: Option<SocketAddr>,
}

impl Leg {
    /// What must survive of it. Of its session's deadline that is what is left: a successor has another clock.
    pub fn state(&self, now: Instant) -> LegState {
        let left = self.dialog.session_ends().map(|at| at.since(now));
        LegState {
            dialog: self.dialog.state().clone(),
            flow: Flow { local: self.known_at, ..self.flow },
            local_sdp: self.local_sdp.clone(),
            remote_sdp: self.remote_sdp.clone(),
            latched: self.latched,
            session_left_ms: left.map(|left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX)),
        }
    }
}

/// The two legs of an answered call.
#[derive(Debug)]
pub(crate) struct Legs {
    pub ingress: Leg,
    pub egress: Leg,
    /// The callee made the offer: its ACK carries the caller's answer (RFC 3261 §13.2.1).
    pub delayed: bool,
}

impl Legs {
    /// The leg of a side, then the other one.
    pub fn pair(&mut self, side: Side) -> (&mut Leg, &mut Leg) {
        match side {
            Side::Ingress => (&mut self.ingress, &mut self.egress),
            Side::Egress => (&mut self.egress, &mut self.ingress),
        }
    }

    /// The leg of a side.
    pub fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Ingress => &self.ingress,
            Side::Egress => &self.egress,
        }
    }

    /// The leg of a side, to be changed.
    pub fn leg_mut(&mut self, side: Side) -> &mut Leg {
        self.pair(side).0
    }
}

/// What a party's settings want of session timers.
pub(crate) fn session_policy(settings: Option<&Settings>) -> SessionPolicy {
    let Some(settings) = settings else { return SessionPolicy::default() };
    let mode = match settings.timers.session {
        SessionTimer::Off => SessionMode::Off,
        SessionTimer::Optional => SessionMode::Optional,
        SessionTimer::Required => SessionMode::Required,
    };
    SessionPolicy {
        mode,
        session_expires_s: settings.timers.session_expires,
        min_se_s: settings.timers.min_se,
    }
}
