//! The grid of simulated caches.

/// Sizes of the simulated caches, sessions: half an octave apart.
pub const SIZES: [u32; 28] = [
    128, 181, 256, 362, 512, 724, 1_024, 1_448, 2_048, 2_896, 4_096, 5_793, 8_192, 11_585, 16_384,
    23_170, 32_768, 46_341, 65_536, 92_682, 131_072, 185_364, 262_144, 370_728, 524_288, 741_455,
    1_048_576, 1_482_910,
];

/// Lifetimes of the simulated caches, seconds. A further row has the present lifetime.
pub const LIFETIMES_S: [u32; 7] = [60, 300, 600, 1_800, 3_600, 7_200, 86_400];

/// Index of the row with the present lifetime.
pub(super) const PRESENT: usize = LIFETIMES_S.len();
/// Rows of the grid.
pub(super) const ROWS: usize = LIFETIMES_S.len() + 1;
/// Units of time per second.
pub(super) const TICKS: u32 = 10;
/// Units of weight per client.
pub(super) const UNIT: u32 = 8;

/// Nanoseconds as units of time.
pub(super) const fn ticks(ns: u64) -> u32 {
    let ticks = ns / (1_000_000_000 / TICKS as u64);
    if ticks > u32::MAX as u64 {
        u32::MAX
    } else {
        ticks as u32
    }
}

/// Position of a size between the columns of the grid: column, and distance to the next one, 0 to
/// 1, on a logarithmic scale.
pub(super) fn column(size: f64) -> (usize, f64) {
    let next = SIZES.partition_point(|column| f64::from(*column) <= size);
    let Some(at) = next.checked_sub(1) else {
        return (0, 0.0);
    };
    let Some(above) = SIZES.get(next) else {
        return (at, 0.0);
    };
    let (low, high) = (f64::from(SIZES[at]).ln(), f64::from(*above).ln());
    (at, (size.ln() - low) / (high - low))
}
