//! What call detail records say, read as a user's script would: from the JSON of `banyan get cdrs`.

use serde_json::Value;

/// One call detail record.
#[derive(Debug, Clone)]
pub struct Record(pub Value);

impl Record {
    /// A text field; empty when absent.
    pub fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// The final SIP status.
    pub fn status(&self) -> u64 {
        self.0.get("sip_status").and_then(Value::as_u64).unwrap_or_default()
    }

    /// A time field, in milliseconds since 1970.
    pub fn time_ms(&self, field: &str) -> Option<i64> {
        time_ms(self.0.get(field)?.as_str()?)
    }

    /// Whether the call was answered.
    pub fn answered(&self) -> bool {
        self.time_ms("answered_at").is_some()
    }

    /// Whether the call held its slots at `time_ms`, give or take `slack_ms`.
    pub fn covers(&self, time_ms: i64, slack_ms: i64) -> bool {
        let begun = self.time_ms("started_at").is_some_and(|begin| begin <= time_ms + slack_ms);
        begun && self.time_ms("ended_at").is_some_and(|end| time_ms <= end + slack_ms)
    }
}

/// The most calls whose times overlap; a call that ends in the millisecond in which another starts does not.
pub fn overlap_max<'a>(records: impl Iterator<Item = &'a Record>) -> i64 {
    let mut edges: Vec<(i64, i64)> = records
        .filter_map(|record| Some((record.time_ms("started_at")?, record.time_ms("ended_at")?)))
        .flat_map(|(begin, end)| [(begin, 1), (end, -1)])
        .collect();
    edges.sort_unstable();
    let mut up = 0;
    edges
        .iter()
        .map(|(_, step)| {
            up += step;
            up
        })
        .max()
        .unwrap_or(0)
}

/// Milliseconds since 1970 of an RFC 3339 time in UTC with milliseconds: `2026-11-21T05:30:00.123Z`.
pub fn time_ms(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let milli = number(20, 23)?;
    if text.get(23..)? != "Z" {
        return None;
    }
    // Days since 1970 by counting from 1 March, so that the leap day is a year's last.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + milli)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(started: &str, ended: &str) -> Record {
        Record(serde_json::json!({ "started_at": started, "ended_at": ended }))
    }

    #[test]
    fn times_count_from_1970() {
        assert_eq!(time_ms("1970-01-01T00:00:00.000Z"), Some(0));
        // RFC 3339 §5.8 gives 2,000-era examples without milliseconds; this one is 2000-03-01 = day 11,017.
        assert_eq!(time_ms("2000-03-01T00:00:00.007Z"), Some(11_017 * 86_400_000 + 7));
        assert_eq!(time_ms("2000-02-29T23:59:59.999Z"), Some(11_017 * 86_400_000 - 1));
        assert_eq!(time_ms("2000-03-01T00:00:00Z"), None);
    }

    #[test]
    fn overlap_counts_calls_that_are_up_together() {
        let (t0, t1, t2) =
            ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.000Z", "2026-01-01T00:00:02.000Z");
        assert_eq!(overlap_max([call(t0, t1), call(t1, t2)].iter()), 1);
        assert_eq!(overlap_max([call(t0, t2), call(t1, t2)].iter()), 2);
        assert_eq!(overlap_max([].iter()), 0);
    }

    #[test]
    fn a_call_covers_its_times_and_the_slack() {
        let call = call("2026-01-01T00:00:01.000Z", "2026-01-01T00:00:02.000Z");
        let at = time_ms("2026-01-01T00:00:02.040Z").expect("a time");
        assert!(call.covers(at, 50));
        assert!(!call.covers(at, 30));
    }
}
