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

#[cfg(test)]
mod tests {
    use sip::Method;

    use super::*;
    use crate::fixture::*;
    use crate::{NotNow, ReliableOrder};

    fn hear(forks: &mut Forks, status: u16, tag: &str, extra: &str) -> Result<Forked, PeerError> {
        let settings = Settings::default();
        let text = response(status, tag, "INVITE", 10, extra);
        forks.receive(at(1), &sent(&settings), &parse(&text), status >= 183, settings)
    }

    #[test]
    fn each_to_tag_is_a_dialog_of_its_own_and_the_first_2xx_wins() {
        // RFC 3261 §12.1.2, §13.2.2.4; I-15: the loser is acknowledged and ended.
        let mut forks = Forks::default();
        let ringing = Answered::Provisional { reliable: None };
        let on = |index, fresh, winner, answered| Ok(Forked { index, fresh, winner, answered });
        assert_eq!(hear(&mut forks, 180, "x", ""), on(0, true, false, ringing));
        assert_eq!(hear(&mut forks, 180, "y", ""), on(1, true, false, ringing));
        assert_eq!(hear(&mut forks, 180, "x", ""), on(0, false, false, ringing));
        assert!(forks.winner().is_none());
        assert_eq!(hear(&mut forks, 200, "y", ""), on(1, false, true, Answered::Success));
        assert_eq!(hear(&mut forks, 200, "y", ""), on(1, false, true, Answered::Repeated));
        assert_eq!(hear(&mut forks, 200, "z", ""), on(2, true, false, Answered::Success));
        let loser = forks.get_mut(2).expect("the loser");
        assert_eq!(loser.take_cseq(), Ok(11));
        assert_eq!(loser.may_send(Method::Bye, false), Ok(()));
        let winner = forks.take_winner().expect("the winner");
        assert_eq!(&*winner.state().remote_tag, "y");
        assert!(forks.take_winner().is_none());
    }

    #[test]
    fn each_early_dialog_orders_its_own_provisionals() {
        // RFC 3262 §4.
        let mut forks = Forks::default();
        let reliable = |rseq| format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
        let next = |rseq| Ok(Answered::Provisional { reliable: Some(ReliableOrder::Next { rseq }) });
        assert_eq!(hear(&mut forks, 183, "x", &reliable(1)).map(|f| f.answered), next(1));
        assert_eq!(hear(&mut forks, 183, "y", &reliable(500)).map(|f| f.answered), next(500));
        assert_eq!(hear(&mut forks, 183, "x", &reliable(2)).map(|f| f.answered), next(2));
    }

    #[test]
    fn a_provisional_without_a_tag_opens_nothing() {
        let mut forks = Forks::default();
        assert_eq!(hear(&mut forks, 180, "", ""), Err(PeerError::NoToTag));
        assert!(forks.get(0).is_none());
        // A 2xx without one comes from a peer of RFC 2543, and answers the call (RFC 3261 §12.1.2).
        assert!(hear(&mut forks, 200, "", "").expect("an answer").winner);
    }

    #[test]
    fn a_peer_that_invents_tags_is_stopped() {
        // I-40.
        let mut forks = Forks::default();
        for n in 0..16 {
            assert!(hear(&mut forks, 180, &format!("t{n}"), "").expect("a fork").fresh);
        }
        assert_eq!(hear(&mut forks, 180, "one-more", ""), Err(PeerError::Unexpected));
        assert!(hear(&mut forks, 200, "t15", "").expect("a known fork").winner);
    }

    #[test]
    fn recorded_forks_go_on_at_a_successor() {
        let mut forks = Forks::default();
        hear(&mut forks, 183, "x", "Require: 100rel\r\nRSeq: 4\r\n").expect("a fork");
        hear(&mut forks, 180, "y", "").expect("a fork");
        let restored =
            forks.iter_mut().map(|d| Dialog::restore(at(2), d.state().clone(), Settings::default(), None));
        let mut forks = Forks::restore(restored.collect());
        // x answered reliably before, y did not; neither has to be told who they are.
        let may_offer = |dialog: Option<&Dialog>| dialog.expect("a fork").may_send(Method::Update, true);
        assert_eq!(may_offer(forks.get(0)), Ok(()));
        assert_eq!(may_offer(forks.get(1)), Err(NotNow::OfferPending));
        let answered = hear(&mut forks, 200, "y", "").expect("an answer");
        assert_eq!((answered.index, answered.fresh, answered.winner), (1, false, true));
    }
}
