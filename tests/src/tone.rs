//! Tones: written as WAV for a peer to play, found again in what another peer recorded.
//!
//! Goertzel's filter measures how much of a signal's energy is at one frequency.

use std::f64::consts::TAU;
use std::fs;
use std::io;
use std::path::Path;

/// Writes `seconds` of a sine of `hertz` as 16-bit mono WAV at 8 kHz.
///
/// # Errors
/// When the file can't be written.
pub fn write(path: &Path, hertz: f64, seconds: u32) -> io::Result<()> {
    let bytes = seconds * RATE * 2;
    let mut wav = Vec::new();
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + bytes).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&RATE.to_le_bytes());
    wav.extend_from_slice(&(RATE * 2).to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&bytes.to_le_bytes());
    for sample in sine(hertz, seconds * RATE) {
        wav.extend_from_slice(&sample.to_le_bytes());
    }
    fs::write(path, wav)
}

/// Reads the samples of a 16-bit mono WAV; a header whose length was never filled in does not matter.
///
/// # Errors
/// When the file can't be read.
pub fn read(path: &Path) -> io::Result<Vec<i16>> {
    let bytes = fs::read(path)?;
    let data = bytes.windows(4).position(|window| window == b"data").map_or(bytes.len(), |at| at + 8);
    let data = bytes.get(data..).unwrap_or_default();
    Ok(data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

/// The share (0 to 1) of the samples' energy that is at `hertz`.
pub fn share(samples: &[i16], hertz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hertz / f64::from(RATE)).cos();
    let (mut before, mut last, mut energy) = (0.0, 0.0, 0.0);
    for sample in samples.iter().map(|&sample| f64::from(sample)) {
        let next = sample + coefficient * last - before;
        before = last;
        last = next;
        energy += sample * sample;
    }
    if energy == 0.0 {
        return 0.0;
    }
    let power = last * last + before * before - coefficient * last * before;
    2.0 * power / (energy * samples.len() as f64)
}

/// How many of the recording's tenths of a second are mostly the tone.
pub fn tenths_heard(samples: &[i16], hertz: f64) -> usize {
    samples.chunks_exact(RATE as usize / 10).filter(|tenth| share(tenth, hertz) > 0.8).count()
}

fn sine(hertz: f64, samples: u32) -> impl Iterator<Item = i16> {
    // The amplitude is half of full scale, so that no codec clips it.
    (0..samples).map(move |n| (16_000.0 * (TAU * hertz * f64::from(n) / f64::from(RATE)).sin()) as i16)
}

const RATE: u32 = 8_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_at_its_own_frequency_only() {
        let samples: Vec<_> = sine(440.0, RATE).collect();
        assert!(share(&samples, 440.0) > 0.99);
        assert!(share(&samples, 1_000.0) < 0.01);
        assert_eq!(tenths_heard(&samples, 440.0), 10);
        assert_eq!(tenths_heard(&samples, 1_000.0), 0);
        assert_eq!(share(&[0; 800], 440.0), 0.0);
    }

    #[test]
    fn a_written_tone_is_read_back() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("tone.wav");
        write(&path, 1_000.0, 1).expect("the file is written");
        let samples = read(&path).expect("the file is read");
        assert_eq!(samples, sine(1_000.0, RATE).collect::<Vec<_>>());
    }
}
