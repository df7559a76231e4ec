//! Why a scan cannot be reconstructed.

use carm::GeometryError;

/// Why a scan cannot be reconstructed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconstructError {
    /// The geometry itself is unusable.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Too few views to fit an orbit to.
    #[error("scan: expected at least {needed} views, found {found}")]
    TooFewViews {
        /// Smallest usable number.
        needed: usize,
        /// Views given.
        found: usize,
    },
    /// The source positions do not lie on an arc.
    #[error("source positions: expected an arc, found points within {extent_mm:.3} mm of one line or place")]
    NoArc {
        /// Extent across the line, mm.
        extent_mm: f64,
    },
    /// The arc leaves rays unmeasured.
    #[error(
        "arc: expected at least {needed_deg:.1} degrees (180 plus twice the half fan of {half_fan_deg:.1}), found {found_deg:.1} in {views} views"
    )]
    ArcTooShort {
        /// 180 degrees plus the full fan angle.
        needed_deg: f64,
        /// Half of the fan angle.
        half_fan_deg: f64,
        /// Arc of the given views, half a step beyond both ends included.
        found_deg: f64,
        /// Views in it.
        views: usize,
    },
    /// Two sweeps that leave lines through the object unmeasured.
    #[error(
        "sweeps: expected every line to be measured by one of the two, found {percent:.1} % measured by neither"
    )]
    RaysUnmeasured {
        /// Share of the lines, percent.
        percent: f64,
    },
    /// Two sweeps that do not belong together.
    #[error("second sweep: expected {what} within {limit:.1} {unit} of the first sweep's, found {found:.1}")]
    SweepsApart {
        /// What is compared.
        what: &'static str,
        /// The largest difference accepted.
        limit: f64,
        /// Unit of both.
        unit: &'static str,
        /// The difference.
        found: f64,
    },
    /// Neighbouring views lie so far apart that an arc between them cannot be told from the way round.
    #[error(
        "arc: expected neighbouring views less than {limit_deg:.0} degrees apart, found {found_deg:.1} degrees after view {view}"
    )]
    ViewsTooFarApart {
        /// First of the two views.
        view: usize,
        /// Step between them.
        found_deg: f64,
        /// Largest step accepted.
        limit_deg: f64,
    },
    /// A view's samples do not fill its detector.
    #[error("view {view}: expected {expected} samples, found {found}")]
    ViewSize {
        /// Position in the order of pushing.
        view: usize,
        /// Pixels of the planned detector.
        expected: usize,
        /// Samples given.
        found: usize,
    },
    /// A pixel that is not a number would spread over the whole volume.
    #[error("view {view}: expected finite samples, found {found} at u {u}, v {v}")]
    NotFinite {
        /// Position in the order of pushing.
        view: usize,
        /// The sample.
        found: f32,
        /// Column.
        u: usize,
        /// Row.
        v: usize,
    },
    /// A view stands where the plan has no arc.
    #[error(
        "view {view}: expected a source within {limit_mm:.1} mm of the planned orbit, found {found_mm:.1} mm"
    )]
    OffOrbit {
        /// Position in the order of pushing.
        view: usize,
        /// Distance from the fitted circle.
        found_mm: f64,
        /// Largest distance accepted.
        limit_mm: f64,
    },
    /// A volume that is not of the grid it is given with.
    #[error("volume: expected {expected:?} voxels along x, y and z, found {found:?}")]
    VolumeShape {
        /// Sizes of the grid.
        expected: [usize; 3],
        /// Sizes of the array.
        found: [usize; 3],
    },
    /// Projections or weights that are not those of the scan.
    #[error("projections: expected {expected:?} views, rows and columns in standard layout, found {found:?}")]
    StackShape {
        /// Views of the geometry, rows and columns of its detector.
        expected: [usize; 3],
        /// Sizes of the array.
        found: [usize; 3],
    },
    /// Iterating led away from the data.
    #[error("iteration {iteration}: expected finite values, found that the iteration diverged")]
    Diverged {
        /// The pass that ended so.
        iteration: usize,
    },
    /// A voxel that is not a number would spread over every ray through it.
    #[error("volume: expected finite values, found {found} at voxel {voxel:?}")]
    VoxelNotFinite {
        /// The value.
        found: f32,
        /// Its x, y and z index.
        voxel: [usize; 3],
    },
    /// The sweep ended before the planned arc was covered; the weights were those of the whole plan.
    #[error("sweep: expected the planned {planned_deg:.1} degrees, found {covered_deg:.1} covered")]
    SweepCutShort {
        /// Planned arc.
        planned_deg: f64,
        /// Arc covered by the pushed views.
        covered_deg: f64,
    },
    /// The caller asked to stop.
    #[error("reconstruction cancelled")]
    Cancelled,
    /// An option out of its range.
    #[error("{option}: expected {expected}, found {found}")]
    BadOption {
        /// The option's name.
        option: &'static str,
        /// What it takes.
        expected: String,
        /// What was given.
        found: String,
    },
}
