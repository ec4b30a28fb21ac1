//! What a caller or a callee sets out to do, and the mixture that a whole run is drawn from.

use std::time::Duration;

use machine::Rng;

/// What one caller does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerPlan {
    /// How long the call is held after the answer.
    pub hold: Duration,
    /// Whether we wait for the far side's BYE instead of sending ours.
    pub waits_for_bye: bool,
    /// Whether the far side may hang up first without breaking the plan.
    pub allows_bye: bool,
    /// CANCEL this long after the first provisional answer.
    pub cancel_after: Option<Duration>,
    /// How many ACKs of the answer are lost on their way.
    pub acks_lost: u32,
    /// A re-INVITE this long after the answer.
    pub reinvite_after: Option<Duration>,
    /// Whether it puts the far side on hold (RFC 3264 §8.4), instead of offering the same again.
    pub holds: bool,
    /// CANCEL, and fail, when no final answer came for this long.
    pub patience: Duration,
}

impl Default for CallerPlan {
    fn default() -> CallerPlan {
        CallerPlan {
            hold: Duration::from_secs(1),
            waits_for_bye: false,
            allows_bye: false,
            cancel_after: None,
            acks_lost: 0,
            reinvite_after: None,
            holds: false,
            patience: Duration::from_secs(120),
        }
    }
}

/// What one callee does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalleePlan {
    /// 180 this long after the INVITE; at once if zero.
    pub ring_after: Duration,
    /// The final answer this long after the 180; at once if zero.
    pub answer_after: Duration,
    /// Refuse with this status instead of answering.
    pub refuse: Option<u16>,
    /// BYE this long after the ACK.
    pub hang_up_after: Option<Duration>,
    /// Answer a CANCEL with 200 to the INVITE, as if the two had crossed.
    pub answers_late: bool,
    /// Send the caller elsewhere instead of answering or refusing.
    pub redirect: Option<Moved>,
    /// Answer the far side's BYE with 407, for a realm that is nobody's (RFC 3261 §22.3).
    pub challenges_bye: bool,
    /// The same, of its re-INVITEs.
    pub challenges_reinvite: bool,
}

/// Where a callee sends its caller (RFC 3261 §21.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The Contacts of the 302; see [`Mix::contacts`].
    pub contacts: String,
    /// Whether it rings first.
    pub rings: bool,
}

/// What a run's calls are drawn from. Fractions are 0.0 to 1.0.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// 180 this long after the INVITE.
    pub ring: Duration,
    /// The answer this long after the 180.
    pub answer: Duration,
    /// How long an answered call is held, at least.
    pub hold: Duration,
    /// How much longer at most: each call draws its own time.
    pub hold_spread: Duration,
    /// The fraction of callers that CANCEL, at a moment drawn from the 180 up to just after the answer.
    pub cancel: f64,
    /// The earliest of those moments, counted from the 180.
    pub cancel_from: Duration,
    /// The fraction of CANCELs that the callee answers with a late 200 to the INVITE.
    pub answer_late: f64,
    /// The fraction of callers whose first ACK is lost.
    pub lose_ack: f64,
    /// The fraction of calls in which both ends send BYE at once.
    pub glare: f64,
    /// The fraction of calls that the callee refuses, and with what status.
    pub refuse: f64,
    /// The status of refusals.
    pub refuse_status: u16,
    /// The fraction of callers that send a re-INVITE in the middle of the call.
    pub reinvite: f64,
    /// The fraction of those that put the callee on hold by it.
    pub holds: f64,
    /// The fraction of answered calls in which the callee hangs up, perhaps before the caller would.
    pub callee_ends: f64,
    /// The fraction of calls that the callee sends elsewhere by 302.
    pub redirect: f64,
    /// Where to: each such call draws one of these lists of Contacts. `{user}` stands for whoever was called, `{turn}` for
    /// how many such turns the call has taken, this included.
    pub contacts: Vec<String>,
    /// The fraction of callees that challenge by 407: half of them the INVITE, half of them the BYE.
    pub challenges: f64,
    /// The fraction of callees that challenge re-INVITEs.
    pub challenges_reinvite: f64,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix {
            ring: Duration::ZERO,
            answer: Duration::ZERO,
            hold: Duration::from_secs(1),
            hold_spread: Duration::ZERO,
            cancel: 0.0,
            cancel_from: Duration::ZERO,
            answer_late: 0.0,
            lose_ack: 0.0,
            glare: 0.0,
            refuse: 0.0,
            refuse_status: 486,
            reinvite: 0.0,
            holds: 0.0,
            callee_ends: 0.0,
            redirect: 0.0,
            contacts: Vec::new(),
            challenges: 0.0,
            challenges_reinvite: 0.0,
        }
    }
}

impl Mix {
    /// Draws what the next caller does.
    pub fn caller(&self, rng: &mut Rng) -> CallerPlan {
        let cancel_after = chance(rng, self.cancel).then(|| {
            let span = (self.answer + Duration::from_millis(3)).saturating_sub(self.cancel_from);
            let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1);
            self.cancel_from + Duration::from_nanos(rng.below(nanos))
        });
        // Drawn only where there is something to draw, so that runs without it stay what they were.
        let spread = u64::try_from(self.hold_spread.as_nanos()).unwrap_or(u64::MAX);
        let hold = self.hold + Duration::from_nanos(if spread > 0 { rng.below(spread) } else { 0 });
        CallerPlan {
            hold,
            waits_for_bye: false,
            allows_bye: self.glare > 0.0 || self.callee_ends > 0.0,
            cancel_after,
            acks_lost: u32::from(chance(rng, self.lose_ack)),
            reinvite_after: chance(rng, self.reinvite).then_some(hold / 2),
            holds: self.holds > 0.0 && chance(rng, self.holds),
            ..CallerPlan::default()
        }
    }

    /// Draws what the next callee does.
    pub fn callee(&self, rng: &mut Rng) -> CalleePlan {
        let plan = CalleePlan {
            ring_after: self.ring,
            answer_after: self.answer,
            refuse: chance(rng, self.refuse).then_some(self.refuse_status),
            // Both ends count from the answer, so both BYEs are on their way at the same time.
            hang_up_after: chance(rng, self.glare).then_some(self.hold),
            answers_late: chance(rng, self.answer_late),
            redirect: None,
            challenges_bye: false,
            challenges_reinvite: self.challenges_reinvite > 0.0 && chance(rng, self.challenges_reinvite),
        };
        // Drawn only where it is wanted, so that runs without it stay what they were.
        let ends = self.callee_ends > 0.0 && chance(rng, self.callee_ends);
        let spread = u64::try_from(self.hold_spread.as_nanos()).unwrap_or(u64::MAX).max(1);
        let ends = ends.then(|| self.hold + Duration::from_nanos(rng.below(spread)));
        let redirect = self.moved(rng);
        let challenges = self.challenges > 0.0 && chance(rng, self.challenges);
        let challenges_invite = challenges && chance(rng, 0.5);
        CalleePlan {
            hang_up_after: plan.hang_up_after.or(ends),
            refuse: plan.refuse.or(challenges_invite.then_some(407)),
            challenges_bye: challenges && !challenges_invite,
            redirect,
            ..plan
        }
    }

    /// Draws whether, and where to, the next caller is sent; where none ever is, nothing is drawn.
    fn moved(&self, rng: &mut Rng) -> Option<Moved> {
        let lists = self.contacts.len() as u64;
        if lists == 0 || self.redirect <= 0.0 || !chance(rng, self.redirect) {
            return None;
        }
        let drawn = usize::try_from(rng.below(lists)).unwrap_or(0);
        let rings = rng.below(8) == 0;
        self.contacts.get(drawn).map(|contacts| Moved { contacts: contacts.clone(), rings })
    }
}

/// Whether an event with this probability happens. Draws even for 0, so that one fraction does not shift the
/// others of the same seed.
fn chance(rng: &mut Rng, fraction: f64) -> bool {
    const STEPS: u32 = 1 << 24;
    let drawn = u32::try_from(rng.below(u64::from(STEPS))).unwrap_or(0);
    f64::from(drawn) < fraction * f64::from(STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_callees_sends_callers_to_one_of_its_lists_and_others_draw_nothing_for_it() {
        let never = Mix { contacts: vec!["<sip:{user}@192.0.2.9>".into()], ..Mix::default() };
        let (mut rng, mut other) = (Rng::from_u64(7), Rng::from_u64(7));
        assert_eq!(never.callee(&mut rng), Mix::default().callee(&mut other));
        assert_eq!(rng.next_u64(), other.next_u64());
        let lists = ["<sip:a@192.0.2.1>", "<sip:b@192.0.2.2>"].map(String::from);
        let always = Mix { redirect: 1.0, contacts: lists.to_vec(), ..Mix::default() };
        let drawn: Vec<Moved> = (0..40).filter_map(|_| always.callee(&mut rng).redirect).collect();
        assert_eq!(drawn.len(), 40);
        assert!(lists.iter().all(|list| drawn.iter().any(|moved| moved.contacts == *list)));
        assert!(drawn.iter().any(|moved| moved.rings) && drawn.iter().any(|moved| !moved.rings));
    }

    #[test]
    fn fractions_are_met_and_the_bounds_are_exact() {
        let mut rng = Rng::from_u64(7);
        let share = |rng: &mut Rng, fraction| (0..10_000).filter(|_| chance(rng, fraction)).count();
        assert_eq!(share(&mut rng, 0.0), 0);
        assert_eq!(share(&mut rng, 1.0), 10_000);
        let third = share(&mut rng, 0.3);
        assert!((2_800..3_200).contains(&third), "{third}");
    }

    #[test]
    fn who_challenges_does_so_once_and_nothing_is_drawn_where_nobody_does() {
        let mix = Mix { challenges: 1.0, challenges_reinvite: 1.0, ..Mix::default() };
        let mut rng = Rng::from_u64(7);
        let plans: Vec<CalleePlan> = (0..100).map(|_| mix.callee(&mut rng)).collect();
        // Each by the INVITE or by the BYE, and by every re-INVITE.
        assert!(plans.iter().all(|plan| (plan.refuse == Some(407)) != plan.challenges_bye));
        assert!(
            plans.iter().any(|plan| plan.challenges_bye) && plans.iter().any(|plan| plan.refuse.is_some())
        );
        assert!(plans.iter().all(|plan| plan.challenges_reinvite));
        // Three fractions are drawn of each callee that does not: refusals, glare, late answers.
        let (mut rng, mut other) = (Rng::from_u64(7), Rng::from_u64(7));
        assert_eq!(Mix::default().callee(&mut rng), CalleePlan::default());
        for _ in 0..3 {
            chance(&mut other, 0.0);
        }
        assert_eq!(rng.next_u64(), other.next_u64());
    }
}
