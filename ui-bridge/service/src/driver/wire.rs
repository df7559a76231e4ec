//! How a driver in a process of its own speaks: a description, then one message a frame, little endian.
//!
//! The description is a run file without frames, so that there is one form of it and not two. Counts follow their header
//! without a length: both sides know the size.

use capture::{RunOutcome, RunReader, RunWriter, WriterOptions};
use carm::{
    ClockStamps, DeviceTime, Exposure, FrameHeader, GantryPose, HostTime, LinkCounts, Pedal, RunDescription,
    WallTime,
};
use std::io::{self, Read, Write};

/// A description is no longer, bytes: maps of a large panel.
const MOST_DESCRIPTION_BYTES: u64 = 1 << 30;
/// An error's words.
pub(super) const MOST_WORDS: usize = 4096;
const HEADER_BYTES: usize = 96;

pub(super) const FRAME: u8 = b'F';
/// Before a frame: what the link to the device lost, where that has changed.
pub(super) const LINK: u8 = b'L';
pub(super) const END: u8 = b'E';
pub(super) const FAILED: u8 = b'X';

pub(super) fn write_description(socket: &mut impl Write, run: &RunDescription) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("description.mcap");
    let writer = RunWriter::create(&path, run, WriterOptions::default()).map_err(io::Error::other)?;
    writer.finish(RunOutcome::Complete).map_err(io::Error::other)?;
    let mut file = std::fs::File::open(&path)?;
    socket.write_all(&file.metadata()?.len().to_le_bytes())?;
    io::copy(&mut file, socket).map(drop)
}

pub(super) fn read_description(socket: &mut impl Read) -> io::Result<RunDescription> {
    let mut length = [0; 8];
    socket.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MOST_DESCRIPTION_BYTES {
        return Err(io::Error::other(format!(
            "expected a description of at most 1 GiB, found {length} bytes"
        )));
    }
    // Onto the disk and not into memory: a length is only somebody's word.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("description.mcap");
    let copied = io::copy(&mut socket.take(length), &mut std::fs::File::create(&path)?)?;
    if copied < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let reader = RunReader::open(&path).map_err(io::Error::other)?;
    Ok(reader.description().clone())
}

pub(super) fn write_link(socket: &mut impl Write, link: LinkCounts) -> io::Result<()> {
    let mut bytes = vec![LINK];
    bytes.extend(
        [link.incomplete, link.packets_lost, link.packets_resent].into_iter().flat_map(u64::to_le_bytes),
    );
    socket.write_all(&bytes)
}

pub(super) fn read_link(socket: &mut impl Read) -> io::Result<LinkCounts> {
    let mut counts = [[0; 8]; 3];
    for count in &mut counts {
        socket.read_exact(count)?;
    }
    let [incomplete, packets_lost, packets_resent] = counts.map(u64::from_le_bytes);
    Ok(LinkCounts { incomplete, packets_lost, packets_resent })
}

pub(super) fn write_frame(
    socket: &mut impl Write,
    header: &FrameHeader,
    counts: &[u16],
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    bytes.clear();
    bytes.push(FRAME);
    let words = [
        header.sequence,
        header.stamps.device.0,
        header.stamps.host.0,
        header.stamps.wall.0,
        header.mid_exposure.0,
        u64::from(header.is_xray_on),
        match header.pedal {
            Pedal::Released => 0,
            Pedal::Fluoroscopy => 1,
            Pedal::Acquisition => 2,
        },
        header.gantry.primary_angle_rad.to_bits(),
        header.gantry.secondary_angle_rad.to_bits(),
        header.exposure.tube_voltage_kv.to_bits(),
        header.exposure.tube_current_ma.to_bits(),
    ];
    words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    bytes.extend_from_slice(&header.exposure.pulse_width_ms.to_le_bytes());
    counts.iter().for_each(|count| bytes.extend_from_slice(&count.to_le_bytes()));
    socket.write_all(bytes)
}

/// What follows the word [`FRAME`]; `bytes` is kept from frame to frame.
pub(super) fn read_frame(
    socket: &mut impl Read,
    counts: &mut [u16],
    bytes: &mut Vec<u8>,
) -> io::Result<FrameHeader> {
    bytes.resize(HEADER_BYTES + 2 * counts.len(), 0);
    socket.read_exact(bytes)?;
    let (words, pixels) = bytes.split_at(HEADER_BYTES);
    let word = |at: usize| u64::from_le_bytes(words[8 * at..8 * at + 8].try_into().expect("eight bytes"));
    let number = |at: usize| f64::from_bits(word(at));
    for (count, pair) in counts.iter_mut().zip(pixels.chunks_exact(2)) {
        *count = u16::from_le_bytes([pair[0], pair[1]]);
    }
    Ok(FrameHeader {
        sequence: word(0),
        stamps: ClockStamps { device: DeviceTime(word(1)), host: HostTime(word(2)), wall: WallTime(word(3)) },
        mid_exposure: DeviceTime(word(4)),
        is_xray_on: word(5) != 0,
        pedal: match word(6) {
            1 => Pedal::Fluoroscopy,
            2 => Pedal::Acquisition,
            _ => Pedal::Released,
        },
        gantry: GantryPose { primary_angle_rad: number(7), secondary_angle_rad: number(8) },
        exposure: Exposure {
            tube_voltage_kv: number(9),
            tube_current_ma: number(10),
            pulse_width_ms: number(11),
        },
    })
}
