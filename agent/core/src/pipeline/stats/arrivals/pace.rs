//! How many clients come at once, against how many usually do.

/// How many times the usual number is a surge.
const SURGE: f64 = 5.0;

/// Clients per slot, a tenth of the window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// Most clients in a slot of the window.
    pub highest: u64,
    /// Average of the slots before.
    pub usual: f64,
}

impl Pace {
    /// Whether far more came at once than usual.
    #[must_use]
    pub fn is_surge(&self) -> bool {
        self.highest > 0 && self.highest as f64 >= SURGE * self.usual
    }
}
