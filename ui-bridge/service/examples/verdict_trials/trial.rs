//! A spin of a drawn body with a known fault: an elliptical cylinder along the axis with dense balls in it, quantum noise,
//! another body for each seed.

use carm::converters::projection_from_carm_angles;
use carm::{
    BeamModel, CarmAngles, CarmDistances, DetectorCalibration, DetectorGrid, DeviceIdentity, Exposure,
    FrameHeader, GantryPose, PatientSetup, Pedal, PlannedView, RunDescription, WallTime,
};
use nalgebra::{Point3, Vector3};
use ndarray::Array2;
use service::{Advice, SpinWatch, Verdict};

const VIEWS: usize = 248;
const MU_PER_MM: f64 = 0.02;
const AIR_PER_MAS: f64 = 30_000.0;
const DARK: f32 = 200.0;
const NOW_NS: u64 = 1_800_000_000_000_000_000;
const DAY_NS: u64 = 86_400_000_000_000;

/// What is wrong with a spin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Every tenth view, and twenty in a row.
    MissingViews,
    /// The tube gives more than the panel takes.
    Saturation,
    /// 2 mm along the axis, half way or so.
    MotionAlong,
    /// 2 mm across it.
    MotionAcross,
    /// Maps of another day, and a tube that has changed since.
    StaleCalibration,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::MissingViews,
        Self::Saturation,
        Self::MotionAlong,
        Self::MotionAcross,
        Self::StaleCalibration,
    ];

    /// Findings that tell it, every one of them.
    pub fn findings(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::MissingViews => &["missing views", "largest gap"],
            Self::Saturation => &["saturation"],
            Self::MotionAlong | Self::MotionAcross => &["motion"],
            Self::StaleCalibration => &["calibration age", "calibration drift"],
        }
    }

    /// Whether a verdict tells of it; of no fault, whether it raises none.
    pub fn is_told(self, verdict: &Verdict) -> bool {
        let tells = |what: &&str| {
            verdict.findings.iter().any(|found| found.what == *what && found.advice > Advice::Accept)
        };
        match self {
            Self::None => verdict.advice == Advice::Accept,
            _ => self.findings().iter().all(tells),
        }
    }
}

/// xorshift64* of Vigna, 2016.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Mean 0, standard deviation 1: four uniform numbers.
    fn normal(&mut self) -> f64 {
        3f64.sqrt() * ((0..4).map(|_| self.unit()).sum::<f64>() - 2.0)
    }
}

struct Body {
    half_axes: [f64; 2],
    /// Centre, radius, 1/mm above the cylinder's.
    balls: Vec<(Point3<f64>, f64, f64)>,
}

impl Body {
    fn new(random: &mut Random) -> Self {
        let ball = |random: &mut Random| {
            let at = Point3::new(
                random.between(-45.0, 45.0),
                random.between(-35.0, 35.0),
                random.between(-60.0, 60.0),
            );
            (at, random.between(8.0, 18.0), random.between(0.01, 0.03))
        };
        Self {
            half_axes: [random.between(70.0, 90.0), random.between(55.0, 70.0)],
            balls: (0..6).map(|_| ball(random)).collect(),
        }
    }

    /// Line integral along a ray, the body displaced.
    fn line_integral(&self, source: &Point3<f64>, ray: &Vector3<f64>, moved: &Vector3<f64>) -> f64 {
        let start = source - moved;
        let ray = ray / ray.norm();
        let [a, b] = self.half_axes;
        let (o, d) = ([start.x / a, start.y / b], [ray.x / a, ray.y / b]);
        let (dd, od) = (d[0] * d[0] + d[1] * d[1], o[0] * d[0] + o[1] * d[1]);
        let inside = od * od - dd * (o[0] * o[0] + o[1] * o[1] - 1.0);
        let cylinder = if inside > 0.0 { MU_PER_MM * 2.0 * inside.sqrt() / dd } else { 0.0 };
        let ball = |(centre, radius, mu): &(Point3<f64>, f64, f64)| {
            let to = centre - start;
            let along = to.dot(&ray);
            let left = radius * radius - (to.norm_squared() - along * along);
            if left > 0.0 { mu * 2.0 * left.sqrt() } else { 0.0 }
        };
        cylinder + self.balls.iter().map(ball).sum::<f64>()
    }
}

/// A run without views: 352 x 256 pixels that see the whole body.
pub fn run() -> RunDescription {
    let detector = DetectorGrid::new([352, 256], [1.1, 1.1]).unwrap();
    let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
    let planned_views = (0..VIEWS)
        .map(|view| {
            let primary_rad = (-105.0 + 210.0 * view as f64 / (VIEWS - 1) as f64).to_radians();
            let angles = CarmAngles { primary_rad, secondary_rad: 0.0 };
            let projection_matrix = projection_from_carm_angles(angles, distances, &detector).unwrap();
            PlannedView { primary_angle_rad: primary_rad, projection_matrix }
        })
        .collect();
    let maps = DetectorCalibration {
        dark_counts: Array2::from_elem((256, 352), DARK),
        gain: Array2::from_elem((256, 352), 1.0),
        defects: vec![],
        air_intensity_per_mas: AIR_PER_MAS,
        electronic_variance: 10.0,
        variance_per_count: 1.0,
        saturation_counts: 60_000,
        tube_voltage_kv: 100.0,
        binning: 1,
        acquired: WallTime(NOW_NS - 5 * DAY_NS),
    };
    RunDescription {
        run_id: "trial".into(),
        protocol: "spin".into(),
        device: DeviceIdentity::default(),
        seed: None,
        detector,
        bits_stored: 16,
        frame_rate_hz: 30.0,
        planned_views,
        detector_calibration: Some(maps),
        beam: BeamModel {
            tube_voltage_kv: 100.0,
            effective_energy_kev: 60.0,
            mu_water_per_mm: MU_PER_MM,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup::default(),
        volume_grid: None,
        remarks: Vec::new(),
    }
}

/// A watched spin of the body of a seed, and the time at its end, ns since 1970.
pub fn spin(seed: u64, fault: Fault) -> (SpinWatch, u64) {
    let random = &mut Random(seed * 7919 + 1);
    let body = Body::new(random);
    let mut run = run();
    let (moves_at, direction) = (75 + seed as usize * 7 % 100, random.between(0.0, std::f64::consts::PI));
    let mut tube = 1.0;
    match fault {
        Fault::Saturation => tube = 2.4,
        Fault::StaleCalibration => {
            tube = 0.93;
            let maps = run.detector_calibration.as_mut().unwrap();
            maps.acquired = WallTime(NOW_NS - 40 * DAY_NS);
        }
        _ => {}
    }
    let mut watch = SpinWatch::new(run.clone());
    let gap = 50 + seed as usize * 7 % 120;
    for (view, planned) in run.planned_views.iter().enumerate() {
        if fault == Fault::MissingViews && (view % 10 == 3 || (gap..gap + 20).contains(&view)) {
            continue;
        }
        let moved = match fault {
            Fault::MotionAlong if view >= moves_at => Vector3::new(0.0, 0.0, 2.0),
            Fault::MotionAcross if view >= moves_at => {
                2.0 * Vector3::new(direction.cos(), direction.sin(), 0.0)
            }
            _ => Vector3::zeros(),
        };
        let source = planned.projection_matrix.source_position();
        let mut counts = vec![0; run.detector.pixel_count()];
        // One ray for four by four pixels, each with noise of its own.
        for v in (0..run.detector.nv).step_by(4) {
            for u in (0..run.detector.nu).step_by(4) {
                let ray = planned.projection_matrix.ray(u as f64 + 1.5, v as f64 + 1.5);
                let mean = tube * AIR_PER_MAS * (-body.line_integral(&source, &ray, &moved)).exp();
                for pixel in (0..16).map(|i| (v + i / 4) * run.detector.nu + u + i % 4) {
                    let count = mean + mean.sqrt() * random.normal() + f64::from(DARK);
                    counts[pixel] = count.clamp(0.0, 60_000.0) as u16;
                }
            }
        }
        let exposure = Exposure { tube_voltage_kv: 100.0, tube_current_ma: 100.0, pulse_width_ms: 10.0 };
        let header = FrameHeader {
            sequence: view as u64,
            is_xray_on: true,
            pedal: Pedal::Acquisition,
            gantry: GantryPose { primary_angle_rad: planned.primary_angle_rad, secondary_angle_rad: 0.0 },
            exposure,
            ..FrameHeader::default()
        };
        watch.take(&header, &counts);
    }
    (watch, NOW_NS)
}
