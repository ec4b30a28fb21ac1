//! What the two ends of a call say to each other: RTP in which every packet names its call and its direction, one a
//! second each way, and at the full rate in one call of a hundred.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use env::Clock as _;
use machine::Instant;
use peer::media::Label;
use peer::{CallRef, MediaPorts, Side};

use crate::life::Life;
use crate::network::Wire;
use crate::time::VirtualClock;

/// The air between all peers of a world: who heard whom, and when.
#[derive(Clone)]
pub struct Air {
    wire: Arc<Wire>,
    clock: Arc<VirtualClock>,
    life: Arc<Life>,
    heard: Arc<Mutex<Heard>>,
}

/// What all ends heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// By call and by the end that hears.
    pub ends: BTreeMap<(u32, SocketAddr), Hearing>,
    /// Packets that came to an end which they are not for: when, of which call, and in words.
    pub strange: Vec<(Instant, u32, String)>,
}

/// What one end of a call heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// How often the other end speaks.
    pub every: Duration,
    /// Since when it expects to hear; `None` while it does not.
    pub since: Option<Instant>,
    /// When it last heard.
    pub last: Option<Instant>,
    /// Silences of more than two packets: from, until.
    pub gaps: Vec<(Instant, Instant)>,
}

impl Hearing {
    fn hears(&mut self, now: Instant) {
        if let Some(since) =
            self.last.max(self.since).filter(|since| now.since(*since) > self.every * GAP_PACKETS)
        {
            self.gaps.push((since, now));
        }
        self.last = Some(now);
    }

    /// For how long it has heard nothing, while it should.
    pub fn silent(&self, now: Instant) -> Duration {
        self.last
            .max(self.since)
            .filter(|_| self.since.is_some())
            .map_or(Duration::ZERO, |since| now.since(since))
    }
}

impl Air {
    /// The air over a wire, for the life of all peers.
    pub(crate) fn new(wire: Arc<Wire>, clock: Arc<VirtualClock>, life: Arc<Life>) -> Air {
        Air { wire, clock, life, heard: Arc::default() }
    }

    /// What all ends heard so far.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An end of a call listens.
    fn listen(&self, number: u32, side: Side, local: SocketAddr) {
        let (air, now) = (self.clone(), self.clock.now());
        let hearing = Hearing { every: every(number), since: None, last: None, gaps: Vec::new() };
        self.heard().ends.insert((number, local), hearing);
        let handler = move |from: SocketAddr, bytes: &[u8]| air.hears((number, side), local, from, bytes);
        if let Err(error) = self.wire.attach(&self.life, local, Arc::new(handler)) {
            self.heard().strange.push((now, number, format!("{local} is taken: {error}")));
        }
    }

    fn hears(&self, (number, side): (u32, Side), local: SocketAddr, from: SocketAddr, bytes: &[u8]) {
        let (now, label) = (self.clock.now(), Label::read(bytes));
        let mut heard = self.heard();
        match label {
            Some(label) if label.call.number == number && label.call.side != side => {
                if let Some(hearing) = heard.ends.get_mut(&(number, local)) {
                    hearing.hears(now);
                }
            }
            // A packet whose bytes the network has changed names nobody.
            None => {}
            Some(label) => {
                let ms = now.as_nanos() / 1_000_000;
                let said = format!("at {ms} ms call #{number} hears {:?} at {local} from {from}", label.call);
                heard.strange.push((now, label.call.number, said));
            }
        }
    }

    fn expects(&self, number: u32, local: SocketAddr, since: Option<Instant>) {
        if let Some(hearing) = self.heard().ends.get_mut(&(number, local)) {
            hearing.since = since.map(|since| hearing.since.unwrap_or(since));
        }
    }
}

/// The media of the calls of one peer.
pub struct Mouths {
    air: Air,
    ports: Arc<Mutex<BTreeMap<CallRef, SocketAddr>>>,
    mouths: BTreeMap<CallRef, Mouth>,
}

struct Mouth {
    number: u32,
    local: SocketAddr,
    remote: Option<(SocketAddr, u8)>,
    next: Instant,
    sequence: u64,
}

/// Addresses for the media of one peer's calls; none is given twice.
pub struct Ports {
    at: IpAddr,
    given: Arc<Mutex<BTreeMap<CallRef, SocketAddr>>>,
}

impl MediaPorts for Ports {
    fn open(&mut self, call: CallRef) -> SocketAddr {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let port = FIRST_PORT + 2 * u16::try_from(given.len()).unwrap_or(u16::MAX / 4);
        *given.entry(call).or_insert(SocketAddr::new(self.at, port))
    }
}

impl Mouths {
    /// The media of a peer at this address, and its ports.
    pub fn new(air: Air, at: IpAddr) -> (Mouths, Ports) {
        let given = Arc::new(Mutex::new(BTreeMap::new()));
        (Mouths { air, ports: given.clone(), mouths: BTreeMap::new() }, Ports { at, given })
    }

    /// An end speaks to `remote` from now on. It is of the call with this number.
    pub fn start(&mut self, call: CallRef, number: u32, remote: SocketAddr, payload: u8) {
        let local = self.ports.lock().unwrap_or_else(PoisonError::into_inner).get(&call).copied();
        let Some(local) = local else { return };
        let (air, now) = (&self.air, self.air.clock.now());
        let mouth = self.mouths.entry(call).or_insert_with(|| {
            air.listen(number, call.side, local);
            Mouth { number, local, remote: None, next: now, sequence: 0 }
        });
        mouth.remote = Some((remote, payload));
        air.expects(number, local, Some(now));
    }

    /// An end speaks no more, for good or for a while.
    pub fn stop(&mut self, call: CallRef, ended: bool) {
        let Some(mouth) = self.mouths.get_mut(&call) else { return };
        mouth.remote = None;
        self.air.expects(mouth.number, mouth.local, None);
        if ended {
            self.air.wire.detach(&self.air.life, mouth.local);
            self.mouths.remove(&call);
        }
    }

    /// When somebody speaks next.
    pub fn next(&self) -> Option<Instant> {
        self.mouths.values().filter(|mouth| mouth.remote.is_some()).map(|mouth| mouth.next).min()
    }

    /// Whoever is due speaks.
    pub fn speak(&mut self, now: Instant) {
        for (call, mouth) in &mut self.mouths {
            let Some((remote, payload)) = mouth.remote.filter(|_| mouth.next <= now) else { continue };
            let call = CallRef { number: mouth.number, ..*call };
            let label = Label { run: RUN, call, heard: None, sequence: mouth.sequence };
            mouth.sequence += 1;
            mouth.next = now + every(mouth.number);
            let bytes = Bytes::copy_from_slice(&label.write(payload));
            self.air.wire.send(&self.air.life, mouth.local, remote, bytes);
        }
    }
}

/// How often the ends of a call speak.
const fn every(number: u32) -> Duration {
    if number % 100 == FULL_RATE { Duration::from_millis(20) } else { Duration::from_secs(1) }
}

const RUN: u32 = 1;
/// Which of a hundred calls has the rate of G.711.
const FULL_RATE: u32 = 5;
const FIRST_PORT: u16 = 10_000;
/// A silence is longer than so many packets.
const GAP_PACKETS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_silence_is_measured_from_what_was_heard_last_or_first_expected() {
        let every = Duration::from_millis(20);
        let mut hearing = Hearing { every, since: Some(at(100)), last: None, gaps: Vec::new() };
        hearing.hears(at(130));
        hearing.hears(at(170));
        assert!(hearing.gaps.is_empty());
        hearing.hears(at(1_170));
        assert_eq!(hearing.gaps, [(at(170), at(1_170))]);
        assert_eq!(hearing.silent(at(1_200)), Duration::from_millis(30));
        hearing.since = None;
        assert_eq!(hearing.silent(at(9_000)), Duration::ZERO, "nothing is expected");
    }

    #[test]
    fn no_two_calls_of_a_peer_hear_at_one_port() {
        let mut ports = Ports { at: [10, 0, 1, 1].into(), given: Arc::default() };
        let first = ports.open(CallRef::caller(0));
        assert_eq!(ports.open(CallRef::caller(0)), first);
        assert_ne!(ports.open(CallRef::caller(1)), first);
        assert_ne!(ports.open(CallRef::callee(0)), first);
    }
}
