//! A report for people: one self-contained HTML page, and the same as a table for the terminal.

use serde::Serialize;
use std::fmt::Write;

/// Something that must hold.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What must hold.
    pub name: &'static str,
    /// Whether it did.
    pub is_passed: bool,
    /// What was measured.
    pub measured: String,
    /// A goal depends on the machine or on corrections; missing it is told, and is no failure of the program.
    pub is_goal: bool,
}

impl Check {
    /// What must hold on any machine, and what was measured.
    pub fn new(name: &'static str, is_passed: bool, measured: String) -> Self {
        Self { name, is_passed, measured, is_goal: false }
    }

    /// What is aimed at, and what was measured.
    pub fn goal(name: &'static str, is_passed: bool, measured: String) -> Self {
        Self { name, is_passed, measured, is_goal: true }
    }

    /// Whether the program is at fault.
    pub fn is_failure(&self) -> bool {
        !self.is_passed && !self.is_goal
    }

    fn word(&self) -> &'static str {
        match (self.is_passed, self.is_goal) {
            (true, _) => "passed",
            (false, true) => "MISSED",
            (false, false) => "FAILED",
        }
    }
}

/// A picture with its caption.
#[derive(Clone, Debug)]
pub struct Figure {
    caption: String,
    data_url: String,
}

impl Figure {
    /// `data_url`: the picture itself.
    pub fn new(caption: &str, data_url: String) -> Self {
        Self { caption: caption.into(), data_url }
    }
}

/// Everything on the page.
#[derive(Clone, Debug)]
pub struct Report {
    /// Names and values.
    pub rows: Vec<(String, String)>,
    /// What must hold.
    pub checks: Vec<Check>,
    /// Pictures: the live frame first, then three a row.
    pub figures: Vec<Figure>,
    /// Lag of every view by sequence number, ms.
    pub lags_ms: Vec<(u64, f64)>,
    /// What was left out, extrapolated or assumed.
    pub remarks: Vec<String>,
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;\
background:#14171a;color:#dfe3e6}h1{font-weight:600;margin-bottom:0}h2{margin-top:2.2rem}\
table{border-collapse:collapse;width:100%}td{padding:.3rem .6rem;border-bottom:1px solid #333a40;vertical-align:top}\
td:last-child{text-align:right;font-variant-numeric:tabular-nums}.pass{color:#6fcf97}.fail{color:#ff7b72;font-weight:600}\
.grid{display:grid;grid-template-columns:repeat(3,1fr);gap:.8rem}figure{margin:0}figure.live{grid-column:1/-1}\
img{width:100%;image-rendering:auto;background:#000}figure.live img{max-width:44rem;display:block}\
figcaption,.note{color:#98a2ab;font-size:.85rem}svg text{fill:#98a2ab;font-size:11px}";

impl Report {
    /// The page. It needs nothing from outside.
    pub fn html(&self) -> String {
        let mut page = String::new();
        let _ = write!(
            page,
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>Isocenter demo</title><style>{STYLE}</style><h1>Isocenter: one spin, start to finish</h1>\
             <p class=\"note\">A real CT imaged by the virtual C-arm, played as a live device delivers it, recorded, and \
             reconstructed while the arm turned. Every figure was measured in this run. For research use; not a medical \
             device.</p><h2>Checks</h2><table>"
        );
        for check in &self.checks {
            let (class, word) = (if check.is_passed { "pass" } else { "fail" }, check.word());
            let _ = write!(
                page,
                "<tr><td class=\"{class}\">{word}</td><td>{}</td><td>{}</td></tr>",
                check.name,
                escaped(&check.measured)
            );
        }
        page += "</table><h2>Figures</h2><table>";
        for (name, value) in &self.rows {
            let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(value));
        }
        page += "</table><h2>Lag of every view</h2>";
        page += &self.lag_plot();
        page += "<h2>Pictures</h2><p class=\"note\">Volume and truth: -400 to 600 HU. Difference: -150 to 150 HU. \
                 The patient's left is on the right, the head on top.</p><div class=\"grid\">";
        for (index, figure) in self.figures.iter().enumerate() {
            let class = if index == 0 { " class=\"live\"" } else { "" };
            let _ = write!(
                page,
                "<figure{class}><img alt=\"{0}\" src=\"{1}\"><figcaption>{0}</figcaption></figure>",
                escaped(&figure.caption),
                figure.data_url
            );
        }
        page += "</div><h2>Left out, extrapolated, assumed</h2><ul>";
        for remark in &self.remarks {
            let _ = write!(page, "<li>{}</li>", escaped(remark));
        }
        page += "</ul></html>\n";
        page
    }

    /// Lag over sequence number as a drawing.
    fn lag_plot(&self) -> String {
        const WIDTH: f64 = 900.0;
        const HEIGHT: f64 = 180.0;
        let highest = self.lags_ms.iter().map(|(_, ms)| *ms).fold(1.0_f64, f64::max) * 1.1;
        let (first, last) = match (self.lags_ms.first(), self.lags_ms.last()) {
            (Some(first), Some(last)) if last.0 > first.0 => (first.0 as f64, last.0 as f64),
            _ => return "<p class=\"note\">No views.</p>".into(),
        };
        let mut points = String::new();
        for (sequence, ms) in &self.lags_ms {
            let x = 50.0 + (*sequence as f64 - first) / (last - first) * (WIDTH - 60.0);
            let y = HEIGHT - 25.0 - ms / highest * (HEIGHT - 40.0);
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"lag of every view\">\
             <polyline fill=\"none\" stroke=\"#6cb6ff\" stroke-width=\"1.5\" points=\"{points}\"/>\
             <text x=\"4\" y=\"20\">{highest:.0} ms</text><text x=\"20\" y=\"{0}\">0</text>\
             <text x=\"50\" y=\"{1}\">view {first:.0}</text><text x=\"{2}\" y=\"{1}\" text-anchor=\"end\">view {last:.0}</text></svg>",
            HEIGHT - 25.0,
            HEIGHT - 6.0,
            WIDTH - 10.0
        )
    }

    /// The table for the terminal.
    pub fn table(&self) -> String {
        let width = self
            .rows
            .iter()
            .map(|(name, _)| name.chars().count())
            .chain(self.checks.iter().map(|check| check.name.chars().count()))
            .max()
            .unwrap_or(0);
        let mut table = String::new();
        for (name, value) in &self.rows {
            let _ = writeln!(table, "         {name:width$}  {value}");
        }
        for check in &self.checks {
            let word = check.word();
            let _ = writeln!(table, "{word:8} {:width$}  {}", check.name, check.measured);
        }
        table
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_escapes_what_it_shows_and_draws_every_view() {
        let report = Report {
            rows: vec![("a<b".into(), "1 & 2".into())],
            checks: vec![Check::new("holds", false, "\"x\"".into())],
            figures: vec![Figure::new("live", "data:,".into())],
            lags_ms: vec![(3, 1.0), (4, 2.0), (9, 4.0)],
            remarks: vec!["none".into()],
        };
        let html = report.html();
        assert!(html.contains("a&lt;b") && html.contains("1 &amp; 2") && html.contains("FAILED"));
        assert_eq!(html.matches("points=\"").count(), 1);
        assert!(report.table().contains("FAILED"));
    }
}
