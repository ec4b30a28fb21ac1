//! openraft's log storage over [`Log`]: the newest entries in memory, all of them on disk.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::machine::museum::planted;
use futures::channel::oneshot;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::{EntryPayload, OptionalSend};

use super::types::{Entry, Place, TypeConfig, from_position, from_vote, to_position, to_vote};
use crate::codec;
use crate::command::Command;
use crate::log::{Done, Log};

/// The log as openraft sees it.
#[derive(Clone)]
pub(super) struct Store {
    log: Log,
    recent: Arc<Mutex<VecDeque<EntryOf<TypeConfig>>>>,
    recent_max: usize,
}

impl Store {
    /// `linked`: whether there may be followers, which want entries again.
    pub(super) fn new(log: Log, linked: bool) -> Store {
        let recent_max = if linked { RECENT_LINKED_MAX } else { RECENT_ALONE_MAX };
        Store { log, recent: Arc::default(), recent_max }
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<EntryOf<TypeConfig>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_back(&self, first: u64, last: u64) -> io::Result<Vec<EntryOf<TypeConfig>>> {
        let entries = self.log.read(first, last)?;
        entries
            .iter()
            .map(|(at, payload)| Ok(EntryOf::<TypeConfig>::new(from_position(*at), decode(payload)?)))
            .collect()
    }
}

impl RaftLogReader<TypeConfig> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        let first = match range.start_bound() {
            Bound::Included(n) => *n,
            Bound::Excluded(n) => n + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(n) => n + 1,
            Bound::Excluded(n) => *n,
            Bound::Unbounded => u64::MAX,
        };
        let (mut entries, from) = {
            let recent = self.recent();
            let from = recent.front().map_or(u64::MAX, RaftEntry::index);
            let skip = usize::try_from(first.saturating_sub(from)).unwrap_or(usize::MAX);
            let inside = recent.iter().skip(skip).take_while(|entry| entry.index() < end);
            (inside.cloned().collect::<Vec<_>>(), from)
        };
        if first < from && end > first {
            // Behind what memory holds: a restart, or a follower that lags.
            let mut older = self.read_back(first, from.min(end) - 1)?;
            older.append(&mut entries);
            entries = older;
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        let mut entries = self.try_get_log_entries(start..end).await?;
        let mut weight = 0;
        let light = |entry: &EntryOf<TypeConfig>| {
            let first = weight == 0;
            weight += weigh(&entry.payload);
            first || weight <= WEIGHT_MAX
        };
        let taken = entries.iter().map(light).take_while(|light| *light).count();
        entries.truncate(taken);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<TypeConfig>>, io::Error> {
        Ok(self.log.vote().map(from_vote))
    }
}

impl RaftLogStorage<TypeConfig> for Store {
    type LogReader = Store;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let last_purged_log_id = self.log.purged().map(from_position);
        Ok(LogState { last_purged_log_id, last_log_id: self.log.last().map(from_position) })
    }

    async fn get_log_reader(&mut self) -> Store {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig>) -> Result<(), io::Error> {
        if planted("vote-forgotten") {
            return Ok(());
        }
        let (done, durable) = waiting();
        self.log.save_vote(to_vote(vote), done);
        durable.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        if let Some(at) = committed {
            self.log.save_committed(to_position(&at));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<TypeConfig>>, io::Error> {
        // The note of what is committed may be ahead of the entries only if the log lost some: it can't, since
        // both stand in one stream.
        Ok(self.log.committed().map(from_position))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut recent = self.recent();
        let fill = |appender: &mut crate::log::Appender<'_>| {
            for entry in entries {
                appender.push(to_position(&entry.log_id), |out| encode(&entry.payload, out));
                recent.push_back(entry);
            }
        };
        self.log.append(fill, Box::new(move |result| callback.io_completed(result)));
        if recent.len() > self.recent_max {
            // Only what can be read back from disk may be forgotten.
            let durable = self.log.durable();
            while recent.len() > self.recent_max && recent.front().is_some_and(|it| it.index() < durable) {
                recent.pop_front();
            }
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        let from = last.map_or(0, |at| at.index + 1);
        {
            let mut recent = self.recent();
            while recent.back().is_some_and(|entry| entry.index() >= from) {
                recent.pop_back();
            }
        }
        let (done, durable) = waiting();
        self.log.truncate(from, done);
        durable.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    async fn purge(&mut self, at: LogIdOf<TypeConfig>) -> Result<(), io::Error> {
        {
            let mut recent = self.recent();
            while recent.front().is_some_and(|entry| entry.index() <= at.index) {
                recent.pop_front();
            }
        }
        let (done, durable) = waiting();
        self.log.purge(to_position(&at), done);
        durable.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }
}

fn waiting() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (tell, told) = oneshot::channel();
    // A receiver that is gone means that nobody waits any more.
    (Box::new(move |result| drop(tell.send(result))), told)
}

type Payload = EntryPayload<Entry, u64, Place>;

/// How many things an entry holds, none larger than a call's INVITE.
fn weigh(payload: &Payload) -> usize {
    let EntryPayload::Normal(entry) = payload else { return 1 };
    let weight = |command: &Command| match command {
        Command::PutResources(set) => set.len().max(1),
        _ => 1,
    };
    entry.0.batch.commands.iter().map(weight).sum::<usize>().max(1)
}

fn encode(payload: &Payload, out: &mut Vec<u8>) {
    match payload {
        EntryPayload::Blank => out.push(BLANK),
        EntryPayload::Normal(entry) => {
            out.push(NORMAL);
            codec::encode_entry(&entry.0, out);
        }
        EntryPayload::Membership(membership) => {
            out.push(MEMBERSHIP);
            codec::encode(membership, out);
        }
    }
}

fn decode(bytes: &[u8]) -> io::Result<Payload> {
    let nonsense = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    match bytes.split_first() {
        Some((&BLANK, [])) => Ok(EntryPayload::Blank),
        Some((&NORMAL, rest)) => {
            let stamped = codec::decode_entry(rest).map_err(nonsense)?;
            Ok(EntryPayload::Normal(Entry(Arc::new(stamped))))
        }
        Some((&MEMBERSHIP, rest)) => Ok(EntryPayload::Membership(codec::decode(rest).map_err(nonsense)?)),
        _ => Err(nonsense(codec::DecodeError::Nonsense)),
    }
}

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;
/// Entries kept in memory: enough for `apply`, which follows at once. Few, so that what is dropped is still in
/// the processor's cache.
const RECENT_ALONE_MAX: usize = 64;
/// With followers: what one that stumbles for a second or two still finds in memory.
const RECENT_LINKED_MAX: usize = 1024;
/// What fits into one request to a follower. The heaviest things, INVITEs of 8 KiB, make it 4 MiB; with the
/// entry that goes beyond it, a frame stays below [`env::FRAME_MAX`].
const WEIGHT_MAX: usize = 512;
