//! Addition of sums.

use enum_map::{EnumArray, EnumMap};

/// Sums that can be added to others of the same kind.
pub(super) trait Merge {
    /// Adds `other` to these sums.
    fn merge(&mut self, other: &Self);
}

impl Merge for u64 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

impl<K: EnumArray<V>, V: Merge> Merge for EnumMap<K, V> {
    fn merge(&mut self, other: &Self) {
        for (sum, addend) in self.values_mut().zip(other.values()) {
            sum.merge(addend);
        }
    }
}
