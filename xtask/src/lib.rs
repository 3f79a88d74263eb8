//! The library half of xtask: finds the toolchain for the BPF objects and builds them.
//!
//! The agent's build script and the `cargo xtask` commands call it. It installs nothing.

pub mod bpf;
pub mod toolchain;
