//! Floating addresses on the interfaces of machines, and the guards that keep them there: what `banyan guard` does
//! over netlink, in memory.
//!
//! A machine hears and speaks only by addresses that it has. Its guard takes each off when the server's lease ends
//! or the server does, and says so to the others; a guard that was killed does neither, and the kernel drops the
//! addresses some seconds later.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use env::{Addresses, BoxFuture, Clock as _};
use machine::Instant;

use crate::life::Life;
use crate::time::{NodeClock, VirtualClock};

/// All guards of a world, and the interfaces that they keep.
pub struct Guards {
    clock: Arc<VirtualClock>,
    /// The addresses that float between interfaces.
    floats: BTreeSet<IpAddr>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who has put each address onto its interface; the last to announce it is heard by the neighbours.
    stands: BTreeMap<IpAddr, Vec<Stand>>,
    /// Until when a machine has no guard.
    unguarded: BTreeMap<u64, Instant>,
    /// Two machines that had one address at a time, in words.
    doubles: Vec<String>,
}

struct Stand {
    life: Arc<Life>,
    /// Until when the server may speak.
    until: Instant,
    /// Until when the kernel keeps it without a guard.
    lingers: Option<Instant>,
}

impl Stand {
    fn stands(&self, now: Instant) -> bool {
        match self.lingers {
            Some(until) => now < until,
            None => now < self.until && !self.life.is_over(),
        }
    }
}

impl Guards {
    /// Guards of these addresses; of none, every machine has every address.
    pub(crate) fn new(clock: Arc<VirtualClock>, floats: impl IntoIterator<Item = IpAddr>) -> Guards {
        Guards { clock, floats: floats.into_iter().collect(), state: Mutex::default() }
    }

    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        !self.floats.is_empty()
    }

    /// The machine that hears at an address, if it floats; `None`: whoever listens.
    pub(crate) fn hears(&self, address: IpAddr) -> Option<Option<u64>> {
        if !self.floats.contains(&address) {
            return None;
        }
        let (now, state) = (self.clock.now(), self.lock());
        let stands = state.stands.get(&address).into_iter().flatten();
        Some(stands.rev().find(|stand| stand.stands(now)).map(|stand| stand.life.node()))
    }

    /// Whether a machine may send from an address: it has it, or the address does not float.
    pub(crate) fn has(&self, node: u64, address: IpAddr) -> bool {
        if !self.floats.contains(&address) {
            return true;
        }
        let (now, state) = (self.clock.now(), self.lock());
        let mut stands = state.stands.get(&address).into_iter().flatten();
        stands.any(|stand| stand.life.node() == node && stand.stands(now))
    }

    /// Whether a machine has any address now.
    pub fn keeps(&self, node: u64) -> bool {
        let (now, state) = (self.clock.now(), self.lock());
        state.stands.values().flatten().any(|stand| stand.life.node() == node && stand.stands(now))
    }

    /// The guard of a machine is killed; its server, if it lives, starts another.
    pub fn kill(&self, node: u64) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.unguarded.insert(node, now + SPAWN_AGAIN);
        for stand in state.stands.values_mut().flatten() {
            if stand.life.node() == node && stand.stands(now) {
                stand.lingers = Some(now + LIFETIME);
            }
        }
    }

    /// The next word of a machine's guard is lost: its server is about to end.
    pub fn mute(&self, node: u64) {
        let until = self.clock.now() + Duration::from_nanos(1);
        self.lock().unguarded.insert(node, until);
    }

    /// Whether a machine has a guard now, which tells others when its server ends.
    pub fn guards(&self, node: u64) -> bool {
        let now = self.clock.now();
        self.are_there() && self.lock().unguarded.get(&node).is_none_or(|until| *until <= now)
    }

    /// Two machines that had one address at a time, if that was seen.
    pub fn double(&self) -> Option<String> {
        self.lock().doubles.first().cloned()
    }

    /// A server wants this address on its machine until then.
    fn hold(&self, life: &Arc<Life>, address: IpAddr, until: Option<Instant>) {
        let now = self.clock.now();
        let until = until.filter(|until| *until > now && !life.is_over());
        let mut state = self.lock();
        // Without a guard nothing is put and nothing is taken.
        if state.unguarded.get(&life.node()).is_some_and(|until| *until > now) {
            return;
        }
        let stands = state.stands.entry(address).or_default();
        stands.retain(|stand| stand.stands(now));
        let known = stands.iter().position(|stand| Arc::ptr_eq(&stand.life, life));
        match (until, known) {
            (Some(until), Some(known)) => {
                let stand = &mut stands[known];
                (stand.until, stand.lingers) = (until, None);
            }
            (Some(until), None) => {
                let fenced = |it: &&Stand| it.lingers.is_none() && it.life.node() != life.node();
                let other = stands.iter().find(fenced).map(|other| other.life.node());
                stands.push(Stand { life: life.clone(), until, lingers: None });
                if let Some(other) = other {
                    let found = format!("{address} is on node {other} and comes to node {}", life.node());
                    state.doubles.push(found);
                }
            }
            (None, Some(known)) => drop(stands.remove(known)),
            (None, None) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// A server's side: what it wants on its machine.
pub(crate) struct MemoryAddresses {
    pub(crate) guards: Arc<Guards>,
    pub(crate) clock: Arc<NodeClock>,
    pub(crate) life: Arc<Life>,
    pub(crate) wanted: Mutex<(BTreeSet<IpAddr>, Option<Instant>)>,
}

impl MemoryAddresses {
    fn until(&self, until: Option<Instant>) -> Option<Instant> {
        until.map(|until| self.clock.true_time(until))
    }
}

impl Addresses for MemoryAddresses {
    fn add(&self, address: IpAddr) -> BoxFuture<'static, io::Result<()>> {
        if self.guards.floats.contains(&address) {
            let mut wanted = self.wanted.lock().expect("no holder of this lock panics");
            wanted.0.insert(address);
            self.guards.hold(&self.life, address, self.until(wanted.1));
        }
        Box::pin(async { Ok(()) })
    }

    fn remove(&self, address: IpAddr) -> BoxFuture<'static, ()> {
        if self.wanted.lock().expect("no holder of this lock panics").0.remove(&address) {
            self.guards.hold(&self.life, address, None);
        }
        Box::pin(async {})
    }

    fn renew(&self, until: Option<Instant>) {
        let mut wanted = self.wanted.lock().expect("no holder of this lock panics");
        wanted.1 = until;
        for address in &wanted.0 {
            self.guards.hold(&self.life, *address, self.until(until));
        }
    }
}

/// How long a kernel keeps an address that nobody renews: `valid_lft` in `banyan guard`.
const LIFETIME: Duration = Duration::from_secs(3);
/// When a server starts another guard.
const SPAWN_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 9, 1));

    fn server(guards: &Arc<Guards>, life: &Arc<Life>) -> MemoryAddresses {
        let clock = Arc::new(NodeClock::right(guards.clock.clone()));
        MemoryAddresses { guards: guards.clone(), clock, life: life.clone(), wanted: Mutex::default() }
    }

    fn at(ms: u64) -> Option<Instant> {
        Some(Instant::ZERO + Duration::from_millis(ms))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_stands_for_the_lease_and_no_longer() {
        let guards = Arc::new(Guards::new(Arc::new(VirtualClock::start()), [HOME]));
        let (life, other) = (Life::new(1, 1), Life::new(2, 1));
        let (one, two) = (server(&guards, &life), server(&guards, &other));
        one.renew(at(250));
        one.add(HOME).await.expect("it comes");
        assert_eq!(
            (guards.hears(HOME), guards.has(1, HOME), guards.has(2, HOME)),
            (Some(Some(1)), true, false)
        );
        tokio::time::sleep(Duration::from_millis(251)).await;
        assert_eq!((guards.hears(HOME), guards.has(1, HOME)), (Some(None), false));
        two.renew(at(900));
        two.add(HOME).await.expect("it comes");
        assert_eq!((guards.hears(HOME), guards.double()), (Some(Some(2)), None));
        one.renew(at(900));
        assert!(guards.double().is_some(), "two machines have it");
        assert_eq!(guards.hears([10, 0, 9, 2].into()), None, "it does not float");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_s_end_takes_its_addresses_away_unless_its_guard_was_killed() {
        let guards = Arc::new(Guards::new(Arc::new(VirtualClock::start()), [HOME]));
        let life = Life::new(1, 1);
        let one = server(&guards, &life);
        one.renew(at(9_000));
        one.add(HOME).await.expect("it comes");
        guards.kill(1);
        life.end();
        assert!(!guards.guards(1) && guards.has(1, HOME), "the kernel keeps it");
        tokio::time::sleep(LIFETIME).await;
        assert!(guards.guards(1) && !guards.has(1, HOME));
        let next = Life::new(1, 2);
        let again = server(&guards, &next);
        again.renew(at(9_000));
        again.add(HOME).await.expect("it comes");
        next.end();
        assert!(!guards.has(1, HOME));
    }
}
