//! The hashes by which two volumes, or two images, are the same.

use carm::{Volume, VolumeGrid};

/// BLAKE3 over sizes, spacing, origin, direction and values, little-endian, as hexadecimal text.
pub fn volume_hash(volume: &Volume) -> String {
    let mut hasher = VolumeHasher::new(&volume.grid);
    let mut bytes = Vec::with_capacity(1 << 16);
    for chunk in volume.values.as_slice().expect("volumes are in standard layout").chunks(1 << 14) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
        hasher.add(&bytes);
    }
    hasher.finish()
}

/// BLAKE3 over the counts of an image, little-endian, as hexadecimal text.
pub fn image_hash(counts: &[u16]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::with_capacity(1 << 14);
    for chunk in counts.chunks(1 << 13) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|count| count.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}

/// The same hash for a volume that passes by in pieces.
pub struct VolumeHasher(blake3::Hasher);

impl VolumeHasher {
    /// Begins with the grid.
    pub fn new(grid: &VolumeGrid) -> Self {
        let mut hasher = blake3::Hasher::new();
        for size in grid.shape {
            hasher.update(&(size as u64).to_le_bytes());
        }
        for number in grid.spacing_mm.iter().chain(grid.origin.iter()).chain(grid.direction.iter()) {
            hasher.update(&number.to_le_bytes());
        }
        Self(hasher)
    }

    /// The next values, `[z, y, x]` with x fastest, as little-endian 32-bit floats.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Hexadecimal.
    pub fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}
