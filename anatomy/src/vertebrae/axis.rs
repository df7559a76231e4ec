//! The line through the spinal canal, and a frame of directions at every millimetre of it.

use crate::canal::CanalSlice;
use crate::lattice::Lattice;
use nalgebra::Vector3;

/// Distance of neighbouring places on the line, mm.
pub(super) const STEP_MM: f64 = 1.0;
/// The line goes on straight for so much beyond the last slices that show a canal, mm.
const BEYOND_MM: f64 = 45.0;
/// Its direction there is that of so much of its end, mm.
const END_MM: f64 = 25.0;
/// Standard deviation of its smoothing along the body, mm.
const SMOOTHING_MM: f64 = 7.0;

/// One place on the line: mm along z, y and x, and unit vectors there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub centre: Vector3<f64>,
    /// Towards the head along the line, forwards, and to the left.
    pub up: Vector3<f64>,
    pub front: Vector3<f64>,
    pub left: Vector3<f64>,
}

/// The line, from the feet to the head.
pub(crate) struct Axis {
    pub places: Vec<Place>,
    /// Of each slice of the lattice, the place whose plane holds the line there; none beyond its ends.
    of_slice: Vec<Option<usize>>,
    spacing_mm: [f64; 3],
}

impl Axis {
    /// The line through a canal of at least two slices.
    pub(crate) fn through(canal: &[CanalSlice], lattice: &Lattice) -> Option<Self> {
        let [sz, sy, sx] = lattice.spacing_mm;
        let (first, last) = (canal.first()?, canal.last()?);
        if first.z == last.z {
            return None;
        }
        let beyond = (BEYOND_MM / sz).round() as usize;
        let (low, high) = (first.z.saturating_sub(beyond), (last.z + beyond).min(lattice.shape[0] - 1));
        let known: Vec<Vector3<f64>> = canal
            .iter()
            .map(|slice| Vector3::new(slice.z as f64 * sz, slice.centre[0] * sy, slice.centre[1] * sx))
            .collect();
        let raw: Vec<Vector3<f64>> = (low..=high).map(|z| at_height(&known, z as f64 * sz)).collect();
        let smooth = smoothed(&raw, SMOOTHING_MM / sz);
        let places = framed(&evenly_spaced(&smooth));
        let mut of_slice = vec![None; lattice.shape[0]];
        for (index, place) in places.iter().enumerate() {
            let z = (place.centre[0] / sz).round() as usize;
            if z < of_slice.len() && of_slice[z].is_none() {
                of_slice[z] = Some(index);
            }
        }
        Some(Self { places, of_slice, spacing_mm: lattice.spacing_mm })
    }

    /// Whether a place is on the line and not beyond its ends.
    pub(crate) fn holds(&self, place: f64) -> bool {
        place > -0.5 && place < self.places.len() as f64 - 0.5
    }

    /// How far up the line, to the front and to the left of it a voxel lies: place (fractional), mm, mm.
    pub(crate) fn coordinates(&self, at: [usize; 3]) -> Option<[f64; 3]> {
        let point = Vector3::from_fn(|axis, _| at[axis] as f64 * self.spacing_mm[axis]);
        let nearest = (0..self.of_slice.len()).find_map(|away| {
            let above = self.of_slice.get(at[0] + away).copied().flatten();
            above.or_else(|| at[0].checked_sub(away).and_then(|z| self.of_slice[z]))
        });
        let mut index = nearest?;
        // The plane through a voxel turns with the line: a few corrections come as near as the line is smooth.
        for _ in 0..3 {
            let place = &self.places[index];
            let up = (point - place.centre).dot(&place.up) / STEP_MM;
            let next = (index as f64 + up).round().clamp(0.0, (self.places.len() - 1) as f64) as usize;
            if next == index {
                break;
            }
            index = next;
        }
        let place = &self.places[index];
        let away = point - place.centre;
        Some([index as f64 + away.dot(&place.up) / STEP_MM, away.dot(&place.front), away.dot(&place.left)])
    }
}

/// The line at a height, straight between known points and beyond them.
fn at_height(known: &[Vector3<f64>], z: f64) -> Vector3<f64> {
    let (first, last) = (known[0], known[known.len() - 1]);
    let along = |from: Vector3<f64>, to: Vector3<f64>| {
        let share = if to[0] > from[0] { (z - from[0]) / (to[0] - from[0]) } else { 0.0 };
        from + (to - from) * share
    };
    if z < first[0] {
        let inner = known.iter().take_while(|point| point[0] <= first[0] + END_MM).last();
        along(first, *inner.unwrap_or(&last))
    } else if z > last[0] {
        let inner = known.iter().rev().take_while(|point| point[0] >= last[0] - END_MM).last();
        along(*inner.unwrap_or(&first), last)
    } else {
        let next = known.partition_point(|point| point[0] < z).clamp(1, known.len() - 1);
        along(known[next - 1], known[next])
    }
}

/// A Gaussian along the points; beyond the ends the line goes on straight, so that ends do not bend.
fn smoothed(points: &[Vector3<f64>], sigma: f64) -> Vec<Vector3<f64>> {
    let reach = (3.0 * sigma).ceil() as isize;
    let last = points.len() as isize - 1;
    let at = |i: isize| {
        if i < 0 {
            points[0] * 2.0 - points[(-i).min(last) as usize]
        } else if i > last {
            points[last as usize] * 2.0 - points[(2 * last - i).max(0) as usize]
        } else {
            points[i as usize]
        }
    };
    (0..=last)
        .map(|i| {
            let weights = (-reach..=reach).map(|k| (k, (-0.5 * (k as f64 / sigma).powi(2)).exp()));
            let (sum, total) = weights.fold((Vector3::zeros(), 0.0), |(sum, total), (k, weight)| {
                (sum + at(i + k) * weight, total + weight)
            });
            sum / total
        })
        .collect()
}

/// Points of a polyline at equal distances along it.
fn evenly_spaced(line: &[Vector3<f64>]) -> Vec<Vector3<f64>> {
    let mut out = vec![line[0]];
    let mut left = STEP_MM;
    for pair in line.windows(2) {
        let length = (pair[1] - pair[0]).norm();
        let mut along = left;
        while along <= length {
            out.push(pair[0] + (pair[1] - pair[0]) * (along / length));
            along += STEP_MM;
        }
        left = along - length;
    }
    out
}

fn framed(points: &[Vector3<f64>]) -> Vec<Place> {
    let last = points.len() - 1;
    let reach = (SMOOTHING_MM / STEP_MM) as usize;
    (0..points.len())
        .map(|i| {
            let chord = points[(i + reach).min(last)] - points[i.saturating_sub(reach)];
            let up = chord.try_normalize(1e-9).unwrap_or_else(|| Vector3::new(1.0, 0.0, 0.0));
            // y runs backwards.
            let forwards = Vector3::new(0.0, -1.0, 0.0);
            let front = (forwards - up * forwards.dot(&up)).try_normalize(1e-9).unwrap_or(forwards);
            let left = front.cross(&up);
            let left = if left[2] < 0.0 { -left } else { left };
            Place { centre: points[i], up, front, left }
        })
        .collect()
}
