//! What must hold for any bytes taken as a stream of packets; for the fuzz target and the tests.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use env::{RelayEntry, RelayId, RelayKind, RelayRemote, RelaySide, SideConfig};
use machine::Instant;
use media::{Component, RelaySession, Verdict, is_rtcp, read_rtp};

/// Feeds packets that are cut from `bytes`: two bytes say side, component, source, time and length.
pub fn packets(bytes: &[u8]) {
    let side = |port, remote: [u8; 4], latch| SideConfig {
        local: SocketAddr::from(([198, 51, 100, 7], port)),
        remote: Some(RelayRemote {
            rtp: SocketAddr::from((remote, 4000)),
            rtcp: SocketAddr::from((remote, 4001)),
        }),
        latch,
        sends: true,
        receives: true,
        keys: None,
    };
    let latch = IpAddr::from([192, 0, 2, 3]);
    let entry = RelayEntry {
        kind: RelayKind::Rtp { clock_rate: 8000 },
        ingress: side(10_000, [192, 0, 2, 1], None),
        egress: side(10_002, [10, 0, 0, 5], Some(latch)),
        unleased: false,
        resumed: None,
        silence: Some(Duration::from_millis(100)),
    };
    let mut now = Instant::ZERO;
    let mut session = RelaySession::new(now, RelayId(1), entry);
    let mut rest = bytes;
    while let [how, length, more @ ..] = rest {
        let (packet, more) = more.split_at((*length as usize).min(more.len()));
        rest = more;
        now += Duration::from_millis(u64::from(how >> 4));
        let side = if how & 1 == 0 { RelaySide::Ingress } else { RelaySide::Egress };
        let component = if how & 2 == 0 { Component::Rtp } else { Component::Rtcp };
        let from = match how >> 2 & 3 {
            0 => SocketAddr::from(([192, 0, 2, 1], 4000)),
            1 => SocketAddr::from(([192, 0, 2, 3], 61_000)),
            2 => SocketAddr::from(([192, 0, 2, 3], 61_001)),
            _ => SocketAddr::from(([203, 0, 113, 66], 4000)),
        };
        session.handle_timeout(now);
        let mut buffer = packet.to_vec();
        let verdict = session.received(now, side, component, from, &mut buffer, packet.len());
        if let Verdict::Forward { to, .. } = verdict {
            // I-37, and nothing invalid passes.
            assert_ne!(from.ip(), IpAddr::from([203, 0, 113, 66]));
            match side {
                RelaySide::Egress => assert_eq!(to.ip(), IpAddr::from([192, 0, 2, 1])),
                RelaySide::Ingress => assert!([IpAddr::from([10, 0, 0, 5]), latch].contains(&to.ip())),
            }
            match component {
                Component::Rtp => assert!(read_rtp(packet).is_some()),
                Component::Rtcp => assert!(is_rtcp(packet)),
            }
        }
        while session.poll_event().is_some() {}
        let figures = session.figures();
        assert!(figures.ingress.relayed <= figures.ingress.packets);
        assert!(figures.ingress.mos_x100 <= 450 && figures.egress.mos_x100 <= 450);
    }
}
