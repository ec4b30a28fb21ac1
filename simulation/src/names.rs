//! Host names and the resolver that knows them: as a rule each callee's name leads to its address; now and then
//! to nothing, or somewhere else each time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use env::BoxFuture;
use machine::Rng;
use node::Resolve;
use trunk::locate::{RecordKind, Srv};
use trunk::{Answer, Question, Records};

use crate::fault::{Effects, Kind};
use crate::plan::{callee, nobody};
use crate::redirects;

/// The resolver of a world.
pub struct Names {
    state: Mutex<State>,
    effects: Arc<Effects>,
}

struct State {
    rng: Rng,
    /// What is wrong now, each with the callee whose name it meets.
    moods: BTreeMap<usize, (Kind, usize)>,
    asked: usize,
}

/// The name of a callee's host.
pub fn name_of(callee: usize) -> String {
    format!("carrier{callee}{DOMAIN}")
}

/// Whose name this is.
pub(crate) fn callee_of(host: &str) -> Option<usize> {
    host.strip_prefix("carrier")?.strip_suffix(DOMAIN)?.parse().ok()
}

impl Names {
    /// A resolver whose delays follow from `rng`.
    pub(crate) fn new(effects: Arc<Effects>, rng: Rng) -> Names {
        Names { state: Mutex::new(State { rng, moods: BTreeMap::new(), asked: 0 }), effects }
    }

    /// From now on a kind of trouble meets a callee's name, or with `None` no more.
    pub fn set(&self, id: usize, mood: Option<(Kind, usize)>) {
        let moods = &mut self.lock().moods;
        match mood {
            Some(mood) => drop(moods.insert(id, mood)),
            None => drop(moods.remove(&id)),
        }
    }

    /// What a name leads to now, and how long it takes to find out.
    fn answer(&self, host: &str) -> (Duration, Vec<IpAddr>) {
        if let Ok(address) = host.parse() {
            return (Duration::ZERO, vec![address]);
        }
        let mut state = self.lock();
        if let Some(addresses) = redirects::addresses_of(host) {
            return (Duration::from_micros(300 + state.rng.below(8_000)), addresses);
        }
        let Some(place) = callee_of(host) else { return (Duration::ZERO, Vec::new()) };
        state.asked += 1;
        let mut answer = (Duration::from_micros(300 + state.rng.below(8_000)), vec![callee(place).ip()]);
        let moods: Vec<(Kind, usize)> = state.moods.values().copied().collect();
        for (kind, whose) in moods {
            match kind {
                Kind::DnsEmpty if whose == place => answer.1.clear(),
                // A domain that is gone is found out by asking several servers.
                Kind::DnsNxdomain => answer = (Duration::from_micros(state.rng.below(1_500_000)), Vec::new()),
                // Another order each time, and every second time a host first where nobody is.
                Kind::DnsFlip if whose == place && state.asked.is_multiple_of(2) => {
                    answer.1.insert(0, nobody().ip())
                }
                _ => continue,
            }
            self.effects.count(kind);
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// The resolver as a node sees it.
pub(crate) struct Asking(pub(crate) Arc<Names>);

impl Resolve for Asking {
    fn look_up(&self, question: Question) -> BoxFuture<'static, Answer> {
        let mut records = Records::default();
        let mut after = Duration::ZERO;
        match (question.kind, question.name.strip_prefix("_sip._udp.")) {
            (RecordKind::Address, _) => (after, records.addresses) = self.0.answer(&question.name),
            // Each callee's host is the only one of its domain; by TCP it is called without SRV.
            (RecordKind::Srv, Some(host)) if callee_of(host).is_some() => {
                records.srv = vec![Srv { priority: 0, weight: 0, port: 5060, host: host.to_owned() }];
            }
            (RecordKind::Srv | RecordKind::Naptr, _) => {}
        }
        Box::pin(async move {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            Answer::Said(records, TTL)
        })
    }
}

pub(crate) const DOMAIN: &str = ".sim.example";
/// How long each answer is good: troubles are found out soon.
const TTL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (Names, Arc<Effects>) {
        let effects = Arc::new(Effects::default());
        (Names::new(effects.clone(), Rng::from_u64(1)), effects)
    }

    #[test]
    fn a_name_leads_to_its_callee_and_an_address_to_itself() {
        let (names, effects) = names();
        assert_eq!(names.answer(&name_of(1)).1, [callee(1).ip()]);
        assert_eq!(names.answer("10.0.2.1"), (Duration::ZERO, vec![callee(0).ip()]));
        assert!(names.answer("elsewhere.example").1.is_empty());
        assert!(effects.counts().is_empty());
    }

    #[test]
    fn each_trouble_meets_its_name_and_is_counted() {
        for (kind, met) in [(Kind::DnsEmpty, 0), (Kind::DnsNxdomain, 0), (Kind::DnsFlip, 2)] {
            let (names, effects) = names();
            names.set(7, Some((kind, 0)));
            // Every second answer flips; this is the second.
            let others = names.answer(&name_of(1)).1.len();
            assert_eq!(names.answer(&name_of(0)).1.len(), met, "{kind}");
            assert_eq!(others, usize::from(kind != Kind::DnsNxdomain), "{kind}");
            assert_eq!(effects.counts().get(&kind), Some(&if others == 0 { 2 } else { 1 }), "{kind}");
            names.set(7, None);
            assert_eq!(names.answer(&name_of(0)).1, [callee(0).ip()]);
        }
    }
}
