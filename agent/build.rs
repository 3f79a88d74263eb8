//! Builds the BPF objects and copies them to `OUT_DIR`, from where `bpf::object` embeds them.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use xtask::bpf::{self, Kernel};

fn main() -> Result<()> {
    let workspace = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .parent()
        .context("the agent's package has no parent directory")?
        .to_path_buf();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!(
        "cargo:rerun-if-changed={}",
        workspace.join("ebpf").display()
    );
    println!("cargo:rerun-if-env-changed=REPRISE_BPF_RUSTC");
    for kernel in Kernel::ALL {
        for object in bpf::build(&workspace, &out, kernel)? {
            let name = object.file_name().context("the object has no file name")?;
            let kind = format!("{}.bpf.o", kernel.name());
            let target = out.join(name).with_extension(kind);
            fs::copy(&object, &target).with_context(|| {
                format!(
                    "failed to copy {} to {}",
                    object.display(),
                    target.display()
                )
            })?;
        }
    }
    Ok(())
}
