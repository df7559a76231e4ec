//! Files that appear whole or not at all: written beside their place under another name, then renamed.

use crate::error::InterchangeError;
use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The folder of a file that is to be written; `.` for a bare name.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// A file beside its place, which it takes when it is persisted.
pub(crate) fn unfinished_file(path: &Path) -> Result<NamedTempFile, InterchangeError> {
    tempfile::Builder::new()
        .prefix(".isocenter-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder_of(path))
        .map_err(InterchangeError::io(path, "create the file"))
}

/// Writes a file through `content` and puts it in its place when it is complete and on the disk.
pub(crate) fn write_file(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), InterchangeError> {
    let mut writer = BufWriter::with_capacity(1 << 20, unfinished_file(path)?);
    content(&mut writer).map_err(InterchangeError::io(path, "write"))?;
    let temporary = writer
        .into_inner()
        .map_err(|error| error.into_error())
        .map_err(InterchangeError::io(path, "write"))?;
    temporary.as_file().sync_all().map_err(InterchangeError::io(path, "write"))?;
    temporary
        .persist(path)
        .map_err(|error| error.error)
        .map_err(InterchangeError::io(path, "put in place"))?;
    Ok(())
}

/// Fills a folder through `content` and puts it in its place when it is complete. An empty folder at `path`
/// is replaced; anything else there is an error, so that no foreign file is ever mixed with ours or lost.
pub(crate) fn write_folder(
    path: &Path,
    content: impl FnOnce(&Path) -> Result<(), InterchangeError>,
) -> Result<(), InterchangeError> {
    if let Ok(mut entries) = fs::read_dir(path)
        && entries.next().is_some()
    {
        let expected = "no folder of this name, or an empty one";
        return Err(InterchangeError::content(path, "output folder", expected, "a folder with files in it"));
    }
    let temporary = tempfile::Builder::new()
        .prefix(".isocenter-")
        .permissions(fs::Permissions::from_mode(0o777))
        .tempdir_in(folder_of(path))
        .map_err(InterchangeError::io(path, "create the folder"))?;
    content(temporary.path())?;
    fs::rename(temporary.path(), path).map_err(InterchangeError::io(path, "put in place"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atomic_file_leaves_the_old_one_when_writing_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_file(&path, |writer| writer.write_all(b"old")).unwrap();
        let failed = write_file(&path, |writer| {
            writer.write_all(b"half")?;
            Err(std::io::Error::other("cancelled"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn atomic_folder_appears_whole_and_never_swallows_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("series");
        write_folder(&path, |inside| {
            fs::write(inside.join("1"), b"x").map_err(InterchangeError::io(inside, ""))
        })
        .unwrap();
        assert!(path.join("1").is_file());
        let text = write_folder(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(text.contains("empty one"), "{text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
