//! Tests of the source tree itself: imports point down the layers, and modules do not import each
//! other in cycles.
//!
//! An import is a path that begins with `crate`, `self` or `super`, in a `use` or in the code. It
//! leads to the file that defines the item: a name that a module re-exports is followed to its
//! definition. Code under `#[cfg(test)]` is left out.

mod files;
mod prose;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};
use syn::{
    Attribute, File, Item, ItemMod, UseTree, Visibility,
    visit::{self, Visit},
};

/// Maximum number of re-exports followed in a row.
const MAX_HOPS: usize = 8;

/// The layers of each crate, lowest first: a module imports from its own layer and those below.
const LAYERS: &[(&str, &[&[&str]])] = &[
    ("agent/core/src", &[&["model"], &["plan"], &["pipeline"]]),
    (
        "agent/src",
        &[
            &["memory", "status", "errors"],
            &["bpf", "host"],
            &["record", "observed"],
            &["views"],
            &["commands"],
            // Modules of the binary.
            &["logging", "usage"],
        ],
    ),
    ("xtask/src", &[]),
    ("tests/src", &[]),
    ("ebpf/src", &[]),
];

/// A module's path below its crate, `["pipeline", "stats"]`; empty for the crate's root.
type ModulePath = Vec<String>;

/// One source file as a module.
struct Module {
    path: ModulePath,
    /// Names that this module imports, each with the absolute path of the item.
    names: BTreeMap<String, ModulePath>,
    /// Absolute paths that its code refers to, without re-exports.
    references: Vec<ModulePath>,
}

/// All modules of one crate.
struct Crate {
    modules: BTreeMap<ModulePath, Module>,
}

impl Crate {
    fn load(source: &Path) -> Self {
        let mut modules = BTreeMap::new();
        for file in files::with_extensions(source, &["rs"]) {
            let Some(path) = module_path(source, &file) else {
                continue;
            };
            let text = fs::read_to_string(&file).expect("a source file is readable");
            let syntax = syn::parse_file(&text).expect("a source file parses");
            modules.insert(path.clone(), Module::new(path, &syntax));
        }
        Self { modules }
    }

    /// The module whose file defines the item at an absolute path; `None` for items of inline
    /// modules.
    fn definition(&self, path: &[String]) -> Option<&ModulePath> {
        let mut path = path.to_vec();
        for _ in 0..MAX_HOPS {
            let module = (0..=path.len())
                .rev()
                .find_map(|length| self.modules.get(&path[..length]))?;
            let Some(name) = path.get(module.path.len()) else {
                return Some(&module.path);
            };
            match module.names.get(name) {
                Some(target) => {
                    let rest = path.split_off(module.path.len() + 1);
                    path = [target.as_slice(), &rest].concat();
                }
                None => return Some(&module.path),
            }
        }
        None
    }

    /// Which module imports from which.
    fn imports(&self) -> BTreeSet<(&ModulePath, &ModulePath)> {
        let mut imports = BTreeSet::new();
        for module in self.modules.values() {
            for reference in &module.references {
                match self.definition(reference) {
                    Some(target) if *target != module.path => {
                        imports.insert((&module.path, target));
                    }
                    _ => {}
                }
            }
        }
        imports
    }
}

impl Module {
    fn new(path: ModulePath, syntax: &File) -> Self {
        let mut module = Self {
            path,
            names: BTreeMap::new(),
            references: Vec::new(),
        };
        for item in &syntax.items {
            if let Item::Use(import) = item
                && !is_test(&import.attrs)
            {
                let exported = !matches!(import.vis, Visibility::Inherited);
                module.import(&import.tree, &mut Vec::new(), exported);
            }
        }
        let mut code = Code {
            module: &mut module,
            depth: 0,
        };
        code.visit_file(syntax);
        module
    }

    /// Records each leaf of a `use`.
    fn import(&mut self, tree: &UseTree, prefix: &mut Vec<String>, exported: bool) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.import(&path.tree, prefix, exported);
                prefix.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, prefix, exported);
                }
            }
            UseTree::Name(name) => {
                let own = name.ident == "self";
                if !own {
                    prefix.push(name.ident.to_string());
                }
                let bound = prefix.last().cloned().unwrap_or_default();
                self.bind(bound, prefix, exported);
                if !own {
                    prefix.pop();
                }
            }
            UseTree::Rename(rename) => {
                prefix.push(rename.ident.to_string());
                self.bind(rename.rename.to_string(), prefix, exported);
                prefix.pop();
            }
            UseTree::Glob(_) => {
                if let Some(path) = self.absolute(prefix, 0) {
                    self.references.push(path);
                }
            }
        }
    }

    fn bind(&mut self, name: String, path: &[String], exported: bool) {
        let Some(path) = self.absolute(path, 0) else {
            return;
        };
        if !exported {
            self.references.push(path.clone());
        }
        self.names.insert(name, path);
    }

    /// The path from the crate's root; `None` where it leads to another crate. `depth` is the
    /// number of inline modules around it.
    fn absolute(&self, path: &[String], depth: usize) -> Option<ModulePath> {
        let first = path.first()?;
        let (mut base, mut rest) = match first.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (self.path.clone(), &path[1..]),
            "super" => (self.path.clone(), path),
            _ => return None,
        };
        let mut depth = depth;
        while let Some((step, after)) = rest.split_first()
            && step == "super"
        {
            if depth > 0 {
                depth -= 1;
            } else {
                base.pop();
            }
            rest = after;
        }
        base.extend_from_slice(rest);
        Some(base)
    }
}

/// Collects the paths in a module's code.
struct Code<'a> {
    module: &'a mut Module,
    /// Inline modules around the code.
    depth: usize,
}

impl<'ast> Visit<'ast> for Code<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Use(_) => return,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    /// The scope in `pub(in …)` is not an import.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if names.len() > 1
            && let Some(path) = self.module.absolute(&names, self.depth)
        {
            self.module.references.push(path);
        }
        visit::visit_path(self, path);
    }
}

/// Whether an item exists in tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && matches!(&attribute.meta, syn::Meta::List(list)
                    if list.tokens.to_string().split(|c: char| !c.is_alphanumeric())
                        .any(|word| word == "test")))
    })
}

/// A file's module; `None` for tests and for the roots of binaries.
fn module_path(source: &Path, file: &Path) -> Option<ModulePath> {
    let relative = file.strip_prefix(source).ok()?.with_extension("");
    let mut path: ModulePath = relative
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if path.last().is_some_and(|name| name == "mod") {
        path.pop();
    }
    let outside = ["tests", "testing", "bin"];
    if path.iter().any(|name| outside.contains(&name.as_str())) {
        return None;
    }
    match path.last().map(String::as_str) {
        Some("main") if path.len() == 1 && source.join("lib.rs").exists() => None,
        Some("lib" | "main") if path.len() == 1 => Some(Vec::new()),
        _ => Some(path),
    }
}

/// Index of a module's layer, lowest first; `None` where it is in no layer.
fn layer(layers: &[&[&str]], module: &[String]) -> Option<usize> {
    let top = module.first()?;
    layers
        .iter()
        .position(|layer| layer.contains(&top.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths;

    fn name(module: &[String]) -> String {
        module.join("::")
    }

    #[test]
    fn imports_point_down_the_layers() {
        let mut upward = Vec::new();
        for (source, layers) in LAYERS {
            let sources = Crate::load(&paths::workspace().join(source));
            for (from, to) in sources.imports() {
                let (Some(above), Some(below)) = (layer(layers, from), layer(layers, to)) else {
                    continue;
                };
                if above < below {
                    upward.push(format!(
                        "{source}: {} imports from {}",
                        name(from),
                        name(to)
                    ));
                }
            }
        }
        assert!(upward.is_empty(), "{}", upward.join("\n"));
    }

    #[test]
    fn every_module_of_the_agent_has_a_layer() {
        for (source, layers) in LAYERS.iter().filter(|(_, layers)| !layers.is_empty()) {
            for path in Crate::load(&paths::workspace().join(source)).modules.keys() {
                let known = path.is_empty() || layer(layers, path).is_some();
                assert!(known, "{source}: {} is in no layer", name(path));
            }
        }
    }

    #[test]
    fn no_modules_import_each_other_in_a_cycle() {
        let mut cycles = Vec::new();
        for (source, _) in LAYERS {
            let sources = Crate::load(&paths::workspace().join(source));
            let imports = sources.imports();
            let graph: DiGraphMap<_, ()> = imports.iter().copied().collect();
            for cycle in tarjan_scc(&graph).iter().filter(|cycle| cycle.len() > 1) {
                cycles.push(format!("{source}: cycle of {} modules", cycle.len()));
                for (from, to) in &imports {
                    if cycle.contains(from) && cycle.contains(to) {
                        cycles.push(format!("  {} imports from {}", name(from), name(to)));
                    }
                }
            }
        }
        assert!(cycles.is_empty(), "{}", cycles.join("\n"));
    }

    #[test]
    fn a_reexport_is_followed_to_its_definition() {
        let parse = |path: &[&str], text: &str| {
            let path: ModulePath = path.iter().map(ToString::to_string).collect();
            let syntax = syn::parse_file(text).expect("the text parses");
            (path.clone(), Module::new(path, &syntax))
        };
        let modules = BTreeMap::from([
            parse(&[], "mod a;"),
            parse(&["a"], "pub use self::b::Thing; mod b; mod c;"),
            parse(&["a", "b"], "pub struct Thing;"),
            parse(
                &["a", "c"],
                "use super::Thing; #[cfg(test)] mod tests { use crate::x::Y; }",
            ),
        ]);
        let sources = Crate { modules };
        let imports: Vec<_> = sources.imports().into_iter().collect();
        let path = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(imports, [(&path(&["a", "c"]), &path(&["a", "b"]))]);
    }
}
