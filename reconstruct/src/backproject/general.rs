//! The path for volumes oblique to the rotation axis: position, depth and both interpolations per voxel.

use super::{Backprojector, ColumnLayout, FilteredView, Isa, PADDING, touched_zeros};
use nalgebra::{Point3, Vector3};
use rayon::prelude::*;

/// The CPU backend for any orientation.
pub(super) struct General {
    layout: ColumnLayout,
    isa: Isa,
    sum: Vec<f32>,
}

impl General {
    pub(super) fn new(layout: ColumnLayout, isa: Isa) -> Self {
        assert!(isa.is_available(), "{isa:?} asked for on a CPU without it");
        // No 512-bit form: the AVX2 code generation serves.
        let isa = if isa == Isa::Avx512 { Isa::Avx2 } else { isa };
        Self { sum: touched_zeros(layout.len()), layout, isa }
    }
}

impl Backprojector for General {
    fn name(&self) -> String {
        format!("cpu-{}-oblique", format!("{:?}", self.isa).to_lowercase())
    }

    fn add(&mut self, views: &[FilteredView]) {
        let (layout, isa) = (&self.layout, self.isa);
        let step = layout.column_step();
        let line = layout.fast_count() * layout.stride;
        self.sum.par_chunks_mut(line).enumerate().for_each(|(slow, line)| {
            for (fast, sum) in line.chunks_exact_mut(layout.stride).enumerate() {
                let start = layout.column_start(slow, fast);
                let sum = &mut sum[..layout.column_length()];
                for view in views {
                    match isa {
                        #[cfg(target_arch = "x86_64")]
                        // SAFETY: `General::new` checked that the CPU has the instructions.
                        Isa::Avx2 => unsafe { add_column_avx2(sum, &start, &step, view) },
                        _ => add_column(sum, &start, &step, view),
                    }
                }
            }
        });
    }

    fn write_sum(&self, values: &mut [f32]) {
        self.layout.write_volume(&self.sum, values);
    }
}

/// # Safety
/// The CPU must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_column_avx2(sum: &mut [f32], start: &Point3<f64>, step: &Vector3<f64>, view: &FilteredView) {
    add_column(sum, start, step, view);
}

/// Homogeneous coordinates are linear along the column; they are taken relative to the column's start in
/// `f32`, with the start in `f64`.
#[inline(always)]
fn add_column(sum: &mut [f32], start: &Point3<f64>, step: &Vector3<f64>, view: &FilteredView) {
    let first = view.p * start.to_homogeneous();
    let rise = view.p.fixed_columns::<3>(0) * step;
    let (high_u, high_v) = (view.nu as f64 - 0.5, view.nv as f64 + 1.0);
    for (along, voxel) in sum.iter_mut().enumerate() {
        let along = along as f64;
        let inverse_depth = 1.0 / (first.z + rise.z * along);
        let u = (first.x + rise.x * along) * inverse_depth;
        let v = (first.y + rise.y * along) * inverse_depth;
        if !(u >= -0.5 && u <= high_u && v > -2.0 && v < high_v) {
            continue;
        }
        // Shifted by the copied column and the padding, so that truncation is flooring.
        let (u, v) = (u + 1.0, v + PADDING as f64);
        let (whole_u, whole_v) = (u as usize, v as usize);
        let (share_u, share_v) = ((u - whole_u as f64) as f32, (v - whole_v as f64) as f32);
        let low = &view.columns[whole_u * view.stride + whole_v..][..2];
        let high = &view.columns[(whole_u + 1) * view.stride + whole_v..][..2];
        let near = low[0] + share_v * (low[1] - low[0]);
        let far = high[0] + share_v * (high[1] - high[0]);
        let weight = (view.scale * inverse_depth * inverse_depth) as f32;
        *voxel += weight * (near + share_u * (far - near));
    }
}
