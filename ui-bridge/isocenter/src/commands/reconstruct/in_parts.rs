//! Volumes larger than the memory allowed: slab after slab from the same views, straight into the file.

use crate::console::Console;
use anyhow::{Result, ensure};
use carm::{Provenance, Quantity, VolumeGrid};
use interchange::VolumeWriter;
use ndarray::Array3;
use reconstruct::{MaskCounts, Slab, to_hu};
use session::{StageTimes, VolumeHasher};
use std::path::Path;

/// What is told of a volume that never was in memory as a whole.
pub(super) struct MadeInParts {
    pub(super) quantity: Quantity,
    pub(super) provenance: Provenance,
    pub(super) hash: String,
}

/// Fills every slab from `line_integrals` and writes it to `out`, which holds the volume on `grid`; in HU where
/// `mu_water` is given.
pub(super) fn run(
    slabs: Vec<Slab>,
    grid: &VolumeGrid,
    line_integrals: &Array3<f32>,
    mu_water: Option<f64>,
    out: &Path,
    console: &Console,
    stages: &mut StageTimes,
) -> Result<MadeInParts> {
    ensure!(
        VolumeWriter::can_write(out),
        "{}: the volume is larger than the memory allowed; expected .mha, .nii or .nrrd, which are written in parts",
        out.display()
    );
    let (count, views) = (slabs.len(), line_integrals.shape()[0]);
    let bar = console.progress((count * views) as u64, "reconstructing in parts");
    let quantity = match mu_water {
        Some(mu) => Quantity::Hu { mu_water_per_mm: Some(mu) },
        None => Quantity::MuPerMm,
    };
    let mut writer = VolumeWriter::create(out, grid, quantity)?;
    let (mut provenance, mut counts) = (Provenance::default(), MaskCounts::default());
    for Slab { first_voxel, plan } in slabs {
        let mut volume = super::fill(plan, line_integrals, &bar, stages)?;
        if let Some(mu) = mu_water {
            to_hu(&mut volume, mu);
        }
        debug_assert_eq!(volume.quantity, quantity);
        writer.write_part(first_voxel, volume.values.view())?;
        if let Some(bits) = &volume.mask {
            counts += MaskCounts::of(bits.view());
        }
        provenance = volume.provenance;
    }
    bar.finish_and_clear();
    counts.tell(&mut provenance);
    provenance.warnings.push(format!("made in {count} parts for want of memory; the mask was not kept"));
    let mut hasher = VolumeHasher::new(grid);
    writer.finish(|bytes| hasher.add(bytes))?;
    Ok(MadeInParts { quantity, provenance, hash: hasher.finish() })
}
