//! How far to trust a model, as JSON: what the page for people is made of.

use super::advice::Printer;
use super::painted::{DELIBERATE_MM, Painted, areas, mean_and_p95};
use super::presets::Presets;
use super::stages::Stages;
use super::{Input, Made, NOTICE, review};
use crate::cli::Model;
use anyhow::Result;
use printing::{Caliper, Cavity, IslandFate, SurfaceDistance, calipers};
use serde_json::{Value, json};

/// Distances measured for the report.
const CALIPERS: usize = 12;
/// Lines tried for them where a base or openings hide the anatomy.
const CALIPERS_TRIED: usize = 60;
/// Cavities and islands that are listed; all are counted.
const LISTED: usize = 20;

/// Everything but what is only known of the file itself.
pub fn facts(
    made: &Made,
    options: &Model,
    input: &Input,
    printer: &Printer,
    presets: &Presets,
    stages: &mut Stages,
) -> Result<(Value, Painted)> {
    let shape = &made.shape;
    let painted = Painted::new(made, options.scale)?;
    let calipers = anatomy_calipers(made);
    let weights = areas(&made.decimated.mesh);
    let (area_mm2, volume_mm3) = (weights.iter().sum::<f64>(), enclosed_mm3(&made.decimated.mesh));
    let preset = presets.of(&options.target.to_string());
    let infill = f64::from(preset.map_or(100, |preset| preset.infill_percent)) / 100.0;
    let closed: Vec<&Cavity> = shape.cavities.iter().filter(|cavity| !cavity.is_filled).collect();
    let mut told = json!({
        "target": options.target.to_string(),
        "review": review(options),
        "notice": NOTICE,
        "program": format!("isocenter {}", env!("CARGO_PKG_VERSION")),
        "input": { "path": options.volume, "volume_hash": input.hash, "shape": input.grid.shape,
            "spacing_mm": input.grid.spacing_mm, "warnings": input.warnings },
        "parameters": parameters(options),
        "scale": options.scale,
        "material_advised": presets.material(shape.levels.inside),
        "error_budget": budget(made, &painted, &weights, printer, options.scale),
        "calipers_against_the_image": calipers.iter().map(caliper).collect::<Vec<_>>(),
        "surface": surface(&painted, &weights),
        "decimation": { "faces_before": made.decimated.faces_before, "full_to_model": one_way(&made.distance.forward),
            "model_to_full": one_way(&made.distance.backward), "mean_mm": made.distance.mean_mm(),
            "two_sided_bound_mm": made.distance.bound_mm() },
        "changed": changed(made, options),
        "level": { "inside": shape.levels.inside, "outside": shape.levels.outside,
            "border_without_contrast": shape.levels.without_contrast, "border_at_limit": shape.levels.at_limit },
        "structures": made.found.structures.iter().map(super::super::segment::structure).collect::<Vec<_>>(),
        "doubtful": made.found.doubtful.iter().map(super::super::segment::doubtful).collect::<Vec<_>>(),
        "notes": made.found.notes,
    });
    stages.ended("measure");
    let size = [volume_mm3, area_mm2];
    told["print_advice"] = printer.advice(&made.decimated.mesh, size, infill, &closed, options);
    stages.ended("slice");
    Ok((told, painted))
}

fn parameters(options: &Model) -> Value {
    json!({ "faces": options.faces, "error_mm": options.error_mm, "smooth_mm": options.smooth,
        "spacing_mm": options.spacing_mm, "fill_cavities_mm3": options.fill_cavities_mm3,
        "drop_below_mm3": options.drop_below_mm3, "join_mm": options.join_mm, "strut_mm": options.strut_mm,
        "min_wall_mm": options.min_wall_mm, "hollow": options.hollow, "wall_mm": options.wall_mm,
        "connector_mm": options.connector.map(|triple| triple.0), "cut": options.cut.map(|cut| cut.0), "peg_mm": options.peg_mm,
        "holes": options.hole.iter().map(|hole| hole.0).collect::<Vec<_>>(), "hole_mm": options.hole_mm,
        "scale": options.scale, "base": options.base, "text": options.text })
}

fn one_way(distance: &SurfaceDistance) -> Value {
    json!({ "mean_mm": distance.mean_mm, "p95_mm": distance.p95_mm, "max_mm": distance.max_mm,
        "bound_mm": distance.bound_mm })
}

fn caliper(caliper: &Caliper) -> Value {
    json!({ "from_mm": caliper.from_mm, "to_mm": caliper.to_mm, "mesh_mm": caliper.mesh_mm,
        "image_mm": caliper.field_mm, "error_mm": caliper.error_mm() })
}

/// Widths of the mesh beside those of the anatomy in the image; where something was built on, only lines between places
/// where the mesh still is the anatomy.
fn anatomy_calipers(made: &Made) -> Vec<Caliper> {
    let (mesh, field) = (&made.decimated.mesh, &made.shape.anatomy);
    if !made.shape.is_built_on() {
        return calipers(mesh, field, CALIPERS).unwrap_or_default();
    }
    let is_anatomy = |place: [f64; 3]| field.at(&place.into()).abs() < DELIBERATE_MM;
    let mut found = calipers(mesh, field, CALIPERS_TRIED).unwrap_or_default();
    found.retain(|caliper| is_anatomy(caliper.from_mm) && is_anatomy(caliper.to_mm));
    found.truncate(CALIPERS);
    found
}

/// Where the surface lies beside the image's, how thick it is and how sure.
fn surface(painted: &Painted, weights: &[f64]) -> Value {
    let whole: f64 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let share = |is_so: &dyn Fn(usize) -> bool| {
        (0..weights.len()).filter(|&v| is_so(v)).map(|v| weights[v]).sum::<f64>() / whole
    };
    let (mean, p95) = mean_and_p95(&mut followed(painted, weights));
    let mut thickness: Vec<(f64, f64)> =
        painted.thickness_mm.iter().zip(weights).map(|(mm, weight)| (f64::from(*mm), *weight)).collect();
    let (thickness_mean, _) = mean_and_p95(&mut thickness);
    let below = |limit: f32| share(&|v| painted.thickness_mm[v] < limit);
    json!({
        "to_the_image": { "mean_mm": mean, "p95_mm": p95,
            "share_changed_on_purpose": share(&|v| painted.off_mm[v].abs() >= DELIBERATE_MM as f32) },
        "thickness": { "mean_up_to_6_mm": thickness_mean, "share_below_1_mm": below(1.0),
            "share_below_1_5_mm": below(1.45), "share_below_3_mm": below(3.0) },
        "share_less_than_85_percent_sure": share(&|v| painted.confidence_percent[v] < 85.0),
    })
}

/// Distances from the image's surface where the model follows it, with their areas.
fn followed(painted: &Painted, weights: &[f64]) -> Vec<(f64, f64)> {
    let both = painted.off_mm.iter().zip(weights);
    both.map(|(off, weight)| (f64::from(off.abs()), *weight))
        .filter(|(off, _)| *off < DELIBERATE_MM)
        .collect()
}

/// What each step may add, mean and mm, and the sum.
fn budget(made: &Made, painted: &Painted, weights: &[f64], printer: &Printer, scale: f64) -> Value {
    let found = &made.found;
    let voxel_mm3: f64 = found.grid.spacing_mm.iter().product();
    // Voxels that are expected to be wrong, spread over the surface: how far that moves it on average.
    let wrong: f64 = found.confidence.iter().map(|&percent| 1.0 - f64::from(percent) / 100.0).sum();
    let area_mm2 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE) / (scale * scale);
    let segmentation = scale * wrong * voxel_mm3 / area_mm2;
    let (editing, _) = mean_and_p95(&mut followed(painted, weights));
    let print = printer.expected_error_mm;
    json!({
        "segmentation_mm": segmentation, "digital_editing_mm": editing, "print_mm": print,
        "sum_mm": segmentation + editing + print,
        "root_of_squares_mm": segmentation.hypot(editing).hypot(print),
        "how": "segmentation: volume expected to be wrong by its confidence, over the surface; editing: mean distance of \
                the mesh from the image's surface where it follows it; print: the printer's profile",
    })
}

/// What was truncated, filled, thickened, dropped, joined and added.
fn changed(made: &Made, options: &Model) -> Value {
    let shape = &made.shape;
    let fate = |fate: IslandFate| shape.islands.iter().filter(|island| island.fate == fate).count();
    let (filled, kept): (Vec<&Cavity>, Vec<&Cavity>) =
        shape.cavities.iter().partition(|cavity| cavity.is_filled);
    let cavity = |cavity: &&Cavity| json!({ "place_mm": cavity.place_mm, "volume_mm3": cavity.volume_mm3 });
    let volume = |cavities: &[&Cavity]| cavities.iter().map(|cavity| cavity.volume_mm3).sum::<f64>();
    json!({
        "truncated_at_the_volumes_border": shape.capped,
        "cavities": { "rule": format!("closed hollows below {} mm³ are filled", options.fill_cavities_mm3),
            "filled": filled.len(), "filled_mm3": volume(&filled), "left": kept.len(), "left_mm3": volume(&kept),
            "largest_left": kept.iter().take(LISTED).map(cavity).collect::<Vec<_>>() },
        "islands": { "rule": format!("parts below {} mm³ or more than {} mm away are dropped, others joined by struts of {} mm",
                options.drop_below_mm3, options.join_mm, options.strut_mm),
            "dropped_small": fate(IslandFate::DroppedSmall), "dropped_far": fate(IslandFate::DroppedFar),
            "joined": fate(IslandFate::Joined),
            "largest": shape.islands.iter().take(LISTED).map(|island| json!({ "place_mm": island.place_mm,
                "volume_mm3": island.volume_mm3, "gap_mm": island.gap_mm, "fate": format!("{:?}", island.fate) })).collect::<Vec<_>>() },
        "minimum_wall": shape.thickened.as_ref().map(|thickened| json!({ "wall_mm": options.min_wall_mm,
            "share_of_the_surface_thickened": thickened.thin_part, "places": thickened.places.len(),
            "largest": thickened.places.iter().take(LISTED).map(|place| json!({ "place_mm": place.place_mm,
                "thickness_mm": place.thickness_mm, "area_mm2": place.area_mm2 })).collect::<Vec<_>>() })),
        "hollow": options.hollow.then(|| json!({ "wall_mm": options.wall_mm, "openings": shape.openings.iter().map(|opening|
            json!({ "place_mm": opening.centre_mm.coords.as_slice(), "outward": opening.outward.as_slice() })).collect::<Vec<_>>(),
            "note": shape.openings.is_empty().then_some("no end reaches the volume's border: the lumen is closed") })),
        "cut": shape.joints.as_ref().map(|places| json!({
            "joint": options.joint.map(|joint| format!("{joint:?}").to_lowercase()),
            "places_mm": places.iter().map(|place| place.coords.as_slice().to_vec()).collect::<Vec<_>>() })),
        "base": shape.base.as_ref().map(|base| json!({ "low_mm": base.low_mm, "high_mm": base.high_mm,
            "letter_mm": base.texts.first().map(|text| text.height_mm), "words": base.texts.iter().map(|text| &text.words).collect::<Vec<_>>() })),
    })
}

/// Volume within a closed mesh, mm³.
fn enclosed_mm3(mesh: &carm::TriangleMesh) -> f64 {
    let corner = |v: u32| nalgebra::Vector3::from(mesh.vertices_mm[v as usize].map(f64::from));
    let first = mesh.vertices_mm.first().map_or_else(nalgebra::Vector3::zeros, |_| corner(0));
    let tetrahedron = |t: &[u32; 3]| {
        let [a, b, c] = t.map(|v| corner(v) - first);
        a.dot(&b.cross(&c)) / 6.0
    };
    mesh.triangles.iter().map(tetrahedron).sum()
}
