//! Values that are more than a word: numbers with limits, sizes, places, directions.

use anatomy::Scribble;
use carm::VolumeGrid;
use nalgebra::{Matrix3, Point3};

/// Three numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Triple(pub [f64; 3]);

/// A point and a direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sextuple(pub [f64; 6]);

/// Three sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes(pub [usize; 3]);

/// Nine direction cosines, row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direction(pub [f64; 9]);

fn numbers<const N: usize>(text: &str) -> Result<[f64; N], String> {
    let parsed: Vec<f64> = text
        .split(',')
        .map(|part| part.trim().parse::<f64>().ok().filter(|value| value.is_finite()))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("expected {N} numbers, found {text}"))?;
    parsed.try_into().map_err(|_| format!("expected {N} numbers, found {text}"))
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    match numbers::<1>(text)? {
        [share] if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("expected a share from 0 to 1, found {text}")),
    }
}

pub(super) fn not_negative(text: &str) -> Result<f64, String> {
    match numbers::<1>(text)? {
        [number] if number >= 0.0 => Ok(number),
        _ => Err(format!("expected a number from 0 on, found {text}")),
    }
}

/// A time such as `60min`, `90` or `2h`, as minutes.
pub(super) fn minutes(text: &str) -> Result<f64, String> {
    let (number, unit) = match (text.strip_suffix("min"), text.strip_suffix('h')) {
        (Some(number), _) => (number, 1.0),
        (None, Some(number)) => (number, 60.0),
        (None, None) => (text, 1.0),
    };
    positive(number.trim()).map(|number| number * unit)
}

/// A closed surface has four triangles at least.
pub(super) fn faces(text: &str) -> Result<usize, String> {
    let faces = text.parse().ok().filter(|faces| *faces >= 4);
    faces.ok_or_else(|| format!("expected at least 4 triangles, found {text}"))
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    match numbers::<1>(text)? {
        [number] if number > 0.0 => Ok(number),
        _ => Err(format!("expected a number above 0, found {text}")),
    }
}

pub(super) fn triple(text: &str) -> Result<Triple, String> {
    numbers::<3>(text).map(Triple)
}

pub(super) fn place_and_direction(text: &str) -> Result<Sextuple, String> {
    let numbers = numbers::<6>(text)?;
    let length_squared: f64 = numbers[3..].iter().map(|part| part * part).sum();
    if length_squared <= 0.0 || !length_squared.is_finite() {
        return Err(format!("expected a direction with a length, found {text}"));
    }
    Ok(Sextuple(numbers))
}

pub(super) fn connector(text: &str) -> Result<Triple, String> {
    match numbers::<3>(text)? {
        [bore, outer, length] if bore > 0.0 && outer > bore && length > 0.0 => {
            Ok(Triple([bore, outer, length]))
        }
        _ => Err(format!("expected a bore, a greater outer diameter and a length in mm, found {text}")),
    }
}

pub(super) fn scribble(text: &str) -> Result<Scribble, String> {
    let refuse = || format!("expected in: or out: and points x,y,z with semicolons between, found {text}");
    let (is_inside, points) = match (text.strip_prefix("in:"), text.strip_prefix("out:")) {
        (Some(points), _) => (true, points),
        (None, Some(points)) => (false, points),
        (None, None) => return Err(refuse()),
    };
    let points: Result<Vec<_>, String> =
        points.split(';').map(|point| numbers::<3>(point).map(Point3::from)).collect();
    points.map(|points| Scribble { is_inside, points }).map_err(|_| refuse())
}

pub(super) fn direction(text: &str) -> Result<Direction, String> {
    let cosines = numbers::<9>(text)?;
    // A grid of one voxel tells whether the axes are ones that a volume can have.
    VolumeGrid::centred([1; 3], [1.0; 3], Matrix3::from_row_slice(&cosines), Point3::origin())
        .map_err(|error| error.to_string())?;
    Ok(Direction(cosines))
}

pub(super) fn spacing(text: &str) -> Result<Triple, String> {
    let values = match numbers::<1>(text) {
        Ok([one]) => [one; 3],
        Err(_) => numbers::<3>(text)?,
    };
    if values.iter().all(|value| *value > 0.0) {
        Ok(Triple(values))
    } else {
        Err(format!("expected sizes above 0 mm, found {text}"))
    }
}

pub(super) fn sizes(text: &str) -> Result<Sizes, String> {
    let refuse = || format!("expected N or X,Y,Z with each from 1 to 4096, found {text}");
    let parts: Vec<usize> =
        text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>().ok_or_else(refuse)?;
    let sizes = match parts[..] {
        [n] => [n; 3],
        [x, y, z] => [x, y, z],
        _ => return Err(refuse()),
    };
    if sizes.iter().all(|n| (1..=4096).contains(n)) { Ok(Sizes(sizes)) } else { Err(refuse()) }
}

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];
    units
        .into_iter()
        .find_map(|(unit, factor)| {
            let count: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            (count.is_finite() && count > 0.0).then_some((count * factor as f64) as u64)
        })
        .ok_or_else(|| format!("expected a size such as 4GiB or 512MiB, found {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spacing_take_one_number_or_three() {
        assert_eq!(sizes("256").unwrap(), Sizes([256; 3]));
        assert_eq!(sizes("3,4,5").unwrap(), Sizes([3, 4, 5]));
        assert!(sizes("0").is_err() && sizes("3,4").is_err() && sizes("99999").is_err());
        assert_eq!(spacing("0.5,1,2").unwrap(), Triple([0.5, 1.0, 2.0]));
        assert!(spacing("-1").is_err() && spacing("nan").is_err());
        assert_eq!(bytes("1.5GiB").unwrap(), 3 << 29);
        assert!(bytes("lots").is_err());
        assert!(direction("1,0,0,0,1,0,0,0,1").is_ok() && direction("1,0,0,0,1,0,0,0,2").is_err());
        assert!(share("0.01").is_ok() && share("1.5").is_err() && positive("0").is_err());
    }
}
