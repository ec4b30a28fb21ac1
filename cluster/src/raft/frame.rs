//! What nodes say to each other about consensus. Encoded by position behind a version byte: variants are
//! added at the end of a new version, never reordered.

use std::sync::Arc;

use call::Incarnation;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::members::{Change, ChangeError};
use super::parcel::{Chunk, Delivered};
use super::types::TypeConfig;
use crate::codec::{self, DecodeError};
use crate::command::Stamped;
use crate::lease;
use crate::projection::{Lines, Span};

/// One message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Frame {
    /// A request; its answer carries the same ticket.
    Ask(Ticket, Request),
    /// An answer.
    Answer(Ticket, Answer),
    /// A node's commands, for whoever leads; its time is not yet the leader's.
    Propose(Arc<Stamped>),
    /// The receiver's batch of this number did not reach the log: the sender does not lead.
    Refused(Incarnation, u64),
    /// A node asks the leader for its lease.
    Lease(lease::Ask),
    /// The leader's answer.
    Leased(lease::Answer),
    /// A node never applied these CDRs.
    Missing(Span),
    /// What the receiver asked for, as far as the sender has it.
    Found(Lines),
}

/// Tells requests apart. Numbers begin by chance in each life, so an answer to an earlier life fits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// Which conversation.
    pub(super) channel: u64,
    /// Which request in it, from 0.
    pub(super) number: u32,
}

/// What a node asks of another.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Entries, or a heartbeat.
    Append(AppendEntriesRequest<TypeConfig>),
    /// The same, to be answered only if it fails: a request before it is answered anyhow.
    Mention(AppendEntriesRequest<TypeConfig>),
    /// A candidate asks for a vote.
    Vote(VoteRequest<TypeConfig>),
    /// Somebody asks whether he would get a vote.
    PreVote(VoteRequest<TypeConfig>),
    /// The leader wants to be succeeded.
    Transfer(TransferLeaderRequest<TypeConfig>),
    /// A part of a snapshot.
    Chunk(Chunk),
    /// All of it has been sent.
    Delivered(Delivered),
    /// The members are to be others.
    Change(Change),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// To entries.
    Appended(AppendEntriesResponse<TypeConfig>),
    /// To a candidate.
    Voted(VoteResponse<TypeConfig>),
    /// To the leader that wants to be succeeded.
    Transferred(TransferLeaderResponse<TypeConfig>),
    /// To a chunk: so many bytes of the snapshot have come.
    Received(u64),
    /// The snapshot is installed.
    Installed(SnapshotResponse<TypeConfig>),
    /// Whether the members are others now.
    Changed(Result<(), ChangeError>),
}

impl Frame {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        codec::encode(self, &mut bytes);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Frame, DecodeError> {
        codec::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use machine::Rng;

    use super::*;

    fn vote() -> Frame {
        let vote = super::super::types::from_vote(crate::log::Vote { term: 300, node: 2, committed: false });
        let request = VoteRequest { vote, last_log_id: None, leadership_transfer: false };
        Frame::Ask(Ticket { channel: 5, number: 1 }, Request::Vote(request))
    }

    /// The version, the kind of frame, then fields in their order; numbers from 251 on take a marker and two
    /// bytes, little end first.
    #[test]
    fn frames_have_these_bytes() {
        let check = |frame: Frame, bytes: &[u8]| {
            assert_eq!(frame.encode(), bytes);
            assert_eq!(Frame::decode(bytes).map(|it| it.encode()), Ok(bytes.to_vec()));
        };
        let ask = lease::Ask { incarnation: Incarnation(7), number: 250 };
        check(vote(), &[2, 0, 5, 1, 2, 251, 44, 1, 2, 0, 0, 0]);
        check(Frame::Answer(Ticket { channel: 5, number: 1 }, Answer::Received(9)), &[2, 1, 5, 1, 3, 9]);
        check(Frame::Refused(Incarnation(7), 300), &[2, 3, 7, 251, 44, 1]);
        check(Frame::Lease(ask), &[2, 4, 7, 250]);
        check(Frame::Leased(lease::Answer::Granted { ask, for_us: 1 }), &[2, 5, 0, 7, 250, 1]);
    }

    #[test]
    fn any_bytes_are_a_frame_or_refused() {
        let mut rng = Rng::from_u64(1);
        let whole = vote().encode();
        for len in 0..whole.len() {
            assert!(Frame::decode(whole.get(..len).unwrap_or_default()).is_err());
        }
        let longer: Vec<u8> = whole.iter().copied().chain([0]).collect();
        assert_eq!(Frame::decode(&longer).map(drop), Err(DecodeError::Trailing(1)));
        for _ in 0..20_000 {
            let mut bytes = vec![0; rng.below(60) as usize];
            rng.fill(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = codec::VERSION;
            }
            if let Ok(frame) = Frame::decode(&bytes) {
                // What is read at all is read whole.
                assert!(!frame.encode().is_empty());
            }
        }
    }
}
