//! News of commits: what a follower must hear at once, and what travels with the entries that come next.
//!
//! Most batches hold nothing but calls of one node's homes, and only that node waits to hear that they are committed. To
//! tell the others costs a request and a wake-up each, as much as the entries themselves.

use std::time::Duration;

use call::NodeId;
use machine::Instant;
use openraft::EntryPayload;
use openraft::raft::AppendEntriesRequest;
use openraft::type_config::alias::EntryOf;

use super::types::TypeConfig;
use crate::command::Command;

type News = AppendEntriesRequest<TypeConfig>;

/// The news for one follower.
#[derive(Default)]
pub(super) struct Desk {
    /// The newest entry sent that the follower waits for.
    wanted: u64,
    held: Option<(Instant, News)>,
}

impl Desk {
    /// Looks at entries that are about to go to a follower. The commit that goes with them is newer than what is held.
    pub(super) fn passes(&mut self, to: NodeId, request: &AppendEntriesRequest<TypeConfig>) {
        self.held = None;
        if committed(request) >= self.wanted {
            self.wanted = 0;
        }
        if let Some(entry) = request.entries.iter().rev().find(|entry| is_for(to, entry)) {
            self.wanted = entry.log_id.index;
        }
    }

    /// Takes news; gives it back if it must go now.
    pub(super) fn take(&mut self, now: Instant, news: News) -> Option<News> {
        if self.wanted != 0 && committed(&news) >= self.wanted {
            (self.wanted, self.held) = (0, None);
            return Some(news);
        }
        let due = self.held.take().map_or(now + WAIT, |(due, _)| due);
        self.held = Some((due, news));
        None
    }

    /// When the held news goes at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.as_ref().map(|(due, _)| *due)
    }

    /// The news that is held.
    pub(super) fn release(&mut self) -> Option<News> {
        self.held.take().map(|(_, news)| news)
    }
}

fn committed(request: &AppendEntriesRequest<TypeConfig>) -> u64 {
    request.leader_commit.map_or(0, |at| at.index)
}

/// Whether somebody at a node waits to hear that an entry is committed.
fn is_for(to: NodeId, entry: &EntryOf<TypeConfig>) -> bool {
    let EntryPayload::Normal(stamped) = &entry.payload else { return true };
    let batch = &stamped.0.batch;
    batch.node == to || batch.commands.iter().any(|it| !matches!(it, Command::Call { .. }))
}

/// How long news waits for entries to go with.
const WAIT: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use call::{CallCommand, CallId, Change, Epoch, HomeId, Incarnation};
    use machine::{ClusterTime, WallTime};

    use super::*;
    use crate::command::{Batch, Stamped};
    use crate::log::{Position, Vote};
    use crate::raft::types::{Entry, from_position, from_vote};

    fn position(index: u64) -> Position {
        Position { term: 1, node: 1, index }
    }

    fn entry(index: u64, node: u64, command: Command) -> EntryOf<TypeConfig> {
        let commands = vec![command];
        let batch = Batch { node: NodeId(node), incarnation: Incarnation(1), seq: index, shard: 0, commands };
        let stamped = Stamped { time: ClusterTime(0), batch };
        EntryOf::<TypeConfig> {
            log_id: from_position(position(index)),
            payload: EntryPayload::Normal(Entry(Arc::new(stamped))),
        }
    }

    fn call() -> Command {
        let command = CallCommand::Change(Change::Cancel(WallTime::default()));
        Command::Call { call: CallId(1), home: HomeId(1), epoch: Epoch(1), command }
    }

    fn news(committed: u64) -> News {
        request(committed, [])
    }

    fn request(committed: u64, entries: impl Into<Vec<EntryOf<TypeConfig>>>) -> News {
        News {
            vote: from_vote(Vote { term: 1, node: 1, committed: true }),
            prev_log_id: None,
            entries: entries.into(),
            leader_commit: Some(from_position(position(committed))),
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn who_proposed_a_batch_hears_of_its_commit_at_once_and_others_later() {
        for (to, goes) in [(2, true), (3, false)] {
            let mut desk = Desk::default();
            desk.passes(NodeId(to), &request(6, [entry(7, 2, call())]));
            assert_eq!(desk.take(at(0), news(7)).is_some(), goes, "to node {to}");
            assert_eq!(desk.due(), (!goes).then(|| at(5)));
        }
    }

    #[test]
    fn all_hear_at_once_of_what_is_no_call() {
        let mut desk = Desk::default();
        desk.passes(NodeId(3), &request(5, [entry(7, 2, Command::Leave), entry(8, 2, call())]));
        assert!(desk.take(at(0), news(6)).is_none());
        assert!(desk.take(at(1), news(7)).is_some());
        assert_eq!(desk.due(), None);
    }

    #[test]
    fn newer_news_takes_the_place_of_older_and_waits_no_longer() {
        let mut desk = Desk::default();
        desk.passes(NodeId(3), &request(6, [entry(7, 2, call()), entry(8, 2, call())]));
        assert!(desk.take(at(0), news(7)).is_none());
        assert!(desk.take(at(3), news(8)).is_none());
        assert_eq!(desk.due(), Some(at(5)));
        assert_eq!(desk.release().and_then(|it| it.leader_commit).map(|it| it.index), Some(8));
        assert_eq!(desk.due(), None);
    }

    #[test]
    fn entries_carry_the_news_that_was_held() {
        let mut desk = Desk::default();
        desk.passes(NodeId(3), &request(6, [entry(7, 2, call())]));
        assert!(desk.take(at(0), news(7)).is_none());
        desk.passes(NodeId(3), &request(7, [entry(8, 2, call())]));
        assert_eq!(desk.due(), None);
    }

    #[test]
    fn what_entries_said_need_not_be_said_again() {
        let mut desk = Desk::default();
        desk.passes(NodeId(2), &request(6, [entry(7, 2, call())]));
        desk.passes(NodeId(2), &request(7, [entry(8, 3, call())]));
        assert!(desk.take(at(0), news(8)).is_none());
    }
}
