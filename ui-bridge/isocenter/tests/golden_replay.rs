//! A recording that the first version made: every later one must make the same of it, at any speed, on any threads.

use crate::program::{Argument, done};
use interchange::read_volume;
use std::path::{Path, PathBuf};

/// What each stage makes of the frames. These stages add and multiply in an order that no instruction set changes, so
/// their hashes hold on every machine.
const RAW: &str = "";
const CORRECTED: &str = "";
const LIVE: &str = "";
/// Voxels x, y, z and their value in HU as the portable back-projector made them.
const VOXELS: [([usize; 3], f32); 6] = [
    ([12, 12, 12], 0.0),
    ([12, 8, 12], 0.0),
    ([8, 12, 10], 0.0),
    ([15, 14, 13], 0.0),
    ([3, 12, 12], 0.0),
    ([12, 20, 12], 0.0),
];
/// Instruction sets fuse and reorder sums of 60 views differently: a few units in the last place of 1000 HU.
const BETWEEN_INSTRUCTION_SETS_HU: f32 = 0.02;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../acquisition/capture/golden/spin-v1.mcap")
}

#[test]
fn golden_recording_gives_the_same_hashes_at_any_speed_and_on_any_threads() {
    let folder = tempfile::tempdir().unwrap();
    let (run, out) = (golden(), folder.path().join("volume.nii"));
    let played = |options: &[Argument<'_>]| {
        let common: [Argument<'_>; 5] = [&"replay", &run, &"--hashes", &"--out", &out];
        let told = done(&[&common[..], options].concat());
        (told["hashes"].clone(), told["volume"]["volume_hash"].clone())
    };
    let first = played(&[&"--speed", &"max", &"--threads", &"1"]);
    assert_eq!((&first.0["raw"], &first.0["frames"]), (&RAW.into(), &59.into()), "{}", first.0);
    assert_eq!((&first.0["corrected"], &first.0["live"]), (&CORRECTED.into(), &LIVE.into()), "{}", first.0);
    for options in [
        &[&"--speed" as Argument<'_>, &"max", &"--threads", &"2"][..],
        &[&"--speed", &"max", &"--threads", &"5"],
        &[&"--speed", &"1", &"--threads", &"2"],
        &[&"--speed", &"7.5", &"--threads", &"1"],
    ] {
        assert_eq!(played(options), first);
    }
    let reconstructed = done(&[&"reconstruct", &run, &"--out", &out]);
    assert_eq!(reconstructed["volume_hash"], first.1);
}

#[test]
fn golden_recording_gives_the_same_volume_with_any_instructions() {
    let folder = tempfile::tempdir().unwrap();
    for backend in ["cpu", "cpu-portable"] {
        let out = folder.path().join(format!("{backend}.nii"));
        done(&[&"reconstruct", &golden(), &"--out", &out, &"--backend", &backend]);
        let volume = read_volume(&out).unwrap();
        assert_eq!(volume.grid.shape, [24, 24, 16]);
        let found = VOXELS.map(|([x, y, z], _)| volume.values[[z, y, x]]);
        for (found, expected) in found.iter().zip(VOXELS.map(|(_, value)| value)) {
            assert!(
                (found - expected).abs() <= BETWEEN_INSTRUCTION_SETS_HU,
                "{backend}: {found} HU, {expected} HU"
            );
        }
    }
}
