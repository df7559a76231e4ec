//! Prometheus: every count of the ledger, latencies, queues, disk, by stream.

use crate::server::App;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text::encode};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use service::{BOUNDS_MS, Dose, JobState, LatencySnapshot, Ledger, Service};
use std::fmt;
use std::sync::Arc;

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Name, help, and what it counts.
type Count = (&'static str, &'static str, fn(&Ledger) -> u64);

const COUNTS: [Count; 15] = [
    ("frames_received", "Frames that came from the device", |ledger| ledger.received),
    ("frames_lost", "Frames that the device numbered and that never came", |ledger| ledger.lost),
    ("frames_refused", "Frames that came twice or too late", |ledger| ledger.refused),
    ("frames_shown", "Live images finished", |ledger| ledger.shown),
    ("frames_skipped", "Frames passed over for a newer one", |ledger| ledger.skipped),
    ("frames_held", "Frames without X-rays, which leave the last image", |ledger| ledger.held),
    ("frames_unshowable", "Frames that could not be made an image", |ledger| ledger.unshowable),
    ("frames_recorded", "Frames written to a recording", |ledger| ledger.recorded),
    ("frames_record_lost", "Frames that should have been recorded and were not", |ledger| ledger.record_lost),
    ("frames_unrecorded", "Frames that came while nothing was to be recorded", |ledger| ledger.unrecorded),
    ("frames_incomplete", "Frames of which packets never came, among the lost", |ledger| ledger.incomplete),
    ("packets_lost", "Packets that never came", |ledger| ledger.packets_lost),
    ("packets_resent", "Packets that came when asked for again", |ledger| ledger.packets_resent),
    ("stalls", "Times that frames were due and did not come", |ledger| ledger.stalls),
    ("device_openings", "Times that the device was opened", |ledger| ledger.opened),
];

/// Name, help, unit, and what it shows.
type Figure = (&'static str, &'static str, Option<Unit>, fn(&Dose) -> f64);

const DOSES: [Figure; 4] = [
    ("air_kerma_rate_mgy_per_min", "At the reference point, over the last second", None, |dose| {
        dose.air_kerma_rate_mgy_per_min
    }),
    ("air_kerma_mgy", "At the reference point since the start", None, |dose| dose.air_kerma_mgy),
    ("dose_area_product_gy_cm2", "Since the start", None, |dose| dose.dose_area_product_gy_cm2),
    ("fluoroscopy", "Time with the pedal on fluoroscopy", Some(Unit::Seconds), |dose| dose.fluoroscopy_s),
];

pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let mut registry = Registry::with_prefix("isocenter");
    registry.register_collector(Box::new(Look(app.service.clone())));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
        Err(error) => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// One look at the service.
struct Look(Arc<Service>);

impl fmt::Debug for Look {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Look")
    }
}

impl Collector for Look {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let status = self.0.status();
        let streams = || status.streams.iter().map(|stream| (stream.name.as_str(), stream));
        for (name, help, count) in COUNTS {
            let rows = streams().map(|(stream, status)| (stream, ConstCounter::new(count(&status.ledger))));
            family(&mut encoder, name, help, None, rows)?;
        }
        let ages = streams().filter_map(|(stream, status)| Some((stream, status.age_ms?)));
        let ages = ages.map(|(stream, ms)| (stream, ConstGauge::new(ms * 1e-3)));
        let seconds = Some(&Unit::Seconds);
        family(&mut encoder, "image_age", "Since the newest image's frame arrived", seconds, ages)?;
        let queues = streams().map(|(stream, status)| {
            let Ledger { received, recorded, record_lost, unrecorded, .. } = status.ledger;
            let waiting = received.saturating_sub(recorded + record_lost + unrecorded);
            (stream, ConstGauge::new(waiting as f64))
        });
        family(
            &mut encoder,
            "recorder_queue_frames",
            "Frames that the recorder has yet to take",
            None,
            queues,
        )?;
        for (name, help, unit, figure) in DOSES {
            let rows = streams().filter_map(|(stream, status)| Some((stream, figure(status.dose.as_ref()?))));
            family(
                &mut encoder,
                name,
                help,
                unit.as_ref(),
                rows.map(|(stream, value)| (stream, ConstGauge::new(value))),
            )?;
        }
        let live = self.0.streams().iter().map(|stream| (stream.name(), stream.live_latency()));
        let help = "From a frame's arrival to its finished image";
        latencies(&mut encoder, "live_latency", help, live)?;
        let recorded = self.0.streams().iter().map(|stream| (stream.name(), stream.record_latency()));
        latencies(&mut encoder, "record_latency", "From a frame's arrival to its record", recorded)?;
        let jobs =
            status.jobs.iter().filter(|job| matches!(job.state, JobState::Waiting | JobState::Running));
        gauge(&mut encoder, "jobs_open", "Jobs waiting or running", None, jobs.count() as f64)?;
        let alarms = status.alarms.iter().filter(|alarm| alarm.is_active());
        gauge(&mut encoder, "alarms_active", "Alarms that are active", None, alarms.count() as f64)?;
        gauge(&mut encoder, "uptime", "Since the daemon started", Some(&Unit::Seconds), status.uptime_s)?;
        let retired = ConstCounter::new(status.runs_retired);
        let help = "Old recordings taken away to make room";
        retired.encode(encoder.encode_descriptor("runs_retired", help, None, retired.metric_type())?)?;
        if let Some(capacity) = status.recorder_capacity {
            let help = "Raw counts a second that one recorder was measured to hold";
            gauge(&mut encoder, "recorder_capacity_bytes_per_second", help, None, capacity.raw_bytes_per_s)?;
        }
        match status.free_bytes {
            Some(free) => {
                let bytes = Some(&Unit::Bytes);
                gauge(&mut encoder, "disk_free", "Free for recordings", bytes, free as f64)
            }
            None => Ok(()),
        }
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}

/// One value a stream.
fn family<'a, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    rows: impl Iterator<Item = (&'a str, M)>,
) -> fmt::Result {
    let mut rows = rows.peekable();
    let Some((_, first)) = rows.peek() else { return Ok(()) };
    let mut metric = encoder.encode_descriptor(name, help, unit, first.metric_type())?;
    for (stream, value) in rows {
        value.encode(metric.encode_family(&[("stream", stream)])?)?;
    }
    Ok(())
}

fn latencies<'a>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (&'a str, LatencySnapshot)>,
) -> fmt::Result {
    use prometheus_client::encoding::NoLabelSet;
    use prometheus_client::metrics::MetricType;
    let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (stream, latency) in rows {
        let bounds = BOUNDS_MS.iter().map(|ms| ms * 1e-3).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(latency.buckets).collect();
        let labels = [("stream", stream)];
        let mut row = metric.encode_family(&labels)?;
        row.encode_histogram::<NoLabelSet>(latency.sum_ms * 1e-3, latency.count, &buckets, None)?;
    }
    Ok(())
}
