//! A recorded run becomes a volume: the same steps as live, the same bits.

use crate::error::SessionError;
use crate::panel::LearnedPanel;
use crate::timing::StageTimes;
use crate::views::{RunSettings, ViewMaker, plan_partial, plan_run};
use acquisition::Corrector;
use capture::RunReader;
use carm::{FrameHeader, Volume};
use reconstruct::{Fdk, FdkPlan, Observer, ReconstructError, SecondPass, to_hu};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A volume and how it came to be.
#[derive(Clone, Debug)]
pub struct RunReconstruction {
    /// Hounsfield units, LPS.
    pub volume: Volume,
    /// Views that went into it.
    pub views: usize,
    /// From the first view to the finished volume, planning included and reading frames not.
    pub reconstruct_time: Duration,
    /// Time per stage.
    pub stages: StageTimes,
}

/// Asks a long piece of work whether to go on, and tells it how far it is: `(done, all)`.
pub trait Progress {
    /// Called after each step; false stops the work.
    fn step(&mut self, done: u64, all: u64) -> bool;
}

impl<F: FnMut(u64, u64) -> bool> Progress for F {
    fn step(&mut self, done: u64, all: u64) -> bool {
        self(done, all)
    }
}

/// Reconstructs a recording, on the current rayon pool.
///
/// A sweep that ended before its planned arc is planned again from the views that there are, with weights that
/// suit any arc past half a turn plus the fan; the volume's warnings say so.
///
/// # Errors
/// A run without maps, plan or grid; an arc too short. Damaged frames are no error: they are left out, and the
/// volume's warnings count them.
pub fn reconstruct_run(
    reader: &mut RunReader,
    settings: &RunSettings,
    progress: &mut dyn Progress,
) -> Result<RunReconstruction, SessionError> {
    reconstruct_after(reader, settings, None, progress)
}

/// As [`reconstruct_run`], with a correction that has seen frames before the recording.
pub(crate) fn reconstruct_after(
    reader: &mut RunReader,
    settings: &RunSettings,
    corrector: Option<&Corrector>,
    progress: &mut dyn Progress,
) -> Result<RunReconstruction, SessionError> {
    let planning = Instant::now();
    let plan = Arc::new(plan_run(reader.description(), settings)?);
    let planning = planning.elapsed();
    match feed(reader, plan, planning, settings, corrector, progress) {
        Err(SessionError::Reconstruct(ReconstructError::SweepCutShort { planned_deg, covered_deg })) => {
            let mut partial = reconstruct_partial(reader, settings, corrector, progress)?;
            partial.volume.provenance.warnings.push(format!(
                "the sweep covered {covered_deg:.1} of {planned_deg:.1} planned degrees; weights are confidence-normalised"
            ));
            Ok(partial)
        }
        other => other,
    }
}

fn reconstruct_partial(
    reader: &mut RunReader,
    settings: &RunSettings,
    corrector: Option<&Corrector>,
    progress: &mut dyn Progress,
) -> Result<RunReconstruction, SessionError> {
    let planning = Instant::now();
    let maker = ViewMaker::new(reader.description())?;
    let matrices = reader
        .headers()
        .iter()
        .filter(|header| header.is_xray_on)
        .map(|header| maker.matrix(header))
        .collect::<Result<Vec<_>, _>>()?;
    let plan = Arc::new(plan_partial(reader.description(), matrices, settings)?);
    let planning = planning.elapsed();
    feed(reader, plan, planning, settings, corrector, progress)
}

fn feed(
    reader: &mut RunReader,
    plan: Arc<FdkPlan>,
    planning: Duration,
    settings: &RunSettings,
    corrector: Option<&Corrector>,
    progress: &mut dyn Progress,
) -> Result<RunReconstruction, SessionError> {
    let mut maker = ViewMaker::after(reader.description(), corrector.cloned())?;
    let mut stages = StageTimes::default();
    let learned = settings.corrects_rings.then(|| LearnedPanel::of(reader)).transpose()?;
    if let Some(learned) = &learned {
        maker.learn(learned)?;
    }
    let mut counts = vec![0; reader.description().detector.pixel_count()];
    let mut fdk = Fdk::new(Arc::clone(&plan));
    let mut working = planning;
    let all = reader.frame_count() as u64;
    let mut unreadable = 0;
    for index in 0..reader.frame_count() {
        let header: FrameHeader = match reader.read_frame(index, &mut counts) {
            Ok(header) => header,
            Err(capture::CaptureError::FrameDamaged { .. }) => {
                unreadable += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !header.is_xray_on {
            maker.correct(&header, &counts)?;
            continue;
        }
        let start = Instant::now();
        push_frame(&mut fdk, &mut maker, &header, &counts, &mut stages)?;
        working += start.elapsed();
        if !progress.step(index as u64 + 1, all) {
            return Err(SessionError::Cancelled);
        }
    }
    let views = fdk.view_count();
    let start = Instant::now();
    let mu_water_per_mm = reader.description().beam.mu_water_per_mm;
    let (first, second_pass) = fdk.finish_first_pass(&mut stages)?;
    let second_pass = settings.has_second_pass.then_some(second_pass);
    let mut volume = finish(first, second_pass, mu_water_per_mm, &mut stages)?;
    working += start.elapsed();
    if unreadable > 0 {
        volume
            .provenance
            .warnings
            .push(format!("{unreadable} recorded frames are damaged and were left out"));
    }
    if let Some(learned) = &learned {
        volume.provenance.warnings.extend(learned.warning());
    }
    volume.provenance.inputs.insert("run".into(), reader.content_hash());
    Ok(RunReconstruction { volume, views, reconstruct_time: working, stages })
}

/// Corrects a frame and pushes it.
pub(crate) fn push_frame(
    fdk: &mut Fdk,
    maker: &mut ViewMaker,
    header: &FrameHeader,
    counts: &[u16],
    stages: &mut StageTimes,
) -> Result<(), SessionError> {
    let mut corrected = Ok(());
    stages.stage("detector-correction", &mut || corrected = maker.correct(header, counts));
    corrected?;
    Ok(fdk.push(maker.view()?, stages)?)
}

/// Finishes a first version: refines it where a second pass is given, turns it into Hounsfield units and writes the
/// time of each stage into its history.
pub(crate) fn finish(
    mut volume: Volume,
    second_pass: Option<SecondPass>,
    mu_water_per_mm: f64,
    stages: &mut StageTimes,
) -> Result<Volume, SessionError> {
    if let Some(second_pass) = second_pass {
        second_pass.refine(&mut volume, mu_water_per_mm, stages)?;
    }
    stages.stage("hounsfield", &mut || to_hu(&mut volume, mu_water_per_mm));
    for (name, spent) in stages.stages() {
        let stages = &mut volume.provenance.stages;
        match stages.iter_mut().find(|stage| stage.name == *name) {
            Some(stage) => stage.seconds = spent.as_secs_f64(),
            None => stages.push(carm::Stage {
                name: (*name).into(),
                seconds: spent.as_secs_f64(),
                ..Default::default()
            }),
        }
    }
    Ok(volume)
}
