//! The callee: keeps nothing, answers at once. Its To tag follows from the Call-ID, so a request that comes twice
//! gets the same answer.

use std::net::SocketAddr;

use super::outbox::Outbox;
use super::report::StrictReport;
use super::scan::{Name, lines};
use crate::sdp::Audio;
use crate::writer::push_number;

/// The callee.
pub(super) struct Callee {
    pub(super) outbox: Outbox,
    /// Contact and everything after it in a 180 and in a 200 to INVITE.
    ringing: Vec<u8>,
    answer: Vec<u8>,
    invites: u64,
    acks: u64,
    byes: u64,
}

impl Callee {
    pub(super) fn new(address: SocketAddr) -> Callee {
        let sdp = Audio::ours(SocketAddr::new(address.ip(), 6000)).write(1, 1);
        let contact = format!("Contact: <sip:callee@{address}>\r\n");
        let ringing = format!("{contact}Content-Length: 0\r\n\r\n").into_bytes();
        let length = sdp.len();
        let mut answer = format!(
            "{contact}Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nContent-Type: application/sdp\r\n\
                     Content-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        answer.extend_from_slice(&sdp);
        Callee { outbox: Outbox::default(), ringing, answer, invites: 0, acks: 0, byes: 0 }
    }

    pub(super) fn receive(&mut self, from: SocketAddr, message: &[u8]) {
        match message.first() {
            Some(b'I') => {
                self.invites += 1;
                copy(self.outbox.bytes(), b"SIP/2.0 180 Ringing\r\n", message, true);
                self.outbox.bytes().extend_from_slice(&self.ringing);
                self.outbox.finish(from);
                copy(self.outbox.bytes(), b"SIP/2.0 200 OK\r\n", message, true);
                self.outbox.bytes().extend_from_slice(&self.answer);
                self.outbox.finish(from);
            }
            Some(b'A') => self.acks += 1,
            // A response, or a keep-alive.
            Some(b'S' | b'\r' | b'\n') | None => {}
            Some(method) => {
                self.byes += u64::from(*method == b'B');
                copy(self.outbox.bytes(), b"SIP/2.0 200 OK\r\n", message, false);
                self.outbox.bytes().extend_from_slice(b"Content-Length: 0\r\n\r\n");
                self.outbox.finish(from);
            }
        }
    }

    pub(super) fn add_to(&self, report: &mut StrictReport) {
        report.callee_invites = self.invites;
        report.callee_acks = self.acks;
        report.callee_byes = self.byes;
        report.duplicates += self.invites.saturating_sub(report.placed);
        report.refused_by_kernel += self.outbox.refused;
    }
}

/// The first line, and the lines that a response copies (RFC 3261 §8.2.6.2); with a To tag where none is.
fn copy(out: &mut Vec<u8>, first: &[u8], message: &[u8], tagged: bool) {
    out.extend_from_slice(first);
    let (mut to, mut tag) = (&[][..], 0xcbf2_9ce4_8422_2325_u64);
    for line in lines(message) {
        match line.name {
            Name::To if tagged => to = line.value,
            Name::CallId => {
                // FNV-1a.
                for byte in line.value {
                    tag = (tag ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
                }
                out.extend_from_slice(line.whole);
            }
            Name::Via | Name::From | Name::To | Name::CSeq | Name::RecordRoute => {
                out.extend_from_slice(line.whole);
            }
            Name::Contact | Name::Other => {}
        }
    }
    if tagged {
        out.extend_from_slice(b"To: ");
        out.extend_from_slice(to);
        if !to.windows(5).any(|window| window == b";tag=") {
            out.extend_from_slice(b";tag=");
            push_number(out, tag);
        }
        out.extend_from_slice(b"\r\n");
    }
}
