//! A subtraction angiography of the virtual C-arm's abdomen through the live chain, against the truth: what is left
//! outside the vessels, and what is kept of them. The patient jerks after the mask was taken.

use acquisition::live::SUBTRACTED_COUNTS;
use acquisition::{Corrector, LiveChain, LiveSettings, LiveStages};
use carm::{FrameSource, SourceEvent};
use ndarray::Array2;
use simulated::{Effects, Motion, MotionKnot, MotionPose, Options, Patient, Protocol, SimulatedCarm};

/// Frames that the mask is the mean of.
const MASK: usize = 4;
/// The frame that is looked at: the aorta, its branches and the iliac arteries are full.
const FILLED: usize = 5;
/// A vessel of so much attenuation by iodine counts as one.
const CLEAR_VESSEL: f32 = 0.1;
/// Pixels of the border that are not looked at: beyond the motion one image has nothing to show.
const BORDER: usize = 16;

/// The protocol with pixels four times as large and frames only as long as it takes.
fn protocol() -> Protocol {
    let mut protocol = Protocol::named("dsa-abdomen").unwrap();
    (protocol.detector.columns, protocol.detector.rows) = (384, 384);
    protocol.detector.pixel_pitch_mm = 0.74;
    protocol.frame_rate_hz = 2.0;
    protocol.views = FILLED + 1;
    protocol.bolus.as_mut().unwrap().arrives_s = 1.6;
    protocol
}

/// A shift of so many pixels on the detector, between the mask and the filled frame.
fn jerk(protocol: &Protocol, shift_px: [f64; 2]) -> Motion {
    let gantry = &protocol.gantry;
    let mm = protocol.detector.pixel_pitch_mm * gantry.source_to_isocenter_mm / gantry.source_to_detector_mm;
    let pose = MotionPose { shift_mm: [mm * shift_px[0], 0.0, mm * shift_px[1]], ..MotionPose::default() };
    let time_s = (FILLED as f64 - 0.9) / protocol.frame_rate_hz;
    Motion::Steps { knots: vec![MotionKnot { time_s, pose }], rise_s: 0.1 }
}

struct Found {
    residual_over_floor: f64,
    vessel_contrast: f64,
}

/// Images once and subtracts with the mask laid on and with the mask left where it is; the floor is the noise that the
/// frames' own variance predicts for fill and mask.
fn subtracted(shift_px: [f64; 2]) -> [Found; 2] {
    let protocol = protocol();
    let effects = Effects { scatter: false, lag: false, ..Effects::ALL };
    let motion = jerk(&protocol, shift_px);
    let options = Options { effects, motion, ..Options::default() };
    let mut dry = protocol.clone();
    dry.bolus = None;
    let dry = SimulatedCarm::new(dry, Patient::abdomen(None), options.clone()).unwrap();
    let mut arm = SimulatedCarm::new(protocol, Patient::abdomen(None), options).unwrap();
    let run = arm.description().clone();
    let chain =
        |shifts_mask| LiveChain::new(&run, LiveSettings { mask_frames: MASK as u8, shifts_mask }).unwrap();
    let mut chains = [chain(true), chain(false)];
    let mut corrector = Corrector::for_run(&run).unwrap().unwrap();
    let mut counts = vec![0; run.detector.pixel_count()];
    let mut images = [counts.clone(), counts.clone()];
    let mut corrected = acquisition::CorrectedFrame::default();
    let asked = LiveStages { subtraction: true, noise_reduction: false, ..LiveStages::USUAL };
    let mut frame = 0;
    while let SourceEvent::Frame(header) = arm.next_frame(&mut counts).unwrap() {
        corrector.correct(&header, &counts, &mut corrected).unwrap();
        for (chain, image) in chains.iter_mut().zip(&mut images) {
            let shown = chain.show(&header, &counts, asked, image).unwrap();
            assert_eq!(shown.stages.subtraction, frame >= MASK, "frame {frame}");
        }
        frame += 1;
    }
    let variance = corrected.variance;
    let relative: f64 = corrected
        .intensity
        .iter()
        .map(|x| f64::from(variance.variance(*x)) / f64::from(x.max(1.0)).powi(2))
        .sum::<f64>()
        / corrected.intensity.len() as f64;
    let floor = (relative * (1.0 + 1.0 / MASK as f64)).sqrt();
    let truth = arm.truth_frame(FILLED).unwrap();
    let empty = dry.truth_frame(FILLED).unwrap();
    let iodine = (&empty.transmission / &truth.transmission).mapv(f32::ln);
    let size = iodine.dim();
    images.map(|image| {
        let logarithm = |(v, u)| -(f64::from(image[v * size.1 + u]) / f64::from(SUBTRACTED_COUNTS)).ln();
        measured(&Array2::from_shape_fn(size, logarithm), &iodine, &truth.vessels_mm, floor)
    })
}

/// `iodine`: what it takes of the primary; `vessels_mm`: way within vessels.
fn measured(difference: &Array2<f64>, iodine: &Array2<f32>, vessels_mm: &Array2<f32>, floor: f64) -> Found {
    let (nv, nu) = iodine.dim();
    let inside =
        |v: usize, u: usize| (BORDER..nv - BORDER).contains(&v) && (BORDER..nu - BORDER).contains(&u);
    // Two pixels around a vessel are its blurred edge.
    let is_near_vessel =
        |v: usize, u: usize| (v - 2..=v + 2).any(|v| (u - 2..=u + 2).any(|u| vessels_mm[[v, u]] > 0.0));
    let is_within_vessel =
        |v: usize, u: usize| (v - 1..=v + 1).all(|v| (u - 1..=u + 1).all(|u| iodine[[v, u]] > CLEAR_VESSEL));
    let (mut squares, mut outside, mut shown, mut expected) = (0.0, 0.0, 0.0, 0.0);
    for ((v, u), d) in difference.indexed_iter().filter(|((v, u), _)| inside(*v, *u)) {
        if !is_near_vessel(v, u) {
            squares += d * d;
            outside += 1.0;
        } else if is_within_vessel(v, u) {
            shown += d;
            expected += f64::from(iodine[[v, u]]);
        }
    }
    assert!(outside > 30_000.0 && expected > 100.0, "{outside} pixels outside, {expected} in vessels");
    Found { residual_over_floor: (squares / outside).sqrt() / floor, vessel_contrast: shown / expected }
}

#[test]
fn angiography_of_a_patient_who_moved_shows_vessels_and_little_else() {
    for shift_px in [[2.3, -1.4], [-4.1, 4.4], [6.0, 0.0]] {
        let [Found { residual_over_floor, vessel_contrast }, left_alone] = subtracted(shift_px);
        let left_alone = left_alone.residual_over_floor;
        println!(
            "{shift_px:?} px: residual {residual_over_floor:.2} of the floor ({left_alone:.2} without registration), contrast {vessel_contrast:.3}"
        );
        assert!(residual_over_floor < 1.4, "{shift_px:?}: {residual_over_floor} of the noise floor");
        assert!(vessel_contrast > 0.95 && vessel_contrast < 1.05, "{shift_px:?}: contrast {vessel_contrast}");
        // Where nothing is to be corrected, nothing is shown.
        assert!(left_alone > 1.5, "the scene is too easy: {left_alone}");
    }
}
