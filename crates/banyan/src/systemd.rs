//! What the service manager hears (sd_notify(3)): that the node is ready, that it lives, that it stops. Without one,
//! nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;

/// The node is part of its cluster and hears SIP.
pub(crate) fn ready() {
    say(NotifyState::Ready);
}

/// It stops, which may take as long as its calls.
pub(crate) fn stopping() {
    say(NotifyState::Stopping);
}

/// Says twice in each interval that the node lives. It runs where signalling does, so that a thread that hangs is silent.
pub(crate) async fn live() {
    let Some(every) = sd_notify::watchdog_enabled().map(|interval| interval / 2) else { return };
    loop {
        say(NotifyState::Watchdog);
        tokio::time::sleep(every.max(LEAST)).await;
    }
}

fn say(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

/// Whatever the unit says.
const LEAST: Duration = Duration::from_millis(50);
