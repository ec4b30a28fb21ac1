//! A new INVITE: is there room, who is calling, and its actor.

use std::sync::Arc;

use call::reject::Answer;
use call::{Arrival, Input, InviteKey, reject, route};
use sip::verdict::{Extensions, Rules, Verdict};
use sip::{Message, Name, verdict};
use transport::Standing;
use trunk::{Asked, Identified, Party, Reject, Trunk};

use crate::actor::call::{Begin, Msg};
use crate::gate::Full;
use crate::metrics::{Drop, add};
use crate::shared::Shared;
use crate::switch::Incoming;

/// Who sent a request.
pub(crate) enum Caller {
    /// This party, and how many bytes of the Request-URI's user are its tech prefix.
    Admitted(Party, usize),
    /// Policy says no.
    Refused(Answer),
    /// Nobody.
    Unknown,
}

impl Shared {
    /// An INVITE outside of dialogs: a copy, or a call that begins.
    pub(crate) fn invite(self: &Arc<Shared>, incoming: &Incoming<'_>) {
        let Some(key) = route::invite_key(&incoming.context.secret, &incoming.message) else {
            return self.metrics.dropped(Drop::Malformed);
        };
        if let Some((call, actor)) = self.by_key(&key) {
            let gives_up = self.config.is_own(incoming.flow.local.ip()) && !self.is_solo(call);
            if gives_up && self.is_cut_off() && self.cluster.record(call).is_none() {
                // Its caller need not wait any longer. Should a majority let it in after all, it ends.
                self.tell(call, Msg::input(Input::Hangup("no quorum")));
                return self.refuse_alone(incoming);
            }
            return self.deliver(&actor, incoming);
        }
        if self.replay(incoming) == Standing::Known || self.pass_on_copy(Some(key), incoming) {
            return;
        }
        if !self.cluster.cluster().may_speak()
            && let Some((party, strip)) = self.emergency(incoming)
        {
            return self.begin(incoming, key, (party, strip), true);
        }
        if self.is_cut_off() {
            return self.refuse_alone(incoming);
        }
        if let Some(why) = self.full() {
            return self.shed(incoming, why);
        }
        match self.identify(incoming) {
            Caller::Admitted(party, strip) => self.begin(incoming, key, (party, strip), false),
            Caller::Refused(answer) => {
                let bytes = incoming.stateless().refuse(&incoming.message, &answer);
                self.refuse(incoming, answer.status, bytes);
            }
            Caller::Unknown => self.metrics.dropped(Drop::UnknownSource),
        }
    }

    fn begin(
        self: &Arc<Shared>,
        incoming: &Incoming<'_>,
        key: InviteKey,
        (party, strip): (Party, usize),
        solo: bool,
    ) {
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
        let arrival = Arrival { invite, flow: incoming.flow, party, strip, seed };
        let begin = Begin::Arrival(Box::new(arrival));
        self.spawn_call(id, Some(key), scope, incoming.home, incoming.context.clone(), begin);
    }

    /// 503 before anything is kept.
    fn shed(&self, incoming: &Incoming<'_>, why: Full) {
        self.metrics.shed(why);
        tracing::debug!(?why, "a new call is refused");
        let bytes = incoming.stateless().overloaded(&incoming.message, self.retry_after());
        self.refuse(incoming, 503, bytes);
    }

    /// Who is calling (contract, "Who is calling").
    pub(crate) fn identify(&self, incoming: &Incoming<'_>) -> Caller {
        let message = &incoming.message;
        let uri = message.request_uri().ok();
        let from = message.from().ok().and_then(|from| from.parse_uri().ok());
        let header = |name: &str| message.find(name.as_bytes()).and_then(text);
        let username = username(message, &incoming.context.domain);
        let asked = Asked {
            source: incoming.flow.remote,
            transport: incoming.flow.transport,
            local_port: incoming.flow.local.port(),
            request_user: uri.as_ref().and_then(|uri| text(uri.user?)).unwrap_or_default(),
            request_host: uri.as_ref().and_then(|uri| text(uri.host)).unwrap_or_default(),
            from_host: from.as_ref().and_then(|uri| text(uri.host)).unwrap_or_default(),
            username: username.as_deref(),
            header: &header,
        };
        match incoming.context.resources.identify(&asked) {
            Identified::Trunk { trunk, strip } => {
                Caller::Admitted(Party::Trunk { name: trunk.name.clone(), account: None }, strip)
            }
            Identified::Gateway { gateway } => {
                Caller::Admitted(Party::Gateway { name: gateway.name.clone() }, 0)
            }
            Identified::Refuse(reject) => Caller::Refused(reject::policy(&reject)),
            // Digest is not built yet: whoever can only prove itself by it is refused.
            Identified::Claimed { .. } | Identified::Challenge { .. } => {
                Caller::Refused(reject::policy(&Reject::NotIdentified))
            }
            Identified::Unknown => Caller::Unknown,
        }
    }
}

fn trunk_of<'a>(incoming: &'a Incoming<'_>, party: &Party) -> Option<&'a Arc<Trunk>> {
    incoming.context.resources.trunks.get(party.trunk()?)
}

/// The user name of credentials for our realm.
fn username(message: &Message<'_>, realm: &str) -> Option<String> {
    let names = [Name::Authorization, Name::ProxyAuthorization];
    let ours = names.iter().flat_map(|name| message.credentials(*name)).find(|credentials| {
        credentials.is_digest() && credentials.realm().is_some_and(|r| *r == *realm.as_bytes())
    })?;
    String::from_utf8(ours.username()?.into_owned()).ok()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
