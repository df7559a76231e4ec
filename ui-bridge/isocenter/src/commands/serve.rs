//! `isocenter serve`: the daemon beside the C-arm. It runs until it is told to stop, and then closes every recording.

mod config;
mod devices;
mod jobs;
mod supervisor;

use crate::cancel;
use crate::cli::Serve;
use crate::console::{Console, Outcome};
use anyhow::{Context, Result};
pub use config::Config;
use dbus::DbusSettings;
pub use devices::driver;
use serde_json::{Value, json};
use service::Service;
use std::sync::Arc;
use std::time::Duration;
use supervisor::Supervisor;
use tokio::signal::unix::{SignalKind, signal};
use web::WebSettings;

/// How often the daemon looks whether it should stop, and tells systemd that it lives.
const LOOK: Duration = Duration::from_millis(100);
/// Threads for D-Bus and web page; frames have their own.
const NETWORK_THREADS: usize = 2;

/// Runs the command.
pub fn run(options: &Serve, console: &Console) -> Result<Outcome> {
    let config = Config::read(&options.config)?;
    if options.check {
        let text = format!("{}: sound, {} devices", options.config.display(), config.devices.len());
        return Ok(Outcome::success(json!({ "config": options.config, "sound": true }), text));
    }
    let drivers = devices::drivers(&config, &options.config, console)?;
    let runner = jobs::runner(&config)?;
    let service = Arc::new(Service::start(&config.service.settings(), drivers, runner)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .thread_name("network")
        .on_thread_start(service::prefer_this_thread)
        .enable_all()
        .build()
        .context("threads for D-Bus and web page")?;
    let served = runtime.block_on(serve(&config, &service));
    service.stop();
    served?;
    let report = report(&service);
    Ok(Outcome::success(report, "stopped; every recording is closed"))
}

/// Until Ctrl-C or SIGTERM.
async fn serve(config: &Config, service: &Arc<Service>) -> Result<()> {
    let mut told_to_end = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let settings =
        DbusSettings { bus: config.dbus.bus.to_bus(), peer_socket: config.dbus.peer_socket.clone() };
    let _dbus = dbus::Server::start(service.clone(), &settings).await?;
    let web = match config.web.listen {
        Some(listen) => Some(web::Server::start(service.clone(), WebSettings { listen }).await?),
        None => None,
    };
    if let Some(web) = &web {
        eprintln!("isocenter: live page at http://{}/", web.address());
    }
    let supervisor = Supervisor::from_environment();
    supervisor.tell("READY=1");
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = told_to_end.recv() => break,
            _ = looks.tick() => {
                if cancel::is_requested() {
                    break;
                }
                // Reached only while the runtime and the service's locks answer.
                let _ = service.status();
                supervisor.tell_alive();
            }
        }
    }
    supervisor.tell("STOPPING=1");
    Ok(())
}

fn report(service: &Service) -> Value {
    let status = service.status();
    let streams: Vec<Value> =
        status.streams.iter().map(|stream| json!({ "name": stream.name, "ledger": stream.ledger })).collect();
    json!({ "uptime_s": status.uptime_s, "streams": streams, "runs": service.runs() })
}
