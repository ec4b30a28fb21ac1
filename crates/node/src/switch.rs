//! Whose message is this? From bytes to the call's actor, or to an answer that keeps nothing.
//!
//! A response names its call in our branch, a request inside a dialog in our tag; a retransmitted INVITE,
//! its CANCEL and copies of answered requests are found in tables. What is left may begin a call.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use call::{CallId, Context, Flow, Input, route};
use machine::museum::planted;
use sip::verdict::{self, Verdict};
use sip::{Framing, Message, Method, OwnedMessage, ParseError};
use transport::{Peer, Sink, Standing};
use trunk::settings::UnsupportedMethod;
use trunk::{Party, Transport};

use crate::actor::call::Msg;
use crate::caller::{Admission, Caller};
use crate::errand::Heard;
use crate::home::Home;
use crate::lock;
use crate::metrics::{Drop, add};
use crate::shared::Shared;
use crate::stateless::{ALLOW, Stateless};

/// A message on its way through the switch.
pub(crate) struct Incoming<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) flow: Flow,
    pub(crate) home: &'a Arc<Home>,
    pub(crate) context: &'a Arc<Context>,
}

impl Incoming<'_> {
    pub(crate) fn stateless(&self) -> Stateless<'_> {
        Stateless { secret: &self.context.secret, domain: &self.context.domain, source: self.flow.remote }
    }
}

impl Shared {
    /// A datagram came to the address `local` of a home.
    pub(crate) fn datagram(
        self: &Arc<Shared>,
        home: &Arc<Home>,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
    ) {
        // CRLF keep-alives, and the empty datagrams that some send instead.
        if bytes.len() <= 4 && bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return self.metrics.dropped(Drop::KeepAlive);
        }
        let flow = Flow { transport: Transport::Udp, local, remote: from, connection: 0 };
        self.received(home, flow, bytes, Framing::Datagram);
    }

    /// Routes one message; gives whether its source is somebody we deal with.
    fn received(
        self: &Arc<Shared>,
        home: &Arc<Home>,
        flow: Flow,
        bytes: &[u8],
        framing: Framing,
    ) -> Standing {
        let context = home.context();
        match Message::parse(bytes, framing) {
            Ok(message) => {
                let incoming = Incoming { message, flow, home, context: &context };
                if incoming.message.is_request() { self.request(&incoming) } else { self.response(&incoming) }
            }
            Err(error) => self.broken(home, flow, bytes, error, &context),
        }
    }

    /// Bytes that are no message: answered where that is possible and the source is known.
    fn broken(
        self: &Arc<Shared>,
        home: &Arc<Home>,
        flow: Flow,
        bytes: &[u8],
        error: ParseError,
        context: &Arc<Context>,
    ) -> Standing {
        if !is_named(context, &flow) {
            self.metrics.dropped(Drop::UnknownSource);
            return Standing::Stranger;
        }
        let reading = verdict::unreadable(bytes, error);
        match (reading.message, reading.verdict) {
            (Some(message), Verdict::Reject(reject)) => {
                let incoming = Incoming { message, flow, home, context };
                let answer =
                    incoming.stateless().verdict(&incoming.message, &reject, &verdict::Rules::default());
                self.refuse(&incoming, reject.status, answer);
            }
            _ => self.metrics.dropped(Drop::Malformed),
        }
        Standing::Known
    }

    fn response(&self, incoming: &Incoming<'_>) -> Standing {
        add(&self.metrics.responses_in);
        if verdict::response(&incoming.message) != Verdict::Accept {
            self.metrics.dropped(Drop::Malformed);
            return Standing::Stranger;
        }
        if let Some(errand) = route::errand(&incoming.context.secret, &incoming.message)
            && self.errand_answered(errand, incoming)
        {
            return Standing::Known;
        }
        let call = route::response(&incoming.message);
        match call.and_then(|call| self.actor(call)) {
            Some(actor) => {
                self.deliver(&actor, incoming);
                Standing::Known
            }
            None if call.is_some_and(|call| self.pass_on(call, incoming)) => Standing::Known,
            None => self.replay(incoming),
        }
    }

    fn request(self: &Arc<Shared>, incoming: &Incoming<'_>) -> Standing {
        add(&self.metrics.requests_in);
        let message = &incoming.message;
        let tagged = message.to().ok().is_some_and(|to| to.tag().is_some());
        if tagged {
            return self.in_dialog(incoming);
        }
        if !is_known(incoming.context, &incoming.flow) {
            return self.stranger(incoming);
        }
        match verdict::request(message, &self.rules) {
            Verdict::Accept => {}
            Verdict::Reject(reject) => {
                let answer = incoming.stateless().verdict(message, &reject, &self.rules);
                self.refuse(incoming, reject.status, answer);
                return Standing::Known;
            }
            Verdict::Drop(_) => {
                self.metrics.dropped(Drop::Malformed);
                return Standing::Known;
            }
        }
        match message.method() {
            Some(Method::Invite) => self.invite(incoming),
            Some(Method::Cancel) => self.cancel(incoming),
            Some(Method::Register) => self.register(incoming),
            // An ACK without our tag belongs to nothing that we ever said.
            Some(Method::Ack) | None => self.metrics.dropped(Drop::Unmatched),
            Some(method) => self.outside(incoming, method),
        }
        Standing::Known
    }

    /// A request with a tag in To: for the call that the tag names.
    fn in_dialog(self: &Arc<Shared>, incoming: &Incoming<'_>) -> Standing {
        let message = &incoming.message;
        let is_ack = message.method() == Some(Method::Ack);
        let call = route::request(message);
        let Some(actor) = call.and_then(|call| self.actor(call)) else {
            if call.is_some_and(|call| self.pass_on(call, incoming)) {
                return Standing::Known;
            }
            if self.replay(incoming) == Standing::Known {
                return Standing::Known;
            }
            let asks_what_we_are = message.method() == Some(Method::Options);
            let known =
                is_known(incoming.context, &incoming.flow) && (!asks_what_we_are || self.is_heard(incoming));
            if is_ack {
                self.metrics.dropped(Drop::Unmatched);
            } else if known {
                // RFC 3261 §12.2.2: no such dialog.
                let answer = incoming.stateless().plain(message, 481);
                self.refuse(incoming, 481, answer);
            } else {
                return self.stranger(incoming);
            }
            return if known { Standing::Known } else { Standing::Stranger };
        };
        match verdict::request(message, &self.rules) {
            Verdict::Accept => self.deliver(&actor, incoming),
            Verdict::Reject(reject) => {
                let answer = incoming.stateless().verdict(message, &reject, &self.rules);
                self.refuse(incoming, reject.status, answer);
            }
            Verdict::Drop(_) => self.metrics.dropped(Drop::Malformed),
        }
        Standing::Known
    }

    /// Whether somebody is known at the source: a trunk or gateway names it, or an account is registered there. A scanner
    /// learns nothing from a trunk whose accounts may come from anywhere.
    fn is_heard(&self, incoming: &Incoming<'_>) -> bool {
        is_named(incoming.context, &incoming.flow) || self.is_registered_at(incoming.flow.remote.ip())
    }

    /// Nobody admits its source.
    fn stranger(&self, incoming: &Incoming<'_>) -> Standing {
        let rejects = self.config.reject_unknown_sources || planted("stranger-answered");
        if rejects && incoming.message.method() != Some(Method::Ack) {
            let answer = incoming.stateless().plain(&incoming.message, 403);
            self.refuse(incoming, 403, answer);
        } else {
            self.metrics.dropped(Drop::UnknownSource);
        }
        Standing::Stranger
    }

    /// A copy of something that a call answered before it went away.
    pub(crate) fn replay(&self, incoming: &Incoming<'_>) -> Standing {
        let key = route::transaction_key(&incoming.context.secret, &incoming.message);
        let found = key.and_then(|key| self.afterlife(key));
        match found {
            Some((flow, bytes)) => {
                self.send(flow, bytes);
                Standing::Known
            }
            None => {
                if !incoming.message.is_request() {
                    self.metrics.dropped(Drop::Unmatched);
                }
                Standing::Stranger
            }
        }
    }

    fn cancel(&self, incoming: &Incoming<'_>) {
        let key = route::invite_key(&incoming.context.secret, &incoming.message);
        match key.and_then(|key| self.by_key(&key)) {
            Some((_, actor)) => self.deliver(&actor, incoming),
            None if self.replay(incoming) == Standing::Known => {}
            None if self.pass_on_copy(key, incoming) => {}
            None => {
                // RFC 3261 §9.2: nothing to cancel.
                let answer = incoming.stateless().plain(&incoming.message, 481);
                self.refuse(incoming, 481, answer);
            }
        }
    }

    /// A request that begins no call and belongs to none.
    fn outside(&self, incoming: &Incoming<'_>, method: Method<'_>) {
        let message = &incoming.message;
        if method == Method::Options {
            if !self.is_heard(incoming) {
                self.stranger(incoming);
                return;
            }
            let answer = incoming.stateless().capabilities(message);
            return self.answer(incoming, answer);
        }
        if matches!(method, Method::Bye | Method::Prack | Method::Update | Method::Info) {
            let answer = incoming.stateless().plain(message, 481);
            return self.refuse(incoming, 481, answer);
        }
        self.unsupported(incoming);
    }

    /// A method that the source's trunk does not serve: 405, or silence where it says so.
    pub(crate) fn unsupported(&self, incoming: &Incoming<'_>) {
        let trunk = match self.identify(incoming) {
            Caller::Admitted(Admission { party: Party::Trunk { name, .. }, .. }) => {
                incoming.context.resources.trunks.get(&name).cloned()
            }
            _ => None,
        };
        let access = trunk.as_ref().map(|trunk| &trunk.settings.access);
        if access.is_some_and(|access| access.unsupported_method == UnsupportedMethod::Ignore) {
            return self.metrics.dropped(Drop::Ignored);
        }
        let answer = incoming.stateless().not_allowed(&incoming.message, ALLOW);
        self.refuse(incoming, 405, answer);
    }

    /// Hands a message to a call's actor.
    pub(crate) fn deliver(&self, actor: &ractor::ActorRef<Msg>, incoming: &Incoming<'_>) {
        let message = incoming.message.to_owned();
        let input = Input::Received { message, flow: incoming.flow };
        // An actor that just failed: the peer retransmits, and the restored one answers.
        let _ = actor.send_message(Msg::input(input));
    }

    /// Sends an answer that keeps nothing.
    pub(crate) fn answer(&self, incoming: &Incoming<'_>, bytes: Bytes) {
        if let Some(flow) = self.way_back(incoming) {
            self.send(flow, bytes);
        }
    }

    /// Where the answer to a request goes; nowhere if its Via does not say.
    pub(crate) fn way_back(&self, incoming: &Incoming<'_>) -> Option<Flow> {
        let mut flow = incoming.flow;
        if flow.transport == Transport::Udp {
            let target = verdict::answer_target(&incoming.message, flow.remote);
            flow.remote = target.or_else(|| {
                self.metrics.dropped(Drop::Malformed);
                None
            })?;
        }
        Some(flow)
    }

    /// Sends a refusal and counts it.
    pub(crate) fn refuse(&self, incoming: &Incoming<'_>, status: u16, bytes: Bytes) {
        self.metrics.refused(status);
        self.answer(incoming, bytes);
    }
}

/// Whether any trunk or gateway admits the source.
fn is_known(context: &Context, flow: &Flow) -> bool {
    context.resources.is_known(flow.remote, flow.transport, flow.local.port())
}

/// Whether any trunk or gateway names the source by its address.
pub(crate) fn is_named(context: &Context, flow: &Flow) -> bool {
    context.resources.is_named(flow.remote, flow.transport, flow.local.port())
}

/// What the streams deliver goes the same way as datagrams.
pub(crate) struct StreamSink(pub(crate) std::sync::Weak<Shared>);

const _: () = assert!(Flow::CAME == Peer::CAME);

impl Sink for StreamSink {
    /// Who guesses passwords may not; who is named by no trunk and no gateway may where there is room, since a peer of a
    /// call need not be.
    fn welcome(&self, peer: Peer) -> Option<Standing> {
        let shared = self.0.upgrade()?;
        let context = shared.home_at(peer.local)?.context();
        let flow = flow(peer);
        if is_named(&context, &flow) {
            return Some(Standing::Known);
        }
        if lock(&shared.bans).is_banned(shared.world.clock.now(), peer.remote.ip()) {
            return None;
        }
        Some(if is_known(&context, &flow) { Standing::Known } else { Standing::Stranger })
    }

    fn message(&self, peer: Peer, message: Bytes) -> Standing {
        let Some(shared) = self.0.upgrade() else { return Standing::Stranger };
        let Some(home) = shared.home_at(peer.local) else { return Standing::Stranger };
        shared.received(&home, flow(peer), &message, Framing::Stream)
    }

    fn unframeable(&self, peer: Peer, error: ParseError, head: Bytes) {
        let Some(shared) = self.0.upgrade() else { return };
        if let Some(home) = shared.home_at(peer.local) {
            let context = home.context();
            shared.broken(&home, flow(peer), &head, error, &context);
        }
    }

    fn unreachable(&self, peer: Peer, message: Bytes) {
        if let Some(shared) = self.0.upgrade() {
            shared.unreachable(flow(peer), message);
        }
    }
}

/// A connection, as calls know it.
fn flow(peer: Peer) -> Flow {
    let transport = if peer.secure { Transport::Tls } else { Transport::Tcp };
    Flow { transport, local: peer.local, remote: peer.remote, connection: peer.connection }
}

/// A flow, as the streams know it.
pub(crate) fn peer(flow: Flow) -> Peer {
    let secure = flow.transport == Transport::Tls;
    Peer { local: flow.local, remote: flow.remote, connection: flow.connection, secure }
}

impl Shared {
    /// What we wanted to say over a stream could not be said: its call hears of it.
    fn unreachable(&self, flow: Flow, bytes: Bytes) {
        let Ok(message) = OwnedMessage::parse(bytes, Framing::Stream) else { return };
        let view = message.view();
        if let Some(errand) = route::errand(&self.secret, &view).filter(|_| view.is_request()) {
            self.tell_errand(errand, || Heard::Unreachable);
            return;
        }
        // Our requests name their call in the branch, our responses in the To tag.
        let call: Option<CallId> =
            if view.is_request() { route::response(&view) } else { route::request(&view) };
        if let Some(call) = call {
            self.tell(call, Msg::input(Input::Unreachable(flow)));
        }
    }
}
