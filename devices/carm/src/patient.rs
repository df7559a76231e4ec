//! How the patient lies on the table, and how the table stands in the room: from world to LPS.
//!
//! Patient positions: DICOM PS3.3 C.7.3.1.1.2, defined term values such as `HFS`.

use nalgebra::{Isometry3, Matrix3, Point3, Rotation3, Translation3, UnitQuaternion, Vector3};
use std::fmt;
use std::str::FromStr;

/// Which end of the patient lies at the head end of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadFeet {
    /// Head first.
    HeadFirst,
    /// Feet first.
    FeetFirst,
}

/// DICOM patient position: head or feet first, and which side of the body is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PatientPosition {
    /// Head first supine.
    Hfs,
    /// Head first prone.
    Hfp,
    /// Head first decubitus right (right side down).
    Hfdr,
    /// Head first decubitus left (left side down).
    Hfdl,
    /// Feet first supine.
    Ffs,
    /// Feet first prone.
    Ffp,
    /// Feet first decubitus right.
    Ffdr,
    /// Feet first decubitus left.
    Ffdl,
}

impl PatientPosition {
    /// Every position, in the order of the DICOM table.
    pub const ALL: [Self; 8] =
        [Self::Hfs, Self::Hfp, Self::Hfdr, Self::Hfdl, Self::Ffs, Self::Ffp, Self::Ffdr, Self::Ffdl];

    /// The DICOM code string.
    pub fn code(self) -> &'static str {
        match self {
            Self::Hfs => "HFS",
            Self::Hfp => "HFP",
            Self::Hfdr => "HFDR",
            Self::Hfdl => "HFDL",
            Self::Ffs => "FFS",
            Self::Ffp => "FFP",
            Self::Ffdr => "FFDR",
            Self::Ffdl => "FFDL",
        }
    }

    /// Head or feet first.
    pub fn head_feet(self) -> HeadFeet {
        match self {
            Self::Hfs | Self::Hfp | Self::Hfdr | Self::Hfdl => HeadFeet::HeadFirst,
            Self::Ffs | Self::Ffp | Self::Ffdr | Self::Ffdl => HeadFeet::FeetFirst,
        }
    }

    /// Rotation part of `lps_from_world`.
    pub fn lps_from_world_rotation(self) -> Rotation3<f64> {
        let down = Vector3::y();
        let superior = match self.head_feet() {
            HeadFeet::HeadFirst => Vector3::z(),
            HeadFeet::FeetFirst => -Vector3::z(),
        };
        // One of left and posterior is given by the side that is down; the other follows from L x P = S.
        let (left, posterior) = match self {
            Self::Hfs | Self::Ffs => (down.cross(&superior), down),
            Self::Hfp | Self::Ffp => ((-down).cross(&superior), -down),
            Self::Hfdr | Self::Ffdr => (-down, superior.cross(&-down)),
            Self::Hfdl | Self::Ffdl => (down, superior.cross(&down)),
        };
        Rotation3::from_matrix_unchecked(Matrix3::from_rows(&[
            left.transpose(),
            posterior.transpose(),
            superior.transpose(),
        ]))
    }
}

impl fmt::Display for PatientPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A patient position that DICOM does not define, or that a C-arm table cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("patient position: expected one of HFS, HFP, HFDR, HFDL, FFS, FFP, FFDR, FFDL, found {found:?}")]
pub struct UnknownPatientPosition {
    /// The text given.
    pub found: String,
}

impl FromStr for PatientPosition {
    type Err = UnknownPatientPosition;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code = text.trim().to_ascii_uppercase();
        Self::ALL
            .into_iter()
            .find(|position| position.code() == code)
            .ok_or(UnknownPatientPosition { found: text.into() })
    }
}

/// Table displacement in the world from its reference pose, mm. The patient moves with it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TablePose {
    /// Along world x.
    pub lateral_mm: f64,
    /// Along world y: positive is down.
    pub vertical_mm: f64,
    /// Along world z: positive towards the head end.
    pub longitudinal_mm: f64,
}

/// Patient and table together: everything between the world and LPS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatientSetup {
    /// How the patient lies.
    pub position: PatientPosition,
    /// Where the table stands.
    pub table: TablePose,
    /// LPS coordinates of the isocenter with the table at its reference pose, mm.
    pub isocenter_lps: Point3<f64>,
}

impl Default for PatientSetup {
    /// Head first supine, table at zero, the LPS origin at the isocenter: the world is LPS.
    fn default() -> Self {
        Self { position: PatientPosition::Hfs, table: TablePose::default(), isocenter_lps: Point3::origin() }
    }
}

impl PatientSetup {
    /// World (room, origin at the isocenter) to patient.
    pub fn lps_from_world(&self) -> Isometry3<f64> {
        let rotation = UnitQuaternion::from_rotation_matrix(&self.position.lps_from_world_rotation());
        let table = Vector3::new(self.table.lateral_mm, self.table.vertical_mm, self.table.longitudinal_mm);
        let translation = self.isocenter_lps.coords - rotation * table;
        Isometry3::from_parts(Translation3::from(translation), rotation)
    }

    /// Patient to world.
    pub fn world_from_lps(&self) -> Isometry3<f64> {
        self.lps_from_world().inverse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body side that must be down (+y) and the end that must point to the head end (+z), by hand.
    #[test]
    fn patient_position_puts_the_named_side_down() {
        let left = Vector3::x();
        let posterior = Vector3::y();
        let superior = Vector3::z();
        let expected = [
            (PatientPosition::Hfs, posterior, superior),
            (PatientPosition::Hfp, -posterior, superior),
            (PatientPosition::Hfdr, -left, superior),
            (PatientPosition::Hfdl, left, superior),
            (PatientPosition::Ffs, posterior, -superior),
            (PatientPosition::Ffp, -posterior, -superior),
            (PatientPosition::Ffdr, -left, -superior),
            (PatientPosition::Ffdl, left, -superior),
        ];
        for (position, down_lps, head_end_lps) in expected {
            let rotation = position.lps_from_world_rotation();
            assert!((rotation * Vector3::y() - down_lps).norm() < 1e-12, "{position}");
            assert!((rotation * Vector3::z() - head_end_lps).norm() < 1e-12, "{position}");
            assert!((rotation.matrix().determinant() - 1.0).abs() < 1e-12, "{position}");
        }
    }

    #[test]
    fn patient_setup_default_makes_world_and_lps_one() {
        assert_eq!(PatientSetup::default().lps_from_world().to_homogeneous(), nalgebra::Matrix4::identity());
    }

    #[test]
    fn patient_setup_table_carries_the_patient_along() {
        let at_rest = PatientSetup {
            position: PatientPosition::Ffp,
            isocenter_lps: Point3::new(10.0, 20.0, 30.0),
            ..PatientSetup::default()
        };
        let moved = PatientSetup {
            table: TablePose { lateral_mm: 4.0, vertical_mm: -6.0, longitudinal_mm: 50.0 },
            ..at_rest
        };
        let tumour = Point3::new(-3.0, 8.0, 70.0);
        let step = moved.world_from_lps() * tumour - at_rest.world_from_lps() * tumour;
        assert!((step - Vector3::new(4.0, -6.0, 50.0)).norm() < 1e-12);
    }

    #[test]
    fn patient_position_reads_its_own_code_and_refuses_others() {
        for position in PatientPosition::ALL {
            assert_eq!(position.code().parse::<PatientPosition>().unwrap(), position);
        }
        assert!("SITTING".parse::<PatientPosition>().is_err());
    }
}
