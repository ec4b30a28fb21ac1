//! One life of a node: from its start to its death. Everything that the world hands to a node carries its life,
//! and goes dead with it, so that nothing of a killed process can act any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use tokio::task::AbortHandle;

/// One life of a node, or of the peers, which live for ever.
#[derive(Debug, Default)]
pub struct Life {
    node: u64,
    number: u64,
    dead: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
    halted: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Life {
    /// The life of all callers and callees: nobody kills it.
    pub fn of_peers() -> Arc<Life> {
        Arc::default()
    }

    /// A node's life, the `number`th from 1.
    pub fn new(node: u64, number: u64) -> Arc<Life> {
        Arc::new(Life { node, number, ..Life::default() })
    }

    /// Whose; 0 for the peers.
    pub const fn node(&self) -> u64 {
        self.node
    }

    /// Which of the node's lives, from 1; 0 for the peers.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Ends it: its tasks are aborted, its handles do nothing any more.
    pub fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.tasks.lock().expect("no holder of this lock panics").drain(..).for_each(|task| task.abort());
    }

    /// Stops it, as SIGSTOP stops a process: its tasks do nothing until it goes on.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// Lets it go on where it stood; gives how many tasks had something to do meanwhile.
    pub fn go_on(&self) -> usize {
        self.halted.store(false, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.waiting.lock().expect("no holder of this lock panics"));
        let tasks = waiting.len();
        waiting.into_iter().for_each(Waker::wake);
        tasks
    }

    /// Whether it stands still.
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Whether a task of it must wait; it is woken when the life goes on.
    pub(crate) fn halts(&self, waker: &Waker) -> bool {
        if !self.is_halted() {
            return false;
        }
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        true
    }

    /// A task that ends with this life.
    pub(crate) fn keep(&self, task: AbortHandle) {
        if self.is_over() {
            return task.abort();
        }
        let mut tasks = self.tasks.lock().expect("no holder of this lock panics");
        // Finished ones are let go of now and then, not each time.
        if tasks.len() >= TASKS_KEPT && tasks.len().is_power_of_two() {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task);
    }

    /// How many tasks of it go on.
    pub(crate) fn tasks(&self) -> usize {
        let tasks = self.tasks.lock().expect("no holder of this lock panics");
        tasks.iter().filter(|task| !task.is_finished()).count()
    }

    /// Whether two lives cannot both have one address: they are on the same host.
    pub(crate) fn shares_host(&self, other: &Life) -> bool {
        self.node == other.node && !other.is_over()
    }
}

const TASKS_KEPT: usize = 64;
