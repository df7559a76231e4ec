//! A bounded queue between threads that never drops an item by itself: a full one hands the item back as a value, and the
//! sender has to decide. For the stages behind the ring; the device's own thread only ever touches the ring, and whoever
//! wants the newest frame alone reads that.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A lossless queue was full: the item comes back, and the consumer must read it from the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full<T>(
    /// The item that did not fit.
    pub T,
);

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    /// Items refused.
    passed_over: u64,
    deepest: usize,
    is_closed: bool,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    capacity: usize,
}

impl<T> Shared<T> {
    fn new(capacity: usize) -> Arc<Self> {
        assert!(capacity > 0, "a queue holds at least one item");
        let items = VecDeque::with_capacity(capacity);
        let state = State { items, passed_over: 0, deepest: 0, is_closed: false };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), capacity })
    }

    /// A panic elsewhere leaves the items whole, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn receive(&self, longest: Duration) -> Option<T> {
        let is_waiting = |state: &mut State<T>| state.items.is_empty() && !state.is_closed;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.lock(), longest, is_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        state.items.pop_front()
    }
}

/// Writing end of a lossless queue; dropping it ends the queue.
#[derive(Debug)]
pub struct LosslessSender<T>(Arc<Shared<T>>);

/// Reading end of a lossless queue.
#[derive(Debug)]
pub struct LosslessReceiver<T>(Arc<Shared<T>>);

/// A bounded queue that never drops an item by itself.
pub fn lossless_queue<T>(capacity: usize) -> (LosslessSender<T>, LosslessReceiver<T>) {
    let shared = Shared::new(capacity);
    (LosslessSender(shared.clone()), LosslessReceiver(shared))
}

impl<T> LosslessSender<T> {
    /// Queues an item, or hands it back at once when the queue is full.
    ///
    /// # Errors
    /// [`Full`] with the item.
    pub fn send(&self, item: T) -> Result<(), Full<T>> {
        let mut state = self.0.lock();
        if state.items.len() == self.0.capacity {
            state.passed_over += 1;
            return Err(Full(item));
        }
        state.items.push_back(item);
        state.deepest = state.deepest.max(state.items.len());
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Items handed back so far.
    pub fn refused(&self) -> u64 {
        self.0.lock().passed_over
    }

    /// The most items that ever waited at once.
    pub fn deepest(&self) -> usize {
        self.0.lock().deepest
    }
}

impl<T> Drop for LosslessSender<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> LosslessReceiver<T> {
    /// The next item; none when the time is over or the queue has ended and is empty.
    pub fn receive(&self, longest: Duration) -> Option<T> {
        self.0.receive(longest)
    }

    /// Whether the sender is gone and everything was taken.
    pub fn is_ended(&self) -> bool {
        let state = self.0.lock();
        state.is_closed && state.items.is_empty()
    }

    /// Items waiting.
    pub fn backlog(&self) -> usize {
        self.0.lock().items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn lossless_queue_hands_back_what_does_not_fit_and_loses_nothing() {
        let (sender, receiver) = lossless_queue(2);
        assert_eq!([sender.send(1), sender.send(2), sender.send(3)], [Ok(()), Ok(()), Err(Full(3))]);
        assert_eq!((sender.refused(), sender.deepest(), receiver.backlog()), (1, 2, 2));
        assert_eq!(receiver.receive(LONG), Some(1));
        assert_eq!(sender.send(4), Ok(()));
        drop(sender);
        assert_eq!([receiver.receive(LONG), receiver.receive(LONG)], [Some(2), Some(4)]);
        assert_eq!(receiver.receive(LONG), None);
        assert!(receiver.is_ended());
    }

    #[test]
    fn lossless_queue_between_threads_keeps_order_and_every_item() {
        let (sender, receiver) = lossless_queue(4);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for item in 0..2000 {
                    let mut waiting = item;
                    while let Err(Full(back)) = sender.send(waiting) {
                        waiting = back;
                        std::thread::yield_now();
                    }
                }
            });
            let received: Vec<i32> = std::iter::from_fn(|| receiver.receive(LONG)).collect();
            assert_eq!(received, (0..2000).collect::<Vec<_>>());
        });
    }
}
