//! Where a person changes what a component is built from: file and line.

use std::collections::BTreeMap;

use osier_recipe::{ComponentRef, EffectiveRecipe, Kind, Origin, Recipe, Spanned, Target, Value};

use crate::key::Part;

/// The places of a component's parts, as [`Engine::why`](crate::Engine::why) tells them.
///
/// They are found for one component when somebody asks, as ten thousand components have many.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Places(BTreeMap<Part, Place>);

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

fn variable(name: &str) -> Part {
    Part::Variable { name: name.to_owned() }
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
        for (is_tool, references) in [(false, &effective.needs), (true, &effective.tools)] {
            for reference in references {
                let ComponentRef { name, output } = &reference.value;
                let component = name.clone();
                let output = output.clone().unwrap_or_else(|| "main".to_owned());
                let part = match is_tool {
                    false => Part::Need { component, output },
                    true => Part::Tool { component, output },
                };
                places.add(part, &recipe.origin, reference);
            }
        }
        for (name, patterns) in recipe.outputs.iter() {
            places.list(Part::Output { name: name.clone() }, &recipe.origin, patterns);
        }
        for step in effective.steps(kind).into_iter().flat_map(|steps| steps.steps) {
            let (origin, run) = (step.run.origin, step.run.value);
            let (start, end) = (origin.line(&run.span), origin.line(&(run.span.end..run.span.end)));
            // A text in three quotes mostly begins in the line behind them.
            let behind = usize::from(end - start > run.value.matches('\n').count());
            let place =
                Place { file: origin.file().to_owned(), lines: Lines::Text(start + behind) };
            places.0.insert(Part::Script { step: step.name.value.value.clone() }, place);
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
            self.add(Part::Package { name: package.value.clone() }, origin, package);
        }
    }

    /// Of several places of one variable the one that holds comes last.
    fn variables(&mut self, recipe: &Recipe, kind: &Kind, effective: &EffectiveRecipe<'_>) {
        for (name, value) in kind.env.iter() {
            self.add(variable(name), &kind.origin, value);
        }
        for (name, value) in &effective.env {
            self.add(variable(name), &recipe.origin, value);
        }
        for kind_variable in &kind.variables {
            let name = variable(&kind_variable.name);
            match effective.with.get(kind_variable.name.as_str()).map(|setting| &setting.value) {
                None => self.add(name, &kind.origin, &kind_variable.name),
                Some(Spanned { value: Value::List(list), .. }) if !list.is_empty() => {
                    self.list(name, &recipe.origin, list);
                }
                Some(value) => self.add(name, &recipe.origin, value),
            }
        }
        if let Some(version) = &recipe.version {
            self.add(variable("VERSION"), &recipe.origin, version);
        }
    }

    fn add<T>(&mut self, part: Part, origin: &Origin, value: &Spanned<T>) {
        let lines = Lines::List(vec![origin.line(&value.span)]);
        self.0.insert(part, Place { file: origin.file().to_owned(), lines });
    }

    fn list(&mut self, part: Part, origin: &Origin, list: &[Spanned<String>]) {
        let lines = Lines::List(list.iter().map(|element| origin.line(&element.span)).collect());
        self.0.insert(part, Place { file: origin.file().to_owned(), lines });
    }

    /// Gives the place of an input as `file:line`: of its line or element of this number, counted from 0.
    pub(crate) fn find(&self, part: &Part, number: usize) -> Option<String> {
        let Place { file, lines } = self.0.get(part)?;
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
        let package = |name: &str| Part::Package { name: name.into() };
        let script = |step: &str| Part::Script { step: step.into() };
        let need = |component: &str, output: &str| {
            let (component, output) = (component.into(), output.into());
            Part::Need { component, output }
        };
        for (name, number, place) in [
            (package("bash"), 0, "script.toml:2"),
            (package("flex"), 0, "k.toml:3"),
            (package("perl"), 0, "x.toml:4"),
            (need("zlib", "main"), 0, "x.toml:6"),
            (need("musl", "dev"), 0, "x.toml:7"),
            (variable("flags"), 0, "x.toml:11"),
            (variable("flags"), 1, "x.toml:12"),
            // One that was taken off the end.
            (variable("flags"), 2, "x.toml:12"),
            (variable("prefix"), 0, "k.toml:11"),
            (variable("LANG"), 0, "k.toml:4"),
            (variable("CFLAGS"), 0, "x.toml:20"),
            (variable("VERSION"), 0, "x.toml:2"),
            (script("build"), 0, "k.toml:18"),
            (script("build"), 1, "k.toml:19"),
            (script("install"), 0, "x.toml:18"),
            (Part::Output { name: "dev".into() }, 0, "x.toml:22"),
        ] {
            assert_eq!(places.find(&name, number).as_deref(), Some(place), "{name}");
        }
        assert_eq!(places.find(&variable("NAME"), 0), None);
    }
}
