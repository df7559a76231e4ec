//! The daemon's jobs: a recording becomes a volume beside it.

use super::config::Config;
use crate::volumes::{thread_pool, write_of_run};
use anyhow::{Context, Result};
use capture::RunReader;
use rayon::ThreadPool;
use service::{JobRunner, Step};
use session::{RunSettings, reconstruct_run};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Reconstructs on a pool of its own, made by the first job so that its threads give way as the job's thread does.
pub struct Reconstructor {
    folder: PathBuf,
    threads: Option<usize>,
    pool: OnceLock<ThreadPool>,
}

impl Reconstructor {
    /// Volumes go to the folder `volumes` of the daemon's.
    pub fn new(config: &Config) -> Result<Self> {
        let folder = config.service.folder.join("volumes");
        std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        Ok(Self { folder, threads: config.jobs.threads, pool: OnceLock::new() })
    }

    fn make(&self, run: &Path, step: &mut Step<'_>) -> Result<PathBuf> {
        if self.pool.get().is_none() {
            // There is one job at a time, so nobody else makes it meanwhile.
            let _ = self.pool.set(thread_pool(self.threads)?);
        }
        let pool = self.pool.get().context("worker threads")?;
        let mut reader = RunReader::open(run)?;
        let stem = run.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let out = self.folder.join(format!("{stem}.nii.gz"));
        let mut steps = |done, all| step(done, all);
        let made = pool.install(|| reconstruct_run(&mut reader, &RunSettings::default(), &mut steps))?;
        write_of_run(&made.volume, &out, &reader.description().patient)?;
        Ok(out)
    }
}

impl JobRunner for Reconstructor {
    fn reconstruct(&self, run: &Path, step: &mut Step<'_>) -> Result<PathBuf, String> {
        self.make(run, step).map_err(|error| format!("{error:#}"))
    }
}
