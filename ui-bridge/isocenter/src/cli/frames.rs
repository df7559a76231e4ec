//! What makes and plays frames: `demo`, `simulate`, `calibrate`, `replay`.

use super::reconstruct::VolumeOptions;
use super::values::{Triple, share, triple};
use clap::Args;
use replay::FramePosition;
use std::path::PathBuf;
use std::str::FromStr;

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
