//! The live thread: the newest frame becomes the newest image.

use super::priority::{LIVE, ask_for_real_time};
use super::shared::Shared;
use crate::alarms::Severity;
use crate::clock::monotonic_now;
use crate::ledger::count;
use acquisition::{AcquisitionError, LiveChain, LiveNote, Newest, NewestReader, RingProducer};
use carm::RunDescription;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const LONGEST_WAIT: Duration = Duration::from_millis(20);

pub(crate) struct LiveThread {
    shared: Arc<Shared>,
    chain: LiveChain,
    reader: NewestReader,
    producer: RingProducer,
    raw_counts: Vec<u16>,
    image: Vec<u16>,
}

impl LiveThread {
    pub(crate) fn new(
        shared: Arc<Shared>,
        description: &RunDescription,
        reader: NewestReader,
        producer: RingProducer,
    ) -> Result<Self, AcquisitionError> {
        let pixels = description.detector.pixel_count();
        let chain = LiveChain::new(description)?;
        Ok(Self { shared, chain, reader, producer, raw_counts: vec![0; pixels], image: vec![0; pixels] })
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
            return Ok(());
        }
        let asked = self.shared.stages();
        let (window, stages) = self.chain.show(header, &self.raw_counts, asked, &mut self.image)?;
        let finished_ns = monotonic_now().0;
        let note = LiveNote { window, stages, finished_ns, skipped: *skipped };
        self.producer.publish_with_note(header, &note.to_words(), &self.image)?;
        let arrived_ns = header.stamps.host.0;
        self.shared.last_shown_ns.store(arrived_ns.max(1), Ordering::Release);
        self.shared.last_shown_sequence.store(header.sequence, Ordering::Release);
        self.shared.live_latency.add(Duration::from_nanos(finished_ns.saturating_sub(arrived_ns)));
        count(&counters.shown, 1);
        Ok(())
    }
}
