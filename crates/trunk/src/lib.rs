//! Trunks, numbers and gateways: who is calling, whose number is shown, what is allowed, and where a call goes.
//!
//! Pure policy over one snapshot of resources. It does not know who leads the cluster, reads no SIP bytes and no
//! files: `config` parses, `cluster` counts, `call` answers.
//!
//! ```
//! use trunk::{Gateway, Name, Party, Resource, Resources, SipTarget, Trunk};
//!
//! let name = |text| Name::new(text).expect("a name");
//! let mut carrier = Gateway::new(name("carrier"));
//! carrier.targets = vec![SipTarget::parse("sip:192.0.2.1").expect("a URI")];
//! let mut resources = Resources::default();
//! let set = vec![Resource::Trunk(Box::new(Trunk::new(name("pbx")))), Resource::Gateway(Box::new(carrier))];
//! resources.apply(set).expect("nothing is named that does not exist");
//!
//! let party = Party::Trunk { name: name("pbx"), account: None };
//! let plan = resources.plan(&party, "+31201234567", 7).expect("the carrier takes any number");
//! assert_eq!(plan.targets[0].uri, "sip:+31201234567@192.0.2.1");
//! ```

mod access;
mod bindings;
mod country;
mod delivery;
mod destinations;
mod failover;
#[cfg(test)]
mod fixture;
mod headers;
mod identity;
mod index;
pub mod locate;
mod name;
mod names;
mod number;
mod order;
mod party;
mod plan;
mod probed;
pub mod prober;
mod redirect;
mod references;
pub mod registrar;
mod reject;
mod resource;
mod resources;
mod routing;
mod secret;
pub mod settings;
mod target;
#[cfg(test)]
mod tests;
mod words;

pub use access::{Asked, Identified};
pub use bindings::{Bindings, NoBindings, Registered};
pub use country::is_country;
pub use failover::{Next, Outcome};
pub use headers::{PLACEHOLDERS, is_hidden};
pub use identity::{Caller, Given, Presented, Received};
pub use index::{Hosts, Index};
pub use locate::{Hop, Question, Records, Wanted};
pub use name::{Name, NameError};
pub use names::{Answer, Names};
pub use number::escape as escaped;
pub use party::{Direction, Party, Scope, Side, Slot, Transport};
pub use plan::{Plan, Registration, Target};
pub use probed::Probed;
pub use redirect::{Offered, Redirected, Unfollowed};
pub use references::Reference;
pub use reject::{DestinationRule, NumberField, RateWindow, Reject};
pub use resource::{
    Account, Cnam, Emergency, FalloutVia, Flow, FlowValue, Gateway, Kind, Money, Number, Rate, Region,
    Resource, Stir, Tariff, Tenant, Trunk,
};
pub use resources::{Applied, ApplyError, Change, DeleteError, Mention, Resources};
pub use secret::Secret;
pub use settings::{LimitKind, Settings};
pub use target::{Host, SipTarget, TargetError, TargetSpec, is_dns_name, is_user};
pub use words::Word;
