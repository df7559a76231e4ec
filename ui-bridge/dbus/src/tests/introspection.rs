//! The interfaces are what is checked in: a change of the contract shows as a change of these files.
//!
//! `ISOCENTER_WRITE_INTROSPECTION=1 cargo test -p dbus` writes them anew.

use super::{Rig, words};
use crate::{DAEMON_PATH, stream_path};
use std::path::Path;

#[test]
fn interfaces_are_those_that_are_checked_in() {
    let rig = Rig::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("introspection");
    for (file, path, interfaces) in
        [("daemon.xml", DAEMON_PATH.to_owned(), 4), ("stream.xml", stream_path("flat-panel"), 5)]
    {
        let found = words(&rig.gdbus("introspect", &["--object-path", &path, "--xml"]));
        let file = folder.join(file);
        // Only our own interfaces; the child nodes of an object are not part of the contract.
        let found = own_interfaces(&found);
        assert!(found.matches("<interface").count() == interfaces, "{found}");
        if std::env::var_os("ISOCENTER_WRITE_INTROSPECTION").is_some() {
            std::fs::write(&file, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(found, expected, "{}", file.display());
    }
}

/// The interfaces `org.isocenter.*`, in the order of their names, without comments: those speak in the source.
fn own_interfaces(xml: &str) -> String {
    let without_comments: String = {
        let mut parts = xml.split("<!--");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once("-->").map_or("", |(_, rest)| rest))
    };
    // Child nodes come after the object's own interfaces.
    let own = without_comments.split("<node name").next().unwrap_or_default();
    let mut interfaces: Vec<String> = own
        .split("<interface ")
        .skip(1)
        .filter_map(|part| part.split_once("</interface>"))
        .filter(|(body, _)| body.starts_with("name=\"org.isocenter."))
        .map(|(body, _)| format!("<interface {body}</interface>"))
        .map(|text| {
            text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
        })
        .collect();
    interfaces.sort();
    format!("<node>\n{}\n</node>\n", interfaces.join("\n"))
}
