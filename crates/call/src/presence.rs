//! Whether the peers of a call that has a new process are still in it.
//!
//! What a process has read from a stream and has not committed dies with it, and nobody says it again: TCP had it
//! acknowledged (RFC 3261 §17.1.2.1). A BYE that went so would leave a call that nobody is in. So each leg over a stream
//! is asked by OPTIONS inside its dialog; a 481 or 408 says that the peer has left (RFC 3261 §12.2.1.2). No answer
//! says nothing: a peer that can't be dialled speaks when it wants to.

use machine::Instant;
use machine::museum::planted;
use sip::Method;
use trunk::Transport;

use crate::call::{Call, Stage, Wanted};
use crate::exchange::Kind;
use crate::record::Side;

impl Call {
    /// Has the legs over streams asked, once their numbers are reserved. Those that are told of another home (`told`) answer
    /// by that.
    pub(crate) fn ask_streams(&mut self, told: [bool; 2]) {
        let Some(legs) = self.legs.as_ref().filter(|_| !planted("left-unasked")) else { return };
        for (side, told) in [Side::Ingress, Side::Egress].into_iter().zip(told) {
            if !told && legs.leg(side).flow.transport != Transport::Udp {
                self.wanted.push((side, Wanted::Presence));
            }
        }
    }

    /// Asks a peer whether it is still there.
    pub(crate) fn ask_presence(&mut self, now: Instant, side: Side) {
        if self.stage != Stage::Answered {
            return;
        }
        if let Some(sent) = self.send_in_dialog(now, side, Method::Options, &mut Vec::new(), None) {
            self.open_own(Kind::of(Method::Options), sent);
        }
    }
}
