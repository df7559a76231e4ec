//! `org.isocenter.Alarms1`: what somebody should know of.

use service::{Alarm, Service, Severity};
use std::sync::Arc;
use zbus::object_server::SignalEmitter;

pub(crate) struct Alarms {
    pub(crate) service: Arc<Service>,
}

/// Number, stream, kind, severity, text, raised and cleared (ns since 1970, zero while active).
type Row = (u64, String, String, String, String, u64, u64);

#[zbus::interface(name = "org.isocenter.Alarms1")]
impl Alarms {
    /// The last alarms, oldest first: number, stream, kind, severity, text, raised, cleared (ns since 1970; zero while
    /// it is active).
    #[zbus(out_args("alarms"))]
    fn list(&self) -> Vec<Row> {
        let row = |alarm: Alarm| {
            let severity = severity(alarm.severity).to_owned();
            let Alarm { id, stream, kind, text, raised_unix_ns, cleared_unix_ns, .. } = alarm;
            (id, stream, kind.to_owned(), severity, text, raised_unix_ns, cleared_unix_ns)
        };
        self.service.alarms().list().into_iter().map(row).collect()
    }

    /// How many are active.
    #[zbus(property)]
    fn active(&self) -> u32 {
        self.service.alarms().list().iter().filter(|alarm| alarm.is_active()).count() as u32
    }

    /// An alarm was raised.
    #[zbus(signal)]
    pub(crate) async fn raised(
        emitter: &SignalEmitter<'_>,
        alarm: u64,
        stream: &str,
        kind: &str,
        severity: &str,
        text: &str,
    ) -> zbus::Result<()>;

    /// An alarm is over.
    #[zbus(signal)]
    pub(crate) async fn cleared(emitter: &SignalEmitter<'_>, alarm: u64) -> zbus::Result<()>;
}

pub(crate) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Fault => "fault",
    }
}
