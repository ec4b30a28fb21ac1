//! Dialling the peers, for as long as they are peers: those with higher ids at once, the others when they leave us
//! without a link.

use std::sync::Arc;
use std::time::Duration;

use env::Peer;
use machine::Rng;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::connection::serve;
use super::identity::NodeName;
use super::refusal::Refusal;
use super::table::Table;

/// What dialling takes.
pub(super) struct Dialer {
    pub(super) table: Arc<Table>,
    pub(super) endpoint: Endpoint,
    pub(super) client: ClientConfig,
    pub(super) detect: Duration,
    pub(super) rng: Rng,
    pub(super) runtime: Handle,
}

impl Dialer {
    /// Dials a peer until told otherwise.
    pub(super) fn dial(&mut self, peer: Peer) -> AbortHandle {
        let attempt = Attempt {
            table: self.table.clone(),
            endpoint: self.endpoint.clone(),
            client: self.client.clone(),
            peer,
            patience: (self.detect * 2).max(PATIENCE_MIN),
        };
        let rest = Rest { rng: self.rng.fork(), next: REST_MIN };
        self.runtime.spawn(attempt.run(rest)).abort_handle()
    }
}

struct Attempt {
    table: Arc<Table>,
    endpoint: Endpoint,
    client: ClientConfig,
    peer: Peer,
    patience: Duration,
}

impl Attempt {
    async fn run(self, mut rest: Rest) {
        let own = self.table.node;
        loop {
            if self.peer.node < own {
                // It dials us, if it knows of us.
                sleep(SECOND_REST).await;
            }
            if self.table.is_up(self.peer.node) {
                sleep(REST_MAX).await;
                continue;
            }
            let refusal = match timeout(self.patience, self.connect()).await {
                Ok(Ok((connection, first))) => {
                    rest.next = REST_MIN;
                    serve(&self.table, (self.peer.node, own), connection, Some(first)).await
                }
                Ok(Err(refusal)) => refusal,
                Err(_) => Refusal::Silent,
            };
            self.table.down(self.peer.node, None, refusal);
            sleep(rest.after(refusal)).await;
        }
    }

    /// Connects. A handshake is over for us before the peer has looked at our certificate, so only its first
    /// stream says that it takes us.
    async fn connect(&self) -> Result<(Connection, RecvStream), Refusal> {
        let name = NodeName(self.peer.node).to_string();
        let connecting = self
            .endpoint
            .connect_with(self.client.clone(), self.peer.at, &name)
            .map_err(|_| Refusal::Silent)?;
        let connection = connecting.await.map_err(|error| Refusal::from(&error))?;
        let first = connection.accept_uni().await.map_err(|error| Refusal::from(&error))?;
        Ok((connection, first))
    }
}

/// How long to wait before the next attempt: doubled each time, and spread, so that nodes that lost each other
/// together do not meet again and again at once.
struct Rest {
    rng: Rng,
    next: Duration,
}

impl Rest {
    fn after(&mut self, refusal: Refusal) -> Duration {
        if refusal == Refusal::Twin {
            // Whoever is there now would only be thrown out again.
            return TWIN_REST;
        }
        let longest = self.next;
        self.next = (longest * 2).min(REST_MAX);
        let half = longest / 2;
        half + Duration::from_nanos(self.rng.below(half.as_nanos() as u64 + 1))
    }
}

const PATIENCE_MIN: Duration = Duration::from_secs(1);
const REST_MIN: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_millis(640);
const SECOND_REST: Duration = Duration::from_secs(2);
const TWIN_REST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_to_a_limit_and_are_spread() {
        let mut rest = Rest { rng: Rng::from_u64(1), next: REST_MIN };
        for longest_ms in [20, 40, 80, 160, 320, 640, 640, 640] {
            let drawn = rest.after(Refusal::Silent);
            let longest = Duration::from_millis(longest_ms);
            assert!((longest / 2..=longest).contains(&drawn), "{drawn:?} of {longest:?}");
        }
        let two: Vec<Duration> = [2, 3]
            .map(|seed| Rest { rng: Rng::from_u64(seed), next: REST_MAX }.after(Refusal::Silent))
            .into();
        assert_ne!(two[0], two[1]);
    }

    #[test]
    fn a_twin_gives_way_for_long() {
        let mut rest = Rest { rng: Rng::from_u64(1), next: REST_MIN };
        assert_eq!(rest.after(Refusal::Twin), TWIN_REST);
        assert!(rest.after(Refusal::Silent) <= REST_MIN);
    }
}
