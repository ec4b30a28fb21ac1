//! Chance, handed in: a generator that its owner seeds.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng};

/// A seeded generator. The shell seeds it from the system, the simulation from its seed.
#[derive(Debug)]
pub struct Rng(StdRng);

impl Rng {
    /// A generator whose whole future follows from `seed`.
    pub fn seeded(seed: [u8; 32]) -> Rng {
        Rng(StdRng::from_seed(seed))
    }

    /// A generator from a short seed.
    pub fn from_u64(seed: u64) -> Rng {
        Rng(StdRng::seed_from_u64(seed))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.random_range(0..bound) }
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// A generator of its own, seeded by this one.
    pub fn fork(&mut self) -> Rng {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Rng::seeded(seed)
    }
}
