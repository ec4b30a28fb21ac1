//! A digest of the state that is kept up to date as it changes: the sum of one digest per key, so that the
//! order of changes does not matter and each costs the same however large the state is.

use call::{CallRecord, Count, HomeId, NodeId, Phase, Side};

use super::{Home, Node};

/// Mixes numbers and bytes into 64 bits. Not for adversaries: it finds replicas that went apart.
pub(super) struct Mixer(u64);

impl Mixer {
    /// A mixer for one kind of key.
    pub(super) fn new(kind: u8) -> Mixer {
        Mixer(0x9E37_79B9_7F4A_7C15 ^ u64::from(kind))
    }

    /// Mixes a number in.
    pub(super) fn number(&mut self, n: u64) {
        // The finaliser of splitmix64, chained.
        let mut z = (self.0.rotate_left(5) ^ n).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.0 = z ^ (z >> 31);
    }

    /// Mixes bytes and their length in.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.number(u64::from_le_bytes(word));
        }
    }

    /// The digest.
    pub(super) fn finish(self) -> u64 {
        self.0
    }
}

/// What of a call's record decides how its successor behaves, without its texts.
pub(super) fn of_call(record: &CallRecord) -> u64 {
    let mut mixer = Mixer::new(b'c');
    mixer.number(record.id.0);
    mixer.number(u64::from(record.home.0));
    mixer.number(u64::from(record.attempt) << 32 | record.attempts.len() as u64);
    mixer.number(record.slots.len() as u64);
    mixer.number(record.ringing_at.map_or(0, |at| at.0 as u64));
    let moments = &record.moments;
    let moments = [moments.attempt, moments.answered, moments.ingress, moments.egress];
    moments.into_iter().for_each(|at| mixer.number(at.0));
    // Nothing where there is none, as before version 3.
    for mark in &record.marks {
        let (kind, source) = match mark.count {
            Count::Sent(source) => (0, source),
            Count::Heard(source) => (1, source),
            Count::Control => (2, 0),
        };
        let place = u64::from(mark.stream) << 8 | u64::from(mark.side == Side::Egress) << 4 | kind;
        mixer.number(u64::from(source) << 32 | place);
        mixer.number(u64::from(mark.value));
    }
    match &record.phase {
        Phase::Ringing { early, cancelled } => {
            mixer.number(early.len() as u64 * 2 + u64::from(*cancelled));
        }
        Phase::Answered { confirm, acked } => {
            mixer.number(confirm.answered_at.0 as u64);
            mixer.number(u64::from(*acked));
            for leg in [&confirm.ingress, &confirm.egress] {
                mixer.bytes(&leg.local_sdp);
                mixer.number(leg.remote_sdp.len() as u64);
                mixer.number(u64::from(leg.dialog.remote_cseq.unwrap_or_default()));
            }
        }
    }
    mixer.finish()
}

/// What of a node decides where homes go.
pub(super) fn of_node(id: NodeId, node: &Node) -> u64 {
    let mut mixer = Mixer::new(b'n');
    [id.0, u64::from(node.incarnation.0), node.nonce, node.since.0].into_iter().for_each(|n| mixer.number(n));
    mixer.number(
        u64::from(node.supports) << 8
            | u64::from(node.alive) << 4
            | node.drained.map_or(0, |it| it as u64 + 1),
    );
    node.region.iter().chain(&node.floating).for_each(|name| mixer.bytes(name.as_bytes()));
    mixer.finish()
}

/// A home and who holds it.
pub(super) fn of_home(id: HomeId, home: &Home) -> u64 {
    let mut mixer = Mixer::new(b'h');
    mixer.bytes(home.name.as_bytes());
    let holder = home.holder.map_or(u64::MAX, |node| node.0);
    [u64::from(id.0), holder, home.epoch.0, home.moved_at.0].into_iter().for_each(|n| mixer.number(n));
    match home.floating() {
        None => mixer.number(0),
        Some(spec) => spec.nodes.iter().for_each(|node| mixer.number(node.0)),
    }
    mixer.finish()
}

/// What commands mean, and how many homes there were.
pub(super) fn of_version(apply_version: u32, homes_made: u32) -> u64 {
    let mut mixer = Mixer::new(b'v');
    mixer.number(u64::from(apply_version) << 32 | u64::from(homes_made));
    mixer.finish()
}
