//! Our own registrations with carriers: a task for each that this node makes, from the claim to its last word.
//!
//! Who makes which is the state's word (`cluster::State::seats`); a claim is committed before anything is said, and a
//! task that lost its seat is silent before it lets go of the claim.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use call::errand::{self, Errand, Registering};
use call::{CallId, Challenged, Epoch, HomeId, NodeId};
use cluster::{Command, Enrol, EnrolStep, Outcome, State};
use machine::museum::planted;
use machine::{Instant, Machine};
use sip::OwnedMessage;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use trunk::registrar::{Input, Output, Registrar};
use trunk::{Gateway, Name, SipTarget};

use crate::home::Home;
use crate::lock;
use crate::metrics::{add, sub};
use crate::shared::Shared;

/// An account of a gateway, and the home from which it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seat {
    gateway: Arc<Gateway>,
    /// Counted from one.
    account: u8,
    home: HomeId,
    epoch: Epoch,
}

/// The registrations that this node makes.
#[derive(Default)]
pub(crate) struct Enrolling {
    tasks: BTreeMap<(Name, u8), Enrolled>,
    /// When the next of them may begin.
    next: Instant,
}

impl Enrolling {
    /// Ends the tasks of seats that are not `own` any more, and gives those that are to begin, and when.
    fn turn(
        &mut self,
        now: Instant,
        node: NodeId,
        own: &[(Seat, Option<NodeId>)],
        registered: &BTreeSet<(Name, u8)>,
    ) -> Vec<(Seat, Instant, UnboundedReceiver<Order>)> {
        self.tasks.retain(|_, task| !task.tell.is_closed());
        for (key, task) in &mut self.tasks {
            let stays = own.iter().any(|(seat, _)| *seat == task.seat);
            if !stays && !std::mem::replace(&mut task.ends, true) {
                // A task that has ended meanwhile needs no word.
                let _ = task.tell.send(if registered.contains(key) { Order::Release } else { Order::Leave });
            }
        }
        let mut begin = Vec::new();
        for (seat, claimed_by) in own {
            // A claim of another node's is waited for: it lets go of it, or its home moves. So is a task of our own that
            // ends: one speaks at a time.
            let is_free = claimed_by.is_none_or(|claimer| claimer == node) || planted("everyone-registers");
            if is_free && !self.tasks.contains_key(&key_of(seat)) {
                let (tell, told) = unbounded_channel();
                let begins = now.max(self.next);
                self.next = begins + APART;
                self.tasks.insert(key_of(seat), Enrolled { seat: seat.clone(), tell, ends: false });
                begin.push((seat.clone(), begins, told));
            }
        }
        begin
    }
}

/// A task, and whether it was told to end.
struct Enrolled {
    seat: Seat,
    tell: UnboundedSender<Order>,
    ends: bool,
}

/// What a task is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Take the binding away: nobody wants it any more.
    Leave,
    /// Fall silent: another node is to make it.
    Release,
}

/// What one task knows of its registration.
struct Course {
    seat: Seat,
    username: String,
    contact: String,
    /// Contacts of homes before.
    former: Vec<String>,
    /// Call-ID and tag follow from it: the same for as long as one node makes it (RFC 3261 §10.2.4).
    series: CallId,
    cseq: u32,
    /// Which of the gateway's targets is asked.
    target: usize,
    /// How often in a row that target failed: each time its next host is asked.
    failed: usize,
    challenge: Option<Challenged>,
    /// The realm of that target's first challenge. No other is ever answered (I-35).
    realm: Option<String>,
    /// What a quorum knows of how it went.
    known: Option<u16>,
}

/// The least time between the first words of two registrations: after a node's death a carrier hears fifty a second.
const APART: Duration = Duration::from_millis(20);

impl Shared {
    /// Begins what is this node's to register, and ends what is not. Whenever homes, nodes or resources have changed, and
    /// now and then.
    pub(crate) fn tend_registrations(self: &Arc<Shared>) {
        let node = self.cluster.cluster().node();
        let stops = self.draining.load(Ordering::Relaxed) || !self.ready.load(Ordering::Relaxed);
        let wanted = self.cluster.cluster().read(|state| wanted(state, node));
        let registered: BTreeSet<(Name, u8)> = wanted.iter().map(|(seat, _)| key_of(seat)).collect();
        let is_own = |seat: &Seat| !stops && self.held_for(seat).is_some();
        let own: Vec<_> = wanted.into_iter().filter(|(seat, _)| is_own(seat)).collect();
        for (seat, begins, orders) in lock(&self.enrolling).turn(self.now(), node, &own, &registered) {
            self.world.spawn.spawn("registration", Box::pin(self.clone().enrol(seat, begins, orders)));
        }
    }

    /// One registration, for as long as it is this node's.
    async fn enrol(self: Arc<Shared>, seat: Seat, begins: Instant, mut orders: UnboundedReceiver<Order>) {
        self.world.spawn.sleep_until(begins).await;
        let Some(mut course) = self.claim(seat).await else { return };
        let wanted_s = course.seat.gateway.access.expires_max;
        let mut registrar = Registrar::start(self.now(), wanted_s, self.chance());
        let mut is_bound = false;
        let order = loop {
            match self.go_on(&mut course, &mut registrar, &mut is_bound, &mut orders).await {
                Went::On => {}
                Went::Over(order) => break order,
            }
        };
        if is_bound {
            sub(&self.metrics.carrier_registrations);
        }
        if order == Order::Release {
            self.note_enrolment(&course.seat, EnrolStep::Release).await;
        }
        tracing::debug!(gateway = %course.seat.gateway.name, account = course.seat.account, ?order, "registration ends");
    }

    /// Does what the machine says until it waits, and waits.
    async fn go_on(
        self: &Arc<Shared>,
        course: &mut Course,
        registrar: &mut Registrar,
        is_bound: &mut bool,
        orders: &mut UnboundedReceiver<Order>,
    ) -> Went {
        while let Some(output) = registrar.poll_output() {
            match output {
                Output::Ask { expires_s, answers } => {
                    match self.ask_registrar(course, expires_s, answers, orders).await {
                        Ok((input, leaves)) => {
                            registrar.handle(self.now(), input);
                            if leaves {
                                registrar.handle(self.now(), Input::Leave);
                            }
                        }
                        Err(order) => return Went::Over(order),
                    }
                }
                Output::Bound(expires_s) => {
                    self.set_bound(is_bound, true);
                    self.bound(course, expires_s).await;
                }
                Output::Failed(status) => {
                    self.set_bound(is_bound, false);
                    self.failed_to_register(course, status).await;
                }
                Output::Gone => return Went::Over(Order::Leave),
            }
        }
        let Some(due) = registrar.poll_timeout() else { return Went::Over(Order::Leave) };
        let ordered = tokio::select! {
            biased;
            order = orders.recv() => Some(order),
            () = self.world.spawn.sleep_until(due) => None,
        };
        match ordered {
            None => registrar.handle_timeout(self.now()),
            Some(Some(Order::Leave)) if course.cseq > 0 => registrar.handle(self.now(), Input::Leave),
            Some(order) => return Went::Over(order.unwrap_or(Order::Release)),
        }
        Went::On
    }

    /// Asks a quorum that nobody else makes this registration.
    async fn claim(self: &Arc<Shared>, seat: Seat) -> Option<Course> {
        let home = self.held_for(&seat)?;
        let account = seat.gateway.accounts.get(usize::from(seat.account).checked_sub(1)?)?;
        let first = seat.gateway.targets.first()?;
        let (transport, local) = match self.way_to(&home, first, 0).await {
            Some(flow) => (flow.transport, flow.local),
            None => *home.context().addresses.iter().find(|(over, _)| *over == first.transport())?,
        };
        let username = account.username.clone();
        let contact = errand::contact(&home.context(), &username, transport, local);
        let step = EnrolStep::Claim { username: username.clone(), contact: contact.clone() };
        if self.note_enrolment(&seat, step).await != Some(Outcome::Done) {
            return None;
        }
        let former = self
            .cluster
            .cluster()
            .read(|state| state.enrolment(&seat.gateway.name, seat.account).map(|it| it.former.clone()));
        Some(Course {
            seat,
            username,
            contact,
            former: former.unwrap_or_default(),
            series: self.errand_name()?,
            cseq: 0,
            target: 0,
            failed: 0,
            challenge: None,
            realm: None,
            known: None,
        })
    }

    async fn note_enrolment(&self, seat: &Seat, step: EnrolStep) -> Option<Outcome> {
        let (gateway, account) = (seat.gateway.name.clone(), seat.account);
        let enrol = Enrol { gateway, account, home: seat.home, epoch: seat.epoch, step };
        self.cluster.cluster().proposer().ask(Command::Enrol(Box::new(enrol))).await
    }

    /// The home of a seat, if this node holds it still.
    fn held_for(&self, seat: &Seat) -> Option<Arc<Home>> {
        self.home(seat.home).filter(|home| home.epoch == seat.epoch)
    }

    /// One REGISTER and what came of it, and whether the binding is to be taken away then; or the order that ended it.
    async fn ask_registrar(
        self: &Arc<Shared>,
        course: &mut Course,
        expires_s: u32,
        answers: bool,
        orders: &mut UnboundedReceiver<Order>,
    ) -> Result<(Input, bool), Order> {
        let asked = self.register_once(course, expires_s, answers);
        let mut asked = pin!(asked);
        let mut leaves = false;
        let input = loop {
            tokio::select! {
                biased;
                order = orders.recv(), if !leaves => match order {
                    // RFC 3261 §10.2: no further REGISTER before this one has its answer.
                    Some(Order::Leave) => leaves = true,
                    Some(Order::Release) | None => return Err(Order::Release),
                },
                input = &mut asked => break input,
            }
        };
        Ok((input, leaves))
    }

    async fn register_once(self: &Arc<Shared>, course: &mut Course, expires_s: u32, answers: bool) -> Input {
        let Some(home) = self.held_for(&course.seat) else { return Input::Silent };
        let gateway = course.seat.gateway.clone();
        let Some(target) = course.target() else { return Input::Silent };
        let (Some(flow), Some(id)) = (self.way_to(&home, &target, course.failed).await, self.errand_name())
        else {
            return Input::Silent;
        };
        let context = home.context();
        let account = usize::from(course.seat.account).checked_sub(1).and_then(|at| gateway.accounts.get(at));
        let challenge = course.challenge.take().filter(|_| answers);
        let password = challenge
            .as_ref()
            .zip(account)
            .and_then(|(_, account)| account.password.open(&gateway.name, &account.username, &self.seal));
        course.cseq += 1;
        let errand =
            Errand { context: &context, id, flow, target: &target, series: course.series, cseq: course.cseq };
        let what = Registering {
            username: &course.username,
            contact: &course.contact,
            former: &course.former,
            expires_s,
            answers: challenge.as_ref().zip(password.as_ref()).map(|(it, password)| (it, password.as_str())),
        };
        let request = errand.register(&what);
        add(&self.metrics.carrier_registers);
        match self.errand(id, flow, request).await {
            Some(answer) => course.read(&answer, expires_s),
            None => Input::Silent,
        }
    }

    async fn bound(&self, course: &mut Course, expires_s: u32) {
        let (gateway, account) = (&course.seat.gateway.name, course.seat.account);
        if course.known != Some(200) {
            tracing::info!(%gateway, account, contact = course.contact, expires_s, "registered with the carrier");
        }
        course.known = Some(200);
        course.former.clear();
        let target = course.target().map(|target| target.to_string()).unwrap_or_default();
        let step = EnrolStep::Bound { target, expires_s, at: self.world.clock.wall() };
        self.note_enrolment(&course.seat, step).await;
    }

    async fn failed_to_register(&self, course: &mut Course, status: u16) {
        add(&self.metrics.carrier_failures);
        let target = course.target().map(|target| target.to_string()).unwrap_or_default();
        // The next attempt asks the next of the gateway's targets, which knows nothing of this one's realm.
        course.turn_to_next(status);
        if course.known == Some(status) {
            return;
        }
        let (gateway, account) = (&course.seat.gateway.name, course.seat.account);
        tracing::warn!(%gateway, account, target, status, "the carrier does not register us");
        course.known = Some(status);
        let step = EnrolStep::Failed { target, status, at: self.world.clock.wall() };
        self.note_enrolment(&course.seat, step).await;
    }

    fn set_bound(&self, is_bound: &mut bool, to: bool) {
        match (std::mem::replace(is_bound, to), to) {
            (false, true) => add(&self.metrics.carrier_registrations),
            (true, false) => sub(&self.metrics.carrier_registrations),
            _ => {}
        }
    }
}

/// Whether a task goes on.
enum Went {
    On,
    Over(Order),
}

impl Course {
    fn target(&self) -> Option<SipTarget> {
        let targets = &self.seat.gateway.targets;
        targets.get(self.target % targets.len().max(1)).cloned()
    }

    fn turn_to_next(&mut self, status: u16) {
        // A registrar that does not take such a list may take the Contact alone; silence says nothing of it.
        if status != 408 {
            self.former.clear();
        }
        self.failed += 1;
        if self.seat.gateway.targets.len() > 1 {
            self.target = (self.target + 1) % self.seat.gateway.targets.len();
            self.realm = None;
        }
    }

    /// What an answer means.
    fn read(&mut self, answer: &OwnedMessage, asked_s: u32) -> Input {
        let response = answer.view();
        let status = response.status().unwrap_or(500);
        if (200..300).contains(&status) {
            return Input::Granted(errand::granted(&response, &self.contact, asked_s));
        }
        if status == 423 {
            let least = response.get(sip::Name::MinExpires).and_then(|it| std::str::from_utf8(it).ok());
            if let Some(least) = least.and_then(|it| it.trim().parse().ok()) {
                return Input::TooBrief(least);
            }
        }
        if let Some((challenge, stale)) = errand::challenged(&response, self.realm.as_deref()) {
            self.realm = Some(challenge.realm.clone());
            self.challenge = Some(challenge);
            return Input::Challenged { stale };
        }
        Input::Refused { status, retry_after_s: response.retry_after().ok().flatten() }
    }
}

fn key_of(seat: &Seat) -> (Name, u8) {
    (seat.gateway.name.clone(), seat.account)
}

/// Every account that is to be registered and has a seat, and the node whose claim still holds.
fn wanted(state: &State, node: NodeId) -> Vec<(Seat, Option<NodeId>)> {
    let mut wanted = Vec::new();
    // An older node would stop at such a command.
    if !state.enrols() {
        return wanted;
    }
    for gateway in state.resources().gateways.values().filter(|gateway| gateway.register) {
        let mut seats = state.seats(gateway);
        if planted("everyone-registers") {
            let own = state.homes().find(|(_, home)| home.holder == Some(node)).map(|(id, _)| id);
            seats.fill(own);
        }
        for (home, account) in seats.into_iter().zip(1u8..) {
            let Some((home, held)) = home.and_then(|home| Some((home, state.home(home)?))) else { continue };
            let known = state.enrolment(&gateway.name, account);
            let claimed_by = known.filter(|it| state.is_claimed(it)).map(|it| it.node);
            let seat = Seat { gateway: gateway.clone(), account, home, epoch: held.epoch };
            wanted.push((seat, claimed_by));
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(name: &str, epoch: u64) -> Seat {
        let gateway = Arc::new(Gateway::new(Name::new(name).expect("a name")));
        Seat { gateway, account: 1, home: HomeId(1), epoch: Epoch(epoch) }
    }

    const ME: NodeId = NodeId(1);

    /// One turn with these seats, in all of which somebody registers.
    fn turn(
        enrolling: &mut Enrolling,
        own: &[(Seat, Option<NodeId>)],
    ) -> Vec<(Seat, Instant, UnboundedReceiver<Order>)> {
        let registered = ["a", "b"].map(|name| key_of(&seat(name, 1))).into();
        enrolling.turn(Instant::ZERO, ME, own, &registered)
    }

    #[test]
    fn each_seat_begins_once_and_two_never_at_the_same_moment() {
        let mut enrolling = Enrolling::default();
        let own = [(seat("a", 1), None), (seat("b", 1), Some(ME))];
        let begun = turn(&mut enrolling, &own);
        let moments: Vec<Instant> = begun.iter().map(|(_, begins, _)| *begins).collect();
        assert_eq!(moments, [Instant::ZERO, Instant::ZERO + Duration::from_millis(20)]);
        assert!(turn(&mut enrolling, &own).is_empty());
    }

    #[test]
    fn what_another_claims_is_waited_for() {
        let mut enrolling = Enrolling::default();
        assert!(turn(&mut enrolling, &[(seat("a", 1), Some(NodeId(2)))]).is_empty());
        assert_eq!(turn(&mut enrolling, &[(seat("a", 1), None)]).len(), 1);
    }

    #[test]
    fn a_lost_seat_is_released_once_and_taken_again_when_its_task_has_ended() {
        let mut enrolling = Enrolling::default();
        let (_, _, mut orders) = turn(&mut enrolling, &[(seat("a", 1), None)]).remove(0);
        let next = [(seat("a", 2), None)];
        assert!(turn(&mut enrolling, &next).is_empty());
        assert!(turn(&mut enrolling, &next).is_empty());
        assert_eq!((orders.try_recv().ok(), orders.try_recv().ok()), (Some(Order::Release), None));
        drop(orders);
        assert_eq!(turn(&mut enrolling, &next).len(), 1);
    }

    #[test]
    fn what_nobody_registers_any_more_is_taken_away() {
        let mut enrolling = Enrolling::default();
        let (_, _, mut orders) = turn(&mut enrolling, &[(seat("a", 1), None)]).remove(0);
        enrolling.turn(Instant::ZERO, ME, &[], &BTreeSet::new());
        assert_eq!(orders.try_recv().ok(), Some(Order::Leave));
    }
}
