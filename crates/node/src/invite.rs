//! A new INVITE: is there room, who is calling, and its actor.

use std::sync::Arc;

use call::{Arrival, Input, InviteKey, Proof, route};
use machine::museum::planted;
use sip::verdict;
use sip::verdict::{Extensions, Rules, Verdict};
use transport::Standing;
use trunk::{Party, Trunk};

use crate::actor::call::{Begin, Msg};
use crate::alone::Emergency;
use crate::caller::{Admission, Caller};
use crate::gate::Full;
use crate::lock;
use crate::metrics::{Drop, add};
use crate::shared::Shared;
use crate::switch::Incoming;

impl Shared {
    /// An INVITE outside of dialogs: a copy, or a call that begins.
    pub(crate) fn invite(self: &Arc<Shared>, incoming: &Incoming<'_>) {
        let Some(key) = route::invite_key(&incoming.context.secret, &incoming.message) else {
            return self.metrics.dropped(Drop::Malformed);
        };
        let is_unknown = planted("copy-admitted") || planted("copy-answered");
        if let Some((call, actor)) = self.by_key(&key).filter(|_| !is_unknown) {
            let gives_up = self.config.is_own(incoming.flow.local.ip()) && !self.is_solo(call);
            if gives_up && self.is_cut_off() && self.cluster.record(call).is_none() {
                // Its caller need not wait any longer. Should a majority let it in after all, it ends.
                self.tell(call, Msg::input(Input::Hangup("no quorum")));
                return self.refuse_alone(incoming);
            }
            return self.deliver(&actor, incoming);
        }
        if !is_unknown && (self.replay(incoming) == Standing::Known || self.pass_on_copy(Some(key), incoming))
        {
            return;
        }
        if !self.cluster.cluster().may_speak() {
            match self.emergency(incoming) {
                Emergency::Call(admission) => return self.begin(incoming, key, admission, true),
                Emergency::Asked(challenges) => return self.ask_alone(incoming, &challenges),
                Emergency::No => {}
            }
        }
        if self.is_cut_off() {
            return self.refuse_alone(incoming);
        }
        if let Some(why) = self.full().or_else(|| lock(&self.refused).has(&key).then_some(Full::Busy)) {
            if self.cluster.call_of(&key).is_some() {
                // Its call is known, and is about to be rebuilt here: that will answer the next copy.
                return self.metrics.dropped(Drop::Ignored);
            }
            return self.shed(incoming, why);
        }
        match self.identify(incoming) {
            Caller::Admitted(admission) => self.begin(incoming, key, admission, false),
            Caller::Challenged(challenges) => self.ask_for_credentials(incoming, &challenges),
            Caller::Refused(answer) => {
                let bytes = incoming.stateless().refuse(&incoming.message, &answer);
                self.refuse(incoming, answer.status, bytes);
            }
            Caller::Unknown => self.metrics.dropped(Drop::UnknownSource),
            Caller::Banned => self.metrics.dropped(Drop::Banned),
        }
    }

    fn begin(self: &Arc<Shared>, incoming: &Incoming<'_>, key: InviteKey, admission: Admission, solo: bool) {
        let Admission { party, strip, proof } = admission;
        let proof = proof.map(|used| self.prove(incoming, &party, used));
        if let Some(trunk) = trunk_of(incoming, &party) {
            let access = &trunk.settings.access;
            if !access.methods.iter().any(|method| method == "INVITE") {
                return self.unsupported(incoming);
            }
            let rules = Rules {
                strict_headers: access.strict_headers,
                extensions: Extensions::from_tokens(access.extensions.iter().map(String::as_bytes)),
            };
            if let Verdict::Reject(reject) = verdict::request(&incoming.message, &rules) {
                let bytes = incoming.stateless().verdict(&incoming.message, &reject, &rules);
                return self.refuse(incoming, reject.status, bytes);
            }
        }
        let Some((id, seed)) = self.draw() else {
            return self.shed(incoming, Full::Busy);
        };
        if solo && !self.begin_solo(id, incoming.home.id) {
            return self.refuse_alone(incoming);
        }
        add(&self.metrics.invites);
        let scope = party.name().clone();
        let invite = incoming.message.to_owned();
        let secures = self.cluster.secures();
        let arrival = Arrival { invite, flow: incoming.flow, party, strip, seed, proof, secures };
        let begin = Begin::Arrival(Box::new(arrival));
        self.spawn_call(id, Some(key), scope, incoming.home, incoming.context.clone(), begin);
    }

    /// A proof, and what is said if it turns out to have been used before.
    fn prove(&self, incoming: &Incoming<'_>, party: &Party, used: auth::Use) -> Proof {
        let offered = trunk_of(incoming, party).map(|trunk| trunk.access.digest.clone());
        Proof { used, again: self.challenge_lines(incoming, &offered.unwrap_or_default(), 0, true) }
    }

    /// 503 before anything is kept.
    fn shed(&self, incoming: &Incoming<'_>, why: Full) {
        self.metrics.shed(why);
        tracing::debug!(?why, "a new call is refused");
        let bytes = incoming.stateless().overloaded(&incoming.message, self.retry_after());
        self.note_refused(incoming);
        self.refuse(incoming, 503, bytes);
    }
}

fn trunk_of<'a>(incoming: &'a Incoming<'_>, party: &Party) -> Option<&'a Arc<Trunk>> {
    incoming.context.resources.trunks.get(party.trunk()?)
}
