//! Resampling made fast: coordinates in `f64`, four rows of four taps as short vectors, `f32` sums.

use super::{Alignment, MeasuredSpan, VirtualView};
use crate::backproject::Isa;
use carm::DetectorGrid;

/// As the reference; see [`super::resample_row_reference`].
pub fn resample_row(
    view: &VirtualView,
    detector: &DetectorGrid,
    image: &[f32],
    v: usize,
    row: &mut [f32],
) -> MeasuredSpan {
    match view.alignment {
        Some(alignment) => copy_row(alignment, detector, image, v, row),
        None if Isa::detect() != Isa::Portable => {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: every instruction set above the portable one includes AVX2 and FMA, and this CPU has it.
            unsafe {
                interpolate_row_avx2(view, detector, image, v, row)
            }
            #[cfg(not(target_arch = "x86_64"))]
            interpolate_row(view, detector, image, v, row)
        }
        None => interpolate_row(view, detector, image, v, row),
    }
}

/// The same code generated for AVX2: rounding is one instruction there.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn interpolate_row_avx2(
    view: &VirtualView,
    detector: &DetectorGrid,
    image: &[f32],
    v: usize,
    row: &mut [f32],
) -> MeasuredSpan {
    interpolate_row(view, detector, image, v, row)
}

fn copy_row(a: Alignment, detector: &DetectorGrid, image: &[f32], v: usize, row: &mut [f32]) -> MeasuredSpan {
    let (nu, nv) = (detector.nu as i64, detector.nv as i64);
    let real_v = a.v_step * v as i64 + a.v_start;
    row.fill(0.0);
    if !(0..nv).contains(&real_v) {
        return MeasuredSpan::EMPTY;
    }
    // Virtual columns whose real column lies in 0..nu.
    let (start, end) =
        if a.u_step > 0 { (-a.u_start, nu - a.u_start) } else { (a.u_start - nu + 1, a.u_start + 1) };
    let start = start.clamp(0, row.len() as i64) as usize;
    let end = end.clamp(start as i64, row.len() as i64) as usize;
    let source = &image[real_v as usize * detector.nu..][..detector.nu];
    for (u, sample) in row.iter_mut().enumerate().take(end).skip(start) {
        *sample = source[(a.u_step * u as i64 + a.u_start) as usize];
    }
    MeasuredSpan { start, end }
}

#[inline(always)]
fn interpolate_row(
    view: &VirtualView,
    detector: &DetectorGrid,
    image: &[f32],
    v: usize,
    row: &mut [f32],
) -> MeasuredSpan {
    let h = &view.real_from_virtual;
    let v = v as f64;
    let start = [h[(0, 1)] * v + h[(0, 2)], h[(1, 1)] * v + h[(1, 2)], h[(2, 1)] * v + h[(2, 2)]];
    let (nu, nv) = (detector.nu, detector.nv);
    let (high_u, high_v) = (nu as f64 - 0.5, nv as f64 - 0.5);
    let mut span = MeasuredSpan::EMPTY;
    for (column, sample) in row.iter_mut().enumerate() {
        let u = column as f64;
        let depth = 1.0 / (h[(2, 0)] * u + start[2]);
        let real_u = (h[(0, 0)] * u + start[0]) * depth;
        let real_v = (h[(1, 0)] * u + start[1]) * depth;
        if !(real_u >= -0.5 && real_u <= high_u && real_v >= -0.5 && real_v <= high_v) {
            *sample = 0.0;
            continue;
        }
        if span.end == 0 {
            span.start = column;
        }
        span.end = column + 1;
        let (first_u, first_v) = (real_u.floor(), real_v.floor());
        let weights_u = keys((real_u - first_u) as f32);
        let weights_v = keys((real_v - first_v) as f32);
        let (iu, iv) = (first_u as i64 - 1, first_v as i64 - 1);
        let is_interior = iu >= 0 && iv >= 0 && iu + 4 <= nu as i64 && iv + 4 <= nv as i64;
        *sample = if is_interior {
            taps(&image[iv as usize * nu + iu as usize..], nu, weights_u, weights_v)
        } else {
            border_taps(detector, image, iu, iv, weights_u, weights_v)
        };
    }
    span
}

#[inline(always)]
fn taps(image: &[f32], nu: usize, weights_u: [f32; 4], weights_v: [f32; 4]) -> f32 {
    let mut columns = [0.0_f32; 4];
    // One check for all four lines.
    let image = &image[..3 * nu + 4];
    for (line, weight) in weights_v.into_iter().enumerate() {
        let four: &[f32; 4] = image[line * nu..line * nu + 4].try_into().expect("four taps");
        for (column, value) in columns.iter_mut().zip(four) {
            *column += weight * value;
        }
    }
    columns[0] * weights_u[0]
        + columns[1] * weights_u[1]
        + (columns[2] * weights_u[2] + columns[3] * weights_u[3])
}

#[cold]
fn border_taps(
    detector: &DetectorGrid,
    image: &[f32],
    iu: i64,
    iv: i64,
    weights_u: [f32; 4],
    weights_v: [f32; 4],
) -> f32 {
    let mut patch = [0.0_f32; 16];
    for (tap, value) in patch.iter_mut().enumerate() {
        let u = (iu + tap as i64 % 4).clamp(0, detector.nu as i64 - 1) as usize;
        let v = (iv + tap as i64 / 4).clamp(0, detector.nv as i64 - 1) as usize;
        *value = image[v * detector.nu + u];
    }
    taps(&patch, 4, weights_u, weights_v)
}

/// Keys' weights of the four taps around a point `t` beyond the second.
#[inline(always)]
fn keys(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [-0.5 * t3 + t2 - 0.5 * t, 1.5 * t3 - 2.5 * t2 + 1.0, -1.5 * t3 + 2.0 * t2 + 0.5 * t, 0.5 * t3 - 0.5 * t2]
}
