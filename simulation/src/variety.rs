//! What sort of world a seed makes: which addresses callers call, and which parties forbid re-INVITEs. Drawn from
//! a chance of its own, so that a new sort leaves the faults and the ways of a seed what they were.

use std::fmt;
use std::net::IpAddr;

use machine::Rng;
use trunk::settings::{Media, Reinvite};

use crate::accounts::Accounts;
use crate::plan;
use crate::redirects::Redirects;

/// Which addresses callers call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Homes {
    /// Floating ones, which move with their calls.
    Floating,
    /// Floating ones, and the nodes' own.
    Both,
    /// The nodes' own, which nobody can take: there are no others.
    Fixed,
}

/// What sort of world a seed makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variety {
    /// Which addresses callers call.
    pub homes: Homes,
    /// The trunk's party forbids re-INVITEs (`media.reinvite = "never"`).
    pub trunk_forbids: bool,
    /// The gateways' do.
    pub gateways_forbid: bool,
    /// The ends of calls speak.
    pub media: bool,
    /// Callees hang up, too.
    pub callees_end: bool,
    /// Callers put callees on hold.
    pub holds: bool,
    /// Who speaks SIP over TCP: a bit for each caller, and from the fifth on for each callee.
    pub tcp: u8,
    /// Whether, and how, callees send calls elsewhere.
    pub redirects: Option<Redirects>,
    /// A registrar, accounts and a stranger, if there are any.
    pub accounts: Option<Accounts>,
}

impl Variety {
    /// The sort that follows from a seed.
    pub fn of(seed: u64) -> Variety {
        let mut rng = Rng::from_u64(seed ^ SALT);
        let homes = match rng.below(10) {
            0..6 => Homes::Floating,
            6 | 7 => Homes::Both,
            _ => Homes::Fixed,
        };
        let trunk_forbids = rng.below(6) == 0;
        let gateways_forbid = rng.below(6) == 0;
        let media = rng.below(2) == 0;
        let callees_end = rng.below(3) == 0;
        // Who is on hold hears nothing: that is no fault of the media's.
        let holds = rng.below(2) == 0 && !media;
        let tcp = if rng.below(4) == 0 { rng.below(256) as u8 } else { 0 };
        let redirects = Redirects::of(seed);
        // One of the two at a time: both stand at the end of the callees.
        let accounts = if redirects.is_none() { Accounts::of(seed) } else { None };
        Variety { homes, trunk_forbids, gateways_forbid, media, callees_end, holds, tcp, redirects, accounts }
    }

    /// The plainest sort.
    pub const fn plain() -> Variety {
        Variety {
            homes: Homes::Floating,
            trunk_forbids: false,
            gateways_forbid: false,
            media: false,
            callees_end: false,
            holds: false,
            tcp: 0,
            redirects: None,
            accounts: None,
        }
    }

    /// How many of so many floating homes there are.
    pub const fn floating(&self, drawn: u8) -> u8 {
        match self.homes {
            Homes::Floating | Homes::Both => drawn,
            Homes::Fixed => 0,
        }
    }

    /// Where the next call goes: to this floating home, or to a node's own address.
    pub fn called(&self, rng: &mut Rng, home: u8, nodes: u64) -> IpAddr {
        let own = match self.homes {
            Homes::Floating => false,
            Homes::Both => rng.below(3) == 0,
            Homes::Fixed => true,
        };
        if own { plan::node(1 + rng.below(nodes)) } else { plan::home(home) }
    }

    /// Whether a caller speaks SIP over TCP.
    pub const fn is_caller_over_tcp(&self, place: usize) -> bool {
        place < 4 && self.tcp >> place & 1 == 1
    }

    /// Whether a callee does.
    pub const fn is_callee_over_tcp(&self, place: usize) -> bool {
        place < 4 && self.tcp >> (4 + place) & 1 == 1
    }

    /// The media settings of the trunk.
    pub fn trunk_media(&self) -> Media {
        media(self.trunk_forbids)
    }

    /// The media settings of the gateways.
    pub fn gateway_media(&self) -> Media {
        media(self.gateways_forbid)
    }
}

impl fmt::Display for Variety {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let homes = match self.homes {
            Homes::Floating => "floating homes are called",
            Homes::Both => "floating homes and nodes are called",
            Homes::Fixed => "nodes are called",
        };
        f.write_str(homes)?;
        for (forbids, who) in [(self.trunk_forbids, "callers"), (self.gateways_forbid, "callees")] {
            if forbids {
                write!(f, ", {who} forbid re-INVITEs")?;
            }
        }
        if self.tcp != 0 {
            write!(f, ", TCP {:08b}", self.tcp)?;
        }
        f.write_str(if self.media { ", who talks speaks" } else { "" })?;
        f.write_str(if self.callees_end { ", callees hang up" } else { "" })?;
        f.write_str(if self.holds { ", callers hold" } else { "" })?;
        if let Some(Redirects { beyond, max_hops, share }) = self.redirects {
            write!(f, ", {share} % of calls are redirected, {beyond} callees beyond, {max_hops} hops")?;
        }
        self.accounts.map_or(Ok(()), |accounts| write!(f, ", {accounts}"))
    }
}

fn media(forbids: bool) -> Media {
    let reinvite = if forbids { Reinvite::Never } else { Reinvite::Yes };
    Media { reinvite, ..Media::default() }
}

/// Keeps what is drawn for the sort apart from what is drawn for the plan.
const SALT: u64 = 0x7A11_E7E5_0FF1_CE00;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_home_is_drawn_and_called_at_its_addresses() {
        let mut seen = [false; 3];
        for seed in 0..40 {
            let variety = Variety::of(seed);
            let mut rng = Rng::from_u64(seed);
            let called: Vec<IpAddr> = (0..30).map(|_| variety.called(&mut rng, 0, 3)).collect();
            let floating = called.iter().filter(|at| **at == plan::home(0)).count();
            let (sort, expected) = match variety.homes {
                Homes::Floating => (0, floating == 30),
                Homes::Both => (1, floating > 0 && floating < 30),
                Homes::Fixed => (2, floating == 0),
            };
            assert!(expected, "seed {seed}: {floating} of 30");
            seen[sort] = true;
        }
        assert_eq!(seen, [true; 3]);
    }
}
