//! Who goes first: live before all else. Jobs are processes that give way by themselves.

use super::lock;
use super::shared::Shared;
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// Of a device's thread: above the live thread, so that frames are taken while an image is being made.
pub(crate) const DEVICE: u8 = 20;
/// Of a live thread.
pub(crate) const LIVE: u8 = 10;
/// Of threads that hand live images on.
pub(crate) const HAND_ON: u8 = 5;
/// How much threads that answer clients are preferred to the rest of the machine.
const PREFERRED: i32 = -10;

/// Asks for real-time priority where the settings want it, and keeps what the system said.
pub(crate) fn ask_for_real_time(shared: &Shared, priority: u8) {
    if !shared.settings.real_time {
        return;
    }
    let value = ThreadPriorityValue::try_from(priority).unwrap_or(ThreadPriorityValue::MIN);
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let asked =
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(value), policy);
    let said = match asked {
        Ok(()) => "granted".into(),
        Err(error) => {
            tracing::warn!(stream = shared.name, ?error, "runs without real-time priority");
            format!("refused by the system: {error:?}")
        }
    };
    *lock(&shared.real_time) = said;
}

/// Prefers this thread to the rest of the machine, where the system allows it: for threads that answer clients.
pub fn prefer_this_thread() {
    if let Err(error) = rustix::process::nice(PREFERRED) {
        tracing::debug!(%error, "a thread that answers clients runs at the same priority as everything else");
    }
}
