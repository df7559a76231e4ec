//! Fast-mode scatter: what a pencil of the beam scatters depends on the water it meets, and spreads broadly.
//!
//! For a pencil through water of thickness t, a share A(t) of its bare energy reaches the detector plane as scatter,
//! spread as `K(r) = (1 + r²/b²)^-1.5 / (2πb²)` with the range b(t) around the pencil. Both come from Monte Carlo
//! (`data/make_scatter.py`: slabs centred on the isocenter, tabulated in `data/scatter.csv`). The image is the sum over
//! pencils: for each tabulated thickness, the pencils' amplitudes are convolved with that thickness' kernel, at an
//! eighth of the detector's resolution.
//!
//! The kernel has a longer tail than the two Gaussians that scatter corrections use, on purpose: a correction is not to
//! be tested with its own kernel. Not modelled: the object's edge (a slab is wider than a patient; see the README for
//! what that costs), materials other than water, the anti-scatter grid's angle.

use crate::blur::{Blur, Border};
use crate::protocol::Protocol;
use ndarray::Array2;
use std::f64::consts::PI;
use std::sync::OnceLock;

/// Pixels of the detector along a side of a scatter pixel, at the binned pitch.
const COARSE_MM: f64 = 4.928;

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
    kernels: Vec<Blur>,
}

impl Scatter {
    pub fn new(protocol: &Protocol, grid_ratio: f64) -> Self {
        let size = [protocol.detector.columns, protocol.detector.rows];
        let pitch = protocol.detector.pixel_pitch_mm;
        let factor = ((COARSE_MM / pitch).round() as usize).max(1);
        let coarse = size.map(|n| n.div_ceil(factor));
        let coarse_mm = pitch * factor as f64;
        let margin = coarse[0].max(coarse[1]);
        let kernels = nodes()
            .iter()
            .map(|node| {
                let range_mm = node.range_mm;
                Blur::new(coarse, [coarse_mm; 2], margin, Border::Zero, move |fu, fv| {
                    // Fourier transform of the kernel.
                    (-2.0 * PI * range_mm * fu.hypot(fv)).exp()
                })
            })
            .collect();
        Self { size, factor, coarse, grid_ratio, kernels }
    }

    /// Scatter behind the grid, relative to the bare beam's primary behind the grid, from the primary's transmission.
    pub fn image(&self, transmission: &Array2<f32>, mu_water_per_mm: f64) -> Array2<f32> {
        let mean = self.reduced(transmission);
        let nodes = nodes();
        let mut sum = Array2::<f32>::zeros(mean.dim());
        for (n, kernel) in self.kernels.iter().enumerate() {
            let mut sources = mean.mapv(|transmission| {
                let thickness_mm = -f64::from(transmission.max(1e-9)).ln() / mu_water_per_mm;
                (nodes[n].amplitude * hat(nodes, n, thickness_mm)) as f32
            });
            kernel.apply(&mut sources);
            sum += &sources;
        }
        sum *= self.grid_ratio as f32;
        self.enlarged(&sum)
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

/// Weight of one node in the linear interpolation over thickness; the last node holds beyond its thickness.
fn hat(nodes: &[Node], n: usize, thickness_mm: f64) -> f64 {
    let at = nodes[n].thickness_mm;
    if thickness_mm < at {
        let Some(before) = n.checked_sub(1) else { return 1.0 };
        let before = nodes[before].thickness_mm;
        return ((thickness_mm - before) / (at - before)).max(0.0);
    }
    let Some(after) = nodes.get(n + 1) else { return 1.0 };
    ((after.thickness_mm - thickness_mm) / (after.thickness_mm - at)).max(0.0)
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
    fn scatter_hats_sum_to_one() {
        for thickness in [0.0, 17.0, 50.0, 123.4, 400.0, 900.0] {
            let sum: f64 = (0..nodes().len()).map(|n| hat(nodes(), n, thickness)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{thickness}: {sum}");
        }
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
