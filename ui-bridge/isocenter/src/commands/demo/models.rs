//! The demo's last step: printable models of the volume that was just reconstructed, as `isocenter model` makes them.

use crate::cli::{Arguments, Command, Model};
use crate::commands::model;
use crate::console::Console;
use crate::report::{Check, Figure};
use anyhow::{Context, Result};
use clap::Parser;
use interchange::read_mesh;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Targets, and what their models are called.
const MODELS: [(&str, &str); 2] = [("bone", "bone.3mf"), ("vessel", "aorta.3mf")];

/// A model, or why there is none.
pub struct DemoModel {
    target: &'static str,
    path: PathBuf,
    told: Result<Value>,
    seconds: f64,
}

/// Makes all models of a volume's file beside it.
pub fn made(
    volume: &Path,
    mask: &Path,
    out: &Path,
    threads: Option<usize>,
    console: &Console,
) -> Vec<DemoModel> {
    MODELS
        .map(|(target, name)| {
            let (path, start) = (out.join(name), Instant::now());
            let told = options([volume, mask], target, &path, threads)
                .and_then(|options| model::run(&options, console))
                .map(|outcome| outcome.json);
            DemoModel { target, path, told, seconds: start.elapsed().as_secs_f64() }
        })
        .into()
}

/// What the command line would say, its defaults included.
fn options([volume, mask]: [&Path; 2], target: &str, out: &Path, threads: Option<usize>) -> Result<Model> {
    let threads = threads.map(|threads| format!("--threads={threads}"));
    // Minutes of slicing belong to those who print; the own estimate is told at once.
    let words = ["isocenter".as_ref(), "model".as_ref(), "--slicer=none".as_ref(), volume.as_os_str()];
    let more = [
        "--mask".as_ref(),
        mask.as_os_str(),
        "--target".as_ref(),
        target.as_ref(),
        "--out".as_ref(),
        out.as_os_str(),
    ];
    let all = words.into_iter().chain(more).map(std::ffi::OsString::from).chain(threads.map(Into::into));
    match Arguments::try_parse_from(all)?.command {
        Command::Model(options) => Ok(options),
        _ => anyhow::bail!("expected the options of a model, found those of another command"),
    }
}

impl DemoModel {
    /// Whether it is there and sound. A vessel may lie outside what was seen; that is told, and no fault of the program.
    pub fn check(&self) -> Check {
        let measured = match &self.told {
            Ok(told) => format!(
                "{} faces, at most {:.2} mm from the full surface, {:.0} s",
                told["mesh_read_back"]["faces"],
                told["decimation"]["two_sided_bound_mm"].as_f64().unwrap_or(f64::NAN),
                self.seconds
            ),
            Err(error) => format!("{error:#}"),
        };
        match self.target {
            "bone" => Check::new("The model of bone is sound when read back", self.told.is_ok(), measured),
            _ => Check::goal("The model of the aorta is sound when read back", self.told.is_ok(), measured),
        }
    }

    /// For the JSON report.
    pub fn facts(&self) -> Value {
        match &self.told {
            Ok(told) => json!({ "target": self.target, "out": told["out"], "report": told["report"],
                "faces": told["mesh_read_back"]["faces"], "two_sided_bound_mm": told["decimation"]["two_sided_bound_mm"],
                "stages_s": told["stages_s"], "seconds": self.seconds }),
            Err(error) => {
                json!({ "target": self.target, "error": format!("{error:#}"), "seconds": self.seconds })
            }
        }
    }

    /// For the page: where the model's own report lies, and its picture.
    pub fn row(&self) -> Option<(String, String)> {
        let report = self.told.as_ref().ok()?["report"].as_str()?;
        Some((format!("Model of {}, its report", self.target), report.into()))
    }

    /// A picture of the file written.
    pub fn figure(&self) -> Result<Option<Figure>> {
        if self.told.is_err() {
            return Ok(None);
        }
        let mesh = read_mesh(&self.path).with_context(|| self.path.display().to_string())?.merged();
        let caption = format!("Printable model: {}, from the front", self.target);
        Ok(Some(Figure::new(&caption, model::plain_picture(&mesh)?)))
    }
}
