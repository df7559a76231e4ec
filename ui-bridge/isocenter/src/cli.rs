//! What can be asked for. Anything malformed here is bad usage: exit 2.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

mod files;
mod frames;
mod models;
mod reconstruct;
mod serve;
mod values;

pub use files::{Convert, DicomClassChoice, Inspect};
pub use frames::{Calibrate, Demo, Replay, Simulate, Speed};
pub use models::{JointChoice, Model, Segment, TargetChoice};
pub use reconstruct::{
    AlgorithmChoice, IterativeOptions, Reconstruct, StartChoice, TruncationChoice, VolumeOptions,
};
pub use serve::{DriverOptions, Serve};
pub use values::{Direction, Sextuple, Triple};

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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
