//! Time and material by PrusaSlicer, where it is there.

use super::advice::Printer;
use anyhow::{Context, Result, ensure};
use carm::TriangleMesh;
use interchange::{MeshFile, write_mesh};
use nalgebra::{Rotation3, Unit, Vector3};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// It is ended when it takes longer.
const WITHIN: Duration = Duration::from_secs(300);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Its sums stand within so many bytes of the end of what it writes, before its settings.
const TAIL: u64 = 1 << 16;

/// What a slicer says of a print.
#[derive(Clone, Debug, PartialEq)]
pub struct Sliced {
    /// Its name and version.
    pub program: String,
    pub minutes: f64,
    pub material_mm3: f64,
}

/// Slices a mesh for a printer that lays lines; none where the program is not there.
///
/// # Errors
/// When it is there and fails: what it said last.
pub fn sliced(
    program: &str,
    mesh: &TriangleMesh,
    up: &Unit<Vector3<f64>>,
    printer: &Printer,
    layer_mm: f64,
    infill: f64,
) -> Result<Option<Sliced>> {
    let Ok(help) = Command::new(program).arg("--help").stdin(Stdio::null()).output() else { return Ok(None) };
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let name = help.lines().find_map(|line| line.split_whitespace().find(|word| word.contains("Slicer")));
    let folder = tempfile::tempdir().context("a folder for the slicer")?;
    let (stl, gcode) = (folder.path().join("model.stl"), folder.path().join("model.gcode"));
    write_mesh(&stl, &MeshFile::of("model", standing(mesh, up), None))?;
    run(Command::new(program)
        .args(["--export-gcode", "--loglevel", "1"])
        .arg("--output")
        .arg(&gcode)
        .args(printer.slicer_options(layer_mm, infill))
        .arg(&stl))
    .with_context(|| program.to_string())?;
    let tail = tail_of(&gcode)?;
    let seconds =
        value_of(&tail, "; estimated printing time (normal mode) =").and_then(|text| seconds(&text));
    let cm3 = value_of(&tail, "; filament used [cm3] =").and_then(|text| text.parse::<f64>().ok());
    let (Some(seconds), Some(cm3)) = (seconds, cm3) else {
        anyhow::bail!("{program}: expected its time and material at the end of what it wrote, found none");
    };
    Ok(Some(Sliced {
        program: name.unwrap_or(program).into(),
        minutes: seconds / 60.0,
        material_mm3: cm3 * 1e3,
    }))
}

/// The mesh turned so that `up` is up.
fn standing(mesh: &TriangleMesh, up: &Unit<Vector3<f64>>) -> TriangleMesh {
    let turn = Rotation3::rotation_between(up, &Vector3::z())
        .unwrap_or_else(|| Rotation3::from_axis_angle(&Vector3::x_axis(), std::f64::consts::PI));
    let turned = |p: &[f32; 3]| {
        let p = turn * Vector3::from(p.map(f64::from));
        [p.x as f32, p.y as f32, p.z as f32]
    };
    TriangleMesh {
        vertices_mm: mesh.vertices_mm.iter().map(turned).collect(),
        triangles: mesh.triangles.clone(),
    }
}

fn run(command: &mut Command) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > WITHIN || crate::cancel::is_requested() {
            child.kill()?;
            child.wait()?;
            crate::cancel::check()?;
            anyhow::bail!("expected an end within {} s, found none", WITHIN.as_secs());
        }
        std::thread::sleep(LOOK);
    };
    let mut said = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut said)?;
    }
    ensure!(status.success(), "expected success, found: {}", said.lines().last().unwrap_or("no word"));
    Ok(())
}

fn tail_of(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| "what the slicer wrote".to_string())?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn value_of(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().into())
}

/// Seconds of `1d 2h 3m 4s`.
fn seconds(text: &str) -> Option<f64> {
    text.split_whitespace().try_fold(0.0, |sum, part| {
        let unit = [('d', 86_400.0), ('h', 3_600.0), ('m', 60.0), ('s', 1.0)];
        let (_, seconds) = unit.into_iter().find(|(letter, _)| part.ends_with(*letter))?;
        Some(sum + part[..part.len() - 1].parse::<f64>().ok()? * seconds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slicer_times_are_read_and_what_is_no_time_is_not() {
        assert_eq!(seconds("1d 2h 3m 4s"), Some(93_784.0));
        assert_eq!(seconds("52m 10s"), Some(3_130.0));
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn slicer_that_is_not_there_is_none_and_one_that_fails_says_so() {
        let mesh = TriangleMesh {
            vertices_mm: vec![[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 7.5, 0.0], [0.0, 0.0, 9.0]],
            triangles: vec![[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]],
        };
        let printer = Printer::chosen("large").unwrap();
        let by = |program: &str| sliced(program, &mesh, &Vector3::y_axis(), &printer, 0.2, 0.5);
        assert_eq!(by("no-such-slicer").unwrap(), None);
        assert!(format!("{:#}", by("false").unwrap_err()).contains("expected success"));
        // The highest corner along the axis comes to the top, and nothing is mirrored.
        let turned = standing(&mesh, &Vector3::y_axis());
        let top = turned.vertices_mm.iter().map(|p| p[2]).fold(f32::MIN, f32::max);
        assert_eq!((top, turned.vertices_mm[2][2]), (7.5, 7.5));
        assert!(printing::check(&turned).is_sound());
    }
}
