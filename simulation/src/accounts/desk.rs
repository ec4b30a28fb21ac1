//! A PBX with an account of a trunk: it registers once, for far longer than the run lasts, and never again. It asks at one
//! door and answers the challenge at another.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use env::Clock as _;
use machine::{Instant, Rng};

use super::text::{field, response};
use super::{DESK, password};
use crate::letter::header;
use crate::life::Life;
use crate::network::{Wire, lock};
use crate::time::VirtualClock;
use crate::world::World;

/// The PBX's registration.
pub struct Desk {
    /// Where it takes calls.
    ip: IpAddr,
    doors: Vec<SocketAddr>,
    wire: Arc<Wire>,
    clock: Arc<VirtualClock>,
    life: Arc<Life>,
    course: Mutex<Course>,
}

struct Course {
    rng: Rng,
    cseq: u32,
    /// The challenge that is to be answered.
    challenge: Option<String>,
    done: Option<Instant>,
}

impl Desk {
    /// Lets it register from this address, at these doors.
    pub(super) fn open(ip: IpAddr, doors: Vec<SocketAddr>, world: &World, rng: Rng) -> Arc<Desk> {
        let desk = Arc::new(Desk {
            ip,
            doors,
            wire: world.wire.clone(),
            clock: world.clock.clone(),
            life: Life::of_peers(),
            course: Mutex::new(Course { rng, cseq: 0, challenge: None, done: None }),
        });
        let hears = desk.clone();
        let handler = Arc::new(move |_: SocketAddr, bytes: &[u8]| hears.hears(bytes));
        world.wire.attach(&desk.life, desk.from(), handler).expect("nobody else is there");
        desk.clone().ask_at(BEGINS);
        desk
    }

    /// When it heard that it is registered.
    pub fn done(&self) -> Option<Instant> {
        lock(&self.course).done
    }

    /// Its Contact.
    pub fn contact(&self) -> String {
        format!("sip:{DESK}@{}:5060", self.ip)
    }

    fn from(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 5070)
    }

    /// Asks at a time, and again until it is done.
    fn ask_at(self: Arc<Desk>, when: Instant) {
        let wire = self.wire.clone();
        wire.schedule(
            when,
            Box::new(move || {
                if self.done().is_none() {
                    self.ask();
                    let next = self.clock.now() + AGAIN;
                    self.ask_at(next);
                }
            }),
        );
    }

    fn ask(&self) {
        let mut course = lock(&self.course);
        course.cseq += 1;
        let place = course.rng.below(self.doors.len() as u64) as usize;
        let Some(door) = self.doors.get(place).copied() else { return };
        let claim = course.challenge.take().map(|challenge| claim(&challenge)).unwrap_or_default();
        let bytes = self.register(course.cseq, &claim);
        drop(course);
        self.wire.send(&self.life, self.from(), door, bytes);
    }

    fn register(&self, cseq: u32, claim: &str) -> Bytes {
        let (from, contact) = (self.from(), self.contact());
        format!(
            "REGISTER sip:sim.example SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKdesk{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:{DESK}@sim.example>;tag=desk\r\nTo: <sip:{DESK}@sim.example>\r\nCall-ID: desk\r\n\
             CSeq: {cseq} REGISTER\r\nContact: <{contact}>\r\nExpires: {EXPIRES_S}\r\n{claim}Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
        .into()
    }

    fn hears(&self, bytes: &[u8]) {
        let mut course = lock(&self.course);
        let Some(cseq) = header(bytes, "CSeq").and_then(|it| it.split_once(' ')?.0.parse::<u32>().ok())
        else {
            return;
        };
        if cseq != course.cseq || course.done.is_some() {
            return;
        }
        if bytes.starts_with(b"SIP/2.0 200") {
            course.done = Some(self.clock.now());
        } else if bytes.starts_with(b"SIP/2.0 401") {
            course.challenge = header(bytes, "WWW-Authenticate").map(str::to_owned);
            drop(course);
            self.ask();
        }
    }
}

/// The line that answers a challenge.
fn claim(challenge: &str) -> String {
    let get = |name| field(challenge, name).unwrap_or_default();
    let (realm, nonce, uri) = (get("realm"), get("nonce"), "sip:sim.example");
    let said = response((DESK, realm, &password(DESK)), ("REGISTER", uri), (nonce, "00000001", "desk"));
    format!(
        "Authorization: Digest username=\"{DESK}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm=MD5, \
         response=\"{said}\", qop=auth, nc=00000001, cnonce=\"desk\"\r\n"
    )
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

/// By then homes are held, and faults have not begun.
const BEGINS: Instant = Instant::from_nanos(2_000_000_000);
/// How long it waits for an answer.
const AGAIN: Duration = Duration::from_millis(500);
/// For how long it asks: far longer than any run lasts.
const EXPIRES_S: u32 = 3_000;
