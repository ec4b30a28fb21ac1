//! Nodes and homes: incarnations, epochs, and whose commands still count.

use call::{Epoch, HomeId, Incarnation, NodeId};
use trunk::Name;

use super::digest::Mixer;
use super::{Delta, Home, Node, State};
use crate::command::{Batch, Boot, Booted, Command, Held, Verdict};

impl State {
    /// Whether a batch is the next of its node's stream. Its number counts from here on.
    pub(super) fn accept(&mut self, batch: &Batch) -> Result<(), Verdict> {
        if let ([Command::Boot(boot)], 0) = (batch.commands.as_slice(), batch.incarnation.0) {
            let known = self.nodes.get(&batch.node).is_some_and(|node| node.nonce == boot.nonce);
            return if known { Err(Verdict::Repeated) } else { Ok(()) };
        }
        let Some(node) = self.nodes.get_mut(&batch.node) else { return Err(Verdict::Fenced) };
        if node.incarnation != batch.incarnation {
            return Err(Verdict::Fenced);
        }
        let expected = node.seq + 1;
        match batch.seq {
            seq if seq < expected => Err(Verdict::Repeated),
            seq if seq > expected => Err(Verdict::Gap { expected }),
            seq => {
                node.seq = seq;
                Ok(())
            }
        }
    }

    /// Begins a node's next life: a new incarnation, and a new epoch for each home that it holds.
    pub(super) fn boot(&mut self, id: NodeId, boot: &Boot, deltas: &mut Vec<Delta>) -> Booted {
        let last = self.incarnations.last_key_value().map_or(0, |(last, _)| last.0);
        let incarnation = Incarnation(last + 1);
        self.incarnations.insert(incarnation, id);
        let cdrs_durable = self.nodes.get(&id).map_or(0, |node| node.cdrs_durable);
        let (name, nonce) = (boot.name.clone(), boot.nonce);
        self.nodes.insert(id, Node { name, incarnation, nonce, seq: 0, cdrs_durable });
        for name in &boot.homes {
            if !self.homes.values().any(|home| home.name == *name) {
                let next = self.homes.last_key_value().map_or(0, |(last, _)| last.0) + 1;
                self.homes.insert(HomeId(next), Home { name: name.clone(), holder: id, epoch: Epoch(0) });
            }
        }
        // A fixed home is nobody else's: the address is this node's own.
        let mut held = Vec::new();
        for (home, state) in &mut self.homes {
            if state.holder == id || boot.homes.contains(&state.name) {
                state.holder = id;
                state.epoch = Epoch(state.epoch.0 + 1);
                held.push(Held { home: *home, name: state.name.clone(), epoch: state.epoch });
            }
        }
        let mut mixer = Mixer::new(b'n');
        [id.0, u64::from(incarnation.0), nonce].into_iter().for_each(|n| mixer.number(n));
        self.digest = self.digest.wrapping_add(mixer.finish());
        deltas.push(Delta::Booted(id));
        Booted { incarnation, homes: held }
    }

    /// What a process that booted before learns when it asks again.
    pub fn booted(&self, id: NodeId, nonce: u64) -> Option<Booted> {
        let node = self.nodes.get(&id).filter(|node| node.nonce == nonce)?;
        let held = self.homes.iter().filter(|(_, home)| home.holder == id);
        let held =
            held.map(|(home, state)| Held { home: *home, name: state.name.clone(), epoch: state.epoch });
        Some(Booted { incarnation: node.incarnation, homes: held.collect() })
    }

    /// Whether a node holds a home in this epoch.
    pub fn holds(&self, node: NodeId, home: HomeId, epoch: Epoch) -> bool {
        self.homes.get(&home).is_some_and(|state| state.holder == node && state.epoch == epoch)
    }

    /// CDRs up to this number are on enough disks: two, or one in a cluster of one.
    pub(super) fn cdrs_safe(&self) -> u64 {
        let mut durable: Vec<u64> = self.nodes.values().map(|node| node.cdrs_durable).collect();
        durable.sort_unstable_by(|a, b| b.cmp(a));
        durable.get(1).or(durable.first()).copied().unwrap_or(0)
    }

    /// A home by its name.
    pub fn home_named(&self, name: &Name) -> Option<(HomeId, &Home)> {
        self.homes.iter().find(|(_, home)| home.name == *name).map(|(id, home)| (*id, home))
    }
}
