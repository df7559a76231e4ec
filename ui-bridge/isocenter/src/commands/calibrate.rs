//! `isocenter calibrate`: detector maps from frames without X-rays and even fields.

use crate::cancel;
use crate::cli::Calibrate;
use crate::console::{Console, Outcome};
use acquisition::calibrate::{MapsBuilder, MapsMode, flat_frames_remark};
use anyhow::{Context, Result, ensure};
use capture::{RunOutcome, RunReader, RunWriter, WriterOptions};
use carm::{RunDescription, WallTime};
use indicatif::ProgressBar;
use serde_json::json;
use std::path::Path;

/// Protocol of a file that holds maps and no frames.
const PROTOCOL: &str = "detector-maps";
/// Even fields of one set of maps share their tube voltage within this, kV.
const SAME_KV: f64 = 1.0;

/// Runs the command.
pub fn run(options: &Calibrate, console: &Console) -> Result<Outcome> {
    let paths = || std::iter::once(&options.dark).chain(&options.flat);
    let mut runs = paths().map(RunReader::open).collect::<Result<Vec<_>, _>>()?;
    let frames: usize = runs.iter().map(RunReader::frame_count).sum();
    let first = runs[0].description().clone();
    for (run, path) in runs.iter().zip(paths()) {
        require_same_mode(&first, run.description(), path)?;
    }
    let bar = console.progress(frames as u64, "measuring");
    let (dark, flats) = runs.split_first_mut().expect("a dark field and at least one even field");
    let mut builder = MapsBuilder::new(first.detector);
    let mut taken = Field::default();
    taken.add(dark, &options.dark, options.skip, &bar, &mut |counts, _| Ok(builder.add_dark(counts)?))?;
    let mut last = WallTime(0);
    let mut tube_voltage_kv = None;
    let mut shortest = u32::MAX;
    for (flat, path) in flats.iter_mut().zip(&options.flat) {
        builder.begin_flat();
        let mut taken = Field { is_exposed: true, ..Field::default() };
        taken.add(flat, path, options.skip, &bar, &mut |counts, mas| Ok(builder.add_flat(counts, mas)?))?;
        let kv = taken.sum_kv / f64::from(taken.frames.max(1));
        let expected = *tube_voltage_kv.get_or_insert(kv);
        let name = path.display();
        ensure!(
            (kv - expected).abs() <= SAME_KV,
            "{name}: expected {expected:.1} kV as in the first even field, found {kv:.1} kV"
        );
        last = last.max(taken.last);
        shortest = shortest.min(taken.frames);
    }
    bar.finish_and_clear();
    let mode = MapsMode {
        tube_voltage_kv: tube_voltage_kv.context("an even field")?,
        binning: options.binning,
        saturation_counts: u16::try_from((1_u32 << first.bits_stored.clamp(1, 16)) - 1)?,
        acquired: last,
    };
    let maps = builder.finish(mode).with_context(|| options.dark.display().to_string())?;
    let flat_frames = options.skip..options.skip + shortest;
    let mut description = RunDescription {
        run_id: format!("maps-{}-{}", first.device.serial_number, last.0),
        protocol: PROTOCOL.into(),
        seed: None,
        planned_views: Vec::new(),
        volume_grid: None,
        remarks: vec![flat_frames_remark(&flat_frames)],
        detector_calibration: Some(maps),
        ..first
    };
    description.beam.tube_voltage_kv = mode.tube_voltage_kv;
    write(&description, &options.out)?;
    let maps = description.detector_calibration.as_ref().expect("put there above");
    let detector = &description.detector;
    let json = json!({
        "out": options.out,
        "maps": description.run_id,
        "mode": {
            "detector": [detector.nu, detector.nv],
            "pixel_pitch_mm": [detector.pixel_pitch_u_mm, detector.pixel_pitch_v_mm],
            "binning": maps.binning,
            "frame_rate_hz": description.frame_rate_hz,
            "tube_voltage_kv": maps.tube_voltage_kv,
        },
        "acquired_unix_ns": maps.acquired.0,
        "dark_frames": taken.frames,
        "flat_fields": options.flat.len(),
        "flat_frames": shortest,
        "defects": maps.defects.len(),
        "air_intensity_per_mas": maps.air_intensity_per_mas,
        "electronic_variance": maps.electronic_variance,
        "variance_per_count": maps.variance_per_count,
    });
    let text = format!(
        "{}: {} x {} pixels at {:.0} kV and {} frames/s, {} defects",
        options.out.display(),
        detector.nu,
        detector.nv,
        maps.tube_voltage_kv,
        description.frame_rate_hz,
        maps.defects.len()
    );
    Ok(Outcome::success(json, text))
}

/// Maps of two modes do not mix.
fn require_same_mode(expected: &RunDescription, found: &RunDescription, path: &Path) -> Result<()> {
    let mode = |run: &RunDescription| {
        let detector = &run.detector;
        format!(
            "{} x {} pixels of {} mm, {} bits, {} frames/s",
            detector.nu, detector.nv, detector.pixel_pitch_u_mm, run.bits_stored, run.frame_rate_hz
        )
    };
    let (expected, found) = (mode(expected), mode(found));
    let name = path.display();
    ensure!(expected == found, "{name}: expected the dark field's mode ({expected}), found {found}");
    Ok(())
}

/// What was taken of a field.
#[derive(Default)]
struct Field {
    is_exposed: bool,
    frames: u32,
    sum_kv: f64,
    last: WallTime,
}

impl Field {
    /// Takes a field's frames but the first ones, in which the panel has not settled yet.
    fn add(
        &mut self,
        run: &mut RunReader,
        path: &Path,
        skip: u32,
        bar: &ProgressBar,
        take: &mut dyn FnMut(&[u16], f64) -> Result<()>,
    ) -> Result<()> {
        let mut counts = vec![0; run.description().detector.pixel_count()];
        for index in 0..run.frame_count() {
            cancel::check()?;
            let header = run.read_frame(index, &mut counts)?;
            bar.inc(1);
            let told = |on: bool| if on { "X-rays" } else { "no X-rays" };
            let (name, number) = (path.display(), header.sequence);
            ensure!(
                header.is_xray_on == self.is_exposed,
                "{name}: frame {number}: expected {}, found {}",
                told(self.is_exposed),
                told(header.is_xray_on)
            );
            if index < skip as usize {
                continue;
            }
            take(&counts, header.exposure.tube_charge_mas())
                .with_context(|| format!("{name}: frame {number}"))?;
            self.frames += 1;
            self.sum_kv += header.exposure.tube_voltage_kv;
            self.last = self.last.max(header.stamps.wall);
        }
        Ok(())
    }
}

/// The file appears whole or not at all.
fn write(description: &RunDescription, out: &Path) -> Result<()> {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let partial = out.with_file_name(format!(".{name}.partial"));
    let options = WriterOptions { overwrite: true, ..WriterOptions::default() };
    RunWriter::create(&partial, description, options)?.finish(RunOutcome::Complete)?;
    std::fs::rename(&partial, out).with_context(|| format!("{}: cannot be put in place", out.display()))
}
