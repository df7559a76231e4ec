//! Grey pictures as PNG, windowed for people.

use anyhow::Result;
use carm::Volume;
use std::io::Write;

/// A grey picture, row by row from the top.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    grey: Vec<u8>,
}

/// Grey from black at `low` to white at `high`.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Black.
    pub low: f32,
    /// White.
    pub high: f32,
}

/// A plane through the middle of a volume whose axes are those of LPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Seen from the feet, the patient's front at the top.
    Axial,
    /// Seen from the front, the head at the top.
    Coronal,
    /// Seen from the left, the head at the top.
    Sagittal,
}

impl Plane {
    /// In the order they are shown.
    pub const ALL: [Self; 3] = [Self::Axial, Self::Coronal, Self::Sagittal];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Axial => "axial",
            Self::Coronal => "coronal",
            Self::Sagittal => "sagittal",
        }
    }
}

impl Picture {
    /// Windows samples given row by row.
    pub fn windowed(samples: impl IntoIterator<Item = f32>, width: usize, window: Window) -> Self {
        let scale = 255.0 / (window.high - window.low);
        let grey: Vec<u8> =
            samples.into_iter().map(|value| ((value - window.low) * scale).clamp(0.0, 255.0) as u8).collect();
        Self { width, height: grey.len() / width, grey }
    }

    /// The middle slice of a volume in one plane; the patient's left is on the right of axial and coronal pictures.
    pub fn slice(volume: &Volume, plane: Plane, window: Window) -> Self {
        let values = &volume.values;
        let (nz, ny, nx) = values.dim();
        let head_first = (0..nz).rev();
        match plane {
            Plane::Axial => {
                let samples = (0..ny).flat_map(|y| (0..nx).map(move |x| values[[nz / 2, y, x]]));
                Self::windowed(samples, nx, window)
            }
            Plane::Coronal => {
                let samples = head_first.flat_map(|z| (0..nx).map(move |x| values[[z, ny / 2, x]]));
                Self::windowed(samples, nx, window)
            }
            Plane::Sagittal => {
                let samples = head_first.flat_map(|z| (0..ny).map(move |y| values[[z, y, nx / 2]]));
                Self::windowed(samples, ny, window)
            }
        }
    }

    /// The picture as a PNG file's bytes.
    pub fn png(&self) -> Result<Vec<u8>> {
        png_of([self.width, self.height], png::ColorType::Grayscale, &self.grey)
    }

    /// The picture as a `data:` address for a self-contained page.
    pub fn data_url(&self) -> Result<String> {
        Ok(format!("data:image/png;base64,{}", base64(&self.png()?)))
    }
}

/// A picture of red, green and blue, row by row from the top, as a `data:` address.
pub fn rgb_data_url(width: usize, height: usize, samples: &[u8]) -> Result<String> {
    let bytes = png_of([width, height], png::ColorType::Rgb, samples)?;
    Ok(format!("data:image/png;base64,{}", base64(&bytes)))
}

fn png_of([width, height]: [usize; 2], colour: png::ColorType, samples: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(samples)?;
    writer.finish()?;
    Ok(bytes)
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word =
            three.iter().enumerate().fold(0_u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        for digit in 0..4 {
            let value = DIGITS[(word >> (18 - 6 * digit)) as usize & 63];
            // One digit more than bytes carries data; the rest is padding.
            let _ = text.write_all(&[if digit <= three.len() { value } else { b'=' }]);
        }
    }
    String::from_utf8(text).expect("base64 is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_gives_the_vectors_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, expected) in vectors {
            assert_eq!(base64(plain.as_bytes()), expected);
        }
    }

    #[test]
    fn coronal_slice_has_the_head_at_the_top() {
        let grid = carm::VolumeGrid::centred(
            [2, 3, 4],
            [1.0; 3],
            nalgebra::Matrix3::identity(),
            nalgebra::Point3::origin(),
        )
        .unwrap();
        let values = ndarray::Array3::from_shape_fn((4, 3, 2), |(z, _, x)| (10 * z + x) as f32);
        let volume = Volume::new(grid, values, carm::Quantity::Unknown);
        let picture = Picture::slice(&volume, Plane::Coronal, Window { low: 0.0, high: 255.0 });
        assert_eq!((picture.width, picture.height), (2, 4));
        assert_eq!(picture.grey[..2], [30, 31]);
    }
}
