//! Folders that are never made a store and never removed as one, whatever lies in them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folder::is_same;

/// Where a person's own things are: what the program knows, and the store does not.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The home folders of the machine's users.
    pub homes: Vec<PathBuf>,
    /// The project's folder, where there is a project.
    pub project: Option<PathBuf>,
}

/// What a folder is instead of a place for a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reserved {
    /// `/`.
    #[error("the root of the file system")]
    Root,
    /// Somebody's home.
    #[error("a home folder")]
    Home,
    /// A project's folder, or one that a project lies in.
    #[error("the folder of a project, or a folder above one")]
    Project,
    /// A file system is mounted on it.
    #[error("a mount point")]
    MountPoint,
}

impl Reserved {
    /// Says why a folder is no place for a store; nothing where it may be one. A mount point may.
    pub fn find(folder: &Path, around: &Surroundings) -> Option<Self> {
        // Names that lead to the same folder are the same, and so are links and second mounts of it.
        let real = fs::canonicalize(folder).ok()?;
        let is = |other: &Path| is_same(&real, other);
        if real.parent().is_none() || is(Path::new("/")) {
            return Some(Self::Root);
        }
        if around.homes.iter().any(|home| is(home)) {
            return Some(Self::Home);
        }
        let project = around.project.as_deref().and_then(|project| fs::canonicalize(project).ok());
        let lies_in = project.is_some_and(|project| project.ancestors().any(is));
        (lies_in || real.join("osier.toml").is_file()).then_some(Self::Project)
    }

    /// Says why the store at a folder is not removed with the folder; nothing where it may be.
    pub fn find_to_remove(folder: &Path, around: &Surroundings) -> Option<Self> {
        let mounted = || crate::folder::is_mount_point(folder).then_some(Self::MountPoint);
        Self::find(folder, around).or_else(mounted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_and_projects_are_known_by_any_name() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        for folder in ["home/ann", "work/project/deep", "store", "other"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        std::os::unix::fs::symlink(at("home/ann"), at("link")).unwrap();
        fs::write(at("other/osier.toml"), "").unwrap();
        let around = Surroundings {
            homes: vec!["/nowhere".into(), at("home/ann")],
            project: Some(at("work/project")),
        };
        for (folder, expected) in [
            ("store", None),
            ("not-there", None),
            ("work/project/deep", None),
            ("home/ann", Some(Reserved::Home)),
            ("home/../home/ann/.", Some(Reserved::Home)),
            ("link", Some(Reserved::Home)),
            ("work/project", Some(Reserved::Project)),
            ("work", Some(Reserved::Project)),
            ("other", Some(Reserved::Project)),
        ] {
            assert_eq!(Reserved::find(&at(folder), &around), expected, "{folder}");
            assert_eq!(Reserved::find_to_remove(&at(folder), &around), expected, "{folder}");
        }
        for root in ["/", "/../.", "/proc/self/root"] {
            assert_eq!(Reserved::find(Path::new(root), &around), Some(Reserved::Root), "{root}");
        }
        let proc = Path::new("/proc");
        assert_eq!(Reserved::find(proc, &around), None);
        assert_eq!(Reserved::find_to_remove(proc, &around), Some(Reserved::MountPoint));
    }
}
