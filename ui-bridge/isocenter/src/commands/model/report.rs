//! How far to trust a model: one page for people, the same as JSON.

use super::render::{View, render};
use anyhow::Result;
use carm::TriangleMesh;
use serde_json::Value;
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;border-bottom:1px solid #ccc;text-align:left;\
vertical-align:top}.note{background:#fff3cd;padding:.5rem .8rem}img{width:48%;margin-right:1%}";

/// The page: pictures, then everything that the JSON says, section by section.
pub fn html(report: &Value, mesh: &TriangleMesh) -> Result<String> {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Model report</title><style>{STYLE}</style><h1>Printable model: {}</h1>\
         <p class=\"note\"><b>{}.</b> {}</p>",
        escaped(&plain(&report["target"])),
        escaped(&plain(&report["review"])),
        escaped(&plain(&report["notice"])),
    );
    for view in [View::Front, View::Left] {
        let _ = write!(
            page,
            "<img alt=\"The model {0}\" title=\"{0}\" src=\"{1}\">",
            view.name(),
            render(mesh, view).data_url()?
        );
    }
    page += "<p>Left: from the front, the patient's left on the right. Right: from the left, the patient's front on the left.</p>";
    let Value::Object(sections) = report else { return Ok(page) };
    for (name, value) in sections {
        let _ = write!(page, "<h2>{}</h2>", escaped(&name.replace('_', " ")));
        page += &table(value);
    }
    page += "</html>\n";
    Ok(page)
}

/// A value as a table: an object row by row, a list of objects with their names on top.
fn table(value: &Value) -> String {
    match value {
        Value::Object(rows) => {
            let rows = rows.iter().map(|(name, value)| {
                format!(
                    "<tr><td>{}</td><td>{}</td></tr>",
                    escaped(&name.replace('_', " ")),
                    escaped(&plain(value))
                )
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
        Value::Array(rows) if rows.is_empty() => "<p>None.</p>".into(),
        other => format!("<p>{}</p>", escaped(&plain(other))),
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
            .map(|(name, value)| format!("{name} {}", plain(value)))
            .collect::<Vec<_>>()
            .join("; "),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Null => "not known".into(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
