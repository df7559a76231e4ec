//! What can be wrong with a geometry.

/// A geometry that cannot describe a C-arm.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// A number that must be finite is not.
    #[error("{what}: expected finite numbers, found {found}")]
    NotFinite {
        /// What was being built, with the view when there is one.
        what: String,
        /// The offending number as text.
        found: String,
    },
    /// The left 3x3 block of a projection matrix cannot be inverted, so it has no source position.
    #[error("{what}: expected an invertible left 3x3 block, found determinant {determinant:e}")]
    SingularMatrix {
        /// What was being built, with the view when there is one.
        what: String,
        /// Determinant after normalisation.
        determinant: f64,
    },
    /// The reference point lies in the plane of the source, so "in front" has no meaning.
    #[error(
        "{what}: expected the reference point in front of or behind the source, found depth {depth_mm} mm"
    )]
    ReferenceInSourcePlane {
        /// What was being built, with the view when there is one.
        what: String,
        /// Depth of the reference point in millimetres.
        depth_mm: f64,
    },
    /// One set mixes right-handed and left-handed detectors.
    #[error(
        "projection matrices: expected one sign of det(M) throughout, found {expected} in view 0 and {found} in view {view}"
    )]
    MixedHandedness {
        /// First view whose handedness differs from view 0.
        view: usize,
        /// Sign of view 0 as text.
        expected: &'static str,
        /// Sign of `view` as text.
        found: &'static str,
    },
    /// A size, pitch or distance that must be positive is not.
    #[error("{what}: expected a positive number, found {found}")]
    NotPositive {
        /// The quantity, with its unit.
        what: String,
        /// What was given.
        found: f64,
    },
    /// Detector or volume axes that are not unit vectors at right angles.
    #[error("{what}: expected orthonormal axes, found a deviation of {deviation:e}")]
    NotOrthonormal {
        /// What was being built.
        what: String,
        /// Largest absolute entry of `DᵀD - I`.
        deviation: f64,
    },
    /// Columns and rows that are not at right angles, where the form asked for has no place for it.
    #[error("{what}: expected columns and rows at right angles, found a cosine of {cosine:e} between them")]
    SkewedDetector {
        /// What was being built.
        what: String,
        /// Cosine of the angle between columns and rows.
        cosine: f64,
    },
    /// Two focal lengths, where the form asked for has one.
    #[error(
        "{what}: expected one source-to-detector distance, found {focal_u_mm} mm by columns and {focal_v_mm} mm by rows"
    )]
    UnequalFocalLengths {
        /// What was being built.
        what: String,
        /// Focal length in columns times the pitch of the columns, mm.
        focal_u_mm: f64,
        /// Focal length in rows times the pitch of the rows, mm.
        focal_v_mm: f64,
    },
    /// A set without views.
    #[error("expected at least one view, found none")]
    NoViews,
}

pub(crate) fn require_positive(what: &str, value: f64) -> Result<(), GeometryError> {
    if !value.is_finite() {
        return Err(GeometryError::NotFinite { what: what.into(), found: value.to_string() });
    }
    if value <= 0.0 {
        return Err(GeometryError::NotPositive { what: what.into(), found: value });
    }
    Ok(())
}
