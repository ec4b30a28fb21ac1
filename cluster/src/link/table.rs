//! The peers of a node: who they are, which connection leads to each, and what has come from them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use env::{LinkEvent, Purpose};
use quinn::Connection;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::frame::{Splitter, TooLong};
use super::lane::Lane;
use super::lock;
use super::refusal::Refusal;

/// What all tasks of the links share.
pub(super) struct Table {
    pub(super) node: u64,
    state: Mutex<State>,
    /// Rings when the inbox has room again.
    room: Notify,
}

#[derive(Default)]
struct State {
    peers: BTreeMap<u64, Member>,
    /// Whether every node of the cluster is taken for a peer: nobody has said yet who is.
    waits: bool,
    /// The same, for those who are said to be peers may not be all, or not be any more.
    open: bool,
    /// Counts connections, so that a late word of an old one is told from the new one's.
    serial: u64,
    inbox: VecDeque<LinkEvent>,
    inbox_bytes: usize,
    waker: Option<Waker>,
}

struct Member {
    at: SocketAddr,
    link: Option<Link>,
    dialer: Option<AbortHandle>,
    /// Why there is no link, as it was last said.
    refusal: Option<Refusal>,
}

/// A connection that stands.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) serial: u64,
    pub(super) lanes: Arc<Lanes>,
    connection: Connection,
}

/// A lane per purpose, in the order of [`Purpose::ALL`].
pub(super) type Lanes = [Lane; Purpose::ALL.len()];

/// The lane of a purpose.
pub(super) const fn lane_of(lanes: &Lanes, purpose: Purpose) -> &Lane {
    let [raft, forward, snapshot, query] = lanes;
    match purpose {
        Purpose::Raft => raft,
        Purpose::Forward => forward,
        Purpose::Snapshot => snapshot,
        Purpose::Query => query,
    }
}

impl State {
    fn tell(&mut self, event: LinkEvent) {
        if let LinkEvent::Frame { bytes, .. } = &event {
            self.inbox_bytes += bytes.len();
        }
        self.inbox.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn part(&mut self, node: u64, refusal: Refusal) {
        let Some(link) = self.peers.get_mut(&node).and_then(|member| member.link.take()) else { return };
        link.connection.close(refusal.code(), b"");
        self.tell(LinkEvent::Down(node));
    }
}

impl Table {
    pub(super) fn new(node: u64, waits: bool) -> Table {
        let state = Mutex::new(State { waits, ..State::default() });
        Table { node, state, room: Notify::new() }
    }

    /// Changes who the peers are. `dial` begins to dial one.
    pub(super) fn set_peers(&self, peers: &[env::Peer], mut dial: impl FnMut(env::Peer) -> AbortHandle) {
        let mut state = lock(&self.state);
        state.waits &= peers.is_empty();
        let open = state.open;
        let is_same = |node: u64, at: SocketAddr| peers.iter().any(|it| it.node == node && it.at == at);
        let is_new_place = |node: u64| peers.iter().any(|it| it.node == node);
        let gone: Vec<u64> =
            state.peers.iter().filter(|(node, it)| !is_same(**node, it.at)).map(|(node, _)| *node).collect();
        for node in gone {
            if let Some(guest) = state.peers.get_mut(&node)
                && open
                && guest.link.is_some()
                && !is_new_place(node)
            {
                // It may lead, and know more.
                guest.dialer.take().inspect(AbortHandle::abort);
                continue;
            }
            state.part(node, Refusal::NotPeer);
            if let Some(dialer) = state.peers.remove(&node).and_then(|member| member.dialer) {
                dialer.abort();
            }
        }
        for peer in peers.iter().filter(|peer| peer.node != self.node) {
            let member = state.peers.entry(peer.node);
            let member = member.or_insert(Member { at: peer.at, link: None, dialer: None, refusal: None });
            member.dialer.get_or_insert_with(|| dial(*peer));
        }
    }

    /// Says whether nodes that are not said to be peers are taken for such.
    pub(super) fn set_open(&self, open: bool) {
        lock(&self.state).open = open;
    }

    /// Whether a node that dials us and has proved to be of the cluster is taken for a peer.
    pub(super) fn is_peer(&self, node: u64, at: SocketAddr) -> bool {
        let mut state = lock(&self.state);
        if (state.waits || state.open) && node != self.node {
            // A guest: it knows of us before we know of it.
            let guest = Member { at, link: None, dialer: None, refusal: None };
            state.peers.entry(node).or_insert(guest);
        }
        state.peers.contains_key(&node)
    }

    /// A connection stands. One that stood before gives way: its process has died, or never should have been.
    /// The connection that the lower id dialled never gives way to one that the higher dialled, so that two
    /// that are made at once do not end each other.
    pub(super) fn up(&self, node: u64, connection: Connection, dialled_by: u64) -> Option<Link> {
        let mut state = lock(&self.state);
        let serial = state.serial + 1;
        let is_second = dialled_by > node.min(self.node);
        if is_second && state.peers.get(&node).is_some_and(|member| member.link.is_some()) {
            return None;
        }
        state.part(node, Refusal::Twin);
        let member = state.peers.get_mut(&node)?;
        let link = Link { serial, lanes: Arc::default(), connection };
        member.link = Some(link.clone());
        member.refusal = None;
        info!(node, at = %link.connection.remote_address(), "linked");
        state.serial = serial;
        state.tell(LinkEvent::Up(node));
        Some(link)
    }

    /// A connection has ended, or none came about.
    pub(super) fn down(&self, node: u64, serial: Option<u64>, refusal: Refusal) {
        let mut state = lock(&self.state);
        let Some(member) = state.peers.get_mut(&node) else { return };
        if member.link.as_ref().map(|link| link.serial) != serial {
            return;
        }
        // That one which was stopped does not answer is no news.
        let is_known = member.refusal == Some(refusal)
            || (member.refusal, refusal) == (Some(Refusal::Stopped), Refusal::Silent);
        if !is_known {
            member.refusal = Some(refusal);
            match refusal {
                Refusal::Stopped => info!(node, at = %member.at, "no link: {refusal}"),
                _ => warn!(node, at = %member.at, "no link: {refusal}"),
            }
        }
        state.part(node, refusal);
    }

    /// Why a peer can't be reached.
    pub(super) fn refusal(&self, node: u64) -> Option<Refusal> {
        lock(&self.state).peers.get(&node).and_then(|member| member.refusal)
    }

    pub(super) fn is_up(&self, node: u64) -> bool {
        lock(&self.state).peers.get(&node).is_some_and(|member| member.link.is_some())
    }

    pub(super) fn send(&self, to: u64, purpose: Purpose, frame: Vec<u8>) -> bool {
        let state = lock(&self.state);
        let Some(link) = state.peers.get(&to).and_then(|member| member.link.as_ref()) else { return false };
        lane_of(&link.lanes, purpose).push(frame)
    }

    /// Takes a piece of a stream. `Ok(false)`: its connection has been replaced.
    pub(super) fn deliver(
        &self,
        (from, serial): (u64, u64),
        purpose: Purpose,
        splitter: &mut Splitter,
        piece: &[u8],
    ) -> Result<bool, TooLong> {
        let mut state = lock(&self.state);
        let link = state.peers.get(&from).and_then(|member| member.link.as_ref());
        if link.is_none_or(|link| link.serial != serial) {
            return Ok(false);
        }
        splitter.take(piece, |bytes| state.tell(LinkEvent::Frame { from, purpose, bytes }))?;
        Ok(true)
    }

    /// Waits while too much is unread: the peer's queue fills up, not our memory.
    pub(super) async fn room(&self) {
        loop {
            let mut bell = std::pin::pin!(self.room.notified());
            // Before looking, so that no bell between looking and waiting is missed.
            bell.as_mut().enable();
            if lock(&self.state).inbox_bytes <= UNREAD_BYTES_MAX {
                return;
            }
            bell.await;
        }
    }

    pub(super) fn poll_events(&self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.inbox.is_empty() {
            if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                state.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        events.extend(state.inbox.drain(..));
        let was_full = std::mem::take(&mut state.inbox_bytes) > UNREAD_BYTES_MAX;
        drop(state);
        if was_full {
            self.room.notify_waiters();
        }
        Poll::Ready(())
    }

    /// Ends every dialer.
    pub(super) fn abort(&self) {
        for member in lock(&self.state).peers.values() {
            if let Some(dialer) = &member.dialer {
                dialer.abort();
            }
        }
    }
}

/// Beyond this, streams are not read until somebody takes what has come.
const UNREAD_BYTES_MAX: usize = 32 << 20;
