//! A stranger: its address is no trunk's and no gateway's. It asks, calls, registers and sends junk at random times.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use machine::{Instant, Rng};

use super::stranger as at;
use crate::life::Life;
use crate::world::World;

/// The number that it calls.
pub const NUMBER: &str = "+32470999999";

/// Lets it knock at these doors.
pub(super) fn arrive(doors: &[SocketAddr], world: &World, mut rng: Rng) {
    let life = Life::of_peers();
    for number in 0..20 + rng.below(40) {
        let when = Instant::ZERO + Duration::from_millis(1_000 + rng.below(24_000));
        let Some(door) = doors.get(rng.below(doors.len() as u64) as usize).copied() else { return };
        let bytes = knock(number, door, &mut rng);
        let (wire, life) = (world.wire.clone(), life.clone());
        let sends = wire.clone();
        wire.schedule(when, Box::new(move || sends.send(&life, at(), door, bytes)));
    }
}

/// What it sends.
fn knock(number: u64, door: SocketAddr, rng: &mut Rng) -> Bytes {
    let method = match rng.below(6) {
        0 | 1 => "INVITE",
        2 => "REGISTER",
        3 => "OPTIONS",
        4 => "BYE",
        _ => {
            let junk: Vec<u8> = (0..rng.below(200)).map(|_| rng.below(256) as u8).collect();
            return junk.into();
        }
    };
    let from = at();
    // In a dialog that there never was.
    let tag = if method == "BYE" { ";tag=none" } else { "" };
    // Somebody who has heard of an account.
    let claim = match (method, rng.below(2)) {
        ("REGISTER" | "INVITE", 0) => {
            "Authorization: Digest username=\"desk-1\", realm=\"sim.example\", nonce=\"00\", uri=\"sip:sim.example\", \
             response=\"00000000000000000000000000000000\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"x\"\r\n"
        }
        _ => "",
    };
    format!(
        "{method} sip:{NUMBER}@{door} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKstranger{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{NUMBER}@{from}>;tag=s{number}\r\nTo: <sip:{NUMBER}@{door}>{tag}\r\n\
         Call-ID: stranger-{number}\r\nCSeq: 1 {method}\r\nContact: <sip:s@{from}>\r\n{claim}Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
    .into()
}
