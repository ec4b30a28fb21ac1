//! I-25: a 3xx is followed to trusted Contacts only, best first, at most `max_hops` in a row, never in a circle, and each
//! once (RFC 3261 §8.1.3.4), whatever happens to the node that was to follow it. A denied address hears nothing at
//! all. What follows a redirect holds the slots of the gateway whose target has sent the call on, and its CDR names both.
//!
//! A copy of an INVITE under its Call-ID is no second attempt, whoever sends it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use call::{CallId, CallRecord};
use cluster::State;
use machine::Instant;
use trunk::Party;

use super::{Invariant, Sent, View, number_of};
use crate::fault::Effects;
use crate::letter::{Letter, Start, head, header};
use crate::plan::{self, Plan, is_callee, is_caller};
use crate::redirects::{Fate, fate};

/// I-25 on the wire, and in the records.
#[derive(Debug)]
pub struct Redirected {
    effects: Arc<Effects>,
    max_hops: u8,
    /// Gateways' targets, from their hosts on.
    gateways: BTreeSet<String>,
    calls: BTreeMap<u32, Chain>,
    /// Of each call, how many attempts were seen, and for whom the last one was.
    parties: BTreeMap<CallId, (usize, Party)>,
    has_moved: bool,
}

/// What has become of a call so far.
#[derive(Debug, Default)]
struct Chain {
    asked: Vec<Asked>,
    /// Since when the caller has heard ringing.
    rings: Option<Instant>,
    /// Some callee has rung, whether or not the caller has heard of it.
    rang: bool,
    /// The caller has given up.
    given_up: bool,
}

/// An attempt that has reached the wire.
#[derive(Debug)]
struct Asked {
    call_id: String,
    /// Its Request-URI.
    uri: String,
    /// The URI in To: for redirects, that of whoever has sent the call on.
    whom: String,
    at: SocketAddr,
    hops: u8,
    /// The Contacts of its 3xx, best first.
    moved: Vec<String>,
    /// Whether its 3xx was acknowledged before the next attempt, and whether it rang before that.
    heard: bool,
    late: bool,
}

/// The INVITE of an attempt, as this invariant reads it.
struct Invite<'a> {
    call_id: &'a str,
    uri: &'a str,
    whom: &'a str,
    at: SocketAddr,
    /// Whether whoever sends it must know that the caller has heard ringing, if it has.
    knows: bool,
}

fn uri_in(value: &str) -> Option<&str> {
    value.split_once('<')?.1.split('>').next()
}

/// The URI in To, and that of the request: where both differ, a redirect led there.
pub(crate) fn whom_and_where(bytes: &[u8]) -> Option<(&str, &str)> {
    Some((uri_in(header(bytes, "To")?)?, head(bytes).split(' ').nth(1)?))
}

/// The URIs of the Contacts of a 3xx, best first.
fn contacts(bytes: &[u8]) -> Vec<String> {
    let list = header(bytes, "Contact").unwrap_or_default();
    let mut contacts: Vec<(f64, &str)> = list
        .split(", ")
        .filter_map(|one| {
            let q = one.split_once(">;q=").map_or("1", |(_, q)| q);
            Some((q.parse().unwrap_or(0.0), uri_in(one)?))
        })
        .collect();
    contacts.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    contacts.into_iter().map(|(_, uri)| uri.to_owned()).collect()
}

impl Chain {
    /// A new attempt; gives what is wrong with it.
    fn asks(
        &mut self,
        invite: &Invite<'_>,
        gateways: &BTreeSet<String>,
        max_hops: u8,
        strict: bool,
    ) -> Option<String> {
        let Invite { call_id, uri, whom, at, .. } = *invite;
        if let Some(known) = self.asked.iter().find(|asked| asked.call_id == call_id) {
            return (known.uri != uri).then(|| format!("the INVITE for {} goes to {uri}, too", known.uri));
        }
        let followed = (uri != whom).then(|| self.follows(invite, max_hops));
        let hops = followed.as_ref().map_or(0, |followed| *followed.as_ref().unwrap_or(&0));
        let foreign = || {
            let host = uri.split_once('@').map_or("", |(_, host)| host);
            (uri == whom && !gateways.contains(host)).then(|| format!("{uri} is no gateway's target"))
        };
        let wrong = followed.and_then(Result::err).or_else(foreign);
        let wrong = wrong.or_else(|| self.passes_over(uri, max_hops).filter(|_| strict));
        let (call_id, uri, whom) = (call_id.to_owned(), uri.to_owned(), whom.to_owned());
        self.asked.push(Asked { call_id, uri, whom, at, hops, moved: Vec::new(), heard: false, late: false });
        wrong
    }

    /// A redirect is followed: gives how long the chain is now, or what is wrong with that.
    fn follows(&self, invite: &Invite<'_>, max_hops: u8) -> Result<u8, String> {
        let Invite { uri, whom, at, .. } = *invite;
        let mut servers = self.asked.iter().rev().filter(|asked| asked.uri == whom);
        let server = servers.find(|asked| asked.moved.iter().any(|contact| contact == uri));
        let Some(server) = server else { return Err(format!("nobody has sent it on to {uri}")) };
        if fate(uri) != Fate::Good {
            return Err(format!("it is sent on to {uri}, which is not trusted"));
        }
        // Another host of the same name is another place of the same target (RFC 3263 §4.3).
        let again =
            self.asked.iter().find(|asked| asked.uri == uri && (asked.whom != whom || asked.at == at));
        if again.is_some() {
            return Err(format!("it is sent on to {uri}, where it has been"));
        }
        if server.late && invite.knows {
            return Err(format!("it is sent on to {uri}, and rang before"));
        }
        let hops = server.hops + 1;
        if hops > max_hops { Err(format!("{uri} is {hops} redirects away")) } else { Ok(hops) }
    }

    /// Whether an attempt at `uri` passes over what the last 3xx, which was heard, has said.
    fn passes_over(&self, uri: &str, max_hops: u8) -> Option<String> {
        let wanted = self.wanted(max_hops)?;
        (wanted != uri).then(|| format!("it is sent on to {wanted}, and {uri} is asked"))
    }

    /// What is to be asked next, as the last attempt has said.
    fn wanted(&self, max_hops: u8) -> Option<&str> {
        let last = self.asked.last().filter(|last| last.heard && !self.rang && last.hops < max_hops)?;
        let (_, before) = self.asked.split_last()?;
        // What was named before may wait for its turn.
        let waits = |contact: &String| before.iter().any(|asked| asked.moved.contains(contact));
        let fresh = |contact: &&String| !self.asked.iter().any(|asked| asked.uri == **contact);
        let mut good = last.moved.iter().filter(|contact| fate(contact) != Fate::Strange).filter(fresh);
        // Where a name leads that is trusted, and leads nowhere, is not looked into further.
        let best = good.next().filter(|contact| fate(contact) == Fate::Good && !waits(contact));
        best.map(String::as_str)
    }
}

impl Redirected {
    /// Of the gateways of a plan. Calls whose bytes the network has changed are left alone.
    pub fn new(plan: &Plan, effects: Arc<Effects>) -> Redirected {
        let over = |place| if plan.variety.is_callee_over_tcp(place) { ";transport=tcp" } else { "" };
        let gateways = (0..plan.gateways()).map(|place| format!("{}{}", plan.host_of(place), over(place)));
        Redirected {
            effects,
            max_hops: plan.variety.redirects.map_or(0, |it| it.max_hops),
            gateways: gateways.collect(),
            calls: BTreeMap::new(),
            parties: BTreeMap::new(),
            has_moved: false,
        }
    }

    /// A peer says something.
    fn is_told(&mut self, number: u32, letter: &Letter<'_>, bytes: &[u8]) {
        let Some(chain) = self.calls.get_mut(&number) else { return };
        chain.given_up |= letter.start == Start::Request("CANCEL");
        chain.rang |= matches!((letter.start, letter.cseq.1), (Start::Response(101..200), "INVITE"));
        if let (Start::Response(300..400), "INVITE") = (letter.start, letter.cseq.1)
            && let Some(asked) = chain.asked.iter_mut().find(|asked| asked.call_id == letter.call_id)
        {
            // One that has forgotten the call may say something else the next time.
            if asked.moved.is_empty() {
                asked.late = chain.rings.is_some();
            }
            let fresh = contacts(bytes).into_iter().filter(|contact| !asked.moved.contains(contact));
            let fresh: Vec<String> = fresh.collect();
            asked.moved.extend(fresh);
            self.has_moved = true;
        }
    }

    /// A node says something.
    fn says(&mut self, number: u32, sent: &Sent<'_>, letter: &Letter<'_>) -> Option<String> {
        let (to, max_hops) = (sent.to.ip(), self.max_hops);
        let strict = !self.effects.is_harmed(number)
            && self.effects.adoption(number).is_none()
            && !self.effects.has_misled();
        let is_peers = !is_caller(to) && plan::node_at(to).is_none();
        if letter.start == Start::Request("INVITE") && is_peers && letter.to_tag.is_empty() {
            let (whom, uri) = whom_and_where(sent.bytes)?;
            let chain = self.calls.entry(number).or_default();
            // That it rang goes on record after the caller was told, and may be lost with its node.
            let knows = chain.rings.is_some_and(|since| !self.effects.any_took_none(since, sent.at));
            let invite = Invite { call_id: letter.call_id, uri, whom, at: sent.to, knows };
            return chain.asks(&invite, &self.gateways, max_hops, strict);
        }
        let chain = self.calls.get_mut(&number)?;
        match (letter.start, letter.cseq.1) {
            (Start::Request("ACK"), _) if is_callee(to) => {
                let last = chain.asked.last_mut();
                let last = last.filter(|last| last.call_id == letter.call_id && !last.moved.is_empty())?;
                last.heard = true;
                None
            }
            (Start::Response(101..200), "INVITE") if is_caller(to) => {
                chain.rings.get_or_insert(sent.at);
                None
            }
            // What nobody else explains: nobody was asked.
            (Start::Response(480), "INVITE") if is_caller(to) && strict && !chain.given_up => {
                let wanted = chain.wanted(max_hops).filter(|wanted| !wanted.contains("transport=tcp"))?;
                Some(format!("it is sent on to {wanted}, and refused"))
            }
            _ => None,
        }
    }

    /// What is wrong with the records of a copy of the state.
    fn of_state(&mut self, state: &State) -> Option<String> {
        for record in state.calls() {
            // Another copy may have come further.
            let seen = self.parties.get(&record.id).map_or(0, |(attempts, _)| *attempts);
            if let Some(tried) = record.attempts.last().filter(|_| record.attempts.len() > seen) {
                self.parties.insert(record.id, (record.attempts.len(), tried.party.clone()));
            }
            if let Some(found) = of_record(record) {
                return Some(format!("call #{}: {found}", number_of(record).unwrap_or_default()));
            }
        }
        state.cdrs().find_map(|(number, cdr)| {
            let redirect = cdr.redirect.as_ref()?;
            let billed = cdr.trunk.as_ref().is_some_and(|trunk| *trunk == plan::trunk_name());
            let by = match self.parties.get(&cdr.id).filter(|(attempts, _)| *attempts == cdr.attempts.len()) {
                Some((_, Party::Gateway { name })) => cdr.gateway.as_ref() == Some(name),
                Some((_, Party::Trunk { .. })) => false,
                None => true,
            };
            let (trunk, gateway) = (&cdr.trunk, &cdr.gateway);
            (!billed || !by).then(|| {
                format!("CDR {number}, sent on by {}, is of {trunk:?} and {gateway:?}", redirect.server)
            })
        })
    }
}

/// Whether a call that was sent on holds what it held before, for the same party.
fn of_record(record: &CallRecord) -> Option<String> {
    let sent_on = record.target().filter(|target| target.redirected.is_some())?;
    let server = sent_on.redirected.as_ref().map_or("", |by| by.server.as_str());
    let place = usize::from(record.attempts.last()?.target);
    let mut before = record.admit.plan.targets.get(..place)?.iter().rev();
    let before = before.find(|target| target.uri == server)?;
    if before.party != sent_on.party {
        return Some(format!("{:?} sent it on, and {:?} calls", before.party, sent_on.party));
    }
    let wanted = record.admit.plan.slots.iter().chain(&before.slots);
    let mut lost = wanted.filter(|slot| !record.slots.contains(slot));
    lost.next().map(|slot| format!("it was sent on, and has lost its slot of {}", slot.scope.name()))
}

impl Invariant for Redirected {
    fn clause(&self) -> &'static str {
        "I-25 a redirect is followed once, to trusted targets only"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let node = sent.life.node();
        if node != 0 && plan::is_stranger(sent.to.ip()) {
            let first = head(sent.bytes).lines().next().unwrap_or("something");
            return Some(format!("node {node} says {first} to a stranger, {}", sent.to));
        }
        let letter = sent.letter?;
        let number = letter.number.filter(|number| !self.effects.is_forged(*number))?;
        if node == 0 {
            self.is_told(number, &letter, sent.bytes);
            return None;
        }
        self.says(number, sent, &letter).map(|found| format!("call #{number}: {found}"))
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        // Nobody was sent anywhere yet.
        let moved = view.moved.iter().filter(|_| self.has_moved).cloned().collect::<Vec<_>>();
        moved.iter().find_map(|node| node.cluster().read(|state| self.of_state(state)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sip:1@10.0.2.1:5060";
    const B: &str = "sip:1@10.0.2.2:5060";
    const C: &str = "sip:1@10.0.2.3:5060";

    /// A call that A has sent on to these.
    fn moved(contacts: &[&str]) -> Chain {
        let mut chain = Chain::default();
        assert_eq!(asks(&mut chain, "a", A, A), None);
        let asked = chain.asked.last_mut().expect("it was asked");
        asked.moved = contacts.iter().map(|it| (*it).to_owned()).collect();
        asked.heard = true;
        chain
    }

    fn asks(chain: &mut Chain, call_id: &str, uri: &str, whom: &str) -> Option<String> {
        let gateways = ["10.0.2.1:5060", "10.0.2.3:5060"].map(String::from).into();
        let at = ([10, 0, 2, 1], 5060).into();
        chain.asks(&Invite { call_id, uri, whom, at, knows: true }, &gateways, 1, true)
    }

    #[test]
    fn i25_a_redirect_is_followed_once_and_copies_are_no_second_time() {
        let mut chain = moved(&[B]);
        assert_eq!(asks(&mut chain, "b", B, A), None);
        assert_eq!(asks(&mut chain, "b", B, A), None, "a successor repeats it");
        assert!(asks(&mut chain, "b2", B, A).is_some(), "followed twice");
        assert!(asks(&mut chain, "b", C, C).is_some(), "a successor asks somebody else");
    }

    #[test]
    fn i25_strangers_circles_and_long_chains_are_found() {
        for uri in ["sip:1@10.0.4.1", "sip:1@a.carrier1.sim.example", "sip:1@rebound.sim.example", A] {
            assert!(asks(&mut moved(&[uri]), "b", uri, "sip:1@10.0.2.9").is_some(), "{uri}: nobody sent it");
        }
        for uri in ["sip:1@10.0.4.1", "sip:1@a.carrier1.sim.example", "sip:1@rebound.sim.example"] {
            assert!(asks(&mut moved(&[uri]), "b", uri, A).is_some(), "{uri}");
        }
        let mut chain = moved(&[B]);
        assert_eq!(asks(&mut chain, "b", B, A), None);
        chain.asked.last_mut().expect("it was asked").moved = vec![A.to_owned(), C.to_owned()];
        assert!(asks(&mut chain, "c", C, B).is_some(), "two redirects in a row");
        assert!(asks(&mut chain, "d", A, B).is_some(), "a circle");
        assert!(asks(&mut Chain::default(), "e", B, B).is_some(), "no gateway's target");
    }

    #[test]
    fn i25_what_the_server_prefers_is_asked_first() {
        let mut chain = moved(&["sip:1@10.0.4.1", C, B]);
        assert!(asks(&mut chain, "b", B, A).is_some());
        assert_eq!(asks(&mut moved(&["sip:1@10.0.4.1", C, B]), "c", C, A), None);
        assert!(asks(&mut moved(&[B]), "d", C, C).is_some(), "the next gateway, though the call was sent on");
        assert_eq!(asks(&mut moved(&["sip:1@10.0.4.1"]), "d", C, C), None);
    }

    #[test]
    fn contacts_are_read_best_first_and_a_redirect_is_told_by_its_to() {
        let bytes = b"SIP/2.0 302 Moved\r\nContact: <sip:1@a;x=1>;q=0.3, <sip:1@b>;q=0.8, <sip:1@c>\r\n\r\n";
        assert_eq!(contacts(bytes), ["sip:1@c", "sip:1@b", "sip:1@a;x=1"]);
        let bytes = b"INVITE sip:1@b SIP/2.0\r\nTo: <sip:1@a>\r\n\r\n";
        assert_eq!(whom_and_where(bytes), Some(("sip:1@a", "sip:1@b")));
    }
}
