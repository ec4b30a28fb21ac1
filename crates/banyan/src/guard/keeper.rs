//! The server's side: floating addresses through a guard, or through hooks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use env::{Addresses, BoxFuture, Clock};
use machine::Instant;
use node::{NodeHandle, SystemClock};
use tokio::sync::oneshot;

use super::hook;
use super::word::{Hold, Life, Order, Report};

/// How an address comes to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is put onto an interface, by the guard.
    Interface(String),
    /// A program brings it.
    Hook(PathBuf),
}

/// Keeps the floating addresses of a server.
pub(crate) struct Keeper {
    places: BTreeMap<IpAddr, Place>,
    clock: Arc<SystemClock>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    wanted: BTreeSet<IpAddr>,
    until: Option<Instant>,
    life: Option<Life>,
    /// The pipe to the guard, while there is one.
    pipe: Option<ChildStdin>,
    /// Which guard it is; when it began.
    guard: u64,
    began: Instant,
    number: u64,
    waiting: Vec<(u64, oneshot::Sender<Report>)>,
}

impl Keeper {
    /// Begins, with a guard if any address belongs onto an interface. Waits until the guard has found every interface.
    ///
    /// # Errors
    /// There is no such interface, the privilege (CAP_NET_ADMIN) is missing, or no process can be started.
    pub(crate) async fn start(
        places: BTreeMap<IpAddr, Place>,
        clock: Arc<SystemClock>,
    ) -> io::Result<Arc<Keeper>> {
        let keeper = Arc::new(Keeper { places, clock, state: Arc::default() });
        if !keeper.has_guard() {
            return Ok(keeper);
        }
        let (tell, told) = oneshot::channel();
        keeper.lock().waiting.push((0, tell));
        keeper.spawn()?;
        let report = tokio::time::timeout(PATIENCE, told).await.map_err(|_| io::ErrorKind::TimedOut)?;
        let report = report.map_err(|_| io::Error::other("the guard ended at once"))?;
        match report.refused.first_key_value() {
            None => Ok(keeper),
            Some((address, why)) => {
                let place = keeper.interface(*address).unwrap_or_default();
                Err(io::Error::other(format!("{address} on {place}: {why} (this needs CAP_NET_ADMIN)")))
            }
        }
    }

    /// Whether any address belongs onto an interface.
    pub(crate) fn has_guard(&self) -> bool {
        self.places.values().any(|place| matches!(place, Place::Interface(_)))
    }

    /// Which life this is, and whom the guard tells of its end.
    fn live(&self, life: Life) {
        if !self.has_guard() {
            return;
        }
        let mut state = self.lock();
        if state.life.as_ref() != Some(&life) {
            state.tell(&Order::Live(life.clone()));
            state.life = Some(life);
        }
    }

    /// Tells the guard who lives, and whom to tell of its end, whenever that changes. Never ends.
    pub(crate) async fn outlive(self: Arc<Keeper>, node: NodeHandle, key: [u8; 32]) {
        loop {
            let cluster = node.cluster();
            let own = cluster.node();
            let members = cluster.status().members;
            let others = members.iter().filter(|member| member.node != own);
            self.live(Life {
                node: own.0,
                incarnation: cluster.booted().incarnation.0,
                key,
                peers: others.filter_map(|member| member.at).collect(),
            });
            tokio::time::sleep(MEMBERS_AGAIN).await;
        }
    }

    fn interface(&self, address: IpAddr) -> Option<&str> {
        match self.places.get(&address)? {
            Place::Interface(name) => Some(name),
            Place::Hook(_) => None,
        }
    }

    /// Starts a guard and tells it everything.
    fn spawn(&self) -> io::Result<()> {
        // This very program, even if its file was replaced meanwhile.
        let mut child = Command::new("/proc/self/exe")
            .arg0("banyan")
            .arg("guard")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        // A guard that stands still must not stop its server.
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let interfaces = self.places.keys().filter_map(|it| Some((*it, self.interface(*it)?.to_owned())));
        let mut state = self.lock();
        state.pipe = Some(pipe);
        state.guard += 1;
        state.began = self.clock.now();
        state.tell(&Order::Interfaces(interfaces.collect()));
        if let Some(life) = state.life.clone() {
            state.tell(&Order::Live(life));
        }
        let (ear, guard) = (self.state.clone(), state.guard);
        drop(state);
        thread::Builder::new().name("guard".to_owned()).spawn(move || listen(child, &ear, guard))?;
        Ok(())
    }

    /// Says what is wanted now; gives the number of the order.
    fn hold(&self, state: &mut State) -> u64 {
        state.number += 1;
        // The guard's clock first: a pause in between makes the deadline earlier, never later.
        let guards_now = super::now();
        let left = state.until.map(|until| until.since(self.clock.now()));
        let until_ns = left.filter(|left| !left.is_zero()).map_or(0, |left| (guards_now + left).as_nanos());
        let (number, addresses) = (state.number, state.wanted.clone());
        state.tell(&Order::Hold(Hold { number, until_ns, addresses }));
        number
    }

    /// Says what is wanted now; ready when the guard has done it.
    fn hold_and_wait(&self) -> impl Future<Output = io::Result<Report>> + use<> {
        let mut state = self.lock();
        let number = self.hold(&mut state);
        let (tell, told) = oneshot::channel();
        state.waiting.push((number, tell));
        async move {
            let report = tokio::time::timeout(PATIENCE, told).await.map_err(|_| io::ErrorKind::TimedOut)?;
            report.map_err(|_| io::Error::other("the guard has ended"))
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Addresses for Keeper {
    fn add(&self, address: IpAddr) -> BoxFuture<'static, io::Result<()>> {
        match self.places.get(&address) {
            None => Box::pin(async { Ok(()) }),
            Some(Place::Hook(path)) => ask(path.clone(), "add", address),
            Some(Place::Interface(_)) => {
                self.lock().wanted.insert(address);
                let (report, state) = (self.hold_and_wait(), self.state.clone());
                Box::pin(async move {
                    let refused = report.await.map(|mut report| report.refused.remove(&address));
                    let error = match refused {
                        Ok(None) => return Ok(()),
                        Ok(Some(why)) => io::Error::other(why),
                        Err(error) => error,
                    };
                    lock(&state).wanted.remove(&address);
                    Err(error)
                })
            }
        }
    }

    fn remove(&self, address: IpAddr) -> BoxFuture<'static, ()> {
        match self.places.get(&address) {
            None => Box::pin(async {}),
            Some(Place::Hook(path)) => {
                let done = ask(path.clone(), "del", address);
                Box::pin(async move {
                    if let Err(error) = done.await {
                        tracing::warn!(%address, %error, "the hook failed");
                    }
                })
            }
            Some(Place::Interface(_)) => {
                self.lock().wanted.remove(&address);
                let done = self.hold_and_wait();
                Box::pin(async move {
                    // Without a guard the address goes by itself, as its lifetime ends.
                    if let Err(error) = done.await {
                        tracing::warn!(%address, %error, "the guard does not answer");
                    }
                })
            }
        }
    }

    fn renew(&self, until: Option<Instant>) {
        let mut state = self.lock();
        let changed = state.until != until;
        state.until = until;
        if state.wanted.is_empty() || !self.has_guard() {
            return;
        }
        let now = self.clock.now();
        if state.pipe.is_none() && now.since(state.began) >= SPAWN_AGAIN {
            state.began = now;
            drop(state);
            if let Err(error) = self.spawn() {
                tracing::error!(%error, "no guard can be started");
            }
            self.hold(&mut self.lock());
        } else if changed {
            self.hold(&mut state);
        }
    }
}

impl State {
    /// Writes a line. A pipe takes less than a page whole or not at all.
    fn tell(&mut self, order: &Order) {
        let (Some(pipe), Ok(mut line)) = (&mut self.pipe, serde_json::to_vec(order)) else { return };
        line.push(b'\n');
        if let Err(error) = pipe.write_all(&line) {
            tracing::error!(%error, "the guard does not listen");
            self.pipe = None;
        }
    }
}

/// Hears a guard until it ends.
fn listen(mut child: Child, state: &Mutex<State>, guard: u64) {
    let lines = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    for line in lines.map_while(Result::ok) {
        let Ok(report) = serde_json::from_str::<Report>(&line) else { continue };
        let mut state = lock(state);
        let (done, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.waiting).into_iter().partition(|(number, _)| *number <= report.number);
        state.waiting = rest;
        // Whoever no longer waits needs no answer.
        done.into_iter().for_each(|(_, tell)| drop(tell.send(report.clone())));
    }
    let status = child.wait();
    tracing::error!(?status, "the guard has ended");
    let mut state = lock(state);
    if state.guard == guard {
        state.pipe = None;
        state.waiting.clear();
    }
}

fn ask(path: PathBuf, verb: &'static str, address: IpAddr) -> BoxFuture<'static, io::Result<()>> {
    let (tell, told) = oneshot::channel();
    let spawned = thread::Builder::new()
        .name("hook".to_owned())
        .spawn(move || tell.send(hook::run(&path, verb, address)));
    Box::pin(async move {
        spawned?;
        told.await.map_err(|_| io::Error::from(io::ErrorKind::Interrupted))?
    })
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a guard may take for an order.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the members are looked at.
const MEMBERS_AGAIN: Duration = Duration::from_secs(1);
/// When a guard that ended is followed by another.
const SPAWN_AGAIN: Duration = Duration::from_secs(1);
