//! The media relay over real sockets: dedicated threads, each with a table of plain UDP sockets under one
//! epoll, around the machines of `media`.
//!
//! The control side (actors) binds sockets, changes machines and hands them to a thread through a mailbox;
//! a thread receives, asks the machine and sends. Each machine sits behind a lock of its own that both sides
//! hold for one packet or one change, so a change holds from the moment in which it returns.

mod shard;
mod sockets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use env::{Clock, Relay, RelayEntry, RelayEvent, RelayFigures, RelayId, RelaySide, SrtpMark};
use machine::Instant;
use media::RelaySession;

use shard::{Change, Shard};
use sockets::Sockets;

/// A media relay of one or more threads.
pub struct SocketRelay {
    clock: Arc<dyn Clock>,
    shards: Vec<Shard>,
    shared: Arc<Shared>,
    entries: Mutex<BTreeMap<RelayId, Installed>>,
    floating: BTreeSet<IpAddr>,
}

/// What all threads and the control side share.
#[derive(Default)]
struct Shared {
    events: Mutex<Vec<RelayEvent>>,
    /// Until when relaying goes on, in nanoseconds of the node's clock.
    until: AtomicU64,
    /// Where it goes on all the same.
    except: Mutex<Option<IpAddr>>,
}

impl Shared {
    /// Whether what is bound to this address is silent.
    fn is_mute(&self, now: Instant, local: IpAddr) -> bool {
        now.as_nanos() >= self.until.load(Ordering::Relaxed) && *lock(&self.except) != Some(local)
    }
}

/// A machine that both sides hold; `None` once its entry is removed.
type SharedSession = Arc<Mutex<Option<RelaySession>>>;

/// An entry as the control side knows it.
struct Installed {
    session: SharedSession,
    sockets: Arc<Sockets>,
}

impl SocketRelay {
    /// Starts `shards` threads (at least one).
    ///
    /// # Errors
    /// The system gives no thread or no epoll.
    pub fn start(shards: usize, clock: Arc<dyn Clock>) -> io::Result<SocketRelay> {
        let shared = Arc::new(Shared { until: AtomicU64::new(u64::MAX), ..Shared::default() });
        let shards = (0..shards.max(1))
            .map(|number| Shard::start(number, Arc::clone(&clock), Arc::clone(&shared)))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(SocketRelay { clock, shards, shared, entries: Mutex::default(), floating: BTreeSet::new() })
    }

    /// Lets these addresses be bound before the machine has them.
    pub fn with_floating(mut self, floating: BTreeSet<IpAddr>) -> SocketRelay {
        self.floating = floating;
        self
    }

    fn shard(&self, id: RelayId) -> Option<&Shard> {
        let count = self.shards.len() as u64;
        self.shards.get(usize::try_from(id.0 % count.max(1)).unwrap_or(0))
    }

    /// Binds what an entry needs, keeping sockets that are bound already.
    fn put(&self, id: RelayId, entry: RelayEntry, keep_session: bool) -> io::Result<()> {
        let mut entries = lock(&self.entries);
        let old = entries.get(&id);
        let sockets = match old {
            Some(old) if old.sockets.serve(&entry) => Arc::clone(&old.sockets),
            _ => Arc::new(Sockets::bind(&entry, old.map(|old| &*old.sockets), &self.floating)?),
        };
        let now = self.clock.now();
        match old {
            Some(old) if keep_session => {
                let session = Arc::clone(&old.session);
                if let Some(session) = lock(&session).as_mut() {
                    session.update(now, entry);
                }
                if Arc::ptr_eq(&old.sockets, &sockets) {
                    if let Some(shard) = self.shard(id) {
                        shard.tell(Change::Untie(id));
                    }
                    return Ok(());
                }
                self.hand_over(&mut entries, id, Installed { session, sockets });
            }
            old => {
                if let Some(old) = old {
                    lock(&old.session).take();
                }
                let session = Arc::new(Mutex::new(Some(RelaySession::new(now, id, entry))));
                self.hand_over(&mut entries, id, Installed { session, sockets });
            }
        }
        Ok(())
    }

    /// Gives a new or changed entry to its thread.
    fn hand_over(&self, entries: &mut BTreeMap<RelayId, Installed>, id: RelayId, installed: Installed) {
        let Some(shard) = self.shard(id) else { return };
        if entries.contains_key(&id) {
            shard.tell(Change::Remove(id));
        }
        shard.tell(Change::Add(id, Arc::clone(&installed.session), Arc::clone(&installed.sockets)));
        entries.insert(id, installed);
    }
}

impl Relay for SocketRelay {
    fn install(&self, id: RelayId, entry: RelayEntry) -> io::Result<()> {
        self.put(id, entry, false)
    }

    fn update(&self, id: RelayId, entry: RelayEntry) -> io::Result<()> {
        self.put(id, entry, true)
    }

    fn remove(&self, id: RelayId) -> Option<RelayFigures> {
        let installed = lock(&self.entries).remove(&id)?;
        // Once the machine is gone, the thread drops whatever still comes.
        let session = lock(&installed.session).take()?;
        if let Some(shard) = self.shard(id) {
            shard.tell(Change::Remove(id));
        }
        Some(session.figures())
    }

    fn figures(&self, id: RelayId) -> Option<RelayFigures> {
        let session = Arc::clone(&lock(&self.entries).get(&id)?.session);
        let session = lock(&session);
        session.as_ref().map(RelaySession::figures)
    }

    fn recorded(&self, id: RelayId, side: RelaySide, mark: SrtpMark) {
        let session = lock(&self.entries).get(&id).map(|installed| Arc::clone(&installed.session));
        if let Some(session) = session
            && let Some(session) = lock(&session).as_mut()
        {
            session.recorded(side, mark);
        }
    }

    fn poll_events(&self, events: &mut Vec<RelayEvent>) {
        events.append(&mut lock(&self.shared.events));
    }

    fn speak_until(&self, until: Instant, except: Option<IpAddr>) {
        *lock(&self.shared.except) = except;
        self.shared.until.store(until.as_nanos(), Ordering::SeqCst);
    }
}

/// Locks, also after a panic elsewhere: every critical section here leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
