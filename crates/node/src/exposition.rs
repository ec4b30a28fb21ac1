//! Everything that this node counts, in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::log::{SYNC_BOUNDS_US, SyncSample};

use crate::metrics::{counter, gauge, header};
use crate::shared::Shared;

impl Shared {
    /// All figures.
    pub(crate) fn metrics_text(&self) -> String {
        let mut out = String::with_capacity(8_192);
        self.metrics.write(&mut out);
        gauge(&mut out, "timers", "deadlines of calls", self.wheel.len() as u64);
        let (free, size) = self.free_ports();
        gauge(&mut out, "media_port_pairs_free", "port pairs that can be taken", free as u64);
        gauge(&mut out, "media_port_pairs", "port pairs in all", size as u64);
        let registered = self.metrics.carrier_registrations.load(Ordering::Relaxed);
        gauge(&mut out, "carrier_registrations", "accounts that this node has registered", registered);
        self.write_transport(&mut out);
        self.write_cluster(&mut out);
        out
    }

    fn write_transport(&self, out: &mut String) {
        let counters = &self.counters;
        let all: [(&str, &str, &AtomicU64); 13] = [
            ("datagrams_received_total", "datagrams received", &counters.datagrams_in),
            ("datagrams_sent_total", "datagrams handed to the network", &counters.datagrams_out),
            ("datagrams_unsent_total", "datagrams that a full buffer dropped", &counters.datagrams_dropped),
            ("datagram_batches_sent_total", "batches handed to the network", &counters.sends),
            ("connections_accepted_total", "connections accepted", &counters.accepted),
            ("connections_dialled_total", "connections opened by us", &counters.dialled),
            ("connections_evicted_total", "connections closed to make room", &counters.evicted),
            ("connections_timed_out_total", "connections closed for slowness", &counters.timed_out),
            ("connections_unframeable_total", "connections closed for nonsense", &counters.unframeable),
            ("tls_handshakes_failed_total", "handshakes of TLS that failed", &counters.handshakes_failed),
            ("connections_congested_total", "connections of peers that do not read", &counters.congested),
            ("stream_messages_received_total", "messages over streams", &counters.stream_messages_in),
            ("stream_messages_sent_total", "messages over streams", &counters.stream_messages_out),
        ];
        for (name, help, value) in all {
            counter(out, name, help, value.load(Ordering::Relaxed));
        }
        let (open, strangers) = self.streams.open();
        gauge(out, "connections", "open connections", open as u64);
        gauge(out, "connections_of_strangers", "open connections of sources not known", strangers as u64);
    }

    fn write_cluster(&self, out: &mut String) {
        let status = self.cluster.cluster().status();
        gauge(out, "leader", "whether this node leads", u64::from(status.leads));
        gauge(out, "raft_term", "in which term the leader leads", status.term);
        gauge(out, "homes", "homes that this node holds", self.homes().len() as u64);
        let (stood_still, may_speak) =
            (self.cluster.cluster().standing().stalls, self.cluster.cluster().may_speak());
        gauge(out, "lease", "whether this node may speak for its homes", u64::from(may_speak));
        counter(out, "lease_stalls_total", "times this node stood still and fell silent", stood_still);
        gauge(out, "log_applied_index", "the last batch that was applied", status.applied);
        gauge(
            out,
            "proposals_waiting",
            "commands that wait for their commit",
            status.backlog.commands as u64,
        );
        gauge(out, "cdrs_waiting", "CDRs that too few nodes have on disk", status.cdrs_waiting as u64);
        let syncs = status.syncs;
        counter(out, "log_syncs_total", "times the log was made durable", syncs.count);
        counter(out, "log_bytes_total", "bytes written to the log", syncs.bytes);
        histogram(out, "log_sync_seconds", "how long it takes to make the log durable", &syncs);
        let commits = status.commits;
        counter(out, "proposal_batches_total", "batches of this node that were committed", commits.count);
        counter(out, "proposals_total", "commands in these batches", commits.bytes);
        histogram(out, "commit_seconds", "from a batch's sending until it was applied here", &commits);
        let (calls, slots, down) = self
            .cluster
            .cluster()
            .read(|state| (state.calls().len(), state.slots().count(), state.targets_down()));
        // As many of its bits as every reader of metrics keeps.
        let digest = self.cluster.cluster().read(cluster::State::digest) >> 12;
        gauge(out, "state_digest", "equal on nodes that have applied the same", digest);
        gauge(out, "cluster_calls", "live calls of the whole cluster", calls as u64);
        gauge(out, "cluster_slots", "slots held in the whole cluster", slots as u64);
        gauge(out, "targets_down", "targets that do not answer OPTIONS", down as u64);
    }
}

/// Appends a histogram of times.
fn histogram(out: &mut String, name: &str, help: &str, sample: &SyncSample) {
    header(out, name, help, "histogram");
    let mut below = 0;
    let bounds = SYNC_BOUNDS_US.iter().map(|us| *us as f64 / 1e6);
    for (bound, count) in bounds.zip(sample.buckets) {
        below += count;
        let _ = writeln!(out, "banyan_{name}_bucket{{le=\"{bound}\"}} {below}");
    }
    let _ = writeln!(out, "banyan_{name}_bucket{{le=\"+Inf\"}} {}", sample.count);
    let _ = writeln!(out, "banyan_{name}_sum {}", sample.sum_ns as f64 / 1e9);
    let _ = writeln!(out, "banyan_{name}_count {}", sample.count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_a_histogram_count_all_that_was_no_slower() {
        let mut sample = SyncSample { count: 6, sum_ns: 9_000_000, ..SyncSample::default() };
        // Three within 50 us, two within 100 us, one beyond a second.
        (sample.buckets[0], sample.buckets[1], sample.buckets[14]) = (3, 2, 1);
        let mut text = String::new();
        histogram(&mut text, "x_seconds", "x", &sample);
        for line in [
            "_bucket{le=\"0.00005\"} 3\n",
            "_bucket{le=\"0.0001\"} 5\n",
            "_bucket{le=\"1\"} 5\n",
            "_bucket{le=\"+Inf\"} 6\n",
            "_sum 0.009\n",
            "_count 6\n",
        ] {
            assert!(text.contains(&format!("banyan_x_seconds{line}")), "{line} in {text}");
        }
    }
}
