//! How many handshakes a second: each costs a signature, and whoever connects can ask for one.

use std::time::Duration;

use machine::Instant;

use crate::Standing;

/// A second's worth at once, and then one after the other; strangers get half of it.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// Until when what was granted is paid for.
    paid: Instant,
}

impl Budget {
    /// Whether one more may be made now, where so many a second may.
    pub(crate) fn take(&mut self, now: Instant, per_second: u32, standing: Standing) -> bool {
        let burst = match standing {
            Standing::Known => SECOND,
            Standing::Stranger => SECOND / 2,
        };
        let paid = self.paid.max(now);
        let granted = paid.since(now) < burst;
        if granted {
            self.paid = paid + SECOND / per_second.max(1);
        }
        granted
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(budget: &mut Budget, now: Instant, standing: Standing) -> usize {
        (0..1_000).filter(|_| budget.take(now, 10, standing)).count()
    }

    #[test]
    fn a_seconds_worth_is_granted_at_once_and_the_rest_over_time() {
        let (mut budget, start) = (Budget::default(), Instant::ZERO);
        assert_eq!(granted(&mut budget, start, Standing::Known), 10);
        assert_eq!(granted(&mut budget, start + SECOND / 2, Standing::Known), 5);
        assert_eq!(granted(&mut budget, start + SECOND * 100, Standing::Known), 10, "no more is saved up");
    }

    #[test]
    fn strangers_leave_half_of_it() {
        let (mut budget, start) = (Budget::default(), Instant::ZERO);
        assert_eq!(granted(&mut budget, start, Standing::Stranger), 5);
        assert_eq!(granted(&mut budget, start, Standing::Known), 5);
    }
}
