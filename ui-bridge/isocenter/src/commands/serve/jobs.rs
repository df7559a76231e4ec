//! The daemon's jobs: processes of this same program, `isocenter worker`.

use super::config::Config;
use anyhow::{Context, Result};
use service::{WorkerBudget, WorkerRunner};
use std::time::Duration;

/// Starts workers whose results go to the folder `volumes` of the daemon's.
pub fn runner(config: &Config) -> Result<WorkerRunner> {
    let folder = config.service.folder.join("volumes");
    std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let program = std::env::current_exe().context("the path of this program, which is also its workers'")?;
    let jobs = &config.jobs;
    let runner = WorkerRunner {
        command: vec![program.into(), "worker".into()],
        folder,
        recordings: config.service.settings().folder,
        budget: WorkerBudget { threads: jobs.threads, memory_bytes: jobs.memory_mib.map(|mib| mib << 20) },
        silence: Duration::from_secs_f64(jobs.silence_s),
    };
    runner.clear_left_over()?;
    Ok(runner)
}
