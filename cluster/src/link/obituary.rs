//! A guard's word that a process has ended, as the other nodes believe it: sealed under the cluster's key
//! (HMAC-SHA-256, RFC 2104), so that no stranger can end a node. Said again it changes nothing: it names one
//! life of the node, and no life comes back.

use call::{Incarnation, NodeId};
use ring::hmac;

/// "That life of that node has ended, and its floating addresses are gone."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obituary {
    /// Which node.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

impl Obituary {
    /// How long a sealed one is.
    pub const LEN: usize = BODY + SEAL;

    /// Its bytes, which only holders of the key can make.
    pub fn seal(&self, key: &[u8; 32]) -> [u8; Obituary::LEN] {
        let mut sealed = [0; Obituary::LEN];
        let (body, seal) = sealed.split_at_mut(BODY);
        let (node, life) = body.split_at_mut(NODE);
        node.copy_from_slice(&self.node.0.to_be_bytes());
        life.copy_from_slice(&self.incarnation.0.to_be_bytes());
        seal.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), body).as_ref());
        sealed
    }

    /// What a holder of the key has sealed; `None`: somebody else made this.
    pub fn open(key: &[u8; 32], sealed: &[u8; Obituary::LEN]) -> Option<Obituary> {
        let (body, seal) = sealed.split_at(BODY);
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), body, seal).ok()?;
        let (node, rest) = body.split_first_chunk()?;
        let life = u32::from_be_bytes(*rest.first_chunk()?);
        Some(Obituary { node: NodeId(u64::from_be_bytes(*node)), incarnation: Incarnation(life) })
    }
}

const NODE: usize = 8;
const BODY: usize = NODE + 4;
const SEAL: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_obituary_is_believed_only_as_it_was_sealed() {
        let obituary = Obituary { node: NodeId(2), incarnation: Incarnation(7) };
        let sealed = obituary.seal(&[1; 32]);
        assert_eq!(Obituary::open(&[1; 32], &sealed), Some(obituary));
        assert_eq!(Obituary::open(&[2; 32], &sealed), None);
        for at in 0..Obituary::LEN {
            let mut altered = sealed;
            altered[at] ^= 1;
            assert_eq!(Obituary::open(&[1; 32], &altered), None, "byte {at}");
        }
    }
}
