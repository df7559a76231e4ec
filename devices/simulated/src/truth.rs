//! What nobody knows of a real patient: the attenuation itself, and each view without noise.

use crate::device::{MetalPaths, Pose, SimulatedCarm};
use crate::error::SimulationError;
use crate::inserts::Insert;
use crate::patient::ResolvedBody;
use crate::project::VoxelBody;
use crate::shapes::ShapeBody;
use carm::{PixelDefect, ProjectionMatrix, Quantity, Volume, VolumeGrid};
use nalgebra::{Isometry3, Point3, Vector3};
use ndarray::{Array2, Array3};
use rayon::prelude::*;

/// Samples along each side of a voxel that a shape's surface crosses.
const SURFACE_SAMPLES: usize = 5;

/// One view as it is before noise, blur, lag and electronics. Images are `[v, u]`.
#[derive(Clone, Debug)]
pub struct FrameTruth {
    /// Line integral at the effective energy, dimensionless, devices included.
    pub line_integrals: Array2<f32>,
    /// Areal density of water (and soft tissue as water), g/cm².
    pub water_g_cm2: Array2<f32>,
    /// Areal density of cortical bone, g/cm².
    pub bone_g_cm2: Array2<f32>,
    /// Areal density of iodine, g/cm².
    pub iodine_g_cm2: Array2<f32>,
    /// Length of each ray within vessels, whatever they hold, mm.
    pub vessels_mm: Array2<f32>,
    /// Areal density of all devices together, g/cm².
    pub metal_g_cm2: Array2<f32>,
    /// Primary signal relative to the bare beam.
    pub transmission: Array2<f32>,
    /// Scatter relative to the bare beam's primary, both behind the grid; absent where it is off.
    pub scatter: Option<Array2<f32>>,
    /// Expected absorbed quanta in each pixel, of primary and scatter.
    pub photons: Array2<f32>,
    /// The matrix that the arm really had in the world at mid-exposure.
    pub true_matrix: ProjectionMatrix,
    /// The matrix that calibration gives for the measured angle.
    pub calibrated_matrix: ProjectionMatrix,
    /// Moved world from reference world: where the patient went.
    pub motion: Isometry3<f64>,
}

impl SimulatedCarm {
    /// The patient at the reference phase with all devices, as attenuation at the effective energy.
    ///
    /// `grid`: in LPS. Each voxel holds the mean of the body over its box: of the interpolated CT (one sample where the
    /// grid is as fine as the CT, more where it is coarser), or of the shapes (5³ samples where a surface crosses).
    pub fn truth(&self, grid: &VolumeGrid) -> Volume {
        let mu = self.beam.effective_cm2_g.map(|cm2_g| 0.1 * cm2_g);
        let mut values = match &self.body {
            ResolvedBody::Voxels(body) => voxel_truth(body, grid, mu),
            ResolvedBody::Shapes(body) => shape_truth(body, grid, mu),
        };
        if let Some(organs) = &self.organs {
            values += &shape_truth(&organs.shapes, grid, mu);
        }
        for insert in &self.options.inserts {
            self.put_insert(insert, grid, mu, &mut values);
        }
        Volume::new(*grid, values, Quantity::MuPerMm)
    }

    /// Pixels that went bad after calibration.
    pub fn late_defects(&self) -> Vec<PixelDefect> {
        self.panel.late_defects()
    }

    /// Devices in the patient, with their poses at the reference phase.
    pub fn inserts(&self) -> &[Insert] {
        &self.options.inserts
    }

    /// One view without noise, averaged over the rays of each pixel at the middle of the exposure; `transmission`,
    /// `scatter` and `photons` over the sub-frames too.
    ///
    /// # Errors
    /// [`SimulationError::NoSuchView`].
    pub fn truth_frame(&self, view: usize) -> Result<FrameTruth, SimulationError> {
        if view >= self.views() {
            return Err(SimulationError::NoSuchView { views: self.views(), found: view });
        }
        let time_s = self.schedule.mid_exposure_s(view);
        let true_matrix = self.schedule.true_matrix(time_s)?;
        let pose = self.pose(time_s)?;
        let [water, bone, iodine, vessels, metal, line] = self.path_images(&pose);
        let expected = self.expected(view)?;
        let scatter = self.expected_scatter(&expected);
        let mut received = expected.transmission.clone();
        if let Some(scatter) = &scatter {
            received += scatter;
        }
        let photons = received / &expected.quantum_kev * self.air_kev() as f32;
        Ok(FrameTruth {
            line_integrals: line,
            water_g_cm2: water,
            bone_g_cm2: bone,
            iodine_g_cm2: iodine,
            vessels_mm: vessels,
            metal_g_cm2: metal,
            transmission: expected.transmission,
            scatter,
            photons,
            true_matrix,
            calibrated_matrix: self.schedule.calibrated(view)?,
            motion: self.schedule.patient_motion(time_s),
        })
    }

    /// Water, bone, iodine (g/cm²), vessels (mm), devices (g/cm²) and the line integral at the effective energy.
    fn path_images(&self, pose: &Pose) -> [Array2<f32>; 6] {
        let (nu, nv) = (self.detector.nu, self.detector.nv);
        let rows: Vec<Vec<[f32; 6]>> = (0..nv)
            .into_par_iter()
            .map(|v| {
                let mut metal = MetalPaths::default();
                (0..nu).map(|u| self.mean_paths(pose, [u as f64, v as f64], &mut metal)).collect()
            })
            .collect();
        std::array::from_fn(|part| Array2::from_shape_fn((nv, nu), |(v, u)| rows[v][u][part]))
    }

    fn mean_paths(&self, pose: &Pose, pixel: [f64; 2], metal: &mut MetalPaths) -> [f32; 6] {
        let mut sum = [0.0; 6];
        let mut rays = 0.0;
        for [u, v] in self.ray_positions(pixel) {
            let paths = self.paths(pose, u, v, metal);
            let devices: f64 = metal.areal.iter().map(|(_, g_cm2)| g_cm2).sum();
            let line = self.beam.line_integral(&paths, &metal.areal);
            let parts =
                [paths.water, paths.bone, paths.iodine, metal.vessels_mm, devices as f32, line as f32];
            for (sum, part) in sum.iter_mut().zip(parts) {
                *sum += part;
            }
            rays += 1.0;
        }
        sum.map(|value| value / rays)
    }

    fn put_insert(&self, insert: &Insert, grid: &VolumeGrid, mu: [f64; 3], values: &mut Array3<f32>) {
        let metal = insert.material.mu_per_mm(self.protocol.beam.effective_energy_kev);
        let (centre, radius) = insert.bounds();
        let half = Vector3::repeat(radius);
        fill(
            grid,
            &centre,
            &half,
            |point| insert.contains(point),
            |at, share, point| {
                let tissue: f64 =
                    self.body.densities(point).iter().zip(mu).map(|(density, mu)| density * mu).sum();
                values[at] += (share * (metal - tissue)) as f32;
            },
        );
    }
}

fn voxel_truth(body: &VoxelBody, grid: &VolumeGrid, mu: [f64; 3]) -> Array3<f32> {
    let [nx, ny, nz] = grid.shape;
    // Body voxels that one step of the grid crosses, along each of the grid's axes.
    let samples: [usize; 3] = std::array::from_fn(|axis| {
        let step = body.voxel_from_lps * grid.direction.column(axis) * grid.spacing_mm[axis];
        (step.amax() - 1e-6).ceil().clamp(1.0, 8.0) as usize
    });
    let offset = |n: usize, count: usize| (n as f64 + 0.5) / count as f64 - 0.5;
    let share = 1.0 / samples.iter().product::<usize>() as f64;
    let mut values = Array3::<f32>::zeros((nz, ny, nx));
    values.as_slice_mut().expect("standard layout").par_chunks_mut(nx).enumerate().for_each(|(row, line)| {
        let (j, k) = (row % ny, row / ny);
        for (i, value) in line.iter_mut().enumerate() {
            let mut sum = 0.0;
            for n in 0..samples.iter().product() {
                let (a, b, c) = (n % samples[0], n / samples[0] % samples[1], n / samples[0] / samples[1]);
                let point = grid.point(
                    i as f64 + offset(a, samples[0]),
                    j as f64 + offset(b, samples[1]),
                    k as f64 + offset(c, samples[2]),
                );
                let densities = body.densities(&point);
                sum += densities.iter().zip(mu).map(|(density, mu)| density * mu).sum::<f64>();
            }
            *value = (sum * share) as f32;
        }
    });
    values
}

fn shape_truth(body: &ShapeBody, grid: &VolumeGrid, mu: [f64; 3]) -> Array3<f32> {
    let [nx, ny, nz] = grid.shape;
    let mut values = Array3::<f32>::zeros((nz, ny, nx));
    for (densities, solid) in body.solids() {
        let mu_per_mm: f64 = densities.iter().zip(mu).map(|(density, mu)| density * mu).sum();
        let (centre, half) = solid.bounds();
        fill(
            grid,
            &centre,
            &half,
            |point| solid.contains(point),
            |at, share, _| {
                values[at] += (share * mu_per_mm) as f32;
            },
        );
    }
    values
}

/// Visits the voxels within the box (centre, half sides along LPS), each with the share of it that is inside and its
/// centre.
fn fill(
    grid: &VolumeGrid,
    centre: &Point3<f64>,
    half: &Vector3<f64>,
    contains: impl Fn(&Point3<f64>) -> bool,
    mut visit: impl FnMut([usize; 3], f64, &Point3<f64>),
) {
    let middle = grid.voxel(centre);
    let range = |axis: usize| {
        let reach =
            (0..3).map(|i| grid.direction[(i, axis)].abs() * half[i]).sum::<f64>() / grid.spacing_mm[axis];
        let low = (middle[axis] - reach - 0.5).floor().max(0.0) as usize;
        let high = ((middle[axis] + reach + 0.5).ceil() + 1.0).clamp(0.0, grid.shape[axis] as f64) as usize;
        low..high.max(low)
    };
    for k in range(2) {
        for j in range(1) {
            for i in range(0) {
                let share = inside_share(grid, [i, j, k], &contains);
                if share > 0.0 {
                    visit([k, j, i], share, &grid.point(i as f64, j as f64, k as f64));
                }
            }
        }
    }
}

fn inside_share(grid: &VolumeGrid, voxel: [usize; 3], contains: &impl Fn(&Point3<f64>) -> bool) -> f64 {
    let [i, j, k] = voxel.map(|n| n as f64);
    let at = |a: f64, b: f64, c: f64| contains(&grid.point(i + a, j + b, k + c));
    let corners = (0..8).filter(|n| {
        let side = |bit: usize| if n >> bit & 1 == 1 { 0.5 } else { -0.5 };
        at(side(0), side(1), side(2))
    });
    // All shapes are convex and thicker than a voxel's diagonal where all nine agree, or tiny and sampled below.
    if corners.count() == 8 {
        return 1.0;
    }
    let offset = |n: usize| (n as f64 + 0.5) / SURFACE_SAMPLES as f64 - 0.5;
    let mut inside = 0;
    for c in 0..SURFACE_SAMPLES {
        for b in 0..SURFACE_SAMPLES {
            for a in 0..SURFACE_SAMPLES {
                inside += usize::from(at(offset(a), offset(b), offset(c)));
            }
        }
    }
    inside as f64 / SURFACE_SAMPLES.pow(3) as f64
}
