//! Which voxels depend on what rows were continued with.
//!
//! The ramp filter spreads a row's continuation over all of it: a voxel depends on it as soon as one view saw it on a
//! continued row, most strongly near the row's end.

use crate::field_of_view::{Seen, beside};
use crate::plan::FdkPlan;
use crate::virtual_detector::VirtualView;
use carm::mask;
use rayon::prelude::*;
use std::ops::Range;

/// The sweep is divided into this many stretches; a view whose continued rows an earlier view of its stretch had is not
/// asked.
const STRETCHES: usize = 64;

/// Marks voxels while views come.
pub(crate) struct Extrapolated {
    views_a_stretch: usize,
    views: usize,
    /// Rows whose voxels are marked in this stretch.
    rows: Vec<bool>,
    /// Of each column, voxels that need not be looked at again.
    marked: Vec<Range<u32>>,
}

impl Extrapolated {
    pub(crate) fn new(plan: &FdkPlan) -> Self {
        Self {
            views_a_stretch: plan.scan.views().len().div_ceil(STRETCHES),
            views: 0,
            rows: vec![false; plan.virtual_size()[1]],
            marked: vec![0..0; plan.layout.column_counts().iter().product()],
        }
    }

    /// Marks covered voxels that `view` sees on a continued row; `columns` in the plan's layout.
    pub(crate) fn add(
        &mut self,
        plan: &FdkPlan,
        view: &VirtualView,
        continued: impl Iterator<Item = bool>,
        columns: &mut [u8],
    ) {
        if self.views.is_multiple_of(self.views_a_stretch) {
            self.rows.fill(false);
        }
        self.views += 1;
        let mut is_new = false;
        for (row, continued) in self.rows.iter_mut().zip(continued) {
            is_new |= continued && !*row;
            *row |= continued;
        }
        if is_new {
            mark(plan, on_rows(plan, view, &self.rows), &mut self.marked, columns);
        }
    }
}

/// One pyramid for each run of rows; bilinear interpolation reads a row up to one row away.
fn on_rows(plan: &FdkPlan, view: &VirtualView, rows: &[bool]) -> Vec<Seen> {
    let mut runs = Vec::new();
    let mut first = 0;
    for run in rows.chunk_by(|a, b| a == b) {
        if run[0] {
            runs.push(Seen::on_rows(plan, &view.p, [first as f64 - 1.0, (first + run.len()) as f64]));
        }
        first += run.len();
    }
    runs
}

fn mark(plan: &FdkPlan, seen: Vec<Seen>, marked: &mut [Range<u32>], columns: &mut [u8]) {
    let [_, fast_count] = plan.layout.column_counts();
    let length = plan.layout.column_length();
    let step = plan.layout.column_step().to_homogeneous();
    let seen: Vec<_> = seen.into_iter().map(|seen| seen.along(&step)).collect();
    let columns = columns.par_chunks_mut(plan.layout.stride()).zip(marked).enumerate();
    columns.for_each(|(column, (bits, marked))| {
        let start = plan.layout.column_start(column / fast_count, column % fast_count).to_homogeneous();
        for seen in &seen {
            let range = seen.range(&start, length);
            let known = marked.start as usize..marked.end as usize;
            for part in beside(&range, &known) {
                for bits in &mut bits[part] {
                    if *bits & mask::COVERED != 0 {
                        *bits |= mask::EXTRAPOLATED;
                    }
                }
            }
            *marked = longest(&range, &known);
        }
    });
}

/// Both ranges as one where they meet, the longer one where they do not.
fn longest(a: &Range<usize>, b: &Range<usize>) -> Range<u32> {
    let longest = if a.start <= b.end && b.start <= a.end && !a.is_empty() && !b.is_empty() {
        a.start.min(b.start)..a.end.max(b.end)
    } else if a.len() > b.len() {
        a.clone()
    } else {
        b.clone()
    };
    longest.start as u32..longest.end as u32
}
