//! Two sweeps whose detectors look past the axis on different sides, one volume.

use crate::console::Console;
use anyhow::{Result, ensure};
use carm::{Volume, VolumeGrid};
use interchange::ProjectionStack;
use reconstruct::{FdkOptions, FdkPlan, add_second_sweep};
use session::StageTimes;
use std::sync::Arc;

/// Fills `grid` from both stacks, in 1/mm.
pub(super) fn run(
    stacks: [&ProjectionStack; 2],
    grid: VolumeGrid,
    options: &FdkOptions,
    console: &Console,
    stages: &mut StageTimes,
) -> Result<(Volume, [Arc<FdkPlan>; 2])> {
    let [first, second] = stacks;
    let plans = FdkPlan::for_two_sweeps([first.geometry.clone(), second.geometry.clone()], grid, options)?;
    let plans = plans.map(Arc::new);
    let views = plans.iter().map(|plan| plan.views().len()).sum::<usize>();
    let bar = console.progress(views as u64, "reconstructing two sweeps");
    let mut volume = super::fill(Arc::clone(&plans[0]), &first.line_integrals, &bar, stages)?;
    let second = super::fill(Arc::clone(&plans[1]), &second.line_integrals, &bar, stages)?;
    ensure!(volume.grid == second.grid, "both sweeps fill one grid");
    add_second_sweep(&mut volume, &second);
    bar.finish_and_clear();
    Ok((volume, plans))
}
