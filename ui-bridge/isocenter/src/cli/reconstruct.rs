//! `reconstruct`, and the options of every volume that is reconstructed.

use super::values::{
    Direction, Sizes, Triple, bytes, direction, not_negative, positive, sizes, spacing, triple,
};
use clap::Args;
use reconstruct::{Apodisation, Backend};
use std::path::PathBuf;

/// Options of `reconstruct`.
#[derive(Args)]
pub struct Reconstruct {
    /// A run (`.mcap`, or X-Ray Angiographic or Radiofluoroscopic DICOM), a projection stack (`.mha`, `.mhd`, raw with `meta.json`), or its folder.
    pub input: PathBuf,
    /// RTK geometry (`.xml`) or matrices (`.txt`) of a stack.
    #[arg(long)]
    pub geometry: Option<PathBuf>,
    /// A second sweep's stack round the same axis, its detector offset to the other side: both fill one volume.
    #[arg(long)]
    pub second_sweep: Option<PathBuf>,
    /// Geometry of the second stack.
    #[arg(long, requires = "second_sweep")]
    pub second_geometry: Option<PathBuf>,
    /// Detector maps instead of the run's own.
    #[arg(long)]
    pub maps: Option<PathBuf>,
    /// The volume to write.
    #[arg(long)]
    pub out: PathBuf,
    /// Also write what each voxel rests on, one byte each: the sum of 1 seen by every view, 2 seen by any, 4 depends on
    /// continued rows, 8 seen over less than half a turn.
    #[arg(long)]
    pub mask: Option<PathBuf>,
    /// Options of the volume.
    #[command(flatten)]
    pub volume: VolumeOptions,
    /// Attenuation of water, 1/mm: for `--hu` and `--truncation water` of a stack, and for a run in DICOM.
    #[arg(long, default_value_t = 0.02059, value_parser = positive)]
    pub mu_water: f64,
    /// Options of iterating.
    #[command(flatten)]
    pub iterative: IterativeOptions,
    /// Options of the noise map.
    #[command(flatten)]
    pub noise: NoiseOptions,
    /// Read a run once before, to learn what calibration does not know of its panel: pixels that went bad since, and what
    /// each pixel's gain is off by, which makes rings.
    #[arg(long)]
    pub correct_rings: bool,
    /// Tell whether views and geometry agree, view by view; a warning stands in the volume where they do not.
    #[arg(long)]
    pub consistency: bool,
}

/// Options of the noise map.
#[derive(Args)]
pub struct NoiseOptions {
    /// Also write the standard deviation of every voxel of the filtered back-projection. A stack needs `--photons`.
    #[arg(long)]
    pub noise_map: Option<PathBuf>,
    /// Standard deviation of a stack's electronic noise, in quanta; a run knows its own.
    #[arg(long, value_parser = not_negative)]
    pub electronic_noise: Option<f64>,
    /// Frequency at which the scintillator's modulation transfer falls to one half, 1/mm: how far noise is alike.
    #[arg(long, value_parser = positive)]
    pub mtf_half: Option<f64>,
}

/// Options of refining a volume iteratively.
#[derive(Args)]
pub struct IterativeOptions {
    /// How the volume is made; all but `fdk` refine the filtered back-projection.
    #[arg(long, default_value = "fdk")]
    pub algorithm: AlgorithmChoice,
    /// At most so many passes over all views; by default 3 of OS-SART, 10 of CGLS, 10 to 60 of FISTA-TV, fewer the more views.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub iterations: Option<u16>,
    /// Views of a subset (OS-SART, FISTA-TV).
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub subset_views: Option<u16>,
    /// Share of each correction that is applied (OS-SART).
    #[arg(long, value_parser = positive)]
    pub relaxation: Option<f64>,
    /// Contrast in HU that counts as noise (FISTA-TV); by default what the noise of the views asks for.
    #[arg(long, value_parser = positive)]
    pub smoothing: Option<f64>,
    /// Quanta per pixel in air: weighs rays by their noise. FISTA-TV sees it in the views where it is not told.
    #[arg(long, value_parser = positive)]
    pub photons: Option<f64>,
    /// What iterating starts from: `fdk`, `zero`, or a volume on the same grid, such as that of an earlier call.
    #[arg(long, default_value = "fdk", value_parser = start)]
    pub start: StartChoice,
    /// Let a coarse field around the volume take up what truncated views see there.
    #[arg(long)]
    pub outer_field: bool,
    /// Stop after a pass that changes the volume by less, relative to its norm; by default 0.003 of FISTA-TV.
    #[arg(long, value_parser = positive)]
    pub stop_change: Option<f64>,
}

/// How a volume is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AlgorithmChoice {
    /// Filtered back-projection.
    Fdk,
    /// Simultaneous algebraic reconstruction by ordered subsets.
    OsSart,
    /// Conjugate gradients for least squares.
    Cgls,
    /// Least squares with total variation.
    FistaTv,
}

/// What iterating starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartChoice {
    /// The filtered back-projection.
    Fdk,
    /// Nothing.
    Zero,
    /// A volume file.
    Volume(PathBuf),
}

fn start(text: &str) -> Result<StartChoice, String> {
    Ok(match text {
        "fdk" => StartChoice::Fdk,
        "zero" => StartChoice::Zero,
        path => StartChoice::Volume(path.into()),
    })
}

/// Options of any volume.
#[derive(Args)]
pub struct VolumeOptions {
    /// Voxels: N, or X,Y,Z.
    #[arg(long, value_parser = sizes)]
    pub grid: Option<Sizes>,
    /// Voxel size in mm: S, or x,y,z.
    #[arg(long, value_parser = spacing)]
    pub voxel_mm: Option<Triple>,
    /// Centre of the grid, mm.
    #[arg(long, value_parser = triple, allow_hyphen_values = true)]
    pub center: Option<Triple>,
    /// Nine direction cosines, row by row; columns are the axes of x, y and z.
    #[arg(long, value_parser = direction, allow_hyphen_values = true)]
    pub direction: Option<Direction>,
    /// `ramp`, or `hann:c` with the cut-off as a share of the detector's Nyquist frequency.
    #[arg(long, default_value = "ramp")]
    pub filter: Apodisation,
    /// Who back-projects: cpu, cpu-avx512, cpu-avx2, cpu-portable or reference.
    #[arg(long, default_value = "cpu")]
    pub backend: Backend,
    /// How truncated views are continued; by default `water` for a run and `off` for a stack.
    #[arg(long)]
    pub truncation: Option<TruncationChoice>,
    /// CT in Hounsfield units, registered to the scan, that tells how truncated views go on; water where it does not.
    #[arg(long)]
    pub truncation_ct: Option<PathBuf>,
    /// Hounsfield units for a stack (a run gives them anyway).
    #[arg(long)]
    pub hu: bool,
    /// Accept an arc that leaves rays unmeasured.
    #[arg(long)]
    pub limited_angle: bool,
    /// Worker threads; by default one a core.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Memory allowed, such as 4GiB: a stack that needs more is made and written in parts, a run is refused.
    #[arg(long, value_parser = bytes)]
    pub memory: Option<u64>,
}

/// How truncated views are continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TruncationChoice {
    /// Not at all.
    Off,
    /// As if the body ended in a cylinder of water.
    Water,
}
