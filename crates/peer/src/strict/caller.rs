//! The caller: an array of calls, each a few numbers and its BYE.

use std::collections::VecDeque;
use std::net::SocketAddr;

use hdrhistogram::Histogram;

use super::outbox::Outbox;
use super::report::{Quantiles, StrictReport};
use super::scan::{Name, angled, lines};
use super::{StrictArgs, nanos};
use crate::sdp::Audio;
use crate::writer::push_number;

/// The caller.
pub(super) struct Caller {
    pub(super) outbox: Outbox,
    /// How many calls are up.
    pub(super) up: u64,
    target: SocketAddr,
    template: Template,
    calls: Vec<Call>,
    /// When each call is due, as phases: first call, start, interval in nanoseconds.
    phases: Vec<(usize, f64, f64)>,
    planned: usize,
    placed: usize,
    start: Option<u64>,
    hold_ns: u64,
    /// Calls in the order of their answers, with the time of their BYE.
    held: VecDeque<(u64, usize)>,
    over: usize,
    late_max_ns: u64,
    progress: Histogram<u64>,
    answer: Histogram<u64>,
    bye: Histogram<u64>,
    report: StrictReport,
}

#[derive(Default)]
struct Call {
    state: State,
    progressed: bool,
    due_ns: u64,
    bye_ns: u64,
    /// The BYE, written when the answer came.
    goodbye: Box<[u8]>,
    ack: Box<[u8]>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Planned,
    Invited,
    Up,
    Ending,
    Good,
    Failed,
}

impl Caller {
    pub(super) fn new(args: &StrictArgs, run: u32) -> Caller {
        let (mut phases, mut planned, mut start) = (Vec::new(), 0, 0.0);
        for phase in &args.phases {
            phases.push((planned, start, 1e9 / phase.rate));
            planned += whole(phase.rate * phase.seconds);
            start += phase.seconds * 1e9;
        }
        // 1 µs to 100 s with three digits: constants that the histogram accepts.
        let histogram = || Histogram::new_with_bounds(1, 100_000_000, 3).expect("constant bounds");
        Caller {
            outbox: Outbox::default(),
            up: 0,
            target: args.target,
            template: Template::new(args, run),
            calls: std::iter::repeat_with(Call::default).take(planned).collect(),
            phases,
            planned,
            placed: 0,
            start: None,
            hold_ns: nanos(args.hold),
            held: VecDeque::new(),
            over: 0,
            late_max_ns: 0,
            progress: histogram(),
            answer: histogram(),
            bye: histogram(),
            report: StrictReport::default(),
        }
    }

    /// Whether every call has been placed.
    pub(super) fn is_placed(&self) -> bool {
        self.placed >= self.planned
    }

    /// Whether every call is over.
    pub(super) fn is_over(&self) -> bool {
        self.over >= self.planned
    }

    /// When something is due next.
    pub(super) fn next(&self) -> u64 {
        let invite = if self.is_placed() { u64::MAX } else { self.due(self.placed) };
        invite.min(self.held.front().map_or(u64::MAX, |(at, _)| *at))
    }

    /// Sends the INVITEs that are due; whether there were any.
    pub(super) fn place(&mut self, now: u64) -> bool {
        self.start.get_or_insert(now);
        let before = self.placed;
        while self.placed < self.planned && self.placed - before < BURST {
            let due = self.due(self.placed);
            if due > now {
                break;
            }
            self.late_max_ns = self.late_max_ns.max(now - due);
            self.template.invite(self.outbox.bytes(), self.placed);
            self.outbox.finish(self.target);
            if let Some(call) = self.calls.get_mut(self.placed) {
                (call.state, call.due_ns) = (State::Invited, due);
            }
            self.placed += 1;
        }
        self.placed > before
    }

    /// Sends the BYEs that are due; whether there were any.
    pub(super) fn hang_up(&mut self, now: u64) -> bool {
        let mut any = false;
        while let Some((_, index)) = self.held.pop_front_if(|(at, _)| *at <= now) {
            any = true;
            if let Some(call) = self.calls.get_mut(index).filter(|call| call.state == State::Up) {
                (call.state, call.bye_ns) = (State::Ending, now);
                self.outbox.bytes().extend_from_slice(&call.goodbye);
                self.outbox.finish(self.target);
                call.goodbye = Box::default();
            }
        }
        any
    }

    /// Takes a response.
    pub(super) fn receive(&mut self, now: u64, message: &[u8]) {
        let Some(status) = message.strip_prefix(b"SIP/2.0 ").and_then(|rest| rest.get(..3)).and_then(number)
        else {
            self.report.unexpected += u64::from(!message.is_empty());
            return;
        };
        let (mut index, mut invite) = (None, false);
        for line in lines(message) {
            match line.name {
                Name::CallId => index = self.template.index(line.value),
                Name::CSeq => invite = line.value.ends_with(b"INVITE"),
                _ => {}
            }
        }
        let Some(index) = index.filter(|index| *index < self.calls.len()) else {
            self.report.unexpected += 1;
            return;
        };
        match (invite, status) {
            (true, 100) => {}
            (true, 101..=199) => self.on_progress(now, index),
            (true, 200..=299) => self.on_answer(now, index, message),
            (true, _) => self.on_refusal(index, status, message),
            (false, _) => self.on_goodbye(now, index, status),
        }
    }

    /// The report.
    pub(super) fn report(mut self, now: u64) -> StrictReport {
        for call in &self.calls {
            match call.state {
                State::Invited => self.report.unanswered += 1,
                State::Up | State::Ending => self.report.unended += 1,
                State::Planned | State::Good | State::Failed => {}
            }
        }
        let report = &mut self.report;
        report.placed = self.placed as u64;
        report.pdd_us = Quantiles::of(&self.progress);
        report.answer_us = Quantiles::of(&self.answer);
        report.bye_us = Quantiles::of(&self.bye);
        report.late_us_max = self.late_max_ns / 1000;
        report.refused_by_kernel = self.outbox.refused;
        report.wall_s =
            std::time::Duration::from_nanos(now.saturating_sub(self.start.unwrap_or(now))).as_secs_f64();
        self.report
    }

    fn on_progress(&mut self, now: u64, index: usize) {
        let Some(call) = self.calls.get_mut(index) else { return };
        if !std::mem::replace(&mut call.progressed, true) {
            self.progress.saturating_record(micros(now, call.due_ns));
        }
    }

    fn on_answer(&mut self, now: u64, index: usize, message: &[u8]) {
        self.on_progress(now, index);
        let Some(call) = self.calls.get_mut(index) else { return };
        if call.state != State::Invited {
            // The node sends its 200 again: our ACK is on its way, or was lost.
            self.report.duplicates += 1;
            if !call.ack.is_empty() {
                self.outbox.bytes().extend_from_slice(&call.ack);
                self.outbox.finish(self.target);
            }
            return;
        }
        call.state = State::Up;
        self.answer.saturating_record(micros(now, call.due_ns));
        let start = self.outbox.bytes().len();
        self.template.inside(self.outbox.bytes(), index, "ACK", 1, message);
        call.ack = self.outbox.bytes().get(start..).unwrap_or_default().into();
        self.outbox.finish(self.target);
        let mut goodbye = Vec::with_capacity(call.ack.len());
        self.template.inside(&mut goodbye, index, "BYE", 2, message);
        call.goodbye = goodbye.into();
        self.held.push_back((now + self.hold_ns, index));
        self.up += 1;
        self.report.up_max = self.report.up_max.max(self.up);
    }

    fn on_refusal(&mut self, index: usize, status: u64, message: &[u8]) {
        self.template.refusal_ack(self.outbox.bytes(), index, message);
        self.outbox.finish(self.target);
        let Some(call) = self.calls.get_mut(index).filter(|call| call.state == State::Invited) else {
            self.report.duplicates += 1;
            return;
        };
        call.state = State::Failed;
        self.over += 1;
        *self.report.refused.entry(status).or_default() += 1;
    }

    fn on_goodbye(&mut self, now: u64, index: usize, status: u64) {
        let Some(call) = self.calls.get_mut(index).filter(|call| call.state == State::Ending) else {
            self.report.duplicates += 1;
            return;
        };
        if status < 200 {
            return;
        }
        self.up -= 1;
        self.over += 1;
        call.ack = Box::default();
        if status >= 300 {
            call.state = State::Failed;
            *self.report.refused.entry(status).or_default() += 1;
            return;
        }
        call.state = State::Good;
        self.bye.saturating_record(micros(now, call.bye_ns));
        self.report.good += 1;
        let second = usize::try_from((call.due_ns - self.start.unwrap_or(0)) / 1_000_000_000).unwrap_or(0);
        if self.report.good_by_second.len() <= second {
            self.report.good_by_second.resize(second + 1, 0);
        }
        if let Some(count) = self.report.good_by_second.get_mut(second) {
            *count += 1;
        }
    }

    fn due(&self, call: usize) -> u64 {
        let phase = self.phases.iter().rev().find(|(first, ..)| *first <= call);
        let (first, start, interval) = phase.copied().unwrap_or((0, 0.0, 0.0));
        // Runs are far shorter than the 2^53 ns that a float counts exactly.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let offset = (start + (call - first) as f64 * interval) as u64;
        self.start.unwrap_or(0) + offset
    }
}

/// The parts of our requests that are the same in every call.
struct Template {
    /// The INVITE with eight digits where the call's number goes, three times.
    invite: Vec<u8>,
    holes: Vec<usize>,
    uri: String,
    via: String,
    from: String,
    call_id: String,
    host: String,
}

impl Template {
    fn new(args: &StrictArgs, run: u32) -> Template {
        let (caller, target) = (args.caller, args.target);
        let stem = format!("st{run:08x}-");
        let uri = format!("sip:{}@{target}", args.to);
        let via = format!("SIP/2.0/UDP {caller};rport;branch=z9hG4bK{stem}");
        let from = format!("<sip:{}@{caller}>;tag={stem}", args.from);
        let host = format!("@{}", caller.ip());
        let sdp = Audio::ours(SocketAddr::new(caller.ip(), 6000)).write(1, 1);
        let mut invite = format!(
            "INVITE {uri} SIP/2.0\r\nVia: {via}{HOLE}i\r\nMax-Forwards: 70\r\nFrom: {from}{HOLE}\r\nTo: <{uri}>\r\n\
             Call-ID: {stem}{HOLE}{host}\r\nCSeq: 1 INVITE\r\nContact: <sip:{}@{caller}>\r\nAllow: INVITE, ACK, BYE, \
             CANCEL, OPTIONS\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
            args.from,
            sdp.len()
        )
        .into_bytes();
        invite.extend_from_slice(&sdp);
        let holes = invite.windows(HOLE.len()).enumerate();
        let holes = holes.filter(|(_, window)| *window == HOLE.as_bytes()).map(|(at, _)| at).collect();
        Template { invite, holes, uri, via, from, call_id: stem, host }
    }

    fn invite(&self, out: &mut Vec<u8>, index: usize) {
        let start = out.len();
        out.extend_from_slice(&self.invite);
        let digits = digits(index);
        for hole in &self.holes {
            if let Some(hole) = out.get_mut(start + hole..start + hole + HOLE.len()) {
                hole.copy_from_slice(&digits);
            }
        }
    }

    /// The call that one of our Call-IDs names.
    fn index(&self, call_id: &[u8]) -> Option<usize> {
        let rest = call_id.strip_prefix(self.call_id.as_bytes())?;
        usize::try_from(number(rest.get(..HOLE.len())?)?).ok()
    }

    /// An ACK or BYE inside the dialog that the 200 in `answer` made.
    fn inside(&self, out: &mut Vec<u8>, index: usize, method: &str, cseq: u64, answer: &[u8]) {
        let (mut to, mut target) = (&[][..], self.uri.as_bytes());
        let mut routes = Vec::new();
        for line in lines(answer) {
            match line.name {
                Name::To => to = line.value,
                Name::Contact => target = angled(line.value),
                Name::RecordRoute => routes.push(line.value),
                _ => {}
            }
        }
        self.request(out, index, (method, cseq, method.as_bytes()), target, to, &routes);
    }

    /// The ACK of a refusal: the INVITE's branch and Request-URI (RFC 3261 §17.1.1.3).
    fn refusal_ack(&self, out: &mut Vec<u8>, index: usize, refusal: &[u8]) {
        let to = lines(refusal).find(|line| line.name == Name::To).map_or(&[][..], |line| line.value);
        self.request(out, index, ("ACK", 1, b"i"), self.uri.as_bytes(), to, &[]);
    }

    fn request(
        &self,
        out: &mut Vec<u8>,
        index: usize,
        (method, cseq, branch): (&str, u64, &[u8]),
        target: &[u8],
        to: &[u8],
        routes: &[&[u8]],
    ) {
        let number = digits(index);
        let mut push = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        push(&[method.as_bytes(), b" ", target, b" SIP/2.0\r\nVia: ", self.via.as_bytes(), &number, branch]);
        push(&[b"\r\nMax-Forwards: 70\r\n"]);
        // The route set is the Record-Route in reverse (§12.1.2); lines with several are few, and kept whole.
        for route in routes.iter().rev() {
            push(&[b"Route: ", route, b"\r\n"]);
        }
        push(&[b"From: ", self.from.as_bytes(), &number, b"\r\nTo: ", to]);
        push(&[b"\r\nCall-ID: ", self.call_id.as_bytes(), &number, self.host.as_bytes(), b"\r\nCSeq: "]);
        push_number(out, cseq);
        out.push(b' ');
        out.extend_from_slice(method.as_bytes());
        out.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
    }
}

/// Eight decimal digits.
fn digits(index: usize) -> [u8; 8] {
    let (mut digits, mut rest) = (*b"00000000", index);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    digits
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number: u64, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

fn micros(now: u64, since: u64) -> u64 {
    (now.saturating_sub(since) / 1000).max(1)
}

/// A number of calls as a whole number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(calls: f64) -> usize {
    calls.round().max(0.0) as usize
}

/// Where the call's number goes; no other part of a template has this text.
const HOLE: &str = "########";
/// INVITEs that go out before messages are read again.
const BURST: usize = 64;
