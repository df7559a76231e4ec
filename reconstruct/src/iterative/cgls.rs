//! Conjugate gradients on the weighted least-squares equations `Aᵀ W A x = Aᵀ W p`.
//!
//! Hestenes and Stiefel, J. Res. Natl. Bur. Stand. 49(6), 1952. Stopping early regularises: what is well determined
//! comes first.

use super::estimate::Estimate;
use super::system::System;
use super::{Algorithm, IterationReport, Progress};
use crate::error::ReconstructError;
use rayon::prelude::*;

/// Views that are back-projected together.
const VIEWS: usize = 8;

/// The method with its state.
pub struct Cgls<'s, 'd> {
    system: &'s System<'d>,
    estimate: Estimate,
    /// Measured minus projected, every view.
    residuals: Vec<Vec<f32>>,
    gradient: Estimate,
    direction: Estimate,
    gradient_norm: f64,
    iteration: usize,
    total_weight: f64,
}

impl<'s, 'd> Cgls<'s, 'd> {
    /// Starts from `start`. Takes one projection and one back-projection of the whole scan.
    ///
    /// # Errors
    /// [`ReconstructError::BadOption`] for a system that asks for values not below zero, which conjugate gradients
    /// cannot keep.
    pub fn new(system: &'s System<'d>, start: Estimate) -> Result<Self, ReconstructError> {
        if system.is_non_negative {
            return Err(ReconstructError::BadOption {
                option: "non-negativity",
                expected: "off for conjugate gradients, which cannot keep it".into(),
                found: "on".into(),
            });
        }
        let residuals = (0..system.view_count())
            .map(|view| {
                let mut image = vec![0.0; system.region().pixel_count()];
                system.residual(&start, view, &mut image);
                image
            })
            .collect();
        let mut made = Self {
            estimate: start,
            residuals,
            gradient: system.zero_estimate(),
            direction: system.zero_estimate(),
            gradient_norm: 0.0,
            iteration: 0,
            total_weight: system.total_weight(),
            system,
        };
        made.find_gradient(&mut |_| true)?;
        made.gradient_norm = made.gradient.norm_squared();
        made.direction.zip(&made.gradient, |direction, gradient| *direction = gradient);
        Ok(made)
    }

    /// `Aᵀ W residual` within the mask.
    fn find_gradient(&mut self, go_on: &mut dyn FnMut(usize) -> bool) -> Result<(), ReconstructError> {
        let mut gradient = std::mem::replace(&mut self.gradient, Estimate { fields: Vec::new() });
        gradient.zero();
        let views: Vec<usize> = (0..self.system.view_count()).collect();
        for views in views.chunks(VIEWS) {
            if !go_on(views[0]) {
                self.gradient = gradient;
                return Err(ReconstructError::Cancelled);
            }
            let images: Vec<Vec<f32>> = views
                .iter()
                .map(|view| {
                    let mut image = self.residuals[*view].clone();
                    self.system.weigh(*view, &mut image);
                    image
                })
                .collect();
            self.system.add_back(views, &images, &mut gradient);
        }
        gradient.zip(self.system.mask(), |value, mask| *value *= mask);
        self.gradient = gradient;
        Ok(())
    }

    /// Projections of the direction, and the sum of their weighted squares.
    fn project_direction(
        &self,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<(Vec<Vec<f32>>, f64), ReconstructError> {
        let mut squares = 0.0;
        let mut images = Vec::with_capacity(self.residuals.len());
        for view in 0..self.residuals.len() {
            if !go_on(view) {
                return Err(ReconstructError::Cancelled);
            }
            let mut image = vec![0.0; self.system.region().pixel_count()];
            self.system.project(&self.direction, view, &mut image);
            squares += weighted_squares(self.system.weights(view), &image);
            images.push(image);
        }
        Ok((images, squares))
    }
}

fn weighted_squares(weights: Option<&[f32]>, image: &[f32]) -> f64 {
    image
        .iter()
        .enumerate()
        .map(|(pixel, value)| {
            let weight = weights.map_or(1.0, |weights| weights[pixel]);
            f64::from(weight) * f64::from(*value) * f64::from(*value)
        })
        .sum()
}

impl Algorithm for Cgls<'_, '_> {
    fn name(&self) -> &'static str {
        "cgls"
    }

    fn pass(&mut self, go_on: &mut dyn FnMut(Progress) -> bool) -> Result<IterationReport, ReconstructError> {
        let (iteration, views) = (self.iteration, self.system.view_count());
        // Half of a pass projects, half gives back.
        let mut first_half = |view| go_on(Progress { iteration, views_done: view / 2, views });
        let (projections, squares) = self.project_direction(&mut first_half)?;
        let before = self.estimate.clone();
        let step = if squares > 0.0 { self.gradient_norm / squares } else { 0.0 };
        self.estimate.zip(&self.direction, |value, direction| *value += step as f32 * direction);
        for (residual, projection) in self.residuals.iter_mut().zip(&projections) {
            residual
                .par_iter_mut()
                .zip(projection)
                .with_min_len(1 << 12)
                .for_each(|(own, along)| *own -= step as f32 * along);
        }
        drop(projections);
        // The estimate has moved: from here on the pass is finished even when the caller wants to stop.
        self.find_gradient(&mut |_| true)?;
        let norm = self.gradient.norm_squared();
        let turn = if self.gradient_norm > 0.0 { (norm / self.gradient_norm) as f32 } else { 0.0 };
        self.gradient_norm = norm;
        self.direction.zip(&self.gradient, |direction, gradient| *direction = gradient + turn * *direction);
        self.iteration += 1;
        let squares: f64 =
            (0..views).map(|view| weighted_squares(self.system.weights(view), &self.residuals[view])).sum();
        IterationReport::of(self.iteration, squares / self.total_weight, &self.estimate, &before)
    }

    fn estimate(&self) -> &Estimate {
        &self.estimate
    }
}
