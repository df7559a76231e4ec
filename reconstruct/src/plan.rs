//! Everything that is decided before the first view: orbit, weights, virtual detector, filter, layout.

use crate::backproject::{Backend, ColumnLayout, PADDING};
use crate::error::ReconstructError;
use crate::known_body::{KnownBody, Projected};
use crate::orbit::Orbit;
use crate::ramp::{Apodisation, RampFilter};
use crate::redundancy::{Coverage, FanRange, RayMap, Redundancy};
use crate::signal::WaterPrecorrection;
use crate::truncation::{MAX_EXTENSION, Sides};
use crate::virtual_detector::{VirtualGrid, VirtualView};
use carm::{ProjectionMatrix, ScanGeometry, VolumeGrid};
use nalgebra::{Unit, Vector3};
use std::sync::Arc;

/// Volume columns tilted by more than this against the rotation axis are back-projected voxel by voxel.
///
/// Up to here rows are filtered along the source's motion without its part along the columns.
const PARALLEL_TILT_RAD: f64 = 1.0 / 57.295_779_513_082_32;
/// Two sweeps whose axes and circles differ by more are not of one scan.
const TWO_AXES_DEG: f64 = 3.0;
const TWO_CENTRES_MM: f64 = 25.0;
/// Views gathered before they are back-projected together.
const DEFAULT_BLOCK_VIEWS: usize = 8;

/// The accumulator, the ordered volume and its mask.
const BYTES_PER_VOXEL: u64 = 9;

/// What the caller may choose.
#[derive(Clone, Debug, PartialEq)]
pub struct FdkOptions {
    /// Roll-off of the ramp.
    pub apodisation: Apodisation,
    /// Continue truncated rows with water of this attenuation, 1/mm.
    pub truncation_water_per_mm: Option<f64>,
    /// Where this body knows how truncated rows go on, continue them with it instead; needs water for all others.
    pub known_body: Option<Arc<KnownBody>>,
    /// Water precorrection of measured counts.
    pub water_precorrection: Vec<f64>,
    /// Who back-projects.
    pub backend: Backend,
    /// Views per back-projection call; the result does not depend on it.
    pub block_views: usize,
    /// Neighbouring detector rows that become one before anything else: counts are averaged, as a binned panel
    /// would. Where voxels span two rows or more this costs little resolution along the columns and saves half
    /// of the work.
    pub rows_averaged: usize,
    /// Accept arcs that leave rays unmeasured.
    pub limited_angle: bool,
    /// Weights of a sweep that need not reach its planned end: see [`Redundancy::confidence`].
    pub confidence_weights: bool,
}

impl Default for FdkOptions {
    fn default() -> Self {
        Self {
            apodisation: Apodisation::None,
            truncation_water_per_mm: None,
            known_body: None,
            water_precorrection: vec![1.0],
            backend: Backend::Cpu,
            block_views: DEFAULT_BLOCK_VIEWS,
            rows_averaged: 1,
            limited_angle: false,
            confidence_weights: false,
        }
    }
}

/// A reconstruction decided upon: share it, and feed views to [`crate::Fdk`].
#[derive(Clone)]
pub struct FdkPlan {
    /// As the views come.
    pub(crate) given_scan: ScanGeometry,
    /// After rows have been averaged: what everything below is planned for.
    pub(crate) scan: ScanGeometry,
    pub(crate) options: FdkOptions,
    pub(crate) orbit: Orbit,
    pub(crate) layout: ColumnLayout,
    pub(crate) has_parallel_columns: bool,
    pub(crate) column: Vector3<f64>,
    pub(crate) virtual_grid: VirtualGrid,
    pub(crate) fan: FanRange,
    pub(crate) redundancy: Redundancy,
    pub(crate) margin: usize,
    pub(crate) sides: Sides,
    pub(crate) known_body: Option<Arc<Projected>>,
    pub(crate) ramp: RampFilter,
    pub(crate) precorrection: WaterPrecorrection,
}

/// A part of a grid, to be filled on its own.
pub struct Slab {
    /// Index of its first voxel in the whole grid, `[x, y, z]`.
    pub first_voxel: [usize; 3],
    /// The plan for it.
    pub plan: Arc<FdkPlan>,
}

impl FdkPlan {
    /// Plans for a sweep through `scan` (planned or measured) onto `grid`, both in the same space.
    ///
    /// # Errors
    /// A geometry without an arc, an arc too short, or an option out of range.
    pub fn new(scan: ScanGeometry, grid: VolumeGrid, options: FdkOptions) -> Result<Self, ReconstructError> {
        let sweep = Sweep::new(scan, grid, &options)?;
        let (arc, step) = (sweep.orbit.arc_rad(), sweep.orbit.median_step_rad());
        let views = sweep.scan.views().len();
        let planned = Redundancy::for_sweep(arc, step, sweep.fan, views, options.limited_angle)?;
        // The arc is checked all the same; only the weights differ.
        let redundancy =
            if options.confidence_weights { Redundancy::confidence(arc, sweep.fan) } else { planned };
        Self::of_sweep(sweep, options, redundancy)
    }

    /// Plans for two sweeps round the same axis whose volumes add up to one: detectors that look past the axis on
    /// different sides see together what neither sees. The sweeps may go the same way round, or there and back.
    ///
    /// # Errors
    /// As [`FdkPlan::new`]; sweeps whose circles differ, or that leave lines unmeasured.
    pub fn for_two_sweeps(
        scans: [ScanGeometry; 2],
        grid: VolumeGrid,
        options: &FdkOptions,
    ) -> Result<[Self; 2], ReconstructError> {
        let [first, second] = scans;
        let sweeps = [Sweep::new(first, grid, options)?, Sweep::new(second, grid, options)?];
        let coverage = sweeps.each_ref().map(|sweep| Coverage::new(sweep.orbit.arc_rad(), sweep.fan));
        let rule = |own: usize, other: usize| {
            let map = sweeps[other].rays_from(&sweeps[own])?;
            Redundancy::two_sweeps(coverage[own], coverage[other], map, options.limited_angle)
        };
        let (first_rule, second_rule) = (rule(0, 1)?, rule(1, 0)?);
        let [first, second] = sweeps;
        Ok([
            Self::of_sweep(first, options.clone(), first_rule)?,
            Self::of_sweep(second, options.clone(), second_rule)?,
        ])
    }

    fn of_sweep(sweep: Sweep, options: FdkOptions, redundancy: Redundancy) -> Result<Self, ReconstructError> {
        let Sweep { given_scan, scan, orbit, layout, has_parallel_columns, column, virtual_grid, fan } =
            sweep;
        let margin = match options.truncation_water_per_mm {
            Some(_) => (virtual_grid.nu as f64 * MAX_EXTENSION).ceil() as usize,
            None => 0,
        };
        let ramp = RampFilter::new(virtual_grid.nu + 2 * margin, virtual_grid.nu, options.apodisation);
        let sides = continued_sides(&scan, &orbit, virtual_grid, &column, redundancy);
        let precorrection = WaterPrecorrection::new(&options.water_precorrection);
        let known_body = match &options.known_body {
            Some(body) => Some(Arc::new(Projected::new(body, &column, options.backend)?)),
            None => None,
        };
        Ok(Self {
            given_scan,
            scan,
            options,
            orbit,
            layout,
            has_parallel_columns,
            column,
            virtual_grid,
            fan,
            redundancy,
            margin,
            sides,
            known_body,
            ramp,
            precorrection,
        })
    }

    /// The fitted orbit.
    pub fn orbit(&self) -> &Orbit {
        &self.orbit
    }

    /// The rule for redundant rays.
    pub fn redundancy(&self) -> &Redundancy {
        &self.redundancy
    }

    /// Fan angles that all views see.
    pub fn fan(&self) -> FanRange {
        self.fan
    }

    /// The planned views' matrices, as they come.
    pub fn views(&self) -> &[ProjectionMatrix] {
        self.given_scan.views()
    }

    /// The grid that is filled.
    pub fn grid(&self) -> &VolumeGrid {
        &self.layout.grid
    }

    /// Plans for parts of the grid that each need at most `budget_bytes` beyond the views: pushed the same views, they
    /// give the bits that the whole plan gives. One plan when the whole fits.
    ///
    /// # Errors
    /// [`ReconstructError::BadOption`] when not even one plane of voxels fits.
    pub fn slabs(&self, budget_bytes: u64) -> Result<Vec<Slab>, ReconstructError> {
        let axis = self.layout.slow_axis();
        let shape = self.grid().shape;
        let planes = shape[axis];
        let plane_bytes = BYTES_PER_VOXEL * (shape.iter().product::<usize>() / planes) as u64;
        let fixed_bytes = self.bytes_of_views();
        let at_once = budget_bytes.saturating_sub(fixed_bytes) / plane_bytes;
        if at_once == 0 {
            return Err(ReconstructError::BadOption {
                option: "memory",
                expected: format!(
                    "at least {} MiB beyond the views",
                    (fixed_bytes + plane_bytes).div_ceil(1 << 20)
                ),
                found: format!("{} MiB", budget_bytes >> 20),
            });
        }
        let count = planes.div_ceil((at_once as usize).min(planes));
        let bounds = |slab: usize| slab * planes / count;
        Ok((0..count)
            .map(|slab| {
                let range = bounds(slab)..bounds(slab + 1);
                let mut first_voxel = [0; 3];
                first_voxel[axis] = range.start;
                let layout = self.layout.slab(range);
                Slab { first_voxel, plan: Arc::new(Self { layout, ..self.clone() }) }
            })
            .collect())
    }

    /// What filtering and the waiting views take, whatever the grid.
    pub(crate) fn bytes_of_views(&self) -> u64 {
        let [nu, nv] = self.virtual_size();
        // Those of a block lie there in pairs as well.
        let views = 2 * self.options.block_views + 4;
        (views * nu * (nv + 2 * PADDING) * size_of::<f32>()) as u64
    }

    /// The options in force.
    pub fn options(&self) -> &FdkOptions {
        &self.options
    }

    /// Size of the virtual detector in pixels, `[nu, nv]`.
    pub fn virtual_size(&self) -> [usize; 2] {
        [self.virtual_grid.nu, self.virtual_grid.nv]
    }

    /// Whether the fast column-parallel back-projection applies.
    pub fn has_parallel_columns(&self) -> bool {
        self.has_parallel_columns
    }

    /// Half a step before the first planned view: where the arc starts, radians.
    pub(crate) fn half_step_rad(&self) -> f64 {
        self.orbit.median_step_rad() / 2.0
    }

    /// The virtual detector of a view as it came.
    pub(crate) fn virtual_view(&self, given: &ProjectionMatrix) -> VirtualView {
        let real = given.with_pixels_averaged([1, self.options.rows_averaged]);
        VirtualView::new(&real, self.scan.detector(), self.virtual_grid, &self.orbit, &self.column)
    }

    /// +1 when virtual columns run towards the motion of the source, so that fan angles keep their sign.
    pub(crate) fn fan_sign(&self, view: &VirtualView) -> f64 {
        fan_sign(&self.orbit, view)
    }

    /// Columns of the unrounded axis along which rows are not filtered.
    pub fn column_axis(&self) -> Unit<Vector3<f64>> {
        Unit::new_unchecked(self.column)
    }
}

/// The part of a plan that comes before the weights.
struct Sweep {
    given_scan: ScanGeometry,
    scan: ScanGeometry,
    orbit: Orbit,
    layout: ColumnLayout,
    has_parallel_columns: bool,
    column: Vector3<f64>,
    virtual_grid: VirtualGrid,
    fan: FanRange,
}

impl Sweep {
    fn new(
        given_scan: ScanGeometry,
        grid: VolumeGrid,
        options: &FdkOptions,
    ) -> Result<Self, ReconstructError> {
        check(options, &given_scan)?;
        let scan = given_scan.with_pixels_averaged([1, options.rows_averaged]);
        let orbit = Orbit::fit(scan.views())?;
        let layout = ColumnLayout::nearest_to(grid, &orbit.axis);
        let has_parallel_columns = layout.tilt_rad(&orbit.axis) <= PARALLEL_TILT_RAD;
        let column = if has_parallel_columns { layout.column_direction() } else { orbit.axis.into_inner() };
        let virtual_grid = VirtualGrid::covering(&scan, &orbit, &column);
        let fan = fan_of(&scan, &orbit, virtual_grid, &column);
        let virtual_grid = if fan.is_offset() {
            let views = scan.views().iter();
            let virtual_view = |real| VirtualView::new(real, scan.detector(), virtual_grid, &orbit, &column);
            virtual_grid.reaching(fan.half_rad(), views.map(virtual_view))
        } else {
            virtual_grid
        };
        Ok(Self { given_scan, scan, orbit, layout, has_parallel_columns, column, virtual_grid, fan })
    }

    /// From the rays of `other`, a sweep round the same circle, to this one's. Angles of rays begin half a step
    /// before the first view.
    fn rays_from(&self, other: &Self) -> Result<RayMap, ReconstructError> {
        let (orbit, others) = (&self.orbit, &other.orbit);
        let cosine = orbit.axis.dot(&others.axis);
        let apart = [
            ("the rotation axis", TWO_AXES_DEG, "degrees", cosine.abs().min(1.0).acos().to_degrees()),
            ("the centre", TWO_CENTRES_MM, "mm", (orbit.centre - others.centre).norm()),
            ("the radius", TWO_CENTRES_MM, "mm", (orbit.radius_mm - others.radius_mm).abs()),
        ];
        if let Some(&(what, limit, unit, found)) = apart.iter().find(|(_, limit, _, found)| found > limit) {
            return Err(ReconstructError::SweepsApart { what, limit, unit, found });
        }
        let direction = cosine.signum();
        let [half_step, others_half_step] = [orbit, others].map(|orbit| orbit.median_step_rad() / 2.0);
        let start_rad = orbit.angle_near(&other.scan.views()[0].source_position(), 0.0);
        Ok(RayMap { direction, offset_rad: start_rad - direction * others_half_step + half_step })
    }
}

/// Detector rows that a voxel in the middle of the grid spans along the rotation axis.
///
/// # Errors
/// A geometry without an arc.
pub fn rows_per_voxel(scan: &ScanGeometry, grid: &VolumeGrid) -> Result<f64, ReconstructError> {
    let orbit = Orbit::fit(scan.views())?;
    let half_step = ColumnLayout::nearest_to(*grid, &orbit.axis).column_step() / 2.0;
    let row_of = |point| scan.views()[0].project(&point).v;
    Ok((row_of(grid.centre() + half_step) - row_of(grid.centre() - half_step)).abs())
}

fn check(options: &FdkOptions, scan: &ScanGeometry) -> Result<(), ReconstructError> {
    if options.block_views == 0 {
        return Err(ReconstructError::BadOption {
            option: "block views",
            expected: "at least 1".into(),
            found: "0".into(),
        });
    }
    if !(1..=scan.detector().nv).contains(&options.rows_averaged) {
        return Err(ReconstructError::BadOption {
            option: "rows averaged",
            expected: format!("1 to {} detector rows", scan.detector().nv),
            found: options.rows_averaged.to_string(),
        });
    }
    if let Some(mu) = options.truncation_water_per_mm
        && !(mu.is_finite() && mu > 0.0)
    {
        return Err(ReconstructError::BadOption {
            option: "attenuation of water for truncation",
            expected: "a positive number per mm".into(),
            found: mu.to_string(),
        });
    }
    if options.known_body.is_some() && options.truncation_water_per_mm.is_none() {
        return Err(ReconstructError::BadOption {
            option: "known body",
            expected: "water for what it does not know".into(),
            found: "truncated rows that are not to be continued".into(),
        });
    }
    Ok(())
}

fn fan_sign(orbit: &Orbit, view: &VirtualView) -> f64 {
    if orbit.tangent(&view.source).dot(&view.e_u) >= 0.0 { 1.0 } else { -1.0 }
}

/// Signed fan angles of the left and right ends of a view's measured middle row.
fn fan_of_view(scan: &ScanGeometry, orbit: &Orbit, view: &VirtualView) -> FanRange {
    let detector = scan.detector();
    let virtual_from_real = view.real_from_virtual.try_inverse().expect("a homography");
    let sign = fan_sign(orbit, view);
    let ends = [0.0, detector.nu as f64 - 1.0].map(|u| {
        let h = virtual_from_real * Vector3::new(u, detector.centre()[1], 1.0);
        sign * view.fan_rad(h.x / h.z)
    });
    FanRange { low_rad: ends[0].min(ends[1]), high_rad: ends[0].max(ends[1]) }
}

fn fan_of(scan: &ScanGeometry, orbit: &Orbit, grid: VirtualGrid, column: &Vector3<f64>) -> FanRange {
    scan.views()
        .iter()
        .map(|real| fan_of_view(scan, orbit, &VirtualView::new(real, scan.detector(), grid, orbit, column)))
        .reduce(|a, b| FanRange { low_rad: a.low_rad.max(b.low_rad), high_rad: a.high_rad.min(b.high_rad) })
        .expect("a scan has views")
}

/// Both sides, but for the narrow side of an offset detector.
fn continued_sides(
    scan: &ScanGeometry,
    orbit: &Orbit,
    grid: VirtualGrid,
    column: &Vector3<f64>,
    redundancy: Redundancy,
) -> Sides {
    let wide_side = match redundancy {
        Redundancy::OffsetFullTurn { wide_side, .. } => wide_side,
        Redundancy::TwoSweeps { own, .. } if own.fan.is_offset() => own.fan.wide_side(),
        _ => return Sides { low: true, high: true },
    };
    let first = VirtualView::new(&scan.views()[0], scan.detector(), grid, orbit, column);
    let wide_is_high = wide_side * fan_sign(orbit, &first) > 0.0;
    Sides { low: !wide_is_high, high: wide_is_high }
}
