//! The cgroup of the load. The agent observes nothing else, so that other programs of the host do
//! not change the result.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// Time after which the last processes of the cgroup have ended.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A cgroup; removed on drop.
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// Creates a cgroup; `None` where no cgroup v2 hierarchy is mounted.
    pub(super) fn create() -> Result<Option<Self>> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("failed to list mounts")?;
        let Some(root) = mount_point(&mounts) else {
            return Ok(None);
        };
        let path = root.join(format!("reprise-soak-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Some(Self(path)))
    }

    /// Its directory.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        const STEP: Duration = Duration::from_millis(100);
        for _ in 0..END_TIMEOUT.div_duration_f64(STEP) as u32 {
            for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(entry.path());
            }
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(STEP);
        }
        eprintln!("{} was not removed: it has processes", self.0.display());
    }
}

/// Mount point of the cgroup v2 hierarchy.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next() == Some("cgroup2")).then(|| PathBuf::from(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found() {
        let hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nosuid 0 0\n";
        let found = mount_point(hybrid);
        assert_eq!(found.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("proc /proc proc rw 0 0\n"), None);
    }
}
