//! Correction from scribbles: where would a random walker that shuns edges first meet a mark?

use crate::error::AnatomyError;
use crate::lattice::Lattice;

/// Steepness of the walker's shyness of edges: the weight of a step is `exp(-β d²)` with the difference `d` of the grey
/// values in units of their range in the brick; and a floor that keeps every voxel in reach.
const BETA: f64 = 130.0;
const WEIGHT_MIN: f64 = 1e-6;
/// The solver stops at this residual relative to what the marks alone leave, or after so many steps.
const RESIDUAL: f64 = 1e-6;
const STEPS_MAX: usize = 2000;

/// What a voxel of the brick is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// To be found out.
    Unknown,
    /// Belongs to the structure.
    Inside,
    /// Does not.
    Outside,
}

/// Probability, voxel by voxel, that a random walker meets a mark inside before one outside.
///
/// `values` is a brick of grey values, flat, z first; `marks` one for each voxel. `guess`, where given, is where the
/// solver starts, such as the present mask: corrections of a mask then take few steps. A label is right where the
/// probability exceeds one half.
///
/// # Errors
/// [`AnatomyError::Parameter`] without at least one mark of each kind.
///
/// # Method
/// Grady, *Random walks for image segmentation*, IEEE TPAMI 28(11), 2006: the combinatorial Dirichlet problem on the
/// grid with weights `exp(-β d²)`, divided by the squared spacing along each axis, solved by conjugate gradients with the
/// diagonal as preconditioner.
pub fn random_walker(
    values: &[f32],
    lattice: &Lattice,
    marks: &[Mark],
    guess: Option<&[bool]>,
) -> Result<Vec<f32>, AnatomyError> {
    assert!(values.len() == lattice.len() && marks.len() == lattice.len(), "brick, marks and lattice agree");
    for (kind, what) in [(Mark::Inside, "marks inside"), (Mark::Outside, "marks outside")] {
        if !marks.contains(&kind) {
            return Err(AnatomyError::Parameter { what, expected: "at least one", found: "none".into() });
        }
    }
    let problem = Dirichlet::new(values, lattice, marks);
    let start: Vec<f64> = (0..marks.len())
        .map(|i| match marks[i] {
            Mark::Inside => 1.0,
            Mark::Outside => 0.0,
            Mark::Unknown => guess.map_or(0.5, |guess| f64::from(u8::from(guess[i]))),
        })
        .collect();
    Ok(problem.solved(start).into_iter().map(|p| p as f32).collect())
}

/// The grid's weights and which voxels are free.
struct Dirichlet<'a> {
    lattice: &'a Lattice,
    /// Weight to the next voxel along z, y, x.
    weights: [Vec<f64>; 3],
    is_free: Vec<bool>,
    diagonal: Vec<f64>,
}

impl<'a> Dirichlet<'a> {
    fn new(values: &[f32], lattice: &'a Lattice, marks: &[Mark]) -> Self {
        let (low, high) =
            values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        let range = f64::from(high - low).max(f64::MIN_POSITIVE);
        let strides = lattice.strides();
        let weights: [Vec<f64>; 3] = std::array::from_fn(|axis| {
            (0..lattice.len())
                .map(|index| {
                    if lattice.position(index)[axis] + 1 == lattice.shape[axis] {
                        return 0.0;
                    }
                    let difference = f64::from(values[index + strides[axis]] - values[index]) / range;
                    ((-BETA * difference * difference).exp() + WEIGHT_MIN) / lattice.spacing_mm[axis].powi(2)
                })
                .collect()
        });
        let is_free: Vec<bool> = marks.iter().map(|mark| *mark == Mark::Unknown).collect();
        let mut problem = Self { lattice, weights, is_free, diagonal: Vec::new() };
        problem.diagonal = (0..lattice.len())
            .map(|index| {
                let mut sum = 0.0;
                lattice.for_neighbours(index, |near, axis| sum += problem.weight(index, near, axis));
                sum.max(f64::MIN_POSITIVE)
            })
            .collect();
        problem
    }

    fn weight(&self, one: usize, other: usize, axis: usize) -> f64 {
        self.weights[axis][one.min(other)]
    }

    /// The Laplacian of `x` at the free voxels; zero elsewhere.
    fn laplacian(&self, x: &[f64]) -> Vec<f64> {
        (0..x.len())
            .map(|index| {
                if !self.is_free[index] {
                    return 0.0;
                }
                let mut sum = self.diagonal[index] * x[index];
                self.lattice
                    .for_neighbours(index, |near, axis| sum -= self.weight(index, near, axis) * x[near]);
                sum
            })
            .collect()
    }

    /// Conjugate gradients from `x`, whose marked voxels hold their values.
    fn solved(&self, mut x: Vec<f64>) -> Vec<f64> {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let preconditioned =
            |r: &[f64]| r.iter().zip(&self.diagonal).map(|(r, d)| r / d).collect::<Vec<f64>>();
        let mut residual: Vec<f64> = self.laplacian(&x).into_iter().map(|r| -r).collect();
        let mut z = preconditioned(&residual);
        let mut direction = z.clone();
        let mut rz = dot(&residual, &z);
        // Measured against the marks, not against the start: a warm start is to be no less exact.
        let marks: Vec<f64> =
            x.iter().zip(&self.is_free).map(|(x, free)| if *free { 0.0 } else { *x }).collect();
        let forced = self.laplacian(&marks);
        let goal = RESIDUAL * RESIDUAL * dot(&forced, &preconditioned(&forced));
        for _ in 0..STEPS_MAX {
            if rz <= goal || rz == 0.0 {
                break;
            }
            let a_direction = self.laplacian(&direction);
            let step = rz / dot(&direction, &a_direction);
            x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            residual.iter_mut().zip(&a_direction).for_each(|(r, a)| *r -= step * a);
            z = preconditioned(&residual);
            let next = dot(&residual, &z);
            let ratio = next / rz;
            direction.iter_mut().zip(&z).for_each(|(d, z)| *d = z + ratio * *d);
            rz = next;
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walker_in_an_even_row_meets_marks_by_distance() {
        // Without edges the probability is harmonic: linear between two marks.
        let lattice = Lattice { shape: [1, 1, 11], spacing_mm: [1.0, 1.0, 0.8] };
        let mut marks = vec![Mark::Unknown; 11];
        (marks[0], marks[10]) = (Mark::Inside, Mark::Outside);
        let found = random_walker(&[7.0; 11], &lattice, &marks, None).unwrap();
        for (i, found) in found.iter().enumerate() {
            assert!((found - (1.0 - i as f32 / 10.0)).abs() < 1e-4, "{i}: {found}");
        }
    }

    #[test]
    fn walker_stops_at_a_faint_edge_with_a_gap() {
        // Two rooms of the same grey with a wall between them that has a hole.
        let lattice = Lattice { shape: [9, 21, 31], spacing_mm: [2.0, 1.0, 1.0] };
        let values: Vec<f32> = (0..lattice.len())
            .map(|i| {
                let [z, y, x] = lattice.position(i);
                let is_hole = z == 4 && (9..=11).contains(&y);
                if x == 15 && !is_hole { 60.0 } else { 100.0 + (i % 7) as f32 }
            })
            .collect();
        let mut marks = vec![Mark::Unknown; lattice.len()];
        marks[lattice.index([4, 4, 3])] = Mark::Inside;
        marks[lattice.index([4, 16, 27])] = Mark::Outside;
        let found = random_walker(&values, &lattice, &marks, None).unwrap();
        let mask: Vec<bool> = found.iter().map(|p| *p > 0.5).collect();
        let wrong = (0..lattice.len())
            .filter(|i| lattice.position(*i)[2].abs_diff(15) > 2)
            .filter(|i| mask[*i] != (lattice.position(*i)[2] < 15))
            .count();
        assert_eq!(wrong, 0);
        // A warm start leads to the same answer.
        let warm = random_walker(&values, &lattice, &marks, Some(&mask)).unwrap();
        assert!(found.iter().zip(&warm).all(|(a, b)| (a - b).abs() < 0.02));
    }

    #[test]
    fn walker_needs_both_kinds_of_marks() {
        let lattice = Lattice { shape: [1, 1, 3], spacing_mm: [1.0; 3] };
        let marks = [Mark::Inside, Mark::Unknown, Mark::Unknown];
        assert!(random_walker(&[0.0; 3], &lattice, &marks, None).is_err());
    }
}
