//! Any course of events against one dialog: no panic, numbers that rise, timers that end (property tests).

use machine::Instant;
use proptest::prelude::*;
use sip::Method;

use crate::fixture::*;
use crate::{Dialog, Output, Received, Settings};

#[derive(Clone, Debug)]
enum Step {
    Ask { method: &'static str, cseq: u32, extra: &'static str, has_sdp: bool },
    Respond { method: &'static str, status: u16, has_sdp: bool },
    Send { method: &'static str, has_sdp: bool },
    Answer { status: u16, extra: &'static str },
    Provisional { chance: u64, has_sdp: bool },
    Fail { status: u16 },
    GiveUpAck,
    Wait { seconds: u64 },
    Die { left_s: Option<u64> },
}

const METHODS: [&str; 7] = ["INVITE", "UPDATE", "PRACK", "ACK", "BYE", "INFO", "CANCEL"];

const EXTRAS: [&str; 8] = [
    "",
    "Contact: <sip:m@192.0.2.33>\r\n",
    "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n",
    "Session-Expires: 1800;refresher=uas\r\nAllow: UPDATE\r\n",
    "Session-Expires: 1\r\nMin-SE: 4294967295\r\nSupported: timer\r\n",
    "Require: 100rel\r\nRSeq: 1\r\nRAck: 1 7 INVITE\r\n",
    "RAck: 4294967295 4294967295 INVITE\r\nRSeq: 4294967295\r\nRequire: 100rel\r\n",
    "Session-Expires: nonsense\r\nContact: *\r\nRSeq: x\r\nRAck: x\r\n",
];

fn any_step() -> impl Strategy<Value = Step> {
    let method = || proptest::sample::select(&METHODS[..]);
    let extra = || proptest::sample::select(&EXTRAS[..]);
    let status =
        || proptest::sample::select(vec![100u16, 183, 200, 202, 302, 408, 422, 481, 488, 491, 500, 501]);
    prop_oneof![
        4 => (method(), 0u32..40, extra(), any::<bool>())
            .prop_map(|(method, cseq, extra, has_sdp)| Step::Ask { method, cseq, extra, has_sdp }),
        3 => (method(), status(), any::<bool>())
            .prop_map(|(method, status, has_sdp)| Step::Respond { method, status, has_sdp }),
        3 => (method(), any::<bool>()).prop_map(|(method, has_sdp)| Step::Send { method, has_sdp }),
        3 => (status(), extra()).prop_map(|(status, extra)| Step::Answer { status, extra }),
        1 => (any::<u64>(), any::<bool>())
            .prop_map(|(chance, has_sdp)| Step::Provisional { chance, has_sdp }),
        1 => proptest::sample::select(vec![408u16, 503]).prop_map(|status| Step::Fail { status }),
        1 => Just(Step::GiveUpAck),
        2 => (0u64..2000).prop_map(|seconds| Step::Wait { seconds }),
        1 => proptest::option::of(0u64..4000).prop_map(|left_s| Step::Die { left_s }),
    ]
}

/// One dialog, what it sent last, and the numbers that must rise.
struct Course {
    dialog: Dialog,
    now: Instant,
    last_sent: (&'static str, u32),
    numbers: Vec<u32>,
}

impl Course {
    fn step(&mut self, step: &Step) {
        let before = self.dialog.state().remote_cseq;
        match *step {
            Step::Ask { method, cseq, extra, has_sdp } => {
                if let Ok(Received::Bye) = ask(&mut self.dialog, method, cseq, extra, has_sdp) {
                    assert!(self.dialog.is_ended());
                }
            }
            Step::Respond { method, status, has_sdp } => {
                self.dialog.responded(self.now, Method::from_bytes(method.as_bytes()), status, has_sdp);
            }
            Step::Send { method, has_sdp } => self.send(method, has_sdp),
            Step::Answer { status, extra } => {
                let (method, cseq) = self.last_sent;
                let _ = answer(&mut self.dialog, self.now, status, method, cseq, extra);
            }
            Step::Provisional { chance, has_sdp } => {
                if self.dialog.next_rseq(chance).is_ok() {
                    self.dialog.send_provisional(self.now, bytes::Bytes::from_static(b"183"), has_sdp);
                }
            }
            Step::Fail { status } => {
                let method = Method::from_bytes(self.last_sent.0.as_bytes());
                self.dialog.request_failed(self.now, method, status);
            }
            Step::GiveUpAck => self.dialog.ack_timed_out(),
            Step::Wait { seconds } => {
                let until = self.now + std::time::Duration::from_secs(seconds);
                run(&mut self.dialog, until);
                self.now = until;
            }
            Step::Die { left_s } => {
                let left = left_s.map(std::time::Duration::from_secs);
                let ended = self.dialog.is_ended();
                let state = self.dialog.state().clone();
                self.dialog = Dialog::restore(self.now, state, Settings::default(), left);
                if ended {
                    self.dialog.end(); // A call that ended is not restored.
                }
            }
        }
        assert!(self.dialog.state().remote_cseq >= before, "the peer's order never goes back");
        if self.dialog.is_ended() {
            assert_eq!((self.dialog.poll_timeout(), self.dialog.session_ends()), (None, None));
        }
    }

    fn send(&mut self, method: &'static str, has_sdp: bool) {
        let token = Method::from_bytes(method.as_bytes());
        if self.dialog.may_send(token, has_sdp).is_err() {
            return;
        }
        let cseq = match self.dialog.take_cseq() {
            Ok(cseq) => cseq,
            Err(needs) => {
                self.dialog.reserve_cseq(needs.reserved_to);
                self.dialog.take_cseq().expect("it was just reserved")
            }
        };
        self.numbers.push(cseq);
        self.dialog.sent_request(token, cseq, has_sdp);
        self.last_sent = (method, cseq);
    }
}

proptest! {
    #[test]
    fn any_course_is_survived_and_ends_by_timer(
        caller: bool,
        early: bool,
        steps in proptest::collection::vec(any_step(), 0..40),
    ) {
        let settings = Settings::default();
        let (dialog, last_sent) = match (caller, early) {
            (true, true) => (uac_by(180, "", false, settings), ("INVITE", 10)),
            (true, false) => (uac("Session-Expires: 1800;refresher=uac\r\n"), ("INVITE", 10)),
            (false, true) => (uas_early("Supported: timer\r\n", settings), ("INFO", 1)),
            (false, false) => (uas("Supported: timer\r\n"), ("INFO", 1)),
        };
        let mut course = Course { dialog, now: at(0), last_sent, numbers: Vec::new() };
        for step in &steps {
            course.step(step);
        }
        prop_assert!(course.numbers.is_sorted_by(|a, b| a < b), "{:?}", course.numbers);
        // Left alone, the dialog falls silent, and a session that ran says that it ended.
        let runs = course.dialog.session_ends().is_some();
        let ladder = run(&mut course.dialog, Instant::from_nanos(u64::MAX));
        prop_assert!(ladder.len() < 40, "{ladder:?}");
        prop_assert_eq!(course.dialog.poll_timeout(), None);
        prop_assert_eq!(runs, ladder.iter().any(|(_, o)| *o == Output::SessionExpired));
    }
}
