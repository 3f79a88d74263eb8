//! The search of one file for a library without symbols. It reads the whole file and can take long,
//! so that discovery goes on meanwhile.

use std::{rc::Rc, time::Duration};

use super::{
    image::{self, Image},
    inspections::{Inspections, NoAnswer, Polled, Running, Subject},
    process_maps::{self, MappedFile, MappingId},
};
use reprise_core::plan::{self, Carrier, PlanError};

/// Time limit of a search.
const LIMIT: Duration = Duration::from_secs(60);

/// A running search.
pub(super) struct Search {
    pub(super) id: MappingId,
    pub(super) pid: u32,
    pub(super) group: Rc<str>,
    running: Running<Option<Searched>>,
}

/// Result of a search.
pub(super) struct Searched {
    pub(super) file: MappedFile,
    /// The open file, if there is something to report about it.
    pub(super) image: Option<Image>,
    pub(super) carrier: Result<Option<Carrier>, PlanError>,
}

impl Search {
    /// Starts to search a file that a process maps.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if the file must be skipped.
    pub(super) fn start(
        inspections: &mut Inspections,
        id: MappingId,
        pid: u32,
        group: Rc<str>,
    ) -> Result<Self, NoAnswer> {
        let shown = format!("file that process {pid} maps");
        let running = inspections.start(Subject::File(id), shown, move || search(id, pid))?;
        Ok(Self {
            id,
            pid,
            group,
            running,
        })
    }

    /// Returns the result, which is `None` if the file is gone, or the search if it still runs.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if the file does not answer.
    pub(super) fn poll(
        self,
        inspections: &mut Inspections,
    ) -> Result<Result<Option<Searched>, Self>, NoAnswer> {
        let Self {
            id,
            pid,
            group,
            running,
        } = self;
        Ok(match inspections.poll(running, LIMIT)? {
            Polled::Returned(found) => Ok(found),
            Polled::Running(running) => Err(Self {
                id,
                pid,
                group,
                running,
            }),
        })
    }
}

fn search(id: MappingId, pid: u32) -> Option<Searched> {
    let mapped = process_maps::mapped(pid, false).ok()?.files;
    let file = mapped.into_iter().find(|file| file.id == id)?;
    let image = image::open_first(&file.names()).ok()?;
    image.limit_cpu_time();
    let carrier = plan::by_text(&image);
    let image = (!matches!(carrier, Ok(None))).then_some(image);
    Some(Searched {
        file,
        image,
        carrier,
    })
}
