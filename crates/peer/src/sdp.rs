//! The little of SDP that a caller and a callee need (RFC 8866, RFC 3264): one audio line with PCMA, PCMU and
//! telephone-event. Deliberately not the node's own crate, so that a second reader checks what the node wrote.

use std::net::{IpAddr, SocketAddr};

use crate::writer::push_number;

/// The direction of a media line (RFC 3264 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// The writer only sends: hold.
    SendOnly,
    /// The writer only receives.
    RecvOnly,
    /// Nobody sends.
    Inactive,
}

impl Direction {
    /// What an answer says to this offer (RFC 3264 §6.1).
    pub const fn answer(self) -> Direction {
        match self {
            Direction::SendRecv => Direction::SendRecv,
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            Direction::Inactive => Direction::Inactive,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

/// The audio line of a session description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Where the writer wants to hear.
    pub address: SocketAddr,
    /// Payload types in the writer's order.
    pub payloads: Vec<u8>,
    /// The payload type of telephone-event, if there is one.
    pub events: Option<u8>,
    /// Which way media goes, seen from the writer.
    pub direction: Direction,
}

impl Audio {
    /// What we offer: PCMA, PCMU and telephone-event.
    pub fn ours(address: SocketAddr) -> Audio {
        Audio { address, payloads: vec![PCMA, PCMU, 101], events: Some(101), direction: Direction::SendRecv }
    }

    /// Reads the audio line of a session description; `None` where there is none.
    pub fn read(body: &[u8]) -> Option<Audio> {
        let text = std::str::from_utf8(body).ok()?;
        let (mut session, mut media) = (None, None);
        let mut audio: Option<Audio> = None;
        let mut direction = Direction::SendRecv;
        let mut other = false;
        for line in text.split("\r\n") {
            let Some((kind, value)) = line.split_once('=') else { continue };
            match kind {
                "m" if audio.is_some() => other = true,
                "m" => match read_media(value, direction) {
                    Some(read) => (audio, other) = (Some(read), false),
                    None => other = true,
                },
                _ if other => {}
                "c" => {
                    let ip: IpAddr = value.rsplit(' ').next()?.split('/').next()?.parse().ok()?;
                    *(if audio.is_some() { &mut media } else { &mut session }) = Some(ip);
                }
                "a" => {
                    read_attribute(value, &mut direction, audio.as_mut());
                }
                _ => {}
            }
        }
        let mut audio = audio?;
        audio.address.set_ip(media.or(session)?);
        audio.direction = direction;
        Some(audio)
    }

    /// Our answer to this offer, heard at `address`: the first G.711 codec offered, and telephone-event if
    /// it was; `None` if neither codec was.
    pub fn answer(&self, address: SocketAddr) -> Option<Audio> {
        let codec = *self.payloads.iter().find(|payload| matches!(**payload, PCMA | PCMU))?;
        let payloads = std::iter::once(codec).chain(self.events).collect();
        Some(Audio { address, payloads, events: self.events, direction: self.direction.answer() })
    }

    /// Whether this answer picks at least one codec of what we offer.
    pub fn has_codec(&self) -> bool {
        self.payloads.iter().any(|payload| matches!(*payload, PCMA | PCMU))
    }

    /// Writes a session description; `version` rises with each change (RFC 3264 §8).
    pub fn write(&self, session: u64, version: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(320);
        let ip = self.address.ip().to_string();
        let family = if self.address.is_ipv4() { "IP4 " } else { "IP6 " };
        out.extend_from_slice(b"v=0\r\no=- ");
        push_number(&mut out, session);
        out.push(b' ');
        push_number(&mut out, u64::from(version));
        for part in [" IN ", family, &ip, "\r\ns=-\r\nc=IN ", family, &ip, "\r\nt=0 0\r\nm=audio "] {
            out.extend_from_slice(part.as_bytes());
        }
        push_number(&mut out, u64::from(self.address.port()));
        out.extend_from_slice(b" RTP/AVP");
        for payload in &self.payloads {
            out.push(b' ');
            push_number(&mut out, u64::from(*payload));
        }
        out.extend_from_slice(b"\r\n");
        for payload in &self.payloads {
            if Some(*payload) == self.events {
                out.extend_from_slice(b"a=rtpmap:");
                push_number(&mut out, u64::from(*payload));
                out.extend_from_slice(b" telephone-event/8000\r\na=fmtp:");
                push_number(&mut out, u64::from(*payload));
                out.extend_from_slice(b" 0-15\r\n");
            } else if *payload == PCMA {
                out.extend_from_slice(b"a=rtpmap:8 PCMA/8000\r\n");
            } else if *payload == PCMU {
                out.extend_from_slice(b"a=rtpmap:0 PCMU/8000\r\n");
            }
        }
        out.extend_from_slice(b"a=ptime:20\r\na=");
        out.extend_from_slice(self.direction.as_str().as_bytes());
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// `audio PORT RTP/AVP PAYLOAD…`; a refused line (port 0) is none.
fn read_media(value: &str, direction: Direction) -> Option<Audio> {
    let mut words = value.split(' ');
    if words.next() != Some("audio") {
        return None;
    }
    let port: u16 = words.next()?.split('/').next()?.parse().ok()?;
    if port == 0 || words.next() != Some("RTP/AVP") {
        return None;
    }
    let payloads: Vec<u8> = words.map_while(|word| word.parse().ok()).collect();
    let address = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port);
    (!payloads.is_empty()).then_some(Audio { address, payloads, events: None, direction })
}

fn read_attribute(value: &str, direction: &mut Direction, audio: Option<&mut Audio>) {
    match value {
        "sendrecv" => *direction = Direction::SendRecv,
        "sendonly" => *direction = Direction::SendOnly,
        "recvonly" => *direction = Direction::RecvOnly,
        "inactive" => *direction = Direction::Inactive,
        _ => {
            let map = value.strip_prefix("rtpmap:").and_then(|rest| rest.split_once(' '));
            if let (Some(audio), Some((payload, codec))) = (audio, map)
                && codec.as_bytes().get(..EVENTS.len()).is_some_and(|name| name.eq_ignore_ascii_case(EVENTS))
            {
                audio.events = payload.parse().ok();
            }
        }
    }
}

/// G.711 A-law (RFC 3551 §6).
pub const PCMA: u8 = 8;
/// G.711 µ-law (RFC 3551 §6).
pub const PCMU: u8 = 0;
const EVENTS: &[u8] = b"telephone-event/8000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let audio = Audio::ours("127.0.0.5:4000".parse().expect("literal"));
        assert_eq!(Audio::read(&audio.write(7, 1)), Some(audio.clone()));
        let held = Audio { direction: Direction::SendOnly, ..audio };
        assert_eq!(Audio::read(&held.write(7, 2)), Some(held));
    }

    #[test]
    fn an_answer_keeps_the_offerers_numbers_and_turns_the_direction() {
        // RFC 3264 §6.1: dynamic payload types keep the offer's number; sendonly is answered recvonly.
        let offer = Audio::read(
            b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 18 0 8 97\r\n\
              c=IN IP4 192.0.2.1\r\na=rtpmap:97 telephone-event/8000\r\na=sendonly\r\nm=video 9 RTP/AVP 99\r\na=inactive\r\n",
        )
        .expect("audio");
        assert_eq!(offer.address, "192.0.2.1:4000".parse().expect("literal"));
        let answer = offer.answer("127.0.0.1:6000".parse().expect("literal")).expect("a common codec");
        assert_eq!((answer.payloads, answer.events), (vec![0, 97], Some(97)));
        assert_eq!(answer.direction, Direction::RecvOnly);
    }

    #[test]
    fn refused_or_foreign_lines_are_no_audio() {
        let sdp = |m: &str| format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm={m}\r\n").into_bytes();
        assert!(Audio::read(&sdp("audio 4000 RTP/AVP 8")).is_some());
        assert_eq!(Audio::read(&sdp("audio 0 RTP/AVP 8")), None); // RFC 3264 §6: rejected
        assert_eq!(Audio::read(&sdp("video 4000 RTP/AVP 8")), None);
        let g729 = Audio::read(&sdp("audio 4000 RTP/AVP 18")).expect("audio");
        assert_eq!(g729.answer(g729.address), None);
    }
}
