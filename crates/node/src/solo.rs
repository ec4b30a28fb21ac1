//! Emergency calls without a majority: a node that hears one at its own address, where nobody else can hear it, carries
//! it on its own word (contract, "One call").
//!
//! What such a call proposes counts at once, and is kept. When there is a majority again, and the node holds its home,
//! all of it is proposed in its order; once that is applied the call goes on from its record, like any other. A process
//! that ends before loses the CDR, and no more.

use std::collections::BTreeMap;
use std::sync::Arc;

use call::{CallCommand, CallId, Change, HomeId, Outcome};

use crate::lock;
use crate::metrics::add;
use crate::shared::Shared;

/// The calls that no majority knows yet.
#[derive(Debug, Default)]
pub(crate) struct Solo {
    calls: BTreeMap<CallId, Account>,
}

/// What a call has done so far.
#[derive(Debug)]
struct Account {
    home: HomeId,
    history: Vec<CallCommand>,
    /// How much of it is on its way to a majority.
    proposed: usize,
    /// How many outcomes are still to come.
    awaited: usize,
    /// Whether a majority has let it in.
    admitted: bool,
    /// Whether some of it was refused: the home was in other hands meanwhile.
    stale: bool,
}

impl Account {
    fn new(home: HomeId) -> Account {
        Account { home, history: Vec::new(), proposed: 0, awaited: 0, admitted: false, stale: false }
    }
}

/// What an outcome means to a call.
#[derive(Debug, PartialEq, Eq)]
enum Settled {
    /// It is a call like any other; the outcome is its own.
    Other,
    /// More is to come.
    Waits,
    /// All that it did is recorded, and it goes on.
    Recorded,
    /// All that it did is recorded, its end too.
    Over,
    /// It was let in, and then its home was lost: whoever adopted it carries it now.
    Lost,
}

impl Solo {
    /// Takes note of what a call proposes; gives what becomes of it, if the call is one of these.
    fn note(&mut self, id: CallId, command: &CallCommand) -> Option<Outcome> {
        let account = self.calls.get_mut(&id)?;
        account.history.push(command.clone());
        Some(match command {
            // As `apply` decides where no limit counts.
            CallCommand::Admit(_) => Outcome::Target(0),
            CallCommand::Change(Change::Attempt(attempt)) => Outcome::Target(attempt.from_target),
            CallCommand::Refuse(_) | CallCommand::Change(_) => Outcome::Done,
        })
    }

    /// What calls of this home still have to propose.
    fn owed(&mut self, home: HomeId) -> Vec<(CallId, Vec<CallCommand>)> {
        let ready = self.calls.iter_mut().filter(|(_, it)| it.home == home && it.awaited == 0);
        let owed = ready.map(|(id, account)| {
            let commands = account.history.get(account.proposed..).unwrap_or_default().to_vec();
            (account.proposed, account.awaited) = (account.history.len(), commands.len());
            (*id, commands)
        });
        owed.filter(|(_, commands)| !commands.is_empty()).collect()
    }

    /// A majority has decided on the next of a call's commands.
    fn settle(&mut self, id: CallId, outcome: &Outcome) -> Settled {
        let Some(account) = self.calls.get_mut(&id) else { return Settled::Other };
        let is_stale = *outcome == Outcome::Stale;
        account.stale |= is_stale;
        account.admitted |= !is_stale && account.proposed == account.awaited;
        account.awaited = account.awaited.saturating_sub(1);
        if account.awaited > 0 {
            return Settled::Waits;
        }
        if std::mem::take(&mut account.stale) {
            if account.admitted {
                self.calls.remove(&id);
                return Settled::Lost;
            }
            // All of it again, in the home's next epoch.
            account.proposed = 0;
            return Settled::Waits;
        }
        if account.proposed < account.history.len() {
            return Settled::Waits;
        }
        let is_over = matches!(
            account.history.last(),
            Some(CallCommand::Change(Change::End(_)) | CallCommand::Refuse(_))
        );
        self.calls.remove(&id);
        if is_over { Settled::Over } else { Settled::Recorded }
    }
}

impl Shared {
    /// A call begins that no majority is asked about. False if there are too many.
    pub(crate) fn begin_solo(&self, id: CallId, home: HomeId) -> bool {
        let mut solo = lock(&self.solo);
        let has_room = solo.calls.len() < SOLO_MAX;
        if has_room {
            solo.calls.insert(id, Account::new(home));
            add(&self.metrics.solo);
            tracing::warn!(call = %id, "no majority can be reached: an emergency call goes on without one");
        }
        has_room
    }

    /// Whether a call is carried on this node's own word.
    pub(crate) fn is_solo(&self, id: CallId) -> bool {
        lock(&self.solo).calls.contains_key(&id)
    }

    /// Takes note of what a call proposes, if it is carried on this node's own word, and gives what becomes of it.
    pub(crate) fn note_solo(&self, id: CallId, command: &CallCommand) -> Option<Outcome> {
        lock(&self.solo).note(id, command)
    }

    /// There is a majority: it is told what it missed.
    pub(crate) fn report_solo(&self) {
        if lock(&self.solo).calls.is_empty() {
            return;
        }
        for home in self.homes() {
            let owed = lock(&self.solo).owed(home.id);
            for (id, commands) in owed {
                for command in commands {
                    self.cluster.propose(id, home.id, home.epoch, command);
                }
            }
        }
    }

    /// A command of a call was applied; gives whether the call learns of it.
    pub(crate) fn settle_solo(self: &Arc<Shared>, id: CallId, outcome: &Outcome) -> bool {
        let settled = lock(&self.solo).settle(id, outcome);
        match settled {
            Settled::Recorded => {
                tracing::info!(call = %id, "a majority has recorded what the call did alone");
                self.recall(id);
            }
            Settled::Lost => self.abandon(id),
            Settled::Other | Settled::Waits | Settled::Over => {}
        }
        settled == Settled::Other
    }
}

/// Emergency calls that a node carries on its own word at once. Each takes a few KiB.
const SOLO_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use call::{AttemptEnd, Incarnation};
    use machine::WallTime;

    use super::*;

    const HOME: HomeId = HomeId(3);

    fn id(counter: u64) -> CallId {
        CallId::new(Incarnation(1), counter)
    }

    fn solo() -> Solo {
        Solo { calls: [(id(1), Account::new(HOME))].into() }
    }

    fn cancel() -> CallCommand {
        CallCommand::Change(Change::Cancel(WallTime(0)))
    }

    fn attempt(from_target: u16) -> CallCommand {
        let ended = AttemptEnd { status: 503, at: WallTime(0) };
        let next = call::Attempt {
            number: 1,
            from_target,
            ended,
            session_expires: None,
            challenge: None,
            onward: Vec::new(),
        };
        CallCommand::Change(Change::Attempt(next))
    }

    #[test]
    fn what_such_a_call_proposes_counts_at_once_and_others_wait() {
        let mut solo = solo();
        assert_eq!(solo.note(id(1), &attempt(2)), Some(Outcome::Target(2)));
        assert_eq!(solo.note(id(1), &cancel()), Some(Outcome::Done));
        assert_eq!(solo.note(id(2), &cancel()), None);
    }

    #[test]
    fn a_majority_learns_all_of_it_in_order_and_once() {
        let mut solo = solo();
        solo.note(id(1), &attempt(1));
        solo.note(id(1), &cancel());
        assert!(solo.owed(HomeId(9)).is_empty());
        assert_eq!(solo.owed(HOME), [(id(1), vec![attempt(1), cancel()])]);
        assert!(solo.owed(HOME).is_empty());
        // What it does meanwhile is told when that is settled.
        solo.note(id(1), &attempt(2));
        assert_eq!(solo.settle(id(1), &Outcome::Done), Settled::Waits);
        assert!(solo.owed(HOME).is_empty());
        assert_eq!(solo.settle(id(1), &Outcome::Done), Settled::Waits);
        assert_eq!(solo.owed(HOME), [(id(1), vec![attempt(2)])]);
        assert_eq!(solo.settle(id(1), &Outcome::Done), Settled::Recorded);
        assert_eq!(solo.settle(id(1), &Outcome::Done), Settled::Other);
    }

    #[test]
    fn what_came_too_late_for_an_epoch_is_told_again_in_the_next() {
        let mut solo = solo();
        solo.note(id(1), &attempt(1));
        solo.note(id(1), &cancel());
        assert_eq!(solo.owed(HOME).len(), 1);
        assert_eq!(solo.settle(id(1), &Outcome::Stale), Settled::Waits);
        assert!(solo.owed(HOME).is_empty());
        assert_eq!(solo.settle(id(1), &Outcome::Stale), Settled::Waits);
        assert_eq!(solo.owed(HOME), [(id(1), vec![attempt(1), cancel()])]);
        assert_eq!(solo.settle(id(1), &Outcome::Duplicate(id(1))), Settled::Waits);
        assert_eq!(solo.settle(id(1), &Outcome::Done), Settled::Recorded);
    }

    #[test]
    fn a_call_that_others_have_adopted_is_theirs() {
        let mut solo = solo();
        solo.note(id(1), &attempt(1));
        solo.note(id(1), &cancel());
        assert_eq!(solo.owed(HOME).len(), 1);
        assert_eq!(solo.settle(id(1), &Outcome::Target(1)), Settled::Waits);
        assert_eq!(solo.settle(id(1), &Outcome::Stale), Settled::Lost);
        assert_eq!(solo.settle(id(1), &Outcome::Stale), Settled::Other);
    }
}
