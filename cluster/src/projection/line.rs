//! A CDR as a line of JSON, with the contract's names. What does not exist yet is null.

use call::{Cdr, HangupBy, LegQuality};
use machine::WallTime;
use serde::{Serialize, Serializer};
use trunk::Word as _;

/// Appends the line, without its end.
pub(super) fn push(number: u64, cdr: &Cdr, out: &mut Vec<u8>) {
    let facts = &cdr.facts;
    let redirect = cdr.redirect.as_deref();
    let legs = [cdr.ingress_quality, cdr.egress_quality];
    let line = Line {
        seq: number,
        id: cdr.id.to_string(),
        linked_id: None,
        call_id_a: &cdr.call_id_a,
        call_id_b: cdr.call_id_b.as_deref(),
        tenant: cdr.tenant.as_deref(),
        trunk: cdr.trunk.as_deref(),
        account: cdr.account,
        direction: cdr.direction.word(),
        from: &facts.from,
        to: &facts.to,
        asserted: facts.asserted.as_deref(),
        presented_caller_id: facts.presented.as_deref(),
        cnam: None,
        diversion: &facts.diversion,
        charge_number: facts.charge_number.as_deref(),
        isup_oli: None,
        jip: None,
        attestation: None,
        verstat: None,
        tag: facts.tag.as_deref(),
        tag_answer: None,
        node_start: cdr.node_start.0,
        node_end: cdr.node_end.0,
        started_at: Civil(cdr.started_at),
        ringing_at: cdr.ringing_at.map(Civil),
        answered_at: cdr.answered_at.map(Civil),
        ended_at: Civil(cdr.ended_at),
        duration_ms: cdr.duration_ms(),
        sip_status: cdr.sip_status,
        reason: &cdr.reason,
        hangup_by: match cdr.hangup_by {
            HangupBy::Caller => "caller",
            HangupBy::Callee => "callee",
            HangupBy::System => "system",
        },
        gateway: cdr.gateway.as_deref(),
        attempts: cdr
            .attempts
            .iter()
            .map(|attempt| Attempt {
                target: &attempt.target,
                status: attempt.status,
                started_at: Civil(attempt.started_at),
                ended_at: attempt.ended_at.map(Civil),
            })
            .collect(),
        redirect_server: redirect.map(|it| it.server.as_str()),
        redirected_to: redirect.map(|it| it.to.as_str()),
        redirect_verdict: redirect.map(|_| "trusted"),
        redirect_rule: redirect.map(|it| it.rule.as_str()),
        codec_a: cdr.codec_a.as_deref(),
        codec_b: cdr.codec_b.as_deref(),
        mos: worst_mos(legs),
        packets_lost: legs.iter().flatten().map(|leg| leg.lost).reduce(|a, b| a + b),
        events: &cdr.events,
        warnings: &facts.warnings,
        tariff: None,
        amount: None,
        currency: None,
    };
    // Texts and numbers always have a JSON form, and writing to a Vec can't fail.
    serde_json::to_writer(out, &line).expect("a CDR has a JSON form");
}

/// The worse leg's, where one heard anything.
fn worst_mos(legs: [Option<LegQuality>; 2]) -> Option<f64> {
    let scores = legs.iter().flatten().map(|leg| leg.mos_x100).filter(|mos| *mos > 0);
    scores.min().map(|mos| f64::from(mos) / 100.0)
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    id: String,
    linked_id: Option<&'a str>,
    call_id_a: &'a str,
    call_id_b: Option<&'a str>,
    tenant: Option<&'a str>,
    trunk: Option<&'a str>,
    account: Option<u8>,
    direction: &'a str,
    from: &'a str,
    to: &'a str,
    asserted: Option<&'a str>,
    presented_caller_id: Option<&'a str>,
    cnam: Option<&'a str>,
    diversion: &'a [String],
    charge_number: Option<&'a str>,
    isup_oli: Option<&'a str>,
    jip: Option<&'a str>,
    attestation: Option<&'a str>,
    verstat: Option<&'a str>,
    tag: Option<&'a str>,
    tag_answer: Option<&'a str>,
    node_start: u64,
    node_end: u64,
    started_at: Civil,
    ringing_at: Option<Civil>,
    answered_at: Option<Civil>,
    ended_at: Civil,
    duration_ms: u64,
    sip_status: u16,
    reason: &'a str,
    hangup_by: &'a str,
    gateway: Option<&'a str>,
    attempts: Vec<Attempt<'a>>,
    redirect_server: Option<&'a str>,
    redirected_to: Option<&'a str>,
    redirect_verdict: Option<&'a str>,
    redirect_rule: Option<&'a str>,
    codec_a: Option<&'a str>,
    codec_b: Option<&'a str>,
    mos: Option<f64>,
    packets_lost: Option<u64>,
    events: &'a [String],
    warnings: &'a [String],
    tariff: Option<&'a str>,
    amount: Option<&'a str>,
    currency: Option<&'a str>,
}

#[derive(Serialize)]
struct Attempt<'a> {
    target: &'a str,
    status: Option<u16>,
    started_at: Civil,
    ended_at: Option<Civil>,
}

/// Civil time as RFC 3339 writes it, without the formatting machinery: five of them stand in every line.
struct Civil(WallTime);

impl Serialize for Civil {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let ms = self.0.0;
        let (days, ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
        // Days to a date of the proleptic Gregorian calendar, by eras of 400 years that begin in March.
        let z = days + 719_468;
        let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        if !(0..=9999).contains(&year) {
            return serializer.serialize_str(&self.0.to_rfc3339());
        }
        let fields = [
            (0, 4, year),
            (5, 2, month),
            (8, 2, doy - (153 * mp + 2) / 5 + 1),
            (11, 2, ms / 3_600_000),
            (14, 2, ms / 60_000 % 60),
            (17, 2, ms / 1000 % 60),
            (20, 3, ms % 1000),
        ];
        for (at, digits, mut value) in fields {
            for place in text.iter_mut().skip(at).take(digits).rev() {
                *place = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_everywhere_else() {
        let edges =
            [0, -1, 951_782_400_000, 1_709_251_199_999, 1_800_000_000_123, -62_167_219_200_001, i64::MAX / 4];
        for ms in edges {
            let text = serde_json::to_value(Civil(WallTime(ms))).unwrap();
            assert_eq!(text, WallTime(ms).to_rfc3339());
        }
    }
}
