//! From what lies in a ray's path to what its pixel receives: the energy-integrating primary.
//!
//! ```text
//! T(L) = Σ_E N(E) η(E) E exp(-Σ_m (µ/ρ)_m L_m)  /  the same with L = 0
//! c(L) = Σ_E N η E² exp(..) / Σ_E N η E exp(..)          the mean quantum, keV, of the compound Poisson noise
//! ```
//!
//! -ln T and c are smooth in the three areal densities of the body (water, bone, iodine), so both are tabulated and
//! interpolated; a pixel with metal sums its energies one by one.

use crate::error::SimulationError;
use crate::materials::{self, ENERGIES, Material, PerEnergy};

/// Areal densities along a ray, g/cm².
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Paths {
    pub water: f32,
    pub bone: f32,
    pub iodine: f32,
}

/// What a pixel receives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Received {
    /// Signal relative to the bare beam.
    pub transmission: f32,
    /// Variance over mean of the absorbed energy, keV.
    pub quantum_kev: f32,
}

/// A beam with its detector response.
#[derive(Debug)]
pub(crate) struct Beam {
    /// Energy absorbed of the bare beam, keV per mm² and mAs at 1 m from the focal spot.
    pub air_kev_per_mm2_mas: f64,
    /// Attenuation at the effective energy, cm²/g: water, bone, iodine.
    pub effective_cm2_g: [f64; 3],
    effective_energy_kev: f64,
    /// N η E, normalised to sum 1.
    weights: PerEnergy,
    table: Option<Table>,
}

impl Beam {
    /// `is_monoenergetic`: all photons at the effective energy, at the spectrum's absorbed energy.
    pub fn new(
        spectrum: &str,
        effective_energy_kev: f64,
        is_monoenergetic: bool,
    ) -> Result<Self, SimulationError> {
        let photons = materials::spectrum(spectrum)?;
        let absorption = materials::scintillator_absorption();
        let absorbed: PerEnergy =
            std::array::from_fn(|bin| photons[bin] * absorption[bin] * materials::energy_kev(bin));
        let total: f64 = absorbed.iter().sum();
        let weights = absorbed.map(|value| value / total);
        let effective_cm2_g = [Material::Water, Material::CorticalBone, Material::Iodine]
            .map(|material| material.mass_attenuation_cm2_g(effective_energy_kev));
        let table = (!is_monoenergetic).then(|| Table::new(&weights));
        Ok(Self { air_kev_per_mm2_mas: total, effective_cm2_g, effective_energy_kev, weights, table })
    }

    /// Line integral at the effective energy.
    pub fn line_integral(&self, paths: &Paths, metal: &[(Material, f64)]) -> f64 {
        let [water, bone, iodine] = self.effective_cm2_g;
        let body =
            water * f64::from(paths.water) + bone * f64::from(paths.bone) + iodine * f64::from(paths.iodine);
        let added = |(material, g_cm2): &(Material, f64)| {
            material.mass_attenuation_cm2_g(self.effective_energy_kev) * g_cm2
        };
        body + metal.iter().map(added).sum::<f64>()
    }

    /// What the pixel receives behind the body and the metal (areal density, g/cm²) in the path.
    pub fn receive(&self, paths: &Paths, metal: &[(Material, f64)]) -> Received {
        match &self.table {
            None => Received {
                transmission: (-self.line_integral(paths, metal)).exp() as f32,
                quantum_kev: self.effective_energy_kev as f32,
            },
            Some(table) if metal.is_empty() => table.receive(paths),
            Some(_) => self.receive_by_summing(paths, metal),
        }
    }

    /// The defining sum over all energies.
    pub fn receive_by_summing(&self, paths: &Paths, metal: &[(Material, f64)]) -> Received {
        let tables = [Material::Water, Material::CorticalBone, Material::Iodine].map(Material::table);
        let absorbed = |bin: usize| {
            let body = tables[0][bin] * f64::from(paths.water)
                + tables[1][bin] * f64::from(paths.bone)
                + tables[2][bin] * f64::from(paths.iodine);
            let metals: f64 = metal.iter().map(|(material, g_cm2)| material.table()[bin] * g_cm2).sum();
            self.weights[bin] * (-body - metals).exp()
        };
        let (mut first, mut second) = (0.0, 0.0);
        for bin in 0..ENERGIES {
            let received = absorbed(bin);
            first += received;
            second += received * materials::energy_kev(bin);
        }
        Received { transmission: first as f32, quantum_kev: (second / first.max(f64::MIN_POSITIVE)) as f32 }
    }

    /// Polynomial that turns this beam's line integrals of water into those at the effective energy.
    ///
    /// Coefficients `c[k]` of `p^(k+1)`, order 4 (order 1 for a monoenergetic beam), least squares of relative
    /// deviations over 5 to 450 mm of water: the water part of Kachelrieß, Sourbelle and Kalender, Med. Phys. 33(5),
    /// 2006, with known thicknesses.
    pub fn water_precorrection(&self) -> Vec<f64> {
        if self.table.is_none() {
            return vec![1.0];
        }
        let mut normal = nalgebra::Matrix4::zeros();
        let mut right = nalgebra::Vector4::zeros();
        for step in 1..=90 {
            let g_cm2 = 0.5 * f64::from(step);
            let paths = Paths { water: g_cm2 as f32, ..Paths::default() };
            let p = -f64::from(self.receive_by_summing(&paths, &[]).transmission).ln();
            let wanted = self.effective_cm2_g[0] * g_cm2;
            let row = nalgebra::Vector4::new(p, p.powi(2), p.powi(3), p.powi(4)) / wanted;
            normal += row * row.transpose();
            right += row;
        }
        let solution =
            normal.lu().solve(&right).expect("water line integrals of 90 thicknesses are independent");
        solution.iter().copied().collect()
    }
}

/// An axis of the table: nodes at `first + n * step`.
struct Axis {
    first: f32,
    step: f32,
    nodes: usize,
}

// Steps chosen so that linear interpolation of -ln T is right to 3e-4 (its curvature is the variance of µ/ρ over the
// spectrum). Bone starts below zero because adipose tissue is water minus a little bone.
const WATER: Axis = Axis { first: 0.0, step: 0.5, nodes: 141 };
const BONE: Axis = Axis { first: -3.0, step: 0.15, nodes: 121 };
const IODINE: Axis = Axis { first: 0.0, step: 0.004, nodes: 101 };

impl Axis {
    fn at(&self, node: usize) -> f64 {
        f64::from(self.first) + node as f64 * f64::from(self.step)
    }

    /// Cell and place within it; beyond the ends the last cell goes on linearly.
    fn locate(&self, value: f32) -> (usize, f32) {
        let place = (value - self.first) / self.step;
        let cell = (place.max(0.0) as usize).min(self.nodes - 2);
        (cell, place - cell as f32)
    }
}

#[derive(Debug)]
struct Table {
    /// `[iodine, bone, water]`, water fastest: (-ln T, c).
    nodes: Vec<[f32; 2]>,
}

impl Table {
    fn new(weights: &PerEnergy) -> Self {
        use rayon::prelude::*;
        let factors = |material: Material, axis: &Axis| -> Vec<PerEnergy> {
            let mu = material.table();
            (0..axis.nodes).map(|n| std::array::from_fn(|bin| (-mu[bin] * axis.at(n)).exp())).collect()
        };
        let water = factors(Material::Water, &WATER);
        let bone = factors(Material::CorticalBone, &BONE);
        let iodine = factors(Material::Iodine, &IODINE);
        let mut nodes = vec![[0.0_f32; 2]; IODINE.nodes * BONE.nodes * WATER.nodes];
        nodes.par_chunks_mut(BONE.nodes * WATER.nodes).zip(&iodine).for_each(|(plane, iodine)| {
            for (row, bone) in plane.chunks_mut(WATER.nodes).zip(&bone) {
                let both: PerEnergy = std::array::from_fn(|bin| weights[bin] * iodine[bin] * bone[bin]);
                for (node, water) in row.iter_mut().zip(&water) {
                    let (mut first, mut second) = (0.0, 0.0);
                    for bin in 0..ENERGIES {
                        let received = both[bin] * water[bin];
                        first += received;
                        second += received * materials::energy_kev(bin);
                    }
                    *node = [-first.ln() as f32, (second / first) as f32];
                }
            }
        });
        Self { nodes }
    }

    fn receive(&self, paths: &Paths) -> Received {
        let (w, fw) = WATER.locate(paths.water);
        let (b, fb) = BONE.locate(paths.bone);
        let (i, fi) = IODINE.locate(paths.iodine);
        let line = |i: usize, b: usize| {
            let start = (i * BONE.nodes + b) * WATER.nodes + w;
            let (low, high) = (self.nodes[start], self.nodes[start + 1]);
            [low[0] + fw * (high[0] - low[0]), low[1] + fw * (high[1] - low[1])]
        };
        let mix = |a: [f32; 2], b: [f32; 2], f: f32| [a[0] + f * (b[0] - a[0]), a[1] + f * (b[1] - a[1])];
        let plane = |i: usize| mix(line(i, b), line(i, b + 1), fb);
        let [p, quantum_kev] = mix(plane(i), plane(i + 1), fi);
        Received { transmission: (-p).exp(), quantum_kev: quantum_kev.max(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spine() -> Beam {
        Beam::new("w120_cu0.3", 63.0, false).unwrap()
    }

    #[test]
    fn beam_table_is_the_sum_over_energies() {
        let beam = spine();
        for water in [0.0_f32, 3.33, 21.7, 44.4] {
            for bone in [-1.31_f32, 0.0, 0.41, 3.77, 9.2] {
                for iodine in [0.0_f32, 0.0171, 0.233] {
                    let paths = Paths { water, bone, iodine };
                    let exact = beam.receive_by_summing(&paths, &[]);
                    let table = beam.receive(&paths, &[]);
                    let deviation = (table.transmission / exact.transmission).ln().abs();
                    assert!(deviation < 1e-3, "{paths:?}: {deviation}");
                    assert!((table.quantum_kev / exact.quantum_kev - 1.0).abs() < 2e-3, "{paths:?}");
                }
            }
        }
    }

    #[test]
    fn beam_effective_energy_of_each_protocol_is_that_of_200_mm_water() {
        for name in crate::Protocol::names() {
            let plan = crate::Protocol::named(name).unwrap().beam;
            let beam = Beam::new(&plan.spectrum, plan.effective_energy_kev, false).unwrap();
            let paths = Paths { water: 20.0, ..Paths::default() };
            let mu = -f64::from(beam.receive_by_summing(&paths, &[]).transmission).ln() / 20.0;
            let slope = Material::Water.mass_attenuation_cm2_g(plan.effective_energy_kev + 0.5)
                - Material::Water.mass_attenuation_cm2_g(plan.effective_energy_kev - 0.5);
            let off_kev = (mu - beam.effective_cm2_g[0]) / slope;
            assert!(off_kev.abs() < 0.6, "{name}: {off_kev} keV");
        }
    }

    #[test]
    fn beam_water_precorrection_straightens_water() {
        let beam = spine();
        let coefficients = beam.water_precorrection();
        for g_cm2 in [1.0, 7.0, 20.0, 33.0, 42.0] {
            let paths = Paths { water: g_cm2 as f32, ..Paths::default() };
            let p = -f64::from(beam.receive(&paths, &[]).transmission).ln();
            let straight: f64 = coefficients.iter().rev().fold(0.0, |sum, c| (sum + c) * p);
            let wanted = beam.effective_cm2_g[0] * g_cm2;
            assert!((straight / wanted - 1.0).abs() < 3e-3, "{g_cm2}: {straight} {wanted}");
        }
        assert_eq!(Beam::new("w120_cu0.3", 63.0, true).unwrap().water_precorrection(), [1.0]);
    }

    #[test]
    fn beam_with_metal_is_darker_than_without() {
        let beam = spine();
        let paths = Paths { water: 20.0, ..Paths::default() };
        let metal = [(Material::TitaniumAlloy, 0.6 * Material::TitaniumAlloy.density_g_cm3())];
        let (bare, behind) = (beam.receive(&paths, &[]), beam.receive(&paths, &metal));
        assert!(behind.transmission < 0.5 * bare.transmission && behind.quantum_kev > bare.quantum_kev);
    }
}
