//! Glare taken out by dividing by its transfer function: all pixels, `f64`.

use super::{GlareModel, MARGIN_RANGES, continued, transform_size};
use carm::DetectorGrid;
use rustfft::{FftDirection, FftPlanner, num_complex::Complex64};

pub(super) fn remove(model: &GlareModel, grid: &DetectorGrid, intensity: &mut [f32]) {
    let pitch = [grid.pixel_pitch_u_mm, grid.pixel_pitch_v_mm];
    let padded = |count: usize, pitch: f64| {
        transform_size(count + (2.0 * MARGIN_RANGES * model.range_mm / pitch).ceil() as usize)
    };
    let (nu, nv) = (grid.nu, grid.nv);
    let (pu, pv) = (padded(nu, pitch[0]), padded(nv, pitch[1]));
    let pixel = |i: usize| intensity[continued(i / pu, nv, pv) * nu + continued(i % pu, nu, pu)];
    let mut image: Vec<Complex64> = (0..pu * pv).map(|i| f64::from(pixel(i)).into()).collect();
    transform(&mut image, [pu, pv], FftDirection::Forward);
    let frequency = |k: usize, count: usize, pitch: f64| {
        let signed = if 2 * k > count { k as f64 - count as f64 } else { k as f64 };
        signed / (count as f64 * pitch)
    };
    for (i, value) in image.iter_mut().enumerate() {
        let f = frequency(i % pu, pu, pitch[0]).hypot(frequency(i / pu, pv, pitch[1]));
        *value /= (1.0 - model.share + model.share * model.spread(f)) * (pu * pv) as f64;
    }
    transform(&mut image, [pu, pv], FftDirection::Inverse);
    for (i, out) in intensity.iter_mut().enumerate() {
        *out = image[(i / nu) * pu + i % nu].re as f32;
    }
}

/// Along the rows, then along the columns.
fn transform(image: &mut [Complex64], [pu, pv]: [usize; 2], direction: FftDirection) {
    let mut planner = FftPlanner::<f64>::new();
    planner.plan_fft(pu, direction).process(image);
    let along_v = planner.plan_fft(pv, direction);
    let mut column = vec![Complex64::default(); pv];
    for u in 0..pu {
        column.iter_mut().enumerate().for_each(|(v, value)| *value = image[v * pu + u]);
        along_v.process(&mut column);
        column.iter().enumerate().for_each(|(v, value)| image[v * pu + u] = *value);
    }
}
