//! What DNS has said of names, and for how long that is good: an answer as long as its TTL, and the last one for as long as no
//! server answers (RFC 8767).

use std::collections::BTreeMap;
use std::time::Duration;

use machine::Instant;

use crate::locate::{Question, Records};

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Records, or the word that there are none, for so long.
    Said(Records, Duration),
    /// No server answered, or none could.
    Failed,
}

/// Names that were asked for.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeMap<Question, Known>,
}

#[derive(Debug)]
struct Known {
    records: Records,
    until: Instant,
}

/// As many names are kept; what ran out first goes first.
const NAMES_MAX: usize = 4_096;
/// Nothing is asked again sooner, whatever its TTL.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Nothing is believed longer.
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// While a name is being asked for again, others take its last answer, at most so long.
const ASKING: Duration = Duration::from_secs(2);
/// After how long servers that did not answer are asked again.
const AGAIN: Duration = Duration::from_secs(5);

impl Names {
    /// What is known of it now; nothing, where it is to be asked.
    pub fn look(&mut self, now: Instant, question: &Question) -> Option<Records> {
        let known = self.known.get_mut(question)?;
        if known.until > now {
            return Some(known.records.clone());
        }
        known.until = now + ASKING;
        None
    }

    /// What came of a question, and what is known of it from here on.
    pub fn heard(&mut self, now: Instant, question: &Question, answer: Answer) -> Records {
        let (records, good_for) = match answer {
            Answer::Said(records, ttl) => (records, ttl.clamp(TTL_MIN, TTL_MAX)),
            Answer::Failed => {
                let last = self.known.get(question).map(|it| it.records.clone()).unwrap_or_default();
                let good_for = if last == Records::default() { TTL_MIN } else { AGAIN };
                (last, good_for)
            }
        };
        self.make_room(question);
        self.known.insert(question.clone(), Known { records: records.clone(), until: now + good_for });
        records
    }

    fn make_room(&mut self, for_one: &Question) {
        if self.known.len() < NAMES_MAX || self.known.contains_key(for_one) {
            return;
        }
        let oldest = self.known.iter().min_by_key(|(_, it)| it.until).map(|(question, _)| question.clone());
        if let Some(oldest) = oldest {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::RecordKind;

    fn question(name: &str) -> Question {
        Question { name: name.to_owned(), kind: RecordKind::Address }
    }

    fn records(last: u8) -> Records {
        Records { addresses: vec![[192, 0, 2, last].into()], ..Records::default() }
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn said(last: u8, seconds: u64) -> Answer {
        Answer::Said(records(last), Duration::from_secs(seconds))
    }

    #[test]
    fn an_answer_is_good_as_long_as_its_ttl_and_not_longer() {
        let (mut names, a) = (Names::default(), question("a"));
        assert_eq!(names.look(at(0), &a), None);
        assert_eq!(names.heard(at(0), &a, said(1, 60)), records(1));
        assert_eq!(names.look(at(59_999), &a), Some(records(1)));
        assert_eq!(names.look(at(60_000), &a), None);
        assert_eq!(names.heard(at(60_000), &a, said(2, 60)), records(2));
        // That there is nothing is an answer, too (RFC 2308).
        let b = question("b");
        names.heard(at(0), &b, Answer::Said(Records::default(), Duration::from_secs(5)));
        assert_eq!(names.look(at(4_000), &b), Some(Records::default()));
        assert_eq!(names.look(at(5_000), &b), None);
    }

    #[test]
    fn a_ttl_of_zero_is_a_second_and_one_of_years_a_day() {
        let (mut names, a) = (Names::default(), question("a"));
        names.heard(at(0), &a, said(1, 0));
        assert!(names.look(at(999), &a).is_some() && names.look(at(1_000), &a).is_none());
        names.heard(at(0), &a, said(1, 1_000_000));
        assert!(names.look(at(86_400_000), &a).is_none());
    }

    #[test]
    fn the_last_answer_stays_while_no_server_answers() {
        let (mut names, a) = (Names::default(), question("a"));
        names.heard(at(0), &a, said(1, 1));
        assert_eq!(names.look(at(1_000), &a), None);
        // One asks; whoever comes meanwhile does not wait.
        assert_eq!(names.look(at(1_500), &a), Some(records(1)));
        assert_eq!(names.heard(at(2_000), &a, Answer::Failed), records(1));
        assert_eq!(names.look(at(6_999), &a), Some(records(1)));
        assert_eq!(names.look(at(7_000), &a), None);
        assert_eq!(names.heard(at(7_000), &a, said(2, 1)), records(2));
        // Of a name that nobody ever answered for, nothing is known, and it is asked again soon.
        let b = question("b");
        assert_eq!(names.heard(at(0), &b, Answer::Failed), Records::default());
        assert_eq!(names.look(at(1_000), &b), None);
    }

    #[test]
    fn there_are_never_more_names_than_there_is_room_for() {
        let mut names = Names::default();
        for n in 0..NAMES_MAX + 10 {
            names.heard(at(n as u64), &question(&n.to_string()), said(1, 60));
        }
        assert_eq!(names.known.len(), NAMES_MAX);
        assert!(names.look(at(1), &question("5")).is_none());
        assert!(names.look(at(1), &question("100")).is_some());
    }
}
