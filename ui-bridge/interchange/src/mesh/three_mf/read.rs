//! Reading a package: models part by part from the unpacking stream, then every object put in its place.

use super::{MODEL_PART, MODEL_RELATIONSHIP, OWN_PREFIX, RELATIONSHIPS_PART};
use crate::error::InterchangeError;
use crate::mesh::{Colour, MeshFile, MeshPart, UNPACKED_BYTES_MAX, shown};
use carm::TriangleMesh;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use zip::ZipArchive;
use zip::result::ZipError;

/// Objects within objects.
const DEPTH_MAX: usize = 32;
/// Objects put in their places, and triangles of all of them: few bytes can ask for many.
const PLACES_MAX: usize = 200_000;
const TRIANGLES_MAX: usize = 40_000_000;

type Archive = ZipArchive<Cursor<Vec<u8>>>;

/// Row vectors times this 4x3 matrix, row by row, as 3MF writes it.
type Transform = [f64; 12];
const IDENTITY: Transform = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0];

/// One object put somewhere.
struct Place {
    /// The part of the package that holds it, where it is another one.
    part: Option<String>,
    object: u32,
    transform: Transform,
}

#[derive(Default)]
struct Object {
    name: String,
    colour: Option<Colour>,
    mesh: TriangleMesh,
    components: Vec<Place>,
}

/// One model part of the package.
struct Model {
    unit_mm: f64,
    metadata: Vec<(String, String)>,
    warnings: Vec<String>,
    colours: HashMap<u32, Vec<Option<Colour>>>,
    objects: HashMap<u32, Object>,
    items: Vec<Place>,
}

pub(in crate::mesh) fn read(path: &Path, bytes: Vec<u8>) -> Result<MeshFile, InterchangeError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| InterchangeError::content(path, "package", "a ZIP archive", error.to_string()))?;
    let root = root_part(path, &mut archive)?;
    let mut models = BTreeMap::new();
    let mut wanted = vec![root.clone()];
    while let Some(name) = wanted.pop() {
        if models.contains_key(&name) {
            continue;
        }
        let model = Parser::new(path, &name).parse(&mut archive)?;
        let places = model.items.iter().chain(model.objects.values().flat_map(|object| &object.components));
        wanted.extend(places.filter_map(|place| place.part.clone()));
        models.insert(name, model);
    }
    let mut placing = Placing { path, models: &models, file: MeshFile::default(), places: 0, triangles: 0 };
    for item in &models[&root].items {
        placing.place(&root, item, &IDENTITY, 0)?;
    }
    let mut file = placing.file;
    if file.parts.is_empty() {
        return Err(InterchangeError::content(path, "build", "at least one object with triangles", "none"));
    }
    let root = &models[&root];
    file.metadata.clone_from(&root.metadata);
    file.warnings.clone_from(&root.warnings);
    Ok(file)
}

fn open<'a>(
    path: &Path,
    archive: &'a mut Archive,
    part: &str,
) -> Result<Option<impl Read + use<'a>>, InterchangeError> {
    match archive.by_name(part) {
        Ok(entry) => Ok(Some(entry.take(UNPACKED_BYTES_MAX))),
        Err(ZipError::FileNotFound) => Ok(None),
        Err(error) => {
            let what = format!("part {}", shown(part));
            Err(InterchangeError::content(path, what, "a part that can be unpacked", error.to_string()))
        }
    }
}

/// Name of the model, from the package's relationships.
fn root_part(path: &Path, archive: &mut Archive) -> Result<String, InterchangeError> {
    let mut root = MODEL_PART.to_string();
    let Some(part) = open(path, archive, RELATIONSHIPS_PART)? else { return Ok(root) };
    each_event(path, RELATIONSHIPS_PART, part, |event| {
        if let Event::Start(tag) = event
            && tag.local_name().as_ref() == "Relationship"
        {
            let attributes = Attributes::of(tag)?;
            if attributes.text("Type") == Some(MODEL_RELATIONSHIP) {
                root = attributes.required("Target")?.trim_start_matches('/').into();
            }
        }
        Ok(())
    })?;
    Ok(root)
}

/// Expected and found.
type Mismatch = (String, String);

/// Hands over every event; elements that close themselves are opened and closed.
fn each_event(
    path: &Path,
    part: &str,
    content: impl Read,
    mut take: impl FnMut(&Event<'_>) -> Result<(), Mismatch>,
) -> Result<(), InterchangeError> {
    let mut reader = Reader::from_reader(BufReader::with_capacity(1 << 16, content));
    reader.config_mut().expand_empty_elements = true;
    let (mut buffer, mut depth) = (Vec::new(), 0_usize);
    loop {
        let at = reader.buffer_position();
        let broken = |(expected, found): Mismatch| {
            InterchangeError::content(path, format!("{}, byte {at}", shown(part)), expected, found)
        };
        let event = reader
            .read_event_into(&mut buffer)
            .map_err(|error| broken(("well-formed XML".into(), error.to_string())))?;
        match &event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof if depth > 0 => {
                return Err(broken(("all elements closed".into(), format!("{depth} open at the end"))));
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
        take(&event).map_err(broken)?;
        buffer.clear();
    }
}

/// The attributes of one element by their local names.
struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn of(tag: &BytesStart<'_>) -> Result<Self, Mismatch> {
        let broken = |error: String| ("well-formed attributes".to_string(), error);
        let mut attributes = Vec::new();
        for attribute in tag.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| broken(error.to_string()))?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| broken(error.to_string()))?;
            attributes.push((attribute.key.local_name().as_ref().to_string(), value.into_owned()));
        }
        Ok(Self(attributes))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.trim())
    }

    fn required(&self, name: &str) -> Result<&str, Mismatch> {
        self.text(name).ok_or_else(|| (format!("attribute {name}"), "none".into()))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Mismatch> {
        let text = self.required(name)?;
        text.parse().map_err(|_| (format!("a number as {name}"), format!("{:?}", shown(text))))
    }

    fn optional<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Mismatch> {
        if self.text(name).is_some() { self.number(name).map(Some) } else { Ok(None) }
    }

    fn place(&self) -> Result<Place, Mismatch> {
        let transform = match self.text("transform") {
            None => IDENTITY,
            Some(text) => {
                let numbers: Option<Vec<f64>> =
                    text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
                numbers.and_then(|numbers| Transform::try_from(numbers).ok()).ok_or_else(|| {
                    ("twelve numbers as transform".to_string(), format!("{:?}", shown(text)))
                })?
            }
        };
        let part = self.text("path").map(|part| part.trim_start_matches('/').to_string());
        Ok(Place { part, object: self.number("objectid")?, transform })
    }
}

/// `#RRGGBB` or `#RRGGBBAA`.
fn colour(text: &str) -> Option<Colour> {
    let digits =
        text.strip_prefix('#').filter(|digits| digits.is_ascii() && matches!(digits.len(), 6 | 8))?;
    let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    Some([part(0)?, part(2)?, part(4)?])
}

/// Where the parser stands in a model part.
struct Parser<'a> {
    path: &'a Path,
    part: &'a str,
    model: Model,
    object: Option<(u32, Object)>,
    group: u32,
    metadata: Option<(String, String)>,
}

impl<'a> Parser<'a> {
    fn new(path: &'a Path, part: &'a str) -> Self {
        let model = Model {
            unit_mm: 1.0,
            metadata: Vec::new(),
            warnings: Vec::new(),
            colours: HashMap::new(),
            objects: HashMap::new(),
            items: Vec::new(),
        };
        Self { path, part, model, object: None, group: 0, metadata: None }
    }

    fn parse(mut self, archive: &mut Archive) -> Result<Model, InterchangeError> {
        let Some(content) = open(self.path, archive, self.part)? else {
            let expected = format!("a part {}", shown(self.part));
            return Err(InterchangeError::content(self.path, "package", expected, "no such part"));
        };
        each_event(self.path, self.part, content, |event| self.event(event))?;
        Ok(self.model)
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), Mismatch> {
        match event {
            Event::Start(tag) => self.start(tag)?,
            Event::End(tag) => self.end(tag.local_name().as_ref()),
            Event::Text(text) => {
                if let Some((_, value)) = &mut self.metadata {
                    value.push_str(text);
                }
            }
            Event::GeneralRef(reference) => {
                if let Some((_, value)) = &mut self.metadata {
                    let known = quick_xml::escape::resolve_predefined_entity(reference);
                    value.push_str(known.unwrap_or("?"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), Mismatch> {
        match tag.local_name().as_ref() {
            "vertex" => self.vertex(&Attributes::of(tag)?),
            "triangle" => self.triangle(&Attributes::of(tag)?),
            "model" => self.unit(&Attributes::of(tag)?),
            "metadata" => {
                let attributes = Attributes::of(tag)?;
                let name = attributes.required("name")?;
                let own = name.strip_prefix(OWN_PREFIX).and_then(|name| name.strip_prefix(':'));
                self.metadata = Some((own.unwrap_or(name).into(), String::new()));
                Ok(())
            }
            "basematerials" | "colorgroup" => {
                self.group = Attributes::of(tag)?.number("id")?;
                Ok(())
            }
            "base" => self.colour(&Attributes::of(tag)?, "displaycolor"),
            "color" => self.colour(&Attributes::of(tag)?, "color"),
            "object" => self.start_object(&Attributes::of(tag)?),
            "component" => {
                let place = Attributes::of(tag)?.place()?;
                self.open_object()?.components.push(place);
                Ok(())
            }
            "item" => {
                let place = Attributes::of(tag)?.place()?;
                self.model.items.push(place);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "object" => {
                if let Some((id, object)) = self.object.take() {
                    self.model.objects.insert(id, object);
                }
            }
            "metadata" => self.model.metadata.extend(self.metadata.take()),
            _ => {}
        }
    }

    fn unit(&mut self, attributes: &Attributes) -> Result<(), Mismatch> {
        self.model.unit_mm = match attributes.text("unit").unwrap_or("millimeter") {
            "micron" => 0.001,
            "millimeter" => 1.0,
            "centimeter" => 10.0,
            "inch" => 25.4,
            "foot" => 304.8,
            "meter" => 1000.0,
            other => return Err(("a unit of 3MF".into(), format!("{:?}", shown(other)))),
        };
        if let Some(needed) = attributes.text("requiredextensions") {
            let warning =
                format!("needs the extensions {}; surfaces and flat colours alone are read", shown(needed));
            self.model.warnings.push(warning);
        }
        Ok(())
    }

    fn colour(&mut self, attributes: &Attributes, name: &str) -> Result<(), Mismatch> {
        let found = attributes.text(name).and_then(colour);
        self.model.colours.entry(self.group).or_default().push(found);
        Ok(())
    }

    fn start_object(&mut self, attributes: &Attributes) -> Result<(), Mismatch> {
        let group: Option<u32> = attributes.optional("pid")?;
        let index: Option<usize> = attributes.optional("pindex")?;
        let colour = group
            .and_then(|group| self.model.colours.get(&group)?.get(index.unwrap_or(0)).copied())
            .flatten();
        let name = attributes.text("name").unwrap_or_default().to_string();
        self.object = Some((attributes.number("id")?, Object { name, colour, ..Object::default() }));
        Ok(())
    }

    fn open_object(&mut self) -> Result<&mut Object, Mismatch> {
        let open = self.object.as_mut().map(|(_, object)| object);
        open.ok_or_else(|| ("an object around it".into(), "none".into()))
    }

    fn vertex(&mut self, attributes: &Attributes) -> Result<(), Mismatch> {
        let point = [attributes.number("x")?, attributes.number("y")?, attributes.number("z")?];
        self.open_object()?.mesh.vertices_mm.push(point);
        Ok(())
    }

    fn triangle(&mut self, attributes: &Attributes) -> Result<(), Mismatch> {
        let triangle = [attributes.number("v1")?, attributes.number("v2")?, attributes.number("v3")?];
        let mesh = &mut self.open_object()?.mesh;
        let count = mesh.vertices_mm.len();
        if triangle.iter().any(|&v: &u32| v as usize >= count) {
            return Err((format!("indices of {count} vertices"), format!("{triangle:?}")));
        }
        mesh.triangles.push(triangle);
        Ok(())
    }
}

/// Puts objects in their places.
struct Placing<'a> {
    path: &'a Path,
    models: &'a BTreeMap<String, Model>,
    file: MeshFile,
    places: usize,
    triangles: usize,
}

impl Placing<'_> {
    fn place(
        &mut self,
        part: &str,
        place: &Place,
        outer: &Transform,
        depth: usize,
    ) -> Result<(), InterchangeError> {
        let part = place.part.as_deref().unwrap_or(part);
        let id = place.object;
        let broken = |expected: String, found: String| {
            InterchangeError::content(self.path, format!("{}, object {id}", shown(part)), expected, found)
        };
        let model = &self.models[part];
        let object = model.objects.get(&id).ok_or_else(|| broken("such an object".into(), "none".into()))?;
        self.places += 1;
        self.triangles += object.mesh.triangles.len();
        for (what, found, most) in [
            ("objects within objects", depth, DEPTH_MAX),
            ("objects in their places", self.places, PLACES_MAX),
            ("triangles", self.triangles, TRIANGLES_MAX),
        ] {
            if found > most {
                return Err(broken(format!("at most {most} {what}"), format!("{found} or more")));
            }
        }
        let transform = product(&place.transform, outer);
        if !object.mesh.triangles.is_empty() {
            let mesh = moved(&object.mesh, &transform, model.unit_mm);
            let (name, colour) = (object.name.clone(), object.colour);
            self.file.parts.push(MeshPart { name, mesh, colour, ..MeshPart::default() });
        }
        for component in &object.components {
            self.place(part, component, &transform, depth + 1)?;
        }
        Ok(())
    }
}

/// First `inner`, then `outer`.
fn product(inner: &Transform, outer: &Transform) -> Transform {
    std::array::from_fn(|i| {
        let (row, column) = (i / 3, i % 3);
        let sum: f64 = (0..3).map(|k| inner[3 * row + k] * outer[3 * k + column]).sum();
        if row == 3 { sum + outer[9 + column] } else { sum }
    })
}

/// The mesh in its place and in millimetres; a mirroring place turns the triangles, so that they keep facing outward.
fn moved(mesh: &TriangleMesh, m: &Transform, unit_mm: f64) -> TriangleMesh {
    if *m == IDENTITY && unit_mm == 1.0 {
        return mesh.clone();
    }
    let vertices_mm = mesh
        .vertices_mm
        .iter()
        .map(|point| {
            let [x, y, z] = point.map(f64::from);
            [0, 1, 2].map(|i| ((x * m[i] + y * m[3 + i] + z * m[6 + i] + m[9 + i]) * unit_mm) as f32)
        })
        .collect();
    let determinant = m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6])
        + m[2] * (m[3] * m[7] - m[4] * m[6]);
    let turned = |[a, b, c]: [u32; 3]| if determinant < 0.0 { [a, c, b] } else { [a, b, c] };
    TriangleMesh { vertices_mm, triangles: mesh.triangles.iter().copied().map(turned).collect() }
}
