//! Whether an answer fits its offer (RFC 3264 §6).

use thiserror::Error;

use crate::media::{Media, Transport};
use crate::session::Session;

/// How an answer fails its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// An answer has exactly as many `m=` lines as the offer.
    #[error("answer has {answered} m= lines, the offer {offered}")]
    Count {
        /// In the offer.
        offered: usize,
        /// In the answer.
        answered: usize,
    },
    /// A line answers with another kind of media or another transport.
    #[error("m= line {index} of the answer is of another kind than the offer's")]
    Kind {
        /// Its index, from 0.
        index: usize,
    },
    /// A line accepts what the offer had refused.
    #[error("m= line {index} of the answer accepts a refused stream")]
    Refused {
        /// Its index, from 0.
        index: usize,
    },
    /// A line is secured by none of the offered keys (RFC 4568 §7.1.3).
    #[error("m= line {index} of the answer names no offered key")]
    Crypto {
        /// Its index, from 0.
        index: usize,
    },
    /// A line accepts none of the offered codecs.
    #[error("m= line {index} of the answer has no offered codec")]
    NoCommonCodec {
        /// Its index, from 0.
        index: usize,
    },
}

/// Checks an answer against its offer.
///
/// # Errors
/// The first rule of RFC 3264 §6 that it breaks.
pub fn check_answer(offer: &Session<'_>, answer: &Session<'_>) -> Result<(), AnswerError> {
    let (offered, answered) = (offer.media(), answer.media());
    if offered.len() != answered.len() {
        return Err(AnswerError::Count { offered: offered.len(), answered: answered.len() });
    }
    for (index, (offered, answered)) in offered.iter().zip(answered).enumerate() {
        if offered.kind != answered.kind {
            return Err(AnswerError::Kind { index });
        }
        // A refusal needs to match in nothing else (RFC 3264 §6: port zero).
        if !answered.is_active() {
            continue;
        }
        if !offered.is_active() {
            return Err(AnswerError::Refused { index });
        }
        // Many answer an offer of RTP/SAVP in clear. Whether that will do is not for this page to say.
        let in_clear = offered.is_sdes() && answered.transport == Transport::Rtp;
        if offered.transport != answered.transport && !in_clear {
            return Err(AnswerError::Kind { index });
        }
        if answered.is_sdes() && !names_a_key(offered, answered) {
            return Err(AnswerError::Crypto { index });
        }
        if offered.transport.is_rtp() && !share_codec(offered, answered) {
            return Err(AnswerError::NoCommonCodec { index });
        }
    }
    Ok(())
}

/// Whether an answer takes one of the offered keys: its tag, and the suite behind it.
fn names_a_key(offered: &Media<'_>, answered: &Media<'_>) -> bool {
    let chosen = answered.cryptos().next();
    chosen.is_some_and(|chosen| {
        offered.cryptos().any(|ours| ours.tag == chosen.tag && ours.key.suite() == chosen.key.suite())
    })
}

/// Whether two descriptions have a codec in common; by name, since the answerer may number it anew.
fn share_codec(offered: &Media<'_>, answered: &Media<'_>) -> bool {
    answered.codecs().any(|theirs| {
        offered.codecs().any(|ours| {
            (theirs.is(ours.name) && theirs.clock_rate == ours.clock_rate)
                || (theirs.payload == ours.payload && theirs.name.is_empty())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offer: &str, answer: &str) -> Result<(), AnswerError> {
        let body = |media: &str| format!("v=0\no=- 1 1 IN IP4 h\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n{media}");
        let (offer, answer) = (body(offer), body(answer));
        let read = |body: &'static str| Session::parse(body.as_bytes()).expect("valid");
        check_answer(&read(offer.leak()), &read(answer.leak()))
    }

    #[test]
    fn an_answer_has_the_offers_streams_in_its_order() {
        let (audio, video) = ("m=audio 4000 RTP/AVP 0 8\n", "m=video 4002 RTP/AVP 31\n");
        let both = format!("{audio}{video}");
        assert_eq!(check(&both, &both), Ok(()));
        assert_eq!(check(&both, audio), Err(AnswerError::Count { offered: 2, answered: 1 }));
        assert_eq!(check(&both, &format!("{video}{audio}")), Err(AnswerError::Kind { index: 0 }));
        assert_eq!(check(audio, "m=audio 9 RTP/SAVP 0\n"), Err(AnswerError::Kind { index: 0 }));
    }

    #[test]
    fn a_secured_answer_names_an_offered_key() {
        let key = "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
        let secured = |tag: u32, bits: u32| {
            format!("m=audio 9 RTP/SAVP 0\na=crypto:{tag} AES_CM_128_HMAC_SHA1_{bits} {key}\n")
        };
        let offer = format!("{}a=crypto:2 AES_CM_128_HMAC_SHA1_32 {key}\n", secured(1, 80));
        for good in [secured(1, 80), secured(2, 32), "m=audio 9 RTP/AVP 0\n".to_owned()] {
            assert_eq!(check(&offer, &good), Ok(()), "{good}");
        }
        for bad in [secured(1, 32), secured(3, 80), "m=audio 9 RTP/SAVP 0\n".to_owned()] {
            assert_eq!(check(&offer, &bad), Err(AnswerError::Crypto { index: 0 }), "{bad}");
        }
    }

    #[test]
    fn a_refusal_fits_anything_and_a_refused_stream_cannot_be_accepted() {
        assert_eq!(check("m=audio 4000 RTP/AVP 0\n", "m=audio 0 RTP/AVP 18\n"), Ok(()));
        let refused = check("m=audio 0 RTP/AVP 0\n", "m=audio 4000 RTP/AVP 0\n");
        assert_eq!(refused, Err(AnswerError::Refused { index: 0 }));
    }

    #[test]
    fn an_accepted_stream_takes_an_offered_codec_under_any_number() {
        let offer = "m=audio 4000 RTP/AVP 0 97\na=rtpmap:97 iLBC/8000\n";
        assert_eq!(check(offer, "m=audio 9 RTP/AVP 0\n"), Ok(()));
        assert_eq!(check(offer, "m=audio 9 RTP/AVP 99\na=rtpmap:99 ilbc/8000\n"), Ok(()));
        assert_eq!(check(offer, "m=audio 9 RTP/AVP 8\n"), Err(AnswerError::NoCommonCodec { index: 0 }));
    }
}
