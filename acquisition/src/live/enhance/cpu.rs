//! The pyramid in `f32`, separable and in place: each level holds its mean, then its details, then the enhanced mean.

use super::{Enhancement, GAINS, NOISE, NOISE_REACH, Plane, STRONG, Values};

pub(super) fn enhance(enhancement: &mut Enhancement, image: &mut [f32]) {
    let is_counts = enhancement.values == Values::Counts;
    let finest = &mut enhancement.means[0].pixels;
    if is_counts {
        finest.iter_mut().zip(&*image).for_each(|(s, x)| *s = 2.0 * x.max(0.0).sqrt());
    } else {
        finest.copy_from_slice(image);
    }
    let levels = take_apart(enhancement);
    if levels == 0 {
        return;
    }
    let step = enhancement.sample_step();
    let details = std::mem::take(&mut enhancement.means[0].pixels);
    let noise = enhancement.follow_noise(details.iter().step_by(step).map(|d| d.abs()));
    enhancement.means[0].pixels = details;
    let (row, wide) = (&mut enhancement.row, &mut enhancement.wide);
    for level in (0..levels).rev() {
        let per_noise = 1.0 / (noise * NOISE[level]);
        let (finer, coarser) = enhancement.means.split_at_mut(level + 1);
        with_expanded(&mut finer[level], &coarser[0], row, wide, |pixels, mean| {
            for (pixel, mean) in pixels.iter_mut().zip(mean) {
                *pixel = raised(*pixel, per_noise, GAINS[level]) + mean;
            }
        });
    }
    let finest = &enhancement.means[0].pixels;
    if is_counts {
        image.iter_mut().zip(finest).for_each(|(x, s)| *x = 0.25 * s.max(0.0) * s.max(0.0));
    } else {
        image.copy_from_slice(finest);
    }
}

/// Levels become their details, but for the coarsest; gives how many.
fn take_apart(enhancement: &mut Enhancement) -> usize {
    let (row, wide) = (&mut enhancement.row, &mut enhancement.wide);
    let levels = enhancement.means.len() - 1;
    for level in 0..levels {
        let (finer, coarser) = enhancement.means.split_at_mut(level + 1);
        reduce(&finer[level], &mut coarser[0], row);
    }
    for level in 0..levels {
        let (finer, coarser) = enhancement.means.split_at_mut(level + 1);
        with_expanded(&mut finer[level], &coarser[0], row, wide, |pixels, mean| {
            pixels.iter_mut().zip(mean).for_each(|(pixel, mean)| *pixel -= mean);
        });
    }
    levels
}

/// A detail with its gain; one division.
#[inline(always)]
fn raised(detail: f32, per_noise: f32, gain: f32) -> f32 {
    let t = detail.abs() * per_noise;
    let square = t * t;
    let below = (square + NOISE_REACH * NOISE_REACH) * (1.0 + square * (1.0 / (STRONG * STRONG)));
    detail + detail * (gain * square / below)
}

/// Mean by the kernel 1 4 6 4 1 around every second pixel: down the columns first, then along the row.
fn reduce(fine: &Plane, coarse: &mut Plane, row: &mut [f32]) {
    let (nu, last) = (fine.nu, fine.nv - 1);
    for (v, out) in coarse.pixels.chunks_exact_mut(coarse.nu).enumerate() {
        let line = |by: usize| &fine.pixels[(2 * v + by).saturating_sub(2).min(last) * nu..][..nu];
        let outer = line(0).iter().zip(line(4));
        let inner = line(1).iter().zip(line(3)).zip(line(2));
        for ((sum, (a, e)), ((b, d), c)) in row[2..2 + nu].iter_mut().zip(outer).zip(inner) {
            *sum = (1.0 / 16.0) * (a + e) + (4.0 / 16.0) * (b + d) + (6.0 / 16.0) * c;
        }
        let (first, end) = (row[2], row[1 + nu]);
        row[..2].fill(first);
        row[2 + nu..4 + nu].fill(end);
        for (out, five) in out.iter_mut().zip(row.windows(5).step_by(2)) {
            *out = (1.0 / 16.0) * (five[0] + five[4])
                + (4.0 / 16.0) * (five[1] + five[3])
                + (6.0 / 16.0) * five[2];
        }
    }
}

/// Calls for each row of the finer level with the coarser one brought to its size.
fn with_expanded(
    fine: &mut Plane,
    coarse: &Plane,
    row: &mut [f32],
    wide: &mut [f32],
    mut take: impl FnMut(&mut [f32], &[f32]),
) {
    let (nu, last) = (coarse.nu, coarse.nv - 1);
    let line = |v: usize| &coarse.pixels[v.min(last) * nu..][..nu];
    let row = &mut row[..nu + 2];
    for (v, pixels) in fine.pixels.chunks_exact_mut(fine.nu).enumerate() {
        let (here, below) = (line(v / 2), line(v / 2 + 1));
        let sums = row[1..=nu].iter_mut().zip(here.iter().zip(below));
        if v % 2 == 1 {
            sums.for_each(|(sum, (here, below))| *sum = 0.5 * (here + below));
        } else {
            let above = line((v / 2).saturating_sub(1));
            for ((sum, (here, below)), above) in sums.zip(above) {
                *sum = 0.125 * (above + below) + 0.75 * here;
            }
        }
        (row[0], row[nu + 1]) = (row[1], row[nu]);
        for (pair, three) in wide.as_chunks_mut::<2>().0.iter_mut().zip(row.windows(3)) {
            *pair = [0.125 * (three[0] + three[2]) + 0.75 * three[1], 0.5 * (three[1] + three[2])];
        }
        take(pixels, &wide[..fine.nu]);
    }
}

/// Deviation of the details of each level of an image as it is.
#[cfg(test)]
pub(super) fn deviations(enhancement: &mut Enhancement, image: &[f64]) -> Vec<f32> {
    let finest = enhancement.means[0].pixels.iter_mut();
    finest.zip(image).for_each(|(s, x)| *s = *x as f32);
    take_apart(enhancement);
    let of = |plane: &Plane| {
        let sum: f64 = plane.pixels.iter().map(|d| f64::from(*d).powi(2)).sum();
        (sum / plane.pixels.len() as f64).sqrt() as f32
    };
    enhancement.means[..enhancement.means.len() - 1].iter().map(of).collect()
}
