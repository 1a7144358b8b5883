//! The person's folder: where it may be, and how a source gets there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use osier_store::IoContext as _;

use crate::beside::Beside;
use crate::project::Project;
use crate::project::edits::state::Edit;
use crate::report::problem::{Code, Outcome, Problem};

/// The folders of a project that recipes and systems read: what is in them would become part of something else.
const TAKEN: [&str; 5] = ["recipes", "kinds", "systems", "machines", ".osier"];

/// What to do about a folder that cannot be had.
const ANOTHER: &str = "name a new folder";

/// Makes sure that a source can go to a folder; gives it without links and dots, and says whether anything is in it.
pub(super) fn checked(
    project: &Project<'_>,
    folder: &Path,
    others: &[Edit],
) -> Outcome<(PathBuf, bool)> {
    let own = &project.workplace.project;
    if !own.join("osier.toml").is_file() {
        let message =
            format!("there is no project here, so nothing can be edited ({})", own.display());
        return Err(Problem::of(Code::EditFolder, message)
            .hint("make one with `osier new NAME`, or name one with `--project DIR`"));
    }
    let refused = |why: String, hint: &str| Err(refused(folder, &why, hint));
    const ELSEWHERE: &str = "name a new folder outside of these";
    let place = resolved(folder)?;
    if place.to_str().is_none() {
        return refused("its name is not UTF-8".into(), "name another folder");
    }
    let is_full = match fs::symlink_metadata(&place) {
        Ok(metadata) if !metadata.is_dir() => return refused("it is a file".into(), ANOTHER),
        Ok(_) => fs::read_dir(&place).at("list", &place)?.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).at("read", &place).map_err(Problem::from),
    };
    let store = resolved(project.store.root())?;
    if place.starts_with(&store) {
        return refused("it is in osier's store".into(), ELSEWHERE);
    }
    let own = resolved(own)?;
    if place == own {
        return refused("it is the project itself".into(), ELSEWHERE);
    }
    for taken in TAKEN {
        if place.starts_with(own.join(taken)) {
            return refused(format!("the project's `{taken}` are read from there"), ELSEWHERE);
        }
    }
    for other in others {
        if place.starts_with(&other.folder) || other.folder.starts_with(&place) {
            let why = format!("{} is edited in {}", other.recipe, other.folder.display());
            return refused(why, ELSEWHERE);
        }
    }
    Ok((place, is_full))
}

/// Says why a source cannot go to a folder.
fn refused(folder: &Path, why: &str, hint: &str) -> Problem {
    let message = format!("the source cannot go to {}: {why}", folder.display());
    Problem::of(Code::EditFolder, message).hint(hint)
}

/// Refuses a folder in which there is something else than the source.
pub(super) fn not_empty(folder: &Path) -> Problem {
    refused(folder, "it is not empty", ANOTHER)
}

/// Follows the links in the part of a path that is there.
fn resolved(path: &Path) -> Outcome<PathBuf> {
    let whole = std::path::absolute(path).at("find", path)?;
    let mut rest = Vec::new();
    let mut there = whole.as_path();
    loop {
        match fs::canonicalize(there) {
            Ok(mut found) => {
                found.extend(rest.iter().rev());
                return Ok(found);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("find", there).map_err(Problem::from),
        }
        let (Some(name), Some(parent)) = (there.file_name(), there.parent()) else {
            return Ok(whole);
        };
        rest.push(name.to_owned());
        there = parent;
    }
}

/// Makes a folder beside another one, in which a source is laid out before it gets its name.
pub(super) fn beside(folder: &Path) -> Outcome<Beside> {
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).at("make", parent)?;
    Ok(Beside::folder(folder)?)
}

/// Lets the person write everything: sources have files that can only be read.
pub(super) fn make_writable(folder: &Path) -> Outcome<()> {
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(place) = waiting.pop() {
        let metadata = fs::symlink_metadata(&place).at("read", &place)?;
        if metadata.is_symlink() {
            continue;
        }
        let mode = metadata.permissions().mode();
        let wanted = mode | if metadata.is_dir() { 0o700 } else { 0o600 };
        if wanted != mode {
            fs::set_permissions(&place, fs::Permissions::from_mode(wanted))
                .at("set the mode of", &place)?;
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(&place).at("list", &place)? {
                waiting.push(entry.at("list", &place)?.path());
            }
        }
    }
    Ok(())
}

/// Gives a laid out source its name.
pub(super) fn put(beside: Beside) -> Outcome<()> {
    fs::set_permissions(beside.path(), fs::Permissions::from_mode(0o755))
        .at("set the mode of", beside.path())?;
    Ok(beside.keep()?)
}
