//! When one account of ours is registered with its carrier: at once, before it runs out, later and later when that
//! fails (RFC 3261 §10.2, RFC 5626 §4.5). What is said, and to whom, others know.

use std::collections::VecDeque;
use std::time::Duration;

use machine::museum::planted;
use machine::{Instant, Machine, Rng};

/// One registration of ours, for as long as one node makes it.
#[derive(Debug)]
pub struct Registrar {
    stage: Stage,
    /// For how long the next REGISTER asks, in seconds.
    expires_s: u32,
    /// How often in a row it failed.
    failures: u32,
    due: Option<Instant>,
    rng: Rng,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is under way.
    Waiting,
    /// A REGISTER is.
    Asking {
        /// How many challenges it has answered.
        answers: u8,
        /// Whether it asks for longer than the one before, as the registrar wanted.
        raised: bool,
    },
    /// The REGISTER that takes the binding away is.
    Leaving {
        /// Whether it has answered a challenge.
        answered: bool,
    },
    /// It is over.
    Gone,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It is registered, for so many seconds.
    Granted(u32),
    /// It was challenged, and can answer. `stale`: only the nonce was too old.
    Challenged {
        /// Whether the answer before was right, and only its nonce too old.
        stale: bool,
    },
    /// 423: so many seconds at least.
    TooBrief(u32),
    /// Any other answer, and when the registrar wants to be asked again.
    Refused {
        /// The status.
        status: u16,
        /// Its Retry-After, in seconds.
        retry_after_s: Option<u32>,
    },
    /// No answer came, or nobody could be asked.
    Silent,
    /// It is to be taken away.
    Leave,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a REGISTER for so many seconds; 0 takes the binding away. `answers`: with an answer to the last challenge.
    Ask {
        /// For how long.
        expires_s: u32,
        /// Whether it answers the last challenge.
        answers: bool,
    },
    /// It is registered, for so many seconds.
    Bound(u32),
    /// It is not, for this status; 408 for silence. It is tried again.
    Failed(u16),
    /// It was taken away, or it can't be.
    Gone,
}

/// One challenge is answered, and one that says that the nonce was too old.
const ANSWERS_MAX: u8 = 2;
/// The first wait after silence or a passing refusal, and the longest.
const PASSING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// The same after a refusal that will hardly pass: a wrong password, asked too often, closes accounts.
const LASTING: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1_800));
/// The longest that a registrar can put us off.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// The longest that a registrar may want a registration to be.
const MIN_EXPIRES_MAX: u32 = 86_400;
/// No registration is refreshed sooner, whatever its registrar grants.
const REFRESH_MIN: Duration = Duration::from_secs(1);

impl Registrar {
    /// One that asks at once, for so many seconds.
    pub fn start(now: Instant, expires_s: u32, rng: Rng) -> Registrar {
        Registrar {
            stage: Stage::Waiting,
            expires_s: expires_s.max(1),
            failures: 0,
            due: Some(now),
            rng,
            outputs: VecDeque::new(),
        }
    }

    fn ask(&mut self, stage: Stage, expires_s: u32, answers: bool) {
        self.stage = stage;
        self.due = None;
        self.outputs.push_back(Output::Ask { expires_s, answers });
    }

    fn granted(&mut self, now: Instant, seconds: u32) {
        self.failures = 0;
        self.stage = Stage::Waiting;
        self.outputs.push_back(Output::Bound(seconds));
        // Between three quarters and nine tenths of it: time for some attempts, and never all accounts at once.
        let granted = u64::from(seconds) * 1_000;
        let after = Duration::from_millis(granted * 3 / 4 + self.rng.below(granted * 3 / 20));
        self.due = Some(now + after.max(REFRESH_MIN));
    }

    fn failed(&mut self, now: Instant, status: u16, retry_after: Duration) {
        let (base, longest) = if is_passing(status) { PASSING } else { LASTING };
        let wait = base.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        // From half of it to all of it: those that failed together do not come back together (RFC 5626 §4.5).
        let half = u64::try_from(wait.as_millis() / 2).unwrap_or(u64::MAX);
        let wait = Duration::from_millis(half + self.rng.below(half));
        self.stage = Stage::Waiting;
        self.outputs.push_back(Output::Failed(status));
        self.due = Some(now + wait.max(retry_after.min(RETRY_AFTER_MAX)));
        if planted("register-without-backoff") {
            self.due = Some(now);
        }
    }

    fn gone(&mut self) {
        self.stage = Stage::Gone;
        self.due = None;
        self.outputs.push_back(Output::Gone);
    }
}

/// What may pass by itself: silence, overload, a registrar that is ill or not ready.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 480 | 500..=599)
}

impl Machine for Registrar {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input) {
        match (self.stage, input) {
            (Stage::Asking { .. }, Input::Granted(0)) => self.failed(now, 500, Duration::ZERO),
            (Stage::Asking { .. }, Input::Granted(seconds)) => self.granted(now, seconds),
            (Stage::Asking { answers, raised }, Input::Challenged { stale }) => {
                if answers == 0 || stale && answers < ANSWERS_MAX {
                    let answers = answers + 1;
                    self.ask(Stage::Asking { answers, raised }, self.expires_s, true);
                } else {
                    self.failed(now, 401, Duration::ZERO);
                }
            }
            // §10.2.8: once more, for as long as it wants.
            (Stage::Asking { raised: false, .. }, Input::TooBrief(least))
                if least > self.expires_s && least <= MIN_EXPIRES_MAX =>
            {
                self.expires_s = least;
                self.ask(Stage::Asking { answers: 0, raised: true }, least, false);
            }
            (Stage::Asking { .. }, Input::TooBrief(_)) => self.failed(now, 423, Duration::ZERO),
            (Stage::Asking { .. }, Input::Refused { status, retry_after_s }) => {
                self.failed(now, status, Duration::from_secs(retry_after_s.unwrap_or(0).into()));
            }
            (Stage::Asking { .. }, Input::Silent) => self.failed(now, 408, Duration::ZERO),
            (Stage::Waiting, Input::Leave) => self.ask(Stage::Leaving { answered: false }, 0, false),
            (Stage::Leaving { answered: false }, Input::Challenged { .. }) => {
                self.ask(Stage::Leaving { answered: true }, 0, true);
            }
            (
                Stage::Leaving { .. },
                Input::Granted(_)
                | Input::Challenged { .. }
                | Input::TooBrief(_)
                | Input::Refused { .. }
                | Input::Silent,
            ) => self.gone(),
            // Its owner waits for the answer first.
            (Stage::Asking { .. }, Input::Leave) => self.gone(),
            (Stage::Leaving { .. } | Stage::Gone, Input::Leave) => {}
            // An answer to nothing.
            (
                Stage::Waiting | Stage::Gone,
                Input::Granted(_)
                | Input::Challenged { .. }
                | Input::TooBrief(_)
                | Input::Refused { .. }
                | Input::Silent,
            ) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.stage == Stage::Waiting && self.due.is_some_and(|due| due <= now) {
            self.ask(Stage::Asking { answers: 0, raised: false }, self.expires_s, false);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn drain(registrar: &mut Registrar) -> Vec<Output> {
        std::iter::from_fn(|| registrar.poll_output()).collect()
    }

    fn ask(expires_s: u32, answers: bool) -> Output {
        Output::Ask { expires_s, answers }
    }

    /// One that has asked, at time 0.
    fn asking() -> Registrar {
        let mut registrar = Registrar::start(at(0), 3_600, Rng::from_u64(7));
        registrar.handle_timeout(at(0));
        assert_eq!(drain(&mut registrar), [ask(3_600, false)]);
        registrar
    }

    /// What follows from an input at a time, and when it does something again.
    fn after(registrar: &mut Registrar, now: u64, input: Input) -> (Vec<Output>, Option<Duration>) {
        registrar.handle(at(now), input);
        let wait = registrar.poll_timeout().map(|due| due.since(at(now)));
        (drain(registrar), wait)
    }

    #[test]
    fn it_is_refreshed_between_three_quarters_and_nine_tenths_of_its_time() {
        let mut waits: Vec<Duration> = (0..50)
            .map(|seed| {
                let mut registrar = Registrar { rng: Rng::from_u64(seed), ..asking() };
                let (outputs, wait) = after(&mut registrar, 1, Input::Granted(600));
                assert_eq!(outputs, [Output::Bound(600)]);
                wait.expect("it is refreshed")
            })
            .collect();
        waits.sort_unstable();
        assert!(waits[0] >= Duration::from_secs(450) && waits[49] <= Duration::from_secs(540), "{waits:?}");
        // Fifty that were granted together do not come back together.
        assert!(waits[49] - waits[0] > Duration::from_secs(45), "{waits:?}");
    }

    #[test]
    fn a_challenge_is_answered_once_and_a_stale_nonce_once_more() {
        let mut registrar = asking();
        let challenged = |stale| Input::Challenged { stale };
        assert_eq!(after(&mut registrar, 0, challenged(false)).0, [ask(3_600, true)]);
        assert_eq!(after(&mut registrar, 0, challenged(true)).0, [ask(3_600, true)]);
        assert_eq!(after(&mut registrar, 0, challenged(true)).0, [Output::Failed(401)]);

        let mut wrong = asking();
        after(&mut wrong, 0, challenged(false));
        let (outputs, wait) = after(&mut wrong, 0, challenged(false));
        // A wrong password waits for half a minute at least: carriers close accounts.
        assert_eq!(outputs, [Output::Failed(401)]);
        assert!(wait.is_some_and(|wait| wait >= Duration::from_secs(30)), "{wait:?}");
    }

    #[test]
    fn a_registrar_that_wants_longer_gets_it_once() {
        let mut registrar = Registrar { expires_s: 60, ..asking() };
        assert_eq!(after(&mut registrar, 0, Input::TooBrief(600)).0, [ask(600, false)]);
        assert_eq!(after(&mut registrar, 0, Input::TooBrief(900)).0, [Output::Failed(423)]);
        // It remembers what was wanted; one that wants less than it was offered makes no sense.
        registrar.handle_timeout(at(3_600));
        assert_eq!(drain(&mut registrar), [ask(600, false)]);
        assert_eq!(after(&mut registrar, 3_600, Input::TooBrief(600)).0, [Output::Failed(423)]);
    }

    #[test]
    fn silence_is_answered_later_and_later_and_never_by_all_at_once() {
        let mut registrar = asking();
        let mut now = 0;
        // Half of 2, 4, 8, … seconds at least, and never more than five minutes.
        for (least, most) in [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 128), (128, 256)] {
            let (outputs, wait) = after(&mut registrar, now, Input::Silent);
            let wait = wait.expect("it tries again");
            assert_eq!(outputs, [Output::Failed(408)]);
            let range = Duration::from_secs(least)..Duration::from_secs(most);
            assert!(range.contains(&wait), "{wait:?} is not in {range:?}");
            now += most;
            registrar.handle_timeout(at(now));
            assert_eq!(drain(&mut registrar), [ask(3_600, false)]);
        }
        for _ in 0..20 {
            let wait = after(&mut registrar, now, Input::Silent).1.expect("it tries again");
            assert!(wait >= Duration::from_secs(128) && wait <= Duration::from_secs(300), "{wait:?}");
            now += 300;
            registrar.handle_timeout(at(now));
            drain(&mut registrar);
        }
        // One success, and it begins anew.
        after(&mut registrar, now, Input::Granted(60));
        now += 60;
        registrar.handle_timeout(at(now));
        drain(&mut registrar);
        let wait = after(&mut registrar, now, Input::Silent).1.expect("it tries again");
        assert!(wait < Duration::from_secs(2), "{wait:?}");
    }

    #[test]
    fn retry_after_is_heeded_up_to_an_hour() {
        let refused = |seconds| Input::Refused { status: 503, retry_after_s: Some(seconds) };
        assert_eq!(after(&mut asking(), 0, refused(120)).1, Some(Duration::from_secs(120)));
        assert_eq!(after(&mut asking(), 0, refused(1_000_000)).1, Some(Duration::from_secs(3_600)));
    }

    #[test]
    fn it_takes_its_leave_with_a_digest_if_need_be() {
        let mut registrar = asking();
        after(&mut registrar, 0, Input::Granted(60));
        assert_eq!(after(&mut registrar, 1, Input::Leave), (vec![ask(0, false)], None));
        assert_eq!(after(&mut registrar, 1, Input::Challenged { stale: false }).0, [ask(0, true)]);
        assert_eq!(after(&mut registrar, 1, Input::Granted(0)), (vec![Output::Gone], None));
        // And never comes back.
        registrar.handle_timeout(at(10_000));
        assert_eq!((drain(&mut registrar), registrar.poll_timeout()), (vec![], None));
    }

    #[test]
    fn a_registration_for_no_time_is_none() {
        let (outputs, wait) = after(&mut asking(), 0, Input::Granted(0));
        assert_eq!(outputs, [Output::Failed(500)]);
        assert!(wait.is_some());
    }
}
