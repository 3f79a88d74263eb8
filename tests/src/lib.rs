//! Behaviour-test harness.
