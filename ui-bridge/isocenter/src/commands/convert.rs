//! `isocenter convert`: volumes between the formats that are read and written.

use crate::cli::{Convert, DicomClassChoice};
use crate::console::Outcome;
use anyhow::Result;
use interchange::{DicomClass, WriteOptions, read_volume, write_volume};
use serde_json::json;

/// Runs the command.
pub fn run(options: &Convert) -> Result<Outcome> {
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
