//! openraft's runtime over the node's seams: tasks through [`env::Spawn`], chance from the node's generator.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use env::{BoxFuture, Spawn};
use futures::channel::oneshot;
use openraft::OptionalSend;
use openraft::async_runtime::AsyncRuntime;
use openraft::impls::TokioRuntime;
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// What the tasks of one node's Raft share. openraft asks for a task or a random number without saying for
/// whom, so each of its tasks carries this.
pub(super) struct Ambient {
    spawn: Arc<dyn Spawn>,
    chance: Mutex<machine::Rng>,
}

tokio::task_local! {
    static AMBIENT: Arc<Ambient>;
}

impl Ambient {
    pub(super) fn new(spawn: Arc<dyn Spawn>, chance: machine::Rng) -> Arc<Ambient> {
        Arc::new(Ambient { spawn, chance: Mutex::new(chance) })
    }

    /// Starts a task of Raft's.
    pub(super) fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.spawn.spawn(name, task);
    }

    /// Runs a future that may call into openraft.
    pub(super) async fn scope<F: Future>(self: &Arc<Self>, future: F) -> F::Output {
        AMBIENT.scope(self.clone(), future).await
    }
}

/// The runtime of a node's Raft. A value of it is made only where openraft has to block, which a node never
/// asks it to.
#[derive(Debug)]
pub struct Runtime(TokioRuntime);

/// A task ended without giving its value: it panicked or was aborted.
#[derive(Debug)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task is gone")
    }
}

/// Waits for a task's value.
pub struct Join<T>(oneshot::Receiver<T>);

impl<T> Future for Join<T> {
    type Output = Result<T, Gone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|value| value.map_err(|_| Gone))
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = Gone;
    type JoinHandle<T: OptionalSend + 'static> = Join<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Join<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let ambient = AMBIENT.with(Arc::clone);
        let (tell, told) = oneshot::channel();
        let task = AMBIENT.scope(ambient.clone(), async move {
            // Nobody may be waiting.
            drop(tell.send(future.await));
        });
        ambient.spawn.spawn("raft", Box::pin(task));
        Join(told)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(_: &Gone) -> bool {
        false
    }

    fn thread_rng() -> SmallRng {
        let seed =
            AMBIENT.with(|ambient| ambient.chance.lock().unwrap_or_else(PoisonError::into_inner).next_u64());
        SmallRng::seed_from_u64(seed)
    }

    fn new(threads: usize) -> Runtime {
        Runtime(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
