//! The way of batches to the leader: this node's own, and, while it leads, those of others.

use std::sync::Arc;
use std::time::Duration;

use call::NodeId;
use machine::ClusterTime;

use crate::cluster::Seams;
use crate::command::{Batch, Stamped};
use crate::proposer::{Proposer, Step};
use crate::raft::{Leader, Raft};
use crate::replica::Replica;
use crate::rounds::Rounds;
use crate::time::LeaderTime;

/// Takes batches to whoever leads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox {
    pub(crate) proposer: Proposer,
    pub(crate) raft: Raft,
    pub(crate) replica: Arc<Replica>,
    pub(crate) rounds: Rounds,
    pub(crate) time: Arc<LeaderTime>,
    pub(crate) seams: Seams,
}

impl Outbox {
    /// Sends this node's batches when they are due, for as long as Raft runs.
    pub(crate) async fn run(self) {
        let clock = self.seams.clock.clone();
        loop {
            let (leader, term) = self.raft.leader();
            let stamp = || match leader {
                Leader::Me => self.time.stamp(term, self.replica.heard()),
                Leader::Other(_) | Leader::Unknown => ClusterTime(0),
            };
            match self.proposer.next(clock.now(), stamp) {
                Step::Send(stamped, again) => {
                    let stamped = if again { restamp(stamped, stamp()) } else { stamped };
                    self.hand_over(leader, stamped);
                }
                Step::Wait(until) => {
                    tokio::select! {
                        biased;
                        () = self.proposer.woken() => {}
                        () = self.seams.spawn.sleep_until(until) => {}
                    }
                }
                Step::Idle => self.proposer.woken().await,
            }
        }
    }

    /// Gives a batch of this node's to the leader.
    fn hand_over(&self, leader: Leader, stamped: Arc<Stamped>) {
        let (incarnation, seq) = (stamped.batch.incarnation, stamped.batch.seq);
        match leader {
            Leader::Me => {
                let (proposer, clock) = (self.proposer.clone(), self.seams.clock.clone());
                // A leader is not writable from its very first moment on.
                self.rounds.join(stamped, move || proposer.refused(incarnation, seq, clock.now() + REFUSED));
            }
            Leader::Other(leader) => {
                // Lost, it is sent again when the link is back, another leads, or time is up.
                self.raft.propose_to(leader, stamped);
            }
            // Sent again as soon as somebody leads.
            Leader::Unknown => {}
        }
    }

    /// Takes a batch of another node's into the log, if this node leads.
    pub(crate) fn take(&self, from: NodeId, mut stamped: Arc<Stamped>) {
        if stamped.batch.node != from {
            tracing::warn!(%from, of = %stamped.batch.node, "a node proposes in the name of another");
            return;
        }
        let (Leader::Me, term) = self.raft.leader() else {
            return self.raft.refuse(from, &stamped.batch);
        };
        let (raft, batch) = (self.raft.clone(), Batch { commands: Vec::new(), ..stamped.batch });
        Arc::make_mut(&mut stamped).time = self.time.stamp(term, self.replica.heard());
        self.rounds.join(stamped, move || raft.refuse(from, &batch));
    }

    /// A batch of this node's did not reach the log.
    pub(crate) fn refused(&self, incarnation: call::Incarnation, seq: u64) {
        self.proposer.refused(incarnation, seq, self.seams.clock.now() + REFUSED);
    }

    /// Follows who leads and who is a member.
    pub(crate) async fn follow(mut self) {
        let mut known = (Leader::Unknown, 0);
        let mut told = (Vec::new(), false);
        loop {
            let leading = self.raft.leader();
            if leading != known && leading.0 != Leader::Unknown {
                tracing::info!(leader = ?leading.0, term = leading.1, "another term");
                self.proposer.retry(self.seams.clock.now());
            }
            known = leading;
            let members = self.raft.peers();
            // A log that lags may not know the node that leads now, or know that it was removed and not that it is
            // back: only that node can tell it more.
            let is_stranger = |leader: NodeId| !members.iter().any(|peer| peer.node == leader.0);
            let open = match leading.0 {
                Leader::Unknown => true,
                Leader::Other(leader) => is_stranger(leader),
                Leader::Me => false,
            };
            let now = (members, open);
            if now != told && !now.0.is_empty() {
                if let Some(frames) = &self.seams.frames {
                    frames.set_open(open);
                    frames.set_peers(&now.0);
                }
                told = now;
            }
            if !self.raft.changed().await {
                return;
            }
        }
    }
}

fn restamp(mut stamped: Arc<Stamped>, time: ClusterTime) -> Arc<Stamped> {
    Arc::make_mut(&mut stamped).time = time;
    stamped
}

/// When to try again what was refused: an election takes longer than this, its last moments don't.
const REFUSED: Duration = Duration::from_millis(5);
