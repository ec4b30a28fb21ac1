//! What waits to be sent to one peer for one purpose.

use std::collections::VecDeque;
use std::sync::Mutex;

use env::FRAME_MAX;
use tokio::sync::Notify;

use super::frame::Joined;
use super::lock;

/// A bounded queue between whoever sends and the task that writes.
#[derive(Default)]
pub(super) struct Lane {
    queue: Mutex<Queue>,
    bell: Notify,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Bytes that the writer has taken and not yet handed over.
    taken: usize,
}

impl Lane {
    /// Queues a frame, unless too much waits.
    pub(super) fn push(&self, frame: Vec<u8>) -> bool {
        let mut queue = lock(&self.queue);
        let cost = frame.len() + OVERHEAD;
        if frame.len() > FRAME_MAX || queue.bytes + queue.taken + cost > QUEUED_BYTES_MAX {
            return false;
        }
        queue.bytes += cost;
        queue.frames.push_back(frame);
        let is_first = queue.frames.len() == 1;
        drop(queue);
        if is_first {
            self.bell.notify_one();
        }
        true
    }

    /// Waits for frames; takes some, joined.
    pub(super) async fn next(&self) -> Joined {
        loop {
            if let Some(joined) = self.take() {
                return joined;
            }
            self.bell.notified().await;
        }
    }

    fn take(&self) -> Option<Joined> {
        let mut queue = lock(&self.queue);
        queue.taken = 0;
        let mut joined = Joined::default();
        while queue.taken < WRITE_BYTES {
            let Some(frame) = queue.frames.pop_front() else { break };
            let cost = frame.len() + OVERHEAD;
            queue.bytes -= cost;
            queue.taken += cost;
            joined.push(frame);
        }
        joined.finish();
        (queue.taken > 0).then_some(joined)
    }
}

/// More than the longest frame, so that one always finds room in an empty queue.
pub(super) const QUEUED_BYTES_MAX: usize = FRAME_MAX + (4 << 20);
/// What a queued frame costs beside its bytes; bounds the number of empty ones.
const OVERHEAD: usize = 64;
/// One write; what is queued meanwhile joins the next.
const WRITE_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_frame_finds_room_and_a_longer_one_never() {
        let lane = Lane::default();
        assert!(!lane.push(vec![0; FRAME_MAX + 1]));
        assert!(lane.push(vec![0; FRAME_MAX]));
        assert!(!lane.push(vec![0; FRAME_MAX]));
    }

    #[test]
    fn what_is_being_written_counts_until_it_is_written() {
        let lane = Lane::default();
        assert!(lane.push(vec![0; FRAME_MAX]));
        let written = lane.take().map(|joined| joined.pieces.concat().len());
        assert_eq!(written, Some(FRAME_MAX + 4));
        assert!(!lane.push(vec![0; FRAME_MAX]), "its bytes are still in memory");
        assert!(lane.take().is_none());
        assert!(lane.push(vec![0; FRAME_MAX]));
    }

    #[test]
    fn empty_frames_are_bounded_too() {
        let lane = Lane::default();
        let taken = (0..).take_while(|_| lane.push(Vec::new())).count();
        assert_eq!(taken, QUEUED_BYTES_MAX / OVERHEAD);
    }
}
