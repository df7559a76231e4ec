//! Projection matrices as text: twelve numbers a line, the 3x4 matrix of one view row by row.

use crate::atomic::write_file;
use crate::error::InterchangeError;
use nalgebra::Matrix3x4;
use std::fmt::Write as _;
use std::path::Path;

/// Longest file that is read: 100 000 views take about 30 MiB.
const FILE_BYTES_MAX: u64 = 1 << 28;

/// Reads the matrices (world millimetres to pixel index). Empty lines and lines that begin with `#` are skipped.
///
/// # Errors
/// A line without exactly twelve numbers, by its number; a file without a matrix. Whether a matrix is one of a
/// camera is judged by [`carm::ScanGeometry`].
pub fn read_matrices(path: &Path) -> Result<Vec<Matrix3x4<f64>>, InterchangeError> {
    let length = std::fs::metadata(path).map_err(InterchangeError::io(path, "open"))?.len();
    if length > FILE_BYTES_MAX {
        let found = format!("{length} bytes");
        return Err(InterchangeError::content(path, "matrices", "at most 256 MiB of text", found));
    }
    let text = std::fs::read(path).map_err(InterchangeError::io(path, "read"))?;
    let mut matrices = Vec::new();
    for (index, line) in String::from_utf8_lossy(&text).lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words = line.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        let numbers: Option<Vec<f64>> = words.map(|word| word.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| numbers.len() == 12).ok_or_else(|| {
            let found: String = line.chars().take(60).collect();
            InterchangeError::content(path, format!("line {}", index + 1), "12 numbers", format!("{found:?}"))
        })?;
        matrices.push(Matrix3x4::from_row_slice(&numbers));
    }
    if matrices.is_empty() {
        let found = format!("none in {length} bytes");
        return Err(InterchangeError::content(path, "matrices", "at least one line of 12 numbers", found));
    }
    Ok(matrices)
}

/// Writes the matrices so that every bit comes back.
///
/// # Errors
/// What the file system refuses.
pub fn write_matrices(matrices: &[Matrix3x4<f64>], path: &Path) -> Result<(), InterchangeError> {
    let mut text = String::new();
    for matrix in matrices {
        let row_major: Vec<String> = matrix.transpose().iter().map(|value| format!("{value:e}")).collect();
        let _ = writeln!(text, "{}", row_major.join(" "));
    }
    write_file(path, |writer| writer.write_all(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.txt");
        let matrices = [Matrix3x4::from_fn(|r, c| (r * 4 + c) as f64 / 7.0), Matrix3x4::from_element(-1e-17)];
        write_matrices(&matrices, &path).unwrap();
        assert_eq!(read_matrices(&path).unwrap(), matrices);
    }

    #[test]
    fn matrices_refuse_a_short_line_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.txt");
        std::fs::write(&path, "# header\n1 2 3 4 5 6 7 8 9 10 11 12\n\n1 2 3\n").unwrap();
        let text = read_matrices(&path).unwrap_err().to_string();
        assert!(text.contains("line 4") && text.contains("12 numbers"), "{text}");
        std::fs::write(&path, "").unwrap();
        assert!(read_matrices(&path).unwrap_err().to_string().contains("none in 0 bytes"));
    }
}
