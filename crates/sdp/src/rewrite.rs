//! Writing a description anew: our own `o=` line, our own addresses and ports, our choice of codecs. One
//! pass over the lines; whatever has no reason to change is copied byte by byte.

use std::io::Write as _;
use std::net::IpAddr;

use smallvec::SmallVec;
use thiserror::Error;

use crate::codec::CodecList;
use crate::line::{Line, Lines, number, words};
use crate::media::{Media, MediaKind};
use crate::session::Session;

/// The `o=` line that we write. Its version rises by one with each changed description that we send in the
/// same dialog, and never skips (RFC 3264 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// What names the session.
    pub id: u64,
    /// Its version.
    pub version: u64,
    /// Our address.
    pub address: IpAddr,
}

/// Where our relay takes the media of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor<'a> {
    /// Our media address.
    pub address: IpAddr,
    /// Our RTP port for each `m=` line, by its index; RTCP takes the next port. What stands at the index of
    /// a refused stream is not used.
    pub ports: &'a [u16],
}

/// Which codecs stay in the streams of speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codecs<'a> {
    /// All, in their order.
    #[default]
    Keep,
    /// Those on the list, in its order; then telephone-event, comfort noise if listed.
    Prefer(&'a CodecList),
    /// Exactly these payload types, in the description's order.
    Only(&'a [u8]),
}

/// What to change in a description; the default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite<'a> {
    /// Our own `o=` line; `None` leaves the peer's.
    pub origin: Option<Origin>,
    /// Our own addresses; `None` leaves the peer's (direct media).
    pub anchor: Option<Anchor<'a>>,
    /// Which codecs stay.
    pub codecs: Codecs<'a>,
}

/// Why a description cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// No codec of a stream of speech is allowed: 488 (RFC 3264 §6).
    #[error("no common codec")]
    NoCommonCodec,
    /// No port was given for an active stream.
    #[error("no port for m= line {index}")]
    NoPort {
        /// Its index, from 0.
        index: usize,
    },
}

impl Session<'_> {
    /// The description with our `o=` line and our addresses.
    ///
    /// # Errors
    /// A stream has no port in `anchor`.
    pub fn anchored(&self, anchor: &Anchor<'_>, origin: Origin) -> Result<Vec<u8>, RewriteError> {
        self.rewritten(&Rewrite { origin: Some(origin), anchor: Some(*anchor), codecs: Codecs::Keep })
    }

    /// The description, changed as asked.
    ///
    /// # Errors
    /// A stream has no port, or none of its codecs may stay.
    pub fn rewritten(&self, rewrite: &Rewrite<'_>) -> Result<Vec<u8>, RewriteError> {
        let mut writer = Writer { rewrite, out: Vec::with_capacity(self.body().len() + 64), media: None };
        let mut streams = self.media().iter().enumerate();
        // The lines were checked when the session was read.
        for line in Lines::of(self.body()).map_while(Result::ok) {
            if line.kind == b'm' {
                writer.media = streams.next().map(|(index, media)| Stream { index, media, kept: None });
            }
            writer.line(line)?;
        }
        Ok(writer.out)
    }

    /// Whether a stream of speech that exists has a codec on the list; true if there is no such stream.
    pub fn shares_codec(&self, list: &CodecList) -> bool {
        let mut audio = self
            .media()
            .iter()
            .filter(|media| media.kind == MediaKind::Audio && media.is_active())
            .peekable();
        audio.peek().is_none()
            || audio.any(|media| !media.transport.is_rtp() || !choose(media, Codecs::Prefer(list)).is_empty())
    }
}

/// Payload types.
type Payloads = SmallVec<[u8; 16]>;

/// The stream whose lines are being written.
struct Stream<'s, 'a> {
    index: usize,
    media: &'s Media<'a>,
    /// The payload types that stay; `None`: all.
    kept: Option<Payloads>,
}

struct Writer<'r, 's, 'a> {
    rewrite: &'r Rewrite<'r>,
    out: Vec<u8>,
    media: Option<Stream<'s, 'a>>,
}

impl Writer<'_, '_, '_> {
    fn line(&mut self, line: Line<'_>) -> Result<(), RewriteError> {
        let rewrite = self.rewrite;
        match (line.kind, rewrite.origin, rewrite.anchor) {
            (b'o', Some(origin), _) => self.origin(line, origin),
            (b'c', _, Some(anchor)) => {
                self.out.extend_from_slice(b"c=");
                self.address(anchor.address);
                self.out.extend_from_slice(line.end());
            }
            (b'm', ..) => self.media(line)?,
            (b'a', ..) => self.attribute(line),
            _ => self.out.extend_from_slice(line.raw),
        }
        Ok(())
    }

    fn origin(&mut self, line: Line<'_>, origin: Origin) {
        self.out.extend_from_slice(b"o=- ");
        self.number(origin.id);
        self.out.push(b' ');
        self.number(origin.version);
        self.out.push(b' ');
        self.address(origin.address);
        self.out.extend_from_slice(line.end());
    }

    fn media(&mut self, line: Line<'_>) -> Result<(), RewriteError> {
        let Some(Stream { index, media, .. }) = self.media else { return Ok(()) };
        let kept = match (self.rewrite.codecs, media.kind, media.transport.is_rtp(), media.is_active()) {
            (Codecs::Keep, ..) => None,
            (codecs, MediaKind::Audio, true, true) => Some(choose(media, codecs)),
            _ => None,
        };
        if kept.as_ref().is_some_and(|kept| kept.is_empty()) {
            return Err(RewriteError::NoCommonCodec);
        }
        let port = match self.rewrite.anchor {
            Some(anchor) if media.is_active() => {
                Some(*anchor.ports.get(index).ok_or(RewriteError::NoPort { index })?)
            }
            _ => None,
        };
        if port.is_none() && kept.is_none() {
            self.out.extend_from_slice(line.raw);
            return Ok(());
        }
        let mut words = words(line.value);
        self.out.extend_from_slice(b"m=");
        self.out.extend_from_slice(words.next().unwrap_or_default());
        self.out.push(b' ');
        let old_port = words.next().unwrap_or_default();
        match port {
            Some(port) => self.number(u64::from(port)),
            None => self.out.extend_from_slice(old_port),
        }
        self.out.push(b' ');
        self.out.extend_from_slice(media.protocol);
        match &kept {
            Some(kept) => {
                for payload in kept {
                    self.out.push(b' ');
                    self.number(u64::from(*payload));
                }
            }
            None => {
                self.out.push(b' ');
                self.out.extend_from_slice(media.formats);
            }
        }
        self.out.extend_from_slice(line.end());
        if let Some(stream) = &mut self.media {
            stream.kept = kept;
        }
        Ok(())
    }

    fn attribute(&mut self, line: Line<'_>) {
        let Some((name, value)) = line.attribute() else { return };
        if let (Some(kept), b"rtpmap" | b"fmtp" | b"rtcp-fb", Some(value)) =
            (self.media.as_ref().and_then(|stream| stream.kept.as_ref()), name, value)
        {
            // A line about a payload type that goes, goes too. `*` in rtcp-fb means all of them.
            let payload = words(value).next().unwrap_or_default();
            if payload != b"*" && number::<u8>(payload).is_none_or(|payload| !kept.contains(&payload)) {
                return;
            }
        }
        match (self.rewrite.anchor, name) {
            (Some(_), name) if ends_at_the_relay(name, value) => {}
            (Some(anchor), b"rtcp") => self.rtcp(line, anchor),
            _ => self.out.extend_from_slice(line.raw),
        }
    }

    /// `a=rtcp` (RFC 3605) with our port, and our address where the peer gave one.
    fn rtcp(&mut self, line: Line<'_>, anchor: Anchor<'_>) {
        let port = self.media.as_ref().and_then(|stream| anchor.ports.get(stream.index));
        let Some(port) = port else { return };
        self.out.extend_from_slice(b"a=rtcp:");
        self.number(u64::from(port.wrapping_add(1)));
        if words(line.value).nth(1).is_some() {
            self.out.push(b' ');
            self.address(anchor.address);
        }
        self.out.extend_from_slice(line.end());
    }

    fn address(&mut self, address: IpAddr) {
        self.out.extend_from_slice(if address.is_ipv4() { b"IN IP4 " } else { b"IN IP6 " });
        match address {
            IpAddr::V4(v4) => {
                for (i, octet) in v4.octets().into_iter().enumerate() {
                    if i > 0 {
                        self.out.push(b'.');
                    }
                    self.number(u64::from(octet));
                }
            }
            // Writing into a vector does not fail.
            IpAddr::V6(v6) => drop(write!(self.out, "{v6}")),
        }
    }

    fn number(&mut self, mut number: u64) {
        let mut digits: SmallVec<[u8; 20]> = SmallVec::new();
        loop {
            digits.push(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.out.extend(digits.into_iter().rev());
    }
}

/// Whether an attribute speaks of a transport that ends at our relay: ICE (RFC 8839), one port for RTP and
/// RTCP (RFC 5761), one port for all streams (RFC 9143), filters by source address (RFC 4570). A peer that
/// does not see them falls back to what we do: plain ports, RTCP on the next one.
fn ends_at_the_relay(name: &[u8], value: Option<&[u8]>) -> bool {
    match name {
        b"candidate" | b"remote-candidates" | b"end-of-candidates" => true,
        b"rtcp-mux" | b"rtcp-mux-only" | b"source-filter" | b"bundle-only" => true,
        b"group" => value.is_some_and(|value| value.starts_with(b"BUNDLE")),
        _ => name.starts_with(b"ice-"),
    }
}

/// The payload types of a stream that stay, in the order in which they are to be written; empty if no codec
/// for speech is left.
fn choose(media: &Media<'_>, codecs: Codecs<'_>) -> Payloads {
    let mut chosen: SmallVec<[(usize, u8); 16]> = SmallVec::new();
    let mut speech = false;
    for codec in media.codecs() {
        let rank = match codecs {
            Codecs::Keep => Some(0),
            Codecs::Only(payloads) => payloads.contains(&codec.payload).then_some(0),
            // DTMF follows the codecs; it is a trunk's `dtmf` setting that would take it away.
            Codecs::Prefer(_) if codec.is_telephone_event() => Some(usize::MAX),
            Codecs::Prefer(list) => list.rank(&codec),
        };
        if let Some(rank) = rank {
            speech |= !codec.is_telephone_event() && !codec.is("CN");
            chosen.push((rank, codec.payload));
        }
    }
    if !speech {
        return Payloads::new();
    }
    // Stable: equals keep the author's order.
    chosen.sort_by_key(|(rank, _)| *rank);
    chosen.into_iter().map(|(_, payload)| payload).collect()
}
