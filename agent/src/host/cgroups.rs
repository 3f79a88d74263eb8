//! Paths of cgroups in the v2 hierarchy, by the kernel's IDs of them. Read once at the start, then
//! kept up to date by the kernel's reports of created and removed cgroups. Without these, or where
//! one was lost, the hierarchy is read again when an ID is unknown. Bounded: of more cgroups than
//! are retained, those used least recently are evicted and counted.

mod tree;

use std::{
    collections::{HashSet, VecDeque},
    fs,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use lru::LruCache;

use self::tree::Tree;
use crate::{
    bpf::cgroup_watch::CgroupChange,
    errors::chain,
    status::{CgroupCounts, OwnerLookup, PathSource},
};

/// Maximum number of retained cgroups.
const MAX_CGROUPS: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// How long a removed cgroup is retained: handshakes are concluded seconds after they ended, and an
/// accepted socket can outlive the cgroup of its listener.
const RETAINED: Duration = Duration::from_secs(600);
/// Maximum number of IDs that the hierarchy is known not to have, and for how long.
const MAX_ABSENT: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
const ABSENT_FOR: Duration = Duration::from_secs(60);
/// Pause after the hierarchy was read: at least this, and a multiple of the time that it took.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const PAUSE_FACTOR: u32 = 50;

/// The table of cgroups.
#[derive(Debug)]
pub(crate) struct Cgroups {
    /// `None` where the hierarchy cannot be read.
    tree: Option<Tree>,
    /// Whether processes are also in hierarchies of cgroup v1, which can hold what v2 does not.
    has_v1: bool,
    /// The kernel reports changes.
    reported: bool,
    known: LruCache<u64, Arc<str>>,
    absent: LruCache<u64, Instant>,
    /// Removed cgroups, in order of time.
    ended: VecDeque<(Instant, u64)>,
    /// When the hierarchy may be read again.
    may_read_at: Option<Instant>,
    evicted: u64,
}

impl Cgroups {
    /// Opens the hierarchy. Must run before privileges are dropped: it may have to be mounted.
    #[must_use]
    pub(crate) fn open() -> Self {
        let tree = Tree::open().inspect_err(|error| {
            let reason = chain(error);
            tracing::info!(reason, "cgroup v2 hierarchy not readable");
        });
        Self::new(tree.ok(), has_v1())
    }

    fn new(tree: Option<Tree>, has_v1: bool) -> Self {
        Self {
            tree,
            has_v1,
            reported: false,
            known: LruCache::new(MAX_CGROUPS),
            absent: LruCache::new(MAX_ABSENT),
            ended: VecDeque::new(),
            may_read_at: None,
            evicted: 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn without_tree(has_v1: bool) -> Self {
        Self::new(None, has_v1)
    }

    /// Reads the hierarchy for the first time; `reported` is whether the kernel reports changes
    /// from now on.
    pub(crate) fn read(&mut self, reported: bool, now: Instant) {
        self.reported = reported;
        self.read_tree(now);
    }

    /// Whether processes are also in hierarchies of cgroup v1.
    #[must_use]
    pub(crate) const fn has_v1(&self) -> bool {
        self.has_v1
    }

    /// How the owners of processes are looked up; `with_ids` is whether events have the IDs.
    #[must_use]
    pub(crate) fn lookup(&self, with_ids: bool) -> OwnerLookup {
        // On a host of cgroup v1 alone, every process is in the root of the v2 hierarchy.
        let has_paths = self.tree.is_some() || self.reported;
        let is_used = has_paths && !(self.has_v1 && self.known.len() <= 1);
        let source = match self.reported {
            true => PathSource::Reports,
            false => PathSource::Directories,
        };
        OwnerLookup {
            paths: (with_ids && is_used).then_some(source),
            has_v1: self.has_v1,
        }
    }

    /// Sizes for the status.
    #[must_use]
    pub(crate) fn counts(&self) -> CgroupCounts {
        CgroupCounts {
            known: self.known.len() as u64,
            evicted: self.evicted,
        }
    }

    /// Applies a report of the kernel.
    pub(crate) fn apply(&mut self, change: CgroupChange<'_>, now: Instant) {
        match change {
            CgroupChange::Created { id, path } => {
                self.absent.pop(&id);
                if let Some(path) = path {
                    self.insert(id, String::from_utf8_lossy(path).into());
                }
            }
            CgroupChange::Removed { id } => self.ended.push_back((now, id)),
        }
    }

    /// Removes the cgroups that ended long ago.
    pub(crate) fn sweep(&mut self, now: Instant) {
        while let Some((ended, id)) = self.ended.front()
            && now.saturating_duration_since(*ended) >= RETAINED
        {
            self.known.pop(id);
            self.ended.pop_front();
        }
        // Whoever creates and removes cgroups quickly fills this list; the table has evicted its
        // older entries by then.
        let surplus = self.ended.len().saturating_sub(MAX_CGROUPS.get());
        for (_, id) in self.ended.drain(..surplus) {
            self.known.pop(&id);
        }
    }

    /// Path of a cgroup from the root of the hierarchy; `None` where it is not known.
    pub(crate) fn path(&mut self, id: u64, now: Instant) -> Option<Arc<str>> {
        if let Some(path) = self.known.get(&id) {
            return Some(Arc::clone(path));
        }
        let is_absent = self
            .absent
            .get(&id)
            .is_some_and(|found| now.saturating_duration_since(*found) < ABSENT_FOR);
        if is_absent || self.may_read_at.is_some_and(|at| now < at) {
            return None;
        }
        self.read_tree(now);
        let path = self.known.get(&id).map(Arc::clone);
        if path.is_none() {
            self.absent.put(id, now);
        }
        path
    }

    fn read_tree(&mut self, now: Instant) {
        let Some(tree) = &self.tree else { return };
        let begin = Instant::now();
        let found = tree.read(MAX_CGROUPS.get());
        let pause = (begin.elapsed() * PAUSE_FACTOR).max(MIN_PAUSE);
        self.may_read_at = Some(now + pause);
        if !self.reported {
            self.end_missing(&found, now);
        }
        for (id, path) in found {
            if self.known.peek(&id).is_none() {
                self.insert(id, path.into());
            }
        }
    }

    /// Marks the cgroups that the hierarchy no longer has.
    fn end_missing(&mut self, found: &[(u64, String)], now: Instant) {
        let found: HashSet<u64> = found.iter().map(|(id, _)| *id).collect();
        let marked: HashSet<u64> = self.ended.iter().map(|(_, id)| *id).collect();
        let missing = self.known.iter().map(|(id, _)| *id);
        let missing = missing.filter(|id| !found.contains(id) && !marked.contains(id));
        self.ended.extend(missing.map(|id| (now, id)));
    }

    fn insert(&mut self, id: u64, path: Arc<str>) {
        if let Some((evicted, _)) = self.known.push(id, path)
            && evicted != id
        {
            self.evicted += 1;
        }
    }
}

/// Whether this process is in a hierarchy of cgroup v1, as every process of the host then is.
fn has_v1() -> bool {
    let content = fs::read_to_string("/proc/self/cgroup");
    content.is_ok_and(|content| content.lines().any(|line| !line.starts_with("0::")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(cgroups: &mut Cgroups, id: u64, path: &str, now: Instant) {
        let path = Some(path.as_bytes());
        cgroups.apply(CgroupChange::Created { id, path }, now);
    }

    #[test]
    fn a_removed_cgroup_is_retained_for_some_minutes() {
        let mut cgroups = Cgroups::without_tree(false);
        let start = Instant::now();
        create(&mut cgroups, 7, "/a", start);
        create(&mut cgroups, 8, "/b", start);
        cgroups.apply(CgroupChange::Removed { id: 7 }, start);
        let nearly = start + RETAINED - Duration::from_secs(1);
        cgroups.sweep(nearly);
        assert_eq!(cgroups.path(7, nearly).as_deref(), Some("/a"));
        let end = start + RETAINED;
        cgroups.sweep(end);
        assert_eq!(cgroups.path(7, end), None);
        assert_eq!(cgroups.path(8, end).as_deref(), Some("/b"));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut cgroups = Cgroups::without_tree(false);
        let now = Instant::now();
        let beyond = MAX_CGROUPS.get() as u64 + 10;
        for id in 1..=beyond {
            create(&mut cgroups, id, "/a", now);
            cgroups.apply(CgroupChange::Removed { id }, now);
        }
        let counts = cgroups.counts();
        assert_eq!((counts.known, counts.evicted), (beyond - 10, 10));
        cgroups.sweep(now);
        assert_eq!(cgroups.ended.len(), MAX_CGROUPS.get());
    }

    #[test]
    fn an_unknown_id_is_searched_for_once() {
        let mut cgroups = Cgroups::without_tree(false);
        let now = Instant::now();
        assert_eq!(cgroups.path(7, now), None);
        assert_eq!(cgroups.absent.len(), 1);
        // Created after the search.
        create(&mut cgroups, 7, "/a", now);
        assert_eq!(cgroups.path(7, now).as_deref(), Some("/a"));
        assert_eq!(cgroups.absent.len(), 0);
    }

    #[test]
    fn a_host_of_cgroup_v1_alone_uses_proc() {
        let mut cgroups = Cgroups::without_tree(true);
        assert_eq!(cgroups.lookup(true).paths, None);
        if let Ok(tree) = Tree::open() {
            cgroups.tree = Some(tree);
            create(&mut cgroups, 1, "/", Instant::now());
            assert_eq!(cgroups.lookup(true).paths, None);
            create(&mut cgroups, 7, "/a", Instant::now());
            assert_eq!(cgroups.lookup(true).paths, Some(PathSource::Directories));
            assert!(cgroups.lookup(true).has_v1);
            assert_eq!(cgroups.lookup(false).paths, None);
        }
    }
}
