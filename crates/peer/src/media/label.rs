//! What each packet says about itself: an RTP header (RFC 3550 §5.1) and 160 bytes of payload, whose first bytes
//! are the label and whose rest is A-law silence.

use crate::local::{CallRef, Side};

/// What a packet says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The run, so that another generator's packets are told apart.
    pub run: u32,
    /// The sender's end of the call.
    pub call: CallRef,
    /// The number of the end that the sender hears, once it heard it.
    pub heard: Option<u32>,
    /// Counts the sender's packets from 0.
    pub sequence: u64,
}

impl Label {
    /// The packet, for this payload type.
    pub fn write(&self, payload: u8) -> [u8; PACKET_BYTES] {
        let mut packet = [SILENCE; PACKET_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(slot) = packet.get_mut(at..at + bytes.len()) {
                slot.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        let sequence = self.sequence.to_be_bytes();
        let timestamp = self.sequence.wrapping_mul(SAMPLES).to_be_bytes();
        let side = match self.call.side {
            Side::Caller => 0,
            Side::Callee => 1_u8,
        };
        // The marker opens a talk spurt (RFC 3551 §4.1).
        let marker = if self.sequence == 0 { 0x80 } else { 0 };
        put(&[0x80, marker | payload]);
        put(&sequence[6..]);
        put(&timestamp[4..]);
        put(&(self.run ^ (self.call.number << 1) ^ u32::from(side)).to_be_bytes());
        put(MAGIC);
        put(&self.run.to_be_bytes());
        put(&[side]);
        put(&self.call.number.to_be_bytes());
        put(&self.heard.unwrap_or(u32::MAX).to_be_bytes());
        put(&sequence);
        packet
    }

    /// The label of a packet; `None` if it is not one of ours.
    pub fn read(packet: &[u8]) -> Option<Label> {
        if packet.len() != PACKET_BYTES || packet.first()? & 0xc0 != 0x80 {
            return None;
        }
        let mut rest = packet.get(12..)?;
        if take::<4>(&mut rest)? != *MAGIC {
            return None;
        }
        let run = u32::from_be_bytes(take(&mut rest)?);
        let side = match take::<1>(&mut rest)? {
            [0] => Side::Caller,
            [1] => Side::Callee,
            _ => return None,
        };
        let number = u32::from_be_bytes(take(&mut rest)?);
        let heard = u32::from_be_bytes(take(&mut rest)?);
        let sequence = u64::from_be_bytes(take(&mut rest)?);
        // What a relay must not touch: the header's sequence number agrees with the payload's.
        if packet.get(2..4)? != &sequence.to_be_bytes()[6..] {
            return None;
        }
        let heard = (heard != u32::MAX).then_some(heard);
        Some(Label { run, call: CallRef { side, number }, heard, sequence })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// RTP header and 20 ms of G.711.
pub const PACKET_BYTES: usize = 172;
const MAGIC: &[u8; 4] = b"Bnyn";
/// A-law silence.
const SILENCE: u8 = 0xd5;
/// 20 ms at 8 kHz.
const SAMPLES: u64 = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_survive_the_packet_and_damage_does_not_pass() {
        let label = Label { run: 7, call: CallRef::callee(9), heard: Some(3), sequence: 70_000 };
        let packet = label.write(8);
        assert_eq!(Label::read(&packet), Some(label));
        assert_eq!(packet[..4], [0x80, 8, 0x11, 0x70]); // 70,000 mod 65,536 = 0x1170
        let unheard = Label { heard: None, ..label };
        assert_eq!(Label::read(&unheard.write(0)), Some(unheard));
        for (at, value) in [(0, 0), (3, 0), (12, 0), (20, 2)] {
            let mut damaged = packet;
            damaged[at] = value;
            assert_eq!(Label::read(&damaged), None, "byte {at}");
        }
        assert_eq!(Label::read(&packet[..100]), None);
    }
}
