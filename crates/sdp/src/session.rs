//! A whole session description (RFC 4566 §5), read within limits and checked against the grammar.

use smallvec::SmallVec;
use thiserror::Error;

use crate::direction::Direction;
use crate::line::{BODY_MAX, Line, Lines, number, words};
use crate::media::{Connection, FORMATS_MAX, Media, MediaKind, read_rtpmap};

/// How many `m=` lines a body may have.
pub const MEDIA_MAX: usize = 16;

/// Why a body is no session description (or one beyond our limits). Lines count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The body is longer than [`BODY_MAX`].
    #[error("SDP larger than {BODY_MAX} bytes")]
    TooLarge,
    /// There are more lines than [`crate::LINES_MAX`].
    #[error("SDP with too many lines")]
    TooManyLines,
    /// A line is longer than [`crate::LINE_MAX`].
    #[error("SDP line {line} too long")]
    LineTooLong {
        /// Which line.
        line: u16,
    },
    /// NUL or CR inside a line.
    #[error("SDP line {line} has a forbidden byte")]
    ForbiddenByte {
        /// Which line.
        line: u16,
    },
    /// Not `<letter>=<value>`.
    #[error("SDP line {line} is not <type>=<value>")]
    NotALine {
        /// Which line.
        line: u16,
    },
    /// A type letter that RFC 4566 does not know, or not at this place.
    #[error("SDP line {line} is out of order or of unknown type")]
    OutOfOrder {
        /// Which line.
        line: u16,
    },
    /// A mandatory line is missing.
    #[error("SDP without {kind}=")]
    Missing {
        /// Its type letter.
        kind: char,
    },
    /// The value of a line breaks the grammar.
    #[error("SDP line {line} is malformed")]
    Malformed {
        /// Which line.
        line: u16,
    },
    /// There are more `m=` lines than [`MEDIA_MAX`].
    #[error("SDP with too many m= lines")]
    TooManyMedia,
    /// An `m=` line lists more formats than [`FORMATS_MAX`].
    #[error("SDP line {line} lists too many formats")]
    TooManyFormats {
        /// Which line.
        line: u16,
    },
    /// An RTP format is not a number from 0 to 127.
    #[error("SDP line {line} has an invalid payload type")]
    PayloadType {
        /// Which line.
        line: u16,
    },
}

/// Why a relay cannot carry a stream that is described correctly: 488 (RFC 3261 §21.4.26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// The `c=` line gives a host name.
    #[error("media address is not an IP address")]
    NamedAddress,
    /// The `c=` line gives a multicast group.
    #[error("multicast media")]
    Multicast,
    /// The stream does not run over datagrams.
    #[error("media transport is not supported")]
    Transport,
}

/// A peer's `o=` line (RFC 4566 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerOrigin<'a> {
    /// What names the session: digits of any length.
    pub id: &'a [u8],
    /// Its version: digits of any length.
    pub version: &'a [u8],
}

/// A session description that was read from a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    body: &'a [u8],
    origin: PeerOrigin<'a>,
    media: SmallVec<[Media<'a>; 2]>,
}

impl<'a> Session<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// It breaks the grammar or our limits: answer 400.
    pub fn parse(body: &'a [u8]) -> Result<Session<'a>, ParseError> {
        if body.len() > BODY_MAX {
            return Err(ParseError::TooLarge);
        }
        let mut reader = Reader::default();
        for line in Lines::of(body) {
            reader.take(body, line?)?;
        }
        reader.finish(body)
    }

    /// The body as it was received.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The `o=` line.
    pub fn origin(&self) -> PeerOrigin<'a> {
        self.origin
    }

    /// The media descriptions in order.
    pub fn media(&self) -> &[Media<'a>] {
        &self.media
    }

    /// The first stream of speech that exists.
    pub fn audio(&self) -> Option<&Media<'a>> {
        self.media.iter().find(|media| media.kind == MediaKind::Audio && media.is_active())
    }

    /// Whether every stream that exists is on hold: the author wants nothing from the other side.
    pub fn holds(&self) -> bool {
        let mut active = self.media.iter().filter(|media| media.is_active()).peekable();
        active.peek().is_some() && active.all(|media| media.direction().holds())
    }

    /// Whether a relay can carry every stream.
    ///
    /// # Errors
    /// The first reason why it cannot: answer 488.
    pub fn check_relayable(&self) -> Result<(), Unsupported> {
        self.media.iter().try_for_each(Media::check_relayable)
    }

    /// Whether this is the same description as `earlier`, as RFC 3264 §8 tells: the same session and version
    /// mean that nothing changed. A body that differs in its `o=` line alone changes nothing either.
    pub fn repeats(&self, earlier: &Session<'_>) -> bool {
        self.origin == earlier.origin || {
            let ours = Lines::of(self.body).map_while(Result::ok).filter(|line| line.kind != b'o');
            let theirs = Lines::of(earlier.body).map_while(Result::ok).filter(|line| line.kind != b'o');
            ours.map(|line| (line.kind, line.value)).eq(theirs.map(|line| (line.kind, line.value)))
        }
    }
}

/// The codec that a description names first for its first stream: the one in use, if this is an answer. For
/// CDRs, so a body that cannot be read is no error.
pub fn first_codec(body: &[u8]) -> Option<String> {
    let session = Session::parse(body).ok()?;
    let media = session.media().iter().find(|media| media.is_active())?;
    match media.kind {
        MediaKind::Image => Some("T38".to_owned()),
        _ => media.codec().map(|codec| codec.name.to_owned()).filter(|name| !name.is_empty()),
    }
}

/// The place of a line at session level (RFC 4566 §5): each kind stands after those before it.
fn session_rank(kind: u8) -> Option<u8> {
    let rank = b"vosiuepcb".iter().position(|k| *k == kind);
    match (rank, kind) {
        (Some(rank), _) => u8::try_from(rank).ok(),
        (None, b't' | b'r') => Some(9),
        (None, b'z') => Some(10),
        (None, b'k') => Some(11),
        (None, b'a') => Some(12),
        (None, _) => None,
    }
}

/// The place of a line in a media description.
fn media_rank(kind: u8) -> Option<u8> {
    b"icbka".iter().position(|k| *k == kind).and_then(|rank| u8::try_from(rank).ok())
}

/// Whether a line of this kind may follow another of its kind.
fn may_repeat(kind: u8, in_media: bool) -> bool {
    match kind {
        b'e' | b'p' | b'b' | b't' | b'r' | b'a' => true,
        b'c' => in_media,
        _ => false,
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader<'a> {
    last: Option<u8>,
    in_media: bool,
    timed: bool,
    origin: Option<PeerOrigin<'a>>,
    named: bool,
    connection: Option<Connection>,
    direction: Direction,
    media: SmallVec<[Media<'a>; 2]>,
    /// Where in the body the section of the last media description begins.
    section: usize,
    /// Where the next line begins.
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, body: &'a [u8], line: Line<'a>) -> Result<(), ParseError> {
        let start = self.at;
        self.at += line.raw.len();
        if line.kind == b'm' {
            self.check_head()?;
            self.close_section(body, start);
            return self.open_media(line);
        }
        self.check_order(line)?;
        let malformed = ParseError::Malformed { line: line.number };
        match line.kind {
            b'v' if line.value != b"0" => return Err(malformed),
            b'o' => self.origin = Some(read_origin(line.value).ok_or(malformed)?),
            b's' => self.named = true,
            b'c' => {
                let connection = Connection::read(line.value).ok_or(malformed)?;
                match self.media.last_mut() {
                    Some(media) => media.connection = Some(connection),
                    None => self.connection = Some(connection),
                }
            }
            b't' => {
                let mut times = words(line.value);
                let good = |word: Option<&[u8]>| word.is_some_and(|w| w.iter().all(u8::is_ascii_digit));
                if !(good(times.next()) && good(times.next()) && times.next().is_none()) {
                    return Err(malformed);
                }
                self.timed = true;
            }
            b'a' => self.attribute(line).ok_or(malformed)?,
            b'b' => {
                // `<type>:<bandwidth>`
                let bandwidth = line.value.split(|b| *b == b':').nth(1).and_then(number::<u64>);
                bandwidth.filter(|_| !line.value.starts_with(b":")).ok_or(malformed)?;
            }
            // Repeat times take three words or more, time zones come in pairs.
            b'r' if words(line.value).nth(2).is_none() => return Err(malformed),
            b'z' if !words(line.value).count().is_multiple_of(2) => return Err(malformed),
            // u, i, e, p, k and v=0: nothing in them concerns a relay.
            _ => {}
        }
        Ok(())
    }

    /// Each line in its place, and no more often than it may be.
    fn check_order(&mut self, line: Line<'a>) -> Result<(), ParseError> {
        let out_of_order = ParseError::OutOfOrder { line: line.number };
        let rank = if self.in_media { media_rank(line.kind) } else { session_rank(line.kind) };
        let rank = rank.ok_or(out_of_order)?;
        // The first line, v=, has rank 0 and nothing before it.
        let fits = match self.last {
            None => self.in_media || rank == 0,
            Some(last) => rank > last || (rank == last && may_repeat(line.kind, self.in_media)),
        };
        if !fits {
            return Err(out_of_order);
        }
        self.last = Some(rank);
        Ok(())
    }

    /// Whether everything that must stand before the first `m=` is there.
    fn check_head(&self) -> Result<(), ParseError> {
        match (self.last, self.origin, self.named, self.timed) {
            (None, ..) if !self.in_media => Err(ParseError::Missing { kind: 'v' }),
            (_, None, ..) => Err(ParseError::Missing { kind: 'o' }),
            (_, _, false, _) => Err(ParseError::Missing { kind: 's' }),
            (_, _, _, false) => Err(ParseError::Missing { kind: 't' }),
            _ => Ok(()),
        }
    }

    fn open_media(&mut self, line: Line<'a>) -> Result<(), ParseError> {
        if self.media.len() == MEDIA_MAX {
            return Err(ParseError::TooManyMedia);
        }
        let mut media = Media::read(line.value).ok_or(ParseError::Malformed { line: line.number })?;
        if words(media.formats).nth(FORMATS_MAX).is_some() {
            return Err(ParseError::TooManyFormats { line: line.number });
        }
        let valid = |word: &[u8]| number::<u8>(word).is_some_and(|payload| payload <= 127);
        if media.transport.is_rtp() && !words(media.formats).all(valid) {
            return Err(ParseError::PayloadType { line: line.number });
        }
        media.connection = self.connection;
        media.direction = self.direction;
        self.media.push(media);
        self.in_media = true;
        self.last = None;
        self.section = self.at;
        Ok(())
    }

    fn close_section(&mut self, body: &'a [u8], end: usize) {
        if let Some(media) = self.media.last_mut() {
            media.section = body.get(self.section..end).unwrap_or_default();
        }
    }

    /// Keeps what an attribute says; `None` if one that we rely on is malformed.
    fn attribute(&mut self, line: Line<'a>) -> Option<()> {
        let (name, value) = line.attribute()?;
        let media = self.media.last_mut();
        match (name, value, media) {
            (b"rtpmap", value, Some(media)) if media.transport.is_rtp() => {
                read_rtpmap(value?)?;
            }
            (b"rtcp", value, Some(media)) => media.rtcp = Some(read_rtcp(value?)?),
            // A strange ptime is advice that we do without.
            (b"ptime", Some(value), Some(media)) => media.ptime_ms = number::<u16>(value),
            (name, None, media) => {
                if let Some(direction) = Direction::from_attribute(name) {
                    match media {
                        Some(media) => media.direction = direction,
                        None => self.direction = direction,
                    }
                }
            }
            // Unknown attributes are ignored and passed on (RFC 4566 §5.13).
            _ => {}
        }
        Some(())
    }

    fn finish(mut self, body: &'a [u8]) -> Result<Session<'a>, ParseError> {
        self.check_head()?;
        self.close_section(body, body.len());
        // Every stream that exists has an address, its own or the session's (RFC 4566 §5.7).
        if self.media.iter().any(|media| media.is_active() && media.connection.is_none()) {
            return Err(ParseError::Missing { kind: 'c' });
        }
        let origin = self.origin.ok_or(ParseError::Missing { kind: 'o' })?;
        Ok(Session { body, origin, media: self.media })
    }
}

/// Reads the value of `o=`: `<user> <id> <version> <nettype> <addrtype> <address>`.
fn read_origin(value: &[u8]) -> Option<PeerOrigin<'_>> {
    let mut words = words(value);
    let digits = |word: &&[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let _user = words.next()?;
    let id = words.next().filter(digits)?;
    let version = words.next().filter(digits)?;
    Connection::address(words.next()?, words.next()?, words.next()?)?;
    if words.next().is_some() { None } else { Some(PeerOrigin { id, version }) }
}

/// Reads the value of `a=rtcp` (RFC 3605 §2.1): `<port> [<nettype> <addrtype> <address>]`.
fn read_rtcp(value: &[u8]) -> Option<(u16, Option<std::net::IpAddr>)> {
    let mut words = words(value);
    let port = number::<u16>(words.next()?)?;
    let Some(network) = words.next() else { return Some((port, None)) };
    match Connection::address(network, words.next()?, words.next()?)? {
        Connection::Ip(ip) => Some((port, Some(ip))),
        Connection::Name => Some((port, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Endpoint, Transport};
    use proptest::prelude::*;

    /// The caller of RFC 4317 §2.1, F1 (two streams).
    const OFFER: &[u8] = b"v=0\r\no=alice 2890844526 2890844526 IN IP4 host.atlanta.example.com\r\ns=\r\n\
        c=IN IP4 192.0.2.3\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0 8 97\r\na=rtpmap:0 PCMU/8000\r\n\
        a=rtpmap:8 PCMA/8000\r\na=rtpmap:97 iLBC/8000\r\nm=video 51372 RTP/AVP 31 32\r\n\
        a=rtpmap:31 H261/90000\r\na=rtpmap:32 MPV/90000\r\n";

    /// A body with one stream, whose lines after `t=` are given.
    fn with(session: &str, media: &str) -> Vec<u8> {
        format!("v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\n{session}t=0 0\r\n{media}").into_bytes()
    }

    fn audio(session: &str, media: &str) -> Vec<u8> {
        with(session, &format!("m=audio 4000 RTP/AVP 0\r\n{media}"))
    }

    #[test]
    fn a_real_offer_is_read_stream_by_stream() {
        let offer = Session::parse(OFFER).expect("RFC 4317");
        assert_eq!(offer.origin(), PeerOrigin { id: b"2890844526", version: b"2890844526" });
        let [audio, video] = offer.media() else { panic!("two streams") };
        assert_eq!(
            (audio.kind(), audio.transport(), audio.port()),
            (MediaKind::Audio, Transport::Rtp, 49170)
        );
        let names: Vec<_> = audio.codecs().map(|codec| (codec.payload, codec.name)).collect();
        assert_eq!(names, [(0, "PCMU"), (8, "PCMA"), (97, "iLBC")]);
        assert_eq!(video.kind(), MediaKind::Video);
        let at = |text: &str| text.parse().expect("address");
        let expected = Endpoint { rtp: at("192.0.2.3:51372"), rtcp: at("192.0.2.3:51373") };
        assert_eq!(video.endpoint(), Some(expected));
    }

    #[test]
    fn a_streams_own_address_and_rtcp_port_win() {
        let body = audio("c=IN IP4 192.0.2.1\r\n", "c=IN IP4 192.0.2.9\r\na=rtcp:53020 IN IP4 192.0.2.8\r\n");
        let session = Session::parse(&body).expect("valid");
        let endpoint = session.media()[0].endpoint().expect("address");
        assert_eq!(endpoint.rtp.to_string(), "192.0.2.9:4000");
        assert_eq!(endpoint.rtcp.to_string(), "192.0.2.8:53020");
        let body = audio("", "c=IN IP6 2001:db8::1\r\na=rtcp:53020\r\n");
        let session = Session::parse(&body).expect("valid");
        let endpoint = session.media()[0].endpoint().expect("address");
        assert_eq!(endpoint.rtp.to_string(), "[2001:db8::1]:4000");
        assert_eq!(endpoint.rtcp.to_string(), "[2001:db8::1]:53020");
    }

    #[test]
    fn directions_come_from_the_stream_else_the_session_else_both_ways() {
        let c = "c=IN IP4 192.0.2.1\r\n";
        for (session, media, expected) in [
            ("", "", Direction::SendRecv),
            ("", "a=sendonly\r\n", Direction::SendOnly),
            ("a=inactive\r\n", "", Direction::Inactive),
            ("a=inactive\r\n", "a=recvonly\r\n", Direction::RecvOnly),
        ] {
            let body =
                format!("v=0\no=- 1 2 IN IP4 h\ns=-\n{c}t=0 0\n{session}m=audio 4000 RTP/AVP 0\n{media}");
            let read = Session::parse(body.as_bytes()).expect("valid");
            assert_eq!(read.media()[0].direction(), expected);
            assert_eq!(read.holds(), !expected.receives());
        }
    }

    #[test]
    fn an_unspecified_address_is_the_old_hold() {
        // RFC 3264 §8.4: c=0.0.0.0 means that neither RTP nor RTCP should be sent to the peer.
        let body = audio("c=IN IP4 0.0.0.0\r\n", "");
        let session = Session::parse(&body).expect("valid");
        assert_eq!(session.media()[0].endpoint(), None);
        assert_eq!(session.media()[0].direction(), Direction::SendOnly);
        assert!(session.holds());
        assert_eq!(session.check_relayable(), Ok(()));
    }

    #[test]
    fn what_a_relay_cannot_carry_is_said() {
        for (session, media, expected) in [
            ("c=IN IP4 media.example.com\r\n", "m=audio 4000 RTP/AVP 0\r\n", Unsupported::NamedAddress),
            ("c=IN IP4 224.2.1.1/127\r\n", "m=audio 4000 RTP/AVP 0\r\n", Unsupported::Multicast),
            ("c=IN IP4 192.0.2.1\r\n", "m=message 4000 TCP/MSRP *\r\n", Unsupported::Transport),
        ] {
            let body = with(session, media);
            assert_eq!(Session::parse(&body).expect("valid").check_relayable(), Err(expected));
            // A refused stream needs no path.
            let body = with(session, &media.replace("4000", "0"));
            assert_eq!(Session::parse(&body).expect("valid").check_relayable(), Ok(()));
        }
    }

    #[test]
    fn fr37_the_grammar_of_rfc_4566_is_enforced() {
        use ParseError::{ForbiddenByte, Malformed, Missing, NotALine, OutOfOrder, PayloadType};
        let c = "c=IN IP4 192.0.2.1\r\n";
        let m = "m=audio 4000 RTP/AVP 0\r\n";
        for (body, expected) in [
            (String::new(), Missing { kind: 'v' }),
            (format!("v=1\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\n{m}"), Malformed { line: 1 }),
            (format!("o=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\n{m}"), OutOfOrder { line: 1 }),
            (format!("v=0\r\ns=-\r\n{c}t=0 0\r\n{m}"), Missing { kind: 'o' }),
            (format!("v=0\r\no=- 1 2 IN IP4 h\r\n{c}t=0 0\r\n{m}"), Missing { kind: 's' }),
            (format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}{m}"), Missing { kind: 't' }),
            (format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\nt=0 0\r\n{m}"), Missing { kind: 'c' }),
            (format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\nt=0 0\r\n{c}{m}"), OutOfOrder { line: 5 }),
            (format!("v=0\r\nv=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\n{m}"), OutOfOrder { line: 2 }),
            (format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\ng=x\r\n{c}t=0 0\r\n{m}"), OutOfOrder { line: 4 }),
            (format!("v=0\r\no=- x 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\n{m}"), Malformed { line: 2 }),
            (format!("v=0\r\no=- 1 2 IN IP4\r\ns=-\r\n{c}t=0 0\r\n{m}"), Malformed { line: 2 }),
            (format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0\r\n{m}"), Malformed { line: 5 }),
            (format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\nm=audio\r\n"), Malformed { line: 6 }),
            (format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\nsilly\r\n"), NotALine { line: 6 }),
            (format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=a\0b\r\n{c}t=0 0\r\n{m}"), ForbiddenByte { line: 3 }),
            (
                format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\nm=audio 65536 RTP/AVP 0\r\n"),
                Malformed { line: 6 },
            ),
            (
                format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\nm=audio 4000 RTP/AVP\r\n"),
                Malformed { line: 6 },
            ),
            (
                format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\nm=audio 4000 RTP/AVP 128\r\n"),
                PayloadType { line: 6 },
            ),
            (
                format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\nm=audio 4000 RTP/AVP 4294967296\r\n"),
                PayloadType { line: 6 },
            ),
            (
                format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\n{m}a=rtpmap:0\r\n"),
                Malformed { line: 7 },
            ),
            (
                format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\n{m}a=rtcp:nine\r\n"),
                Malformed { line: 7 },
            ),
            (format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\nc=IN IP4\r\nt=0 0\r\n{m}"), Malformed { line: 4 }),
            (
                format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\nc=IN IP4 2001:db8::1\r\nt=0 0\r\n{m}"),
                Malformed { line: 4 },
            ),
            (
                format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\nc=IN IP6 192.0.2.1\r\nt=0 0\r\n{m}"),
                Malformed { line: 4 },
            ),
        ] {
            assert_eq!(Session::parse(body.as_bytes()).map(drop), Err(expected), "{body}");
        }
        // The same with its mistake undone is read.
        let good = format!("v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\n{c}t=0 0\r\n{m}");
        assert!(Session::parse(good.as_bytes()).is_ok());
    }

    #[test]
    fn sizes_are_bounded() {
        let streams = |n: usize| with("c=IN IP4 192.0.2.1\r\n", &"m=audio 4000 RTP/AVP 0\r\n".repeat(n));
        assert!(Session::parse(&streams(MEDIA_MAX)).is_ok());
        assert_eq!(Session::parse(&streams(MEDIA_MAX + 1)), Err(ParseError::TooManyMedia));
        let formats =
            |n: usize| with("c=IN IP4 192.0.2.1\r\n", &format!("m=audio 4000 RTP/AVP{}\r\n", " 0".repeat(n)));
        assert!(Session::parse(&formats(FORMATS_MAX)).is_ok());
        assert_eq!(Session::parse(&formats(FORMATS_MAX + 1)), Err(ParseError::TooManyFormats { line: 6 }));
        let mut large = audio("c=IN IP4 192.0.2.1\r\n", "");
        large.resize(BODY_MAX + 1, b'\n');
        assert_eq!(Session::parse(&large), Err(ParseError::TooLarge));
    }

    #[test]
    fn a_repeated_description_is_known_again() {
        let one = audio("c=IN IP4 192.0.2.1\r\n", "a=sendrecv\r\n");
        let renumbered = String::from_utf8(one.clone()).expect("text").replace("- 1 2 IN", "- 1 3 IN");
        let held = String::from_utf8(one.clone())
            .expect("text")
            .replace("- 1 2 IN", "- 1 3 IN")
            .replace("sendrecv", "sendonly");
        let read = |body| Session::parse(body).expect("valid");
        assert!(read(&one).repeats(&read(&one)));
        assert!(read(renumbered.as_bytes()).repeats(&read(&one)));
        assert!(!read(held.as_bytes()).repeats(&read(&one)));
    }

    #[test]
    fn the_codec_of_an_answer_is_the_first_that_is_speech() {
        let body = with(
            "c=IN IP4 192.0.2.1\r\n",
            "m=audio 4000 RTP/AVP 101 8\r\na=rtpmap:101 telephone-event/8000\r\n",
        );
        assert_eq!(first_codec(&body), Some("PCMA".to_owned()));
        let body = with("c=IN IP4 192.0.2.1\r\n", "m=audio 0 RTP/AVP 8\r\nm=image 4000 udptl t38\r\n");
        assert_eq!(first_codec(&body), Some("T38".to_owned()));
        assert_eq!(first_codec(b"rubbish"), None);
    }

    proptest! {
        /// Nothing that arrives can make us panic; what we read, sdp-types reads too, and alike.
        #[test]
        fn fr37_agrees_with_sdp_types(lines in prop::collection::vec(any_line(), 0..20)) {
            let mut body = b"v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n".to_vec();
            for line in lines {
                body.extend_from_slice(line.as_bytes());
                body.extend_from_slice(b"\r\n");
            }
            if let Ok(ours) = Session::parse(&body) {
                let theirs = sdp_types::Session::parse(&body).expect("sdp-types reads what we read");
                prop_assert_eq!(ours.media().len(), theirs.medias.len());
                for (our, their) in ours.media().iter().zip(&theirs.medias) {
                    prop_assert_eq!(our.port(), their.port);
                    prop_assert_eq!(std::str::from_utf8(our.protocol).ok(), Some(their.proto.as_str()));
                }
            }
        }

        #[test]
        fn fr37_no_bytes_make_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Session::parse(&body);
        }
    }

    fn any_line() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("m=audio 4000 RTP/AVP 0 8 101".to_owned()),
            Just("m=image 5000 udptl t38".to_owned()),
            Just("c=IN IP6 2001:db8::1".to_owned()),
            Just("a=rtpmap:101 telephone-event/8000".to_owned()),
            Just("a=sendonly".to_owned()),
            Just("a=rtcp:4001".to_owned()),
            // Repeat times and time zones mean nothing to us, and only sdp-types reads them.
            "[a-qs-y]=[ -~]{0,20}",
            "m=(audio|video) [0-9]{1,6}(/[0-9])? [A-Z/]{3,8}( [0-9]{1,3}){0,3}",
            "a=(rtpmap|fmtp|ptime|rtcp):[0-9a-z /]{0,12}",
        ]
    }
}
