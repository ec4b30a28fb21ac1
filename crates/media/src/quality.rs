//! The figures of a call's media as its CDR keeps them.

use env::{RelayFigures, SideFigures};
use serde::{Deserialize, Serialize};

use crate::mos::mos_x100;

/// What came from one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionQuality {
    /// Packets that came.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Interarrival jitter in microseconds.
    pub jitter_us: u32,
    /// Estimated listening quality in hundredths; 0 when nothing came.
    pub mos_x100: u16,
}

/// What came from both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// From the caller.
    pub ingress: DirectionQuality,
    /// From the callee.
    pub egress: DirectionQuality,
}

impl Quality {
    /// Packets lost on both ways: the CDR's `packets_lost`.
    pub fn packets_lost(&self) -> u64 {
        self.ingress.lost + self.egress.lost
    }

    /// The worse of the two scores: the CDR's `mos`; `None` when neither side sent anything.
    pub fn mos_x100(&self) -> Option<u16> {
        [self.ingress.mos_x100, self.egress.mos_x100].into_iter().filter(|mos| *mos > 0).min()
    }

    /// Adds another stream of the same call.
    pub fn add(&mut self, other: &Quality) {
        self.ingress.add(&other.ingress);
        self.egress.add(&other.egress);
    }
}

impl DirectionQuality {
    fn add(&mut self, other: &DirectionQuality) {
        self.packets += other.packets;
        self.lost += other.lost;
        self.jitter_us = self.jitter_us.max(other.jitter_us);
        self.mos_x100 = mos_x100(self.packets, self.lost, self.jitter_us);
    }
}

impl From<&SideFigures> for DirectionQuality {
    fn from(figures: &SideFigures) -> DirectionQuality {
        DirectionQuality {
            packets: figures.packets,
            lost: figures.lost,
            jitter_us: figures.jitter_us,
            mos_x100: figures.mos_x100,
        }
    }
}

impl From<&RelayFigures> for Quality {
    fn from(figures: &RelayFigures) -> Quality {
        Quality { ingress: (&figures.ingress).into(), egress: (&figures.egress).into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_direction_speaks_for_the_call() {
        let side = |packets, lost| DirectionQuality {
            packets,
            lost,
            jitter_us: 0,
            mos_x100: mos_x100(packets, lost, 0),
        };
        let quality = Quality { ingress: side(1000, 0), egress: side(950, 50) };
        assert_eq!(quality.packets_lost(), 50);
        assert_eq!(quality.mos_x100(), Some(390));
        assert_eq!(Quality::default().mos_x100(), None);
        // One side that never spoke is no bad score: silence is an event of its own.
        assert_eq!(Quality { ingress: side(1000, 0), egress: side(0, 0) }.mos_x100(), Some(440));
    }
}
