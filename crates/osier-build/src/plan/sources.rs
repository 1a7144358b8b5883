//! The sources, files and patches of a recipe, as its steps see them.

use std::collections::BTreeMap;

use osier_recipe::{
    Code, Diagnostic, EffectiveRecipe, Lock, LockedFile, LockedSource, Pin, Recipe, Source,
    SourceKind, Spanned, glob_matches,
};
use osier_store::Digest;

use super::patches;
use super::{MissingPin, PlanError, Planning};
use crate::graph::{Archive, FileInput, Patching, SourceTree, Strip};

/// Says whether a pin is that of a source as its recipe has it now.
fn pin_fits(pinned: &LockedSource, source: &Source) -> bool {
    match (&pinned.pin, &source.kind) {
        (
            Pin::Debian { package, version, suite },
            SourceKind::Debian { package: asked, suite: from, version: exact, .. },
        ) => {
            *package == asked.value
                && from.as_ref().is_none_or(|wanted| wanted.value == *suite)
                && exact.as_ref().is_none_or(|wanted| wanted.value == *version)
        }
        (Pin::Url { url }, SourceKind::Url { urls, sha256, .. }) => {
            urls.first().is_some_and(|first| first.value == *url)
                && pinned.files.iter().all(|file| file.sha256 == sha256.value)
        }
        (Pin::Git { address, commit }, SourceKind::Git { address: asked, commit: wanted }) => {
            *address == asked.value && *commit == wanted.value
        }
        _ => false,
    }
}

/// Takes the epoch and the Debian revision off a Debian version: `1:1.35.0-4` is 1.35.0 of the upstream.
fn upstream_version(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(rest, _)| rest);
    version.split(['+', '~']).next().unwrap_or(version)
}

impl<'a> Planning<'_, 'a> {
    /// Gives the sources as trees to unpack, and the component's version where the recipe or a source has one.
    pub(super) fn sources<'r>(
        &mut self,
        recipe: &'r Recipe,
        suite: &str,
    ) -> Result<Sources<'r>, PlanError> {
        let mut version = recipe.version.as_ref().map(|version| version.value.clone());
        let mut trees = Vec::new();
        for source in &recipe.sources {
            let name = source.name.value.clone();
            if let SourceKind::Path { path } = &source.kind {
                if let Some(folder) = self.source_folder(recipe, path)? {
                    let folder = Some(folder);
                    trees.push((source, SourceTree { name, archives: Vec::new(), folder }));
                }
                continue;
            }
            let Some(pinned) = self.pinned(recipe, source, suite, version.as_ref()) else {
                continue;
            };
            if version.is_none()
                && let Pin::Debian { version: debian, .. } = &pinned.pin
            {
                version = Some(upstream_version(debian).to_owned());
            }
            let archives = self.archives(recipe, source, pinned);
            trees.push((source, SourceTree { name, archives, folder: None }));
        }
        Ok((trees, version))
    }

    /// Takes a source that is a folder beside the recipe; nothing where it is not there, which is wrong.
    fn source_folder(
        &mut self,
        recipe: &Recipe,
        path: &Spanned<String>,
    ) -> Result<Option<Digest>, PlanError> {
        let found = self.planner.definitions.folder(&recipe.name, path)?;
        if found.is_none() {
            let message = format!("there is no folder `{path}` beside the recipe");
            let error = recipe.origin.error(Code::MissingFile, &path.span, message);
            self.wrong.push(error.hint(format!(
                "it belongs at recipes/{0}/{path}, and the recipe at recipes/{0}/recipe.toml",
                recipe.name
            )));
        }
        Ok(found)
    }

    /// Finds a source in the lock; one that is not there, or pinned for what the recipe said before, is missing.
    fn pinned(
        &mut self,
        recipe: &Recipe,
        source: &Source,
        suite: &str,
        version: Option<&String>,
    ) -> Option<&'a LockedSource> {
        let lock: &'a Lock = self.planner.lock;
        let pinned = lock.source(&recipe.name, &source.name);
        let pinned = pinned.filter(|pinned| pin_fits(pinned, source));
        if pinned.is_none() {
            let missing = MissingPin::Source {
                recipe: recipe.name.value.clone(),
                suite: suite.to_owned(),
                version: version.cloned(),
                source: Box::new(source.clone()),
            };
            if !self.missing.contains(&missing) {
                self.missing.push(missing);
            }
        }
        pinned
    }

    /// Lists the archives of a pinned source, with how each is unpacked.
    fn archives(
        &mut self,
        recipe: &Recipe,
        source: &Source,
        pinned: &LockedSource,
    ) -> Vec<Archive> {
        let (strip, format) = match &source.kind {
            SourceKind::Url { strip, unpack, format, .. } => {
                let strip = unpack.then(|| Strip::Folders(u32::from(*strip)));
                (strip, format.clone())
            }
            SourceKind::Debian { .. } => (Some(Strip::Lone), None),
            _ => (Some(Strip::Folders(1)), None),
        };
        let is_debian = matches!(source.kind, SourceKind::Debian { .. });
        let wants_debian = matches!(source.kind, SourceKind::Debian { patches: true, .. });
        if wants_debian && pinned.files.iter().any(|file| file.name.ends_with(".diff.gz")) {
            let message = "Debian's changes to this source are one `.diff.gz` (format 1.0), which osier does not read";
            let error = recipe.origin.error(Code::WrongPatch, &source.span, message);
            let hint = "remove `patches`, and put the patches that you need beside the recipe";
            self.wrong.push(error.hint(hint));
        }
        let archive = |file: &LockedFile| {
            Some(Archive {
                file: file.name.clone(),
                digest: file.sha256.parse().unwrap_or(Digest([0; 32])),
                size: file.size,
                into: archive_place(&file.name, is_debian, wants_debian)?,
                format: format.clone(),
                strip,
            })
        };
        let mut archives: Vec<Archive> = pinned.files.iter().filter_map(archive).collect();
        // The source's own archive comes first, so that the others find its folders.
        archives.sort_by(|one, two| one.into.cmp(&two.into));
        archives
    }

    /// Gives the files that the steps see, the patches among them, and the recipe's own patches in order.
    pub(super) fn files(
        &mut self,
        recipe: &Recipe,
        effective: &EffectiveRecipe<'_>,
        version: &str,
    ) -> Result<(Vec<FileInput>, Patching), PlanError> {
        let definitions = self.planner.definitions;
        let mut chosen: BTreeMap<String, FileInput> = BTreeMap::new();
        if !effective.files.is_empty() {
            let patterns: Vec<&str> = effective.files.iter().map(|glob| glob.as_str()).collect();
            let all = definitions.files(&recipe.name, &patterns)?;
            for pattern in &effective.files {
                let fits = |file: &&FileInput| glob_matches(pattern, &file.path);
                let hits: Vec<&FileInput> = all.iter().filter(fits).collect();
                if hits.is_empty() {
                    let (origin, span) = (&recipe.origin, &pattern.span);
                    self.wrong.push(Diagnostic::missing_file(origin, span, pattern, origin.file()));
                }
                chosen.extend(hits.into_iter().map(|file| (file.path.clone(), file.clone())));
            }
        }
        let (patching, patches) =
            patches::own(definitions, recipe, effective, version, &mut self.wrong)?;
        chosen.extend(patches.into_iter().map(|file| (file.path.clone(), file)));
        Ok((chosen.into_values().collect(), patching))
    }
}

/// The sources of a recipe as trees to unpack, and the component's version.
pub(super) type Sources<'r> = (Vec<(&'r Source, SourceTree)>, Option<String>);

/// Says where a file of a source is unpacked below the source's folder; nothing for files that are not.
fn archive_place(file: &str, debian: bool, patches: bool) -> Option<String> {
    if !debian {
        return Some(String::new());
    }
    if file.contains(".debian.tar") {
        return patches.then(|| "debian".to_owned());
    }
    if !file.contains(".tar") || file.ends_with(".asc") {
        return None;
    }
    match file.split_once(".orig-") {
        Some((_, rest)) => rest.split(".tar").next().map(str::to_owned),
        None => Some(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_versions() {
        for (debian, upstream) in [
            ("1:1.35.0-4+deb12u1", "1.35.0"),
            ("6.1.170-3", "6.1.170"),
            ("2:6.2.1+dfsg1-1.1", "6.2.1"),
        ] {
            assert_eq!(upstream_version(debian), upstream);
        }
    }

    #[test]
    fn files_of_debian_sources_find_their_place() {
        let place = |file| archive_place(file, true, false);
        assert_eq!(place("busybox_1.35.0.orig.tar.bz2").as_deref(), Some(""));
        assert_eq!(place("docker.io_20.10.orig-cli.tar.xz").as_deref(), Some("cli"));
        assert_eq!(place("busybox_1.35.0-4.dsc"), None);
        assert_eq!(place("busybox_1.35.0-4.debian.tar.xz"), None);
        assert_eq!(
            archive_place("busybox_1.35.0-4.debian.tar.xz", true, true).as_deref(),
            Some("debian")
        );
        assert_eq!(place("gcc_12.orig.tar.xz.asc"), None);
    }
}
