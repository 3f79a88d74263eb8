//! The half of xtask that other builds use: finding the toolchain of the kernel side, and building it.
//!
//! Called by the agent's build script and by the `cargo xtask` verbs. It installs nothing.

pub mod bpf;
pub mod toolchain;
