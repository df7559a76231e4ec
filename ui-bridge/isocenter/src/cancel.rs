//! Ctrl-C asks long work to stop at its next step; a second one ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Exit status of a program ended by an interrupt, as shells count it.
const INTERRUPTED: i32 = 130;

/// Whether the user asked to stop.
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// An error when the user asked to stop; long loops call it once a step.
pub fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!is_requested(), "cancelled; nothing was left half-written");
    Ok(())
}

/// Listens for Ctrl-C on a thread of its own.
pub fn listen() {
    let spawned = std::thread::Builder::new().name("ctrl-c".into()).spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if REQUESTED.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "Ctrl-C will end the program without tidying up");
    }
}
