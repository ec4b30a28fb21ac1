//! Snapshots on their way to a node that is too far behind: in chunks, going on where the last attempt ended,
//! installed whole.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use call::NodeId;
use env::{Disk, DiskOp, Lane, Purpose};
use openraft::raft::SnapshotResponse;
use openraft::storage::Snapshot;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, VoteOf};
use serde::{Deserialize, Serialize};

use super::exchange::Exchange;
use super::frame::{Answer, Request};
use super::machine::{Machine, SnapshotFile, unpack};
use super::types::TypeConfig;
use crate::log::perform;

/// Which snapshot, as its sender has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parcel {
    last: Option<LogIdOf<TypeConfig>>,
    len: u64,
}

/// A part of a snapshot; empty, it only asks how much has come.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Chunk {
    parcel: Parcel,
    at: u64,
    bytes: Bytes,
}

/// The snapshot has come whole: it is to be installed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Delivered {
    parcel: Parcel,
    vote: VoteOf<TypeConfig>,
    meta: SnapshotMetaOf<TypeConfig>,
}

/// Sends a snapshot. `None` if the peer gives no answer, or the file is gone.
pub(super) async fn send(
    exchange: &Arc<Exchange>,
    disk: &dyn Disk,
    to: u64,
    vote: VoteOf<TypeConfig>,
    snapshot: SnapshotOf<TypeConfig, SnapshotFile>,
) -> Option<SnapshotResponse<TypeConfig>> {
    let file = snapshot.snapshot;
    let len = disk.list().ok()?.into_iter().find(|entry| entry.name == *file.name)?.len;
    let parcel = Parcel { last: snapshot.meta.last_log_id, len };
    let ask = async |request, within| {
        let answer = exchange.open(to).once(Purpose::Snapshot, request);
        TypeConfig::timeout(within, answer).await.ok().flatten()
    };
    let mut at = 0;
    let mut bytes = Bytes::new();
    // A receiver that finds the whole damaged begins again: once is enough for one attempt.
    for _ in 0..=2 * (len / CHUNK as u64 + 2) {
        let Answer::Received(have) = ask(Request::Chunk(Chunk { parcel, at, bytes }), CHUNK_WITHIN).await?
        else {
            return None;
        };
        if have >= len {
            let delivered = Delivered { parcel, vote, meta: snapshot.meta.clone() };
            match ask(Request::Delivered(delivered), INSTALL_WITHIN).await? {
                Answer::Installed(response) => return Some(response),
                Answer::Received(have) => (at, bytes) = (have, Bytes::new()),
                _ => return None,
            }
        } else {
            (at, bytes) = (have, disk.read(&file.name, have, CHUNK).ok()?.into());
        }
    }
    None
}

/// Where a snapshot arrives.
#[derive(Clone)]
pub(super) struct Inbox {
    disk: Arc<dyn Disk>,
    coming: Arc<Mutex<Option<Coming>>>,
}

#[derive(Clone, Copy)]
struct Coming {
    from: NodeId,
    parcel: Parcel,
    have: u64,
}

impl Inbox {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Inbox {
        Inbox { disk, coming: Arc::default() }
    }

    /// Takes a chunk; gives how much has come.
    pub(super) async fn take(&self, from: NodeId, chunk: Chunk) -> Answer {
        let Chunk { parcel, at, bytes } = chunk;
        let coming = self.coming(from, parcel);
        if at != coming.have || bytes.is_empty() {
            return Answer::Received(coming.have);
        }
        let have = at + bytes.len() as u64;
        let op = DiskOp::Write { file: FILE.into(), at, bytes: bytes.into() };
        if let Err(error) = perform(&*self.disk, Lane::Bulk, op).await {
            tracing::warn!(%error, "a snapshot can't be taken in");
            return Answer::Received(at);
        }
        let mut now = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        match now.as_mut().filter(|now| (now.from, now.parcel, now.have) == (from, parcel, at)) {
            Some(now) => {
                now.have = have;
                Answer::Received(have)
            }
            None => Answer::Received(0),
        }
    }

    /// The snapshot is whole: it is installed, unless it makes no sense.
    pub(super) async fn install(
        &self,
        from: NodeId,
        raft: &openraft::Raft<TypeConfig, Machine>,
        delivered: Delivered,
    ) -> Option<Answer> {
        let Delivered { parcel, vote, meta } = delivered;
        let coming = self.coming(from, parcel);
        if coming.have != parcel.len {
            return Some(Answer::Received(coming.have));
        }
        let state = match unpack(&*self.disk, FILE) {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(%from, %error, "a snapshot came damaged");
                *self.coming.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return Some(Answer::Received(0));
            }
        };
        let snapshot = SnapshotFile { name: FILE.into(), unpacked: Some(Arc::new(state)) };
        let installed = raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await;
        *self.coming.lock().unwrap_or_else(PoisonError::into_inner) = None;
        installed.ok().map(Answer::Installed)
    }

    /// What has come of a snapshot; another one that was coming is thrown away.
    fn coming(&self, from: NodeId, parcel: Parcel) -> Coming {
        let mut now = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        match *now {
            Some(coming) if (coming.from, coming.parcel) == (from, parcel) => coming,
            _ => {
                let done = Box::new(|result: io::Result<()>, _| {
                    if let Err(error) = result {
                        tracing::warn!(%error, "half a snapshot stays");
                    }
                });
                // The writes that follow wait behind it in their lane.
                self.disk.submit(Lane::Bulk, DiskOp::Remove { file: FILE.into() }, done);
                *now.insert(Coming { from, parcel, have: 0 })
            }
        }
    }
}

/// The file in which it arrives. Not named like a snapshot, so that a half one is never read.
const FILE: &str = "arriving.part";
/// The bytes of a chunk.
const CHUNK: usize = 1 << 20;
const CHUNK_WITHIN: Duration = Duration::from_secs(5);
const INSTALL_WITHIN: Duration = Duration::from_secs(60);
