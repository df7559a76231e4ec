//! The device's thread: opens the device, publishes every frame, opens it again when it went away.
//!
//! While frames come it allocates nothing, takes no lock and writes no log; what it has to say is in atomics.

use super::live::LiveThread;
use super::lock;
use super::priority::{DEVICE, ask_for_real_time, leave_real_time};
use super::recorder::{Command, Recorder};
use super::shared::{DeviceState, Rings, Shared};
use crate::alarms::Severity;
use crate::driver::Driver;
use crate::ledger::count;
use acquisition::{AcquisitionError, FrameRing, LosslessReceiver, RingProducer};
use carm::{DeviceError, FrameHeader, FrameSource, LinkCounts, RunDescription, SourceEvent};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a waiting thread looks whether the daemon stops.
const LOOK: Duration = Duration::from_millis(20);

/// How a source came to its end.
enum Played {
    Stopped,
    Ended,
    Failed(DeviceError),
    /// A spin begins with this source.
    SpinStarts(Box<dyn FrameSource>),
}

pub(crate) struct DeviceThread {
    driver: Arc<dyn Driver>,
    shared: Arc<Shared>,
    commands: Option<LosslessReceiver<Command>>,
    producer: Option<RingProducer>,
    numbers: Numbers,
    workers: Vec<JoinHandle<()>>,
}

impl DeviceThread {
    pub(crate) fn new(
        driver: Arc<dyn Driver>,
        shared: Arc<Shared>,
        commands: LosslessReceiver<Command>,
    ) -> Self {
        let numbers = Numbers::default();
        Self { driver, shared, commands: Some(commands), producer: None, numbers, workers: Vec::new() }
    }

    /// Runs until the daemon stops; gives the threads that it started.
    pub(crate) fn run(mut self) -> Vec<JoinHandle<()>> {
        while !self.shared.stops() {
            self.shared.set_device_state(DeviceState::Connecting);
            // A driver's own threads and processes must not hold up live images.
            leave_real_time();
            let played = match self.driver.open() {
                Ok(source) => self.play(source),
                Err(error) => Played::Failed(error),
            };
            self.after(played);
        }
        self.shared.device_ended.store(true, Ordering::Release);
        self.workers
    }

    fn after(&mut self, mut played: Played) {
        while let Played::SpinStarts(source) = played {
            played = self.play(source);
            match played {
                // The spin is over; the device goes back to what it did before.
                Played::Ended | Played::Stopped => played = Played::Stopped,
                Played::Failed(ref error) => {
                    self.shared.alarms.raise(&self.shared.name, "spin", Severity::Fault, error.to_string());
                    played = Played::Stopped;
                }
                Played::SpinStarts(_) => {}
            }
        }
        self.shared.spin_aborts.store(false, Ordering::Release);
        match played {
            Played::Failed(error) => self.gone(&error),
            Played::Ended if self.driver.returns_after_end() => self.gone(&DeviceError::Failed {
                device: self.shared.name.clone(),
                reason: "it ended its stream".into(),
                source: None,
            }),
            Played::Ended => {
                self.shared.set_device_state(DeviceState::Ended);
                // There may still be a spin to start.
                while !self.shared.stops() && !self.shared.spin_starts.load(Ordering::Acquire) {
                    std::thread::sleep(LOOK);
                }
                if let Some(source) = self.spin_source() {
                    self.after(Played::SpinStarts(source));
                }
            }
            Played::Stopped | Played::SpinStarts(_) => {}
        }
    }

    fn gone(&mut self, error: &DeviceError) {
        self.shared.set_device_reason(error.to_string());
        self.shared.set_device_state(DeviceState::Gone);
        self.shared.alarms.raise(&self.shared.name, "device", Severity::Fault, error.to_string());
        let again = Instant::now() + self.shared.settings.open_again_after;
        while Instant::now() < again && !self.shared.stops() {
            std::thread::sleep(LOOK);
        }
    }

    fn play(&mut self, mut source: Box<dyn FrameSource>) -> Played {
        if let Err(reason) = self.get_ready(source.description()) {
            return Played::Failed(DeviceError::Failed {
                device: self.shared.name.clone(),
                reason,
                source: None,
            });
        }
        ask_for_real_time(&self.shared, DEVICE);
        self.numbers.begin();
        count(&self.shared.counters.opened, 1);
        self.shared.set_device_reason(String::new());
        self.shared.alarms.clear(&self.shared.name, "device");
        let mut counts = vec![0; source.description().detector.pixel_count()];
        let mut is_stalled = false;
        let mut link = LinkCounts::default();
        loop {
            if self.shared.stops() || self.shared.spin_aborts.load(Ordering::Acquire) {
                return Played::Stopped;
            }
            if self.shared.spin_starts.load(Ordering::Acquire)
                && let Some(spin) = self.spin_source()
            {
                return Played::SpinStarts(spin);
            }
            let event = source.next_frame(&mut counts);
            self.account(&mut link, source.link_counts());
            match event {
                Ok(SourceEvent::Frame(header)) => {
                    is_stalled = false;
                    self.publish(header, &counts);
                }
                Ok(SourceEvent::End) => return Played::Ended,
                Err(DeviceError::Stalled { .. }) => {
                    // One stall, however long it lasts.
                    count(&self.shared.counters.stalls, u64::from(!is_stalled));
                    is_stalled = true;
                    self.shared.set_device_state(DeviceState::Stalled);
                }
                Err(error) => return Played::Failed(error),
            }
        }
    }

    /// Adds what the link lost and mended since the last look.
    fn account(&self, before: &mut LinkCounts, now: LinkCounts) {
        if *before == now {
            return;
        }
        let counters = &self.shared.counters;
        count(&counters.incomplete, now.incomplete.saturating_sub(before.incomplete));
        count(&counters.packets_lost, now.packets_lost.saturating_sub(before.packets_lost));
        count(&counters.packets_resent, now.packets_resent.saturating_sub(before.packets_resent));
        *before = now;
    }

    fn spin_source(&self) -> Option<Box<dyn FrameSource>> {
        self.shared.spin_starts.store(false, Ordering::Release);
        lock(&self.shared.spin_source).take()
    }

    fn publish(&mut self, mut header: FrameHeader, counts: &[u16]) {
        let counters = &self.shared.counters;
        let Some((sequence, lost)) = self.numbers.take(header.sequence) else {
            count(&counters.refused, 1);
            return;
        };
        header.sequence = sequence;
        count(&counters.lost, lost);
        count(&counters.received, 1);
        self.shared.is_xray_on.store(header.is_xray_on, Ordering::Release);
        self.shared.last_arrival_ns.store(header.stamps.host.0, Ordering::Release);
        self.shared.set_device_state(DeviceState::Streaming);
        if let (Some(tube), Some(rings)) = (&self.shared.settings.dose, self.shared.rings.get()) {
            self.shared.dose.add(tube, &header, rings.description.frame_rate_hz);
        }
        let producer = self.producer.as_mut().expect("rings are made before the first frame");
        producer.publish(&header, counts).expect("frames of the size that the rings were made for");
    }

    /// Makes the rings and starts the readers with the first source; a later one must be of the same size.
    fn get_ready(&mut self, description: &RunDescription) -> Result<(), String> {
        if let Some(rings) = self.shared.rings.get() {
            let (expected, found) = (rings.description.detector, description.detector);
            if [expected.nu, expected.nv] != [found.nu, found.nv] {
                return Err(format!(
                    "expected frames of {} x {} as before, found {} x {}",
                    expected.nu, expected.nv, found.nu, found.nv
                ));
            }
            return Ok(());
        }
        self.make_rings(description).map_err(|error| error.to_string())
    }

    fn make_rings(&mut self, description: &RunDescription) -> Result<(), AcquisitionError> {
        let settings = &self.shared.settings;
        let pixels = description.detector.pixel_count();
        let (producer, raw) = FrameRing::new(settings.ring_slots, pixels)?;
        let (live_producer, live) = FrameRing::new(settings.live_slots, pixels)?;
        let (recorder_reader, live_reader) = (raw.lossless_reader(), raw.newest_reader());
        let rings = Rings { live, description: description.clone() };
        let live_thread = LiveThread::new(self.shared.clone(), description, live_reader, live_producer)?;
        if self.shared.rings.set(rings).is_err() {
            unreachable!("only this thread makes rings, once");
        }
        self.producer = Some(producer);
        let commands = self.commands.take().expect("the recorder starts once");
        let recorder = Recorder::new(self.shared.clone(), description.clone(), commands, recorder_reader);
        self.start_worker("live", move || live_thread.run());
        self.start_worker("recorder", move || recorder.run());
        Ok(())
    }

    fn start_worker(&mut self, what: &'static str, work: impl FnOnce() + Send + 'static) {
        let name = format!("{what} {}", self.shared.name);
        match std::thread::Builder::new().name(name).spawn(work) {
            Ok(worker) => self.workers.push(worker),
            Err(error) => {
                let text = format!("its thread could not be started: {error}");
                self.shared.alarms.raise(&self.shared.name, what, Severity::Fault, text);
            }
        }
    }
}

/// Sequence numbers that go on when the device is opened again, or spins.
#[derive(Default)]
struct Numbers {
    last: Option<u64>,
    /// Added to the numbers of the present source.
    shift: u64,
    is_first: bool,
}

impl Numbers {
    fn begin(&mut self) {
        self.is_first = true;
    }

    /// The stream's number of a frame, and how many are missing in front of it; none for one that does not go on.
    fn take(&mut self, sequence: u64) -> Option<(u64, u64)> {
        if self.is_first {
            self.is_first = false;
            self.shift = self.last.map_or(0, |last| last.wrapping_add(1).wrapping_sub(sequence));
        }
        let number = sequence.wrapping_add(self.shift);
        let lost = match self.last {
            Some(last) if number <= last => return None,
            Some(last) => number - last - 1,
            None => 0,
        };
        self.last = Some(number);
        Some((number, lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_when_a_device_starts_anew_and_tell_gaps() {
        let mut numbers = Numbers::default();
        numbers.begin();
        assert_eq!([5, 6, 9].map(|n| numbers.take(n).unwrap()), [(5, 0), (6, 0), (9, 2)]);
        assert_eq!([9, 7].map(|n| numbers.take(n)), [None, None]);
        numbers.begin();
        assert_eq!([0, 1, 3].map(|n| numbers.take(n).unwrap()), [(10, 0), (11, 0), (13, 1)]);
        numbers.begin();
        assert_eq!([1000, 1001].map(|n| numbers.take(n).unwrap()), [(14, 0), (15, 0)]);
    }
}
