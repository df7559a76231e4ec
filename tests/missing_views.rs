//! What lost frames cost: a chest cut to a cylinder, imaged with 248 views, with and without one percent of random
//! drops and one gap of ten views.

use capture::{RunOutcome, RunReader, RunWriter, WriterOptions};
use carm::{FrameHeader, FrameSource, Quantity, RunDescription, SourceEvent, Volume, mask};
use interchange::read_volume;
use isocenter_tests::repository_root;
use nalgebra::Point3;
use session::{RunSettings, reconstruct_run};
use simulated::{Options, Patient, Protocol, SimulatedCarm, VolumePlan};
use std::path::Path;

/// Radius of the cylinder, all of which every view sees, mm.
const CYLINDER_MM: f64 = 100.0;
/// First view of the gap, and its length.
const GAP: (u64, u64) = (150, 10);
/// One frame in a hundred, at numbers that no period of the scan shares.
const DROPPED: [u64; 2] = [41, 207];
/// HU: what one percent may add to the error, beyond what is there with all views.
const ADDED_RMS_MAX_HU: f64 = 1.0;
/// HU: what the gap may add to the error of a run without noise.
const GAP_ADDED_RMS_MAX_HU: f64 = 5.0;

type Frame = (FrameHeader, Vec<u16>);

fn protocol() -> Protocol {
    let mut protocol = Protocol::named("spine-spin").unwrap();
    protocol.detector.columns /= 4;
    protocol.detector.rows /= 4;
    protocol.detector.pixel_pitch_mm *= 4.0;
    protocol.volume = Some(VolumePlan { shape: [64; 3], voxel_mm: 3.84 });
    protocol
}

fn chest() -> Patient {
    let mut ct = read_volume(&repository_root().join("tests/data/lidc_idri_0001_thorax.nii.gz")).unwrap();
    ct.quantity = Quantity::Hu { mu_water_per_mm: None };
    let vertebra = Point3::new(3.0, 60.0, -187.0);
    let grid = ct.grid;
    for ((z, y, x), hu) in ct.values.indexed_iter_mut() {
        let from_axis = grid.point(x as f64, y as f64, z as f64) - vertebra;
        if from_axis.xy().norm() > CYLINDER_MM {
            *hu = -1000.0;
        }
    }
    Patient::from_hu(&ct).unwrap().with_isocenter(vertebra)
}

fn imaged(options: Options) -> (RunDescription, Vec<Frame>, Volume) {
    let mut arm = SimulatedCarm::new(protocol(), chest(), options).unwrap();
    let description = arm.description().clone();
    let mut counts = vec![0; description.detector.pixel_count()];
    let mut frames = Vec::new();
    while let SourceEvent::Frame(header) = arm.next_frame(&mut counts).unwrap() {
        frames.push((header, counts.clone()));
    }
    assert_eq!(frames.len(), 248);
    let truth = arm.truth(&description.volume_grid.unwrap());
    (description, frames, truth)
}

fn is_lost(sequence: u64) -> bool {
    DROPPED.contains(&sequence) || (GAP.0..GAP.0 + GAP.1).contains(&sequence)
}

/// Records the frames that are kept, with gap records, and reconstructs the recording.
fn volume(path: &Path, description: &RunDescription, frames: &[Frame], is_lost: fn(u64) -> bool) -> Volume {
    let mut writer = RunWriter::create(path, description, WriterOptions::default()).unwrap();
    for (header, counts) in frames {
        if is_lost(header.sequence) {
            writer.write_gap(header.sequence, 1, "lost on purpose").unwrap();
        } else {
            writer.write_frame(header, counts).unwrap();
        }
    }
    writer.finish(RunOutcome::Complete).unwrap();
    let mut reader = RunReader::open(path).unwrap();
    reconstruct_run(&mut reader, &RunSettings::default(), &mut |_, _| true).unwrap().volume
}

/// Root mean square of `a - b` inside the field of view of `full`, HU.
fn rms_hu(a: &Volume, b: &Volume, full: &Volume) -> f64 {
    let field = full.mask.as_ref().unwrap();
    let mut sum = 0.0;
    let mut count = 0;
    for ((one, other), bits) in a.values.iter().zip(&b.values).zip(field) {
        if bits & mask::FIELD_OF_VIEW != 0 {
            sum += (f64::from(*one) - f64::from(*other)).powi(2);
            count += 1;
        }
    }
    assert!(count > 50_000, "{count}");
    (sum / f64::from(count)).sqrt()
}

struct Cost {
    whole_hu: f64,
    missing_hu: f64,
    difference_hu: f64,
}

fn cost(
    (description, frames, truth): &(RunDescription, Vec<Frame>, Volume),
    is_lost: fn(u64) -> bool,
    lost: usize,
) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    let mut truth = truth.clone();
    let mu_water = description.beam.mu_water_per_mm as f32;
    truth.values.mapv_inplace(|mu| 1000.0 * (mu / mu_water - 1.0));
    let whole = volume(&folder.path().join("whole.mcap"), description, frames, |_| false);
    let missing = volume(&folder.path().join("missing.mcap"), description, frames, is_lost);
    let told = &missing.provenance.warnings;
    let expected = format!("{lost} of 248 planned views are missing");
    assert!(told.contains(&expected), "{told:?}");
    Cost {
        whole_hu: rms_hu(&whole, &truth, &whole),
        missing_hu: rms_hu(&missing, &truth, &whole),
        difference_hu: rms_hu(&missing, &whole, &whole),
    }
}

impl Cost {
    fn tell(&self, what: &str) {
        println!(
            "{what}: RMS error {:.2} HU with all views, {:.2} HU without them ({:+.2} HU, in quadrature {:.2} \
             HU); the two volumes differ by {:.2} HU RMS",
            self.whole_hu,
            self.missing_hu,
            self.missing_hu - self.whole_hu,
            (self.missing_hu.powi(2) - self.whole_hu.powi(2)).max(0.0).sqrt(),
            self.difference_hu
        );
    }
}

#[test]
fn missing_views_of_an_ideal_run_cost_what_they_are_known_to_cost() {
    let run = imaged(Options { ideal: true, ..Options::default() });
    let drops = cost(&run, |sequence| DROPPED.contains(&sequence), 2);
    drops.tell("one percent dropped");
    assert!(drops.missing_hu - drops.whole_hu < ADDED_RMS_MAX_HU);
    let gap = cost(&run, is_lost, 12);
    gap.tell("one percent dropped and a gap of ten views");
    assert!(gap.missing_hu - gap.whole_hu < GAP_ADDED_RMS_MAX_HU);
}
