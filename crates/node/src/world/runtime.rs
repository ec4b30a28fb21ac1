//! Tasks and sleeping on tokio; chance from the operating system.

use std::sync::Arc;

use env::{BoxFuture, Entropy, Spawn, Task};
use machine::Instant;
use rand::TryRng;
use rand::rngs::SysRng;

use crate::clock::SystemClock;

/// Tasks on the current tokio runtime.
#[derive(Clone, Debug)]
pub struct TokioSpawn {
    clock: Arc<SystemClock>,
}

impl TokioSpawn {
    /// Sleeps by `clock`.
    pub fn new(clock: Arc<SystemClock>) -> TokioSpawn {
        TokioSpawn { clock }
    }
}

struct TokioTask(tokio::task::AbortHandle);

impl Task for TokioTask {
    fn abort(&self) {
        self.0.abort();
    }
}

impl Spawn for TokioSpawn {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn Task> {
        Box::new(TokioTask(tokio::spawn(task).abort_handle()))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(self.clock.to_tokio(at)))
    }
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        // Without chance, tags and nonces could be guessed: better no node than such a one.
        SysRng.try_fill_bytes(out).expect("the system has a working random source");
    }
}
