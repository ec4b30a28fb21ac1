//! Everything that this node counts, in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

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
        self.write_transport(&mut out);
        self.write_cluster(&mut out);
        out
    }

    fn write_transport(&self, out: &mut String) {
        let counters = &self.counters;
        let all: [(&str, &str, &AtomicU64); 12] = [
            ("datagrams_received_total", "datagrams received", &counters.datagrams_in),
            ("datagrams_sent_total", "datagrams handed to the network", &counters.datagrams_out),
            ("datagrams_unsent_total", "datagrams that a full buffer dropped", &counters.datagrams_dropped),
            ("datagram_batches_sent_total", "batches handed to the network", &counters.sends),
            ("connections_accepted_total", "connections accepted", &counters.accepted),
            ("connections_dialled_total", "connections opened by us", &counters.dialled),
            ("connections_evicted_total", "connections closed to make room", &counters.evicted),
            ("connections_timed_out_total", "connections closed for slowness", &counters.timed_out),
            ("connections_unframeable_total", "connections closed for nonsense", &counters.unframeable),
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
        header(out, "log_sync_seconds", "how long it takes to make the log durable", "histogram");
        let mut below = 0;
        let bounds = cluster::log::SYNC_BOUNDS_US.iter().map(|us| *us as f64 / 1e6);
        for (bound, count) in bounds.zip(syncs.buckets) {
            below += count;
            let _ = writeln!(out, "banyan_log_sync_seconds_bucket{{le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(out, "banyan_log_sync_seconds_bucket{{le=\"+Inf\"}} {}", syncs.count);
        let _ = writeln!(out, "banyan_log_sync_seconds_sum {}", syncs.sum_ns as f64 / 1e9);
        let _ = writeln!(out, "banyan_log_sync_seconds_count {}", syncs.count);
        let (calls, slots) =
            self.cluster.cluster().read(|state| (state.calls().len(), state.slots().count()));
        // As many of its bits as every reader of metrics keeps.
        let digest = self.cluster.cluster().read(cluster::State::digest) >> 12;
        gauge(out, "state_digest", "equal on nodes that have applied the same", digest);
        gauge(out, "cluster_calls", "live calls of the whole cluster", calls as u64);
        gauge(out, "cluster_slots", "slots held in the whole cluster", slots as u64);
    }
}
