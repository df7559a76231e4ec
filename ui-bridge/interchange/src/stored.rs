//! A volume that still lies in a file: its header understood, its samples not yet read.
//!
//! Every format's reader ends here, so that sizes are checked against the file, and samples read, in one place.

use crate::error::InterchangeError;
use crate::samples::{Passed, SampleLayout, read_samples, visit_samples};
use carm::{Quantity, Volume, VolumeGrid};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use ndarray::Array3;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How the samples are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As they are, from the offset on.
    Plain,
    /// The whole file, header included, is one gzip stream; the offset counts unpacked bytes.
    GzipFile,
    /// A gzip stream begins at the offset.
    Gzip,
    /// A zlib stream begins at the offset.
    Zlib,
}

/// The header of a volume file, checked.
#[derive(Clone, Debug)]
pub(crate) struct StoredVolume {
    /// The file with the samples: the same, or the one that the header names.
    pub samples_path: PathBuf,
    /// Where the samples begin.
    pub offset: u64,
    pub packing: Packing,
    pub layout: SampleLayout,
    pub grid: VolumeGrid,
    pub quantity: Quantity,
    pub frame_of_reference_uid: Option<String>,
    /// What was assumed or ignored, in words.
    pub warnings: Vec<String>,
}

impl StoredVolume {
    /// `5 x 7 x 9 float32`.
    pub(crate) fn sizes(&self) -> String {
        let [nx, ny, nz] = self.grid.shape;
        format!("{nx} x {ny} x {nz} {}", self.layout.sample_type.name())
    }

    /// Opens the file at its first sample. For plain samples the file's length is checked first.
    fn open(&self) -> Result<Box<dyn Read>, InterchangeError> {
        let path = &self.samples_path;
        let mut file = File::open(path).map_err(InterchangeError::io(path, "open"))?;
        let length = file.metadata().map_err(InterchangeError::io(path, "read the length"))?.len();
        if self.packing == Packing::Plain {
            self.require_bytes(length.saturating_sub(self.offset))?;
        }
        let failed = |path: &Path| InterchangeError::io(path, "read");
        if self.packing == Packing::GzipFile {
            let mut reader = MultiGzDecoder::new(BufReader::with_capacity(1 << 18, file));
            let skipped =
                io::copy(&mut (&mut reader).take(self.offset), &mut io::sink()).map_err(failed(path))?;
            if skipped < self.offset {
                self.require_bytes(0)?;
            }
            return Ok(Box::new(reader));
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(failed(path))?;
        let reader = BufReader::with_capacity(1 << 18, file);
        Ok(match self.packing {
            Packing::Plain | Packing::GzipFile => Box::new(reader),
            Packing::Gzip => Box::new(MultiGzDecoder::new(reader)),
            Packing::Zlib => Box::new(ZlibDecoder::new(reader)),
        })
    }

    fn require_bytes(&self, found_bytes: u64) -> Result<(), InterchangeError> {
        match self.layout.bytes() {
            Some(expected) if found_bytes >= expected => Ok(()),
            expected => Err(InterchangeError::Size {
                path: self.samples_path.clone(),
                sizes: self.sizes(),
                expected_bytes: expected.unwrap_or(u64::MAX),
                found_bytes,
            }),
        }
    }

    /// One pass over the samples without keeping them.
    pub(crate) fn visit(&self, visit: impl FnMut(&[f32])) -> Result<Passed, InterchangeError> {
        let passed = visit_samples(&mut *self.open()?, &self.layout, visit)
            .map_err(InterchangeError::io(&self.samples_path, "read the samples"))?;
        self.require_bytes(passed.bytes)?;
        Ok(passed)
    }

    /// Samples as `[z, y, x]`, and the warnings so far.
    pub(crate) fn read_array(&self) -> Result<(Array3<f32>, Vec<String>), InterchangeError> {
        let (values, passed) = read_samples(&mut *self.open()?, &self.layout, self.packing == Packing::Plain)
            .map_err(InterchangeError::io(&self.samples_path, "read the samples"))?;
        self.require_bytes(passed.bytes)?;
        let mut warnings = self.warnings.clone();
        if passed.has_more {
            warnings.push("the file goes on after the last sample".into());
        }
        if self.layout.sample_type.exceeds_f32() {
            warnings.push(format!("{} samples were rounded to float32", self.layout.sample_type.name()));
        }
        let [nx, ny, nz] = self.grid.shape;
        let array =
            Array3::from_shape_vec([nz, ny, nx], values).expect("as many samples as the layout counts");
        Ok((array, warnings))
    }

    /// The volume, with what was assumed as provenance warnings.
    pub(crate) fn read(self) -> Result<Volume, InterchangeError> {
        let (values, warnings) = self.read_array()?;
        let mut volume = Volume::new(self.grid, values, self.quantity);
        volume.frame_of_reference_uid = self.frame_of_reference_uid;
        volume.provenance.warnings = warnings;
        Ok(volume)
    }
}
