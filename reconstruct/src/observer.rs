//! Who may look on, and hold a clock, while a volume is made.

/// Runs each stage; a caller that owns a clock may time it.
pub trait Observer: Send {
    /// Runs `work`, which is the stage called `name`.
    fn stage(&mut self, name: &'static str, work: &mut dyn FnMut()) {
        let _ = name;
        work();
    }
}

/// An observer that only looks on.
pub struct Silent;

impl Observer for Silent {}
