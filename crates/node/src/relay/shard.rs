//! One relay thread: wait, receive, ask the machine, send.
//!
//! What a packet costs: one receive, one lock that nobody contests, one send. Each wake-up takes one reading
//! of the clock for all its packets.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use env::{Clock, RelayId};
use machine::Instant;
use media::Verdict;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};

use super::sockets::{Place, Sockets};
use super::{Shared, SharedSession, lock};

/// How many sockets one wake-up serves before the mailbox is looked at again.
const EVENTS_MAX: usize = 512;
/// A larger datagram is no RTP of ours.
const PACKET_MAX: usize = 8 * 1024;
/// How often silence is looked for.
const SWEEP: Duration = Duration::from_millis(250);
/// What epoll says of the mailbox.
const MAILBOX: u64 = u64::MAX;

/// What the control side asks of a thread.
pub(super) enum Change {
    /// Serve these sockets.
    Add(RelayId, SharedSession, Arc<Sockets>),
    /// Serve them no longer.
    Remove(RelayId),
    /// End.
    Stop,
}

/// The control side's end of a thread.
pub(super) struct Shard {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
}

struct Mailbox {
    changes: Mutex<Vec<Change>>,
    /// Whether the thread was told already that something waits.
    told: AtomicBool,
    bell: OwnedFd,
}

impl Shard {
    pub(super) fn start(number: usize, clock: Arc<dyn Clock>, shared: Arc<Shared>) -> io::Result<Shard> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &bell, epoll::EventData::new_u64(MAILBOX), epoll::EventFlags::IN)?;
        let mailbox = Arc::new(Mailbox { changes: Mutex::default(), told: AtomicBool::new(false), bell });
        let mut relay = Worker {
            poll,
            mailbox: Arc::clone(&mailbox),
            shared,
            streams: Vec::new(),
            vacant: Vec::new(),
            index: BTreeMap::new(),
        };
        let thread =
            std::thread::Builder::new().name(format!("rtp-{number}")).spawn(move || relay.run(&*clock))?;
        Ok(Shard { mailbox, thread: Some(thread) })
    }

    pub(super) fn tell(&self, change: Change) {
        lock(&self.mailbox.changes).push(change);
        if !self.mailbox.told.swap(true, Ordering::SeqCst) {
            // The counter cannot overflow: it is one at most.
            let _ = rustix::io::write(&self.mailbox.bell, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.tell(Change::Stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked is over as well.
            let _ = thread.join();
        }
    }
}

/// A stream as its thread knows it.
struct Stream {
    session: SharedSession,
    sockets: Arc<Sockets>,
}

/// The thread's own side.
struct Worker {
    poll: OwnedFd,
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
    /// epoll names a socket by its stream's place here, times four, plus its own place.
    streams: Vec<Option<Stream>>,
    vacant: Vec<usize>,
    index: BTreeMap<RelayId, usize>,
}

impl Worker {
    fn run(&mut self, clock: &dyn Clock) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; PACKET_MAX];
        let mut sweep_at = clock.now() + SWEEP;
        loop {
            let left = sweep_at.since(clock.now());
            let timeout =
                rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::from(left.min(SWEEP).subsec_nanos()) };
            events.clear();
            if epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)).is_err() {
                // Only a signal can end the wait; nothing was lost.
                continue;
            }
            let now = clock.now();
            let mut called = false;
            for event in &events {
                match event.data.u64() {
                    MAILBOX => called = true,
                    data => self.serve(now, data, &mut buffer),
                }
            }
            if called && !self.take_mail() {
                return;
            }
            if now >= sweep_at {
                self.sweep(now);
                sweep_at = now + SWEEP;
            }
        }
    }

    /// Relays one packet of a socket that has some. A socket with more is served again in the next round,
    /// after all others: a flood on one port takes no other call's turn.
    fn serve(&self, now: Instant, data: u64, buffer: &mut [u8]) {
        let place = Place::from_bits(data);
        let stream = usize::try_from(data >> 2).ok().and_then(|index| self.streams.get(index));
        let Some(Some(stream)) = stream else { return };
        // Asking for the true length shows what did not fit.
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        // An error here is an ICMP message about an earlier send, or a race: nothing to relay.
        let Ok((_, length, Some(from))) = recvfrom(stream.sockets.at(place), &mut *buffer, flags) else {
            return;
        };
        let (Some(packet), Ok(from)) = (buffer.get(..length), SocketAddr::try_from(from)) else { return };
        let mut session = lock(&stream.session);
        let Some(session) = session.as_mut() else { return };
        let verdict = session.received(now, place.side(), place.component(), from, packet);
        while let Some(event) = session.poll_event() {
            lock(&self.shared.events).push(event);
        }
        let Verdict::Forward(to) = verdict else { return };
        if self.shared.muted.load(Ordering::Relaxed) {
            return;
        }
        // A full buffer or a port that nobody listens on loses the packet, as a network would.
        let _ =
            sendto(stream.sockets.at(place.across()), packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to);
    }

    /// Does what the control side asked for; false when it asked to stop.
    fn take_mail(&mut self) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.mailbox.bell, &mut count);
        // Before the changes are taken: what is added after this rings again.
        self.mailbox.told.store(false, Ordering::SeqCst);
        let changes = std::mem::take(&mut *lock(&self.mailbox.changes));
        for change in changes {
            match change {
                Change::Add(id, session, sockets) => self.add(id, session, sockets),
                Change::Remove(id) => self.remove(id),
                Change::Stop => return false,
            }
        }
        true
    }

    fn add(&mut self, id: RelayId, session: SharedSession, sockets: Arc<Sockets>) {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.streams.push(None);
            self.streams.len() - 1
        });
        for place in Place::ALL {
            let data = epoll::EventData::new_u64((index as u64) << 2 | place.bits());
            // A system out of memory for this leaves a silent stream; the silence is reported.
            let _ = epoll::add(&self.poll, sockets.at(place), data, epoll::EventFlags::IN);
        }
        if let Some(slot) = self.streams.get_mut(index) {
            *slot = Some(Stream { session, sockets });
        }
        self.index.insert(id, index);
    }

    fn remove(&mut self, id: RelayId) {
        let Some(index) = self.index.remove(&id) else { return };
        if let Some(stream) = self.streams.get_mut(index).and_then(Option::take) {
            for place in Place::ALL {
                // Not left to the close: the control side may keep the sockets for a new entry.
                let _ = epoll::delete(&self.poll, stream.sockets.at(place));
            }
            self.vacant.push(index);
        }
    }

    /// Lets every machine notice silence.
    fn sweep(&self, now: Instant) {
        for stream in self.streams.iter().flatten() {
            if let Some(session) = lock(&stream.session).as_mut() {
                session.handle_timeout(now);
                while let Some(event) = session.poll_event() {
                    lock(&self.shared.events).push(event);
                }
            }
        }
    }
}
