//! One body over both implementations: what a lagging panel read comes back as what fell on it.

use super::*;
use carm::{ClockStamps, DeviceTime};

const RATE_HZ: f64 = 25.0;
const PERIOD_NS: u64 = 40_000_000;
/// A stretch of the fast twin and a piece of the next.
const PIXELS: usize = 2048 + 37;

fn model() -> LagModel {
    let term = |rate_per_frame, strength| LagTerm { rate_per_frame, strength };
    LagModel {
        terms: vec![term(1.2, 0.08), term(0.3, 0.01), term(0.02, 0.002)],
        low_exposure_growth: 0.7,
        knee_counts: 9000.0,
        frame_rate_hz: RATE_HZ,
        flat_gain: 1.0,
    }
}

/// The panel of the module's header, sampled once a period.
struct Panel {
    model: LagModel,
    stored: Vec<Vec<f64>>,
}

impl Panel {
    fn new() -> Self {
        Self { model: model(), stored: vec![vec![0.0; PIXELS]; 3] }
    }

    fn read(&mut self, signal: impl Fn(usize) -> f64) -> Vec<f32> {
        let mut readings = Vec::new();
        for pixel in 0..PIXELS {
            let x = signal(pixel);
            let share = (1.0 - x / self.model.knee_counts).clamp(0.0, 1.0);
            let growth = 1.0 + self.model.low_exposure_growth * share;
            let mut reading = x;
            for (stored, term) in self.stored.iter_mut().zip(&self.model.terms) {
                let keep = (-term.rate_per_frame).exp();
                reading += growth * term.strength * keep * stored[pixel];
                stored[pixel] = x + keep * stored[pixel];
            }
            readings.push(reading as f32);
        }
        readings
    }
}

/// From nothing to far above the knee, changing with pixel and frame.
fn scene(frame: u64) -> impl Fn(usize) -> f64 {
    move |pixel| {
        let level = [0.0, 300.0, 8_990.0, 9_010.0, 52_000.0][(pixel + frame as usize / 7) % 5];
        level * (1.0 + 0.1 * ((pixel as f64 + 3.0 * frame as f64) * 0.7).sin())
    }
}

fn header(sequence: u64, device_ns: u64) -> FrameHeader {
    let stamps = ClockStamps { device: DeviceTime(device_ns), ..ClockStamps::default() };
    FrameHeader { sequence, stamps, ..FrameHeader::default() }
}

fn correct(lag: &mut Lag, sequence: u64, device_ns: u64, mut readings: Vec<f32>) -> Vec<f32> {
    lag.correct(&header(sequence, device_ns), &mut readings, &|_, _, _| {});
    readings
}

fn worst(found: &[f32], signal: impl Fn(usize) -> f64) -> f64 {
    found.iter().enumerate().map(|(pixel, x)| (f64::from(*x) - signal(pixel)).abs()).fold(0.0, f64::max)
}

fn each_backend(test: impl Fn(Backend)) {
    for backend in [Backend::Reference, Backend::Cpu] {
        test(backend);
    }
}

#[test]
fn lag_of_a_changing_scene_is_taken_out_at_every_exposure() {
    each_backend(|backend| {
        let (mut panel, mut lag) = (Panel::new(), Lag::new(model(), PIXELS, backend).unwrap());
        for frame in 0..120 {
            let readings = panel.read(scene(frame));
            let lagging = worst(&readings, scene(frame));
            let found = correct(&mut lag, frame, frame * PERIOD_NS, readings);
            // Counts of 50000 in f32 readings, summed over the memory of 50 frames.
            let error = worst(&found, scene(frame));
            assert!(error < 0.3, "{backend:?}, frame {frame}: {error} counts");
            assert!(frame == 0 || lagging > 200.0, "the scene lags by {lagging} counts");
        }
    });
}

#[test]
fn lag_backends_agree_also_through_gaps_pauses_and_repeats() {
    let mut panel = Panel::new();
    let mut slow = Lag::new(model(), PIXELS, Backend::Reference).unwrap();
    let mut fast = Lag::new(model(), PIXELS, Backend::Cpu).unwrap();
    let mut clock_ns = 0;
    for (step, sequence) in [0, 1, 2, 5, 6, 6, 4, 7, 30, 31, 32].into_iter().enumerate() {
        clock_ns += PERIOD_NS * if step == 8 { 60 } else { 1 };
        let readings = panel.read(scene(sequence));
        let a = correct(&mut slow, sequence, clock_ns, readings.clone());
        let b = correct(&mut fast, sequence, clock_ns, readings);
        let apart = worst(&a, |pixel| f64::from(b[pixel]));
        assert!(apart < 0.3, "step {step}: {apart} counts");
    }
}

#[test]
fn lag_empties_through_a_pause_whether_frames_tell_of_it_or_only_the_clock() {
    each_backend(|backend| {
        let fall = |tells: bool| {
            let (mut panel, mut lag) = (Panel::new(), Lag::new(model(), PIXELS, backend).unwrap());
            for frame in 0..40 {
                correct(&mut lag, frame, frame * PERIOD_NS, panel.read(|_| 40_000.0));
            }
            for pause in 40..60 {
                let dark = panel.read(|_| 0.0);
                if tells {
                    let found = correct(&mut lag, pause, pause * PERIOD_NS, dark);
                    assert!(worst(&found, |_| 0.0) < 0.3);
                }
            }
            let sequence = if tells { 60 } else { 40 };
            let found = correct(&mut lag, sequence, 60 * PERIOD_NS, panel.read(|_| 500.0));
            worst(&found, |_| 500.0)
        };
        for tells in [true, false] {
            let error = fall(tells);
            assert!(error < 0.3, "{backend:?}, frames during the pause: {tells}: {error} counts");
        }
    });
}

#[test]
fn lag_takes_lost_frames_for_exposed_like_the_next() {
    each_backend(|backend| {
        let (mut panel, mut lag) = (Panel::new(), Lag::new(model(), PIXELS, backend).unwrap());
        let mut error = f64::INFINITY;
        for frame in 0..30 {
            let readings = panel.read(|_| 30_000.0);
            if !(12..17).contains(&frame) {
                error = worst(&correct(&mut lag, frame, frame * PERIOD_NS, readings), |_| 30_000.0);
            }
            if frame == 17 {
                // The five frames left more than a thousand counts behind.
                assert!(error < 40.0, "{backend:?}: {error} counts right behind the gap");
            }
        }
        assert!(error < 20.0, "{backend:?}: {error} counts later");
    });
}

#[test]
fn lag_goes_on_from_a_checkpoint_bit_for_bit() {
    each_backend(|backend| {
        let (mut panel, mut lag) = (Panel::new(), Lag::new(model(), PIXELS, backend).unwrap());
        let mut shown = Vec::new();
        let mut checkpoint = None;
        let readings: Vec<Vec<f32>> = (0..20).map(|frame| panel.read(scene(frame))).collect();
        for (frame, readings) in (0..).zip(&readings) {
            if frame == 11 {
                checkpoint = Some(lag.clone());
            }
            shown.push(correct(&mut lag, frame, frame * PERIOD_NS, readings.clone()));
        }
        let mut restored = checkpoint.unwrap();
        for frame in 11..20 {
            let again =
                correct(&mut restored, frame as u64, frame as u64 * PERIOD_NS, readings[frame].clone());
            assert_eq!(again, shown[frame]);
        }
    });
}

#[test]
fn lag_model_that_cannot_be_is_refused() {
    let bad = |change: &dyn Fn(&mut LagModel)| {
        let mut changed = model();
        change(&mut changed);
        let error = changed.check().unwrap_err();
        assert!(matches!(error, AcquisitionError::CalibrationNumber { .. }), "{error}");
    };
    bad(&|model| model.terms.clear());
    bad(&|model| model.terms[1].rate_per_frame = 0.0);
    bad(&|model| model.terms[1].strength = f64::NAN);
    bad(&|model| model.knee_counts = 0.0);
    bad(&|model| model.low_exposure_growth = -1.0);
    bad(&|model| model.flat_gain = 0.9);
    assert!(model().check().is_ok());
}
