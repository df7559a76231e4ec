//! The live thread: the newest frame becomes the newest image.

use super::priority::{LIVE, ask_for_real_time};
use super::shared::Shared;
use crate::alarms::Severity;
use crate::clock::monotonic_now;
use crate::ledger::count;
use acquisition::{AcquisitionError, LiveChain, LiveNote, Newest, NewestReader, RingProducer};
use carm::{FrameHeader, RunDescription};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// Threads that share an image at most: it is soon too small for more.
const MOST_THREADS: usize = 4;

pub(crate) struct LiveThread {
    shared: Arc<Shared>,
    chain: LiveChain,
    /// Threads that share each image; none where there is one core.
    pool: Option<rayon::ThreadPool>,
    reader: NewestReader,
    producer: RingProducer,
    raw_counts: Vec<u16>,
    image: Vec<u16>,
    remasks: u64,
    late_defects: usize,
    /// Header of the last image, while X-rays are on.
    last: Option<FrameHeader>,
}

impl LiveThread {
    pub(crate) fn new(
        shared: Arc<Shared>,
        description: &RunDescription,
        reader: NewestReader,
        producer: RingProducer,
    ) -> Result<Self, AcquisitionError> {
        let pixels = description.detector.pixel_count();
        let chain = LiveChain::new(description, shared.settings.live)?;
        let (raw_counts, image) = (vec![0; pixels], vec![0; pixels]);
        let pool = pool(&shared);
        Ok(Self {
            shared,
            chain,
            pool,
            reader,
            producer,
            raw_counts,
            image,
            remasks: 0,
            late_defects: 0,
            last: None,
        })
    }

    /// Runs until no more frames come.
    pub(crate) fn run(mut self) {
        ask_for_real_time(&self.shared, LIVE);
        let mut was_unshowable = false;
        loop {
            let is_over = self.shared.device_ended.load(Ordering::Acquire);
            let newest = self.reader.next(&mut self.raw_counts).expect("a buffer of the ring's size");
            match newest {
                Some(newest) => match self.show(&newest) {
                    Ok(()) if was_unshowable => {
                        was_unshowable = false;
                        self.shared.alarms.clear(&self.shared.name, "live");
                    }
                    Ok(()) => {}
                    Err(error) => {
                        count(&self.shared.counters.unshowable, 1);
                        if !was_unshowable {
                            let text = error.to_string();
                            self.shared.alarms.raise(&self.shared.name, "live", Severity::Fault, text);
                        }
                        was_unshowable = true;
                    }
                },
                None if is_over => return,
                None => self.reader.wait(LONGEST_WAIT),
            }
        }
    }

    fn show(&mut self, newest: &Newest) -> Result<(), AcquisitionError> {
        let Newest { header, skipped } = newest;
        let counters = &self.shared.counters;
        count(&counters.skipped, *skipped);
        if !header.is_xray_on {
            // The last image stays.
            count(&counters.held, 1);
            return self.hold();
        }
        let asked = self.shared.stages();
        let remasks = self.shared.remasks.load(Ordering::Acquire);
        if remasks != self.remasks {
            self.remasks = remasks;
            self.chain.remask();
        }
        let (chain, raw_counts, image) = (&mut self.chain, &self.raw_counts, &mut self.image);
        let mut make = || chain.show(header, raw_counts, asked, image);
        let shown = match &self.pool {
            Some(pool) => pool.install(make),
            None => make(),
        }?;
        let finished_ns = monotonic_now().0;
        let note = LiveNote { shown, finished_ns, skipped: *skipped };
        self.producer.publish_with_note(header, &note.to_words(), &self.image)?;
        self.last = Some(*header);
        let arrived_ns = header.stamps.host.0;
        self.shared.last_shown_ns.store(arrived_ns.max(1), Ordering::Release);
        self.shared.last_shown_sequence.store(header.sequence, Ordering::Release);
        self.shared.live_latency.add(Duration::from_nanos(finished_ns.saturating_sub(arrived_ns)));
        count(&counters.shown, 1);
        self.tell_late_defects();
        Ok(())
    }

    /// An alarm for pixels that were good when the panel was calibrated.
    fn tell_late_defects(&mut self) {
        let defects = self.chain.late_defects();
        if defects.len() == self.late_defects {
            return;
        }
        self.late_defects = defects.len();
        let places: Vec<String> =
            defects.iter().rev().take(8).map(|at| format!("column {} row {}", at.u, at.v)).collect();
        let text = format!(
            "{} pixels went bad since the calibration and are filled from their neighbours, the latest at {}",
            defects.len(),
            places.join(", ")
        );
        self.shared.alarms.raise(&self.shared.name, "defects", Severity::Warning, text);
    }

    /// Shows the last image anew with less noise, where that is asked for and there is less to be had.
    fn hold(&mut self) -> Result<(), AcquisitionError> {
        let Some(header) = self.last.take() else { return Ok(()) };
        if let Some(shown) = self.chain.hold(self.shared.stages(), &mut self.image) {
            let note = LiveNote { shown, finished_ns: monotonic_now().0, skipped: 0 };
            self.producer.publish_with_note(&header, &note.to_words(), &self.image)?;
        }
        Ok(())
    }
}

fn pool(shared: &Arc<Shared>) -> Option<rayon::ThreadPool> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS));
    let (name, shared) = (shared.name.clone(), shared.clone());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(move |thread| format!("live {name} {thread}"))
        .start_handler(move |_| ask_for_real_time(&shared, LIVE));
    let pool = if threads > 1 { Some(pool.build()) } else { None };
    pool?.inspect_err(|error| tracing::warn!(%error, "live images are made on one thread")).ok()
}
