//! One relay thread: wait, receive, ask the machine, send.
//!
//! What a packet costs: one receive, one lock that nobody contests, one send. Each wake-up takes one reading
//! of the clock for all its packets. A socket whose peer sends and receives steadily at one address is tied to
//! it (`connect`), which spares the kernel a route look-up per packet; every packet is still sent to where
//! the machine says, and a tied socket whose peer is not heard, or whose entry changes, is untied.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use env::{Clock, RelayId, RelaySide};
use machine::Instant;
use media::{Component, GROWTH_MAX, Verdict};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::net::{RecvFlags, SendFlags, connect, connect_unspec, recv, recvfrom, send, sendto};

use super::sockets::{Place, Sockets};
use super::{Shared, SharedSession, lock};

/// How many sockets one wake-up serves before the mailbox is looked at again.
const EVENTS_MAX: usize = 512;
/// A larger datagram is no RTP of ours.
const PACKET_MAX: usize = 8 * 1024;
/// More than this many packets cannot wait on a socket.
const BACKLOG_MAX: usize = 4096;
/// How often silence is looked for.
const SWEEP: Duration = Duration::from_millis(250);
/// What epoll says of the mailbox.
const MAILBOX: u64 = u64::MAX;

/// What the control side asks of a thread.
pub(super) enum Change {
    /// Serve these sockets.
    Add(RelayId, SharedSession, Arc<Sockets>),
    /// Its entry changed: its peers may be elsewhere now.
    Untie(RelayId),
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
    /// The peers that the RTP sockets are tied to.
    ingress: Option<SocketAddr>,
    egress: Option<SocketAddr>,
}

impl Stream {
    /// The only address that this socket can hear, if it is tied.
    fn tied(&self, place: Place) -> Option<SocketAddr> {
        match (place.component(), place.side()) {
            (Component::Rtcp, _) => None,
            (Component::Rtp, RelaySide::Ingress) => self.ingress,
            (Component::Rtp, RelaySide::Egress) => self.egress,
        }
    }

    /// Receives one packet without waiting.
    fn receive(&self, place: Place, buffer: &mut [u8]) -> rustix::io::Result<(usize, SocketAddr)> {
        // Asking for the true length shows what did not fit.
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let socket = self.sockets.at(place);
        match self.tied(place) {
            Some(from) => recv(socket, buffer, flags).map(|(_, length)| (length, from)),
            None => {
                let (_, length, from) = recvfrom(socket, buffer, flags)?;
                let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                Ok((length, from.ok_or(rustix::io::Errno::AFNOSUPPORT)?))
            }
        }
    }

    /// Sends a packet to where the machine says. A full buffer or a port that nobody listens on loses it, as
    /// a network would.
    fn send(&self, place: Place, to: SocketAddr, packet: &[u8]) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let socket = self.sockets.at(place);
        if self.tied(place) == Some(to) {
            // An error can be an ICMP message about an earlier packet, reported once instead of sending.
            let _ = send(socket, packet, flags).or_else(|_| send(socket, packet, flags));
        } else {
            let _ = sendto(socket, packet, flags, &to);
        }
    }

    /// Ties or unties a side's RTP socket; true if it is newly tied to `peer`.
    fn tie(&mut self, side: RelaySide, peer: Option<SocketAddr>) -> bool {
        let (place, tied) = match side {
            RelaySide::Ingress => (Place::INGRESS_RTP, &mut self.ingress),
            RelaySide::Egress => (Place::EGRESS_RTP, &mut self.egress),
        };
        if *tied == peer {
            return false;
        }
        let socket = self.sockets.at(place);
        *tied = None;
        match peer {
            Some(peer) => connect(socket, &peer).is_ok(),
            None => {
                let _ = connect_unspec(socket);
                false
            }
        }
    }
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
        let mut buffer = vec![0; PACKET_MAX + GROWTH_MAX];
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
                    data => {
                        self.serve(now, data, &mut buffer);
                    }
                }
            }
            if called && !self.take_mail() {
                return;
            }
            if now >= sweep_at {
                self.sweep(now, &mut buffer);
                sweep_at = now + SWEEP;
            }
        }
    }

    /// Relays one packet of a socket that has some; false if it had none. A socket with more is served again
    /// in the next round, after all others: a flood on one port takes no other call's turn.
    fn serve(&self, now: Instant, data: u64, buffer: &mut [u8]) -> bool {
        let place = Place::from_bits(data);
        let stream = usize::try_from(data >> 2).ok().and_then(|index| self.streams.get(index));
        let Some(Some(stream)) = stream else { return false };
        // An error here is an ICMP message about an earlier packet, or a race: nothing to relay.
        let (room, _) = buffer.split_at_mut(PACKET_MAX);
        let Ok((length, from)) = stream.receive(place, room) else { return false };
        if length > PACKET_MAX {
            return true;
        }
        let mut session = lock(&stream.session);
        let Some(session) = session.as_mut() else { return true };
        let verdict = session.received(now, place.side(), place.component(), from, buffer, length);
        while let Some(event) = session.poll_event() {
            lock(&self.shared.events).push(event);
        }
        // The lock is held while sending: once an update has returned, nothing goes to the old address.
        if let Verdict::Forward { to, length } = verdict
            && let Some(packet) = buffer.get(..length)
            && (session.is_unleased() || !self.shared.is_mute(now, stream.sockets.ip()))
        {
            stream.send(place.across(), to, packet);
        }
        true
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
                Change::Untie(id) => self.untie(id),
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
            *slot = Some(Stream { session, sockets, ingress: None, egress: None });
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

    fn untie(&mut self, id: RelayId) {
        let index = self.index.get(&id).copied();
        if let Some(Some(stream)) = index.and_then(|index| self.streams.get_mut(index)) {
            stream.tie(RelaySide::Ingress, None);
            stream.tie(RelaySide::Egress, None);
        }
    }

    /// Lets every machine notice silence, and ties the sockets of those that are steady.
    fn sweep(&mut self, now: Instant, buffer: &mut [u8]) {
        for index in 0..self.streams.len() {
            let Some(Some(stream)) = self.streams.get(index) else { continue };
            let steady = match lock(&stream.session).as_mut() {
                None => continue,
                Some(session) => {
                    session.handle_timeout(now);
                    while let Some(event) = session.poll_event() {
                        lock(&self.shared.events).push(event);
                    }
                    [RelaySide::Ingress, RelaySide::Egress].map(|side| (side, session.steady(now, side)))
                }
            };
            for (side, peer) in steady {
                self.settle(now, index, side, peer, buffer);
            }
        }
    }

    /// Ties a socket to a steady peer, or unties it.
    fn settle(
        &mut self,
        now: Instant,
        index: usize,
        side: RelaySide,
        peer: Option<SocketAddr>,
        buffer: &mut [u8],
    ) {
        let tied =
            self.streams.get_mut(index).and_then(Option::as_mut).is_some_and(|stream| stream.tie(side, peer));
        if !tied {
            return;
        }
        let place = match side {
            RelaySide::Ingress => Place::INGRESS_RTP,
            RelaySide::Egress => Place::EGRESS_RTP,
        };
        // What came before the tie may be a stranger's: it is read with its address.
        let data = (index as u64) << 2 | place.bits();
        for _ in 0..BACKLOG_MAX {
            if !self.serve(now, data, buffer) {
                break;
            }
        }
        if let Some(Some(stream)) = self.streams.get_mut(index) {
            match side {
                RelaySide::Ingress => stream.ingress = peer,
                RelaySide::Egress => stream.egress = peer,
            }
        }
    }
}
