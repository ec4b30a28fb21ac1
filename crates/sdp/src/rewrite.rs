//! Writing a description anew: our own `o=` line, our own addresses and ports, our choice of codecs. One
//! pass over the lines; whatever has no reason to change is copied byte by byte.

use std::io::Write as _;
use std::net::IpAddr;

use smallvec::SmallVec;
use thiserror::Error;

use crate::codec::CodecList;
use crate::crypto::Security;
use crate::line::{Line, Lines, number, words};
use crate::media::{Media, MediaKind, Transport};
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
    /// How each stream is secured, by the index of its `m=` line; one that is not listed, as its author has it.
    pub security: &'a [Security],
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
        self.rewritten(&Rewrite {
            origin: Some(origin),
            anchor: Some(*anchor),
            codecs: Codecs::Keep,
            security: &[],
        })
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
                writer.close_stream();
                writer.media = streams.next().map(|(index, media)| Stream { index, media, kept: None });
            }
            writer.line(line)?;
        }
        writer.close_stream();
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

    /// How the stream that is being written is to be secured. A refused one, and one that is no RTP or whose keys are not
    /// in its description, is left alone.
    fn security(&self) -> &Security {
        let stream = self.media.as_ref().filter(|stream| {
            let media = stream.media;
            media.is_active() && (media.is_sdes() || media.transport == Transport::Rtp)
        });
        stream.and_then(|stream| self.rewrite.security.get(stream.index)).unwrap_or(&Security::Keep)
    }

    /// What carries a stream, as it is to be secured.
    fn protocol<'m>(&self, media: &Media<'m>) -> &'m [u8] {
        let has_feedback = media.protocol.ends_with(b"F");
        match (self.security(), has_feedback) {
            (Security::Keep, _) => media.protocol,
            (Security::Plain, false) => b"RTP/AVP",
            (Security::Plain, true) => b"RTP/AVPF",
            (Security::Sdes(_), false) => b"RTP/SAVP",
            (Security::Sdes(_), true) => b"RTP/SAVPF",
        }
    }

    /// Our keys stand behind what the author said of a stream.
    fn close_stream(&mut self) {
        let Security::Sdes(keys) = self.security() else { return };
        let keys = keys.clone();
        if !self.out.ends_with(b"\n") {
            self.out.extend_from_slice(b"\r\n");
        }
        keys.iter().for_each(|crypto| crypto.write(&mut self.out));
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
        let protocol = self.protocol(media);
        if port.is_none() && kept.is_none() && protocol == media.protocol {
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
        self.out.extend_from_slice(protocol);
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
        if name == b"crypto" && *self.security() != Security::Keep {
            return;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));
    const ORIGIN: Origin = Origin { id: 77, version: 3, address: OURS };

    fn rewrite(body: &str, rewrite: &Rewrite<'_>) -> Result<String, RewriteError> {
        let session = Session::parse(body.as_bytes()).expect("valid");
        session.rewritten(rewrite).map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    fn anchored(ports: &[u16]) -> Rewrite<'_> {
        let anchor = Some(Anchor { address: OURS, ports });
        Rewrite { origin: Some(ORIGIN), anchor, codecs: Codecs::Keep, security: &[] }
    }

    #[test]
    fn anchoring_moves_addresses_and_leaves_the_rest() {
        let body = "v=0\r\no=alice 1 1 IN IP4 10.0.0.5\r\ns=A call\r\ni=about\r\nc=IN IP4 10.0.0.5\r\nb=AS:84\r\nt=0 0\r\n\
            a=group:BUNDLE 0\r\na=X-unknown:1.2.3.4\r\n\
            m=audio 4000 RTP/SAVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
            a=rtcp:4001 IN IP4 10.0.0.5\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
            a=candidate:1 1 UDP 2130706431 10.0.0.5 4000 typ host\r\na=ptime:20\r\na=sendrecv\r\n\
            m=image 4002 udptl t38\r\nc=IN IP4 10.0.0.6\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";
        let expected = "v=0\r\no=- 77 3 IN IP4 198.51.100.7\r\ns=A call\r\ni=about\r\nc=IN IP4 198.51.100.7\r\nb=AS:84\r\nt=0 0\r\n\
            a=X-unknown:1.2.3.4\r\n\
            m=audio 10000 RTP/SAVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
            a=rtcp:10001 IN IP4 198.51.100.7\r\na=ptime:20\r\na=sendrecv\r\n\
            m=image 10002 udptl t38\r\nc=IN IP4 198.51.100.7\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";
        assert_eq!(rewrite(body, &anchored(&[10_000, 10_002])), Ok(expected.to_owned()));
        assert_eq!(rewrite(body, &anchored(&[10_000])), Err(RewriteError::NoPort { index: 1 }));
    }

    fn secured(body: &str, security: &[Security]) -> String {
        rewrite(body, &Rewrite { security, ..anchored(&[10_000, 10_002]) }).expect("ports enough")
    }

    fn crypto(tag: u32) -> crate::crypto::Crypto {
        let key = env::SrtpKey::new(env::SrtpSuite::AesCm80, &[0; 30]).expect("30 octets");
        crate::crypto::Crypto { tag, key }
    }

    #[test]
    fn keys_are_those_of_the_leg_and_never_the_peers() {
        let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
            m=audio 4000 RTP/SAVP 8\r\na=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
            m=audio 4002 RTP/AVPF 8";
        let ours = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";
        let sdes = Security::Sdes(SmallVec::from_elem(crypto(1), 1));
        let got = secured(body, &[Security::Plain, sdes.clone()]);
        assert!(
            got.ends_with(&format!("m=audio 10000 RTP/AVP 8\r\nm=audio 10002 RTP/SAVPF 8\r\n{ours}")),
            "{got}"
        );
        let got = secured(body, &[sdes, Security::Plain]);
        assert!(
            got.ends_with(&format!("m=audio 10000 RTP/SAVP 8\r\n{ours}m=audio 10002 RTP/AVPF 8")),
            "{got}"
        );
        // The twin: what is not ours to secure stays as it is.
        assert!(secured(body, &[]).contains("inline:WVNf"));
    }

    #[test]
    fn what_is_no_rtp_or_secured_otherwise_is_left_alone() {
        let sdes = || Security::Sdes(SmallVec::from_elem(crypto(1), 1));
        for stream in ["image 4000 udptl t38", "audio 0 RTP/AVP 8", "audio 4000 UDP/TLS/RTP/SAVP 8"] {
            let body =
                format!("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm={stream}\r\n");
            for security in [sdes(), Security::Plain] {
                let expected = stream.replace("4000", "10000");
                assert!(secured(&body, &[security]).ends_with(&format!("m={expected}\r\n")));
            }
        }
    }

    #[test]
    fn ipv4_becomes_ipv6_where_our_side_is_ipv6() {
        let body = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 0\n";
        let address: IpAddr = "2001:db8::7".parse().expect("literal");
        let anchor = Some(Anchor { address, ports: &[10_000] });
        let got = rewrite(
            body,
            &Rewrite {
                origin: Some(Origin { address, ..ORIGIN }),
                anchor,
                codecs: Codecs::Keep,
                security: &[],
            },
        );
        let expected =
            "v=0\no=- 77 3 IN IP6 2001:db8::7\ns=-\nc=IN IP6 2001:db8::7\nt=0 0\nm=audio 10000 RTP/AVP 0\n";
        assert_eq!(got, Ok(expected.to_owned()));
    }

    #[test]
    fn a_refused_stream_stays_refused() {
        let body = "v=0\no=- 1 1 IN IP4 h\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=video 0 RTP/AVP 31\nm=audio 4000 RTP/AVP 0\n";
        let got = rewrite(body, &anchored(&[10_000, 10_002])).expect("ports enough");
        assert!(got.contains("m=video 0 RTP/AVP 31\nm=audio 10002 RTP/AVP 0\n"), "{got}");
    }

    #[test]
    fn fr38_direct_media_leaves_every_address() {
        let body = "v=0\r\no=alice 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\n\
            m=audio 4000 RTP/AVP 8\r\na=rtcp-mux\r\na=candidate:1 1 UDP 1 10.0.0.5 4000 typ host\r\n";
        assert_eq!(rewrite(body, &Rewrite::default()), Ok(body.to_owned()));
        // Its twin, anchored, shows none of the peer's.
        assert!(!rewrite(body, &anchored(&[10_000])).expect("ports enough").contains("10.0.0.5"));
    }

    fn codecs(rewriting: Codecs<'_>, formats: &str) -> Result<String, RewriteError> {
        let body = format!(
            "v=0\no=- 1 1 IN IP4 h\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP {formats}\n\
             a=rtpmap:8 PCMA/8000\na=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1\n\
             a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=rtcp-fb:* nack\na=maxptime:40\n"
        );
        let got = rewrite(&body, &Rewrite { codecs: rewriting, ..Rewrite::default() })?;
        Ok(got.split_once("m=audio 4000 RTP/AVP ").expect("stream").1.to_owned())
    }

    #[test]
    fn codecs_are_filtered_and_ordered_by_preference_and_dtmf_goes_with_them() {
        let list = CodecList::new(["PCMA", "PCMU", "G729"]);
        assert_eq!(
            codecs(Codecs::Prefer(&list), "96 0 101 8"),
            Ok("8 0 101\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\n\
                a=rtcp-fb:* nack\na=maxptime:40\n"
                .to_owned())
        );
        let opus = CodecList::new(["opus"]);
        assert_eq!(
            codecs(Codecs::Prefer(&opus), "96 0 101 8"),
            Ok("96 101\na=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1\na=rtpmap:101 telephone-event/8000\n\
                a=fmtp:101 0-16\na=rtcp-fb:* nack\na=maxptime:40\n"
                .to_owned())
        );
    }

    #[test]
    fn fl14_no_common_codec_is_an_error_even_if_dtmf_is_common() {
        let list = CodecList::new(["G729"]);
        assert_eq!(codecs(Codecs::Prefer(&list), "96 0 101 8"), Err(RewriteError::NoCommonCodec));
        assert!(codecs(Codecs::Prefer(&list), "96 18").is_ok());
    }

    #[test]
    fn a_new_offer_can_be_cut_down_to_what_was_negotiated() {
        let got = codecs(Codecs::Only(&[0, 101]), "96 0 101 8").expect("PCMU stays");
        assert!(got.starts_with("0 101\na=rtpmap:101"), "{got}");
    }

    #[test]
    fn sharing_a_codec_is_about_streams_of_speech_that_exist() {
        let shares = |media: &str, list: &[&str]| {
            let body = format!("v=0\no=- 1 1 IN IP4 h\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n{media}");
            Session::parse(body.as_bytes())
                .expect("valid")
                .shares_codec(&CodecList::new(list.iter().copied()))
        };
        assert!(shares("m=audio 4000 RTP/AVP 0\n", &["PCMU"]));
        assert!(!shares("m=audio 4000 RTP/AVP 0\n", &["PCMA"]));
        assert!(shares("m=audio 0 RTP/AVP 0\nm=image 4000 udptl t38\n", &["PCMA"]));
    }

    proptest! {
        /// Whatever can be read can be anchored, is read again, and names none of the peer's addresses.
        #[test]
        fn an_anchored_description_is_valid_and_only_ours(
            tail in prop::collection::vec("[bka]=(rtpmap:8 PCMA/8000|rtcp:9 IN IP4 10.9.9.9|ice-x:1|[!-~]{1,9})", 0..8),
            ports in prop::collection::vec(1..32_000_u16, 1..4),
        ) {
            let mut body = "v=0\r\no=- 1 1 IN IP4 10.9.9.9\r\ns=-\r\nc=IN IP4 10.9.9.9\r\nt=0 0\r\n".to_owned();
            for port in &ports {
                body.push_str(&format!("m=audio {port} RTP/AVP 8 0\r\n"));
                for line in &tail {
                    body.push_str(&format!("{line}\r\n"));
                }
            }
            if let Ok(session) = Session::parse(body.as_bytes()) {
                let ours: Vec<u16> = (0..ports.len() as u16).map(|i| 40_000 + i * 2).collect();
                let out = session.anchored(&Anchor { address: OURS, ports: &ours }, ORIGIN).expect("ports enough");
                let again = Session::parse(&out).expect("valid again");
                prop_assert_eq!(again.media().len(), ports.len());
                for (media, port) in again.media().iter().zip(ours) {
                    let endpoint = media.endpoint().expect("address");
                    prop_assert_eq!(endpoint.rtp, (OURS, port).into());
                    prop_assert_eq!(endpoint.rtcp, (OURS, port + 1).into());
                }
                prop_assert!(!String::from_utf8_lossy(&out).contains("10.9.9.9"));
            }
        }
    }
}
