//! Tasks and sleeping.

use std::future::Future;
use std::pin::Pin;

use machine::Instant;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A running task; dropping the handle lets it go on.
pub trait Task: Send + Sync {
    /// Ends the task at its next suspension point.
    fn abort(&self);
}

/// Where a node's tasks run.
pub trait Spawn: Send + Sync + 'static {
    /// Runs `task`; `name` is for people.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn Task>;
    /// Waits until `at` on the node's clock.
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()>;
}
