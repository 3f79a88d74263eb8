//! BPF objects in the kernel, according to the kernel's own lists.

use std::collections::BTreeMap;

use aya::maps::loaded_maps;
use aya::programs::{loaded_links, loaded_programs};

/// Number of programs and maps by name and of links by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelObjects(BTreeMap<String, usize>);

impl KernelObjects {
    /// Lists the current objects. Objects that disappear while they are listed are left out.
    #[must_use]
    pub fn list() -> Self {
        let programs = loaded_programs().flatten();
        let programs = programs.map(|one| format!("program {}", text(one.name())));
        let maps = loaded_maps().flatten();
        let maps = maps.map(|one| format!("map {}", text(one.name())));
        let links = loaded_links().flatten();
        let links = links.map(|one| match one.link_type() {
            Ok(kind) => format!("link {kind:?}"),
            Err(error) => format!("link of a kind that is not known: {error}"),
        });
        let mut objects = Self::default();
        for one in programs.chain(maps).chain(links) {
            *objects.0.entry(one).or_default() += 1;
        }
        objects
    }

    /// Returns the objects added since `before`, with their number.
    #[must_use]
    pub fn added_since(&self, before: &Self) -> BTreeMap<&str, usize> {
        let more = self.0.iter().filter_map(|(name, count)| {
            let more = count.saturating_sub(before.0.get(name).copied().unwrap_or_default());
            (more > 0).then_some((name.as_str(), more))
        });
        more.collect()
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
