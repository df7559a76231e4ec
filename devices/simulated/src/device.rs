//! The virtual C-arm as a device: a frame at a time, from the patient to raw counts.
//!
//! The signal chain in order; order matters, because the scintillator blurs the quantum noise and not the electronic:
//!
//! ```text
//! paths -> primary (energies summed) -> focal spot and pixel aperture -> + scatter -> quanta -> scintillator and glare
//!       -> gain -> lag -> offset, electronic noise -> defects -> rounding, saturation
//! ```

use crate::beam::{Beam, Paths, Received};
use crate::blur::{Blur, Border, sinc};
use crate::detector::Panel;
use crate::error::{SimulationError, require};
use crate::inserts::Insert;
use crate::lag::{self, Lag};
use crate::materials::Material;
use crate::options::{Effects, Options};
use crate::patient::{Patient, ResolvedBody};
use crate::project::BUNDLE;
use crate::protocol::{DetectorPlan, Protocol, RunKind};
use crate::random::{Purpose, Stream};
use crate::scatter::Scatter;
use crate::vessels::{Moment, OrganBody};
use crate::views::{Schedule, calibration_time};
use carm::{
    BeamModel, DetectorCalibration, DetectorGrid, DeviceError, DeviceIdentity, Exposure, FrameHeader,
    FrameSource, GantryPose, PatientSetup, Pedal, ProjectionMatrix, RunDescription, SourceEvent, VolumeGrid,
};
use nalgebra::{Isometry3, Matrix3, Point3, Vector3};
use ndarray::Array2;
use rayon::prelude::*;
use std::f64::consts::PI;

/// Frequency at which the scintillator's MTF falls to a half, 1/mm: 0.60, 0.27 and 0.14 at 1, 2 and 3 line pairs/mm.
pub(crate) const SCINTILLATOR_HALF_MTF_PER_MM: f64 = 1.22;
/// Share of the light that spreads as glare, and its range, mm: (1-a) δ + a/(2πb²) (1 + r²/b²)^-1.5.
const GLARE_SHARE: f64 = 0.05;
const GLARE_RANGE_MM: f64 = 5.0;
/// How well an edge's long tail tells share and range of the glare.
const GLARE_MEASURED_WITHIN: f64 = 0.04;
/// Side of the focal spot as a box, mm, and the share of off-focal radiation with its range at the focal spot, mm.
const FOCAL_SPOT_MM: f64 = 0.6;
const OFF_FOCAL_SHARE: f64 = 0.02;
const OFF_FOCAL_RANGE_MM: f64 = 3.0;
/// Rows of a tile that one task projects: the rays of a column of it walk together.
const TILE_ROWS: usize = BUNDLE;
/// Step at which the tissue that a device displaces is sampled, mm.
const DISPLACED_STEP_MM: f64 = 0.5;
/// A reported exposure is off by at most this share.
const EXPOSURE_ERROR: f64 = 0.01;
/// Flat fields for calibration: frames given to settle, frames averaged up to.
const FLAT_FRAMES: (usize, usize) = (16, 80);

/// A C-arm that images a [`Patient`] by a [`Protocol`].
///
/// A [`FrameSource`] that delivers as fast as it computes; pacing is for whoever plays it.
pub struct SimulatedCarm {
    pub(crate) protocol: Protocol,
    pub(crate) options: Options,
    pub(crate) effects: Effects,
    pub(crate) schedule: Schedule,
    pub(crate) beam: Beam,
    pub(crate) body: ResolvedBody,
    pub(crate) organs: Option<OrganBody>,
    pub(crate) setup: PatientSetup,
    pub(crate) detector: DetectorGrid,
    /// Energy of the bare beam on one pixel, keV, after the grid.
    air_kev: f64,
    counts_per_kev: f64,
    pub(crate) panel: Panel,
    lag: Option<Lag>,
    focal_blur: Option<Blur>,
    light_blur: Option<Blur>,
    pub(crate) scatter: Option<Scatter>,
    description: RunDescription,
    next_view: usize,
    /// Centre (LPS) and radius of a ball around each device.
    insert_bounds: Vec<(Point3<f64>, f64)>,
}

/// Where the arm is, seen from the patient, and how the patient's organs are.
pub(crate) struct Pose {
    pub matrix: ProjectionMatrix,
    organs: Option<Moment>,
}

/// What falls on the detector before any noise, `[v, u]`.
pub(crate) struct Expected {
    /// Primary relative to the bare beam, without the grid.
    pub transmission: Array2<f32>,
    /// Variance over mean of the absorbed energy, keV.
    pub quantum_kev: Array2<f32>,
}

impl SimulatedCarm {
    /// Sets the machine up. Flat and dark fields ignore the patient.
    ///
    /// # Errors
    /// [`SimulationError::OutOfRange`] for options or a protocol that cannot be, [`SimulationError::UnknownSpectrum`],
    /// [`SimulationError::NotABodyMaterial`].
    pub fn new(mut protocol: Protocol, patient: Patient, options: Options) -> Result<Self, SimulationError> {
        check(&options)?;
        if let Some(views) = options.views {
            protocol.views = views;
            protocol.gantry.ramp_s = protocol.gantry.ramp_s.min(0.25 * views as f64 / protocol.frame_rate_hz);
        }
        protocol.check()?;
        let effects = options.effective();
        let detector = protocol.detector_grid()?;
        let plan = &protocol.beam;
        let is_monoenergetic = options.ideal && !options.polychromatic_when_ideal;
        let beam = Beam::new(&plan.spectrum, plan.effective_energy_kev, is_monoenergetic)?;
        let pixel_mm2 = protocol.detector.pixel_pitch_mm.powi(2);
        let inverse_square = (1000.0 / protocol.gantry.source_to_detector_mm).powi(2);
        let mas = plan.tube_current_ma * plan.pulse_width_ms * 1e-3;
        let air_kev =
            beam.air_kev_per_mm2_mas * mas * inverse_square * pixel_mm2 * plan.grid_primary_transmission;
        require("energy of the bare beam on a pixel in keV", "a positive number", air_kev > 0.0, air_kev)?;
        let counts_per_kev = protocol.detector.air_counts / air_kev;
        let light_blur = (effects.blur || effects.glare).then(|| light_blur(&detector, effects));
        let setup = *patient.setup();
        let schedule = Schedule::new(&protocol, &setup, &options, &effects)?;
        let organs = patient.organ_body(plan.effective_energy_kev)?;
        let body = patient.resolve(plan.effective_energy_kev)?;
        let noise_gain = light_blur.as_ref().map_or(1.0, Blur::white_noise_gain);
        let panel = if effects.detector_faults {
            let bare = beam.receive(&Paths::default(), &[]);
            let variance = f64::from(bare.quantum_kev) * air_kev * noise_gain;
            let sdd = protocol.gantry.source_to_detector_mm;
            Panel::real(&protocol.detector, sdd, variance.sqrt() * counts_per_kev, options.machine_seed)
        } else {
            Panel::perfect(&protocol.detector)
        };
        let grid_ratio = plan.grid_scatter_transmission / plan.grid_primary_transmission;
        let scatter =
            (effects.scatter && has_patient(protocol.kind)).then(|| Scatter::new(&protocol, grid_ratio));
        let insert_bounds = options.inserts.iter().map(Insert::bounds).collect();
        let mut arm = Self {
            lag: effects.lag.then(|| Lag::new(detector.pixel_count(), protocol.detector.air_counts)),
            focal_blur: effects.blur.then(|| focal_blur(&protocol, &detector, options.rays_per_pixel_side)),
            description: RunDescription {
                run_id: format!("simulated-{}-seed{}", protocol.name, options.seed),
                protocol: protocol.name.clone(),
                device: DeviceIdentity {
                    manufacturer: "Isocenter".into(),
                    model: "virtual C-arm".into(),
                    serial_number: options.machine_seed.to_string(),
                },
                seed: Some(options.seed),
                detector,
                bits_stored: protocol.detector.bits,
                frame_rate_hz: protocol.frame_rate_hz,
                planned_views: schedule.planned(protocol.kind)?,
                detector_calibration: None,
                beam: BeamModel {
                    tube_voltage_kv: plan.tube_voltage_kv,
                    effective_energy_kev: plan.effective_energy_kev,
                    mu_water_per_mm: Material::Water.mu_per_mm(plan.effective_energy_kev),
                    water_precorrection: beam.water_precorrection(),
                },
                patient: setup,
                volume_grid: volume_grid(&protocol, &setup)?,
                remarks: options.remarks(is_monoenergetic),
            },
            protocol,
            options,
            effects,
            schedule,
            beam,
            body,
            organs,
            setup,
            detector,
            air_kev,
            counts_per_kev,
            panel,
            light_blur,
            scatter,
            next_view: 0,
            insert_bounds,
        };
        if has_patient(arm.protocol.kind) {
            arm.description.detector_calibration = Some(arm.calibration(mas, noise_gain));
            if arm.effects.lag || arm.effects.glare {
                arm.description.remarks.push(arm.panel_model());
            }
        }
        Ok(arm)
    }

    /// The remark by which a run tells its panel's lag and glare, as measured on this machine and not as they are:
    /// `acquisition`'s `PanelModel` reads it.
    fn panel_model(&self) -> String {
        let seed = self.options.machine_seed;
        let lag = self.effects.lag.then(|| {
            let DetectorPlan { air_counts, .. } = self.protocol.detector;
            let flat_gain = lag::mean_gain(FLAT_FRAMES.0, FLAT_FRAMES.1);
            lag::measured(seed, air_counts, self.protocol.frame_rate_hz, flat_gain)
        });
        let glare = self.effects.glare.then(|| {
            let mut stream = Stream::new(seed, 0, 0, Purpose::GlareModel);
            let mut measured =
                |truth: f64| truth * (1.0 + GLARE_MEASURED_WITHIN * (2.0 * stream.uniform() - 1.0));
            format!("glare={}:{}", measured(GLARE_SHARE), measured(GLARE_RANGE_MM))
        });
        let parts = [Some("panel-model".to_owned()), lag, glare];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Energy of the bare beam on one pixel behind the grid, keV.
    pub(crate) fn air_kev(&self) -> f64 {
        self.air_kev
    }

    /// Frames that the device produces, lost ones included.
    pub fn views(&self) -> usize {
        self.protocol.views
    }

    /// The maps as measured before the run, an hour ago.
    fn calibration(&self, mas: f64, noise_gain: f64) -> DetectorCalibration {
        let typical = Paths { water: 20.0, ..Paths::default() };
        let quantum_kev = f64::from(self.beam.receive(&typical, &[]).quantum_kev);
        let settled = if self.effects.lag { lag::mean_gain(FLAT_FRAMES.0, FLAT_FRAMES.1) } else { 1.0 };
        DetectorCalibration {
            dark_counts: self.panel.calibrated_offset.clone(),
            gain: self.panel.calibrated_gain.clone(),
            defects: self.panel.calibrated_defects.clone(),
            air_intensity_per_mas: self.protocol.detector.air_counts * settled / mas,
            electronic_variance: self.panel.electronic_variance(),
            variance_per_count: if self.effects.noise {
                quantum_kev * self.counts_per_kev * noise_gain
            } else {
                0.0
            },
            saturation_counts: self.panel.saturation_counts(),
            tube_voltage_kv: self.protocol.beam.tube_voltage_kv,
            binning: if self.protocol.detector.pixel_pitch_mm > 0.5 { 2 } else { 1 },
            acquired: calibration_time(),
        }
    }

    /// Computes the raw counts of one view. Lag makes it depend on the views before it.
    fn expose(&mut self, view: usize, counts: &mut [u16]) -> Result<(), SimulationError> {
        let mut signal = match self.protocol.kind {
            RunKind::DarkField => Array2::zeros((self.detector.nv, self.detector.nu)),
            _ => {
                let mut expected = self.expected(view)?;
                let scatter = self.expected_scatter(&expected);
                if let Some(blur) = &self.focal_blur {
                    blur.apply(&mut expected.transmission);
                }
                self.quanta(view, expected, scatter)
            }
        };
        if let Some(blur) = self.light_blur.as_ref().filter(|_| self.protocol.kind != RunKind::DarkField) {
            blur.apply(&mut signal);
        }
        let scale = self.counts_per_kev as f32;
        let signal = signal.as_slice_mut().expect("standard layout");
        let gain = self.panel.gain.as_slice().expect("standard layout");
        signal.par_iter_mut().zip(gain).for_each(|(value, gain)| *value *= scale * gain);
        if let Some(lag) = &mut self.lag {
            lag.expose(signal);
        }
        self.panel.read_out(signal, self.options.seed, view as u32, counts);
        Ok(())
    }

    /// Scatter relative to the bare beam's primary, both behind the grid.
    pub(crate) fn expected_scatter(&self, expected: &Expected) -> Option<Array2<f32>> {
        let mu_water_per_mm = self.description.beam.mu_water_per_mm;
        self.scatter.as_ref().map(|scatter| scatter.image(&expected.transmission, mu_water_per_mm))
    }

    /// Draws the absorbed energy of every pixel, keV: a Poisson number of quanta as large as the mean quantum, which
    /// keeps mean and variance of the compound Poisson sum over energies.
    fn quanta(&self, view: usize, expected: Expected, scatter: Option<Array2<f32>>) -> Array2<f32> {
        let Expected { mut transmission, quantum_kev } = expected;
        if let Some(scatter) = scatter {
            transmission += &scatter;
        }
        let (air, seed, noise) = (self.air_kev, self.options.seed, self.effects.noise);
        let quantum = quantum_kev.as_slice().expect("standard layout");
        let values = transmission.as_slice_mut().expect("standard layout");
        let nu = self.detector.nu;
        values.par_chunks_mut(nu).enumerate().for_each(|(v, row)| {
            for (u, value) in row.iter_mut().enumerate() {
                let mean = f64::from(*value) * air;
                if !noise {
                    *value = mean as f32;
                    continue;
                }
                let pixel = v * nu + u;
                let quantum = f64::from(quantum[pixel]);
                let count =
                    Stream::new(seed, view as u32, pixel as u32, Purpose::Quanta).poisson(mean / quantum);
                *value = (count * quantum) as f32;
            }
        });
        transmission
    }

    /// The primary of one view, averaged over rays and sub-frames.
    pub(crate) fn expected(&self, view: usize) -> Result<Expected, SimulationError> {
        let size = (self.detector.nv, self.detector.nu);
        let mut transmission = Array2::<f32>::zeros(size);
        let mut quantum_kev = Array2::<f32>::zeros(size);
        let poses = self.poses(view)?;
        let share = 1.0 / (poses.len() * self.options.rays_per_pixel_side.pow(2)) as f32;
        let nu = self.detector.nu;
        let tiles = transmission.as_slice_mut().expect("standard layout").par_chunks_mut(nu * TILE_ROWS);
        let quanta = quantum_kev.as_slice_mut().expect("standard layout").par_chunks_mut(nu * TILE_ROWS);
        tiles.zip(quanta).enumerate().for_each(|(tile, (transmission, quantum))| {
            let mut metal = MetalPaths::default();
            let mut received = [Received::default(); TILE_ROWS];
            let rows = transmission.len() / nu;
            for pose in &poses {
                // Down the rows first: neighbours along them share voxels in the cache.
                for u in 0..nu {
                    let first_row = tile * TILE_ROWS;
                    self.receive_down(pose, [u, first_row], &mut received[..rows], &mut metal);
                    for (row, received) in received[..rows].iter().enumerate() {
                        transmission[row * nu + u] += share * received.transmission;
                        quantum[row * nu + u] += share * received.quantum_kev;
                    }
                }
            }
        });
        Ok(Expected { transmission, quantum_kev })
    }

    /// The poses within one pulse, seen from the patient.
    pub(crate) fn poses(&self, view: usize) -> Result<Vec<Pose>, SimulationError> {
        self.schedule.sub_frames_s(view).map(|time_s| self.pose(time_s)).collect()
    }

    /// Arm and patient at a time since the start.
    pub(crate) fn pose(&self, time_s: f64) -> Result<Pose, SimulationError> {
        let matrix = self.schedule.true_matrix(time_s)?.for_space(&self.schedule.world_from_lps(time_s));
        let bolus = self.protocol.bolus.as_ref();
        let organs = self.organs.as_ref().filter(|_| has_patient(self.protocol.kind));
        Ok(Pose { matrix, organs: organs.map(|organs| organs.at(bolus, time_s)) })
    }

    /// Sums over the rays of each pixel of a stretch of one column that starts at `[u, v]`.
    fn receive_down(
        &self,
        pose: &Pose,
        [u, v]: [usize; 2],
        received: &mut [Received],
        metal: &mut MetalPaths,
    ) {
        received.fill(Received::default());
        let source = pose.matrix.source_position();
        let mut directions = [Vector3::zeros(); TILE_ROWS];
        let mut bodies = [[0.0; 4]; TILE_ROWS];
        let rows = received.len();
        for [du, dv] in self.ray_positions([0.0, 0.0]) {
            for (row, direction) in directions[..rows].iter_mut().enumerate() {
                *direction = pose.matrix.ray(u as f64 + du, (v + row) as f64 + dv);
            }
            if has_patient(self.protocol.kind) {
                self.body.bundle(&source, &directions[..rows], &mut bodies[..rows]);
            }
            for ((received, direction), body) in received.iter_mut().zip(&directions).zip(&bodies) {
                let body = self.with_organs(*body, pose, &source, direction);
                let paths = self.with_devices(body, &source, direction, metal);
                let ray = self.beam.receive(&paths, &metal.areal);
                received.transmission += ray.transmission;
                received.quantum_kev += ray.quantum_kev;
            }
        }
    }

    /// Where the rays of a pixel meet the detector.
    pub(crate) fn ray_positions(&self, [u, v]: [f64; 2]) -> impl Iterator<Item = [f64; 2]> + use<> {
        let side = self.options.rays_per_pixel_side;
        let offset = move |n: usize| (n as f64 + 0.5) / side as f64 - 0.5;
        (0..side * side).map(move |n| [u + offset(n % side), v + offset(n / side)])
    }

    /// Areal densities along the ray of one (fractional) pixel; those of devices go to `metal`.
    pub(crate) fn paths(&self, pose: &Pose, u: f64, v: f64, metal: &mut MetalPaths) -> Paths {
        let source = pose.matrix.source_position();
        let direction = pose.matrix.ray(u, v);
        let body = self.body.line_integrals(&source, &direction);
        let body = self.with_organs(body, pose, &source, &direction);
        metal.vessels_mm = body[3];
        self.with_devices(body, &source, &direction, metal)
    }

    /// The body's line integrals (mm g/cm³) with those of its organs, and last the length within vessels, mm.
    fn with_organs(
        &self,
        mut body: [f32; 4],
        pose: &Pose,
        source: &Point3<f64>,
        direction: &Vector3<f64>,
    ) -> [f32; 4] {
        if let Some((organs, moment)) = self.organs.as_ref().zip(pose.organs.as_ref()) {
            let added = organs.line_integrals(moment, source, direction);
            body.iter_mut().zip(added).for_each(|(sum, value)| *sum += value);
        }
        body
    }

    /// The body's line integrals (mm g/cm³) with the devices' in their place.
    fn with_devices(
        &self,
        mut body: [f32; 4],
        source: &Point3<f64>,
        direction: &Vector3<f64>,
        metal: &mut MetalPaths,
    ) -> Paths {
        metal.areal.clear();
        if has_patient(self.protocol.kind) && !self.options.inserts.is_empty() {
            let along = direction / direction.norm();
            for (insert, (centre, radius)) in self.options.inserts.iter().zip(&self.insert_bounds) {
                // Most rays pass by.
                if (centre - source).cross(&along).norm() <= *radius {
                    self.cross_insert(insert, source, &along, metal, &mut body);
                }
            }
        }
        // mm g/cm³ to g/cm².
        Paths { water: 0.1 * body[0], bone: 0.1 * body[1], iodine: 0.1 * body[2] }
    }

    /// Adds a device's path and takes out the tissue that it displaces.
    fn cross_insert(
        &self,
        insert: &Insert,
        source: &Point3<f64>,
        along: &Vector3<f64>,
        metal: &mut MetalPaths,
        body: &mut [f32; 4],
    ) {
        insert.stretches(source, along, &mut metal.stretches);
        let mut length_mm = 0.0;
        for (enter, leave) in &metal.stretches {
            length_mm += leave - enter;
            let steps = ((leave - enter) / DISPLACED_STEP_MM).ceil();
            let step = (leave - enter) / steps;
            for n in 0..steps as usize {
                let displaced = self.body.densities(&(source + along * (enter + (n as f64 + 0.5) * step)));
                for (body, density) in body.iter_mut().zip(displaced) {
                    *body -= (density * step) as f32;
                }
            }
        }
        if length_mm > 0.0 {
            metal.areal.push((insert.material, 0.1 * length_mm * insert.material.density_g_cm3()));
        }
    }

    fn header(&self, view: usize) -> FrameHeader {
        let (stamps, mid_exposure) = self.schedule.stamps(view);
        let beam = &self.protocol.beam;
        let reported = if self.effects.exposure_error {
            let draw = Stream::new(self.options.seed, view as u32, 0, Purpose::Exposure).uniform();
            1.0 + EXPOSURE_ERROR * (2.0 * draw - 1.0)
        } else {
            1.0
        };
        let is_xray_on = self.protocol.kind != RunKind::DarkField;
        FrameHeader {
            sequence: view as u64,
            stamps,
            mid_exposure,
            is_xray_on,
            pedal: match self.protocol.kind {
                RunKind::DarkField => Pedal::Released,
                RunKind::Fluoroscopy => Pedal::Fluoroscopy,
                RunKind::Spin | RunKind::Angiography | RunKind::FlatField => Pedal::Acquisition,
            },
            gantry: GantryPose {
                primary_angle_rad: self.schedule.measured_angle_rad(view),
                secondary_angle_rad: self.protocol.gantry.secondary_angle_deg.to_radians(),
            },
            exposure: if is_xray_on {
                Exposure {
                    tube_voltage_kv: beam.tube_voltage_kv,
                    tube_current_ma: beam.tube_current_ma * reported,
                    pulse_width_ms: beam.pulse_width_ms,
                }
            } else {
                Exposure::default()
            },
        }
    }

    fn is_lost(&self, view: usize) -> bool {
        let draw = || Stream::new(self.options.seed, view as u32, 0, Purpose::Drop).uniform();
        !self.options.ideal && self.options.drop_share > 0.0 && draw() < self.options.drop_share
    }
}

impl FrameSource for SimulatedCarm {
    fn description(&self) -> &RunDescription {
        &self.description
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        DeviceError::check_slot(slot, self.detector.pixel_count())?;
        while self.next_view < self.protocol.views {
            let view = self.next_view;
            self.next_view += 1;
            // A lost frame was exposed all the same: its charge stays in the panel.
            if self.is_lost(view) && self.lag.is_none() {
                continue;
            }
            self.expose(view, slot).map_err(|error| DeviceError::Failed {
                device: "virtual C-arm".into(),
                reason: format!("view {view} could not be computed"),
                source: Some(Box::new(error)),
            })?;
            if !self.is_lost(view) {
                return Ok(SourceEvent::Frame(self.header(view)));
            }
        }
        Ok(SourceEvent::End)
    }
}

/// Scratch for the devices that a ray crosses.
#[derive(Default)]
pub(crate) struct MetalPaths {
    /// Material and areal density, g/cm².
    pub areal: Vec<(Material, f64)>,
    /// Length within vessels, mm.
    pub vessels_mm: f32,
    stretches: Vec<(f64, f64)>,
}

pub(crate) fn has_patient(kind: RunKind) -> bool {
    matches!(kind, RunKind::Spin | RunKind::Fluoroscopy | RunKind::Angiography)
}

fn check(options: &Options) -> Result<(), SimulationError> {
    let rays = options.rays_per_pixel_side;
    require("rays along a pixel's side", "1 to 4", (1..=4).contains(&rays), rays as f64)?;
    let sub_frames = options.sub_frames;
    require("sub-frames of a pulse", "1 to 16", (1..=16).contains(&sub_frames), sub_frames as f64)?;
    let drops = options.drop_share;
    require("share of frames lost", "0 to 1", (0.0..=1.0).contains(&drops), drops)?;
    options.inserts.iter().try_for_each(Insert::check)
}

fn volume_grid(protocol: &Protocol, setup: &PatientSetup) -> Result<Option<VolumeGrid>, SimulationError> {
    let Some(plan) = &protocol.volume else { return Ok(None) };
    let isocenter_lps = setup.lps_from_world() * Point3::origin();
    Ok(Some(VolumeGrid::centred(plan.shape, [plan.voxel_mm; 3], Matrix3::identity(), isocenter_lps)?))
}

/// Focal spot scaled by the magnification of the isocenter, off-focal radiation, and what the pixel's aperture adds to
/// the rays' own sampling.
fn focal_blur(protocol: &Protocol, detector: &DetectorGrid, rays_per_side: usize) -> Blur {
    let gantry = &protocol.gantry;
    let scale = gantry.source_to_detector_mm / gantry.source_to_isocenter_mm - 1.0;
    let (spot, range) = (FOCAL_SPOT_MM * scale, OFF_FOCAL_RANGE_MM * scale);
    let pitch = [detector.pixel_pitch_u_mm, detector.pixel_pitch_v_mm];
    let n = rays_per_side as f64;
    Blur::new([detector.nu, detector.nv], pitch, 32, Border::Edge, move |fu, fv| {
        let core = sinc(fu * spot) * sinc(fv * spot);
        let off_focal = (-2.0 * (PI * range).powi(2) * (fu * fu + fv * fv)).exp();
        let aperture = sinc(fu * pitch[0] / n) * sinc(fv * pitch[1] / n);
        aperture * ((1.0 - OFF_FOCAL_SHARE) * core + OFF_FOCAL_SHARE * off_focal)
    })
}

/// Scintillator, glare or both.
fn light_blur(detector: &DetectorGrid, effects: Effects) -> Blur {
    let pitch = [detector.pixel_pitch_u_mm, detector.pixel_pitch_v_mm];
    let margin = (40.0 / detector.pixel_pitch_u_mm) as usize;
    Blur::new([detector.nu, detector.nv], pitch, margin, Border::Edge, move |fu, fv| {
        light_mtf(effects, fu, fv)
    })
}

/// The MTF asked for: the scintillator's times the glare's.
pub(crate) fn light_mtf(effects: Effects, fu: f64, fv: f64) -> f64 {
    let f = fu.hypot(fv);
    let scintillator = 1.0 / (1.0 + (f / SCINTILLATOR_HALF_MTF_PER_MM).powi(2));
    let glare = 1.0 - GLARE_SHARE + GLARE_SHARE * (-2.0 * PI * GLARE_RANGE_MM * f).exp();
    (if effects.blur { scintillator } else { 1.0 }) * (if effects.glare { glare } else { 1.0 })
}

impl SimulatedCarm {
    /// Patient coordinates of the world (room) at the reference phase.
    pub fn lps_from_world(&self) -> Isometry3<f64> {
        self.setup.lps_from_world()
    }
}
