//! What no machine could run, refused when a recipe is planned: with its place, and before any work.

use std::collections::{BTreeMap, BTreeSet};

use osier_recipe::{Code, Diagnostic, EffectiveRecipe, EffectiveStep, Recipe};

use crate::graph::{Graph, StepId};

/// Most bytes of one string that the kernel hands to a program (`MAX_ARG_STRLEN`), its end included.
pub(crate) const LONGEST_STRING: usize = 128 << 10;

/// Most bytes of all variables together: the kernel takes two million for them and a program's arguments.
const ALL_VARIABLES: usize = 1 << 20;

/// Most steps that lie on one another: overlayfs takes 500 layers, and a step that goes on from an earlier build has more than one.
const DEEPEST_CHAIN: usize = 400;

/// Finds variables that cannot be handed to a program.
pub(crate) fn variables(
    recipe: &EffectiveRecipe<'_>,
    variables: &BTreeMap<String, String>,
) -> Option<Diagnostic> {
    // Name, `=`, value and the end.
    let size = |(name, value): (&String, &String)| name.len() + value.len() + 2;
    let all: usize = variables.iter().map(size).sum();
    let (name, value) = variables.iter().max_by_key(|variable| size(*variable))?;
    let longest = size((name, value));
    let message = if longest > LONGEST_STRING {
        format!(
            "the variable `{name}` has {longest} bytes, but a variable can have at most {LONGEST_STRING}"
        )
    } else if all > ALL_VARIABLES {
        format!(
            "all variables together have {all} bytes, but a step can have at most {ALL_VARIABLES}; the largest is `{name}`"
        )
    } else {
        return None;
    };
    let origin = &recipe.recipe.origin;
    let written = recipe.env.get(name.as_str()).map(|value| &value.span);
    let written = written.or(recipe.with.get(name.as_str()).map(|setting| &setting.value.span));
    let error = origin.error(Code::TooLarge, written.unwrap_or(&recipe.recipe.name.span), message);
    Some(error.hint("put it in a file beside the recipe, which steps read below $FILES"))
}

/// Finds tools whose folders make `PATH` longer than a program can be given.
pub(crate) fn tools(
    recipe: &EffectiveRecipe<'_>,
    names: impl Iterator<Item = usize>,
) -> Option<Diagnostic> {
    // Each stands twice, see the step's `PATH`.
    let length: usize = names.map(|name| 2 * (name + 20)).sum();
    if length + 256 <= LONGEST_STRING {
        return None;
    }
    let message = format!("{} tools make PATH longer than a variable can be", recipe.tools.len());
    let place = recipe.tools.last().map_or(&recipe.recipe.name.span, |tool| &tool.span);
    let error = recipe.recipe.origin.error(Code::TooLarge, place, message);
    Some(error.hint("let one component install what several of them provide"))
}

/// Finds the first step of a component that has too many below it for one stack of layers.
pub(crate) fn chain(
    graph: &Graph,
    chain: &[StepId],
    recipe: &Recipe,
    steps: &[EffectiveStep<'_>],
) -> Option<Diagnostic> {
    let mut before: Option<(StepId, usize)> = None;
    let mut deep = None;
    for (position, id) in chain.iter().enumerate() {
        let depth = match (graph.step(*id).below, before) {
            (None, _) => 1,
            (Some(below), Some((last, depth))) if below == last => depth + 1,
            (Some(below), _) => graph.chain(below).len() + 1,
        };
        before = Some((*id, depth));
        if depth > DEEPEST_CHAIN && deep.is_none() {
            deep = Some(position);
        }
    }
    let position = deep?;
    // Sources come first, then perhaps their patches, then the scripts.
    let script = (position + steps.len()).checked_sub(chain.len()).map(|at| steps[at].run);
    let source = || recipe.sources.get(position).map_or(&recipe.name.span, |source| &source.span);
    let (origin, span) =
        script.map_or_else(|| (&recipe.origin, source()), |run| (run.origin, &run.value.span));
    let message = format!(
        "`{}` has too many steps below it: at most {DEEPEST_CHAIN} can build on one another, including each source and the steps of another component that they start from",
        graph.step(chain[position]).name
    );
    let hint = "combine several scripts in one step or several sources in one archive, or move some of them to another component";
    Some(origin.error(Code::TooLarge, span, message).hint(hint))
}

/// Finds checks of a step that do not exist.
pub(crate) fn checks(step: &EffectiveStep<'_>, known: &[&str]) -> Vec<Diagnostic> {
    let unknown = step.checks.iter().filter(|(_, check)| !known.contains(&check.name.as_str()));
    let errors = unknown.map(|(origin, check)| {
        let (span, known) = (&check.name.span, known.iter().copied());
        Diagnostic::unknown(Code::UnknownName, "check", origin, span, &check.name, known)
    });
    errors.collect()
}

/// Gives a step's working folder, with the variables in it replaced by their values.
pub(crate) fn folder(
    step: &EffectiveStep<'_>,
    variables: &BTreeMap<String, String>,
) -> Result<Option<String>, Box<Diagnostic>> {
    let Some(folder) = &step.folder else { return Ok(None) };
    let wrong = |code, message: String, hint: &str| {
        Box::new(folder.origin.error(code, &folder.value.span, message).hint(hint))
    };
    let mut text = String::new();
    let mut rest = folder.as_str();
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let inner = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let letters = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_');
        let (name, behind) =
            inner.unwrap_or_else(|| after.split_at(after.find(letters).unwrap_or(after.len())));
        let Some(value) = variables.get(name) else {
            let known: BTreeSet<&str> = variables.keys().map(String::as_str).collect();
            let error = Diagnostic::unknown(
                Code::UnknownName,
                "variable",
                folder.origin,
                &folder.value.span,
                name,
                known,
            );
            return Err(Box::new(error));
        };
        text.push_str(value);
        rest = behind;
    }
    text.push_str(rest);
    let inside = text.split('/').all(|part| part.len() <= 255 && part != "..");
    if !text.starts_with('/') || !inside || text.len() > 2000 || text.chars().any(char::is_control)
    {
        let message = "the working folder is not an absolute path".to_owned();
        return Err(wrong(
            Code::WrongForm,
            message,
            "write an absolute path without `..`, such as `$SOURCE/build`",
        ));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use osier_recipe::{Kind, Target};

    use super::*;

    fn folder_of(text: &str) -> Result<Option<String>, String> {
        let recipe = format!(
            "name = \"a\"\n[[step]]\nname = \"install\"\nrun = \"true\"\nfolder = '{text}'\n"
        );
        let recipe = Recipe::parse("a.toml", &recipe, None).unwrap();
        let kind = Kind::parse("script.toml", "name = \"script\"\n", None).unwrap();
        let effective = recipe.effective(Target::X86_64, None);
        let steps = effective.steps(&kind).unwrap();
        let variables = [("SOURCE", "/build/a"), ("sub_2", "x")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        folder(&steps.steps[0], &BTreeMap::from(variables)).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_stand_in_a_working_folder() {
        for (text, folder) in [
            ("$SOURCE/build", "/build/a/build"),
            ("${SOURCE}x/$sub_2", "/build/ax/x"),
            ("/build", "/build"),
            ("/", "/"),
        ] {
            assert_eq!(folder_of(text).unwrap().as_deref(), Some(folder), "{text}");
        }
        let error = folder_of("$SOURCES/build").unwrap_err();
        assert!(
            error.contains("a.toml:5:") && error.contains("unknown variable `SOURCES`"),
            "{error}"
        );
        for text in ["", "build", "$", "${SOURCE", "/build/../x", "~/x", "$sub_2"] {
            assert!(folder_of(text).unwrap_err().contains("a.toml:5:"), "{text}");
        }
    }
}
