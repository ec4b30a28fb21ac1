//! SIP transactions as pure machines (RFC 3261 §17, RFC 6026) and the keys that match messages to them.
//!
//! A transaction holds the bytes that it may have to send again, and never reads them: what a message
//! says is its owner's business. It is small and allocates nothing of its own, so that an owner keeps
//! its transactions as plain table entries.
//!
//! Absent by design: sockets, clocks, parsing, any knowledge of dialogs, and every automatic message.
//! There is no automatic `100 Trying` (the owner answers when it has something to promise), and no
//! automatic ACK to a refusal (nothing is acknowledged before its owner has recorded it).
//!
//! ```
//! use machine::{Instant, Machine};
//! use transaction::{InviteServer, Output, ServerInput, Times, Timer};
//!
//! let mut invite = InviteServer::new(Times::default(), false);
//! let busy = bytes::Bytes::from_static(b"SIP/2.0 486 Busy Here\r\n\r\n");
//! invite.handle(Instant::ZERO, ServerInput::Respond { status: 486, message: busy.clone() });
//! assert_eq!(invite.poll_output(), Some(Output::Send(busy.clone())));
//! // Timer G, T1 later: the refusal goes out again until the ACK comes.
//! let g = invite.poll_timeout().unwrap();
//! invite.handle_timeout(g);
//! assert_eq!(invite.poll_output(), Some(Output::Send(busy)));
//! ```

mod answer;
mod deadlines;
mod invite_client;
mod invite_server;
mod key;
#[cfg(test)]
mod ladder;
mod non_invite_client;
mod non_invite_server;
mod times;

pub use answer::Answer2xx;
pub use invite_client::InviteClient;
pub use invite_server::InviteServer;
pub use key::{Key, KeySeed};
pub use non_invite_client::NonInviteClient;
pub use non_invite_server::NonInviteServer;
pub use times::{Timer, Times};

use bytes::Bytes;
use smallvec::SmallVec;

/// What happened to a server transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerInput {
    /// The request that created the transaction came again.
    Retransmission,
    /// The owner answers; `message` is the whole response.
    Respond {
        /// The status code that `message` carries.
        status: u16,
        /// The response, as it goes to the wire.
        message: Bytes,
    },
    /// An ACK matched this transaction (INVITE only).
    Ack,
    /// The transport could not carry what was sent last.
    TransportError,
}

/// What happened to a client transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientInput {
    /// A response matched this transaction.
    Response {
        /// Its status code.
        status: u16,
    },
    /// The refusal is recorded: send this ACK, now and for each retransmission (INVITE only).
    Acknowledge(Bytes),
    /// The owner wants the request cancelled (INVITE only, RFC 3261 §9.1).
    Cancel,
    /// The transport could not carry what was sent last.
    TransportError,
}

/// What to do, in this order. All four machines share it, so that one pump serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Put these bytes on the transaction's flow.
    Send(Bytes),
    /// Client: the response just handed in is news to the owner (repeated 2xx to INVITE included).
    Deliver {
        /// Its status code.
        status: u16,
    },
    /// Client: a CANCEL may be sent now (RFC 3261 §9.1: not before a provisional response).
    SendCancel,
    /// Server: the final response was acknowledged. After a 2xx each ACK is reported, since the owner may want it.
    Acknowledged,
    /// The transaction failed because this timer fired.
    TimedOut(Timer),
    /// The transport failed; client transactions end, server transactions wait for the peer.
    TransportFailed,
    /// The transaction is over and may be forgotten. Given once.
    Terminated,
}

/// Outputs waiting to be polled; two are the usual most.
type Outputs = SmallVec<[Output; 2]>;

/// Takes the oldest output.
fn pop(outputs: &mut Outputs) -> Option<Output> {
    if outputs.is_empty() { None } else { Some(outputs.remove(0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_small_enough_to_be_table_entries() {
        // A held call and everything that it keeps has 12 KiB; what lingers after it must be far less.
        assert!(size_of::<Output>() <= 40, "{}", size_of::<Output>());
        assert!(size_of::<InviteServer>() <= 256, "{}", size_of::<InviteServer>());
        assert!(size_of::<InviteClient>() <= 256, "{}", size_of::<InviteClient>());
        assert!(size_of::<NonInviteServer>() <= 256, "{}", size_of::<NonInviteServer>());
        assert!(size_of::<NonInviteClient>() <= 256, "{}", size_of::<NonInviteClient>());
        assert!(size_of::<Answer2xx>() <= 256, "{}", size_of::<Answer2xx>());
    }
}
