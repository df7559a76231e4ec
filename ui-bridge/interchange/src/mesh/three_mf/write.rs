//! Writing a package: one object a part, millimetres, a base material for each colour.

use super::{KNOWN_METADATA, MODEL_PART, MODEL_RELATIONSHIP, OWN_PREFIX, RELATIONSHIPS_PART};
use crate::atomic::write_file;
use crate::error::InterchangeError;
use crate::mesh::{MeshFile, MeshPart, one_line};
use quick_xml::escape::escape;
use std::io::{self, BufWriter, Cursor, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const CONTENT_TYPES: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">\
<Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
<Default Extension=\"model\" ContentType=\"application/vnd.ms-package.3dmanufacturing-3dmodel+xml\"/>\
<Default Extension=\"config\" ContentType=\"text/xml\"/></Types>\n";

/// Where PrusaSlicer and its kin look for settings of objects.
const SETTINGS_PART: &str = "Metadata/Slic3r_PE_model.config";

/// Number of the group of colours; objects follow.
const COLOURS_ID: usize = 1;

pub(in crate::mesh) fn write(path: &Path, file: &MeshFile) -> Result<(), InterchangeError> {
    let package = package(file).map_err(InterchangeError::io(path, "pack"))?;
    write_file(path, |writer| writer.write_all(&package))
}

/// The archive's bytes. They depend on nothing but the content: its time stamps are those of the ZIP epoch.
fn package(file: &MeshFile) -> io::Result<Vec<u8>> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file("[Content_Types].xml", options)?;
    archive.write_all(CONTENT_TYPES.as_bytes())?;
    archive.start_file(RELATIONSHIPS_PART, options)?;
    write!(
        archive,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\
         <Relationship Id=\"model\" Type=\"{MODEL_RELATIONSHIP}\" Target=\"/{MODEL_PART}\"/></Relationships>\n"
    )?;
    archive.start_file(MODEL_PART, options)?;
    let mut writer = BufWriter::with_capacity(1 << 16, archive);
    write_model(&mut writer, file)?;
    let mut archive = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    if file.parts.iter().any(|part| part.infill_percent.is_some()) {
        archive.start_file(SETTINGS_PART, options)?;
        write_settings(&mut archive, file)?;
    }
    Ok(archive.finish()?.into_inner())
}

fn write_model(writer: &mut impl Write, file: &MeshFile) -> io::Result<()> {
    writeln!(
        writer,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<model unit=\"millimeter\" xml:lang=\"en-US\" \
         xmlns=\"http://schemas.microsoft.com/3dmanufacturing/core/2015/02\" xmlns:{OWN_PREFIX}=\"urn:isocenter:model\">"
    )?;
    for (name, value) in &file.metadata {
        let prefix = if KNOWN_METADATA.contains(&name.as_str()) { "" } else { "isocenter:" };
        let (name, value) = (one_line(name), one_line(value));
        writeln!(writer, " <metadata name=\"{prefix}{}\">{}</metadata>", escape(&name), escape(&value))?;
    }
    writeln!(writer, " <resources>")?;
    let colours = write_colours(writer, &file.parts)?;
    for (index, (part, colour)) in file.parts.iter().zip(colours).enumerate() {
        write_object(writer, COLOURS_ID + 1 + index, part, colour)?;
    }
    writeln!(writer, " </resources>\n <build>")?;
    for index in 0..file.parts.len() {
        writeln!(writer, "  <item objectid=\"{}\"/>", COLOURS_ID + 1 + index)?;
    }
    writeln!(writer, " </build>\n</model>")
}

/// How much of each object is to be filled.
fn write_settings(writer: &mut impl Write, file: &MeshFile) -> io::Result<()> {
    writeln!(writer, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<config>")?;
    for (index, part) in file.parts.iter().enumerate() {
        let Some(percent) = part.infill_percent else { continue };
        let last = part.mesh.triangles.len().saturating_sub(1);
        writeln!(
            writer,
            " <object id=\"{}\" instances_count=\"1\">\n  <metadata type=\"object\" key=\"name\" value=\"{}\"/>\n  \
             <metadata type=\"object\" key=\"fill_density\" value=\"{percent}%\"/>\n  \
             <volume firstid=\"0\" lastid=\"{last}\">\n   \
             <metadata type=\"volume\" key=\"volume_type\" value=\"ModelPart\"/>\n  </volume>\n </object>",
            COLOURS_ID + 1 + index,
            escape(one_line(&part.name)),
        )?;
    }
    writeln!(writer, "</config>")
}

/// Writes the group of colours, where there are any, and gives each part's place in it.
fn write_colours(writer: &mut impl Write, parts: &[MeshPart]) -> io::Result<Vec<Option<usize>>> {
    let mut places = Vec::new();
    let mut count = 0;
    for part in parts {
        let Some([r, g, b]) = part.colour else {
            places.push(None);
            continue;
        };
        if count == 0 {
            writeln!(writer, "  <basematerials id=\"{COLOURS_ID}\">")?;
        }
        let name = if part.name.is_empty() { "part".into() } else { one_line(&part.name) };
        writeln!(writer, "   <base name=\"{}\" displaycolor=\"#{r:02X}{g:02X}{b:02X}FF\"/>", escape(&name))?;
        places.push(Some(count));
        count += 1;
    }
    if count > 0 {
        writeln!(writer, "  </basematerials>")?;
    }
    Ok(places)
}

fn write_object(
    writer: &mut impl Write,
    id: usize,
    part: &MeshPart,
    colour: Option<usize>,
) -> io::Result<()> {
    write!(writer, "  <object id=\"{id}\" type=\"model\"")?;
    if !part.name.is_empty() {
        write!(writer, " name=\"{}\"", escape(one_line(&part.name)))?;
    }
    if let Some(colour) = colour {
        write!(writer, " pid=\"{COLOURS_ID}\" pindex=\"{colour}\"")?;
    }
    writeln!(writer, ">\n   <mesh>\n    <vertices>")?;
    for [x, y, z] in &part.mesh.vertices_mm {
        // The shortest decimals that are read back to the same 32 bits.
        writeln!(writer, "<vertex x=\"{x}\" y=\"{y}\" z=\"{z}\"/>")?;
    }
    writeln!(writer, "    </vertices>\n    <triangles>")?;
    for [a, b, c] in &part.mesh.triangles {
        writeln!(writer, "<triangle v1=\"{a}\" v2=\"{b}\" v3=\"{c}\"/>")?;
    }
    writeln!(writer, "    </triangles>\n   </mesh>\n  </object>")
}
