//! Worlds with accounts: a carrier's registrar with which the cluster keeps its own registrations, a PBX that registers
//! once with the cluster and never again, and a stranger whom nobody knows. Drawn from a chance of its own, so that worlds
//! without accounts stay what they are.

mod desk;
mod registrar;
mod stranger;
mod text;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use machine::{Instant, Rng};
use trunk::settings::{AuthMethod, Probe};
use trunk::{Account, Gateway, Name, Number, Resource, Secret, SipTarget, TargetSpec, Trunk};

pub use desk::Desk;
pub use registrar::{Kept, Registrar};
pub use stranger::NUMBER as STRANGERS_NUMBER;
pub use text::field;

use crate::letter::PREFIX;
use crate::plan::{self, FIRST, Plan};
use crate::world::World;

/// What is wrong with the registrar for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// It says nothing.
    Silent,
    /// It answers 503, with a Retry-After of so many seconds.
    Busy(u32),
    /// It grants no more than so many seconds.
    Short(u32),
    /// It challenges for a realm that is not its own as well, and for that first.
    Foreign,
}

/// What is drawn for a world with accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// How many accounts we have at the registrar: one or two.
    pub count: u8,
    /// For how many seconds we ask.
    pub expires_s: u32,
    /// What is wrong with the registrar.
    pub trouble: Trouble,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub until: Instant,
    /// Whether callees challenge.
    pub challenges: bool,
    /// Whether we have an account at each callee, too.
    pub at_callees: bool,
    /// Whether a PBX registers with us.
    pub desk: bool,
}

impl Accounts {
    /// What follows from a seed: one in six has accounts.
    pub fn of(seed: u64) -> Option<Accounts> {
        let mut rng = Rng::from_u64(seed ^ SALT);
        (rng.below(6) == 0).then(|| Accounts::draw(&mut rng))
    }

    fn draw(rng: &mut Rng) -> Accounts {
        let count = 1 + rng.below(2) as u8;
        let expires_s = [10, 15, 20][rng.below(3) as usize];
        let trouble = match rng.below(6) {
            0 => Trouble::None,
            1 => Trouble::Silent,
            2 => Trouble::Busy(1 + rng.below(4) as u32),
            3 => Trouble::Short(SHORTEST_S),
            _ => Trouble::Foreign,
        };
        let from = Instant::ZERO + Duration::from_millis(1_000 + rng.below(20_000));
        let lasts = Duration::from_millis(500 + rng.below(TROUBLE_MAX.as_millis() as u64 - 500));
        // Whom that misleads is not asked for less.
        let lasts = if trouble == Trouble::Foreign { FOR_EVER } else { lasts };
        let challenges = rng.below(2) == 0;
        let at_callees = rng.below(2) == 0;
        let desk = rng.below(3) > 0;
        Accounts { count, expires_s, trouble, from, until: from + lasts, challenges, at_callees, desk }
    }

    /// What is wrong with the registrar now.
    pub fn trouble(&self, at: Instant) -> Trouble {
        if self.from <= at && at < self.until { self.trouble } else { Trouble::None }
    }

    /// When nothing is wrong with the registrar any more.
    pub const fn open(&self) -> Instant {
        match self.trouble {
            Trouble::None | Trouble::Foreign => Instant::ZERO,
            _ => self.until,
        }
    }
}

impl fmt::Display for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |at: Instant| at.as_nanos() / 1_000_000;
        write!(f, "{} accounts for {} s", self.count, self.expires_s)?;
        if self.trouble != Trouble::None {
            write!(f, ", registrar {:?} {}-{} ms", self.trouble, ms(self.from), ms(self.until))?;
        }
        f.write_str(if self.challenges { ", callees challenge" } else { "" })?;
        f.write_str(if self.at_callees { ", accounts at callees" } else { "" })?;
        f.write_str(if self.desk { ", a PBX registers" } else { "" })
    }
}

/// Who lives in a world with accounts.
#[derive(Debug)]
pub struct Settled {
    /// What was drawn.
    pub accounts: Accounts,
    /// The registrar.
    pub registrar: Arc<Registrar>,
    /// The PBX, if there is one.
    pub desk: Option<Arc<Desk>>,
}

/// Puts the registrar, the PBX and the stranger into a world.
///
/// # Panics
/// Their addresses are taken.
pub fn settle(plan: &Plan, world: &World) -> Option<Settled> {
    let accounts = plan.variety.accounts?;
    let mut rng = Rng::from_u64(plan.seed ^ LIVES);
    let registrar = Registrar::open(accounts, world, rng.fork());
    let desk =
        plan.desk().map(|place| Desk::open(plan::callee(place).ip(), ways_in(plan), world, rng.fork()));
    stranger::arrive(&ways_in(plan), world, rng);
    Some(Settled { accounts, registrar, desk })
}

/// Where the cluster hears SIP.
fn ways_in(plan: &Plan) -> Vec<SocketAddr> {
    let floating = (0..plan.homes).map(plan::home);
    let all: Vec<IpAddr> = match plan.homes {
        0 => (1..=plan.nodes).map(plan::node).collect(),
        _ => floating.collect(),
    };
    all.into_iter().map(plan::sip_of).collect()
}

/// What the cluster is told beside: the registrar's gateway, the PBX and its numbers.
pub fn resources(plan: &Plan, accounts: &Accounts) -> Vec<Resource> {
    let mut registrar = Gateway::new(Name::new(GATEWAY).expect("a name"));
    registrar.targets = vec![SipTarget::parse(&format!("sip:{}", at().ip())).expect("a target")];
    // No call leaves by it.
    registrar.prefixes = vec!["+999".into()];
    registrar.register = true;
    registrar.accounts = (1..=accounts.count).map(|account| given(&username(account))).collect();
    registrar.settings.access.expires_max = accounts.expires_s;
    registrar.settings.probe = Probe { interval: Duration::from_secs(4), down_after: 2, up_after: 2 };
    let mut all = vec![Resource::Gateway(Box::new(registrar))];
    if let Some(place) = plan.desk() {
        let mut desk = Trunk::new(Name::new("desk").expect("a name"));
        let network = format!("{}/32", plan::callee(place).ip());
        desk.accounts = vec![given(DESK)];
        desk.settings.access.networks = vec![network.parse().expect("a network")];
        desk.settings.access.auth = vec![AuthMethod::Digest];
        desk.settings.delivery.targets = vec![TargetSpec::Account(1)];
        desk.settings.limits.concurrent = Some(1_000);
        desk.settings.media = plan.variety.gateway_media();
        let name = desk.name.clone();
        all.push(Resource::Trunk(Box::new(desk)));
        all.extend(plan.calls.iter().filter(|call| is_desks(call.number)).map(|call| {
            let e164 = Name::new(&format!("{PREFIX}{:07}", call.number)).expect("digits");
            let (trunk, cnam) = (name.clone(), None);
            Resource::Number(Number { e164, trunk, delivery: Vec::new(), cnam, cnam_lookup: false })
        }));
    }
    all
}

/// Whether a call is one to the PBX, where there is one.
pub const fn is_desks(number: u32) -> bool {
    number.is_multiple_of(3)
}

/// An account whose password is a canary.
pub fn given(username: &str) -> Account {
    Account { username: username.to_owned(), password: Secret::given(password(username)) }
}

/// The password of an account.
pub fn password(username: &str) -> String {
    format!("{CANARY}-{username}")
}

/// The name of our account at a callee.
pub fn at_callee(place: usize) -> String {
    format!("callee-{place}")
}

/// The name of one of our accounts at the registrar, counted from one.
pub fn username(account: u8) -> String {
    format!("acct-{account}")
}

/// Where the registrar is.
pub fn at() -> SocketAddr {
    SocketAddr::new([10, 0, 4, 1].into(), 5060)
}

/// Where the stranger is.
pub fn stranger() -> SocketAddr {
    SocketAddr::new([10, 0, 6, 66].into(), 5060)
}

/// From when on every account must be registered, whatever happened before.
///
/// After faults have stopped, what is lost no more is said again within T2 = 4 s (RFC 3261 §17.1.2.2), the challenge and its
/// answer each: 8 s. A registrar that was busy for 6 s was asked at 0, after at least 1 s, and after at least 2 s more; the wait
/// after that lasts 8 s at most (`trunk::registrar`: from 2 s doubled, at least half of it). Homes are held 4 s after they could be. A
/// late copy of a former owner's REGISTER may take the binding away, which the next refresh mends: one expiry.
pub fn settled(plan: &Plan, accounts: &Accounts) -> Instant {
    let quiet = if plan.faults.is_empty() { FIRST } else { plan.calm };
    quiet.max(accounts.open()) + Duration::from_secs(20 + u64::from(accounts.expires_s))
}

/// The registrar's gateway.
pub const GATEWAY: &str = "registrar";
/// The realm of the registrar.
pub const REALM: &str = "carrier.example";
/// A realm that is nobody's whom we know.
pub const ELSEWHERE: &str = "elsewhere.example";
/// The PBX's account.
pub const DESK: &str = "desk-1";
/// What every password begins with.
pub const CANARY: &str = "canary";
/// The least that the registrar grants, in seconds.
pub const SHORTEST_S: u32 = 4;
/// How long something is wrong with the registrar.
const TROUBLE_MAX: Duration = Duration::from_secs(6);
/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// Keeps what is drawn for accounts apart from all else.
const SALT: u64 = 0xACC0_0417_5EED_053C;
/// Keeps apart what those who live there do.
const LIVES: u64 = 0x11FE_0F05_0C1E_7700;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_world_in_six_has_accounts_and_every_trouble_is_drawn() {
        let drawn: Vec<Accounts> = (0..600).filter_map(Accounts::of).collect();
        assert!((70..130).contains(&drawn.len()), "{}", drawn.len());
        let any = |is: fn(&Trouble) -> bool| drawn.iter().any(|it| is(&it.trouble));
        assert!(any(|it| *it == Trouble::None) && any(|it| *it == Trouble::Silent));
        assert!(any(|it| matches!(it, Trouble::Busy(_))) && any(|it| matches!(it, Trouble::Short(_))));
        assert!(any(|it| *it == Trouble::Foreign));
        let is_bounded = |it: &&Accounts| it.trouble != Trouble::Foreign;
        assert!(drawn.iter().filter(is_bounded).all(|it| it.until.since(it.from) <= TROUBLE_MAX));
    }
}
