//! Volumes larger than memory: written part by part, read back once, in place when complete.

use crate::atomic::unfinished_file;
use crate::error::InterchangeError;
use crate::format::VolumeFormat;
use crate::quantity::Content;
use crate::samples::write_f32;
use crate::{metaimage, nifti, nrrd};
use carm::{Quantity, VolumeGrid};
use ndarray::ArrayView3;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Bytes read back at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A volume file of 32-bit floats in the making.
pub struct VolumeWriter {
    path: PathBuf,
    file: NamedTempFile,
    samples_offset: u64,
    shape: [usize; 3],
}

impl VolumeWriter {
    /// Whether the name's format can be written in parts: `.mha`, `.nii` and `.nrrd` hold plain samples.
    pub fn can_write(path: &Path) -> bool {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        matches!(extension.as_deref(), Some("mha" | "nii" | "nrrd"))
    }

    /// Begins a file for a volume on `grid`.
    ///
    /// # Errors
    /// A format that cannot be written in parts, or what the file system refuses, such as too little space.
    pub fn create(path: &Path, grid: &VolumeGrid, quantity: Quantity) -> Result<Self, InterchangeError> {
        if !Self::can_write(path) {
            return Err(InterchangeError::NotRepresentable {
                path: path.into(),
                format: "a volume written in parts",
                expected: ".mha, .nii or .nrrd".into(),
                found: path.extension().unwrap_or_default().to_string_lossy().into_owned(),
            });
        }
        let content = Content::Values(quantity);
        let header = match VolumeFormat::required(path)? {
            VolumeFormat::Nifti => nifti::header(grid, content, path)?.to_vec(),
            VolumeFormat::Nrrd => nrrd::header(grid, content, None, false).into_bytes(),
            _ => metaimage::header(grid, content, None, "LOCAL", None).into_bytes(),
        };
        let mut file = unfinished_file(path)?;
        let samples_offset = header.len() as u64;
        let bytes = samples_offset + (grid.voxel_count() * size_of::<f32>()) as u64;
        file.write_all(&header)
            .and_then(|()| file.as_file().set_len(bytes))
            .map_err(InterchangeError::io(path, "write"))?;
        Ok(Self { path: path.into(), file, samples_offset, shape: grid.shape })
    }

    /// Writes the box of voxels `values[z, y, x]` whose first voxel is `first`, `[x, y, z]`.
    ///
    /// # Errors
    /// What the file system refuses.
    ///
    /// # Panics
    /// When the box leaves the grid: a bug of the caller.
    pub fn write_part(
        &mut self,
        first: [usize; 3],
        values: ArrayView3<'_, f32>,
    ) -> Result<(), InterchangeError> {
        let (depth, height, width) = values.dim();
        let [nx, ny, nz] = self.shape;
        let is_inside = first[0] + width <= nx && first[1] + height <= ny && first[2] + depth <= nz;
        assert!(is_inside, "part at {first:?} of {width}x{height}x{depth} voxels in {:?}", self.shape);
        let failed = InterchangeError::io(&self.path, "write");
        let mut write = || {
            let mut writer = BufWriter::with_capacity(CHUNK_BYTES, self.file.as_file_mut());
            for (z, slice) in values.outer_iter().enumerate() {
                for (y, row) in slice.outer_iter().enumerate() {
                    let voxel = ((first[2] + z) * ny + first[1] + y) * nx + first[0];
                    // Whole planes follow one another: only there is nowhere else to go.
                    if y == 0 || width < nx {
                        let at = self.samples_offset + (voxel * size_of::<f32>()) as u64;
                        writer.seek(SeekFrom::Start(at))?;
                    }
                    write_f32(&mut writer, row.to_slice().expect("rows of a volume are contiguous"))?;
                }
            }
            writer.flush()
        };
        write().map_err(failed)
    }

    /// Puts the file in its place, after `check` has seen all its samples in order, as they lie on the disk.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn finish(mut self, mut check: impl FnMut(&[u8])) -> Result<(), InterchangeError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = self.shape.iter().product::<usize>() * size_of::<f32>();
        let mut read_back = || {
            self.file.as_file().sync_all()?;
            self.file.seek(SeekFrom::Start(self.samples_offset))?;
            while left > 0 {
                let count = left.min(CHUNK_BYTES);
                self.file.read_exact(&mut chunk[..count])?;
                check(&chunk[..count]);
                left -= count;
            }
            Ok(())
        };
        read_back().map_err(InterchangeError::io(&self.path, "read back"))?;
        let put = self.file.persist(&self.path).map_err(|error| error.error);
        put.map_err(InterchangeError::io(&self.path, "put in place"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::oblique_volume;
    use crate::{WriteOptions, write_volume};
    use ndarray::s;
    use std::fs;

    #[test]
    fn parts_in_any_order_make_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let volume = oblique_volume();
        let (nz, ny, _) = volume.values.dim();
        for name in ["a.mha", "a.nii", "a.nrrd"] {
            let (whole, parts) = (folder.path().join(name), folder.path().join(format!("parts-{name}")));
            write_volume(&volume, &whole, &WriteOptions::default()).unwrap();
            let mut writer = VolumeWriter::create(&parts, &volume.grid, volume.quantity).unwrap();
            writer.write_part([1, 0, 0], volume.values.slice(s![.., .., 1..])).unwrap();
            writer.write_part([0, 1, 0], volume.values.slice(s![..nz - 1, 1..ny, ..])).unwrap();
            assert!(!parts.exists());
            writer.write_part([0, 0, 0], volume.values.slice(s![.., ..1, ..])).unwrap();
            writer.write_part([0, 0, nz - 1], volume.values.slice(s![nz - 1.., .., ..])).unwrap();
            let mut seen = Vec::new();
            writer.finish(|bytes| seen.extend_from_slice(bytes)).unwrap();
            assert_eq!(fs::read(&whole).unwrap(), fs::read(&parts).unwrap(), "{name}");
            assert!(fs::read(&parts).unwrap().ends_with(&seen));
        }
        let packed = VolumeWriter::create(&folder.path().join("a.nii.gz"), &volume.grid, volume.quantity);
        assert!(packed.err().unwrap().to_string().contains(".mha, .nii or .nrrd"));
    }
}
