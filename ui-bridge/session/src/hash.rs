//! The hash by which two volumes are the same.

use carm::Volume;

/// BLAKE3 over sizes, spacing, origin, direction and values, little-endian, as hexadecimal text.
pub fn volume_hash(volume: &Volume) -> String {
    let mut hasher = blake3::Hasher::new();
    let grid = &volume.grid;
    for size in grid.shape {
        hasher.update(&(size as u64).to_le_bytes());
    }
    for number in grid.spacing_mm.iter().chain(grid.origin.iter()).chain(grid.direction.iter()) {
        hasher.update(&number.to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(1 << 16);
    for chunk in volume.values.as_slice().expect("volumes are in standard layout").chunks(1 << 14) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}
