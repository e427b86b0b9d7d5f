//! What a service manager is told: the protocol of sd_notify(3). Without one that asks for it by
//! `NOTIFY_SOCKET`, nobody is told anything.

use sd_notify::NotifyState;

/// The faults are in force.
pub(super) fn ready(device: &str, profile: &str) {
    let status = format!("{device}: faults on: profile {profile}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// There is no device: what depends on this run need not wait for that.
pub(super) fn waiting(device: &str) {
    let status = format!("{device}: waiting for the device");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The lease has been renewed.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The faults are over, but for packets that are held.
pub(super) fn stopping(reason: &str) {
    let status = format!("faults off: {reason}");
    tell(&[NotifyState::Stopping, NotifyState::Status(&status)]);
}

fn tell(state: &[NotifyState<'_>]) {
    // The run is no worse for a manager that does not listen.
    let _ = sd_notify::notify(state);
}
