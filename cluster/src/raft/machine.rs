//! openraft's state machine over the [`Replica`], and its snapshots over the disk.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use env::{Disk, DiskOp, Lane};
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot, SnapshotMeta};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend};
use serde::{Deserialize, Serialize};

use super::types::TypeConfig;
use crate::codec;
use crate::log::{perform, read_file};
use crate::replica::Replica;
use crate::state::{SnapshotError, State};

/// A snapshot on this node's disk.
#[derive(Clone)]
pub(super) struct SnapshotFile {
    pub(super) name: Arc<str>,
    /// What is in it, if that was just read.
    pub(super) unpacked: Option<Arc<State>>,
}

/// What a snapshot says of its place in the log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Label {
    last: Option<LogIdOf<TypeConfig>>,
    membership: StoredMembershipOf<TypeConfig>,
}

/// The state machine.
#[derive(Clone)]
pub(super) struct Machine {
    replica: Arc<Replica>,
    disk: Arc<dyn Disk>,
    place: Arc<Mutex<Place>>,
}

struct Place {
    label: Label,
    snapshot: Option<(Label, SnapshotFile)>,
}

/// Why the newest snapshot can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{file} can't be read: {error}; restore this node from its peers or from a backup")]
pub struct UnusableSnapshot {
    file: String,
    error: io::Error,
}

/// The newest snapshot of a disk, with its place in the log.
pub(super) fn newest(disk: &dyn Disk) -> Result<Option<(State, Label, SnapshotFile)>, UnusableSnapshot> {
    let failed = |file: &str, error| UnusableSnapshot { file: file.to_owned(), error };
    let files = disk.list().map_err(|error| failed(".", error))?;
    let newest = files.into_iter().map(|file| file.name).filter(|name| is_snapshot(name)).max();
    let Some(name) = newest else { return Ok(None) };
    let damaged = |error: SnapshotError| io::Error::new(io::ErrorKind::InvalidData, error);
    let bytes = read_file(disk, &name).map_err(|error| failed(&name, error))?;
    let (label, state) = State::from_snapshot(&bytes).map_err(|error| failed(&name, damaged(error)))?;
    let label = codec::decode(&label).map_err(|_| failed(&name, damaged(SnapshotError::Magic)))?;
    Ok(Some((state, label, SnapshotFile { name: name.into(), unpacked: None })))
}

/// The state in a snapshot's file.
pub(super) fn unpack(disk: &dyn Disk, file: &str) -> io::Result<State> {
    let bytes = read_file(disk, file)?;
    let (_, state) =
        State::from_snapshot(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(state)
}

fn name_of(label: &Label) -> Arc<str> {
    format!("snapshot-{:020}.snap", label.last.map_or(0, |at| at.index)).into()
}

impl Machine {
    pub(super) fn new(
        replica: Arc<Replica>,
        disk: Arc<dyn Disk>,
        snapshot: Option<(Label, SnapshotFile)>,
    ) -> Machine {
        let label = snapshot.as_ref().map(|(label, _)| label.clone()).unwrap_or_default();
        Machine { replica, disk, place: Arc::new(Mutex::new(Place { label, snapshot })) }
    }

    fn place<R>(&self, f: impl FnOnce(&mut Place) -> R) -> R {
        f(&mut self.place.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Machine;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        Ok(self.place(|place| (place.label.last, place.label.membership.clone())))
    }

    async fn apply<Entries>(&mut self, mut entries: Entries) -> Result<(), io::Error>
    where
        Entries: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let at = entry.log_id;
            self.replica.enter_term(at.leader_id.term);
            if let EntryPayload::Normal(batch) = &entry.payload {
                self.replica.apply(at.index, at.leader_id.term, &batch.0);
            }
            self.place(|place| {
                place.label.last = Some(at);
                if let EntryPayload::Membership(membership) = entry.payload {
                    place.label.membership = StoredMembershipOf::<TypeConfig>::new(Some(at), membership);
                }
            });
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let state = match snapshot.unpacked {
            Some(state) => Arc::unwrap_or_clone(state),
            None => unpack(&*self.disk, &snapshot.name)?,
        };
        let label = Label { last: meta.last_log_id, membership: meta.last_membership.clone() };
        let name = name_of(&label);
        // From here on a restart begins with it.
        let op = DiskOp::Rename { from: snapshot.name, to: name.clone() };
        perform(&*self.disk, Lane::Bulk, op).await?;
        self.replica.replace(label.last.map_or((0, 0), |at| (at.leader_id.term, at.index)), state);
        self.place(|place| place.label = label.clone());
        self.keep(label, SnapshotFile { name, unpacked: None });
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, SnapshotFile>>, io::Error> {
        Ok(self.place(|place| place.snapshot.clone()).map(|(label, file)| snapshot(label, file)))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotFile>, io::Error> {
        // Both are taken without a pause in between, so no entry is applied meanwhile.
        let label = self.place(|place| place.label.clone());
        let state = self.replica.read(State::clone);
        let mut encoded = Vec::new();
        codec::encode(&label, &mut encoded);
        let name = name_of(&label);
        let chunks = Box::new(state.into_snapshot(encoded));
        perform(&*self.disk, Lane::Bulk, DiskOp::WriteWhole { file: name.clone(), chunks }).await?;
        let file = SnapshotFile { name, unpacked: None };
        self.keep(label.clone(), file.clone());
        Ok(snapshot(label, file))
    }
}

impl Machine {
    /// Makes a snapshot the newest and removes the one before it.
    fn keep(&self, label: Label, file: SnapshotFile) {
        let name = file.name.clone();
        let before = self.place(|place| place.snapshot.replace((label, file)));
        if let Some((_, old)) = before.filter(|(_, old)| old.name != name) {
            // One that stays is only older: the newest is read.
            let done = Box::new(|result: io::Result<()>, _| {
                if let Err(error) = result {
                    tracing::warn!(%error, "an old snapshot stays");
                }
            });
            self.disk.submit(Lane::Bulk, DiskOp::Remove { file: old.name }, done);
        }
    }
}

fn snapshot(label: Label, file: SnapshotFile) -> SnapshotOf<TypeConfig, SnapshotFile> {
    let meta = SnapshotMeta { last_log_id: label.last, last_membership: label.membership };
    Snapshot { meta, snapshot: file }
}

fn is_snapshot(name: &str) -> bool {
    name.starts_with("snapshot-") && name.ends_with(".snap")
}
