//! Import cycles among the modules of a crate.
//!
//! A module and what lies inside it may know each other. Modules beside each other may not, and a folder of modules is one
//! thing to its neighbours: what lies in one folder and what lies in the other may not be in a cycle either.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use super::sources::{self, Leads, Modules};

/// Crates whose cycles are still to be undone. `cargo xtask check --cycles` prints them; who has undone the last one of a
/// crate takes it out of this list.
pub(crate) const EXCUSED: &[&str] = &[];

/// One import that takes part in a cycle.
#[derive(Clone)]
struct Import {
    from: String,
    to: String,
    /// The file, the line and the path as it stands there.
    place: String,
}

/// Modules that reach each other, and one import for each arrow between them.
pub(crate) struct Cycle {
    modules: Vec<String>,
    imports: Vec<Import>,
}

impl Cycle {
    /// Gives a line that names the modules, and one for each import.
    pub(crate) fn lines(&self) -> String {
        let mut text = format!(
            "{} modules import each other: {}",
            self.modules.len(),
            self.modules.join(", ")
        );
        for Import { from, to, place } in &self.imports {
            let _ = write!(text, "\n    {from} → {to}: {place}");
        }
        text
    }
}

/// Finds the cycles of the crate with this root file.
pub(crate) fn of(root: &Path) -> Result<Vec<Cycle>> {
    Ok(among(&sources::read(root)?))
}

fn among(modules: &Modules) -> Vec<Cycle> {
    // Arrows between neighbours, by the module that both lie in.
    let mut arrows: BTreeMap<(String, String), Import> = BTreeMap::new();
    for (from, module) in modules {
        for named in &module.named {
            let Leads::Inside(to) = sources::follow(modules, from, &named.path) else { continue };
            let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            if shared == from.len() || shared == to.len() {
                continue;
            }
            let end = |path: &[String]| path[..=shared].join("::");
            let (one, other) = (end(from), end(&to));
            let place =
                format!("{}:{} {}", module.file.display(), named.line, named.path.join("::"));
            arrows.entry((one.clone(), other.clone())).or_insert(Import {
                from: one,
                to: other,
                place,
            });
        }
    }
    let mut after: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        after.entry(from).or_default().insert(to);
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        after.keys().map(|name| (*name, reached(&after, name))).collect();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut cycles = Vec::new();
    for (name, reached) in &reach {
        if !reached.contains(name) || told.contains(name) {
            continue;
        }
        let members: BTreeSet<&str> = reached
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|back| back.contains(name)))
            .copied()
            .collect();
        let imports = arrows
            .iter()
            .filter(|((from, to), _)| {
                members.contains(from.as_str()) && members.contains(to.as_str())
            })
            .map(|(_, import)| import.clone())
            .collect();
        told.extend(&members);
        cycles.push(Cycle { modules: members.iter().map(ToString::to_string).collect(), imports });
    }
    cycles
}

/// Gives all that is reached from a name by one arrow or more.
fn reached<'n>(after: &BTreeMap<&'n str, BTreeSet<&'n str>>, from: &str) -> BTreeSet<&'n str> {
    let mut found = BTreeSet::new();
    let mut ahead: Vec<&str> = after.get(from).into_iter().flatten().copied().collect();
    while let Some(name) = ahead.pop() {
        if found.insert(name) {
            ahead.extend(after.get(name).into_iter().flatten());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The modules that import each other, and the arrows between them, in a crate of these files.
    fn found(files: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let cycles = of(&folder.path().join("lib.rs")).unwrap();
        let arrow = |import: &Import| format!("{}→{}", import.from, import.to);
        cycles
            .iter()
            .map(|cycle| (cycle.modules.join(" "), cycle.imports.iter().map(arrow).collect()))
            .collect()
    }

    #[test]
    fn modules_that_import_each_other_are_found_by_whatever_way() {
        let cycle = [("a b".to_owned(), vec!["a→b".to_owned(), "b→a".to_owned()])];
        for (root, a, b) in [
            ("mod a; mod b;", "use crate::b::B; pub struct A;", "use crate::a::A; pub struct B;"),
            ("mod a; mod b;", "use super::b; pub struct A;", "pub fn f() { super::a::g() }"),
            // By what the root gives on, by its short name and by all of its names.
            (
                "mod a; mod b; pub use b::B;",
                "use crate::B; pub struct A;",
                "use crate::a::A; pub struct B;",
            ),
            (
                "mod a; mod b; pub use b::*;",
                "use crate::B; pub struct A;",
                "use crate::a::A; pub struct B;",
            ),
            (
                "mod a; mod b; use b::B as C;",
                "fn f(c: crate::C) {} pub struct A;",
                "use crate::a::A; pub struct B;",
            ),
            // In a type, in a macro's words, in a function.
            ("mod a; mod b;", "pub fn f(b: &crate::b::B) {}", "pub struct B(Vec<crate::a::A>);"),
            (
                "mod a; mod b;",
                "pub fn f() { println!(\"{}\", crate::b::N) }",
                "use crate::a; pub const N: u8 = 1;",
            ),
            (
                "mod a; mod b;",
                "pub fn f() { use crate::b::*; }",
                "use crate::{a::f}; pub const N: u8 = 1;",
            ),
        ] {
            let found = found(&[("lib.rs", root), ("a.rs", a), ("b.rs", b)]);
            assert_eq!(found, cycle, "{root} {a} {b}");
        }
    }

    #[test]
    fn a_folder_of_modules_is_one_thing_to_its_neighbours() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod one; mod two;"),
            ("a/one.rs", "use crate::b::B;"),
            ("a/two.rs", "pub struct Two;"),
            ("b.rs", "use crate::a::two::Two; pub struct B;"),
        ];
        assert_eq!(found(&files).len(), 1);
    }

    #[test]
    fn a_module_and_its_children_may_know_each_other_and_tests_whatever_they_like() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use a::A;"),
            ("a.rs", "mod inner; use inner::Inner; pub struct A; use crate::b::B;"),
            ("a/inner.rs", "use super::A; pub struct Inner(crate::b::B);"),
            (
                "b.rs",
                "pub struct B; #[cfg(test)] mod tests { use crate::A; } #[cfg(test)] use crate::A;",
            ),
        ];
        assert_eq!(found(&files), []);
    }
}
