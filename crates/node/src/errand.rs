//! Requests of the node's own that belong to no call, each a client transaction (RFC 3261 §17.1.2) that its task waits for.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use call::{CallId, Flow};
use machine::Machine;
use sip::OwnedMessage;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use transaction::{ClientInput, NonInviteClient, Output};
use trunk::{Hop, SipTarget, Transport};

use crate::home::Home;
use crate::lock;
use crate::shared::Shared;
use crate::switch::Incoming;

/// Requests under way, by the name in their branch.
pub(crate) type Errands = BTreeMap<CallId, UnboundedSender<Heard>>;

/// What comes of a request under way.
pub(crate) enum Heard {
    /// An answer.
    Answer(Box<OwnedMessage>),
    /// It can't be said.
    Unreachable,
}

impl Shared {
    /// A name for a request of ours, or a series of them, that nothing else in the cluster has.
    pub(crate) fn errand_name(&self) -> Option<CallId> {
        self.draw().map(|(name, _)| name)
    }

    /// Sends a request and waits for its final answer; nothing for silence.
    pub(crate) async fn errand(&self, id: CallId, flow: Flow, request: Bytes) -> Option<OwnedMessage> {
        let (tell, mut told) = unbounded_channel();
        lock(&self.errands).insert(id, tell);
        let _open = Open { shared: self, id };
        let reliable = flow.transport != Transport::Udp;
        let mut client = NonInviteClient::start(self.now(), self.config.times, reliable, request);
        loop {
            while let Some(output) = client.poll_output() {
                match output {
                    Output::Send(bytes) => self.send(flow, bytes),
                    Output::TimedOut(_) | Output::TransportFailed | Output::Terminated => return None,
                    // Its answer is looked at when it is final.
                    _ => {}
                }
            }
            let due = client.poll_timeout()?;
            match self.heard(&mut told, due).await {
                Some(Heard::Answer(message)) => {
                    let status = message.view().status().unwrap_or_default();
                    if status >= 200 {
                        return Some(*message);
                    }
                    client.handle(self.now(), ClientInput::Response { status });
                }
                Some(Heard::Unreachable) => client.handle(self.now(), ClientInput::TransportError),
                None => client.handle_timeout(self.now()),
            }
        }
    }

    async fn heard(&self, told: &mut UnboundedReceiver<Heard>, due: machine::Instant) -> Option<Heard> {
        tokio::select! {
            biased;
            heard = told.recv() => heard,
            () = self.world.spawn.sleep_until(due) => None,
        }
    }

    /// An answer came that names a request of ours outside of calls; false if nobody waits for it.
    pub(crate) fn errand_answered(&self, id: CallId, incoming: &Incoming<'_>) -> bool {
        self.tell_errand(id, || Heard::Answer(Box::new(incoming.message.to_owned())))
    }

    /// What a request under way has come to; false if it is none.
    pub(crate) fn tell_errand(&self, id: CallId, heard: impl FnOnce() -> Heard) -> bool {
        lock(&self.errands).get(&id).is_some_and(|tell| tell.send(heard()).is_ok())
    }

    /// The way from a home to a target, to its next host for each that has `failed`; none if its name leads nowhere, or the
    /// home has no socket for it.
    pub(crate) async fn way_to(
        self: &Arc<Shared>,
        home: &Arc<Home>,
        target: &SipTarget,
        failed: usize,
    ) -> Option<Flow> {
        let context = home.context();
        let found = match (call::errand::address(target), target.wanted()) {
            (Some(address), _) => vec![Hop { transport: target.transport(), address }],
            // One order for each target: who stays with a host finds it again.
            (None, Some(wanted)) => self.clone().locate(context.clone(), wanted, 0).await,
            (None, None) => Vec::new(),
        };
        let way = |Hop { transport, address: remote }: Hop| {
            let local = context.address(transport, remote)?;
            Some(Flow { transport, local, remote, connection: 0 })
        };
        let ways: Vec<Flow> = found.into_iter().filter_map(way).collect();
        ways.get(failed % ways.len().max(1)).copied()
    }

    pub(crate) fn now(&self) -> machine::Instant {
        self.world.clock.now()
    }
}

/// Forgets a request when its task does.
struct Open<'a> {
    shared: &'a Shared,
    id: CallId,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.shared.errands).remove(&self.id);
    }
}
