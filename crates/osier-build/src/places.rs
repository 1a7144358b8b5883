//! Where a person changes what a component is built from: file and line.

use std::collections::BTreeMap;

use osier_recipe::{ComponentRef, EffectiveRecipe, Kind, Origin, Recipe, Spanned, Target, Value};

use crate::why;

/// The places of a component's inputs, by the names that [`Engine::why`](crate::Engine::why) gives them.
///
/// They are found for one component when somebody asks, as ten thousand components have many.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Places(BTreeMap<String, Place>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: String,
    lines: Lines,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Lines {
    /// A text that begins in this line.
    Text(usize),
    /// A list, with the line of each element.
    List(Vec<usize>),
}

impl Places {
    /// Finds the places in a recipe, its kind and the kind that all others stand on.
    pub fn of(
        recipe: &Recipe,
        kind: &Kind,
        base: Option<&Kind>,
        target: Target,
        profile: Option<&str>,
    ) -> Self {
        let effective = recipe.effective(target, profile);
        let mut places = Self::default();
        for kind in base.into_iter().chain([kind]) {
            places.packages(&kind.origin, kind.packages.iter());
        }
        places.packages(&recipe.origin, effective.packages.iter().copied());
        places.variables(recipe, kind, &effective);
        for (word, references) in [("need", &effective.needs), ("tool", &effective.tools)] {
            for reference in references {
                let ComponentRef { name, output } = &reference.value;
                let name = why::input_name(word, name, output.as_deref().unwrap_or("main"));
                places.add(name, &recipe.origin, reference);
            }
        }
        for (name, patterns) in recipe.outputs.iter() {
            places.list(why::output_name(name), &recipe.origin, patterns);
        }
        for step in effective.steps(kind).into_iter().flat_map(|steps| steps.steps) {
            let (origin, run) = (step.run.origin, step.run.value);
            let (start, end) = (origin.line(&run.span), origin.line(&(run.span.end..run.span.end)));
            // A text in three quotes mostly begins in the line behind them.
            let behind = usize::from(end - start > run.value.matches('\n').count());
            let place =
                Place { file: origin.file().to_owned(), lines: Lines::Text(start + behind) };
            places.0.insert(why::script_name(step.name.value), place);
            for package in &step.packages {
                places.packages(package.origin, [package.value]);
            }
        }
        places
    }

    fn packages<'p>(
        &mut self,
        origin: &Origin,
        packages: impl IntoIterator<Item = &'p Spanned<String>>,
    ) {
        for package in packages {
            self.add(why::package_name(package), origin, package);
        }
    }

    /// Of several places of one variable the one that holds comes last.
    fn variables(&mut self, recipe: &Recipe, kind: &Kind, effective: &EffectiveRecipe<'_>) {
        for (name, value) in kind.env.iter() {
            self.add(why::variable_name(name), &kind.origin, value);
        }
        for (name, value) in &effective.env {
            self.add(why::variable_name(name), &recipe.origin, value);
        }
        for variable in &kind.variables {
            let name = why::variable_name(&variable.name);
            match effective.with.get(variable.name.as_str()).map(|setting| &setting.value) {
                None => self.add(name, &kind.origin, &variable.name),
                Some(Spanned { value: Value::List(list), .. }) if !list.is_empty() => {
                    self.list(name, &recipe.origin, list);
                }
                Some(value) => self.add(name, &recipe.origin, value),
            }
        }
        if let Some(version) = &recipe.version {
            self.add(why::variable_name("VERSION"), &recipe.origin, version);
        }
    }

    fn add<T>(&mut self, name: String, origin: &Origin, value: &Spanned<T>) {
        let lines = Lines::List(vec![origin.line(&value.span)]);
        self.0.insert(name, Place { file: origin.file().to_owned(), lines });
    }

    fn list(&mut self, name: String, origin: &Origin, list: &[Spanned<String>]) {
        let lines = Lines::List(list.iter().map(|element| origin.line(&element.span)).collect());
        self.0.insert(name, Place { file: origin.file().to_owned(), lines });
    }

    /// Gives the place of an input as `file:line`: of its line or element of this number, counted from 0.
    pub(crate) fn find(&self, name: &str, number: usize) -> Option<String> {
        let Place { file, lines } = self.0.get(name)?;
        let line = match lines {
            Lines::Text(first) => first + number,
            Lines::List(lines) => *lines.get(number).or(lines.last())?,
        };
        Some(format!("{file}:{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = r#"name = "k"
packages = ["bc",
  "flex"]
env = { LANG = "C" }
[[var]]
name = "flags"
type = "list"
default = []
doc = "d"
[[var]]
name = "prefix"
type = "string"
default = "/usr"
doc = "d"
[[step]]
name = "build"
run = '''
one
two
'''
"#;

    const RECIPE: &str = r#"name = "x"
version = "1"
kind = "k"
packages = ["perl"]
needs = [
  "zlib",
  "musl:dev",
]
[with]
flags = [
  "-a",
  "-b",
]
[env]
CFLAGS = "-O2"
[[step]]
name = "install"
run = "cp a $OUTPUT"
[target.x86_64.env]
CFLAGS = "-O3"
[outputs]
dev = ["usr/include/**"]
"#;

    #[test]
    fn every_input_of_a_recipe_has_a_line() {
        let recipe = Recipe::parse("x.toml", RECIPE, None).unwrap();
        let kind = Kind::parse("k.toml", KIND, None).unwrap();
        let base = "name = \"script\"\npackages = [\"bash\"]\n";
        let base = Kind::parse("script.toml", base, None).unwrap();
        let places = Places::of(&recipe, &kind, Some(&base), Target::X86_64, None);
        for (name, number, place) in [
            (why::package_name("bash"), 0, "script.toml:2"),
            (why::package_name("flex"), 0, "k.toml:3"),
            (why::package_name("perl"), 0, "x.toml:4"),
            (why::input_name("need", "zlib", "main"), 0, "x.toml:6"),
            (why::input_name("need", "musl", "dev"), 0, "x.toml:7"),
            (why::variable_name("flags"), 0, "x.toml:11"),
            (why::variable_name("flags"), 1, "x.toml:12"),
            // One that was taken off the end.
            (why::variable_name("flags"), 2, "x.toml:12"),
            (why::variable_name("prefix"), 0, "k.toml:11"),
            (why::variable_name("LANG"), 0, "k.toml:4"),
            (why::variable_name("CFLAGS"), 0, "x.toml:20"),
            (why::variable_name("VERSION"), 0, "x.toml:2"),
            (why::script_name("build"), 0, "k.toml:18"),
            (why::script_name("build"), 1, "k.toml:19"),
            (why::script_name("install"), 0, "x.toml:18"),
            (why::output_name("dev"), 0, "x.toml:22"),
        ] {
            assert_eq!(places.find(&name, number).as_deref(), Some(place), "{name}");
        }
        assert_eq!(places.find(&why::variable_name("NAME"), 0), None);
    }
}
