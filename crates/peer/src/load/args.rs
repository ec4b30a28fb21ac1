//! What a run is asked to do.

use std::net::SocketAddr;
use std::time::Duration;

use crate::local::Transport;
use crate::plan::Mix;

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct LoadArgs {
    /// The node.
    pub target: SocketAddr,
    /// Where we place calls from, and answer those that come back.
    pub listen: SocketAddr,
    /// Where we answer instead, if the node tells callers and callees apart by address.
    pub callee_listen: Option<SocketAddr>,
    /// Calls per second.
    pub rate: f64,
    /// How many calls.
    pub calls: u64,
    /// How many calls must come to us before the run is over, whoever places them. `calls: 0` only answers.
    pub awaits: u64,
    /// The number that is called.
    pub to: String,
    /// The number that calls.
    pub from: String,
    /// What SIP runs over.
    pub transport: Transport,
    /// Whether calls carry RTP.
    pub media: bool,
    /// How calls go.
    pub mix: Mix,
    /// Whether lost messages are sent again. Without, a lost message is a failed call.
    pub retransmit: bool,
    /// How long after its planned end a call may last.
    pub patience: Duration,
    /// What the mixture is drawn from.
    pub seed: u64,
    /// Tells this run's names from others'; drawn from time and process if left out.
    pub run: Option<u32>,
}

impl LoadArgs {
    /// A run with the defaults of `banyan load`.
    pub fn new(target: SocketAddr, listen: SocketAddr) -> LoadArgs {
        LoadArgs {
            target,
            listen,
            callee_listen: None,
            rate: 10.0,
            calls: 100,
            awaits: 0,
            to: "+31201234567".into(),
            from: "+31209876543".into(),
            transport: Transport::Udp,
            media: false,
            mix: Mix::default(),
            retransmit: true,
            patience: Duration::from_secs(35),
            seed: 1,
            run: None,
        }
    }
}
