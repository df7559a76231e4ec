use super::fourier::Flux;
use super::reference;
use super::tube_of;
use crate::lattice::Lattice;
use nalgebra::{Matrix3, Vector3};

const LATTICE: Lattice = Lattice { shape: [48, 50, 64], spacing_mm: [1.25, 1.0, 0.8] };
const SIGMA_MM: f64 = 1.0;

fn place(index: usize) -> Vector3<f64> {
    let at = LATTICE.position(index);
    Vector3::from_fn(|a, _| at[a] as f64 * LATTICE.spacing_mm[a])
}

/// A Gaussian blob, elongated and turned: everything about it is known, its smoothed gradient too.
struct Blob {
    centre: Vector3<f64>,
    covariance: Matrix3<f64>,
}

fn blob() -> Blob {
    let turn = nalgebra::Rotation3::from_euler_angles(0.4, -0.7, 0.2);
    let spread = Matrix3::from_diagonal(&Vector3::new(36.0, 6.0, 9.0));
    Blob {
        centre: Vector3::new(29.0, 25.0, 26.0),
        covariance: turn.matrix() * spread * turn.matrix().transpose(),
    }
}

impl Blob {
    fn value(&self, at: Vector3<f64>, covariance: &Matrix3<f64>) -> f64 {
        let away = at - self.centre;
        let inverse = covariance.try_inverse().unwrap();
        // Smoothing keeps the integral: the height falls as the volume grows.
        let height = (self.covariance.determinant() / covariance.determinant()).sqrt();
        100.0 * height * (-0.5 * away.dot(&(inverse * away))).exp()
    }

    fn smooth_gradient(&self, at: Vector3<f64>) -> Vector3<f64> {
        let covariance = self.covariance + Matrix3::identity() * SIGMA_MM * SIGMA_MM;
        -covariance.try_inverse().unwrap() * (at - self.centre) * self.value(at, &covariance)
    }
}

#[test]
fn flux_in_fourier_space_is_the_surface_integral() {
    let blob = blob();
    let image: Vec<f32> = (0..LATTICE.len()).map(|i| blob.value(place(i), &blob.covariance) as f32).collect();
    let flux = Flux::new(&image, LATTICE, SIGMA_MM);
    for radius in [2.0, 4.0, 6.5] {
        let [zz, yy, xx, zy, zx, yx] = flux.matrices(radius);
        for at in [[23, 25, 32], [21, 27, 30], [26, 22, 38]] {
            let i = LATTICE.index(at);
            let found = [zz[i], zy[i], zx[i], zy[i], yy[i], yx[i], zx[i], yx[i], xx[i]].map(f64::from);
            let expected = reference::flux(|x| blob.smooth_gradient(x), place(i), radius);
            let difference = (Matrix3::from_row_slice(&found) - expected).abs().max();
            // The blob's spectrum beyond the sampling's limit, and f32.
            assert!(difference < 2e-3 * expected.abs().max().max(1.0), "{radius} {at:?}: {difference}");
        }
    }
}

#[test]
fn tube_is_found_with_direction_and_radius() {
    let direction = Vector3::new(0.8, 0.36, 0.48);
    let centre = Vector3::new(30.0, 25.0, 26.0);
    let radius = 5.0;
    let image: Vec<f32> = (0..LATTICE.len())
        .map(|i| {
            let away = place(i) - centre;
            let from_axis = (away - direction * away.dot(&direction)).norm();
            (400.0 / (1.0 + (4.0 * (from_axis - radius)).exp())) as f32
        })
        .collect();
    let radii: Vec<f64> = (2..=9).map(f64::from).collect();
    let tubes = Flux::new(&image, LATTICE, SIGMA_MM).tubes(&radii);
    let tube = tubes[LATTICE.index([24, 25, 32])].unwrap();
    assert!(tube.direction.dot(&direction).abs() > 0.99, "{tube:?}");
    assert!((tube.radius_mm - radius).abs() <= 1.0, "{tube:?}");
}

#[test]
fn dark_tubes_are_none() {
    assert!(tube_of(Matrix3::from_diagonal(&Vector3::new(3.0, 2.0, 0.1)), 2.0).is_none());
}
