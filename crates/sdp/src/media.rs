//! A media description (RFC 4566 §5.14): one `m=` line and what follows it.

use std::net::{IpAddr, SocketAddr};

use crate::codec::Codec;
use crate::crypto::Crypto;
use crate::direction::Direction;
use crate::line::{Lines, number, words};
use crate::session::Unsupported;

/// How many formats an `m=` line may list.
pub const FORMATS_MAX: usize = 64;

/// What kind of media a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum MediaKind {
    /// Speech.
    Audio,
    /// Pictures that move.
    Video,
    /// Fax (T.38).
    Image,
    /// Anything else.
    Other,
}

/// What carries a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// RTP in clear (RTP/AVP, RTP/AVPF).
    Rtp,
    /// Secured RTP (RTP/SAVP, RTP/SAVPF), with whatever key exchange.
    Srtp,
    /// T.38 over UDP (udptl).
    Udptl,
    /// Other datagrams (udp).
    Udp,
    /// Something that is no bare datagram, or is unknown.
    Other,
}

impl Transport {
    /// Whether the formats are RTP payload types.
    pub const fn is_rtp(self) -> bool {
        matches!(self, Transport::Rtp | Transport::Srtp)
    }
}

/// Where a peer wants its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Endpoint {
    /// Where it wants RTP, or plain datagrams.
    pub rtp: SocketAddr,
    /// Where it wants RTCP: `a=rtcp` (RFC 3605), else the next port.
    pub rtcp: SocketAddr,
}

/// What a `c=` line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// An address.
    Ip(IpAddr),
    /// A host name, or a network that is not the Internet.
    Name,
}

impl Connection {
    /// Reads the value of a `c=` line (RFC 4566 §5.7).
    pub(crate) fn read(value: &[u8]) -> Option<Connection> {
        let mut words = words(value);
        let (network, family, address) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        Connection::address(network, family, address)
    }

    /// The address that network type, address type and address name.
    pub(crate) fn address(network: &[u8], family: &[u8], address: &[u8]) -> Option<Connection> {
        let host = address.split(|b| *b == b'/').next()?;
        let text = std::str::from_utf8(host).ok()?;
        match (network, family, text.parse::<IpAddr>()) {
            (b"IN", b"IP4", Ok(ip)) if ip.is_ipv4() => Some(Connection::Ip(ip)),
            (b"IN", b"IP6", Ok(ip)) if ip.is_ipv6() => Some(Connection::Ip(ip)),
            (b"IN", _, Ok(_)) => None,
            (b"IN", b"IP4" | b"IP6", Err(_)) if is_name(host) => Some(Connection::Name),
            (b"IN", ..) => None,
            _ => Some(Connection::Name),
        }
    }
}

/// Whether these bytes can be a host name.
fn is_name(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

/// One `m=` line with what its section says about it; session-level values filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media<'a> {
    pub(crate) kind: MediaKind,
    pub(crate) port: u16,
    pub(crate) transport: Transport,
    pub(crate) protocol: &'a [u8],
    pub(crate) formats: &'a [u8],
    pub(crate) section: &'a [u8],
    pub(crate) connection: Option<Connection>,
    pub(crate) direction: Direction,
    pub(crate) rtcp: Option<(u16, Option<IpAddr>)>,
    pub(crate) ptime_ms: Option<u16>,
}

impl<'a> Media<'a> {
    /// Reads the value of an `m=` line.
    pub(crate) fn read(value: &'a [u8]) -> Option<Media<'a>> {
        let mut words = words(value);
        let (kind, port, protocol) = (words.next()?, words.next()?, words.next()?);
        let mut ports = port.splitn(2, |b| *b == b'/');
        let port = number::<u16>(ports.next()?)?;
        if let Some(count) = ports.next() {
            number::<u16>(count)?;
        }
        let formats = value.get(offset(value, words.next()?)?..)?;
        Some(Media {
            kind: match kind {
                b"audio" => MediaKind::Audio,
                b"video" => MediaKind::Video,
                b"image" => MediaKind::Image,
                _ => MediaKind::Other,
            },
            port,
            transport: match protocol {
                b"RTP/AVP" | b"RTP/AVPF" => Transport::Rtp,
                b"RTP/SAVP" | b"RTP/SAVPF" | b"UDP/TLS/RTP/SAVP" | b"UDP/TLS/RTP/SAVPF" => Transport::Srtp,
                _ if protocol.eq_ignore_ascii_case(b"udptl") => Transport::Udptl,
                b"udp" | b"UDP" => Transport::Udp,
                _ => Transport::Other,
            },
            protocol,
            formats,
            section: &[],
            connection: None,
            direction: Direction::SendRecv,
            rtcp: None,
            ptime_ms: None,
        })
    }

    /// What kind of media it is.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// What carries it.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether it is secured under keys in the description (RFC 4568): RTP/SAVP, and not DTLS.
    pub fn is_sdes(&self) -> bool {
        matches!(self.protocol, b"RTP/SAVP" | b"RTP/SAVPF")
    }

    /// The author's keys that we can use, in the author's order of preference.
    pub fn cryptos(&self) -> impl Iterator<Item = Crypto> + use<'a> {
        let section = if self.is_sdes() { self.section } else { &[] };
        Lines::of(section).map_while(Result::ok).filter_map(|line| match line.attribute()? {
            (b"crypto", Some(value)) => Crypto::read(value),
            _ => None,
        })
    }

    /// The port as written; 0 means that the stream is refused or over (RFC 3264 §5.1, §6).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the stream exists: its port is not 0.
    pub fn is_active(&self) -> bool {
        self.port != 0
    }

    /// Milliseconds of media per packet, if the author says so.
    pub fn ptime_ms(&self) -> Option<u16> {
        self.ptime_ms
    }

    /// Which way media flows. An unspecified address (`0.0.0.0`) takes the author's wish to receive away:
    /// the hold of RFC 2543, which RFC 3264 §8.4 still asks us to understand.
    pub fn direction(&self) -> Direction {
        match self.connection {
            Some(Connection::Ip(ip)) if ip.is_unspecified() => Direction::new(self.direction.sends(), false),
            _ => self.direction,
        }
    }

    /// Where the author wants the media; `None` if it is refused, held by an unspecified address, or not
    /// given as an address.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let Some(Connection::Ip(ip)) = self.connection else { return None };
        if !self.is_active() || ip.is_unspecified() {
            return None;
        }
        let (port, address) = self.rtcp.unwrap_or((self.port.wrapping_add(1), None));
        Some(Endpoint {
            rtp: SocketAddr::new(ip, self.port),
            rtcp: SocketAddr::new(address.unwrap_or(ip), port),
        })
    }

    /// Whether a relay can carry it.
    ///
    /// # Errors
    /// Its address is a name or a group, or it does not run over datagrams.
    pub fn check_relayable(&self) -> Result<(), Unsupported> {
        match (self.is_active(), self.connection, self.transport) {
            (false, ..) => Ok(()),
            (_, _, Transport::Other) => Err(Unsupported::Transport),
            (_, Some(Connection::Ip(ip)), _) if ip.is_multicast() => Err(Unsupported::Multicast),
            (_, Some(Connection::Ip(_)), _) => Ok(()),
            (_, Some(Connection::Name) | None, _) => Err(Unsupported::NamedAddress),
        }
    }

    /// The RTP payload types in the author's order of preference; none for other transports.
    pub fn payloads(&self) -> impl Iterator<Item = u8> + use<'a> {
        let formats = if self.transport.is_rtp() { self.formats } else { &[] };
        words(formats).filter_map(number::<u8>)
    }

    /// The codecs in the author's order of preference. A dynamic payload type without `a=rtpmap` has the
    /// empty name.
    pub fn codecs(&self) -> impl Iterator<Item = Codec<'a>> + use<'a> {
        let section = self.section;
        self.payloads().map(move |payload| {
            rtpmap(section, payload).or_else(|| Codec::fixed(payload)).unwrap_or(Codec {
                payload,
                name: "",
                clock_rate: 8000,
            })
        })
    }

    /// The first codec that carries speech or pictures: the one in use, if this is an answer.
    pub fn codec(&self) -> Option<Codec<'a>> {
        self.codecs().find(|codec| !codec.is_telephone_event() && !codec.is("CN"))
    }
}

/// Where `part`, a slice of `whole`, begins.
fn offset(whole: &[u8], part: &[u8]) -> Option<usize> {
    (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)
}

/// What `a=rtpmap` in this section says about a payload type.
fn rtpmap(section: &[u8], payload: u8) -> Option<Codec<'_>> {
    Lines::of(section).map_while(Result::ok).find_map(|line| match line.attribute()? {
        (b"rtpmap", Some(value)) => read_rtpmap(value).filter(|codec| codec.payload == payload),
        _ => None,
    })
}

/// Reads the value of `a=rtpmap`: `<payload> <name>/<clock rate>[/<parameters>]`.
pub(crate) fn read_rtpmap(value: &[u8]) -> Option<Codec<'_>> {
    let mut words = words(value);
    let payload = number::<u8>(words.next()?).filter(|payload| *payload <= 127)?;
    let mut encoding = words.next()?.split(|b| *b == b'/');
    let name = std::str::from_utf8(encoding.next()?).ok().filter(|name| !name.is_empty())?;
    let clock_rate = number::<u32>(encoding.next()?)?;
    Some(Codec { payload, name, clock_rate })
}
