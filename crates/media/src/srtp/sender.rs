//! Securing what goes to a peer: no index of a source is used twice (RFC 3711 §9.1), not even by two nodes.

use std::collections::VecDeque;
use std::fmt;

use env::{SrtpCount, SrtpKey, SrtpMark};

use super::cipher::{Cipher, Packet};
use super::control::ControlSender;
use super::receiver::SOURCES_MAX;
use super::window::{FIRST_MARK, Window, half_of, is_late, resume};
use crate::packet::{RtpHeader, header_length};

/// Why a packet can't go to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// Its index was used before, or is long past.
    Repeated,
    /// So far nothing is recorded yet: it waits for nobody.
    Unrecorded(u32),
    /// It has no header, or no room to grow.
    Malformed,
}

/// What goes to one peer under one master key of ours.
pub struct Sender {
    key: SrtpKey,
    cipher: Cipher,
    control: ControlSender,
    /// Those sent last stand last.
    sources: VecDeque<Source>,
    /// What a predecessor recorded.
    recorded: Vec<SrtpMark>,
    /// What has to be recorded, and was not said yet.
    wanted: Option<SrtpMark>,
}

struct Source {
    ssrc: u32,
    window: Window,
    /// The half-round that may be used up to.
    mark: u32,
    asked: u32,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Sender {
    /// Nothing was sent yet; `recorded` says how far sources may have come in a life before this one. `None`: there
    /// was none.
    pub fn new(key: SrtpKey, recorded: Option<Vec<SrtpMark>>) -> Sender {
        let before = recorded.as_ref().map(|marks| {
            let control = marks.iter().find(|mark| mark.count == SrtpCount::Control);
            control.map_or(0, |mark| mark.value)
        });
        Sender {
            cipher: Cipher::rtp(&key),
            control: ControlSender::new(&key, before),
            key,
            sources: VecDeque::new(),
            recorded: recorded.unwrap_or_default(),
            wanted: None,
        }
    }

    /// Under which key.
    pub const fn key(&self) -> &SrtpKey {
        &self.key
    }

    /// Secures the RTP packet in the first `length` octets in place; gives how long it is then.
    ///
    /// # Errors
    /// It can't be sent.
    pub fn seal_rtp(
        &mut self,
        buffer: &mut [u8],
        length: usize,
        header: &RtpHeader,
    ) -> Result<usize, Unsent> {
        let clear = header_length(buffer.get(..length).unwrap_or_default()).ok_or(Unsent::Malformed)?;
        let known = self.sources.iter().rposition(|source| source.ssrc == header.ssrc);
        let (at, index) = match known.and_then(|at| Some((at, self.sources.get(at)?.window))) {
            Some((at, window)) => {
                let index = window.estimate(header.sequence);
                if !window.is_fresh(index) {
                    return Err(Unsent::Repeated);
                }
                (at, index)
            }
            None => self.begin(header),
        };
        let source = self.sources.get_mut(at).ok_or(Unsent::Malformed)?;
        let half = half_of(index);
        let next = if is_late(index) { half + 1 } else { half };
        // Asked again now and then: what was asked of a call's actor may have died with it.
        if next > source.mark && (next > source.asked || index & 0x1FF == 0) {
            source.asked = next;
            self.wanted = Some(SrtpMark { count: SrtpCount::Sent(header.ssrc), value: next });
        }
        if half > source.mark {
            return Err(Unsent::Unrecorded(half));
        }
        let packet = Packet::Rtp { header: clear, ssrc: header.ssrc, index };
        let length = self.cipher.seal(packet, buffer, length).ok_or(Unsent::Malformed)?;
        source.window.take(index);
        Ok(length)
    }

    /// A source that was not sent in this life.
    fn begin(&mut self, header: &RtpHeader) -> (usize, u64) {
        let count = SrtpCount::Sent(header.ssrc);
        let mark =
            self.recorded.iter().find(|mark| mark.count == count).map_or(FIRST_MARK, |mark| mark.value);
        let index = resume(mark, header.sequence);
        if self.sources.len() == SOURCES_MAX {
            self.sources.pop_front();
        }
        // The index itself is not used yet; that before it is as good as used.
        let window = Window::new(index.saturating_sub(1));
        self.sources.push_back(Source { ssrc: header.ssrc, window, mark, asked: mark });
        (self.sources.len() - 1, index)
    }

    /// Secures the RTCP packet in the first `length` octets in place; gives how long it is then.
    ///
    /// # Errors
    /// It can't be sent.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, Unsent> {
        let sealed = self.control.seal(buffer, length);
        if let Err(Unsent::Unrecorded(value)) = sealed {
            self.wanted = Some(SrtpMark { count: SrtpCount::Control, value });
        }
        sealed
    }

    /// A mark is recorded: so far packets may go.
    pub fn recorded(&mut self, mark: SrtpMark) {
        match mark.count {
            SrtpCount::Control => self.control.recorded(mark.value),
            SrtpCount::Heard(_) => {}
            SrtpCount::Sent(ssrc) => {
                if let Some(source) = self.sources.iter_mut().find(|source| source.ssrc == ssrc) {
                    source.mark = source.mark.max(mark.value);
                }
            }
        }
    }

    /// What has to be recorded before packets can go on.
    pub fn poll_wanted(&mut self) -> Option<SrtpMark> {
        self.wanted.take()
    }
}
