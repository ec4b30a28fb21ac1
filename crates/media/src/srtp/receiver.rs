//! Opening what a peer secured: per source a rollover counter and a window against replays (RFC 3711 §3.3).

use std::collections::VecDeque;
use std::fmt;

use env::{SrtpCount, SrtpKey, SrtpMark};

use super::cipher::{Cipher, Packet};
use super::control::ControlReceiver;
use super::window::{FIRST_MARK, Window, half_of, is_late, resume};
use crate::packet::{RtpHeader, header_length};

/// Why a packet of a peer's is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its tag is wrong.
    Forged,
    /// It came before, or comes too late.
    Replayed,
}

/// One peer's packets under one master key.
pub struct Receiver {
    key: SrtpKey,
    cipher: Cipher,
    control: ControlReceiver,
    /// Those heard last stand last.
    sources: VecDeque<Source>,
    /// What a predecessor recorded.
    recorded: Vec<SrtpMark>,
}

struct Source {
    ssrc: u32,
    window: Window,
    /// The mark that was asked for last.
    asked: u32,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Nothing has come yet; `recorded` says how far sources may have come in a life before this one.
    pub fn new(key: SrtpKey, recorded: Vec<SrtpMark>) -> Receiver {
        let control = ControlReceiver::new(&key);
        Receiver { cipher: Cipher::rtp(&key), control, key, sources: VecDeque::new(), recorded }
    }

    /// Under which key.
    pub const fn key(&self) -> &SrtpKey {
        &self.key
    }

    /// Opens an SRTP packet in place; gives how long it is then, and what is to be recorded of its source.
    ///
    /// # Errors
    /// It is not the peer's, or came before.
    pub fn open_rtp(
        &mut self,
        bytes: &mut [u8],
        header: &RtpHeader,
    ) -> Result<(usize, Option<SrtpMark>), Refused> {
        let clear = header_length(bytes).ok_or(Refused::Forged)?;
        let at = self.sources.iter().rposition(|source| source.ssrc == header.ssrc);
        let Some(source) = at.and_then(|at| self.sources.get_mut(at)) else {
            return self.open_first(bytes, header, clear).map(|length| (length, None));
        };
        let index = source.window.estimate(header.sequence);
        if !source.window.is_fresh(index) {
            return Err(Refused::Replayed);
        }
        let packet = Packet::Rtp { header: clear, ssrc: header.ssrc, index };
        let length = self.cipher.open(packet, bytes).ok_or(Refused::Forged)?;
        source.window.take(index);
        let next = half_of(index) + 1;
        let wanted = is_late(index) && next > source.asked;
        if wanted {
            source.asked = next;
        }
        let mark = SrtpMark { count: SrtpCount::Heard(header.ssrc), value: next };
        Ok((length, wanted.then_some(mark)))
    }

    /// The first packet of a source: what was recorded says in which round it may be, its tag says in which it is.
    fn open_first(&mut self, bytes: &mut [u8], header: &RtpHeader, clear: usize) -> Result<usize, Refused> {
        let count = SrtpCount::Heard(header.ssrc);
        let mark =
            self.recorded.iter().find(|mark| mark.count == count).map_or(FIRST_MARK, |mark| mark.value);
        let index = resume(mark, header.sequence);
        let packet = |index| Packet::Rtp { header: clear, ssrc: header.ssrc, index };
        let mut later = smallvec::SmallVec::<[u8; 512]>::new();
        if mark > FIRST_MARK {
            // Nobody waits for the record of what a peer sends, so the peer may be one round further.
            later.extend_from_slice(bytes);
        }
        let (length, index) = match self.cipher.open(packet(index), bytes) {
            Some(length) => (length, index),
            None => {
                let index = index + (1 << 16);
                let length = self.cipher.open(packet(index), &mut later).ok_or(Refused::Forged)?;
                bytes
                    .get_mut(..length)
                    .ok_or(Refused::Forged)?
                    .copy_from_slice(later.get(..length).ok_or(Refused::Forged)?);
                (length, index)
            }
        };
        if self.sources.len() == SOURCES_MAX {
            self.sources.pop_front();
        }
        self.sources.push_back(Source {
            ssrc: header.ssrc,
            window: Window::new(index),
            asked: mark.max(FIRST_MARK),
        });
        Ok(length)
    }

    /// Opens an SRTCP packet in place; gives how long it is then.
    ///
    /// # Errors
    /// It is not the peer's, or came before.
    pub fn open_rtcp(&mut self, bytes: &mut [u8]) -> Result<usize, Refused> {
        self.control.open(bytes)
    }
}

/// A peer that changes its source more often has the oldest forgotten.
pub(super) const SOURCES_MAX: usize = 16;
