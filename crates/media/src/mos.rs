//! Listening quality, estimated from loss and jitter by a reduced E-model (ITU-T G.107).
//!
//! R = 93.2 − Id − Ie,eff, where
//! - Id = 0.024·d + 0.11·(d − 177.3) for d > 177.3, d in ms: packetisation 20 ms, a jitter buffer of twice
//!   the jitter, and nothing for the path, which we cannot see;
//! - Ie,eff = 95·P / (P + 25.1), P in per cent: G.711 with loss concealment (G.113, Appendix I);
//! - MOS = 1 + 0.035·R + 7·10⁻⁶·R·(R − 60)·(100 − R).
//!
//! So it says how our part of the path treated the packets, not how the codec sounds.

/// The estimated mean opinion score in hundredths, 100 to 441; 0 when nothing came.
pub fn mos_x100(packets: u64, lost: u64, jitter_us: u32) -> u16 {
    if packets == 0 {
        return 0;
    }
    let loss = 100.0 * lost as f64 / (packets + lost) as f64;
    let delay = 20.0 + 2.0 * f64::from(jitter_us) / 1000.0;
    let late = if delay > 177.3 { 0.11 * (delay - 177.3) } else { 0.0 };
    let r = (93.2 - 0.024 * delay - late - 95.0 * loss / (loss + 25.1)).clamp(0.0, 100.0);
    let mos = 1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r);
    // Between 1 and 4.5 by construction, so it fits.
    (mos.max(1.0) * 100.0).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_follow_the_model() {
        // By hand. Clean: R = 93.2 - 0.48 = 92.72, MOS = 1 + 3.2452 + 0.1546 = 4.40.
        assert_eq!(mos_x100(1000, 0, 0), 440);
        // 5 % loss: Ie = 95 * 5 / 30.1 = 15.78, R = 76.94, MOS = 1 + 2.6929 + 0.2104 = 3.90.
        assert_eq!(mos_x100(950, 50, 0), 390);
        // Half lost: Ie = 95 * 50 / 75.1 = 63.25, R = 29.47, MOS = 1 + 1.0315 - 0.4442 = 1.59.
        assert_eq!(mos_x100(500, 500, 0), 159);
        assert_eq!(mos_x100(0, 500, 0), 0);
    }

    #[test]
    fn more_jitter_or_loss_is_never_better() {
        let mut last = u16::MAX;
        for jitter_ms in (0..1000).step_by(10) {
            let score = mos_x100(1000, 0, jitter_ms * 1000);
            assert!(score <= last && score >= 100);
            last = score;
        }
        let mut last = u16::MAX;
        for lost in 0..1000 {
            let score = mos_x100(1000 - lost, lost, 0);
            assert!(score <= last);
            last = score;
        }
    }
}
