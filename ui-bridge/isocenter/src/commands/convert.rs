//! `isocenter convert`: volumes between the formats that are read and written, and projection runs to and from DICOM.

mod run;

use crate::cli::{Convert, DicomClassChoice};
use crate::console::Outcome;
use anyhow::{Result, bail};
use interchange::{DicomClass, WriteOptions, read_volume, write_volume};
use serde_json::json;
use std::path::Path;

/// Runs the command.
pub fn run(options: &Convert) -> Result<Outcome> {
    let is_run = |path: &Path| path.extension().is_some_and(|extension| extension == "mcap");
    match (is_run(&options.input), is_run(&options.output)) {
        (true, true) => bail!("{}: a run already", options.input.display()),
        (true, false) => return run::to_dicom(options),
        (false, true) => return run::from_dicom(options),
        (false, false) => {}
    }
    let volume = read_volume(&options.input)?;
    let write = WriteOptions {
        compress: options.compress,
        dicom_class: options.dicom_class.map(|class| match class {
            DicomClassChoice::Xray3d => DicomClass::XRay3DAngiographic,
            DicomClassChoice::Ct => DicomClass::CtImage,
        }),
        patient_position: options.position,
        ..WriteOptions::default()
    };
    write_volume(&volume, &options.output, &write)?;
    let grid = &volume.grid;
    let warnings = &volume.provenance.warnings;
    let mut text = format!(
        "{} ({}x{}x{} voxels)",
        options.output.display(),
        grid.shape[0],
        grid.shape[1],
        grid.shape[2]
    );
    for warning in warnings {
        text += &format!("\nwarning: {warning}");
    }
    let report = json!({
        "in": options.input,
        "out": options.output,
        "shape": grid.shape,
        "spacing_mm": grid.spacing_mm,
        "warnings": warnings,
    });
    Ok(Outcome::success(report, text))
}
