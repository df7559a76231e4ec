//! Before the printer starts: which way up, what hangs over, what to drain, how long and how much.
//!
//! Time and material come from PrusaSlicer where it is there and the printer lays lines, and from an estimate of our own
//! from volume, area and layers otherwise; the report says which.

use super::slicer::sliced;
use crate::cli::Model;
use anyhow::{Context, Result, ensure};
use carm::TriangleMesh;
use printing::{Cavity, Orientation, orientations, overhangs};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const BUILT_IN: &str = include_str!("printers.toml");
/// Places that are listed.
const LISTED: usize = 12;
/// Part of the volume under an overhang that its support takes.
const SUPPORT_DENSITY: f64 = 0.15;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Printers {
    printer: BTreeMap<String, Printer>,
}

/// A printer and its materials.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Printer {
    #[serde(skip)]
    name: String,
    process: String,
    bed_mm: [f64; 3],
    nozzle_mm: f64,
    layers_mm: Vec<f64>,
    /// Lines along every surface; none where the inside is solid.
    walls: u32,
    flow_mm3_s: f64,
    layer_s: f64,
    overhang_deg: f64,
    needs_drains: bool,
    /// Of the printed part against its file, mm.
    pub expected_error_mm: f64,
    material: Vec<Material>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Material {
    name: String,
    density_g_cm3: f64,
    sterilisation: String,
    biocompatibility: String,
}

/// What is printed, as far as time and material go.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub volume_mm3: f64,
    pub area_mm2: f64,
    pub height_mm: f64,
    pub support_mm3: f64,
}

impl Printer {
    /// A built-in printer by its name, or the one of a file.
    pub fn chosen(name: &str) -> Result<Self> {
        let built_in: Printers = toml::from_str(BUILT_IN).context("built-in printers")?;
        let names = built_in.printer.keys().cloned().collect::<Vec<_>>().join(", ");
        if let Some(printer) = built_in.printer.get(name) {
            return Self { name: name.into(), ..printer.clone() }.checked();
        }
        ensure!(
            Path::new(name).extension().is_some_and(|extension| extension == "toml"),
            "--printer: expected a .toml file or one of {names}, found {name}"
        );
        let text = std::fs::read_to_string(name).with_context(|| name.to_string())?;
        let file: Printers = toml::from_str(&text).with_context(|| name.to_string())?;
        ensure!(file.printer.len() == 1, "{name}: expected one printer, found {}", file.printer.len());
        let (own, printer) = file.printer.into_iter().next().context("a printer")?;
        Self { name: own, ..printer }.checked().with_context(|| name.to_string())
    }

    fn checked(self) -> Result<Self> {
        let numbers = [self.nozzle_mm, self.flow_mm3_s, self.expected_error_mm]
            .into_iter()
            .chain(self.bed_mm)
            .chain(self.layers_mm.iter().copied())
            .chain(self.material.iter().map(|material| material.density_g_cm3));
        for number in numbers {
            ensure!(number > 0.0, "printer {}: expected numbers above 0, found {number}", self.name);
        }
        ensure!(
            !self.layers_mm.is_empty(),
            "printer {}: expected at least one layer height, found none",
            self.name
        );
        ensure!(
            (0.0..90.0).contains(&self.overhang_deg),
            "printer {}: expected an overhang from 0 to 90 degrees, found {}",
            self.name,
            self.overhang_deg
        );
        Ok(self)
    }

    /// Material that is laid down, mm³.
    fn material_mm3(&self, part: &Part, infill: f64) -> f64 {
        if self.walls == 0 {
            return part.volume_mm3 + part.support_mm3;
        }
        let shell = (part.area_mm2 * f64::from(self.walls) * self.nozzle_mm).min(part.volume_mm3);
        shell + infill * (part.volume_mm3 - shell) + part.support_mm3
    }

    /// Minutes for a part in layers of a height. A process that lays lines is slower with thinner ones.
    fn minutes(&self, part: &Part, infill: f64, layer_mm: f64) -> f64 {
        let usual = self.usual_layer();
        let flow = self.flow_mm3_s * if self.walls == 0 { 1.0 } else { layer_mm / usual };
        let layers = (part.height_mm / layer_mm).ceil();
        (self.material_mm3(part, infill) / flow + layers * self.layer_s) / 60.0
    }

    /// The finest layer, then the largest part of the size, that is printed within some minutes; none where not even a
    /// fifth of the size is.
    pub fn within(&self, part: &Part, infill: f64, minutes: f64) -> Option<(f64, f64)> {
        let mut layers = self.layers_mm.clone();
        layers.sort_by(f64::total_cmp);
        let fits = |scale: f64, layer: f64| {
            let scaled = Part {
                volume_mm3: part.volume_mm3 * scale.powi(3),
                area_mm2: part.area_mm2 * scale.powi(2),
                height_mm: part.height_mm * scale,
                support_mm3: part.support_mm3 * scale.powi(3),
            };
            self.minutes(&scaled, infill, layer) <= minutes
        };
        let whole = layers.iter().copied().find(|&layer| fits(1.0, layer));
        whole.map(|layer| (1.0, layer)).or_else(|| {
            let coarsest = layers[layers.len() - 1];
            (4..20)
                .rev()
                .map(|step| f64::from(step) * 0.05)
                .find(|&s| fits(s, coarsest))
                .map(|s| (s, coarsest))
        })
    }

    /// Its layer of middle height.
    fn usual_layer(&self) -> f64 {
        self.layers_mm[self.layers_mm.len() / 2]
    }

    /// What PrusaSlicer has to know.
    pub fn slicer_options(&self, layer_mm: f64, infill: f64) -> Vec<String> {
        let [x, y, z] = self.bed_mm;
        let density = self.material.first().map_or(1.0, |material| material.density_g_cm3);
        [
            ("bed-shape", format!("0x0,{x}x0,{x}x{y},0x{y}")),
            ("center", format!("{},{}", x / 2.0, y / 2.0)),
            ("max-print-height", z.to_string()),
            ("nozzle-diameter", self.nozzle_mm.to_string()),
            ("layer-height", layer_mm.to_string()),
            ("first-layer-height", layer_mm.to_string()),
            ("perimeters", self.walls.to_string()),
            ("fill-density", format!("{}%", (infill * 100.0).round())),
            // The one pattern that fills everything, too.
            ("fill-pattern", "rectilinear".into()),
            ("support-material-threshold", format!("{}", (90.0 - self.overhang_deg).round())),
            ("filament-density", density.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .chain(["--support-material".into()])
        .collect()
    }

    /// What the slicer says, in place of the estimate; why it says nothing, where it was there and failed.
    fn by_slicer(&self, slicer: &str, mesh: &TriangleMesh, best: &Orientation, infill: f64) -> Value {
        if self.walls == 0 {
            return Value::Null;
        }
        let layer_mm = self.usual_layer();
        match sliced(slicer, mesh, &best.up, self, layer_mm, infill) {
            Ok(None) => Value::Null,
            Err(error) => json!({ "failed": format!("{error:#}") }),
            Ok(Some(sliced)) => json!({
                "program": sliced.program, "layer_mm": layer_mm, "minutes": sliced.minutes.round(),
                "material_ml": sliced.material_mm3 / 1e3,
                "materials": self.material.iter().map(|material| json!({ "name": material.name,
                    "grams": (sliced.material_mm3 * material.density_g_cm3 / 1e3).round() })).collect::<Vec<_>>(),
            }),
        }
    }

    /// Everything that is advised for a mesh.
    ///
    /// `size`: volume in mm³ and area in mm².
    pub fn advice(
        &self,
        mesh: &TriangleMesh,
        [volume_mm3, area_mm2]: [f64; 2],
        infill: f64,
        closed: &[&Cavity],
        options: &Model,
    ) -> Value {
        let limit_rad = self.overhang_deg.to_radians();
        let Some(best) = orientations(mesh, limit_rad).into_iter().next() else { return Value::Null };
        let hanging = overhangs(mesh, &best.up, limit_rad);
        let support_mm3 =
            hanging.iter().map(|place| place.area_mm2 * place.height_mm * SUPPORT_DENSITY).sum();
        let part = Part { volume_mm3, area_mm2, height_mm: best.height_mm, support_mm3 };
        let layers: Vec<Value> = self
            .layers_mm
            .iter()
            .map(|&layer| json!({ "layer_mm": layer, "minutes": self.minutes(&part, infill, layer).round() }))
            .collect();
        let used_mm3 = self.material_mm3(&part, infill);
        let materials: Vec<Value> = self
            .material
            .iter()
            .map(|material| {
                json!({ "name": material.name, "grams": (used_mm3 * material.density_g_cm3 / 1e3).round(),
                    "sterilisation": material.sterilisation, "biocompatibility": material.biocompatibility })
            })
            .collect();
        let mut told = json!({
            "printer": self.name, "process": self.process,
            "orientation": standing(&best),
            "fits_the_bed": self.fits(mesh, &best), "bed_mm": self.bed_mm,
            "estimate": "our own, from volume, area and layers, not a slicer's",
            "infill_percent": infill * 100.0, "support_ml": support_mm3 / 1e3,
            "layers": layers, "materials": materials,
            "overhangs": hanging.iter().take(LISTED).map(|place| json!({ "place_mm": place.place_mm,
                "area_mm2": place.area_mm2, "height_mm": place.height_mm })).collect::<Vec<_>>(),
            "drains": self.drains(closed),
        });
        if options.slicer != "none" {
            told["by_slicer"] = self.by_slicer(&options.slicer, mesh, &best, infill);
        }
        if let Some(minutes) = options.within {
            told["within"] = self.told_within(&part, infill, minutes);
        }
        told
    }

    fn told_within(&self, part: &Part, infill: f64, minutes: f64) -> Value {
        let usual = self.usual_layer();
        let given_up = match self.within(part, infill, minutes) {
            None => {
                "not possible: not even at a fifth of the size; crop the volume to the level first".into()
            }
            Some((scale, layer)) if scale < 1.0 => {
                format!("size: make it with --scale {scale:.2} and layers of {layer} mm")
            }
            Some((_, layer)) if layer > usual => format!("fineness: layers of {layer} mm"),
            Some((_, layer)) => format!("nothing: layers of {layer} mm"),
        };
        json!({ "minutes": minutes, "given_up": given_up })
    }

    fn drains(&self, closed: &[&Cavity]) -> Value {
        if !self.needs_drains {
            return json!("none needed");
        }
        let told = |cavity: &&Cavity| json!({ "place_mm": cavity.place_mm, "volume_mm3": cavity.volume_mm3 });
        json!(closed.iter().map(told).collect::<Vec<_>>())
    }

    /// Whether the part lies within the printer, turned about the vertical by quarters.
    fn fits(&self, mesh: &TriangleMesh, standing: &Orientation) -> bool {
        let up = standing.up.into_inner();
        let across = if up.x.abs() < 0.9 { nalgebra::Vector3::x() } else { nalgebra::Vector3::y() };
        let u = up.cross(&across).try_normalize(0.0).unwrap_or(across);
        let v = up.cross(&u);
        let size = [u, v].map(|axis| {
            let along = mesh.vertices_mm.iter().map(|p| nalgebra::Vector3::from(p.map(f64::from)).dot(&axis));
            let (low, high) =
                along.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
            high - low
        });
        let [x, y, z] = self.bed_mm;
        let lies = |a: f64, b: f64| a <= x && b <= y;
        standing.height_mm <= z && (lies(size[0], size[1]) || lies(size[1], size[0]))
    }
}

fn standing(best: &Orientation) -> Value {
    json!({ "up": best.up.as_slice(), "overhang_mm2": best.overhang_mm2, "on_bed_mm2": best.on_bed_mm2,
        "height_mm": best.height_mm })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Part =
        Part { volume_mm3: 60_000.0, area_mm2: 12_000.0, height_mm: 80.0, support_mm3: 2_000.0 };

    #[test]
    fn printers_built_in_are_all_usable_and_others_are_named() {
        for name in ["filament", "resin", "large"] {
            assert!(Printer::chosen(name).unwrap().minutes(&PART, 0.5, 0.1) > 10.0);
        }
        let error = Printer::chosen("laser").unwrap_err().to_string();
        assert!(error.contains("filament") && error.contains("laser"), "{error}");
    }

    #[test]
    fn minutes_grow_with_infill_and_fall_with_layers() {
        let printer = Printer::chosen("filament").unwrap();
        assert!(printer.minutes(&PART, 0.5, 0.2) > printer.minutes(&PART, 0.1, 0.2));
        assert!(printer.minutes(&PART, 0.5, 0.3) < printer.minutes(&PART, 0.5, 0.2));
        // All that is laid down and nothing else: 60 ml at 5 mm³ a second, 400 layers of 4 s.
        let plain = Part { support_mm3: 0.0, ..PART };
        let expected = (60_000.0 / 5.0 + 400.0 * 4.0) / 60.0;
        assert!((printer.minutes(&plain, 1.0, 0.2) - expected).abs() < 1e-9);
    }

    #[test]
    fn within_gives_up_fineness_first_then_size() {
        let printer = Printer::chosen("filament").unwrap();
        let whole = printer.minutes(&PART, 0.5, 0.15);
        assert_eq!(printer.within(&PART, 0.5, whole + 1.0), Some((1.0, 0.15)));
        let coarse = printer.minutes(&PART, 0.5, 0.3);
        assert_eq!(printer.within(&PART, 0.5, coarse + 1.0), Some((1.0, 0.3)));
        let (scale, layer) = printer.within(&PART, 0.5, 0.5 * coarse).unwrap();
        assert!(scale < 0.85 && scale > 0.5 && layer == 0.3);
        assert_eq!(printer.within(&PART, 0.5, 0.1), None);
    }
}
