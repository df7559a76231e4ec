//! A launch line becomes a pipeline, or is refused before it runs.

use crate::error::CameraError;
use gstreamer::prelude::*;
use gstreamer::{Caps, Pipeline};
use gstreamer_app::AppSink;

/// Frames that may wait in the appsink. More would only hide a reader that is too slow.
const WAITING_FRAMES: u32 = 8;

/// Parses the line and sets its `appsink` up.
pub(crate) fn pipeline(camera: &str, launch: &str) -> Result<(Pipeline, AppSink), CameraError> {
    gstreamer::init().map_err(CameraError::GStreamer)?;
    let refused = |reason: String| CameraError::LaunchLine { camera: camera.into(), reason };
    let element = gstreamer::parse::launch(launch).map_err(|error| refused(error.message().into()))?;
    let pipeline =
        element.downcast::<Pipeline>().map_err(|_| refused("expected several elements, found one".into()))?;
    let mut sinks = Vec::new();
    // Going through a pipeline that nobody changes cannot fail.
    for element in pipeline.iterate_recurse().into_iter().flatten() {
        refuse_conversion(camera, &element)?;
        if let Ok(sink) = element.downcast::<AppSink>() {
            sinks.push(sink);
        }
    }
    let found = sinks.len();
    let [sink] =
        <[AppSink; 1]>::try_from(sinks).map_err(|_| CameraError::AppSink { camera: camera.into(), found })?;
    let formats = gstreamer::List::new(["GRAY16_LE", "GRAY8"]);
    sink.set_caps(Some(&Caps::builder("video/x-raw").field("format", formats).build()));
    sink.set_property("sync", false);
    sink.set_max_buffers(WAITING_FRAMES);
    sink.set_drop(false);
    Ok((pipeline, sink))
}

/// Elements of the refused kinds that leave counts as they are.
const HARMLESS: [&str; 2] = ["rawvideoparse", "videocrop"];

/// Refuses `videoconvert`, `videoscale`, `gamma`, `videorate` and their kind: whatever calls itself a converter or an
/// effect of video.
fn refuse_conversion(camera: &str, element: &gstreamer::Element) -> Result<(), CameraError> {
    let Some(factory) = element.factory() else { return Ok(()) };
    let kinds = factory.metadata(gstreamer::ELEMENT_METADATA_KLASS).unwrap_or_default();
    let is_any = |known: &[&str]| kinds.split('/').any(|kind| known.contains(&kind));
    let converts = is_any(&["Video"]) && is_any(&["Converter", "Effect", "Scaler", "Colorspace"]);
    if converts && !HARMLESS.contains(&factory.name().as_str()) {
        return Err(CameraError::Converts { camera: camera.into(), element: factory.name().into() });
    }
    Ok(())
}
