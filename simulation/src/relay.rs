//! The media relay in memory: the production machine (`media::RelaySession`) on the simulated wire.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use env::{Clock, Relay, RelayEntry, RelayEvent, RelayFigures, RelayId, RelaySide, SideConfig, SrtpMark};
use machine::Instant;
use media::{Component, GROWTH_MAX, RelaySession, Verdict};

use crate::life::Life;
use crate::network::Wire;
use crate::time::NodeClock;

/// A relay whose packets travel on the simulated wire.
pub struct MemoryRelay {
    wire: Arc<Wire>,
    clock: Arc<NodeClock>,
    sessions: Arc<Mutex<Sessions>>,
    life: Arc<Life>,
}

#[derive(Default)]
struct Sessions {
    /// Until when anything is forwarded; nothing said: for ever.
    until: Option<Instant>,
    by_id: BTreeMap<RelayId, (RelaySession, RelayEntry)>,
    events: Vec<RelayEvent>,
}

fn lock(sessions: &Mutex<Sessions>) -> MutexGuard<'_, Sessions> {
    sessions.lock().expect("no holder of this lock panics")
}

/// The four ports of an entry.
fn ports(entry: &RelayEntry) -> [(RelaySide, Component, SocketAddr); 4] {
    let rtcp = |side: &SideConfig| SocketAddr::new(side.local.ip(), side.local.port() + 1);
    [
        (RelaySide::Ingress, Component::Rtp, entry.ingress.local),
        (RelaySide::Ingress, Component::Rtcp, rtcp(&entry.ingress)),
        (RelaySide::Egress, Component::Rtp, entry.egress.local),
        (RelaySide::Egress, Component::Rtcp, rtcp(&entry.egress)),
    ]
}

impl MemoryRelay {
    /// A relay on this wire, by the clock of its node: the end of a lease is told in that node's time.
    pub fn new(wire: Arc<Wire>, clock: Arc<NodeClock>, life: Arc<Life>) -> MemoryRelay {
        MemoryRelay { wire, clock, sessions: Arc::default(), life }
    }

    fn attach(&self, id: RelayId, entry: &RelayEntry) -> io::Result<()> {
        for (side, component, at) in ports(entry) {
            let (wire, clock, sessions) = (self.wire.clone(), self.clock.clone(), self.sessions.clone());
            let life = self.life.clone();
            let handler = move |from: SocketAddr, bytes: &[u8]| {
                let mut sessions = lock(&sessions);
                // A halted process forwards nothing; what its sockets would have kept is lost here.
                if sessions.until.is_some_and(|until| clock.now() >= until) || life.is_halted() {
                    return;
                }
                let Some((session, entry)) = sessions.by_id.get_mut(&id) else { return };
                let mut buffer = bytes.to_vec();
                buffer.resize(bytes.len() + GROWTH_MAX, 0);
                let verdict = session.received(clock.now(), side, component, from, &mut buffer, bytes.len());
                let out = ports(entry).into_iter().find(|(s, c, _)| *s == side.other() && *c == component);
                let noticed: Vec<RelayEvent> = std::iter::from_fn(|| session.poll_event()).collect();
                sessions.events.extend(noticed);
                drop(sessions);
                if let (Verdict::Forward { to, length }, Some((_, _, local))) = (verdict, out) {
                    buffer.truncate(length);
                    wire.send(&life, local, to, Bytes::from(buffer));
                }
            };
            self.wire.attach(&self.life, at, Arc::new(handler))?;
        }
        Ok(())
    }

    fn detach(&self, entry: &RelayEntry) {
        for (_, _, at) in ports(entry) {
            self.wire.detach(&self.life, at);
        }
    }
}

impl Relay for MemoryRelay {
    fn install(&self, id: RelayId, entry: RelayEntry) -> io::Result<()> {
        let known = lock(&self.sessions).by_id.remove(&id);
        if let Some((_, old)) = known {
            self.detach(&old);
        }
        self.attach(id, &entry)?;
        let session = RelaySession::new(self.clock.now(), id, entry.clone());
        lock(&self.sessions).by_id.insert(id, (session, entry));
        Ok(())
    }

    fn update(&self, id: RelayId, entry: RelayEntry) -> io::Result<()> {
        let moved = match lock(&self.sessions).by_id.get_mut(&id) {
            Some((session, old)) if ports(old) == ports(&entry) => {
                session.update(self.clock.now(), entry.clone());
                *old = entry.clone();
                false
            }
            _ => true,
        };
        if moved { self.install(id, entry) } else { Ok(()) }
    }

    fn remove(&self, id: RelayId) -> Option<RelayFigures> {
        let (session, entry) = lock(&self.sessions).by_id.remove(&id)?;
        self.detach(&entry);
        Some(session.figures())
    }

    fn figures(&self, id: RelayId) -> Option<RelayFigures> {
        lock(&self.sessions).by_id.get(&id).map(|(session, _)| session.figures())
    }

    fn recorded(&self, id: RelayId, side: RelaySide, mark: SrtpMark) {
        if let Some((session, _)) = lock(&self.sessions).by_id.get_mut(&id) {
            session.recorded(side, mark);
        }
    }

    fn poll_events(&self, events: &mut Vec<RelayEvent>) {
        let now = self.clock.now();
        let mut sessions = lock(&self.sessions);
        let mut noticed = std::mem::take(&mut sessions.events);
        for (session, _) in sessions.by_id.values_mut() {
            session.handle_timeout(now);
            noticed.extend(std::iter::from_fn(|| session.poll_event()));
        }
        events.extend(noticed);
    }

    fn speak_until(&self, until: Instant, _: Option<IpAddr>) {
        lock(&self.sessions).until = Some(until);
    }
}
