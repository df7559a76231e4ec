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

/// How long a recording that has not grown is left alone.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

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
    Making { settings, corrector: None, progress, first_version: None }.of(reader)
}

/// Reconstructs a recording while it is made: each view as soon as it is in the file, and the end when the recorder says
/// that no frame follows. `first_version` gets the volume of that moment, unless it is the only version; what
/// is given back is the last one, the same as [`reconstruct_run`] makes of the finished recording, bit for bit.
///
/// Waits for frames until `progress`, which is asked while waiting, too, says not to.
///
/// # Errors
/// As [`reconstruct_run`].
pub fn follow_run(
    reader: &mut RunReader,
    settings: &RunSettings,
    progress: &mut dyn Progress,
    first_version: &mut dyn FnMut(Volume),
) -> Result<RunReconstruction, SessionError> {
    Making { settings, corrector: None, progress, first_version: Some(first_version) }.of(reader)
}

/// As [`reconstruct_run`], with a correction that has seen frames before the recording.
pub(crate) fn reconstruct_after(
    reader: &mut RunReader,
    settings: &RunSettings,
    corrector: Option<&Corrector>,
    progress: &mut dyn Progress,
) -> Result<RunReconstruction, SessionError> {
    Making { settings, corrector, progress, first_version: None }.of(reader)
}

/// How a volume is made of a recording.
struct Making<'a> {
    settings: &'a RunSettings,
    /// A correction that has seen frames before.
    corrector: Option<&'a Corrector>,
    progress: &'a mut dyn Progress,
    /// Who gets the first version; the recording is then followed while it grows.
    first_version: Option<&'a mut dyn FnMut(Volume)>,
}

impl Making<'_> {
    fn of(mut self, reader: &mut RunReader) -> Result<RunReconstruction, SessionError> {
        let planning = Instant::now();
        let plan = Arc::new(plan_run(reader.description(), self.settings)?);
        match self.feed(reader, plan, planning.elapsed(), None) {
            Err(SessionError::Reconstruct(ReconstructError::SweepCutShort { planned_deg, covered_deg })) => {
                let warning = format!(
                    "the sweep covered {covered_deg:.1} of {planned_deg:.1} planned degrees; weights are confidence-normalised"
                );
                self.of_partial_sweep(reader, warning)
            }
            other => other,
        }
    }

    fn of_partial_sweep(
        &mut self,
        reader: &mut RunReader,
        warning: String,
    ) -> Result<RunReconstruction, SessionError> {
        let planning = Instant::now();
        let maker = ViewMaker::new(reader.description())?;
        let matrices = reader
            .headers()
            .iter()
            .filter(|header| header.is_xray_on)
            .map(|header| maker.matrix(header))
            .collect::<Result<Vec<_>, _>>()?;
        let plan = Arc::new(plan_partial(reader.description(), matrices, self.settings)?);
        self.feed(reader, plan, planning.elapsed(), Some(warning))
    }

    fn feed(
        &mut self,
        reader: &mut RunReader,
        plan: Arc<FdkPlan>,
        planning: Duration,
        warning: Option<String>,
    ) -> Result<RunReconstruction, SessionError> {
        let mut maker = ViewMaker::after(reader.description(), self.corrector.cloned())?;
        let mut stages = StageTimes::default();
        let learned = self.settings.corrects_rings.then(|| self.learn(reader)).transpose()?;
        if let Some(learned) = &learned {
            maker.learn(learned)?;
        }
        let mut counts = vec![0; reader.description().detector.pixel_count()];
        let mut fdk = Fdk::new(plan);
        let mut working = planning;
        let mut unreadable = 0;
        let mut index = 0;
        while self.has_frame(reader, index)? {
            let header: FrameHeader = match reader.read_frame(index, &mut counts) {
                Ok(header) => header,
                Err(capture::CaptureError::FrameDamaged { .. }) => {
                    (unreadable, index) = (unreadable + 1, index + 1);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            index += 1;
            if !header.is_xray_on {
                maker.correct(&header, &counts)?;
                continue;
            }
            let start = Instant::now();
            push_frame(&mut fdk, &mut maker, &header, &counts, &mut stages)?;
            working += start.elapsed();
            self.step(reader, index)?;
        }
        let views = fdk.view_count();
        let describe = |volume: &mut Volume| {
            if unreadable > 0 {
                let warning = format!("{unreadable} recorded frames are damaged and were left out");
                volume.provenance.warnings.push(warning);
            }
            if let Some(learned) = &learned {
                volume.provenance.warnings.extend(learned.warning());
            }
            volume.provenance.warnings.extend(warning.clone());
            volume.provenance.inputs.insert("run".into(), reader.content_hash());
        };
        let mut start = Instant::now();
        let mu_water_per_mm = reader.description().beam.mu_water_per_mm;
        let (first, second_pass) = fdk.finish_first_pass(&mut stages)?;
        let second_pass = self.settings.has_second_pass.then_some(second_pass);
        if let (Some(first_version), true) = (&mut self.first_version, second_pass.is_some()) {
            let mut early = finish(first.clone(), None, mu_water_per_mm, &mut || true, &mut stages)?;
            describe(&mut early);
            working += start.elapsed();
            first_version(early);
            start = Instant::now();
        }
        let mut goes_on = || self.step(reader, index).is_ok();
        let mut volume = finish(first, second_pass, mu_water_per_mm, &mut goes_on, &mut stages)?;
        working += start.elapsed();
        describe(&mut volume);
        Ok(RunReconstruction { volume, views, reconstruct_time: working, stages })
    }

    /// Whether there is a frame `index`; waits for it where more may come.
    fn has_frame(&mut self, reader: &mut RunReader, index: usize) -> Result<bool, SessionError> {
        loop {
            if index < reader.frame_count() {
                return Ok(true);
            }
            if self.first_version.is_none() || reader.has_all_frames() {
                return Ok(false);
            }
            if reader.refresh()? == 0 && !reader.has_all_frames() {
                self.step(reader, index)?;
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }

    /// The panel as all frames show it.
    fn learn(&mut self, reader: &mut RunReader) -> Result<LearnedPanel, SessionError> {
        while self.has_frame(reader, reader.frame_count())? {}
        LearnedPanel::of(reader)
    }

    fn step(&mut self, reader: &RunReader, done: usize) -> Result<(), SessionError> {
        let planned = if self.first_version.is_some() { reader.description().planned_views.len() } else { 0 };
        let all = reader.frame_count().max(planned);
        if self.progress.step(done as u64, all as u64) { Ok(()) } else { Err(SessionError::Cancelled) }
    }
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

/// Finishes a first version: refines it where a second pass is given and as long as `goes_on` says so, turns it into
/// Hounsfield units and writes the time of each stage into its history.
pub(crate) fn finish(
    mut volume: Volume,
    second_pass: Option<SecondPass>,
    mu_water_per_mm: f64,
    goes_on: &mut dyn FnMut() -> bool,
    stages: &mut StageTimes,
) -> Result<Volume, SessionError> {
    if let Some(second_pass) = second_pass {
        match second_pass.refine(&mut volume, mu_water_per_mm, goes_on, stages) {
            Err(ReconstructError::Cancelled) => return Err(SessionError::Cancelled),
            refined => refined?,
        };
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
