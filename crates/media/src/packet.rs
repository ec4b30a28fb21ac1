//! Is this RTP? Is this RTCP? As much of RFC 3550 §5.1 and §6.4 as can be checked without a key: the body of
//! an SRTP packet, its padding included, is ciphertext, so only headers count.

/// What a relay reads in an RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// The payload type.
    pub payload: u8,
    /// The sequence number.
    pub sequence: u16,
    /// The timestamp, in ticks of the codec's clock.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
}

/// Reads an RTP header (RFC 3550 §5.1, A.1); `None` if this is not RTP.
pub fn read_rtp(bytes: &[u8]) -> Option<RtpHeader> {
    let (&[flags, kind, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3], rest) = bytes.split_first_chunk::<12>()?;
    if flags >> 6 != 2 {
        return None;
    }
    let payload = kind & 0x7f;
    // 72 to 76 would be RTCP's 200 to 204 with the marker bit: RTCP that lost its way (RFC 5761 §4).
    if matches!(payload, 72..=76) {
        return None;
    }
    let rest = rest.get(usize::from(flags & 0x0f) * 4..)?;
    if flags & 0x10 != 0 {
        let (&[_, _, l0, l1], rest) = rest.split_first_chunk::<4>()?;
        rest.get(usize::from(u16::from_be_bytes([l0, l1])) * 4..)?;
    }
    Some(RtpHeader {
        payload,
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
    })
}

/// How many octets of an RTP packet are header (RFC 3550 §5.1, §5.3.1): what SRTP leaves in the clear.
pub(crate) fn header_length(bytes: &[u8]) -> Option<usize> {
    let fixed = 12 + usize::from(bytes.first()? & 0x0f) * 4;
    if bytes.first()? & 0x10 == 0 {
        return Some(fixed).filter(|length| *length <= bytes.len());
    }
    let &[_, _, l0, l1] = bytes.get(fixed..)?.first_chunk::<4>()?;
    let length = fixed + 4 + usize::from(u16::from_be_bytes([l0, l1])) * 4;
    Some(length).filter(|length| *length <= bytes.len())
}

/// Whether this is RTCP, plain or secured: version 2, a packet type of RTCP (RFC 5761 §4: 192 to 223), room
/// for the header and the sender's SSRC, and a first packet that ends within the datagram.
pub fn is_rtcp(bytes: &[u8]) -> bool {
    let Some((&[flags, kind, l0, l1, ..], _)) = bytes.split_first_chunk::<8>() else { return false };
    let length = (usize::from(u16::from_be_bytes([l0, l1])) + 1) * 4;
    flags >> 6 == 2 && matches!(kind, 192..=223) && length <= bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 3550 §5.1: version 2, payload type 8, sequence 0x0102, timestamp 0x03040506, SSRC 0x0708090a.
    const PLAIN: [u8; 12] = [0x80, 0x08, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

    #[test]
    fn a_header_is_read_field_by_field() {
        let header = RtpHeader { payload: 8, sequence: 0x0102, timestamp: 0x0304_0506, ssrc: 0x0708_090a };
        assert_eq!(read_rtp(&PLAIN), Some(header));
        // The marker bit is not part of the payload type.
        let mut marked = PLAIN;
        marked[1] |= 0x80;
        assert_eq!(read_rtp(&marked), Some(header));
    }

    #[test]
    fn lists_and_extensions_must_fit() {
        let with = |flags: u8, tail: &[u8]| {
            let mut packet = PLAIN.to_vec();
            packet[0] = flags;
            packet.extend_from_slice(tail);
            read_rtp(&packet).is_some()
        };
        assert!(!with(0x82, &[0; 7])); // two contributing sources take 8 bytes
        assert!(with(0x82, &[0; 8]));
        assert!(!with(0x90, &[0xbe, 0xde, 0])); // the extension's own header takes 4
        assert!(with(0x90, &[0xbe, 0xde, 0, 0]));
        assert!(!with(0x90, &[0xbe, 0xde, 0, 2, 0, 0, 0, 0])); // and announces two words
    }

    #[test]
    fn other_protocols_are_not_rtp() {
        assert_eq!(read_rtp(&PLAIN[..11]), None);
        assert_eq!(read_rtp(&[]), None);
        let mut stun = PLAIN;
        stun[0] = 0x00; // a STUN request starts with two zero bits (RFC 8489 §5)
        assert_eq!(read_rtp(&stun), None);
        let mut rtcp = PLAIN;
        rtcp[1] = 200;
        assert_eq!(read_rtp(&rtcp), None);
    }

    #[test]
    fn a_short_or_overlong_rtcp_packet_is_refused() {
        let receiver_report = [0x80, 201, 0, 1, 0, 0, 0, 1];
        assert!(is_rtcp(&receiver_report));
        assert!(!is_rtcp(&receiver_report[..4]));
        assert!(!is_rtcp(&[0x80, 201, 0, 2, 0, 0, 0, 1]));
        assert!(!is_rtcp(&[0x40, 201, 0, 1, 0, 0, 0, 1]));
        assert!(!is_rtcp(&PLAIN));
    }

    proptest! {
        /// A second opinion: rtp-types accepts nothing that we refuse, and reads the same fields. (We accept
        /// more: it checks padding, which SRTP encrypts.)
        #[test]
        fn agrees_with_rtp_types(mut bytes in prop::collection::vec(any::<u8>(), 0..64), version in 0..8u8) {
            if let Some(first) = bytes.first_mut() {
                *first = if version == 0 { *first } else { (*first & 0x3f) | 0x80 };
            }
            let ours = read_rtp(&bytes);
            if let Ok(theirs) = rtp_types::RtpPacket::parse(&bytes) && !matches!(theirs.payload_type(), 72..=76) {
                let ours = ours.expect("rtp-types accepts it");
                prop_assert_eq!(ours.payload, theirs.payload_type());
                prop_assert_eq!(ours.sequence, theirs.sequence_number());
                prop_assert_eq!(ours.timestamp, theirs.timestamp());
                prop_assert_eq!(ours.ssrc, theirs.ssrc());
            }
        }

        /// A second opinion: what rtcp-types takes for a compound that starts with a report, we accept.
        #[test]
        fn accepts_what_rtcp_types_accepts(
            kind in 200..=207u8, words in 1..8u16, tail in prop::collection::vec(any::<u8>(), 0..40)
        ) {
            let [l0, l1] = words.to_be_bytes();
            let mut bytes = vec![0x80, kind, l0, l1];
            bytes.extend_from_slice(&tail);
            if let Ok(mut compound) = rtcp_types::Compound::parse(&bytes)
                && bytes.len() >= 8
                && matches!(compound.next(), Some(Ok(_)))
            {
                prop_assert!(is_rtcp(&bytes));
            }
        }
    }
}
