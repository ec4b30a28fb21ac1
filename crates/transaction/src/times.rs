//! The names and lengths of the timers (RFC 3261 §17, Table 4 of appendix A; RFC 6026 §7).

use std::time::Duration;

/// A timer of a transaction, by its letter in RFC 3261 appendix A and RFC 6026.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// INVITE client: retransmits the request.
    A,
    /// INVITE client: no response at all.
    B,
    /// INVITE client: absorbs repeated refusals.
    D,
    /// Non-INVITE client: retransmits the request.
    E,
    /// Non-INVITE client: no final response.
    F,
    /// INVITE server: retransmits the refusal.
    G,
    /// INVITE server: no ACK to the refusal.
    H,
    /// INVITE server: absorbs repeated ACKs.
    I,
    /// Non-INVITE server: absorbs repeated requests.
    J,
    /// Non-INVITE client: absorbs repeated responses.
    K,
    /// INVITE server: absorbs repeated INVITEs after a 2xx.
    L,
    /// INVITE client: delivers repeated and forked 2xx.
    M,
    /// A cancelled INVITE got no final response (RFC 3261 §9.1).
    Cancelled,
    /// Retransmits a 2xx to INVITE (RFC 3261 §13.3.1.4).
    Answer,
    /// No ACK to a 2xx to INVITE (RFC 3261 §13.3.1.4).
    Unacknowledged,
}

/// The lengths that all timers follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The estimate of a round trip.
    pub t1: Duration,
    /// The longest interval between retransmissions of a non-INVITE request or an INVITE response.
    pub t2: Duration,
    /// How long a message may stay in the network.
    pub t4: Duration,
}

impl Default for Times {
    /// The values of RFC 3261: 500 ms, 4 s, 5 s.
    fn default() -> Times {
        Times { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Times {
    /// 64·T1: how long any side waits before it gives up.
    pub fn give_up(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// The first retransmission interval.
    pub(crate) fn first(&self) -> Duration {
        self.t1.max(SHORTEST)
    }

    /// The interval after `last`, doubled and capped at T2.
    pub(crate) fn capped(&self, last: Duration) -> Duration {
        last.saturating_mul(2).min(self.t2).max(SHORTEST)
    }

    /// The interval after `last`, doubled without a cap (timer A).
    pub(crate) fn doubled(last: Duration) -> Duration {
        last.saturating_mul(2).max(SHORTEST)
    }
}

/// A retransmission interval of nought would never let `handle_timeout` end.
const SHORTEST: Duration = Duration::from_millis(1);
