//! Who goes first: live before all else. Jobs are processes that give way by themselves.

use super::lock;
use super::shared::Shared;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// Of a device's thread: above the live thread, so that frames are taken while an image is being made.
pub(crate) const DEVICE: u8 = 20;
/// Of a live thread.
pub(crate) const LIVE: u8 = 10;
/// Of threads that hand live images on.
pub(crate) const HAND_ON: u8 = 5;
/// Niceness 0 on the scale of `thread_priority`, from 0 to 99.
const USUAL: u8 = 48;
/// Niceness of threads that are preferred to the rest of the machine: those that record, and those that answer clients.
const PREFERRED: i32 = -10;
/// Niceness of threads that give way to it.
const GIVES_WAY: i32 = 10;

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

/// Leaves real-time priority, which a thread takes from the one that started it, for the preferred one.
///
/// For whoever computes longer than a live image may wait, or starts threads and processes of others.
pub(crate) fn leave_real_time() {
    if let Ok(ThreadSchedulePolicy::Realtime(_)) = thread_schedule_policy() {
        // The policy is what counts here; niceness is set below.
        let usual = ThreadPriorityValue::try_from(USUAL).unwrap_or(ThreadPriorityValue::MIN);
        let (usual, policy) = (ThreadPriority::Crossplatform(usual), NormalThreadSchedulePolicy::Other);
        let policy = ThreadSchedulePolicy::Normal(policy);
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), usual, policy) {
            tracing::warn!(?error, "a thread does not leave real-time priority");
        }
    }
    prefer_this_thread();
}

/// Prefers this thread to the rest of the machine, where the system allows it: for threads that answer clients.
pub fn prefer_this_thread() {
    set_niceness(PREFERRED);
}

/// Lets all others go before this thread.
pub(crate) fn give_way() {
    set_niceness(GIVES_WAY);
}

fn set_niceness(niceness: i32) {
    // Of the calling thread alone, on Linux.
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        tracing::debug!(%error, niceness, "a thread stays as preferred as everything else");
    }
}
