//! Both ends of a stream: what one secures, the other opens.

use env::{SrtpCount, SrtpKey, SrtpMark, SrtpSuite};

use super::{GROWTH_MAX, Receiver, Refused, Sender, Unsent};
use crate::packet::read_rtp;

const SSRC: u32 = 7;

fn key(suite: SrtpSuite) -> SrtpKey {
    let bytes: Vec<u8> = (0..(suite.key_length() + suite.salt_length()) as u8).collect();
    SrtpKey::new(suite, &bytes).expect("the suite's length")
}

fn clear(sequence: u16) -> Vec<u8> {
    let [s0, s1] = sequence.to_be_bytes();
    [&[0x80, 8, s0, s1, 0, 0, 0, 160, 0, 0, 0, 7][..], b"speech"].concat()
}

/// One packet, secured.
fn seal(sender: &mut Sender, sequence: u16) -> Result<Vec<u8>, Unsent> {
    let mut buffer = clear(sequence);
    let length = buffer.len();
    let header = read_rtp(&buffer).expect("RTP");
    buffer.resize(length + GROWTH_MAX, 0);
    let length = sender.seal_rtp(&mut buffer, length, &header)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// The packet, opened; whether it is what was sent; and the mark that it asks for.
fn open(receiver: &mut Receiver, secured: &[u8]) -> Result<Option<SrtpMark>, Refused> {
    let mut buffer = secured.to_vec();
    let header = read_rtp(&buffer).expect("its header is in the clear");
    let (length, mark) = receiver.open_rtp(&mut buffer, &header)?;
    assert_eq!(buffer[..length], clear(header.sequence));
    Ok(mark)
}

fn sent(value: u32) -> SrtpMark {
    SrtpMark { count: SrtpCount::Sent(SSRC), value }
}

fn heard(value: u32) -> SrtpMark {
    SrtpMark { count: SrtpCount::Heard(SSRC), value }
}

#[test]
fn a_stream_goes_on_over_the_wrap_once_that_is_recorded() {
    for suite in SrtpSuite::ALL {
        let (mut sender, mut receiver) =
            (Sender::new(key(suite), None), Receiver::new(key(suite), Vec::new()));
        for sequence in [0xEFFE, 0xEFFF] {
            assert_eq!(open(&mut receiver, &seal(&mut sender, sequence).expect("sent")), Ok(None));
            assert_eq!(sender.poll_wanted(), None);
        }
        // From 0xF000 on, half-round 2, which begins with the wrap, is asked for.
        let secured = seal(&mut sender, 0xF000).expect("sent");
        assert_eq!(sender.poll_wanted(), Some(sent(2)));
        assert_eq!(open(&mut receiver, &secured), Ok(Some(heard(2))));
        assert_eq!(open(&mut receiver, &seal(&mut sender, 0xFFFF).expect("sent")), Ok(None));
        // Not recorded: nothing goes on, and it is asked for again.
        assert_eq!(seal(&mut sender, 0), Err(Unsent::Unrecorded(2)));
        assert_eq!(sender.poll_wanted(), Some(sent(2)));
        sender.recorded(sent(2));
        for sequence in [0, 1, 0xFFFE, 2] {
            assert_eq!(open(&mut receiver, &seal(&mut sender, sequence).expect("sent")), Ok(None));
        }
        assert_eq!(sender.poll_wanted(), None);
    }
}

#[test]
fn a_successor_goes_on_in_the_round_that_is_recorded() {
    let suite = SrtpSuite::AesCm80;
    let mut receiver = Receiver::new(key(suite), Vec::new());
    let mut first = Sender::new(key(suite), None);
    assert_eq!(open(&mut receiver, &seal(&mut first, 0xFFF0).expect("sent")), Ok(None));
    assert_eq!(first.poll_wanted(), Some(sent(2)));
    // Died before the wrap: its successor sees the last packets before it, then the wrap.
    let mut second = Sender::new(key(suite), Some(vec![sent(2)]));
    for sequence in [0xFFFF, 0, 1] {
        assert!(open(&mut receiver, &seal(&mut second, sequence).expect("sent")).is_ok(), "{sequence}");
    }
    // Died behind it.
    let mut third = Sender::new(key(suite), Some(vec![sent(2)]));
    assert_eq!(open(&mut receiver, &seal(&mut third, 2).expect("sent")), Ok(None));
    // The twin, of whom nothing was recorded: the peer hears nothing from it.
    let mut forgetful = Sender::new(key(suite), Some(Vec::new()));
    let secured = seal(&mut forgetful, 3).expect("sent");
    assert_eq!(open(&mut receiver, &secured), Err(Refused::Forged));
}

#[test]
fn a_successor_hears_a_peer_in_the_round_that_is_recorded_or_the_next() {
    for suite in SrtpSuite::ALL {
        let mut peer = Sender::new(key(suite), Some(vec![sent(4)]));
        let secured = seal(&mut peer, 9).expect("sent"); // in round 2
        for (recorded, expected) in [(4, Ok(None)), (2, Ok(None)), (1, Err(Refused::Forged))] {
            let mut receiver = Receiver::new(key(suite), vec![heard(recorded)]);
            assert_eq!(open(&mut receiver, &secured), expected, "{recorded}");
            let next = seal(&mut Sender::new(key(suite), Some(vec![sent(4)])), 10).expect("sent");
            assert_eq!(open(&mut receiver, &next), expected, "{recorded}");
        }
    }
}

#[test]
fn what_came_before_or_is_forged_is_refused_and_the_stream_goes_on() {
    for suite in SrtpSuite::ALL {
        let (mut sender, mut receiver) =
            (Sender::new(key(suite), None), Receiver::new(key(suite), Vec::new()));
        let packets: Vec<_> = (1..=4).map(|sequence| seal(&mut sender, sequence).expect("sent")).collect();
        assert_eq!(open(&mut receiver, &packets[1]), Ok(None));
        assert_eq!(open(&mut receiver, &packets[1]), Err(Refused::Replayed));
        for at in 12..packets[2].len() {
            let mut forged = packets[2].clone();
            forged[at] ^= 0x10;
            assert_eq!(open(&mut receiver, &forged), Err(Refused::Forged), "{suite:?} at {at}");
        }
        for short in 12..packets[2].len() {
            assert_eq!(open(&mut receiver, &packets[2][..short]), Err(Refused::Forged));
        }
        assert_eq!(open(&mut receiver, &packets[2]), Ok(None));
        assert_eq!(open(&mut receiver, &packets[3]), Ok(None));
    }
}

#[test]
fn no_index_is_secured_twice() {
    let mut sender = Sender::new(key(SrtpSuite::AesGcm128), None);
    assert!(
        seal(&mut sender, 100).is_ok() && seal(&mut sender, 102).is_ok() && seal(&mut sender, 101).is_ok()
    );
    for sequence in [100, 101, 102, 38] {
        assert_eq!(seal(&mut sender, sequence), Err(Unsent::Repeated));
    }
}

const RECEIVER_REPORT: [u8; 12] = [0x80, 201, 0, 2, 0, 0, 0, 7, 1, 2, 3, 4];

#[test]
fn control_is_numbered_by_itself_and_a_successor_skips_a_block() {
    for suite in SrtpSuite::ALL {
        let (mut sender, mut receiver) =
            (Sender::new(key(suite), None), Receiver::new(key(suite), Vec::new()));
        let report = |sender: &mut Sender| {
            let mut buffer = RECEIVER_REPORT.to_vec();
            buffer.resize(RECEIVER_REPORT.len() + GROWTH_MAX, 0);
            let length = sender.seal_rtcp(&mut buffer, RECEIVER_REPORT.len())?;
            buffer.truncate(length);
            Ok(buffer)
        };
        let secured = report(&mut sender).expect("sent");
        let mut opened = secured.clone();
        assert_eq!(receiver.open_rtcp(&mut opened), Ok(RECEIVER_REPORT.len()));
        assert_eq!(opened[..RECEIVER_REPORT.len()], RECEIVER_REPORT);
        assert_eq!(receiver.open_rtcp(&mut secured.clone()), Err(Refused::Replayed));
        for at in 0..secured.len() {
            let mut forged = report(&mut sender).expect("sent");
            forged[at] ^= 1;
            assert!(receiver.open_rtcp(&mut forged).is_err(), "{suite:?} at {at}");
        }
        // A successor does not know how far its predecessor came within the block.
        let mut successor = Sender::new(key(suite), Some(Vec::new()));
        assert_eq!(report(&mut successor), Err(Unsent::Unrecorded(1)));
        let block = SrtpMark { count: SrtpCount::Control, value: 1 };
        assert_eq!(successor.poll_wanted(), Some(block));
        successor.recorded(block);
        let mut secured = report(&mut successor).expect("sent");
        assert_eq!(receiver.open_rtcp(&mut secured), Ok(RECEIVER_REPORT.len()));
    }
}
