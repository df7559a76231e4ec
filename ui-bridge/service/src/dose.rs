//! Dose to the patient's entrance, from what the generator reports with each frame.
//!
//! Air kerma at the reference point of IEC 60601-2-43, 15 cm from the isocenter towards the tube, without backscatter:
//!
//! ```text
//! K = Y (U / U0)^2 Q (1 m / d)^2      d = source to isocenter - 150 mm
//! ```
//! with the tube's yield Y (air kerma at 1 m for each mAs, measured at U0), tube voltage U and charge Q. Yield and U0 come
//! from the configuration: they belong to one tube with its filter. The square of the voltage holds within some per cent
//! around U0. The dose area product is K times the field there, the whole detector projected back.

use carm::{DetectorGrid, Exposure, FrameHeader, Pedal};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// From the isocenter towards the tube, mm (IEC 60601-2-43, patient entrance reference point).
const REFERENCE_POINT_MM: f64 = 150.0;
/// A signal after each so much fluoroscopy (21 CFR 1020.32(h)), s.
const SIGNAL_EVERY_S: f64 = 300.0;
/// Air kerma rate is averaged over so long, ns.
const RATE_OVER_NS: u64 = 1_000_000_000;

/// A tube and its place, as calibrated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DoseSettings {
    /// Air kerma at 1 m for each mAs, uGy.
    pub yield_ugy_per_mas: f64,
    /// Tube voltage at which the yield was measured, kV.
    pub yield_at_kv: f64,
    /// mm.
    pub source_to_isocenter_mm: f64,
    /// mm.
    pub source_to_detector_mm: f64,
}

impl DoseSettings {
    fn reference_distance_mm(&self) -> f64 {
        self.source_to_isocenter_mm - REFERENCE_POINT_MM
    }

    /// Air kerma at the reference point of one exposure, uGy.
    pub fn air_kerma_ugy(&self, exposure: &Exposure) -> f64 {
        let voltage = exposure.tube_voltage_kv / self.yield_at_kv;
        let distance = 1000.0 / self.reference_distance_mm();
        self.yield_ugy_per_mas * voltage * voltage * exposure.tube_charge_mas() * distance * distance
    }

    /// The detector's area projected back to the reference point, cm^2.
    pub fn field_cm2(&self, detector: &DetectorGrid) -> f64 {
        let (pitch_u, pitch_v) = (detector.pixel_pitch_u_mm, detector.pixel_pitch_v_mm);
        let area_mm2 = detector.nu as f64 * pitch_u * detector.nv as f64 * pitch_v;
        let shrinks = self.reference_distance_mm() / self.source_to_detector_mm;
        area_mm2 * shrinks * shrinks * 1e-2
    }
}

/// Dose since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Dose {
    /// At the reference point over the last second, mGy a minute; zero without X-rays.
    pub air_kerma_rate_mgy_per_min: f64,
    /// At the reference point, mGy.
    pub air_kerma_mgy: f64,
    /// Gy cm^2.
    pub dose_area_product_gy_cm2: f64,
    /// With the pedal on fluoroscopy, s.
    pub fluoroscopy_s: f64,
    /// Another five minutes of fluoroscopy are over and nobody has said that they know.
    pub is_signal_on: bool,
    /// Frames with X-rays on for which no exposure was reported: their dose is missing above.
    pub frames_without_exposure: u64,
}

/// Adds up frame by frame; only the device's thread adds, without a lock.
#[derive(Debug, Default)]
pub(crate) struct DoseMeter {
    kerma_ugy: Number,
    rate_ugy_per_s: Number,
    fluoroscopy_s: Number,
    without_exposure: AtomicU64,
    signal: AtomicBool,
    /// Host time and air kerma when the present second began.
    since_ns: AtomicU64,
    since_ugy: Number,
    last_ns: AtomicU64,
}

/// An `f64` that one thread changes and others read.
#[derive(Debug, Default)]
struct Number(AtomicU64);

impl Number {
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Acquire))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Release);
    }
}

impl DoseMeter {
    /// Takes note of a frame.
    pub(crate) fn add(&self, settings: &DoseSettings, header: &FrameHeader, frame_rate_hz: f64) {
        if !header.is_xray_on {
            return;
        }
        let frame_ugy = settings.air_kerma_ugy(&header.exposure);
        if !(frame_ugy > 0.0 && frame_ugy.is_finite()) {
            self.without_exposure.fetch_add(1, Ordering::Release);
        } else {
            self.kerma_ugy.set(self.kerma_ugy.get() + frame_ugy);
        }
        if header.pedal == Pedal::Fluoroscopy {
            let before = self.fluoroscopy_s.get();
            let now = before + 1.0 / frame_rate_hz;
            self.fluoroscopy_s.set(now);
            if (now / SIGNAL_EVERY_S).floor() > (before / SIGNAL_EVERY_S).floor() {
                self.signal.store(true, Ordering::Release);
            }
        }
        self.follow_rate(header.stamps.host.0, frame_ugy, frame_rate_hz);
    }

    fn follow_rate(&self, now_ns: u64, frame_ugy: f64, frame_rate_hz: f64) {
        let since_ns = self.since_ns.load(Ordering::Acquire);
        let span_ns = now_ns.saturating_sub(since_ns);
        let is_new = now_ns.saturating_sub(self.last_ns.swap(now_ns, Ordering::AcqRel)) > RATE_OVER_NS;
        if is_new {
            // The pedal goes down: until a second has passed the first frame speaks for all.
            self.rate_ugy_per_s.set(frame_ugy * frame_rate_hz);
        } else if span_ns >= RATE_OVER_NS {
            let more = self.kerma_ugy.get() - self.since_ugy.get();
            self.rate_ugy_per_s.set(more / (span_ns as f64 * 1e-9));
        } else {
            return;
        }
        self.since_ns.store(now_ns, Ordering::Release);
        self.since_ugy.set(self.kerma_ugy.get());
    }

    /// Somebody knows of the five minutes.
    pub(crate) fn reset_signal(&self) {
        self.signal.store(false, Ordering::Release);
    }

    pub(crate) fn snapshot(
        &self,
        settings: &DoseSettings,
        detector: &DetectorGrid,
        is_xray_on: bool,
    ) -> Dose {
        let kerma_ugy = self.kerma_ugy.get();
        let rate_ugy_per_s = if is_xray_on { self.rate_ugy_per_s.get() } else { 0.0 };
        Dose {
            air_kerma_rate_mgy_per_min: rate_ugy_per_s * 60e-3,
            air_kerma_mgy: kerma_ugy * 1e-3,
            dose_area_product_gy_cm2: kerma_ugy * 1e-6 * settings.field_cm2(detector),
            fluoroscopy_s: self.fluoroscopy_s.get(),
            is_signal_on: self.signal.load(Ordering::Acquire),
            frames_without_exposure: self.without_exposure.load(Ordering::Acquire),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carm::HostTime;

    const TUBE: DoseSettings = DoseSettings {
        yield_ugy_per_mas: 60.0,
        yield_at_kv: 80.0,
        source_to_isocenter_mm: 785.0,
        source_to_detector_mm: 1200.0,
    };

    fn frame(number: u64, kv: f64, rate_hz: f64) -> FrameHeader {
        let exposure = Exposure { tube_voltage_kv: kv, tube_current_ma: 50.0, pulse_width_ms: 8.0 };
        let mut header =
            FrameHeader { is_xray_on: true, pedal: Pedal::Fluoroscopy, exposure, ..FrameHeader::default() };
        header.stamps.host = HostTime(5_000_000_000 + (number as f64 / rate_hz * 1e9) as u64);
        header
    }

    #[test]
    fn dose_agrees_with_closed_form() {
        // 60 uGy/mAs * (70/80)^2 * 0.4 mAs * (1000/635)^2, by hand 45.571 uGy a frame.
        let detector = DetectorGrid::new([1000, 800], [0.3, 0.3]).unwrap();
        let meter = DoseMeter::default();
        for number in 0..301 {
            meter.add(&TUBE, &frame(number, 70.0, 15.0), 15.0);
        }
        let dose = meter.snapshot(&TUBE, &detector, true);
        let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-3;
        assert!(close(dose.air_kerma_mgy, 301.0 * 45.571e-3), "{dose:?}");
        assert!(close(dose.air_kerma_rate_mgy_per_min, 15.0 * 60.0 * 45.571e-3), "{dose:?}");
        // 30 cm x 24 cm at 1200 mm are 201.6 cm^2 at 635 mm.
        assert!(close(dose.dose_area_product_gy_cm2, 301.0 * 45.571e-6 * 201.61), "{dose:?}");
        assert!(close(dose.fluoroscopy_s, 301.0 / 15.0) && !dose.is_signal_on, "{dose:?}");
        assert_eq!(meter.snapshot(&TUBE, &detector, false).air_kerma_rate_mgy_per_min, 0.0);
    }

    #[test]
    fn signal_comes_after_each_five_minutes_until_somebody_knows() {
        let detector = DetectorGrid::new([10, 10], [0.3, 0.3]).unwrap();
        let meter = DoseMeter::default();
        let is_on = || meter.snapshot(&TUBE, &detector, true).is_signal_on;
        let pulses =
            |count: u64| (0..count).for_each(|number| meter.add(&TUBE, &frame(number, 70.0, 7.5), 7.5));
        pulses(2249);
        assert!(!is_on());
        pulses(2);
        assert!(is_on());
        meter.reset_signal();
        pulses(2248);
        assert!(!is_on());
        pulses(2);
        assert!(is_on());
    }

    #[test]
    fn frames_without_a_reported_exposure_are_counted_and_not_guessed() {
        let detector = DetectorGrid::new([10, 10], [0.3, 0.3]).unwrap();
        let meter = DoseMeter::default();
        let dark = FrameHeader { is_xray_on: false, ..frame(0, 70.0, 30.0) };
        let untold = FrameHeader { exposure: Exposure::default(), ..frame(1, 70.0, 30.0) };
        meter.add(&TUBE, &dark, 30.0);
        meter.add(&TUBE, &untold, 30.0);
        let dose = meter.snapshot(&TUBE, &detector, true);
        assert_eq!((dose.air_kerma_mgy, dose.frames_without_exposure), (0.0, 1));
    }
}
