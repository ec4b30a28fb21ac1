//! What a run sets out to do: how many nodes, which homes, who calls whom and when, and what goes wrong. All of
//! it follows from the seed; a shrunken run leaves out some of it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use machine::{Instant, Rng};
use peer::Mix;
use trunk::{Gateway, Name, Resource, SipTarget, Trunk};

use crate::fault::{self, Fault, Kind};
use crate::variety::Variety;

/// What a run sets out to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many nodes found the cluster.
    pub nodes: u64,
    /// How many floating homes there are.
    pub homes: u8,
    /// How the callers behave, each at its own address.
    pub callers: Vec<Mix>,
    /// How the callees behave, each at its own address.
    pub callees: Vec<Mix>,
    /// How many calls the trunk may carry.
    pub limit: u32,
    /// The calls, by the time of their placing.
    pub calls: Vec<Placed>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What sort of world it is.
    pub variety: Variety,
}

/// A call to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// When.
    pub at: Instant,
    /// By which caller.
    pub caller: usize,
    /// To which address.
    pub to: IpAddr,
    /// Its number.
    pub number: u32,
    /// Whether it is one of a load that nobody planned for.
    pub extra: bool,
}

/// What is left out of a run, to make a failure smaller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Only these faults, by their places.
    pub faults: Option<BTreeSet<usize>>,
    /// Only so many calls.
    pub calls: Option<usize>,
}

/// When the first call is placed: by then the homes are held.
pub const FIRST: Instant = Instant::from_nanos(4_000_000_000);
/// When faults stop and no call is placed any more.
pub const CALM: Instant = Instant::from_nanos(19_000_000_000);

impl Plan {
    /// The plan that follows from a seed, without what is cut out of it.
    pub fn of(seed: u64, cut: &Cut) -> Plan {
        let mut rng = Rng::from_u64(seed ^ SALT);
        let nodes = if rng.below(8) == 0 { 5 } else { 3 };
        let homes = 1 + rng.below(4) as u8;
        let glare = if rng.below(5) == 0 { 0.5 } else { 0.0 };
        let callers: Vec<Mix> = (0..=rng.below(3)).map(|_| mix(&mut rng, glare)).collect();
        let callees: Vec<Mix> = (0..=rng.below(2)).map(|_| mix(&mut rng, glare)).collect();
        let limit = if rng.below(3) == 0 { 2 + rng.below(8) as u32 } else { 1_000 };
        let variety = Variety::of(seed);
        let (calls, faults) = (Vec::new(), Vec::new());
        let mut planned = Plan { seed, nodes, homes, callers, callees, limit, calls, faults, variety };
        planned.faults = fault::draw(&mut rng, &planned);
        planned.place(&mut rng);
        planned.homes = variety.floating(homes);
        if let Some(only) = &cut.faults {
            let mut place = 0..;
            planned.faults.retain(|_| place.next().is_some_and(|place| only.contains(&place)));
        }
        planned.calls.truncate(cut.calls.unwrap_or(usize::MAX));
        planned
    }

    /// A plan without surprises, for measurements: this many calls a second for this long.
    pub fn steady(seed: u64, rate: u32, lasting: Duration) -> Plan {
        let mix = Mix {
            ring: Duration::from_millis(50),
            answer: Duration::from_millis(500),
            hold: Duration::from_secs(10),
            ..Mix::default()
        };
        let (callers, callees) = (vec![mix.clone()], vec![mix]);
        let mut planned = Plan {
            seed,
            nodes: 3,
            homes: 3,
            callers,
            callees,
            limit: 10_000,
            calls: Vec::new(),
            faults: Vec::new(),
            variety: Variety::plain(),
        };
        let count = u64::from(rate) * lasting.as_secs();
        for number in 0..count {
            let at = FIRST + Duration::from_nanos(1_000_000_000 / u64::from(rate) * number);
            let (number, to) = (number as u32, home((number % 3) as u8));
            planned.calls.push(Placed { at, caller: 0, to, number, extra: false });
        }
        planned
    }

    fn place(&mut self, rng: &mut Rng) {
        let storm = CALM.since(FIRST);
        let gap = Duration::from_millis(200 + rng.below(3_000));
        let mut times = Vec::new();
        let mut at = FIRST;
        while at.since(FIRST) + Duration::from_millis(500) < storm {
            times.push((at, false));
            at += gap / 2 + Duration::from_micros(rng.below(gap.as_micros() as u64));
        }
        for fault in self.faults.iter().filter(|fault| fault.kind == Kind::Overload) {
            let span = fault.until.since(fault.from);
            let calls = (span.as_nanos() / gap.as_nanos() + 1) as u32 * 10;
            times.extend((0..calls.min(OVERLOAD_MAX)).map(|n| (fault.from + span / calls * n, true)));
        }
        times.sort_unstable();
        let mut choice = Rng::from_u64(self.seed ^ CALLED);
        for (number, (at, extra)) in (0..).zip(times) {
            let caller = rng.below(self.callers.len() as u64) as usize;
            let home = rng.below(u64::from(self.homes)) as u8;
            let to = self.variety.called(&mut choice, home, self.nodes);
            self.calls.push(Placed { at, caller, to, number, extra });
        }
    }

    /// What the cluster is told of trunks and gateways, with another limit if one is given.
    pub fn resources(&self, limit: Option<u32>) -> Vec<Resource> {
        let mut pbx = Trunk::new(trunk_name());
        pbx.settings.access.networks = vec!["10.0.1.0/24".parse().expect("a network")];
        pbx.settings.limits.concurrent = Some(limit.unwrap_or(self.limit));
        pbx.settings.media = self.variety.trunk_media();
        let carrier = |place: usize| {
            let mut carrier = Gateway::new(Name::new(&format!("carrier{place}")).expect("a name"));
            carrier.targets = vec![SipTarget::parse(&format!("sip:{}", callee(place))).expect("a target")];
            carrier.settings.media = self.variety.gateway_media();
            Resource::Gateway(Box::new(carrier))
        };
        let carriers = (0..self.callees.len()).map(carrier);
        [Resource::Trunk(Box::new(pbx))].into_iter().chain(carriers).collect()
    }
}

/// How a peer behaves.
fn mix(rng: &mut Rng, glare: f64) -> Mix {
    let mut ms = |up_to: u64| Duration::from_millis(rng.below(up_to));
    let (ring, answer) = (ms(1_200), ms(4_000));
    let (hold, spread) = (ms(5_000) + Duration::from_millis(300), ms(25_000));
    let mut sometimes = |share: f64| if rng.below(3) == 0 { share } else { 0.0 };
    let (cancel, answer_late, lose_ack) = (sometimes(0.4), sometimes(0.5), sometimes(0.3));
    let (refuse, reinvite) = (sometimes(0.3), sometimes(0.5));
    let refuse_status = [486, 404, 603, 503][rng.below(4) as usize];
    // Both ends hang up at once only if both mean to hold the call for the same time.
    let hold_spread = if glare > 0.0 { Duration::ZERO } else { spread };
    Mix {
        ring,
        answer,
        hold,
        hold_spread,
        cancel,
        cancel_from: Duration::ZERO,
        answer_late,
        lose_ack,
        glare,
        refuse,
        refuse_status,
        reinvite,
    }
}

fn host(subnet: u8, host: u8) -> IpAddr {
    [10, 0, subnet, host].into()
}

/// The trunk that callers use.
pub fn trunk_name() -> Name {
    Name::new("pbx").expect("three letters")
}

/// The address of a home, by its place among them.
pub fn home(place: u8) -> IpAddr {
    host(9, place + 1)
}

/// Where a home hears SIP.
pub fn sip_of(home: IpAddr) -> SocketAddr {
    SocketAddr::new(home, 5060)
}

/// Where a node is, by its id.
pub fn node(id: u64) -> IpAddr {
    host(0, id as u8)
}

/// Whose own address this is.
pub fn node_at(ip: IpAddr) -> Option<u64> {
    match ip {
        IpAddr::V4(ip) if ip.octets()[2] == 0 => Some(u64::from(ip.octets()[3])),
        _ => None,
    }
}

/// Where a caller is, by its place.
pub fn caller(place: usize) -> SocketAddr {
    SocketAddr::new(host(1, place as u8 + 1), 5060)
}

/// Where a callee is, by its place.
pub fn callee(place: usize) -> SocketAddr {
    SocketAddr::new(host(2, place as u8 + 1), 5060)
}

/// Whether an address is a caller's.
pub fn is_caller(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[2] == 1)
}

/// Whether an address is a callee's.
pub fn is_callee(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[2] == 2)
}

/// Keeps what is drawn for the plan apart from what is drawn for the world.
const SALT: u64 = 0x5EED_0F91_A75C_0DE5;
/// Keeps apart which address each call goes to.
const CALLED: u64 = 0x0DD5_0C4A_11ED_0A7E;
const OVERLOAD_MAX: u32 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_leaves_out_faults_and_calls_and_changes_nothing_else() {
        let whole = Plan::of(11, &Cut::default());
        let cut = Cut { faults: Some([0].into()), calls: Some(2) };
        let part = Plan::of(11, &cut);
        assert!(whole.faults.len() > 1, "the seed was chosen so");
        assert_eq!(part.faults, whole.faults[..1]);
        assert_eq!(part.calls, whole.calls[..2]);
        assert_eq!(part.callers, whole.callers);
    }

    #[test]
    fn a_hundred_seeds_draw_every_kind_of_fault() {
        let drawn: BTreeSet<Kind> = (0..100)
            .flat_map(|seed| Plan::of(seed, &Cut::default()).faults)
            .map(|fault| fault.kind)
            .collect();
        // What peers do is no fault with a time, and a torn write is what a crash may leave.
        let others = [Kind::TornWrite, Kind::Cancel, Kind::LateAnswer, Kind::LostAck, Kind::Glare];
        let others: BTreeSet<Kind> = others.into_iter().chain([Kind::Refusal, Kind::Reinvite]).collect();
        for kind in Kind::ALL {
            assert_ne!(drawn.contains(&kind), others.contains(&kind), "{kind}");
        }
    }
}
