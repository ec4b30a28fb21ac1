//! Codecs: what a payload type means (RFC 3551 §6, `a=rtpmap`), and lists of them in order of preference.

use serde::{Deserialize, Serialize};

/// A payload type and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec<'a> {
    /// The payload type, 0 to 127.
    pub payload: u8,
    /// The encoding's name, as written in `a=rtpmap` or fixed by RFC 3551; compare without case.
    pub name: &'a str,
    /// Ticks per second of its RTP timestamp.
    pub clock_rate: u32,
}

impl<'a> Codec<'a> {
    /// Whether this is the named encoding; names do not depend on case (RFC 4855 §3).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether it carries DTMF as named events (RFC 4733).
    pub fn is_telephone_event(&self) -> bool {
        self.is("telephone-event")
    }

    /// What RFC 3551 §6 assigns to a payload type without `a=rtpmap`.
    pub(crate) fn fixed(payload: u8) -> Option<Codec<'a>> {
        let (name, clock_rate) = match payload {
            0 => ("PCMU", 8000),
            3 => ("GSM", 8000),
            4 => ("G723", 8000),
            5 => ("DVI4", 8000),
            6 => ("DVI4", 16000),
            7 => ("LPC", 8000),
            8 => ("PCMA", 8000),
            9 => ("G722", 8000),
            10 | 11 => ("L16", 44100),
            12 => ("QCELP", 8000),
            13 => ("CN", 8000),
            14 => ("MPA", 90000),
            15 => ("G728", 8000),
            16 => ("DVI4", 11025),
            17 => ("DVI4", 22050),
            18 => ("G729", 8000),
            25 => ("CelB", 90000),
            26 => ("JPEG", 90000),
            28 => ("nv", 90000),
            31 => ("H261", 90000),
            32 => ("MPV", 90000),
            33 => ("MP2T", 90000),
            34 => ("H263", 90000),
            _ => return None,
        };
        Some(Codec { payload, name, clock_rate })
    }
}

/// Codecs that a trunk may use, the preferred one first. Made once from the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecList(Vec<String>);

impl CodecList {
    /// A list of encoding names.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> CodecList {
        CodecList(names.into_iter().map(Into::into).collect())
    }

    /// The names, the preferred one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// How much this codec is preferred: 0 is best; `None` if it is not on the list.
    pub fn rank(&self, codec: &Codec<'_>) -> Option<usize> {
        // G.729 annexes share one name in SDP (RFC 3555 §4.1.9); people still write G729A and G729a.
        self.0
            .iter()
            .position(|name| codec.is(name) || (codec.is("G729") && name.eq_ignore_ascii_case("G729A")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_rank_in_order() {
        let list = CodecList::new(["PCMA", "PCMU", "G729a"]);
        let codec = |name| Codec { payload: 96, name, clock_rate: 8000 };
        assert_eq!(list.rank(&codec("pcma")), Some(0));
        assert_eq!(list.rank(&codec("PCMU")), Some(1));
        assert_eq!(list.rank(&codec("G729")), Some(2));
        assert_eq!(list.rank(&codec("opus")), None);
    }

    #[test]
    fn fr26_the_static_payload_types_are_those_of_rfc_3551() {
        for (payload, name) in [(0, "PCMU"), (8, "PCMA"), (18, "G729")] {
            assert_eq!(Codec::fixed(payload), Some(Codec { payload, name, clock_rate: 8000 }));
        }
        assert_eq!(Codec::fixed(96), None);
        assert_eq!(Codec::fixed(101), None);
    }
}
