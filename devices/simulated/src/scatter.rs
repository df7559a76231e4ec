//! Fast-mode scatter: what a pencil of the beam scatters depends on the water it meets, and spreads broadly.
//!
//! A pencil through water of thickness t sends a share A(t) of its bare energy to the detector plane as scatter, spread
//! around it as `K(r) = (1 + r²/b²)^-1.5 / (2πb²)` with the range b(t). Where the scatter must leave through more
//! water than the pencil itself met, it is weakened by `exp(-κ (t_there - t_here))`: without this the thin rim of a
//! round body would light up its thick middle. The image is the sum over all pencils, at a sixteenth of the binned
//! detector's resolution.
//!
//! A and b come from Monte Carlo (`data/make_scatter.py`: pencils through the middle of water cylinders, tabulated in
//! `data/scatter.csv`); κ and one factor for the finite body were fitted to a cylinder of 26 cm and are checked at
//! 20 and 32 cm (README). The kernel has a longer tail than the two Gaussians that scatter corrections use, on purpose:
//! a correction is not to be tested with its own kernel. Not modelled: materials other than water, the spectrum (120 kV
//! throughout), the anti-scatter grid's angle, scatter from tissue outside the field that the detector sees.

use crate::protocol::Protocol;
use ndarray::Array2;
use rayon::prelude::*;
use std::f64::consts::TAU;
use std::sync::OnceLock;

/// Side of a scatter pixel, mm, as near as whole detector pixels allow.
const COARSE_MM: f64 = 9.856;
/// κ, 1/mm.
const LEAVING_PER_MM: f64 = 0.005;
/// A pencil through the middle of a long cylinder scatters more than the mean pencil of a body that ends.
const FINITE_BODY: f64 = 0.891;

/// A tabulated thickness.
#[derive(Clone, Copy, Debug)]
struct Node {
    thickness_mm: f64,
    amplitude: f64,
    range_mm: f64,
}

/// Scatter of one detector in one protocol.
pub(crate) struct Scatter {
    size: [usize; 2],
    factor: usize,
    coarse: [usize; 2],
    /// Scatter's share through the grid over the primary's.
    grid_ratio: f64,
    /// For each node, the share of a pencil's scatter that one scatter pixel gets, `[|dv|, |du|]`.
    kernels: Vec<Array2<f32>>,
}

/// A pencil: how its thickness weakens what leaves through it, and the two nodes between which it lies with its amplitude in each.
struct Pencil {
    /// exp(κ t).
    growth: f32,
    parts: [(usize, f32); 2],
}

impl Scatter {
    pub fn new(protocol: &Protocol, grid_ratio: f64) -> Self {
        let size = [protocol.detector.columns, protocol.detector.rows];
        let pitch = protocol.detector.pixel_pitch_mm;
        let factor = ((COARSE_MM / pitch).round() as usize).max(1);
        let coarse = size.map(|n| n.div_ceil(factor));
        let coarse_mm = pitch * factor as f64;
        let kernel = |node: &Node| {
            let b = node.range_mm;
            Array2::from_shape_fn((coarse[1], coarse[0]), |(dv, du)| {
                let r = coarse_mm * (dv as f64).hypot(du as f64);
                (coarse_mm.powi(2) / (TAU * b * b) * (1.0 + (r / b).powi(2)).powf(-1.5)) as f32
            })
        };
        Self { size, factor, coarse, grid_ratio, kernels: nodes().iter().map(kernel).collect() }
    }

    /// Scatter behind the grid, relative to the bare beam's primary behind the grid, from the primary's transmission.
    pub fn image(&self, transmission: &Array2<f32>, mu_water_per_mm: f64) -> Array2<f32> {
        let pencils: Vec<Pencil> =
            self.reduced(transmission).iter().map(|t| pencil(f64::from(*t), mu_water_per_mm)).collect();
        let columns = self.coarse[0];
        let mut sum = Array2::<f32>::zeros((self.coarse[1], columns));
        let rows = sum.as_slice_mut().expect("standard layout").par_chunks_mut(columns);
        rows.enumerate().for_each(|(v, row)| {
            for (u, value) in row.iter_mut().enumerate() {
                let here = &pencils[v * columns + u];
                *value = self.grid_ratio as f32 * self.gathered([u, v], here, &pencils);
            }
        });
        self.enlarged(&sum)
    }

    /// What one scatter pixel gets from all pencils; `here` is the pencil that ends on it.
    fn gathered(&self, [u, v]: [usize; 2], here: &Pencil, pencils: &[Pencil]) -> f32 {
        let shrink = 1.0 / here.growth;
        let mut sum = 0.0;
        for (row, pencils) in pencils.chunks(self.coarse[0]).enumerate() {
            for (column, pencil) in pencils.iter().enumerate() {
                let at = [v.abs_diff(row), u.abs_diff(column)];
                let [(low, low_share), (high, high_share)] = pencil.parts;
                let given = low_share * self.kernels[low][at] + high_share * self.kernels[high][at];
                // exp(-κ (t_here - t_there)), and no gain through less water.
                sum += given * (pencil.growth * shrink).min(1.0);
            }
        }
        sum
    }

    /// Means over blocks; the last block of a side may be narrower.
    fn reduced(&self, image: &Array2<f32>) -> Array2<f32> {
        let [nu, nv] = self.size;
        let factor = self.factor;
        Array2::from_shape_fn((self.coarse[1], self.coarse[0]), |(v, u)| {
            let (v1, u1) = (((v + 1) * factor).min(nv), ((u + 1) * factor).min(nu));
            let block = image.slice(ndarray::s![v * factor..v1, u * factor..u1]);
            block.mean().expect("no block is empty")
        })
    }

    /// Bilinear between the blocks' centres, held beyond the outer ones.
    fn enlarged(&self, coarse: &Array2<f32>) -> Array2<f32> {
        let [nu, nv] = self.size;
        let place = |n: usize, count: usize| {
            let x = ((n as f32 + 0.5) / self.factor as f32 - 0.5).clamp(0.0, (count - 1) as f32);
            let low = (x as usize).min(count.saturating_sub(2));
            (low, (low + 1).min(count - 1), x - low as f32)
        };
        let columns: Vec<_> = (0..nu).map(|u| place(u, self.coarse[0])).collect();
        Array2::from_shape_fn((nv, nu), |(v, u)| {
            let (v0, v1, fv) = place(v, self.coarse[1]);
            let (u0, u1, fu) = columns[u];
            let along = |v: usize| coarse[[v, u0]] * (1.0 - fu) + coarse[[v, u1]] * fu;
            along(v0) * (1.0 - fv) + along(v1) * fv
        })
    }
}

/// A pencil by its transmission: linear between the nodes, the last one beyond.
fn pencil(transmission: f64, mu_water_per_mm: f64) -> Pencil {
    let nodes = nodes();
    let thickness_mm = (-transmission.max(1e-9).ln() / mu_water_per_mm).max(0.0);
    let after = nodes.partition_point(|node| node.thickness_mm <= thickness_mm).min(nodes.len() - 1).max(1);
    let (low, high) = (nodes[after - 1], nodes[after]);
    let share = ((thickness_mm - low.thickness_mm) / (high.thickness_mm - low.thickness_mm)).min(1.0);
    let part = |node: Node, weight: f64| (FINITE_BODY * node.amplitude * weight) as f32;
    Pencil {
        growth: (LEAVING_PER_MM * thickness_mm).exp() as f32,
        parts: [(after - 1, part(low, 1.0 - share)), (after, part(high, share))],
    }
}

fn nodes() -> &'static [Node] {
    static NODES: OnceLock<Vec<Node>> = OnceLock::new();
    NODES.get_or_init(|| {
        let numbers = |line: &str| -> Vec<f64> {
            line.split(',').map(|text| text.parse().expect("a number in our own table")).collect()
        };
        include_str!("../data/scatter.csv")
            .lines()
            .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
            .map(numbers)
            .map(|row| Node { thickness_mm: row[0], amplitude: row[1], range_mm: row[2] })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scatter_pencils_take_the_table_between_its_nodes() {
        let [low, high] = [nodes()[2], nodes()[3]];
        let mu = 0.02;
        let middle = 0.5 * (low.thickness_mm + high.thickness_mm);
        let found = pencil((-mu * middle).exp(), mu);
        assert_eq!([found.parts[0].0, found.parts[1].0], [2, 3]);
        assert!((f64::from(found.parts[0].1) - 0.5 * FINITE_BODY * low.amplitude).abs() < 1e-6);
        let beyond = pencil(1e-30, mu);
        assert_eq!((beyond.parts[1].0, beyond.parts[0].1), (nodes().len() - 1, 0.0));
    }

    #[test]
    fn scatter_is_smooth_positive_and_falls_outside_the_object() {
        let protocol = Protocol::named("spine-spin").unwrap();
        let scatter = Scatter::new(&protocol, 1.0);
        let air = scatter.image(&Array2::ones((480, 616)), 0.02);
        assert!(air.iter().all(|value| value.abs() < 1e-4), "nothing scatters in air");
        let object =
            Array2::from_shape_fn((480, 616), |(_, u)| if (200..400).contains(&u) { 0.02 } else { 1.0 });
        let image = scatter.image(&object, 0.02);
        let (inside, outside) = (image[[240, 300]], image[[240, 20]]);
        assert!(inside > 1.3 * outside && outside > 0.0, "{inside} {outside}");
    }
}
