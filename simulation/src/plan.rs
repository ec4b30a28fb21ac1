//! What a run sets out to do: how many nodes, which homes, who calls whom and when, and what goes wrong. All of
//! it follows from the seed; a shrunken run leaves out some of it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use machine::{Instant, Rng};
use peer::Mix;
use trunk::settings::Probe;
use trunk::{Gateway, Name, Resource, SipTarget, Trunk};

use crate::accounts;
use crate::fault::{self, Fault, Kind};
use crate::names;
use crate::redirects;
use crate::variety::{Homes, Variety};

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
    /// When no call is placed any more.
    pub calm: Instant,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What sort of world it is.
    pub variety: Variety,
    /// Whether gateways name their callees instead of saying their addresses.
    pub named: bool,
    /// Whether floating addresses are on interfaces, each kept by its machine's guard.
    pub guarded: bool,
    /// Whether the nodes that found the cluster run an older program.
    pub old: bool,
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
    /// Nothing but faults of one kind, and peers that do nothing but that.
    pub only: Option<Kind>,
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
        let glare = if rng.below(4) == 0 { 0.6 } else { 0.0 };
        let callers: Vec<Mix> = (0..=rng.below(3)).map(|_| mix(&mut rng, glare)).collect();
        let callees: Vec<Mix> = (0..=rng.below(2)).map(|_| mix(&mut rng, glare)).collect();
        let limit = if rng.below(3) == 0 { 2 + rng.below(8) as u32 } else { 1_000 };
        let variety = Variety::of(seed);
        let mut planned = Plan { nodes, homes, callers, callees, limit, variety, ..Plan::empty(seed) };
        if glare > 0.0 {
            planned.hang_up_together();
        }
        planned.take_ways(glare);
        if cut.only.is_none() {
            redirects::widen(&mut planned);
        }
        planned.faults = match cut.only {
            None => fault::draw(&mut rng, &planned),
            Some(kind) => {
                planned.only(kind, cut.faults.as_ref().is_some_and(BTreeSet::is_empty));
                fault::draw_only(&mut rng, &planned, kind)
            }
        };
        let any = |what: fn(Kind) -> bool| planned.faults.iter().any(|fault| what(fault.kind));
        let (named, guarded) = (any(Kind::needs_names), any(Kind::needs_guards));
        let old = any(|kind| kind == Kind::RollingUpgrade);
        (planned.named, planned.guarded, planned.old) = (named, guarded, old);
        redirects::lure(&mut planned);
        let busy = cut.only.is_none() && fault::is_busy(&planned);
        if busy {
            planned.limit = 1_000;
        }
        planned.place(&mut rng, if busy { BUSY } else { 1 });
        planned.take_desk();
        planned.homes = planned.variety.floating(homes);
        planned.cut(cut);
        planned
    }

    /// A plan in which nothing happens.
    fn empty(seed: u64) -> Plan {
        Plan {
            seed,
            nodes: 3,
            homes: 3,
            callers: Vec::new(),
            callees: Vec::new(),
            limit: 10_000,
            calls: Vec::new(),
            calm: CALM,
            faults: Vec::new(),
            variety: Variety::plain(),
            named: false,
            guarded: false,
            old: false,
        }
    }

    /// Leaves out what is cut.
    fn cut(&mut self, cut: &Cut) {
        if let Some(only) = &cut.faults {
            let mut place = 0..;
            self.faults.retain(|_| place.next().is_some_and(|place| only.contains(&place)));
        }
        let faults = &self.faults;
        let over = |fault: &Fault, at| fault.kind == Kind::Overload && fault.from <= at && at < fault.until;
        self.calls.retain(|call| !call.extra || faults.iter().any(|fault| over(fault, call.at)));
        self.calls.truncate(cut.calls.unwrap_or(usize::MAX));
    }

    /// The PBX that registers is a callee like others, behind those that gateways lead to.
    fn take_desk(&mut self) {
        let has_desk = self.variety.accounts.is_some_and(|accounts| accounts.desk);
        let mix = self.callees.first().filter(|_| has_desk).cloned();
        self.callees.extend(mix);
    }

    /// The place of the PBX that registers among callees, if there is one.
    pub fn desk(&self) -> Option<usize> {
        self.variety.accounts.filter(|accounts| accounts.desk)?;
        self.callees.len().checked_sub(1)
    }

    /// Peers take the ways that the variety says, beyond those that were drawn for each.
    fn take_ways(&mut self, glare: f64) {
        let Variety { homes, callees_end, holds, accounts, .. } = self.variety;
        let callee_ends = if callees_end && glare == 0.0 { 0.5 } else { 0.0 };
        for mix in self.callers.iter_mut().chain(&mut self.callees) {
            (mix.callee_ends, mix.holds) = (callee_ends, if holds { 0.7 } else { 0.0 });
            let challenges = accounts.is_some_and(|it| it.challenges);
            mix.challenges = if challenges { 0.4 } else { 0.0 };
            // Where nodes' own addresses are called, a re-INVITE says where a call lives now: that is not refused.
            let refuses = challenges && homes == Homes::Floating;
            mix.challenges_reinvite = if refuses { 0.3 } else { 0.0 };
        }
    }

    /// All peers mean to hold a call for the same time: so both ends hang up at once.
    fn hang_up_together(&mut self) {
        let hold = self.callers.first().map_or(Duration::ZERO, |mix| mix.hold);
        self.callers.iter_mut().chain(&mut self.callees).for_each(|mix| mix.hold = hold);
    }

    /// Peers do nothing but one thing; nothing at all, if that is cut. A limit that is never reached.
    fn only(&mut self, kind: Kind, is_cut: bool) {
        (self.limit, self.variety) = (1_000, Variety::plain());
        if matches!(kind, Kind::TcpReset | Kind::TcpHalfOpen) {
            // Everybody has connections.
            self.variety.tcp = u8::MAX;
        }
        let share = if is_cut { 0.0 } else { 0.6 };
        for mix in self.callers.iter_mut().chain(&mut self.callees) {
            let hold_spread = if kind == Kind::Glare { Duration::ZERO } else { mix.hold_spread };
            *mix = Mix {
                ring: mix.ring,
                answer: mix.answer,
                hold: mix.hold,
                hold_spread,
                refuse_status: mix.refuse_status,
                ..Mix::default()
            };
            match kind {
                Kind::Cancel => mix.cancel = share,
                // Without a CANCEL nobody can answer late.
                Kind::LateAnswer => (mix.cancel, mix.answer_late) = (0.6, share),
                Kind::LostAck => mix.lose_ack = share,
                Kind::Glare => mix.glare = share,
                Kind::Refusal => mix.refuse = share,
                Kind::Reinvite => mix.reinvite = share,
                _ => {}
            }
        }
        if kind == Kind::Glare {
            self.hang_up_together();
        }
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
        let mut planned = Plan { callers, callees, calm: FIRST + lasting, ..Plan::empty(seed) };
        let count = u64::from(rate) * lasting.as_secs();
        for number in 0..count {
            let at = FIRST + Duration::from_nanos(1_000_000_000 / u64::from(rate) * number);
            let (number, to) = (number as u32, home((number % 3) as u8));
            planned.calls.push(Placed { at, caller: 0, to, number, extra: false });
        }
        planned
    }

    /// Places the calls, so many times as often as the seed says.
    fn place(&mut self, rng: &mut Rng, often: u32) {
        let storm = CALM.since(FIRST);
        let gap = Duration::from_millis(200 + rng.below(3_000)) / often;
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

    /// What a node is told of itself.
    pub fn config(&self, id: u64) -> node::NodeConfig {
        crate::scenario::config(self, id)
    }

    /// What the cluster is told of trunks and gateways, with another limit if one is given.
    pub fn resources(&self, limit: Option<u32>) -> Vec<Resource> {
        let mut pbx = Trunk::new(trunk_name());
        pbx.settings.access.networks = vec!["10.0.1.0/24".parse().expect("a network")];
        pbx.settings.limits.concurrent = Some(limit.unwrap_or(self.limit));
        pbx.settings.media = self.variety.trunk_media();
        let carrier = |place: usize| {
            let mut carrier = Gateway::new(Name::new(&format!("carrier{place}")).expect("a name"));
            let host = self.host_of(place);
            let over = if self.variety.is_callee_over_tcp(place) { ";transport=tcp" } else { "" };
            carrier.settings.media = self.variety.gateway_media();
            carrier.settings.probe = Probe { interval: PROBES, down_after: 2, up_after: 2 };
            if let Some(redirects) = self.variety.redirects {
                carrier.settings.redirect = redirects.settings();
            }
            carrier.targets = vec![SipTarget::parse(&format!("sip:{host}{over}")).expect("a target")];
            if self.variety.accounts.is_some_and(|it| it.at_callees) {
                carrier.accounts = vec![accounts::given(&accounts::at_callee(place))];
            }
            Resource::Gateway(Box::new(carrier))
        };
        let carriers = (0..self.gateways()).map(carrier);
        let more = self.variety.accounts.map(|it| accounts::resources(self, &it)).unwrap_or_default();
        let all = [Resource::Trunk(Box::new(pbx))].into_iter().chain(carriers).chain(more);
        // As the node that is told keeps them.
        let seal = auth::Seal::new(&SECRET);
        all.map(|it| it.with_passwords_kept(DOMAIN, &seal)).collect()
    }

    /// How many callees are targets of gateways: the first ones.
    pub fn gateways(&self) -> usize {
        let beyond = self.variety.redirects.map_or(0, |it| usize::from(it.beyond));
        self.desk().unwrap_or(self.callees.len() - beyond)
    }

    /// The host of a callee, as gateways call it.
    pub fn host_of(&self, place: usize) -> String {
        if self.named { names::name_of(place) } else { callee(place).to_string() }
    }
}

/// How a peer behaves.
fn mix(rng: &mut Rng, glare: f64) -> Mix {
    let mut ms = |up_to: u64| Duration::from_millis(rng.below(up_to));
    let (ring, answer) = (ms(1_200), ms(4_000));
    let (hold, spread) = (ms(5_000) + Duration::from_millis(300), ms(25_000));
    let mut sometimes = |share: f64| if rng.below(3) == 0 { share } else { 0.0 };
    let (cancel, answer_late, lose_ack) = (sometimes(0.5), sometimes(0.9), sometimes(0.6));
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
        ..Mix::default()
    }
}

fn host(subnet: u8, host: u8) -> IpAddr {
    [10, 0, subnet, host].into()
}

/// The cluster's key.
pub const SECRET: [u8; 16] = [7; 16];
/// The nodes' domain, which is their realm.
pub const DOMAIN: &str = "sim.example";

/// How often carriers are asked by OPTIONS: often enough that some go down amid their troubles.
const PROBES: Duration = Duration::from_secs(4);

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

/// Where a name may lead and nobody is.
pub fn nobody() -> SocketAddr {
    SocketAddr::new(host(3, 1), 5060)
}

/// An address that nobody may send anything to: it is denied.
pub fn stranger() -> SocketAddr {
    SocketAddr::new(host(4, 1), 5060)
}

/// Another one, which nobody denies, or trusts.
pub fn other_stranger() -> SocketAddr {
    SocketAddr::new(host(5, 1), 5060)
}

/// Whether an address is a stranger's.
pub fn is_stranger(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if matches!(ip.octets()[2], 4 | 5))
}

/// Whether an address is a caller's or a callee's.
pub fn is_peer(ip: IpAddr) -> bool {
    is_caller(ip) || is_callee(ip)
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
const BUSY: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_leaves_out_faults_and_calls_and_changes_nothing_else() {
        let whole = Plan::of(11, &Cut::default());
        let cut = Cut { faults: Some([0].into()), calls: Some(2), only: None };
        let part = Plan::of(11, &cut);
        assert!(whole.faults.len() > 1, "the seed was chosen so");
        assert_eq!(part.faults, whole.faults[..1]);
        assert_eq!(part.calls, whole.calls[..2]);
        assert_eq!(part.callers, whole.callers);
    }

    #[test]
    fn peers_of_one_way_do_nothing_else_and_nothing_at_all_where_it_is_cut() {
        let cut = Cut { only: Some(Kind::LostAck), ..Cut::default() };
        let plan = Plan::of(3, &cut);
        assert!(plan.faults.is_empty());
        assert!(
            plan.callers
                .iter()
                .all(|mix| mix.lose_ack > 0.0 && mix.cancel + mix.reinvite + mix.refuse == 0.0)
        );
        let without = Plan::of(3, &Cut { faults: Some([].into()), ..cut });
        assert!(without.callers.iter().all(|mix| mix.lose_ack == 0.0));
        assert_eq!(without.calls, plan.calls);
    }

    #[test]
    fn calls_of_an_overload_that_is_cut_are_not_placed() {
        let cut = Cut { only: Some(Kind::Overload), ..Cut::default() };
        assert!(Plan::of(3, &cut).calls.iter().any(|call| call.extra));
        let without = Plan::of(3, &Cut { faults: Some([].into()), ..cut });
        assert!(without.calls.iter().all(|call| !call.extra));
    }
}
