//! Packet indices: from a sequence number to the index that it stands for (RFC 3711 §3.3.1), and none twice (§3.3.2).

/// So many packets may come late.
const WIDTH: u64 = 64;

/// The indices of one source that were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    highest: u64,
    /// The bit n is that of `highest - n`.
    used: u64,
}

impl Window {
    /// Nothing was used but this.
    pub const fn new(first: u64) -> Window {
        Window { highest: first, used: 1 }
    }

    /// The index that a sequence number most likely stands for: the nearest to the highest so far.
    pub fn estimate(self, sequence: u16) -> u64 {
        let step = i64::from(sequence.wrapping_sub(self.highest as u16).cast_signed());
        self.highest.checked_add_signed(step).unwrap_or(u64::from(sequence))
    }

    /// Whether an index was not used yet, as far as is remembered.
    pub fn is_fresh(self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => true,
            Some(behind) => behind < WIDTH && self.used >> behind & 1 == 0,
        }
    }

    /// Notes that a fresh index is used.
    pub fn take(&mut self, index: u64) {
        match self.highest.checked_sub(index) {
            Some(behind) => self.used |= 1_u64.checked_shl(behind as u32).unwrap_or(0),
            None => {
                let ahead = index - self.highest;
                self.used = if ahead < WIDTH { self.used << ahead | 1 } else { 1 };
                self.highest = index;
            }
        }
    }
}

/// The half-round that an index is in.
pub(super) const fn half_of(index: u64) -> u32 {
    (index >> 15) as u32
}

/// Whether the next half-round begins soon: for a wrap, from sequence number 0xF000 on.
pub(super) const fn is_late(index: u64) -> bool {
    index & 0x7FFF >= 0x7000
}

/// The index that a sequence number stands for, where all that is known is how far the source may have come: it is in
/// the half-round of the mark, or in the one before it.
pub(super) fn resume(mark: u32, sequence: u16) -> u64 {
    let upper = u32::from(sequence >> 15);
    let half = if mark & 1 == upper { mark } else { mark.saturating_sub(1) };
    u64::from(half) << 15 | u64::from(sequence & 0x7FFF)
}

/// How far a source may have come of which nothing is recorded: not beyond its first wrap.
pub(super) const FIRST_MARK: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 §3.3.1: v is ROC - 1, ROC or ROC + 1, whichever brings the index nearest.
    #[test]
    fn a_sequence_number_stands_for_the_nearest_index() {
        for (highest, sequence, expected) in [
            (0x1_FFFF, 0x0000, 0x2_0000),
            (0x2_0000, 0xFFFF, 0x1_FFFF),
            (0x1_8000, 0x8001, 0x1_8001),
            (0x1_0005, 0x0003, 0x1_0003),
            // There is no round before the first.
            (0x0_0005, 0xFFFE, 0x0_FFFE),
        ] {
            assert_eq!(Window::new(highest).estimate(sequence), expected, "{highest:x} {sequence:x}");
        }
    }

    #[test]
    fn an_index_is_fresh_once_and_not_when_it_is_long_past() {
        let mut window = Window::new(1000);
        assert!(!window.is_fresh(1000));
        window.take(1002);
        assert!(window.is_fresh(1001) && !window.is_fresh(1000));
        window.take(1001);
        assert!(!window.is_fresh(1001));
        assert!(window.is_fresh(939) && !window.is_fresh(938)); // 1002 - 63, 1002 - 64
        window.take(5000);
        assert!(!window.is_fresh(1002) && !window.is_fresh(5000) && window.is_fresh(4999));
    }

    /// A mark m is recorded when the half-round m - 1 is nearly over, and the next one when m is: so a successor
    /// finds its source in one of the two.
    #[test]
    fn a_successor_finds_the_half_round_again() {
        assert_eq!(resume(FIRST_MARK, 0x1234), 0x0_1234);
        assert_eq!(resume(FIRST_MARK, 0xF123), 0x0_F123);
        assert_eq!(resume(2, 0xFFFE), 0x0_FFFE); // recorded at 0xF000, not yet wrapped
        assert_eq!(resume(2, 0x0001), 0x1_0001);
        assert_eq!(resume(3, 0x7FFF), 0x1_7FFF);
        assert_eq!(resume(3, 0xF001), 0x1_F001); // past 0xF000, and the next mark was never recorded
    }
}
