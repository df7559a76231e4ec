//! `isocenter worker`: one job of the daemon in a process of its own, so that whatever becomes of it costs no frame. The
//! daemon starts it with a socket as its standard input; nobody types it.

use crate::console::Outcome;
use crate::runs;
use crate::volumes::{thread_pool, write_of_run};
use anyhow::{Context, Result, ensure};
use capture::RunReader;
use carm::Volume;
use serde_json::json;
use service::{JobClass, JobKind, Task, ToDaemon, WorkerBudget};
use session::{RunSettings, follow_run, reconstruct_run};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Runs the command.
pub fn run() -> Result<Outcome> {
    service::attend(daemons_socket()?, |task, folder, budget, daemon| {
        make(task, folder, budget, daemon).map_err(|error| format!("{error:#}"))
    })?;
    Ok(Outcome::success(json!({}), ""))
}

/// Standard input as what the daemon made it.
pub fn daemons_socket() -> Result<UnixStream> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
    let socket = UnixStream::from(socket);
    ensure!(
        socket.peer_addr().is_ok(),
        "standard input: expected the daemon's socket, found none; `isocenter serve` starts its processes itself"
    );
    Ok(socket)
}

/// Makes the file that the task asks for; gives its name.
fn make(task: &Task, folder: &Path, budget: WorkerBudget, daemon: &ToDaemon) -> Result<String> {
    match task.kind {
        JobKind::Reconstruct => {
            let pool = thread_pool(budget.threads)?;
            let mut reader = RunReader::open(&task.run)?;
            let name = format!("{}.nii.gz", task.run.file_stem().unwrap_or_default().to_string_lossy());
            let description = reader.description().clone();
            let write = |mut volume: Volume, name: &str| {
                runs::mark(&mut volume, &description);
                write_of_run(&volume, &folder.join(name), &description.patient)
            };
            let settings = RunSettings::default();
            let mut step = |done, all| daemon.step(done, all);
            // A first version that cannot be written costs the wait for the last one.
            let mut first_version = |volume| {
                if write(volume, &name).is_ok() {
                    daemon.first_version(name.clone());
                }
            };
            let made = pool.install(|| match task.class {
                JobClass::Spin => follow_run(&mut reader, &settings, &mut step, &mut first_version),
                JobClass::Other => reconstruct_run(&mut reader, &settings, &mut step),
            })?;
            write(made.volume, &name)?;
            Ok(name)
        }
        JobKind::Import => {
            // The file may be named after a patient: errors speak of it, and the recording is called, otherwise.
            let (file, partial) = (folder.join("incoming"), folder.join("partial.mcap"));
            std::os::unix::fs::symlink(&task.run, &file).context("the file cannot be linked")?;
            let (run, summary) = runs::from_angiogram(&file, &partial, runs::MU_WATER_PER_MM)?;
            let spin = if run.description.planned_views.is_empty() { "" } else { "-spin" };
            let name = format!("incoming-{}{spin}.mcap", &summary.content_hash[..12]);
            std::fs::rename(&partial, folder.join(&name)).context("the recording cannot be named")?;
            Ok(name)
        }
    }
}
