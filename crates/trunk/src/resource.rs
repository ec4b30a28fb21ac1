//! Resources: what an operator puts into the cluster.
//!
//! One struct per table of the resource file, with every key of it, resolved against its profile. This is the
//! form that replicated state stores: positional, nothing left out.

use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::number::unescape;
use crate::secret::Secret;
use crate::settings::Settings;
use crate::target::SipTarget;
use crate::words::words;

words! {
    /// A kind of resource, by its name in the singular.
    Kind {
        /// `[[region]]`.
        Region = "region",
        /// `[[tenant]]`.
        Tenant = "tenant",
        /// `[[gateway]]`.
        Gateway = "gateway",
        /// `[[trunk]]`.
        Trunk = "trunk",
        /// `[[number]]`.
        Number = "number",
        /// `[[flow]]`.
        Flow = "flow",
        /// `[[tariff]]`.
        Tariff = "tariff",
        /// `[emergency]`.
        Emergency = "emergency",
        /// `[cnam]`.
        Cnam = "cnam",
        /// `[stir]`.
        Stir = "stir",
    }
}

impl Kind {
    /// The kind's name in the plural, as paths of the API say it.
    pub const fn plural(self) -> &'static str {
        match self {
            Kind::Region => "regions",
            Kind::Tenant => "tenants",
            Kind::Gateway => "gateways",
            Kind::Trunk => "trunks",
            Kind::Number => "numbers",
            Kind::Flow => "flows",
            Kind::Tariff => "tariffs",
            Kind::Emergency => "emergency",
            Kind::Cnam => "cnam",
            Kind::Stir => "stir",
        }
    }

    /// The kind that a word names, singular or plural.
    pub fn parse(word: &str) -> Option<Kind> {
        use crate::words::Word as _;
        Kind::ALL.iter().copied().find(|kind| kind.word() == word || kind.plural() == word)
    }

    /// Whether there is only one such table, without a name.
    pub const fn is_single(self) -> bool {
        matches!(self, Kind::Emergency | Kind::Cnam | Kind::Stir)
    }
}

/// Any resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// `[[region]]`.
    Region(Region),
    /// `[[tenant]]`.
    Tenant(Tenant),
    /// `[[gateway]]`.
    Gateway(Box<Gateway>),
    /// `[[trunk]]`.
    Trunk(Box<Trunk>),
    /// `[[number]]`.
    Number(Number),
    /// `[[flow]]`.
    Flow(Flow),
    /// `[[tariff]]`.
    Tariff(Tariff),
    /// `[emergency]`.
    Emergency(Emergency),
    /// `[cnam]`.
    Cnam(Cnam),
    /// `[stir]`.
    Stir(Stir),
}

impl Resource {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Resource::Region(_) => Kind::Region,
            Resource::Tenant(_) => Kind::Tenant,
            Resource::Gateway(_) => Kind::Gateway,
            Resource::Trunk(_) => Kind::Trunk,
            Resource::Number(_) => Kind::Number,
            Resource::Flow(_) => Kind::Flow,
            Resource::Tariff(_) => Kind::Tariff,
            Resource::Emergency(_) => Kind::Emergency,
            Resource::Cnam(_) => Kind::Cnam,
            Resource::Stir(_) => Kind::Stir,
        }
    }

    /// Keeps no more of its passwords than is needed: hashes over `realm` of a trunk's, a carrier's encrypted.
    pub fn with_passwords_kept(mut self, realm: &str, seal: &auth::Seal) -> Resource {
        match &mut self {
            Resource::Trunk(trunk) => {
                for account in &mut trunk.accounts {
                    let given = std::mem::replace(&mut account.password, Secret::Keep);
                    account.password = given.hashed(&account.username, realm);
                }
            }
            Resource::Gateway(gateway) => {
                for account in &mut gateway.accounts {
                    let given = std::mem::replace(&mut account.password, Secret::Keep);
                    account.password = given.sealed(&gateway.name, &account.username, seal);
                }
            }
            _ => {}
        }
        self
    }

    /// Its name; that of its kind, where there is only one.
    pub fn name(&self) -> &str {
        match self {
            Resource::Region(region) => &region.name,
            Resource::Tenant(tenant) => &tenant.name,
            Resource::Gateway(gateway) => &gateway.name,
            Resource::Trunk(trunk) => &trunk.name,
            Resource::Number(number) => &number.e164,
            Resource::Flow(flow) => &flow.name,
            Resource::Tariff(tariff) => &tariff.name,
            Resource::Emergency(_) => "emergency",
            Resource::Cnam(_) => "cnam",
            Resource::Stir(_) => "stir",
        }
    }
}

/// `[[region]]`: published addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Its name.
    pub name: Name,
    /// Signalling addresses that customers allow.
    pub signalling: Vec<IpAddr>,
    /// Media addresses that customers allow.
    pub media: Vec<IpAddr>,
}

/// `[[tenant]]`: a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its name.
    pub name: Name,
    /// The value of the account header.
    pub account_sid: Option<String>,
    /// Its own SIP domain.
    pub domain: Option<String>,
}

/// An account: a user name and a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user name, unique over all trunks.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// `[[gateway]]`: a carrier, or any SIP peer that calls leave through.
///
/// Its `networks` are `access.networks`, its `concurrent` is `limits.concurrent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Its name.
    pub name: Name,
    /// Where calls are sent, in order.
    pub targets: Vec<SipTarget>,
    /// Prefixes of numbers that it carries; empty: any.
    pub prefixes: Vec<String>,
    /// Lower first.
    pub priority: u32,
    /// Share among gateways of the same priority.
    pub weight: u32,
    /// Whether we register with it.
    pub register: bool,
    /// One or two accounts at it.
    pub accounts: Vec<Account>,
    /// Its tables.
    pub settings: Settings,
}

impl Gateway {
    /// A gateway with every value at its default.
    pub fn new(name: Name) -> Gateway {
        Gateway {
            name,
            targets: Vec::new(),
            prefixes: Vec::new(),
            priority: 10,
            weight: 100,
            register: false,
            accounts: Vec::new(),
            settings: Settings::default(),
        }
    }

    /// Whether an account of this name, as a URI's user part writes it, is registered with it.
    pub fn registers(&self, user: &str) -> bool {
        self.register && self.accounts.iter().any(|account| account.username == *unescape(user))
    }
}

/// So that policy reads `gateway.limits.concurrent`.
impl Deref for Gateway {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// `[[trunk]]`: a customer's line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trunk {
    /// Its name.
    pub name: Name,
    /// Whose it is.
    pub tenant: Option<Name>,
    /// The profile that its defaults came from.
    pub profile: Name,
    /// Where its calls are served.
    pub region: Option<Name>,
    /// What its calls cost.
    pub tariff: Option<Name>,
    /// Numbers that it may present; empty: its own numbers.
    pub caller_ids: Vec<String>,
    /// What is shown instead of a caller ID that it may not present.
    pub default_caller_id: Option<String>,
    /// Named deviations for non-compliant devices.
    pub quirks: Vec<String>,
    /// One or two accounts, primary first.
    pub accounts: Vec<Account>,
    /// Its tables.
    pub settings: Settings,
}

impl Trunk {
    /// A trunk with every value at the `generic` profile's default.
    pub fn new(name: Name) -> Trunk {
        Trunk {
            name,
            tenant: None,
            profile: Name::new("generic").expect("a profile's name is a name"),
            region: None,
            tariff: None,
            caller_ids: Vec::new(),
            default_caller_id: None,
            quirks: Vec::new(),
            accounts: Vec::new(),
            settings: Settings::default(),
        }
    }
}

/// So that policy reads `trunk.limits.concurrent`.
impl Deref for Trunk {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// `[[number]]`: a number of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Number {
    /// The number, which is also its name.
    pub e164: Name,
    /// The trunk that it belongs to.
    pub trunk: Name,
    /// Where calls to it go; empty: where the trunk's go.
    pub delivery: Vec<crate::target::TargetSpec>,
    /// Its stored name.
    pub cnam: Option<String>,
    /// Whether calls to it show the caller's name.
    pub cnam_lookup: bool,
}

/// `[[flow]]`: steps that a call is taken through. Kept as data until flows are built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Its name.
    pub name: Name,
    /// To-user of the INVITE that is sent back when it can't handle the call.
    pub fallout: Option<String>,
    /// Where that INVITE goes.
    pub fallout_via: FalloutVia,
    /// Its steps.
    pub steps: Vec<FlowValue>,
}

/// Where a call goes that a flow gives back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FalloutVia {
    /// The trunk that it came for.
    Trunk,
    /// A gateway.
    Gateway(Name),
}

/// A value inside a flow's steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowValue {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
    /// A truth value.
    Truth(bool),
    /// A list.
    List(Vec<FlowValue>),
    /// A table, in the order in which it was written.
    Table(Vec<(String, FlowValue)>),
}

/// `[[tariff]]`: what calls cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tariff {
    /// Its name.
    pub name: Name,
    /// ISO 4217.
    pub currency: String,
    /// First and further increments, in seconds.
    pub increments: [u32; 2],
    /// Rates; the longest prefix wins.
    pub rates: Vec<Rate>,
}

/// One rate of a tariff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Numbers that it is for.
    pub prefix: String,
    /// Per minute.
    pub per_minute: Money,
    /// Per answered call.
    pub setup: Money,
}

/// An amount, in millionths of the currency's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct Money(pub u64);

impl Money {
    /// Reads `0.0120`: at most six decimals.
    pub fn parse(text: &str) -> Option<Money> {
        let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(units) || !all_digits(decimals) || decimals.len() > 6 {
            return None;
        }
        let units: u64 = units.parse().ok()?;
        let millionths: u64 = format!("{decimals:0<6}").parse().ok()?;
        units.checked_mul(1_000_000)?.checked_add(millionths).map(Money)
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (units, millionths) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if millionths == 0 {
            return write!(f, "{units}");
        }
        let decimals = format!("{millionths:06}");
        write!(f, "{units}.{}", decimals.trim_end_matches('0'))
    }
}

/// `[emergency]`: numbers that bypass limits and rules, and where they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergency {
    /// Numbers and service URNs.
    pub numbers: Vec<String>,
    /// Gateways, in order.
    pub gateways: Vec<Name>,
}

/// `[cnam]`: where names are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cnam {
    /// The address, with `{number}` in it.
    pub url: String,
    /// How long a call waits for it.
    pub timeout: Duration,
}

/// `[stir]`: how calls are signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stir {
    /// The key's file.
    pub key: String,
    /// Where verifiers find the certificate.
    pub certificate_url: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_and_prints_decimals() {
        let check = |text: &str, expected: Option<(u64, &str)>| {
            let got = Money::parse(text).map(|money| (money.0, money.to_string()));
            assert_eq!(got, expected.map(|(raw, print)| (raw, print.to_owned())), "{text}");
        };
        check("0.0120", Some((12_000, "0.012")));
        check("0", Some((0, "0")));
        check("12", Some((12_000_000, "12")));
        check("1.000001", Some((1_000_001, "1.000001")));
        check("1.0000001", None);
        check("-1", None);
        check(".5", None);
        check("1.", None);
        check("18446744073709551615", None);
    }
}
