//! Clock of a server, as the creation times of its sessions show it. A step of it makes sessions
//! look older or younger than they are.

/// Difference between two readings that rounding to seconds and slow handshakes do not explain,
/// nanoseconds.
const STEP_NS: u64 = 5_000_000_000;
/// Error of one reading, nanoseconds.
pub(super) const READING_ERROR_NS: u64 = 3_000_000_000;
const EPOCHS: usize = 4;

/// Time span in which the server's clock ran evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Epoch {
    /// Server's clock minus `CLOCK_MONOTONIC`, nanoseconds.
    offset_ns: i64,
    first_ns: u64,
    last_ns: u64,
}

/// Recent epochs of a server's clock, newest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ServerClock([Option<Epoch>; EPOCHS]);

/// True age of a session, where the server's clock was stepped after its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SteppedAge {
    pub(super) age_ns: u64,
    pub(super) step_ns: i64,
}

impl ServerClock {
    /// Records that the server's clock read `created_ns` at `at_ns`.
    pub(super) fn observe(&mut self, created_ns: u64, at_ns: u64) {
        let Some(offset_ns) = difference(created_ns, at_ns) else {
            return;
        };
        if let Some(epoch) = &mut self.0[0]
            && epoch.offset_ns.abs_diff(offset_ns) < STEP_NS
        {
            epoch.first_ns = epoch.first_ns.min(at_ns);
            epoch.last_ns = epoch.last_ns.max(at_ns);
            return;
        }
        self.0.rotate_right(1);
        self.0[0] = Some(Epoch {
            offset_ns,
            first_ns: at_ns,
            last_ns: at_ns,
        });
    }

    /// Server's clock minus `CLOCK_MONOTONIC`, nanoseconds.
    pub(super) fn offset_ns(&self) -> Option<i64> {
        self.0[0].map(|epoch| epoch.offset_ns)
    }

    /// Step of the clock since it was read at `at_ns`, nanoseconds; `None` without a step.
    pub(super) fn step_since(&self, at_ns: u64) -> Option<i64> {
        let newest = self.0[0]?;
        let mut epochs = self.0.iter().flatten();
        let then = epochs.find(|epoch| epoch.first_ns <= at_ns)?;
        let step_ns = newest.offset_ns.saturating_sub(then.offset_ns);
        (step_ns != 0).then_some(step_ns)
    }

    /// The true age of a session that the server created at `created_ns` by its own clock, before
    /// the clock's last observed step; `None` where it was created after the step, or before any
    /// reading.
    pub(super) fn stepped_age(&self, created_ns: u64, now_ns: u64) -> Option<SteppedAge> {
        let newest = self.0[0]?;
        let previous_end_ns = self.0[1]?.last_ns;
        if let Some(at_ns) = instant(created_ns, newest.offset_ns)
            && at_ns.saturating_add(READING_ERROR_NS) >= previous_end_ns
            && at_ns <= now_ns.saturating_add(READING_ERROR_NS)
        {
            return None;
        }
        self.0[1..].iter().flatten().find_map(|epoch| {
            let at_ns = instant(created_ns, epoch.offset_ns)?;
            let earliest_ns = epoch.first_ns.saturating_sub(READING_ERROR_NS);
            let latest_ns = newest.first_ns.saturating_add(READING_ERROR_NS);
            (earliest_ns..=latest_ns)
                .contains(&at_ns)
                .then(|| SteppedAge {
                    age_ns: now_ns.saturating_sub(at_ns),
                    step_ns: newest.offset_ns.saturating_sub(epoch.offset_ns),
                })
        })
    }
}

fn difference(wall_ns: u64, monotonic_ns: u64) -> Option<i64> {
    let (wall, monotonic) = (
        i64::try_from(wall_ns).ok()?,
        i64::try_from(monotonic_ns).ok()?,
    );
    wall.checked_sub(monotonic)
}

/// `CLOCK_MONOTONIC` when a clock with this offset read `wall_ns`.
pub(super) fn instant(wall_ns: u64, offset_ns: i64) -> Option<u64> {
    let at = i64::try_from(wall_ns).ok()?.checked_sub(offset_ns)?;
    u64::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_session_from_before_a_step_has_its_true_age() {
        let mut clock = ServerClock::default();
        let monotonic = 5_000 * SECOND;
        // A device that booted with a clock of 1970, which was corrected later.
        clock.observe(600 * SECOND, monotonic);
        assert_eq!(clock.stepped_age(600 * SECOND, monotonic + SECOND), None);
        let now = monotonic + 10 * SECOND;
        clock.observe(1_796_000_000 * SECOND, now);
        let stepped = clock.stepped_age(602 * SECOND, now).expect("a step");
        assert_eq!(stepped.age_ns, 8 * SECOND);
        assert_eq!(stepped.step_ns / SECOND as i64, 1_796_000_000 - 610);
        assert_eq!(clock.stepped_age(1_796_000_000 * SECOND, now), None);
        let step = (1_796_000_000 - 610) * SECOND as i64;
        assert_eq!(clock.step_since(monotonic + SECOND), Some(step));
        assert_eq!(clock.step_since(now), None);
        assert_eq!(clock.step_since(0), None, "before any reading");
        assert_eq!(
            clock.stepped_age(0, now),
            None,
            "created before any reading"
        );
    }
}
