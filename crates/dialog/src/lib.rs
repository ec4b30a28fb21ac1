//! One SIP dialog (RFC 3261 §12–15) with reliable provisional responses (RFC 3262), UPDATE (RFC 3311) and
//! session timers (RFC 4028): plain [`DialogState`] that outlives a node, and the [`Dialog`] machine over it.
//!
//! The owner tells the machine what came and what it sent, and learns what that means: in order or not,
//! allowed now or not, which answer a breach gets, when to refresh, when to give up. The machine also writes
//! the requests of its dialog, so that tags, CSeq, Request-URI and Route come from one place.
//!
//! Absent by design: sockets, clocks, chance, transactions (who retransmits what, but for reliable
//! provisionals), and any knowledge that there is a second leg. Session descriptions are the owner's: the
//! machine only asks whether a message carries one.
//!
//! ```
//! use dialog::{Dialog, Received, Settings};
//! use machine::Instant;
//! use sip::{Framing, Message, Method};
//!
//! let invite = b"INVITE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n\
//!     From: <sip:alice@a.example>;tag=a1\r\nTo: <sip:bob@b.example>\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n\
//!     Contact: <sip:alice@192.0.2.1>\r\nContent-Length: 0\r\n\r\n";
//! let invite = Message::parse(invite, Framing::Datagram).unwrap();
//! let mut dialog = Dialog::from_invite(&invite, "b1", 1, false, Settings::default()).unwrap();
//! dialog.responded(Instant::ZERO, Method::Invite, 200, false);
//! assert!(dialog.state().confirmed);
//! assert_eq!(dialog.state().next_hop(), b"sip:alice@192.0.2.1");
//! ```

#[cfg(test)]
mod course;
mod cseq;
mod dialog;
mod error;
mod facts;
#[cfg(test)]
mod fixture;
mod fork;
mod offer;
mod receive;
mod reliable;
mod send;
mod session;
mod state;
mod write;

pub use cseq::{CSEQ_BLOCK, LocalCseq, NeedsReservation};
pub use dialog::{Dialog, InviteSent, Output, RefreshBy, Settings};
pub use error::{NotNow, PeerError, Reject};
pub use fork::{Forked, Forks};
pub use receive::Received;
pub use reliable::ReliableOrder;
pub use send::Answered;
pub use session::{
    MIN_SE_S, Refresher, RefresherParam, Session, SessionHeaders, SessionMode, SessionPolicy, SessionRequest,
};
pub use state::{DialogState, Peer, Provisionals, Role};
pub use write::{Body, InDialog, write_cancel, write_refusal_ack};
