//! Whose number is shown.

use crate::fixture::{Set, name, number, trunk};
use crate::identity::{Caller, Given, Presented, Received};
use crate::reject::{NumberField, Reject};
use crate::resource::Trunk;
use crate::resources::Resources;
use crate::settings::{DisplayName, Identity, IdentityHeader, NumberFormat, OnForeign};

const PAI: &str = "+31201111111";
const RPID: &str = "+31202222222";
const FROM: &str = "+31203333333";

fn given(user: &str) -> Given<'_> {
    Given { user, display: Some("Somebody") }
}

fn all() -> Received<'static> {
    Received {
        pai: Some(given(PAI)),
        rpid: Some(given(RPID)),
        from: given(FROM),
        to_user: "+31209999999",
        privacy: None,
    }
}

/// A trunk that may show all three.
fn free(change: impl FnOnce(&mut Trunk)) -> (std::sync::Arc<Resources>, Trunk) {
    let mut own = trunk("a", "10.0.0.0/24");
    own.caller_ids = [PAI, RPID, FROM].map(String::from).to_vec();
    change(&mut own);
    (Set::new().trunk(own.clone()).build(), own)
}

fn caller(change: impl FnOnce(&mut Trunk), received: &Received<'_>) -> Result<Caller, Reject> {
    let (resources, trunk) = free(change);
    resources.caller_from_trunk(&trunk, received)
}

/// FR12: PAI, else RPID, else From; the twin takes only From.
#[test]
fn fr12_pai_then_rpid_then_from() {
    let no_pai = Received { pai: None, ..all() };
    let only_from = Received { pai: None, rpid: None, ..all() };
    for (received, expected, source) in [
        (all(), PAI, IdentityHeader::Pai),
        (no_pai, RPID, IdentityHeader::Rpid),
        (only_from, FROM, IdentityHeader::From),
    ] {
        let chosen = caller(|_| {}, &received).unwrap();
        assert_eq!((chosen.number.as_str(), chosen.source), (expected, source));
        let twin =
            caller(|trunk| trunk.settings.identity.accept = vec![IdentityHeader::From], &received).unwrap();
        assert_eq!(twin.number, FROM);
    }
}

/// EX26: RPID is ignored where it is not accepted.
#[test]
fn ex26_rpid_is_trusted_only_where_accepted() {
    let received = Received { pai: None, ..all() };
    assert_eq!(caller(|_| {}, &received).unwrap().number, RPID);
    let accept = vec![IdentityHeader::Pai, IdentityHeader::From];
    assert_eq!(caller(|trunk| trunk.settings.identity.accept = accept, &received).unwrap().number, FROM);
}

/// KW15: an allowed caller ID is shown; another is replaced, refused or passed.
#[test]
fn kw15_a_foreign_caller_id_is_treated_by_rule() {
    let foreign = Received { pai: Some(given("+4930123456")), ..all() };
    let with = |on_foreign, default: Option<&str>| {
        caller(
            |trunk| {
                trunk.settings.identity.on_foreign = on_foreign;
                trunk.default_caller_id = default.map(str::to_owned);
            },
            &foreign,
        )
    };
    assert_eq!(with(OnForeign::Replace, Some(FROM)).unwrap().number, FROM);
    assert_eq!(with(OnForeign::Replace, None).unwrap().number, PAI, "the first of its list");
    assert_eq!(with(OnForeign::Pass, None).unwrap().number, "+4930123456");
    let refused = Reject::CallerIdForeign { number: "+4930123456".into() };
    assert_eq!(with(OnForeign::Refuse, None), Err(refused));
    assert_eq!(with(OnForeign::Replace, None).unwrap().asserted, "+4930123456", "kept for the CDR");
    assert_eq!(
        caller(|trunk| trunk.settings.identity.on_foreign = OnForeign::Refuse, &all()).unwrap().number,
        PAI
    );
}

#[test]
fn without_a_list_a_trunk_shows_its_own_numbers() {
    let own = trunk("a", "10.0.0.0/24");
    let resources = Set::new().trunk(own.clone()).number(number("+31201111111", "a")).build();
    let received = Received { pai: Some(given("31201111111")), ..all() };
    assert_eq!(resources.caller_from_trunk(&own, &received).unwrap().number, "+31201111111");
    let foreign = Received { pai: Some(given("+4930123456")), ..all() };
    assert_eq!(resources.caller_from_trunk(&own, &foreign).unwrap().number, "+31201111111");
    // Without any number at all there is nothing to show.
    let bare = Set::new().trunk(own.clone()).build();
    let caller = bare.caller_from_trunk(&own, &foreign).unwrap();
    let shown = Identity::default().present(&caller, true);
    assert_eq!((shown.from_user.as_str(), shown.anonymous, shown.pai), ("anonymous", true, None));
}

/// KW25: without PAI the call is refused, whatever From says; the twin takes From.
#[test]
fn kw25_a_required_header_must_be_there() {
    let received = Received { pai: None, ..all() };
    let require = |trunk: &mut Trunk| trunk.settings.identity.require = vec![IdentityHeader::Pai];
    assert_eq!(caller(require, &received), Err(Reject::CallerIdMissing));
    assert!(caller(require, &all()).is_ok());
    assert!(caller(|_| {}, &received).is_ok());
}

/// Calls from gateways are never refused for their caller ID, and never get another.
#[test]
fn fl1_a_caller_from_a_gateway_is_shown_unchanged() {
    let resources = Set::new().build();
    let strict = Identity {
        require: vec![IdentityHeader::Pai],
        on_foreign: OnForeign::Refuse,
        number_format: NumberFormat::PlusE164,
        ..Identity::default()
    };
    let received = Received { pai: None, rpid: None, from: given("0201234567"), ..all() };
    let caller = resources.caller_from_gateway(&strict, &received);
    assert_eq!(caller.number, "0201234567");
    let shown = Identity::default().present(&caller, false);
    assert_eq!((shown.from_user.as_str(), shown.pai.as_deref()), ("0201234567", Some("0201234567")));
}

/// KW23: every header with a number must be +E.164 here, and none other is ever sent; the twin is free.
#[test]
fn kw23_every_number_has_the_form_demanded() {
    let strict = |trunk: &mut Trunk| trunk.settings.identity.number_format = NumberFormat::PlusE164;
    let form = |field| Err(Reject::NumberForm { field, format: NumberFormat::PlusE164 });
    assert!(caller(strict, &all()).is_ok());
    let bad_from = Received { from: given("31203333333"), ..all() };
    assert_eq!(caller(strict, &bad_from), form(NumberField::From));
    assert_eq!(caller(strict, &Received { to_user: "alice", ..all() }), form(NumberField::To));
    assert_eq!(caller(strict, &Received { pai: Some(given("0201")), ..all() }), form(NumberField::Pai));
    assert!(caller(|_| {}, &bad_from).is_ok());

    let sends = Identity { number_format: NumberFormat::PlusE164, ..Identity::default() };
    let caller = Caller {
        number: "31203333333".into(),
        display: None,
        asserted: String::new(),
        source: IdentityHeader::From,
        private: false,
    };
    assert_eq!(sends.present(&caller, false).from_user, "+31203333333");
    let odd = Caller { number: "alice".into(), ..caller.clone() };
    assert_eq!(sends.present(&odd, false).from_user, "anonymous");
    assert_eq!(Identity::default().present(&odd, false).from_user, "alice");
}

/// KW26: with `Privacy: id` the called party learns nothing, a carrier does; the twin hides nothing.
#[test]
fn kw26_privacy_hides_the_number_outside_the_trust_domain() {
    let private = caller(|_| {}, &Received { privacy: Some("critical; ID"), ..all() }).unwrap();
    assert_eq!((private.number.as_str(), private.private), (PAI, true));
    let identity = Identity::default();
    let hidden = Presented {
        from_user: "anonymous".into(),
        from_display: None,
        anonymous: true,
        pai: None,
        rpid: None,
        privacy_id: true,
    };
    assert_eq!(identity.present(&private, false), hidden);
    assert_eq!(identity.present(&private, true), Presented { pai: Some(PAI.into()), ..hidden });
    let open = identity.present(&caller(|_| {}, &all()).unwrap(), false);
    assert_eq!((open.from_user.as_str(), open.anonymous, open.privacy_id), (PAI, false, false));
}

/// FR11: the number is in both From and PAI where both are sent; the twin sends From alone.
#[test]
fn fr11_the_number_is_sent_where_the_profile_says() {
    let caller = caller(|_| {}, &all()).unwrap();
    let both = Identity::default().present(&caller, false);
    assert_eq!((both.from_user.as_str(), both.pai.as_deref(), both.rpid), (PAI, Some(PAI), None));
    let one = Identity { send: vec![IdentityHeader::From], ..Identity::default() }.present(&caller, false);
    assert_eq!((one.from_user.as_str(), one.pai), (PAI, None));
    let rpid = Identity { send: vec![IdentityHeader::Rpid], ..Identity::default() }.present(&caller, false);
    assert_eq!(rpid.rpid.as_deref(), Some(PAI));
}

/// FR14: a display name comes from the store, from the caller, or not at all.
#[test]
fn fr14_the_display_name_comes_from_where_the_profile_says() {
    let shown = |display_name| {
        let mut own = trunk("a", "10.0.0.0/24");
        own.settings.identity.display_name = display_name;
        let mut stored = number(PAI, "a");
        stored.cnam = Some("EASY CALL".into());
        let resources = Set::new().trunk(own.clone()).number(stored).build();
        resources.caller_from_trunk(&own, &all()).unwrap().display
    };
    assert_eq!(shown(DisplayName::Cnam).as_deref(), Some("EASY CALL"));
    assert_eq!(shown(DisplayName::Pass).as_deref(), Some("Somebody"));
    assert_eq!(shown(DisplayName::None), None);
}

#[test]
fn an_anonymous_from_asks_for_privacy_and_gives_no_number() {
    let received = Received { pai: None, rpid: None, from: given("anonymous"), ..all() };
    let caller = caller(|_| {}, &received).unwrap();
    assert_eq!((caller.asserted.as_str(), caller.private), ("", true));
    let refuse = |trunk: &mut Trunk| trunk.settings.identity.on_foreign = OnForeign::Refuse;
    let (resources, trunk) = free(refuse);
    assert_eq!(resources.caller_from_trunk(&trunk, &received), Err(Reject::CallerIdMissing));
    assert_eq!(trunk.name, name("a"));
}
