//! Where two recordings part: the first frame, the first stage, the first value.

use crate::error::SessionError;
use crate::recorded::{Progress, reconstruct_run};
use crate::stages::Stages;
use crate::views::RunSettings;
use capture::RunReader;
use carm::{FrameHeader, RunDescription};
use std::fmt::Debug;

/// The first thing that two runs do not share.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The frame's number in the first run; none for what holds for the whole run.
    pub sequence: Option<u64>,
    /// `description`, `frames`, `header`, `counts`, `corrected`, `live` or `volume`, in the order in which they are made.
    pub stage: &'static str,
    /// Which value: a field, or a pixel.
    pub value: String,
    /// What it is in the first and in the second run.
    pub found: [String; 2],
    /// How many values of that stage differ in that frame.
    pub count: u64,
}

/// How two runs compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Frames that are the same in every stage, before the first difference.
    pub same_frames: u64,
    /// The first difference; none between equal runs.
    pub difference: Option<Difference>,
}

/// Plays two recordings side by side through correction and live chain, up to the first difference. Host clocks, names and
/// maps are no difference by themselves: what maps do to a frame is.
///
/// # Errors
/// Recordings that cannot be read, damaged frames included; maps that are unusable.
pub fn compare_runs(
    runs: [&mut RunReader; 2],
    progress: &mut dyn Progress,
) -> Result<Comparison, SessionError> {
    let [a, b] = runs;
    if let Some(difference) = descriptions(a.description(), b.description()) {
        return Ok(Comparison { same_frames: 0, difference: Some(difference) });
    }
    let pixels = a.description().detector.pixel_count();
    let mut stages = [Stages::new(a.description())?, Stages::new(b.description())?];
    let mut counts = [vec![0; pixels], vec![0; pixels]];
    let frames = a.frame_count().min(b.frame_count());
    for index in 0..frames {
        let headers = [a.read_frame(index, &mut counts[0])?, b.read_frame(index, &mut counts[1])?];
        let mut difference = header_difference(&headers);
        if difference.is_none() {
            difference = frame_difference(&headers, &counts, &mut stages, a.description().detector.nu)?;
        }
        if difference.is_some() {
            return Ok(Comparison { same_frames: index as u64, difference });
        }
        if !progress.step(index as u64 + 1, frames as u64) {
            return Err(SessionError::Cancelled);
        }
    }
    let difference = (a.frame_count() != b.frame_count()).then(|| {
        let longer = if a.frame_count() > frames { a.headers() } else { b.headers() };
        let found = [a.frame_count().to_string(), b.frame_count().to_string()];
        let sequence = longer.get(frames).map(|header| header.sequence);
        Difference { sequence, stage: "frames", value: "number of frames".into(), found, count: 1 }
    });
    Ok(Comparison { same_frames: frames as u64, difference })
}

/// Reconstructs both runs and gives the first voxel that differs. What frames that are the same cannot tell shows here: other
/// matrices, another beam, another position of the patient.
///
/// # Errors
/// As [`reconstruct_run`].
pub fn compare_volumes(
    runs: [&mut RunReader; 2],
    settings: &RunSettings,
    progress: &mut dyn Progress,
) -> Result<Option<Difference>, SessionError> {
    let [a, b] = runs;
    let a = reconstruct_run(a, settings, progress)?.volume;
    let b = reconstruct_run(b, settings, progress)?.volume;
    let told =
        |value: String, found, count| Difference { sequence: None, stage: "volume", value, found, count };
    if a.grid != b.grid {
        let found = [format!("{:?}", a.grid), format!("{:?}", b.grid)];
        return Ok(Some(told("grid".into(), found, 1)));
    }
    let mut different =
        a.values.indexed_iter().zip(&b.values).filter(|((_, x), y)| x.to_bits() != y.to_bits());
    let Some((((z, y, x), first), second)) = different.next() else { return Ok(None) };
    let count = 1 + different.count() as u64;
    Ok(Some(told(format!("voxel x {x}, y {y}, z {z} in HU"), [first.to_string(), second.to_string()], count)))
}

/// Without these the frames cannot be laid side by side.
fn descriptions(a: &RunDescription, b: &RunDescription) -> Option<Difference> {
    let differs = |value: &str, found: [String; 2]| {
        let different = found[0] != found[1];
        let value = value.to_owned();
        different.then_some(Difference { sequence: None, stage: "description", value, found, count: 1 })
    };
    let detector = |run: &RunDescription| format!("{} x {}", run.detector.nu, run.detector.nv);
    differs("detector in pixels", [detector(a), detector(b)])
        .or_else(|| differs("bits of a count", [a.bits_stored.to_string(), b.bits_stored.to_string()]))
}

fn header_difference([a, b]: &[FrameHeader; 2]) -> Option<Difference> {
    let field =
        |value: &str, x: &dyn Debug, y: &dyn Debug| (value.to_owned(), format!("{x:?}"), format!("{y:?}"));
    let degrees = |angle: f64| angle.to_degrees();
    let fields = [
        field("sequence number", &a.sequence, &b.sequence),
        field("device clock in ns", &a.stamps.device.0, &b.stamps.device.0),
        field("middle of the exposure in ns", &a.mid_exposure.0, &b.mid_exposure.0),
        field("X-rays on", &a.is_xray_on, &b.is_xray_on),
        field("pedal", &a.pedal, &b.pedal),
        field(
            "primary angle in degrees",
            &degrees(a.gantry.primary_angle_rad),
            &degrees(b.gantry.primary_angle_rad),
        ),
        field(
            "secondary angle in degrees",
            &degrees(a.gantry.secondary_angle_rad),
            &degrees(b.gantry.secondary_angle_rad),
        ),
        field("tube voltage in kV", &a.exposure.tube_voltage_kv, &b.exposure.tube_voltage_kv),
        field("tube current in mA", &a.exposure.tube_current_ma, &b.exposure.tube_current_ma),
        field("pulse width in ms", &a.exposure.pulse_width_ms, &b.exposure.pulse_width_ms),
    ];
    let mut different = fields.into_iter().filter(|(_, x, y)| x != y);
    let (value, x, y) = different.next()?;
    let count = 1 + different.count() as u64;
    Some(Difference { sequence: Some(a.sequence), stage: "header", value, found: [x, y], count })
}

fn frame_difference(
    headers: &[FrameHeader; 2],
    counts: &[Vec<u16>; 2],
    stages: &mut [Stages; 2],
    nu: usize,
) -> Result<Option<Difference>, SessionError> {
    let sequence = headers[0].sequence;
    if let Some(difference) = pixel_difference(sequence, "counts", nu, &counts[0], &counts[1]) {
        return Ok(Some(difference));
    }
    for ((stages, header), counts) in stages.iter_mut().zip(headers).zip(counts) {
        stages.make(header, counts)?;
    }
    let [a, b] = [stages[0].made(), stages[1].made()];
    let bits = |frame: &[f32]| frame.iter().map(|value| Bits(*value)).collect::<Vec<_>>();
    let corrected = || {
        let [a, b] = [bits(&a.corrected.intensity), bits(&b.corrected.intensity)];
        pixel_difference(sequence, "corrected", nu, &a, &b)
    };
    Ok(corrected().or_else(|| pixel_difference(sequence, "live", nu, &a.image, &b.image)).or_else(|| {
        (a.window != b.window).then(|| Difference {
            sequence: Some(sequence),
            stage: "live",
            value: "window".into(),
            found: [format!("{:?}", a.window), format!("{:?}", b.window)],
            count: 1,
        })
    }))
}

/// Equal only bit for bit.
#[derive(Clone, Copy)]
struct Bits(f32);

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Debug for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn pixel_difference<T: PartialEq + Debug>(
    sequence: u64,
    stage: &'static str,
    nu: usize,
    a: &[T],
    b: &[T],
) -> Option<Difference> {
    if a.len() != b.len() {
        let found = [a.len().to_string(), b.len().to_string()];
        let value = "number of pixels".to_owned();
        return Some(Difference { sequence: Some(sequence), stage, value, found, count: 1 });
    }
    let mut different = a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b);
    let (pixel, (x, y)) = different.next()?;
    let value = format!("pixel u {}, v {}", pixel % nu, pixel / nu);
    let count = 1 + different.count() as u64;
    Some(Difference {
        sequence: Some(sequence),
        stage,
        value,
        found: [format!("{x:?}"), format!("{y:?}")],
        count,
    })
}
