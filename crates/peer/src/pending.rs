//! A message of ours that waits: one of our requests until its final response (RFC 3261 §17.1), and one of our final responses until its ACK
//! (§13.3.1.4, §17.2.1): the two things that are sent again when nothing comes.

use std::time::Duration;

use bytes::Bytes;
use machine::Instant;

use crate::local::{CallRef, Event, Flow, Local, Output, Transport};
use crate::message::Method;

/// What a clock tick means for a pending message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// It must be sent again.
    Resend,
    /// Nobody answered for 64·T1.
    Expired,
}

/// A message of ours that is sent again until it is answered.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) method: Method,
    pub(crate) cseq: u32,
    pub(crate) branch: String,
    pub(crate) bytes: Bytes,
    pub(crate) flow: Flow,
    interval: Duration,
    /// The interval doubles up to here.
    ceiling: Duration,
    resend_at: Option<Instant>,
    expires_at: Option<Instant>,
}

impl Pending {
    /// A request: timers A and B of an INVITE, E and F of any other (§17.1.1.2, §17.1.2.2).
    pub(crate) fn request(
        now: Instant,
        local: &Local,
        method: Method,
        cseq: u32,
        branch: String,
        bytes: Bytes,
        flow: Flow,
    ) -> Pending {
        let resends = local.retransmit && local.transport == Transport::Udp;
        let ceiling = if method == Method::Invite { T1 * 64 } else { T2 };
        Pending {
            method,
            cseq,
            branch,
            bytes,
            flow,
            interval: T1,
            ceiling,
            resend_at: resends.then(|| now + T1),
            expires_at: Some(now + T1 * 64),
        }
    }

    /// A final response to INVITE. A 2xx is sent again over any transport (§13.3.1.4); a refusal only over
    /// UDP (timer G); both for 64·T1 (timer H).
    pub(crate) fn response(
        now: Instant,
        local: &Local,
        status: u16,
        cseq: u32,
        bytes: Bytes,
        flow: Flow,
    ) -> Pending {
        let resends = local.retransmit && (status < 300 || local.transport == Transport::Udp);
        Pending {
            method: Method::Invite,
            cseq,
            branch: String::new(),
            bytes,
            flow,
            interval: T1,
            ceiling: T2,
            resend_at: resends.then(|| now + T1),
            expires_at: Some(now + T1 * 64),
        }
    }

    /// A provisional response came: an INVITE is not sent again and waits as long as it takes; any other
    /// request slows down to T2.
    pub(crate) fn provisional(&mut self) {
        if self.method == Method::Invite {
            (self.resend_at, self.expires_at) = (None, None);
        } else {
            self.interval = T2;
        }
    }

    /// What `now` means; on `Resend` the next one is already scheduled.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if self.expires_at.is_some_and(|at| at <= now) {
            (self.resend_at, self.expires_at) = (None, None);
            return Due::Expired;
        }
        match self.resend_at {
            Some(at) if at <= now => {
                self.interval = (self.interval * 2).min(self.ceiling);
                self.resend_at = Some(now + self.interval);
                Due::Resend
            }
            _ => Due::Nothing,
        }
    }

    /// The output that sends it (again).
    pub(crate) fn send(&self) -> Output {
        Output::Send { flow: self.flow, bytes: self.bytes.clone() }
    }

    /// When `due` has something to say.
    pub(crate) fn next(&self) -> Option<Instant> {
        earliest([self.resend_at, self.expires_at])
    }
}

/// Handles the timers of a pending message: queues what is sent again; says whether it expired.
pub(crate) fn tick(
    pending: &mut Option<Pending>,
    now: Instant,
    call: CallRef,
    out: &mut impl Extend<Output>,
) -> bool {
    let Some(message) = pending else { return false };
    match message.due(now) {
        Due::Nothing => false,
        Due::Resend => {
            out.extend([message.send(), Output::Event { call, event: Event::Retransmitted }]);
            false
        }
        Due::Expired => {
            *pending = None;
            true
        }
    }
}

/// The earliest of several deadlines.
pub(crate) fn earliest<const N: usize>(deadlines: [Option<Instant>; N]) -> Option<Instant> {
    deadlines.into_iter().flatten().min()
}

/// RFC 3261 §17.1.1.1: the round-trip estimate.
pub(crate) const T1: Duration = Duration::from_millis(500);
/// RFC 3261 §17.1.2.1: the longest interval between retransmissions.
pub(crate) const T2: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn pending(transport: Transport, method: Method) -> Pending {
        let address = "127.0.0.1:5070".parse().expect("literal");
        let local = Local::new(transport, address, 1, true);
        let flow = Flow::Datagram(address);
        Pending::request(at(0), &local, method, 1, "z9hG4bK1".into(), Bytes::new(), flow)
    }

    fn resends(pending: &mut Pending) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(next) = pending.next() {
            match pending.due(next) {
                Due::Resend => times.push(next.as_nanos() / 1_000_000),
                Due::Expired => times.push(0),
                Due::Nothing => panic!("a deadline that means nothing"),
            }
        }
        times
    }

    #[test]
    fn timer_a_doubles_until_timer_b_ends_it() {
        // RFC 3261 §17.1.1.2: 500 ms, then doubled each time; B after 32 s (a zero here).
        let expected = [500, 1500, 3500, 7500, 15_500, 31_500, 0];
        assert_eq!(resends(&mut pending(Transport::Udp, Method::Invite)), expected);
    }

    #[test]
    fn timer_e_doubles_up_to_t2() {
        // RFC 3261 §17.1.2.2: 500 ms, 1 s, 2 s, then 4 s each; F after 32 s.
        let expected = [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500, 0];
        assert_eq!(resends(&mut pending(Transport::Udp, Method::Bye)), expected);
    }

    #[test]
    fn nothing_is_sent_again_over_tcp_or_after_a_provisional_answer() {
        assert_eq!(resends(&mut pending(Transport::Tcp, Method::Invite)), [0]);
        let mut invite = pending(Transport::Udp, Method::Invite);
        invite.provisional();
        assert_eq!(invite.next(), None);
    }
}
