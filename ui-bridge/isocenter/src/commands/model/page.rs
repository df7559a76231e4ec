//! The report for people: one self-contained page with pictures, then everything that the JSON says.

use super::painted::Painted;
use super::render::{View, render, scaled_colours};
use anyhow::Result;
use carm::TriangleMesh;
use serde_json::Value;
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;border-bottom:1px solid #ccc;text-align:left;\
vertical-align:top}td table{font-size:.9em}.note{background:#fff3cd;padding:.5rem .8rem}\
figure{display:inline-block;width:47%;margin:.5% 1%}img{width:100%}details{margin:.4rem 0}";
/// Plain surface.
pub const PLAIN: [u8; 3] = [236, 228, 208];
/// Values that are red and green: thickness in mm, confidence in percent, distance from the image in mm.
const THICKNESS_MM: [f32; 2] = [1.0, 3.0];
const CONFIDENCE_PERCENT: [f32; 2] = [50.0, 95.0];
const OFF_MM: [f32; 2] = [1.0, 0.0];
/// What is folded away.
const FOLDED: [&str; 6] = ["doubtful", "structures", "parameters", "input", "stages_s", "level"];

/// The page.
pub fn html(report: &Value, mesh: &TriangleMesh, painted: &Painted) -> Result<String> {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Model report</title><style>{STYLE}</style><h1>Printable model: {}</h1>\
         <p class=\"note\"><b>{}.</b> {}.</p>",
        escaped(&plain(&report["target"])),
        escaped(&plain(&report["review"])),
        escaped(&plain(&report["notice"])),
    );
    page += &pictures(mesh, painted)?;
    let Value::Object(sections) = report else { return Ok(page) };
    for (name, value) in sections.iter().filter(|(_, value)| !value.is_null()) {
        let (title, table) = (escaped(&name.replace('_', " ")), table(value));
        let _ = if FOLDED.contains(&name.as_str()) {
            write!(page, "<details><summary>{title}</summary>{table}</details>")
        } else {
            write!(page, "<h2>{title}</h2>{table}")
        };
    }
    page += "</html>\n";
    Ok(page)
}

fn pictures(mesh: &TriangleMesh, painted: &Painted) -> Result<String> {
    let scaled = |values: &[f32], [low, high]: [f32; 2]| scaled_colours(values, low, high);
    let off: Vec<f32> = painted.off_mm.iter().map(|off| -off.abs()).collect();
    let plain = vec![PLAIN; mesh.vertices_mm.len()];
    let figures = [
        (plain.clone(), View::Front, "the model".to_string()),
        (plain, View::Left, "the model".to_string()),
        (
            scaled(&painted.thickness_mm, THICKNESS_MM),
            View::Front,
            format!("thickness: red up to {} mm, green from {} mm on", THICKNESS_MM[0], THICKNESS_MM[1]),
        ),
        (
            scaled(&painted.confidence_percent, CONFIDENCE_PERCENT),
            View::Front,
            format!(
                "confidence: red up to {} %, green from {} % on",
                CONFIDENCE_PERCENT[0], CONFIDENCE_PERCENT[1]
            ),
        ),
        (
            scaled(&off, OFF_MM.map(|mm| -mm)),
            View::Front,
            format!(
                "distance from the image's surface: green 0, red {} mm or more (walls, struts, base)",
                OFF_MM[0]
            ),
        ),
        (
            scaled(&painted.confidence_percent, CONFIDENCE_PERCENT),
            View::Left,
            "confidence, as before".to_string(),
        ),
    ];
    let mut page = String::new();
    for (colours, view, what) in figures {
        let url = render(mesh, &colours, view)?;
        let _ = write!(
            page,
            "<figure><img alt=\"{what}\" src=\"{url}\"><figcaption>{what}; {}</figcaption></figure>",
            view.name()
        );
    }
    Ok(page)
}

/// A value as a table: an object row by row, a list of objects with their names on top.
fn table(value: &Value) -> String {
    match value {
        Value::Object(rows) => {
            let rows = rows.iter().map(|(name, value)| {
                format!("<tr><td>{}</td><td>{}</td></tr>", escaped(&name.replace('_', " ")), table(value))
            });
            format!("<table>{}</table>", rows.collect::<String>())
        }
        Value::Array(rows) if rows.first().is_some_and(Value::is_object) => {
            let names: Vec<&String> = rows[0].as_object().into_iter().flat_map(|row| row.keys()).collect();
            let mut page = "<table><tr>".to_string();
            for name in &names {
                let _ = write!(page, "<th>{}</th>", escaped(&name.replace('_', " ")));
            }
            for row in rows {
                page += "</tr><tr>";
                for name in &names {
                    let _ = write!(page, "<td>{}</td>", escaped(&plain(&row[name.as_str()])));
                }
            }
            page + "</tr></table>"
        }
        Value::Array(rows) if rows.is_empty() => "none".into(),
        other => escaped(&plain(other)),
    }
}

/// A value for people: numbers rounded, texts without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(x) if x.fract() != 0.0 => format!("{x:.3}"),
            _ => number.to_string(),
        },
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(values) => values
            .iter()
            .map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value)))
            .collect::<Vec<_>>()
            .join("; "),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Null => "none".into(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
