//! Who has offered and not been answered (RFC 3264 §4, RFC 3261 §13.2.1, RFC 3311 §5, RFC 6337).

/// The kind of request whose exchange carries an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Invite,
    Update,
    Prack,
}

/// An offer without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    ours: bool,
    carrier: Carrier,
}

/// The one offer that may be pending in a dialog.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offer(Option<Pending>);

/// An INVITE in progress, and how far its offer and answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invite {
    pub(crate) cseq: u32,
    /// Whether the INVITE itself carried the offer; if not, its first reliable response does.
    pub(crate) offered: bool,
    /// Whether a reliable response has answered or offered: later descriptions in this transaction repeat.
    pub(crate) exchanged: bool,
}

impl Offer {
    /// An offer was sent (`ours`) or received.
    pub(crate) fn made(&mut self, ours: bool, carrier: Carrier) {
        self.0 = Some(Pending { ours, carrier });
    }

    /// The exchange that this kind of request carried is over: answered, or failed with the session as it was
    /// (RFC 3261 §14.1).
    pub(crate) fn settled(&mut self, carrier: Carrier) {
        if self.0.is_some_and(|p| p.carrier == carrier) {
            self.0 = None;
        }
    }

    /// Whether our offer waits for the peer's answer.
    pub(crate) fn ours(&self) -> bool {
        self.0.is_some_and(|p| p.ours)
    }

    /// Whether the peer's offer waits for our answer.
    pub(crate) fn theirs(&self) -> bool {
        self.0.is_some_and(|p| !p.ours)
    }

    /// Whether any offer is pending.
    pub(crate) fn is_pending(&self) -> bool {
        self.0.is_some()
    }

    /// A description in a reliable response to an INVITE; `sender_is_us`: we answered it.
    /// It answers the INVITE's offer, or makes one where the INVITE had none.
    pub(crate) fn in_invite_response(&mut self, invite: &mut Invite, sender_is_us: bool) {
        match (invite.offered, invite.exchanged) {
            (true, false) => self.settled(Carrier::Invite),
            (false, false) => self.made(sender_is_us, Carrier::Invite),
            (_, true) => {} // A 2xx may repeat what its reliable provisional said.
        }
        invite.exchanged = true;
    }

    /// A description in PRACK or ACK; `sender_is_us`: we sent it. Answers the response's offer, or is a new one.
    pub(crate) fn in_acknowledgement(&mut self, sender_is_us: bool, carrier: Carrier) {
        match self.0 {
            Some(pending) if pending.ours != sender_is_us => self.0 = None,
            None if carrier == Carrier::Prack => self.made(sender_is_us, carrier),
            _ => {} // An ACK makes no offer.
        }
    }
}
