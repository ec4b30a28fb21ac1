//! Whose number a call shows (RFC 3323, RFC 3325).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::number::{canonical, international, same, unescape};
use crate::reject::{NumberField, Reject};
use crate::resource::Trunk;
use crate::resources::Resources;
use crate::settings::{DisplayName, Identity, IdentityHeader, NumberFormat, OnForeign};

/// One identity of a received request, already taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given<'a> {
    /// The URI's user, as written, escapes included; empty where it has none.
    pub user: &'a str,
    /// The display name, unquoted.
    pub display: Option<&'a str>,
}

/// The identities of a received request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// The first P-Asserted-Identity with a SIP or tel URI.
    pub pai: Option<Given<'a>>,
    /// Remote-Party-ID.
    pub rpid: Option<Given<'a>>,
    /// From.
    pub from: Given<'a>,
    /// To's user, without a tech prefix.
    pub to_user: &'a str,
    /// The value of Privacy.
    pub privacy: Option<&'a str>,
}

/// The caller, as policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The number shown, in canonical form; empty where there is none.
    pub number: String,
    /// The name shown.
    pub display: Option<String>,
    /// The number that the request asserted, before policy; for the CDR.
    pub asserted: String,
    /// Where it was found.
    pub source: IdentityHeader,
    /// Whether the caller wants to be hidden (`Privacy: id`).
    pub private: bool,
}

/// What a request that we send shows of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// From's user, unescaped; `anonymous` where hidden.
    pub from_user: String,
    /// The display name, of From and of P-Asserted-Identity.
    pub from_display: Option<String>,
    /// Whether From is anonymous: its host is then `anonymous.invalid` (RFC 3323 §4.1.1.3).
    pub anonymous: bool,
    /// The user of a P-Asserted-Identity, where one is sent.
    pub pai: Option<String>,
    /// The user of a Remote-Party-ID, where one is sent.
    pub rpid: Option<String>,
    /// Whether `Privacy: id` is sent.
    pub privacy_id: bool,
}

impl Resources {
    /// The caller of a call from a trunk, or why the call is refused.
    pub fn caller_from_trunk(&self, trunk: &Trunk, received: &Received<'_>) -> Result<Caller, Reject> {
        let identity = &trunk.identity;
        identity.check_forms(received)?;
        if identity.require.iter().any(|header| received.number(*header).is_none()) {
            return Err(Reject::CallerIdMissing);
        }
        let (source, asserted) = identity.choose(received);
        let shown = match self.own_form(trunk, &asserted) {
            Some(own) if !asserted.is_empty() => own,
            _ => match identity.on_foreign {
                OnForeign::Pass => asserted.clone().into_owned(),
                OnForeign::Replace => self.default_caller_id(trunk).to_owned(),
                OnForeign::Refuse if asserted.is_empty() => return Err(Reject::CallerIdMissing),
                OnForeign::Refuse => return Err(Reject::CallerIdForeign { number: asserted.into_owned() }),
            },
        };
        Ok(self.caller(identity, received, source, asserted.into_owned(), shown))
    }

    /// The caller of an emergency call: whatever it asserts, never refused.
    pub fn caller_in_emergency(&self, identity: &Identity, received: &Received<'_>) -> Caller {
        self.caller_from_gateway(identity, received)
    }

    /// The caller of a call from a gateway. Never refused for it, and never replaced: every number is foreign there.
    pub fn caller_from_gateway(&self, identity: &Identity, received: &Received<'_>) -> Caller {
        let (source, asserted) = identity.choose(received);
        let shown = asserted.clone().into_owned();
        self.caller(identity, received, source, asserted.into_owned(), shown)
    }

    fn caller(
        &self,
        identity: &Identity,
        received: &Received<'_>,
        source: IdentityHeader,
        asserted: String,
        number: String,
    ) -> Caller {
        let display = match identity.display_name {
            DisplayName::None => None,
            DisplayName::Pass => received.given(source).and_then(|given| given.display).map(str::to_owned),
            DisplayName::Cnam => self.number(&number).and_then(|own| own.cnam.clone()),
        };
        Caller { number, display, asserted, source, private: received.wants_privacy() }
    }

    /// A number as the trunk's own list has it, if it may present it.
    fn own_form(&self, trunk: &Trunk, number: &str) -> Option<String> {
        if trunk.caller_ids.is_empty() {
            let own = self.index.numbers_of(&trunk.name);
            return own.iter().find(|own| same(own, number)).map(|own| own.to_string());
        }
        trunk.caller_ids.iter().find(|own| same(own, number)).cloned()
    }

    /// What is shown instead of a foreign number: nothing, where a trunk has no number at all.
    fn default_caller_id<'a>(&'a self, trunk: &'a Trunk) -> &'a str {
        let listed = trunk.default_caller_id.as_deref().or(trunk.caller_ids.first().map(String::as_str));
        listed
            .or_else(|| self.index.numbers_of(&trunk.name).first().map(|name| name.as_str()))
            .unwrap_or_default()
    }
}

impl Identity {
    /// What a request to a party with this identity policy shows. Only a party inside the trust domain (a carrier)
    /// learns a number that its owner wants hidden (RFC 3325 §7).
    pub fn present(&self, caller: &Caller, is_trusted: bool) -> Presented {
        let number = match self.number_format {
            NumberFormat::PlusE164 => international(&caller.number).map(Cow::into_owned).unwrap_or_default(),
            NumberFormat::E164 | NumberFormat::Any => caller.number.clone(),
        };
        let hidden = caller.private || number.is_empty();
        let asserts = |header: IdentityHeader| {
            let shown = !number.is_empty() && (is_trusted || !caller.private);
            (shown && self.send.contains(&header)).then(|| number.clone())
        };
        Presented {
            pai: asserts(IdentityHeader::Pai),
            rpid: asserts(IdentityHeader::Rpid),
            privacy_id: caller.private,
            anonymous: hidden,
            from_display: if hidden { None } else { caller.display.clone() },
            from_user: if hidden { ANONYMOUS.to_owned() } else { number },
        }
    }

    /// Every header field with a number has it in the form demanded, where that form is strict.
    fn check_forms(&self, received: &Received<'_>) -> Result<(), Reject> {
        if self.number_format != NumberFormat::PlusE164 {
            return Ok(());
        }
        let format = self.number_format;
        let fields = [
            (NumberField::From, Some(received.from.user)),
            (NumberField::To, Some(received.to_user)),
            (NumberField::Pai, received.pai.map(|given| given.user)),
            (NumberField::Rpid, received.rpid.map(|given| given.user)),
        ];
        for (field, user) in fields {
            if user.is_some_and(|user| canonical(&unescape(user), format).is_none()) {
                return Err(Reject::NumberForm { field, format });
            }
        }
        Ok(())
    }

    /// The first identity of those accepted that has a number, in canonical form.
    fn choose<'a>(&self, received: &Received<'a>) -> (IdentityHeader, Cow<'a, str>) {
        let found = self.accept.iter().find_map(|header| Some((*header, received.number(*header)?)));
        let Some((header, number)) = found else { return (IdentityHeader::From, Cow::Borrowed("")) };
        let in_form = canonical(&number, self.number_format).map(Cow::into_owned);
        (header, in_form.map_or(number, Cow::Owned))
    }
}

impl<'a> Received<'a> {
    fn given(&self, header: IdentityHeader) -> Option<Given<'a>> {
        match header {
            IdentityHeader::Pai => self.pai,
            IdentityHeader::Rpid => self.rpid,
            IdentityHeader::From => Some(self.from),
        }
    }

    fn number(&self, header: IdentityHeader) -> Option<Cow<'a, str>> {
        let user = self.given(header)?.user;
        (!user.is_empty() && !user.eq_ignore_ascii_case(ANONYMOUS)).then(|| unescape(user))
    }

    fn wants_privacy(&self) -> bool {
        let asked = self.privacy.is_some_and(|value| {
            value
                .split(';')
                .map(str::trim)
                .any(|token| token.eq_ignore_ascii_case("id") || token.eq_ignore_ascii_case("user"))
        });
        asked || self.from.user.eq_ignore_ascii_case(ANONYMOUS)
    }
}

/// The user of an anonymous From (RFC 3323 §4.1.1.3).
const ANONYMOUS: &str = "anonymous";
