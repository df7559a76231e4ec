//! `convert` and `inspect`.

use super::values::positive;
use clap::Args;
use std::path::PathBuf;

/// Options of `convert`.
#[derive(Args)]
pub struct Convert {
    /// What is read.
    pub input: PathBuf,
    /// What is written; the name tells the format.
    pub output: PathBuf,
    /// Pack the samples where the format can.
    #[arg(long)]
    pub compress: bool,
    /// Which DICOM object is written.
    #[arg(long)]
    pub dicom_class: Option<DicomClassChoice>,
    /// How the patient lay, for DICOM.
    #[arg(long)]
    pub position: Option<carm::PatientPosition>,
    /// Attenuation of water, 1/mm, for a run from DICOM.
    #[arg(long, value_parser = positive)]
    pub mu_water: Option<f64>,
}

/// DICOM objects for volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DicomClassChoice {
    /// X-Ray 3D Angiographic Image Storage, one file.
    Xray3d,
    /// CT Image Storage, a folder of slices.
    Ct,
}

/// Options of `inspect`.
#[derive(Args)]
pub struct Inspect {
    /// The file or folder.
    pub path: PathBuf,
    /// Write a repaired run; the original is never touched.
    #[arg(long)]
    pub recover: Option<PathBuf>,
}
