//! Names to hosts (RFC 3263): what is not known is looked up, and kept for as long as DNS says.

use std::collections::BTreeMap;
use std::sync::Arc;

use call::Context;
use futures::future::join_all;
use trunk::{Hop, Question, Records, Transport, Wanted, locate};

use crate::lock;
use crate::shared::Shared;

/// As many questions may follow from one another: NAPTR, SRV, addresses, and an order of NAPTR that led nowhere.
const ROUNDS_MAX: usize = 6;

impl Shared {
    /// The hosts of a name in the order in which they are tried from a home; none where it leads nowhere.
    pub(crate) async fn locate(
        self: Arc<Shared>,
        context: Arc<Context>,
        wanted: Wanted,
        draw: u64,
    ) -> Vec<Hop> {
        let mut may: Vec<Transport> = context.addresses.iter().map(|(over, _)| *over).collect();
        may.dedup();
        self.servers(&wanted, &may, draw).await
    }

    /// The hosts of a name over these transports.
    pub(crate) async fn servers(&self, wanted: &Wanted, may: &[Transport], draw: u64) -> Vec<Hop> {
        let mut known = BTreeMap::new();
        for _ in 0..ROUNDS_MAX {
            match locate::locate(wanted, may, draw, &known) {
                Ok(hops) => return hops,
                Err(missing) => {
                    let asked = missing.into_iter().map(|question| self.ask_dns(question));
                    known.extend(join_all(asked).await);
                }
            }
        }
        Vec::new()
    }

    pub(crate) async fn ask_dns(&self, question: Question) -> (Question, Records) {
        let known = lock(&self.names).look(self.now(), &question);
        let records = match known {
            Some(records) => records,
            None => {
                let answer = self.world.resolve.look_up(question.clone()).await;
                lock(&self.names).heard(self.now(), &question, answer)
            }
        };
        (question, records)
    }
}
