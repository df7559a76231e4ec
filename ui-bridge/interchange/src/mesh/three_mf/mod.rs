//! 3MF: a ZIP archive with an XML model of objects, their places, units and colours (3MF Core Specification 1.3).

mod read;
mod write;

pub(super) use read::read;
pub(super) use write::write;

/// Where the model lies when no relationship tells.
const MODEL_PART: &str = "3D/3dmodel.model";
/// The one relationship every package has.
const RELATIONSHIPS_PART: &str = "_rels/.rels";
/// Type of the relationship from the package to its model.
const MODEL_RELATIONSHIP: &str = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel";
/// Metadata whose names need no namespace.
const KNOWN_METADATA: [&str; 9] = [
    "Title",
    "Designer",
    "Description",
    "Copyright",
    "LicenseTerms",
    "Rating",
    "CreationDate",
    "ModificationDate",
    "Application",
];
/// Prefix of other metadata.
const OWN_PREFIX: &str = "isocenter";
