//! How one view would have to be moved in its own plane to agree with the volume of all views.

use super::band::Band;
use nalgebra::{SMatrix, SVector};
use ndarray::{Array2, ArrayView2, s};

/// Distance from the image's centre at which rotation and scale count as a way, mm at the isocenter.
const LEVER_MM: f64 = 50.0;
/// Share of the rows at either end that are left out, as 1 over: their rays leave the volume along the axis.
const MARGIN_ROWS: usize = 5;
/// Columns at either end that are left out.
const MARGIN_COLUMNS: usize = 2;
/// Gain, shift along u and v, rotation, scale.
const UNKNOWNS: usize = 5;

/// A view's displacement in its own plane, mm at the isocenter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Displacement {
    /// Along the detector's columns and rows.
    pub shift_mm: [f64; 2],
    /// By a rotation about the line of sight, at 50 mm from it.
    pub rotation_mm: f64,
    /// By a magnification, at 50 mm.
    pub scale_mm: f64,
    /// Correlation of the view with the projected volume.
    pub correlation: f64,
}

/// Displacement of `measured` against `projected`, both `[v, u]`, with pixels of `pixel_mm` at the isocenter.
///
/// One Gauss-Newton step: `measured - projected = gain projected - d · ∇projected`, least squares over the middle rows.
pub(super) fn displacement(
    measured: ArrayView2<'_, f32>,
    projected: ArrayView2<'_, f32>,
    pixel_mm: [f64; 2],
    band: Band,
) -> Displacement {
    let (measured, projected) = (band.of(&measured.mapv(f64::from)), band.of(&projected.mapv(f64::from)));
    let (nv, nu) = projected.dim();
    let rows = (nv / MARGIN_ROWS).max(1)..(nv - nv / MARGIN_ROWS).min(nv - 1);
    let columns = MARGIN_COLUMNS..nu.saturating_sub(MARGIN_COLUMNS);
    let mut normal = SMatrix::<f64, UNKNOWNS, UNKNOWNS>::zeros();
    let mut right = SVector::<f64, UNKNOWNS>::zeros();
    for v in rows.clone() {
        for u in columns.clone() {
            let row = unknowns(&projected, u, v, pixel_mm);
            normal += row * row.transpose();
            right += row * (measured[(v, u)] - projected[(v, u)]);
        }
    }
    let step = normal.cholesky().map_or_else(SVector::zeros, |factors| factors.solve(&right));
    let inside = s![rows, columns];
    Displacement {
        shift_mm: [step[1], step[2]],
        rotation_mm: step[3],
        scale_mm: step[4],
        correlation: correlation(measured.slice(inside), projected.slice(inside)),
    }
}

/// What a pixel changes by with the gain and with each way in mm.
fn unknowns(image: &Array2<f64>, u: usize, v: usize, pixel_mm: [f64; 2]) -> SVector<f64, UNKNOWNS> {
    let (nv, nu) = image.dim();
    let along_u = -(image[(v, u + 1)] - image[(v, u - 1)]) / (2.0 * pixel_mm[0]);
    let along_v = -(image[(v + 1, u)] - image[(v - 1, u)]) / (2.0 * pixel_mm[1]);
    let x = (u as f64 - (nu as f64 - 1.0) / 2.0) * pixel_mm[0] / LEVER_MM;
    let y = (v as f64 - (nv as f64 - 1.0) / 2.0) * pixel_mm[1] / LEVER_MM;
    SVector::from([image[(v, u)], along_u, along_v, x * along_v - y * along_u, x * along_u + y * along_v])
}

fn correlation(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> f64 {
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    let count = a.len().max(1) as f64;
    let means = [a.sum() / count, b.sum() / count];
    for (a, b) in a.iter().zip(&b) {
        let (a, b) = (a - means[0], b - means[1]);
        aa += a * a;
        bb += b * b;
        ab += a * b;
    }
    let norm = (aa * bb).sqrt();
    if norm > 0.0 { ab / norm } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one linear step leaves of motions of a fraction of a pixel (2 mm).
    const ONE_STEP_MM: f64 = 0.07;

    /// Bright blobs, moved by fractions of a pixel, turned and magnified.
    #[test]
    fn displacement_of_a_moved_image_is_the_motion() {
        let blobs =
            [(20.0, 18.0, 5.0), (45.0, 30.0, 7.0), (35.0, 12.0, 4.0), (12.0, 34.0, 6.0), (52.0, 15.0, 5.0)];
        let image = |shift: [f64; 2], turn: f64, scale: f64| {
            Array2::from_shape_fn((48, 64), |(v, u)| {
                let (x, y) = (u as f64 - 31.5 - shift[0], v as f64 - 23.5 - shift[1]);
                let (x, y) = ((x + turn * y) / scale, (y - turn * x) / scale);
                let of = |(bu, bv, r): (f64, f64, f64)| {
                    (-((x + 31.5 - bu).powi(2) + (y + 23.5 - bv).powi(2)) / (2.0 * r * r)).exp()
                };
                blobs.map(of).iter().sum::<f64>() as f32
            })
        };
        let still = image([0.0; 2], 0.0, 1.0);
        for band in [Band::Whole, Band::Edges] {
            let of = |moved: Array2<f32>| displacement(moved.view(), still.view(), [2.0; 2], band);
            let shifted = of(image([0.2, -0.1], 0.0, 1.0));
            assert!((shifted.shift_mm[0] - 0.4).abs() < ONE_STEP_MM, "{shifted:?}");
            assert!((shifted.shift_mm[1] + 0.2).abs() < ONE_STEP_MM, "{shifted:?}");
            assert!(
                shifted.rotation_mm.abs() < ONE_STEP_MM && shifted.scale_mm.abs() < ONE_STEP_MM,
                "{shifted:?}"
            );
            let turned = of(image([0.0; 2], 0.01, 1.0));
            assert!((turned.rotation_mm - 0.5).abs() < ONE_STEP_MM, "{turned:?}");
            let larger = of(image([0.0; 2], 0.0, 1.01));
            // A magnification also widens what the band leaves: felt to three quarters from edges alone.
            assert!(larger.scale_mm > 0.3 && larger.scale_mm < 0.6, "{larger:?}");
            assert!(of(still.clone()).correlation > 0.999_999);
        }
    }
}
