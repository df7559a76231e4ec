//! The ring that every frame enters: one producer, any number of readers, nobody waits for anybody.
//!
//! Each slot has a generation that is odd while the slot is being written (a sequence lock: Boehm, MSPC 2012). A
//! reader copies a slot and looks at the generation again; when it has changed, the producer came round and the copy is
//! thrown away. The producer copies the frame in with plain stores: it never allocates, locks, logs or waits, however
//! slow a reader is.

use crate::error::AcquisitionError;
use crate::shared_memory::SharedWords;
use carm::{ClockStamps, DeviceTime, Exposure, FrameHeader, GantryPose, HostTime, Pedal, WallTime};
use rustix::thread::futex;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

/// Words in front of the slots: how many frames were published, and a word to wait on.
const CONTROL_WORDS: usize = 8;
const PUBLISHED: usize = 0;
const BELL: usize = 1;
/// Words of a slot in front of its counts: generation, the header, then the note.
const HEADER_WORDS: usize = 11;
const NOTE_WORDS: usize = 4;
const SLOT_FRONT_WORDS: usize = 1 + HEADER_WORDS + NOTE_WORDS;

/// What a maker of frames says of each beside its header; zeros where nothing is said.
pub type FrameNote = [u64; NOTE_WORDS];

/// How a ring lies in its memory file, in 64-bit words of the machine's own byte order, for readers elsewhere.
///
/// Word 0 is the number of frames published, the first half of word 1 a 32-bit futex that is woken after each. Frame `n`
/// (from 0) lies in slot `n % slots`, which starts at `control_words + (n % slots) * slot_words`: its generation, which
/// is `2 n + 2` while the slot holds frame `n`, then the header, the note, and the counts, four to a word, the first in
/// the lowest bits. A reader copies what it wants and looks at the generation again: when it has changed, the frame was
/// overwritten meanwhile and the copy is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLayout {
    /// Slots.
    pub slots: usize,
    /// Counts of a frame.
    pub pixels: usize,
    /// Words in front of the first slot.
    pub control_words: usize,
    /// Words of a slot.
    pub slot_words: usize,
    /// Words of a header, after the generation: sequence; device, host and wall time and mid-exposure, ns; X-ray on (bit
    /// 0) and pedal; primary and secondary angle, rad, tube voltage, kV, current, mA, and pulse width, ms, as `f64` bits.
    pub header_words: usize,
    /// Words of a note, after the header.
    pub note_words: usize,
}

impl RingLayout {
    fn new(slots: usize, pixels: usize) -> Self {
        Self {
            slots,
            pixels,
            control_words: CONTROL_WORDS,
            slot_words: SLOT_FRONT_WORDS + pixels.div_ceil(4),
            header_words: HEADER_WORDS,
            note_words: NOTE_WORDS,
        }
    }

    /// None for a ring that cannot be.
    fn words(slots: usize, pixels: usize) -> Option<usize> {
        slots
            .checked_mul(SLOT_FRONT_WORDS + pixels.div_ceil(4))
            .and_then(|words| words.checked_add(CONTROL_WORDS))
            .filter(|&words| slots >= 2 && pixels >= 1 && words < isize::MAX as usize / 8)
    }
}

/// The ring as readers see it; cheap to clone.
#[derive(Clone, Debug)]
pub struct FrameRing {
    shared: Arc<SharedWords>,
    slots: usize,
    pixels: usize,
}

/// The one writer of a ring.
#[derive(Debug)]
pub struct RingProducer {
    ring: FrameRing,
    /// Position of the next frame: frames published so far.
    next: u64,
}

/// What a lossless reader gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delivery {
    /// The next frame, its counts in the caller's buffer.
    Frame(FrameHeader),
    /// Nothing new.
    Empty,
    /// The producer overtook this reader: `count` frames are no longer in the ring and have to be read from the
    /// recording. The next call goes on after them.
    Overrun {
        /// Frames lost to this reader.
        count: u64,
    },
}

/// What a newest-wins reader gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Newest {
    /// The frame whose counts are in the caller's buffer.
    pub header: FrameHeader,
    /// Frames passed over since the last one.
    pub skipped: u64,
}

enum Read {
    Frame(FrameHeader),
    NotYet,
    Overrun,
}

impl FrameRing {
    /// A ring of `slots` frames of `pixels` counts each, all memory touched and ready.
    ///
    /// # Errors
    /// [`AcquisitionError::RingShape`], [`AcquisitionError::RingMemory`].
    pub fn new(slots: usize, pixels: usize) -> Result<(RingProducer, Self), AcquisitionError> {
        let words = RingLayout::words(slots, pixels).ok_or(AcquisitionError::RingShape { slots, pixels })?;
        let ring = Self { shared: Arc::new(SharedWords::new(words)?), slots, pixels };
        Ok((RingProducer { ring: ring.clone(), next: 0 }, ring))
    }

    /// A ring that another process made and handed over as its memory file; it can only be read.
    ///
    /// # Errors
    /// [`AcquisitionError::RingShape`]; [`AcquisitionError::RingMemory`] for a file of another size or one that could
    /// still be cut short.
    pub fn attach(file: OwnedFd, slots: usize, pixels: usize) -> Result<Self, AcquisitionError> {
        let words = RingLayout::words(slots, pixels).ok_or(AcquisitionError::RingShape { slots, pixels })?;
        Ok(Self { shared: Arc::new(SharedWords::attach(file, words)?), slots, pixels })
    }

    /// How the ring lies in its memory file.
    pub fn layout(&self) -> RingLayout {
        RingLayout::new(self.slots, self.pixels)
    }

    /// Frames published since the ring was made.
    pub fn published(&self) -> u64 {
        self.shared.words()[PUBLISHED].load(Ordering::Acquire)
    }

    /// The sealed memory file, for another process to map for reading.
    pub fn memory_file(&self) -> BorrowedFd<'_> {
        self.shared.file()
    }

    /// A reader that gets every frame from now on, or is told how many it missed.
    pub fn lossless_reader(&self) -> LosslessReader {
        LosslessReader { ring: self.clone(), next: self.published(), lost: 0, note: FrameNote::default() }
    }

    /// A reader that always gets the newest frame and counts those passed over.
    pub fn newest_reader(&self) -> NewestReader {
        NewestReader { ring: self.clone(), next: self.published(), skipped: 0, note: FrameNote::default() }
    }

    fn slot(&self, position: u64) -> (&AtomicU64, &[AtomicU64], &[AtomicU64]) {
        let words_per_slot = SLOT_FRONT_WORDS + self.pixels.div_ceil(4);
        let index = (position % self.slots as u64) as usize;
        let slot = &self.shared.words()[CONTROL_WORDS + index * words_per_slot..][..words_per_slot];
        let (front, counts) = slot.split_at(SLOT_FRONT_WORDS);
        (&front[0], &front[1..], counts)
    }

    fn check_size(&self, found: usize) -> Result<(), AcquisitionError> {
        let expected = self.pixels;
        if found == expected { Ok(()) } else { Err(AcquisitionError::FrameSize { expected, found }) }
    }

    fn read(&self, position: u64, counts: &mut [u16], note: &mut FrameNote) -> Read {
        let (generation, header_words, count_words) = self.slot(position);
        let written = 2 * position + 2;
        match generation.load(Ordering::Acquire) {
            found if found < written => return Read::NotYet,
            found if found > written => return Read::Overrun,
            _ => {}
        }
        let mut header = [0; HEADER_WORDS];
        for (word, shared) in header.iter_mut().zip(header_words) {
            *word = shared.load(Ordering::Relaxed);
        }
        for (word, shared) in note.iter_mut().zip(&header_words[HEADER_WORDS..]) {
            *word = shared.load(Ordering::Relaxed);
        }
        let four_of = |word: u64| std::array::from_fn::<u16, 4, _>(|i| (word >> (16 * i)) as u16);
        let (fours, rest) = counts.as_chunks_mut::<4>();
        for (four, shared) in fours.iter_mut().zip(count_words) {
            *four = four_of(shared.load(Ordering::Relaxed));
        }
        if !rest.is_empty() {
            let last = four_of(count_words[fours.len()].load(Ordering::Relaxed));
            rest.copy_from_slice(&last[..rest.len()]);
        }
        fence(Ordering::Acquire);
        if generation.load(Ordering::Relaxed) != written {
            return Read::Overrun;
        }
        Read::Frame(header_from_words(&header))
    }

    /// Wakes who waits, without waiting for them.
    fn ring_bell(&self) {
        let bell = self.shared.half_word(BELL);
        bell.fetch_add(1, Ordering::Release);
        // There is nothing to do should nobody sleep.
        let _ = futex::wake(bell, futex::Flags::empty(), u32::MAX >> 1);
    }

    /// Waits until more than `seen` frames were published or the time is over.
    fn wait(&self, seen: u64, longest: Duration) {
        let bell = self.shared.half_word(BELL);
        let rung = bell.load(Ordering::Acquire);
        if self.published() > seen {
            return;
        }
        let timeout = rustix::fs::Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        };
        // Woken, timed out or interrupted: the caller looks again in every case.
        let _ = futex::wait(bell, futex::Flags::empty(), rung, Some(&timeout));
    }
}

impl RingProducer {
    /// Copies a frame into the next slot, over the oldest one; gives its position.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`]: nothing was published.
    pub fn publish(&mut self, header: &FrameHeader, counts: &[u16]) -> Result<u64, AcquisitionError> {
        self.publish_with_note(header, &FrameNote::default(), counts)
    }

    /// As [`RingProducer::publish`], with a note beside the header.
    ///
    /// # Errors
    /// As [`RingProducer::publish`].
    pub fn publish_with_note(
        &mut self,
        header: &FrameHeader,
        note: &FrameNote,
        counts: &[u16],
    ) -> Result<u64, AcquisitionError> {
        self.ring.check_size(counts.len())?;
        let position = self.next;
        let (generation, header_words, count_words) = self.ring.slot(position);
        generation.store(2 * position + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let words = words_from_header(header).into_iter().chain(*note);
        for (shared, word) in header_words.iter().zip(words) {
            shared.store(word, Ordering::Relaxed);
        }
        let (fours, rest) = counts.as_chunks::<4>();
        for (shared, four) in count_words.iter().zip(fours) {
            let word = four.iter().rev().fold(0, |word, &count| word << 16 | u64::from(count));
            shared.store(word, Ordering::Relaxed);
        }
        if !rest.is_empty() {
            let word = rest.iter().rev().fold(0, |word, &count| word << 16 | u64::from(count));
            count_words[fours.len()].store(word, Ordering::Relaxed);
        }
        generation.store(2 * position + 2, Ordering::Release);
        self.next += 1;
        self.ring.shared.words()[PUBLISHED].store(self.next, Ordering::Release);
        self.ring.ring_bell();
        Ok(position)
    }
}

/// Nobody sleeps on for frames that no longer come.
impl Drop for RingProducer {
    fn drop(&mut self) {
        self.ring.ring_bell();
    }
}

/// Gets every frame in order, or is told that it was overtaken.
#[derive(Debug)]
pub struct LosslessReader {
    ring: FrameRing,
    next: u64,
    lost: u64,
    note: FrameNote,
}

impl LosslessReader {
    /// The next frame, its counts written into `counts`.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`].
    pub fn next(&mut self, counts: &mut [u16]) -> Result<Delivery, AcquisitionError> {
        self.ring.check_size(counts.len())?;
        Ok(match self.ring.read(self.next, counts, &mut self.note) {
            Read::Frame(header) => {
                self.next += 1;
                Delivery::Frame(header)
            }
            Read::NotYet => Delivery::Empty,
            Read::Overrun => {
                // The slot being written now is as good as gone, so go on at the one after it.
                let oldest = self.ring.published().saturating_sub(self.ring.slots as u64 - 1);
                let count = oldest.max(self.next + 1) - self.next;
                self.next += count;
                self.lost += count;
                Delivery::Overrun { count }
            }
        })
    }

    /// Waits until there is something to read or the time is over.
    pub fn wait(&self, longest: Duration) {
        self.ring.wait(self.next, longest);
    }

    /// What was said of the frame read last.
    pub fn note(&self) -> FrameNote {
        self.note
    }

    /// Frames published and not yet read.
    pub fn backlog(&self) -> u64 {
        self.ring.published().saturating_sub(self.next)
    }

    /// Frames that this reader was too slow for, in all.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// Gets the newest frame; what came in between is counted.
#[derive(Debug)]
pub struct NewestReader {
    ring: FrameRing,
    next: u64,
    skipped: u64,
    note: FrameNote,
}

impl NewestReader {
    /// The newest frame not seen yet, its counts written into `counts`; none when there is none.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`].
    pub fn next(&mut self, counts: &mut [u16]) -> Result<Option<Newest>, AcquisitionError> {
        self.ring.check_size(counts.len())?;
        loop {
            let published = self.ring.published();
            if published <= self.next {
                return Ok(None);
            }
            // Overtaken while copying: there is a newer one.
            if let Read::Frame(header) = self.ring.read(published - 1, counts, &mut self.note) {
                let skipped = published - 1 - self.next;
                self.next = published;
                self.skipped += skipped;
                return Ok(Some(Newest { header, skipped }));
            }
        }
    }

    /// Whether there is a frame not seen yet.
    pub fn has_newer(&self) -> bool {
        self.ring.published() > self.next
    }

    /// Waits until there is something newer or the time is over.
    pub fn wait(&self, longest: Duration) {
        self.ring.wait(self.next, longest);
    }

    /// What was said of the frame read last.
    pub fn note(&self) -> FrameNote {
        self.note
    }

    /// Frames passed over, in all.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

fn words_from_header(header: &FrameHeader) -> [u64; HEADER_WORDS] {
    let pedal = match header.pedal {
        Pedal::Released => 0,
        Pedal::Fluoroscopy => 1,
        Pedal::Acquisition => 2,
    };
    [
        header.sequence,
        header.stamps.device.0,
        header.stamps.host.0,
        header.stamps.wall.0,
        header.mid_exposure.0,
        u64::from(header.is_xray_on) | pedal << 1,
        header.gantry.primary_angle_rad.to_bits(),
        header.gantry.secondary_angle_rad.to_bits(),
        header.exposure.tube_voltage_kv.to_bits(),
        header.exposure.tube_current_ma.to_bits(),
        header.exposure.pulse_width_ms.to_bits(),
    ]
}

fn header_from_words(words: &[u64; HEADER_WORDS]) -> FrameHeader {
    FrameHeader {
        sequence: words[0],
        stamps: ClockStamps {
            device: DeviceTime(words[1]),
            host: HostTime(words[2]),
            wall: WallTime(words[3]),
        },
        mid_exposure: DeviceTime(words[4]),
        is_xray_on: words[5] & 1 == 1,
        pedal: match words[5] >> 1 {
            1 => Pedal::Fluoroscopy,
            2 => Pedal::Acquisition,
            _ => Pedal::Released,
        },
        gantry: GantryPose {
            primary_angle_rad: f64::from_bits(words[6]),
            secondary_angle_rad: f64::from_bits(words[7]),
        },
        exposure: Exposure {
            tube_voltage_kv: f64::from_bits(words[8]),
            tube_current_ma: f64::from_bits(words[9]),
            pulse_width_ms: f64::from_bits(words[10]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn frame(sequence: u64, pixels: usize) -> (FrameHeader, Vec<u16>) {
        let header = FrameHeader {
            sequence,
            stamps: ClockStamps { device: DeviceTime(sequence + 1), ..ClockStamps::default() },
            is_xray_on: sequence % 2 == 1,
            pedal: Pedal::Acquisition,
            gantry: GantryPose { primary_angle_rad: sequence as f64 * 0.25, secondary_angle_rad: -0.5 },
            ..FrameHeader::default()
        };
        // Every count tells its frame, so that a torn copy cannot pass.
        (header, (0..pixels).map(|i| (sequence as usize * 31 + i) as u16).collect())
    }

    #[test]
    fn frame_ring_delivers_every_frame_bit_for_bit_whatever_the_odd_count() {
        for pixels in [1, 3, 4, 5, 97] {
            let (mut producer, ring) = FrameRing::new(3, pixels).unwrap();
            let mut reader = ring.lossless_reader();
            let mut counts = vec![0xFFFF; pixels];
            for sequence in 0..10 {
                let (header, sent) = frame(sequence, pixels);
                assert_eq!(reader.next(&mut counts).unwrap(), Delivery::Empty);
                assert_eq!(producer.publish(&header, &sent).unwrap(), sequence);
                assert_eq!(reader.next(&mut counts).unwrap(), Delivery::Frame(header));
                assert_eq!(counts, sent);
            }
            assert_eq!((reader.lost(), reader.backlog()), (0, 0));
        }
    }

    #[test]
    fn frame_ring_tells_an_overrun_reader_how_many_it_missed() {
        let (mut producer, ring) = FrameRing::new(4, 8).unwrap();
        let (mut slow, mut screen) = (ring.lossless_reader(), ring.newest_reader());
        let mut counts = vec![0; 8];
        for sequence in 0..10 {
            let (header, sent) = frame(sequence, 8);
            producer.publish(&header, &sent).unwrap();
        }
        assert_eq!(slow.next(&mut counts).unwrap(), Delivery::Overrun { count: 7 });
        for sequence in 7..10 {
            let (header, sent) = frame(sequence, 8);
            assert_eq!(slow.next(&mut counts).unwrap(), Delivery::Frame(header));
            assert_eq!(counts, sent);
        }
        assert_eq!((slow.next(&mut counts).unwrap(), slow.lost()), (Delivery::Empty, 7));
        let newest = screen.next(&mut counts).unwrap().unwrap();
        assert_eq!((newest.header.sequence, newest.skipped, screen.skipped()), (9, 9, 9));
        assert_eq!(screen.next(&mut counts).unwrap(), None);
    }

    #[test]
    fn frame_ring_never_hands_out_a_torn_frame_to_racing_readers() {
        const FRAMES: u64 = 20_000;
        const PIXELS: usize = 257;
        let (mut producer, ring) = FrameRing::new(3, PIXELS).unwrap();
        let is_done = AtomicBool::new(false);
        let read_all = |mut reader: LosslessReader| {
            let mut counts = vec![0; PIXELS];
            let (mut received, mut lost, mut last) = (0, 0, None);
            loop {
                let done = is_done.load(Ordering::Acquire);
                match reader.next(&mut counts).unwrap() {
                    Delivery::Frame(header) => {
                        let (expected, sent) = frame(header.sequence, PIXELS);
                        assert_eq!((header, &counts), (expected, &sent), "a torn frame");
                        assert!(last.is_none_or(|last| header.sequence > last), "frames out of order");
                        last = Some(header.sequence);
                        received += 1;
                    }
                    Delivery::Overrun { count } => lost += count,
                    Delivery::Empty if done => break,
                    Delivery::Empty => reader.wait(Duration::from_millis(5)),
                }
            }
            assert_eq!((received + lost, lost), (FRAMES, reader.lost()), "every frame is accounted for");
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let reader = ring.lossless_reader();
                scope.spawn(move || read_all(reader));
            }
            for sequence in 0..FRAMES {
                let (header, sent) = frame(sequence, PIXELS);
                producer.publish(&header, &sent).unwrap();
            }
            is_done.store(true, Ordering::Release);
        });
    }

    #[test]
    fn frame_ring_producer_and_readers_never_allocate() {
        let (mut producer, ring) = FrameRing::new(3, 97).unwrap();
        let (mut slow, mut screen) = (ring.lossless_reader(), ring.newest_reader());
        let mut counts = vec![0; 97];
        let (header, sent) = frame(5, 97);
        let before = crate::counting_allocator::allocations();
        for round in 0..50 {
            producer.publish(&header, &sent).unwrap();
            if round % 7 == 0 {
                slow.next(&mut counts).unwrap();
                screen.next(&mut counts).unwrap();
            }
        }
        assert_eq!(crate::counting_allocator::allocations(), before);
        drop(vec![0_u8; std::hint::black_box(9)]);
        assert!(crate::counting_allocator::allocations() > before, "the counter counts");
    }

    #[test]
    fn frame_ring_wakes_a_waiting_reader() {
        let (mut producer, ring) = FrameRing::new(2, 4).unwrap();
        let mut reader = ring.lossless_reader();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                let mut counts = [0; 4];
                loop {
                    reader.wait(Duration::from_secs(20));
                    if let Delivery::Frame(header) = reader.next(&mut counts).unwrap() {
                        return header.sequence;
                    }
                }
            });
            let (header, sent) = frame(77, 4);
            producer.publish(&header, &sent).unwrap();
            assert_eq!(waiting.join().unwrap(), 77);
        });
    }

    #[test]
    fn frame_ring_memory_is_sealed() {
        use rustix::fs::SealFlags;
        use rustix::mm::{MapFlags, ProtFlags};
        let (_producer, ring) = FrameRing::new(2, 4).unwrap();
        let seals = rustix::fs::fcntl_get_seals(ring.memory_file()).unwrap();
        let expected = SealFlags::GROW | SealFlags::SHRINK | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        assert!(seals.contains(expected), "{seals:?}");
        assert!(rustix::fs::ftruncate(ring.memory_file(), 8).is_err());
        assert!(rustix::fs::ftruncate(ring.memory_file(), 1 << 20).is_err());
        // SAFETY: asks for a mapping of its own that the seal must refuse; nothing is read or written through it.
        let map = |protection| unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), 4096, protection, MapFlags::SHARED, ring.memory_file(), 0)
        };
        assert!(map(ProtFlags::READ | ProtFlags::WRITE).is_err());
        let readable = map(ProtFlags::READ).unwrap();
        // SAFETY: exactly the range just mapped, and no reference into it was made.
        unsafe { rustix::mm::munmap(readable, 4096) }.unwrap();
    }

    #[test]
    fn frame_ring_attached_elsewhere_reads_every_frame_with_its_note_and_learns_of_overruns() {
        let (mut producer, ring) = FrameRing::new(3, 5).unwrap();
        let file = ring.memory_file().try_clone_to_owned().unwrap();
        let attached = FrameRing::attach(file, 3, 5).unwrap();
        assert_eq!(attached.layout(), ring.layout());
        let mut reader = attached.lossless_reader();
        let mut counts = [0; 5];
        for sequence in 0..2 {
            let (header, sent) = frame(sequence, 5);
            producer.publish_with_note(&header, &[sequence, 7, 8, 9], &sent).unwrap();
            assert_eq!(reader.next(&mut counts).unwrap(), Delivery::Frame(header));
            assert_eq!((counts.as_slice(), reader.note()), (sent.as_slice(), [sequence, 7, 8, 9]));
        }
        for sequence in 2..9 {
            let (header, sent) = frame(sequence, 5);
            producer.publish(&header, &sent).unwrap();
        }
        assert!(matches!(reader.next(&mut counts).unwrap(), Delivery::Overrun { count: 5 }));
    }

    #[test]
    fn frame_ring_attaches_only_to_sealed_memory_of_the_right_size() {
        let (_producer, ring) = FrameRing::new(3, 5).unwrap();
        let again = || ring.memory_file().try_clone_to_owned().unwrap();
        assert!(matches!(FrameRing::attach(again(), 4, 5), Err(AcquisitionError::RingMemory { .. })));
        assert!(matches!(FrameRing::attach(again(), 1, 5), Err(AcquisitionError::RingShape { .. })));
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let open = rustix::fs::memfd_create("unsealed", flags).unwrap();
        rustix::fs::ftruncate(&open, 8 * RingLayout::words(3, 5).unwrap() as u64).unwrap();
        assert!(matches!(FrameRing::attach(open, 3, 5), Err(AcquisitionError::RingMemory { .. })));
    }

    #[test]
    fn frame_ring_refuses_a_frame_of_another_size_and_a_shape_that_is_none() {
        let (mut producer, ring) = FrameRing::new(2, 4).unwrap();
        let error = producer.publish(&FrameHeader::default(), &[0; 5]).unwrap_err();
        assert!(matches!(error, AcquisitionError::FrameSize { expected: 4, found: 5 }), "{error}");
        assert_eq!(ring.published(), 0);
        assert!(matches!(FrameRing::new(1, 4), Err(AcquisitionError::RingShape { .. })));
        assert!(matches!(FrameRing::new(usize::MAX, 9), Err(AcquisitionError::RingShape { .. })));
    }
}
