//! Whether the current task belongs to the observed cgroup. Programs that begin state, or send an
//! event of their own, ask first. Those that continue or end what such a program has begun do not:
//! a process may have left the cgroup since.

use crate::maps::HS_SCOPE;

/// Not 0 where only the cgroup in [`HS_SCOPE`] is observed. Elsewhere the verifier removes the
/// test.
#[unsafe(no_mangle)]
static HAS_SCOPE: u32 = 0;

/// Whether the current task is outside of the scope.
#[inline(always)]
pub(crate) fn excludes_current_task() -> bool {
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    let has_scope = unsafe { core::ptr::read_volatile(&raw const HAS_SCOPE) } != 0;
    has_scope && HS_SCOPE.current_task_under_cgroup(0) != Ok(true)
}
