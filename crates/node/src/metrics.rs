//! What the node counts, and how Prometheus reads it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::gate::Full;

/// Why something that arrived was thrown away without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// No trunk and no gateway admits its source.
    UnknownSource,
    /// Its source has guessed passwords.
    Banned,
    /// It is not SIP, or so broken that it can't be answered.
    Malformed,
    /// A response or an ACK of no call here.
    Unmatched,
    /// A keep-alive.
    KeepAlive,
    /// The trunk ignores this method.
    Ignored,
    /// The node has not started or is stopping.
    NotReady,
}

impl Drop {
    const ALL: [(Drop, &'static str); 7] = [
        (Drop::UnknownSource, "unknown_source"),
        (Drop::Banned, "banned"),
        (Drop::Malformed, "malformed"),
        (Drop::Unmatched, "unmatched"),
        (Drop::KeepAlive, "keep_alive"),
        (Drop::Ignored, "ignored"),
        (Drop::NotReady, "not_ready"),
    ];
}

/// Counters and gauges of a node.
#[derive(Debug, Default)]
pub struct Metrics {
    drops: [AtomicU64; Drop::ALL.len()],
    /// By status 0..=699: calls refused and requests answered statelessly.
    refusals: Refusals,
    /// Requests received.
    pub requests_in: AtomicU64,
    /// Responses received.
    pub responses_in: AtomicU64,
    /// INVITEs that began a call.
    pub invites: AtomicU64,
    /// Calls let in.
    pub admitted: AtomicU64,
    /// Calls answered.
    pub answered: AtomicU64,
    /// Calls ended.
    pub ended: AtomicU64,
    /// Live calls on this node.
    pub calls: AtomicU64,
    /// Live actors.
    pub actors: AtomicU64,
    /// Calls rebuilt from their records.
    pub restored: AtomicU64,
    /// Emergency calls that began without a majority.
    pub solo: AtomicU64,
    /// Adopted calls whose peers both know their new home.
    pub rehomed: AtomicU64,
    /// Peers of adopted calls that can't be told of their new home.
    pub not_rehomed: AtomicU64,
    /// Messages passed on to the node that holds their call.
    pub forwarded: AtomicU64,
    /// Nodes that were held dead or left.
    pub evictions: AtomicU64,
    /// Homes that came to this node from another.
    pub takeovers: AtomicU64,
    /// Call actors that failed.
    pub failed: AtomicU64,
    /// INVITEs refused before they cost anything, by why.
    shed: [AtomicU64; Full::ALL.len()],
    /// Messages of peers that broke the protocol.
    pub peer_errors: AtomicU64,
    /// Challenges sent.
    pub challenges: AtomicU64,
    /// Credentials that were wrong.
    pub wrong_credentials: AtomicU64,
    /// Sources that were banned for that.
    pub bans: AtomicU64,
    /// Credentials that were right, and used before.
    pub replays: AtomicU64,
    /// Registrations taken.
    pub registrations: AtomicU64,
    /// REGISTERs that we sent to carriers.
    pub carrier_registers: AtomicU64,
    /// How often a carrier did not register us.
    pub carrier_failures: AtomicU64,
    /// OPTIONS that we sent to targets.
    pub probes: AtomicU64,
    /// How many of them had no answer.
    pub probe_failures: AtomicU64,
    /// Accounts of ours that this node has registered with carriers.
    pub carrier_registrations: AtomicU64,
    /// One-way audio reports.
    pub one_way_audio: AtomicU64,
    /// Media sessions.
    pub media: AtomicU64,
    /// Ports that could not be bound.
    pub media_failed: AtomicU64,
    /// SRTP and SRTCP packets that were dropped because their tag was wrong.
    pub srtp_forged: AtomicU64,
}

#[derive(Debug)]
struct Refusals([AtomicU64; 700]);

impl Default for Refusals {
    fn default() -> Refusals {
        Refusals([const { AtomicU64::new(0) }; 700])
    }
}

impl Metrics {
    /// Counts something thrown away.
    pub fn dropped(&self, why: Drop) {
        if let Some(counter) = self.drops.get(why as usize) {
            add(counter);
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, status: u16) {
        if let Some(counter) = self.refusals.0.get(usize::from(status)) {
            add(counter);
        }
    }

    /// Counts an INVITE refused before it cost anything.
    pub(crate) fn shed(&self, why: Full) {
        if let Some(counter) = self.shed.get(why as usize) {
            add(counter);
        }
    }

    /// How many things were thrown away for this reason.
    pub fn drops(&self, why: Drop) -> u64 {
        self.drops.get(why as usize).map_or(0, get)
    }

    /// How much of what came was worth nothing.
    pub(crate) fn junk(&self) -> u64 {
        [Drop::UnknownSource, Drop::Malformed, Drop::KeepAlive].into_iter().map(|why| self.drops(why)).sum()
    }

    /// How many requests were refused with this status.
    pub fn refusals(&self, status: u16) -> u64 {
        self.refusals.0.get(usize::from(status)).map_or(0, get)
    }

    /// Appends the node's own figures in Prometheus' text format.
    pub fn write(&self, out: &mut String) {
        let gauges: [(&str, &str, &AtomicU64); 3] = [
            ("calls", "live calls on this node", &self.calls),
            ("actors", "live actors", &self.actors),
            ("media_sessions", "relayed media sessions", &self.media),
        ];
        for (name, help, value) in gauges {
            gauge(out, name, help, get(value));
        }
        let counters: [(&str, &str, &AtomicU64); 27] = [
            ("requests_received_total", "SIP requests received", &self.requests_in),
            ("responses_received_total", "SIP responses received", &self.responses_in),
            ("invites_total", "INVITEs that began a call", &self.invites),
            ("calls_admitted_total", "calls let in", &self.admitted),
            ("calls_answered_total", "calls answered", &self.answered),
            ("calls_ended_total", "calls ended", &self.ended),
            ("calls_restored_total", "calls rebuilt from their records", &self.restored),
            ("emergency_calls_alone_total", "emergency calls that began without a majority", &self.solo),
            ("rehomed_calls_total", "adopted calls whose peers know their new home", &self.rehomed),
            ("rehome_failures_total", "peers that can't be told of a new home", &self.not_rehomed),
            ("messages_forwarded_total", "messages passed on to the node of their call", &self.forwarded),
            ("evictions_total", "nodes that were held dead or left, as this node saw", &self.evictions),
            ("takeovers_total", "homes that came to this node from another", &self.takeovers),
            ("call_failures_total", "call actors that failed", &self.failed),
            ("peer_errors_total", "messages of peers that broke the protocol", &self.peer_errors),
            ("challenges_total", "digest challenges sent", &self.challenges),
            ("wrong_credentials_total", "digest credentials that were wrong", &self.wrong_credentials),
            ("bans_total", "sources that were banned for wrong credentials", &self.bans),
            ("replayed_credentials_total", "digest credentials that were used before", &self.replays),
            ("registrations_total", "registrations of trunk accounts taken", &self.registrations),
            ("carrier_registers_total", "REGISTERs sent to carriers", &self.carrier_registers),
            (
                "carrier_register_failures_total",
                "times a carrier did not register us",
                &self.carrier_failures,
            ),
            ("probes_total", "OPTIONS sent to targets", &self.probes),
            ("probe_failures_total", "OPTIONS to targets that had no answer", &self.probe_failures),
            ("one_way_audio_total", "calls with one silent side", &self.one_way_audio),
            ("srtp_forged_total", "SRTP packets dropped for a wrong tag", &self.srtp_forged),
            ("media_failures_total", "media ports that could not be bound", &self.media_failed),
        ];
        for (name, help, value) in counters {
            counter(out, name, help, get(value));
        }
        header(out, "drops_total", "messages thrown away without an answer", "counter");
        for (why, label) in Drop::ALL {
            let _ = writeln!(out, "banyan_drops_total{{reason=\"{label}\"}} {}", self.drops(why));
        }
        header(out, "invites_shed_total", "INVITEs refused before they cost anything", "counter");
        for ((_, label), count) in Full::ALL.iter().zip(&self.shed) {
            let _ = writeln!(out, "banyan_invites_shed_total{{reason=\"{label}\"}} {}", get(count));
        }
        header(out, "refusals_total", "requests refused, by status", "counter");
        for (status, count) in self.refusals.0.iter().enumerate() {
            let count = get(count);
            if count > 0 {
                let _ = writeln!(out, "banyan_refusals_total{{status=\"{status}\"}} {count}");
            }
        }
    }
}

/// Adds one.
pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Adds some.
pub(crate) fn add_many(counter: &AtomicU64, many: u64) {
    counter.fetch_add(many, Ordering::Relaxed);
}

/// Takes one away.
pub(crate) fn sub(gauge: &AtomicU64) {
    gauge.fetch_sub(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Appends a gauge.
pub(crate) fn gauge(out: &mut String, name: &str, help: &str, value: u64) {
    header(out, name, help, "gauge");
    let _ = writeln!(out, "banyan_{name} {value}");
}

/// Appends a counter.
pub(crate) fn counter(out: &mut String, name: &str, help: &str, value: u64) {
    header(out, name, help, "counter");
    let _ = writeln!(out, "banyan_{name} {value}");
}

/// Appends the two lines that introduce a metric.
pub(crate) fn header(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP banyan_{name} {help}\n# TYPE banyan_{name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_drop_is_counted_under_its_own_reason() {
        let metrics = Metrics::default();
        for (index, (why, _)) in Drop::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, index, "the table is in the order of the enum");
            metrics.dropped(why);
            assert_eq!(metrics.drops(why), 1);
        }
        for (index, (why, _)) in Full::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, index, "the table is in the order of the enum");
        }
        metrics.shed(Full::Late);
        metrics.refused(403);
        let mut text = String::new();
        metrics.write(&mut text);
        assert!(text.contains("banyan_drops_total{reason=\"malformed\"} 1\n"));
        assert!(text.contains("banyan_refusals_total{status=\"403\"} 1\n"));
        assert!(text.contains("banyan_invites_shed_total{reason=\"late\"} 1\n"));
        assert!(!text.contains("status=\"404\""));
    }
}
