//! What bodies, devices and the scintillator are made of, and the tube's spectra, as tables in 1 keV steps.
//!
//! `data/attenuation.csv` (xraylib) and `data/spectra.csv` (SpekPy) were made by `data/make_tables.py`, which lies
//! beside them. Mass attenuation is in cm²/g as in the published tables; lengths elsewhere in the crate are mm.

use crate::error::SimulationError;
use std::sync::OnceLock;

/// First energy of the tables, keV.
pub(crate) const FIRST_KEV: usize = 15;
/// Number of energies, 1 keV apart.
pub(crate) const ENERGIES: usize = 111;

/// One number for each energy of the tables.
pub(crate) type PerEnergy = [f64; ENERGIES];

/// A material whose attenuation is tabulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Material {
    /// Water, and soft tissue as water of another density.
    Water,
    /// Adipose tissue, ICRU 44.
    Adipose,
    /// Cortical bone, ICRU 44.
    CorticalBone,
    /// Iodine.
    Iodine,
    /// Ti-6Al-4V.
    TitaniumAlloy,
    /// Cobalt-chromium-molybdenum.
    CobaltChrome,
    /// Steel 316L.
    Steel316L,
    /// Nickel-titanium.
    Nitinol,
    /// Platinum.
    Platinum,
    /// Tantalum.
    Tantalum,
    /// Polymer filled with barium sulphate (catheters).
    BariumPolymer,
    /// Acrylic.
    Pmma,
    /// Carbon fibre.
    CarbonFibre,
}

impl Material {
    const ALL: [(Self, &'static str); 13] = [
        (Self::Water, "water"),
        (Self::Adipose, "adipose"),
        (Self::CorticalBone, "cortical_bone"),
        (Self::Iodine, "iodine"),
        (Self::TitaniumAlloy, "titanium_alloy"),
        (Self::CobaltChrome, "cobalt_chrome"),
        (Self::Steel316L, "steel_316l"),
        (Self::Nitinol, "nitinol"),
        (Self::Platinum, "platinum"),
        (Self::Tantalum, "tantalum"),
        (Self::BariumPolymer, "barium_polymer"),
        (Self::Pmma, "pmma"),
        (Self::CarbonFibre, "carbon_fibre"),
    ];

    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(material, _)| *material == self).expect("every material is listed").1
    }

    /// Density, g/cm³.
    pub fn density_g_cm3(self) -> f64 {
        column(self.name()).density_g_cm3
    }

    /// Mass attenuation at an energy within 15-125 keV (held at the ends), linear between whole keV, cm²/g.
    pub fn mass_attenuation_cm2_g(self, energy_kev: f64) -> f64 {
        let table = self.table();
        let place = (energy_kev - FIRST_KEV as f64).clamp(0.0, (ENERGIES - 1) as f64);
        let low = (place.floor() as usize).min(ENERGIES - 2);
        let share = place - low as f64;
        table[low] * (1.0 - share) + table[low + 1] * share
    }

    /// Linear attenuation at its own density, 1/mm.
    pub fn mu_per_mm(self, energy_kev: f64) -> f64 {
        0.1 * self.density_g_cm3() * self.mass_attenuation_cm2_g(energy_kev)
    }

    /// Mass attenuation at every tabulated energy, cm²/g.
    pub(crate) fn table(self) -> &'static PerEnergy {
        &column(self.name()).values
    }
}

/// Scintillator: caesium iodide as evaporated needles, 0.6 mm at 80 % packing.
const SCINTILLATOR_G_CM2: f64 = 4.51 * 0.8 * 0.06;

/// Share of the photons of each energy that the scintillator absorbs; fluorescence that escapes is not modelled.
pub(crate) fn scintillator_absorption() -> PerEnergy {
    column("cesium_iodide").values.map(|mu| 1.0 - (-mu * SCINTILLATOR_G_CM2).exp())
}

/// Centre of an energy bin, keV.
pub(crate) fn energy_kev(bin: usize) -> f64 {
    (FIRST_KEV + bin) as f64
}

/// Photons per mm², mAs and keV at 1 m from the focal spot.
///
/// # Errors
/// [`SimulationError::UnknownSpectrum`], with the known names.
pub(crate) fn spectrum(name: &str) -> Result<&'static PerEnergy, SimulationError> {
    let spectra = spectra();
    spectra.iter().find(|column| column.name == name).map(|column| &column.values).ok_or_else(|| {
        let known: Vec<_> = spectra.iter().map(|column| column.name.as_str()).collect();
        SimulationError::UnknownSpectrum { found: name.into(), known: known.join(", ") }
    })
}

/// Water and bone densities (g/cm³ each) that attenuate like 1 g/cm³ of a light material from 30 to 120 keV: the
/// two-function basis of Alvarez and Macovski, Phys. Med. Biol. 21(5), 1976; least squares of relative deviations.
/// Adipose tissue comes out 0.25 % right at worst.
pub(crate) fn water_bone_equivalent(material: Material) -> [f64; 2] {
    match material {
        Material::Water => return [1.0, 0.0],
        Material::CorticalBone => return [0.0, 1.0],
        _ => {}
    }
    let (water, bone) = (Material::Water.table(), Material::CorticalBone.table());
    let target = material.table();
    let (mut ww, mut wb, mut bb, mut w, mut b) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for bin in 30 - FIRST_KEV..=120 - FIRST_KEV {
        let (x, y) = (water[bin] / target[bin], bone[bin] / target[bin]);
        ww += x * x;
        wb += x * y;
        bb += y * y;
        w += x;
        b += y;
    }
    let determinant = ww * bb - wb * wb;
    [(w * bb - b * wb) / determinant, (b * ww - w * wb) / determinant]
}

struct Column {
    name: String,
    density_g_cm3: f64,
    values: PerEnergy,
}

fn column(name: &str) -> &'static Column {
    static TABLE: OnceLock<Vec<Column>> = OnceLock::new();
    let table = TABLE.get_or_init(|| read(include_str!("../data/attenuation.csv"), true));
    table.iter().find(|column| column.name == name).expect("every material has a column in attenuation.csv")
}

fn spectra() -> &'static [Column] {
    static TABLE: OnceLock<Vec<Column>> = OnceLock::new();
    TABLE.get_or_init(|| read(include_str!("../data/spectra.csv"), false))
}

/// Reads one of our own tables; a table that does not read is a bug of ours.
fn read(text: &str, has_densities: bool) -> Vec<Column> {
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let number = |text: &str| text.parse::<f64>().expect("a number in our own table");
    let names = lines.next().expect("a header in our own table");
    let densities = has_densities.then(|| lines.next().expect("densities in our own table"));
    let rows: Vec<Vec<f64>> = lines.map(|row| row.iter().map(|text| number(text)).collect()).collect();
    assert_eq!(rows.len(), ENERGIES, "energies in our own table");
    (1..names.len())
        .map(|c| Column {
            name: names[c].into(),
            density_g_cm3: densities.as_ref().map_or(0.0, |row| number(row[c])),
            values: std::array::from_fn(|bin| rows[bin][c]),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST X-ray mass attenuation coefficients (Hubbell and Seltzer, NISTIR 5632): water 60 keV 0.2059 cm²/g,
    /// 100 keV 0.1707; cortical bone (ICRU 44) 60 keV 0.3148; iodine 60 keV 7.579. xraylib's tables differ by up to
    /// 1 %.
    #[test]
    fn materials_agree_with_published_attenuation() {
        for (material, kev, expected) in [
            (Material::Water, 60.0, 0.2059),
            (Material::Water, 100.0, 0.1707),
            (Material::CorticalBone, 60.0, 0.3148),
            (Material::Iodine, 60.0, 7.579),
        ] {
            let found = material.mass_attenuation_cm2_g(kev);
            assert!((found / expected - 1.0).abs() < 0.01, "{material:?} {kev} keV: {found} {expected}");
        }
    }

    #[test]
    fn materials_adipose_is_water_and_a_little_less_bone() {
        let [water, bone] = water_bone_equivalent(Material::Adipose);
        assert!(bone < 0.0 && water > 1.0);
        for kev in [35.0, 60.0, 110.0] {
            let made = water * Material::Water.mass_attenuation_cm2_g(kev)
                + bone * Material::CorticalBone.mass_attenuation_cm2_g(kev);
            let wanted = Material::Adipose.mass_attenuation_cm2_g(kev);
            assert!((made / wanted - 1.0).abs() < 0.003, "{kev}: {made} {wanted}");
        }
    }
}
