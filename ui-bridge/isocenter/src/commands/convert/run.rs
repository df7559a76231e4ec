//! Projection runs: a DICOM object becomes a run file, a run file a DICOM object.

use crate::cancel;
use crate::cli::Convert;
use crate::console::Outcome;
use crate::runs::{MU_WATER_PER_MM, from_angiogram};
use acquisition::{CorrectedFrame, Corrector};
use anyhow::{Context, Result, ensure};
use capture::RunReader;
use interchange::AngiogramWriter;
use serde_json::json;

/// X-Ray Angiographic or Radiofluoroscopic to `.mcap`.
pub fn from_dicom(options: &Convert) -> Result<Outcome> {
    let name = options.output.file_name().unwrap_or_default().to_string_lossy();
    let partial = options.output.with_file_name(format!(".{name}.partial"));
    let (made, _) = from_angiogram(&options.input, &partial, options.mu_water.unwrap_or(MU_WATER_PER_MM))?;
    let put = std::fs::rename(&partial, &options.output);
    put.with_context(|| format!("{}: cannot be put in place", options.output.display()))?;
    let run = &made.description;
    let json = json!({
        "in": options.input,
        "out": options.output,
        "class": run.protocol,
        "frames": made.headers.len(),
        "detector": [run.detector.nu, run.detector.nv],
        "pixel_pitch_mm": [run.detector.pixel_pitch_u_mm, run.detector.pixel_pitch_v_mm],
        "frame_rate_hz": run.frame_rate_hz,
        "views": run.planned_views.len(),
        "mask_frames": made.mask_frames,
        "missing": made.missing,
        "remarks": run.remarks,
    });
    let mut text = format!("{}: {} frames of {}", options.output.display(), made.headers.len(), run.protocol);
    for line in &run.remarks {
        text += &format!("\n{line}");
    }
    Ok(Outcome::success(json, text))
}

/// `.mcap` to X-Ray Angiographic.
pub fn to_dicom(options: &Convert) -> Result<Outcome> {
    let mut reader = RunReader::open(&options.input)?;
    ensure!(
        options.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dcm")),
        "{}: expected a name that ends in .dcm for the frames of a run",
        options.output.display()
    );
    let description = reader.description().clone();
    let name = options.input.display().to_string();
    let corrector = Corrector::for_run(&description).with_context(|| name.clone())?;
    let mut corrector = corrector.with_context(|| {
        format!("{name}: expected detector maps, which optical densities need, found none")
    })?;
    let mut writer = AngiogramWriter::new(&options.output, &description)?;
    let mut counts = vec![0; description.detector.pixel_count()];
    let mut corrected = CorrectedFrame::default();
    for index in 0..reader.frame_count() {
        cancel::check()?;
        let header = reader.read_frame(index, &mut counts)?;
        corrector.correct(&header, &counts, &mut corrected)?;
        writer.add(&header, &corrected.intensity, corrected.air_intensity)?;
    }
    let written = writer.finish()?;
    let json = json!({
        "in": options.input,
        "out": options.output,
        "frames": written.frames,
        "left_out": written.left_out,
        "off_ideal_px": written.off_ideal_px,
    });
    let mut text = format!("{}: {} frames", options.output.display(), written.frames);
    for line in &written.left_out {
        text += &format!("\nleft out: {line}");
    }
    Ok(Outcome::success(json, text))
}
