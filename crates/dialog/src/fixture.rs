//! Peers and messages for tests: alice calls us (`uas`), or we call bob (`uac`).

use std::time::Duration;

use machine::Instant;
use sip::{Framing, Message};

use crate::{
    Answered, Dialog, InviteSent, LocalCseq, Output, PeerError, Received, Reject, SessionPolicy, Settings,
};

/// `s` seconds after the start.
pub(crate) fn at(s: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(s)
}

/// Reads a message of the test's own.
pub(crate) fn parse(text: &str) -> Message<'_> {
    Message::parse(text.as_bytes(), Framing::Datagram).expect("the test's message is well formed")
}

/// Alice's INVITE with CSeq 7; `extra`: header lines, each with its CRLF.
pub(crate) fn invite(extra: &str) -> String {
    format!(
        "INVITE sip:bob@us.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bKi\r\n\
         From: \"Alice\" <sip:alice@a.example>;tag=a1\r\nTo: Bob <sip:bob@us.example>\r\nCall-ID: c1@a\r\n\
         CSeq: 7 INVITE\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

/// An early dialog that alice opened with an offer; `extra`: more header lines of her INVITE.
pub(crate) fn uas_early(extra: &str, settings: Settings) -> Dialog {
    let text = invite(&format!("Contact: <sip:alice@192.0.2.1:5070>\r\n{extra}"));
    Dialog::from_invite(&parse(&text), "b1", 1, true, settings).expect("a dialog")
}

/// A dialog that alice opened, we answered at 0 and she acknowledged.
pub(crate) fn uas(extra: &str) -> Dialog {
    let mut dialog = uas_early(extra, Settings::default());
    dialog.responded(at(0), sip::Method::Invite, 200, true);
    assert_eq!(ask(&mut dialog, "ACK", 7, "", false), Ok(Received::Ack { awaited: true }));
    dialog
}

/// The INVITE that we sent to bob, with CSeq 10 and an offer.
pub(crate) fn sent(settings: &Settings) -> InviteSent<'static> {
    InviteSent {
        call_id: "c2@us",
        local_tag: "u1",
        local: "<sip:us@us.example>",
        remote: "<sip:bob@b.example>",
        request_uri: "sip:bob@b.example",
        cseq: 10,
        numbers: LocalCseq::starting_at(11),
        secure: false,
        offered: true,
        session: settings.session.request(),
    }
}

/// A response of bob to a request of ours in that dialog, under `tag`.
pub(crate) fn response(status: u16, tag: &str, method: &str, cseq: u32, extra: &str) -> String {
    let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    format!(
        "SIP/2.0 {status} x\r\nVia: SIP/2.0/UDP us.example;branch=z9hG4bKo\r\nFrom: <sip:us@us.example>;tag=u1\r\n\
         To: <sip:bob@b.example>{tag}\r\nCall-ID: c2@us\r\nCSeq: {cseq} {method}\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

/// A dialog with bob that his response opened, with or without a session description.
pub(crate) fn uac_by(status: u16, extra: &str, has_sdp: bool, settings: Settings) -> Dialog {
    let text = response(status, "b9", "INVITE", 10, &format!("Contact: <sip:bob@192.0.2.9>\r\n{extra}"));
    let message = parse(&text);
    let mut dialog = Dialog::from_response(&sent(&settings), &message, settings).expect("a dialog");
    dialog.receive_response(at(0), &message, has_sdp, 0).expect("its own response");
    dialog
}

/// A dialog with bob that his 200 opened at 0.
pub(crate) fn uac(extra: &str) -> Dialog {
    uac_by(200, extra, true, Settings::default())
}

/// The peer sends a request in the dialog.
pub(crate) fn ask(
    dialog: &mut Dialog,
    method: &str,
    cseq: u32,
    extra: &str,
    has_sdp: bool,
) -> Result<Received, Reject> {
    let state = dialog.state();
    let text = format!(
        "{method} sip:us@us.example SIP/2.0\r\nVia: SIP/2.0/UDP p.example;branch=z9hG4bK{cseq}\r\n\
         From: {};tag={}\r\nTo: {};tag={}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{extra}Content-Length: 0\r\n\r\n",
        state.remote, state.remote_tag, state.local, state.local_tag, state.call_id
    );
    dialog.receive_request(&parse(&text), has_sdp, CHANCE)
}

/// The peer answers a request of ours in the dialog.
pub(crate) fn answer(
    dialog: &mut Dialog,
    now: Instant,
    status: u16,
    method: &str,
    cseq: u32,
    extra: &str,
) -> Result<Answered, PeerError> {
    let state = dialog.state();
    let text = format!(
        "SIP/2.0 {status} x\r\nVia: SIP/2.0/UDP us.example;branch=z9hG4bK{cseq}\r\nFrom: {};tag={}\r\n\
         To: {};tag={}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{extra}Content-Length: 0\r\n\r\n",
        state.local, state.local_tag, state.remote, state.remote_tag, state.call_id
    );
    let has_sdp = matches!(method, "INVITE" | "UPDATE") && (200..300).contains(&status);
    dialog.receive_response(now, &parse(&text), has_sdp, CHANCE)
}

/// Fires timers, each when it asked for it, up to `until`; gives every output with its time in milliseconds.
pub(crate) fn run(dialog: &mut Dialog, until: Instant) -> Vec<(u64, Output)> {
    let mut ladder = Vec::new();
    while let Some(next) = dialog.poll_timeout().filter(|t| *t <= until) {
        dialog.handle_timeout(next);
        while let Some(output) = dialog.poll_output() {
            ladder.push((next.as_nanos() / 1_000_000, output));
        }
    }
    ladder
}

/// Settings with this session policy.
pub(crate) fn session(policy: SessionPolicy) -> Settings {
    Settings { session: policy, ..Settings::default() }
}

/// Draws a Retry-After of 14 mod 11 = 3 s.
pub(crate) const CHANCE: u64 = 14;
