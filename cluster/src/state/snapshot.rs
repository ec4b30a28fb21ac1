//! Snapshots: the state in chunks, each with its CRC32C, made from a copy of the maps while calls go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use call::{CallId, CallRecord, Cdr, HomeId, Incarnation, Mark, NodeId};
use machine::ClusterTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use trunk::{Name, Resources};

use super::digest::{self, Mixer};
use super::{APPLY_VERSION, Home, Node, State, bindings, cdrs, enrolments, health, invites, proofs, windows};
use crate::codec;

/// Why a snapshot can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It does not begin as a snapshot does.
    #[error("not a snapshot")]
    Magic,
    /// A version that this program does not know.
    #[error("snapshot version {0} is not known: this node's program is too old")]
    Version(u8),
    /// Commands mean what this program does not know yet.
    #[error("the cluster is at version {0}: this node's program is too old")]
    ApplyVersion(u32),
    /// A chunk's CRC does not hold, or its contents make no sense.
    #[error("the snapshot is damaged at byte {0}")]
    Damaged(u64),
    /// It ends too early.
    #[error("the snapshot is cut short")]
    Short,
    /// What was read is not what was written.
    #[error("the snapshot's digest does not fit its contents")]
    Digest,
}

/// A part of a snapshot. Slots are not among them: they follow from the calls.
#[derive(Serialize, Deserialize)]
enum Section {
    Head(Box<Head>),
    Call(Arc<CallRecord>),
    Cdr(u64, Arc<Cdr>),
    Invite(ClusterTime, u128, invites::Decided),
    /// The last one.
    End,
    /// Not written where there are none, as before version 2.
    Enrolments(Box<enrolments::Enrolments>),
    /// The same, before version 3.
    Health(Box<health::Healths>),
    /// Of a call that stands before it. Not written where there are none, as before version 3.
    Marks(CallId, Vec<Mark>),
}

#[derive(Serialize, Deserialize)]
struct Head {
    /// Whatever the keeper of the log wants to know again.
    label: Vec<u8>,
    time: ClusterTime,
    resources: Arc<Resources>,
    nodes: BTreeMap<NodeId, Node>,
    homes: BTreeMap<HomeId, Home>,
    incarnations: BTreeMap<Incarnation, NodeId>,
    windows: BTreeMap<Name, windows::Windows>,
    cdrs_made: u64,
    apply_version: u32,
    homes_made: u32,
    digest: u64,
    bindings: bindings::Bindings,
    proofs: proofs::Proofs,
}

impl State {
    /// The chunks of a snapshot of this state, made one by one as they are asked for.
    pub fn into_snapshot(self, label: Vec<u8>) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
        let digest = self.digest();
        let head = Head {
            label,
            time: self.time,
            resources: self.resources,
            nodes: self.nodes,
            homes: self.homes,
            incarnations: self.incarnations,
            windows: self.windows,
            cdrs_made: self.cdrs.made(),
            apply_version: self.apply_version,
            homes_made: self.homes_made,
            digest,
            bindings: self.bindings,
            proofs: self.proofs,
        };
        let finished: Vec<_> =
            self.invites.finished().map(|(at, dialog, it)| Section::Invite(at, dialog, it.clone())).collect();
        let cdrs: Vec<_> = self.cdrs.iter().map(|(n, cdr)| Section::Cdr(n, cdr.clone())).collect();
        let enrolments = Some(self.enrolments).filter(|enrolments| !enrolments.is_empty());
        let health = Some(self.health).filter(|health| !health.is_empty());
        let sections = std::iter::once(Section::Head(Box::new(head)))
            .chain(enrolments.map(Box::new).map(Section::Enrolments))
            .chain(health.map(Box::new).map(Section::Health))
            .chain(self.calls.into_values().flat_map(sections_of))
            .chain(cdrs)
            .chain(finished)
            .chain(std::iter::once(Section::End));
        let mut first = vec![codec::VERSION];
        first.splice(0..0, *MAGIC);
        std::iter::once(first).chain(Chunks { sections: Box::new(sections) })
    }

    /// Reads a snapshot and its label. Any bytes may be given.
    ///
    /// # Errors
    /// The bytes are not a whole snapshot.
    pub fn from_snapshot(bytes: &[u8]) -> Result<(Vec<u8>, State), SnapshotError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::Magic)?;
        match rest.first() {
            Some(&codec::VERSION) => {}
            Some(version) => return Err(SnapshotError::Version(*version)),
            None => return Err(SnapshotError::Short),
        }
        let (mut at, mut label, mut state, mut digest) = (MAGIC.len() + 1, None, State::default(), 0);
        loop {
            let damaged = SnapshotError::Damaged(at as u64);
            let Some(header) = bytes.get(at..at + 8) else { return Err(SnapshotError::Short) };
            let (len, crc) = header.split_at(4);
            let len = u32::from_le_bytes(len.try_into().map_err(|_| damaged)?) as usize;
            let crc = u32::from_le_bytes(crc.try_into().map_err(|_| damaged)?);
            let Some(mut chunk) = bytes.get(at + 8..at + 8 + len) else { return Err(SnapshotError::Short) };
            if crc32c::crc32c(chunk) != crc {
                return Err(damaged);
            }
            while !chunk.is_empty() {
                let (section, used) = codec::decode_prefix(chunk).map_err(|_| damaged)?;
                chunk = chunk.get(used..).unwrap_or_default();
                match section {
                    Section::Head(head) => {
                        if head.apply_version > APPLY_VERSION {
                            return Err(SnapshotError::ApplyVersion(head.apply_version));
                        }
                        digest = head.digest;
                        label = Some(state.take_head(*head));
                    }
                    Section::Call(record) => state.take_call(record).ok_or(damaged)?,
                    Section::Cdr(number, cdr) => state.cdrs.restore(number, cdr),
                    Section::Invite(until, dialog, it) => state.invites.restore(until, dialog, it),
                    Section::Marks(call, marks) => {
                        let record = state.calls.get_mut(&call).ok_or(damaged)?;
                        Arc::make_mut(record).marks = marks;
                    }
                    Section::Enrolments(enrolments) => state.enrolments = *enrolments,
                    Section::Health(health) => state.health = *health,
                    Section::End => {
                        state.digest = digest.wrapping_sub(state.kept_apart());
                        return match label {
                            Some(label) if chunk.is_empty() => Ok((label, state)),
                            _ => Err(damaged),
                        };
                    }
                }
            }
            at += 8 + len;
        }
    }

    /// The digest of every byte of the state: what a snapshot of it would hold.
    pub fn full_digest(&self) -> u64 {
        let mut mixer = Mixer::new(b'f');
        for chunk in self.clone().into_snapshot(Vec::new()) {
            mixer.bytes(&chunk);
        }
        mixer.finish()
    }

    fn take_head(&mut self, head: Head) -> Vec<u8> {
        self.time = head.time;
        self.resources = head.resources;
        self.nodes = head.nodes;
        self.homes = head.homes;
        self.incarnations = head.incarnations;
        self.windows = head.windows;
        self.cdrs = cdrs::Cdrs::restored(head.cdrs_made);
        (self.apply_version, self.homes_made) = (head.apply_version, head.homes_made);
        (self.bindings, self.proofs) = (head.bindings, head.proofs);
        self.roster = self.roster_again();
        head.label
    }

    fn take_call(&mut self, record: Arc<CallRecord>) -> Option<()> {
        let slots: BTreeSet<_> = record.slots.iter().map(|slot| (&slot.scope, slot.side)).collect();
        if self.calls.contains_key(&record.id) || slots.len() != record.slots.len() {
            return None;
        }
        self.slots.take(record.id, &record.slots);
        self.invites.decide(&record.admit.key, record.id, None);
        self.calls.insert(record.id, record);
        Some(())
    }

    /// The digest of nodes and homes, made afresh.
    fn roster_again(&self) -> u64 {
        let nodes = self.nodes.iter().map(|(id, node)| digest::of_node(*id, node));
        let homes = self.homes.iter().map(|(id, home)| digest::of_home(*id, home));
        nodes.chain(homes).fold(0, u64::wrapping_add)
    }

    /// Whether the parts that are kept twice agree: for tests and the simulation.
    pub fn is_consistent(&self) -> bool {
        let mut slots = super::slots::Slots::default();
        let mut calls = 0u64;
        for record in self.calls.values() {
            slots.take(record.id, &record.slots);
            calls = calls.wrapping_add(digest::of_call(record));
        }
        let held = self.calls.values().map(|record| record.slots.len()).sum::<usize>();
        let alive = |node: &NodeId| self.nodes.get(node).is_some_and(|node| node.alive);
        slots.digest == self.slots.digest
            && self.slots().count() == held
            && self.roster == self.roster_again()
            && self.bindings.is_consistent()
            && self.enrolments.is_consistent()
            && self.health.is_consistent()
            && self.calls.values().all(|record| self.homes.contains_key(&record.home))
            && self.homes.values().all(|home| home.holder.as_ref().is_none_or(alive))
    }
}

/// A call, then its marks.
fn sections_of(record: Arc<CallRecord>) -> impl Iterator<Item = Section> {
    let marks = (!record.marks.is_empty()).then(|| Section::Marks(record.id, record.marks.clone()));
    std::iter::once(Section::Call(record)).chain(marks)
}

/// Sections, gathered into framed chunks.
struct Chunks {
    sections: Box<dyn Iterator<Item = Section> + Send>,
}

impl Iterator for Chunks {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut chunk = vec![0; 8];
        while chunk.len() < CHUNK {
            let Some(section) = self.sections.next() else { break };
            codec::append(&section, &mut chunk);
        }
        let payload = chunk.get(8..).filter(|payload| !payload.is_empty())?;
        let (len, crc) = (payload.len() as u32, crc32c::crc32c(payload));
        let mut header = [0; 8];
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[4..].copy_from_slice(&crc.to_le_bytes());
        chunk.splice(..8, header);
        Some(chunk)
    }
}

const MAGIC: &[u8; 8] = b"BANYANSN";
const CHUNK: usize = 1 << 20;
