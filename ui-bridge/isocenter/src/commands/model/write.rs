//! Model and report on the disk: written beside their place, read back, and put there when the model is sound.

use super::presets::Presets;
use super::stages::Stages;
use super::{Input, NOTICE, review};
use crate::cli::Model;
use crate::commands::inspect::mesh_facts;
use anyhow::{Context, Result, ensure};
use carm::TriangleMesh;
use interchange::{
    EncapsulatedStl, MeshFile, MeshFormat, MeshPart, read_encapsulated_stl, read_mesh,
    write_encapsulated_stl, write_mesh,
};
use printing::check;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a model is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A file of surfaces.
    Mesh,
    /// DICOM Encapsulated STL.
    Dicom,
}

impl Format {
    /// By the name's extension.
    pub fn of(path: &Path) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dcm")) {
            return Ok(Self::Dicom);
        }
        MeshFormat::to_write(path)?;
        Ok(Self::Mesh)
    }
}

/// What is needed to write a model.
pub struct File<'a> {
    pub options: &'a Model,
    pub input: &'a Input,
    pub presets: &'a Presets,
}

/// Files that wait beside their place.
pub struct Staged {
    folder: PathBuf,
    staging: tempfile::TempDir,
    stem: String,
}

impl File<'_> {
    /// Writes the model and reads it back.
    pub fn stage(&self, mesh: &TriangleMesh, told: &mut Value, stages: &mut Stages) -> Result<Staged> {
        let out = &self.options.out;
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = out.file_name().context("the name of a file as --out")?;
        let stem = Path::new(name).file_stem().unwrap_or(name).to_string_lossy().into_owned();
        let staging = tempfile::Builder::new()
            .prefix(".isocenter-")
            .tempdir_in(folder)
            .with_context(|| folder.display().to_string())?;
        let path = staging.path().join(name);
        let back = match Format::of(out)? {
            Format::Mesh => {
                write_mesh(&path, &self.mesh_file(mesh)?)?;
                read_mesh(&path)?.merged()
            }
            Format::Dicom => {
                write_encapsulated_stl(&path, mesh, &self.document())?;
                read_encapsulated_stl(&path)?
            }
        };
        stages.ended("write_and_read_back");
        let checked = check(&back);
        ensure!(
            checked.is_sound(),
            "{}: expected a sound mesh in the file written, found {checked}",
            out.display()
        );
        stages.ended("check");
        told["out"] = json!(out);
        told["mesh_read_back"] = mesh_facts(&checked);
        Ok(Staged { folder: folder.into(), staging, stem })
    }

    fn mesh_file(&self, mesh: &TriangleMesh) -> Result<MeshFile> {
        let target = self.options.target.to_string();
        let preset = self.presets.of(&target);
        let part = MeshPart {
            name: target.clone(),
            mesh: mesh.clone(),
            colour: preset.map(|preset| preset.colour()).transpose()?,
            infill_percent: preset.map(|preset| preset.infill_percent),
        };
        let mut metadata = vec![
            ("Title".into(), format!("{target} model")),
            ("Description".into(), format!("{}. {NOTICE}", review(self.options))),
            ("Application".into(), format!("Isocenter {}", env!("CARGO_PKG_VERSION"))),
            ("Source".into(), self.input.hash.clone()),
        ];
        if self.options.scale != 1.0 {
            metadata.push(("Scale".into(), self.options.scale.to_string()));
        }
        Ok(MeshFile { parts: vec![part], metadata, ..MeshFile::default() })
    }

    fn document(&self) -> EncapsulatedStl {
        let is_whole_size = self.options.scale == 1.0;
        EncapsulatedStl {
            title: format!("{} model", self.options.target),
            description: format!("{}. {NOTICE}", review(self.options)),
            // A scaled model does not lie where the patient does.
            frame_of_reference_uid: self.input.frame_of_reference_uid.clone().filter(|_| is_whole_size),
            is_reviewed: self.options.accept_by.is_some(),
            is_modified: true,
        }
    }
}

impl Staged {
    /// Adds both reports and puts everything in its place; the page's path.
    pub fn publish(self, page: &str, told: &mut Value) -> Result<PathBuf> {
        let name = format!("{}.report.html", self.stem);
        let place = self.folder.join(&name);
        told["report"] = json!(place);
        std::fs::write(self.staging.path().join(&name), page)?;
        let json = serde_json::to_vec_pretty(told)?;
        std::fs::write(self.staging.path().join(format!("{}.report.json", self.stem)), json)?;
        for entry in std::fs::read_dir(self.staging.path())? {
            let entry = entry?;
            std::fs::rename(entry.path(), self.folder.join(entry.file_name()))?;
        }
        Ok(place)
    }
}
