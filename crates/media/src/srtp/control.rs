//! SRTCP: the index stands in the packet (RFC 3711 §3.4).

use env::SrtpKey;

use super::cipher::{Cipher, Packet};
use super::receiver::Refused;
use super::sender::Unsent;
use super::window::Window;

/// Opens a peer's SRTCP.
pub(super) struct ControlReceiver {
    cipher: Cipher,
    window: Option<Window>,
}

impl ControlReceiver {
    pub fn new(key: &SrtpKey) -> ControlReceiver {
        ControlReceiver { cipher: Cipher::rtcp(key), window: None }
    }

    pub fn open(&mut self, bytes: &mut [u8]) -> Result<usize, Refused> {
        let ssrc = ssrc(bytes).ok_or(Refused::Forged)?;
        // Behind the index stands the tag of counter mode; before it, that of an AEAD (RFC 7714 §9.4).
        let behind = match &self.cipher {
            Cipher::Cm { tag, .. } => *tag,
            Cipher::Gcm { .. } => 0,
        };
        let word = bytes.len().checked_sub(behind + 4).and_then(|at| bytes.get(at..)?.first_chunk::<4>());
        let word = u32::from_be_bytes(*word.ok_or(Refused::Forged)?);
        let (index, encrypted) = (word & 0x7FFF_FFFF, word >> 31 == 1);
        if self.window.is_some_and(|window| !window.is_fresh(index.into())) {
            return Err(Refused::Replayed);
        }
        let packet = Packet::Rtcp { ssrc, index, encrypted };
        let length = self.cipher.open(packet, bytes).ok_or(Refused::Forged)?;
        self.window.get_or_insert(Window::new(index.into())).take(index.into());
        Ok(length)
    }
}

/// Secures our SRTCP.
pub(super) struct ControlSender {
    cipher: Cipher,
    next: u32,
    /// The block of indices that may be used up to.
    mark: u32,
}

impl ControlSender {
    /// `recorded`: the block that a predecessor may have used up to; ours begin above it.
    pub fn new(key: &SrtpKey, recorded: Option<u32>) -> ControlSender {
        let next = recorded.map_or(0, |block| block.saturating_add(1).saturating_mul(BLOCK));
        ControlSender { cipher: Cipher::rtcp(key), next, mark: recorded.unwrap_or(0) }
    }

    pub fn seal(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, Unsent> {
        let block = self.next / BLOCK;
        if block > self.mark || self.next > INDEX_MAX {
            return Err(Unsent::Unrecorded(block));
        }
        let ssrc = ssrc(buffer).ok_or(Unsent::Malformed)?;
        let packet = Packet::Rtcp { ssrc, index: self.next, encrypted: true };
        let length = self.cipher.seal(packet, buffer, length).ok_or(Unsent::Malformed)?;
        self.next += 1;
        Ok(length)
    }

    pub fn recorded(&mut self, mark: u32) {
        self.mark = self.mark.max(mark);
    }
}

/// How many indices of SRTCP one record allows; so many are skipped at a takeover.
const BLOCK: u32 = 1 << 16;
/// The highest index; then the key is used up (RFC 3711 §9.2).
const INDEX_MAX: u32 = 0x7FFF_FFFF;

fn ssrc(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(4..)?.first_chunk::<4>()?))
}
