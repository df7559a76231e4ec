//! What can be asked for. Anything malformed here is bad usage: exit 2.

use anatomy::Scribble;
use carm::VolumeGrid;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use nalgebra::{Matrix3, Point3};
use reconstruct::{Apodisation, Backend};
use replay::FramePosition;
use std::path::PathBuf;
use std::str::FromStr;

/// The service beside the C-arm: frames in, volumes out. For research use; not a medical device.
#[derive(Parser)]
#[command(name = "isocenter", version, propagate_version = true)]
pub struct Arguments {
    /// Print exactly one JSON object on standard output; logs go to standard error.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command each.
#[derive(Subcommand)]
pub enum Command {
    /// The main job end to end on a real CT through the virtual C-arm.
    Demo(Demo),
    /// Image a CT or a phantom with the virtual C-arm.
    Simulate(Simulate),
    /// Measure detector maps from frames without X-rays and even fields.
    Calibrate(Calibrate),
    /// Play a recorded run as a device.
    Replay(Replay),
    /// Reconstruct a run or a projection stack.
    Reconstruct(Reconstruct),
    /// Find bone, vessels and more in a volume, and say how sure each voxel is.
    Segment(Segment),
    /// Make a printable model, checked as it is read back, with a report of how far to trust it.
    Model(Model),
    /// The daemon: own the devices, show live images, record, spin.
    Serve(Serve),
    /// One job of the daemon, ordered on standard input.
    #[command(hide = true)]
    Worker,
    /// One device of the daemon, its frames to standard input.
    #[command(hide = true)]
    Driver(DriverOptions),
    /// Convert a volume to another format, or a projection run to or from DICOM.
    Convert(Convert),
    /// Tell what a file is and whether it is sound.
    Inspect(Inspect),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// Options of `demo`.
#[derive(Args)]
pub struct Demo {
    /// CT in Hounsfield units; by default the chest CT in `tests/data`.
    #[arg(long)]
    pub patient: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long, default_value = "out/demo")]
    pub out: PathBuf,
    /// Protocol of the spin.
    #[arg(long, default_value = "spine-spin")]
    pub protocol: String,
    /// Number of views over the same arc.
    #[arg(long)]
    pub views: Option<usize>,
    /// Seed of the noise.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Worker threads; by default one a core.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// What `--without` takes.
const EFFECTS: [&str; 11] = [
    "noise",
    "scatter",
    "lag",
    "blur",
    "glare",
    "detector-faults",
    "wobble",
    "drift",
    "jitter",
    "exposure-error",
    "speed-profile",
];

/// Options of `simulate`.
#[derive(Args)]
pub struct Simulate {
    /// CT in Hounsfield units, or `water-cylinder:MM`, or `ball:X,Y,Z,MM` (LPS centre and diameter, water), or `abdomen:MM`
    /// (an abdomen with arteries whose organs breathe by so much; for `dsa-abdomen`).
    pub patient: String,
    /// A protocol by name, or a TOML file.
    #[arg(long)]
    pub protocol: String,
    /// The run to write.
    #[arg(long)]
    pub out: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// No noise, scatter, lag, blur or detector faults; ideal circle; monoenergetic.
    #[arg(long)]
    pub ideal: bool,
    /// With `--ideal`: keep the whole spectrum.
    #[arg(long, requires = "ideal")]
    pub polychromatic: bool,
    /// Effects to leave out, such as `scatter,lag`.
    #[arg(long, value_delimiter = ',', conflicts_with = "ideal", value_parser = EFFECTS)]
    pub without: Vec<String>,
    /// Number of views over the same arc.
    #[arg(long)]
    pub views: Option<usize>,
    /// Rays along each side of a pixel.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub rays: u8,
    /// Sub-frames of one X-ray pulse.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub sub_frames: u8,
    /// Share of frames that are lost.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub drop: f64,
    /// Labels on the CT's grid that tell bone (4) from contrast-filled blood (3).
    #[arg(long)]
    pub labels: Option<PathBuf>,
    /// LPS point at the isocenter, mm; by default the CT's centre.
    #[arg(long, value_parser = triple, allow_hyphen_values = true)]
    pub isocenter: Option<Triple>,
    /// How the patient lies, such as HFS or FFP.
    #[arg(long, default_value = "HFS")]
    pub position: carm::PatientPosition,
    /// Folder for what is true: volume, matrices, line integrals, scatter, photons.
    #[arg(long)]
    pub truth: Option<PathBuf>,
    /// File for the true volume alone, in 1/mm on the protocol's grid.
    #[arg(long)]
    pub truth_volume: Option<PathBuf>,
    /// Worker threads; by default one a core.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// Options of `calibrate`.
#[derive(Args)]
pub struct Calibrate {
    /// A run without X-rays.
    #[arg(long)]
    pub dark: PathBuf,
    /// A run of an even field, nothing in the beam; more of them at other exposures make the gain a slope.
    #[arg(long, required = true)]
    pub flat: Vec<PathBuf>,
    /// The maps to write: a run file without frames, for `--maps` and the daemon's configuration.
    #[arg(long)]
    pub out: PathBuf,
    /// Frames left out at the beginning of each field, while the panel settles.
    #[arg(long, default_value_t = 16)]
    pub skip: u32,
    /// Pixels binned along each side.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub binning: u8,
}

/// Options of `replay`.
#[derive(Args)]
pub struct Replay {
    /// The recorded run, or X-Ray Angiographic or Radiofluoroscopic DICOM.
    #[arg(required_unless_present = "compare")]
    pub run: Option<PathBuf>,
    /// A factor of the recorded speed, or `max`.
    #[arg(long, default_value = "1")]
    pub speed: Speed,
    /// Where to begin: a frame such as 812, or a time such as 27.5s. Lag and noise filter know the frames before.
    #[arg(long)]
    pub from: Option<FramePosition>,
    /// The last frame to play.
    #[arg(long)]
    pub to: Option<FramePosition>,
    /// How often to play it; numbers and the device's clock go on.
    #[arg(long = "loop", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub times: u32,
    /// Faults on purpose: a schedule in TOML with a seed.
    #[arg(long)]
    pub faults: Option<PathBuf>,
    /// Tell a hash of all frames after each stage, each frame corrected and shown, whatever the speed.
    #[arg(long)]
    pub hashes: bool,
    /// Instead of playing, show these frames as an uninterrupted replay would, and tell how long each took to find.
    #[arg(long, value_name = "POSITION", value_delimiter = ',', conflicts_with_all = ["speed", "step", "from", "to", "times", "faults", "hashes", "record", "out"])]
    pub show: Vec<FramePosition>,
    /// Instead of playing, tell where two recordings part: first frame, stage and value. Exit 1 when they do.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["run", "maps", "show", "speed", "step", "from", "to", "times", "faults", "hashes", "record", "out"])]
    pub compare: Vec<PathBuf>,
    /// One frame at a time, each on Enter.
    #[arg(long, conflicts_with = "speed")]
    pub step: bool,
    /// Detector maps instead of the run's own.
    #[arg(long)]
    pub maps: Option<PathBuf>,
    /// Record what is played into a new run.
    #[arg(long)]
    pub record: Option<PathBuf>,
    /// Reconstruct while playing and write the volume.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Also write what each voxel rests on, one byte each: the sum of 1 seen by every view, 2 seen by any, 4 depends on
    /// continued rows, 8 seen over less than half a turn.
    #[arg(long, requires = "out")]
    pub mask: Option<PathBuf>,
    /// Options of the volume.
    #[command(flatten)]
    pub volume: VolumeOptions,
}

/// How fast a run is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as recorded.
    Factor(f64),
    /// Without waiting.
    Max,
}

impl FromStr for Speed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Self::Factor(factor)),
            _ => Err(format!("expected a positive factor or max, found {text}")),
        }
    }
}

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

/// Options of `segment`.
#[derive(Args)]
pub struct Segment {
    /// CT or cone-beam volume in Hounsfield units.
    pub volume: PathBuf,
    /// What to find.
    #[arg(long)]
    pub target: TargetChoice,
    /// The labels to write, on the volume's grid.
    #[arg(long)]
    pub out: PathBuf,
    /// What the volume's voxels rest on, as `reconstruct --mask` writes it: nothing is sought outside the field of view.
    #[arg(long)]
    pub mask: Option<PathBuf>,
    /// Where the confidence of each voxel goes, in percent.
    #[arg(long)]
    pub confidence: Option<PathBuf>,
    /// A point in a vessel, or on a piece of another target that is to be kept, LPS mm; may be given more than once.
    /// Without any, the aorta is sought, and every piece is kept.
    #[arg(long, value_parser = triple, allow_hyphen_values = true)]
    pub seed: Vec<Triple>,
    /// A stroke that corrects what was found: in: or out:, then its points x,y,z in LPS mm with semicolons between;
    /// may be given more than once.
    #[arg(long, value_parser = scribble)]
    pub scribble: Vec<Scribble>,
    /// Worker threads; by default one a core.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// Options of `model`.
#[derive(Args)]
pub struct Model {
    /// CT or cone-beam volume in Hounsfield units.
    pub volume: PathBuf,
    /// What to make.
    #[arg(long)]
    pub target: TargetChoice,
    /// What the volume's voxels rest on, as `reconstruct --mask` writes it: nothing is made outside the field of view.
    #[arg(long)]
    pub mask: Option<PathBuf>,
    /// The model to write: .3mf, .stl, .obj, .ply, or .dcm for DICOM Encapsulated STL; its report goes beside it.
    #[arg(long)]
    pub out: PathBuf,
    /// Triangles to keep.
    #[arg(long, default_value_t = 600_000, value_parser = faces)]
    pub faces: usize,
    /// Farthest that leaving triangles out may move the surface, mm.
    #[arg(long, default_value_t = 0.15, value_parser = positive)]
    pub error_mm: f64,
    /// Standard deviation of the smoothing, mm; 0 for none.
    #[arg(long, default_value_t = 0.4, value_parser = not_negative)]
    pub smooth: f64,
    /// Divide voxels that are wider than this, mm.
    #[arg(long, value_parser = positive)]
    pub spacing_mm: Option<f64>,
    /// Leave out floating parts that are smaller, mm³.
    #[arg(long, default_value_t = 200.0, value_parser = not_negative)]
    pub drop_below_mm3: f64,
    /// Join floating parts by a strut over gaps up to this, mm; leave out those farther away.
    #[arg(long, default_value_t = 10.0, value_parser = not_negative)]
    pub join_mm: f64,
    /// Thickness of struts, mm.
    #[arg(long, default_value_t = 3.0, value_parser = positive)]
    pub strut_mm: f64,
    /// Fill closed hollows that are smaller, mm³.
    #[arg(long, default_value_t = 1000.0, value_parser = not_negative)]
    pub fill_cavities_mm3: f64,
    /// Thicken walls that are thinner than this, mm, at the size of the print; 0 leaves them thin.
    #[arg(long, default_value_t = 1.5, value_parser = not_negative)]
    pub min_wall_mm: f64,
    /// A wall around the target instead of the target: its inside stays free, open where it leaves the volume.
    #[arg(long)]
    pub hollow: bool,
    /// Thickness of the wall of a hollow model, mm, at the size of the print.
    #[arg(long, default_value_t = 2.0, value_parser = positive)]
    pub wall_mm: f64,
    /// A tube to plug a hose onto at each opening of a hollow model: bore, outer diameter and length, mm.
    #[arg(long, value_parser = connector, requires = "hollow")]
    pub connector: Option<Triple>,
    /// Keep what lies behind a plane: a point on it and the normal that leads out of what is kept, six numbers, LPS mm.
    /// The opposite normal makes the other half.
    #[arg(long, value_parser = place_and_direction, allow_hyphen_values = true)]
    pub cut: Option<Sextuple>,
    /// What holds both halves of a cut together: pegs in this one, and holes in the other.
    #[arg(long, requires = "cut")]
    pub joint: Option<JointChoice>,
    /// Diameter of a joint's pegs, mm.
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    pub peg_mm: f64,
    /// A hole through everything, for a screw: a point and a direction, six numbers, LPS mm; may be given more than once.
    #[arg(long, value_parser = place_and_direction, allow_hyphen_values = true)]
    pub hole: Vec<Sextuple>,
    /// Diameter of such holes, mm.
    #[arg(long, default_value_t = 3.2, value_parser = positive)]
    pub hole_mm: f64,
    /// Size of the print, 1 for the patient's; the minimum wall stays.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub scale: f64,
    /// A plate under the model, with R and L cut into it.
    #[arg(long)]
    pub base: bool,
    /// Words to cut into a base: level, case; letters, digits and - . : / + %.
    #[arg(long)]
    pub text: Option<String>,
    /// Who has looked at the model and accepts it; without, the report says that nobody has.
    #[arg(long)]
    pub accept_by: Option<String>,
    /// The printer that advice is for: filament, resin, large, or a TOML file.
    #[arg(long, default_value = "filament")]
    pub printer: String,
    /// The PrusaSlicer that is asked for time and material, where it is there; "none" keeps to an estimate.
    #[arg(long, default_value = "prusa-slicer")]
    pub slicer: String,
    /// Say what to give up so that it is printed within this time, such as 60min.
    #[arg(long, value_parser = minutes)]
    pub within: Option<f64>,
    /// Colours, fillings and materials from a TOML file instead of the built-in ones.
    #[arg(long)]
    pub presets: Option<PathBuf>,
    /// A point in a vessel, LPS mm; may be given more than once. Without any, the aorta is sought.
    #[arg(long, value_parser = triple, allow_hyphen_values = true)]
    pub seed: Vec<Triple>,
    /// Worker threads; by default one a core.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// Which half of a joint a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum JointChoice {
    /// Pegs that stand out of the cut.
    Pegs,
    /// Holes for the pegs of the other half.
    Holes,
}

/// What can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TargetChoice {
    /// All bone, marrow included.
    Bone,
    /// The contrast-filled aorta, or the vessels at the seeds.
    Vessel,
    /// Metal.
    Metal,
    /// Calcification outside bone and contrast medium.
    Calcification,
    /// Everything inside the skin.
    Skin,
    /// Vertebrae one by one, named where ribs or sacrum show how to count them.
    Vertebrae,
}

impl std::fmt::Display for TargetChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use clap::ValueEnum;
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// Options of `serve`.
#[derive(Args)]
pub struct Serve {
    /// The configuration: TOML, described in `deploy/isocenter.toml`.
    #[arg(long)]
    pub config: PathBuf,
    /// Only say whether the configuration is sound.
    #[arg(long)]
    pub check: bool,
}

/// Options of `driver`.
#[derive(Args)]
pub struct DriverOptions {
    /// The daemon's configuration.
    #[arg(long)]
    pub config: PathBuf,
    /// Which device of it.
    #[arg(long)]
    pub device: String,
}

/// Options of `convert`.
#[derive(Args)]
pub struct Convert {
    /// What is read.
    pub input: PathBuf,
    /// What is written; the name tells the format.
    pub output: PathBuf,
    /// Pack the samples where the format can.
    #[arg(long)]
    pub compress: bool,
    /// Which DICOM object is written.
    #[arg(long)]
    pub dicom_class: Option<DicomClassChoice>,
    /// How the patient lay, for DICOM.
    #[arg(long)]
    pub position: Option<carm::PatientPosition>,
    /// Attenuation of water, 1/mm, for a run from DICOM.
    #[arg(long, value_parser = positive)]
    pub mu_water: Option<f64>,
}

/// DICOM objects for volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DicomClassChoice {
    /// X-Ray 3D Angiographic Image Storage, one file.
    Xray3d,
    /// CT Image Storage, a folder of slices.
    Ct,
}

/// Options of `inspect`.
#[derive(Args)]
pub struct Inspect {
    /// The file or folder.
    pub path: PathBuf,
    /// Write a repaired run; the original is never touched.
    #[arg(long)]
    pub recover: Option<PathBuf>,
}

/// Three numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Triple(pub [f64; 3]);

/// A point and a direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sextuple(pub [f64; 6]);

/// Three sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes(pub [usize; 3]);

/// Nine direction cosines, row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direction(pub [f64; 9]);

fn numbers<const N: usize>(text: &str) -> Result<[f64; N], String> {
    let parsed: Vec<f64> = text
        .split(',')
        .map(|part| part.trim().parse::<f64>().ok().filter(|value| value.is_finite()))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("expected {N} numbers, found {text}"))?;
    parsed.try_into().map_err(|_| format!("expected {N} numbers, found {text}"))
}

fn share(text: &str) -> Result<f64, String> {
    match numbers::<1>(text)? {
        [share] if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("expected a share from 0 to 1, found {text}")),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match numbers::<1>(text)? {
        [number] if number >= 0.0 => Ok(number),
        _ => Err(format!("expected a number from 0 on, found {text}")),
    }
}

/// A time such as `60min`, `90` or `2h`, as minutes.
fn minutes(text: &str) -> Result<f64, String> {
    let (number, unit) = match (text.strip_suffix("min"), text.strip_suffix('h')) {
        (Some(number), _) => (number, 1.0),
        (None, Some(number)) => (number, 60.0),
        (None, None) => (text, 1.0),
    };
    positive(number.trim()).map(|number| number * unit)
}

/// A closed surface has four triangles at least.
fn faces(text: &str) -> Result<usize, String> {
    let faces = text.parse().ok().filter(|faces| *faces >= 4);
    faces.ok_or_else(|| format!("expected at least 4 triangles, found {text}"))
}

fn positive(text: &str) -> Result<f64, String> {
    match numbers::<1>(text)? {
        [number] if number > 0.0 => Ok(number),
        _ => Err(format!("expected a number above 0, found {text}")),
    }
}

fn triple(text: &str) -> Result<Triple, String> {
    numbers::<3>(text).map(Triple)
}

fn place_and_direction(text: &str) -> Result<Sextuple, String> {
    let numbers = numbers::<6>(text)?;
    let length_squared: f64 = numbers[3..].iter().map(|part| part * part).sum();
    if length_squared <= 0.0 || !length_squared.is_finite() {
        return Err(format!("expected a direction with a length, found {text}"));
    }
    Ok(Sextuple(numbers))
}

fn connector(text: &str) -> Result<Triple, String> {
    match numbers::<3>(text)? {
        [bore, outer, length] if bore > 0.0 && outer > bore && length > 0.0 => {
            Ok(Triple([bore, outer, length]))
        }
        _ => Err(format!("expected a bore, a greater outer diameter and a length in mm, found {text}")),
    }
}

fn scribble(text: &str) -> Result<Scribble, String> {
    let refuse = || format!("expected in: or out: and points x,y,z with semicolons between, found {text}");
    let (is_inside, points) = match (text.strip_prefix("in:"), text.strip_prefix("out:")) {
        (Some(points), _) => (true, points),
        (None, Some(points)) => (false, points),
        (None, None) => return Err(refuse()),
    };
    let points: Result<Vec<_>, String> =
        points.split(';').map(|point| numbers::<3>(point).map(Point3::from)).collect();
    points.map(|points| Scribble { is_inside, points }).map_err(|_| refuse())
}

fn direction(text: &str) -> Result<Direction, String> {
    let cosines = numbers::<9>(text)?;
    // A grid of one voxel tells whether the axes are ones that a volume can have.
    VolumeGrid::centred([1; 3], [1.0; 3], Matrix3::from_row_slice(&cosines), Point3::origin())
        .map_err(|error| error.to_string())?;
    Ok(Direction(cosines))
}

fn spacing(text: &str) -> Result<Triple, String> {
    let values = match numbers::<1>(text) {
        Ok([one]) => [one; 3],
        Err(_) => numbers::<3>(text)?,
    };
    if values.iter().all(|value| *value > 0.0) {
        Ok(Triple(values))
    } else {
        Err(format!("expected sizes above 0 mm, found {text}"))
    }
}

fn sizes(text: &str) -> Result<Sizes, String> {
    let refuse = || format!("expected N or X,Y,Z with each from 1 to 4096, found {text}");
    let parts: Vec<usize> =
        text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>().ok_or_else(refuse)?;
    let sizes = match parts[..] {
        [n] => [n; 3],
        [x, y, z] => [x, y, z],
        _ => return Err(refuse()),
    };
    if sizes.iter().all(|n| (1..=4096).contains(n)) { Ok(Sizes(sizes)) } else { Err(refuse()) }
}

fn bytes(text: &str) -> Result<u64, String> {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];
    units
        .into_iter()
        .find_map(|(unit, factor)| {
            let count: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            (count.is_finite() && count > 0.0).then_some((count * factor as f64) as u64)
        })
        .ok_or_else(|| format!("expected a size such as 4GiB or 512MiB, found {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_and_spacing_take_one_number_or_three() {
        assert_eq!(sizes("256").unwrap(), Sizes([256; 3]));
        assert_eq!(sizes("3,4,5").unwrap(), Sizes([3, 4, 5]));
        assert!(sizes("0").is_err() && sizes("3,4").is_err() && sizes("99999").is_err());
        assert_eq!(spacing("0.5,1,2").unwrap(), Triple([0.5, 1.0, 2.0]));
        assert!(spacing("-1").is_err() && spacing("nan").is_err());
        assert_eq!(bytes("1.5GiB").unwrap(), 3 << 29);
        assert!(bytes("lots").is_err());
        assert!(direction("1,0,0,0,1,0,0,0,1").is_ok() && direction("1,0,0,0,1,0,0,0,2").is_err());
        assert!(share("0.01").is_ok() && share("1.5").is_err() && positive("0").is_err());
    }
}
