//! I-22 every account is registered, two of them from two nodes; I-23 one node at a time registers an account, and never
//! in a storm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Enrolment, State};
use machine::Instant;
use node::NodeHandle;
use trunk::Name;

use super::{Invariant, Sent, View};
use crate::accounts::{self, Accounts, GATEWAY, Registrar};
use crate::letter::{Letter, Start, header};

/// I-23 on the wire. A series of REGISTERs (one Call-ID) is what one node makes for as long as a registration is its own.
#[derive(Debug, Default)]
pub struct OneRegistrant {
    accounts: BTreeMap<String, Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// The series so far, by their first words.
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    call_id: String,
    node: u64,
    /// The CSeq of the last REGISTER.
    cseq: u32,
    /// When each of its questions that answers no challenge was first asked.
    asked: Vec<Instant>,
    /// How many of those were asked in a row since the last 200.
    in_vain: u32,
}

impl OneRegistrant {
    /// A node says REGISTER.
    fn registers(
        &mut self,
        at: Instant,
        node: u64,
        letter: &Letter<'_>,
        user: &str,
        answers: bool,
    ) -> Option<String> {
        let account = self.accounts.entry(user.to_owned()).or_default();
        let Some(place) = account.series.iter().position(|it| it.call_id == letter.call_id) else {
            let asked = vec![at];
            let series =
                Series { call_id: letter.call_id.to_owned(), node, cseq: letter.cseq.0, asked, in_vain: 1 };
            account.series.push(series);
            return account.storm(at);
        };
        if place + 1 < account.series.len() {
            let newer = account.series.last().map_or(0, |it| it.node);
            return Some(format!("{user}: node {node} registers, and node {newer} has begun to"));
        }
        let series = account.series.get_mut(place)?;
        if letter.cseq.0 <= series.cseq {
            return None;
        }
        series.cseq = letter.cseq.0;
        if answers {
            return None;
        }
        let before = series.asked.last().copied().unwrap_or_default();
        let (waited, least) = (at.since(before), least_wait(series.in_vain));
        series.asked.push(at);
        series.in_vain += 1;
        if waited < least {
            let in_vain = series.in_vain - 1;
            return Some(format!("{user}: node {node} asks again after {waited:?}, {in_vain} times in vain"));
        }
        account.storm(at)
    }

    /// The registrar grants something.
    fn granted(&mut self, letter: &Letter<'_>) {
        let all = self.accounts.values_mut().flat_map(|account| &mut account.series);
        all.filter(|series| series.call_id == letter.call_id).for_each(|series| series.in_vain = 0);
    }
}

impl Account {
    /// Whether more questions were asked lately than can be.
    fn storm(&self, at: Instant) -> Option<String> {
        let recent = |asked: &&Instant| at.since(**asked) < WINDOW;
        let count = self.series.iter().flat_map(|it| &it.asked).filter(recent).count();
        (count > STORM).then(|| format!("it was asked {count} times in {WINDOW:?}"))
    }
}

/// The least time between two questions of a series, so many of which were asked in a row without a 200, as `trunk::registrar`
/// promises: 2 s, doubled for each failure up to 5 min, and at least half of that; after a 200 one second, whatever it
/// grants. And a fiftieth less, since a node's clock may run too fast.
fn least_wait(in_vain: u32) -> Duration {
    let least = match in_vain {
        0 => Duration::from_secs(1),
        failures => Duration::from_secs(1 << (failures - 1).min(7)),
    };
    least * 98 / 100
}

impl Invariant for OneRegistrant {
    fn clause(&self) -> &'static str {
        "I-23 one node registers an account, and not in a storm"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let letter = sent.letter.filter(|letter| letter.cseq.1 == "REGISTER")?;
        match letter.start {
            Start::Request(_) if sent.to == accounts::at() => {
                let user = header(sent.bytes, "To")?.split_once("sip:")?.1.split_once('@')?.0;
                let answers = header(sent.bytes, "Authorization").is_some();
                self.registers(sent.at, sent.life.node(), &letter, user, answers)
            }
            Start::Response(200) if sent.from == accounts::at() => {
                self.granted(&letter);
                None
            }
            _ => None,
        }
    }
}

/// I-22 at the registrar.
#[derive(Debug)]
pub struct Registered {
    registrar: Arc<Registrar>,
    accounts: Accounts,
    /// From when on.
    settled: Instant,
    /// Whether the network has changed bytes: a registrar that misread us is not asked again for long.
    is_forged: Forged,
    lacks: Option<Instant>,
}

/// Asks whether bytes of anything were changed.
pub struct Forged(pub Box<dyn Fn() -> bool + Send>);

impl std::fmt::Debug for Forged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forged")
    }
}

impl Registered {
    /// At this registrar, once all must have settled.
    pub const fn new(
        registrar: Arc<Registrar>,
        accounts: Accounts,
        settled: Instant,
        is_forged: Forged,
    ) -> Registered {
        Registered { registrar, accounts, settled, is_forged, lacks: None }
    }

    /// What is wrong, by a copy of the state.
    fn lacks(&self, now: Instant, state: &State) -> Option<String> {
        let gateway = Name::new(GATEWAY).ok()?;
        let enrolments: Vec<Option<&Enrolment>> =
            (1..=self.accounts.count).map(|account| state.enrolment(&gateway, account)).collect();
        for (enrolment, account) in enrolments.iter().zip(1..) {
            let username = accounts::username(account);
            let bound = self.registrar.bound(&username, now);
            let Some(enrolment) = enrolment.filter(|it| state.is_claimed(it)) else {
                return Some(format!("nobody registers {username}"));
            };
            if !bound.contains_key(&enrolment.contact) {
                let has: Vec<&String> = bound.keys().collect();
                return Some(format!(
                    "{username} is to be at {}, the registrar has {has:?}",
                    enrolment.contact
                ));
            }
        }
        match enrolments.as_slice() {
            [Some(first), Some(second)] if first.node == second.node && able(state) > 1 => {
                Some(format!("node {} registers both accounts, and {} nodes could", first.node, able(state)))
            }
            _ => None,
        }
    }
}

/// How many nodes could register an account.
fn able(state: &State) -> usize {
    let holds = |id| state.homes().any(|(_, home)| home.holder == Some(id));
    state.nodes().filter(|(id, node)| node.alive && node.drained.is_none() && holds(*id)).count()
}

impl Invariant for Registered {
    fn clause(&self) -> &'static str {
        "I-22 every account is registered, two from two nodes"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        if view.at < self.settled || (self.is_forged.0)() {
            return None;
        }
        let ready: Vec<&NodeHandle> = view.nodes.iter().filter(|node| node.is_ready()).collect();
        let majority = ready.len() * 2 > view.up.len();
        let lacks = ready.first().filter(|_| majority)?.cluster().read(|state| self.lacks(view.at, state));
        let Some(lacks) = lacks else {
            self.lacks = None;
            return None;
        };
        // A word of a moment ago may not have been heard.
        let since = *self.lacks.get_or_insert(view.at);
        (view.at.since(since) >= MOMENT).then_some(lacks)
    }
}

/// In which time questions are counted, and how many there may be: a node asks at most at 0, 3, 4, 7 and 8 s where 4 s are
/// granted and every second question fails; and whoever takes a registration over begins anew, which takes the end of a lease
/// (250 ms) each, and in a run of fifteen seconds of faults happens to a home a few times.
const WINDOW: Duration = Duration::from_secs(10);
const STORM: usize = 5 + 15;
/// How long a lack may last once all has settled: a question, a challenge and its answer.
const MOMENT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(call_id: &str, cseq: u32) -> Letter<'_> {
        let (start, cseq) = (Start::Request("REGISTER"), (cseq, "REGISTER"));
        Letter { start, call_id, cseq, from_tag: "f", to_tag: "", branch: "b", number: None }
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn i23_a_former_owner_that_goes_on_is_found() {
        let mut one = OneRegistrant::default();
        assert_eq!(one.registers(at(0), 1, &letter("a", 1), "u", false), None);
        assert_eq!(one.registers(at(5), 1, &letter("a", 2), "u", true), None);
        assert_eq!(one.registers(at(900), 2, &letter("b", 1), "u", false), None);
        assert_eq!(one.registers(at(900), 1, &letter("c", 1), "another", false), None);
        assert!(one.registers(at(950), 1, &letter("a", 2), "u", true).is_some(), "a copy is a word, too");
    }

    #[test]
    fn i23_a_node_that_asks_again_too_soon_is_found() {
        let mut one = OneRegistrant::default();
        assert_eq!(one.registers(at(0), 1, &letter("a", 1), "u", false), None);
        assert_eq!(one.registers(at(500), 1, &letter("a", 1), "u", false), None, "Timer E is no question");
        assert_eq!(one.registers(at(1_000), 1, &letter("a", 2), "u", false), None);
        assert!(one.registers(at(2_500), 1, &letter("a", 3), "u", false).is_some(), "2 s are the least");
        one.granted(&letter("a", 3));
        assert_eq!(one.registers(at(5_500), 1, &letter("a", 4), "u", false), None);
    }

    #[test]
    fn i23_many_owners_in_a_short_time_are_a_storm() {
        let mut one = OneRegistrant::default();
        let names: Vec<String> = (0..=STORM).map(|n| format!("s{n}")).collect();
        let found: Vec<bool> = names
            .iter()
            .zip(0..)
            .map(|(id, n)| one.registers(at(n), n, &letter(id, 1), "u", false).is_some())
            .collect();
        assert_eq!(found.iter().position(|found| *found), Some(STORM));
    }
}
