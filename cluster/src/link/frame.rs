//! Frames on a stream: the stream's first byte says for what it is, then each frame has four bytes of length
//! before it (little-endian).

use bytes::{BufMut, Bytes, BytesMut};
use env::{FRAME_MAX, Purpose};
use thiserror::Error;

/// A peer announced a frame that is longer than any may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a frame of {0} bytes")]
pub(super) struct TooLong(usize);

/// The bytes of frames, joined where they are small, so that many go into one packet.
#[derive(Default)]
pub(super) struct Joined {
    small: BytesMut,
    pub(super) pieces: Vec<Bytes>,
}

impl Joined {
    /// Adds a frame.
    pub(super) fn push(&mut self, frame: Vec<u8>) {
        // Longer ones never pass `Lane::push`.
        self.small.put_u32_le(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        if frame.len() <= COPIED_MAX {
            self.small.put_slice(&frame);
        } else {
            self.pieces.push(self.small.split().freeze());
            self.pieces.push(frame.into());
        }
    }

    /// Ends the last piece.
    pub(super) fn finish(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }
}

/// Frames out of the pieces that a stream gives.
#[derive(Default)]
pub(super) struct Splitter {
    head: [u8; HEAD],
    head_len: usize,
    body: Vec<u8>,
    /// How long the frame under way is, once its head is whole.
    len: Option<usize>,
}

impl Splitter {
    /// Takes a piece; gives each frame that it completes.
    pub(super) fn take(&mut self, mut piece: &[u8], mut each: impl FnMut(Vec<u8>)) -> Result<(), TooLong> {
        loop {
            let len = match self.len {
                Some(len) => len,
                None => {
                    let take = piece.len().min(HEAD - self.head_len);
                    let (now, rest) = piece.split_at(take);
                    for (to, from) in self.head.iter_mut().skip(self.head_len).zip(now) {
                        *to = *from;
                    }
                    self.head_len += take;
                    piece = rest;
                    if self.head_len < HEAD {
                        return Ok(());
                    }
                    self.head_len = 0;
                    let len = usize::try_from(u32::from_le_bytes(self.head)).unwrap_or(usize::MAX);
                    if len > FRAME_MAX {
                        return Err(TooLong(len));
                    }
                    self.len = Some(len);
                    // A length is a claim; memory follows what has come.
                    self.body.reserve(len.min(RESERVED_MAX));
                    len
                }
            };
            let (now, rest) = piece.split_at(piece.len().min(len - self.body.len()));
            self.body.extend_from_slice(now);
            piece = rest;
            if self.body.len() < len {
                return Ok(());
            }
            self.len = None;
            each(std::mem::take(&mut self.body));
        }
    }
}

/// The byte with which a stream begins.
pub(super) const fn tag(purpose: Purpose) -> u8 {
    match purpose {
        Purpose::Raft => b'r',
        Purpose::Forward => b'f',
        Purpose::Snapshot => b's',
        Purpose::Query => b'q',
    }
}

/// What a stream is for.
pub(super) fn purpose(byte: u8) -> Option<Purpose> {
    Purpose::ALL.into_iter().find(|purpose| tag(*purpose) == byte)
}

/// What goes first where all can't go at once: a snapshot is patient, a heartbeat is not.
pub(super) const fn priority(purpose: Purpose) -> i32 {
    match purpose {
        Purpose::Raft => 3,
        Purpose::Forward => 2,
        Purpose::Query => 1,
        Purpose::Snapshot => 0,
    }
}

const HEAD: usize = 4;
/// Copying this much costs less than a piece of its own.
const COPIED_MAX: usize = 4096;
const RESERVED_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut joined = Joined::default();
        frames.iter().for_each(|frame| joined.push(frame.clone()));
        joined.finish();
        joined.pieces.concat()
    }

    #[test]
    fn the_bytes_of_a_frame_are_its_length_and_itself() {
        assert_eq!(wire(&[b"ab".to_vec(), Vec::new()]), [2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]);
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let frames =
            [b"one".to_vec(), Vec::new(), vec![7; COPIED_MAX + 1], vec![8; RESERVED_MAX * 2], vec![9]];
        let bytes = wire(&frames);
        for cut in [1, 2, 3, 5, 1000, bytes.len()] {
            let (mut splitter, mut found) = (Splitter::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                splitter.take(piece, |frame| found.push(frame)).unwrap();
            }
            assert_eq!(found, frames, "in pieces of {cut}");
        }
    }

    #[test]
    fn a_frame_beyond_the_longest_is_refused_by_its_head_alone() {
        let head = |len: usize| u32::try_from(len).unwrap().to_le_bytes();
        let nothing = |_| panic!("no frame is whole");
        assert_eq!(Splitter::default().take(&head(FRAME_MAX), nothing), Ok(()));
        assert_eq!(Splitter::default().take(&head(FRAME_MAX + 1), nothing), Err(TooLong(FRAME_MAX + 1)));
    }

    #[test]
    fn every_purpose_has_a_byte_of_its_own() {
        for one in Purpose::ALL {
            assert_eq!(purpose(tag(one)), Some(one));
        }
        assert_eq!(purpose(0), None);
    }
}
