//! Which patches a component has: what its recipe names, read and checked before anything is fetched.

use osier_patch::{BINARY, ParseError, Patch, series};
use osier_recipe::{Code, Diagnostic, EffectiveRecipe, Recipe, Spanned, glob_matches};

use super::{Definitions, PlanError};
use crate::graph::{FetchedPatches, FileInput, OwnPatch, Patching, Waiver};
use crate::layer::patch_file::{self, LIST, OtherVersion, patch_fits};

/// Finds the patches that a recipe names; gives them in order, with their files.
pub(crate) fn own(
    definitions: &dyn Definitions,
    recipe: &Recipe,
    effective: &EffectiveRecipe<'_>,
    version: &str,
    wrong: &mut Vec<Diagnostic>,
) -> Result<(Patching, Vec<FileInput>), PlanError> {
    let waivers = effective.waivers.iter().map(|waiver| Waiver {
        pattern: waiver.patch.value.clone(),
        what_fits: waiver.what_fits,
        reason: waiver.reason.value.clone(),
    });
    let patching = Patching { waivers: waivers.collect(), ..Patching::default() };
    let mut finding = Finding { definitions, recipe, version, wrong, patching, files: Vec::new() };
    let mut beside = Vec::new();
    for pattern in &effective.patches {
        match pattern.split_once(':') {
            Some((source, inside)) => finding.fetched(pattern, source, inside, beside.last()),
            None => beside.push(pattern),
        }
    }
    if !beside.is_empty() {
        let patterns: Vec<&str> = beside.iter().map(|glob| glob.as_str()).collect();
        let all = definitions.files(&recipe.name, &patterns)?;
        for pattern in beside {
            finding.pattern(pattern, &all)?;
        }
    }
    let Finding { patching, files, .. } = finding;
    // Debian's patches, and those that are fetched, are known once the sources are unpacked.
    let debian = recipe.sources.iter().any(|source| {
        matches!(source.kind, osier_recipe::SourceKind::Debian { patches: true, .. })
    });
    let all_known = !debian && patching.fetched.is_empty();
    for waiver in effective.waivers.iter().filter(|_| all_known) {
        if !patching.own.iter().any(|patch| glob_matches(&waiver.patch, &patch.file)) {
            let message = format!("there is no patch `{}` to waive", waiver.patch.value);
            wrong_patch(wrong, recipe, &waiver.patch, message);
        }
    }
    Ok((patching, files))
}

fn wrong_patch(
    wrong: &mut Vec<Diagnostic>,
    recipe: &Recipe,
    pattern: &Spanned<String>,
    message: String,
) {
    wrong.push(recipe.origin.error(Code::WrongPatch, &pattern.span, message));
}

struct Finding<'a, 'w> {
    definitions: &'a dyn Definitions,
    recipe: &'a Recipe,
    version: &'a str,
    wrong: &'w mut Vec<Diagnostic>,
    patching: Patching,
    files: Vec<FileInput>,
}

impl Finding<'_, '_> {
    fn wrong(&mut self, pattern: &Spanned<String>, message: String) {
        wrong_patch(self.wrong, self.recipe, pattern, message);
    }

    /// Takes in what lies in a source of the recipe; `beside` is the pattern before it that does not.
    fn fetched(
        &mut self,
        pattern: &Spanned<String>,
        source: &str,
        inside: &str,
        beside: Option<&&Spanned<String>>,
    ) {
        let (origin, span) = (&self.recipe.origin, &pattern.span);
        let known = self.recipe.sources.iter().map(|source| source.name.as_str());
        if !known.clone().any(|known| known == source) {
            let error =
                Diagnostic::unknown(Code::UnknownName, "source", origin, span, source, known);
            self.wrong.push(
                error.hint("write the name of one of this recipe's sources before the colon"),
            );
        } else if let Some(beside) = beside {
            let message = format!(
                "`{}` is applied before `{}`, which is beside the recipe; name it first",
                pattern.value, beside.value
            );
            self.wrong(pattern, message);
        } else {
            let (source, pattern) = (source.to_owned(), inside.to_owned());
            self.patching.fetched.push(FetchedPatches { source, pattern });
        }
    }

    /// Takes in what one pattern of the recipe stands for.
    fn pattern(&mut self, pattern: &Spanned<String>, all: &[FileInput]) -> Result<(), PlanError> {
        let hits: Vec<&FileInput> =
            all.iter().filter(|file| glob_matches(pattern, &file.path)).collect();
        let lists: Vec<&FileInput> =
            hits.iter().copied().filter(|file| split(&file.path).1 == LIST).collect();
        for list in &lists {
            self.list(pattern, list)?;
        }
        for file in &hits {
            let (folder, name) = split(&file.path);
            match lists.iter().find(|list| split(&list.path).0 == folder) {
                None => self.add(pattern, file, 1, false),
                Some(_) if name == LIST || self.has(&file.path) => {}
                Some(list) => self.wrong(
                    pattern,
                    format!(
                        "`{}` is not in the list `{}`; add it there, or name only the list",
                        file.path, list.path
                    ),
                ),
            }
        }
        if hits.is_empty() {
            let (origin, span) = (&self.recipe.origin, &pattern.span);
            self.wrong.push(Diagnostic::missing_file(origin, span, pattern, origin.file()));
        }
        Ok(())
    }

    /// Takes in the patches of a quilt list.
    fn list(&mut self, pattern: &Spanned<String>, list: &FileInput) -> Result<(), PlanError> {
        let entries = match series(&list.content) {
            Ok(entries) => entries,
            Err(error) => {
                self.wrong(pattern, format!("{}:{}: {}", list.path, error.line, error.problem));
                return Ok(());
            }
        };
        let folder = split(&list.path).0;
        let below = if folder.is_empty() { "**".to_owned() } else { format!("{folder}/**") };
        let files = self.definitions.files(&self.recipe.name, &[&below])?;
        for entry in entries {
            let path =
                if folder.is_empty() { entry.name } else { format!("{folder}/{}", entry.name) };
            match files.iter().find(|file| file.path == path) {
                Some(file) => self.add(pattern, file, entry.strip, entry.reverse),
                None => {
                    let message =
                        format!("{}:{}: there is no patch `{path}`", list.path, entry.line);
                    let error = self.recipe.origin.error(Code::MissingFile, &pattern.span, message);
                    self.wrong.push(error);
                }
            }
        }
        Ok(())
    }

    fn has(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
    }

    fn add(&mut self, pattern: &Spanned<String>, file: &FileInput, strip: u32, reverse: bool) {
        if self.has(&file.path) {
            return;
        }
        if let Err(OtherVersion(named)) = patch_fits(&file.path, &self.recipe.name, self.version) {
            let message = format!(
                "the patch `{}` is for version {named}, and `{}` is {}",
                file.path, self.recipe.name, self.version
            );
            let error = self.recipe.origin.error(Code::Conflict, &pattern.span, message);
            self.wrong.push(error.hint("if the patch fits this version too, rename it"));
            return;
        }
        let left_out = self.patching.waiver(&file.path).is_some_and(|waiver| !waiver.what_fits);
        match patch_file::read(&file.path, &file.content, strip) {
            Err(ParseError { line, problem }) if !left_out => {
                self.wrong(pattern, format!("{}:{line}: {problem}", file.path));
            }
            Ok(patches) if self.patching.waiver(&file.path).is_none() => {
                if let Some((line, name)) = patches.iter().find_map(Patch::binary) {
                    let message = format!(
                        "{}:{line}: `{}` is binary, but the patch does not say how it changes",
                        file.path,
                        name.display()
                    );
                    let error = self.recipe.origin.error(Code::WrongPatch, &pattern.span, message);
                    self.wrong.push(error.hint(BINARY));
                }
            }
            _ => {}
        }
        self.files.push(file.clone());
        self.patching.own.push(OwnPatch { file: file.path.clone(), strip, reverse });
    }
}

/// Splits a path into folder and name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl FetchedPatches {
    /// What a recipe calls them.
    pub fn name(&self) -> String {
        format!("{}:{}", self.source, self.pattern)
    }
}

impl Patching {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.debian.is_empty() && self.fetched.is_empty() && self.own.is_empty()
    }

    /// The waiver of a patch; of several the last.
    pub fn waiver(&self, name: &str) -> Option<&Waiver> {
        self.waivers.iter().rev().find(|waiver| glob_matches(&waiver.pattern, name))
    }
}
