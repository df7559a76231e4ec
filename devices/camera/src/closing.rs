//! A device that was unplugged takes some ten seconds to be told so by its own protocol: closing it must not hold up who
//! goes on without it.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest wait for a source to stop.
const CLOSING_WAIT: Duration = Duration::from_millis(500);

/// Closes on a thread of its own, to which it is left when it needs longer than `CLOSING_WAIT`.
pub(crate) fn close_apart(close: impl FnOnce() + Send + 'static) {
    let close = Arc::new(Mutex::new(Some(close)));
    let (stopped, is_stopped) = sync_channel(1);
    let theirs = close.clone();
    let closing = std::thread::Builder::new().name("camera-closing".into()).spawn(move || {
        run(&theirs);
        // Nobody may be waiting any more.
        let _ = stopped.send(());
    });
    match closing {
        Ok(_) => drop(is_stopped.recv_timeout(CLOSING_WAIT)),
        // Without a thread it has to be now.
        Err(_) => run(&close),
    }
}

fn run(close: &Mutex<Option<impl FnOnce()>>) {
    let close = close.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(close) = close {
        close();
    }
}
