//! A spin small enough to be imaged many times: 88 x 72 pixels of 4.3 mm, 90 views over 220 degrees, 48 voxels of
//! 5 mm along each side; and a fluoroscopy run.

use crate::program::{Argument, done};
use std::path::{Path, PathBuf};

/// Views of the spin.
pub const VIEWS: usize = 90;
/// Side of the volume's voxels, mm.
pub const VOXEL_MM: f64 = 5.0;

const SPIN: &str = r#"
name = "small-spin"
description = "Short scan on a coarse detector"
kind = "spin"
views = 90
frame_rate_hz = 30.0

[gantry]
source_to_isocenter_mm = 785.0
source_to_detector_mm = 1200.0
first_angle_deg = -110.0
arc_deg = 220.0
ramp_s = 0.4

[detector]
columns = 88
rows = 72
pixel_pitch_mm = 4.3
bits = 16
offset_counts = 400.0
air_counts = 56000.0
electronic_noise_counts = 3.0

[beam]
spectrum = "w120_cu0.3"
tube_voltage_kv = 120.0
tube_current_ma = 150.0
pulse_width_ms = 12.0
effective_energy_kev = 63.0
grid_primary_transmission = 0.7
grid_scatter_transmission = 0.2

[volume]
shape = [48, 48, 48]
voxel_mm = 5.0
"#;

/// Noise and every fault but scatter, whose cost does not shrink with the detector.
pub const NOISY: [Argument<'_>; 2] = [&"--without", &"scatter"];

/// Writes the spin's protocol into a folder.
pub fn protocol(folder: &Path) -> PathBuf {
    let path = folder.join("small-spin.toml");
    std::fs::write(&path, SPIN).unwrap();
    path
}

/// Writes a fluoroscopy protocol of the same detector into a folder.
pub fn fluoroscopy(folder: &Path) -> PathBuf {
    let path = folder.join("small-fluoro.toml");
    let (head, _volume) = SPIN.split_once("[volume]").unwrap();
    let text =
        [("small-spin", "small-fluoro"), ("kind = \"spin\"", "kind = \"fluoroscopy\""), ("220.0", "0.0")]
            .iter()
            .fold(head.to_string(), |text, (from, to)| text.replace(from, to));
    std::fs::write(&path, text).unwrap();
    path
}

/// Writes a protocol of a `dark-field` or `flat-field` of the same detector into a folder: 64 frames.
pub fn field(folder: &Path, kind: &str, tube_current_ma: f64) -> PathBuf {
    let path = folder.join(format!("{kind}-{tube_current_ma}.toml"));
    let (head, _volume) = SPIN.split_once("[volume]").unwrap();
    let changes = [
        ("name = \"small-spin\"", "name = \"small-field\"".to_string()),
        ("kind = \"spin\"", format!("kind = \"{kind}\"")),
        ("views = 90", "views = 64".into()),
        ("arc_deg = 220.0", "arc_deg = 0.0".into()),
        ("ramp_s = 0.4", "ramp_s = 0.0".into()),
        ("tube_current_ma = 150.0", format!("tube_current_ma = {tube_current_ma:.1}")),
        // Counts of the bare beam follow the current.
        ("air_counts = 56000.0", format!("air_counts = {:.1}", 56_000.0 * tube_current_ma / 150.0)),
    ];
    let text = changes.iter().fold(head.to_string(), |text, (from, to)| text.replace(from, to));
    std::fs::write(&path, text).unwrap();
    path
}

/// Images a water cylinder with the spin into `folder/name`, with further options.
pub fn image(folder: &Path, name: &str, options: &[Argument<'_>]) -> PathBuf {
    let (protocol, run) = (protocol(folder), folder.join(name));
    let arguments: [Argument<'_>; 6] =
        [&"simulate", &"water-cylinder:150", &"--protocol", &protocol, &"--out", &run];
    let told = done(&[&arguments, options].concat());
    assert_eq!(told["protocol"], "small-spin");
    run
}
