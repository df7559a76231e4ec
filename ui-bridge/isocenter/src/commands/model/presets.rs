//! Colours and materials, from a table that people can edit.

use anyhow::{Context, Result, ensure};
use interchange::Colour;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const BUILT_IN: &str = include_str!("presets.toml");

/// All presets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presets {
    target: BTreeMap<String, Preset>,
    material: Vec<Material>,
}

/// How a target is printed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    colour: String,
    /// How much of the inside is filled.
    pub infill_percent: u8,
}

/// A material for a range of Hounsfield units.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Material {
    above_hu: Option<f32>,
    below_hu: Option<f32>,
    name: String,
}

impl Presets {
    /// Those of a file, or the built-in ones.
    pub fn chosen(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Self::parsed(BUILT_IN).context("built-in presets") };
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parsed(&text).with_context(|| path.display().to_string())
    }

    fn parsed(text: &str) -> Result<Self> {
        let presets: Self = toml::from_str(text)?;
        for (target, preset) in &presets.target {
            preset.colour().with_context(|| format!("target {target}"))?;
            ensure!(
                preset.infill_percent <= 100,
                "target {target}: expected an infill of at most 100 %, found {}",
                preset.infill_percent
            );
        }
        Ok(presets)
    }

    /// The preset of a target; none where the file has none.
    pub fn of(&self, target: &str) -> Option<&Preset> {
        self.target.get(target)
    }

    /// The material that is advised for a value.
    pub fn material(&self, hu: f32) -> Option<&str> {
        let holds = |material: &&Material| {
            material.above_hu.is_none_or(|above| hu > above)
                && material.below_hu.is_none_or(|below| hu < below)
        };
        self.material.iter().find(holds).map(|material| material.name.as_str())
    }
}

impl Preset {
    /// Red, green, blue of `#RRGGBB`.
    pub fn colour(&self) -> Result<Colour> {
        let digits = self.colour.strip_prefix('#').filter(|digits| digits.len() == 6);
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let [_, red, green, blue] = number
            .with_context(|| format!("colour: expected #RRGGBB, found {:?}", self.colour))?
            .to_be_bytes();
        Ok([red, green, blue])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_built_in_have_every_target_and_a_material_for_every_value() {
        let presets = Presets::chosen(None).unwrap();
        for target in anatomy::Target::ALL {
            assert!(presets.of(target.name()).is_some(), "{}", target.name());
        }
        assert_eq!(presets.of("bone").unwrap().colour().unwrap(), [0xEC, 0xE4, 0xD0]);
        assert_eq!(presets.material(900.0), Some("rigid, like hydroxyapatite"));
        assert_eq!(presets.material(30.0), Some("soft, like silicone"));
        assert_eq!(presets.material(-500.0), Some("any"));
    }

    #[test]
    fn presets_refuse_colours_and_infills_that_are_none() {
        for (bad, told) in
            [("\"red\"\ninfill_percent = 5", "#RRGGBB"), ("\"#FFFFFF\"\ninfill_percent = 150", "100 %")]
        {
            let text = format!("material = []\n[target.bone]\ncolour = {bad}\n");
            let error = format!("{:#}", Presets::parsed(&text).unwrap_err());
            assert!(error.contains(told), "{error}");
        }
    }
}
