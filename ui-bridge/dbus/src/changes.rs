//! Signals with a bounded rate: the daemon is looked at five times a second, and what differs from the last look is told.

use crate::interfaces;
use crate::interfaces::{Alarms, Jobs};
use crate::{DAEMON_PATH, stream_path};
use service::{Service, ServiceStatus, StreamStatus};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use zbus::Connection;
use zbus::fdo::Properties;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::Value;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);

type Changed = HashMap<&'static str, Value<'static>>;

/// What was told last.
struct Told {
    status: ServiceStatus,
    runs: usize,
}

/// Tells changes on a connection until it is gone.
pub(crate) async fn tell(connection: Connection, service: Arc<Service>) {
    let look = |service: &Service| Told { status: service.status(), runs: service.runs().len() };
    let mut told = look(&service);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let now = look(&service);
        if let Err(error) = tell_changes(&connection, &told, &now).await {
            tracing::debug!(%error, "a D-Bus peer is gone");
            return;
        }
        told = now;
    }
}

async fn tell_changes(connection: &Connection, before: &Told, now: &Told) -> zbus::Result<()> {
    let daemon = SignalEmitter::new(connection, DAEMON_PATH)?;
    if before.runs != now.runs {
        let count = Value::from(now.runs as u32);
        tell_properties(&daemon, "org.isocenter.Runs1", HashMap::from([("Count", count)])).await?;
    }
    tell_jobs(&daemon, &before.status, &now.status).await?;
    tell_alarms(&daemon, &before.status, &now.status).await?;
    for (before, now) in before.status.streams.iter().zip(&now.status.streams) {
        let emitter = SignalEmitter::new(connection, stream_path(&now.name))?;
        for (interface, changed) in stream_changes(before, now) {
            tell_properties(&emitter, interface, changed).await?;
        }
    }
    Ok(())
}

async fn tell_properties(
    emitter: &SignalEmitter<'_>,
    interface: &'static str,
    changed: Changed,
) -> zbus::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let interface = InterfaceName::from_static_str_unchecked(interface);
    Properties::properties_changed(emitter, interface, changed, Vec::new().into()).await
}

async fn tell_jobs(
    emitter: &SignalEmitter<'_>,
    before: &ServiceStatus,
    now: &ServiceStatus,
) -> zbus::Result<()> {
    for job in now.jobs.iter().filter(|job| !before.jobs.contains(job)) {
        Jobs::changed(emitter, job.id, job.state.name(), job.done, job.all).await?;
    }
    Ok(())
}

async fn tell_alarms(
    emitter: &SignalEmitter<'_>,
    before: &ServiceStatus,
    now: &ServiceStatus,
) -> zbus::Result<()> {
    let active =
        |status: &ServiceStatus| status.alarms.iter().filter(|alarm| alarm.is_active()).count() as u32;
    if active(before) != active(now) {
        let count = Value::from(active(now));
        tell_properties(emitter, "org.isocenter.Alarms1", HashMap::from([("Active", count)])).await?;
    }
    for alarm in &now.alarms {
        let known = before.alarms.iter().find(|known| known.id == alarm.id);
        if known.is_none() {
            let severity = interfaces::severity(alarm.severity);
            Alarms::raised(emitter, alarm.id, &alarm.stream, alarm.kind, severity, &alarm.text).await?;
        }
        if !alarm.is_active() && known.is_none_or(|known| known.is_active()) {
            Alarms::cleared(emitter, alarm.id).await?;
        }
    }
    Ok(())
}

/// Properties of a stream's interfaces that differ.
fn stream_changes(before: &StreamStatus, now: &StreamStatus) -> [(&'static str, Changed); 4] {
    let mut device = Changed::new();
    put(&mut device, "State", before.device.name(), now.device.name());
    put(&mut device, "Reason", before.device_reason.clone(), now.device_reason.clone());
    let mut live = Changed::new();
    put(&mut live, "State", before.live.name(), now.live.name());
    if before.ledger != now.ledger {
        live.insert("Ledger", Value::from(interfaces::ledger(&now.ledger)));
    }
    if before.stages != now.stages {
        live.insert("Stages", Value::from(interfaces::stages(now.stages)));
    }
    let mut recording = Changed::new();
    let [was, is] = [&before.recording, &now.recording].map(interfaces::recording_state);
    for (name, (was, is)) in ["State", "Run", "Reason"].into_iter().zip(was.into_iter().zip(is)) {
        put(&mut recording, name, was, is);
    }
    let mut spin = Changed::new();
    let (was, is) = (&before.spin, &now.spin);
    put(&mut spin, "State", was.phase.name(), is.phase.name());
    put(&mut spin, "Reason", was.reason.clone(), is.reason.clone());
    put(&mut spin, "Views", (was.views, was.planned_views), (is.views, is.planned_views));
    put(&mut spin, "ArcDeg", (was.arc_deg, was.planned_arc_deg), (is.arc_deg, is.planned_arc_deg));
    put(&mut spin, "Run", was.run.clone(), is.run.clone());
    [
        ("org.isocenter.Device1", device),
        ("org.isocenter.LiveStream1", live),
        ("org.isocenter.Recording1", recording),
        ("org.isocenter.Spin1", spin),
    ]
}

fn put<T: PartialEq + Into<Value<'static>>>(changed: &mut Changed, name: &'static str, before: T, now: T) {
    if before != now {
        changed.insert(name, now.into());
    }
}
