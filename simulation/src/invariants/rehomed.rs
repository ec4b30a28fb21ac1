//! Fixed homes: nobody speaks from a node's own address but that node; and who talks in a call whose home is lost
//! is told by a re-INVITE where the call lives now, unless its party forbids that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use call::{CallId, HomeId, Phase};
use cluster::State;
use machine::Instant;
use node::NodeHandle;

use super::{Invariant, Sent, View, number_of};
use crate::fault::{Adoption, Effects};
use crate::letter::Start;
use crate::plan::{CALM, Plan, is_callee, is_caller, node_at};
use crate::variety::Homes;

/// What becomes of a node's own address, and of its calls when it is lost.
#[derive(Debug)]
pub struct Rehomed {
    effects: Arc<Effects>,
    nodes: u64,
    /// The index of the newest copy that was looked at.
    newest: u64,
    /// Whether callers, and callees, forbid re-INVITEs.
    forbid: [bool; 2],
    /// Whether there are calls that can lose their home.
    watches: bool,
    /// Which home each live call had when it was last seen, and its number.
    homes: BTreeMap<CallId, (HomeId, Option<u32>)>,
    /// Whose own address a call was placed to.
    called: BTreeMap<u32, u64>,
    /// Calls whose callers have heard that they are answered.
    answered: BTreeSet<u32>,
    /// When the caller, and the callee, of a call last got a re-INVITE from a node.
    told: BTreeMap<u32, [Option<Instant>; 2]>,
}

impl Rehomed {
    /// In a run of this plan. Tells `effects` which calls were adopted, and who took none.
    pub fn new(plan: &Plan, effects: Arc<Effects>) -> Rehomed {
        let Plan { nodes, variety, ref calls, .. } = *plan;
        let called = calls.iter().filter_map(|call| Some((call.number, node_at(call.to)?))).collect();
        let forbid = [variety.trunk_forbids, variety.gateways_forbid];
        let (homes, told) = (BTreeMap::new(), BTreeMap::new());
        let watches = variety.homes != Homes::Floating;
        let answered = BTreeSet::new();
        Rehomed { effects, nodes, newest: 0, forbid, watches, homes, called, answered, told }
    }

    /// Calls that have another home than when they were last seen.
    fn find_adopted(&mut self, at: Instant, state: &State) {
        for record in state.calls() {
            let read = || (record.home, number_of(record));
            let (before, number) = self.homes.entry(record.id).or_insert_with(read);
            if std::mem::replace(before, record.home) != record.home
                && let Some(number) = *number
            {
                let answered = matches!(record.phase, Phase::Answered { .. });
                self.effects.adopt(number, Adoption { at, answered });
            }
        }
    }

    /// Whether an end, caller or callee, should have been told of an adoption by now, and was not.
    fn is_untold(&self, number: u32, adoption: &Adoption, side: usize) -> bool {
        let told = self.told.get(&number).and_then(|told| told[side]);
        // An adoption is seen at the next look.
        let told = told.is_some_and(|told| told + LOOK >= adoption.at);
        !told && !self.forbid[side]
    }

    fn untold(&self, at: Instant, state: &State) -> Option<String> {
        if at.since(CALM) < SETTLES {
            return None;
        }
        state.calls().find_map(|record| {
            let number = number_of(record)?;
            let adoption =
                self.effects.adoption(number).filter(|it| it.answered && at.since(it.at) > SETTLES)?;
            if self.effects.is_harmed(number) {
                return None;
            }
            let side = (0..2).find(|side| self.is_untold(number, &adoption, *side))?;
            let who = ["caller", "callee"][side];
            let ms = adoption.at.as_nanos() / 1_000_000;
            Some(format!("call #{number} was adopted at {ms} ms, and its {who} was never told"))
        })
    }
}

/// The host in the Contact of a message.
fn contact(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?;
    let line = text.split("\r\n").find_map(|line| line.strip_prefix("Contact:"))?;
    let host = line.split("sip:").nth(1)?;
    let host = host.split_once('@').map_or(host, |(_, host)| host);
    host.split([':', ';', '>']).next()?.parse().ok()
}

impl Invariant for Rehomed {
    fn clause(&self) -> &'static str {
        "I-8 who talks in an adopted call is told where it lives"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let (node, from) = (sent.life.node(), sent.from.ip());
        if node_at(from).is_some_and(|owner| owner != node) {
            return Some(format!("node {node} speaks from {from}"));
        }
        let letter = sent.letter.filter(|_| node != 0)?;
        let number = letter.number?;
        if is_caller(sent.to.ip()) && letter.is_final_to_invite().is_some_and(|status| status < 300) {
            self.answered.insert(number);
        }
        let elsewhere = self.called.get(&number).is_some_and(|called| *called != node);
        if elsewhere && self.effects.adoption(number).is_none() {
            // It may be adopted and end between two looks.
            self.effects.adopt(number, Adoption { at: sent.at, answered: self.answered.contains(&number) });
        }
        if letter.start != Start::Request("INVITE") || letter.to_tag.is_empty() {
            return None;
        }
        let side = match (is_caller(sent.to.ip()), is_callee(sent.to.ip())) {
            (true, _) => 0,
            (_, true) => 1,
            _ => return None,
        };
        self.told.entry(number).or_default()[side] = Some(sent.at);
        let named = contact(sent.bytes);
        let strange = named != Some(from) && !self.effects.is_forged(number);
        strange.then(|| format!("a re-INVITE of call #{number} from {from} names {named:?}"))
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        let takes = |id: &u64| {
            let handle = view.nodes.iter().find(|node| node.cluster().node().0 == *id);
            handle.is_some_and(NodeHandle::is_ready) && view.up.contains(id)
        };
        (1..=self.nodes).filter(|id| !takes(id)).for_each(|id| self.effects.takes_none(id, view.at));
        if !self.watches {
            return None;
        }
        // Copies that lag would show calls in the homes that they had.
        let applied = |node: &&NodeHandle| node.cluster().status().applied;
        let newest = view.moved.iter().max_by_key(applied).filter(|node| applied(node) > self.newest)?;
        self.newest = applied(&newest);
        newest.cluster().read(|state| {
            self.find_adopted(view.at, state);
            self.untold(view.at, state)
        })
    }
}

/// Between two looks, and some more.
const LOOK: Duration = Duration::from_millis(10);
/// After how much calm every peer has been told. Its ACK that never comes is waited for first.
const SETTLES: Duration = Duration::from_secs(5);
