//! Drives a machine through virtual time in tests and writes down what it did, and when.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use machine::{Instant, Machine};
use proptest::prelude::*;

use crate::{ClientInput, Output, ServerInput};

/// `ms` milliseconds after the start.
pub(crate) fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

/// A message; transactions never read it.
pub(crate) fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// A send, as an expectation.
pub(crate) fn send(text: &'static str) -> Output {
    Output::Send(bytes(text))
}

/// Everything that waits to be done.
pub(crate) fn drain<M: Machine<Output = Output>>(machine: &mut M) -> Vec<Output> {
    std::iter::from_fn(|| machine.poll_output()).collect()
}

/// Hands in one input and gives what follows from it.
pub(crate) fn handle<M: Machine<Output = Output>>(machine: &mut M, ms: u64, input: M::Input) -> Vec<Output> {
    machine.handle(at(ms), input);
    drain(machine)
}

/// Fires timers, each when it asked for it, up to `until_ms`; gives every output with its time in milliseconds.
pub(crate) fn run<M: Machine<Output = Output>>(machine: &mut M, until_ms: u64) -> Vec<(u64, Output)> {
    let mut ladder = Vec::new();
    while let Some(next) = machine.poll_timeout().filter(|t| *t <= at(until_ms)) {
        machine.handle_timeout(next);
        let ms = next.as_nanos() / 1_000_000;
        ladder.extend(drain(machine).into_iter().map(|output| (ms, output)));
    }
    ladder
}

/// The times at which something was sent.
pub(crate) fn send_times(ladder: &[(u64, Output)]) -> Vec<u64> {
    ladder.iter().filter(|(_, o)| matches!(o, Output::Send(_))).map(|(ms, _)| *ms).collect()
}

/// Any input of a server transaction.
pub(crate) fn any_server_input() -> impl Strategy<Value = ServerInput> {
    let respond = (100u16..700).prop_map(|status| ServerInput::Respond { status, message: bytes("R") });
    prop_oneof![
        Just(ServerInput::Retransmission),
        respond,
        Just(ServerInput::Ack),
        Just(ServerInput::TransportError)
    ]
}

/// Any input of a client transaction.
pub(crate) fn any_client_input() -> impl Strategy<Value = ClientInput> {
    let response = (100u16..700).prop_map(|status| ClientInput::Response { status });
    prop_oneof![
        response,
        Just(ClientInput::Acknowledge(bytes("ACK"))),
        Just(ClientInput::Cancel),
        Just(ClientInput::TransportError)
    ]
}

/// Hands in `inputs` at their times, firing no timer or all, and gives every output.
pub(crate) fn batter<M>(machine: &mut M, inputs: Vec<(u64, M::Input)>) -> Vec<Output>
where
    M: Machine<Output = Output>,
    M::Input: Debug,
{
    let mut now = 0;
    let mut outputs = drain(machine);
    for (wait, input) in inputs {
        now += wait;
        outputs.extend(run(machine, now).into_iter().map(|(_, o)| o));
        machine.handle(at(now), input);
        outputs.extend(drain(machine));
    }
    outputs
}

/// Inputs with waits of up to ten seconds between them.
pub(crate) fn any_course<I: Debug>(input: impl Strategy<Value = I>) -> impl Strategy<Value = Vec<(u64, I)>> {
    proptest::collection::vec((0u64..10_000, input), 0..24)
}

/// Whatever came before, the timers alone end the transaction, once and for good.
pub(crate) fn assert_ends<M: Machine<Output = Output>>(machine: &mut M, mut outputs: Vec<Output>) {
    // The longest life is 64·T1 = 32 s after each of at most 24 inputs within 240 s.
    outputs.extend(run(machine, 1_000_000).into_iter().map(|(_, o)| o));
    assert_eq!(outputs.iter().filter(|o| **o == Output::Terminated).count(), 1, "{outputs:?}");
    assert_eq!(outputs.last(), Some(&Output::Terminated), "nothing follows the end");
    assert_eq!(machine.poll_timeout(), None);
}
