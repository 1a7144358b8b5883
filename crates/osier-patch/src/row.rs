//! Patches in a row, each on what the earlier ones left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::apply;
use crate::diff::{Change, Hunk, Patch};
use crate::report::{Class, FileReport, HunkFit, HunkReport, PatchReport, Waived};
use crate::tree::{Changes, Effect, Node, Source};

/// A patch that waits for its turn.
#[derive(Debug, Clone)]
pub struct Queued {
    /// What it is called in the report.
    pub name: String,
    /// The patch, or why it cannot be read.
    pub patch: Result<Patch, String>,
    /// The folder of the source that its names begin in.
    pub folder: PathBuf,
    /// What the recipe allows.
    pub allowance: Option<Allowance>,
}

/// What a recipe says of a patch that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Whether the hunks that fit are applied; else nothing of the patch is.
    pub what_fits: bool,
    /// Why.
    pub reason: String,
}

/// What became of a row of patches.
#[derive(Debug)]
pub struct Outcome {
    /// One report for each patch, in their order.
    pub reports: Vec<PatchReport>,
    /// What has changed: paths with what stands there now, nothing for what was removed.
    pub changes: BTreeMap<PathBuf, Option<Node>>,
}

/// Puts patches on a source, one after the other, and says of every one how it fits.
///
/// After a conflict the row goes on, on what of the patch fits, so that all conflicts are seen at once; one over a file
/// that an earlier one is about says so. A patch counts as already in the source where it does not fit and taking it
/// back does, where taking it back fits nearer to the lines that it names, or where it changes nothing.
pub fn classify<S: Source>(source: &S, row: &[Queued]) -> Result<Outcome, S::Error> {
    let mut state = Changes::new(source);
    let mut reports = Vec::new();
    // Files that an earlier patch of the row should have changed and did not, or not in full.
    let mut broken: BTreeMap<PathBuf, String> = BTreeMap::new();
    for queued in row {
        let (mut report, changes) = match &queued.patch {
            Ok(patch) => one(&state, patch, &queued.folder)?,
            Err(problem) => {
                let mut report = empty(Class::Unreadable);
                report.problem = Some(problem.clone());
                (report, BTreeMap::new())
            }
        };
        report.name.clone_from(&queued.name);
        let fails = matches!(report.class, Class::Conflict | Class::Unreadable);
        report.waived = queued.allowance.as_ref().map(|allowance| Waived {
            what_fits: allowance.what_fits,
            reason: allowance.reason.clone(),
            needed: fails,
        });
        for file in report.files.iter_mut().filter(|file| file.fails()) {
            let path = queued.folder.join(&file.path);
            match broken.get(&path) {
                Some(first) => file.after = Some(first.clone()),
                None => drop(broken.insert(path, queued.name.clone())),
            }
        }
        if fails && report.waived.as_ref().is_some_and(|waived| !waived.what_fits) {
            for path in changes.into_keys() {
                broken.entry(path).or_insert_with(|| queued.name.clone());
            }
        } else {
            state.extend(changes);
        }
        reports.push(report);
    }
    Ok(Outcome { reports, changes: state.into_effect()? })
}

fn empty(class: Class) -> PatchReport {
    PatchReport { name: String::new(), class, files: Vec::new(), problem: None, waived: None }
}

/// What a patch did: files, and what it changes.
type Tried = (Vec<FileReport>, Effect);

fn tried<S: Source>(source: &S, patch: &Patch, folder: &Path) -> Result<Tried, S::Error> {
    let mut changes = Changes::new(source);
    let files = apply::patch(patch, folder, &mut changes)?;
    Ok((files, changes.into_effect()?))
}

fn distance(files: &[FileReport]) -> u64 {
    files.iter().map(FileReport::distance).sum()
}

/// Classifies one patch; gives its report without a name, and what it changes as far as it fits.
fn one<S: Source>(
    source: &S,
    patch: &Patch,
    folder: &Path,
) -> Result<(PatchReport, Effect), S::Error> {
    let (files, changes) = tried(source, patch, folder)?;
    let fails = files.iter().any(FileReport::fails);
    let exact = !fails && files.iter().all(|file| file.hunks.iter().all(HunkReport::is_exact));
    if !fails && changes.is_empty() {
        let problem = patch.files.is_empty().then(|| "it contains no change".to_owned());
        return Ok((PatchReport { problem, ..empty(Class::Already) }, changes));
    }
    // Without any old line a patch fits everywhere, and proves nothing by it.
    let blind = patch.files.iter().all(|file| {
        file.change == Change::Edit
            && file.hunks.iter().all(|hunk| hunk.old_lines().next().is_none())
    });
    if !exact || blind {
        let reversed = patch.reversed();
        let (back, undone) = tried(source, &reversed, folder)?;
        let nearer = match (fails, blind) {
            (true, _) => true,
            (false, true) => distance(&back) == 0,
            (false, false) => distance(&back) < distance(&files),
        };
        if nearer && !undone.is_empty() && proves(&reversed, &back) {
            let report = PatchReport { files: notable(back), ..empty(Class::Already) };
            return Ok((report, BTreeMap::new()));
        }
    }
    let class = match (fails, exact) {
        (true, _) => Class::Conflict,
        (false, true) => Class::Clean,
        (false, false) => Class::Offset,
    };
    Ok((PatchReport { files: notable(files), ..empty(class) }, changes))
}

/// Whether that a reversed patch fits proves that the patch is in.
///
/// Lines that it puts back between others prove it by standing next to one another; at the end or the beginning of a file
/// only by standing there, and lines without any around them prove nothing.
fn proves(reversed: &Patch, back: &[FileReport]) -> bool {
    reversed.files.iter().zip(back).all(|(file, report)| {
        let sound = |(hunk, report): (&Hunk, &HunkReport)| match report.fit {
            HunkFit::Fails { .. } | HunkFit::Fits { not_at_end: true, .. } => false,
            HunkFit::Fits { at, .. } => {
                let first = hunk.old_start <= 1 && hunk.leading() == 0;
                let new_file = file.change == Change::Create;
                new_file || ((!first || at == 1) && hunk.old_lines().next().is_some())
            }
        };
        report.problem.is_none() && file.hunks.iter().zip(&report.hunks).all(sound)
    })
}

/// Leaves out what fits where the patch says.
fn notable(mut files: Vec<FileReport>) -> Vec<FileReport> {
    for file in &mut files {
        file.hunks.retain(|hunk| !hunk.is_exact());
    }
    files.retain(|file| file.problem.is_some() || !file.hunks.is_empty());
    files
}
