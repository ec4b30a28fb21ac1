//! How audio flows (RFC 3550, RFC 4733), and how long things take (RFC 4028).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::words::words;

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// Reads `10000-20000`.
    pub fn parse(text: &str) -> Option<PortRange> {
        let (first, last) = text.split_once('-')?;
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first > 0 && first <= last).then_some(PortRange { first, last })
    }

    /// Whether every port of `other` is in it.
    pub const fn contains(&self, other: &PortRange) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// `[trunk.media]`: audio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// Whether RTP goes through us.
    pub mode: MediaMode,
    /// Codecs in order of preference, by their SDP names.
    pub codecs: Vec<String>,
    /// How digits travel.
    pub dtmf: Dtmf,
    /// Relaxed thresholds of in-band detection.
    pub dtmf_relaxed: bool,
    /// Encryption (SDES).
    pub srtp: Srtp,
    /// Whether fax re-INVITEs are relayed.
    pub t38: bool,
    /// Its part of the node's range; absent: all of it.
    pub ports: Option<PortRange>,
    /// Whether the address in its SDP is believed.
    pub nat: Nat,
    /// One-way audio is reported after this.
    pub silence: Duration,
    /// Whether we may send it re-INVITEs that move media.
    pub reinvite: Reinvite,
}

impl Default for Media {
    fn default() -> Self {
        Media {
            mode: MediaMode::Anchored,
            codecs: ["PCMA", "PCMU", "G722", "G729", "opus"].map(String::from).to_vec(),
            dtmf: Dtmf::Rfc4733,
            dtmf_relaxed: false,
            srtp: Srtp::Optional,
            t38: true,
            ports: None,
            nat: Nat::Auto,
            silence: Duration::from_secs(10),
            reinvite: Reinvite::Yes,
        }
    }
}

words! {
    /// Whether RTP goes through us.
    MediaMode {
        /// It does.
        Anchored = "anchored",
        /// It goes from end to end.
        Direct = "direct",
    }
}

words! {
    /// How digits travel.
    Dtmf {
        /// As telephone-event packets.
        Rfc4733 = "rfc4733",
        /// As tones in the audio.
        Inband = "inband",
        /// As SIP INFO.
        Info = "info",
    }
}

words! {
    /// Encryption of media.
    Srtp {
        /// Never.
        Off = "off",
        /// Where both can: offered to whom TLS leads, asked again in clear if refused; taken where it is offered.
        Optional = "optional",
        /// Always: a call that can't be secured is refused.
        Required = "required",
    }
}

words! {
    /// Whether the address in a peer's SDP is believed.
    Nat {
        /// Not where it differs from the SIP source.
        Auto = "auto",
        /// Never believed.
        Always = "always",
        /// Always believed.
        Never = "never",
    }
}

words! {
    /// Whether a peer is sent re-INVITEs that move media.
    Reinvite {
        /// Whenever useful.
        Yes = "yes",
        /// Only to move a call to another home.
        Failover = "failover",
        /// Never.
        Never = "never",
    }
}

/// `[trunk.timers]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// Session timers (RFC 4028).
    pub session: SessionTimer,
    /// Session-Expires, in seconds.
    pub session_expires: u32,
    /// Min-SE, in seconds.
    pub min_se: u32,
    /// How long a target may ring.
    pub ring: Duration,
    /// How long a target may say nothing at all.
    pub no_response: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            session: SessionTimer::Optional,
            session_expires: 1800,
            min_se: 90,
            ring: Duration::from_secs(60),
            no_response: Duration::from_secs(4),
        }
    }
}

words! {
    /// Whether session timers run.
    SessionTimer {
        /// Never.
        Off = "off",
        /// Where the peer asks.
        Optional = "optional",
        /// Always.
        Required = "required",
    }
}

/// `[trunk.probe]`: OPTIONS that we send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Time between probes; zero: none.
    pub interval: Duration,
    /// Failures after which a target is down.
    pub down_after: u32,
    /// Successes after which it is up again.
    pub up_after: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Probe { interval: Duration::from_secs(30), down_after: 3, up_after: 2 }
    }
}
