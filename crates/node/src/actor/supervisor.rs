//! The two levels of supervision: the root, and one supervisor for each trunk or gateway.
//!
//! A call ending is normal. A call failing is restored once from what a quorum holds of it, then released;
//! its neighbours notice nothing. A supervisor failing takes its calls with it, so they are restored too.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use trunk::Name;

use crate::metrics::{add, sub};
use crate::shared::Shared;

/// The root of the node's actors.
pub(crate) struct Root {
    shared: Arc<Shared>,
}

impl Root {
    /// A root for this node.
    pub(crate) fn new(shared: Arc<Shared>) -> Root {
        Root { shared }
    }
}

impl Actor for Root {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(who, error) => {
                tracing::error!(%error, "a supervisor failed; its calls are restored");
                self.shared.supervisor_lost(who.get_id());
            }
            // Supervisors stop with the node only.
            SupervisionEvent::ActorTerminated(who, _, _) => self.shared.supervisor_lost(who.get_id()),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

/// The supervisor of one trunk's or gateway's calls and media sessions.
pub(crate) struct PartySupervisor {
    shared: Arc<Shared>,
}

impl PartySupervisor {
    /// A supervisor on this node.
    pub(crate) fn new(shared: Arc<Shared>) -> PartySupervisor {
        PartySupervisor { shared }
    }
}

impl Actor for PartySupervisor {
    type Msg = ();
    type State = Name;
    type Arguments = Name;

    async fn pre_start(&self, _: ActorRef<()>, party: Name) -> Result<Name, ActorProcessingErr> {
        Ok(party)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        party: &mut Name,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorStarted(_) => add(&self.shared.metrics.actors),
            SupervisionEvent::ActorTerminated(..) => sub(&self.shared.metrics.actors),
            SupervisionEvent::ActorFailed(who, error) => {
                sub(&self.shared.metrics.actors);
                add(&self.shared.metrics.failed);
                tracing::error!(%party, %error, "an actor failed");
                self.shared.failed(who.get_id());
            }
            SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}
