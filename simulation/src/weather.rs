//! The weather between peers and nodes: what happens to datagrams on their way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use machine::Rng;

use crate::fault::{Effects, Kind};

/// Something that may happen to each datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// This many in a million meet this kind: loss, duplication, reordering, corruption.
    Chance(Kind, u64),
    /// Each is late by up to this.
    Late(Duration),
    /// None beyond this many bytes passes.
    Mtu(usize),
    /// Nothing passes to or from this address.
    Cut(IpAddr),
}

/// All that may happen to datagrams now.
#[derive(Debug)]
pub(crate) struct Weather {
    fronts: BTreeMap<usize, Front>,
    rng: Rng,
}

/// A copy of a datagram that arrives: how much later than usual, and its bytes.
pub(crate) type Copy = (Duration, Bytes);

impl Weather {
    pub(crate) fn new(rng: Rng) -> Weather {
        Weather { fronts: BTreeMap::new(), rng }
    }

    /// A front comes, or with `None` goes.
    pub(crate) fn set(&mut self, id: usize, front: Option<Front>) {
        match front {
            Some(front) => drop(self.fronts.insert(id, front)),
            None => drop(self.fronts.remove(&id)),
        }
    }

    pub(crate) fn is_fair(&self) -> bool {
        self.fronts.is_empty()
    }

    /// What arrives of a datagram between two addresses.
    pub(crate) fn meet(&mut self, from: IpAddr, to: IpAddr, bytes: &Bytes, effects: &Effects) -> Vec<Copy> {
        let mut copies = vec![(Duration::ZERO, bytes.clone())];
        let Weather { fronts, rng } = self;
        for front in fronts.values() {
            match *front {
                Front::Chance(kind, ppm) => {
                    if rng.below(1_000_000) < ppm {
                        effects.harm(kind, bytes);
                        strike(kind, &mut copies, rng);
                    }
                }
                Front::Late(up_to) => {
                    effects.harm(Kind::Delay, bytes);
                    let late = Duration::from_nanos(rng.below(up_to.as_nanos() as u64 + 1));
                    copies.iter_mut().for_each(|copy| copy.0 += late);
                }
                Front::Mtu(length) if bytes.len() > length => {
                    effects.harm(Kind::Mtu, bytes);
                    copies.clear();
                }
                Front::Cut(peer) if peer == from || peer == to => {
                    effects.harm(Kind::PeerCut, bytes);
                    copies.clear();
                }
                Front::Mtu(_) | Front::Cut(_) => {}
            }
        }
        copies
    }
}

fn strike(kind: Kind, copies: &mut Vec<Copy>, rng: &mut Rng) {
    match kind {
        Kind::Loss => copies.clear(),
        Kind::Duplication => {
            let again: Vec<Copy> = copies
                .iter()
                .map(|(late, bytes)| (*late + Duration::from_micros(rng.below(TWIN_US)), bytes.clone()))
                .collect();
            copies.extend(again);
        }
        Kind::Corruption => copies.iter_mut().for_each(|(_, bytes)| *bytes = corrupt(bytes, rng)),
        // The only other kind that strikes datagrams one by one is to be overtaken.
        _ => copies.iter_mut().for_each(|(late, _)| *late += Duration::from_micros(rng.below(OVERTAKEN_US))),
    }
}

/// Changes a byte or two.
fn corrupt(bytes: &Bytes, rng: &mut Rng) -> Bytes {
    let mut changed = bytes.to_vec();
    for _ in 0..=rng.below(2) {
        let place = rng.below(changed.len().max(1) as u64) as usize;
        if let Some(byte) = changed.get_mut(place) {
            *byte ^= 1 + rng.below(255) as u8;
        }
    }
    changed.into()
}

const TWIN_US: u64 = 20_000;
const OVERTAKEN_US: u64 = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn meet(front: Front, bytes: &'static [u8]) -> (Vec<Copy>, BTreeMap<Kind, u64>) {
        let (mut weather, effects) = (Weather::new(Rng::from_u64(1)), Effects::default());
        weather.set(0, Some(front));
        let (from, to): (IpAddr, IpAddr) = ([10, 0, 1, 1].into(), [10, 0, 9, 1].into());
        let copies = weather.meet(from, to, &Bytes::from_static(bytes), &effects);
        (copies, effects.counts())
    }

    fn counted(kind: Kind) -> BTreeMap<Kind, u64> {
        [(kind, 1)].into()
    }

    #[test]
    fn each_front_does_what_it_says_and_is_counted() {
        const ALL: u64 = 1_000_000;
        let (copies, counts) = meet(Front::Chance(Kind::Loss, ALL), b"x");
        assert_eq!((copies.len(), counts), (0, counted(Kind::Loss)));
        let (copies, counts) = meet(Front::Chance(Kind::Duplication, ALL), b"x");
        assert_eq!((copies.len(), counts), (2, counted(Kind::Duplication)));
        let (copies, counts) = meet(Front::Chance(Kind::Corruption, ALL), b"abcdef");
        assert_ne!(&*copies[0].1, b"abcdef");
        assert_eq!(counts, counted(Kind::Corruption));
        let (copies, counts) = meet(Front::Chance(Kind::Reordering, ALL), b"x");
        assert!(copies[0].0 > Duration::ZERO);
        assert_eq!(counts, counted(Kind::Reordering));
        let (copies, counts) = meet(Front::Late(Duration::from_secs(5)), b"x");
        assert!(copies[0].0 > Duration::from_millis(1));
        assert_eq!(counts, counted(Kind::Delay));
        let (copies, counts) = meet(Front::Mtu(3), b"four");
        assert_eq!((copies.len(), counts), (0, counted(Kind::Mtu)));
        let (copies, counts) = meet(Front::Cut([10, 0, 1, 1].into()), b"x");
        assert_eq!((copies.len(), counts), (0, counted(Kind::PeerCut)));
    }

    #[test]
    fn what_a_front_does_not_meet_passes_as_it_was() {
        for front in [Front::Chance(Kind::Loss, 0), Front::Mtu(4), Front::Cut([10, 0, 1, 2].into())] {
            let (copies, counts) = meet(front, b"four");
            assert_eq!(copies, [(Duration::ZERO, Bytes::from_static(b"four"))], "{front:?}");
            assert!(counts.is_empty());
        }
    }
}
