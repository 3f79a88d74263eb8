//! What is known of files, so that none is read twice: which mapped files carry a TLS library, what they hold for a later look
//! inside, and the plans that were made.

use std::{collections::HashMap, num::NonZeroUsize, rc::Rc};

use lru::LruCache;

use super::{
    image::{FileId, Image},
    maps::{Mapped, MappingId},
};
use reprise_core::plan::{Images, Plan, PlanError, plan};

/// Mapped files remembered; beyond it all are looked at again.
const MAX_MAPPINGS: usize = 65_536;
/// Files that wait for a look inside; what is beyond waits until it is mapped again.
const MAX_UNSEARCHED: usize = 4_096;
/// Plans remembered.
const PLANS: NonZeroUsize = NonZeroUsize::new(64).expect("is not zero");

/// Plans, or why there is none.
type Planned = Result<Rc<Plan>, Rc<PlanError>>;

/// A file to look into.
#[derive(Debug)]
pub(super) struct Unsearched {
    pub(super) id: MappingId,
    /// A process that maps it.
    pub(super) pid: u32,
}

/// See the module.
pub(super) struct Files {
    /// The library that a mapped file is; `None` where it is none.
    mappings: HashMap<MappingId, Option<FileId>>,
    unsearched: Vec<Unsearched>,
    plans: LruCache<(FileId, (i64, i64)), Planned>,
}

impl Files {
    pub(super) fn new() -> Self {
        Self {
            mappings: HashMap::new(),
            unsearched: Vec::new(),
            plans: LruCache::new(PLANS),
        }
    }

    /// What is known of a mapped file.
    pub(super) fn known(&self, id: MappingId) -> Option<Option<FileId>> {
        self.mappings.get(&id).copied()
    }

    /// A mapped file is a library, or none as far as its name and symbols tell.
    pub(super) fn learn(&mut self, id: MappingId, library: Option<FileId>) {
        if self.mappings.len() >= MAX_MAPPINGS {
            self.mappings.clear();
        }
        self.mappings.insert(id, library);
    }

    /// A mapped file has yet to be looked into.
    pub(super) fn look_into(&mut self, mapped: &Mapped) {
        if self.unsearched.len() < MAX_UNSEARCHED {
            self.unsearched.push(Unsearched {
                id: mapped.id,
                pid: mapped.pid,
            });
        } else {
            self.mappings.remove(&mapped.id);
        }
    }

    /// The next file to look into: the one mapped last, since its program has just begun.
    pub(super) fn next_unsearched(&mut self) -> Option<Unsearched> {
        self.unsearched.pop()
    }

    /// Whether files wait for a look inside.
    pub(super) fn has_unsearched(&self) -> bool {
        !self.unsearched.is_empty()
    }

    /// A file is not known any more.
    pub(super) fn unlearn(&mut self, id: MappingId) {
        self.mappings.remove(&id);
    }

    /// Files for which `forgotten` holds are not known any more.
    pub(super) fn unlearn_files(&mut self, forgotten: impl Fn(FileId) -> bool) {
        self.mappings
            .retain(|_, library| !library.is_some_and(&forgotten));
    }

    /// Nothing is known of any file: a number can come back as another one.
    pub(super) fn unlearn_all(&mut self) {
        self.mappings.clear();
        self.unsearched.clear();
    }

    /// The plan for a file, as it was made before if nobody has written to the file since.
    pub(super) fn plan(&mut self, ssl: &Image, crypto: Option<&Image>) -> Planned {
        let made = self.plans.get_or_insert((ssl.id, ssl.modified), || {
            let images = Images {
                ssl,
                crypto: crypto.map(|image| image as _),
            };
            plan(images).map(Rc::new).map_err(Rc::new)
        });
        made.clone()
    }
}
