//! `osier config`: a component's own configuration editor, and the fragment that keeps what was changed there.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use osier_kconfig::Config;
use osier_recipe::{Editor, Recipe, Target, Value, glob_matches};
use osier_sandbox::Root;
use osier_store::{IoContext, LayerStack};

use super::shell;
use crate::beside;
use crate::engine::unbuilt;
use crate::project::library::{BesideKind, Shelf};
use crate::project::own_recipe;
use crate::project::{Project, split_target};
use crate::report::event::Event;
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::{Session, launcher};
use crate::source::tools::{self, Tool};
use crate::system;
use crate::tool::terminal;
use crate::workplace::Workplace;

/// The fragment beside a recipe that osier writes.
const FRAGMENT: &str = "local.config";

/// The variable of a kind that names the fragments.
const VARIABLE: &str = "fragments";

/// Opens a component's own editor on its configuration, and saves what was changed as a fragment.
pub(crate) fn run(workplace: &Workplace, component: &str, fragment: Option<&Path>) -> Outcome<()> {
    if !terminal::is_there() {
        let message = "`osier config` opens a full-screen editor and needs a terminal";
        return Err(Problem::of(Code::Usage, message)
            .hint("write the symbols into a fragment and name it in the recipe's `fragments`"));
    }
    let launcher = launcher()?;
    let store = workplace.store()?;
    let mut session = Session::open(workplace, &store, Some(&launcher))?;
    let asked = component;
    let (component, only, level) = split_target(asked)?;
    let only = only.or(level.map(osier_recipe::Level::target));
    let target = only.map_or_else(|| session.project.target(), Ok)?;
    let recipe = session.project.read_recipe(component)?;
    let editor = editor(&session.project, &recipe)?;
    let (mut graph, id) = session.plan_one(asked)?;
    let step = graph.find_step(id, &editor.after).ok_or_else(|| {
        let steps = graph.component(id).steps.iter().map(|id| graph.step(*id).name.clone());
        crate::report::problem::unknown(
            &format!("step of {component}"),
            &editor.after,
            &steps.collect::<Vec<_>>(),
        )
    })?;
    graph.until = Some(step);
    system::build_graph(&session, &graph, component)?;

    let mut packages = graph.component(id).environment.request.clone();
    packages.extend(editor.packages.iter().map(|package| package.value.clone()));
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    // The editor runs among the component's own files, so its packages are of the same suite.
    let suite = recipe.suite.as_ref().map(|suite| suite.as_str());
    let editing = Tool { suite, packages: &packages };
    let environment = tools::tool(&mut session, &editing)?;
    let events = |event| workplace.reporter.event(event);
    let engine = session.engine(&events)?;
    let root = engine.root(&environment).map_err(unbuilt)?;
    let command = ["/bin/sh", "-euc", &editor.run].map(OsString::from).to_vec();
    let mut entered = shell::enter(&engine, &graph, step, command)?;
    let Root::Overlay { lowers, upper, .. } = &mut entered.spec.root else {
        return Err(Problem::defect("the root of a step is not an overlay"));
    };
    // The lowest layer is the build environment. The editor's has more packages, and enters no key.
    lowers.pop();
    lowers.push(root.clone());
    entered.spec.environment.push(("TERM".into(), terminal_kind(&root).into()));
    let edited_layers: Vec<PathBuf> =
        std::iter::once(upper.clone()).chain(lowers.iter().cloned()).collect();
    let source = graph.component(id).variables.get("SOURCE").map_or("/build", String::as_str);
    let path = Path::new(source.trim_start_matches('/')).join(&*editor.config);
    let before = read(&edited_layers[1..], &path)?;
    workplace.reporter.tell(&Event::EditorOpened {
        component: component.to_owned(),
        command: editor.run.value.clone(),
    });
    shell::ended(terminal::run(&launcher, entered.spec)?)?;
    let after = read(&edited_layers, &path)?;
    let difference = osier_kconfig::difference(&before, &after);
    if difference.is_empty() {
        workplace.reporter.result("nothing was changed, so nothing is written");
        return Ok(());
    }
    let changes = parse(FRAGMENT, &difference)?;
    match fragment {
        Some(file) => {
            let old = match fs::read_to_string(file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                read => read.at("read", file)?,
            };
            beside::write(file, osier_kconfig::amend(&old, &changes))?;
            workplace.reporter.result(format!("  wrote  {}", Workplace::shown(file)));
            say_changes(workplace, &difference);
            let message =
                "   next  name it last in the recipe's `fragments`, and let `files` match it";
            workplace.reporter.result(message);
            Ok(())
        }
        None => keep(&session.project, (component, target), &changes, &difference, &after),
    }
}

/// Finds the editor that the recipe's kind names.
fn editor(project: &Project<'_>, recipe: &Recipe) -> Outcome<Editor> {
    let name = recipe.kind_name();
    let kind = project.read_kind(name)?;
    kind.editor.ok_or_else(|| {
        let message =
            format!("`{}` is of the kind `{name}`, which has no configuration editor", recipe.name);
        Problem::of(Code::Usage, message)
    })
}

/// The kind of terminal that programs of this root know: the person's, or else the plainest that a window understands.
fn terminal_kind(root: &Path) -> String {
    let own = std::env::var("TERM").unwrap_or_default();
    let letter = own.chars().next().unwrap_or('/').to_string();
    let known = ["lib/terminfo", "usr/share/terminfo", "etc/terminfo"]
        .iter()
        .any(|folder| root.join(folder).join(&letter).join(&own).exists());
    if known && !own.contains('/') { own } else { "xterm".to_owned() }
}

/// Reads the configuration as these layers show it, the topmost first.
fn read(layers: &[PathBuf], path: &Path) -> Outcome<Config> {
    let found = LayerStack::new(layers.to_vec()).find(path)?.ok_or_else(|| {
        Problem::of(Code::MissingOutput, format!("there is no /{}", path.display()))
    })?;
    let text = fs::read_to_string(&found.host).at("read", &found.host)?;
    parse(&format!("/{}", path.display()), &text)
}

fn parse(name: &str, text: &str) -> Outcome<Config> {
    Config::parse(name, text).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Problem::of(Code::CheckFailed, lines.join("\n"))
    })
}

/// Shows each changed symbol, where they are few.
fn say_changes(workplace: &Workplace, difference: &str) {
    const MANY: usize = 30;
    let count = difference.lines().count();
    for line in difference.lines().take(MANY) {
        workplace.reporter.result(format!("         {line}"));
    }
    if count > MANY {
        workplace.reporter.result(format!("         and {} more", count - MANY));
    }
}

/// Keeps the changes beside the component's recipe, so that its next build has them.
fn keep(
    project: &Project<'_>,
    (component, target): (&str, Target),
    changes: &Config,
    difference: &str,
    edited: &Config,
) -> Outcome<()> {
    let workplace = project.workplace;
    let report = |line: String| workplace.reporter.result(line);
    let Some(entry) = project.library().find(Shelf::Recipes, component)? else {
        return Err(crate::report::problem::unknown("component", component, &[]));
    };
    let folder = match entry.folder() {
        Some(folder) => folder.to_path_buf(),
        None if entry.is_built_in() => {
            let folder = own_recipe::take_over(project, &entry, component)?;
            let shown = Workplace::shown(&folder);
            report(format!(" copied  the built-in recipe to {shown}, which is used from now on"));
            folder
        }
        None => {
            let message = format!("{} has no folder of its own for fragments", entry.label);
            return Err(Problem::of(Code::Usage, message).hint(format!(
                "move it to recipes/{component}/recipe.toml, or name a file with --fragment"
            )));
        }
    };
    let path = folder.join(FRAGMENT);
    let old = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "# Written by `osier config`, which changes its lines again.\n".to_owned()
        }
        read => read.at("read", &path)?,
    };
    beside::write(&path, osier_kconfig::amend(&old, changes))?;
    report(format!("  wrote  {}", Workplace::shown(&path)));
    say_changes(workplace, difference);

    let recipe = folder.join("recipe.toml");
    let shown = Workplace::shown(&recipe);
    match listed(&entry.text, target, project.profile.as_deref()) {
        Listed::Already => {}
        Listed::Added { text, line } => {
            beside::write(&recipe, &text)?;
            report(format!("  added  \"{FRAGMENT}\" to `{VARIABLE}` in {shown}:{line}"));
        }
        Listed::ByHand => {
            report(format!(
                "   next  add \"{FRAGMENT}\" at the end of `{VARIABLE}` in {shown}, and let `files` match it"
            ));
            return Ok(());
        }
    }
    for dropped in overridden(project, component, target, edited)? {
        report(format!("   note  {dropped}; put \"{FRAGMENT}\" last in `{VARIABLE}`"));
    }
    report(format!("   next  osier build {component}"));
    Ok(())
}

/// Whether a recipe lists the fragment.
#[derive(Debug, PartialEq, Eq)]
enum Listed {
    /// It does.
    Already,
    /// It does in this text; the list is in this line.
    Added { text: String, line: usize },
    /// It does not, and where it should stand cannot be told.
    ByHand,
}

/// Adds the fragment to the end of a recipe's list of fragments, and to its `files` where no pattern takes it.
fn listed(text: &str, target: Target, profile: Option<&str>) -> Listed {
    let Ok(recipe) = Recipe::parse("recipe.toml", text, None) else { return Listed::ByHand };
    let effective = recipe.effective(target, profile);
    let Some(Value::List(fragments)) = effective.with.get(VARIABLE).map(|set| &set.value.value)
    else {
        return Listed::ByHand;
    };
    let named = fragments.iter().any(|name| name.value == FRAGMENT);
    let taken = effective.files.iter().any(|pattern| glob_matches(pattern, FRAGMENT));
    let mut ends = Vec::new();
    if !named {
        let Some(last) = fragments.last() else { return Listed::ByHand };
        ends.push(last.span.end);
    }
    if !taken {
        let Some(last) = effective.files.last() else { return Listed::ByHand };
        ends.push(last.span.end);
    }
    let Some(first) = ends.first().copied() else { return Listed::Already };
    let line = recipe.origin.line(&(first..first));
    ends.sort_unstable();
    let mut text = text.to_owned();
    for end in ends.into_iter().rev() {
        text.insert_str(end, &format!(", \"{FRAGMENT}\""));
    }
    // What was written by position is believed only when it reads as meant.
    match Recipe::parse("recipe.toml", &text, None) {
        Ok(new) if lists_it(&new, target, profile) => Listed::Added { text, line },
        _ => Listed::ByHand,
    }
}

fn lists_it(recipe: &Recipe, target: Target, profile: Option<&str>) -> bool {
    let effective = recipe.effective(target, profile);
    let taken = effective.files.iter().any(|pattern| glob_matches(pattern, FRAGMENT));
    match effective.with.get(VARIABLE).map(|setting| &setting.value.value) {
        Some(Value::List(list)) => taken && list.iter().any(|name| name.value == FRAGMENT),
        _ => false,
    }
}

/// Finds the wishes of all fragments together that the edited configuration does not have: later fragments that undo the changes.
fn overridden(
    project: &Project<'_>,
    component: &str,
    target: Target,
    edited: &Config,
) -> Outcome<Vec<String>> {
    let recipe = project.read_recipe(component)?;
    let effective = recipe.effective(target, project.profile.as_deref());
    let Some(entry) = project.library().find(Shelf::Recipes, component)? else {
        return Ok(Vec::new());
    };
    let mut files = entry.beside("")?;
    let mut fragments = Vec::new();
    if let Some(Value::List(names)) = effective.with.get(VARIABLE).map(|set| &set.value.value) {
        for name in names {
            if let Some(BesideKind::File { content, .. }) =
                files.remove(name.as_str()).map(|file| file.kind)
            {
                let label = entry.label_of(name);
                fragments.push(parse(&label, &String::from_utf8_lossy(&content))?);
            }
        }
    }
    let dropped = osier_kconfig::check(&osier_kconfig::merge(&fragments), edited);
    Ok(dropped.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str) -> (String, usize) {
        match listed(text, Target::X86_64, None) {
            Listed::Added { text, line } => (text, line),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_fragment_is_added_to_the_list_that_holds() {
        let recipe = "name = \"x\"\nkind = \"kconfig\"\nfiles = [\"*.config\"]\n[with]\nfragments = [\"a.config\"]\n";
        let (text, line) = added(recipe);
        assert_eq!(line, 5);
        assert_eq!(text, recipe.replace("[\"a.config\"]", "[\"a.config\", \"local.config\"]"));
        assert_eq!(listed(&text, Target::X86_64, None), Listed::Already);
        // Several lines, a comma and a comment at the end, a list for the target, `files` by name.
        let recipe = "name = \"x\"\nfiles = ['a.config']\n[with]\nfragments = [\"a.config\"]\n[target.x86_64.with]\nfragments = [\n  \"a.config\", # first\n]\n";
        let (text, line) = added(recipe);
        assert_eq!(line, 7);
        assert!(text.contains("files = ['a.config', \"local.config\"]\n"), "{text}");
        assert!(text.contains("  \"a.config\", \"local.config\", # first\n"), "{text}");
        assert!(text.contains("[with]\nfragments = [\"a.config\"]\n"), "{text}");
    }

    #[test]
    fn a_recipe_without_a_list_is_left_to_its_author() {
        for recipe in [
            "name = \"x\"\n",
            "name = \"x\"\nfiles = [\"*\"]\n[with]\nfragments = []\n",
            "name = \"x\"\n[with]\nfragments = [\"a\"]\n",
        ] {
            assert_eq!(listed(recipe, Target::X86_64, None), Listed::ByHand, "{recipe}");
        }
    }
}
