//! One answered leg: a dialog, where its messages go, and the session descriptions that stand.

use std::net::SocketAddr;

use bytes::Bytes;
use dialog::{Dialog, SessionMode, SessionPolicy};
use trunk::settings::{SessionTimer, Settings};

use crate::record::{Flow, LegState};

/// One answered leg.
#[derive(Debug)]
pub(crate) struct Leg {
    /// Its dialog.
    pub dialog: Dialog,
    /// Where its messages go.
    pub flow: Flow,
    /// The session description that we last gave.
    pub local_sdp: Bytes,
    /// The session description that the peer last gave.
    pub remote_sdp: Bytes,
    /// Where its RTP was found to come from.
    pub latched: Option<SocketAddr>,
}

impl Leg {
    /// What must survive of it.
    pub fn state(&self) -> LegState {
        LegState {
            dialog: self.dialog.state().clone(),
            flow: self.flow,
            local_sdp: self.local_sdp.clone(),
            remote_sdp: self.remote_sdp.clone(),
            latched: self.latched,
        }
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
