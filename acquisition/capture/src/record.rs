//! What a message holds: a frame in binary, everything else as JSON; each with a checksum of its own.
//!
//! The container's checksum covers a whole chunk. A chunk that was torn by a crash or damaged on disk has none
//! that holds, so each record carries what is needed to be trusted, or not, alone.

use crate::codec::{FrameCodec, MAX_PIXELS};
use crate::layout::Fields;
use carm::{ClockStamps, DeviceTime, Exposure, FrameHeader, GantryPose, HostTime, Pedal, WallTime};
use serde::{Deserialize, Serialize};

/// First bytes of every frame record.
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"ISFR";
/// Version of the frame record.
const FRAME_VERSION: u8 = 1;
/// Bytes of a frame record before its packed counts.
pub(crate) const FRAME_HEADER_BYTES: usize = 120;
/// Bytes after them.
const FRAME_TRAILER_BYTES: usize = 4;

/// What stands in front of a frame's packed counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FrameRecord {
    pub(crate) header: FrameHeader,
    pub(crate) codec: FrameCodec,
    pub(crate) bits_stored: u8,
    pub(crate) nu: u32,
    pub(crate) nv: u32,
    pub(crate) packed_bytes: u32,
    /// First half of BLAKE3 over the little-endian counts.
    pub(crate) counts_hash: [u8; 16],
}

impl FrameRecord {
    /// Bytes of the whole record.
    pub(crate) fn record_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.packed_bytes as usize + FRAME_TRAILER_BYTES
    }

    pub(crate) fn pixel_count(&self) -> usize {
        self.nu as usize * self.nv as usize
    }

    /// Writes the record over `out`.
    pub(crate) fn write(&self, packed: &[u8], out: &mut Vec<u8>) {
        let h = &self.header;
        let pedal = match h.pedal {
            Pedal::Released => 0_u8,
            Pedal::Fluoroscopy => 1,
            Pedal::Acquisition => 2,
        };
        out.clear();
        out.extend(FRAME_MAGIC);
        out.extend([FRAME_VERSION, self.codec as u8, self.bits_stored, u8::from(h.is_xray_on) | pedal << 1]);
        out.extend(self.nu.to_le_bytes());
        out.extend(self.nv.to_le_bytes());
        let times = [h.stamps.device.0, h.stamps.host.0, h.stamps.wall.0, h.mid_exposure.0];
        for number in [h.sequence].into_iter().chain(times) {
            out.extend(number.to_le_bytes());
        }
        let angles = [h.gantry.primary_angle_rad, h.gantry.secondary_angle_rad];
        let exposure = [h.exposure.tube_voltage_kv, h.exposure.tube_current_ma, h.exposure.pulse_width_ms];
        for number in angles.into_iter().chain(exposure) {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.packed_bytes.to_le_bytes());
        out.extend(self.counts_hash);
        out.extend(crc32fast::hash(out).to_le_bytes());
        assert_eq!(out.len(), FRAME_HEADER_BYTES, "the frame record's header has one length");
        out.extend(packed);
        out.extend(crc32fast::hash(out).to_le_bytes());
    }

    /// Reads the front of a record, trusting it only when the header's own CRC-32 holds.
    pub(crate) fn read_header(bytes: &[u8]) -> Option<Self> {
        let front = bytes.get(..FRAME_HEADER_BYTES)?;
        if front[..4] != FRAME_MAGIC {
            return None;
        }
        let (covered, crc) = front.split_at(FRAME_HEADER_BYTES - 4);
        if crc32fast::hash(covered).to_le_bytes() != crc {
            return None;
        }
        let mut fields = Fields(&covered[4..]);
        if fields.u8()? != FRAME_VERSION {
            return None;
        }
        let codec = FrameCodec::from_id(fields.u8()?)?;
        let (bits_stored, flags) = (fields.u8()?, fields.u8()?);
        let (nu, nv) = (fields.u32()?, fields.u32()?);
        let header = read_frame_header(flags, &mut fields)?;
        let packed_bytes = fields.u32()?;
        let counts_hash = fields.take(16)?.try_into().ok()?;
        let fits = (1..=MAX_PIXELS as u64).contains(&(u64::from(nu) * u64::from(nv)));
        fits.then_some(Self { header, codec, bits_stored, nu, nv, packed_bytes, counts_hash })
    }

    /// Reads a whole record, trusting it only when both checksums hold and the length is right.
    pub(crate) fn read(record: &[u8]) -> Option<Self> {
        let frame = Self::read_header(record)?;
        let (covered, crc) = record.split_at_checked(record.len().checked_sub(FRAME_TRAILER_BYTES)?)?;
        let is_sound = record.len() == frame.record_bytes() && crc32fast::hash(covered).to_le_bytes() == crc;
        is_sound.then_some(frame)
    }

    /// The packed counts of a whole record.
    pub(crate) fn packed(record: &[u8]) -> &[u8] {
        &record[FRAME_HEADER_BYTES..record.len() - FRAME_TRAILER_BYTES]
    }
}

fn read_frame_header(flags: u8, fields: &mut Fields<'_>) -> Option<FrameHeader> {
    let pedal = match flags >> 1 {
        0 => Pedal::Released,
        1 => Pedal::Fluoroscopy,
        2 => Pedal::Acquisition,
        _ => return None,
    };
    Some(FrameHeader {
        sequence: fields.u64()?,
        stamps: ClockStamps {
            device: DeviceTime(fields.u64()?),
            host: HostTime(fields.u64()?),
            wall: WallTime(fields.u64()?),
        },
        mid_exposure: DeviceTime(fields.u64()?),
        is_xray_on: flags & 1 == 1,
        pedal,
        gantry: GantryPose { primary_angle_rad: fields.f64()?, secondary_angle_rad: fields.f64()? },
        exposure: Exposure {
            tube_voltage_kv: fields.f64()?,
            tube_current_ma: fields.f64()?,
            pulse_width_ms: fields.f64()?,
        },
    })
}

/// First half of BLAKE3 over the little-endian counts.
pub(crate) fn counts_hash(counts: &[u16], scratch: &mut Vec<u8>) -> [u8; 16] {
    scratch.clear();
    scratch.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
    let hash = blake3::hash(scratch);
    hash.as_bytes()[..16].try_into().expect("half of thirty-two bytes")
}

/// Everything that is not a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum TextRecord {
    /// The gantry at a frame's mid-exposure, for programs that plot; the frame's own record is what counts.
    Gantry {
        sequence: u64,
        host_ns: u64,
        primary_angle_deg: Option<f64>,
        secondary_angle_deg: Option<f64>,
    },
    /// The generator's settings of a frame, for programs that plot.
    Exposure {
        sequence: u64,
        host_ns: u64,
        is_xray_on: bool,
        tube_voltage_kv: Option<f64>,
        tube_current_ma: Option<f64>,
        pulse_width_ms: Option<f64>,
    },
    Event {
        name: String,
        text: String,
        host_ns: u64,
    },
    Gap {
        first_sequence: u64,
        count: u64,
        reason: String,
        host_ns: u64,
    },
    Outcome {
        outcome: String,
        reason: Option<String>,
        frames: u64,
        gaps: u64,
        events: u64,
        content_hash: String,
        host_ns: u64,
    },
}

/// Name of the event that says that no frame follows.
pub(crate) const FRAMES_END: &str = "frames_end";

/// Front of every JSON record; `kind` comes first because the tag is written first.
pub(crate) const TEXT_FRONT: &[u8] = b"{\"kind\":\"";
const CHECK_FRONT: &[u8] = b",\"crc32\":\"";
const CHECK_BYTES: usize = CHECK_FRONT.len() + 8 + 2;

impl TextRecord {
    /// The record as JSON whose last member is the CRC-32 of everything before it.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("plain fields always serialize");
        json.pop();
        let crc = crc32fast::hash(&json);
        json.extend(CHECK_FRONT);
        json.extend(format!("{crc:08x}\"}}").as_bytes());
        json
    }

    /// Whether a record's own CRC-32 holds.
    pub(crate) fn is_sound(json: &[u8]) -> bool {
        let Some((covered, check)) =
            json.len().checked_sub(CHECK_BYTES).and_then(|at| json.split_at_checked(at))
        else {
            return false;
        };
        covered.starts_with(TEXT_FRONT)
            && check == [CHECK_FRONT, format!("{:08x}\"}}", crc32fast::hash(covered)).as_bytes()].concat()
    }

    /// The record, when it is sound and of a kind known here.
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        if !Self::is_sound(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// A number for JSON, which has none for NaN and infinity.
pub(crate) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> (FrameRecord, Vec<u8>) {
        let header = FrameHeader {
            sequence: u64::MAX - 3,
            stamps: ClockStamps { device: DeviceTime(1), host: HostTime(2), wall: WallTime(3) },
            mid_exposure: DeviceTime(4),
            is_xray_on: true,
            pedal: Pedal::Acquisition,
            gantry: GantryPose { primary_angle_rad: -1.25, secondary_angle_rad: f64::MIN_POSITIVE },
            exposure: Exposure { tube_voltage_kv: 110.0, tube_current_ma: 0.1 + 0.2, pulse_width_ms: 8.0 },
        };
        let record = FrameRecord {
            header,
            codec: FrameCodec::Raw,
            bits_stored: 14,
            nu: 3,
            nv: 2,
            packed_bytes: 12,
            counts_hash: [7; 16],
        };
        let mut bytes = vec![9; 3];
        record.write(b"twelve bytes", &mut bytes);
        (record, bytes)
    }

    #[test]
    fn frame_record_reads_back_what_was_written() {
        let (record, bytes) = frame();
        assert_eq!(FrameRecord::read(&bytes), Some(record));
        assert_eq!(FrameRecord::packed(&bytes), b"twelve bytes");
    }

    #[test]
    fn frame_record_with_any_one_byte_changed_or_missing_is_refused() {
        let (_, bytes) = frame();
        for at in 0..bytes.len() {
            for change in [1, 0x80, 0xFF] {
                let mut bad = bytes.clone();
                bad[at] ^= change;
                assert_eq!(FrameRecord::read(&bad), None, "byte {at}");
            }
            assert_eq!(FrameRecord::read(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn text_record_with_any_one_byte_changed_or_missing_is_refused() {
        let record = TextRecord::Gap {
            first_sequence: 5,
            count: 2,
            reason: "lost \"in\" transit".into(),
            host_ns: 77,
        };
        let json = record.to_json();
        assert_eq!(TextRecord::read(&json), Some(record));
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["kind"], "gap");
        for at in 0..json.len() {
            for change in [1, 0x20, 0xFF] {
                let mut bad = json.clone();
                bad[at] ^= change;
                assert_eq!(TextRecord::read(&bad), None, "byte {at}");
            }
            assert_eq!(TextRecord::read(&json[..at]), None, "cut at {at}");
        }
    }
}
