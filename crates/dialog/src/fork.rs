//! One INVITE of ours, many dialogs: one for each To tag that answers (RFC 3261 §12.1.2, §13.2.2).

use machine::Instant;
use sip::{Message, Name};

use crate::{Answered, Dialog, InviteSent, PeerError, Settings, facts};

/// The dialogs of one INVITE of ours, in the order in which they appeared.
#[derive(Clone, Debug, Default)]
pub struct Forks {
    dialogs: Vec<Dialog>,
    winner: Option<usize>,
}

/// What a response meant among the forks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forked {
    /// The dialog that it belongs to, for [`Forks::get`].
    pub index: usize,
    /// Whether it opened that dialog.
    pub fresh: bool,
    /// Whether that dialog answered first: its 2xx is the call's answer. A 2xx of any other gets ACK and BYE.
    pub winner: bool,
    /// What the dialog made of it.
    pub answered: Answered,
}

impl Forks {
    /// The forks that a predecessor recorded.
    pub fn restore(dialogs: Vec<Dialog>) -> Forks {
        let winner = dialogs.iter().position(|d| d.state().confirmed);
        Forks { dialogs, winner }
    }

    /// Takes a 1xx above 100 or a 2xx to the INVITE. A 1xx without a To tag opens nothing (`PeerError::NoToTag`).
    pub fn receive(
        &mut self,
        now: Instant,
        invite: &InviteSent<'_>,
        response: &Message<'_>,
        has_sdp: bool,
        settings: Settings,
    ) -> Result<Forked, PeerError> {
        let tag = facts::tag(response, Name::To);
        let known = self.dialogs.iter().position(|d| d.state().remote_tag.as_bytes() == tag);
        let index = match known {
            Some(index) => index,
            None if self.dialogs.len() >= FORKS_MAX => return Err(PeerError::Unexpected),
            None => {
                self.dialogs.push(Dialog::from_response(invite, response, settings)?);
                self.dialogs.len() - 1
            }
        };
        let dialog = self.dialogs.get_mut(index).ok_or(PeerError::Unexpected)?;
        let answered = dialog.receive_response(now, response, has_sdp, 0)?;
        if dialog.state().confirmed && self.winner.is_none() {
            self.winner = Some(index);
        }
        Ok(Forked { index, fresh: known.is_none(), winner: self.winner == Some(index), answered })
    }

    /// A dialog by its number.
    pub fn get(&self, index: usize) -> Option<&Dialog> {
        self.dialogs.get(index)
    }

    /// A dialog by its number, to be changed.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Dialog> {
        self.dialogs.get_mut(index)
    }

    /// The dialog that answered first.
    pub fn winner(&self) -> Option<&Dialog> {
        self.winner.and_then(|index| self.dialogs.get(index))
    }

    /// Takes the dialog that answered first out of the others, which it leaves behind.
    pub fn take_winner(&mut self) -> Option<Dialog> {
        let index = self.winner.take()?;
        Some(self.dialogs.remove(index))
    }

    /// All dialogs, in the order in which they appeared.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Dialog> {
        self.dialogs.iter_mut()
    }
}

/// More branches than any carrier rings; a peer that invents tags must not cost memory without end.
const FORKS_MAX: usize = 16;
