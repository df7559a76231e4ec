//! `segment` and `model`.

use super::values::{
    Sextuple, Triple, connector, faces, minutes, not_negative, place_and_direction, positive, scribble,
    triple,
};
use anatomy::Scribble;
use clap::Args;
use std::path::PathBuf;

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
