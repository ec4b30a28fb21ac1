//! Chance from a seed: for the node through its seam, and for libraries that ask the system themselves.
//!
//! `getrandom` is interposed for the whole process: hash maps inside dependencies draw their keys through it,
//! and their order would otherwise differ from run to run. One of the two places where `unsafe` is allowed.
#![allow(unsafe_code)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use env::Entropy;
use machine::Rng;

/// A node's seeded source of chance.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<Rng>);

impl SeededEntropy {
    /// Everything it gives follows from `rng`.
    pub fn new(rng: Rng) -> SeededEntropy {
        SeededEntropy(Mutex::new(rng))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().expect("no holder of this lock panics").fill(out);
    }
}

/// 0: the system's own chance; else the state of the generator that replaces it.
static STATE: AtomicU64 = AtomicU64::new(0);

/// From now on the process's `getrandom` follows from `seed`.
pub fn interpose(seed: u64) {
    STATE.store(seed | 1, Ordering::Relaxed);
}

/// Takes the place of the C library's function of this name.
///
/// # Safety
/// `out` points to `len` writable bytes, as the C library demands of its callers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(out: *mut u8, len: usize, flags: u32) -> isize {
    if STATE.load(Ordering::Relaxed) == 0 {
        // SAFETY: the arguments are passed on as they came; the kernel checks them.
        return unsafe { libc::syscall(libc::SYS_getrandom, out, len, flags) as isize };
    }
    // SAFETY: the caller promises `len` writable bytes at `out`, and nobody else writes them meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts_mut(out, len) };
    for chunk in bytes.chunks_mut(8) {
        for (byte, drawn) in chunk.iter_mut().zip(next().to_le_bytes()) {
            *byte = drawn;
        }
    }
    len as isize
}

/// SplitMix64.
fn next() -> u64 {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut z = STATE.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
