//! What must hold for any bytes taken as a session description; for the fuzz target and the tests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sdp::{
    Anchor, AnswerError, BODY_MAX, CodecList, Codecs, LINE_MAX, Media, Origin, Rewrite, RewriteError,
    Session, check_answer, first_codec,
};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

/// Reads a body in every way; what can be read can be written, and read again.
pub fn session(body: &[u8]) {
    let _ = first_codec(body);
    let Ok(session) = Session::parse(body) else { return };
    for media in session.media() {
        let _ = (media.direction(), media.ptime_ms(), media.codec(), media.check_relayable());
        assert_eq!(media.codecs().count(), media.payloads().count());
        assert!(media.endpoint().is_none_or(|endpoint| endpoint.rtp.port() == media.port()));
    }
    assert!(session.repeats(&session));
    unchanged(&session);
    // A body at our limits may grow beyond them.
    let longest = body.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap_or(0);
    if body.len() < BODY_MAX / 2 && longest < LINE_MAX / 2 {
        anchored(&session);
        filtered(&session);
    }
}

/// Nothing to change: nothing changes, but for empty lines at the end.
fn unchanged(session: &Session<'_>) {
    let same = session.rewritten(&Rewrite::default()).expect("nothing can fail");
    let rest = session.body().strip_prefix(same.as_slice()).expect("the same bytes");
    assert!(rest.iter().all(|byte| matches!(byte, b'\r' | b'\n')));
}

/// Anchored, every stream that exists is ours, and the streams are the same.
fn anchored(session: &Session<'_>) {
    let ports: Vec<u16> = (0..16).map(|i| 40_000 + 2 * i).collect();
    let origin = Origin { id: 1, version: 2, address: OURS };
    let written = session.anchored(&Anchor { address: OURS, ports: &ports }, origin).expect("ports enough");
    let again = Session::parse(&written).expect("what we write can be read");
    assert_eq!((again.origin().id, again.origin().version), (&b"1"[..], &b"2"[..]));
    assert_eq!(again.media().len(), session.media().len());
    for ((ours, theirs), port) in again.media().iter().zip(session.media()).zip(&ports) {
        assert_eq!((ours.kind(), ours.transport()), (theirs.kind(), theirs.transport()));
        assert!(ours.codecs().eq(theirs.codecs()));
        if theirs.is_active() {
            let endpoint = ours.endpoint().expect("our address");
            assert_eq!(endpoint.rtp, SocketAddr::new(OURS, *port));
            assert_eq!(endpoint.rtcp, SocketAddr::new(OURS, *port + 1));
        }
    }
}

/// With fewer codecs it still answers the offer it came from.
fn filtered(session: &Session<'_>) {
    let list = CodecList::new(["PCMA", "PCMU"]);
    match session.rewritten(&Rewrite { codecs: Codecs::Prefer(&list), ..Rewrite::default() }) {
        Ok(written) => {
            let fewer = Session::parse(&written).expect("what we write can be read");
            let answered = check_answer(session, &fewer);
            // One that is to be secured and has no key that we can use is answered by nobody.
            let is_keyless = |media: &Media<'_>| media.is_sdes() && media.cryptos().next().is_none();
            let keyless = session.media().iter().any(is_keyless);
            let is_right =
                answered == Ok(()) || (keyless && matches!(answered, Err(AnswerError::Crypto { .. })));
            assert!(is_right, "{answered:?}");
        }
        Err(RewriteError::NoCommonCodec) => {}
        Err(error) => unreachable!("no port was asked for: {error}"),
    }
}
