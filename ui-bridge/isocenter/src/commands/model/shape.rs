//! From a segmentation to the shape that is printed: everything that changes it happens here, in the field.

use super::Watch;
use super::stages::Stages;
use crate::cli::{JointChoice, Model, Sextuple, Triple};
use anyhow::{Result, ensure};
use carm::Volume;
use nalgebra::{Point3, Unit, Vector3};
use ndarray::Array3;
use printing::{
    Base, BasePlace, Cavity, Connector, Cut, Field, Island, IslandRule, Joint, LabelOptions, Opening,
    PrintingError, Solid, ThinPlace,
};

/// All that was done to a shape.
pub struct Shape {
    /// The anatomy that was kept, at the size of the print, before walls and additions.
    pub anatomy: Field,
    pub levels: Levels,
    pub cavities: Vec<Cavity>,
    pub islands: Vec<Island>,
    /// Sides of the volume at which the anatomy is cut off.
    pub capped: Vec<String>,
    pub openings: Vec<Opening>,
    pub thickened: Option<Thickened>,
    pub base: Option<BasePlace>,
    /// Middles of a cut's pegs or holes, mm, where there is a cut.
    pub joints: Option<Vec<Point3<f64>>>,
    is_drilled: bool,
}

/// What the place of the surface rests on.
pub struct Levels {
    pub inside: f32,
    pub outside: f32,
    pub without_contrast: f64,
    pub at_limit: f64,
}

/// What the minimum wall changed.
pub struct Thickened {
    pub thin_part: f64,
    pub places: Vec<ThinPlace>,
}

/// How much wider than its peg a hole is to every side: what filament printers leave, mm.
const CLEARANCE_MM: f64 = 0.2;
/// Part of the wall that the grid's voxels may be wide where walls are made.
const WALL_VOXEL: f64 = 0.9;
/// Fewer voxels at the border of the volume than this are no end of a vessel.
const OPENING_VOXELS: usize = 4;
/// A base: thickness, margin and how far the model sinks in, mm.
const BASE_MM: [f64; 3] = [4.0, 3.0, 1.5];
/// Depth of letters, mm.
const LETTER_DEPTH_MM: f64 = 0.8;
/// Voxels to the stroke of a letter, which is a seventh of its height.
const STROKE_VOXELS: f64 = 1.25;
/// Least height of letters, mm.
const LETTER_MM: f64 = 8.0;

/// Makes the shape that the options ask for: the field that its surface is taken from, and what was done to it.
///
/// `mask`: `[z, y, x]`, what belongs to the target. Volume and mask are gone as soon as the field is there.
pub fn shape(
    options: &Model,
    volume: Volume,
    mask: Array3<bool>,
    watch: &mut Watch,
    stages: &mut Stages,
) -> Result<(Field, Shape)> {
    let label_options = LabelOptions { spacing_most_mm: options.spacing_mm, ..LabelOptions::default() };
    let placed = Field::from_labels(&volume, &mask, &label_options, watch)?;
    drop((volume, mask));
    let levels = Levels {
        inside: placed.inside_level,
        outside: placed.outside_level,
        without_contrast: placed.without_contrast,
        at_limit: placed.at_limit,
    };
    stages.ended("place_the_surface");
    let smooth = placed.field.smoothed(options.smooth)?;
    let (solid, cavities) = smooth.without_cavities(options.fill_cavities_mm3)?;
    let (joined, islands) = solid.joined(&rule(options))?;
    let anatomy = if options.scale == 1.0 { joined } else { joined.scaled(options.scale)? };
    let capped = anatomy.touched_sides().iter().map(|side| format!("{side:?}")).collect();
    stages.ended("smooth_fill_join");
    let field = anatomy.clone();
    let mut shape = Shape {
        anatomy,
        levels,
        cavities,
        islands,
        capped,
        openings: Vec::new(),
        thickened: None,
        base: None,
        joints: None,
        is_drilled: !options.hole.is_empty(),
    };
    let field = shape.hollowed(field, options)?;
    let field = shape.thickened(field, options, watch)?;
    stages.ended("walls");
    let field = drilled(shape.cut(field, options)?, options);
    let field = shape.standing(field, options)?;
    stages.ended("cuts_base_and_words");
    Ok((field, shape))
}

/// Which parts stay that hang on nothing.
fn rule(options: &Model) -> IslandRule {
    IslandRule {
        drop_below_mm3: options.drop_below_mm3,
        join_within_mm: options.join_mm,
        strut_radius_mm: options.strut_mm / 2.0,
    }
}

/// A point of the patient at the size of the print, and a direction.
fn place_and_direction(
    &Sextuple([x, y, z, u, v, w]): &Sextuple,
    scale: f64,
) -> (Point3<f64>, Unit<Vector3<f64>>) {
    (Point3::new(x, y, z) * scale, Unit::new_normalize(Vector3::new(u, v, w)))
}

fn coarsest(field: &Field) -> f64 {
    field.grid.spacing_mm.into_iter().fold(0.0, f64::max)
}

/// The field with every hole that was asked for.
fn drilled(field: Field, options: &Model) -> Field {
    let grid = field.grid;
    let reach_mm: f64 = grid.shape.iter().zip(grid.spacing_mm).map(|(&n, spacing)| n as f64 * spacing).sum();
    options.hole.iter().fold(field, |field, hole| {
        let (place, along) = place_and_direction(hole, options.scale);
        // From beyond one end of the grid to beyond the other, wherever the point lies.
        let far = along.into_inner() * (reach_mm + (place - grid.centre()).norm());
        let bar =
            Solid::Cylinder { from_mm: place - far, to_mm: place + far, radius_mm: options.hole_mm / 2.0 };
        field.without(&bar)
    })
}

impl Shape {
    fn hollowed(&mut self, field: Field, options: &Model) -> Result<Field> {
        if !options.hollow {
            return Ok(field);
        }
        ensure!(
            options.wall_mm >= options.min_wall_mm,
            "--wall-mm: expected at least the minimum wall of {} mm, found {}",
            options.min_wall_mm,
            options.wall_mm
        );
        let lumen = field.refined(WALL_VOXEL * options.wall_mm)?;
        self.openings = lumen.border_openings(options.wall_mm, OPENING_VOXELS);
        let connector = options.connector.map(|Triple([bore, outer, length_mm])| Connector {
            inner_radius_mm: bore / 2.0,
            outer_radius_mm: outer / 2.0,
            length_mm,
        });
        let open: Vec<_> = self.openings.iter().map(|opening| (*opening, connector)).collect();
        Ok(lumen.hollowed(options.wall_mm, &open)?)
    }

    /// Gives every wall its minimum; the wall of a hollow model is as thick as asked for by construction.
    fn thickened(&mut self, field: Field, options: &Model, watch: &mut Watch) -> Result<Field> {
        let wall_mm = options.min_wall_mm;
        if wall_mm == 0.0 || options.hollow {
            return Ok(field);
        }
        let fine = field.refined(WALL_VOXEL * wall_mm)?;
        let thickened = fine.with_minimum_wall(wall_mm, watch)?;
        let (solid, closed) = thickened.field.without_cavities(options.fill_cavities_mm3)?;
        // Those that the voxels of the image did not show: what thickening closed.
        self.cavities.retain(|cavity| cavity.is_filled);
        self.cavities.extend(closed);
        self.thickened = Some(Thickened { thin_part: thickened.thin_part, places: thickened.places });
        Ok(solid)
    }

    /// Keeps one half of what a plane cuts, at the size of the print.
    fn cut(&mut self, field: Field, options: &Model) -> Result<Field, PrintingError> {
        let Some(plane) = &options.cut else { return Ok(field) };
        let (point_mm, outward) = place_and_direction(plane, options.scale);
        let joint = options.joint.map(|joint| Joint {
            has_pegs: joint == JointChoice::Pegs,
            diameter_mm: options.peg_mm,
            clearance_mm: CLEARANCE_MM,
            wall_mm: options.min_wall_mm,
        });
        let (half, places) = field.cut(&Cut { point_mm, outward, joint })?;
        self.joints = Some(places);
        Ok(half)
    }

    fn standing(&mut self, field: Field, options: &Model) -> Result<Field, PrintingError> {
        if !options.base && options.text.is_none() {
            return Ok(field);
        }
        let [thickness_mm, margin_mm, sink_mm] = BASE_MM;
        let mut words = options.text.clone().unwrap_or_default();
        if options.scale != 1.0 {
            let scale = format!("{} %", options.scale * 100.0);
            words = if words.is_empty() { scale } else { format!("{words} {scale}") };
        }
        let letter_mm = LETTER_MM.max(7.0 * STROKE_VOXELS * coarsest(&field));
        let base = Base { thickness_mm, margin_mm, sink_mm, words, letter_mm, depth_mm: LETTER_DEPTH_MM };
        let (field, place) = field.on_base(&base)?;
        self.base = Some(place);
        Ok(field)
    }

    /// Whether anything was added on purpose that the anatomy has not.
    pub fn is_built_on(&self) -> bool {
        self.base.is_some() || !self.openings.is_empty() || self.joints.is_some() || self.is_drilled
    }
}
