//! Where a trunk's calls may go.

use crate::country::countries;
use crate::number::international_readings;
use crate::reject::{DestinationRule, Reject};
use crate::settings::{Destinations, NumberFormat};

impl Destinations {
    /// Whether a number that is not the trunk's own may be called. `called` is in canonical form.
    pub fn check(&self, called: &str, format: NumberFormat) -> Result<(), Reject> {
        match self.broken_rule(called, format) {
            None => Ok(()),
            Some(rule) => Err(Reject::Destination { called: called.to_owned(), rule }),
        }
    }

    fn broken_rule(&self, called: &str, format: NumberFormat) -> Option<DestinationRule> {
        if !self.pstn {
            return Some(DestinationRule::Pstn);
        }
        // Denying reads a number in every way that a carrier might, allowing only as it is written: a doubt is a no.
        let denied = |prefix: &String| {
            let prefix = prefix.strip_prefix('+').unwrap_or(prefix);
            international_readings(called).any(|reading| reading.starts_with(prefix))
        };
        if self.deny_prefixes.iter().any(denied) {
            return Some(DestinationRule::DenyPrefixes);
        }
        if !self.allow_prefixes.is_empty()
            && !self.allow_prefixes.iter().any(|prefix| called.starts_with(prefix.as_str()))
        {
            return Some(DestinationRule::AllowPrefixes);
        }
        if !self.allow_countries.is_empty() && !self.allows_country(called, format) {
            return Some(DestinationRule::Country);
        }
        None
    }

    fn allows_country(&self, called: &str, format: NumberFormat) -> bool {
        let digits = match (called.strip_prefix('+'), format) {
            (Some(digits), _) => digits,
            // Without a plus, and no rule that says it is international, nobody knows which country is meant.
            (None, NumberFormat::Any) => return false,
            (None, NumberFormat::E164 | NumberFormat::PlusE164) => called,
        };
        countries(digits).iter().any(|country| self.allow_countries.iter().any(|allowed| allowed == country))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Destinations {
        Destinations::default()
    }

    fn check(rules: &Destinations, called: &str, expected: Option<DestinationRule>) {
        let got = rules.check(called, NumberFormat::Any);
        let expected =
            expected.map_or(Ok(()), |rule| Err(Reject::Destination { called: called.into(), rule }));
        assert_eq!(got, expected, "{called}");
    }

    /// KW12: what the rules don't permit is refused; the twin has no rules and permits it.
    #[test]
    fn kw12_countries_and_prefixes_are_refused_by_rule() {
        let countries = Destinations { allow_countries: vec!["NL".into(), "DE".into()], ..rules() };
        check(&countries, "+31201234567", None);
        check(&countries, "+4930123456", None);
        check(&countries, "+33142345678", Some(DestinationRule::Country));
        check(&countries, "0031201234567", Some(DestinationRule::Country));

        let prefixes = Destinations { allow_prefixes: vec!["+31".into()], ..rules() };
        check(&prefixes, "+31201234567", None);
        check(&prefixes, "+32201234567", Some(DestinationRule::AllowPrefixes));

        for called in ["+31201234567", "+33142345678", "+32201234567", "0031201234567"] {
            check(&rules(), called, None);
        }
    }

    #[test]
    fn a_denied_prefix_is_found_however_it_is_written() {
        let denied = Destinations { deny_prefixes: vec!["+31900".into()], ..rules() };
        for called in ["+31900123456", "31900123456", "0031900123456", "01131900123456"] {
            check(&denied, called, Some(DestinationRule::DenyPrefixes));
        }
        check(&denied, "+31800123456", None);
    }

    /// FL9: with the PSTN off, nothing but its own numbers; the twin has it on.
    #[test]
    fn fl9_pstn_off_refuses_other_numbers() {
        check(&Destinations { pstn: false, ..rules() }, "+31201234567", Some(DestinationRule::Pstn));
        check(&rules(), "+31201234567", None);
    }
}
