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
            interpolate_row(view, detector, image, v, row, taps)
        }
        None => interpolate_row(view, detector, image, v, row, taps),
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
    interpolate_row(view, detector, image, v, row, |image, nu, tu, tv| taps_avx2(image, nu, tu, tv))
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

/// Pixels whose coordinates are found together.
const LANES: usize = 8;

/// A virtual row as a line on the real detector: pixel `u` lies at `(slope u + start)`, first two over third.
struct RowOnDetector<'a> {
    start: [f64; 3],
    slope: [f64; 3],
    detector: &'a DetectorGrid,
}

#[inline(always)]
fn interpolate_row(
    view: &VirtualView,
    detector: &DetectorGrid,
    image: &[f32],
    v: usize,
    row: &mut [f32],
    taps: impl Fn(&[f32], usize, f32, f32) -> f32,
) -> MeasuredSpan {
    let h = &view.real_from_virtual;
    let v = v as f64;
    let line = RowOnDetector {
        start: [0, 1, 2].map(|i| h[(i, 1)] * v + h[(i, 2)]),
        slope: [0, 1, 2].map(|i| h[(i, 0)]),
        detector,
    };
    let mut span = MeasuredSpan::EMPTY;
    for (chunk, samples) in row.chunks_mut(LANES).enumerate() {
        let first = chunk * LANES;
        // Pixels between two of the line lie between them on the detector, too.
        if samples.len() == LANES && line.is_interior(first) && line.is_interior(first + LANES - 1) {
            if span.end == 0 {
                span.start = first;
            }
            span.end = first + LANES;
            line.interpolate_interior(image, first, samples, &taps);
            continue;
        }
        for (lane, sample) in samples.iter_mut().enumerate() {
            let [real_u, real_v] = line.pixel(first + lane);
            if !(real_u >= -0.5
                && real_u <= detector.nu as f64 - 0.5
                && real_v >= -0.5
                && real_v <= detector.nv as f64 - 0.5)
            {
                *sample = 0.0;
                continue;
            }
            if span.end == 0 {
                span.start = first + lane;
            }
            span.end = first + lane + 1;
            *sample = interpolate_at_border(detector, image, real_u, real_v);
        }
    }
    span
}

impl RowOnDetector<'_> {
    #[inline(always)]
    fn pixel(&self, u: usize) -> [f64; 2] {
        let u = u as f64;
        let depth = 1.0 / (self.slope[2] * u + self.start[2]);
        [(self.slope[0] * u + self.start[0]) * depth, (self.slope[1] * u + self.start[1]) * depth]
    }

    /// Whether all sixteen taps lie on the detector.
    #[inline(always)]
    fn is_interior(&self, u: usize) -> bool {
        let [real_u, real_v] = self.pixel(u);
        let (high_u, high_v) = (self.detector.nu as f64 - 2.0, self.detector.nv as f64 - 2.0);
        real_u >= 1.0 && real_u < high_u && real_v >= 1.0 && real_v < high_v
    }

    /// Pixels from `first` on, whose ends are interior.
    #[inline(always)]
    fn interpolate_interior(
        &self,
        image: &[f32],
        first: usize,
        samples: &mut [f32],
        taps: impl Fn(&[f32], usize, f32, f32) -> f32,
    ) {
        // Separate plain loops, so that they become vectors.
        let (mut real_u, mut real_v) = ([0.0_f64; LANES], [0.0_f64; LANES]);
        for lane in 0..LANES {
            [real_u[lane], real_v[lane]] = self.pixel(first + lane);
        }
        let (mut offset, mut tu, mut tv) = ([0_i32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
        let nu = self.detector.nu as i32;
        for lane in 0..LANES {
            let (whole_u, whole_v) = (real_u[lane].floor(), real_v[lane].floor());
            // SAFETY: interior pixels lie between 1 and the detector's size.
            let (iu, iv) = unsafe { (whole_u.to_int_unchecked::<i32>(), whole_v.to_int_unchecked::<i32>()) };
            tu[lane] = (real_u[lane] - whole_u) as f32;
            tv[lane] = (real_v[lane] - whole_v) as f32;
            offset[lane] = (iv - 1) * nu + iu - 1;
        }
        for (lane, sample) in samples.iter_mut().enumerate() {
            *sample = taps(&image[offset[lane] as usize..], self.detector.nu, tu[lane], tv[lane]);
        }
    }
}

/// The value `tu`, `tv` beyond the second of four taps in four lines of `nu` pixels.
#[inline(always)]
fn taps(image: &[f32], nu: usize, tu: f32, tv: f32) -> f32 {
    let (weights_u, weights_v) = (keys(tu), keys(tv));
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

/// As [`taps`], four taps a register.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline]
fn taps_avx2(image: &[f32], nu: usize, tu: f32, tv: f32) -> f32 {
    use std::arch::x86_64::*;
    let image = &image[..3 * nu + 4];
    // SAFETY: four lines of four pixels each lie in the slice.
    let line = |index: usize| unsafe { _mm_loadu_ps(image.as_ptr().add(index * nu)) };
    // SAFETY: the coefficients of a power are four floats.
    let power = |index: usize| unsafe { _mm_loadu_ps(KEYS[index].as_ptr()) };
    let keys = |t: f32| {
        let t = _mm_set1_ps(t);
        let upper = _mm_fmadd_ps(_mm_fmadd_ps(power(0), t, power(1)), t, power(2));
        _mm_fmadd_ps(upper, t, power(3))
    };
    let v = keys(tv);
    let first = _mm_mul_ps(line(0), _mm_permute_ps::<0b00_00_00_00>(v));
    let first = _mm_fmadd_ps(line(1), _mm_permute_ps::<0b01_01_01_01>(v), first);
    let second = _mm_mul_ps(line(2), _mm_permute_ps::<0b10_10_10_10>(v));
    let second = _mm_fmadd_ps(line(3), _mm_permute_ps::<0b11_11_11_11>(v), second);
    let columns = _mm_mul_ps(_mm_add_ps(first, second), keys(tu));
    let pairs = _mm_add_ps(columns, _mm_movehl_ps(columns, columns));
    _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)))
}

#[cold]
fn interpolate_at_border(detector: &DetectorGrid, image: &[f32], real_u: f64, real_v: f64) -> f32 {
    let (first_u, first_v) = (real_u.floor(), real_v.floor());
    let (iu, iv) = (first_u as i64 - 1, first_v as i64 - 1);
    let mut patch = [0.0_f32; 16];
    for (tap, value) in patch.iter_mut().enumerate() {
        let u = (iu + tap as i64 % 4).clamp(0, detector.nu as i64 - 1) as usize;
        let v = (iv + tap as i64 / 4).clamp(0, detector.nv as i64 - 1) as usize;
        *value = image[v * detector.nu + u];
    }
    taps(&patch, 4, (real_u - first_u) as f32, (real_v - first_v) as f32)
}

/// Coefficients of Keys' four weights, the highest power of the way beyond the second tap first.
const KEYS: [[f32; 4]; 4] =
    [[-0.5, 1.5, -1.5, 0.5], [1.0, -2.5, 2.0, -0.5], [-0.5, 0.0, 0.5, 0.0], [0.0, 1.0, 0.0, 0.0]];

/// Keys' weights of the four taps around a point `t` beyond the second, all four by Horner at once.
#[inline(always)]
fn keys(t: f32) -> [f32; 4] {
    let mut weights = KEYS[0];
    for power in &KEYS[1..] {
        for (weight, coefficient) in weights.iter_mut().zip(power) {
            *weight = *weight * t + coefficient;
        }
    }
    weights
}
