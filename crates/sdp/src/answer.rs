//! Whether an answer fits its offer (RFC 3264 §6).

use thiserror::Error;

use crate::media::Media;
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
        if offered.transport != answered.transport {
            return Err(AnswerError::Kind { index });
        }
        if offered.transport.is_rtp() && !share_codec(offered, answered) {
            return Err(AnswerError::NoCommonCodec { index });
        }
    }
    Ok(())
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
