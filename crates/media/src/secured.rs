//! One side of a relayed stream, as far as it is secured.

use env::{RelaySide, SideKeys, SrtpMark};

use crate::packet::RtpHeader;
use crate::srtp::{Receiver, Refused, Sender, Unsent};

/// What opens a side's packets, and what secures those for it. In a side without keys everything passes as it is.
#[derive(Debug)]
pub(crate) struct Secured {
    keys: Option<SideKeys>,
    receiver: Option<Box<Receiver>>,
    /// Every key under which something was sent: one that comes back goes on counting where it was.
    senders: Vec<Sender>,
    /// What a life before this one recorded of this side.
    recorded: Option<Vec<SrtpMark>>,
}

impl Secured {
    /// `recorded`: the marks of a life before this one, of both sides.
    pub fn new(side: RelaySide, recorded: Option<&[(RelaySide, SrtpMark)]>) -> Secured {
        let of_side = |marks: &[(RelaySide, SrtpMark)]| {
            marks.iter().filter(|(at, _)| *at == side).map(|(_, mark)| *mark).collect()
        };
        Secured { keys: None, receiver: None, senders: Vec::new(), recorded: recorded.map(of_side) }
    }

    /// Whether anything was ever secured.
    pub fn has_begun(&self) -> bool {
        self.receiver.is_some() || !self.senders.is_empty()
    }

    /// Takes what was signalled. The same key goes on where it was (RFC 4568 §7.1.4).
    pub fn update(&mut self, keys: Option<SideKeys>) {
        self.keys = keys;
        let Some(keys) = keys else { return };
        if let Some(key) = keys.receive
            && self.receiver.as_ref().is_none_or(|receiver| *receiver.key() != key)
        {
            let recorded = self.recorded.clone().unwrap_or_default();
            self.receiver = Some(Box::new(Receiver::new(key, recorded)));
        }
        let Some(key) = keys.send else { return };
        match self.senders.iter().position(|sender| *sender.key() == key) {
            Some(known) => self.senders.swap(0, known),
            None => {
                self.senders.truncate(KEYS_MAX - 1);
                self.senders.insert(0, Sender::new(key, self.recorded.clone()));
            }
        }
    }

    /// Opens a packet of this side in place (RTCP has no `header` here); gives how long it is then, and what is to be
    /// recorded.
    pub fn open(
        &mut self,
        bytes: &mut [u8],
        header: Option<&RtpHeader>,
    ) -> Result<(usize, Option<SrtpMark>), Refused> {
        let Some(keys) = self.keys else { return Ok((bytes.len(), None)) };
        let receiver = self.receiver.as_mut().filter(|_| keys.receive.is_some()).ok_or(Refused::Forged)?;
        match header {
            Some(header) => receiver.open_rtp(bytes, header),
            None => receiver.open_rtcp(bytes).map(|length| (length, None)),
        }
    }

    /// Secures the packet in the first `length` octets for this side; gives how long it is then.
    pub fn seal(
        &mut self,
        buffer: &mut [u8],
        length: usize,
        header: Option<&RtpHeader>,
    ) -> Result<usize, Unsent> {
        let Some(keys) = self.keys else { return Ok(length) };
        let sender = self.senders.first_mut().filter(|_| keys.send.is_some()).ok_or(Unsent::Malformed)?;
        match header {
            Some(header) => sender.seal_rtp(buffer, length, header),
            None => sender.seal_rtcp(buffer, length),
        }
    }

    /// A mark is recorded.
    pub fn recorded(&mut self, mark: SrtpMark) {
        self.senders.iter_mut().for_each(|sender| sender.recorded(mark));
    }

    /// What has to be recorded before packets for this side go on.
    pub fn poll_wanted(&mut self) -> Option<SrtpMark> {
        self.senders.first_mut()?.poll_wanted()
    }
}

/// One for each suite, and some for attempts that failed.
const KEYS_MAX: usize = 8;
