//! The project's own recipes, as far as osier writes them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use osier_recipe::{Recipe, Target, glob_matches};
use osier_store::IoContext as _;

use crate::beside::Beside;
use crate::project::Project;
use crate::project::library::{BesideKind, Entry};
use crate::report::problem::Outcome;

/// Copies a built-in recipe with all that lies beside it into the project, whole or not at all.
pub(crate) fn take_over(project: &Project<'_>, entry: &Entry, component: &str) -> Outcome<PathBuf> {
    let shelf = project.workplace.project.join("recipes");
    fs::create_dir_all(&shelf).at("make", &shelf)?;
    let folder = shelf.join(component);
    let beside = Beside::folder(&folder)?;
    let recipe = beside.path().join("recipe.toml");
    fs::write(&recipe, &entry.text).at("write", &recipe)?;
    for file in entry.beside("")?.into_values() {
        let place = beside.path().join(&file.path);
        match file.kind {
            BesideKind::Folder => fs::create_dir_all(&place).at("make", &place)?,
            BesideKind::Symlink(_) => {}
            BesideKind::File { content, executable } => {
                let parent = place.parent().unwrap_or(beside.path());
                fs::create_dir_all(parent).at("make", parent)?;
                fs::write(&place, &content).at("write", &place)?;
                let mode = if executable { 0o755 } else { 0o644 };
                fs::set_permissions(&place, fs::Permissions::from_mode(mode))
                    .at("set the mode of", &place)?;
            }
        }
    }
    fs::set_permissions(beside.path(), fs::Permissions::from_mode(0o755))
        .at("set the mode of", beside.path())?;
    beside.keep()?;
    Ok(folder)
}

/// A recipe's text that names a patch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// It does already, by a pattern.
    Already,
    /// It does in this text; the list is in this line.
    Added { text: String, line: usize },
    /// Where it should stand cannot be told.
    ByHand,
}

/// Adds a patch to the end of a recipe's list of patches, where no pattern takes it; a new list gets the pattern.
pub(crate) fn with_patch(
    text: &str,
    target: Target,
    profile: Option<&str>,
    patch: &str,
    pattern: &str,
) -> Named {
    let Ok(recipe) = Recipe::parse("recipe.toml", text, None) else { return Named::ByHand };
    let effective = recipe.effective(target, profile);
    if effective.patches.iter().any(|known| glob_matches(known, patch)) {
        return Named::Already;
    }
    let line_end = |at: usize| text[at..].find('\n').map(|end| at + end + 1);
    let mut tries: Vec<(usize, String)> = Vec::new();
    match effective.patches.last() {
        Some(last) => tries.push((last.span.end, format!(", \"{patch}\""))),
        None => {
            // Behind the source where that is one line, or else behind the name.
            let spans = recipe.sources.first().map(|source| &source.span);
            for span in spans.into_iter().chain([&recipe.name.span]) {
                let list = format!("patches = [\"{pattern}\"]\n");
                match line_end(span.end) {
                    Some(at) => tries.push((at, list)),
                    None => tries.push((text.len(), format!("\n{list}"))),
                }
            }
        }
    }
    for (at, words) in tries {
        if !text.is_char_boundary(at) {
            continue;
        }
        let mut new = text.to_owned();
        new.insert_str(at, &words);
        // What was written by position is believed only when it reads as meant.
        let Ok(read) = Recipe::parse("recipe.toml", &new, None) else { continue };
        let now = read.effective(target, profile);
        let kept =
            effective.patches.iter().zip(&now.patches).all(|(old, new)| old.value == new.value);
        let added = now.patches.last().is_some_and(|last| glob_matches(last, patch));
        if kept && added && now.patches.len() == effective.patches.len() + 1 {
            let at = now.patches.last().map_or(0, |last| last.span.start);
            return Named::Added { line: read.origin.line(&(at..at)), text: new };
        }
    }
    Named::ByHand
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Named {
        with_patch(text, Target::X86_64, None, "patches/0001-x.patch", "patches/*.patch")
    }

    #[test]
    fn a_patch_is_added_to_the_list_that_holds() {
        let table: &[(&str, &str, usize)] = &[
            (
                "name = \"x\"\nsource = { debian = \"x\" }\n[with]\na = \"b\"\n",
                "name = \"x\"\nsource = { debian = \"x\" }\npatches = [\"patches/*.patch\"]\n[with]\na = \"b\"\n",
                3,
            ),
            (
                "name = \"x\"\n[[source]]\nname = \"x\"\ndebian = \"x\"\n[[source]]\nname = \"y\"\ndebian = \"y\"\n",
                "name = \"x\"\npatches = [\"patches/*.patch\"]\n[[source]]\nname = \"x\"\ndebian = \"x\"\n[[source]]\nname = \"y\"\ndebian = \"y\"\n",
                2,
            ),
            (
                "name = \"x\"\npatches = [\n  \"a.patch\", # first\n]\n",
                "name = \"x\"\npatches = [\n  \"a.patch\", \"patches/0001-x.patch\", # first\n]\n",
                3,
            ),
            (
                "name = \"x\"\n[target.x86_64]\npatches = [\"a.patch\"]\n",
                "name = \"x\"\n[target.x86_64]\npatches = [\"a.patch\", \"patches/0001-x.patch\"]\n",
                3,
            ),
            ("name = \"x\"", "name = \"x\"\npatches = [\"patches/*.patch\"]\n", 2),
        ];
        for (before, after, line) in table {
            assert_eq!(
                named(before),
                Named::Added { text: (*after).to_owned(), line: *line },
                "{before}"
            );
        }
        assert_eq!(named("name = \"x\"\npatches = [\"patches/*\"]\n"), Named::Already);
        assert_eq!(named("name = \n"), Named::ByHand);
        assert_eq!(named("name = \"x\"\npatches = []\n"), Named::ByHand);
    }
}
